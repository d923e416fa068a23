"""Interface for the dialogue of a server case: a server to talk to, and time."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from msgspec import Struct

from mcpcore.spec.methods import lookup, lookup_embedded
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.account import Account
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.bindings.http import HttpWire
from mcpcore_conformance.kit.bindings.lines import LinesWire
from mcpcore_conformance.kit.bindings.stdio import StdioWire
from mcpcore_conformance.kit.bindings.websocket import WebSocketWire
from mcpcore_conformance.kit.features import NONE_MAY_BE_CALLED, Features, Tool, sample
from mcpcore_conformance.kit.heard import Headers
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.messages import Id
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.tokens import Tokens
from mcpcore_conformance.kit.verdicts import Findings, Inconclusive, NotApplicable
from mcpcore_conformance.kit.wire import Kept, Refused, Stage, Wire


class Timing(Struct, frozen=True):
    """Timeouts of the kit, in seconds."""

    answer: float = 5.0
    """For an answer, an end, a connection: afterwards there is none."""
    start: float = 15.0
    """For the first answer on a new connection, as a program may have to start."""
    quiet: float = 0.15
    """For something that must not come, after the server has shown that it is there."""


class ServerTalk(Findings):
    """View of a server for one case.  Everything that it opens is closed when the case ends."""

    def __init__(
        self,
        stage: Stage,
        revision: Revision,
        features: Features,
        *,
        log: Log,
        timing: Timing,
        seed: int,
        thorough: bool = False,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.revision = revision
        self.features = features
        self.log = log
        self.timing = timing
        self.random = random.Random(seed)  # noqa: S311 - has to repeat itself
        self.thorough = thorough
        """True if races are to be run again and again."""
        self.links: list[Link] = []
        self.shared: list[Link] = []
        self.plays = False
        """True if this is a case's own: what is looked at before has no verdict."""
        self.skips_noise = features.noisy
        """True if other lines of a process than its messages are left to the cases about that."""

    @property
    def binding(self) -> Binding:
        """The binding that is tested."""
        return self.stage.binding

    def apart(self) -> "ServerTalk":
        """A talk with the same server that is no case's, to look at something."""
        log = Log(self.stage.now)
        return ServerTalk(
            self.stage, self.revision, self.features, log=log, timing=self.timing, seed=0
        )

    # Opening

    async def open(
        self,
        *,
        capabilities: dict[str, Any] | None = None,
        answering: Answering | None = None,
        headers: Headers | None = None,
        revision: Revision | None = None,
    ) -> Link:
        """Open a connection and get to where requests may be sent.

        Legacy: initialize and notifications/initialized.  ``capabilities`` are declared (by
        default all that the revision has), ``answering`` answers what the server asks.  It may be
        a conversation that an earlier case has left as it found it.
        """
        if headers is None and revision is None:
            return await self._shared(capabilities, answering)
        link = await self.connect(
            capabilities=capabilities, answering=answering, headers=headers, revision=revision
        )
        if link.revision.handshake:
            await link.initialize()
        return link

    async def _shared(
        self, capabilities: dict[str, Any] | None, answering: Answering | None
    ) -> Link:
        """Go on with a kept conversation in which the same was declared, or open one to keep."""
        declared = all_capabilities(self.revision) if capabilities is None else capabilities
        said = said_once(self.revision, declared)
        # who has one does not wait for another: two that did would wait for each other
        kept = await self.stage.kept(self.revision, said, self.log, wait=not self.links)
        if kept is not None:
            link = self._link(
                kept.wire,
                first_id=kept.next_id,
                capabilities=declared,
                answering=answering,
                account=kept.account,
            )
            link.welcome = kept.welcome
            self.shared.append(link)
        else:
            link = await self.connect(capabilities=declared, answering=answering)
            if link.revision.handshake:
                await link.initialize()
        return link

    def _link(
        self,
        wire: Wire,
        *,
        revision: Revision | None = None,
        capabilities: dict[str, Any] | None = None,
        answering: Answering | None = None,
        first_id: int = 1,
        account: Account | None = None,
    ) -> Link:
        spoken = revision or self.revision
        declared = all_capabilities(spoken) if capabilities is None else capabilities
        link = Link(
            self,
            wire,
            spoken,
            capabilities=declared,
            answering=answering or Answering(),
            first_id=first_id,
            account=account,
        )
        self.links.append(link)
        return link

    async def close(self, *, keep: bool) -> None:
        """Close what was opened; ``keep``: leave clean conversations to the cases that follow."""
        for link in self.links:
            wanted = keep and self.stage.keeps and link in self.shared
            if wanted and await link.settled():
                said = said_once(self.revision, link.capabilities)
                kept = Kept(link.wire, link.next_id, link.welcome, link.account)
                self.stage.keep(self.revision, said, kept)
            else:
                await link.wire.close()

    async def connect(
        self,
        *,
        capabilities: dict[str, Any] | None = None,
        answering: Answering | None = None,
        headers: Headers | None = None,
        revision: Revision | None = None,
        **options: Any,
    ) -> Link:
        """Open a connection on which nothing has been said; raises Broken if it is refused."""
        plain = headers is None and revision is None and not options
        if plain and self.stage.keeps:
            declared = all_capabilities(self.revision) if capabilities is None else capabilities
            options["said"] = said_once(self.revision, declared)
        try:
            wire = await self.wire(headers=headers, revision=revision, **options)
        except Refused as error:
            raise Inconclusive(f"the server did not take a connection: {error.reason}") from error
        # with headers of its own it may be in a session of which others know more
        account = Account("server", revision or self.revision, blind=headers is not None)
        link = self._link(
            wire,
            revision=revision,
            capabilities=capabilities,
            answering=answering,
            account=account,
        )
        if plain:
            self.shared.append(link)
        return link

    async def wire(
        self,
        *,
        headers: Headers | None = None,
        revision: Revision | None = None,
        **options: Any,
    ) -> Wire:
        """Open a bare connection; raises Refused.  The caller closes it."""
        if headers is not None:
            options["headers"] = headers
        return await self.stage.connect(revision or self.revision, log=self.log, **options)

    async def anonymous(self) -> Link:
        """Open a connection over HTTP without the headers that the target was given."""
        return await self.connect(anonymous=True)

    async def somebody_else(self) -> Link:
        """Open a connection over HTTP as the second principal; nothing has been said on it."""
        return await self.connect(other=True)

    @property
    def credentials(self) -> Mapping[str, str]:
        """The headers that the target was given, by name in lower case."""
        given: Mapping[str, str] = getattr(self.stage, "headers", {})
        return {name.lower(): value for name, value in given.items()}

    @property
    def brings_tokens(self) -> bool:
        """True if the kit makes the tokens itself, and knows what they are good for."""
        return getattr(self.stage, "tokens", None) is not None

    @property
    def tokens(self) -> Tokens:
        """Tokens of the authorization server that the server was told of; else to be skipped."""
        found: Tokens | None = getattr(self.stage, "tokens", None)
        return found or self.skip("the server was not told of an authorization server")

    def http(self, link: Link) -> HttpWire:
        """The link's wire as what it is, for cases of Streamable HTTP only."""
        link.spoilt = True
        return cast("HttpWire", link.wire)

    def lines(self, link: Link) -> LinesWire:
        """The link's wire as what it is, for cases of newline framing only."""
        link.spoilt = True
        return cast("LinesWire", link.wire)

    def process(self, link: Link) -> StdioWire:
        """The link's wire as what it is, for cases of stdio only."""
        link.spoilt = True
        return cast("StdioWire", link.wire)

    def frames(self, link: Link) -> WebSocketWire:
        """The link's wire as what it is, for cases of WebSocket only."""
        link.spoilt = True
        return cast("WebSocketWire", link.wire)

    # Time and judgement

    async def advance(self, seconds: float) -> None:
        """Let time pass; on virtual time it passes at once."""
        await self.stage.pause(seconds)

    # What the server offers

    def tool(self, *names: str) -> Tool:
        """The first of these tools that is there; with none, the case does not apply."""
        for name in names:
            if (found := self.features.tools.get(name)) is not None:
                return found
        held = " that may be called" if self.features.withheld & {*names} else ""
        raise NotApplicable(f"the server has no tool {' or '.join(names)}{held}")

    def any_tool(self) -> Tool:
        """A tool that can be called without harm: the fixture's, or the plainest there is."""
        found = self.features.plainest_tool()
        if found is None:
            raise NotApplicable(NONE_MAY_BE_CALLED)
        return found

    def any_request(self, revision: Revision | None = None) -> tuple[str, dict[str, Any]]:
        """A harmless request that this server answers well: its method and params.

        ``revision``: of the link that it is made on, where that is not the one that is tested.
        """
        spoken = revision or self.revision
        return self.features.harmless_request(modern=spoken.modern)

    def early_request(self) -> tuple[str, dict[str, Any]]:
        """A harmless request that may not come before initialize, as a ping may.

        With none, the case does not apply.
        """
        method, params = self.any_request()
        if method == "ping":
            raise NotApplicable("the server lists nothing; a ping may come before initialize")
        return method, params

    def arguments(self, tool: Tool) -> dict[str, Any]:
        """Arguments that the tool's schema accepts."""
        return sample(tool.input_schema)

    def slow_call(self, seconds: float = 30.0) -> tuple[str, dict[str, Any]]:
        """A call that runs until it is cancelled or the time is over; fixture ``test_wait``."""
        self.tool("test_wait")
        return "tools/call", {"name": "test_wait", "arguments": {"seconds": seconds}}

    def fresh_id(self) -> Id:
        """An id that no other request of this case has."""
        return f"kit-{self.random.getrandbits(48):012x}"


OpenLink = Annotated[Link, ServerTalk.open]
NewLink = Annotated[Link, ServerTalk.connect]
AnyTool = Annotated[Tool, ServerTalk.any_tool]
AnyMethod = Annotated[str, ServerTalk.any_request]
AnyParams = Annotated[dict[str, Any], ServerTalk.any_request]


def said_once(revision: Revision, capabilities: dict[str, Any]) -> str:
    """Return the capabilities that a conversation declares once, at its beginning, as text."""
    return json.dumps(capabilities, sort_keys=True) if revision.handshake else ""


def all_capabilities(revision: Revision) -> dict[str, Any]:
    """Return all capabilities that a client of that revision may declare."""
    return {
        name: value
        for name, method, value in _CAPABILITIES
        if lookup(method, "server", revision) or lookup_embedded(method, revision)
    }


_CAPABILITIES: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("roots", "roots/list", {"listChanged": True}),
    ("sampling", "sampling/createMessage", {}),
    ("elicitation", "elicitation/create", {}),
)
