"""A proxy before the workbench, on any binding, that does harm at any byte and step.

It knows its connections as plain descriptors, so that what it finds is not somebody else's.
"""

import os
import socket
import tempfile
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from msgspec import Struct

from mcpcore_transports.targets import StdioTarget, parse_target
from tests.bindings.frames import unmasked
from tests.bindings.places import House
from tests.faults.cutting import dial
from tests.forks import launcher

ROOM = 64 * 1024
"""What a socket of the relay takes in before it is read, so that who is not read from notices."""
UP, DOWN = "up", "down"


class Harm(Struct, frozen=True, kw_only=True):
    """What is done to one direction; bytes are counted over all connections."""

    cut: int | None = None
    """After so many bytes both sides are told that the other was killed."""
    step: tuple[str, bytes] | None = None
    """The same ``before`` or ``after`` the piece in which these bytes are, or ``within`` them."""
    junk: tuple[int, bytes] | None = None
    """At this place these bytes are put in."""
    piece: int | None = None
    """They go on in pieces of this size, each by itself."""
    split: bool = False
    """Each piece goes on in two, parted one byte later each time."""


class End(Protocol):
    """One side of a connection."""

    async def receive(self) -> bytes:
        """Wait for bytes; empty at the end, OSError if it broke."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""

    def finish(self) -> None:
        """Send no more."""

    async def close(self, *, killed: bool) -> None:
        """Let go of everything."""


class SocketEnd:
    """A socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    async def receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(65536)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    async def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    def finish(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def close(self, *, killed: bool) -> None:
        if killed and self._socket.family != socket.AF_UNIX:
            # It ends with a reset, as that of a killed process with unread input does.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._socket.close()


class PipeEnd:
    """Two pipes, and the process that stands for what is at their other end."""

    def __init__(self, source: int, sink: int, process: socket.socket | None = None) -> None:
        for fd in (source, sink):
            os.set_blocking(fd, False)
        self._source, self._sink = source, sink
        self._process = process

    async def receive(self) -> bytes:
        while True:
            try:
                return os.read(self._source, 65536)
            except BlockingIOError:
                await anyio.wait_readable(self._source)

    async def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._sink, rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sink)

    def finish(self) -> None:
        if self._sink >= 0:
            os.close(self._sink)
            self._sink = -1

    async def close(self, *, killed: bool) -> None:
        self.finish()
        os.close(self._source)
        if self._process is not None:
            with suppress(OSError):
                self._process.send(bytes([9 if killed else 0]))
            self._process.close()


