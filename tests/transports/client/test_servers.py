"""Several servers in one program: names, lists with gaps, routes, failover, health, closing."""

import json
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from mcpcore import Server, ServerEvent, Servers, ServersSettings, ServeSettings, connect_all
from mcpcore.engine.config import Negotiation
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import (
    AuthorizationError,
    BadTarget,
    CallFailed,
    CircuitOpen,
    ConnectionClosed,
    PeerError,
    RequestRefused,
    RequestTimeout,
    ServerUnavailable,
    SkillRefused,
)
from mcpcore.http.principals import Refusal
from mcpcore.policy.breaker import BreakerSettings, Circuit
from mcpcore.policy.health import Condition, ConditionChanged, HealthSettings, ProbeDue
from mcpcore.policy.retrying import RetryPlanned, RetrySettings
from mcpcore.relay.names import Naming
from mcpcore.spec.errors import INTERNAL_ERROR, McpError
from mcpcore.spec.types.content import ResourceLink
from mcpcore.spec.types.tools import ToolAnnotations
from mcpcore.types import PromptReference, ResourceTemplateReference
from mcpcore_transports.client.cache import STALE
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.config import load_targets
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.managed import (
    AVAILABILITY,
    START_SHARE,
    Availability,
    AvailabilityChanged,
    AvailabilitySignal,
    ServerOptions,
)
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from mcpcore_transports.http.client.authorization import BearerToken
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.running.middleware import CallNext
from mcpcore_transports.server.context import Context
from mcpcore_transports.targets import HttpTarget
from tests.clock import HOUR, Clock, patience, until
from tests.faults.cutting import listening
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

FRAGILE = str(Path(__file__).parents[1] / "fragile.py")
DEAD = "http://127.0.0.1:1/mcp"
QUICK = ClientSettings(reconnect=ReconnectSettings(first_delay=0.01, max_delay=0.02))
UNCACHED = ClientSettings(cache=False)
ONCE = RetrySettings(attempts=1)
REPEATABLE = ToolAnnotations(read_only_hint=True)


class Shop(Server):
    """Counts its calls, and answers them when it is open."""

    def __init__(self, name: str = "shop") -> None:
        super().__init__(name)
        self.calls: Counter[str] = Counter()
        self.waiting = anyio.Event()
        self.add_tool(self._buy, "buy")
        self.add_tool(self._look, "look", annotations=REPEATABLE)
        self.add_tool(self._wait, "wait")
        self.add_tool(self._link, "link")
        self.resource("file:///price.txt")(lambda: f"price of {name}")
        self.resource("item:///{id}")(lambda id: f"{name} has {id}")
        self.prompt(self.greet)

    def greet(self, whom: str) -> str:
        return f"{self.info.name} greets {whom}"

    def _buy(self) -> str:
        self.calls["buy"] += 1
        return self.info.name

    def _look(self) -> str:
        self.calls["look"] += 1
        return self.info.name

    async def _wait(self, context: Context) -> str:
        self.waiting.set()
        await anyio.sleep_forever()
        return ""

    def _link(self) -> ResourceLink:
        return ResourceLink(uri="file:///price.txt", name="price")


class Told:
    """Events that were reported."""

    def __init__(self) -> None:
        self.events: list[ServerEvent] = []

    def __call__(self, event: ServerEvent) -> None:
        self.events.append(event)

    def of(self, kind: type[Any], server: str) -> list[Any]:
        return [
            each.event for each in self.events if each.server == server and type(each.event) is kind
        ]

    def states(self, server: str) -> list[Availability]:
        return [each.after for each in self.of(AvailabilityChanged, server)]


def lasting(target: Any) -> ServerOptions:
    """Options of a server that is waited for longer than any test lasts."""
    settings = ClientSettings(reconnect=ReconnectSettings(first_delay=HOUR, max_delay=HOUR))
    return ServerOptions(targets=[target], settings=settings, start_timeout=HOUR, list_timeout=HOUR)


@asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """A server that accepts connections and says nothing."""

    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with listening(silent) as port:
        yield f"http://127.0.0.1:{port}/mcp"


