"""Paged lists: ordered collections, opaque cursors, encoded pages.

A cursor names the last item of the page before it by the number that the item got when it was
added. It thus stays valid while items come and go: no item is skipped or repeated.  A check value
tells cursors of other lists or servers, and invalid ones, apart.  A cursor is no secret: a client
that forges one gains a position in a list that it may read anyway.

Source: pagination page of the specification.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import count, islice
from operator import attrgetter
from typing import Generic, TypeVar

from msgspec import Raw

from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.wire.message import to_json

Visible = Callable[[str | None], bool]
"""Function that returns True if a principal (None: not authenticated) may see and use an item.

It must not depend on anything else, such as the connection, and must return at once.
"""


T = TypeVar("T")

_CHECK = 8  # bytes
_NUMBER = 6  # bytes: enough for all items ever added


class Cursors:
    """Encoder and decoder of the cursors of one list; ``scope`` names the list and its server.

    >>> cursors = Cursors("weather tools/list")
    >>> cursors.read(cursors.make(20))
    20
    """

    __slots__ = ("_key", "_scope")

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


class _Entry(Generic[T]):
    """Item of a collection, with its number, visibility and encodings."""

    __slots__ = ("encoded", "item", "number", "visible")

    def __init__(self, number: int, item: T, visible: Visible | None) -> None:
        self.number = number
        self.item = item
        self.visible = visible
        self.encoded: dict[Revision, bytes] = {}
        """Wire form by revision, used where each principal has its own pages."""

    def seen_by(self, principal: str | None) -> bool:
        return self.visible is None or self.visible(principal)


_in_order = attrgetter("number")


class Collection(Generic[T]):
    """Items that a server lists under one method, by key, in the order in which they were added.

    ``kind``: name of an item in messages, for instance ``tool``.
    ``member``: the member of the result that holds the items.
    ``encode``: function for the wire form of an item in a revision.
    ``hints``: the members for caching, without braces, in revisions that have them.
    ``changed``: function called after each change.
    ``visible``: function that decides who may see an item; None: all may.  If an item is not
    visible to all, the members for caching are ``private``.
    ``listed``: function that returns True if an item can be used in a revision; others are not
    listed.

    Pages are encoded once per revision and kept until the collection changes; if not all principals
    see the same, items are.  Threads may change it while others read it, without a lock: an entry
    is never changed, readers use a copy of the table, and each change replaces the table of pages
    by an empty one, so that a page made of older items is not kept.
    """

    def __init__(
        self,
        kind: str,
        member: str,
        encode: Callable[[T, Revision], bytes],
        *,
        hints: bytes,
        cursors: Cursors,
        page_size: int,
        changed: Callable[[], None],
        visible: Callable[[T], Visible | None] = lambda item: None,
        private: bytes = b"",
        listed: Callable[[T, Revision], bool] = lambda item, revision: True,
    ) -> None:
        self._kind = kind
        self._head = f'"{member}":['.encode()
        self._encode = encode
        self._hints = hints
        self._private = private
        self._visible = visible
        self._listed = listed
        self._cursors = cursors
        self._page_size = page_size
        self._changed = changed
        self._items: dict[str, _Entry[T]] = {}
        self._numbers = count(1)
        self._pages: dict[tuple[Revision, str | None], Raw] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[T]:
        return (entry.item for entry in tuple(self._items.values()))

    def get(self, key: str, principal: str | None = None) -> T | None:
        """Return the item with ``key``, or None if there is none that ``principal`` may see."""
        entry = self._items.get(key)
        if entry is None or (entry.visible is not None and not entry.visible(principal)):
            return None
        return entry.item

    def seen_by(self, principal: str | None) -> Iterator[T]:
        """Return the items that ``principal`` may see, in order."""
        entries = tuple(self._items.values())
        return (entry.item for entry in entries if entry.seen_by(principal))

    def add(self, key: str, item: T, *, replace: bool = False) -> None:
        """Append ``item``; with ``replace`` it may replace one with the same key.

        Raises ValueError if the key is taken.
        """
        known = self._items.get(key)
        if known is None:
            new = _Entry(next(self._numbers), item, self._visible(item))
            known = self._items.setdefault(key, new)  # another thread may have been quicker
            if known is new:
                self._has_changed()
                return
        if not replace:
            raise ValueError(
                f"{self._kind} {key!r} is declared already; pass replace=True to mean it"
            )
        self._items[key] = _Entry(known.number, item, self._visible(item))
        self._has_changed()

    def remove(self, key: str) -> T:
        """Remove and return the item.  Raises KeyError if there is none."""
        try:
            entry = self._items.pop(key)
        except KeyError:
            raise KeyError(f"there is no {self._kind} {key!r}") from None
        self._has_changed()
        return entry.item

    def _has_changed(self) -> None:
        self._pages = {}
        self._changed()

    def page(self, cursor: str | None, revision: Revision, principal: str | None = None) -> Raw:
        """Return the result object of one page.  Raises McpError (-32602) for a bad cursor."""
        pages = self._pages  # before the entries are read
        kept = pages.get((revision, cursor))
        if kept is not None:
            return kept
        after = 0 if cursor is None else self._cursors.read(cursor)
        # With threads that add items at the same time, numbers need not come in order.
        entries = sorted(self._items.values(), key=_in_order)
        private = any(entry.visible is not None for entry in entries)
        rest = (
            entry
            for entry in entries
            if entry.number > after
            and self._listed(entry.item, revision)
            and entry.seen_by(principal)
        )
        chosen = list(islice(rest, self._page_size))
        if private:
            for entry in chosen:
                if revision not in entry.encoded:
                    entry.encoded[revision] = self._encode(entry.item, revision)
            parts = [entry.encoded[revision] for entry in chosen]
        else:
            parts = [self._encode(entry.item, revision) for entry in chosen]
        body = self._head + b",".join(parts) + b"]"
        if next(rest, None) is not None:
            body += f',"nextCursor":"{self._cursors.make(chosen[-1].number)}"'.encode()
        if revision.cache_hints:
            body += b"," + (self._private if private else self._hints)
        page = Raw(to_json(b"{" + body + b"}"))
        # Our own cursors are fewer than this; forged ones must not make the cache grow.
        if not private and len(pages) < (len(entries) + 1) * len(REVISIONS):
            pages[revision, cursor] = page
        return page
