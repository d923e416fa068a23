"""Real keys: what issuers and clients sign with, and the verification that a guard is given."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from mcpcore.auth.grants import base64url

_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)


def text(number: int, size: int) -> str:
    return base64url(number.to_bytes(size)).decode()


def part(value: Any) -> str:
    """A part of a JWS: of bytes, or of what JSON holds."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64url(data).decode()


EDWARDS = ("EdDSA", "Ed25519")
"""Names of the algorithm of Ed25519 keys (RFC 9864)."""


class Signer:
    """A private key, and its public part as a JWK."""

    def __init__(self, algorithm: str, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self._key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey | rsa.RSAPrivateKey
        if algorithm == "ES256":
            curve = ec.generate_private_key(ec.SECP256R1())
            point = curve.public_key().public_numbers()
            self.jwk = {"kty": "EC", "crv": "P-256"}
            self.jwk |= {"x": text(point.x, 32), "y": text(point.y, 32)}
            self._key = curve
        elif algorithm in EDWARDS:
            edwards = Ed25519PrivateKey.generate()
            raw = edwards.public_key().public_bytes_raw()
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw).decode()}
            self._key = edwards
        else:
            modular = rsa.generate_private_key(65537, 2048)
            numbers = modular.public_key().public_numbers()
            self.jwk = {"kty": "RSA", "n": text(numbers.n, 256), "e": text(numbers.e, 3)}
            self._key = modular

    @property
    def public(self) -> dict[str, str]:
        """The JWK as an issuer publishes it."""
        return {
            **self.jwk,
            "alg": self.algorithm,
            **({} if self.kid is None else {"kid": self.kid}),
        }

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))
            return r.to_bytes(32) + s.to_bytes(32)
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(data)
        scheme = _PSS if self.algorithm == "PS256" else padding.PKCS1v15()
        return self._key.sign(data, scheme, SHA256())

    def jws(self, header: Any, claims: Any) -> str:
        """A JWS whose header and claims are signed just as they are."""
        signed = f"{part(header)}.{part(claims)}"
        return f"{signed}.{part(self.sign(signed.encode()))}"

    def jwt(self, claims: Any, **header: Any) -> str:
        kid = {} if self.kid is None else {"kid": self.kid}
        members = {"alg": self.algorithm, "typ": "at+jwt", **kid, **header}
        return self.jws({k: v for k, v in members.items() if v is not None}, claims)


@cache
def signer(algorithm: str = "ES256", kid: str | None = "k1") -> Signer:
    """The key of that name, which is made once."""
    return Signer(algorithm, kid)


def verify(jwk: Mapping[str, Any], algorithm: str, data: bytes, signature: bytes) -> bool:
    """Verify a signature of ES256, Ed25519, RS256 or PS256."""

    def number(name: str) -> int:
        return int.from_bytes(urlsafe_b64decode(jwk[name] + "=="))

    try:
        if algorithm == "ES256":
            if len(signature) != 64:
                return False
            r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
            point = ec.EllipticCurvePublicNumbers(number("x"), number("y"), ec.SECP256R1())
            point.public_key().verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
        elif algorithm in EDWARDS:
            raw = urlsafe_b64decode(jwk["x"] + "==")
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
        else:
            scheme = {"RS256": padding.PKCS1v15(), "PS256": _PSS}[algorithm]
            public = rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
            public.verify(signature, data, scheme, SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
