"""The kit as a scripted server, at the level of messages: against clients made by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import Serving, failing, text, tool
from mcpcore_conformance.kit.client_steps import ask_client, require_input
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming, Launcher
from mcpcore_conformance.kit.client_wire import Came, Ended
from mcpcore_conformance.kit.hosts.http import HttpHost
from mcpcore_conformance.kit.hosts.lines import TcpHost
from mcpcore_conformance.kit.messages import Kind, error, notification, request, result
from mcpcore_conformance.kit.model import Page
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive
from tests.clock import patience

pytestmark = pytest.mark.anyio
LEGACY, MODERN = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
BATCHES = BY_NAME["2025-03-26"]
QUICK = ClientTiming(start=10.0, answer=10.0, exit=10.0, quiet=0.02)
INITIALIZED = "notifications/initialized"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
}

page = Page("page")


@page.client().must("a/case", "-")
async def _nothing(talk: ClientTalk) -> None:
    """Nothing."""


class Peer:
    """A client made by hand, over TCP."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._rest = b""

    async def say(self, value: Any) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        await self.stream.send(data + b"\n")

    async def hear(self) -> Any:
        with patience():
            while b"\n" not in self._rest:
                self._rest += await self.stream.receive()
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def asked(self, id: Any, method: str, params: Any = None) -> Any:
        await self.say(request(id, method, params or {}))
        return await self.hear()

    async def initialize(self) -> None:
        params = {"protocolVersion": "2025-11-25", "capabilities": {"sampling": {}}}
        await self.asked(0, "initialize", params)
        await self.say(notification("notifications/initialized"))


def talk_with(host: Any, revision: Revision, report: bytes | None = None) -> ClientTalk:
    async def start(scenario: str, context: dict[str, Any]) -> None:
        pass

    launcher = Launcher(start, lambda: "its last words", lambda: report, lambda number: None)
    return ClientTalk(page.cases[0], host, revision, launcher, timing=QUICK, seed=1)


@asynccontextmanager
async def conversation(
    revision: Revision = LEGACY, serving: Serving | None = None
) -> AsyncIterator[tuple[ClientTalk, ClientLink, Peer]]:
    """A client that is connected, and answered by default whenever the link hears."""
    async with TcpHost() as host, await anyio.connect_tcp("127.0.0.1", host.port) as stream:
        talk = talk_with(host, revision)
        if serving is not None:
            talk.serving = serving
        yield talk, await talk.accept(), Peer(stream)


async def together(link: ClientLink, peer: Any) -> Any:
    """Let the client do something while the link serves it."""
    outcome: list[Any] = []

    async def run() -> None:
        outcome.append(await peer)
        link.talk.host.put(None, Came())  # something to hear: it looks again

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await link.until(lambda: outcome)
    return outcome[0]


async def test_the_handshake_is_done_by_the_kit() -> None:
    async with conversation() as (_, link, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.initialize)
            opening = await link.opened()
        assert opening.method == "initialize"
        assert link.client_capabilities == {"sampling": {}}
        assert [each.method for each in link.seen] == ["initialize", "notifications/initialized"]


@pytest.mark.parametrize("anew", [False, True])
async def test_who_asks_for_the_newer_era_first_begins_with_initialize(anew: bool) -> None:
    async with TcpHost() as host, anyio.create_task_group() as tasks:
        talk = talk_with(host, LEGACY)

        async def run() -> None:
            async with await anyio.connect_tcp("127.0.0.1", host.port) as stream:
                peer = Peer(stream)
                for method in ("server/discover", "tools/call"):
                    refused = await peer.asked(0, method, {"_meta": META})
                    assert "error" in refused, "held or not, there is no session that it is of"
                cancelled = {"requestId": 0, "reason": "it is no use"}
                await peer.say(notification("notifications/cancelled", cancelled))
                if not anew:
                    await peer.initialize()
                    await peer.say(request(1, "tools/call", {"name": "echo"}))
                    await peer.hear()
                    return
            async with await anyio.connect_tcp("127.0.0.1", host.port) as stream:
                await Peer(stream).initialize()
                await anyio.sleep_forever()

        tasks.start_soon(run)
        link = await talk.open()
        assert [each.method for each in link.session] == ["initialize", INITIALIZED]
        assert link.account.found == {}
        assert [link] == talk.links[-1:]
        assert len(talk.links) == 1 + anew
        if not anew:
            await link.respond(await link.expect("tools/call"), text("8"))
        tasks.cancel_scope.cancel()


