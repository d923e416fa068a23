"""ES256 of JWTs (RFC 7518 section 3.4, FIPS 186-4), for signatures of clients and a key for them.

Slow, and not safe against who measures time: for tests alone.
"""

import hashlib
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode

Point = tuple[int, int]

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
BASE: Point = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
"""The curve P-256."""
_HEAD = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_PUBLIC = bytes.fromhex("a144034200" + "04")
"""Parts of PKCS #8 around a key of P-256."""


def _add(one: Point | None, other: Point | None) -> Point | None:
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % P == 0:
            return None
        slope = (3 * one[0] ** 2 - 3) * pow(2 * one[1], -1, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P)
    x = (slope**2 - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def _times(number: int, point: Point) -> Point | None:
    found, power = None, point
    while number:
        if number & 1:
            found = _add(found, power)
        doubled = _add(power, power)
        assert doubled is not None, "the order of the curve is odd"
        power, number = doubled, number >> 1
    return found


def public_key(private: int) -> Point:
    """Return the public key of a number between 1 and N."""
    found = _times(private % N, BASE)
    assert found is not None
    return found


def pem(private: int) -> str:
    """Return a private key as PKCS #8."""
    x, y = public_key(private)
    data = _HEAD + private.to_bytes(32) + _PUBLIC + x.to_bytes(32) + y.to_bytes(32)
    text = b64encode(data).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])


def key_of(jwk: object) -> Point | None:
    """Return the public key of a JWK; None if it is none of P-256."""
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256"):
        return None
    try:
        x, y = (int.from_bytes(_bytes(str(jwk[name]))) for name in ("x", "y"))
    except (KeyError, ValueError):
        return None
    return (x, y) if x < P and y < P and (y**2 - x**3 + 3 * x - B) % P == 0 else None


def signed(jwt: str, key: Point) -> bool:
    """Return True if a JWT is signed with a key."""
    text, _, last = jwt.rpartition(".")
    try:
        signature = _bytes(last)
    except ValueError:
        return False
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if len(signature) != 64 or not (0 < r < N and 0 < s < N):
        return False
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest())
    inverse = pow(s, -1, N)
    found = _add(_times(digest * inverse % N, BASE), _times(r * inverse % N, key))
    return found is not None and found[0] % N == r


def base64url(data: bytes) -> str:
    """Return data as JWTs have them (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
