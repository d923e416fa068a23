"""Paged lists: ordered collections, opaque cursors, encoded pages.

A cursor names the last item of the page before it by the number that the item got when it was
added, so that it stays valid while items come and go.  A check value tells cursors of other lists
or servers apart; it is no secret.

Source: pagination page of the specification.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import count, islice
from operator import attrgetter
from typing import Generic, TypeVar

from msgspec import Raw

from mcpcore.service.handlers import Declaration
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.wire.jsontext import to_json

T = TypeVar("T", bound=Declaration)

_CHECK = 8  # bytes
_NUMBER = 6  # bytes: enough for all items ever added


class Cursors:
    """Cursors of one list; ``scope`` names the list and its server.

    >>> cursors = Cursors("weather tools/list")
    >>> cursors.read(cursors.make(20))
    20
    """

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._key: bytes | None = None

    def make(self, number: int) -> str:
        """Return the cursor of the page that begins after the item with ``number``."""
        data = number.to_bytes(_NUMBER, "big")
        return urlsafe_b64encode(data + self._check(data)).decode().rstrip("=")

    def read(self, cursor: str) -> int:
        """Return the number in ``cursor``.  Raises McpError (-32602) if it is not of this list."""
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except ValueError:
            raw = b""
        data, check = raw[:_NUMBER], raw[_NUMBER:]
        # Decoding tolerates foreign characters and spare bits, so the text is compared as well.
        if check != self._check(data) or self.make(int.from_bytes(data, "big")) != cursor:
            raise McpError(INVALID_PARAMS, "cursor: not a cursor of this list")
        return int.from_bytes(data, "big")

    def _check(self, data: bytes) -> bytes:
        import hashlib  # here and not above: lists of one page have no cursors

        if self._key is None:
            self._key = hashlib.sha256(self._scope.encode()).digest()
        return hashlib.blake2s(data, key=self._key, digest_size=_CHECK).digest()


_in_order = attrgetter("number")


def _sees(principal: str | None, item: Declaration) -> bool:
    """Return True if ``visible`` says so.

    Raises TypeError if it says nothing yet: an awaitable, the function of a factory that was not
    called, or a generator without ``any`` around it is true, whatever will come of it.
    """
    if item.visible is None:
        return True
    seen: object = item.visible(principal)
    if isinstance(seen, bool):
        return seen
    for attribute, what in _UNDECIDED.items():
        if hasattr(seen, attribute):
            raise TypeError(f"a function for visible returned {what}, not True or False")
    return bool(seen)


_UNDECIDED = {
    "__call__": "a function",
    "__await__": "an awaitable",
    "__next__": "an iterator",
    "__anext__": "an iterator",
    "add_done_callback": "a future",
    "with_traceback": "an exception",  # not raised
}
"""Answers that are true whatever will come of them, by an attribute that they have."""


_Pages = dict[tuple[Revision, str | None, bool], Raw]


class Collection(Generic[T]):
    """Items that a server lists under one method, by key, in the order in which they were added.

    ``kind``: name of an item in messages, for instance ``tool``.
    ``member``: the member of the result that holds the items.
    ``scope``: the name of the server, for the cursors.
    ``hints``: the members for caching, without braces, in revisions that have them; ``private``:
    the same for a principal, and if an item is not visible to all, or has an app.
    ``changed``: function called after each change.

    Pages are encoded once per revision and kept until the collection changes; if not all principals
    see the same, items are.  Threads may change it while others read it, without a lock: readers
    use a copy of the table, and each change replaces the table of pages by an empty one, so that a
    page made of older items is not kept.
    """

    def __init__(
        self,
        kind: str,
        member: str,
        *,
        scope: str,
        hints: bytes,
        private: bytes,
        page_size: int,
        changed: Callable[[], None],
    ) -> None:
        self.kind = kind
        """Name of an item in messages."""
        self._head = f'"{member}":['.encode()
        self._cursors = Cursors(f"{scope}\n{member}")
        self._hints = hints
        self._private = private
        self._page_size = page_size
        self._changed = changed
        self.guarded = False
        """True once an item has required scopes or roles, or is not visible to all."""
        self.shows_apps = False
        """True once an item has an app: it is not the same for all clients."""
        self._items: dict[str, T] = {}
        self._numbers = count(1)
        self._pages: tuple[_Pages, _Pages] = ({}, {})
        """Pages for requests without a principal, and with one."""
        self._spellings: tuple[object, dict[str, list[str]]] = (None, {})
        """Keys of items with required scopes or roles, by the place that they name, and the table
        of pages that was there then."""

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._items.values()))

    def by_key(self) -> dict[str, T]:
        """Return a copy of the table: all items by key, in order."""
        return dict(self._items)

    def get(self, key: str, principal: str | None = None) -> T | None:
        """Return the item with ``key``, or None if there is none that ``principal`` may see."""
        item = self._items.get(key)
        return item if item is not None and _sees(principal, item) else None

    def spelled_otherwise(self, key: str, principal: str | None) -> T | None:
        """Return an item with required scopes or roles whose key is a URI of the same place.

        They differ in percent-encoding, idle segments, the case of scheme and host, a fragment, and
        an empty query alone.  None if there is none that ``principal`` may see.
        """
        if not self.guarded:
            return None
        from mcpcore.service.uri_templates import place_of  # late: few lists are of URIs

        pages = self._pages  # before the items are read, as for a page
        made_of, keys = self._spellings
        if made_of is not pages:
            keys = {}
            for each, item in self.by_key().items():
                if item.requirement is not None:
                    keys.setdefault(place_of(each), []).append(each)
            self._spellings = pages, keys
        bare = key.partition("#")[0]
        places = dict.fromkeys((place_of(key), place_of(bare), place_of(bare.removesuffix("?"))))
        found = (self.get(each, principal) for place in places for each in keys.get(place, ()))
        return next((item for item in found if item is not None), None)

    def seen_by(self, principal: str | None) -> Iterator[T]:
        """Return the items that ``principal`` may see, in order."""
        return (item for item in self if _sees(principal, item))

    def add(self, key: str, item: T, *, replace: bool = False) -> None:
        """Append an item, or ``replace`` one.  Raises ValueError if the key is taken."""
        self.guarded = self.guarded or item.requirement is not None or item.visible is not None
        self.shows_apps = self.shows_apps or item.app is not None
        known = self._items.get(key)
        if known is None:
            item.number = next(self._numbers)
            known = self._items.setdefault(key, item)  # another thread may have been quicker
        if known is not item:
            if not replace:
                text = f"{self.kind} {key!r} is declared already; pass replace=True to mean it"
                raise ValueError(text)
            item.number = known.number
            self._items[key] = item
        self._has_changed()

    def remove(self, key: str) -> None:
        """Remove an item.  Raises KeyError if there is none."""
        if self._items.pop(key, None) is None:
            raise KeyError(f"there is no {self.kind} {key!r}")
        self._has_changed()

    def _has_changed(self) -> None:
        self._pages = ({}, {})
        self._changed()

    def hints(self, principal: str | None) -> bytes:
        """Return the members for caching of what is made of single items for a principal."""
        varies = any(item.visible is not None for item in self)
        return self._private if varies or principal is not None else self._hints

    def page(
        self,
        cursor: str | None,
        revision: Revision,
        principal: str | None = None,
        *,
        apps: bool = True,
    ) -> Raw:
        """Return the result object of one page.  Raises McpError (-32602) for a bad cursor.

        ``apps``: True if the client shows apps.
        """
        known = principal is not None
        pages = self._pages[known]  # before the items are read
        kept = pages.get((revision, cursor, apps))
        if kept is not None:
            return kept
        after = 0 if cursor is None else self._cursors.read(cursor)
        # With threads that add items at the same time, numbers need not come in order.
        items = sorted(self._items.values(), key=_in_order)
        varies = any(item.visible is not None for item in items)
        rest = (
            item
            for item in items
            if item.number > after and item.listed(revision, apps) and _sees(principal, item)
        )
        chosen = list(islice(rest, self._page_size))
        if varies:
            for item in chosen:
                if (revision, apps) not in item.encoded:
                    item.encoded[revision, apps] = item.encode(revision, apps)
            parts = [item.encoded[revision, apps] for item in chosen]
        else:
            parts = [item.encode(revision, apps) for item in chosen]
        body = self._head + b",".join(parts) + b"]"
        if next(rest, None) is not None:
            body += f',"nextCursor":"{self._cursors.make(chosen[-1].number)}"'.encode()
        if revision.cache_hints:
            body += b"," + (self._private if varies or known or self.shows_apps else self._hints)
        page = Raw(to_json(b"{" + body + b"}"))
        # Our own cursors are fewer than this; forged ones must not make the cache grow.
        if not varies and len(pages) < (len(items) + 1) * len(REVISIONS) * (1 + self.shows_apps):
            pages[revision, cursor, apps] = page
        return page