async def test_a_modern_conversation_opens_with_any_request() -> None:
    async with conversation(MODERN) as (_, link, peer):
        found = await together(link, peer.asked(1, "server/discover", {"_meta": META}))
        assert found["result"]["supportedVersions"] == ["2026-07-28"]
        assert found["result"]["resultType"] == "complete"
        assert {"ttlMs", "cacheScope", "_meta"} <= found["result"].keys()
        assert (await link.opened()).method == "server/discover"
        assert link.client_capabilities == {"roots": {}}
        refused = await together(link, peer.asked(2, "initialize"))
        assert refused["error"]["code"] == -32022
        assert refused["error"]["data"]["supported"] == ["2026-07-28"]


@pytest.mark.parametrize(
    ("method", "member"),
    [
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
        ("ping", None),
        ("logging/setLevel", None),
    ],
)
async def test_what_nobody_expects_is_answered_by_default(method: str, member: str | None) -> None:
    serving = Serving(tools=[tool("one")])
    async with conversation(serving=serving) as (_, link, peer):
        found = (await together(link, peer.asked("x", method)))["result"]
        assert list(found) == ([] if member is None else [member])
        if method == "tools/list":
            assert [each["name"] for each in found["tools"]] == ["one"]


async def test_a_case_answers_for_a_method_itself() -> None:
    async with conversation() as (talk, link, peer):
        talk.serving.by["tools/list"] = lambda message: failing(-1, "no", {"a": 1})
        found = await together(link, peer.asked(1, "tools/list"))
        assert found["error"] == {"code": -1, "message": "no", "data": {"a": 1}}
        talk.serving.by["tools/list"] = lambda message: None
        await peer.say(request(2, "tools/list"))
        found = await together(link, peer.asked(3, "odd/method"))
        assert (found["id"], found["error"]["code"]) == (3, -32601)


async def test_what_is_held_waits_until_it_is_expected() -> None:
    async with conversation() as (_, link, peer):
        await peer.say(request(1, "tools/call", {"name": "echo"}))
        await together(link, peer.asked(2, "ping"))
        assert [each.method for each in link.inbox] == ["tools/call"]
        message = await link.expect("tools/call")
        await link.respond(message, text("8"))
        assert (await peer.hear())["result"]["content"][0]["text"] == "8"
        await peer.say(request(3, "tools/call", {"name": "echo"}))
        message = await link.expect(lambda each: each.params.get("name") == "echo")
        await link.fail(message, -32602, "no")
        assert (await peer.hear())["error"] == {"code": -32602, "message": "no"}


async def test_a_request_that_is_expected_is_the_cases_to_answer() -> None:
    async with conversation() as (_, link, peer):
        await peer.say(request(1, "tools/list"))
        message = await link.expect("tools/list")
        await link.respond(message, {"tools": []})
        assert (await peer.hear())["result"] == {"tools": []}


async def test_the_kit_asks_and_hears_the_answer() -> None:
    async with conversation() as (_, link, peer):
        async with anyio.create_task_group() as tasks:

            async def answer() -> None:
                asked = await peer.hear()
                await peer.say(result("nobody's", {}))
                await peer.say(result(asked["id"], {"roots": []}))

            tasks.start_soon(answer)
            found = await link.ask("roots/list")
        assert found.kind is Kind.RESULT
        assert found.result == {"roots": []}
        told = await link.tell("ping", id=7)
        assert (await peer.hear())["id"] == 7
        await peer.say(error(7, -32601, "no"))
        assert (await link.answer_to(told)).code == -32601


async def test_asking_in_either_era() -> None:
    async with conversation() as (_, link, peer):
        await peer.say(request(1, "tools/call", {"name": "echo"}))
        message = await link.expect("tools/call")

        async def answer() -> None:
            asked = await peer.hear()
            await peer.say(result(asked["id"], {"roots": []}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            asking = await ask_client(link, message, "roots/list", {})
        assert (asking.call, asking.result) == (message, {"roots": []})
    async with conversation(MODERN) as (_, link, peer):
        await peer.say(request(1, "tools/call", {"name": "echo", "_meta": META}))
        message = await link.expect("tools/call")

        async def again() -> None:
            found = (await peer.hear())["result"]
            assert found["resultType"] == "input_required"
            assert found["inputRequests"] == {"asked": {"method": "roots/list", "params": {}}}
            responses: Any = {"asked": {"roots": []}}
            await peer.say(request(2, "tools/call", {"inputResponses": responses}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again)
            asking = await ask_client(link, message, "roots/list", {})
        assert asking.call.id == 2
        assert asking.result == {"roots": []}
        await require_input(link, asking.call, None, "state")
        assert (await peer.hear())["result"]["requestState"] == "state"


async def test_a_subscription_is_acknowledged() -> None:
    async with conversation(MODERN) as (talk, link, peer):
        filter = {"toolsListChanged": True}
        talk.serving.hold.discard("subscriptions/listen")
        params = {"notifications": filter, "_meta": META}
        found = await together(link, peer.asked("s", "subscriptions/listen", params))
        assert found["method"] == "notifications/subscriptions/acknowledged"
        assert found["params"]["notifications"] == filter
        assert found["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"{oops", "not JSON"),
        (b"\xff", "not UTF-8"),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, "jsonrpc"),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}, "id of a request"),
        ([request(1, "ping")], "has no batches"),
    ],
)
async def test_what_is_no_message_breaks_every_case(said: Any, why: str) -> None:
    async with conversation() as (_, link, peer):
        await peer.say(said)
        with pytest.raises(Broken, match=why):
            await link.expect("tools/call")