async def test_a_dead_a_hanging_and_a_crashing_server_are_told_beside_the_others() -> None:
    crashing = [sys.executable, "-c", "raise SystemExit(3)"]
    with patience():
        async with (
            hanging() as silent,
            connect_all(
                {
                    "well": Shop(),
                    "dead": DEAD,
                    "hanging": ServerOptions(targets=[silent], list_timeout=0.2),
                    "crashing": crashing,
                    "far": Shop(),
                }
            ) as servers,
        ):
            found = await servers.tools()
            names = [tool.name for tool in found.items]
            assert names == [
                f"{server}__{tool}"
                for server in ("well", "far")
                for tool in ("buy", "look", "wait", "link")
            ]
            assert set(found.failures) == {"dead", "hanging", "crashing"}
            assert not found.complete
            for name, error in found.failures.items():
                assert name in str(error)
            assert isinstance(found.failures["hanging"], RequestTimeout)
            assert isinstance(found.failures["dead"], ServerUnavailable)
            assert (await servers.call_tool("well__buy")).text == "shop"


async def test_a_list_does_not_wait_for_another_attempt() -> None:
    told = Told()
    settings = ClientSettings(reconnect=ReconnectSettings(first_delay=5.0))
    dead = ServerOptions(targets=[DEAD], settings=settings)
    with patience():
        async with connect_all({"dead": dead}, report=told) as servers:
            for _ in range(2):
                assert list((await servers.tools()).failures) == ["dead"]
            assert told.states("dead") == [Availability.CONNECTING, Availability.WAITING]
            assert not told.of(RetryPlanned, "dead")


async def test_hanging_servers_keep_no_other_from_beginning(clock: Clock) -> None:
    told = Told()
    with patience():
        async with hanging() as silent:
            given = {f"h{number}": lasting(silent) for number in range(4)}
            settings = ServersSettings(max_starts=4)
            async with (
                connect_all({**given, "well": Shop()}, settings=settings, report=told) as servers,
                anyio.create_task_group() as group,
            ):
                group.start_soon(servers.tools)
                await until(lambda: told.states("well"))
                assert told.states("well") == [Availability.CONNECTING]
                await clock.skip(START_SHARE)
                await until(lambda: Availability.OPEN in told.states("well"))
                assert (await servers.call_tool("well__buy")).text == "shop"
                group.cancel_scope.cancel()


@pytest.mark.parametrize("naming", Naming)
async def test_names_follow_the_setting(naming: Naming, caplog: pytest.LogCaptureFixture) -> None:
    one, other = Shop("one"), Shop("other")
    settings = ServersSettings(naming=naming)
    with patience(), caplog.at_level(logging.WARNING):
        async with connect_all({"one": one, "other": other}, settings=settings) as servers:
            found = await servers.tools()
            names = [tool.name for tool in found.items if tool.name.endswith("buy")]
            expected = {
                Naming.ALWAYS: ["one__buy", "other__buy"],
                Naming.ON_CONFLICT: ["buy", "other__buy"],
                Naming.NEVER: ["buy"],
            }[naming]
            assert names == expected
            assert [(await servers.call_tool(name)).text for name in names] == [
                "one",
                "other",
            ][: len(names)]
            texts = [str(each) for each in found.conflicts]
            clash = "the tool 'buy' of 'other' is left out: 'one' has one of that name"
            assert (clash in texts) == (clash in caplog.text) == (naming is Naming.NEVER)
            assert [tool.name for tool in (await servers.tools()).items if "buy" in tool.name] == (
                expected
            )


