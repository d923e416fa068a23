"""A server as a child process: messages are lines on its standard input and output."""

import os
import shlex
import signal as signals
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.stapled import StapledByteStream

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.lines import ENDLESS, LinesWire, Splitter
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.heard import Gone
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.unreachable import reason_of
from mcpcore_conformance.kit.verdicts import END_OF_INPUT, TERMINATED
from mcpcore_conformance.kit.wire import Kept, Refused

KEPT = 8
"""Processes that wait for further cases."""
WAITS = 2
"""Starts of a process that a case waits for one that another case has."""
STDERR_LIMIT, LAST_LINES = 65536, 3
BRIEFLY = 0.2
"""Seconds for a step of leaving that the processes of this command did not follow before."""


class StdioStage(Staging):
    """Starts the command for each connection."""

    binding = Binding.STDIO
    keeps = True

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        super().__init__()
        self.command, self.target = command, shlex.join(command)
        self._env, self._cwd = env, cwd
        self._kept: list[tuple[Revision, str, StdioWire, Kept]] = []
        self._lent: dict[object, tuple[Revision, str]] = {}
        """Conversations that cases have, and may give back, by their leases."""
        self._changed = anyio.Event()
        self.started = 0
        """Processes so far."""
        self.start = 0.0
        """Seconds that the last start took, until the first line came."""
        self.withheld = False
        """Whether a process wrote its first line only when its input had ended."""
        self.ignored: set[str] = set()
        """Steps of leaving (the end of input, SIGTERM) at which the last process did not end.

        That is a finding of the cases about it; the others do not wait for it again and again."""

    async def kept(self, revision: Revision, said: str, log: Log, *, wait: bool) -> Kept | None:
        """See :class:`~mcpcore_conformance.kit.wire.Stage`."""
        found = self._taken(revision, said, log)
        with anyio.move_on_after(WAITS * self.start if wait else 0.0):
            while found is None and (revision, said) in self._lent.values():
                await self._changed.wait()
                found = self._taken(revision, said, log)
        return found

    def _taken(self, revision: Revision, said: str, log: Log) -> Kept | None:
        for entry in [*self._kept]:
            spoken, declared, wire, kept = entry
            if wire.ended:
                # the case that left it has passed: its end is not a fault of the one that comes
                self._kept.remove(entry)
                self.tasks.start_soon(wire.close)
            elif spoken is revision and declared == said:
                self._kept.remove(entry)
                self._lent[wire.lease] = revision, said
                wire.adopt(log)
                return kept
        return None

    def _over(self, lease: object) -> None:
        """A case has a conversation no more."""
        if self._lent.pop(lease, None) is not None:
            self._changed.set()
            self._changed = anyio.Event()

    def keep(self, revision: Revision, said: str, kept: Kept) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Stage`."""
        wire = kept.wire
        assert isinstance(wire, StdioWire)
        self._kept.append((revision, said, wire, kept))
        self._over(wire.lease)
        if len(self._kept) > KEPT:
            self.tasks.start_soon(self._kept.pop(0)[2].close)

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Close what was kept."""
        try:
            async with anyio.create_task_group() as tasks:
                for _, _, wire, _ in self._kept:
                    tasks.start_soon(wire.close)
        finally:
            ended = await super().__aexit__(*raised)
        return ended

    async def connect(
        self, revision: Revision, *, log: Log, said: str | None = None, **_options: Any
    ) -> "StdioWire":
        """Start the server."""
        began, lease = anyio.current_time(), object()
        if said is not None:
            self._lent[lease] = revision, said

        def heard() -> None:
            self.start = anyio.current_time() - began

        def over() -> None:
            self._over(lease)

        try:
            process = await anyio.open_process(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        except OSError as error:
            over()
            raise Refused(f"{self.command[0]} cannot be started: {reason_of(error)}") from error
        self.started += 1
        return StdioWire(process, log, self, lease=lease, begun=heard, over=over)


class StdioWire(LinesWire):
    """The pipes of one process."""

    _stage: StdioStage

    def __init__(
        self,
        process: Process,
        log: Log,
        stage: StdioStage,
        *,
        lease: object,
        begun: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        pipes = StapledByteStream(process.stdin, process.stdout)
        super().__init__(stage, Binding.STDIO, pipes, log)
        self._process = process
        self._stderr = b""
        self._silenced = anyio.Event()
        """Set at the end of its standard error."""
        self._silent = False
        """Whether its output has ended."""
        self._closing = False
        self._begun: Callable[[], None] | None = begun
        self.lease = lease
        self._gives_back = over
        stage.tasks.start_soon(self._serve)

    @property
    def ended(self) -> bool:
        """Whether nothing comes of the process any more."""
        return self._silent or self._process.returncode is not None

    def adopt(self, log: Log) -> None:
        """Go on as a wire of another case."""
        opening = self._log.opening(self.number)
        self._log, self.number = log, log.number()
        log.resume(self.number, opening)

    async def cut(self, exchange: int = 0) -> None:
        """Kill the process."""
        self._kill(signals.SIGKILL)
        await self.exited(self._stage.patience)

    async def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._log.add(True, self.number, "note", signals.Signals(number).name.encode())
        if self._process.returncode is None:
            # asyncio's own looks first whether the process runs, and takes the exit status of one
            # that has just ended away from the event loop.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def exited(self, within: float) -> int | None:
        """Wait for the end of the process; its status (negative: the signal), or None."""
        with anyio.move_on_after(within):
            return await self._process.wait()
        return self._process.returncode

    def stderr(self) -> bytes:
        """Return the last 64 KiB of its standard error."""
        return self._stderr

    def descendants(self) -> list[int]:
        """Return the ids of processes that it has started and that are still there."""
        return _group(self._process.pid)

    async def close(self) -> None:
        """Close the input, wait, terminate, kill; nothing of its group is left."""
        self._gives_back()
        with anyio.CancelScope(shield=True):
            try:
                if self._process.returncode is None:
                    self._closing = True
                    await self._stream.send_eof()
                    await self._leaves(END_OF_INPUT)
                if self._process.returncode is None:
                    self._kill(signals.SIGTERM)
                    await self._leaves(TERMINATED)
            finally:
                self._kill(signals.SIGKILL)
                await self._process.wait()
                self._scope.cancel()
                # the pipes, too, of which others may hold the other end
                await self._process.aclose()

    async def _leaves(self, step: str) -> None:
        """Wait for the process to end, briefly where the one before did not at this step."""
        ignored = self._stage.ignored
        with self._stage.leaving(BRIEFLY if step in ignored else None):
            await self._process.wait()
        if self._process.returncode is None:
            ignored.add(step)
        else:
            ignored.discard(step)

    def _kill(self, number: signals.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    async def _serve(self) -> None:
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read_stderr)
                await self._read()

    async def _read(self) -> None:
        splitter = Splitter(self._line)
        lost = await self._taken(splitter)
        splitter.end()
        self._silent = True
        if lost == ENDLESS:
            # it goes on writing where nobody reads: that it ends is not to be waited for
            self._over(lost)
            return
        status = await self.exited(self._stage.patience)
        if status:
            held = bool(self.descendants())  # of which nobody knows when they end
            with anyio.move_on_after(BRIEFLY if held else self._stage.patience):
                await self._silenced.wait()
            # whole lines: of a part of a secret nobody knows that it is one
            if last := [each for each in self._stderr.splitlines() if each.strip()][-LAST_LINES:]:
                self._log.add(False, self.number, "note", b"stderr: " + b" / ".join(last))
        self._log.add(False, self.number, "close", f"exit status {status}".encode())
        what = "closed its output" if status is None else f"ended with status {status}"
        self._inbox.put(Gone(f"the process {what}", code=status))

    def _line(self, line: bytes) -> None:
        if self._begun is not None:
            self._stage.withheld |= self._closing
            self._begun()
            self._begun = None
        super()._line(line)

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        try:
            async for data in self._process.stderr:
                self._stderr = (self._stderr + data)[-STDERR_LIMIT:]
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return
        finally:
            self._silenced.set()


def _group(leader: int) -> list[int]:
    """The processes of a group that are still there, from /proc; empty where there is none."""
    found = []
    try:
        candidates = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for process in candidates:
        try:
            if os.getsid(process) == leader and process != leader:
                found.append(process)
        except OSError:
            continue
    return found
