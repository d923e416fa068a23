"""Replicas of sessions in a store: the state that one worker has of a session, made when needed.

Several workers may have a replica of one session at the same time.  The record in the store is
authoritative. A replica learns of changes by notes and, if it may be behind, by loading it anew.
Steps that a server has asked of its store, and what is repeated of them, are here as well.
"""

import hmac
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import ENGINE, EndReason, Event, Route
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http import storing
from mcpcore.http.principals import Principal, has_rights_of
from mcpcore.http.server.event_log import EventLog, poll_event
from mcpcore.http.server.exchange import Exchange, ExchangeState, taken_over
from mcpcore.http.server.sessions import Owner, Session
from mcpcore.http.server.stored.streams import PAGE, StreamReader, StreamWriter
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import SessionRecord, Step, StoreFailure, StreamNumber
from mcpcore.spec.refusals import NO_SESSION, STORE_UNAVAILABLE, RefusalRow
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import Frame, Message, RequestId

if TYPE_CHECKING:  # a type alone: it makes replicas
    from mcpcore.http.server.stored.sessions import StoredSessions

Then = Callable[[Any], None]

_NUMBER_BITS = 59
_ANSWERED = 64
"""Number of answered steps that may stay among the deadlines."""


class Retried(Protocol):
    """Operation that the store has failed and that is to be tried once more."""

    deadline: float | None

    def again(self) -> None:
        """Try the operation again."""


Item = TypeVar("Item")


class RetryQueue(Generic[Item]):
    """Queue of messages to the store, in order, handed over in rounds; failed ones go again."""

    def __init__(self, steps: "StoreSteps") -> None:
        self.deadline: float | None = None
        self._steps = steps
        self._items: deque[Item] = deque()
        """Items that are on their way, then items that wait for the next round."""
        self._open = 0
        """Number of items that are on their way."""
        self._failed: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def again(self) -> None:
        """Begin the next round, unless one is on its way or a failed one waits."""
        if not self._open and self.deadline is None:
            self._open = len(self._items)
            for item in list(self._items):
                self._send(item, partial(self._answered, item))

    def _send(self, item: Item, then: Then) -> None:
        raise NotImplementedError

    def _done(self, item: Item, outcome: Any) -> None:
        """Handle the outcome for an item that the store has taken or refused."""

    def _answered(self, item: Item, outcome: Any) -> None:
        self._open -= 1
        self._items.remove(item)
        if isinstance(outcome, StoreFailure):
            self._failed.append(item)
        else:
            self._done(item, outcome)
        if self._open:
            return
        if self._failed:
            self._items.extendleft(reversed(self._failed))
            self._failed = []
            self._steps.retry(self)
        else:
            self.again()


class Repeated:
    """Step that is asked for until the store does not fail it, or it is not wanted any more."""

    def __init__(
        self,
        steps: "StoreSteps",
        wanted: Callable[[], bool],
        ask: Callable[[Then], None],
        then: Then,
    ) -> None:
        """Call ``ask`` with a callback, again until it succeeds; then call ``then`` (outcome)."""
        self.deadline: float | None = None
        self.over = False
        self._steps = steps
        self._wanted = wanted
        self._ask = ask
        self._then = then
        self.again()

    def again(self) -> None:
        """Ask for the step if it is still wanted."""
        if self._wanted():
            self._ask(self._answered)
        else:
            self.over = True

    def _answered(self, outcome: Any) -> None:
        if not isinstance(outcome, StoreFailure):
            self.over = True
            self._then(outcome)
        elif self._wanted():
            self._steps.retry(self)
        else:
            self.over = True


