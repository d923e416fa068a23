"""Visits to URLs that a request requires: told in both eras, waited for, and ended."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import Callbacks, ClientSettings, Context, ElicitUrl, Server, connect
from mcpcore.engine.config import Limits, Negotiation
from mcpcore.errors import CallFailed, InputFailed, PeerError, UrlElicitationRequired
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from tests.clock import patience
from tests.requirements.looking_glass import PROGRAM, ask, tell
from tests.transports.runtime_bench import bench
from tests.transports.scripted import child, greeting
from tests.transports.served import reachable

pytestmark = pytest.mark.anyio

LEGACY = "2025-11-25"
MODERN = "2026-07-28"


class Site:
    """A server whose tools want the user to sign in; ``visit`` is what a browser would do."""

    def __init__(self, *, tells: bool = True, helps: bool = True) -> None:
        self.server = Server("site")
        self.signed_in = False
        self.calls = 0
        self.asked: list[ElicitParams] = []
        self._tells = tells
        self._helps = helps
        self._completers: list[Callable[[], bool]] = []
        self.told: list[bool] = []
        self.server.tool(self.files)
        self.server.add_tool(self.files_too, "files_too")
        self.server.add_resource("site:files", self.files)
        self.server.add_prompt(self.files, "files")

    def files(self, context: Context) -> str:
        self.calls += 1
        if not self.signed_in:
            self._completers.append(context.elicitation_completer("e-1"))
            context.url_elicitation_required(
                ElicitUrl("Please sign in", "https://site.test/in", elicitation_id="e-1")
            )
        return "your files"

    async def files_too(self, context: Context) -> str:
        return self.files(context)

    def visit(self) -> None:
        self.signed_in = True
        if self._tells:
            self.told += [complete() for complete in self._completers]
        self._completers.clear()

    def agree(self, params: ElicitParams) -> ElicitResult:
        """What a user says who goes there at once."""
        self.asked.append(params)
        if self._helps:
            self.visit()
        return ElicitResult(action="accept")


def by_url(answer: Callable[[ElicitParams], Any], **more: Any) -> Callbacks:
    return Callbacks(elicitation_url=answer, **more)


@pytest.mark.requirement(
    "client/elicitation/required-error-list", "client/elicitation/required-error-url"
)
@pytest.mark.parametrize("tool", ["files", "files_too"])
async def test_the_error_of_2025_11_25(tool: str) -> None:
    async with bench(Site().server) as made:
        made.open_legacy({"elicitation": {"url": {}}})
        for method, params in (
            ("tools/call", {"name": tool}),
            ("prompts/get", {"name": "files"}),
            ("resources/read", {"uri": "site:files"}),
        ):
            reply = await made.call(method, params, revision=LEGACY)
            assert reply["error"] == {
                "code": -32042,
                "message": "Please sign in",
                "data": {
                    "elicitations": [
                        {
                            "mode": "url",
                            "message": "Please sign in",
                            "url": "https://site.test/in",
                            "elicitationId": "e-1",
                        }
                    ]
                },
            }


@pytest.mark.parametrize("tool", ["files", "files_too"])
async def test_the_round_of_2026_07_28(tool: str) -> None:
    site = Site()
    capabilities: dict[str, Any] = {"elicitation": {"url": {}}}
    async with bench(site.server) as made:
        call = {"name": tool}
        first = await made.call("tools/call", call, capabilities=capabilities)
        asked = first["result"]["inputRequests"]
        [(key, question)] = asked.items()
        assert question == {
            "method": "elicitation/create",
            "params": {
                "mode": "url",
                "message": "Please sign in",
                "url": "https://site.test/in",
            },
        }
        accepted = {"inputResponses": {key: {"action": "accept"}}}
        retry = {**call, **accepted, "requestState": first["result"]["requestState"]}
        second = await made.call("tools/call", retry, capabilities=capabilities)
        # They agreed, so that they are not asked again; but they have not been there yet.
        assert "inputRequests" not in second["result"]
        site.visit()
        retry = {**call, "requestState": second["result"]["requestState"]}
        last = await made.call("tools/call", retry, capabilities=capabilities)
        assert last["result"]["content"][0]["text"] == "your files"
        declined = {"inputResponses": {key: {"action": "decline"}}}
        site.signed_in = False
        reply = await made.call("tools/call", {**call, **declined}, capabilities=capabilities)
        assert reply["result"]["isError"] is True
        assert "the user does not visit https://site.test/in" in str(reply)


@pytest.mark.requirement("client/elicitation/declared-modes")
@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {}}, {"elicitation": {"form": {}}}])
async def test_a_client_that_cannot_be_sent_anywhere(capabilities: dict[str, Any]) -> None:
    async with bench(Site().server) as made:
        reply = await made.call("tools/call", {"name": "files"}, capabilities=capabilities)
        assert reply["error"]["code"] == -32021
        required: dict[str, Any] = {"requiredCapabilities": {"elicitation": {"url": {}}}}
        assert reply["error"]["data"] == required
    async with bench(Site().server) as made:
        made.open_legacy(capabilities)
        reply = await made.call("tools/call", {"name": "files"}, revision=LEGACY)
        assert reply["result"]["isError"] is True
        assert "does not support elicitation.url" in str(reply)


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18"])
async def test_revisions_without_visits(revision: str) -> None:
    site, asked = Site(), list[Any]()
    callbacks = by_url(asked.append)
    async with connect(site.server, revision=revision, callbacks=callbacks) as client:
        result = await client.call_tool("files")
    assert result.is_error is True
    assert "does not support elicitation.url" in result.text
    assert asked == []


@pytest.mark.requirement(
    "client/elicitation/complete-to-initiator", "client/elicitation/complete-id"
)
@pytest.mark.parametrize("transport", ["memory", "http", "ws"])
@pytest.mark.parametrize("tool", ["files", "files_too"])
async def test_the_client_waits_for_word_and_tries_again(transport: str, tool: str) -> None:
    site = Site(helps=False)
    told: list[str] = []
    others: list[str] = []
    agreed = anyio.Event()

    def agree(params: ElicitParams) -> ElicitResult:
        agreed.set()
        return site.agree(params)

    callbacks = by_url(agree, elicitation_complete=told.append)
    settings = ClientSettings(visit_timeout=60.0)
    with patience():
        async with (
            reachable(transport, site.server) as target,
            connect(target, revision=LEGACY, callbacks=callbacks, settings=settings) as client,
            connect(
                target, revision=LEGACY, callbacks=Callbacks(elicitation_complete=others.append)
            ) as other,
            anyio.create_task_group() as group,
        ):

            async def browse() -> None:
                await agreed.wait()
                await client.ping()  # what was answered before has been dealt with
                assert site.calls == 1, "it was tried again before the visit was over"
                site.visit()

            group.start_soon(browse)
            assert (await client.call_tool(tool)).text == "your files"
            await other.ping()
    assert site.calls == 2
    assert site.told == [True]
    assert [(each.mode, each.url, each.elicitation_id) for each in site.asked] == [
        ("url", "https://site.test/in", "e-1")
    ]
    assert told == ["e-1"]
    assert others == []


async def test_in_the_modern_era_the_same_callbacks_do() -> None:
    site = Site()
    async with connect(site.server, revision=MODERN, callbacks=by_url(site.agree)) as client:
        assert (await client.call_tool("files")).text == "your files"
        assert site.told == [False]  # there is no such notification any more


async def test_in_the_modern_era_it_is_tried_again_for_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    site = Site(helps=False)
    async with connect(site.server, revision=MODERN, callbacks=by_url(site.agree)) as client:
        monkeypatch.setattr(anyio, "sleep", sleep)
        with pytest.raises(CallFailed, match="asked for input more than 10 times"):
            await client.call_tool("files")
        monkeypatch.undo()
    assert slept == sorted(slept)
    assert 50 <= sum(slept) <= 60, slept


async def test_without_word_it_is_tried_again_when_patience_is_over() -> None:
    site = Site(tells=False)
    settings = ClientSettings(visit_timeout=0.0)
    async with connect(
        site.server, revision=LEGACY, callbacks=by_url(site.agree), settings=settings
    ) as client:
        assert (await client.call_tool("files")).text == "your files"


async def test_a_visit_that_never_helps_is_not_asked_for_for_ever() -> None:
    site = Site(helps=False)
    settings = ClientSettings(visit_timeout=0.0, limits=Limits(input_rounds=3))
    async with connect(
        site.server, revision=LEGACY, callbacks=by_url(site.agree), settings=settings
    ) as client:
        with pytest.raises(UrlElicitationRequired) as caught:
            await client.call_tool("files")
    assert len(site.asked) == 3
    assert caught.value.elicitations[0].url == "https://site.test/in"
    assert caught.value.code == -32042


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_who_refuses_gets_the_error(action: Any) -> None:
    callbacks = by_url(lambda params: ElicitResult(action=action))
    async with connect(Site().server, revision=LEGACY, callbacks=callbacks) as client:
        with pytest.raises(UrlElicitationRequired, match="Please sign in"):
            await client.call_tool("files")
        await client.ping()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"elicitations": [{"mode": "url", "message": "m", "url": "x:y"}]}, PeerError),
        ({"elicitations": []}, PeerError),
        ({"elicitations": "x"}, PeerError),
        (None, PeerError),
        (
            {
                "elicitations": [
                    {"mode": "url", "message": "m", "url": "javascript:x", "elicitationId": "e"}
                ]
            },
            InputFailed,
        ),
    ],
)
async def test_errors_that_nobody_could_follow(data: Any, kind: type[Exception]) -> None:
    error = {"code": -32042, "message": "go there", **({"data": data} if data else {})}
    asked: list[Any] = []
    settings = ClientSettings(negotiation=Negotiation.LEGACY)
    replies = {"initialize": greeting(LEGACY), "tools/call": {"error": error}}
    async with connect(child(replies), callbacks=by_url(asked.append), settings=settings) as client:
        with pytest.raises(kind) as caught:
            await client.call_tool("x")
    assert type(caught.value) is kind
    assert asked == []


@pytest.mark.requirement("client/elicitation/complete-unknown-ignored")
async def test_completions_of_unknown_or_finished_visits_are_ignored() -> None:
    told: list[str] = []
    everything: list[str] = []
    callbacks = by_url(
        Site().agree,
        elicitation_complete=told.append,
        notification=lambda method, params: everything.append(method),
    )
    settings = ClientSettings(negotiation=Negotiation.LEGACY)

    async with connect(PROGRAM, callbacks=callbacks, settings=settings) as client:
        wanted = {"mode": "url", "message": "m", "url": "https://x.test/", "elicitationId": "known"}
        assert await ask(client, "elicitation/create", wanted) == {"action": "accept"}
        for elicitation_id in ("unknown", "known", "known", 7):
            method = "notifications/elicitation/complete"
            await tell(client, method, {"elicitationId": elicitation_id})
    assert told == ["known"]
    assert everything == ["notifications/elicitation/complete"]
