"""Decoding into types, and the exceptions for values that do not fit."""

from typing import TypeVar

import msgspec
from msgspec import Raw

from mcpcore.errors import Malformed
from mcpcore.spec.decoding import decode

T = TypeVar("T")

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions for bytes that are no JSON, or not of the expected type."""


class InvalidAnswer(Exception):
    """Error for an answer of the client that does not fit the question; the message tells why."""


def typed(raw: bytes | Raw, expected: type[T]) -> T:
    """Decode JSON into ``expected``.  Raises :class:`Malformed`."""
    try:
        return decode(raw, expected)
    except UNDECODABLE as error:
        raise Malformed(str(error)) from None
