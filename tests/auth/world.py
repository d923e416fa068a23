"""A world of authorization without I/O: a protected resource, issuers, a person, a store."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from mcpcore.auth.authorization import Authorization, Refused
from mcpcore.auth.grants import challenge_of
from mcpcore.auth.needs import (
    Callback,
    Done,
    Fault,
    Fetch,
    Fetched,
    Listen,
    Load,
    Lock,
    Need,
    Obtain,
    OpenUrl,
    Outcome,
    Save,
    Sign,
    Signed,
    Stored,
    Text,
    Unlock,
)
from mcpcore.auth.settings import AuthorizationSettings

SERVER = "https://mcp.example/mcp"
ISSUER = "https://id.example"
PRM = "https://mcp.example/.well-known/oauth-protected-resource"
SEED = bytes(range(32))

Answer = Callable[["World", Fetch, dict[str, str]], Fetched | Fault]


def answer(document: Any, status: int = 200, **headers: str) -> Fetched:
    """A response with JSON."""
    lines = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Fetched(status=status, headers=lines, body=body)


@dataclass
class World:
    """What the machine meets: documents by URL, an issuer's endpoints, a store, and a person."""

    resource: dict[str, Any] = field(
        default_factory=lambda: {"resource": SERVER, "authorization_servers": [ISSUER]}
    )
    metadata: dict[str, Any] = field(
        default_factory=lambda: {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "registration_endpoint": f"{ISSUER}/register",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
        }
    )
    pages: dict[str, Fetched | Fault] = field(default_factory=dict)
    """Responses that come in place of the usual ones, by URL."""
    token: dict[str, Any] = field(default_factory=dict)
    """Members of token responses that differ."""
    reply: Callable[["World", OpenUrl, dict[str, str]], str | Fault] | None = None
    """What comes back from the person, in place of consent."""
    store: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    wall: float = 1_000_000.0
    assertion: str | Fault = "the-assertion"

    def __post_init__(self) -> None:
        self.sent: list[Fetch] = []
        self.opened: list[str] = []
        self.locked: list[str] = []
        self.tokens = 0
        self.codes: dict[str, dict[str, str]] = {}
        self.registered: list[dict[str, Any]] = []

    def client(self, **settings: Any) -> Authorization:
        return Authorization(SERVER, AuthorizationSettings(**settings), seed=SEED)

    def carry_out(self, need: Need) -> Outcome:
        match need:
            case Fetch():
                self.sent.append(need)
                return self.fetch(need)
            case OpenUrl():
                self.opened.append(need.url)
                return self.ask(need)
            case Listen():
                return Text(need.redirect_uri.replace("127.0.0.1/", "127.0.0.1:41000/"))
            case Load():
                return Stored(*self.store.get(need.key, (None, 0)))
            case Save():
                return self.save(need)
            case Lock():
                assert need.key not in self.locked
                self.locked.append(need.key)
                return Done()
            case Unlock():
                self.locked.remove(need.key)
                return Done()
            case Sign():
                return Signed(b"signature of " + need.signing.key.encode())
            case Obtain():
                found = self.assertion
                return found if isinstance(found, Fault) else Text(found)

    def save(self, need: Save) -> Stored:
        record, version = self.store.get(need.key, (None, 0))
        if version == need.version:
            version += 1
            if need.record is None:
                self.store.pop(need.key, None)
                return Stored()
            record = need.record
            self.store[need.key] = (record, version)
        return Stored(record, version)

    def fetch(self, need: Fetch) -> Fetched | Fault:
        if need.url in self.pages:
            return self.pages[need.url]
        form = dict(parse_qsl(need.body.decode())) if need.method == "POST" else {}
        if need.url == f"{PRM}/mcp":
            return answer(self.resource)
        if need.url == f"{ISSUER}/.well-known/oauth-authorization-server":
            return answer(self.metadata)
        if need.url == f"{ISSUER}/register":
            wanted = json.loads(need.body)
            self.registered.append(wanted)
            return answer({"client_id": f"client-{len(self.registered)}", **wanted}, 201)
        if need.url == f"{ISSUER}/token":
            return self.give_token(form)
        return answer({}, 404)

    def give_token(self, form: dict[str, str]) -> Fetched:
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            if asked is None or challenge_of(form["code_verifier"]) != asked["code_challenge"]:
                return answer({"error": "invalid_grant"}, 400)
            for name in ("redirect_uri", "resource"):
                assert form[name] == asked[name]
            scope = asked.get("scope")
        else:
            scope = form.get("scope")
        self.tokens += 1
        given = {
            "access_token": f"access-{self.tokens}",
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": f"refresh-{self.tokens}",
            **({} if scope is None else {"scope": scope}),
            **self.token,
        }
        return answer({name: value for name, value in given.items() if value is not None})

    def ask(self, need: OpenUrl) -> Callback | Fault:
        asked = dict(parse_qsl(urlsplit(need.url).query))
        if self.reply is not None:
            said = self.reply(self, need, asked)
            return said if isinstance(said, Fault) else Callback(said)
        return Callback(self.consent(asked))

    def consent(self, asked: dict[str, str], **changed: str | None) -> str:
        code = f"code-{len(self.opened)}"
        self.codes[code] = asked
        params = {"code": code, "state": asked["state"], "iss": ISSUER, **changed}
        return urlencode({name: value for name, value in params.items() if value is not None})

    def run(self, machine: Authorization) -> Authorization:
        """Carry out whatever the machine needs until its flow is over."""
        while (need := machine.need) is not None:
            machine.give(self.carry_out(need), wall=self.wall)
        assert not self.locked
        return machine

    def refuse(
        self,
        machine: Authorization,
        status: int = 401,
        challenge: str = "Bearer",
        operation: str = "",
    ) -> Authorization:
        """Refuse a request with the token of now, and let the machine authorize."""
        refused = Refused(
            status=status,
            lines=(challenge,),
            generation=machine.generation,
            operation=operation,
        )
        machine.start(refused, wall=self.wall)
        return self.run(machine)

    def urls(self) -> list[str]:
        return [each.url for each in self.sent]

    def forms(self) -> list[dict[str, str]]:
        return [
            dict(parse_qsl(each.body.decode())) for each in self.sent if each.url.endswith("/token")
        ]


def basic(id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{id}:{secret}".encode()).decode()