class StoreSteps:
    """Queue of steps for the application, in order, and of callbacks for their outcomes."""

    def __init__(
        self, events: deque[Event], log: EventLog, settings: HttpSettings, secret: bytes
    ) -> None:
        """Put steps into ``events``; ``secret`` is the worker's own."""
        self.log = log
        self.settings = settings
        self._events = events
        self._key = hmac.digest(secret, b"mcpcore streams", "sha256")
        self._numbers = 0
        self._waiting: dict[int, tuple[str, Then]] = {}
        self._due: deque[tuple[float, int]] = deque()
        self._retries: Deadlines[Retried] = Deadlines()
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, kind: type[Step], session: str, then: Then, **members: Any) -> None:
        """Ask for a step of ``kind`` with ``members``; ``then`` is called with the outcome."""
        self._count += 1
        token = self._count
        self._waiting[token] = session, then
        if len(self._due) > _ANSWERED + 2 * len(self._waiting):
            self._due = deque(due for due in self._due if due[1] in self._waiting)
        self._due.append((self.log.now + self.settings.store_timeout, token))
        self._events.append(kind(token=token, session=session, **members))

    def answer(self, token: int, outcome: Any) -> None:
        """Handle an outcome; one that comes too late, or again, is ignored."""
        _, then = self._waiting.pop(token, ("", ignore))
        then(outcome)

    def session_of(self, token: int) -> str:
        """Return the session of an unanswered step; "" if there is none."""
        return self._waiting.get(token, ("", ignore))[0]

    def new_number(self) -> StreamNumber:
        """Return a number that no other worker gives to a stream."""
        self._numbers += 1
        digest = hmac.digest(self._key, b"%d" % self._numbers, "sha256")
        return int.from_bytes(digest[:8]) >> (64 - _NUMBER_BITS) or 1

    # Time

    def retry(self, what: Retried) -> None:
        """Schedule another attempt of ``what`` after ``store_retry``."""
        self._retries.set(what, self.log.now + self.settings.store_retry)

    def forget(self, what: Retried) -> None:
        """Cancel the next attempt of ``what``."""
        self._retries.set(what, None)

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never."""
        while self._due and self._due[0][1] not in self._waiting:
            self._due.popleft()
        dues = [self._due[0][0]] if self._due else []
        retry = self._retries.next()
        return min(dues if retry is None else [*dues, retry], default=None)

    def handle_timeout(self, now: float) -> None:
        """Fail steps that have waited for too long; retry operations that are due."""
        while self._due and self._due[0][0] <= now:
            self.answer(self._due.popleft()[1], StoreFailure("no answer in time"))
        for what in self._retries.due(now):
            what.again()


def ignore(outcome: Any) -> None:
    """Ignore the outcome of a step on which nothing depends."""


_MOST_REPEATED = 1000


class _QueuedMessage(Struct, eq=False):
    data: bytes
    once: str
    request: RequestId | None
    attempts: int = 0


class SessionQueue(RetryQueue[_QueuedMessage]):
    """Sender of messages that belong to no request into the queue of a session."""

    def __init__(self, replica: "SessionReplica") -> None:
        super().__init__(replica.steps)
        self._replica = replica
        self._size = 0

    def put(
        self, data: bytes, *, request: RequestId | None = None, once: str | None = None
    ) -> None:
        """Queue a message; ``request`` is its id if it is a request of ours."""
        replica = self._replica
        self._items.append(_QueuedMessage(data, once or next(replica.home.names), request))
        self._size += len(data)
        while self._size > replica.settings.session_queue and len(self._items) > self._open:
            self._give_up_one()
        self.again()

    def again(self) -> None:
        """Begin the next round, while there is the session, and other workers know its rights."""
        replica = self._replica
        if replica.over or self.deadline is not None:
            return
        if self._items and replica.unsaved:
            replica.save_changes()
        if not replica.saving:
            super().again()

    def take_back(self, stream: StreamNumber, after: int) -> None:
        """Queue the messages again that a stream took, of which no client can resume any."""

        def found(page: storing.LogPage | None) -> None:
            if page is not None and page.entries:
                for _, data in page.entries:
                    self.put(data)
                self.take_back(stream, page.entries[-1][0])

        self._replica.repeat(storing.StreamRead, found, stream=stream, after=after, limit=PAGE)

    def _send(self, item: _QueuedMessage, then: Then) -> None:
        item.attempts += 1
        self._replica.ask(storing.QueuePut, then, data=item.data, once=item.once)

    def _done(self, item: _QueuedMessage, outcome: bool) -> None:
        self._size -= len(item.data)
        if not outcome and item.attempts == 1:  # a failed attempt may have put it all the same
            self._refused(item)

    def _give_up_one(self) -> None:
        waiting = list(self._items)[self._open :]
        victim = next((each for each in waiting if each.request is None), waiting[0])
        self._items.remove(victim)
        self._size -= len(victim.data)
        self._refused(victim)

    def _refused(self, message: _QueuedMessage) -> None:
        if message.request is not None:
            self._replica.peer.receive_failure(
                message.request,
                now=self._replica.log.owner.now,
                reason=EndReason.REFUSED,
                message="not sent: too much waits for a stream of the client",
            )


_BLOCKS = 64
"""Blocks in a limit; a worker accepts one block without asking."""

WaitingCall = Callable[[StoreFailure | None], None]


def requests_in(frame: Frame) -> int:
    """Return the number of requests in a frame, without pings, which are answered at once."""
    messages = frame if isinstance(frame, list) else [frame]
    requests = (each for each in messages if isinstance(each, Message) and each.id is not UNSET)
    return sum(each.method is not UNSET and each.method != "ping" for each in requests)


class Quota:
    """Quota of one replica; the Peer answers requests beyond it as busy."""

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self.limit = replica.peer.config.limits.in_flight
        self.spare = self.limit // _BLOCKS
        self._replica = replica
        self._granted = 0
        self._asked: list[tuple[int, WaitingCall]] = []
        """Request counts and callbacks that wait for the store's answer."""
        self._waiting: list[tuple[int, WaitingCall]] = []
        """Request counts and callbacks that came meanwhile."""
        self._asking = False
        self._unsure = False
        """True if the store has failed the last step, which it may have done all the same."""
        self._coming = 0
        """Number of requests admitted that the Peer has not taken in yet."""
        self._told_at = 0.0
        replica.parts.state.capacity = self.spare

    def __bool__(self) -> bool:
        return self._asking or self._unsure

    def admit(self, count: int, then: WaitingCall) -> bool:
        """Return True if ``count`` requests may be accepted now; if not, call ``then`` later."""
        if self._asking:
            self._waiting.append((count, then))
            return False
        return not self._asks([(count, then)])

    def taken(self, count: int) -> None:
        """Note that ``count`` admitted requests have been given to the Peer."""
        endpoint = self._replica.parts.endpoint
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
            replica.ask(storing.SessionCalls, ignore, calls=0, limit=self.limit)
        replica.steps.forget(self)

    def _needed(self) -> int:
        return self._replica.peer.in_flight + self._coming

    def _wanted(self, needed: int) -> int:
        if needed <= self.spare:
            return 0
        block = max(1, self.spare)
        return min(self.limit, -(-needed // block) * block)

    def _ask(self, needed: int) -> None:
        self._asking = True
        self._replica.ask(
            storing.SessionCalls, self._answered, calls=self._wanted(needed), limit=self.limit
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
            replica.parts.state.capacity = max(self.spare, outcome)
        self._told_at = -math.inf if failure else replica.log.owner.now
        if self._granted or self._unsure:
            replica.steps.retry(self)
        asked, self._asked = self._asked, []
        for _, then in asked:
            then(failure)
        waiting, self._waiting = self._waiting, []
        if waiting and not self._asks(waiting):
            for _, then in waiting:
                then(None)

    def _asks(self, arrivals: list[tuple[int, WaitingCall]]) -> bool:
        """Ask for room for all arrivals if there may be none; return True if so."""
        needed = self._needed() + sum(count for count, _ in arrivals)
        full = needed > max(self.spare, self._granted) and self._granted < self.limit
        if full:
            self._asked = arrivals
            self._ask(needed)
        return full


class SessionReplica(Session):
    """Session as one worker has it, with the work that the worker does for it."""

    def __init__(
        self, id: str, principal: str | None, owner: Owner, home: "StoredSessions"
    ) -> None:
        self.steps = steps = home.steps
        router = home.router
        super().__init__(id, principal, owner, router.session_config, router.endpoint, router.log)
        self.home = home
        self.touched_at = steps.log.now
        """Time at which the store last heard of the session from here."""
        self.used = False
        """True once the store was told from here that the session is used beyond a handshake."""
        self.base: SessionRecord | None = None
        self.behind: deque[storing.Announced] | None = None
        """Broadcasts kept while earlier ones are not known yet; else None."""
        self.over = False
        self.writers: dict[Route, StreamWriter] = {}
        """Writers of the streams of requests that this worker runs, by their exchange."""
        self.readers: dict[StreamNumber, StreamReader] = {}
        """Readers of the streams that a GET at this worker has asked for."""
        self.queue = SessionQueue(self)
        self.giving_up: set[StreamNumber] = set()
        """Streams given up before the store has confirmed that they exist."""
        self.quota = Quota(self)
        self._changed = 0
        """Value of ``PeerState.changes`` when the record was last made."""
        self.saving = False
        """True while a record is being stored."""
        self._unsaved = self.parts.state.unsaved = set[str | None]()
        """Subscriptions, or None for the log level, that the client has set since a record."""
        self._written: set[str | None] = set()
        """Changes, as in ``_unsaved``, of the record that is being stored."""
        self._held: list[Exchange] = []
        self._repeated: list[Repeated] = []

    def ask(self, kind: type[Step], then: Then, **members: Any) -> None:
        """Ask for a step of ``kind`` in this session."""
        self.steps.ask(kind, self.id, then, **members)

    def repeat(
        self,
        kind: type[Step],
        then: Then,
        wanted: Callable[[], bool] = lambda: True,
        **members: Any,
    ) -> None:
        """Ask for a step of ``kind`` until the store does not fail it, while it is ``wanted``."""
        waiting = [each for each in self._repeated if not each.over]
        if len(waiting) == _MOST_REPEATED:
            self.steps.forget(waiting.pop(0))
        ask = partial(self.steps.ask, kind, self.id, **members)
        waiting.append(Repeated(self.steps, lambda: not self.over and wanted(), ask, then))
        self._repeated = waiting

    def read(self, stream: StreamNumber, after: int, then: Then) -> None:
        """Read a page of a stream after a position."""
        self.ask(storing.StreamRead, then, stream=stream, after=after, limit=PAGE)

    def release_stream(self, stream: StreamNumber) -> None:
        """Release a GET stream that has lost its connection, unless its client comes back."""
        self.repeat(
            storing.StreamRelease, ignore, lambda: stream not in self.readers, stream=stream
        )

    def end_stream(self, stream: StreamNumber) -> None:
        """End the stream of a request, which may exist even if the step to begin it has failed."""
        self.giving_up.discard(stream)
        self.repeat(storing.StreamAppend, ignore, stream=stream, data=b"", ends=True)

    @property
    def busy(self) -> bool:
        """True if an exchange is open, a request in progress, or a step on its way to the store."""
        waits = self.queue or self.quota or self.saving or self.giving_up or self.peer.pending
        return bool(self.writers or self.readers or self.repeats or waits) or super().busy

    @property
    def repeats(self) -> bool:
        """True if a step is asked for until the store does not fail it."""
        return any(not each.over for each in self._repeated)

    @property
    def carriers(self) -> list[Exchange]:
        """Exchanges of the GETs."""
        return [reader.exchange for reader in self.readers.values()]

    # The record

    def restore(self, record: SessionRecord, revision: Revision) -> None:
        """Restore a session that another process has begun."""
        info = record.client_info
        self.parts.negotiation.restore(
            revision,
            info=None if info is UNSET else msgspec.json.decode(info, type=Implementation),
            capabilities=msgspec.json.decode(record.capabilities, type=ClientCapabilities),
        )
        self.update(record)

    def update(self, record: SessionRecord) -> None:
        """Apply a stored record, but keep the changes that the client has made here meanwhile.

        Confirmed values are kept as well: another worker, or a failed step, may have changed them.
        """
        if self.base is not None and record.version <= self.base.version:
            return
        state, ours = self.parts.state, self._unsaved | self._written
        before = self._of_client
        if None not in ours:
            state.log_level = record.log_level
        state.uris = {uri for uri in record.subscriptions if uri not in ours} | (state.uris & ours)
        if record.initialized:
            self.parts.negotiation.opened()
        if record.scopes or record.roles:
            used = Principal(str(record.principal), scopes=record.scopes, roles=record.roles)
            if not has_rights_of(self.peer.principal, used):
                self.use_rights(used)
                self.home.router.close_narrower(self)
        self.base = record
        self._tell(before)

    @property
    def _of_client(self) -> tuple[bool, str | None, tuple[str, ...]]:
        """Completeness of the handshake, and the log level and subscriptions of the client."""
        state = self.parts.state
        opened = state.lifecycle is SessionState.OPEN
        return opened, state.log_level, tuple(sorted(state.uris))

    def is_behind(self, version: int) -> bool:
        """Return True if the store has had a newer version of the record than is known here."""
        return self.base is not None and self.base.version < version

    def _tell(self, before: object) -> None:
        """Tell the application of what is set otherwise than the client has set it here."""
        opened, level, uris = now = self._of_client
        if opened and now != before:
            state = self.parts.state
            assert state.revision is not None  # noqa: S101 - it is opened
            event = storing.SessionRestored(
                session=self.id,
                principal=self.peer.principal,
                revision=state.revision,
                capabilities=state.client_capabilities,
                log_level=level,
                subscriptions=uris,
            )
            self.home.router.report(event)

    def describe(self) -> SessionRecord:
        """Return the record of the present state."""
        state, base = self.parts.state, self.base
        assert state.revision is not None  # noqa: S101 - no session is kept before that
        info = state.peer_info
        return SessionRecord(
            id=self.id,
            principal=self.principal,
            owner=self.owner,
            scopes=tuple(sorted(getattr(self.peer.principal, "scopes", ()))),
            roles=tuple(sorted(getattr(self.peer.principal, "roles", ()))),
            revision=state.revision.name,
            client_info=UNSET if info is None else Raw(msgspec.json.encode(info)),
            capabilities=Raw(msgspec.json.encode(state.peer_capabilities)),
            initialized=state.lifecycle is SessionState.OPEN
            or (base is not None and base.initialized),
            log_level=state.log_level,
            subscriptions=tuple(sorted(state.uris)),
            created=self.home.store.epoch + self.log.owner.now if base is None else base.created,
            version=1 if base is None else base.version + 1,
        )

    @property
    def unsaved(self) -> bool:
        """True if the store has failed to take the last record."""
        return self._changed < 0

    def save_changes(self) -> None:
        """Store what has changed, unless it is being stored."""
        if self.parts.state.changes != self._changed and not self.saving:
            self._save()

    def keep_saved(self, frame: Transmit, exchange: Exchange | None) -> None:
        """Store changes before the client hears of them; ``frame`` is to be sent next."""
        self.save_changes()
        if not self.saving or exchange is None:
            return
        ours = frame.kind in (FrameKind.ACCEPTED, FrameKind.BATCH) or frame.key == ENGINE
        if ours and frame.ends and exchange.state is not ExchangeState.DONE:
            self._held.append(exchange)
            exchange.hold()

    def _save(self) -> None:
        record = self.describe()
        self._written |= self._unsaved
        self._unsaved.clear()
        self.saving = True
        self._changed = self.parts.state.changes
        self.ask(storing.SessionSave, lambda outcome: self._saved(record, outcome), record=record)

    def _saved(
        self, record: SessionRecord, outcome: SessionRecord | StoreFailure | bool | None
    ) -> None:
        self.saving = False
        if self.over:
            return
        if isinstance(outcome, StoreFailure):
            # The next message to the client tries again, without the changes that are refused now.
            self._changed = -1
            self._take_back()
            self._release(STORE_UNAVAILABLE)
            if self.base is None:
                self.home.gone(self)
            elif self.queue:
                self.steps.retry(self.queue)
        elif outcome is False:
            self._release(NO_SESSION)
            self.home.gone(self)
        elif isinstance(outcome, SessionRecord):
            self.update(outcome)
            self._save()
        else:
            self.base = record
            self._written = set()
            self.touched_at = self.log.owner.now
            self.home.saved(self)
            if self.parts.state.changes != self._changed:
                self._save()
            else:
                self._release()
                self.queue.again()

    def _take_back(self) -> None:
        state, base, refused = self.parts.state, self.base, self._written | self._unsaved
        self._written = set()
        self._unsaved.clear()
        if base is None:
            return
        before = self._of_client
        if None in refused:
            state.log_level = base.log_level
        kept = {uri for uri in base.subscriptions if uri in refused}
        state.uris = {uri for uri in state.uris if uri not in refused} | kept
        self._tell(before)

    def _release(self, row: RefusalRow | None = None, message: str = "") -> None:
        held, self._held = self._held, []
        for exchange in held:
            if row is not None:
                exchange.fail(row, message)
            exchange.release()

    def use(self) -> None:
        """Note a use beyond a handshake; tell the store at first, and from time to time."""
        idle, pause = self.home.store.idle, self.settings.session_touch
        if idle is not None:
            pause = min(pause, idle / 2)
        if not self.used or self.log.owner.now - self.touched_at >= pause:
            self.used = True
            self.touch()

    def touch(self) -> None:
        """Tell the store that the session is in use, and check that it still exists."""
        if not self.over:
            self.touched_at = self.log.owner.now
            self.ask(storing.SessionTouch, self._touched)

    @property
    def expired(self) -> bool:
        """True if the store has ended the session, as far as is known here."""
        store, now = self.home.store, self.log.owner.now
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
            self.home.gone(self)

    # Streams of requests

    def begin(self, exchange: Exchange, route: Route | None) -> None:
        """Begin the stream of a request on the exchange that brought it."""
        if self.numbered and route is not None:
            self.writers[route] = StreamWriter(self, exchange, route, primed=self.primed)

    def event_id(self, stream: StreamNumber, position: int) -> str:
        """Return the id of the event at a position of a stream."""
        return self.log.owner.ids.make(self.id, stream, position)

    def poll_event(self, stream: StreamNumber, position: int, delay: float) -> bytes:
        """Return an event without data, with the stream's position and the time to come back."""
        return poll_event(self.event_id(stream, position), delay)

    # Messages that belong to no request

    def place(self, frame: Transmit, now: float, once: str | None = None) -> None:
        """Put a frame into the queue of the session."""
        request = frame.request if frame.kind is FrameKind.REQUEST else None
        self.queue.put(b"".join(frame.data), request=request, once=once)
        taken_over(frame)

    def listen(self, exchange: Exchange) -> None:
        """Use ``exchange`` as a GET stream."""
        number = self.steps.new_number()
        reader = StreamReader(self, exchange, number, 0, queue=True, numbered=self.numbered)
        reader.begin(primed=self.primed)

    def pick_up(self, exchange: Exchange, stream: StreamNumber, position: int) -> None:
        """Resume a stream on another connection."""
        StreamReader(self, exchange, stream, position, queue=False, numbered=True).resume()

    # Connections

    def wake(self, stream: StreamNumber) -> None:
        """Wake the reader of a stream, as there are events for it."""
        reader = self.readers.get(stream)
        if reader is not None:
            reader.wake()
        elif all(writer.number != stream for writer in self.writers.values()):
            # The store seems not to know that the stream is gone.
            self.release_stream(stream)

    def moved(self, stream: StreamNumber, *, here: bool = False) -> None:
        """Close the connection of a stream that has got another one, ``here`` or elsewhere."""
        reader = self.readers.get(stream)
        if reader is not None and (here or not reader.claiming):
            reader.replaced()
        for writer in list(self.writers.values()):
            if writer.number == stream:
                writer.moved()

    def poll(self, route: Route, retry: float) -> bool:
        """Close the connection of the request of ``route``; the client is asked to come back."""
        writer = self.writers.get(route)
        if writer is None:
            return False
        if writer.hang_up(retry) or self.poll_here(writer.number, retry):
            return True
        # The present worker of the client, if any, may not be known here yet.
        self._tell_others(storing.HangUp(session=self.id, stream=writer.number, retry=retry))
        return writer.elsewhere

    def poll_gets(self, retry: float) -> int:
        """Close the GET streams and ask the client to come back; return the number here."""
        self._tell_others(storing.HangUp(session=self.id, retry=retry))
        return self.poll_here(None, retry)

    def poll_here(self, stream: StreamNumber | None, retry: float) -> int:
        """Close the connections of a stream here, or with None of all GET streams."""
        readers = [
            each
            for each in self.readers.values()
            if (each.queue if stream is None else each.number == stream)
        ]
        return sum(reader.hang_up(retry) for reader in readers)

    def _tell_others(self, note: storing.Note) -> None:
        self.ask(storing.Post, ignore, to=None, note=msgspec.json.encode(note))

    def let_go(self, exchange: Exchange, now: float) -> None:
        """Take its stream off an exchange."""
        source, exchange.source = exchange.source, None
        if source is not None:
            source.let_go()

    def look_at(self, exchange: Exchange) -> None:
        """Keep the session alive in the store; wake the reader of the exchange."""
        if self.expired:
            self.touch()
        elif self.used:
            self.use()
        if isinstance(exchange.source, StreamReader):
            exchange.source.wake()  # a note may have been lost

    # Ends

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
        for each in self._repeated:
            self.steps.forget(each)
        self.quota.close()
