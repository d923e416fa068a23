"""Seals for ``requestState``: AES-256-GCM where ``cryptography`` is installed, else HMAC-SHA-256.

A sealed state is URL-safe base64 of: one byte for the kind of seal, the key's id, and a body that
holds the expiry, keyed fingerprints of principal, method and parameters, and the payload.  With
AES-GCM (NIST SP 800-38D; the extra ``auth``) the body is encrypted and authenticated, with HMAC
(RFC 2104) only authenticated.  See docs/explanation/sealed-state.md.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from abc import ABC, abstractmethod
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct, field

from mcpcore.engine.seal import Binding, SealRefusal
from mcpcore.errors import ExtraMissingError, SealBroken

if TYPE_CHECKING:  # late: few seal, and OpenSSL is slow to import
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SECRET_SIZE = 32
_ID_SIZE = 8
_HEAD_SIZE = 1 + _ID_SIZE
_EXPIRY_SIZE = 8
_PRINT_SIZE = 16
_BODY_SIZE = _EXPIRY_SIZE + 3 * _PRINT_SIZE
_TAG_SIZE = 32
_NONCE_SIZE = 12
_GCM_TAG_SIZE = 16


class SealKey:
    """Secret under which states are sealed.  Its id, which is public, is derived from it.

    ``secret``: at least 32 random bytes.  It is used only through keys derived from it, one for
    each purpose (HKDF, RFC 5869), so that the same secret serves either kind of seal.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _SECRET_SIZE:
            text = f"the secret of a key has at least {_SECRET_SIZE} bytes, not {len(secret)}"
            raise ValueError(text)
        self._secret = bytes(secret)
        self._mac_keys: dict[str, bytes] = {}

    @classmethod
    def random(cls) -> "SealKey":
        """Make a key that only this process has, and that ends with it."""
        return cls(secrets.token_bytes(_SECRET_SIZE))

    @classmethod
    def derive(cls, secret: bytes, label: str) -> "SealKey":
        """Make the key named ``label`` from a secret that several workers share.

        Neither the secret nor other keys can be found from it.
        """
        return cls(cls(secret)._subkey(b"key\0" + label.encode()))

    def __repr__(self) -> str:
        return f"SealKey(id={self.id.hex()!r})"

    @cached_property
    def id(self) -> bytes:
        """Id of the key in sealed states."""
        return self._subkey(b"id")[:_ID_SIZE]

    @cached_property
    def cipher(self) -> "AESGCM":
        """Cipher for AES-256-GCM."""
        # Imported late: the import takes longer than starting a server does otherwise.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._subkey(b"aes-256-gcm"))

    def fingerprints(self, binding: Binding) -> tuple[bytes, bytes, bytes]:
        """Return the fingerprints of principal, method and params for a state."""
        principal = "" if binding.principal is None else "=" + binding.principal
        bound = (
            b"principal\0" + principal.encode(errors="surrogatepass"),
            b"method\0" + binding.method.encode(),
            b"params\0" + binding.params,
        )
        first, second, third = (self.mac("fingerprint", each)[:_PRINT_SIZE] for each in bound)
        return first, second, third

    def mac(self, purpose: str, data: bytes) -> bytes:
        """Return the HMAC-SHA-256 of some data."""
        if purpose not in self._mac_keys:
            self._mac_keys[purpose] = self._subkey(purpose.encode())
        return hmac.digest(self._mac_keys[purpose], data, hashlib.sha256)

    def _subkey(self, purpose: bytes) -> bytes:
        # HKDF with one block of output.
        extracted = hmac.digest(b"mcpcore requestState 1", self._secret, hashlib.sha256)
        return hmac.digest(extracted, purpose + b"\x01", hashlib.sha256)


class SealSettings(Struct, frozen=True, kw_only=True):
    """Settings of a seal."""

    keys: tuple[SealKey, ...] = field(default_factory=lambda: (SealKey.random(),))
    """Keys, newest first: the first seals, all open.  Workers with the same clients share them."""
    lifetime: float = 3600.0
    """Seconds until a state expires; an answer may involve a person."""
    limit: int = 256 * 1024
    """Maximum bytes of a payload."""

    def __post_init__(self) -> None:
        if not self.lifetime > 0:
            raise ValueError(f"lifetime must be positive, got {self.lifetime}")
        if self.limit < 0:
            raise ValueError(f"limit must not be negative, got {self.limit}")


