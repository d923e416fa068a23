"""Keys and signatures: of published examples, of another implementation, and unsound ones."""

import subprocess
import sys
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mcpcore.auth.resource_server import Verify
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.signing import PrivateKey, verify
from tests.auth import signing as other

CHECK: Verify = verify
ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA", "Ed25519"]
DATA = b"header.claims"
PUBLISHED = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
"""Key of RFC 8037 appendix A."""
SIGNED = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
SIGNATURE = urlsafe_b64decode(
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg=="
)


def pem(key: Any, password: bytes | None = None) -> bytes:
    how = NoEncryption() if password is None else BestAvailableEncryption(password)
    found: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    return found


def test_a_published_key_signs_as_published() -> None:
    key = PrivateKey.from_jwk(PUBLISHED)
    assert key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert key.sign(SIGNED.encode()) == SIGNATURE
    assert verify(key.jwk, "EdDSA", SIGNED.encode(), SIGNATURE)
    assert key.public == {**key.jwk, "alg": "EdDSA", "use": "sig", "kid": key.thumbprint}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures_go_both_ways(algorithm: str) -> None:
    key = PrivateKey.generate(algorithm)
    signature = key.sign(DATA)
    assert other.verify(key.jwk, algorithm, DATA, signature)
    assert verify(key.public, algorithm, DATA, signature)
    theirs = other.signer(algorithm)
    assert verify(theirs.public, algorithm, DATA, theirs.sign(DATA))
    assert not verify(theirs.public, algorithm, DATA, signature)
    assert not verify(key.public, algorithm, DATA + b"x", signature)
    for spoilt in (signature[:-1], signature + b"\0", b"", bytes(len(signature))):
        assert not verify(key.public, algorithm, DATA, spoilt)
    for wrong in [*ALGORITHMS, "none", "HS256", ""]:
        same = wrong == algorithm or {wrong, algorithm} == {"EdDSA", "Ed25519"}
        assert verify(key.jwk, wrong, DATA, signature) is same
        assert verify(key.public, wrong, DATA, signature) is (wrong == algorithm)
    assert not verify({**key.jwk, "alg": "ES384"}, algorithm, DATA, signature)
    assert repr(key) == f"PrivateKey({algorithm}, {key.thumbprint})"


def jwk(algorithm: str, **changed: Any) -> dict[str, Any]:
    members = {**other.signer(algorithm).jwk, **changed}
    return {name: value for name, value in members.items() if value is not None}


WEAK = rsa.generate_private_key(65537, 1024)
SHORT = WEAK.public_key().public_numbers()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", {}),
        ("ES256", {"kty": "EC"}),
        ("ES256", jwk("ES256", x=None)),
        ("ES256", jwk("ES256", x=1)),
        ("ES256", jwk("ES256", x=["AA"])),
        ("ES256", jwk("ES256", x="AA")),
        ("ES256", jwk("ES256", x="é")),
        ("ES256", jwk("ES256", x=other.text(5, 32), y=other.text(5, 32))),
        ("ES256", jwk("ES256", y=jwk("ES256")["y"] + "==")),
        ("ES256", jwk("ES256", crv="P-384")),
        ("ES256", jwk("ES256", kty="RSA")),
        ("ES256", jwk("ES256", kty=["EC"])),
        ("ES256", jwk("ES256", d="AA")),
        ("EdDSA", jwk("EdDSA", crv="Ed448")),
        ("EdDSA", jwk("EdDSA", x="AA")),
        ("RS256", jwk("RS256", n="AQ", e="AQAB")),
        ("RS256", jwk("RS256", e="AQ")),
        ("RS256", jwk("RS256", e="AA")),
        ("RS256", jwk("RS256", n=other.text(SHORT.n, 128))),
        ("RS256", jwk("RS256", n=other.text(1 << 20_000 | 1, 2501))),
        ("RS256", {"kty": "oct", "k": "AA"}),
        ("HS256", {"kty": "oct", "k": "AA"}),
        ("none", jwk("ES256")),
    ],
)
def test_an_unsound_key_verifies_nothing(algorithm: str, key: dict[str, Any]) -> None:
    name = algorithm if algorithm in ALGORITHMS else "ES256"
    assert verify(key, algorithm, DATA, other.signer(name).sign(DATA)) is False


def test_a_weak_key_verifies_not_even_its_own_signature() -> None:
    signature = WEAK.sign(DATA, padding.PKCS1v15(), SHA256())
    key = jwk("RS256", n=other.text(SHORT.n, 128))
    assert other.verify(key, "RS256", DATA, signature)
    assert not verify(key, "RS256", DATA, signature)


def test_keys_are_read_from_pem() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    key = PrivateKey.from_pem(pem(curve), kid="k1")
    assert (key.algorithm, key.kid, key.public["kid"]) == ("ES256", "k1", "k1")
    assert PrivateKey.from_pem(pem(curve).decode()).thumbprint == key.thumbprint
    locked = PrivateKey.from_pem(pem(curve, b"words"), password=b"words")
    assert locked.thumbprint == key.thumbprint
    modular = pem(rsa.generate_private_key(65537, 2048))
    assert PrivateKey.from_pem(modular).algorithm == "RS256"
    assert PrivateKey.from_pem(modular, "PS256").algorithm == "PS256"


def test_keys_are_read_from_jwk() -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    point = curve.public_numbers
    members = {
        "kty": "EC",
        "crv": "P-256",
        "x": other.text(point.x, 32),
        "y": other.text(point.y, 32),
        "d": other.text(curve.private_value, 32),
        "kid": "k1",
    }
    key = PrivateKey.from_jwk(members)
    assert (key.kid, "d" in key.jwk) == ("k1", False)
    assert verify(key.jwk, "ES256", DATA, key.sign(DATA))
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    parts = {"d": numbers.d, "p": numbers.p, "q": numbers.q, "n": numbers.public_numbers.n}
    parts |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp, "e": 65537}
    modular = {name: other.text(part, (part.bit_length() + 7) // 8) for name, part in parts.items()}
    key = PrivateKey.from_jwk({"kty": "RSA", "alg": "PS256", **modular})
    assert key.algorithm == "PS256"
    assert verify(key.jwk, "PS256", DATA, key.sign(DATA))


@pytest.mark.parametrize(
    "key",
    [
        {},
        {**PUBLISHED, "d": "AA"},
        {**PUBLISHED, "x": jwk("EdDSA")["x"]},
        {**PUBLISHED, "alg": "ES256"},
        {"kty": "oct", "k": "AA"},
        b"",
        b"-----BEGIN PRIVATE KEY-----\nsecretwords\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ed448.Ed448PrivateKey.generate()),
        pem(rsa.generate_private_key(65537, 1024)),
        pem(ec.generate_private_key(ec.SECP256R1()), b"words"),
    ],
)
def test_other_keys_are_refused_without_a_word_of_them(key: Any) -> None:
    with pytest.raises(AuthorizationError, match="the private key is") as caught:
        PrivateKey.from_jwk(key) if isinstance(key, dict) else PrivateKey.from_pem(key)
    assert "secretwords" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_missing_extra_is_named() -> None:
    program = "import sys; sys.modules['cryptography'] = None; import mcpcore_transports.auth.{}"
    run = [sys.executable, "-c", program.format("signing")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "pip install 'mcpcore[auth]'" in done.stderr
    run = [sys.executable, "-c", program.format("authorizer")]
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0
