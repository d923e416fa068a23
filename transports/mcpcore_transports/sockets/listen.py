"""Listeners on TCP and Unix sockets: admission, connection limits and refusals."""

import errno
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore.http.principals import Principal, Refusal, quota_key
from mcpcore.spec.errors import INVALID_REQUEST, LEGACY_BUSY, ErrorData
from mcpcore.wire.message import encode_error
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.identity import identify
from mcpcore_transports.link import App
from mcpcore_transports.link_errors import STREAM_ERRORS, cannot_listen, what_broke
from mcpcore_transports.sockets.server import PlainServerLink, StreamServerLink
from mcpcore_transports.sockets.settings import Caller, SocketSettings
from mcpcore_transports.sockets.tcp import keep_alive, listen_tcp
from mcpcore_transports.sockets.unix import UnixFile, credentials, listen_unix, not_welcome
from mcpcore_transports.stream.accept import stream_of
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.secure import SecureStream
from mcpcore_transports.targets import TcpTarget, UnixTarget
from mcpcore_transports.tls import client_certificate, tls_problem

logger = logging.getLogger("mcpcore.sockets")

Serve = Callable[[Callable[[Peer, App], StreamConnection]], Awaitable[None]]
"""Server of one connection: makes Peer, App and the link, and awaits ``link.run()``."""

_PAUSE = 0.1
_GONE = (OSError, ssl.SSLError, *STREAM_ERRORS)


