"""Client side of the WebSocket binding."""

import ssl

from wsproto.connection import ConnectionType

from mcpcore.engine.peer import Peer
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.link import App
from mcpcore_transports.websocket.link import WebSocketLink
from mcpcore_transports.websocket.opening import UpgradeHeaders, WebSocketAddress, open_websocket
from mcpcore_transports.websocket.settings import WebSocketSettings


class WebSocketClientLink(WebSocketLink):
    """Link that connects to ``url`` (``ws://`` or ``wss://``) when it runs.

    ``headers`` are sent with the upgrade request: a mapping, or a function (or coroutine function)
    that is called with the request and returns one.  ``ssl_context`` replaces the default one of
    ``wss``; ``proxy`` is used with a tunnel.  Any failure to open the connection is a LinkError
    raised by ``run()``, whose ``fault`` tells its kind.
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
