"""Typed values, and the exceptions that say what is wrong with them."""

from typing import TypeVar

import msgspec
from msgspec import Raw

from mcpcore.service.errors import HandlerError
from mcpcore.spec.decoding import decode
from mcpcore.spec.errors import LocalError

T = TypeVar("T")


class Malformed(LocalError, ValueError):
    """A message, or a part of one, does not have the type it should; the text names the member."""


class Unsayable(HandlerError, ValueError):
    """The revision that is spoken has nothing to say this with; the text names what and where."""


class InvalidAnswer(Exception):
    """The client's answer does not fit what was asked; the message says how."""


def typed(raw: bytes | Raw, expected: type[T]) -> T:
    """Decode JSON into ``expected``.  Raises :class:`Malformed`."""
    try:
        return decode(raw, expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
