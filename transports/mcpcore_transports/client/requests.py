"""Base of all calls of a client: facts of the conversation, single requests, paged lists."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from msgspec import Raw

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import Ready
from mcpcore.errors import ConnectionClosed, InvalidResponse, PeerError
from mcpcore.spec.errors import INVALID_PARAMS
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.wire.message import Body
from mcpcore_transports.client.cache import ServerCache
from mcpcore_transports.client.callbacks import ProgressCallback
from mcpcore_transports.client.core import ClientCore
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.icons import drop_unsafe_icons
from mcpcore_transports.link import clock

T = TypeVar("T")
P = TypeVar("P", bound="Page")


class Page(Protocol):
    """A page of a list."""

    next_cursor: str | None


class ClientRequests:
    """Part of a client that is independent of the protocol's methods."""

    def __init__(
        self, core: ClientCore, ready: Ready, cache: ServerCache | None, max_pages: int
    ) -> None:
        self._core = core
        self._first = ready
        self._cache = cache
        self._max_pages = max_pages
        if ready.info is not None:
            drop_unsafe_icons([ready.info])

    @property
    def _ready(self) -> Ready:
        """Outcome of the latest negotiation."""
        return self._core.ready or self._first

    @property
    def revision(self) -> Revision:
        """The negotiated revision; a later connection may bring another one."""
        return self._ready.revision

    @property
    def server_info(self) -> Implementation | None:
        """The server's name and version according to itself."""
        return self._ready.info

    @property
    def capabilities(self) -> ServerCapabilities:
        """Capabilities that the server has declared."""
        return self._core.capabilities

    @property
    def instructions(self) -> str | None:
        """The server's instructions for its users."""
        return self._ready.instructions

    @property
    def supported(self) -> tuple[str, ...]:
        """The revisions that the server named (modern), or the negotiated one."""
        return self._ready.supported or (self._ready.revision.name,)

    @property
    def closed(self) -> str | None:
        """Reason for the end of the connection, None while it is open."""
        return self._core.closed

    # Requests

    @overload
    async def request(
        self,
        method: str,
        params: Body = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> Raw: ...

    @overload
    async def request(
        self,
        method: str,
        params: Body,
        expected: type[T],
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> T: ...

    async def request(
        self,
        method: str,
        params: Body = None,
        expected: Any = Raw,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> Any:
        """Send any request; return its result as ``expected``, raw by default.

        ``repeat`` is True if the request may be sent again when the connection breaks before the
        answer, so that the server may see it twice; by default only requests that read or set up.
        A result that the server allowed to be cached is returned while it is fresh, except for a
        request with ``meta`` of its own.
        """
        if self._core.closed is not None:
            raise ConnectionClosed(method, self._core.closed)
        cache = self._cache
        row = lookup(method, "client", self.revision)
        if cache is None or row is None or not row.cacheable:
            outcome = await self._core.request(
                method, params, timeout=timeout, progress=progress, meta=meta, repeat=repeat
            )
            return promised(outcome.result, expected, method)
        kept = None if meta else cache.get(method, params, now=clock())
        if kept is not None:
            return promised(kept, expected, method)
        mark = cache.mark(method)
        try:
            outcome = await self._core.request(
                method, params, timeout=timeout, progress=progress, meta=meta, repeat=repeat
            )
        except PeerError as error:
            if error.code == INVALID_PARAMS:
                cache.drop(method)  # a refused cursor makes all pages doubtful
            raise
        result = promised(outcome.result, expected, method)
        if not outcome.with_input:
            cache.put(method, params, outcome.result, mark, now=clock())
        return result

    async def _all(
        self,
        fetch: Callable[..., Awaitable[P]],
        items: Callable[[P], list[T]],
        *,
        again: bool = True,
    ) -> list[T]:
        """Return all pages of a list; start again, once, if a cursor is refused."""
        found: list[T] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(self._max_pages):
            try:
                page = await fetch(cursor)
            except PeerError as error:
                if error.code == INVALID_PARAMS and cursor is not None and again:
                    return await self._all(fetch, items, again=False)
                raise
            found += items(page)
            if page.next_cursor is None:
                return found
            cursor = page.next_cursor
            if cursor in seen:
                text = f"the server's pages do not end (they lead back to the cursor {cursor!r})"
                raise InvalidResponse("pagination", text)
            seen.add(cursor)
        text = f"the server's pages do not end (the limit is {self._max_pages})"
        raise InvalidResponse("pagination", text)


def page_params(cursor: str | None) -> dict[str, Any] | None:
    """Return the params of a list request; an empty cursor is valid."""
    return None if cursor is None else {"cursor": cursor}
