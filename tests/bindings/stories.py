"""A conversation from its opening to its end, and what must not be left of it."""

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from mcpcore.engine.events import ErrorReceived, InputRequired, RequestEnded, ResultReceived
from mcpcore.engine.outbound import Sender
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.engine.state import Endpoint, Outbound, Purpose
from mcpcore.errors import ConnectionClosed
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import LocalError, McpError
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.stream.settings import ConnectionSettings, ProcessSettings, SocketSettings
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.bindings.features import text
from tests.bindings.places import ASGI, HTTP_WAYS, MODERN, House
from tests.bindings.workbench import Census, census
from tests.clock import PATIENCE

LARGE = 8_000_000
"""Characters of a text that no buffer on the way takes whole."""
CALLS = 4
_PUMP = ConnectionSettings(drain=0.2)
SETTINGS = ClientSettings(
    reconnect=ReconnectSettings(attempts=0),
    http=HttpClientSettings(
        max_resumes=0, notify_timeout=PATIENCE, linger=0.3, endpoint_timeout=PATIENCE
    ),
    http_link=HttpClientLinkSettings(close_time=0.3),
    process=ProcessSettings(
        close_wait=0.3, term_wait=0.3, stderr="discard", descendants=False, connection=_PUMP
    ),
    websocket=WebSocketSettings(close_timeout=0.2, connection=_PUMP),
    socket=SocketSettings(connection=_PUMP),
)
"""How a client lives that does not come back, and leaves soon."""


def hasty(seconds: float) -> ClientSettings:
    """A client that waits no longer than this for anything."""
    assert SETTINGS.http is not None
    assert SETTINGS.websocket is not None
    return structs.replace(
        SETTINGS,
        limits=structs.replace(
            SETTINGS.limits, request_timeout=seconds, max_timeout=seconds, probe_timeout=seconds
        ),
        http=structs.replace(SETTINGS.http, endpoint_timeout=seconds, notify_timeout=seconds),
        websocket=structs.replace(SETTINGS.websocket, handshake_timeout=seconds),
    )


def returning() -> ClientSettings:
    """A client that comes back at once."""
    assert SETTINGS.http is not None
    return structs.replace(
        SETTINGS,
        reconnect=ReconnectSettings(attempts=5, max_restarts=5, first_delay=0.01, jitter=0.0),
        http=structs.replace(SETTINGS.http, max_resumes=5, retry_delay=0.01, min_retry_delay=0.01),
    )