class Relay:
    """Carries connections to the workbench, and does harm to them."""

    def __init__(self, harm: Mapping[str, Harm], *, lasting: bool) -> None:
        self.target: Any = None
        self.sent = {UP: 0, DOWN: 0}
        """Bytes carried so far, to the server and to the client."""
        self.cuts = 0
        """How often everything was cut."""
        self.spoilt = 0
        """How often junk was put in."""
        self.connections = 0
        self._harm = {UP: Harm(), DOWN: Harm(), **harm}
        self._lasting = lasting
        self._cut = anyio.Event()
        self._stopped: set[str] = set()
        self._longest = {UP: 0, DOWN: 0}
        self._splits = {UP: 0, DOWN: 0}

    def stop(self, *directions: str) -> None:
        """Read no more of what goes this way, and close nothing."""
        self._stopped.update(directions)

    @property
    def split_everywhere(self) -> bool:
        """Whether each piece was parted at each of its places."""
        return all(self._splits[way] > self._longest[way] for way in (UP, DOWN))

    def kill(self) -> None:
        """Tell both sides of each connection that the other was killed, also of those to come."""
        self.cuts += 1
        self._cut.set()
        if not self._lasting:
            self._cut = anyio.Event()
            self._harm = {UP: Harm(), DOWN: Harm()}

    async def carry(self, near: End, connect: Any) -> None:
        """Carry one connection to its end."""
        self.connections += 1
        cut, far = self._cut, None
        try:
            if not cut.is_set():
                far = await connect()
                async with anyio.create_task_group() as tasks:

                    async def end() -> None:
                        await cut.wait()
                        tasks.cancel_scope.cancel()

                    tasks.start_soon(end)
                    async with anyio.create_task_group() as ways:
                        ways.start_soon(self._pump, near, far, UP)
                        ways.start_soon(self._pump, far, near, DOWN)
                    tasks.cancel_scope.cancel()
        except OSError:
            pass  # one of them has let go in the middle: so do we
        finally:
            killed = cut.is_set()
            with anyio.CancelScope(shield=True):
                for end_ in (near, far):
                    if end_ is not None:
                        await end_.close(killed=killed)

    async def _pump(self, source: End, sink: End, way: str) -> None:
        seen = bytearray()
        while True:
            try:
                data = await source.receive()
            except OSError:
                data = b""
            if way in self._stopped:
                await anyio.sleep_forever()
            if not data:
                break
            harm = self._harm[way]
            data, over = self._harmed(data, self.sent[way], harm, seen, way)
            self.sent[way] += len(data)
            try:
                await self._forward(data, sink, harm, way)
            except OSError:
                if not over:
                    continue  # it reads no more, but may have said something
            if over:
                self.kill()
                await anyio.sleep_forever()
        sink.finish()

    async def _forward(self, data: bytes, sink: End, harm: Harm, way: str) -> None:
        if harm.split:
            self._longest[way] = max(self._longest[way], len(data))
            place = self._splits[way] % (len(data) + 1)
            self._splits[way] += 1
            await sink.send(data[:place])
            await anyio.sleep(0.0005)  # it is to arrive by itself, as far as one can tell
            await sink.send(data[place:])
        elif harm.piece is None:
            await sink.send(data)
        else:
            for begin in range(0, len(data), harm.piece):
                await sink.send(data[begin : begin + harm.piece])
                await anyio.lowlevel.checkpoint()

    def _harmed(
        self, data: bytes, place: int, harm: Harm, seen: bytearray, way: str
    ) -> tuple[bytes, bool]:
        """What becomes of bytes at a place, and whether it is all over then."""
        if harm.junk is not None and place <= harm.junk[0] < place + len(data):
            at = harm.junk[0] - place
            self.spoilt += 1
            return data[:at] + harm.junk[1] + data[at:], False
        if harm.cut is not None and place + len(data) >= harm.cut:
            return data[: max(harm.cut - place, 0)], True
        if harm.step is not None:
            where, mark = harm.step
            known = bytes(seen)
            before = unmasked(known).count(mark)
            seen += data

            def come(size: int) -> bool:
                return unmasked(known + data[:size]).count(mark) > before

            if come(len(data)):
                # half of a piece may be too much: what else is in it is chance
                whole = bisect_left(range(len(data) + 1), True, key=come)
                within = max(whole - len(mark) // 2, 0)
                kept = {"before": 0, "within": within, "after": len(data)}[where]
                return data[:kept], True
        return data, False


@asynccontextmanager
async def relayed(
    house: House, binding: str, harm: Mapping[str, Harm] | None = None, *, lasting: bool = True
) -> AsyncIterator[Relay]:
    """A way to the workbench on a binding, with harm on it; ``lasting``: it is cut for good."""
    relay = Relay(harm or {}, lasting=lasting)
    upstream = house.target(binding)
    zygote = house.zygote() if binding == "stdio" else None
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        if binding in ("stdio", "unix"):
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-")), "socket")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            relay.target = StdioTarget(launcher(path)) if zygote else parse_target(f"unix://{path}")
        else:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            parts = urlsplit(house.url(binding))
            port = listener.getsockname()[1]
            relay.target = parse_target(
                f"{parts.scheme}://127.0.0.1:{port}{parts.path}",
                headers=getattr(upstream, "headers", None),
            )
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        listener.listen(64)
        listener.setblocking(False)

        async def far() -> End:
            return SocketEnd(dial(upstream, ROOM))

        async def meet(sock: socket.socket) -> None:
            if zygote is None:
                await relay.carry(SocketEnd(sock), far)
            else:
                await anyio.wait_readable(sock)
                _, (stdin, stdout, stderr), _, _ = socket.recv_fds(sock, 1, 3)
                os.close(stderr)
                await relay.carry(PipeEnd(stdin, stdout, sock), lambda: _server(zygote))

        async def serve() -> None:
            while True:
                await anyio.wait_readable(listener)
                sock = listener.accept()[0]
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tasks.start_soon(meet, sock)

        tasks.start_soon(serve)
        try:
            yield relay
        finally:
            tasks.cancel_scope.cancel()


async def _server(zygote: Path) -> End:
    """A server of our own on two pipes."""
    (for_server, to_server), (from_server, of_server) = os.pipe(), os.pipe()
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(zygote))
    socket.send_fds(link, [b"."], [for_server, of_server, 2])
    os.close(for_server)
    os.close(of_server)
    return PipeEnd(from_server, to_server, link)
