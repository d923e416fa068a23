"""Playing one case against one client, and judging what came of it."""

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, Protocol

import anyio
from msgspec import Struct, field

from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.client_launch import SCRIPT, ClientProcess
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming, Launcher
from mcpcore_conformance.kit.client_wire import Host, HostSettings
from mcpcore_conformance.kit.hosts.core import CoreHost, CoreRun, MakeClient
from mcpcore_conformance.kit.hosts.http import HttpHost
from mcpcore_conformance.kit.hosts.lines import TcpHost, UnixHost
from mcpcore_conformance.kit.hosts.memory import InMemory, MemoryHost, MemoryRun
from mcpcore_conformance.kit.hosts.sse import SseHost
from mcpcore_conformance.kit.hosts.stdio import StdioHost
from mcpcore_conformance.kit.hosts.ws import WsHost
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import Binding, Case, Page, Result, Verdict
from mcpcore_conformance.kit.play import judged
from mcpcore_conformance.kit.verdicts import MISMADE, Broken, Ended

Tested = Sequence[str] | InMemory | MakeClient
"""A client under test: a command, one of this process, or what makes one for the core."""
HOSTS: Mapping[Binding, Callable[[HostSettings], Any]] = {
    Binding.HTTP: HttpHost,
    Binding.SSE: SseHost,
    Binding.STDIO: StdioHost,
    Binding.WS: WsHost,
    Binding.TCP: TcpHost,
    Binding.UNIX: UnixHost,
}
"""Hosts that clients can connect to, by binding."""

CALLING = frozenset(
    {
        "elicitation-sep1034-client-defaults",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-2020-12-preservation",
        "sep-2322-client-request-state",
        "sse-retry",
    }
)
"""Scenarios of which a call is the least."""
_UNMET = "the client did not connect in the scenario {}"

LIMIT = 60.0
"""Seconds for one case."""


class Between(Protocol):
    """Layer between the kit and the client, such as a mutant."""

    def host(self, host: Host) -> Host:
        """Return the host that the case gets in place of ``host``."""

    def report(self, data: bytes | None) -> bytes | None:
        """Return the report that the case gets in place of the client's."""


