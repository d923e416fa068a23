"""Keys and signatures of JWTs by ``cryptography`` (the extra ``auth``).

Keys sign by ES256, RS256, PS256, and Ed25519 by either of its names, of which ``EdDSA`` is the one
that most servers know; verified are ES256 to ES512, RS256 to PS512 and Ed25519.  Signatures are
raw, as JOSE has them.  Importing this module raises ExtraMissingError without the extra.

Sources: RFC 7515 appendix A, RFC 7517, RFC 7518 sections 3.3 to 3.5 and 6, RFC 8037 and RFC 9864
section 2.2 (Ed25519), RFC 7638 (thumbprints), RFC 8725 section 3.
"""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from mcpcore.auth.grants import base64url
from mcpcore.auth.proofs import thumbprint
from mcpcore.errors import AuthorizationError, ExtraMissingError
from mcpcore.http.principals import write_name

try:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError:
    raise ExtraMissingError(
        "keys and signatures need the extra `auth`: pip install 'mcpcore[auth]'"
    ) from None

_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)
_RSA = {"RS256": padding.PKCS1v15(), "PS256": _PSS}
_VERIFIED = {
    f"{name}{size}": (
        padding.PKCS1v15()
        if name == "RS"
        else padding.PSS(padding.MGF1(hashed), hashed.digest_size),
        hashed,
    )
    for name in ("RS", "PS")
    for size, hashed in ((256, SHA256()), (384, SHA384()), (512, SHA512()))
}
"""Padding and hash of the RSA algorithms that are verified."""
_CURVES: dict[str, tuple[str, ec.EllipticCurve, int, HashAlgorithm]] = {
    "ES256": ("P-256", ec.SECP256R1(), 32, SHA256()),
    "ES384": ("P-384", ec.SECP384R1(), 48, SHA384()),
    "ES512": ("P-521", ec.SECP521R1(), 66, SHA512()),
}
"""Curve, bytes of a coordinate and hash of the ECDSA algorithms that are verified."""
_BITS = range(2048, 8193)
"""Sizes of RSA keys: shorter ones are weak, longer ones slow."""
_EDWARDS = ("EdDSA", "Ed25519")
"""Names of the algorithm of Ed25519 keys."""
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class PrivateKey:
    """Private key of one algorithm; its representation shows the public part's thumbprint."""

    def __init__(self, key: object, algorithm: str | None = None, kid: str | None = None) -> None:
        self._key, self.algorithm, jwk = _sound(key, algorithm)
        self.jwk: Mapping[str, str] = jwk
        """Public part as a JWK."""
        self.thumbprint = thumbprint(jwk)
        self.kid = kid

    def __repr__(self) -> str:
        return f"PrivateKey({self.algorithm}, {self.thumbprint})"

    @property
    def public(self) -> dict[str, str]:
        """Public part with its algorithm, use and id, for a JWKS."""
        return {
            **self.jwk,
            "alg": self.algorithm,
            "use": "sig",
            "kid": self.kid or self.thumbprint,
        }

    def sign(self, data: bytes) -> bytes:
        """Return the raw signature of ``data``."""
        key = self._key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        return key.sign(data, _RSA[self.algorithm], SHA256())

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> "PrivateKey":
        """Make a new key, as for DPoP."""
        makers: dict[str, Callable[[], object]] = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            **dict.fromkeys(_EDWARDS, ed25519.Ed25519PrivateKey.generate),
        }
        make = makers.get(algorithm, lambda: rsa.generate_private_key(65537, 2048))
        return cls(make(), algorithm)

    @classmethod
    def from_pem(
        cls,
        pem: bytes | str,
        algorithm: str | None = None,
        *,
        password: bytes | None = None,
        kid: str | None = None,
    ) -> "PrivateKey":
        """Read a key in PEM.  Raises AuthorizationError, which shows nothing of it."""
        data = pem.encode() if isinstance(pem, str) else pem
        try:
            key = load_pem_private_key(data, password)
        except Exception:  # cryptography has many, and their messages are no business of a log
            raise AuthorizationError("the private key is no PEM that can be read") from None
        return cls(key, algorithm, kid)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any], algorithm: str | None = None) -> "PrivateKey":
        """Read a key as a JWK, whose ``alg`` counts unless ``algorithm`` is given.

        Raises AuthorizationError, which shows nothing of it.
        """
        try:
            key = _from_jwk(jwk)
        except Exception:  # as above
            raise AuthorizationError("the private key is no JWK that can be read") from None
        return cls(key, algorithm or jwk.get("alg"), jwk.get("kid"))