@pytest.mark.parametrize("naming", [Naming.ALWAYS, Naming.ON_CONFLICT])
async def test_every_kind_of_thing_goes_to_its_server(naming: Naming) -> None:
    settings = ServersSettings(naming=naming)
    prefix, mark = ("one__", "one+") if naming is Naming.ALWAYS else ("", "")
    with patience():
        async with connect_all(
            {"one": Shop("one"), "two": Server("two")}, settings=settings
        ) as all_:
            assert (await all_.call_tool(f"{prefix}look")).text == "one"
            (link,) = (await all_.call_tool(f"{prefix}link")).content
            assert isinstance(link, ResourceLink)
            assert link.uri == f"{mark}file:///price.txt"
            (listed,) = (await all_.resources()).items
            assert listed.uri == link.uri
            (template,) = (await all_.resource_templates()).items
            assert template.uri_template == f"{mark}item:///{{id}}"
            for uri, text in ((link.uri, "price of one"), (f"{mark}item:///7", "one has 7")):
                (content,) = (await all_.read_resource(uri)).contents
                assert (content.uri, getattr(content, "text", None)) == (uri, text)
            (prompt,) = (await all_.prompts()).items
            got = await all_.get_prompt(prompt.name, {"whom": "Ada"})
            assert prompt.name == f"{prefix}greet"
            assert getattr(got.messages[0].content, "text", None) == "one greets Ada"


SKILL = "---\nname: refunds\ndescription: Pays back\n---\n"


def skilled(name: str, *, list_changed: bool = True) -> Server:
    server = Server(name, list_changed=list_changed)
    server.add_skills({"refunds/SKILL.md": SKILL.encode(), "refunds/a.md": name.encode()})
    return server


@pytest.mark.parametrize("naming", Naming)
async def test_skills_of_all_servers_are_loaded_by_the_names_that_are_listed(
    naming: Naming,
) -> None:
    mark = {Naming.ALWAYS: ("one+", "two+"), Naming.ON_CONFLICT: ("", "two+"), Naming.NEVER: ("",)}
    settings = ServersSettings(naming=naming)
    given = {"one": skilled("one"), "none": Shop(), "two": skilled("two")}
    with patience():
        async with connect_all(given, settings=settings) as servers:
            await servers.resources()
            found = await servers.skills()
            uris = [f"{each}skill://refunds/SKILL.md" for each in mark[naming]]
            assert [each.uri for each in found.items] == uris
            assert not found.failures
            assert len(found.conflicts) == (naming is Naming.NEVER)
            for skill, name in zip(found.items, ("one", "two"), strict=False):
                for given_as in (skill, skill.uri):
                    loaded = await servers.load_skill(given_as)
                    assert (loaded.text, await loaded.read("a.md")) == (SKILL, name.encode())
            with pytest.raises(PeerError, match="No skill is served"):
                await servers.get_skill(f"{mark[naming][0]}skill://refunds/a.md")


async def test_a_skill_that_has_changed_is_refused_and_the_caches_forget_it() -> None:
    one = skilled("one", list_changed=False)
    with patience():
        async with connect_all({"one": one, "two": skilled("two")}) as servers:
            (skill, _) = (await servers.skills()).items
            assert (await servers.get_skill(skill.uri)).skill == skill
            changed = {"refunds/SKILL.md": SKILL.encode(), "refunds/a.md": b"new"}
            one.add_skills(changed, replace=True)
            loaded = await servers.load_skill(skill.uri)
            assert loaded.entry == skill  # as it was kept
            with pytest.raises(SkillRefused, match="does not have the digest"):
                await loaded.read("a.md")
            loaded = await servers.load_skill(skill.uri)
            assert await loaded.read("a.md") == b"new"


async def test_completions_and_errors_have_the_names_of_the_program() -> None:
    server = Shop()

    @server.completion(prompt="greet", argument="whom")
    def whom(value: str) -> list[str]:
        return [f"{value}!"]

    with patience():
        async with connect_all({"one": server, "two": DEAD}) as servers:
            done = await servers.complete(PromptReference(name="one__greet"), "whom", "A")
            assert done.completion.values == ["A!"]
            template = ResourceTemplateReference(uri="one+item:///{id}")
            assert (await servers.complete(template, "id", "")).completion.values == []
            with pytest.raises(PeerError) as caught:
                await servers.read_resource("one+file:///none")
            assert caught.value.error.data is not None
            assert json.loads(bytes(caught.value.error.data)) == {"uri": "one+file:///none"}


