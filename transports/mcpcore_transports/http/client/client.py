"""Streamable HTTP client: carries out the plans of an HttpClient over a pool of connections.

HTTP/1.1 with keep-alive, TLS and proxies; asyncio and trio.  The machine interprets the responses,
redirects included (:class:`~mcpcore.http.HttpClient`).
"""

import ssl

from mcpcore.engine.events import Route
from mcpcore.http import HttpClient
from mcpcore.http.messages import HttpSend
from mcpcore_transports.http.client.carrier import HttpCarrier, RequestHeaders
from mcpcore_transports.http.client.origin import Failure, Origin
from mcpcore_transports.http.client.pool import PooledConnection
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.http1.client import ResponseParser
from mcpcore_transports.link import App

__all__ = ["HttpClientLink", "HttpClientLinkSettings"]


class HttpClientLink(HttpCarrier):
    """Link with the connections of one client machine.

    ``url`` names the machine's server; https without ``ssl_context`` verifies against the system's
    certificates (:func:`mcpcore_transports.tls.client_tls`).  ``proxy`` is the proxy to it.
    ``headers`` is called for headers with every request.  Raises ValueError for a URL that is
    neither http nor https.  See :class:`~mcpcore_transports.http.client.carrier.HttpCarrier` for
    running it.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        *,
        url: str,
        settings: HttpClientLinkSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        headers: RequestHeaders | None = None,
    ) -> None:
        self.origin = Origin.of(url, ssl_context, proxy)
        self.responses = ResponseParser()
        super().__init__(machine, app, settings, headers)
        self._connections: set[PooledConnection] = set()
        self._idle: list[PooledConnection] = []
        self._exchanges: dict[Route, PooledConnection] = {}

    @property
    def connections(self) -> int:
        """Number of open connections, with those being opened."""
        return len(self._connections)

    # Called by connections

    def finish(
        self, connection: PooledConnection, exchange: Route, failure: Failure | None
    ) -> None:
        """Handle the end of the response of ``exchange``, complete or failed with ``failure``."""
        if self._exchanges.pop(exchange, None) is None:
            return  # aborted
        self.ended(exchange, failure)
        if connection.usable:
            if self._waiting:
                self._assign(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)
        self.flush_soon()
        self._check_quiet()

    def retire(self, connection: PooledConnection) -> None:
        """Assign no more exchanges to a connection."""
        if connection in self._idle:
            self._idle.remove(connection)

    def discard(self, connection: PooledConnection) -> None:
        """Handle the end of a connection."""
        self._connections.discard(connection)
        if self._waiting:
            self._send(self._waiting.popleft())

    # Plans of the machine

    def _send(self, send: HttpSend) -> None:
        if self._idle:
            self._assign(self._idle.pop(), send)
        elif self._tasks is None or len(self._connections) >= self.settings.connections:
            self._waiting.append(send)
        else:
            connection = PooledConnection(self, send)
            self._exchanges[send.exchange] = connection
            self._pump.watch()
            self._connections.add(connection)
            self._tasks.start_soon(connection.run)

    def _assign(self, connection: PooledConnection, send: HttpSend) -> None:
        self._exchanges[send.exchange] = connection
        self._pump.watch()
        connection.resume(send)

    def _stop_running(self, exchange: Route) -> bool:
        connection = self._exchanges.pop(exchange, None)
        if connection is not None:
            connection.stop()
        return connection is not None

    def _runs(self) -> bool:
        return bool(self._exchanges)

    # Timer

    def quiet_until(self) -> float:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.quiet_until`."""
        if self._exchanges:
            return 0.0
        return min((connection.http.deadline for connection in self._connections), default=0.0)

    def expire(self, now: float) -> bool:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.expire`."""
        for connection in tuple(self._connections):
            if connection.http.deadline <= now:
                self.retire(connection)
                connection.expire()
        return bool(self._connections)
