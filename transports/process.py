"""The client's side of the stdio binding: a server spawned as a child process.

Source: the stdio page of the specification, "Shutdown".  The child leads a process group of its
own, so that a launcher (``npx``, ``uv``, a shell) goes together with the server it started.  The
end is: close its input, wait, SIGTERM to the group, wait, SIGKILL to the group; it runs to its end
under cancellation too, and always reaps.
"""

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
from msgspec import Struct, field

from mcpcore.engine.peer import Peer
from transports.descriptors import DescriptorLink, Reader, open_reader
from transports.link import App
from transports.link_errors import LinkError
from transports.pump import PumpSettings

_log = logging.getLogger(__name__)

SAFE_ENVIRONMENT = frozenset(
    (
        "APPDATA HOMEDRIVE HOMEPATH LOCALAPPDATA PATH PATHEXT PROCESSOR_ARCHITECTURE SYSTEMDRIVE"
        " SYSTEMROOT TEMP TMP USERNAME USERPROFILE"
        if sys.platform == "win32"
        else "HOME LANG LC_ALL LC_CTYPE LOGNAME PATH SHELL TERM TMPDIR TZ USER"
    ).split()
)
"""The variables a child inherits unless told otherwise: nothing that is likely to be a secret."""

LINE_LIMIT = 64 * 1024
"""Longest line of standard error, in bytes; longer ones are cut into pieces."""


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """How a server process is started and ended. Times in seconds."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    env: Mapping[str, str] | None = None
    """Variables for the child, beside :data:`SAFE_ENVIRONMENT`."""
    inherit_env: bool = False
    """Hand over our whole environment."""
    cwd: str | os.PathLike[str] | None = None
    stderr: str | Callable[[str], None] = "log"
    """``log``, ``inherit`` (it writes to our standard error), ``discard``, or called per line."""
    stderr_tail: int = 20
    """Lines of its standard error that are kept for the error message."""
    close_wait: float = 2.0
    """Time to exit after its input was closed."""
    term_wait: float = 2.0
    """Time to exit after SIGTERM."""
    kill_wait: float = 2.0
    """Time for the system to bury it after SIGKILL."""


class ProcessLink(DescriptorLink):
    """Spawns ``command`` and speaks newline-framed messages over its standard streams.

    Lines of its standard output that are no messages become Violation events and are skipped.
    """

    def __init__(
        self,
        peer: Peer,
        app: App,
        command: Sequence[str],
        *,
        settings: ProcessSettings | None = None,
    ) -> None:
        self._process_settings = settings or ProcessSettings()
        super().__init__(peer, app, settings=self._process_settings.pump)
        self.command = [os.fspath(part) for part in command]
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Reader | None = None
        self._tail: deque[str] = deque(maxlen=self._process_settings.stderr_tail)
        self._errors_ended = anyio.Event()

    @property
    def pid(self) -> int | None:
        """The process id of the child, also that of its group; None before it was spawned."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._tail)

    # Start

    def _environment(self) -> dict[str, str]:
        settings = self._process_settings
        env = {
            name: value
            for name, value in os.environ.items()
            if settings.inherit_env or (name in SAFE_ENVIRONMENT and not value.startswith("()"))
        }
        return {**env, **(settings.env or {})}

    async def _open(self) -> None:
        settings = self._process_settings
        if not self.command:
            raise LinkError("no command was given")
        name = self.command[0]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220, S603  (not waited for; no shell)
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if settings.stderr == "inherit" else subprocess.PIPE,
                bufsize=0,
                cwd=settings.cwd,
                env=self._environment(),
                start_new_session=sys.platform != "win32",
            )
        except FileNotFoundError as error:
            if settings.cwd is not None and not os.path.isdir(settings.cwd):  # noqa: ASYNC240
                raise LinkError(f"directory not found: {settings.cwd}") from error
            raise LinkError(f"command not found: {name}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LinkError(f"cannot start {name}: {reason}") from error
        self._process = process
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        if process.stderr is None:
            self._errors_ended.set()
        else:
            self._errors = open_reader(process.stderr.fileno(), LINE_LIMIT)
        self._attach(process.stdout.fileno(), process.stdin.fileno())

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._read_errors, self._watch)

    # While it runs

    async def _read_errors(self) -> None:
        """Keep standard error empty: a child whose pipe is full stands still."""
        if self._errors is None:
            return
        rest = b""
        with suppress(OSError):
            while data := await self._errors.read():
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > LINE_LIMIT:
                    lines.append(rest)
                    rest = b""
                for line in lines:
                    self._error_line(line)
        if rest:
            self._error_line(rest)
        self._errors_ended.set()

    def _error_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self._tail.append(text)
        sink = self._process_settings.stderr
        if callable(sink):
            try:
                sink(text)
            except Exception:
                _log.exception("the callback for standard error failed")
        elif sink == "log":
            _log.info("%s[%s]: %s", os.path.basename(self.command[0]), self.pid, text)

    async def _watch(self) -> None:
        """End the link when the child is gone though a grandchild keeps its output open."""
        await self._exited()
        await anyio.sleep(self.settings.drain)
        self._stop(self._obituary(), hard=True)

    async def _end_of_input(self) -> str:
        """Wait a moment for the exit code and the last words; they make the error useful."""
        with anyio.move_on_after(self.settings.drain):
            await self._exited()
            await self._errors_ended.wait()
        return self._obituary()

    def _obituary(self) -> str:
        name = os.path.basename(self.command[0])
        code = self.returncode
        if code is None:
            text = f"the server process {name} closed its output"
        elif code < 0:
            text = f"the server process {name} was ended by {_signal_name(-code)}"
        else:
            text = f"the server process {name} exited with code {code}"
        if self._tail and code != 0:
            text += "; its last words:\n" + "\n".join(f"  {line}" for line in self._tail)
        return text

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

    # End

    async def _close(self) -> None:
        process, settings = self._process, self._process_settings
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        with suppress(OSError):
            process.stdin.close()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._discard)  # a child that cannot write cannot exit
                tasks.start_soon(self._read_errors)
                await self._bury(settings)
                tasks.cancel_scope.cancel()
        finally:
            self._detach()
            process.stdout.close()
            if self._errors is not None and process.stderr is not None:
                self._errors.close()
                process.stderr.close()

    async def _discard(self) -> None:
        with suppress(OSError):
            while await self._receive():
                pass

    async def _bury(self, settings: ProcessSettings) -> None:
        if not await self._exits_within(settings.close_wait):
            self._signal(signal.SIGTERM)
            if not await self._exits_within(settings.term_wait):
                self._signal(_KILL)
                await self._exits_within(settings.kill_wait)
        if self._signal(signal.SIGTERM):  # what it left behind in its group
            with anyio.move_on_after(settings.term_wait):
                while self._signal(0):  # noqa: ASYNC110  (nobody tells when a group is empty)
                    await anyio.sleep(0.01)
            self._signal(_KILL)

    async def _exits_within(self, wait: float) -> bool:
        with anyio.move_on_after(wait):
            await self._exited()
        return self.returncode is not None

    def _signal(self, number: int) -> bool:
        """Signal the group; whether anybody was there."""
        process = self._process
        assert process is not None  # noqa: S101
        try:
            if sys.platform != "win32":
                os.killpg(process.pid, number)
            elif process.returncode is not None:
                return False
            else:
                process.terminate()
        except (ProcessLookupError, PermissionError):
            return False
        return True


_KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
