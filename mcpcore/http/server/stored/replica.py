"""Replicas of sessions in a store: the state that one worker has of a session, made when needed.

Several workers may have a replica of one session at the same time.  The record in the store is
authoritative. A replica learns of changes by notes and, if it may be behind, by loading the record
anew.
"""

from collections import deque
from collections.abc import Callable, Iterator

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.engine.events import ENGINE, Route
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.server.exchange import Exchange, ExchangeState, taken_over
from mcpcore.http.server.session_table import Owner
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.stored.quota import Quota
from mcpcore.http.server.stored.release import Releases
from mcpcore.http.server.stored.session_queue import SessionQueue
from mcpcore.http.server.stored.steps import Steps, ignore
from mcpcore.http.server.stored.stream_reader import StreamReader
from mcpcore.http.server.stored.stream_writer import StreamWriter
from mcpcore.http.storing import (
    Announced,
    HangUp,
    Note,
    Post,
    SessionRecord,
    SessionSave,
    SessionTouch,
    StoreBinding,
    StoreFailure,
    StreamNumber,
)
from mcpcore.spec.refusals import NO_SESSION, STORE_UNAVAILABLE, RefusalRow
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.sse import encode_event


class Surroundings(Struct, frozen=True, eq=False, kw_only=True):
    """Common parts of the replicas of one worker."""

    steps: Steps
    names: Iterator[str]
    """Unique names, which no other worker gives, nor this one again."""
    store: StoreBinding
    watch: Callable[[Exchange], None]
    """Function that watches an exchange that has become a stream."""
    saved: Callable[["SessionReplica"], None]
    """Callback after the record of a replica was stored."""
    gone: Callable[["SessionReplica"], None]
    """Callback if the store does not have the session (any more)."""


