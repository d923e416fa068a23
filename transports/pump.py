"""The one loop that moves bytes between a connection and a Peer.

:class:`Connection` is the base of every driver that has one Peer per connection.  It decides
nothing about the protocol: bytes are fed in, events go to the application, what the Peer has to
say is written, and the Peer's deadline is kept.  Two tasks per connection, one that reads and that
of :meth:`Connection.run`, which keeps the time; a third as soon as output had to wait.  None per
message: an idle connection is mostly its tasks.
"""

import math
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from mcpcore.engine.config import Role
from mcpcore.engine.events import ConnectionEnded
from mcpcore.engine.peer import Peer
from transports.background import known_in_callbacks
from transports.link import App, Link, clock
from transports.link_errors import STREAM_ERRORS, LinkError, what_broke
from transports.pump_settings import PumpSettings as PumpSettings

if TYPE_CHECKING:
    from transports.tracing import ConnectionTrace

_QUICK = 0.001
"""Seconds that an event may take to be handled for what follows to be as quick, presumably."""
_STEADY = 16
"""That many in a row, and answers are gathered to be written together."""
_SHARE = 512
"""So many events in one turn, and then others have theirs."""
_ROUNDS = 4
"""Turns of the event loop in which a write that need not wait is over, and the next has begun."""
_HOLD = 0.005
"""Seconds that a handler waits at most for the writer task to begin."""


