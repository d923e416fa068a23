"""Access tokens: a resource server lets in who has a right one, and nobody else.

Signatures are hashes here, which any input can have without cryptography.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mcpcore.auth.api_keys import ApiKey, ApiKeys, digest_of, key_id, make_key
from mcpcore.auth.challenges import parse_challenges
from mcpcore.auth.grants import base64url
from mcpcore.auth.introspection import read_introspection
from mcpcore.auth.metadata import read_object
from mcpcore.auth.resource_server import (
    Credential,
    Denied,
    Issuer,
    NeedIntrospection,
    NeedKeys,
    NeedUse,
    ResourceGuard,
    ResourceRules,
)
from mcpcore.auth.tokens import Grant, TokenFault, TokenRefused, decode_base64url, read_jws
from mcpcore.errors import DocumentRefused
from mcpcore.http.headers import is_field_text
from tests.fuzz.choices import Choices

TOKENS = (
    *(
        b"eyJhbGciOiJFUzI1NiJ9",
        b"eyJhbGciOiJub25lIn0",
        b".",
        b"..",
        b"=",
        b"-_",
        b"Bearer ",
        b"DPoP ",
    ),
    *(
        b'{"alg":"ES256"}',
        b'{"alg":"none"}',
        b'"kid":"k1"',
        b'"crit":["exp"]',
        b'"jwk":{}',
        b'"b64":',
    ),
    *(
        b'"iss":"https://id.example"',
        b'"aud":"https://mcp.example/mcp"',
        b'"exp":2000000',
        b'"sub":"a"',
    ),
    *(
        b'"cnf":{"jkt":"x"}',
        b'"scope":"read"',
        b'"active":true',
        b"mck_",
        b"\r\n",
        b"\0",
        b" ",
        b"\xff",
    ),
)
WALL = 1_000_000.0
RESOURCE = "https://mcp.example/mcp"
ISSUERS = ("https://id.example", "https://other.example")
_X = {ISSUERS[0]: "AAAA", ISSUERS[1]: "BBBB"}
"""Public keys of the issuers, both called k1."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_FAULTS = {fault.value for fault in TokenFault}
_KEY = make_key(bytes(range(40)))


def verify(jwk: Mapping[str, Any], algorithm: str, data: bytes, signature: bytes) -> bool:
    return signature == hashlib.sha256(str(jwk.get("x")).encode() + data).digest()


def _guard() -> ResourceGuard:
    issuers = tuple(Issuer(issuer=each, roles="realm.roles") for each in ISSUERS)
    rules = ResourceRules(resource=RESOURCE, issuers=issuers, required=frozenset({"read"}))
    guard = ResourceGuard(rules, verify)
    for issuer in _X:
        guard.key_sets[issuer].fetched(_published(issuer), 0.0)
    return guard


def _published(issuer: str) -> bytes:
    key = {"kty": "EC", "crv": "P-256", "x": _X[issuer], "y": "AAAA", "kid": "k1"}
    return json.dumps({"keys": [key]}).encode()


def TARGET(data: bytes) -> None:
    c = Choices(data)
    match c.below(4):
        case 0:
            _built(c)
        case 1:
            _request(c)
        case 2:
            _introspected(c)
        case _:
            raw = c.rest()
            text = raw.decode("latin-1")
            _plain(text)
            _plain(f"{base64url(raw).decode()}.{base64url(raw).decode()}.AA")
            _plain(b".".join(base64url(part) for part in raw.split(b"\0", 2)).decode())
            _api_key(text)


def _ask(guard: ResourceGuard, token: str, wall: float = WALL) -> Grant | Denied:
    own = b"Bearer " + token.encode("latin-1", "replace")
    credential = guard.credential([(b"authorization", own)])
    if isinstance(credential, Denied):
        _told(credential, token)
        return credential
    judged = guard.judge(credential, "POST", "/mcp", now=1.0, wall=wall)
    assert not isinstance(judged, NeedIntrospection | NeedUse)
    if isinstance(judged, NeedKeys):  # of a kid that is not known
        issuer = judged.issuer.issuer
        guard.key_sets[issuer].fetched(_published(issuer), 1.0, asked=judged.kid)
        return guard.unauthorized(TokenFault.KEY)
    if isinstance(judged, Denied):
        _told(judged, token)
    return judged


