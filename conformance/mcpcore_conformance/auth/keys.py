"""Keys of the development authorization server as JWKs, and the verification of signatures.

Sources: RFC 7517, RFC 7518 sections 3 and 6, RFC 8037 and RFC 9864 section 2.2 (Ed25519).
"""

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from mcpcore.auth.grants import base64url
from mcpcore.auth.proofs import thumbprint
from mcpcore.auth.tokens import decode_base64url

_P256 = 32
"""Bytes of a coordinate of the curve P-256."""
_RSA_PRIVATE = ("d", "p", "q", "dp", "dq", "qi")


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(decode_base64url(jwk.get(name)))


def _text(number: int, size: int | None = None) -> str:
    return base64url(number.to_bytes(size or (number.bit_length() + 7) // 8)).decode()


class PrivateKey:
    """Private key of ES256 or RS256."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self._key = key
        self.algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        self.public: dict[str, str]
        """Public key as a JWK; its ``kid`` is its thumbprint."""
        if isinstance(key, ec.EllipticCurvePrivateKey):
            point = key.public_key().public_numbers()
            jwk = {"kty": "EC", "crv": "P-256"}
            jwk |= {"x": _text(point.x, _P256), "y": _text(point.y, _P256)}
        else:
            numbers = key.public_key().public_numbers()
            jwk = {"kty": "RSA", "n": _text(numbers.n), "e": _text(numbers.e)}
        self.public = {**jwk, "use": "sig", "alg": self.algorithm, "kid": thumbprint(jwk)}

    def __repr__(self) -> str:
        return f"PrivateKey({self.algorithm!r})"

    @classmethod
    def generate(cls, algorithm: str) -> "PrivateKey":
        """Make a new key.  Raises ValueError for other algorithms than ES256 and RS256."""
        if algorithm == "ES256":
            return cls(ec.generate_private_key(ec.SECP256R1()))
        if algorithm == "RS256":
            return cls(rsa.generate_private_key(65537, 2048))
        raise ValueError("keys are of ES256 or RS256")

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "PrivateKey":
        """Read a private JWK.  Raises ValueError for one that is not sound."""
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
            key = ec.derive_private_key(_number(jwk, "d"), ec.SECP256R1())
            found = cls(key)
            if any(found.public[name] != jwk.get(name) for name in ("x", "y")):
                raise ValueError("the parts of the key do not belong together")
            return found
        if jwk.get("kty") != "RSA":
            raise ValueError("keys are of ES256 or RS256")
        d, p, q, dp, dq, qi = (_number(jwk, name) for name in _RSA_PRIVATE)
        public = rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n"))
        return cls(rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key())

    def private(self) -> dict[str, str]:
        """Return the private key as a JWK, to be kept."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return {**self.public, "d": _text(self._key.private_numbers().private_value, _P256)}
        numbers = self._key.private_numbers()
        parts = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        return {**self.public, **dict(zip(_RSA_PRIVATE, map(_text, parts), strict=True))}

    def sign(self, data: bytes) -> bytes:
        """Return the raw signature of ``data`` (RFC 7518 sections 3.3 and 3.4)."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))
            return r.to_bytes(_P256) + s.to_bytes(_P256)
        return self._key.sign(data, padding.PKCS1v15(), SHA256())


def verify(jwk: Mapping[str, Any], algorithm: str, data: bytes, signature: bytes) -> bool:
    """Return True if a signature of ES256, RS256, or Ed25519 by either name, is right."""
    try:
        if algorithm == "ES256" and len(signature) == 2 * _P256:
            parts = signature[:_P256], signature[_P256:]
            encoded = encode_dss_signature(*map(int.from_bytes, parts))
            point = ec.EllipticCurvePublicNumbers(
                _number(jwk, "x"), _number(jwk, "y"), ec.SECP256R1()
            )
            point.public_key().verify(encoded, data, ec.ECDSA(SHA256()))
        elif algorithm in ("EdDSA", "Ed25519") and jwk.get("crv") == "Ed25519":
            raw = decode_base64url(jwk.get("x"))
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
        elif algorithm == "RS256":
            numbers = rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n"))
            numbers.public_key().verify(signature, data, padding.PKCS1v15(), SHA256())
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True