@pytest.mark.parametrize(
    ("naming", "hint"),
    [(Naming.ALWAYS, ""), (Naming.NEVER, "; no list was had from dead")],
)
async def test_an_unknown_name_is_refused(naming: Naming, hint: str) -> None:
    settings = ServersSettings(naming=naming)
    with patience():
        async with connect_all({"one": Shop(), "dead": DEAD}, settings=settings) as servers:
            with pytest.raises(RequestRefused, match=f"no server has a tool 'none'{hint}$"):
                await servers.call_tool("none")


async def test_one_server_keeps_its_names() -> None:
    with patience():
        async with connect_all({"one": Shop()}) as servers:
            assert (await servers.call_tool("buy")).text == "shop"
            assert "buy" in [tool.name for tool in (await servers.tools()).items]


async def test_the_servers_of_a_file_are_targets(tmp_path: Path) -> None:
    command = {"command": sys.executable, "args": [FRAGILE, str(tmp_path)]}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"fragile": command, "dead": {"url": DEAD}}}))
    with patience():
        async with connect_all(load_targets(file)) as servers:
            found = await servers.tools()
            assert "fragile__touch" in [tool.name for tool in found.items]
            assert list(found.failures) == ["dead"]


# Failover


@pytest.mark.parametrize("tool", ["buy", "look"])
async def test_a_call_that_was_not_sent_goes_to_the_fallback(tool: str) -> None:
    spare = Shop("spare")
    options = ServerOptions(targets=[DEAD], fallback=[spare], retry=ONCE)
    with patience():
        async with connect_all({"shop": options}) as servers:
            assert (await servers.call_tool(tool)).text == "spare"
            assert spare.calls == {tool: 1}
            assert (await servers.tools()).complete


async def test_a_target_that_is_started_again_is_waited_for_only_if_there_is_no_other(
    tmp_path: Path,
) -> None:
    told, spare = Told(), Shop("spare")
    command = [sys.executable, FRAGILE, str(tmp_path), "crash", "mute"]
    options = ServerOptions(
        targets=[command], fallback=[spare], settings=QUICK, start_timeout=HOUR, retry=ONCE
    )
    with patience():
        async with connect_all({"shop": options}, report=told) as servers:
            for _ in range(2):
                assert (await servers.call_tool("buy", timeout=HOUR)).text == "spare"
                await until(lambda: Availability.RECONNECTING in told.states("shop"))


async def test_a_lost_connection_is_told_at_once() -> None:
    told = Told()
    async with (
        served(Shop(), tcp=ANY_PORT) as site,
        connect_all({"one": lasting(site.url)}, report=told) as servers,
    ):
        assert (await servers.call_tool("buy")).text == "shop"
        site.stop.set()
        await until(lambda: Availability.WAITING in told.states("one"))
        (health,) = servers.health()["one"]
        assert health.reason is not None
        with pytest.raises(ServerUnavailable) as caught:
            await servers.call_tool("buy")
        assert caught.value.wait is not None
        assert 0 < caught.value.wait <= HOUR


async def test_a_failure_for_good_waits_for_a_request() -> None:
    told = Told()
    options = ServerOptions(targets=[Shop()], auth=BearerToken("secret"), settings=QUICK)
    with patience():
        async with connect_all({"one": options}, report=told) as servers:
            for attempt in (1, 2):
                with pytest.raises(ServerUnavailable, match="without credentials") as caught:
                    await servers.call_tool("buy")
                assert caught.value.wait is None
                await until(lambda: told.states("one")[-1] is Availability.IDLE)
                assert told.states("one") == attempt * [
                    Availability.CONNECTING,
                    Availability.WAITING,
                    Availability.IDLE,
                ]
            assert not told.of(RetryPlanned, "one")


