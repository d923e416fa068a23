"""Several processes that serve one address: started, watched, restarted, and ended together.

The *supervisor* binds the address first, without listening, so that it stays ours and has one port.
Each worker listens on it by itself (``SO_REUSEPORT``), and the kernel distributes the connections.
Supervisor and worker are joined by a socket pair: on it the worker sends the URLs on which it
listens.  The end of the pair tells it that the supervisor is gone, for any reason.
"""

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from msgspec import Struct

from mcpcore.errors import WorkersFailed
from mcpcore.spec.bounds import check_numbers
from mcpcore_transports.link import cannot_listen, signal_child, signal_name

logger = logging.getLogger("mcpcore.workers")

LIFELINE = "MCPCORE_LIFELINE"
"""Environment variable with the descriptor of a worker's end of the socket pair."""
PLACE = "MCPCORE_LIFELINE_PLACE"
"""Environment variable with the path of the socket on which the other workers find a worker."""

_END = b"\n\n"
_FAILED = b"!"
"""First byte of the message of a worker that cannot start, in place of its URLs."""
_MOST = 64 * 1024
"""Maximum bytes of a worker's message."""
_AGAIN = 0.05
"""Seconds between two reads where the event loop cannot wait for the message."""


class WorkersSettings(Struct, frozen=True, kw_only=True):
    """Settings for the supervision of workers.  Times are in seconds."""

    backoff: float = 1.0
    """Seconds before a worker that has ended, or could not be started, is started again.

    They double each time in a row.
    """
    longest_backoff: float = 30.0
    """Maximum seconds before a restart."""
    steady: float = 10.0
    """Seconds of running after which a worker counts as healthy: the next restart is at once."""
    start: float = 60.0
    """Seconds for the first start of all workers."""
    drain: float = 15.0
    """Seconds for workers to end after SIGTERM; then they are killed."""

    def __post_init__(self) -> None:
        check_numbers(self, "backoff", "longest_backoff", "steady", "drain")


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold an address for the workers, without listening on it; yields the port.

    Raises OSError with a readable message: the address is in use elsewhere, or the system has no
    ``SO_REUSEPORT``.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("several workers need SO_REUSEPORT, which this system does not have")
    with ExitStack() as stack:
        try:
            # those that the workers listen on, each once: some resolvers repeat 127.0.0.1
            flags = socket.AI_PASSIVE | socket.AI_ADDRCONFIG
            places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
            for family, kind, protocol, _, address in dict.fromkeys(places):
                held = stack.enter_context(socket.socket(family, kind, protocol))
                at = (address[0], port, *address[2:])
                # with SO_REUSEPORT we would silently share it with workers of an earlier start
                if port:
                    with socket.socket(family, kind, protocol) as probe:
                        _bind(probe, at, socket.SO_REUSEADDR)
                try:
                    _bind(held, at, socket.SO_REUSEPORT)
                except OSError:
                    # Connections of a server of one process, which has just ended, linger here.
                    _bind(held, at, socket.SO_REUSEADDR)
                port = port or held.getsockname()[1]
        except (OSError, UnicodeError) as error:
            readable = OSError(cannot_listen(host, port, error))
            readable.errno = getattr(error, "errno", None)
            raise readable from error
        yield port


def _bind(sock: socket.socket, address: tuple[Any, ...], option: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, option, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)