class SessionReplica(Session):
    """SessionReplica of one session at this worker, with the work that it does for the session."""

    __slots__ = (
        "_around",
        "_changed",
        "_held",
        "_said",
        "_saving",
        "_written",
        "base",
        "behind",
        "over",
        "queue",
        "quota",
        "readers",
        "releases",
        "settings",
        "steps",
        "touched_at",
        "used",
        "writers",
    )

    def __init__(
        self,
        id: str,
        peer: Peer,
        principal: str | None,
        around: Surroundings,
        *,
        owner: Owner,
    ) -> None:
        self.steps = steps = around.steps
        super().__init__(id, peer, principal, steps.log, steps.settings, owner=owner)
        self.settings = steps.settings
        self._around = around
        self.touched_at = steps.log.now
        """Time at which the store last heard of the session from here."""
        self.used = False
        """True once the store was told from here that the session is used beyond a handshake."""
        self.base: SessionRecord | None = None
        """Record as last known to be in the store."""
        self.behind: deque[Announced] | None = None
        """Broadcasts since the session became known here, kept while earlier ones are not known
        yet; else None."""
        self.over = False
        self.writers: dict[Route, StreamWriter] = {}
        """Writers of the streams of requests that this worker runs, by their exchange."""
        self.readers: dict[StreamNumber, StreamReader] = {}
        """Followers of the streams that a GET at this worker has asked for."""
        self.queue = SessionQueue(self)
        self.releases = Releases(self)
        self.quota = Quota(self)
        self._changed = 0
        """Value of ``PeerState.changes`` when the record was last made."""
        self._saving = False
        self._said = peer._state.said = set[str | None]()
        """Subscriptions that the client has changed, or confirmed, since a record was last made;
        None stands for the log level."""
        self._written: set[str | None] = set()
        """Changes, as in ``_said``, of the record that is being stored."""
        self._held: list[Exchange] = []
        """Exchanges held back until the record is in the store."""

    def new_name(self) -> str:
        """Return a name that is unique in the session, whichever replica has given it."""
        return next(self._around.names)

    @property
    def busy(self) -> bool:
        """True if an exchange is open, a request in progress, or a step on its way to the store."""
        waits = self.queue or self.releases or self.quota or self._saving or self.peer.pending
        return bool(self.writers or self.readers or waits) or super().busy

    # The record

    def restore(self, record: SessionRecord, revision: Revision) -> None:
        """Restore a session that another process has begun."""
        info = record.client_info
        self.peer._negotiation.restore(
            revision,
            info=None if info is UNSET else msgspec.json.decode(info, type=Implementation),
            capabilities=msgspec.json.decode(record.capabilities, type=ClientCapabilities),
        )
        self.update(record)

    def update(self, record: SessionRecord) -> None:
        """Apply a stored record, but keep the changes that the client has made here meanwhile.

        Values that the client has confirmed, or changed back, are kept as well: another worker may
        have changed them in between, or a failed step may have stored them.
        """
        if self.base is not None and record.version <= self.base.version:
            return
        state, ours = self.peer._state, self._said | self._written
        if None not in ours:
            state.log_level = record.log_level
        state.uris = {uri for uri in record.subscriptions if uri not in ours} | (state.uris & ours)
        if record.initialized:
            self.peer._negotiation.opened()
        self.base = record

    def describe(self) -> SessionRecord:
        """Return the record of the present state."""
        state, base = self.peer._state, self.base
        assert state.revision is not None  # noqa: S101 - no session is kept before that
        info = state.peer_info
        return SessionRecord(
            id=self.id,
            principal=self.principal,
            owner=self.owner,
            revision=state.revision.name,
            client_info=UNSET if info is None else Raw(msgspec.json.encode(info)),
            capabilities=Raw(msgspec.json.encode(state.peer_capabilities)),
            initialized=state.lifecycle is SessionState.OPEN
            or (base is not None and base.initialized),
            log_level=state.log_level,
            subscriptions=tuple(sorted(state.uris)),
            created=self._around.store.epoch + self.log.owner.now if base is None else base.created,
            version=1 if base is None else base.version + 1,
        )

    def keep_saved(self, frame: Transmit, exchange: Exchange | None) -> None:
        """Store changes before the client hears of them; ``frame`` is to be sent next."""
        if self.peer._state.changes != self._changed and not self._saving:
            self._save()
        if not self._saving or exchange is None:
            return
        ours = frame.kind in (FrameKind.ACCEPTED, FrameKind.BATCH) or frame.key == ENGINE
        if ours and frame.ends and exchange.state is not ExchangeState.DONE:
            self._held.append(exchange)
            exchange.hold()

    def _save(self) -> None:
        record = self.describe()
        self._written |= self._said
        self._said.clear()
        self._saving = True
        self._changed = self.peer._state.changes
        self.steps.ask(
            SessionSave, self.id, lambda outcome: self._saved(record, outcome), record=record
        )

    def _saved(
        self, record: SessionRecord, outcome: SessionRecord | StoreFailure | bool | None
    ) -> None:
        self._saving = False
        if self.over:
            return
        if isinstance(outcome, StoreFailure):
            # The next message to the client tries again, without the changes that are refused now.
            self._changed = -1
            self._take_back()
            self._release(STORE_UNAVAILABLE)
            if self.base is None:
                self._around.gone(self)
        elif outcome is False:
            self._release(NO_SESSION)
            self._around.gone(self)
        elif isinstance(outcome, SessionRecord):
            self.update(outcome)
            self._save()
        else:
            self.base = record
            self._written = set()
            self.touched_at = self.log.owner.now
            self._around.saved(self)
            if self.peer._state.changes != self._changed:
                self._save()
            else:
                self._release()

    def _take_back(self) -> None:
        """Undo refused changes for good: the client may have gone to another worker."""
        state, base, refused = self.peer._state, self.base, self._written | self._said
        self._written = set()
        self._said.clear()
        if base is None:
            return
        if None in refused:
            state.log_level = base.log_level
        kept = {uri for uri in base.subscriptions if uri in refused}
        state.uris = {uri for uri in state.uris if uri not in refused} | kept

    def _release(self, row: RefusalRow | None = None, message: str = "") -> None:
        held, self._held = self._held, []
        for exchange in held:
            if row is not None:
                exchange.fail(row, message)
            exchange.release()

    def use(self) -> None:
        """Note a use beyond a handshake; tell the store at first, and from time to time."""
        idle, pause = self._around.store.idle, self.settings.session_touch
        if idle is not None:
            pause = min(pause, idle / 2)
        if not self.used or self.log.owner.now - self.touched_at >= pause:
            self.used = True
            self.touch()

    def touch(self) -> None:
        """Tell the store that the session is in use, and check that it still exists."""
        if not self.over:
            self.touched_at = self.log.owner.now
            self.steps.ask(SessionTouch, self.id, self._touched)

    @property
    def expired(self) -> bool:
        """True if the store has ended the session, as far as is known here."""
        store, now = self._around.store, self.log.owner.now
        if store.idle is not None and self.touched_at + store.idle <= now:
            return True
        base, age = self.base, store.absolute
        return base is not None and age is not None and base.created + age <= store.epoch + now

    def _touched(self, outcome: bool | StoreFailure) -> None:
        if outcome is False:
            self.vanish()

    def vanish(self) -> None:
        """End a session that the store does not have (any more)."""
        if not self.over:
            self._around.gone(self)

    # Streams of requests

    def begin(self, exchange: Exchange, route: Route | None) -> None:
        """Begin the stream of a request on the exchange that brought it."""
        revision = self.peer.revision
        if self.numbered and route is not None and revision is not None:
            self.writers[route] = StreamWriter(self, exchange, route, primed=revision.priming)

    @property
    def numbered(self) -> bool:
        """True if events have ids."""
        revision = self.peer.revision
        return revision is not None and revision.resumable and self._resumable

    def event_id(self, stream: StreamNumber, position: int) -> str:
        """Return the id of the event at a position of a stream."""
        return self.log.owner.ids.make(self.id, stream, position)

    def poll_event(self, stream: StreamNumber, position: int, delay: float) -> bytes:
        """Return an event without data, with the stream's position and the time to come back."""
        id = self.event_id(stream, position)
        return encode_event(b"", event=None, id=id, retry=round(delay * 1000))

    # Messages that belong to no request

    def place(self, frame: Transmit, now: float, once: str | None = None) -> None:
        """Put a frame into the queue of the session."""
        request = frame.request if frame.kind is FrameKind.REQUEST else None
        self.queue.put(b"".join(frame.data), request=request, once=once)
        taken_over(frame)

    def listen(self, exchange: Exchange) -> None:
        """Use ``exchange`` as a GET stream."""
        revision = self.peer.revision
        number = self.steps.new_number()
        reader = StreamReader(self, exchange, number, 0, queue=True, numbered=self.numbered)
        reader.begin(primed=self.numbered and revision is not None and revision.priming)

    def pick_up(self, exchange: Exchange, stream: StreamNumber, position: int) -> None:
        """Resume a stream on another connection."""
        StreamReader(self, exchange, stream, position, queue=False, numbered=True).resume()

    # Connections

    def take_over(self, stream: StreamNumber) -> None:
        """Close the present connection of a stream, which gets another one at this worker."""
        reader = self.readers.get(stream)
        if reader is not None:
            reader.replaced()
        for writer in list(self.writers.values()):
            if writer.number == stream:
                writer.moved()

    def wake(self, stream: StreamNumber) -> None:
        """Wake the reader of a stream, as there are events for it."""
        reader = self.readers.get(stream)
        if reader is not None:
            reader.wake()
        elif all(writer.number != stream for writer in self.writers.values()):
            # The store seems not to know that the stream is gone.
            self.releases.add(stream)

    def moved(self, stream: StreamNumber) -> None:
        """Close the connection of a stream, which has got another one at another worker."""
        reader = self.readers.get(stream)
        if reader is not None:
            reader.moved()
        for writer in list(self.writers.values()):
            if writer.number == stream:
                writer.moved()

    def watch(self, exchange: Exchange) -> None:
        """Watch an exchange that has become a stream."""
        self._around.watch(exchange)

    def poll(self, route: Route, retry: float) -> bool:
        """Close the connection of the request of ``route``; the client is asked to come back."""
        writer = self.writers.get(route)
        if writer is None:
            return False
        if writer.hang_up(retry) or self.poll_here(writer.number, retry):
            return True
        # The present worker of the client, if any, may not be known here yet.
        self._tell_others(HangUp(session=self.id, stream=writer.number, retry=retry))
        return writer.elsewhere

    def poll_gets(self, retry: float) -> int:
        """Close the GET streams and ask the client to come back; return the number here."""
        self._tell_others(HangUp(session=self.id, retry=retry))
        return self.poll_here(None, retry)

    def poll_here(self, stream: StreamNumber | None, retry: float) -> int:
        """Close the connections of a stream here, or with None of all GET streams."""
        readers = [
            each
            for each in self.readers.values()
            if (each.queue if stream is None else each.number == stream)
        ]
        return sum(reader.hang_up(retry) for reader in readers)

    def _tell_others(self, note: Note) -> None:
        self.steps.ask(Post, self.id, ignore, to=None, note=msgspec.json.encode(note))

    def let_go(self, exchange: Exchange, now: float) -> None:
        """Take its stream off an exchange."""
        source, exchange.source = exchange.source, None
        if source is not None:
            source.let_go()

    # Ends

    def shut(self) -> None:
        """End the GET streams here; the session itself goes on elsewhere."""
        for reader in list(self.readers.values()):
            reader.finish()

    def close(self, row: RefusalRow, message: str = "") -> None:
        """End the work for the session; waiting exchanges are refused."""
        self.over = True
        message = message or row.message
        self._release(row, message)
        for writer in list(self.writers.values()):
            writer.close(row, message)
        for reader in list(self.readers.values()):
            reader.close(row, message)
        for exchange in self.exchanges.values():
            if exchange.state is ExchangeState.WAITING:
                exchange.source = None  # its refusal must not ask the store for more
        self.steps.forget(self.queue)
        self.steps.forget(self.releases)
        self.quota.close()