def _told(denied: Denied, token: str) -> None:
    """A refusal says what helps, and nothing of the token."""
    assert denied.status in (400, 401, 403)
    assert denied.challenge is not None
    assert is_field_text(denied.challenge.encode("ascii"))
    (bearer,) = parse_challenges([denied.challenge])
    assert bearer.scheme == "bearer"
    assert bearer.params["resource_metadata"].startswith("https://mcp.example/.well-known/")
    assert len(token) < 16 or token not in denied.challenge + denied.reason


_HEADER: dict[str, tuple[Any, ...]] = {
    "alg": ("none", "HS256", ["ES256"], None, "RS256", "es256"),
    "kid": ("k2", 1, "k" * 600, None),
    "typ": ("JWE", "dpop+jwt", "oauth-id-jag+jwt", 1, "application/AT+JWT", "JWT", None),
    "crit": (["exp"],),
    "jku": ("https://evil.example",),
    "jwk": ({"kty": "EC"},),
    "x": (1,),
}
_CLAIMS: dict[str, tuple[Any, ...]] = {
    "iss": (ISSUERS[1], "https://id.example/", [ISSUERS[0]], None, "https://evil.example"),
    "sub": ("", "a\nb", 1, None, "x" * 600),
    "aud": ([RESOURCE, "x"], "https://mcp.example", RESOURCE + "/", {RESOURCE: 1}, None, [], [1]),
    "exp": (WALL - 59, WALL - 60, WALL - 61, "2000000", -1, None, 1e300, True),
    "nbf": (WALL + 60, WALL + 61, "x", True, None),
    "iat": (WALL + 60, WALL + 61, [], None),
    "scope": ("read write", "readx", "read,write", ["read"], ["read x"], "", 1, None),
    "scp": (["read"], "read"),
    "nonce": ("n",),
    "events": ({},),
    "cnf": ({"jkt": "x"}, {}, {"x5t#S256": "x"}, 1),
    "realm": ({"roles": ["admin", 1]}, {"roles": "admin"}, 1),
}


def _right(header: dict[str, Any], claims: dict[str, Any], x: str) -> bool:
    """Say by the rules in plain words if a token is right."""
    issuer = claims.get("iss")
    audience = claims.get("aud")
    typ = header.get("typ", "JWT")
    exp = claims.get("exp")
    scope = claims.get("scope")
    scopes = scope if isinstance(scope, str | list) else claims.get("scp", ())
    if isinstance(scopes, str):
        scopes = scopes.split(" ")
    subject = claims.get("sub")
    return (
        header.get("alg") == "ES256"
        and ("kid" not in header or header["kid"] in ("k1", None))
        and not header.keys() & {"crit", "jku", "jwk"}
        and typ in ("JWT", "at+jwt", "application/AT+JWT")
        and issuer in ISSUERS
        and x == _X[issuer]
        and (audience == RESOURCE or (isinstance(audience, list) and RESOURCE in audience))
        and isinstance(exp, int | float)
        and exp is not True
        and WALL - 60 < exp < 2**53
        and all(
            name not in claims or (isinstance(claims[name], float) and claims[name] <= WALL + 60)
            for name in ("nbf", "iat")
        )
        and isinstance(subject, str)
        and subject in ("anna",)
        and (typ != "JWT" or not claims.keys() & {"nonce", "events"})
        and "cnf" not in claims
        and "read" in scopes
    )


