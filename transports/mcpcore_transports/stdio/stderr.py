"""Standard error of a server: drained, cut into lines, passed on, with the last lines kept."""

import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import anyio

from mcpcore_transports.running.cancellation import failure_of
from mcpcore_transports.stream.descriptors import DescriptorReader, ThreadReader, open_reader

_log = logging.getLogger("mcpcore.stdio")

_CHUNK = 64 * 1024
_PIPE = 1024 * 1024
"""Maximum bytes that a pipe holds."""


class ErrorLines:
    """Reader of standard error to its end: a child whose pipe is full would block.

    It holds at most one line of ``longest`` bytes, and the last ``lines`` lines of together
    ``size`` characters.
    """

    def __init__(
        self,
        sink: str | Callable[[str], None],
        *,
        name: str,
        longest: int,
        lines: int,
        size: int,
    ) -> None:
        self._sink = sink
        self._name = name
        self._longest = longest
        self._size = size
        self._kept = 0  # characters in tail
        self._lines = lines
        self._part = bytearray()
        self._fd = -1
        self._reader: DescriptorReader | None = None
        self.tail: deque[str] = deque()
        self.ended = anyio.Event()

    def attach(self, fd: int | None) -> None:
        """Read from this descriptor, which stays the caller's; None: there is nothing to read."""
        if fd is None:
            self.ended.set()
        else:
            self._fd = fd
            self._reader = open_reader(fd, _CHUNK, self.take)

    def close(self) -> None:
        """Stop watching the descriptor, after passing on the output that is available.

        A caller that has just noticed the exit of a process may not have read its last output yet.
        """
        if self._reader is None:
            return
        self._reader.close()
        if not isinstance(self._reader, ThreadReader):  # else reading could wait
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
        start = 0
        while start < len(data):
            newline = data.find(b"\n", start)
            end = len(data) if newline < 0 else newline
            end = min(end, start + self._longest - len(self._part))
            self._part += data[start:end]
            start = end
            if start < len(data) and data[start] == 0x0A:
                start += 1
                self._cut(len(self._part))
            elif len(self._part) >= self._longest:
                self._cut(_whole(self._part))

    def _finish(self) -> None:
        """Pass on an unterminated last line."""
        if self._part:
            self._cut(len(self._part))

    def _cut(self, length: int) -> None:
        """Pass on the first ``length`` buffered bytes as a line."""
        text = self._part[:length].decode("utf-8", "replace").rstrip("\r")
        del self._part[:length]
        self._keep(text)
        if callable(self._sink):
            try:
                self._sink(text)
            except BaseException as error:
                _log.error("the callback for standard error failed", exc_info=failure_of(error))
        elif self._sink == "log":
            _log.info("%s: %s", self._name, text)

    def _keep(self, text: str) -> None:
        if self._lines < 1:
            return
        text = text[-self._size :] if self._size else ""
        self.tail.append(text)
        self._kept += len(text)
        while len(self.tail) > self._lines or self._kept > self._size:
            self._kept -= len(self.tail.popleft())


def _whole(part: bytearray) -> int:
    """Return the length of the longest prefix that ends with a whole UTF-8 character."""
    for back in range(1, min(4, len(part))):
        byte = part[-back]
        if byte & 0xC0 != 0x80:  # no continuation byte: the last character begins here
            wanted = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(part) if wanted <= back else max(1, len(part) - back)
    return len(part)


def name_of(command: list[str], pid: int | None) -> str:
    """Return the name of a process in logs."""
    return f"{os.path.basename(command[0])}[{pid}]"
