"""A client of TLS 1.3 that asks for new keys: what the ``ssl`` of Python can only answer.

The handshake is that of ``ssl``, which tells the secrets for the log of keys; what follows it is
sealed here (RFC 8446: records 5.2, keys 7.3, KeyUpdate 4.6.3 and 7.2).
"""

import hmac
import ssl
from pathlib import Path

from anyio.abc import ByteStream
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_CIPHER, _HASH, _KEY = "TLS_AES_256_GCM_SHA384", "sha384", 32
_HANDSHAKE, _APPLICATION = b"\x16", b"\x17"
_KEY_UPDATE = b"\x18\x00\x00\x01\x01"
"""Type, length, and update_requested."""


class KeyUpdates:
    """Makes the records of one connection, in the order in which they are to be sent."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, count: int) -> bytes:
        """Return so many requests for a new key, each under the one after the last."""
        return b"".join(self._next() for _ in range(count))

    def end(self, data: bytes) -> bytes:
        """Return what says ``data``, and is the last."""
        return self._seal(data + _APPLICATION)

    def _next(self) -> bytes:
        record = self._seal(_KEY_UPDATE + _HANDSHAKE)
        self._secret = self._derive(b"traffic upd", len(self._secret))
        return record

    def _seal(self, inner: bytes) -> bytes:
        header = _APPLICATION + b"\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        key, nonce = self._derive(b"key", _KEY), self._derive(b"iv", 12)
        # The number of the record is 0: each is the first under its key.
        return header + AESGCM(key).encrypt(nonce, inner, header)

    def _derive(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label (7.1), for no more than one block."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\x00"
        return hmac.digest(self._secret, info + b"\x01", _HASH)[:size]


async def agree(stream: ByteStream, context: ssl.SSLContext, log: Path) -> KeyUpdates:
    """Agree on TLS over ``stream``; ``log`` is where the keys are written to."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(log)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            await stream.send(outgoing.read())
            incoming.write(await stream.receive())
        else:
            await stream.send(outgoing.read())
            break
    assert (found := connection.cipher()) is not None
    assert found[0] == _CIPHER
    return KeyUpdates(_logged(log))


def _logged(log: Path) -> bytes:
    for line in log.read_text(encoding="ascii").splitlines():
        if line.startswith("CLIENT_TRAFFIC_SECRET_0 "):
            return bytes.fromhex(line.split(" ")[2])
    raise AssertionError("no secret was logged")
