"""A server over HTTP+SSE, the transport of 2024-11-05.

A GET opens the event stream; its first event, ``endpoint``, says where messages are posted; all
messages of the server come on the stream.
"""

from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.http import HttpStage, HttpWire
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Headers, Heard, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Overrides, Refused

OK = 200


class SseStage(HttpStage):
    """Reaches the event stream at ``url``; ``rest`` as for HttpStage."""

    binding = Binding.SSE

    def __init__(self, url: str, **rest: Any) -> None:
        # a message that is sent again, as its connection was closed, would be answered twice
        super().__init__(url, reuses=False, **rest)

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
        own = {} if anonymous else self.headers
        wire = SseWire(self, revision, log, [*own.items(), *(headers or [])])
        await wire.open(path)
        return wire


class SseWire(HttpWire):
    """One event stream and where its messages are posted."""

    binding = Binding.SSE

    def __init__(self, stage: HttpStage, revision: Revision, log: Log, headers: Headers) -> None:
        super().__init__(stage, revision, log, headers)
        self.endpoint: str | None = None
        """Where to post, as the server said it."""
        self._stream = 0
        self._held: list[Heard] = []
        self._bodies: dict[int, bytes] = {}

    async def open(self, path: str | None = None) -> None:
        """Ask for the event stream, at another path than that of its URL if there is one."""
        accepted = [("accept", "text/event-stream")]
        self._stream = await self.fetch("GET", target=path, headers=accepted)
        heard = await super().hear(self._stage.patience)
        if not isinstance(heard, Head) or heard.status != OK:
            status = heard.status if isinstance(heard, Head) else None
            raise Refused(
                "no answer" if status is None else f"HTTP status {status}",
                status=status,
                headers=heard.headers if isinstance(heard, Head) else [],
            )

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """See ``Wire``; waits for the ``endpoint`` event first."""
        until = anyio.current_time() + self._stage.patience
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
        return await self.fetch("POST", target=path, headers=chosen, body=payload)

    async def hear(self, within: float) -> Heard | None:
        """See ``Wire``; the end of the stream is the connection's."""
        if self._held:
            return self._held.pop(0)
        return await self._next(within)

    async def _next(self, within: float) -> Heard | None:
        heard = await super().hear(within)
        while isinstance(heard, Text) and heard.exchange != self._stream:
            # messages are events of the stream; what a POST brings is the body of its response
            self._bodies[heard.exchange] = heard.data
            heard = await super().hear(within)
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

    async def finish(self) -> None:
        """Close the event stream: nothing else says that a client has gone."""
        await self.cut()

    async def close(self) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        await self.cut()