async def test_a_server_that_was_down_and_failed_for_good_is_tried_by_a_request() -> None:
    told, first, spare = Told(), Shop("first"), Shop("spare")
    refusing = ServeSettings(http_link=HttpServerSettings(authenticate=lambda _: Refusal()))

    @first.tool
    def die() -> str:
        raise McpError(INTERNAL_ERROR, "dead")

    with patience():
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(first, ws=ANY_PORT))
            address = site.url.removeprefix("ws://").removesuffix("/mcp")
            options = ServerOptions(
                targets=[site.url],
                fallback=[spare],
                health=HealthSettings(down_after=1),
                settings=QUICK,
                retry=ONCE,
            )
            servers = await stack.enter_async_context(connect_all({"shop": options}, report=told))
            with pytest.raises(PeerError, match="dead"):
                await servers.call_tool("die")
            assert servers.health()["shop"][0].condition is Condition.DOWN
            site.stop.set()
            await site.ended.wait()
            async with served(first, ws=address, settings=refusing):
                await until(lambda: told.states("shop")[-1] is Availability.IDLE)
            await stack.enter_async_context(served(first, ws=address))
            assert (await servers.call_tool("buy")).text == "first"


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("tool", "repeat"), [("die", None), ("die", True), ("die", False), ("look", None)]
)
async def test_a_call_that_may_have_been_carried_out_goes_elsewhere_only_if_it_may_be_repeated(
    tool: str, repeat: bool | None, listed: bool
) -> None:
    async with served(Dying()) as first:
        spare = Shop("spare")
        spare.add_tool(spare._look, "die")
        options = ServerOptions(targets=[first.url], fallback=[spare], retry=ONCE, settings=QUICK)
        async with connect_all({"shop": options}) as servers:
            if listed:
                await servers.tools()
            again = repeat or (repeat is None and listed and tool == "look")
            if again:
                assert (await servers.call_tool(tool, repeat=repeat)).text == "spare"
            else:
                with pytest.raises(PeerError):
                    await servers.call_tool(tool, repeat=repeat)
            assert spare.calls["look"] == again


class Dying(Server):
    """Fails in the middle of its tools."""

    def __init__(self) -> None:
        super().__init__("dying")
        self.add_tool(self._fail, "die")
        self.add_tool(self._fail, "look", annotations=REPEATABLE)

    def _fail(self) -> str:
        raise McpError(INTERNAL_ERROR, "broken")


@pytest.mark.parametrize("legacy", [False, True])
async def test_calls_are_balanced_but_a_session_stays(legacy: bool) -> None:
    shops = [Shop("one"), Shop("other")]
    negotiation = Negotiation.LEGACY if legacy else Negotiation.AUTO
    settings = ClientSettings(negotiation=negotiation)
    options = ServerOptions(targets=shops, weights=[1, 1], settings=settings)
    with patience():
        async with connect_all({"shop": options}) as servers:
            for _ in range(40):
                await servers.call_tool("buy")
    counts = sorted(shop.calls["buy"] for shop in shops)
    assert counts == [0, 40] if legacy else counts[0] > 5


async def test_a_server_that_flaps_is_started_again_and_nothing_is_done_twice(
    tmp_path: Path,
) -> None:
    told = Told()
    command = [sys.executable, FRAGILE, str(tmp_path), "crash"]
    options = ServerOptions(
        targets=[command], settings=QUICK, retry=RetrySettings(attempts=50, first_delay=0.05)
    )

    def starts() -> int:
        return len(list(tmp_path.glob("start-*")))

    with patience():
        async with connect_all({"flap": options, "well": Shop()}, report=told) as servers:
            for number in range(2, 4):
                await servers.call_tool("flap__touch")
                assert starts() == number
                with pytest.raises(ConnectionClosed, match="server 'flap': "):
                    await servers.call_tool("flap__die")
            await servers.call_tool("flap__touch")
            assert starts() == 4
            assert (await servers.call_tool("well__buy")).text == "shop"
    states = told.states("flap")
    assert states.count(Availability.OPEN) == 3
    assert states[-1] is Availability.CLOSED
    for before, after in zip([Availability.IDLE, *states], states, strict=False):
        assert after in {to for (since, _), to in AVAILABILITY.items() if since is before}


