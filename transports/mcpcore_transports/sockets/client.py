"""Client side of a TCP or Unix socket: one JSON-RPC message per line."""

import ssl

import anyio
import msgspec
from anyio.abc import ByteStream
from msgspec import UNSET

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore.spec.errors import ErrorData
from mcpcore.wire.message import Message, decode
from mcpcore_transports.link import STREAM_ERRORS, App, not_reached
from mcpcore_transports.sockets.unix import checked_path, credentials, not_welcome
from mcpcore_transports.stream.channels import SecureStream, open_channel
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.plain import DIRECT, PlainStream, keep_alive, socket_of
from mcpcore_transports.stream.settings import SocketSettings
from mcpcore_transports.targets import TcpTarget, UnixTarget
from mcpcore_transports.tls import client_tls, tls_problem


class SocketClientLink(StreamConnection):
    """Link that connects to a target when it runs.

    ``ssl_context`` replaces the default one of ``tls``.  Any failure to open the connection is a
    LinkError raised by ``run()``.
    """

    def __init__(
        self,
        peer: Peer,
        app: App,
        target: TcpTarget | UnixTarget,
        *,
        settings: SocketSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = settings or SocketSettings()
        super().__init__(peer, app, settings=self._limits.connection)
        self.target = target
        self.binding = "unix" if isinstance(target, UnixTarget) else "tcp"
        self._ssl_context = ssl_context
        self._first = True
        self._refusal = ""
        """Message of the server if it refused the connection, else empty."""

    async def _open(self) -> None:
        shown, seconds = self.target.url, self._limits.handshake_time
        try:
            with anyio.fail_after(seconds):
                if isinstance(self.target, UnixTarget):
                    stream = await self._connect_unix(self.target.path)
                else:
                    stream = await self._connect_tcp(self.target)
                self._channel = open_channel(stream, self.settings.read_size, self._take_in)
        except TimeoutError as error:
            raise LinkError(f"{shown}: no connection within {seconds:g} s") from error
        except (OSError, UnicodeError, *STREAM_ERRORS) as error:
            # UnicodeError comes for names that are invalid, such as a..b.
            missing = isinstance(error, FileNotFoundError)
            reason = "there is no such socket file" if missing else not_reached(error)
            raise LinkError(f"{shown}: cannot connect: {reason}") from error

    async def _connect_unix(self, path: str) -> ByteStream:
        path, users = checked_path(path), self._limits.users
        stream = await anyio.connect_unix(path)
        try:
            sock = socket_of(stream)
            unwelcome = None if users is None else not_welcome(credentials(sock), users)
            if unwelcome is not None:
                text = f"{self.target.url}: the server is not to be trusted: {unwelcome}"
                raise LinkError(text, final=True)
        except BaseException:
            await _drop(stream)
            raise
        # On asyncio anyio's stream reports an invalid state to the loop if its wait is cancelled at
        # the moment in which it would end.
        return PlainStream(sock) if DIRECT else stream

    async def _connect_tcp(self, target: TcpTarget) -> ByteStream:
        stream = await anyio.connect_tcp(target.host, target.port)
        try:
            keep_alive(socket_of(stream), self._limits.keep_alive)
            if not target.tls:
                return stream
            context = self._ssl_context or client_tls()
            return await SecureStream.wrap(stream, hostname=target.host, ssl_context=context)
        except BaseException as error:
            await _drop(stream)
            problem = tls_problem(error)
            if problem is None and isinstance(error, ValueError):
                problem = str(error)
            if problem is None:
                raise
            raise LinkError(f"{target.url}: TLS failed: {problem}") from error

    def _feed(self, data: bytes) -> None:
        if self._first:
            self._first = False
            self._refusal = _refusal(data)
            self.unprovoked = bool(self._refusal)
        super()._feed(data)

    async def _end_of_input(self) -> str:
        reason = await super()._end_of_input()
        return f"{reason}: {self._refusal}" if self._refusal else reason


async def _drop(stream: ByteStream) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.aclose_forcefully(stream)


def _refusal(data: bytes) -> str:
    """Return the message of a server that closes before reading: an error without id."""
    line = data[:4096].partition(b"\n")[0]
    if b'"error"' not in line:
        return ""
    message = decode(line)
    if not isinstance(message, Message) or message.error is UNSET or message.id is not UNSET:
        return ""
    return msgspec.json.decode(message.error, type=ErrorData).message[:200]
