"""The client's end of the WebSocket binding."""

import ssl

from wsproto.connection import ConnectionType

from mcpcore.engine.peer import Peer
from transports.link import App
from transports.proxies import Proxy
from transports.websocket import WebSocketLink
from transports.websocket_opening import UpgradeHeaders, WebSocketAddress, open_websocket
from transports.websocket_settings import WebSocketSettings


class WebSocketClientLink(WebSocketLink):
    """Connects to ``url`` (``ws://`` or ``wss://``) when it runs.

    ``headers`` go with the upgrade request: a mapping, or a function (or coroutine function) that
    is called with the request and returns one.  ``ssl_context`` replaces the default one of
    ``wss``; ``proxy`` leads there, by a tunnel.  Whatever keeps the connection from being opened is
    a LinkError out of ``run()``, whose ``fault`` says what kind it is.
    """

    def __init__(
        self,
        peer: Peer,
        app: App,
        url: str,
        *,
        headers: UpgradeHeaders | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        settings: WebSocketSettings | None = None,
    ) -> None:
        super().__init__(peer, app, settings=settings or WebSocketSettings())
        self.url = url
        self._headers = {} if headers is None else headers
        self._ssl_context = ssl_context
        self._proxy = proxy

    async def _open(self) -> None:
        opened = await open_websocket(
            WebSocketAddress(self.url),
            headers=self._headers,
            ssl_context=self._ssl_context,
            proxy=self._proxy,
            settings=self._ws_settings,
            trace=self.trace,
        )
        self.stream = opened.stream
        self._begin(ConnectionType.CLIENT, opened.bounds, opened.rest)
