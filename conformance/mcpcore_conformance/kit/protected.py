"""A protected server of the kit and its authorization servers, which can be made to misbehave.

Without I/O: a request in, a reply out.  A right site lets in only whom it has given a token; what
is broken of it is set before the client is started.  It judges nothing: every request stands in
``visits``, for the cases to look at.

Sources: RFC 6749, 6750, 7591, 7636, 8414, 8693, 9207, 9449 and 9728; the authorization pages.
"""

import json
import random
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct, field

from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.heard import Headers, header

RESOURCE_PLACE = "/.well-known/oauth-protected-resource"
OAUTH_PLACE = "/.well-known/oauth-authorization-server"
OPENID_PLACE = "/.well-known/openid-configuration"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"

Fields = dict[str, Any]
Pairs = list[tuple[str, str]]


class PlainReply(Struct):
    """A whole response."""

    status: int
    headers: Headers = []
    body: bytes = b""


class HttpVisit(Struct, dict=True):
    """A request that the site was sent."""

    asked: Asked
    body: bytes = b""
    status: int = 0
    """Of the reply; 0: it was let in, and is the endpoint's."""

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return self.asked.method

    @property
    def path(self) -> str:
        """Without the query."""
        return self.asked.target.partition("?")[0]

    @property
    def host(self) -> str:
        """Host and port."""
        return header(self.asked.headers, "host") or ""

    @cached_property
    def pairs(self) -> Pairs:
        """The parameters of the query, in order."""
        return parse_qsl(self.asked.target.partition("?")[2], keep_blank_values=True)

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the query."""
        return dict(self.pairs)

    @cached_property
    def form(self) -> dict[str, str]:
        """The parameters of a body that is a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @cached_property
    def value(self) -> Fields:
        """The body as a JSON object; empty if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        return header(self.asked.headers, name)

    @property
    def token(self) -> tuple[str, str]:
        """Scheme, in lower case, and the rest of Authorization; empty without it."""
        scheme, _, rest = (self.header("authorization") or "").partition(" ")
        return scheme.lower(), rest.strip()

    @property
    def everything(self) -> str:
        """Target, headers and body, in which a secret may be looked for."""
        lines = [self.asked.target, *(f"{name}: {value}" for name, value in self.asked.headers)]
        return "\n".join([*lines, self.body.decode("utf-8", "replace")])


def edited(document: Fields, changes: Mapping[str, Any]) -> Fields:
    """Return a document with other members; None leaves one out."""
    merged = {**document, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def answer(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> PlainReply:
    """Return a reply of JSON."""
    fields = [("content-type", "application/json"), ("cache-control", "no-store"), *headers]
    return PlainReply(status, fields, json.dumps(value).encode())


class SignInServer(Struct, kw_only=True):
    """An authorization server of the site; what looks like a constant may be changed."""

    origin: str
    path: str = ""
    """Path of the issuer."""
    places: tuple[str, ...] = ()
    """Paths of its metadata; by default that of RFC 8414."""
    source: random.Random
    endpoints: dict[str, str] = field(
        default_factory=lambda: {
            "authorize": "/sign-in",
            "token": "/tokens",
            "register": "/clients",
        }
    )
    """Paths below that of the issuer."""
    question: str = ""
    """Query of the authorization endpoint, as its metadata name it."""
    document: Fields = field(default_factory=dict)
    """Changes of the metadata."""
    registers: bool = True
    registration: Fields = field(default_factory=dict)
    """Changes of what is answered to a registration."""
    no_registration: PlainReply | None = None
    callback: Callable[[Pairs], Pairs] | None = None
    """Changes of the parameters of the redirect."""
    issued: Fields = field(default_factory=dict)
    """Changes of what is answered to a token request."""
    refreshes: bool = False
    """True if refresh tokens are given."""
    remembers: bool = True
    """False: the access tokens that it gives are good for nothing."""
    refusals: list[PlainReply] = field(default_factory=list)
    """Replies to the next token requests."""
    nonce: str = ""
    """DPoP nonce that token requests have to have."""
    clients: list[str] = field(default_factory=list)
    """Ids that were given, with every secret after its id."""
    codes: dict[str, str] = field(default_factory=dict)
    """Codes that are good, and their scopes."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Tokens that are good, and their scopes."""
    given: list[str] = field(default_factory=list)
    """Access tokens that were given, oldest first."""
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    """Those that are good, and their scopes."""
    given_refresh: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        """The identifier."""
        return self.origin + self.path

    def place(self, endpoint: str) -> str:
        """The path of an endpoint."""
        return self.path + self.endpoints[endpoint]

    def secret(self, kind: str) -> str:
        """Make up a text that nobody guesses."""
        return f"kit-{kind}-{self.source.getrandbits(96):024x}"

    def metadata(self) -> Fields:
        """The metadata as they are published."""
        base = self.origin
        made = {
            "issuer": self.issuer,
            "authorization_endpoint": base + self.place("authorize") + self.question,
            "token_endpoint": base + self.place("token"),
            "registration_endpoint": base + self.place("register") if self.registers else None,
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
        }
        return edited(made, self.document)

    def answers(self, visit: HttpVisit) -> PlainReply | None:
        """Reply to a request, if it is for this server."""
        if visit.method == "GET" and visit.path in (self.places or (OAUTH_PLACE + self.path,)):
            return answer(self.metadata())
        if visit.method == "GET" and visit.path == self.place("authorize"):
            return self._authorize(visit)
        if visit.method == "POST" and visit.path == self.place("token"):
            return self._token(visit)
        if self.registers and visit.method == "POST" and visit.path == self.place("register"):
            return self._register(visit)
        return None

    def _authorize(self, visit: HttpVisit) -> PlainReply:
        """Redirect at once: whoever asks is the person, and consents."""
        asked = visit.query
        code = self.secret("code")
        self.codes[code] = asked.get("scope", "")
        pairs = [("code", code)]
        if "state" in asked:
            pairs.append(("state", asked["state"]))
        if self.metadata().get("authorization_response_iss_parameter_supported"):
            pairs.append(("iss", self.issuer))
        if self.callback is not None:
            pairs = self.callback(pairs)
        target = asked.get("redirect_uri", "")
        joint = "&" if "?" in target else "?"
        return PlainReply(302, [("location", f"{target}{joint}{urlencode(pairs)}")])

    def _register(self, visit: HttpVisit) -> PlainReply:
        if self.no_registration is not None:
            return self.no_registration
        self.clients.append(self.secret("client"))
        made: Fields = {**visit.value, "client_id": self.clients[-1]}
        if visit.value.get("token_endpoint_auth_method", "client_secret_basic") != "none":
            self.clients.append(self.secret("secret"))
            made["client_secret"] = self.clients[-1]
            made["client_secret_expires_at"] = 0
        return answer(edited(made, self.registration), 201)

    def _token(self, visit: HttpVisit) -> PlainReply:
        if self.refusals:
            return self.refusals.pop(0)
        proof = visit.header("dpop")
        if proof is not None and self.nonce and self.nonce not in decoded(proof, 1).values():
            return answer({"error": "use_dpop_nonce"}, 400, [("dpop-nonce", self.nonce)])
        form, good = visit.form, {"error": "invalid_grant"}
        match form.get("grant_type"):
            case "authorization_code":
                scope = self.codes.pop(form.get("code", ""), None)
            case "refresh_token":
                scope = self.refresh_tokens.pop(form.get("refresh_token", ""), None)
            case _:
                scope = form.get("scope", "")
        if scope is None:
            return answer(good, 400)
        return answer(edited(self.token_for(scope, bound=proof is not None), self.issued))

    def token_for(self, scope: str, *, bound: bool = False) -> Fields:
        """Give a token."""
        self.given.append(self.secret("token"))
        if self.remembers:
            self.tokens[self.given[-1]] = scope
        made: Fields = {
            "access_token": self.given[-1],
            "token_type": "DPoP" if bound else "Bearer",
            "expires_in": 3600,
        }
        if scope:
            made["scope"] = scope
        if self.refreshes:
            self.given_refresh.append(self.secret("refresh"))
            self.refresh_tokens[self.given_refresh[-1]] = scope
            made["refresh_token"] = self.given_refresh[-1]
        return made


