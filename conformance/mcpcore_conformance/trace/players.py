"""The machines that play a side of a trace, over what it was recorded on."""

from typing import Any

import msgspec

from mcpcore.engine.config import Config, Limits, Negotiation, Role
from mcpcore.engine.peer import Peer
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION, Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore_conformance.trace.actor import Actor, Own
from mcpcore_conformance.trace.dialogue import Exchange, Router, Said
from mcpcore_conformance.trace.reading import Entry, TraceFile
from mcpcore_conformance.trace.unasked import OFFERS, answer, begins_without

_INFO = Implementation(name="replay", version="1")


class Player:
    """One side; its methods are called for each record in turn."""

    actor: Actor

    def begin(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """A record comes; before what was said in it."""

    def act(self, said: Said, now: float) -> None:
        """Our side said this."""
        self.actor.act(said, now)

    def hear(self, said: Said, now: float) -> None:
        """The other side said this."""
        raise NotImplementedError

    def end(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """What was said in the record has been played."""

    def take(self, said: Said | None, now: float) -> list[str]:
        """What the core sends now, in a few words each."""
        raise NotImplementedError

    def state(self) -> str:
        """Where the core stands."""
        raise NotImplementedError

    def unsaid(self) -> list[Own]:
        """What the core said and the trace did not."""
        return self.actor.unsaid


class PeerPlayer(Player):
    """A Peer: stdio, sockets, WebSocket, memory."""

    def __init__(self, config: Config, side: str, unasked: str = "") -> None:
        """``unasked``: the revision of a client that begins without server/discover."""
        self._unasked = unasked
        self._peer = Peer(Role.CLIENT if side == "client" else Role.SERVER, config)
        self.actor = Actor(self._peer, side)
        self._started = side == "server"
        self._told: list[str] = []

    def begin(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """A client begins with its first record; a connection that closes ends."""
        if not self._started:
            self._started = True
            self._peer.start(now=now)
            self._told = self.take(None, now)  # it may be what the trace says first
            if self._unasked and self.actor.unsaid:
                self._told = []
                probe = self.actor.unsaid.pop()
                self._peer.receive(answer(probe.id, self._unasked), now=now)
        if entry.record.kind == "closed":
            self._peer.receive_eof(now=now, reason=entry.record.text or "closed")

    def hear(self, said: Said, now: float) -> None:
        """See :meth:`Player.hear`."""
        self._peer.receive(self.actor.translated(said), now=now)

    def take(self, said: Said | None, now: float) -> list[str]:
        """See :meth:`Player.take`."""
        texts = [b"".join(frame.data) for frame in self._peer.data_to_send() if frame.data]
        told, self._told = self._told, []
        return told + [str(own) for own in self.actor.made(texts, said)]

    def state(self) -> str:
        """See :meth:`Player.state`."""
        return _state_of(self._peer)


def _state_of(peer: Peer) -> str:
    revision = peer.revision
    facts = [
        peer.state.value,
        "" if revision is None else revision.name,
        f"{peer.in_flight} in flight",
        f"{peer.pending} pending",
    ]
    return ", ".join(filter(None, facts))


def player_for(trace: TraceFile, entries: list[Entry], side: str) -> Player:
    """What plays a side of the records of one connection."""
    config = config_for(trace, entries, side)
    router = Router(trace.header)
    unasked = ""
    if side == "client":
        unasked = begins_without([said for entry in entries for said in router.follow(entry)])
    if any(entry.record.stream for entry in entries):
        from mcpcore_conformance.trace.http_players import HttpClientPlayer, HttpServerPlayer

        if side == "client":
            return HttpClientPlayer(config, entries, unasked)
        return HttpServerPlayer(config, entries)
    return PeerPlayer(config, side, unasked)


def config_for(trace: TraceFile, entries: list[Entry], side: str) -> Config:
    """Who the side is, as far as the trace says it."""
    router = Router(trace.header)
    messages = [said for entry in entries for said in router.follow(entry)]
    limits = Limits(request_timeout=None)
    opening = next((said for said in messages if said.method == "initialize"), None)
    if side == "client":
        modern = next((said for said in messages if META_PROTOCOL_VERSION in said.meta), None)
        declared: object = {}
        if opening is not None:
            declared = opening.params.get("capabilities")
        elif modern is not None:
            declared = modern.meta.get(META_CLIENT_CAPABILITIES)
        return Config(
            info=_INFO,
            capabilities=_read(declared, ClientCapabilities),
            revisions=_revisions(opening, modern),
            negotiation=_negotiation(opening, modern),
            limits=limits,
        )
    result = next((said.result for said in messages if "capabilities" in said.result), None)
    return Config(
        info=_INFO,
        capabilities=_read(OFFERS if result is None else result["capabilities"], _SERVER),
        limits=limits,
    )


_SERVER = ServerCapabilities


def _negotiation(opening: Said | None, modern: Said | None) -> Negotiation:
    if opening is None:
        return Negotiation.MODERN
    if modern is not None and modern.line < opening.line:
        return Negotiation.AUTO
    return Negotiation.LEGACY


def _revisions(opening: Said | None, modern: Said | None) -> tuple[Revision, ...]:
    """Those that the client speaks: no newer ones than it offers."""
    names = []
    if opening is not None:
        names.append(opening.params.get("protocolVersion"))
    if modern is not None:
        names.append(modern.meta.get(META_PROTOCOL_VERSION))
    known = [BY_NAME[name] for name in names if isinstance(name, str) and name in BY_NAME]
    if not known:
        return REVISIONS
    newest = {row.modern: row for row in known}
    legacy = newest.get(False)
    older = [] if legacy is None else [r for r in REVISIONS if r.position <= legacy.position]
    return (*older, *([newest[True]] if True in newest else []))


def _read(value: object, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return kind()
