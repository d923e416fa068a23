"""The kit's own reading of WWW-Authenticate, and its own JWTs."""

import hashlib
import hmac
from types import MappingProxyType

import pytest

from mcpcore_conformance.kit.challenges import challenges, find_challenge
from mcpcore_conformance.kit.tokens import encoded, jwt, mac, proof, read

Parameters = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, []),
        ("", []),
        ("Bearer", [("bearer", [])]),
        ("Bearer, DPoP", [("bearer", []), ("dpop", [])]),
        ('bearer Scope="a b"', [("bearer", [("scope", "a b")])]),
        ("Bearer scope = a , error=b", [("bearer", [("scope", "a"), ("error", "b")])]),
        ("Bearer error=a, error=b", [("bearer", [("error", "a"), ("error", "b")])]),
        (r'Bearer realm="a, b=\"c\""', [("bearer", [("realm", 'a, b="c"')])]),
        (
            'Bearer scope="x", DPoP algs="ES256"',
            [("bearer", [("scope", "x")]), ("dpop", [("algs", "ES256")])],
        ),
        ("Basic abc==, Bearer", [("basic", []), ("bearer", [])]),
        ('Bearer scope="x', None),
        ("Bearer a b", None),
        ('"Bearer"', None),
    ],
)
def test_challenges_are_read(text: str | None, found: list[tuple[str, Parameters]] | None) -> None:
    read = challenges(text)
    assert (None if read is None else [(each.scheme, each.parameters) for each in read]) == found


def test_a_challenge_is_found_by_its_scheme() -> None:
    text = 'Basic realm="x", Bearer error=first, error=second'
    found = find_challenge(text, "bearer")
    assert found is not None
    assert (found.get("error"), found.get("scope")) == ("first", None)
    assert find_challenge(text, "dpop") is None


def test_what_is_written_can_be_read() -> None:
    token = jwt({"alg": "HS256"}, {"sub": "kit"}, mac(b"secret"))
    assert read(token) == ({"alg": "HS256"}, {"sub": "kit"})
    text, _, signature = token.rpartition(".")
    assert signature == encoded(hmac.digest(b"secret", text.encode(), "sha256"))


PUBLIC = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}


class Key:
    """A key of no strength."""

    algorithm = "ES256"
    public = MappingProxyType({**PUBLIC, "kid": "not in proofs"})

    def sign(self, data: bytes) -> bytes:
        return b"signed"


def test_a_proof_is_for_one_request_and_one_token() -> None:
    made = proof(Key(), method="POST", url="http://h/mcp", wall=7.9, id="one", token="t", nonce="n")
    header, claims = read(made)
    assert header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": PUBLIC}
    ath = encoded(hashlib.sha256(b"t").digest())
    told = {"jti": "one", "htm": "POST", "htu": "http://h/mcp", "iat": 7, "nonce": "n", "ath": ath}
    assert claims == told


def test_a_proof_can_be_wrong() -> None:
    made = proof(
        Key(),
        method="POST",
        url="http://h/mcp",
        wall=7,
        id="one",
        header={"typ": "JWT", "jwk": None},
        claims={"jti": None, "htm": "GET"},
    )
    assert read(made) == (
        {"typ": "JWT", "alg": "ES256"},
        {"htm": "GET", "htu": "http://h/mcp", "iat": 7},
    )
