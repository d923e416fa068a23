"""Replicas of sessions in a store: the state that one worker has of a session, made when needed.

Several workers may have a replica of one session at the same time.  The record in the store is
authoritative. A replica learns of changes by notes and, if it may be behind, by loading the record
anew.

What a replica does for its session in the store is done by parts of it: messages that belong to no
request go into the queue in rounds, as the events of :mod:`~mcpcore.http.server.stored.streams` do;
a quota of the session's request limit is asked for in blocks, so that most requests wait for
nothing; streams that are over here are released until the store has confirmed it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.engine.events import ENGINE, EndReason, Route
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.server.exchange import Exchange, ExchangeState, taken_over
from mcpcore.http.server.session_table import Owner
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.stored.steps import Steps, Then, ignore
from mcpcore.http.server.stored.streams import PAGE, StreamReader, StreamWriter
from mcpcore.http.storing import (
    Announced,
    HangUp,
    LogPage,
    Note,
    Post,
    QueuePut,
    SessionCalls,
    SessionRecord,
    SessionSave,
    SessionTouch,
    Step,
    StoreBinding,
    StoreFailure,
    StreamAppend,
    StreamNumber,
    StreamRead,
    StreamRelease,
)
from mcpcore.spec.refusals import NO_SESSION, STORE_UNAVAILABLE, RefusalRow
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import Frame, Message, RequestId
from mcpcore.wire.sse import encode_event

_UNREAD = 1000
"""Maximum streams of one session remembered after the store has failed to read them."""


class _Message(Struct):
    data: bytes
    once: str
    request: RequestId | None
    tried: bool = False


class SessionQueue:
    """Sender of messages that belong to no request into the queue of a session."""

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self._replica = replica
        self._messages: list[_Message] = []
        """Messages that are on their way, then messages that wait for the next round."""
        self._size = 0
        self._open = 0
        self._failed = False
        self._reading = 0
        """Number of streams being read for messages to take back."""
        self._unread: deque[tuple[StreamNumber, int]] = deque(maxlen=_UNREAD)
        """Streams that the store has failed to read, each with the position to read from; they are
        tried again."""

    def __bool__(self) -> bool:
        return bool(self._messages or self._reading or self._unread)

    def put(
        self, data: bytes, *, request: RequestId | None = None, once: str | None = None
    ) -> None:
        """Queue a message; ``request`` is its id if it is a request of ours."""
        replica = self._replica
        if once is None:
            once = replica.new_name()
        self._messages.append(_Message(data, once, request))
        self._size += len(data)
        while self._size > replica.settings.session_queue and len(self._messages) > self._open:
            self._give_up_one()
        self._pump()

    def again(self) -> None:
        """Retry failed reads and messages, and send those added since."""
        unread = list(self._unread)
        self._unread.clear()
        for stream, after in unread:
            self.take_back(stream, after)
        self._pump()

    def take_back(self, stream: StreamNumber, after: int) -> None:
        """Queue again the messages that a stream took after a position, for another stream.

        No event of that stream has been sent, so that no client can resume it.
        """
        replica = self._replica
        if not replica.over:
            self._reading += 1
            found = partial(self._found, stream, after)
            replica.ask(StreamRead, found, stream=stream, after=after, limit=PAGE)

    def _found(self, stream: StreamNumber, after: int, page: LogPage | StoreFailure | None) -> None:
        self._reading -= 1
        if isinstance(page, StoreFailure):
            if not self._replica.over:
                self._unread.append((stream, after))
                self._replica.steps.retry(self)
        elif page is not None and page.entries:
            for _, data in page.entries:
                self.put(data)
            self.take_back(stream, page.entries[-1][0])

    def _pump(self) -> None:
        if self._open or self.deadline is not None or self._replica.over:
            return
        self._failed = False
        for message in self._messages:
            self._open += 1
            self._replica.ask(QueuePut, self._put, data=message.data, once=message.once)

    def _put(self, outcome: bool | StoreFailure) -> None:
        self._open -= 1
        message = self._messages[0] if not self._failed else None
        if isinstance(outcome, StoreFailure):
            self._failed = True
        elif message is not None:
            del self._messages[0]
            self._size -= len(message.data)
            if not outcome and not message.tried:
                self._refused(message)
        if self._open:
            return
        if self._failed:
            for waiting in self._messages:
                waiting.tried = True
            self._replica.steps.retry(self)
        else:
            self._pump()

    def _give_up_one(self) -> None:
        """Drop the oldest notification that is not on its way, or else the oldest request."""
        waiting = self._messages[self._open :]
        victim = next((each for each in waiting if each.request is None), waiting[0])
        self._messages.remove(victim)
        self._size -= len(victim.data)
        self._refused(victim)

    def _refused(self, message: _Message) -> None:
        if message.request is not None:
            self._replica.peer.receive_failure(
                message.request,
                now=self._replica.log.owner.now,
                reason=EndReason.REFUSED,
                message="not sent: too much waits for a stream of the client",
            )


_BLOCKS = 64
"""Divisor of the limit that gives the size of a block; a worker accepts one block without
asking."""

Waiting = Callable[[StoreFailure | None], None]
"""Callback for a frame that has waited for the store."""


def requests_in(frame: Frame) -> int:
    """Return the number of requests in a frame, without pings, which are answered at once."""
    messages = frame if isinstance(frame, list) else [frame]
    return sum(
        isinstance(message, Message)
        and message.method is not UNSET
        and message.id is not UNSET
        and message.method != "ping"
        for message in messages
    )


class Quota:
    """Quota of one replica; the Peer answers requests beyond it as busy."""

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self.limit = replica.peer.config.limits.in_flight
        self.spare = self.limit // _BLOCKS
        self._replica = replica
        self._granted = 0
        self._asked: list[tuple[int, Waiting]] = []
        """Request counts and callbacks that wait for the store's answer."""
        self._waiting: list[tuple[int, Waiting]] = []
        """Request counts and callbacks that came meanwhile."""
        self._asking = False
        self._unsure = False
        """True if the store has failed the last step, which it may have done all the same."""
        self._coming = 0
        """Number of requests admitted that the Peer has not taken in yet."""
        self._told_at = 0.0
        replica.peer._state.capacity = self.spare

    def __bool__(self) -> bool:
        return self._asking or self._unsure

    def admit(self, count: int, then: Waiting) -> bool:
        """Return True if ``count`` requests may be accepted now; if not, call ``then`` later."""
        if self._asking:
            self._waiting.append((count, then))
            return False
        needed = self._needed() + count
        if needed > max(self.spare, self._granted) and self._granted < self.limit:
            self._asked.append((count, then))
            self._ask(needed)
            return False
        return True

    def taken(self, count: int) -> None:
        """Note that ``count`` admitted requests have been given to the Peer."""
        endpoint = self._replica.peer._endpoint
        if endpoint.inbox:
            self._coming += count
            # Behind them in the queue: they are in flight by then, or refused.
            endpoint.inbox.append((self, count))

    def take_in(self, count: int) -> None:
        """Note that the Peer has taken in ``count`` requests (called by the endpoint)."""
        self._coming -= count

    def settle(self) -> None:
        """Give back a quota that has become far too large, as a request has ended."""
        if self._granted and not self._asking and 2 * self._needed() <= self._granted:
            self._ask(self._needed())

    def again(self) -> None:
        """Give back the excess of the quota; renew the quota from time to time."""
        replica = self._replica
        if replica.over or self._asking or not (self._granted or self._unsure):
            return
        stale = replica.log.owner.now - self._told_at >= replica.settings.session_touch
        if stale or self._wanted(self._needed()) != self._granted:
            self._ask(self._needed())
        else:
            replica.steps.retry(self)

    def close(self) -> None:
        """Give all back, as the replica is given up and its waiting requests were answered."""
        replica = self._replica
        if self._granted or self:
            replica.ask(SessionCalls, ignore, calls=0, limit=self.limit)
        replica.steps.forget(self)

    def _needed(self) -> int:
        return self._replica.peer.in_flight + self._coming

    def _wanted(self, needed: int) -> int:
        """Return the quota for ``needed`` requests."""
        if needed <= self.spare:
            return 0
        block = max(1, self.spare)
        return min(self.limit, -(-needed // block) * block)

    def _ask(self, needed: int) -> None:
        self._asking = True
        self._replica.ask(
            SessionCalls, self._answered, calls=self._wanted(needed), limit=self.limit
        )

    def _answered(self, outcome: int | StoreFailure | None) -> None:
        replica = self._replica
        self._asking = False
        if replica.over:
            return
        if outcome is None:
            replica.vanish()
            return
        failure = outcome if isinstance(outcome, StoreFailure) else None
        self._unsure = failure is not None
        if not isinstance(outcome, StoreFailure):
            self._granted = outcome
            replica.peer._state.capacity = max(self.spare, outcome)
        self._told_at = -math.inf if failure else replica.log.owner.now
        if self._granted or self._unsure:
            replica.steps.retry(self)
        asked, self._asked = self._asked, []
        for _, then in asked:
            then(failure)
        waiting, self._waiting = self._waiting, []
        self._admit(waiting)

    def _admit(self, arrivals: list[tuple[int, Waiting]]) -> None:
        """Admit all arrivals, or ask for all of them together."""
        needed = self._needed() + sum(count for count, _ in arrivals)
        if arrivals and needed > max(self.spare, self._granted) and self._granted < self.limit:
            self._asked = arrivals
            self._ask(needed)
            return
        for _, then in arrivals:
            then(None)


_RELEASES = 1000
"""Maximum streams of one session remembered after the store has failed to end them."""


class Releases:
    """Releases of streams that are over at this worker, repeated until the store confirms."""

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self._replica = replica
        self._open = 0
        """Number of releases that the store has not answered."""
        self._failed: deque[tuple[StreamNumber, bool]] = deque(maxlen=_RELEASES)
        """Streams whose release failed, each with True if it ends; they are tried again."""
        self._begins = set[StreamNumber]()
        """Streams given up before the store has confirmed that they exist."""

    def __bool__(self) -> bool:
        return bool(self._open or self._failed or self._begins)

    def add(self, stream: StreamNumber) -> None:
        """Release a GET stream that has lost its connection."""
        self._open += 1
        told = partial(self._told, stream, False)
        self._replica.ask(StreamRelease, told, stream=stream)

    def expect(self, stream: StreamNumber) -> None:
        """Note a request's stream that is given up while it begins: :meth:`end` follows."""
        self._begins.add(stream)

    def end(self, stream: StreamNumber) -> None:
        """End the stream of a request that its writer gives up: no event will be added to it.

        A failure to begin it does not mean that it does not exist.
        """
        self._begins.discard(stream)
        self._open += 1
        told = partial(self._told, stream, True)
        self._replica.ask(StreamAppend, told, stream=stream, data=b"", ends=True)

    def again(self) -> None:
        """Retry failed releases, except of streams that a client has come back for."""
        failed = list(dict.fromkeys(self._failed))
        self._failed.clear()
        for stream, ends in failed:
            if ends:
                self.end(stream)
            elif stream not in self._replica.readers:
                self.add(stream)

    def _told(self, stream: StreamNumber, ends: bool, outcome: StoreFailure | int | None) -> None:
        self._open -= 1
        if isinstance(outcome, StoreFailure) and not self._replica.over:
            self._failed.append((stream, ends))
            self._replica.steps.retry(self)


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
    """Session as one worker has it, with the work that the worker does for it."""

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

    def ask(self, kind: type[Step], then: Then, **members: Any) -> None:
        """Ask for a step of ``kind`` in this session."""
        self.steps.ask(kind, self.id, then, **members)

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
        self.ask(SessionSave, lambda outcome: self._saved(record, outcome), record=record)

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
            self.ask(SessionTouch, self._touched)

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
        self.ask(Post, ignore, to=None, note=msgspec.json.encode(note))

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
