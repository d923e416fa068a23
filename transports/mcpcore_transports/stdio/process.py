"""Client side of the stdio binding: a server spawned as a child process.

Source: the stdio page of the specification, "Shutdown".  The child leads a session and a process
group of its own, so that a launcher (``npx``, ``uv``, a shell) ends together with the server it
started.  Shutdown is: close its input, wait, SIGTERM to all of them, wait, SIGKILL.  It is
completed under cancellation too, and always reaps the child.
"""

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
from msgspec import structs

from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore_transports.auth.environment import argv_warning
from mcpcore_transports.link import App, signal_name
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.stdio.reaper import GUARD, KILL, MARK, ProcessTree
from mcpcore_transports.stream import descriptors
from mcpcore_transports.stream.connection import StreamConnection, WritingHalf
from mcpcore_transports.stream.settings import SAFE_ENVIRONMENT, ProcessSettings

_log = logging.getLogger("mcpcore.stdio")

_CHUNK = 64 * 1024
_PIPE = 1024 * 1024
"""Maximum bytes that a pipe holds."""
_POSIX = sys.platform != "win32"
_NEGOTIATING = (SessionState.PROBING, SessionState.OPENING)
_TICK = 0.01


class ProcessLink(StreamConnection):
    """Link that spawns ``command`` and exchanges newline-framed messages over its standard streams.

    Lines of its standard output that are no messages become Violation events and are skipped.
    """

    binding = "stdio"

    def __init__(
        self,
        peer: Peer,
        app: App,
        command: Sequence[str],
        *,
        settings: ProcessSettings | None = None,
    ) -> None:
        self._process_settings = settings = settings or ProcessSettings()
        super().__init__(peer, app, settings=settings.connection)
        self.command = [os.fspath(part) for part in command]
        self._name = os.path.basename(self.command[0]) if self.command else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._sink = -1
        self._tree = ProcessTree(
            settings.close_wait, settings.term_wait, descendants=settings.descendants
        )
        self._guarded = settings.guard and _POSIX
        self._errors = ErrorLines(settings, self._name)

    @property
    def pid(self) -> int | None:
        """Process id of the child, also that of its group; None before it was spawned."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """Exit code of the child, or minus the signal that ended it; None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def stderr_tail(self) -> list[str]:
        """Last lines of the child's standard error."""
        return list(self._errors.tail)

    @property
    def last_error_line(self) -> str:
        """Last line of the child's standard error that is not empty."""
        return self._errors.last

    # Start

    async def _open(self) -> None:
        settings = self._process_settings
        if not self.command:
            raise LinkError("no command was given")
        env = environment(settings)
        env[MARK] = self._tree.variable
        warning = argv_warning(self.command)
        if warning is not None:
            _log.warning("%s: %s", self._name, warning)
        command = _limited(self.command, settings, env)
        if self._guarded:
            GUARD.watch(self._tree)
        try:
            self._process = process = subprocess.Popen(  # noqa: ASYNC220, S603  (no shell)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if settings.stderr == "inherit" else subprocess.PIPE,
                bufsize=0,
                cwd=settings.cwd,
                env=env,
                start_new_session=_POSIX,
            )
        except FileNotFoundError as error:
            if settings.cwd is not None and not os.path.isdir(settings.cwd):  # noqa: ASYNC240
                raise LinkError(f"directory not found: {settings.cwd}") from error
            raise LinkError(f"command not found: {self.command[0]}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LinkError(f"cannot start {self.command[0]}: {reason}") from error
        self._tree.started(process.pid)
        if self._guarded:
            GUARD.watch(self._tree)
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        self._errors.attach(None if process.stderr is None else process.stderr.fileno())
        self._sink = process.stdin.fileno()
        self._channel = descriptors.DescriptorChannel(
            process.stdout.fileno(), self._sink, self.settings.read_size, self._take_in
        )

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._errors.read, self._watch, self._watch_startup)

    # Watching the child

    async def _watch(self) -> None:
        """End the link when the child is gone, though a grandchild may keep its output open."""
        await self._exited()
        await anyio.sleep(self.settings.drain)
        self._stop(self._gone(), hard=True)

    async def _watch_startup(self) -> None:
        limit = self._process_settings.startup_timeout
        if limit is None:
            return
        await anyio.sleep(limit)
        if self.peer.state in _NEGOTIATING:
            self.unprovoked = True
            text = f"the server process {self._name} did not answer within {limit:g} s of its start"
            self._stop(text + self._last_words(), hard=True)

    async def _end_of_input(self) -> str:
        """Wait briefly for exit code and last lines of stderr; they make the error useful."""
        with anyio.move_on_after(self.settings.drain):
            await self._exited()
            await self._errors.ended.wait()
        return self._gone()

    def _gone(self) -> str:
        """Record if the first message may not have arrived; return the reason of the end."""
        if self.peer.state is SessionState.PROBING:
            self.unprovoked |= self._writing is WritingHalf.BROKEN or descriptors.has_unread(
                self._sink
            )
        return self._obituary()

    def _obituary(self) -> str:
        code = self.returncode
        text = f"the server process {self._name} "
        if code is None:
            text += "closed its output"
        elif code < 0:
            text += f"was ended by {signal_name(-code)}"
            if -code == getattr(signal, "SIGXCPU", None):
                text += " (cpu_limit)"
        else:
            text += f"exited with code {code}"
        return text + self._last_words()

    def _last_words(self) -> str:
        tail = self._errors.tail
        return "; its last words:\n" + "\n".join(f"  {line}" for line in tail) if tail else ""

    async def _exited(self) -> None:
        """Wait until the child has exited, and reap it."""
        process = self._process
        assert process is not None  # noqa: S101
        if hasattr(os, "pidfd_open") and process.poll() is None:
            with suppress(OSError):  # forbidden by a sandbox: poll
                fd = os.pidfd_open(process.pid)
                try:
                    await anyio.wait_readable(fd)
                finally:
                    os.close(fd)
        delay = 0.001
        while process.poll() is None:
            await anyio.sleep(delay)
            delay = min(delay * 2, 0.05)

    # Shutdown

    def hurry(self, seconds: float) -> None:
        """Let the process end within a time, half of it after SIGTERM; then it is killed."""
        settings, half = self._process_settings, seconds / 2
        self._process_settings = structs.replace(
            settings,
            close_wait=min(settings.close_wait, half),
            term_wait=min(settings.term_wait, half),
        )

    async def aclose(self) -> None:
        """Implement :meth:`Link.aclose`; a second Ctrl-C kills the server at once."""
        try:
            await super().aclose()
        except KeyboardInterrupt:  # trio raises it here, and lets the shielded cleanup go on
            if self._process is not None and self._process.returncode is None:
                self._kill(self._process)
            raise

    async def _close(self) -> None:
        process = self._process
        if process is None:
            GUARD.forget(self._tree)
            return
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        self._tree.look()  # before it ends: some descendants are found only by their parent
        buried = False
        try:
            async with anyio.create_task_group() as tasks:
                # Tasks are started first: in trio a Ctrl-C at that moment can leave one that never
                # runs, and so never ends.  A user may press it when the server's input is closed.
                tasks.start_soon(self._discard)  # a child that cannot write cannot exit
                tasks.start_soon(self._errors.read)
                with suppress(OSError):
                    process.stdin.close()
                await self._bury()
                tasks.cancel_scope.cancel()
            buried = True
        finally:
            if not buried:  # interrupted in spite of the shield, by a second Ctrl-C
                self._kill(process)
            await super()._close()
            self._errors.close()
            process.stdout.close()
            if process.stderr is not None:
                process.stderr.close()
            if process.returncode is None:
                _log.error("%s[%d] does not die of SIGKILL", self._name, process.pid)
            GUARD.forget(self._tree)

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill all processes at once, also at interpreter exit."""
        for _ in range(2):  # they may have been starting others
            self._tree.send(KILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self._process_settings.kill_wait)

    async def _discard(self) -> None:
        if self._channel is None:  # an error came before it was made
            return
        with suppress(OSError):
            while await self._receive():
                pass

    async def _bury(self) -> None:
        settings, tree = self._process_settings, self._tree
        if not await self._exits_within(settings.close_wait):
            tree.send(signal.SIGTERM)
            if not await self._exits_within(settings.term_wait):
                tree.send(KILL)
                await self._exits_within(settings.kill_wait)
        # Remaining processes; those being ended may still start others.
        for number, wait in ((signal.SIGTERM, settings.term_wait), (KILL, settings.kill_wait)):
            with anyio.move_on_after(wait):
                while tree.send(number):
                    while tree.remains():  # noqa: ASYNC110  (no event reports it)
                        await anyio.sleep(_TICK)
                return

    async def _exits_within(self, wait: float) -> bool:
        with anyio.move_on_after(wait):
            await self._exited()
        return self.returncode is not None


# Standard error


class ErrorLines:
    """Reader of standard error to its end: a child whose pipe is full would block.

    It is cut into lines, which are passed on; the last ones are kept.
    """

    def __init__(self, settings: ProcessSettings, name: str) -> None:
        self._sink = settings.stderr
        self._longest = settings.stderr_line
        self._lines, self._size = settings.stderr_tail, settings.stderr_tail_size
        self._name = name
        self._kept = 0  # characters in tail
        self._part = bytearray()
        self._fd = -1
        self._reader: descriptors.DescriptorReader | None = None
        self.tail: deque[str] = deque()
        self.last = ""
        """Last line that is not empty, cut as the tail is."""
        self.ended = anyio.Event()

    def attach(self, fd: int | None) -> None:
        """Read from this descriptor, which stays the caller's; None: there is nothing to read."""
        if fd is None:
            self.ended.set()
        else:
            self._fd = fd
            self._reader = descriptors.open_reader(fd, _CHUNK, self.take)

    def close(self) -> None:
        """Stop watching the descriptor, after passing on the output that is available.

        A caller that has just noticed the exit of a process may not have read its last output yet.
        """
        if self._reader is None:
            return
        self._reader.close()
        if not isinstance(self._reader, descriptors.ThreadReader):  # else reading could wait
            with suppress(OSError):
                for _ in range(_PIPE // _CHUNK):
                    self.take(os.read(self._fd, _CHUNK))
        self._finish()

    async def read(self) -> None:
        """Read to the end."""
        if self._reader is None:
            return
        with suppress(OSError):
            while data := await self._reader.read():
                self.take(data)
        self._finish()
        self.ended.set()

    def take(self, data: bytes) -> None:
        """Cut data into lines; time and memory are linear in its size."""
        for number, part in enumerate(data.split(b"\n")):
            if number:
                self._cut(len(self._part))
            self._part += part
            while len(self._part) > self._longest:
                self._cut(_whole(self._part[: self._longest]))

    def _finish(self) -> None:
        """Pass on an unterminated last line."""
        if self._part:
            self._cut(len(self._part))

    def _cut(self, length: int) -> None:
        """Pass on the first ``length`` buffered bytes as a line, and keep it for the error."""
        text = self._part[:length].decode("utf-8", "replace").rstrip("\r")
        del self._part[:length]
        last = text[-self._size :] if self._size else ""
        self.last = last.strip() or self.last
        if self._lines > 0:
            self.tail.append(last)
            self._kept += len(last)
            while len(self.tail) > self._lines or self._kept > self._size:
                self._kept -= len(self.tail.popleft())
        if callable(self._sink):
            try:
                self._sink(text)
            except BaseException as error:
                _log.error("the callback for standard error failed", exc_info=failure_of(error))
        elif self._sink == "log":
            _log.info("%s: %s", self._name, text)


def _whole(part: bytearray) -> int:
    """Return the length of the longest prefix that ends with a whole UTF-8 character."""
    for back in range(1, min(4, len(part))):
        byte = part[-back]
        if byte & 0xC0 != 0x80:  # no continuation byte: the last character begins here
            wanted = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(part) if wanted <= back else max(1, len(part) - back)
    return len(part)


# Environment and limits


def environment(settings: ProcessSettings) -> dict[str, str]:
    """Return the variables of a child."""
    named = settings.inherit_env
    chosen: Collection[str] = () if isinstance(named, bool) else named
    env = {
        name: value
        for name, value in os.environ.items()
        if named is True
        or name in chosen
        # Some shells keep functions in variables.
        or (name in SAFE_ENVIRONMENT and not value.startswith("()"))
    }
    return {**env, **(settings.env or {})}


def _limited(
    command: Sequence[str], settings: ProcessSettings, env: Mapping[str, str]
) -> Sequence[str]:
    """Return the command that starts ``command`` within its limits.  Raises LinkError.

    A shell sets the limits and turns into the program: they bind it from its first instruction, and
    no code of ours runs between fork and exec, which threads make unsafe.
    """
    memory, cpu = settings.memory_limit, settings.cpu_limit
    if memory is None and cpu is None:
        return command
    if sys.platform == "win32":
        raise LinkError("memory_limit and cpu_limit need a POSIX system")
    import resource

    steps = []
    if memory is not None:
        if sys.platform == "darwin":
            raise LinkError("memory_limit is not enforced by macOS; leave it out")
        # Linux: memory that was really requested, not the address space that runtimes reserve.
        letter, kind = ("d", resource.RLIMIT_DATA)
        if sys.platform != "linux":
            letter, kind = ("v", resource.RLIMIT_AS)
        _check("memory_limit", memory, kind)
        steps.append(f"ulimit -{letter} {max(1, memory // 1024)}")
    if cpu is not None:
        seconds = math.ceil(cpu)
        _check("cpu_limit", seconds, resource.RLIMIT_CPU)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        steps.append(f"ulimit -S -t {seconds}")
        if hard == resource.RLIM_INFINITY or hard > seconds:
            steps.append(f"ulimit -H -t {seconds + 1}")  # SIGXCPU can be ignored, this cannot
    script = " && ".join([*steps, 'exec "$@"'])
    return ["/bin/sh", "-c", script, "sh", find_program(command[0], settings, env), *command[1:]]


def _check(name: str, wanted: float, kind: int) -> None:
    import resource

    if wanted <= 0:
        raise LinkError(f"{name} must be more than 0, not {wanted:g}")
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise LinkError(f"{name} is {wanted:g}, but the system allows this process {hard:g}")


def find_program(name: str, settings: ProcessSettings, env: Mapping[str, str]) -> str:
    """Return the file of a program; a shell would not report the error well.  Raises LinkError."""
    if "\0" in name:
        raise LinkError(f"cannot start {name}: embedded null byte")
    path = name
    if os.path.dirname(name):
        path = os.path.join(os.fspath(settings.cwd or ""), name)
        if os.path.exists(path) and shutil.which(path) is None:
            raise LinkError(f"cannot start {name}: Permission denied")
    found = shutil.which(path, path=env.get("PATH", os.defpath))
    if found is None:
        raise LinkError(f"command not found: {name}")
    return os.path.abspath(found)
