"""A server over HTTP+SSE, the transport of 2024-11-05.

A GET opens the event stream; its first event, ``endpoint``, says where messages are posted; all
messages of the server come on the stream.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import anyio

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.http import HttpStage, HttpWire
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Headers, Heard, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.tokens import Tokens
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Overrides, Refused

OK = 200


class SseStage(Staging):
    """Reaches the event stream at ``url``; ``rest`` as for HttpStage."""

    def __init__(self, url: str, **rest: Any) -> None:
        super().__init__()
        # a message that is sent again, as its connection was closed, would be answered twice
        self._http = HttpStage(url, reuses=False, **rest)

    @property
    def binding(self) -> Binding:
        """HTTP+SSE."""
        return Binding.SSE

    @property
    def target(self) -> str:
        """The URL."""
        return self._http.target

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that the target was given."""
        return self._http.headers

    @property
    def tokens(self) -> Tokens | None:
        """Those of the authorization server that the server was told of."""
        return self._http.tokens

    async def __aenter__(self) -> Self:
        """Get ready to connect."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Close all connections."""
        return await self._http.__aexit__(kind, value, trace)

    async def connect(
        self,
        revision: Revision,
        *,
        log: Log,
        headers: Headers | None = None,
        anonymous: bool = False,
        path: str | None = None,
        **_options: Any,
    ) -> "SseWire":
        """Open an event stream; raises Refused if there is none.

        ``anonymous``: without the headers that the target was given, such as credentials.
        """
        self._http.patience = self.patience
        http = await self._http.connect(revision, log=log, headers=headers, anonymous=anonymous)
        wire = SseWire(http, self.patience)
        await wire.open(path)
        return wire


class SseWire:
    """One event stream and where its messages are posted."""

    def __init__(self, http: HttpWire, patience: float) -> None:
        self.endpoint: str | None = None
        """Where to post, as the server said it."""
        self.url = http.url
        self._http = http
        self._patience = patience
        self._stream = 0
        self._held: list[Heard] = []
        self._bodies: dict[int, bytes] = {}

    @property
    def binding(self) -> Binding:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        return Binding.SSE

    @property
    def number(self) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        return self._http.number

    async def open(self, path: str | None = None) -> None:
        """Ask for the event stream, at another path than that of its URL if there is one."""
        accepted = [("accept", "text/event-stream")]
        self._stream = await self._http.fetch("GET", target=path, headers=accepted)
        heard = await self._http.hear(self._patience)
        if not isinstance(heard, Head) or heard.status != OK:
            status = heard.status if isinstance(heard, Head) else None
            raise Refused(
                "no answer" if status is None else f"HTTP status {status}",
                status=status,
                headers=heard.headers if isinstance(heard, Head) else [],
            )

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """See ``Wire``; waits for the ``endpoint`` event first."""
        until = anyio.current_time() + self._patience
        while self.endpoint is None:
            heard = await self._next(max(0.0, until - anyio.current_time()))
            if heard is None:
                raise Broken("the event stream did not say where to post (no endpoint event)")
            self._held.append(heard)
            if isinstance(heard, Gone):
                raise Broken(f"before the endpoint event: {heard.reason}")
        made: dict[str, str | None] = {"content-type": "application/json", **(headers or {})}
        chosen = [(name, value) for name, value in made.items() if value is not None]
        target = urljoin(self.url, self.endpoint)
        parts = urlsplit(target)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return await self._http.fetch("POST", target=path, headers=chosen, body=payload)

    async def fetch(
        self,
        method: str,
        *,
        target: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.HttpWire`."""
        return await self._http.fetch(method, target=target, headers=headers, body=body)

    async def raw(self, data: bytes, *, finish: bool = False) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.HttpWire`."""
        return await self._http.raw(data, finish=finish)

    async def more(self, exchange: int, data: bytes) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.HttpWire`."""
        await self._http.more(exchange, data)

    async def hear(self, within: float) -> Heard | None:
        """See ``Wire``; the end of the stream is the connection's."""
        if self._held:
            return self._held.pop(0)
        return await self._next(within)

    async def _next(self, within: float) -> Heard | None:
        heard = await self._http.hear(within)
        while isinstance(heard, Text) and heard.exchange != self._stream:
            # messages are events of the stream; what a POST brings is the body of its response
            self._bodies[heard.exchange] = heard.data
            heard = await self._http.hear(within)
        if isinstance(heard, Done) and heard.exchange == self._stream:
            return Gone("the event stream has ended", at=heard.at)
        if isinstance(heard, Done):
            heard.body = self._bodies.pop(heard.exchange, heard.body)
        if isinstance(heard, Event) and heard.name == "endpoint" and self.endpoint is None:
            self.endpoint = heard.data.decode("utf-8", "replace")
        if isinstance(heard, Text) and heard.exchange == self._stream:
            heard.exchange = 0
        return heard

    async def listen(self, last_event_id: str | None = None) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`: the stream is open."""
        return 0

    async def cut(self, exchange: int = 0) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        await self._http.cut(exchange)

    async def finish(self) -> None:
        """Close the event stream: nothing else says that a client has gone."""
        await self._http.cut()

    async def close(self) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        await self._http.cut()