class SocketServer:
    """Server of all connections of one TCP address or Unix socket.

    Made by :meth:`on_tcp` or :meth:`on_unix`, it listens already; then :meth:`run` it in a task.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        urls: Sequence[str],
        serve: Serve,
        settings: SocketSettings,
        ssl_context: ssl.SSLContext | None = None,
        file: UnixFile | None = None,
    ) -> None:
        self.urls = list(urls)
        """URLs on which it listens."""
        self._listeners = listeners
        self._serve = serve
        self._settings = settings
        self._ssl_context = ssl_context
        self._file = file
        self._scheme = urls[0].partition(":")[0]
        self._tasks: TaskGroup
        self._accepting = anyio.CancelScope()
        self._shares: Counter[str] = Counter()
        self._turned_away = 0
        self._open: set[socket.socket] = set()

    @classmethod
    async def on_tcp(
        cls,
        host: str,
        port: int,
        serve: Serve,
        settings: SocketSettings,
        ssl_context: ssl.SSLContext | None = None,
    ) -> "SocketServer":
        """Listen on every address of a host; port 0 picks a free one, the same for all.

        Raises LinkError if that fails, BadTarget if it is not allowed.
        """
        anywhere = ssl_context is not None or settings.insecure
        listeners = await listen_tcp(host, port, anywhere=anywhere)
        tls = ssl_context is not None
        try:
            bound = [each.getsockname() for each in listeners]
        except OSError as error:
            for each in listeners:
                each.close()
            raise LinkError(cannot_listen(host, port, error)) from error
        urls = [TcpTarget(address[0], address[1], tls).url for address in bound]
        return cls(listeners, urls, serve, settings, ssl_context)

    @classmethod
    async def on_unix(cls, path: str, serve: Serve, settings: SocketSettings) -> "SocketServer":
        """Listen on a socket file, in place of a stale one.

        Raises BadTarget for an invalid path; LinkError if another server answers there, if it is a
        file of another kind, or if the system refuses.
        """
        file = await listen_unix(
            path, mode=settings.mode, users=settings.users, lock_time=settings.lock_time
        )
        return cls([file.listener], [UnixTarget(file.path).url], serve, settings, file=file)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until it was stopped and the last connection has ended."""
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._accept_all)
                task_status.started()
        finally:
            self.close()

    def stop(self) -> None:
        """Stop accepting; open connections go on.  May be called more than once."""
        if self._file is not None:  # while we still listen
            self._file.remove()
            self._file = None
        self._accepting.cancel()

    def close(self) -> None:
        """Stop, and close sockets whose tasks were cancelled before they began."""
        self.stop()
        for sock in (*self._listeners, *self._open):
            sock.close()

    # Connections

    async def _accept_all(self) -> None:
        with self._accepting:
            async with anyio.create_task_group() as accepting:
                for listener in self._listeners:
                    accepting.start_soon(self._accept, listener)

    async def _accept(self, listener: socket.socket) -> None:
        try:
            await self._accept_from(listener)
        finally:
            listener.close()  # by its waiting task: the number may soon be reused

    async def _accept_from(self, listener: socket.socket) -> None:
        while True:
            try:
                await anyio.wait_readable(listener)
                sock, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:  # out of descriptors, or the event loop can watch no more
                logger.warning("cannot accept a connection: %s", error)
                await anyio.sleep(_PAUSE)
                continue
            sock.setblocking(False)
            try:
                caller, refusal = self._look_at(sock, address)
            except OSError:  # it is gone already
                sock.close()
                continue
            share = _share(caller)
            if refusal is None and sum(self._shares.values()) >= self._settings.connections:
                refusal = _busy("too many connections")
            elif refusal is None and self._shares[share] >= self._settings.connections_per_client:
                refusal = _busy("too many connections from the same place")
            self._open.add(sock)
            if refusal is None:
                self._shares[share] += 1
                self._tasks.start_soon(self._connection, sock, caller, share)
            elif self._ssl_context is None and self._turned_away < self._settings.turned_away:
                self._tasks.start_soon(self._turn_away, sock, refusal)
            else:
                self._close(sock)

    def _look_at(self, sock: socket.socket, address: object) -> tuple[Caller, bytes | None]:
        """Return the caller of a connection, and the line that refuses it, if any."""
        if self._scheme != "unix":
            keep_alive(sock, self._settings.keep_alive)
            return Caller(scheme=self._scheme, peer=peer_name(address)), None
        found = credentials(sock)
        refusal = not_welcome(found, self._settings.users)
        if refusal is not None:
            logger.info("refused a connection: %s", refusal)
        line = None if refusal is None else _line(INVALID_REQUEST, refusal)
        if found is None:
            return Caller(scheme="unix"), line
        return Caller(scheme="unix", uid=found.uid, gid=found.gid, pid=found.pid), line

    async def _connection(self, sock: socket.socket, caller: Caller, share: str) -> None:
        try:
            if self._ssl_context is None and os.name == "posix":
                await self._plain(sock, caller)
            else:
                await self._stream(await stream_of(sock), caller)
        except _GONE as error:
            # Failed before it was a connection, or its end could not be sent.
            logger.info("a connection ended: %s", tls_problem(error) or what_broke(error))
        except Exception:  # a fault of the server ends one connection, not all of them
            logger.exception("a connection failed")
        finally:
            self._close(sock)
            self._shares[share] -= 1
            if not self._shares[share]:
                del self._shares[share]

    async def _plain(self, sock: socket.socket, caller: Caller) -> None:
        verdict = await self._identify(caller)
        if isinstance(verdict, Refusal):
            await self._tell(sock, _line(INVALID_REQUEST, verdict.message))
            return

        def make_link(peer: Peer, app: App) -> StreamConnection:
            peer.principal = verdict
            return PlainServerLink(peer, app, sock, settings=self._settings)

        await self._serve(make_link)

    async def _stream(self, stream: ByteStream, caller: Caller) -> None:
        """Serve over TLS, or where plain sockets are not descriptors."""
        try:
            secured = await self._secure(stream)
            if isinstance(secured, SecureStream):
                certificate = client_certificate(secured)
                caller = Caller(scheme="tls", peer=caller.peer, certificate=certificate)
            verdict = await self._identify(caller)
            if isinstance(verdict, Refusal):
                with anyio.move_on_after(self._settings.linger_time):
                    await secured.send(_line(INVALID_REQUEST, verdict.message))
                    await secured.aclose()
                return

            def make_link(peer: Peer, app: App) -> StreamConnection:
                peer.principal = verdict
                return StreamServerLink(peer, app, secured, settings=self._settings)

            await self._serve(make_link)
        finally:
            with anyio.CancelScope(shield=True), suppress(*_GONE):
                await anyio.aclose_forcefully(stream)

    async def _secure(self, stream: ByteStream) -> ByteStream:
        if self._ssl_context is None:
            return stream
        with anyio.move_on_after(self._settings.handshake_time):
            return await SecureStream.wrap(stream, server_side=True, ssl_context=self._ssl_context)
        raise OSError(errno.ETIMEDOUT, "the TLS handshake took too long")

    async def _identify(self, caller: Caller) -> Principal | Refusal | None:
        settings = self._settings
        if settings.authenticate is not None:
            return await identify(settings.authenticate, caller, settings.authenticate_time)
        return None if caller.uid is None else Principal(f"uid:{caller.uid}")

    # Refused connections

    async def _turn_away(self, sock: socket.socket, line: bytes) -> None:
        self._turned_away += 1
        try:
            await self._tell(sock, line)
        finally:
            self._turned_away -= 1
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._open.discard(sock)
        sock.close()

    async def _tell(self, sock: socket.socket, line: bytes) -> None:
        """Send a line, and leave the peer time to read it."""
        left = self._settings.linger_bytes
        with suppress(OSError), anyio.move_on_after(self._settings.linger_time):
            rest = memoryview(line)
            while rest:
                try:
                    rest = rest[sock.send(rest) :]
                except BlockingIOError:
                    await anyio.wait_writable(sock)
            sock.shutdown(socket.SHUT_WR)
            while left > 0:
                await anyio.wait_readable(sock)
                with suppress(BlockingIOError):
                    if not (data := sock.recv(4096)):
                        return
                    left -= len(data)


def _share(caller: Caller) -> str:
    if caller.uid is not None:
        return f"uid:{caller.uid}"
    host = (caller.peer or "").rpartition(":")[0]
    return quota_key(host.removeprefix("[").removesuffix("]"))


def _line(code: int, message: str) -> bytes:
    return encode_error(None, ErrorData(code, message)) + b"\n"


def _busy(message: str) -> bytes:
    return _line(LEGACY_BUSY, message)
