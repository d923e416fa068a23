"""Texts that differ and say the same to who decodes them without care.

What a server has encoded, and reads again, may be in base64 or in hexadecimal digits.  Many
decoders pass over what cannot be read, over what follows the padding, over bits that say nothing:
who checks what was decoded has then checked the same bytes.
"""

import base64
import re

_SEPARATORS = re.compile(r"[.:|~$]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_ALTERNATIVES = str.maketrans("-_", "+/")
SHORT = 16
"""Characters of a part that need not be an encoded one, unless it has padding."""


def read_alike(given: str, other: str) -> bool:
    """Return True if a text may be read as the given one, as far as that is an encoded one."""
    parts, others = _SEPARATORS.split(given), _SEPARATORS.split(other)
    return len(parts) == len(others) and all(map(_part_alike, parts, others))


def _part_alike(given: str, other: str) -> bool:
    if given == other:
        return True
    if len(given) < SHORT and not given.endswith("="):
        return False
    if _HEX.fullmatch(given) and _hex(given) == _hex(other):
        return True
    return _BASE64.fullmatch(given) is not None and _base64(given) == _base64(other)


def _hex(text: str) -> str:
    """The digits before the first character that is none, in pairs."""
    found = _HEX.match(text)
    return found[0].lower() if found else ""


def _base64(text: str) -> bytes:
    """The bytes before the padding, of either alphabet; bits that make no byte are left out."""
    plain = re.sub(r"[^A-Za-z0-9+/]", "", text.partition("=")[0].translate(_ALTERNATIVES))
    return base64.b64decode(plain[: len(plain) // 4 * 4]) + _rest(plain[len(plain) // 4 * 4 :])


def _rest(text: str) -> bytes:
    """The bytes of what is less than a group of four characters."""
    return base64.b64decode(text.ljust(4, "A"))[: len(text) * 6 // 8]