async def test_a_conversation_that_ends_unnoticed_is_followed_by_another() -> None:
    options = ServerOptions(targets=[Shop()], settings=QUICK)
    with patience():
        async with connect_all({"one": options}) as servers:
            client = await servers.client("one")
            assert client._core.link is not None
            await client._core.link.aclose()
            await until(lambda: client.closed)
            assert (await servers.call_tool("buy")).text == "shop"
            assert await servers.client("one") is not client


async def test_the_revisions_are_those_of_the_options() -> None:
    options = ServerOptions(targets=[Shop()], revisions=["2025-06-18", "2025-03-26"])
    with patience():
        async with connect_all({"one": options}) as servers:
            assert (await servers.client("one")).revision.name == "2025-06-18"
            assert servers.health()["one"][0].revision == "2025-06-18"


# Stale lists


@pytest.mark.parametrize("stale", [0.0, HOUR])
async def test_the_last_list_of_a_server_that_is_away_is_used_if_asked_for(
    stale: float, clock: Clock
) -> None:
    shop = Shop()
    shop.add_skills({"refunds/SKILL.md": SKILL.encode()})
    async with served(shop) as site:
        options = ServerOptions(targets=[site.url], stale=stale, retry=ONCE, settings=UNCACHED)
        async with connect_all({"shop": options, "dead": DEAD}) as servers:
            fresh, skills = await servers.tools(), (await servers.skills()).items
            assert not fresh.stale
            site.stop.set()
            await site.ended.wait()
            found = await servers.tools()
            assert set(found.failures) == {"shop", "dead"}
            assert set(found.stale) == ({"shop"} if stale else set())
            assert [tool.name for tool in found.items] == (
                [tool.name for tool in fresh.items] if stale else []
            )
            assert (await servers.skills()).items == (skills if stale else [])
            for tool in found.items:
                assert tool.meta is not None
                assert 0 <= tool.meta[STALE] <= stale
            await clock.skip(2 * HOUR)
            assert not (await servers.tools()).items


async def test_a_list_that_is_too_long_is_not_kept() -> None:
    async with served(Shop()) as site:
        options = ServerOptions(targets=[site.url], stale=HOUR, retry=ONCE, settings=UNCACHED)
        settings = ServersSettings(max_kept=3)
        async with connect_all({"shop": options}, settings=settings) as servers:
            assert len((await servers.tools()).items) == 4
            assert len((await servers.prompts()).items) == 1
            site.stop.set()
            await site.ended.wait()
            assert (await servers.tools()).items == []
            assert len((await servers.prompts()).items) == 1


# Policies


async def test_a_server_that_fails_gets_no_calls_until_a_probe(clock: Clock) -> None:
    breaker = BreakerSettings(consecutive=2, open_time=HOUR)
    options = ServerOptions(targets=[Dying()], breaker=breaker, retry=ONCE)
    with patience():
        async with connect_all({"one": options, "two": Shop()}) as servers:
            for expected in (PeerError, PeerError, CircuitOpen):
                with pytest.raises(expected):
                    await servers.call_tool("one__die")
            (health,) = servers.health()["one"]
            assert (health.circuit, health.failures, health.requests) == (Circuit.OPEN, 2, 2)
            assert (await servers.call_tool("two__buy")).text == "shop"
            await clock.skip(HOUR)
            with pytest.raises(PeerError):
                await servers.call_tool("one__die")


async def test_a_quiet_server_is_probed_and_one_that_is_down_is_the_last_choice(
    clock: Clock,
) -> None:
    told = Told()
    health = HealthSettings(interval=HOUR, down_after=2)
    spare = Shop("spare")
    async with served(Shop("first")) as site:
        options = ServerOptions(targets=[site.url], fallback=[spare], health=health, retry=ONCE)
        async with connect_all({"shop": options}, report=told) as servers:
            assert (await servers.call_tool("buy")).text == "first"
            await clock.skip(HOUR)
            await until(lambda: servers.health()["shop"][0].requests == 2)
            assert told.of(ProbeDue, "shop") == [ProbeDue(method="server/discover")]
            assert servers.health()["shop"][0].condition is Condition.UP
            site.stop.set()
            await site.ended.wait()
            for _ in range(2):
                failures = servers.health()["shop"][0].failures
                await clock.skip(HOUR)
                await until(lambda: servers.health()["shop"][0].failures > failures)  # noqa: B023
            assert told.of(ConditionChanged, "shop")[-1].after is Condition.DOWN
            asked = servers.health()["shop"][0].requests
            assert (await servers.call_tool("buy")).text == "spare"
            assert servers.health()["shop"][0].requests == asked