class _KeyedSeal(ABC):
    """Common base of both seals: keys, expiry, binding, size."""

    _KIND: ClassVar[bytes]
    _OVERHEAD: ClassVar[int]
    """Number of bytes that protection adds to a body."""

    def __init__(self, settings: SealSettings | None = None) -> None:
        self.settings = settings or SealSettings()
        self.rotate(*self.settings.keys)
        longest = _HEAD_SIZE + self._OVERHEAD + _BODY_SIZE + self.settings.limit
        self._longest = (longest * 4 + 2) // 3

    @property
    def keys(self) -> tuple[SealKey, ...]:
        """Keys in use, the one that seals first."""
        return tuple(self._keys.values())

    def rotate(self, *keys: SealKey) -> None:
        """Seal from now on with the first of ``keys``, and open states sealed with any of them."""
        if not keys:
            raise ValueError("a seal needs at least one key")
        self._keys = {key.id: key for key in keys}
        self._newest = keys[0]

    def seal(self, payload: bytes, binding: Binding, *, wall: float) -> str:
        """Return a text for :meth:`open`.  Raises ValueError if the payload is over the limit."""
        if len(payload) > self.settings.limit:
            text = f"{len(payload)} bytes, over the limit of {self.settings.limit}"
            raise ValueError(f"the state of an input round is {text}")
        key = self._newest
        expiry = int((wall + self.settings.lifetime) * 1000).to_bytes(_EXPIRY_SIZE, "big")
        head = self._KIND + key.id
        body = b"".join((expiry, *key.fingerprints(binding), payload))
        return _encode(head + self._protect(key, head, body))

    def open(self, text: str, binding: Binding, *, wall: float) -> bytes:
        """Return the payload.  Raises :class:`SealBroken` with a reason that is safe to show."""
        if len(text) > self._longest:
            raise SealBroken(SealRefusal.FOREIGN)
        data = _decode(text)
        head = data[:_HEAD_SIZE]
        key = self._keys.get(head[1:]) if head[:1] == self._KIND else None
        if key is None:
            raise SealBroken(SealRefusal.FOREIGN)
        body = self._reveal(key, head, data[_HEAD_SIZE:])
        if body is None:
            raise SealBroken(SealRefusal.ALTERED)
        if wall * 1000 >= int.from_bytes(body[:_EXPIRY_SIZE], "big"):
            raise SealBroken(SealRefusal.EXPIRED)
        start = _EXPIRY_SIZE
        reasons = (SealRefusal.PRINCIPAL, SealRefusal.METHOD, SealRefusal.PARAMS)
        for expected, reason in zip(key.fingerprints(binding), reasons, strict=True):
            if not hmac.compare_digest(body[start : start + _PRINT_SIZE], expected):
                raise SealBroken(reason)
            start += _PRINT_SIZE
        return body[start:]

    @abstractmethod
    def _protect(self, key: SealKey, head: bytes, body: bytes) -> bytes:
        """Return ``body`` in a form that cannot be altered, and neither can ``head``."""

    @abstractmethod
    def _reveal(self, key: SealKey, head: bytes, data: bytes) -> bytes | None:
        """Return the body, None if it or the head was altered."""


class HmacSeal(_KeyedSeal):
    """Seal that authenticates states with HMAC-SHA-256.  Clients can read them.  Needs no extra."""

    _KIND = b"\x01"
    _OVERHEAD = _TAG_SIZE

    def _protect(self, key: SealKey, head: bytes, body: bytes) -> bytes:
        return key.mac("hmac-sha-256", head + body) + body

    def _reveal(self, key: SealKey, head: bytes, data: bytes) -> bytes | None:
        tag, body = data[:_TAG_SIZE], data[_TAG_SIZE:]
        return body if hmac.compare_digest(tag, key.mac("hmac-sha-256", head + body)) else None


class AeadSeal(_KeyedSeal):
    """Seal that encrypts and authenticates states with AES-256-GCM and random nonces.

    Under one key no more than 2**32 states are to be sealed (NIST SP 800-38D, section 8.3): rotate
    keys.  Raises ExtraMissingError without the extra.
    """

    _KIND = b"\x02"
    _OVERHEAD = _NONCE_SIZE + _GCM_TAG_SIZE

    def __init__(self, settings: SealSettings | None = None) -> None:
        if find_spec("cryptography") is None:
            text = "encrypting states needs the extra `auth`: pip install 'mcpcore[auth]'"
            raise ExtraMissingError(text)
        super().__init__(settings)

    def _protect(self, key: SealKey, head: bytes, body: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return nonce + key.cipher.encrypt(nonce, body, head)

    def _reveal(self, key: SealKey, head: bytes, data: bytes) -> bytes | None:
        from cryptography.exceptions import InvalidTag

        if len(data) < self._OVERHEAD:
            return None
        try:
            return key.cipher.decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], head)
        except InvalidTag:
            return None


def make_seal(settings: SealSettings | None = None) -> AeadSeal | HmacSeal:
    """Return the best seal that is available: encryption needs the extra ``auth``.

    The two kinds do not open each other's states: workers that share keys must use the same.
    """
    try:
        return AeadSeal(settings)
    except ImportError:
        return HmacSeal(settings)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    """Return the bytes of a text, which must be exactly as :func:`_encode` writes it."""
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error):
        raise SealBroken(SealRefusal.ALTERED) from None
    if _encode(data) != text:  # the decoder skips unknown characters
        raise SealBroken(SealRefusal.ALTERED)
    return data