async def test_batches_where_there_are_any() -> None:
    async with conversation(BATCHES) as (_, link, peer):
        await peer.say([request(1, "ping"), notification("notifications/x"), request(2, "ping")])
        await link.expect("notifications/x")
        found = [await together(link, peer.hear()) for _ in range(2)]
        assert [each["id"] for each in found] == [1, 2]


async def test_who_waits_for_nothing_is_told_why() -> None:
    async with conversation() as (talk, link, peer):
        talk.timing = ClientTiming(answer=0.02)
        with pytest.raises(Broken, match="tools/call did not come: it is running"):
            await link.expect("tools/call")
        assert await link.wait_for("tools/call") is None
        with pytest.raises(Inconclusive, match="did not initialize"):
            await link.opened()
        talk.timing = QUICK
        await peer.stream.aclose()
        with pytest.raises(Broken, match="the connection is gone"):
            await link.expect("tools/call")
        assert await link.ended() is link.gone
        talk.host.put(None, Ended(3))
        assert (await talk.finished()).code == 3
        with pytest.raises(Broken, match="did not come: it has ended with status 3; its last"):
            await link.expect("tools/call")
        with pytest.raises(Broken, match="the client failed"):
            await talk.succeeded()


async def test_everything_is_answered_until_the_end() -> None:
    async with conversation() as (talk, _, peer), anyio.create_task_group() as tasks:

        async def run() -> None:
            found = await peer.asked(1, "tools/call", {"name": "echo"})
            assert found["result"]["content"]
            assert (await peer.asked(2, "resources/read", {"uri": "a:b"}))["result"]
            talk.host.put(None, Ended(0))

        tasks.start_soon(run)
        await talk.succeeded()


async def test_a_client_that_does_not_end_is_broken() -> None:
    async with conversation() as (talk, _, _):
        with pytest.raises(Broken, match=r"did not end within 0.05 s"):
            await talk.finished(0.05)


async def test_reports_of_scripts() -> None:
    async with TcpHost() as host:
        written = {
            "opened": {"result": {"revision": "2025-11-25"}},
            "steps": [
                {"result": None},
                {"error": {"code": 1, "message": "no"}},
                {"failure": "timeout", "message": "slow"},
                {"result": {}, "steps": [{"result": 1}], "progress": [{"progress": 1}]},
            ],
            "more": "to come",
        }
        talk = talk_with(host, LEGACY, json.dumps(written).encode())
        host.put(None, Ended(0))
        report = await talk.report()
        assert report.opened.good
        assert [each.good for each in report.steps] == [True, False, False, True]
        assert [str(each) for each in report.steps] == [
            "a result",
            "the error 1 ('no')",
            "the failure 'timeout' (slow)",
            "a result",
        ]
        assert (await talk.step(3)).steps[0].result == 1
        with pytest.raises(Broken, match="reports 4 steps"):
            await talk.step(4)
        talk = talk_with(host, LEGACY, None)
        host.put(None, Ended(0))
        with pytest.raises(Broken, match="wrote no report"):
            await talk.report()
        talk = talk_with(host, LEGACY, b"{}}")
        host.put(None, Ended(0))
        with pytest.raises(Inconclusive, match="cannot be read"):
            await talk.report()


# Over HTTP


class Caller:
    """A client made by hand, over HTTP: one connection a request."""

    def __init__(self, host: HttpHost) -> None:
        self.host = host

    async def ask(self, method: str, value: Any = None, path: str = "/mcp") -> bytes:
        """Send a request; returns the whole response."""
        body = b"" if value is None else json.dumps(value).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        found = b""
        async with await anyio.connect_tcp("127.0.0.1", self.host.port) as stream:
            await stream.send(head.encode() + body)
            with patience():
                try:
                    while True:
                        found += await stream.receive()
                except anyio.EndOfStream:
                    return found


