"""Loop that moves bytes between a connection and a Peer, and its state tables.

:class:`StreamConnection` is the base of every driver that has one Peer per connection.  It decides
nothing about the protocol: it feeds bytes to the Peer, hands events to the application, writes the
Peer's output and keeps the Peer's deadline.  A connection has two tasks: one reads, and that of
:meth:`StreamConnection.run` keeps the time.  A third begins as soon as output has to wait.  There
are no tasks per message, because an idle connection costs little more than its tasks.

Its three state machines are the *life* of a connection, which its ``run()`` moves, the *reading
half* and the *writing half*.  A pair that is not in a table is a mistake of the driver.  The
diagrams in ``docs/reference/protocol.md`` are generated from these tables.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import AsyncResource, TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from mcpcore.engine.config import Role
from mcpcore.engine.events import ConnectionEnded, Fault
from mcpcore.engine.lifecycle import State, Table
from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore.http.principals import OUTLIVED
from mcpcore_transports.link import STREAM_ERRORS, App, clock, what_broke
from mcpcore_transports.running.functions import known_in_callbacks
from mcpcore_transports.stream.settings import ConnectionSettings

if TYPE_CHECKING:  # late: few record a trace
    from mcpcore_transports.tracing.tracing import ConnectionTrace


class Life(State):
    """States of a connection, moved by its ``run()``."""

    NEW = "new"
    RUNNING = "running"
    DRAINING = "draining"
    """Shutdown has begun: running requests and unsent output have a limited time."""
    ENDING = "ending"
    """The conversation is over: the application gets its last events."""
    ENDED = "ended"


class LifeSignal(State):
    """Signals that move the life of a connection."""

    RUN = "run"
    DRAIN = "shutdown begun"
    FINISH = "drained, failed or cancelled"
    CLOSE = "closed"


class Shutdown(IntEnum):
    """States of the end of a connection, which only go up; anything may begin it at any time."""

    NONE = 0
    GRACEFUL = 1
    """Running requests may be answered."""
    COMPLETE = 2
    """End without anything to wait for, or without time."""


class ReadingHalf(State):
    """States of the reading half: whether input is taken in and its events are handled."""

    OPEN = "open"
    HELD = "held"
    """Events wait for the writer task, which has a response to write."""
    YIELDING = "yielding"
    """Events wait until other connections have had their turn."""


class ReadingSignal(State):
    """Signals that move the reading half."""

    HOLD = "response not yet written"
    YIELD = "share of the turn used up"
    RESUME = "next turn"


class WritingHalf(State):
    """States of the writing half."""

    READY = "ready"
    BLOCKED = "blocked"
    """The writer task owns the output that the connection did not take at once."""
    BROKEN = "broken"
    """Output can no longer be written; it is dropped."""


class WritingSignal(State):
    """Signals that move the writing half."""

    BLOCK = "not all was taken at once"
    WRITTEN = "all written"
    FAIL = "write failed or stalled"


LIFE: Table[Life, LifeSignal] = {
    (Life.NEW, LifeSignal.RUN): Life.RUNNING,
    (Life.RUNNING, LifeSignal.DRAIN): Life.DRAINING,
    (Life.RUNNING, LifeSignal.FINISH): Life.ENDING,
    (Life.DRAINING, LifeSignal.FINISH): Life.ENDING,
    (Life.ENDING, LifeSignal.CLOSE): Life.ENDED,
}

AT_WORK = (Life.RUNNING, Life.DRAINING)

READING: Table[ReadingHalf, ReadingSignal] = {
    (ReadingHalf.OPEN, ReadingSignal.HOLD): ReadingHalf.HELD,
    (ReadingHalf.OPEN, ReadingSignal.YIELD): ReadingHalf.YIELDING,
    (ReadingHalf.HELD, ReadingSignal.RESUME): ReadingHalf.OPEN,
    (ReadingHalf.YIELDING, ReadingSignal.RESUME): ReadingHalf.OPEN,
}

WRITING: Table[WritingHalf, WritingSignal] = {
    (WritingHalf.READY, WritingSignal.BLOCK): WritingHalf.BLOCKED,
    (WritingHalf.READY, WritingSignal.FAIL): WritingHalf.BROKEN,
    (WritingHalf.BLOCKED, WritingSignal.WRITTEN): WritingHalf.READY,
    (WritingHalf.BLOCKED, WritingSignal.FAIL): WritingHalf.BROKEN,
    (WritingHalf.BROKEN, WritingSignal.FAIL): WritingHalf.BROKEN,
}

DIAGRAMS = (
    ("Connection", "One connection of a byte stream, moved by its `run()`.", LIFE),
    ("Reading half", "Whether events of such a connection are handled.", READING),
    ("Writing half", "Whether output of such a connection is written.", WRITING),
)
"""Title, text and table of each diagram."""

# Bound once, as members of an Enum are slow to look up and these are needed for every turn.
_DRAINING = Life.DRAINING
_OPEN, _HELD, _YIELDING = ReadingHalf.OPEN, ReadingHalf.HELD, ReadingHalf.YIELDING
_BLOCKED, _BROKEN = WritingHalf.BLOCKED, WritingHalf.BROKEN
_GRACEFUL, _COMPLETE = Shutdown.GRACEFUL, Shutdown.COMPLETE

_QUICK = 0.001
"""Maximum seconds to handle an event if the next ones are to be assumed quick, too."""
_STEADY = 16
"""Number of quickly handled events in a row after which responses are written together."""
_SHARE = 512
"""Maximum events per turn, after which other connections have their turn."""
_ROUNDS = 4
"""Cycles of the event loop within which an unblocked write ends and the next one begins."""
_HOLD = 0.005
"""Maximum seconds that a handler waits for the writer task to begin."""


class Channel(ABC):
    """Bytes in and out of an open connection; ``owner`` is closed with it, if there is one."""

    early = b""
    """Input that was read before the channel was made."""

    def __init__(self, owner: AsyncResource | None) -> None:
        self._owner = owner

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for bytes; empty at the end.  Raises OSError or anyio's stream errors if broken."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Write as much as possible without waiting; return the number of bytes."""
        return 0

    @abstractmethod
    async def send(self, data: memoryview) -> int:
        """Wait until some of ``data`` has been written; return the number of bytes."""

    def unwatch(self) -> None:
        """Stop watching the connection, whose stream is used by others from now on."""
        return

    async def settle(self) -> int:
        """Finish a write that was begun; return how many bytes of its data that were."""
        return 0

    async def aclose(self, seconds: float) -> None:
        """Release what the channel owns, within ``seconds``."""
        self.unwatch()
        if self._owner is not None:
            with anyio.move_on_after(seconds), suppress(OSError, *STREAM_ERRORS):
                await self._owner.aclose()