async def test_a_server_that_waits_for_authorization_is_not_down_for_want_of_probes(
    clock: Clock,
) -> None:
    tokens = ["t"]
    told = Told()
    health = HealthSettings(interval=HOUR, down_after=1)
    async with served(Shop()) as site:
        target = HttpTarget(site.url, auth=lambda: tokens[0])
        options = ServerOptions(targets=[target], health=health, retry=ONCE)
        async with connect_all({"shop": options}, report=told) as servers:
            assert (await servers.call_tool("buy")).text == "shop"
            tokens.clear()
            with pytest.raises(AuthorizationError):
                await servers.call_tool("buy")
            asked = servers.health()["shop"][0].requests
            for probes in (1, 2, 3):
                await clock.skip(HOUR)
                await until(lambda: len(told.of(ProbeDue, "shop")) == probes)  # noqa: B023
            assert servers.health()["shop"][0].requests == asked
            assert servers.health()["shop"][0].condition is Condition.UP
            tokens.append("t")
            assert (await servers.call_tool("buy")).text == "shop"


async def test_the_report_has_percentiles_of_latency(clock: Clock) -> None:
    server = Server("slow")

    @server.tool
    async def slow() -> str:
        await anyio.sleep(HOUR)
        return ""

    with patience():
        options = ServerOptions(targets=[server], health=HealthSettings(interval=10 * HOUR))
        async with connect_all({"one": options}) as servers:
            for _ in range(8):
                await (await servers.client("one")).ping()
            for _ in range(2):
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        lambda: servers.call_tool("slow", timeout=2 * HOUR),
                    )
                    await until(lambda: servers.health()["one"][0].in_flight == 1)
                    await clock.skip(HOUR)
            (health,) = servers.health()["one"]
    assert (health.requests, health.failures, health.in_flight) == (10, 0, 0)
    assert health.p50 is not None
    assert health.p90 is not None
    assert health.p99 is not None
    assert health.p50 < HOUR <= health.p90 <= health.p99


# Limits


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: connect_all({}), ValueError, "expected 1 to 64 servers, not 0"),
        (
            lambda: connect_all({"a": DEAD, "b": DEAD}, settings=ServersSettings(max_servers=1)),
            ValueError,
            "expected 1 to 1 servers, not 2",
        ),
        (lambda: connect_all({"!": DEAD, "b": DEAD}), ValueError, "'!' cannot name a server"),
        (lambda: connect_all({"a": "ftp://x"}), BadTarget, "server 'a': .*no target"),
        (lambda: ServerOptions(targets=[DEAD, "x"]), BadTarget, "'x' is no target"),
        (lambda: ServerOptions(targets=[]), ValueError, "at least one target"),
        (lambda: ServerOptions(targets=[DEAD], weights=[1, 2]), ValueError, "for each target"),
        (lambda: ServerOptions(targets=[DEAD], weights=[0]), ValueError, "must be positive"),
        (lambda: ServerOptions(targets=[DEAD], revisions=["1"]), ValueError, "'1'"),
        (lambda: ServerOptions(targets=[DEAD], in_flight=0), ValueError, "in_flight must be"),
        (
            lambda: ServerOptions(targets=[DEAD], callbacks=Callbacks(connection=print)),
            ValueError,
            "`report` tells",
        ),
        (lambda: ServersSettings(max_starts=0), ValueError, "max_starts must be"),
    ],
)
async def test_settings_that_cannot_be_used_are_refused(
    make: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make()


def test_options_are_shown_without_secrets() -> None:
    targets = ["https://host/mcp?token=hush", ["program", "--key", "hush"]]
    shown = repr(ServerOptions(targets=targets, fallback=targets))
    assert "hush" not in shown
    assert shown.count("program") == 2


async def test_what_a_report_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: ServerEvent) -> None:
        raise LookupError("no room")

    with patience():
        async with connect_all({"one": Shop()}, report=fails) as servers:
            assert (await servers.call_tool("buy")).text == "shop"
    assert "no room" in caplog.text


