"""Interface for the dialogue of a client case: the kit as a server, and a client to come."""

import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import Serving
from mcpcore_conformance.kit.client_wire import Arrival, Came, Ended, Host, HostWire
from mcpcore_conformance.kit.hosts.http import HttpWire
from mcpcore_conformance.kit.hosts.lines import LinesWire
from mcpcore_conformance.kit.hosts.stdio import StdioWire
from mcpcore_conformance.kit.hosts.ws import WsWire
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import Binding, Case
from mcpcore_conformance.kit.verdicts import Broken, Findings, Inconclusive, check

EPILOGUE = 0.5
"""Seconds for a client to end that has left; how it does says why."""


ENDLESS = (
    "the client does not end by itself when it is done, neither here nor where it only had to list"
    " the tools and leave (docs/how-to/conformance-clients.md)"
)


class ClientTiming(Struct, frozen=True):
    """Timeouts of the kit, in seconds."""

    start: float = 20.0
    """For the client's first sign after it was started."""
    answer: float = 8.0
    """For anything that is expected of it afterwards."""
    exit: float = 20.0
    """For its end, once it has got everything."""
    quiet: float = 0.15
    """For something that must not come."""


class Outcome(Struct, forbid_unknown_fields=False):
    """Client's report of one step; it has one of ``result``, ``error`` and ``failure``."""

    result: Any = UNSET
    error: dict[str, Any] | UnsetType = UNSET
    """An error of the server: ``code``, ``message``, perhaps ``data``."""
    failure: str | UnsetType = UNSET
    """Kind of a failure at the client: ``timeout``, ``closed``, ``invalid``, ``cancelled``,
    ``refused``, ``other``."""
    message: str = ""
    """Of a failure, for people."""
    progress: list[dict[str, Any]] = []
    """Progress that was reported meanwhile."""
    steps: list["Outcome"] = []
    """Of a group."""

    @property
    def good(self) -> bool:
        """True if there is a result."""
        return self.result is not UNSET

    def __str__(self) -> str:
        if self.failure is not UNSET:
            return f"the failure {self.failure!r} ({self.message})"
        if self.error is not UNSET:
            return f"the error {self.error.get('code')} ({self.error.get('message')!r})"
        return "a result" if self.good else "nothing"


class Report(Struct):
    """Report of a client that plays the scenario ``script``."""

    steps: list[Outcome] = []
    opened: Outcome = field(default_factory=Outcome)
    """Of connecting: ``revision``."""
    notifications: list[dict[str, Any]] = []
    """All that were seen: ``method`` and ``params``."""
    unsupported: str = ""
    """Why the client has not even begun: what it has no call for."""


class Launcher(Struct):
    """Starts the client; made by ``play_client``."""

    start: Callable[[str, dict[str, Any]], Awaitable[None]]
    """Takes the scenario and its context."""
    said: Callable[[], str]
    """The last lines of the client's standard error."""
    report: Callable[[], bytes | None]
    """Function that returns the client's report for the scenario ``script``, if there is one."""
    stop: Callable[[int], None]
    """Sends a signal to the client's process group."""


