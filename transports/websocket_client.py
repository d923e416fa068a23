"""The client's end of the WebSocket binding."""

import ssl
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

import anyio
import h11
import msgspec
from anyio.abc import ByteStream
from msgspec import Struct
from wsproto.connection import Connection as WsProtocol
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from mcpcore.engine.peer import Peer
from transports.link import App
from transports.link_errors import STREAM_ERRORS, LinkError, what_broke
from transports.tls import client_tls
from transports.websocket import SUBPROTOCOL, WebSocketLink, WebSocketSettings

BODY_LIMIT = 4 * 1024
"""How much of a refusal's body is read for its first line, in bytes."""


class WebSocketClientLink(WebSocketLink):
    """Connects to ``url`` (``ws://`` or ``wss://``) when it runs.

    ``headers`` go with the upgrade request.  ``ssl_context`` replaces the default one of ``wss``.
    Whatever keeps the connection from being opened is a LinkError out of ``run()``.
    """

    def __init__(
        self,
        peer: Peer,
        app: App,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        ssl_context: ssl.SSLContext | None = None,
        settings: WebSocketSettings | None = None,
    ) -> None:
        super().__init__(peer, app, settings=settings or WebSocketSettings())
        self.url = url
        self._headers = tuple(headers)
        self._ssl_context = ssl_context

    async def _open(self) -> None:
        parts = _parse(self.url)
        limit = self._ws_settings.handshake_timeout
        try:
            with anyio.fail_after(limit):
                self.stream = await self._connect(parts)
                self._ws = await self._upgrade(parts)
        except TimeoutError as error:
            raise LinkError(f"{_shown(parts)}: no WebSocket within {limit:g} s") from error
        except anyio.EndOfStream as error:
            raise LinkError(f"{_shown(parts)}: closed while connecting") from error
        except ssl.SSLCertVerificationError as error:
            text = f"{_shown(parts)}: certificate refused: {error.verify_message}"
            raise LinkError(text) from error
        except (OSError, *STREAM_ERRORS) as error:
            raise LinkError(f"{_shown(parts)}: cannot connect: {what_broke(error)}") from error
        self._feed(b"")  # frames that came in one piece with the answer

    async def _connect(self, parts: SplitResult) -> ByteStream:
        host, secure = parts.hostname or "", parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        if not secure:
            return await anyio.connect_tcp(host, port)
        return await anyio.connect_tcp(
            host,
            port,
            tls=True,
            ssl_context=self._ssl_context or client_tls(),
            tls_standard_compatible=False,  # the closing handshake says what TLS would
        )

    async def _upgrade(self, parts: SplitResult) -> WsProtocol:
        http = H11Handshake(ConnectionType.CLIENT)
        request = Request(
            host=parts.netloc,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            subprotocols=[SUBPROTOCOL],
            extra_headers=[(name.encode(), value.encode()) for name, value in self._headers],
        )
        try:
            hello = http.send(request)
        except (h11.LocalProtocolError, ValueError) as error:
            raise LinkError(f"{_shown(parts)}: the request cannot be sent: {error}") from error
        await self.stream.send(hello)
        refusal: RejectConnection | None = None
        body = b""
        while True:
            try:
                http.receive_data(await self.stream.receive())
                for event in http.events():
                    if isinstance(event, AcceptConnection):
                        assert http.connection is not None  # noqa: S101
                        return http.connection
                    if isinstance(event, RejectConnection):
                        refusal = event
                    elif isinstance(event, RejectData):
                        body += event.data
                    done = isinstance(event, RejectData) and event.body_finished
                    if refusal and (done or not refusal.has_body or len(body) > BODY_LIMIT):
                        raise LinkError(f"{_shown(parts)}: {_refusal(parts, refusal, body)}")
            except anyio.EndOfStream:
                if refusal is None:
                    raise
                raise LinkError(f"{_shown(parts)}: {_refusal(parts, refusal, body)}") from None
            except (RemoteProtocolError, ValueError) as error:
                text = f"{_shown(parts)}: what answers there is no WebSocket server: {error}"
                raise LinkError(text) from error


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise LinkError(f"{url!r} is no WebSocket URL: {error}") from error
    if not valid or not url.isascii() or any(c <= " " for c in url):
        raise LinkError(f"{url!r} is no WebSocket URL (ws://host[:port]/path or wss://...)")
    if parts.fragment:
        raise LinkError("a WebSocket URL has no fragment")
    if parts.username is not None:
        raise LinkError("credentials belong into a header, not into the URL")
    return parts


def _shown(parts: SplitResult) -> str:
    """The URL without its query, which may hold secrets."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


class _Said(Struct):
    message: str


class _Answer(Struct):
    error: _Said


def _refusal(parts: SplitResult, refusal: RejectConnection, body: bytes) -> str:
    text = f"the server refused the WebSocket with status {refusal.status_code}"
    where = dict(refusal.headers).get(b"location")
    if where:
        text += f", pointing to {where.decode('latin-1')}"
    try:
        said = msgspec.json.decode(body, type=_Answer).error.message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        line = body.decode("utf-8", "replace").strip().split("\n", 1)[0][:200]
        return f"{text}: {line}" if line else text
    other = "https" if parts.scheme == "wss" else "http"
    url = f"{other}://{parts.netloc}{parts.path}"
    return f"{text}: {said[:200]!r}; it serves MCP over HTTP: try {url}"
