"""Key sets: which keys are usable, when documents are fetched, and how often at most."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.grants import base64url
from mcpcore.auth.keysets import KeySet, KeySetLimits, read_keys, usable_key
from mcpcore.errors import DocumentRefused

LIMITS = KeySetLimits()
NUMBER = base64url(b"\xff" * 32).decode()
EC = {"kty": "EC", "crv": "P-256", "x": NUMBER, "y": NUMBER}
RSA = {"kty": "RSA", "n": base64url(b"\x80" + bytes(255)).decode(), "e": "AQAB"}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": NUMBER}


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def kids(body: bytes) -> list[str | None]:
    return [key.kid for key in read_keys(body, LIMITS)]


@pytest.mark.parametrize("jwk", [EC, RSA, OKP])
def test_public_keys_are_read_without_anything_else(jwk: dict[str, str]) -> None:
    extra = {"kid": "a", "use": "sig", "key_ops": ["verify"], "d": "secret", "x5c": ["x"]}
    key = usable_key({**jwk, **extra, "alg": "X"})
    assert key is not None
    assert key.jwk == jwk
    assert (key.kid, key.kind, key.algorithm) == ("a", jwk["kty"], "X")


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        "x",
        {},
        {"kty": "oct", "k": "AA"},
        {**EC, "kty": []},
        {**EC, "kty": "ec"},
        {**EC, "use": "enc"},
        {**EC, "use": None},
        {**EC, "key_ops": ["sign"]},
        {**EC, "key_ops": "verify"},
        {**EC, "kid": 1},
        {**EC, "alg": ["ES256"]},
        {**EC, "x": 1},
        {**EC, "x": "AA=="},
        {**EC, "y": None},
        {"kty": "EC", "crv": "P-256", "x": NUMBER},
        {**RSA, "n": base64url(b"\x7f" + b"\xff" * 255).decode()},
        {**RSA, "n": base64url(b"\xff" * 1025).decode()},
        {**RSA, "e": "A" * 8},
        {"kty": "RSA", "n": RSA["n"]},
    ],
)
def test_other_keys_are_left_out(jwk: Any) -> None:
    assert usable_key(jwk) is None
    assert kids(document(jwk, {**EC, "kid": "good"})) == ["good"]


FITS = {
    ("EC", "P-256"): {"ES256"},
    ("EC", "P-384"): {"ES384"},
    ("EC", "P-521"): {"ES512"},
    ("EC", "secp256k1"): set(),
    ("EC", ("P-256",)): set(),
    ("OKP", "Ed25519"): {"EdDSA", "Ed25519"},
    ("OKP", "Ed448"): {"EdDSA"},
    ("OKP", "X25519"): set(),
    ("RSA", None): {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
}
ALGORITHMS = set().union(*FITS.values())


@pytest.mark.parametrize(("kind", "curve"), FITS)
def test_a_key_fits_the_algorithms_of_its_kind(kind: str, curve: Any) -> None:
    jwk = {"EC": EC, "RSA": RSA, "OKP": OKP}[kind]
    key = usable_key(jwk if curve is None else {**jwk, "crv": curve})
    assert key is not None
    assert {each for each in ALGORITHMS if key.fits(each)} == FITS[kind, curve]


def test_a_key_with_an_algorithm_fits_that_alone() -> None:
    key = usable_key({**RSA, "alg": "RS256"})
    assert key is not None
    assert {each for each in ALGORITHMS if key.fits(each)} == {"RS256"}


def test_a_set_of_keys_is_read() -> None:
    assert kids(document({**EC, "kid": "a"}, EC, RSA, {**RSA, "kid": "b"})) == [
        "a",
        None,
        None,
        "b",
    ]
    assert kids(document({**EC, "kid": "a"}, {**EC, "kid": "b"}, {**RSA, "kid": "a"})) == ["b"]
    assert kids(document(*[{**EC, "kid": str(n)} for n in range(10_000 // 80)]))[-1] == "63"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "sound JSON"),
        (b"[]", "object"),
        (b"{}", "no list"),
        (b'{"keys": {}}', "no list"),
        (document(), "no key"),
        (document({"kty": "oct", "k": "AA"}), "no key"),
        (document({**EC, "kid": "a"}, {**EC, "kid": "a"}), "no key"),
        (document(EC) + b" " * 256 * 1024, "larger"),
    ],
)
def test_a_document_without_keys_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(DocumentRefused, match=why):
        read_keys(body, LIMITS)


A, B = ({**EC, "kid": name} for name in "AB")


def fetched(*keys: Any, now: float = 0.0, **given: Any) -> KeySet:
    """A set that has fetched a document."""
    found = KeySet()
    assert found.find("A", "ES256", now) is None
    assert found.due(now)
    found.fetched(document(*keys), now, **given)
    return found


def names(found: KeySet, kid: str | None, now: float, algorithm: str = "ES256") -> Any:
    keys = found.find(kid, algorithm, now)
    return None if keys is None else [key.kid for key in keys]


def test_the_first_request_waits_for_one_fetch() -> None:
    keys = KeySet()
    assert not keys.due(0.0)
    assert all(keys.find("A", "ES256", 0.0) is None for _ in range(1000))
    assert [keys.due(0.0) for _ in range(3)] == [True, False, False]
    assert keys.find(None, "ES256", 0.0) is None
    keys.fetched(document(A, B), 0.0)
    assert names(keys, "A", 0.0) == ["A"]
    assert names(keys, None, 0.0) == ["A", "B"]
    assert names(keys, "A", 0.0, "RS256") == []
    assert names(keys, None, 0.0, "RS256") == []
    assert not keys.due(0.0)


def test_no_burst_of_unknown_keys_makes_more_than_its_fetches() -> None:
    keys, fetches = fetched(A), 1
    for number in range(60):
        if keys.find(f"unknown {number}", "ES256", 0.0) is None:
            assert keys.due(0.0)
            fetches += 1
            keys.fetched(document(A), 0.0, asked=f"unknown {number}")
    assert fetches <= 5
    assert names(keys, "A", 0.0) == ["A"]
    assert names(keys, "unknown 60", 5.0) is None  # the bucket fills again


def test_requests_for_known_keys_do_not_wait() -> None:
    keys = fetched(A)
    assert names(keys, "B", 1.0) is None
    assert keys.due(1.0)
    assert names(keys, "A", 1.0) == ["A"]
    assert names(keys, "B", 1.0) is None  # it waits for the fetch that is under way
    keys.fetched(document(A, B), 2.0, asked="B")
    assert names(keys, "B", 2.0) == ["B"]


def test_an_unknown_key_is_remembered_for_a_while() -> None:
    keys = fetched(A, asked="B")
    assert names(keys, "B", 29.9) == []
    assert not keys.due(29.9)
    assert names(keys, "B", 30.0) is None
    assert keys.due(30.0)


def test_no_more_unknown_keys_are_remembered_than_the_most() -> None:
    keys = KeySet(KeySetLimits(max_unknown=2))
    keys.find("A", "ES256", 0.0)
    keys.due(0.0)
    keys.fetched(document(A), 0.0, asked="1")
    for kid in ("2", "1", "3"):
        keys.fetched(document(A), 0.0, asked=kid)
    assert names(keys, "2", 5.0) is None
    assert names(keys, "1", 5.0) == names(keys, "3", 5.0) == []


@pytest.mark.parametrize(
    ("max_age", "stale"),
    [(None, 240.0), (0, 240.0), (-5, 240.0), (1000, 800.0), (10**9, 0.8 * 86_400)],
)
def test_keys_are_fetched_anew_before_they_are_old(max_age: float | None, stale: float) -> None:
    keys = fetched(A, max_age=max_age)
    assert not keys.due(stale - 1)
    assert keys.due(stale)


def test_the_age_of_keys_counts_from_their_fetch() -> None:
    keys = KeySet()
    keys.fetched(document({**EC, "kid": "a"}), 1_000_000.0)
    assert not keys.lacking(1_000_000.0 + LIMITS.max_age)
    assert keys.lacking(1_000_001.0 + LIMITS.max_age)


def test_a_rotated_key_is_found_and_a_withdrawn_one_is_not() -> None:
    keys = fetched(A)
    assert names(keys, "B", 10.0) is None
    assert keys.due(10.0)
    keys.fetched(document(B), 10.0, asked="B")
    assert names(keys, "B", 10.0) == ["B"]
    assert names(keys, "A", 10.0) is None
    assert keys.due(10.0)
    keys.fetched(document(B), 10.0, asked="A")
    assert names(keys, "A", 10.0) == []


@pytest.mark.parametrize("body", [None, b"<html>", document(), document({"kty": "oct", "k": "AA"})])
def test_a_failed_fetch_changes_nothing(body: bytes | None) -> None:
    keys = fetched(A)
    assert keys.due(300.0)
    if body is None:
        keys.failed(300.0)
    else:
        with pytest.raises(DocumentRefused):
            keys.fetched(body, 300.0)
    assert names(keys, "A", 300.0) == ["A"]
    assert not keys.due(599.0)
    assert keys.due(600.0)
    keys.failed(600.0)
    assert names(keys, "A", 1199.0) == ["A"]
    assert names(keys, "A", 1200.0) is None  # it waits for the next try
    assert keys.due(1200.0)
    keys.failed(86_400.0)
    assert names(keys, "A", 86_400.0) == ["A"]
    assert (names(keys, "A", 86_404.0), keys.lacking(86_404.0)) == ([], True)
    assert names(keys, "A", 86_405.0) is None


def test_a_fetch_that_fails_makes_no_key_older() -> None:
    keys = fetched(A, max_age=1000.0)
    keys.failed(10.0)
    assert names(keys, "A", 999.0) == ["A"]
    assert names(keys, "A", 1000.0) is None


def test_a_key_that_a_failed_fetch_was_for_is_looked_for_again_soon() -> None:
    keys = fetched(A)
    assert names(keys, "B", 10.0) is None
    assert keys.due(10.0)
    keys.failed(10.0)
    assert (names(keys, "B", 14.9), keys.failing) == ([], True)
    assert names(keys, "B", 15.0) is None
    assert keys.due(15.0)
    keys.fetched(document(A, B), 15.0, asked="B")
    assert (names(keys, "B", 15.0), keys.failing) == (["B"], False)


def test_wrong_signatures_ask_for_no_more_fetches_than_unknown_keys_do() -> None:
    keys = fetched(A)
    assert [keys.doubted(now) for now in (0.0, 29.9, 30.0)] == [False, False, True]
    assert keys.due(30.0)
    assert keys.doubted(30.0)  # it waits for the fetch that is under way
    keys.failed(30.0)
    assert [keys.doubted(now) for now in (30.0, 34.9, 35.0)] == [False, False, True]


def test_the_next_fetch_waits_for_the_end_of_one_that_took_long() -> None:
    keys = fetched(A)
    assert names(keys, "B", 10.0) is None
    assert keys.due(10.0)
    keys.failed(40.0)
    assert [keys.doubted(now) for now in (40.0, 44.9, 45.0)] == [False, False, True]


def test_without_keys_and_fetches_nobody_is_let_in() -> None:
    keys = KeySet()
    assert keys.find("A", "ES256", 0.0) is None
    assert keys.due(0.0)
    keys.failed(0.0)
    assert names(keys, "A", 4.9) == []
    assert keys.lacking(4.9)
    assert not keys.due(4.9)
    assert names(keys, "A", 5.0) is None
    assert keys.due(5.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.floats(0, 20), st.sampled_from([A, B, None])),
        max_size=40,
    )
)
def test_fetches_are_bounded_whatever_happens(events: list[tuple[str, float, Any]]) -> None:
    limits = KeySetLimits()
    keys, now, fetches = KeySet(limits), 0.0, 0
    for kid, later, answer in events:
        now += later
        keys.find(kid, "ES256", now)
        if keys.due(now):
            fetches += 1
            if answer is None:
                keys.failed(now)
            else:
                keys.fetched(document(answer), now, asked=kid)
    most = limits.burst + now / limits.interval + now / (0.8 * limits.min_age)
    assert fetches <= most + 1