class ClientTalk(Findings):
    """View of a client for one case.  It is started when the case first waits for it."""

    def __init__(
        self,
        case: Case,
        host: Host,
        revision: Revision,
        launcher: Launcher,
        *,
        timing: ClientTiming,
        seed: int,
        declared: Mapping[str, Any] | None = None,
        says_ready: bool = True,
        skips_noise: bool = False,
        forgives: Collection[str] = (),
        endless: bool = False,
    ) -> None:
        super().__init__()
        self.case = case
        self.host = host
        self.revision = revision
        self.timing = timing
        self.serving = Serving()
        """Offers of the kit; edit them before the client is started."""
        self.declared = declared or {}
        """Capabilities that the client was found to declare."""
        self.says_ready = says_ready
        """True if the client was seen to send notifications/initialized."""
        self.endless = endless
        """True if the client was seen not to end by itself: then that says nothing of a clause."""
        self.skips_noise = skips_noise
        """True if lines that are no messages are passed over, and stand in ``invalid`` alone."""
        self.forgives = forgives
        """Flaws of messages that are passed over, of ``MISMADE``: each is taken as it is meant."""
        self.random = random.Random(seed)  # noqa: S311 - has to repeat itself
        self.links: list[ClientLink] = []
        self.ended: Ended | None = None
        self._launcher = launcher
        self._launched = False
        self._taken = 0
        self._by_wire: dict[int, ClientLink] = {}
        self._everything = False

    @property
    def binding(self) -> Binding:
        """The binding that is tested."""
        return self.host.binding

    # Opening

    async def launch(
        self, scenario: str | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Start the client now, with another scenario or context than those of the case."""
        self._launched = True
        self._taken = len(self.links)
        self._everything = False
        self.ended = None
        chosen = dict(self.case.context if context is None else context)
        await self._launcher.start(self.case.scenario if scenario is None else scenario, chosen)

    async def accept(self, within: float | None = None) -> ClientLink:
        """Wait for a connection on which nothing has been said (HTTP: for the first request).

        Raises Inconclusive if none comes.
        """
        if not self._launched:
            await self.launch()
        await self.until(
            lambda: len(self.links) > self._taken, self.timing.start if within is None else within
        )
        if len(self.links) <= self._taken:
            self._written()
            raise Inconclusive(f"the client did not connect: {self.state()}")
        self._taken += 1
        return self.links[self._taken - 1]

    async def begin(self, within: float | None = None) -> ClientLink:
        """Wait for a connection on which the client begins, see :meth:`ClientLink.begun`.

        Who speaks both eras may find out on another one, before, which of them it is.
        """
        link = await self.accept(within)

        def left() -> bool:
            over = link.elsewhere or link.gone is not None
            return over and len(self.links) > self._taken

        await self.until(lambda: link.beginning or left(), link=link)
        if link.beginning is None and left():
            return await self.begin()
        link.begins()
        return link

    async def initializing(self) -> tuple[ClientLink, Message]:
        """Wait for initialize, which is the case's to answer, and the connection that has it."""
        self.serving.hold.add("initialize")
        link = await self.begin()
        return link, await link.expect("initialize")

    async def open(self, within: float | None = None) -> ClientLink:
        """Wait for a connection and get to where the client sends requests.

        Legacy: initialize is answered and notifications/initialized is there.
        """
        link = await self.begin(within)
        await link.opened()
        return link

    async def expect(self, method: str, within: float | None = None) -> tuple[ClientLink, Message]:
        """As :meth:`open`, and wait for a message with this method, which is not answered."""
        link = await self.open()
        return link, await link.expect(method, within)

    # Waiting

    async def until(
        self,
        found: Callable[[], Any],
        within: float | None = None,
        *,
        link: ClientLink | None = None,
        wanted: Callable[[Message], bool] | None = None,
    ) -> Any:
        """Hear all connections, answer by default, until ``found`` gives something true."""
        end = self.host.now() + (self.timing.answer if within is None else within)
        left_alone = False
        while not (value := found()):
            for each in self.links:
                await each.serve(wanted if each is link else None, everything=self._everything)
            over = link is not None and link.gone is not None and not link.elsewhere
            if over and not left_alone:
                left_alone = True
                end = min(end, self.host.now() + EPILOGUE)
            left = end - self.host.now()
            if left <= 0:
                return None
            heard = await self.host.hear(0 if self.ended is not None else left)
            if heard is not None:
                await self._take(*heard)
            elif self.ended is not None:
                return None
        return value

    async def finished(self, within: float | None = None) -> Ended:
        """Answer everything by default until the client's process ends; Broken if it does not.

        Inconclusive for a client that was seen never to do it.
        """
        if not self._launched:
            await self.launch()
        self._everything = True
        seconds = self.timing.exit if within is None else within
        if self.endless:
            seconds = min(seconds, self.timing.answer)
        await self.until(lambda: self.ended, seconds)
        if self.ended is None and self.endless:
            raise Inconclusive(ENDLESS)
        if self.ended is None:
            raise Broken(f"the client did not end within {seconds:g} s")
        return self.ended

    async def succeeded(self, within: float | None = None) -> None:
        """Let the client come to its end; Broken if it ends with an error (its exit status)."""
        ended = await self.finished(within)
        check(ended.code == 0, f"the client failed: {self.state()}")

    async def report(self) -> Report:
        """Let the client come to its end and read what it reports of the scenario ``script``."""
        await self.finished()
        written = self._written()
        if written is None:
            raise Broken(f"the client wrote no report: {self.state()}")
        return written

    async def step(self, number: int = 0) -> Outcome:
        """The outcome of one step of the script, by its place."""
        report = await self.report()
        if len(report.steps) <= number:
            raise Broken(f"the client reports {len(report.steps)} steps; it got {report.opened}")
        return report.steps[number]

    async def good_step(self, what: str = "the call", number: int = 0) -> Outcome:
        """As :meth:`step`; Broken if ``what`` it was about has no result."""
        step = await self.step(number)
        check(step.good, f"{what} ended with {step}")
        return step

    def _written(self) -> Report | None:
        """Return the client's report.  Skips the case if the client cannot do the script."""
        data = self._launcher.report()
        if data is None:
            return None
        try:
            report = msgspec.json.decode(data, type=Report)
        except msgspec.MsgspecError as error:
            raise Inconclusive(f"the client's report cannot be read: {error}") from error
        if report.unsupported:
            self.skip(f"the client cannot do it: {report.unsupported}")
        return report

    async def _take(self, wire: HostWire | None, arrival: Arrival) -> None:
        if isinstance(arrival, Ended):
            self.ended = arrival
        elif wire is None:
            return
        elif isinstance(arrival, Came):
            link = ClientLink(self, wire, self.revision, self.serving)
            self.links.append(link)
            self._by_wire[wire.number] = link
        elif wire.number in self._by_wire:
            await self._by_wire[wire.number].take(arrival)

    def state(self, link: ClientLink | None = None) -> str:
        """Describe the state of the client, for details of verdicts."""
        if self.ended is not None:
            said = self._launcher.said()
            return f"it has ended with status {self.ended.code}" + (f"; {said}" if said else "")
        if link is not None and link.gone is not None:
            return f"the connection is gone ({link.gone.reason})"
        return "it is running"

    def stop(self, number: int) -> None:
        """Send a signal to the client's process group."""
        self._launcher.stop(number)

    # Wires as what they are

    def http(self, link: ClientLink) -> HttpWire:
        """For cases of HTTP only."""
        return cast("HttpWire", link.wire)

    def lines(self, link: ClientLink) -> LinesWire:
        """For cases of newline framing only."""
        return cast("LinesWire", link.wire)

    def process(self, link: ClientLink) -> StdioWire:
        """For cases of stdio only."""
        return cast("StdioWire", link.wire)

    def frames(self, link: ClientLink) -> WsWire:
        """For cases of WebSocket only."""
        return cast("WsWire", link.wire)

    # Time and judgement

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.host.pause(seconds)


async def call(talk: ClientTalk) -> tuple[ClientLink, Message]:
    """The first call of a tool, which is the case's to answer, and the connection that has it."""
    return await talk.expect("tools/call")


CalledLink = Annotated[ClientLink, call]
Call = Annotated[Message, call]
ReadyLink = Annotated[ClientLink, ClientTalk.open]
