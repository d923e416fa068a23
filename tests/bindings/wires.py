"""A conversation spoken by hand, message by message, whatever the binding: the raw client.

The raw server is in :mod:`tests.bindings.hosts`.  Neither knows anything of the engine.
"""

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute

from tests.bindings.frames import CLOSE, Closed, Frames
from tests.clock import PATIENCE

LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, Closed)
"""What ends a wire."""


def encode(message: Any) -> bytes:
    """Write a message; bytes are taken as they are."""
    return message if isinstance(message, bytes) else json.dumps(message).encode()


class Wire(Protocol):
    """One side of a conversation."""

    async def send(self, message: Any) -> None:
        """Send a message, or bytes in the place of one."""

    async def begin(self, message: Any) -> None:
        """Send the first half of a message, where a message can be cut."""

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message of the other side; raises one of LOST at the end."""

    async def cancel(self, id: Any, reason: str | None = None) -> None:
        """As a client: want no answer to a request any more, as binding and era have it."""

    async def half_close(self) -> None:
        """Finish writing, and go on reading."""

    async def close(self) -> None:
        """End the conversation as the binding has it."""

    async def abort(self) -> None:
        """Be gone, as if the process had been killed."""

    async def done(self) -> None:
        """Let go of everything, after the other side has ended the conversation."""


class Pipes(ByteStream):
    """Two descriptors as a stream: one to read, one to write."""

    def __init__(self, source: int, sink: int) -> None:
        for fd in (source, sink):
            os.set_blocking(fd, False)
        self._source: int | None = source
        self._sink: int | None = sink

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            if self._source is None:
                raise anyio.ClosedResourceError
            await anyio.wait_readable(self._source)
            if self._source is None:  # somebody has closed it meanwhile
                raise anyio.ClosedResourceError
            try:
                data = os.read(self._source, max_bytes)
            except BlockingIOError:
                continue
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        rest = memoryview(item)
        while rest:
            if self._sink is None:
                raise anyio.ClosedResourceError
            await anyio.wait_writable(self._sink)
            try:
                rest = rest[os.write(self._sink, rest) :]
            except BlockingIOError:
                continue

    async def send_eof(self) -> None:
        if self._sink is not None:
            os.close(self._sink)
            self._sink = None

    async def aclose(self) -> None:
        await self.send_eof()
        if self._source is not None:
            os.close(self._source)
            self._source = None


def cancelled(id: Any, reason: str | None) -> dict[str, Any]:
    """The notification that a request is not wanted any more."""
    params = {"requestId": id} if reason is None else {"requestId": id, "reason": reason}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


def reset(stream: ByteStream) -> None:
    """Have a socket end with a reset, as that of a killed process with unread input does."""
    try:
        raw = stream.extra(SocketAttribute.raw_socket, None)
    except AttributeError:  # uvloop has lost it, and anyio asks it for its peer
        return
    if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
        # one that its reader has closed meanwhile is gone already
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


class LineWire:
    """One message a line, on any stream of bytes."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._rest = bytearray()

    async def send(self, message: Any) -> None:
        await self.stream.send(encode(message) + b"\n")

    async def begin(self, message: Any) -> None:
        data = encode(message)
        await self.stream.send(data[: len(data) // 2])

    async def receive(self) -> dict[str, Any]:
        with anyio.fail_after(PATIENCE):
            begin = 0
            while (end := self._rest.find(b"\n", begin)) < 0:
                begin = len(self._rest)
                self._rest += await self.stream.receive()
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    async def cancel(self, id: Any, reason: str | None = None) -> None:
        await self.send(cancelled(id, reason))

    async def half_close(self) -> None:
        await self.stream.send_eof()

    async def close(self) -> None:
        await self.stream.aclose()

    async def abort(self) -> None:
        reset(self.stream)
        await self.stream.aclose()

    async def done(self) -> None:
        await self.close()


class FrameWire:
    """One message a text frame."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._reading = False
        self._ended = anyio.Event()

    async def send(self, message: Any) -> None:
        await self.frames.send(encode(message))

    async def begin(self, message: Any) -> None:
        data = self.frames.encode(encode(message))
        await self.frames.stream.send(data[: len(data) // 2])

    async def receive(self) -> dict[str, Any]:
        self._reading = True
        try:
            with anyio.fail_after(PATIENCE):
                message: dict[str, Any] = json.loads(await self.frames.message())
        except LOST:
            self._ended.set()
            raise
        finally:
            self._reading = False
        return message

    async def cancel(self, id: Any, reason: str | None = None) -> None:
        await self.send(cancelled(id, reason))

    async def half_close(self) -> None:
        raise NotImplementedError("a WebSocket is closed both ways")

    async def close(self) -> None:
        await self.frames.send(b"\x03\xe8", CLOSE)
        with anyio.fail_after(PATIENCE):
            if self._reading:  # whoever reads will see the answer
                await self._ended.wait()
            while not self._ended.is_set():
                with suppress(*LOST):
                    await self.receive()
        await self.frames.stream.aclose()

    async def abort(self) -> None:
        reset(self.frames.stream)
        await self.frames.stream.aclose()

    async def done(self) -> None:
        await self.frames.stream.aclose()


@asynccontextmanager
async def calling(binding: str, target: Any, modern: str | None) -> AsyncIterator[Wire]:
    """Be a client of the server at ``target``, by hand; ``modern``: the revision, if it is such."""
    if binding == "stdio":
        (stdin, to_server), (from_server, stdout) = os.pipe(), os.pipe()
        process = await anyio.open_process(target.command, stdin=stdin, stdout=stdout, stderr=None)
        os.close(stdin)
        os.close(stdout)
        pipes = Pipes(from_server, to_server)
        async with process:
            try:
                yield LineWire(pipes)
            finally:
                with anyio.CancelScope(shield=True):
                    await pipes.aclose()
                    with anyio.fail_after(PATIENCE):
                        await process.wait()
    elif binding == "tcp":
        async with await anyio.connect_tcp(target.host, target.port) as stream:
            yield LineWire(stream)
    elif binding == "unix":
        async with await anyio.connect_unix(target.path) as unix:
            yield LineWire(unix)
    elif binding == "ws":
        parts = urlsplit(target.url)
        async with await anyio.connect_tcp(parts.hostname or "", parts.port or 80) as stream:
            frames = Frames(stream, client=True)
            await frames.connect(parts.netloc, parts.path)
            yield FrameWire(frames)
    else:
        from tests.bindings.exchanges import calling_http

        async with calling_http(binding, target.url, modern) as wire:
            yield wire
