"""A world of authorization without I/O: a protected resource, issuers, a person, a store."""

import base64
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec.structs import replace

from mcpcore.auth.authorization import Authorization, AuthState, Refused
from mcpcore.auth.grants import ID_JAG, ClientIdentity, SigningKey, challenge_of
from mcpcore.auth.needs import (
    Callback,
    Done,
    Fetch,
    Fetched,
    Listen,
    Load,
    Lock,
    Need,
    NeedFailed,
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
from mcpcore.auth.records import TokenRecord, read_record, read_token_key, token_key, written
from mcpcore.auth.settings import AuthorizationSettings, DpopKey, EnterpriseGrant

SERVER = "https://mcp.example/mcp"
ISSUER = "https://id.example"
PRM = "https://mcp.example/.well-known/oauth-protected-resource"
AS = "/.well-known/oauth-authorization-server"
OIDC = "/.well-known/openid-configuration"
NAMED = f'Bearer resource_metadata="{PRM}/mcp"'
SEED = bytes(range(32))
SECRET = ClientIdentity(client_id="pre id", client_secret="pre:secret")
JWK = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
T = TypeVar("T")
DPOP = DpopKey(jwk=JWK, signing=SigningKey(algorithm="ES256", key="dpop"))


def answer(document: Any, status: int = 200, **headers: str) -> Fetched:
    """Make a response with JSON."""
    lines = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Fetched(status=status, headers=lines, body=body)


GONE = answer({}, 404)


def key_of(server: str, **settings: Any) -> str:
    """Key of the record of a client's token."""
    return token_key(server, AuthorizationSettings(**settings)).text


KEY = key_of(SERVER)


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
    pages: dict[str, Any] = field(default_factory=dict)
    """Responses that come in place of the usual ones, by URL: one, JSON, or a function."""
    registration: dict[str, Any] = field(default_factory=dict)
    """Members of registrations that differ; those that are None are left out."""
    token: dict[str, Any] = field(default_factory=dict)
    """Members of token responses that differ."""
    reply: Callable[["World", OpenUrl, dict[str, str]], str | NeedFailed] | None = None
    """What comes back from the person, in place of consent."""
    store: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    wall: float = 1_000_000.0
    assertion: str | NeedFailed = "the-assertion"

    def __post_init__(self) -> None:
        self.sent: list[Fetch] = []
        self.opened: list[str] = []
        self.locked: list[str] = []
        self.tokens = 0
        self.codes: dict[str, dict[str, str]] = {}
        self.refreshable: set[str] = set()
        self.reused = 0
        """Refreshes by a token that is not valid any more."""
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
                return found if isinstance(found, NeedFailed) else Text(found)

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

    def lose_tokens(self) -> None:
        """Leave registrations alone in the store."""
        self.store = {key: at for key, at in self.store.items() if read_token_key(key) is None}

    def fetch(self, need: Fetch) -> Fetched | NeedFailed:
        form = dict(parse_qsl(need.body.decode())) if need.method == "POST" else {}
        usual = {f"{PRM}/mcp": self.resource, f"{ISSUER}{AS}": self.metadata}
        page = self.pages.get(need.url, usual.get(need.url))
        if callable(page):
            page = page(self, need, form)
        if isinstance(page, Fetched | NeedFailed):
            return page
        if page is not None:
            return answer(page)
        if need.url.endswith("/register"):
            return self.register(json.loads(need.body))
        if need.url.endswith("/token"):
            return self.give_token(form)
        return answer({}, 404)

    def register(self, wanted: dict[str, Any]) -> Fetched:
        self.registered.append(wanted)
        number = len(self.registered)
        made = {
            "client_id": f"client-{number}",
            "client_secret": f"secret-{number}",
            "redirect_uris": wanted.get("redirect_uris"),
            **self.registration,
        }
        return answer({name: value for name, value in made.items() if value is not None}, 201)

    def give_token(self, form: dict[str, str]) -> Fetched:
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            if asked is None or challenge_of(form["code_verifier"]) != asked["code_challenge"]:
                return answer({"error": "invalid_grant"}, 400)
            for name in ("redirect_uri", "resource"):
                assert form[name] == asked[name]
            assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
            scope = asked.get("scope")
        else:
            scope = form.get("scope")
        used = form.get("refresh_token")
        if used is not None and used not in self.refreshable:
            self.reused += 1
            return answer({"error": "invalid_grant"}, 400)
        self.tokens += 1
        given = {
            "access_token": f"access-{self.tokens}",
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": f"refresh-{self.tokens}",
            **({} if scope is None else {"scope": scope}),
            **self.token,
        }
        if isinstance(given["refresh_token"], str):
            self.refreshable = self.refreshable - {used} | {given["refresh_token"]}
        return answer({name: value for name, value in given.items() if value is not None})

    def ask(self, need: OpenUrl) -> Callback | NeedFailed:
        asked = dict(parse_qsl(urlsplit(need.url).query))
        if self.reply is not None:
            said = self.reply(self, need, asked)
            return said if isinstance(said, NeedFailed) else Callback(said)
        return Callback(self.consent(asked))

    def consent(self, asked: dict[str, str], **changed: str | None) -> str:
        code = f"code-{len(self.opened)}"
        self.codes[code] = asked
        params = {"code": code, "state": asked["state"], "iss": self.metadata["issuer"], **changed}
        return urlencode({name: value for name, value in params.items() if value is not None})

    def run(self, machine: Authorization) -> Authorization:
        """Carry out whatever the machine needs until its flow is over."""
        while (need := machine.need) is not None:
            machine.give(self.carry_out(need), wall=self.wall)
        assert not self.locked
        return machine

    def renew(self, machine: Authorization) -> Authorization:
        """Let the machine get another token before anything is refused."""
        machine.start(None, wall=self.wall)
        return self.run(machine)

    def load(self, machine: Authorization) -> Authorization:
        """Let the machine read what is stored."""
        machine.load(wall=self.wall)
        return self.run(machine)

    def finish(self, steps: Generator[Need, Outcome, T]) -> T:
        """Carry out whatever these steps need; return what they come to."""
        need = next(steps)
        try:
            while True:
                need = steps.send(self.carry_out(need))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            assert not self.locked

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
        """Forms of token requests."""
        posts = [each for each in self.sent if each.url.endswith("/token")]
        return [dict(parse_qsl(each.body.decode())) for each in posts]

    def headers(self) -> list[dict[str, str]]:
        """Headers of token requests."""
        posts = [each for each in self.sent if each.url.endswith("/token")]
        return [{name: str.__str__(each) for name, each in post.headers.items()} for post in posts]

    def asked(self) -> list[dict[str, str]]:
        """Parameters of the URLs that were opened."""
        return [dict(parse_qsl(urlsplit(url).query)) for url in self.opened]


def basic(id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{id}:{secret}".encode()).decode()


def read_jwt(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT."""
    header, claims, _ = text.split(".")
    one, two = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims))
    return one, two


def claims_of(text: str) -> dict[str, Any]:
    return read_jwt(text)[1]


def ready(world: World, challenge: str = NAMED, **settings: Any) -> Authorization:
    """A machine that has a token of the world."""
    machine = world.refuse(world.client(**settings), challenge=challenge)
    assert machine.state is AuthState.READY, machine.error
    machine.accepted("")
    return machine


def stopped(
    world: World,
    why: str,
    *,
    before: str,
    challenge: str = NAMED,
    machine: Authorization | None = None,
    **settings: Any,
) -> None:
    """The flow fails with such a message, before what is named: nothing of it has happened."""
    machine = machine or world.client(**settings)
    sent, opened, registered = len(world.forms()), len(world.opened), len(world.registered)
    world.refuse(machine, challenge=challenge)
    assert machine.state is AuthState.FAILED, machine
    assert why in str(machine.error), machine.error
    assert len(world.forms()) == sent
    if before in ("sign-in", "registration", "discovery"):
        assert len(world.opened) == opened
    if before in ("registration", "discovery"):
        assert len(world.registered) == registered
    if before == "discovery":
        assert f"{ISSUER}{AS}" not in world.urls()


def loaded(world: World, **settings: Any) -> Authorization:
    """A machine that has what is stored."""
    return world.load(world.client(**settings))


def stored(world: World) -> TokenRecord:
    record = read_record(world.store[KEY][0], TokenRecord)
    assert record is not None
    return record


def put(world: World, **changed: Any) -> None:
    """Store another token, as another process does."""
    world.store[KEY] = (written(replace(stored(world), **changed)), world.store[KEY][1] + 1)


def grants(world: World) -> list[str]:
    return [form["grant_type"] for form in world.forms()]


def step_until(world: World, machine: Authorization, kind: type[Need]) -> None:
    """Carry out what the machine needs up to a need of this kind, and not that one."""
    while not isinstance(machine.need, kind):
        step(world, machine)


def play(world: World, machine: Authorization, steps: int) -> None:
    """Begin to authorize, and carry out the first needs."""
    machine.start(Refused(status=401, lines=(NAMED,)), wall=world.wall)
    for _ in range(steps):
        step(world, machine)


def step(world: World, machine: Authorization) -> None:
    assert machine.need is not None
    machine.give(world.carry_out(machine.need), wall=world.wall)


def lacking(scope: str) -> str:
    """The challenge to a token that lacks scopes."""
    return f'Bearer error="insufficient_scope", scope="{scope}"'


def forbid(world: World, machine: Authorization, scope: str) -> Authorization:
    return world.refuse(machine, 403, lacking(scope), "tools/call")


IDP = "https://idp.example/token"


def enterprise(world: World, **changed: Any) -> dict[str, Any]:
    """Settings of a client whose identity provider gives an ID-JAG."""
    given = {
        "access_token": "the-id-jag",
        "issued_token_type": ID_JAG,
        "token_type": "N_A",
        "expires_in": 300,
    } | changed
    world.pages[IDP] = given
    grant = EnterpriseGrant(token_endpoint=IDP, client=ClientIdentity(client_id="idp-client"))
    return {"grant": grant, "client": SECRET}
