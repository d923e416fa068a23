"""The share of its material that a long test has, where that is hundreds of things of one kind."""

import zlib
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Some(Struct, frozen=True):
    """Keep one thing in ``share``, and one at least; their names decide which."""

    share: int

    def __call__(self, whole: Iterable[T], name: Callable[[T], str]) -> list[T]:
        ranked = sorted(enumerate(whole), key=lambda each: zlib.crc32(name(each[1]).encode()))
        return [thing for _, thing in sorted(ranked[: self.of(len(ranked))], key=itemgetter(0))]

    def of(self, count: int) -> int:
        """The share of so many that are all alike; one at least."""
        return -(-count // self.share)
