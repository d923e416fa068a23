"""DPoP proofs: one that was made for a request is taken once, for that request alone."""

import hashlib
import json
from typing import Any

from mcpcore.auth.grants import SigningInput, base64url
from mcpcore.auth.proofs import (
    NonceMissing,
    Nonces,
    ProofRules,
    ReplayWindow,
    Seen,
    judge_proof,
    make_proof,
    read_proof,
    sound_nonce,
    token_hash,
)
from mcpcore.auth.tokens import TokenFault, TokenRefused
from mcpcore.http.headers import is_field_text
from tests.fuzz.choices import Choices

TOKENS = (
    *(
        b"eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2In0",
        b".",
        b"..",
        b'"typ":"dpop+jwt"',
        b'"alg":"ES256"',
    ),
    *(b'"jwk":{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}', b'"jti":"1"', b'"htm":"POST"'),
    *(b'"htu":"https://mcp.example/mcp"', b'"iat":1000000', b'"ath":', b'"nonce":', b'"d":"AAAA"'),
    *(b"?", b"#", b"https://", b":443", b"\0", b"\xff", b"1e400", b"{}"),
)
WALL = 1_000_000.0
_KEYS = (
    {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
    {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
)
_ALGORITHMS = ("ES256", "EdDSA", "Ed25519")
_URLS = ("https://mcp.example/mcp", "https://mcp.example/", "http://127.0.0.1:8000/mcp")
_SAME = ("", "?a=b", "#x", "?a#b")
_RULES = ProofRules()
_CHANGES: dict[str, tuple[Any, ...]] = {
    "jti": ("", 1, None, "x" * 257),
    "htm": ("GET", "post", None),
    "htu": (
        "https://evil.example/mcp",
        "https://mcp.example/mcp/x",
        1,
        None,
        "mcp.example/mcp",
        "",
    ),
    "iat": (WALL - 301, WALL + 301, "1000000", True, None, 1e300),
    "ath": ("x", 1, None, token_hash("other"), "é"),
    "nonce": ("forged", 1, None, "x" * 200, "é"),
}
"""Claims of which each makes a proof wrong, as do those that are missing (None)."""
_HEADER: dict[str, tuple[Any, ...]] = {
    "typ": ("jwt", "DPoP+JWT", None),
    "alg": ("none", "HS256", "RS256", None),
    "jwk": (None, {}, _KEYS[0] | {"d": "AAAA"}, {"kty": "oct", "k": "AAAA"}, [], "x"),
    "crit": (["jti"],),
    "kid": (1,),
}


def TARGET(data: bytes) -> None:
    c = Choices(data)
    match c.below(4):
        case 0:
            _window(c)
        case 1:
            raw = c.rest()
            _text(raw.decode("latin-1"))
            _text(b".".join(base64url(part) for part in (*raw.split(b"\0", 1), raw)).decode())
            _nonce(raw.decode("latin-1"))
        case _:
            _built(c)


def _sign(proof: SigningInput) -> str:
    return proof.signed(hashlib.sha256(proof.text).digest())


def _built(c: Choices) -> None:
    which = c.below(2)
    key, url = _KEYS[which], c.pick(_URLS)
    token = None if c.flag(4) else c.pick(("the-token", "a.b.c"))
    nonces = Nonces(bytes(32)) if c.flag() else None
    nonce = None if nonces is None else nonces.current(WALL - c.pick((0.0, 299.0)))
    made = make_proof(
        "POST",
        url + c.pick(_SAME),
        key=key,
        algorithm=_ALGORITHMS[which],
        jti="one",
        wall=WALL + c.pick((0, 299, -299)),
        token=token,
        nonce=nonce,
    )
    header, claims = dict(made.header), dict(made.claims)
    wrong = _change(c, header, _HEADER)
    used = {name for name in _CHANGES if name != "ath" or token is not None}
    used -= set() if nonces is not None else {"nonce"}
    wrong |= _change(c, claims, {name: _CHANGES[name] for name in _CHANGES if name in used})
    text = _sign(SigningInput(header=header, claims=claims))
    try:
        proof, jwk = read_proof(text, _RULES)
        assert jwk == key
        jti = judge_proof(
            proof,
            _RULES,
            method="POST",
            urls=(url + c.pick(_SAME),),
            token=token,
            nonces=nonces,
            wall=WALL,
        )
    except TokenRefused as refused:
        assert wrong, (str(refused), header, claims)
    except NonceMissing as missing:
        assert wrong
        assert nonces is not None
        assert nonces.accepts(missing.nonce, WALL)
        assert sound_nonce(missing.nonce) == missing.nonce
    else:
        assert not wrong, (header, claims)
        assert jti == "one"


def _change(c: Choices, members: dict[str, Any], changes: dict[str, tuple[Any, ...]]) -> bool:
    """Make at most one member wrong; say if one is."""
    if not c.flag(4):
        return False
    name = c.pick(tuple(changes))
    members[name] = c.pick(changes[name])
    if members[name] is None:
        del members[name]
    return True


def _window(c: Choices) -> None:
    """A proof is fresh once while it is valid; nothing is forgotten for want of room."""
    limit, share, wall = 1 + c.below(6), 1 + c.below(6), WALL
    window = ReplayWindow(limit=limit, limit_of_one=share)
    used: dict[tuple[str, str], float] = {}
    while c:
        wall += c.pick((0.0, 1.0, 100.0, 700.0))
        jti, key = c.pick("abcdefgh"), c.pick("xy")
        seen = window.look(jti, key, party=key, until=wall + 600, wall=wall, now=wall)
        used = {name: until for name, until in used.items() if until >= wall}
        if (jti, key) in used:
            assert seen is Seen.REPLAYED
        elif len(used) >= limit or sum(each == key for _, each in used) >= share:
            assert seen is Seen.FULL
        else:
            assert seen is Seen.FRESH
            used[jti, key] = wall + 600
        assert len(window) == len(used) <= limit


def _text(text: str) -> None:
    try:
        proof, key = read_proof(text, _RULES)
    except TokenRefused as refused:
        assert refused.fault is TokenFault.PROOF
        return
    assert key.keys() <= {"kty", "crv", "x", "y", "n", "e"}
    assert proof.algorithm in _ALGORITHMS
    try:
        judge_proof(
            proof,
            _RULES,
            method="POST",
            urls=(_URLS[0],),
            token="the-token",
            nonces=None,
            wall=WALL,
        )
    except TokenRefused as refused:
        assert refused.fault is TokenFault.PROOF
    else:
        assert json.loads(json.dumps(dict(proof.claims)))["ath"] == token_hash("the-token")


def _nonce(text: str) -> None:
    sound = sound_nonce(text)
    assert sound in (None, text)
    assert sound is None or is_field_text(text.encode("ascii"))
    assert not Nonces(bytes(32)).accepts(text, WALL)
