"""DPoP: proofs made and judged, thumbprints, the window of replays, nonces."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.grants import base64url
from mcpcore.auth.proofs import (
    NonceMissing,
    Nonces,
    ProofRules,
    ReplayWindow,
    Seen,
    judge_proof,
    make_proof,
    nonce_of,
    read_proof,
    sound_nonce,
    thumbprint,
    token_hash,
)
from mcpcore.auth.tokens import TokenFault, TokenRefused
from tests.auth.signing import part, signer, verify

URL = "https://mcp.example/mcp"
WALL = 1_000_000.0
RULES = ProofRules()
ANY = ProofRules(algorithms=frozenset({"ES256", "RS256", "EdDSA", "Ed25519"}))


def proof(**changed: Any) -> str:
    """A proof of the key of ES256 for a request; members that are None are left out."""
    claims = {"jti": "j", "htm": "POST", "htu": URL, "iat": WALL, "ath": token_hash("t")} | changed
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": signer().jwk}
    return signer().jws(header, {k: v for k, v in claims.items() if v is not None})


def judge(text: str, **changed: Any) -> str:
    request: dict[str, Any] = {
        "method": "POST",
        "urls": (f"{URL}/else", URL),
        "token": "t",
        "nonces": None,
        "wall": WALL,
    }
    return judge_proof(read_proof(text, RULES)[0], RULES, **(request | changed))


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo"
        "c_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F"
        "DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQ"
        "Fh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }  # RFC 7638 section 3.1
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"kty": "oct", "k": "x"},
        {"kty": []},
        {"kty": {}},
        {"kty": "EC", "crv": "P-256", "x": "a"},
        {"kty": "OKP", "crv": 1, "x": "a"},
    ],
)
def test_other_keys_have_no_thumbprint(key: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        thumbprint(key)


# Proofs that are made


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "Ed25519"])
def test_a_proof_that_is_made_holds(algorithm: str) -> None:
    key = signer(algorithm)
    nonces = Nonces(bytes(32))
    made = make_proof(
        "POST",
        f"{URL}?x=1#y",
        key=key.jwk,
        algorithm=algorithm,
        jti="j",
        wall=WALL + 0.9,
        token="t",
        nonce=nonces.current(WALL),
    )
    found, jwk = read_proof(made.signed(key.sign(made.text)), RULES)
    assert verify(jwk, found.algorithm, found.signing_input, found.signature)
    judged = judge_proof(
        found,
        RULES,
        method="POST",
        urls=(URL,),
        token="t",
        nonces=nonces,
        wall=WALL,
    )
    assert judged == "j"


def test_a_proof_for_a_token_endpoint_names_no_token() -> None:
    made = make_proof("POST", URL, key={"kty": "x"}, algorithm="ES256", jti="j", wall=1.0)
    assert made.header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": {"kty": "x"}}
    assert made.claims == {"jti": "j", "htm": "POST", "htu": URL, "iat": 1}


def test_the_hash_of_a_token_is_that_of_the_rfc() -> None:
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # RFC 9449 section 7.1
    assert token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


@pytest.mark.parametrize(
    ("nonce", "taken"),
    [
        (None, False),
        ("", False),
        ("a b", False),
        ('a"', False),
        ("a\\", False),
        ("a\r\n", False),
        ("é", False),
        ("x" * 513, False),
        ("x" * 512, True),
        ("!#[]~", True),
    ],
)
def test_a_nonce_can_be_sent(nonce: str | None, taken: bool) -> None:
    assert sound_nonce(nonce) == (nonce if taken else None)


# Proofs that are read


def header(**changed: Any) -> str:
    members = {"typ": "dpop+jwt", "alg": "ES256", "jwk": signer().jwk} | changed
    return f"{part({k: v for k, v in members.items() if v is not None})}.{part({})}.AA"


@pytest.mark.parametrize(
    "changed",
    [
        {"typ": None},
        {"typ": ["dpop+jwt"]},
        {"alg": "HS256"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"jwk": None},
        {"jwk": "x"},
        {"jwk": {}},
        {"jwk": {"kty": []}},
        {"jwk": {"kty": "oct", "k": "AA"}},
        *(
            {"jwk": {**signer().jwk, member: "AA"}}
            for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
        ),
        {"jwk": {**signer().jwk, "crv": "P-384"}},
        {"jwk": {**signer().jwk, "crv": ["P-256"]}},
        {"jwk": {**signer().jwk, "x": 1}},
        {"jwk": {**signer().jwk, "use": "enc"}},
        {"x5u": "https://evil.example"},
        {"crit": []},
    ],
)
def test_a_proof_of_another_kind_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused) as refused:
        read_proof(header(**changed), RULES)
    assert refused.value.fault is TokenFault.PROOF


def test_the_key_of_a_proof_fits_its_algorithm() -> None:
    assert read_proof(header(), ANY)[1] == signer().jwk
    weak = {"kty": "RSA", "n": base64url(b"\xff" * 128).decode(), "e": "AQAB"}
    huge = {"kty": "RSA", "n": base64url(b"\xff" * 2000).decode(), "e": "AQAB"}
    slow = {"kty": "RSA", "n": base64url(b"\xff" * 256).decode(), "e": "A" * 8}
    fair = {"kty": "RSA", "n": base64url(b"\xff" * 256).decode(), "e": "AQAB"}
    for jwk in (weak, huge, slow, signer().jwk):
        with pytest.raises(TokenRefused):
            read_proof(header(alg="RS256", jwk=jwk), ANY)
    assert read_proof(header(alg="RS256", jwk=fair), ANY)[1] == fair


# Proofs that are judged


@pytest.mark.parametrize(
    "changed",
    [
        {"jti": ""},
        {"jti": 1},
        {"jti": "x" * 257},
        {"iat": None},
        {"iat": "1"},
        {"iat": True},
        {"iat": -(10**400)},
        {"htm": None},
        {"htm": "post"},
        {"htu": None},
        {"htu": [URL]},
        {"htu": "https://mcp.example/"},
        {"htu": "https://mcp.example/MCP"},
        {"htu": "https://mcp.example:8443/mcp"},
        {"htu": "not a URL"},
        {"ath": 1},
        {"ath": "é"},
    ],
)
def test_a_proof_for_another_askedis_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused) as refused:
        judge(proof(**changed))
    assert refused.value.fault is TokenFault.PROOF


@pytest.mark.parametrize(
    ("claimed", "asked"),
    [
        ({}, {}),
        ({"iat": WALL - 300}, {}),
        ({"iat": WALL + 300}, {}),
        ({"ath": None}, {"token": None}),
        ({"htu": "HTTPS://MCP.example:443/mcp"}, {"urls": (URL,)}),
        ({"htu": f"{URL}?x=1#y"}, {"urls": (URL,)}),
        ({"htu": f"{URL}#y"}, {"urls": (URL,)}),
        ({}, {"urls": (f"{URL}?x=1",)}),
        ({"htu": "https://mcp.example"}, {"urls": ("https://mcp.example/",)}),
    ],
)
def test_a_proof_holds_for_its_request(claimed: dict[str, Any], asked: dict[str, Any]) -> None:
    assert judge(proof(**claimed), **asked) == "j"


# Nonces


def test_a_nonce_is_of_this_server_and_of_now() -> None:
    nonces = Nonces(bytes(range(32)))
    now = nonces.current(WALL)
    assert sound_nonce(now) == now
    assert judge(proof(nonce=now), nonces=nonces) == "j"
    assert nonces.accepts(now, WALL + 300)
    assert not nonces.accepts(now, WALL + 600)
    assert not nonces.accepts(now, WALL - 300)
    assert not Nonces(bytes(32)).accepts(now, WALL)
    for other in (None, 1, "", "é", "x" * 129, now + "x", now.swapcase()):
        assert not nonces.accepts(other, WALL)
        with pytest.raises(NonceMissing) as missing:
            judge(proof(nonce=other), nonces=nonces)
        assert missing.value.nonce == now
    assert repr(nonces) == "Nonces()"


def test_nonces_need_a_secret() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        Nonces(bytes(31))


# Replays


def used(
    window: ReplayWindow, jti: str, wall: float, now: float, key: str = "key", party: str = "ann"
) -> Seen:
    """Use a proof that is valid for ten minutes from now on."""
    until = WALL + wall + 600
    return window.look(jti, key, party=party, until=until, wall=WALL + wall, now=now)


@pytest.mark.parametrize(
    ("wall", "now", "seen"),
    [
        (0, 0, Seen.REPLAYED),
        (600, 600, Seen.REPLAYED),
        (601, 601, Seen.FRESH),
        (3600, 1, Seen.REPLAYED),  # the wall clock has jumped ahead,
        (-3600, 3600, Seen.REPLAYED),  # or back
    ],
)
def test_a_proof_is_used_once(wall: float, now: float, seen: Seen) -> None:
    window = ReplayWindow()
    assert used(window, "j", 0, 0) is Seen.FRESH
    assert used(window, "j", 0, 0, "other") is Seen.FRESH
    assert used(window, "i", 0, 0) is Seen.FRESH
    assert used(window, "j", wall, now) is seen
    assert len(window) == (1 if seen is Seen.FRESH else 3)


def test_a_full_window_forgets_nothing() -> None:
    window = ReplayWindow(limit=2)
    for jti in ("1", "2"):
        assert used(window, jti, 0, 0) is Seen.FRESH
    assert used(window, "3", 0, 0) is Seen.FULL
    assert used(window, "1", 0, 0) is Seen.REPLAYED
    assert len(window) == 2
    assert used(window, "3", 601, 601) is Seen.FRESH


def test_no_party_uses_up_the_window_for_others() -> None:
    """With however many keys."""
    window = ReplayWindow(limit=3, limit_of_one=2)
    for time in (0, 601):  # a share is free again when its uses are over
        found = [
            used(window, str(i), time, time, f"key {i}", party) for i, party in enumerate("aaabb")
        ]
        assert found == [Seen.FRESH, Seen.FRESH, Seen.FULL, Seen.FRESH, Seen.FULL]
        assert used(window, "0", time, time, "key 0", "a") is Seen.REPLAYED


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers()), max_size=30))
def test_nothing_valid_is_fresh_twice(uses: list[tuple[int, int, int]]) -> None:
    """A proof is replayed until it is seen to be over by both clocks, however one jumps."""
    window, now, off = ReplayWindow(), 0.0, 0.0
    last: dict[int, tuple[float, float]] = {}
    for jti, later, jump in uses:
        now += later
        off += jump % 1000 - 500 if jump % 4 == 0 else 0
        last = {i: at for i, at in last.items() if now <= at[0] + 600 or now + off <= at[1] + 600}
        seen = used(window, str(jti), now + off, now)
        if jti in last:
            assert seen is Seen.REPLAYED
        if seen is Seen.FRESH:
            last[jti] = now, now + off


@pytest.mark.parametrize(
    ("headers", "nonce"),
    [
        ([], None),
        ([(b"dpop-nonce", b"a")], "a"),
        ([(b"x-dpop-nonce", b"a"), (b"dpop-nonce", b"b")], "b"),
        ([(b"dpop-nonce", b"a"), (b"dpop-nonce", b"b")], None),
    ],
)
def test_a_response_gives_one_nonce_at_most(
    headers: list[tuple[bytes, bytes]], nonce: str | None
) -> None:
    assert nonce_of(headers) == nonce