class Supervisor:
    """Supervisor that keeps ``count`` processes of one command running; see :meth:`run`.

    ``report`` is called with messages about the workers.  Each worker gets :data:`LIFELINE` and has
    to use :func:`worker_lifeline`; ``folder`` is where they find each other, by their numbers.
    :meth:`run` lasts until it is cancelled.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        *,
        settings: WorkersSettings | None = None,
        report: Callable[[str], object] = logger.warning,
        folder: Path | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"there must be at least one worker, not {count}")
        self.settings = settings or WorkersSettings()
        self.restarts = 0
        """Number of restarts of workers."""
        self.pids: dict[int, int] = {}
        """Process ids of the running workers by their number, from 1."""
        self._report = report
        self._folder = folder
        self._command = list(command)
        self._count = count
        self._ready = 0
        self._urls: list[str] = []
        self._all_ready = anyio.Event()
        self._hurried = False
        self._patience = set[anyio.CancelScope]()
        """Scopes of the waits for workers that are ending."""

    def hurry(self) -> None:
        """Kill the workers that are ending, in place of waiting for them."""
        self._hurried = True
        for scope in self._patience:
            scope.cancel()

    async def run(self, *, ready: Callable[[list[str]], None] = lambda urls: None) -> None:
        """Start the workers, call ``ready`` with their URLs once all listen, keep them running.

        Cancelling ends it: workers get SIGTERM, time to drain, and in the end SIGKILL.  Raises
        WorkersFailed if one of them ends, or cannot be started, before all of them have listened
        once; later such a worker is started again after a pause.
        """
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as group:
                for number in range(1, self._count + 1):
                    group.start_soon(self._keep, number)
                with anyio.move_on_after(self.settings.start) as starting:
                    await self._all_ready.wait()
                if starting.cancelled_caught:
                    raise WorkersFailed(
                        f"not all workers listen after {self.settings.start:g} seconds"
                    )
                ready(self._urls)
        except* WorkersFailed as failed:
            failure = failed.exceptions[0]  # several may fail at once, most likely for one reason
        if failure is not None:
            raise failure

    async def _keep(self, number: int) -> None:
        delay = self.settings.backoff
        again = False
        while True:
            began = anyio.current_time()
            steady, words = False, ""
            try:
                process, ours = await self._start(number)
            except (OSError, RuntimeError) as error:
                # Descriptors, memory or processes may be available later.  A RuntimeError means
                # that there cannot be another thread, which an event loop starts for a process.
                reason = error.strerror if isinstance(error, OSError) else None
                fate = f"could not be started: {reason or error}"
            else:
                self.restarts += again
                status, words = await self._watch(number, process, ours)
                fate = f"ended with {signal_name(-status) if status < 0 else f'status {status}'}"
                steady = anyio.current_time() - began >= self.settings.steady
            if not self._all_ready.is_set():
                if words:
                    raise WorkersFailed(words, said=True)
                raise WorkersFailed(f"worker {number} {fate} at its start")
            pause, delay = delay, min(delay * 2, self.settings.longest_backoff)
            if steady:
                pause, delay = 0.0, self.settings.backoff
            when = f"in {pause:g} s" if pause else "now"
            fate = f"{fate} ({words})" if words else fate
            self._report(f"worker {number} {fate}; it is started again {when}")
            await anyio.sleep(pause)
            again = True

    async def _start(self, number: int) -> tuple[Process, socket.socket]:
        """Start a worker; return it and our end of the socket pair."""
        ours, theirs = socket.socketpair()
        place = {} if self._folder is None else {PLACE: str(self._folder / str(number))}
        with theirs, ExitStack() as failing:
            failing.callback(ours.close)
            # asyncio forgets a process whose start is cancelled.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    self._command,
                    stdin=None,
                    stdout=None,
                    stderr=None,
                    env={**os.environ, LIFELINE: str(theirs.fileno()), **place},
                    pass_fds=[theirs.fileno()],
                    # The supervisor passes on a terminal's Ctrl-C, once.
                    start_new_session=True,
                )
            failing.pop_all()
        return process, ours

    async def _watch(self, number: int, process: Process, ours: socket.socket) -> tuple[int, str]:
        """Watch a worker to its end; return its exit status and its reason for not starting.

        The reason is empty if it did start.
        """
        self.pids[number] = process.pid
        said = bytearray()
        with ours:
            ours.setblocking(False)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._await_ready, ours, said)
                    status = await process.wait()
                    group.cancel_scope.cancel()
                with suppress(OSError):
                    said += ours.recv(_MOST)
                if not said.startswith(_FAILED):
                    return status, ""
                # a long reason may be cut within a character
                return status, said[len(_FAILED) :].decode(errors="replace").strip()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end(process)
                del self.pids[number]

    async def _await_ready(self, ours: socket.socket, said: bytearray) -> None:
        while not said.endswith(_END):
            try:
                await anyio.wait_readable(ours)
            except OSError:  # the event loop can watch no more
                await anyio.sleep(_AGAIN)
            try:
                part = ours.recv(_MOST)
            except BlockingIOError:
                continue
            except OSError:
                part = b""  # it is lost; the end of its process tells the rest
            if not part or len(said) > _MOST:
                return
            said += part
        if not self._all_ready.is_set() and not said.startswith(_FAILED):
            self._urls = said.decode().split()
            self._ready += 1
            if self._ready == self._count:
                self._all_ready.set()

    async def _end(self, process: Process) -> None:
        if process.returncode is not None:
            return
        signal_child(process, signal.SIGTERM)
        with anyio.move_on_after(0 if self._hurried else self.settings.drain) as patience:
            self._patience.add(patience)
            try:
                await process.wait()
                return
            finally:
                self._patience.discard(patience)
        signal_child(process, signal.SIGKILL)
        await process.wait()
        self._report(f"process {process.pid} did not end in time and was killed")


class Lifeline:
    """Worker's end of the socket pair; ``place``: where the other workers find it, if they do."""

    def __init__(self, end: socket.socket, place: Path | None = None) -> None:
        end.setblocking(False)
        self._end = end
        self.place = place

    def ready(self, urls: Sequence[str]) -> None:
        """Tell the supervisor that this worker listens."""
        with suppress(OSError):
            self._end.sendall("\n".join(urls).encode() + _END)

    def failed(self, reason: str) -> None:
        """Tell the supervisor why this worker cannot start."""
        with suppress(OSError):
            self._end.sendall(_FAILED + reason.encode(errors="replace")[: _MOST // 2] + _END)

    async def supervisor_gone(self) -> None:
        """Wait until the supervisor has ended."""
        await anyio.wait_readable(self._end)


def worker_lifeline() -> Lifeline | None:
    """Return the lifeline of this process if it is a worker; its children do not inherit it."""
    number, place = os.environ.pop(LIFELINE, None), os.environ.pop(PLACE, None)
    if number is None:
        return None
    end = socket.socket(fileno=int(number))
    end.set_inheritable(False)
    return Lifeline(end, None if place is None else Path(place))
