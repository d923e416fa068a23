"""The typed decode with one exception for everything that can be wrong with the bytes."""

from typing import TypeVar

import msgspec
from msgspec import Raw

from mcpcore.spec.decoding import decode
from mcpcore.spec.errors import LocalError

T = TypeVar("T")


class Malformed(LocalError, ValueError):
    """A message, or a part of one, does not have the type it should; the text names the member."""


def typed(raw: bytes | Raw, expected: type[T]) -> T:
    """Decode JSON into ``expected``.  Raises :class:`Malformed`."""
    try:
        return decode(raw, expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
