"""Decoding into types, and the exceptions for values that do not fit."""

from typing import TypeVar

import msgspec
from msgspec import Raw

from mcpcore.service.errors import HandlerError
from mcpcore.spec.decoding import decode
from mcpcore.spec.errors import LocalError

T = TypeVar("T")


class Malformed(LocalError, ValueError):
    """Error for a message, or a part of one, of the wrong type; the text names the member."""


class Unsayable(HandlerError, ValueError):
    """Error for content that the negotiated revision cannot express; the text names it."""


class InvalidAnswer(Exception):
    """Error for an answer of the client that does not fit the question; the message tells why."""


def typed(raw: bytes | Raw, expected: type[T]) -> T:
    """Decode JSON into ``expected``.  Raises :class:`Malformed`."""
    try:
        return decode(raw, expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