class ProtectedSite:
    """The protected server at an address, and its authorization servers."""

    def __init__(self, address: str, source: random.Random, *, published: bool = True) -> None:
        """``published``: the revision has metadata of protected resources."""
        parts = urlsplit(address)
        self.address = address
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.endpoint = parts.path
        self.source = source
        self.visits: list[HttpVisit] = []
        self.published = published
        self.place = RESOURCE_PLACE + self.endpoint
        """Path of the metadata of the resource."""
        self.named = published
        """True if challenges name that."""
        self.resource: Fields = {}
        """Changes of the metadata."""
        self.scope = ""
        """Scopes that the challenge of a 401 names."""
        self.challenge: Callable[[str], list[str]] | None = None
        """Makes the lines of WWW-Authenticate of the parameters of a right one."""
        self.demands: dict[str, str] = {}
        """Scopes that requests of a method need."""
        self.forbids = False
        """True if they are refused whatever the token."""
        self.ends: set[str] = set()
        """Methods at whose first request every token that was given is over."""
        self.moves_to: SignInServer | None = None
        """The authorization server that takes the place of the other then."""
        self.nonce = ""
        """DPoP nonce that requests have to have."""
        self.redirects: dict[str, tuple[int, str]] = {}
        """Replies that are redirects, by path."""
        self.leads: dict[str, tuple[int, str]] = {}
        """Redirects of requests of a method that are let in."""
        self.server = self.another("/as" if published else "")
        """The authorization server that is named."""
        self.servers = [self.server]

    def another(self, path: str, **rest: Any) -> SignInServer:
        """Make another authorization server, which nobody names yet."""
        return SignInServer(origin=self.origin, path=path, source=self.source, **rest)

    def visit(self, asked: Asked, body: bytes) -> PlainReply | None:
        """Reply to a request; None: it is let in."""
        visit = HttpVisit(asked, body)
        self.visits.append(visit)
        reply = self._answer(visit)
        visit.status = 0 if reply is None else reply.status
        return reply

    def _answer(self, visit: HttpVisit) -> PlainReply | None:
        if visit.path in self.redirects:
            status, location = self.redirects[visit.path]
            return PlainReply(status, [("location", location)])
        if visit.path == self.endpoint:
            return self._guard(visit)
        if self.published and visit.method == "GET" and visit.path == self.place:
            made = {"resource": self.address, "authorization_servers": [self.server.issuer]}
            return answer(edited(made, self.resource))
        replies = (server.answers(visit) for server in self.servers)
        return next(filter(None, replies), None) or PlainReply(404)

    def _guard(self, visit: HttpVisit) -> PlainReply | None:
        method = str(visit.value.get("method", ""))
        if method in self.ends and self.server.given:
            self.ends.clear()
            self.server.tokens.clear()
            if self.moves_to is not None:
                self.server = self.moves_to
        scheme, token = visit.token
        scope = self.server.tokens.get(token)
        if scheme not in ("bearer", "dpop") or scope is None:
            wrong = [("error", "invalid_token")] if token else []
            return self._refusal(401, [*wrong, *([("scope", self.scope)] if self.scope else [])])
        proof = visit.header("dpop")
        if self.nonce and self.nonce not in decoded(proof or "", 1).values():
            line = 'DPoP error="use_dpop_nonce", algs="ES256"'
            return PlainReply(401, [("www-authenticate", line), ("dpop-nonce", self.nonce)])
        needed = self.demands.get(method, "")
        if needed and (self.forbids or not {*needed.split()} <= {*scope.split()}):
            return self._refusal(403, [("error", "insufficient_scope"), ("scope", needed)])
        if method in self.leads:
            status, location = self.leads[method]
            return PlainReply(status, [("location", location)])
        return None

    def _refusal(self, status: int, pairs: Pairs) -> PlainReply:
        if self.named:
            pairs = [*pairs, ("resource_metadata", self.origin + self.place)]
        params = ", ".join(f'{name}="{value}"' for name, value in pairs)
        lines = [f"Bearer {params}".strip()] if self.challenge is None else self.challenge(params)
        return PlainReply(status, [("www-authenticate", line) for line in lines])

    # What has come

    def asked(self, path: str, method: str = "") -> list[HttpVisit]:
        """Requests for a path."""
        return [each for each in self.visits if each.path == path and method in ("", each.method)]

    @property
    def elsewhere(self) -> list[HttpVisit]:
        """Requests for anything but the endpoint."""
        return [each for each in self.visits if each.path != self.endpoint]

    @property
    def let_in(self) -> list[HttpVisit]:
        """Requests for the endpoint that were let in."""
        return [each for each in self.visits if each.path == self.endpoint and not each.status]

    def of(self, endpoint: str) -> list[HttpVisit]:
        """Requests for an endpoint (``authorize``, ``token``, ``register``) of any server."""
        places = {server.place(endpoint) for server in self.servers}
        return [each for each in self.visits if each.path in places]


def decoded(text: str, part: int) -> Fields:
    """Return a part of a JWT that is a JSON object; empty if it is none."""
    parts = text.split(".")
    try:
        found = json.loads(urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