async def test_requests_to_one_server_are_bounded() -> None:
    shop = Shop()
    with patience():
        async with (
            connect_all({"one": ServerOptions(targets=[shop], in_flight=1), "two": Shop()}) as all_,
            anyio.create_task_group() as group,
        ):
            group.start_soon(all_.call_tool, "one__wait")
            await shop.waiting.wait()
            with pytest.raises(RequestRefused, match="'one' has 1 requests already"):
                await all_.call_tool("one__buy")
            assert (await all_.call_tool("two__buy")).text == "shop"
            group.cancel_scope.cancel()
        assert not shop.calls


@pytest.mark.parametrize("silent", [False, True])
async def test_a_timeout_is_for_the_connection_and_the_answer(silent: bool, clock: Clock) -> None:
    async with hanging() as url:
        given: Any = lasting(url) if silent else Shop()
        text = "no connection in time" if silent else "server 'one': "
        with patience():
            async with connect_all({"one": given}) as servers, anyio.create_task_group() as group:
                ended = anyio.Event()
                group.start_soon(clock.skip_until, ended.is_set, 5.0)
                with pytest.raises(CallFailed, match=text):
                    await servers.call_tool("wait", timeout=5.0)
                ended.set()


# Ends


@pytest.mark.parametrize("ending", ["end", "exception", "cancellation"])
async def test_the_end_closes_every_connection(ending: str) -> None:
    shop, told, errors_ = Shop(), Told(), []

    async def call(servers: Servers) -> None:
        try:
            await servers.call_tool("shop__wait")
        except ConnectionClosed as error:
            errors_.append(error)

    with patience():
        async with hanging() as silent, anyio.create_task_group() as group:
            given = {
                "shop": shop,
                "hanging": lasting(silent),
                "dead": lasting(DEAD),
                "unused": Shop(),
            }
            with anyio.CancelScope() as scope:
                try:
                    async with connect_all(given, report=told) as servers:
                        group.start_soon(call, servers)
                        group.start_soon(servers.tools)
                        await shop.waiting.wait()
                        await until(lambda: Availability.WAITING in told.states("dead"))
                        if ending == "exception":
                            raise LookupError
                        if ending == "cancellation":
                            scope.cancel()
                            await anyio.sleep_forever()
                except LookupError:
                    assert ending == "exception"
            assert scope.cancelled_caught == (ending == "cancellation")
    assert len(errors_) == 1
    for name in given:
        assert told.states(name)[-1] is Availability.CLOSED


async def test_the_end_does_not_wait_for_a_probe(clock: Clock) -> None:
    probing = anyio.Event()

    async def hang(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        if request.method == "server/discover":
            probing.set()
            await anyio.sleep_forever()
        return await call_next()

    health = HealthSettings(interval=HOUR, probe_time=HOUR)
    options = ServerOptions(targets=[Shop()], health=health, middleware=[hang])
    with patience():
        async with connect_all({"one": options}) as servers:
            await servers.call_tool("buy")
            await clock.skip(HOUR)
            await probing.wait()


async def test_after_the_end_nothing_is_sent() -> None:
    shop = Shop()
    with patience():
        async with connect_all({"one": shop}) as servers:
            pass
        with pytest.raises(ConnectionClosed):
            await servers.call_tool("buy")
    assert not shop.calls


def test_every_state_can_be_closed() -> None:
    for state in Availability:
        closes = (state, AvailabilitySignal.CLOSE) in AVAILABILITY
        assert closes == (state is not Availability.CLOSED)