class Launched(Protocol):
    """The client of one case, run once or several times."""

    @property
    def errors(self) -> bytes:
        """Bytes of its standard error."""
        ...

    async def start(self, tasks: Any, scenario: str, context: Mapping[str, Any]) -> None:
        """Start it.  Raises Inconclusive if that cannot be done."""

    def report(self) -> bytes | None:
        """Return the report that it has written, if there is one."""

    def said(self) -> str:
        """The last lines of its standard error."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    async def aclose(self) -> None:
        """Leave nothing of it behind."""


class ClientFeatures(Struct):
    """Features that a client has shown in one revision on one binding."""

    revision: str = ""
    """The one that it speaks; empty: it does not speak the one that was tried."""
    capabilities: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    scenarios: set[str] = field(default_factory=set)
    """Of the scenarios that are no part of the official suite, those that it knows."""
    ready: bool = True
    """True if it sends notifications/initialized, where it should."""
    deaf: set[str] = field(default_factory=set)
    """Scenarios in which it has hung without connecting."""
    problems: list[str] = field(default_factory=list)
    silent: bool = False
    """True if it was started, said nothing at all, and did not end."""
    endless: bool = False
    """True if it did not end by itself when it was done."""
    noisy: bool = False
    """True if it writes lines that are no messages; they are passed over where that is known."""
    forgiven: set[str] = field(default_factory=set)
    """Flaws of its messages that a case has found; they are passed over by the others."""
    heard: bool = False
    """True if anything came of the client, of whatever kind."""
    broken: bool = False
    """True if the data that came was no message, or none that could begin a conversation."""
    tried: bool = False
    """True if bare cases are played although nobody knows that the revision is spoken."""

    def unspoken(self, revision: str) -> str:
        """Return why the revision is taken for one that is not spoken; empty if it is."""
        if self.revision == revision:
            return ""
        why = "; ".join(self.problems)
        return f"the client does not speak {revision}" + (f": {why}" if why else "")

    def has(self, need: str) -> str:
        """Return why a case that needs this does not apply; empty if it does."""
        kind, separator, name = need.partition(":")
        if separator:
            known = kind == "scenario" and name in self.scenarios
            return "" if known else f"the client does not know the {kind} {name}"
        value: Any = self.capabilities
        for part in need.split("."):
            if not isinstance(value, dict) or part not in value:
                return f"the client does not declare {need}"
            value = value[part]
        return ""


async def look_at_client(
    client: Tested,
    binding: Binding,
    revision: Revision,
    *,
    timing: ClientTiming | None = None,
    limit: float = LIMIT,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    between: Between | None = None,
) -> ClientFeatures:
    """Find out whether a client speaks a revision, and what it knows: one run, or two."""
    features = ClientFeatures()
    for scenario in (SCRIPT, "initialize"):
        features = ClientFeatures()

        async def look(talk: ClientTalk, features: ClientFeatures = features) -> None:
            await _look(talk, features)

        case = _probe(scenario, look)
        result = await play_client(
            case,
            client,
            binding,
            revision,
            timing=timing,
            limit=limit,
            env=env,
            cwd=cwd,
            between=between,
        )
        if result.detail:
            features.problems.append(result.detail)
        features.broken = result.verdict is Verdict.FAILED
        if features.scenarios or features.silent:
            # what hangs is not waited for again
            break
    return features


def _probe(scenario: str, look: Callable[[ClientTalk], Any]) -> Case:
    page = Page("probe")
    look.__doc__ = "The client shows what it is."
    context = {"steps": [{"do": "list", "what": "tools"}]} if scenario == SCRIPT else {}
    page.client(scenario=scenario, context=context).must("of/it", "-")(look)
    return page.cases[0]


async def _look(talk: ClientTalk, features: ClientFeatures) -> None:
    talk.skips_noise = True
    talk.forgives = MISMADE
    await talk.launch()
    try:
        link = await talk.begin()
        first = await link.begun()
    except Ended as error:
        strays = [stray for each in talk.links for stray in each.invalid]
        if strays and not any(each.seen for each in talk.links):
            # who has sent no messages may have meant these
            raise Broken(f"the client sent an invalid message: {strays[0].told}") from error
        raise
    finally:
        features.heard = any(
            each.asked or each.seen or each.noise or each.invalid for each in talk.links
        )
        features.silent = not features.heard and talk.ended is None
    # whether it goes on as it should is for the cases to find
    features.revision = talk.revision.name
    features.capabilities = link.client_capabilities
    info = first.params.get("clientInfo")
    features.info = info if isinstance(info, dict) else {}
    try:
        report = await talk.report()
    except Ended:
        return
    finally:
        features.noisy = any(each.stray for each in link.invalid)
        features.endless = talk.ended is None
        told = link.notifications("notifications/initialized")
        features.ready = bool(told) or not talk.revision.handshake
        _declined(talk, link, first, features)
    if report.steps:
        features.scenarios.add(SCRIPT)


def _declined(talk: ClientTalk, link: ClientLink, first: Message, features: ClientFeatures) -> None:
    """Consider a client that asked for another version than it was given, and left."""
    asked = first.params.get("protocolVersion")
    went_on = [each for each in link.session if each.method not in ("", "initialize", "ping")]
    other = asked != talk.revision.name and asked in BY_NAME
    if talk.revision.handshake and other and talk.ended is not None and not went_on:
        features.revision = ""
        features.problems.append(
            f"it asks for {asked}, and leaves where the answer is {talk.revision.name}"
        )


async def play_client(
    case: Case,
    client: Tested,
    binding: Binding,
    revision: Revision,
    *,
    features: ClientFeatures | None = None,
    timing: ClientTiming | None = None,
    limit: float = LIMIT,
    seed: int = 0,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    between: Between | None = None,
) -> Result:
    """Start a client once and play a case; every way to end becomes a verdict.

    ``features``: what :func:`look_at_client` found; without it the case is played whatever it
    needs.
    """
    result = Result(case=case, revision=revision.name, binding=binding, verdict=Verdict.PASSED)
    reason = not_applicable(case, binding, revision, features)
    if reason:
        result.verdict, result.detail = Verdict.NOT_APPLICABLE, reason
        return result
    if features is not None and case.scenario in features.deaf:
        result.verdict = Verdict.INCONCLUSIVE
        result.detail = f"{_UNMET.format(case.scenario)} before, and did not end"
        return result
    timing = timing or ClientTiming()
    settings = HostSettings(patience=timing.answer)
    made: Any
    if isinstance(client, InMemory):
        made = MemoryHost(settings)
    else:
        made = CoreHost(settings) if callable(client) else HOSTS[binding](settings)
    async with made:
        host: Host = made if between is None else between.host(made)
        process: Launched
        if isinstance(client, InMemory):
            process = MemoryRun(client, made, revision)
        elif callable(client):
            process = CoreRun(client, made, revision)
        else:
            process = ClientProcess(client, host, revision, env=env, cwd=cwd)

        running = False

        async def start(scenario: str, context: dict[str, Any]) -> None:
            nonlocal running
            await process.start(made.tasks, scenario, context)
            running = True

        def report() -> bytes | None:
            data = process.report()
            return data if between is None else between.report(data)

        talk = ClientTalk(
            case,
            host,
            revision,
            Launcher(start, process.said, report, process.signal),
            timing=timing,
            seed=seed,
            declared=None if features is None else features.capabilities,
            says_ready=features is None or features.ready,
            skips_noise=features is not None and features.noisy,
            forgives=() if features is None else features.forgiven,
            endless=features is not None and features.endless,
        )
        started, result.started = host.now(), time()
        try:
            with anyio.fail_after(limit):
                await judged(case, talk, result)
            applies = result.verdict is not Verdict.NOT_APPLICABLE
            if running and applies and not result.faulty:
                await _unmet(talk, result, features)
        except TimeoutError:
            result.verdict = Verdict.INCONCLUSIVE
            result.detail = f"the case was not over after {limit:g} s"
        finally:
            await process.aclose()
            result.seconds = host.now() - started
            result.notes, result.transcript = talk.notes, made.log.lines()
            if process.errors and result.verdict is not Verdict.PASSED:
                result.notes.append(f"stderr: {process.errors[-2000:].decode('utf-8', 'replace')}")
    return result


async def _unmet(talk: ClientTalk, result: Result, features: ClientFeatures | None) -> None:
    """Judge a client that has not done what makes up a scenario: it says nothing of a clause.

    One that ends of itself without it does not know the scenario, if it speaks the revision.
    """
    scenario = result.case.scenario
    calls = scenario not in CALLING or any(link.requests("tools/call") for link in talk.links)
    if not calls and all(link.gone for link in talk.links):
        # its process ends a moment after its connections
        await talk.until(lambda: talk.ended)
    code = None if talk.ended is None else talk.ended.code
    if talk.links and (calls or code is None):
        return
    speaks = features is not None and features.revision == talk.revision.name
    known = scenario in (SCRIPT, "initialize")
    # who has begun and then fails may have failed at what the case is about
    if speaks and not known and code is not None and (code == 0 or (code > 0 and not talk.links)):
        did = ", in which it makes no call" if talk.links else ""
        result.verdict = Verdict.NOT_APPLICABLE
        result.detail = f"the client does not know the scenario {scenario}{did}: {talk.state()}"
    elif not talk.links:
        result.verdict = Verdict.INCONCLUSIVE
        result.detail = f"{_UNMET.format(scenario)}: {talk.state()}"
        if code is None and features is not None:
            features.deaf.add(scenario)


def not_applicable(
    case: Case, binding: Binding, revision: Revision, features: ClientFeatures | None
) -> str:
    """Why a case does not apply here; empty if it does."""
    if not case.holds_in(revision):
        return f"the clause is not one of {revision.name}"
    if binding not in case.bindings:
        return f"the clause is not about {binding}"
    if binding is Binding.SSE and not revision.sessions:
        return f"{revision.name} has no HTTP+SSE"
    if features is None:
        return ""
    unspoken = features.unspoken(revision.name)
    if unspoken:
        # what it needs cannot be known, and a bare case needs nothing
        return "" if case.bare and features.tried else unspoken
    return next(filter(None, map(features.has, case.needs)), "")
