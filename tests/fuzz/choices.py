"""Bytes read as decisions, so that what mutates bytes also mutates what was built from them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Gives decisions out of ``data``; when that is used up every further one is the first."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte, 0 at the end."""
        at = self._at
        self._at = at + 1
        return self._data[at] if at < len(self._data) else 0

    def below(self, count: int) -> int:
        """A number from 0 to ``count`` - 1; a byte decides, two where there are more than 256."""
        number = self.byte()
        if count > 256:
            number = number << 8 | self.byte()
        return number % count

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[self.below(len(options))]

    def seldom(self, options: Sequence[T], rare: Sequence[T]) -> T:
        """One of ``options``, or once in sixteen times one of ``rare``; one byte decides."""
        number = self.byte()
        return options[number % len(options)] if number < 240 else rare[number % len(rare)]

    def pair(self, options: Sequence[T]) -> tuple[T, T]:
        """Two of ``options`` that are not the same."""
        first = self.pick(options)
        return first, self.pick([other for other in options if other != first])

    def flag(self, one_in: int = 2) -> bool:
        """True once in ``one_in`` times; False at the end of the data."""
        return self.byte() % one_in == one_in - 1

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end."""
        data = self._data[self._at : self._at + count]
        self._at += count
        return data

    def blob(self, limit: int = 32) -> bytes:
        """Some bytes, at most ``limit``."""
        return self.take(self.below(limit + 1))

    def text(self, limit: int = 16) -> str:
        """Some text, of which not all is ASCII; it has a form in UTF-8."""
        return self.blob(limit).decode("utf-8", "replace")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def cuts(self, data: bytes, most: int = 8, *, single: int | None = None) -> list[bytes]:
        """``data`` in pieces: whole, by single bytes, or cut in some places.

        ``single``: so many single bytes from some place on, and all of them once in sixteen times.
        """
        how = self.below(4)
        if how == 0 or len(data) < 2:
            return [data]
        if how == 1:
            start, end = 0, len(data)
            if single is not None and self.below(16):
                start = self.below(min(end, 65536))
                end = min(end, start + single)
            pieces = [data[at : at + 1] for at in range(start, end)]
            return [piece for piece in (data[:start], *pieces, data[end:]) if piece]
        places = {1 + self.below(min(len(data), 65536)) for _ in range(1 + self.below(most))}
        edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
        return [data[start:end] for start, end in pairwise(edges)]
