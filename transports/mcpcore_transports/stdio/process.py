"""Client side of the stdio binding: a server spawned as a child process.

Source: the stdio page of the specification, "Shutdown".  The child leads a session and a process
group of its own, so that a launcher (``npx``, ``uv``, a shell) ends together with the server it
started.  Shutdown is: close its input, wait, SIGTERM to all of them, wait, SIGKILL.  It is
completed under cancellation too, and always reaps the child.
"""

import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import anyio

from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore_transports.link import App
from mcpcore_transports.stdio.process_settings import (
    SAFE_ENVIRONMENT,
    ProcessSettings,
    environment,
    limited,
)
from mcpcore_transports.stdio.reaper import GUARD
from mcpcore_transports.stdio.stderr import ErrorLines
from mcpcore_transports.stdio.tree import (
    HAS_PROC,
    MARK,
    Process,
    family,
    identify,
    is_alive,
    signal_all,
)
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.descriptors import DescriptorChannel, has_unread
from mcpcore_transports.stream.states import Writing

__all__ = ["SAFE_ENVIRONMENT", "ProcessLink", "ProcessSettings"]

_log = logging.getLogger("mcpcore.stdio")

_POSIX = sys.platform != "win32"
_KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)
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
        super().__init__(peer, app, settings=settings.pump)
        self.command = [os.fspath(part) for part in command]
        self._name = os.path.basename(self.command[0]) if self.command else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._sink = -1
        self._root: Process | None = None
        self._mark = secrets.token_hex(8)
        self._errors = ErrorLines(
            settings.stderr,
            name=self._name,
            longest=settings.stderr_line,
            lines=settings.stderr_tail,
            size=settings.stderr_tail_size,
        )

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

    # Start

    async def _open(self) -> None:
        settings = self._process_settings
        if not self.command:
            raise LinkError("no command was given")
        env = environment(settings)
        env[MARK] = ":".join(filter(None, (os.environ.get(MARK), self._mark)))
        command = limited(self.command, settings, env)
        if settings.guard and _POSIX:
            GUARD.expect(self._mark, settings.close_wait, settings.term_wait)
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
        if settings.guard and _POSIX:
            GUARD.born(self._mark, process.pid)
        self._root = identify(process.pid) if HAS_PROC else None
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        self._errors.attach(None if process.stderr is None else process.stderr.fileno())
        self._sink = process.stdin.fileno()
        self._channel = DescriptorChannel(
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
            self.unprovoked |= self._writing is Writing.BROKEN or has_unread(self._sink)
        return self._obituary()

    def _obituary(self) -> str:
        code = self.returncode
        text = f"the server process {self._name} "
        if code is None:
            text += "closed its output"
        elif code < 0:
            text += f"was ended by {_signal_name(-code)}"
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

    async def aclose(self) -> None:
        """Implement :meth:`Link.aclose`; a second Ctrl-C kills the server at once."""
        try:
            await super().aclose()
        except KeyboardInterrupt:  # trio raises it here, and lets the shielded cleanup go on
            if self._process is not None and self._process.returncode is None:
                self._kill(self._process, self._family())
            raise

    async def _close(self) -> None:
        process = self._process
        if process is None:
            GUARD.gone(self._mark)
            return
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        kin = self._family()  # before it ends: some descendants are found only by their parent
        buried = False
        try:
            async with anyio.create_task_group() as tasks:
                # Tasks are started first: in trio a Ctrl-C at that moment can leave one that never
                # runs, and so never ends.  A user may press it when the server's input is closed.
                tasks.start_soon(self._discard)  # a child that cannot write cannot exit
                tasks.start_soon(self._errors.read)
                with suppress(OSError):
                    process.stdin.close()
                await self._bury(kin)
                tasks.cancel_scope.cancel()
            buried = True
        finally:
            if not buried:  # interrupted in spite of the shield, by a second Ctrl-C
                self._kill(process, kin)
            await super()._close()
            self._errors.close()
            process.stdout.close()
            if process.stderr is not None:
                process.stderr.close()
            if process.returncode is None:
                _log.error("%s[%d] does not die of SIGKILL", self._name, process.pid)
            GUARD.gone(self._mark)

    def _kill(self, process: "subprocess.Popen[bytes]", kin: set[Process]) -> None:
        """Kill the child at once; if that fails, as at interpreter exit, the guard does it."""
        signal_all(kin, _KILL)
        with suppress(ProcessLookupError, PermissionError, AttributeError):
            os.killpg(process.pid, _KILL)
        signal_all(self._family(), _KILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self._process_settings.kill_wait)

    async def _discard(self) -> None:
        if self._channel is None:  # an error came before it was made
            return
        with suppress(OSError):
            while await self._receive():
                pass

    async def _bury(self, kin: set[Process]) -> None:
        settings = self._process_settings
        if not await self._exits_within(settings.close_wait):
            self._signal(kin, signal.SIGTERM)
            if not await self._exits_within(settings.term_wait):
                self._signal(kin, _KILL)
                await self._exits_within(settings.kill_wait)
        # Remaining processes; those being ended may still start others.
        for number, wait in ((signal.SIGTERM, settings.term_wait), (_KILL, settings.kill_wait)):
            with anyio.move_on_after(wait):
                while self._signal(kin, number):
                    while self._remains(kin):  # noqa: ASYNC110  (no event reports it)
                        await anyio.sleep(_TICK)
                return

    async def _exits_within(self, wait: float) -> bool:
        with anyio.move_on_after(wait):
            await self._exited()
        return self.returncode is not None

    def _family(self) -> set[Process]:
        """Return the descendants of the child that can be found."""
        if self._root is None:
            return set()
        return family(self._root, self._mark if self._process_settings.descendants else None)

    def _signal(self, kin: set[Process], number: int) -> bool:
        """Signal the group, and kin that have left it; return True if any process was present."""
        process = self._process
        assert process is not None  # noqa: S101
        kin |= self._family()
        present = self._remains(kin)
        everybody, spared = kin, process.pid
        try:
            if _POSIX:
                os.killpg(process.pid, number)
            elif process.returncode is None:
                process.terminate()
        except ProcessLookupError:
            pass
        except PermissionError:
            # macOS says this also if one of the group is a zombie: signal each process separately.
            spared = 0
            if self._root is not None:
                everybody = kin | {self._root}
            elif process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, number)
        signal_all(everybody, number, spare_group=spared)
        return present

    def _remains(self, kin: set[Process]) -> bool:
        """Return True if any of the processes still runs."""
        if self._root is not None:
            return any(map(is_alive, kin))
        assert self._process is not None  # noqa: S101
        with suppress(ProcessLookupError, PermissionError, AttributeError):
            os.killpg(self._process.pid, 0)
            return True
        return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