async def over_http(talk: ClientTalk, *calls: Any) -> list[bytes]:
    """Let a client make these calls one after another, while the kit serves it."""
    found: list[bytes] = []

    async def run() -> None:
        found.extend([await each for each in calls])
        talk.host.put(None, Came())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await talk.until(lambda: len(found) == len(calls))
    return found


async def test_messages_over_http_get_their_statuses() -> None:
    async with HttpHost() as host:
        talk, caller = talk_with(host, LEGACY), Caller(host)
        ready = notification("notifications/initialized")
        first, second, third, fourth = await over_http(
            talk,
            caller.ask("POST", request(1, "initialize", {})),
            caller.ask("POST", ready),
            caller.ask("DELETE"),
            caller.ask("PUT"),
        )
        assert first.startswith(b"HTTP/1.1 200")
        assert b"mcp-session-id: kit-session-1" in first
        assert second.startswith(b"HTTP/1.1 202")
        assert third.startswith(b"HTTP/1.1 200")
        assert fourth.startswith(b"HTTP/1.1 405")
        (link,) = talk.links
        assert [each.method for each in link.posts()] == ["POST", "POST", "DELETE", "PUT"]
        assert link.header(link.seen[0], "host") == "here"


async def test_errors_over_http_have_the_statuses_of_their_era() -> None:
    async with HttpHost() as host:
        talk, caller = talk_with(host, MODERN), Caller(host)
        unknown, opening, listening = await over_http(
            talk,
            caller.ask("POST", request(1, "odd/method", {"_meta": META})),
            caller.ask("POST", request(2, "initialize", {})),
            caller.ask("GET"),
        )
        assert unknown.startswith(b"HTTP/1.1 404")
        assert opening.startswith(b"HTTP/1.1 400")
        assert b"-32022" in opening
        assert listening.startswith(b"HTTP/1.1 405")
    async with HttpHost() as host:
        talk, caller = talk_with(host, LEGACY), Caller(host)
        early, _, later = await over_http(
            talk,
            caller.ask("POST", request(1, "server/discover", {})),
            caller.ask("POST", request(2, "initialize", {})),
            caller.ask("POST", request(3, "odd/method", {})),
        )
        assert early.startswith(b"HTTP/1.1 400"), "a server of sessions knows nothing before one"
        assert later.startswith(b"HTTP/1.1 200")
        assert b"-32601" in later


async def test_what_is_said_about_a_request_goes_on_its_stream() -> None:
    async with HttpHost() as host:
        talk, caller = talk_with(host, LEGACY), Caller(host)
        found: list[bytes] = []

        async def run() -> None:
            found.append(await caller.ask("POST", request(1, "tools/call", {"name": "echo"})))
            host.put(None, Came())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            link = await talk.accept()
            message = await link.expect("tools/call")
            await link.notify("notifications/x", about=message)
            await link.notify("notifications/y")
            await link.respond(message, text("8"))
            await talk.until(lambda: found)
        data = found[0]
        assert b"text/event-stream" in data
        assert data.index(b"notifications/x") < data.index(b"notifications/y") < data.index(b'"8"')
        with pytest.raises(Inconclusive, match="no stream open"):
            await link.notify("notifications/z")


async def test_a_get_may_be_the_cases_to_answer() -> None:
    async with HttpHost() as host:
        talk, caller = talk_with(host, LEGACY), Caller(host)
        talk.serving.hold.add("GET")
        found: list[bytes] = []

        async def run() -> None:
            found.append(await caller.ask("GET"))
            host.put(None, Came())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            link = await talk.accept()
            asked = await link.expect_http("GET")
            await talk.http(link).reply(asked.exchange, 418)
            await talk.until(lambda: found)
        assert found[0].startswith(b"HTTP/1.1 418")


@pytest.mark.parametrize("answers", [1, 2])
async def test_all_answers_of_a_batch_go_on_its_stream(answers: int) -> None:
    async with HttpHost() as host:
        talk, caller = talk_with(host, BATCHES), Caller(host)
        batch = [notification("notifications/x"), *[request(n, "ping") for n in range(answers)]]
        (found,) = await over_http(talk, caller.ask("POST", batch))
        assert found.count(b"data: ") == answers


async def test_what_is_asked_elsewhere_is_not_there() -> None:
    async with HttpHost() as host:
        talk, caller = talk_with(host, LEGACY), Caller(host)
        found, _ = await over_http(
            talk, caller.ask("GET", path="/.well-known/oauth-protected-resource"), caller.ask("PUT")
        )
        assert found.startswith(b"HTTP/1.1 404")
        (link,) = talk.links
        assert [each.target for each in link.strays] == ["/.well-known/oauth-protected-resource"]
        assert [each.method for each in link.asked] == ["PUT"]