def verify(jwk: Mapping[str, Any], algorithm: str, data: bytes, signature: bytes) -> bool:
    """Return True if a signature is that of a public key; False for keys that are not sound.

    It fits :data:`mcpcore.auth.resource_server.Verify`.
    """
    try:
        if not _PRIVATE.isdisjoint(jwk) or jwk.get("alg", algorithm) != algorithm:
            return False
        kind, crv = jwk["kty"], jwk.get("crv")
        if algorithm in _CURVES and (kind, crv) == ("EC", _CURVES[algorithm][0]):
            _verify_ecdsa(_CURVES[algorithm], jwk["x"], jwk["y"], data, signature)
        elif algorithm in _EDWARDS and (kind, crv) == ("OKP", "Ed25519"):
            _ed25519(jwk["x"]).verify(signature, data)
        elif algorithm in _VERIFIED and kind == "RSA":
            padded, hashed = _VERIFIED[algorithm]
            _rsa(jwk["n"], jwk["e"]).verify(signature, data, padded, hashed)
        else:
            return False
    except Exception:  # whatever is wrong with it, it is not verified
        return False
    return True


def subject_of(der: bytes) -> str:
    """Return the subject of a certificate in the form of RFC 4514.

    Raises ValueError for what is no certificate, or has no text in its subject.
    """
    from cryptography.x509 import load_der_x509_certificate  # slow to import, and rarely needed

    try:
        rdns = load_der_x509_certificate(der).subject.rdns
    except Exception as error:  # InvalidVersion is no ValueError
        raise ValueError(f"no certificate: {type(error).__name__}") from error
    names = [[(each.rfc4514_attribute_name, each.value) for each in part] for part in rdns]
    if not all(isinstance(value, str) for part in names for _, value in part):
        raise ValueError("a subject that is no text")
    return write_name(cast("list[list[tuple[str, str]]]", names))


# Public keys are made once: that takes longer than a look at a signature.


@lru_cache(maxsize=256)
def _rsa(n: str, e: str) -> rsa.RSAPublicKey:
    numbers = rsa.RSAPublicNumbers(_number({"e": e}, "e"), _number({"n": n}, "n"))
    if numbers.n.bit_length() not in _BITS:
        raise ValueError("a key of this size is not used")
    return numbers.public_key()


@lru_cache(maxsize=256)
def _ed25519(x: str) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(_bytes({"x": x}, "x"))


@lru_cache(maxsize=256)
def _point(crv: str, x: str, y: str) -> ec.EllipticCurvePublicKey:
    _, curve, size, _ = next(each for each in _CURVES.values() if each[0] == crv)
    parts = [_bytes({"part": part}, "part") for part in (x, y)]
    if any(len(part) != size for part in parts):
        raise ValueError("a coordinate has another length")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + b"".join(parts))


def _verify_ecdsa(
    row: tuple[str, ec.EllipticCurve, int, HashAlgorithm],
    x: str,
    y: str,
    data: bytes,
    signature: bytes,
) -> None:
    crv, _, size, hashed = row
    if len(signature) != 2 * size:
        raise ValueError("not a raw signature")
    r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
    _point(crv, x, y).verify(encode_dss_signature(r, s), data, ec.ECDSA(hashed))


def _sound(key: object, algorithm: str | None) -> tuple[_Key, str, dict[str, str]]:
    """Return a key, its algorithm and its public JWK.  Raises AuthorizationError."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
        point = key.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "x": _text(point.x, 32), "y": _text(point.y, 32)}
        allowed: tuple[str, ...] = ("ES256",)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes_raw()
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw).decode()}
        allowed = _EDWARDS
    elif isinstance(key, rsa.RSAPrivateKey) and key.key_size in _BITS:
        numbers = key.public_key().public_numbers()
        size = (numbers.e.bit_length() + 7) // 8
        jwk = {"kty": "RSA", "n": _text(numbers.n, key.key_size // 8), "e": _text(numbers.e, size)}
        allowed = ("RS256", "PS256")
    else:
        raise AuthorizationError(
            "the private key is of no kind that is supported: P-256, Ed25519, RSA from 2048 bits"
        )
    chosen = algorithm or allowed[0]
    if chosen not in allowed:
        raise AuthorizationError(f"the private key is for {' or '.join(allowed)}")
    return key, chosen, jwk


def _from_jwk(jwk: Mapping[str, Any]) -> object:
    if jwk["kty"] == "EC" and jwk["crv"] == "P-256":
        public = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), ec.SECP256R1())
        return ec.EllipticCurvePrivateNumbers(_number(jwk, "d"), public).private_key()
    if jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(_bytes(jwk, "d"))
        if key.public_key().public_bytes_raw() != _bytes(jwk, "x"):
            raise ValueError("the parts are of two keys")
        return key
    if jwk["kty"] == "RSA":
        p, q, d, dp, dq, qi, e, n = (
            _number(jwk, name) for name in ("p", "q", "d", "dp", "dq", "qi", "e", "n")
        )
        return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()
    return None


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    """Return a member in base64url, in its one spelling."""
    text = jwk[name].encode()
    data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64url(data) != text:
        raise ValueError("not base64url")
    return data


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name), "big")


def _text(number: int, size: int) -> str:
    return base64url(number.to_bytes(size, "big")).decode()