class Connection(Link):
    """One Peer on one connection; subclasses say how bytes are read and written.

    ``run()`` opens the connection, calls ``task_status.started()``, pumps until the conversation
    is over and cleans up.  The end of the other side is no exception: the application gets every
    terminal event, ConnectionEnded last.  Cancelling ``run()`` is the abrupt end, with the same
    events and a bounded, shielded cleanup.  An exception of ``app.handle`` ends the connection and
    comes out of ``run()``.
    """

    binding = "custom"
    """What traces call it."""
    _half_close = True  # the other side may stop writing and still read
    _paced = True  # answers may have to be written before the next handler begins

    def __init__(self, peer: Peer, app: App, *, settings: PumpSettings | None = None) -> None:
        self.peer = peer
        self.app = app
        self.settings = settings or PumpSettings()
        self.trace: ConnectionTrace | None = None
        """Records what goes over the connection; to be set before run()."""
        self._outbox = peer.hub.outbox
        self._requests = peer.hub.deadlines
        # Whether there are deadlines beside those of our requests.
        self._has_time = type(self)._deadline is not Connection._deadline
        self._server = peer.role is Role.SERVER
        self._state = "new"
        self._reason = ""
        self._last_resort = "cancelled"  # the reason if there is no better one
        self._rest = memoryview(b"")  # taken from the Peer, not yet written
        self._writing = False  # the writer task owns the output
        self._moved = 0.0  # when some of the output was last written
        self._begun = 0.0  # when the writer task was given it
        self._stall = self.settings.stall
        self._steady = 0  # events handled quickly, in a row
        self._holding = False  # events wait for the writer task
        self._sharing = False  # events wait until others had their turn
        self._broken = False  # output can no longer be written; it is dropped
        self._turning = False
        self._again = False
        self._draining = False
        self._leaving = False
        self._armed = math.inf  # when run() will look at the time
        self._sleep: anyio.CancelScope | None = None
        self._ahead = 0.0  # of our clock is that of the event loop
        # An event of asyncio takes a kilobyte: there are none that nobody waits for.
        self._wake = anyio.Event()  # run() is to look again
        self._room: anyio.Event | None = None  # the reader waits for it
        self._unsent: anyio.Event | None = None  # the writer task waits for it
        self._done: anyio.Event | None = None
        self._has_writer = False
        self._to_start: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._stopping = False
        self._drained = False
        self._crashed = False
        self._failure: Exception | None = None
        self.abandoned = False
        """It was cancelled, or our application failed: nobody means to go on."""
        self.steps = 0
        """Grows with every event that was handled, every turn, and every write."""

    # What a driver provides

    async def _open(self) -> None:
        """Open the connection, or raise LinkError."""

    async def _receive(self) -> bytes:
        """Wait for bytes; empty at the end.  OSError and anyio's stream errors mean broken."""
        raise NotImplementedError

    def _send_nowait(self, data: bytes) -> int:
        """Write what can be written at once; how much that was."""
        return 0

    async def _send(self, data: memoryview) -> int:
        """Wait until some of ``data`` has been written; how much that was."""
        raise NotImplementedError

    async def _end_of_input(self) -> str:
        """Say why the input ended; may wait a moment to find out."""
        return "closed by the other side"

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """More tasks for the time of the connection."""
        return ()

    async def _close(self) -> None:
        """Release everything, also after a failed :meth:`_open`; called shielded, bounds itself."""

    def _feed(self, data: bytes) -> None:
        if self.trace is not None:
            self.trace.received(data)
        self.peer.receive_data(data, now=clock())

    def _record(self, text: bytes, *, incoming: bool) -> None:
        """Put a whole message on the trace, if there is one: for whoever has no lines."""
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
        if self._state != "new":
            raise RuntimeError("a connection runs once")
        self._state = "running"
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
                    while not self._stopping:
                        await self._sit(tasks)
                    self._draining = True
                    with anyio.move_on_after(self.settings.drain):
                        if self._leaving:
                            self.peer.close(now=clock())
                        self._turn()
                        while not self._drained:
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
                with anyio.CancelScope(shield=True):
                    await self._close()
                if self.trace is not None:
                    self.trace.closed(self._reason or self._last_resort)
                self._state = "ended"
                if self._done is not None:
                    self._done.set()

    def flush_soon(self) -> None:
        """See :meth:`Link.flush_soon`; before run() it is not needed: run() begins with it."""
        self._wake.set()

    def write_now(self) -> None:
        """See :meth:`Link.write_now`; events are left to the turn that follows."""
        if self._state == "running" and not (self._turning or self._writing):
            self._flush()

    async def aclose(self) -> None:
        """End the conversation in good order; run() has returned when this does."""
        self._leave("closed by this side")
        if self._state == "running":
            if self._done is None:
                self._done = anyio.Event()
            await self._done.wait()

    def leave(self, reason: str) -> None:
        """Begin to end the conversation in good order, for a reason of our own."""
        self._leave(reason)

    def _leave(self, reason: str) -> None:
        """End in good order, of our own accord."""
        if not self._stopping:
            self._leaving = True
        self._stop(reason)

    def _stop(self, reason: str, *, hard: bool = False) -> None:
        """Begin the end; ``hard`` leaves running requests no time."""
        self._reason = self._reason or reason
        self._stopping = True
        self._drained = self._drained or hard
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        """End the connection with an exception that was caught outside of its own tasks."""
        self._failure = self._failure or error
        self._stop("internal error", hard=True)

    def _finish(self) -> None:
        """Give the application its terminal events, and unsent output one last chance."""
        self.peer.receive_eof(now=clock(), reason=self._reason or self._last_resort)
        self._state = "ending"
        self._server = False  # no back-pressure any more: drain everything
        self._turn()

    # The tasks

    def _begin_reading(self) -> None:
        """Have the reader task started, now or once it is needed."""
        self._start(self._read)

    def _start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have run() start a task, in its context: callbacks of the event loop cannot."""
        self._to_start.append(task)
        self._wake.set()

    async def _read(self) -> None:
        while True:
            # what came with the opening of the connection may have filled it already
            while self._full() or self._holding or self._sharing:
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
        """Take in what was just read, outside of the reader's task; what is left to that."""
        waits = self._writing or self._outbox.size
        if self._state != "running" or self._holding or self._sharing:
            return data
        if waits and self._full():
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
        """Have the reader look whether it may go on."""
        if self._room is not None:
            self._room.set()

    def _begin_writing(self) -> None:
        """Have the writer task write the rest; it is there from the first time on."""
        if self._unsent is not None:
            self._unsent.set()
        elif not self._has_writer:
            self._has_writer = True
            self._start(self._write)

    async def _write(self) -> None:
        while True:
            while self._writing:
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
                    self._writing = False
                    self._turn()
            unsent = self._unsent = anyio.Event()
            await unsent.wait()

    async def _write_out(self) -> None:
        """Let the writer go on while it gets on: the other side may only have stopped to write."""
        left = -1
        while self._writing and len(self._rest) != left:
            left = len(self._rest)
            for _ in range(_ROUNDS):
                await checkpoint()

    async def _sit(self, tasks: TaskGroup) -> None:
        """Turn whenever that was asked for, until a deadline has passed or the end has come."""
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
                if self._drained if self._draining else self._stopping:
                    return
        now = clock()
        if self._writing and now >= self._moved + self._stall:
            self._write_failed(f"the other side read nothing for {self._stall:g} s")
        self._timeout(now)
        self._turn()

    def _due(self) -> float:
        deadline = self._deadline()
        due = math.inf if deadline is None else deadline
        if self._sharing:
            return 0.0
        if self._holding:
            due = min(due, self._begun + _HOLD)
        return min(due, self._moved + self._stall) if self._writing else due

    def _arm(self, deadline: float) -> None:
        self._armed = deadline
        if self._sleep is not None:
            # A callback of the event loop, which has no task, may not ask anyio for the time.
            self._sleep.deadline = self._ahead + max(deadline, clock())

    # One turn: events out, output out

    def _full(self) -> bool:
        return self._server and self._outbox.size + len(self._rest) > self.settings.queued

    def _turn(self) -> None:
        """Hand all events to the application, then write; never awaits, never nests."""
        if self._turning:
            self._again = True
            return
        self._turning = True
        self.steps += 1
        try:
            while True:
                self._again = False
                full = self._dispatch()
                if not self._writing:
                    self._flush()
                if self._writing or not (full or self._again):
                    break  # if it is writing, the writer turns again when it has made room
        finally:
            self._turning = False
        waits = self._writing or self._holding or self._sharing
        if waits or self._requests.live or self._has_time:
            due = self._due()
            if due < self._armed:
                self._arm(due)
        if self._draining and not self._drained and self._idle():
            self._drained = True
            self._wake.set()

    def _dispatch(self) -> bool:
        """Hand over events until there are none, or (True) until the output is full.

        What is more than this connection's share waits until the event loop has looked after
        others.
        A handler may hold up the event loop, and an answer that is ready must not wait for it:
        until handlers have shown to be quick, what is ready is written before the next one begins.
        """
        if self._holding or self._sharing:
            self._holding = self._sharing = False
            self._make_room()
        share = _SHARE if self._state == "running" else math.inf
        hub, handle, now = self.peer.hub, self.app.handle, clock()
        outbox, most = self._outbox, self.settings.queued if self._server else math.inf
        while hub.inbox or hub.events:
            if outbox.size + len(self._rest) > most:
                return True
            if share <= 0:
                self._sharing = True
                return False
            share -= 1
            if self._steady < _STEADY and self._must_wait():
                self._holding = True
                return False
            event = hub.next_event()
            if event is None:
                break
            if type(event) is ConnectionEnded:
                self._stop(event.reason)
            handle(event)
            self.steps += 1
            begun, now = now, clock()
            self._steady = self._steady + 1 if now - begun < _QUICK else 0
        return outbox.size + len(self._rest) > most

    def _must_wait(self) -> bool:
        """Write what is ready; whether that is for the writer task, which had no time yet."""
        if not (self._server and self._paced):
            return False
        if self._outbox.size and not self._writing:
            self._flush()
        return self._writing and clock() < self._begun + _HOLD

    def _flush(self) -> None:
        data = self._take()
        if not data or self._broken:
            return
        try:
            count = self._send_nowait(data)
        except OSError:
            self._write_failed()
            return
        if count < len(data):
            self._rest = memoryview(data)[count:]
            self._writing = True
            self._moved = self._begun = clock()
            self._begin_writing()

    def _idle(self) -> bool:
        """Whether there is nothing left to wait for at the end."""
        if self._broken:
            return False  # a client reads what is still on its way, until end of input
        waits = self._writing or self._sharing or self._outbox.size
        return not waits and not self.peer.in_flight

    def _write_failed(self, reason: str = "the other side no longer reads") -> None:
        self._broken = True
        self._writing = False
        self._rest = memoryview(b"")
        self._make_room()
        self._last_resort = reason  # the end of input, soon to come, may tell more
        self._stop("", hard=self._server)
