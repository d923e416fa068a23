"""The kit as a server process: the client starts a relay, which connects back to the kit."""

import os
import secrets
import shlex
import signal as signals
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream

from mcpcore_conformance.kit.client_wire import Came, HostSettings, Signal
from mcpcore_conformance.kit.heard import Gone
from mcpcore_conformance.kit.hosts.lines import LinesWire
from mcpcore_conformance.kit.hosts.listener import ListeningHost, receive, write
from mcpcore_conformance.kit.model import Binding

RELAY = Path(__file__).with_name("relay.py")
_FIRST_LINE = 200


class StdioWire(LinesWire):
    """The kit in the place of a server process: what the client has started is a relay."""

    binding = Binding.STDIO

    def __init__(self, host: ListeningHost, pid: int) -> None:
        super().__init__(host)
        self.pid = pid
        """Of the process that the client has started."""
        self.unbending = False
        self.control: ByteStream | None = None
        self.bytes_over = anyio.Event()
        """The process reads no more input."""
        self.over = anyio.Event()
        self._ordering = anyio.Lock()

    async def stderr(self, data: bytes) -> bool:
        """Write to the standard error of the process."""
        self.host.log.add(True, self.number, "note", b"stderr: " + data)
        return await self._order(f"stderr {data.hex()}")

    async def exit(self, status: int = 0) -> bool:
        """End the process with a status, negative: by that signal."""
        self.host.log.add(True, self.number, "close", f"exit {status}".encode())
        return await self._order(f"exit {status}")

    async def stubborn(self) -> bool:
        """From now on neither the end of input nor SIGTERM ends the process."""
        self.unbending = True
        return True

    async def deaf(self, now: bool) -> bool:
        """Stop (``now``: True) or resume the process's reading of the client's messages."""
        self.host.log.add(True, self.number, "note", b"reads nothing" if now else b"reads again")
        return await self._order("deaf" if now else "hear")

    def alive(self) -> bool:
        """Return True if the process is still there."""
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return not _is_zombie(self.pid)

    async def finish(self) -> None:
        """End the process, as a server does that has nothing more to say."""
        await self.exit(0)

    async def cut(self, exchange: int = 0) -> None:
        """Crash the process."""
        await self.exit(-signals.SIGKILL)

    async def _order(self, line: str) -> bool:
        async with self._ordering:
            if self.control is None:
                return False
            return await write(self.control, f"{line}\n".encode(), self.host.settings.patience)


class StdioHost(ListeningHost):
    """Gives clients the command of a relay; each relay that connects back is a wire."""

    binding = Binding.STDIO

    def __init__(self, settings: HostSettings | None = None) -> None:
        super().__init__(settings)
        self._token = secrets.token_hex(8)
        self._wires: dict[int, StdioWire] = {}

    @property
    def command(self) -> list[str]:
        """What the client has to start."""
        # -S and -I: nothing of an installation is looked at, which makes the start quick
        return [sys.executable, "-IS", str(RELAY), str(self.port), self._token]

    @property
    def address(self) -> str:
        """``stdio:`` and the command as a shell would be given it."""
        return f"stdio:{shlex.join(self.command)}"

    def context(self) -> Mapping[str, Any]:
        """The command as clients are configured with it."""
        command, *arguments = self.command
        return {"server": {"command": command, "args": arguments}}

    async def serve(self, stream: ByteStream, connection: int) -> None:
        """Serve one of the two connections of a relay."""
        first = b""
        while b"\n" not in first and len(first) < _FIRST_LINE:
            data = await receive(stream)
            if not data:
                return
            first += data
        line, _, rest = first.partition(b"\n")
        kind, token, pid = [*line.decode("ascii", "replace").split(" "), "", ""][:3]
        if token != self._token or not pid.isdigit():
            return
        wire = self._wires.get(int(pid))
        if wire is None:
            wire = self._wires[int(pid)] = StdioWire(self, int(pid))
        if kind == "control":
            wire.control = stream
            if self.settings.refuse:
                self.settings.refuse -= 1
                await wire.exit(1)
            else:
                self.put(wire, Came())
                wire.ready.set()
            await self._obey(wire, rest)
        else:
            wire.stream = stream
            await wire.ready.wait()
            await wire.read(rest)
            wire.bytes_over.set()
            # the other way is open still
            await wire.over.wait()

    async def _obey(self, wire: StdioWire, rest: bytes) -> None:
        """Hear what the relay says about its process, until it is gone."""
        assert wire.control is not None
        while True:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                await self._said(wire, line.decode("ascii", "replace"))
            data = await receive(wire.control)
            if not data:
                break
            rest += data
        with anyio.move_on_after(1.0):
            if wire.stream is not None:
                await wire.bytes_over.wait()
        wire.over.set()
        self.log.add(False, wire.number, "close", b"the process is gone")
        self.put(wire, Gone("the process is gone"))

    async def _said(self, wire: StdioWire, line: str) -> None:
        word, _, value = line.partition(" ")
        if word == "signal":
            self.log.add(False, wire.number, "note", value.encode())
            self.put(wire, Signal(value))
        elif word == "eof":
            self.log.add(False, wire.number, "note", b"end of input")
            self.put(wire, Signal("EOF"))
            with anyio.move_on_after(1.0):
                await wire.bytes_over.wait()
        else:
            return
        if not wire.unbending:
            await wire.exit(0 if word == "eof" else -signals.SIGTERM)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