class StreamConnection:
    """Link of one Peer to one connection; subclasses define how it is opened and closed.

    They set a channel in ``_open``, or define themselves how bytes are read and written.

    ``run()`` opens the connection, calls ``task_status.started()``, pumps until the conversation
    is over and cleans up.  If the other side ends, no exception is raised: the application gets
    every terminal event, ConnectionEnded last.  Cancelling ``run()`` ends the connection abruptly,
    with the same events and a bounded, shielded cleanup.  An exception of ``app.handle`` ends the
    connection and is raised by ``run()``.
    """

    unprovoked, final = False, False
    fault: Fault | None = None
    binding = "custom"
    """Name of the binding in traces."""
    _half_close = True  # the other side may stop writing and still read
    _paced = True  # answers may have to be written before the next handler begins

    def __init__(self, peer: Peer, app: App, *, settings: ConnectionSettings | None = None) -> None:
        self.peer = peer
        self.app = app
        self.settings = settings or ConnectionSettings()
        self.trace: ConnectionTrace | None = None
        """Trace of the connection's traffic; set it before ``run()``."""
        # True if a subclass has deadlines besides those of our requests.
        self._has_time = type(self)._deadline is not StreamConnection._deadline
        self._server = peer.role is Role.SERVER
        self._channel: Channel | None = None
        self._life = Life.NEW
        self._shutdown = Shutdown.NONE
        self._reading = ReadingHalf.OPEN
        self._writing = WritingHalf.READY
        self._reason = ""
        self._last_resort = "cancelled"  # the reason if no other is known
        self._rest = memoryview(b"")  # taken from the Peer, not yet written
        self._moved = 0.0  # when some of the output was last written
        self._begun = 0.0  # when the writer task was given the rest
        self._stall = self.settings.stall
        self._steady = 0  # number of events handled quickly, in a row
        self._turning = False
        self._again = False
        self._leaving = False  # this side has chosen the end
        self._armed = math.inf  # when run() will check the deadlines
        self._sleep: anyio.CancelScope | None = None
        self._ahead = 0.0  # seconds by which the clock of the event loop is ahead of ours
        # An event of asyncio takes a kilobyte: create only those that a task waits for.
        self._wake = anyio.Event()  # wakes run()
        self._room: anyio.Event | None = None  # wakes the reader
        self._unsent: anyio.Event | None = None  # wakes the writer task; None before it starts
        self._done: anyio.Event | None = None
        self._to_start: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._crashed = False
        self._failure: Exception | None = None
        self.abandoned = False
        """True if ``run()`` was cancelled or the application failed: no reconnection is wanted."""
        self.steps = 0
        """Counter of progress: grows with every handled event, every turn and every write."""

    # What a driver provides

    async def _open(self) -> None:
        """Open the connection, or raise LinkError."""

    async def _receive(self) -> bytes:
        assert self._channel is not None, "set in _open"  # noqa: S101
        return await self._channel.receive()

    def _send_nowait(self, data: bytes) -> int:
        channel = self._channel
        return 0 if channel is None else channel.send_nowait(data)

    async def _send(self, data: memoryview) -> int:
        assert self._channel is not None, "set in _open"  # noqa: S101
        return await self._channel.send(data)

    async def _end_of_input(self) -> str:
        """Return the reason for the end of input; may wait a moment to find out."""
        return "closed by the other side"

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Return further tasks that run as long as the connection."""
        return ()

    def hurry(self, seconds: float) -> None:
        """Let the end of what is at the other side take no longer than a time, if it takes any."""

    async def _close(self) -> None:
        """Release everything, also after a failed :meth:`_open`; shielded, so it bounds itself."""
        if self._channel is not None:
            await self._channel.aclose(self.settings.drain)

    def _feed(self, data: bytes) -> None:
        if self.trace is not None:
            self.trace.received(data)
        self.peer.receive_data(data, now=clock())

    def _record(self, text: bytes, *, incoming: bool) -> None:
        """Trace a whole message, if there is a trace; for drivers that are not framed by lines."""
        if self.trace is not None:
            self.trace.message(text, incoming=incoming)

    def _take(self) -> bytes:
        data = self.peer.lines_to_send()
        if self.trace is not None:
            self.trace.sent(data)
        return data

    def _deadline(self) -> float | None:
        return self.peer.deadline()

    def _timeout(self, now: float) -> None:
        self.peer.handle_timeout(now)

    # The life of a connection

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Open, pump until the conversation is over, clean up."""
        if self._life is not Life.NEW:
            raise RuntimeError("a connection runs once")
        self._move(LifeSignal.RUN)
        try:
            with known_in_callbacks():
                await self._open()
                if self.trace is not None:
                    self.trace.opened(self.binding)
                async with anyio.create_task_group() as tasks:
                    self._begin_reading()
                    for task in self._background():
                        tasks.start_soon(task)
                    self._turn()
                    task_status.started()
                    while self._shutdown is Shutdown.NONE:
                        await self._sit(tasks)
                    self._move(LifeSignal.DRAIN)
                    with anyio.move_on_after(self.settings.drain):
                        if self._leaving:
                            self.peer.close(now=clock())
                        self._turn()
                        while self._shutdown is not Shutdown.COMPLETE:
                            await self._sit(tasks)
                        await self._write_out()
                    tasks.cancel_scope.cancel()
            if self._failure is not None:
                self._crashed = self.abandoned = True
                raise self._failure
        except LinkError as error:
            self._reason, self.final, self.fault = str(error), error.final, error.fault
            raise
        except anyio.get_cancelled_exc_class():
            self.abandoned = True
            raise
        except BaseExceptionGroup as group:
            self._crashed = self.abandoned = True
            if len(group.exceptions) > 1:
                raise
            only = group.exceptions[0]
            raise only from only.__cause__
        finally:
            try:
                self._finish()
            finally:
                self._move(LifeSignal.CLOSE)
                with anyio.CancelScope(shield=True):
                    await self._close()
                if self.trace is not None:
                    self.trace.closed(self._reason or self._last_resort)
                if self._done is not None:
                    self._done.set()

    def flush_soon(self) -> None:
        """Implement :meth:`Link.flush_soon`; not needed before run(), which begins with it."""
        self._wake.set()

    def flush_now(self) -> None:
        """Do at once what :meth:`flush_soon` does, once it is open; not in :meth:`App.handle`."""
        if self._sleep is None or self._life not in AT_WORK:
            self.flush_soon()
            return
        try:
            self._turn()
        except Exception as error:
            self._fail(error)

    def write_now(self) -> None:
        """Implement :meth:`Link.write_now`; events are left to the turn that follows."""
        if self._life in AT_WORK and not (self._turning or self._writing is _BLOCKED):
            self._flush()

    async def aclose(self) -> None:
        """End the conversation gracefully; return once ``run()`` has ended."""
        self.leave("closed by this side")
        if self._life in AT_WORK:
            if self._done is None:
                self._done = anyio.Event()
            await self._done.wait()

    def leave(self, reason: str) -> None:
        """Begin to end the conversation gracefully, with a reason of this side."""
        if self._shutdown is Shutdown.NONE:
            self._leaving = True
        self._stop(reason)

    def expire(self) -> None:
        """Begin to end the conversation, as the authorization of its client has ended."""
        self.leave(OUTLIVED)

    def _stop(self, reason: str, *, hard: bool = False) -> None:
        """Begin the end of the connection; ``hard``: without time for running requests."""
        self._reason = self._reason or reason
        self._shutdown = max(self._shutdown, _COMPLETE if hard else _GRACEFUL)
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        """End the connection with an exception that was caught outside its own tasks."""
        self._failure = self._failure or error
        self._stop("internal error", hard=True)

    def _finish(self) -> None:
        """Hand the terminal events to the application and try once more to write the output."""
        self._move(LifeSignal.FINISH)
        self.peer.receive_eof(now=clock(), reason=self._reason or self._last_resort)
        self._server = False  # no back-pressure any more: drain everything
        self._turn()

    def _move(self, signal: LifeSignal) -> None:
        self._life = LIFE[self._life, signal]

    def _move_reading(self, signal: ReadingSignal) -> None:
        self._reading = READING[self._reading, signal]

    def _move_writing(self, signal: WritingSignal) -> None:
        self._writing = WRITING[self._writing, signal]

    # The tasks

    def _begin_reading(self) -> None:
        """Start the reader task, now or once it is needed."""
        self._start(self._read)

    def _start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task in the context of run(), also from a callback of the event loop."""
        self._to_start.append(task)
        self._wake.set()

    async def _read(self) -> None:
        while True:
            # messages that arrived with the opening may have filled the queue already
            while self._full() or self._reading is not _OPEN:
                room = self._room = anyio.Event()
                await self._wait_for_room(room)
            try:
                data = await self._receive()
            except (OSError, *STREAM_ERRORS) as error:
                self._stop(f"connection lost: {what_broke(error)}", hard=True)
                return
            if not data:
                break
            self._feed(data)
            self._turn()
        reason = await self._end_of_input()
        half = self._server and self._half_close
        if half:
            self.peer.receive_eof(now=clock(), half=True, reason=reason)
            self._turn()
        self._stop(reason, hard=not half)

    def _take_in(self, data: bytes) -> bytes | None:
        """Consume bytes outside the reader task; return those left to that task, or None."""
        if self._reading is not _OPEN or self._life not in AT_WORK:
            return data
        if self._writing is _BLOCKED and self._full():
            return data
        try:
            self._feed(data)
            self._turn()
        except Exception as error:
            self._fail(error)
        return None

    async def _wait_for_room(self, room: anyio.Event) -> None:
        await room.wait()

    def _make_room(self) -> None:
        """Wake the reader, which checks if it may go on."""
        if self._room is not None:
            self._room.set()

    def _begin_writing(self) -> None:
        """Wake the writer task for the rest; start it on the first call."""
        if self._unsent is not None:
            self._unsent.set()
        else:
            self._unsent = anyio.Event()
            self._start(self._write)

    async def _write(self) -> None:
        while True:
            while self._writing is _BLOCKED:
                try:
                    count = await self._send(self._rest)
                except (OSError, *STREAM_ERRORS):
                    self._write_failed()
                    return
                self._moved = clock()
                self._rest = self._rest[count:]
                self.steps += 1
                self._make_room()
                if not self._rest:
                    self._rest = memoryview(b"")  # an empty part would keep the whole
                    if self._writing is _BLOCKED:  # it may have stalled meanwhile
                        self._move_writing(WritingSignal.WRITTEN)
                    self._turn()
            unsent = self._unsent = anyio.Event()
            await unsent.wait()

    async def _write_out(self) -> None:
        """Let the writer go on while it makes progress; the peer may only have stopped writing."""
        left = -1
        while self._writing is _BLOCKED and len(self._rest) != left:
            left = len(self._rest)
            for _ in range(_ROUNDS):
                await checkpoint()

    async def _sit(self, tasks: TaskGroup) -> None:
        """Turn whenever woken, until a deadline has passed or the connection is to end."""
        self._armed = self._due()
        self._ahead = anyio.current_time() - clock()
        with anyio.CancelScope() as self._sleep:
            self._arm(self._armed)
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._to_start:
                    tasks.start_soon(self._to_start.pop(0))
                self._turn()
                if self._shutdown >= (_COMPLETE if self._life is _DRAINING else _GRACEFUL):
                    return
        now = clock()
        if self._writing is _BLOCKED and now >= self._moved + self._stall:
            self._write_failed(f"the other side read nothing for {self._stall:g} s")
        self._timeout(now)
        self._turn()

    def _due(self) -> float:
        deadline = self._deadline()
        due = math.inf if deadline is None else deadline
        if self._reading is _YIELDING:
            return 0.0
        if self._reading is _HELD:
            due = min(due, self._begun + _HOLD)
        return min(due, self._moved + self._stall) if self._writing is _BLOCKED else due

    def _arm(self, deadline: float) -> None:
        self._armed = deadline
        if self._sleep is not None:
            # Callbacks of the event loop have no task, so that they cannot ask anyio for the time.
            self._sleep.deadline = self._ahead + max(deadline, clock())

    # One turn: events out, output out

    def _full(self) -> bool:
        return self._server and self.peer.output_size + len(self._rest) > self.settings.queued

    def _turn(self) -> None:
        """Hand all events to the application, then write; it never awaits and never nests."""
        if self._turning:
            self._again = True
            return
        self._turning = True
        self.steps += 1
        try:
            while True:
                self._again = False
                full = self._dispatch()
                if self._writing is not _BLOCKED:
                    self._flush()
                if self._writing is _BLOCKED or not (full or self._again):
                    break  # if it is writing, the writer turns again when it has made room
        finally:
            self._turning = False
        waits = self._writing is _BLOCKED or self._reading is not _OPEN
        if waits or self._has_time or self.peer.pending:
            due = self._due()
            if due < self._armed:
                self._arm(due)
        if self._life is _DRAINING and self._shutdown is _GRACEFUL and self._idle():
            self._shutdown = _COMPLETE
            self._wake.set()

    def _dispatch(self) -> bool:
        """Hand over events until there are none left; return True if the output is full.

        Events beyond this connection's share wait until other connections have had their turn.
        A handler may hold up the event loop, and a response that is ready must not wait for it.
        So until handlers have proved to be quick, output is written before the next one begins.
        """
        if self._reading is not _OPEN:
            self._move_reading(ReadingSignal.RESUME)
            self._make_room()
        share = _SHARE if self._life in AT_WORK else math.inf
        peer, handle, now = self.peer, self.app.handle, clock()
        most = self.settings.queued if self._server else math.inf
        while peer.has_input:
            waiting = peer.output_size
            if waiting + len(self._rest) > most:
                return True
            if share <= 0:
                self._move_reading(ReadingSignal.YIELD)
                return False
            share -= 1
            if self._steady < _STEADY and self._must_wait(waiting):
                self._move_reading(ReadingSignal.HOLD)
                return False
            event = peer.next_event()
            if event is None:
                break
            if type(event) is ConnectionEnded:
                self._stop(event.reason)
            handle(event)
            self.steps += 1
            begun, now = now, clock()
            self._steady = self._steady + 1 if now - begun < _QUICK else 0
        return False

    def _must_wait(self, waiting: int) -> bool:
        """Write ``waiting`` bytes; return True if the writer task, not yet begun, is to do it."""
        if not (self._server and self._paced):
            return False
        if waiting and self._writing is not _BLOCKED:
            self._flush()
        return self._writing is _BLOCKED and clock() < self._begun + _HOLD

    def _flush(self) -> None:
        data = self._take()
        if not data or self._writing is _BROKEN:
            return
        try:
            count = self._send_nowait(data)
        except OSError:
            self._write_failed()
            return
        if count < len(data):
            self._rest = memoryview(data)[count:]
            self._move_writing(WritingSignal.BLOCK)
            self._moved = self._begun = clock()
            self._begin_writing()

    def _idle(self) -> bool:
        """Return True if there is nothing left to wait for at the end."""
        if self._writing is _BROKEN:
            return False  # a client still reads the messages on their way, until end of input
        waits = self._writing is _BLOCKED or self._reading is _YIELDING or self.peer.output_size
        return not waits and not self.peer.in_flight

    def _write_failed(self, reason: str = "the other side no longer reads") -> None:
        self._move_writing(WritingSignal.FAIL)
        self._rest = memoryview(b"")
        self._make_room()
        self._last_resort = reason  # the end of input, soon to come, may have a better reason
        self._stop("", hard=self._server)
