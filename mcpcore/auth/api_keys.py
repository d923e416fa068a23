"""API keys: ``mck_<id>_<secret><checksum>``, kept by their hash.

The secret has 256 random bits, so that a fast hash is as good as a slow one.  A checksum tells a
mistyped key, and a leaked one in a log, without a look into any table.

Source: OWASP guidance on credentials for machines; the format is this project's.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Iterable

from msgspec import Struct

from mcpcore.auth.grants import base64url
from mcpcore.spec.bounds import check_names

PREFIX = "mck"
_BEGIN = f"{PREFIX}_"
KEY = re.compile(r"mck_[0-9a-z]{12}_[A-Za-z0-9\-_]{43}[0-9a-f]{8}")
"""Whole text of a key, for redaction as well."""
_YEAR_10000 = 253_402_300_800
"""Seconds after which nothing ends: a time beyond it, in milliseconds, would be none."""
_NOBODY = hashlib.sha256(b"").digest()


class ApiKey(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Stored record of a key: who may come with it, and until when.

    A member with a mistyped name is an error: a key without its end would be good for ever.
    """

    id: str
    digest: str
    """SHA-256 of the whole key, in hexadecimal."""
    principal: str
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    expires_at: float | None = None
    """Seconds since 1970; None: never."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError("the digest of an API key is a SHA-256 in hexadecimal")
        if not self.principal or not self.principal.isprintable():
            raise ValueError("the principal of an API key has a printable name")
        if self.expires_at is not None and not self.expires_at < _YEAR_10000:
            raise ValueError("an API key ends so many seconds after 1970, no milliseconds")
        check_names(self.scopes, self.roles)


def make_key(random: bytes) -> tuple[str, str]:
    """Return the id and the text of a new key; ``random``: 40 random bytes, 8 for the id."""
    if len(random) != 40:
        raise ValueError("an API key takes 40 random bytes")
    number = int.from_bytes(random[:8])
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    id = "".join(letters[number // 36**place % 36] for place in range(12))
    body = f"{PREFIX}_{id}_{base64url(random[8:]).decode()}"
    return id, f"{body}{zlib.crc32(body.encode()):08x}"


def looks_like_key(text: str) -> bool:
    """Return True for a text that begins as keys do: no issuer is asked about it."""
    return text.startswith(_BEGIN)


def digest_of(key: str) -> str:
    """Return the digest by which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_id(key: str) -> str | None:
    """Return the id in the text of a key; None if it is none, or mistyped."""
    if not KEY.fullmatch(key) or int(key[-8:], 16) != zlib.crc32(key[:-8].encode()):
        return None
    return key.split("_")[1]


class ApiKeys:
    """Keys that a server accepts; two that overlap let a client change from one to the other."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys: dict[str, ApiKey] = {}
        self.replace(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Accept these keys from now on, and no other.  Raises ValueError if two have one id."""
        given = tuple(keys)
        by_id = {key.id: key for key in given}
        if len(by_id) != len(given):
            raise ValueError("two API keys have the same id")
        self._keys = by_id

    def holds(self, key: ApiKey) -> bool:
        """Return True if a key is among those that are accepted, with all that its record says."""
        return self._keys.get(key.id) == key

    def find(self, text: str, *, wall: float) -> ApiKey | None:
        """Return the record of a key that is accepted now, in the same time for any text."""
        record = self._keys.get(key_id(text) or "")
        stored = _NOBODY if record is None else bytes.fromhex(record.digest)
        same = hmac.compare_digest(hashlib.sha256(text.encode()).digest(), stored)
        if record is None or not same:
            return None
        return record if record.expires_at is None or wall < record.expires_at else None