def _built(c: Choices) -> None:
    """A token of which some members are not the usual ones."""
    header: dict[str, Any] = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
    claims: dict[str, Any] = {"iss": ISSUERS[0], "sub": "anna", "aud": RESOURCE, "exp": WALL + 9}
    claims["scope"] = "read"
    for members, changes in ((header, _HEADER), (claims, _CLAIMS)):
        for _ in range(c.pick((0, 0, 1, 2, 3))):
            name = c.pick(tuple(changes))
            members[name] = c.pick(changes[name])
            if c.flag(8):
                del members[name]
    x = c.seldom((_X[ISSUERS[0]],), (_X[ISSUERS[1]],))
    parts = [base64url(json.dumps(part).encode()) for part in (header, claims)]
    data = b".".join(parts)
    signature = hashlib.sha256(x.encode() + data).digest()
    token = (data + b"." + base64url(signature)).decode()
    guard = _guard()
    found = _ask(guard, token)
    assert isinstance(found, Grant) is _right(header, claims, x), (found, header, claims)
    if isinstance(found, Grant):
        assert (found.issuer, found.subject) == (claims["iss"], claims["sub"])
        assert "read" in found.scopes
        assert found.roles <= {"admin"}
        assert _ask(guard, token) == found  # out of the cache
        later = _ask(guard, token, claims["exp"] + 61)
        assert isinstance(later, Denied)
    # One character changed, it is another token, even if base64 has it mean the same.
    place = c.below(len(token)) if c.flag() else len(token) - 1
    at = _ALPHABET.find(token[place])
    letter = _ALPHABET[at ^ 1] if at >= 0 and c.flag() else c.pick("AZaz09-_.=")
    other = token[:place] + letter + token[place + 1 :]
    assert other == token or isinstance(_ask(guard, other), Denied)


def _request(c: Choices) -> None:
    """Headers of any kind: a credential holds what can be sent, or there is none."""
    names = (b"authorization", b"dpop", b"x-authorization")
    headers = [
        (c.pick(names), c.pick((b"Bearer ", b"bearer", b"DPoP ", b"Basic ", b"")) + c.blob(24))
        for _ in range(c.below(4))
    ]
    found = _guard().credential(headers)
    own = [value for name, value in headers if name == b"authorization"]
    if isinstance(found, Credential):
        assert len(own) == 1
        assert found.scheme == "bearer"
        assert found.token in own[0].decode("latin-1")
        assert found.token.isascii()
        assert found.token.isprintable()
        assert " " not in found.token
        assert repr(found) == "Credential(scheme='bearer', token='<...>', proof='<...>')"
    else:
        _told(found, "")
        assert len(own) < 2 or found.status in (400, 401)


def _introspected(c: Choices) -> None:
    """An answer of an introspection endpoint is believed if it says active, and only then."""
    answer: dict[str, Any] = {"active": True, "sub": "anna", "aud": RESOURCE, "scope": "read"}
    for _ in range(c.below(4)):
        name = c.pick(("active", *_CLAIMS))
        answer[name] = c.pick((False, "true", 1, None) if name == "active" else _CLAIMS[name])
    body = json.dumps(answer).encode() if c.flag() else c.rest()
    guard = _guard()
    rules = guard.claim_rules[ISSUERS[0]]
    try:
        grant = read_introspection(body, rules, wall=WALL, lasts=60.0)
    except TokenRefused as refused:
        assert str(refused) in _FAULTS
    except DocumentRefused as refused:
        assert str(refused).isprintable()
    else:
        assert read_object(body, "it")["active"] is True
        assert grant.issuer == ISSUERS[0]
        assert grant.expires_at + 60 > WALL


def _plain(text: str) -> None:
    try:
        jws = read_jws(text)
    except TokenRefused as refused:
        assert str(refused) in _FAULTS
    else:
        head, body, signature = text.split(".")
        assert base64url(jws.signature).decode() == signature
        assert json.loads(decode_base64url(head)) == jws.header
        assert json.loads(decode_base64url(body)) == jws.claims
        assert jws.algorithm == jws.header["alg"]
    guard = _guard()
    assert isinstance(_ask(guard, text.replace("\r", "").replace("\n", "")), Denied)


def _api_key(text: str) -> None:
    id, key = _KEY
    keys = ApiKeys([ApiKey(id=id, digest=digest_of(key), principal="anna", expires_at=WALL)])
    assert keys.find(key, wall=WALL - 1) is not None
    assert keys.find(key, wall=WALL) is None
    _, twin = make_key(bytes(range(8)) + hashlib.sha256(text.encode()).digest())  # of the same id
    assert key_id(twin) == id
    for each in (text, twin, key + text, text + key, key[: len(text) % 70] + text):
        assert each == key or keys.find(each, wall=0.0) is None
        assert key_id(each) is None or len(each) == len(key)
