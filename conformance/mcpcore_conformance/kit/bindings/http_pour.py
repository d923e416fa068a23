"""Bytes poured into a connection, and every response that comes back, for what h11 cannot say."""

from collections.abc import Sequence

import anyio
import h11
from anyio.abc import ByteStream

from mcpcore_conformance.kit.wire import Plain, Poured

CHUNK = 65536
LIMIT = 16 * 1024 * 1024
"""Bytes of a body that are kept."""


async def pour(
    stream: ByteStream,
    pieces: Sequence[bytes],
    *,
    within: float,
    first: float,
    methods: Sequence[str],
    wait: bool,
) -> Poured:
    """Send ``pieces`` and hear responses until the end, or silence for ``within`` seconds.

    ``first``: the seconds of silence as long as nothing has come;
    ``methods`` are those of the requests that are meant, POST where there are no more;
    ``wait``: before each piece but the first, something has to come.
    """
    reader = _Reader(methods)
    came = anyio.Event()

    async def write() -> None:
        for number, piece in enumerate(pieces):
            if number and wait:
                await came.wait()
            elif came.is_set():
                # who has been answered says no more
                return
            try:
                await stream.send(piece)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                # it reads no more: what it has said is heard
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        while await _read(stream, reader, within if came.is_set() else first):
            came.set()
        tasks.cancel_scope.cancel()
    return reader.found


async def _read(stream: ByteStream, reader: "_Reader", within: float) -> bool:
    with anyio.move_on_after(within):
        try:
            data = await stream.receive(CHUNK)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            reader.end()
            return False
        return reader.feed(data)
    return False


class _Reader:
    """Reads one response after another."""

    def __init__(self, methods: Sequence[str]) -> None:
        self.found = Poured()
        self._methods = list(methods)
        self._connection = self._next(b"")
        self._current: Plain | None = None

    def feed(self, data: bytes) -> bool:
        """Take what was read; False once it is no HTTP."""
        try:
            self._connection.receive_data(data)
            self._events()
        except h11.RemoteProtocolError:
            self.found.garbled = True
            return False
        return True

    def end(self) -> None:
        """The server has closed the connection."""
        self.found.closed = True
        try:
            self._connection.receive_data(b"")
            self._events()
        except h11.RemoteProtocolError:
            # it ended in the middle
            return

    def _events(self) -> None:
        while True:
            event = self._connection.next_event()
            if isinstance(event, (h11.Response, h11.InformationalResponse)):
                headers = [
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in event.headers
                ]
                made = Plain(event.status_code, headers)
                self.found.responses.append(made)
                self._current = made if isinstance(event, h11.Response) else None
            elif isinstance(event, h11.Data):
                assert self._current is not None
                if len(self._current.body) < LIMIT:
                    self._current.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert self._current is not None
                self._current.whole = True
                rest, _ = self._connection.trailing_data
                self._connection = self._next(rest)
            else:
                return

    def _next(self, rest: bytes) -> h11.Connection:
        connection = h11.Connection(h11.CLIENT)
        # the reading side has to know that a request was made
        method = self._methods.pop(0) if self._methods else "POST"
        connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        if rest:
            connection.receive_data(rest)
        return connection
