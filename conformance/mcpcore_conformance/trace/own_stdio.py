"""Our own standard input and output as a wire, for a client that has started us."""

import os

import anyio

from mcpcore.trace.framing import Lines
from mcpcore_conformance.kit.heard import Gone, Heard, Text
from mcpcore_transports.stream.descriptors import DescriptorReader, open_reader

_LIMIT = 64 * 1024 * 1024


class OwnStdio:
    """One message a line; make it in the event loop that will use it."""

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self._reader: DescriptorReader = open_reader(stdin, 65536)
        self._stdout = stdout
        self._lines = Lines(_LIMIT)
        self._heard: list[Heard] = []
        self._ended = False

    async def say(self, payload: bytes, *, headers: dict[str, str | None] | None = None) -> int:
        """Write a message."""
        await anyio.to_thread.run_sync(_write, self._stdout, payload + b"\n")
        return 0

    async def hear(self, within: float) -> Heard | None:
        """Read what comes next."""
        with anyio.move_on_after(within):
            while not self._heard and not self._ended:
                data = await self._reader.read()
                self._heard += [Text(line.data) for line in self._lines.receive(data)]
                if not data:
                    self._ended = True
                    self._heard.append(Gone("the end of the input"))
        return self._heard.pop(0) if self._heard else None

    async def listen(self, last_event_id: str | None = None) -> int:
        """There is one channel only."""
        return 0

    async def cut(self, exchange: int = 0) -> None:
        """There are no exchanges."""

    def close(self) -> None:
        """Stop watching the input."""
        self._reader.close()


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
