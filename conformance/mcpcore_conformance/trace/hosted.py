"""The server of a trace at an address, for a client that comes there: HTTP or WebSocket.

The hosts are those of the conformance kit.  Over HTTP it is found out here on which response a
message goes, as the live exchanges are others than those of the trace.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
from anyio.abc import Listener, SocketAttribute
from msgspec import Struct

from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore_conformance.kit.client_wire import Arrival, Asked, Host, HostSettings, HostWire
from mcpcore_conformance.kit.heard import Done, Gone, Heard, Noise, Text, header
from mcpcore_conformance.kit.hosts.door import Door
from mcpcore_conformance.kit.hosts.http import JSON, HttpHost, HttpWire
from mcpcore_conformance.kit.hosts.listener import ListeningHost
from mcpcore_conformance.kit.hosts.ws import WsHost
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.trace.book import id_key

Place = tuple[str, int]
"""A host and a port, 0 for a free one."""
_PATIENCE = 30.0
"""Seconds for a write; and for a wait that is begun again."""
_SESSION = "mcp-session-id"
_OK, _ACCEPTED = 200, 202
_BAD, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED = 400, 403, 404, 405


class Hosted:
    """One client at an address, as a wire; see :class:`mcpcore_conformance.trace.against.Wire`."""

    _wire: HostWire

    def __init__(self, host: Host) -> None:
        self._host = host
        self._came = False

    @property
    def address(self) -> str:
        """The URL."""
        return self._host.address

    async def arrived(self) -> None:
        """Wait for the client, however long it takes."""
        while not self._came:
            found = await self._host.hear(_PATIENCE)
            if found is not None:
                await self._take(*found)

    async def say(self, payload: bytes, *, headers: dict[str, str | None] | None = None) -> int:
        """Send a message."""
        raise NotImplementedError

    async def hear(self, within: float) -> Heard | None:
        """Return what the client says next; what belongs to the binding alone is seen to here."""
        end = anyio.current_time() + within
        while (left := end - anyio.current_time()) > 0:
            found = await self._host.hear(left)
            if found is None:
                return None
            heard = await self._take(*found)
            if heard is not None:
                return heard
        return None

    async def listen(self, last_event_id: str | None = None) -> int:
        """It is for the client to open streams."""
        return 0

    async def cut(self, exchange: int = 0) -> None:
        """It is for the client to give up exchanges."""

    async def leave(self, within: float) -> None:
        """End in good order, after the client if it leaves within so many seconds."""

        async def serve() -> None:
            while True:
                await self.hear(_PATIENCE)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await self._host.drained(within)
            await self._wire.finish()
            await self._host.drained(within)
            tasks.cancel_scope.cancel()

    async def _take(self, wire: HostWire | None, arrival: Arrival) -> Heard | None:
        raise NotImplementedError


class _WebSocket(Hosted):
    """The first WebSocket that comes, of no browser; all others are turned away."""

    async def say(self, payload: bytes, *, headers: dict[str, str | None] | None = None) -> int:
        """See :meth:`Hosted.say`."""
        await self._wire.say(payload)
        return 0

    async def _take(self, wire: HostWire | None, arrival: Arrival) -> Heard | None:
        if isinstance(arrival, Asked) and wire is not None:
            if self._came or header(arrival.headers, "origin") is not None:
                await wire.cut()
            else:
                self._wire, self._came = wire, True
        elif self._came and wire is self._wire and isinstance(arrival, Text | Gone | Noise):
            return arrival
        return None


class _Waiting(Struct):
    """A request of the client that has no answer yet."""

    exchange: int
    method: str
    token: str | None
    """Its progress token, as a key."""


class _Http(Hosted):
    """One client over Streamable HTTP: a session where the revision has them, or none."""

    _wire: HttpWire

    def __init__(self, host: HttpHost, *, sessions: bool) -> None:
        super().__init__(host)
        self._path = host.path
        self._session = secrets.token_urlsafe(16) if sessions else None
        self._refused: set[int] = set()
        self._waiting: dict[str, _Waiting] = {}
        """By id."""
        self._channel = 0
        """The stream of what belongs to no request."""
        self._held: list[bytes] = []
        """What waits for it."""

    async def say(self, payload: bytes, *, headers: dict[str, str | None] | None = None) -> int:
        """See :meth:`Hosted.say`."""
        messages = _messages(payload)
        if any("method" in each for each in messages):
            await self._tell(payload, messages[0])
            return 0
        answered = [self._waiting.pop(id_key(each.get("id")), None) for each in messages]
        waiting = next(filter(None, answered), None)
        if waiting is not None:
            await self._answer(payload, waiting)
        return 0

    async def _answer(self, payload: bytes, waiting: _Waiting) -> None:
        exchange = waiting.exchange
        more = any(each.exchange == exchange for each in self._waiting.values())
        if more or self._wire.streaming(exchange):
            await self._event(exchange, payload, waiting.method)
            if not more:
                await self._wire.end(exchange)
        else:
            fields = [JSON, *self._given(waiting.method)]
            await self._wire.reply(exchange, _OK, fields, payload)

    async def _tell(self, payload: bytes, message: Mapping[str, Any]) -> None:
        """Send what is no answer: with the request that it belongs to, as far as that is known."""
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        about = meta.get(META_SUBSCRIPTION_ID) if isinstance(meta, dict) else None
        token = id_key(params["progressToken"]) if "progressToken" in params else None
        waiting = self._waiting.get(id_key(about)) if about is not None else None
        if waiting is None:
            others = [each for each in self._waiting.values() if "listen" not in each.method]
            asked = [each for each in others if token is not None and each.token == token]
            waiting = next(reversed([*others, *asked]), None)
        if waiting is not None:
            await self._event(waiting.exchange, payload, waiting.method)
        elif self._wire.streaming(self._channel):
            await self._wire.event(self._channel, payload)
        else:
            self._held.append(payload)

    async def _event(self, exchange: int, payload: bytes, method: str) -> None:
        if not self._wire.streaming(exchange):
            await self._wire.stream(exchange, self._given(method))
        await self._wire.event(exchange, payload)

    def _given(self, method: str) -> list[tuple[str, str]]:
        """The header that gives the session its id."""
        given = self._session if method == "initialize" else None
        return [(_SESSION, given)] if given is not None else []

    async def _take(self, wire: HostWire | None, arrival: Arrival) -> Heard | None:
        if isinstance(wire, HttpWire) and not self._came:
            self._wire, self._came = wire, True
        if isinstance(arrival, Asked):
            await self._head(arrival)
        elif isinstance(arrival, Text) and arrival.exchange not in self._refused:
            return await self._body(arrival)
        elif isinstance(arrival, Done):
            gone = [key for key, each in self._waiting.items() if each.exchange == arrival.exchange]
            for key in gone:
                del self._waiting[key]
        return None

    async def _head(self, asked: Asked) -> None:
        status = self._refusal(asked)
        if status:
            self._refused.add(asked.exchange)
            await self._wire.reply(asked.exchange, status)
        elif asked.method == "GET":
            self._channel = asked.exchange
            await self._wire.stream(asked.exchange)
            held, self._held = self._held, []
            for payload in held:
                await self._wire.event(asked.exchange, payload)
        elif asked.method == "DELETE":
            await self._wire.reply(asked.exchange, _OK)

    def _refusal(self, asked: Asked) -> int:
        """The status with which a request is refused; 0 if it is none of those."""
        if header(asked.headers, "origin") is not None:
            return _FORBIDDEN  # no page of a browser has a trace to read here
        if asked.target.partition("?")[0] != self._path:
            return _NOT_FOUND
        if header(asked.headers, _SESSION) not in (None, self._session):
            return _NOT_FOUND
        if asked.method == "POST":
            empty = header(asked.headers, "content-length") in (None, "0")
            chunked = header(asked.headers, "transfer-encoding") is not None
            return _BAD if empty and not chunked else 0
        known = asked.method in ("GET", "DELETE") and self._session is not None
        return 0 if known else _NOT_ALLOWED

    async def _body(self, text: Text) -> Text:
        messages = _messages(text.data)
        asks = [each for each in messages if "method" in each and "id" in each]
        for each in asks:
            params = each.get("params")
            meta = params.get("_meta") if isinstance(params, dict) else None
            token = meta.get("progressToken") if isinstance(meta, dict) else None
            self._waiting[id_key(each["id"])] = _Waiting(
                text.exchange, str(each["method"]), None if token is None else id_key(token)
            )
        if not asks:
            await self._wire.reply(text.exchange, _ACCEPTED if messages else _BAD)
        return text


class _HttpAt(HttpHost):
    """Listens where it is told to."""

    def __init__(self, place: Place) -> None:
        super().__init__(HostSettings(patience=_PATIENCE))
        self._place = place

    @property
    def origin(self) -> str:
        """See :class:`HttpHost`."""
        return f"http://{_authority(self._place[0], self.port)}"

    async def _listen(self) -> Listener[Any]:
        return await _listener(self, self._place)


class _WsAt(WsHost):
    """Listens where it is told to."""

    def __init__(self, place: Place) -> None:
        super().__init__(HostSettings(patience=_PATIENCE))
        self._place = place

    @property
    def address(self) -> str:
        """See :class:`WsHost`."""
        return f"ws://{_authority(self._place[0], self.port)}{self.path}"

    async def _listen(self) -> Listener[Any]:
        return await _listener(self, self._place)


@asynccontextmanager
async def hosted(binding: Binding, place: Place, revision: Revision) -> AsyncIterator[Hosted]:
    """Listen for a client of a revision, over Streamable HTTP or WebSocket.  Raises OSError."""
    if binding is Binding.WS:
        async with _WsAt(place) as sockets:
            yield _WebSocket(sockets)
    else:
        async with _HttpAt(place) as endpoint:
            yield _Http(endpoint, sessions=revision.sessions)


async def _listener(host: ListeningHost, place: Place) -> Listener[Any]:
    listener = Door(await anyio.create_tcp_listener(local_host=place[0], local_port=place[1]))
    address = listener.extra(SocketAttribute.local_address)  # noqa: S610 - no Django
    host.port = int(address[1])
    return listener


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _messages(payload: bytes) -> list[dict[str, Any]]:
    """The messages of a body, one or a batch; none if it holds none."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return []
    several = found if isinstance(found, list) else [found]
    return [each for each in several if isinstance(each, dict)]
