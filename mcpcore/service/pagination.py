"""Lists that are served in pages: ordered collections, opaque cursors, encoded pages.

A cursor names the last item of the page before it by the number it got when it was added, so
that it stays good while items come and go: nothing is skipped or repeated.  It carries a check
value, so that a cursor of another list, of another server, or none at all, is told apart.  It is
no secret: whoever forges one gains a place in a list that he may read anyway.

Source: pagination page of the specification.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from msgspec import Raw

from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import REVISIONS, Revision

T = TypeVar("T")

_CHECK = 8  # bytes
_NUMBER = 6  # bytes: more items than will ever be added


class Cursors:
    """Makes and reads the cursors of one list; ``scope`` names the list and its server.

    >>> cursors = Cursors("weather tools/list")
    >>> cursors.read(cursors.make(20))
    20
    """

    __slots__ = ("_key",)

    def __init__(self, scope: str) -> None:
        self._key = hashlib.sha256(scope.encode()).digest()

    def make(self, number: int) -> str:
        """Return the cursor of the page that begins after the item with ``number``."""
        data = number.to_bytes(_NUMBER, "big")
        return urlsafe_b64encode(data + self._check(data)).decode().rstrip("=")

    def read(self, cursor: str) -> int:
        """Return the number in ``cursor``.  Raises McpError (-32602) if it is not one of ours."""
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
        return hashlib.blake2s(data, key=self._key, digest_size=_CHECK).digest()


class Collection(Generic[T]):
    """What a server lists under one method: items by key, in the order in which they were added.

    ``kind``: what an item is called in messages, for instance ``tool``.
    ``member``: the member of the result that holds the items.
    ``encode``: the wire form of an item in a revision.
    ``hints``: the members for caching, without braces, where the revision has them.
    ``changed``: called after each change.
    Pages are encoded once per revision and kept until the collection changes.
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
    ) -> None:
        self._kind = kind
        self._head = f'"{member}":['.encode()
        self._encode = encode
        self._hints = hints
        self._cursors = cursors
        self._page_size = page_size
        self._changed = changed
        self._items: dict[str, tuple[int, T]] = {}
        self._next = 1
        self._pages: dict[tuple[Revision, str | None], Raw] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[T]:
        return (item for _, item in self._items.values())

    def get(self, key: str) -> T | None:
        """Return the item with ``key``, or None."""
        found = self._items.get(key)
        return found[1] if found else None

    def add(self, key: str, item: T, *, replace: bool = False) -> None:
        """Append ``item``; with ``replace`` it may take the place of one with the same key.

        Raises ValueError if the key is taken.
        """
        known = self._items.get(key)
        if known is not None and not replace:
            raise ValueError(
                f"{self._kind} {key!r} is declared already; pass replace=True to mean it"
            )
        self._items[key] = (known[0] if known else self._next, item)
        if known is None:
            self._next += 1
        self._pages.clear()
        self._changed()

    def remove(self, key: str) -> T:
        """Take the item out.  Raises KeyError if there is none."""
        try:
            _, item = self._items.pop(key)
        except KeyError:
            raise KeyError(f"there is no {self._kind} {key!r}") from None
        self._pages.clear()
        self._changed()
        return item

    def page(self, cursor: str | None, revision: Revision) -> Raw:
        """Return the result object of one page.  Raises McpError (-32602) for a bad cursor."""
        kept = self._pages.get((revision, cursor))
        if kept is not None:
            return kept
        after = 0 if cursor is None else self._cursors.read(cursor)
        rest = (entry for entry in self._items.values() if entry[0] > after)
        chosen = list(islice(rest, self._page_size))
        items = b",".join(self._encode(item, revision) for _, item in chosen)
        body = self._head + items + b"]"
        if next(rest, None) is not None:
            body += f',"nextCursor":"{self._cursors.make(chosen[-1][0])}"'.encode()
        if revision.cache_hints:
            body += b"," + self._hints
        page = Raw(b"{" + body + b"}")
        # Our own cursors are fewer than this; forged ones must not make the cache grow.
        if len(self._pages) < (len(self._items) + 1) * len(REVISIONS):
            self._pages[revision, cursor] = page
        return page
