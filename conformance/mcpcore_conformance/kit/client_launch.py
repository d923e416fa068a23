"""Starting the client under test, as the contract of the official suite has it.

``COMMAND ADDRESS`` with ``MCP_CONFORMANCE_SCENARIO``, ``MCP_CONFORMANCE_PROTOCOL_VERSION`` and
``MCP_CONFORMANCE_CONTEXT`` in the environment; beyond the contract ``MCP_CONFORMANCE_TRANSPORT``
names the binding, and ``MCP_CONFORMANCE_ADDRESS`` says the address again, as the context does.  It
has to end by itself.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.client_wire import Ended, Host
from mcpcore_conformance.kit.unreachable import reason_of
from mcpcore_conformance.kit.verdicts import Inconclusive

SCENARIO = "MCP_CONFORMANCE_SCENARIO"
VERSION = "MCP_CONFORMANCE_PROTOCOL_VERSION"
CONTEXT = "MCP_CONFORMANCE_CONTEXT"
TRANSPORT = "MCP_CONFORMANCE_TRANSPORT"
ADDRESS = "MCP_CONFORMANCE_ADDRESS"
SCRIPT = "script"

TAIL = 65536
"""Bytes that are kept of standard output and of standard error."""
PIPES = 0.5
"""Seconds for which the pipes of a process that has ended are read, if others hold them open."""
DRAIN = 2.0
"""Seconds for the connections of a process that has ended to be seen as closed."""


class ClientProcess:
    """Run of a client's command; its end is added to the events that the host hears."""

    def __init__(
        self,
        command: Sequence[str],
        host: Host,
        revision: Revision,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        self.command = command
        self.output = b""
        self.errors = b""
        self._host = host
        self._revision = revision
        self._env = os.environ if env is None else env
        self._cwd = cwd
        self._process: Process | None = None
        # a process that the client has left behind may write there to the very end
        self._directory = TemporaryDirectory(prefix="mcp-kit-", ignore_cleanup_errors=True)
        self._report = Path(self._directory.name) / "report.json"

    def environment(self, scenario: str, context: Mapping[str, Any]) -> dict[str, str]:
        """The environment of a scenario."""
        made = {**self._env, SCENARIO: scenario, VERSION: self._revision.name}
        made[TRANSPORT] = str(self._host.binding)
        made[ADDRESS] = self._host.address
        details = {"address": self._host.address, **self._host.context(), **context}
        if scenario == SCRIPT:
            details["report"] = str(self._report)
        made[CONTEXT] = json.dumps({"name": scenario, **details})
        return made

    async def start(self, tasks: TaskGroup, scenario: str, context: Mapping[str, Any]) -> None:
        """Start it.  Raises Inconclusive if the command cannot be run."""
        try:
            with anyio.CancelScope(shield=True):  # a process whose start is cancelled is forgotten
                self._process = process = await anyio.open_process(
                    [*self.command, self._host.address],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self.environment(scenario, context),
                    cwd=self._cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise Inconclusive(
                f"{self.command[0]} cannot be started: {reason_of(error)}"
            ) from error
        tasks.start_soon(self._attend, process)

    def report(self) -> bytes | None:
        """Return the report that the client has written, if there is one."""
        try:
            return self._report.read_bytes()
        except OSError:
            return None

    def said(self) -> str:
        """The last lines of standard error."""
        lines = self.errors.decode("utf-8", "replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[-400:]

    def signal(self, number: int) -> None:
        """Send a signal to the process and all of its group."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    async def aclose(self) -> None:
        """Leave nothing of it behind."""
        with anyio.CancelScope(shield=True):
            self.signal(signal.SIGKILL)
            if self._process is not None:
                # its end, and the pipes, of which others may hold the other end
                await self._process.aclose()
            self._directory.cleanup()

    async def _attend(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async with anyio.create_task_group() as tasks:
            read = [anyio.Event(), anyio.Event()]
            tasks.start_soon(self._read, process.stdout, "output", read[0])
            tasks.start_soon(self._read, process.stderr, "errors", read[1])
            code = await process.wait()
            with anyio.move_on_after(PIPES):
                for event in read:
                    await event.wait()
            tasks.cancel_scope.cancel()
        self.signal(signal.SIGKILL)
        await self._host.drained(DRAIN)
        self._host.put(None, Ended(code))

    async def _read(self, stream: ByteReceiveStream, name: str, over: anyio.Event) -> None:
        try:
            async for data in stream:
                setattr(self, name, (getattr(self, name) + data)[-TAIL:])
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass
        over.set()