class Story:
    """One conversation, and how each of its calls ended."""

    def __init__(self) -> None:
        self.calls = 0
        self.ends: list[Any] = []
        """The right result or a typed error for each call."""
        self.refused: LocalError | None = None
        self.again: str | None = None
        self.harmed = 0
        """How often the way did harm to it."""

    async def live(
        self,
        target: Any,
        era: str,
        settings: ClientSettings = SETTINGS,
        *,
        again: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        """Connect, call several times at once, and leave; ``again``: call once more before."""
        with anyio.fail_after(patience):
            try:
                async with connect(target, revision=era, settings=settings) as client:
                    async with anyio.create_task_group() as group:
                        for call in (self._echo, self._later, self._read, self._steps):
                            self.calls += 1
                            group.start_soon(self._call, call, client)
                    if again:
                        self.again = await self._once_more(client)
            except LocalError as error:
                self.refused = error
        assert self.refused is None or not self.calls, f"leaving fails with {self.refused!r}"
        assert len(self.ends) == self.calls, "each call ends, and once"

    async def _once_more(self, client: Any) -> str:
        try:
            return text(await client.call_tool("echo", {"text": "here again"}))
        except ConnectionClosed:
            # Where all was answered before the connection was cut, this is the call that is lost.
            return text(await client.call_tool("echo", {"text": "here again"}))

    async def _call(self, call: Any, client: Any) -> None:
        try:
            self.ends.append(await call(client))
        except (LocalError, McpError) as error:
            self.ends.append(error)

    async def _echo(self, client: Any) -> str:
        said = "a" * 300
        assert text(await client.call_tool("echo", {"text": said})) == said
        return said

    async def _later(self, client: Any) -> str:
        assert text(await client.call_tool("echo_later", {"text": "b"})) == "b"
        return "b"

    async def _read(self, client: Any) -> str:
        result = await client.read_resource("text://plain")
        assert result.contents[0].text == "plain text"
        return "plain text"

    async def _steps(self, client: Any) -> list[float]:
        heard: list[float] = []
        try:
            result = await client.call_tool(
                "steps", {"count": 3}, progress=lambda value, *_: heard.append(value)
            )
            assert text(result) == "3"
        finally:  # a report may be lost, as nobody has asked for it
            assert heard == sorted(set(heard) & {1, 2, 3})
        return heard

    @property
    def happy(self) -> bool:
        """Whether nothing has gone wrong."""
        failed = any(isinstance(end, Exception) for end in self.ends)
        return self.calls == CALLS and not failed and [1, 2, 3] in self.ends


class Ledger:
    """Counts what the engine tells of the end of each request of its owner, as it goes by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asked: dict[tuple[int, Any], str] = {}
        self._ended: Counter[tuple[int, Any]] = Counter()
        self._endpoints: list[Endpoint] = []  # each is kept, so that its id is its own
        submit, next_event = Sender.submit, Endpoint.next_event

        def submitted(sender: Sender, request: Outbound, now: float) -> None:
            submit(sender, request, now)
            if request.purpose is Purpose.APPLICATION:
                self._endpoints.append(sender._state.endpoint)
                self._asked[id(sender._state.endpoint), request.id] = request.method

        def told(endpoint: Endpoint) -> Any:
            event = next_event(endpoint)
            if isinstance(event, ResultReceived | ErrorReceived | RequestEnded | InputRequired):
                self._ended[id(endpoint), event.request] += 1
            return event

        monkeypatch.setattr(Sender, "submit", submitted)
        monkeypatch.setattr(Endpoint, "next_event", told)

    def check(self, *, asked: bool = True) -> None:
        """Show that each request has ended, and once; ``asked``: there were some."""
        assert self._asked or not asked
        wrong = {
            (method, request): self._ended[endpoint, request]
            for (endpoint, request), method in self._asked.items()
            if self._ended[endpoint, request] != 1
        }
        assert not wrong, f"how often requests have ended: {wrong}"
        assert self._ended.keys() <= self._asked.keys(), "something ended that was never asked"


def children() -> set[str]:
    """Our child processes, those that nobody has reaped included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


async def _census_of(house: House, binding: str) -> Census:
    """What the process has that serves HTTP in some way, or any other binding."""
    asked = binding if binding in HTTP_WAYS else "tcp"
    async with connect(house.target(asked), revision=MODERN) as client:
        result = await client.call_tool("census")
    found = result.structured_content
    assert isinstance(found, dict)
    return Census(**found)


@asynccontextmanager
async def nothing_left(house: House, binding: str) -> AsyncIterator[None]:
    """Show that what is done inside on a binding leaves nothing behind, at either end.

    Hypercorn (ASGI on trio) keeps what it has of connections for a while after their clients have
    left: there only the client is looked at.
    """
    there = await _census_of(house, binding)
    here, ours, servers = census(), children(), house.servers()

    async def kept() -> Census | None:
        if binding == ASGI and house.backend == "trio":
            return None
        now = await _census_of(house, binding)
        return None if now.within(there) else now

    yield
    found: Any = None
    try:
        with anyio.fail_after(PATIENCE):
            while not (found := census()).within(here):  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)
            while found := (children() - ours) | (house.servers() - servers):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            while found := await kept():  # noqa: ASYNC110
                await anyio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"left: {found}; there was: {here} and {there}") from None
