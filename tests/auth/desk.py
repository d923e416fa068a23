"""A desk of a resource server: a guard with real keys, and issuers that answer what it needs."""

import json
from typing import Any

from mcpcore.auth.proofs import Nonces, ReplayWindow, token_hash
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
from mcpcore.auth.tokens import Grant
from mcpcore.errors import DocumentRefused
from tests.auth.signing import Signer, signer, verify

ISSUER = "https://id.example"
RESOURCE = "https://mcp.example/mcp"
WALL = 1_000_000.0


def claims(**changed: Any) -> dict[str, Any]:
    """Claims of a good token; members that are None are left out."""
    members = {
        "iss": ISSUER,
        "sub": "anna",
        "aud": RESOURCE,
        "exp": WALL + 600,
        "iat": WALL,
        "jti": "t1",
        "client_id": "me",
        "scope": "read",
    }
    return {name: each for name, each in (members | changed).items() if each is not None}


def refusal(found: Grant | Denied) -> Denied:
    assert isinstance(found, Denied), found
    return found


class Desk:
    """A guard that is asked as a driver asks it; fetches and verifications are counted."""

    def __init__(
        self,
        *issuers: Issuer,
        keys: dict[str, list[Any]] | None = None,
        nonces: Nonces | None = None,
        replays: ReplayWindow | None = None,
        **rules: Any,
    ) -> None:
        trusted = issuers or (Issuer(issuer=ISSUER),)
        self.keys: dict[str, list[Any] | bytes] = {ISSUER: [signer().public], **(keys or {})}
        self.answers: dict[str, bytes] = {}
        self.fetches = 0
        self.questions = 0
        self.verified = 0
        settings = ResourceRules(**{"resource": RESOURCE, "issuers": trusted} | rules)
        self.guard = ResourceGuard(settings, self._verify, nonces=nonces, replays=replays)

    def _verify(self, jwk: Any, algorithm: str, data: bytes, signature: bytes) -> bool:
        self.verified += 1
        return verify(jwk, algorithm, data, signature)

    def ask(
        self,
        *authorization: str,
        proof: str | None = None,
        method: str = "POST",
        path: str = "/mcp",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        certificate: str | None = None,
        now: float = 0.0,
        wall: float = WALL,
    ) -> Grant | Denied:
        """The end of a request with these Authorization headers."""
        lines = [(b"authorization", each.encode("latin-1")) for each in authorization]
        proofs = [] if proof is None else [(b"dpop", proof.encode())]
        credential = self.guard.credential((*headers, *lines, *proofs))
        if isinstance(credential, Denied):
            return credential
        for _ in range(3):
            found = self.guard.judge(
                credential, method, path, certificate=certificate, now=now, wall=wall
            )
            if isinstance(found, NeedKeys):
                self._fetch(found, now)
            elif isinstance(found, NeedIntrospection):
                self._question(found, credential, now, wall)
            else:
                assert not isinstance(found, NeedUse)
                return found
        raise AssertionError("the guard needs the same again and again")

    def bearer(self, token: str, **request: Any) -> Grant | Denied:
        return self.ask(f"Bearer {token}", **request)

    def _fetch(self, need: NeedKeys, now: float) -> None:
        keys = self.guard.key_sets[need.issuer.issuer]
        assert keys.due(now)
        self.fetches += 1
        published = self.keys[need.issuer.issuer]
        body = (
            published if isinstance(published, bytes) else json.dumps({"keys": published}).encode()
        )
        try:
            keys.fetched(body, now, asked=need.kid)
        except DocumentRefused:
            return

    def _question(
        self, need: NeedIntrospection, credential: Credential, now: float, wall: float
    ) -> None:
        assert self.guard.tokens.begin(need.key)
        self.questions += 1
        body = self.answers.get(credential.token, b'{"active": false}')
        self.guard.introspected(need, body, now=now, wall=wall)


def proof(token: str, key: Signer | None = None, typ: str = "dpop+jwt", **changed: Any) -> str:
    """A DPoP proof for a POST with ``token``; claims that are None are left out."""
    key = key or signer()
    made = {
        "jti": "p1",
        "htm": "POST",
        "htu": RESOURCE,
        "iat": WALL,
        "ath": token_hash(token),
    } | changed
    header = {"typ": typ, "alg": key.algorithm, "jwk": key.jwk}
    return key.jws(header, {name: each for name, each in made.items() if each is not None})
