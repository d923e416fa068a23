"""The client's authorization at one server: discovery, registration, grants, refresh, step-up.

A pure machine.  :meth:`Authorization.start` begins a *flow*; while there is one, ``need`` is what
must be done next, and :meth:`Authorization.give` takes its outcome::

    authorization.start(Refused(status=401, challenges=...), wall=time.time())
    while (need := authorization.need) is not None:
        authorization.give(await carry_out(need), wall=time.time())

A flow ends READY, with a token of a new generation, or FAILED, with ``error``; the lock that it
took is released either way.  Requests remember the generation of the token that they were sent
with: twenty of them that are refused make one flow.

Sources: the authorization pages since 2025-03-26; RFC 6749, 7591, 7636, 8414, 8693, 8707, 9207,
9449 and 9728; the ext-auth pages.
"""

import hmac
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from mcpcore.auth import metadata as documents
from mcpcore.auth.challenges import (
    Challenge,
    find_challenge,
    format_scopes,
    parse_challenges,
    parse_scopes,
)
from mcpcore.auth.grants import (
    ID_JAG,
    ID_TOKEN,
    ClientAuth,
    ClientIdentity,
    SigningInput,
    SigningKey,
    TokenForm,
    base64url,
    challenge_of,
    choose_method,
    client_credentials_grant,
    code_grant,
    exchange_grant,
    jwt_bearer_grant,
    refresh_grant,
    token_form,
)
from mcpcore.auth.metadata import (
    ErrorResponse,
    Registration,
    ResourceMetadata,
    Secret,
    ServerMetadata,
    TokenResponse,
    printable,
    read_document,
    unique,
)
from mcpcore.auth.proofs import make_proof, sound_nonce
from mcpcore.auth.urls import (
    Url,
    canonical_resource,
    check_url,
    covers,
    parse_url,
    resource_metadata_urls,
    server_metadata_urls,
    with_query,
)
from mcpcore.engine.lifecycle import State, Table, step
from mcpcore.errors import AuthorizationError, DocumentRefused
from mcpcore.spec.errors import LocalProtocolError

# Settings


class CodeGrant(Struct, frozen=True, kw_only=True):
    """Sign-in of a person: authorization code with PKCE."""

    redirect_uris: tuple[str, ...] = ("http://127.0.0.1/callback",)
    """Where the browser is sent back to; the first is used, with the port of the callback."""


class ClientCredentialsGrant(Struct, frozen=True, kw_only=True):
    """Token for the client itself."""


class AssertionGrant(Struct, frozen=True, kw_only=True):
    """Token for an assertion of a platform (RFC 7523): workload identity.

    The application is asked for the assertion each time.  It is sent once, and not again after a
    refusal.
    """


class EnterpriseGrant(Struct, frozen=True, kw_only=True):
    """Token by way of an identity provider: RFC 8693, then RFC 7523 (enterprise-managed)."""

    token_endpoint: str
    client: ClientIdentity
    """Credentials of this client at the identity provider."""
    subject_token_type: str = ID_TOKEN


AnyGrant = CodeGrant | ClientCredentialsGrant | AssertionGrant | EnterpriseGrant


class DpopKey(Struct, frozen=True, kw_only=True):
    """Key that tokens are bound to: its public part, and by what name it signs."""

    jwk: Mapping[str, Any]
    signing: SigningKey


class AuthorizationSettings(Struct, frozen=True, kw_only=True):
    """Settings of the authorization of a client; times in seconds."""

    grant: AnyGrant = CodeGrant()
    client: ClientIdentity | None = None
    """Pre-registered credentials."""
    issuer: str | None = None
    """Issuer that has registered ``client``; None: the first that the server names."""
    metadata_url: str | None = None
    """URL of the client id metadata document."""
    client_name: str = "mcpcore"
    client_uri: str | None = None
    scopes: frozenset[str] = frozenset()
    """Scopes to ask for besides those that the server names."""
    ceiling: frozenset[str] | None = None
    """Scopes that may be asked for at most; None: any."""
    offline: bool = True
    """Ask for a refresh token where the issuer lists ``offline_access``."""
    dpop: DpopKey | None = None
    fallbacks: bool = True
    """Allow the discovery of 2025-03-26 at a server without protected resource metadata."""
    account: str = ""
    """Name that tells several accounts at one server apart."""
    max_flows: int = 3
    """Authorizations that one operation may cause."""
    fetch_timeout: float = 10.0
    user_timeout: float = 300.0
    early: float = 60.0
    """Most time before its end at which a token is refreshed; a tenth of its life at most."""


# States


class AuthState(State):
    """States of an authorization."""

    IDLE = "idle"
    LOADING = "loading"
    LOCKING = "locking"
    REFRESHING = "refreshing"
    DISCOVERING_RESOURCE = "discovering the resource"
    DISCOVERING_ISSUER = "discovering the issuer"
    REGISTERING = "registering"
    WAITING_FOR_USER = "waiting for the user"
    REQUESTING_TOKEN = "requesting a token"  # noqa: S105 - the name of a state
    SAVING = "saving"
    READY = "ready"
    FAILED = "failed"


class AuthSignal(State):
    """Signals that move an authorization."""

    LOAD = "load"
    NOTHING = "nothing usable stored"
    FRESH = "usable token stored"
    REFUSED = "request refused, or token expiring"
    REFRESH = "refresh"
    AUTHORIZE = "authorize"
    RESOURCE = "resource known"
    ISSUER = "issuer known"
    ASK = "ask the user"
    REQUEST = "grant at hand"
    TOKEN = "token received"  # noqa: S105 - the name of a signal
    SAVED = "saved"
    FAIL = "failed"


_S, _G = AuthState, AuthSignal
_FLOWING = (
    _S.LOADING,
    _S.LOCKING,
    _S.REFRESHING,
    _S.DISCOVERING_RESOURCE,
    _S.DISCOVERING_ISSUER,
    _S.REGISTERING,
    _S.WAITING_FOR_USER,
    _S.REQUESTING_TOKEN,
    _S.SAVING,
)

AUTHORIZATION: Table[AuthState, AuthSignal] = {
    (_S.IDLE, _G.LOAD): _S.LOADING,
    (_S.LOADING, _G.NOTHING): _S.IDLE,
    (_S.LOADING, _G.FRESH): _S.READY,
    **{(state, _G.REFUSED): _S.LOCKING for state in (_S.IDLE, _S.READY, _S.FAILED)},
    (_S.LOCKING, _G.FRESH): _S.READY,
    (_S.LOCKING, _G.REFRESH): _S.REFRESHING,
    (_S.LOCKING, _G.AUTHORIZE): _S.DISCOVERING_RESOURCE,
    (_S.REFRESHING, _G.TOKEN): _S.SAVING,
    (_S.REFRESHING, _G.AUTHORIZE): _S.DISCOVERING_RESOURCE,
    (_S.DISCOVERING_RESOURCE, _G.RESOURCE): _S.DISCOVERING_ISSUER,
    (_S.DISCOVERING_ISSUER, _G.ISSUER): _S.REGISTERING,
    (_S.REGISTERING, _G.ASK): _S.WAITING_FOR_USER,
    (_S.REGISTERING, _G.REQUEST): _S.REQUESTING_TOKEN,
    (_S.WAITING_FOR_USER, _G.REQUEST): _S.REQUESTING_TOKEN,
    (_S.REQUESTING_TOKEN, _G.TOKEN): _S.SAVING,
    (_S.SAVING, _G.SAVED): _S.READY,
    **{(state, _G.FAIL): _S.FAILED for state in _FLOWING},
}

# Needs and their outcomes


class Fetch(Struct, frozen=True, kw_only=True):
    """Send a request, without cookies and without following redirects.

    Outcome: :class:`Fetched`, or :class:`Fault`.  ``url`` has passed the policy for texts; the
    addresses that its host resolves to have not.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout: float = 10.0
    limit: int = documents.MAX_DOCUMENT


class OpenUrl(Struct, frozen=True, kw_only=True):
    """Send the user to a URL.  Outcome: :class:`Callback`, or :class:`Fault`.

    ``redirect_uri``: where the answer arrives, with this ``state``.
    """

    url: str
    redirect_uri: str
    state: str
    timeout: float


class Listen(Struct, frozen=True, kw_only=True):
    """Open the place of the callback.  Outcome: :class:`Text`, its URL with the port in it."""

    redirect_uri: str


class Load(Struct, frozen=True, kw_only=True):
    """Load a record.  Outcome: :class:`Stored`."""

    key: str


class Save(Struct, frozen=True, kw_only=True):
    """Save a record, or remove it (None), unless another one is there meanwhile.

    Outcome: :class:`Stored` with what is stored now.
    """

    key: str
    record: bytes | None
    version: int
    """Version that is to be replaced; 0: none."""


class Lock(Struct, frozen=True, kw_only=True):
    """Take the lock of a key, which other processes respect.  Outcome: :class:`Done`."""

    key: str


class Unlock(Struct, frozen=True, kw_only=True):
    """Release the lock of a key.  Outcome: :class:`Done`."""

    key: str


class Sign(Struct, frozen=True, kw_only=True):
    """Sign a JWT.  Outcome: :class:`Signed`, or :class:`Fault`."""

    signing: SigningKey
    input: SigningInput


class Obtain(Struct, frozen=True, kw_only=True):
    """Ask the application for an assertion.  Outcome: :class:`Text`, or :class:`Fault`.

    ``audience``: the issuer that it is for.
    """

    audience: str


Need = Fetch | OpenUrl | Listen | Load | Save | Lock | Unlock | Sign | Obtain


class Fetched(Struct, frozen=True, kw_only=True):
    """Response to a Fetch; header names are lower-case."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Fetched(status={self.status})"


class Callback(Struct, frozen=True):
    """Query of the redirect that came back from the authorization server."""

    query: str

    def __repr__(self) -> str:
        return "Callback()"


class Stored(Struct, frozen=True):
    """Record of a store, and its version; None and 0 without one."""

    record: bytes | None = None
    version: int = 0

    def __repr__(self) -> str:
        return f"Stored(version={self.version})"


class Signed(Struct, frozen=True):
    """Raw signature of a JWT."""

    signature: bytes


class Text(Struct, frozen=True):
    """Text that was asked for."""

    text: str

    def __repr__(self) -> str:
        return "Text()"


class Done(Struct, frozen=True):
    """It was done."""


class Fault(Struct, frozen=True):
    """It could not be done; ``reason`` is a part of a sentence for the user, without secrets."""

    reason: str


Outcome = Fetched | Callback | Stored | Signed | Text | Done | Fault

# Records


class TokenRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored token of a resource, with all that its refresh needs."""

    resource: str
    issuer: str
    token_endpoint: str
    client: ClientIdentity
    access_token: str
    scheme: str = "Bearer"
    refresh_token: str | None = None
    scopes: tuple[str, ...] | None = None
    """Granted scopes; None: not told."""
    expires_at: float | None = None
    """Seconds since 1970; None: not told."""
    lifetime: float | None = None

    def __repr__(self) -> str:
        return f"TokenRecord(resource={self.resource!r}, issuer={self.issuer!r})"


class ClientRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored registration at an issuer: where its secret may be sent."""

    issuer: str
    token_endpoint: str
    client: ClientIdentity
    redirect_uris: tuple[str, ...] = ()


class Refused(Struct, frozen=True, kw_only=True):
    """Refusal of a request: a reason to authorize."""

    status: int
    lines: tuple[str, ...] = ()
    """Values of WWW-Authenticate."""
    generation: int = 0
    """Generation of the token that the request was sent with."""
    operation: str = ""
    """Method and name of what was asked for."""


class _Authority(Struct, frozen=True, kw_only=True):
    """What discovery has found: the resource, its issuer, and the endpoints."""

    resource: str
    scopes: frozenset[str] | None
    metadata: ServerMetadata
    verified: bool
    """False: the issuer has no metadata, and the default paths of 2025-03-26 are used."""


Flow = Generator[Need, Outcome, None]
_JSON: Final = {"accept": "application/json"}
_TOKEN_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}
_MAX_TOKEN = 64 * 1024


class Authorization:
    """Authorization of one client at one protected server."""

    def __init__(
        self, server: str, settings: AuthorizationSettings | None = None, *, seed: bytes
    ) -> None:
        """Create a machine for the MCP endpoint ``server``; ``seed``: 32 random bytes or more.

        Raises UrlRefused for a server to which no token may be sent.
        """
        if len(seed) < 32:
            raise ValueError("the seed needs at least 32 random bytes")
        self.settings = settings or AuthorizationSettings()
        self.resource = canonical_resource(server)
        self._local = parse_url(server, "the URL of the server").loopback
        check_url(server, "the URL of the server", loopback=True)
        self.state = AuthState.IDLE
        self.need: Need | None = None
        """What the flow waits for; None without one."""
        self.error: AuthorizationError | None = None
        self.generation = 0
        """Number of the current token; it grows with each."""
        self.notes: list[str] = []
        """Faults of other parties that were overlooked, for the log; emptied by the application."""
        self._seed = seed
        self._count = 0
        self._wall = 0.0
        self._flow: Flow | None = None
        self._record: TokenRecord | None = None
        self._version = 0
        self._asked: frozenset[str] = frozenset()
        self._flows: dict[str, int] = {}
        self._nonces: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Authorization({self.resource!r}, {self.state.value})"

    # Tokens

    @property
    def key(self) -> str:
        """Name of the token's record in the store."""
        account = self.settings.account
        return f"token {self.resource}" + (f" {account}" if account else "")

    @property
    def token(self) -> tuple[str, Secret] | None:
        """Scheme and token for requests to the server; None without one."""
        record = self._record
        return None if record is None else (record.scheme, Secret(_plain(record.access_token)))

    def proof(self, method: str, url: str, *, wall: float) -> Sign | None:
        """Return the DPoP proof of a request to the server, to be signed; None if it needs none."""
        record, dpop = self._record, self.settings.dpop
        if record is None or dpop is None or record.scheme != "DPoP":
            return None
        return self._proof(dpop, method, parse_url(url, "the URL of the request"), wall, record)

    def take_nonce(self, url: str, nonce: str | None) -> bool:
        """Keep the DPoP nonce of a response; return True if it is a new one."""
        sound = sound_nonce(nonce)
        origin = parse_url(url, "the URL of the request").origin
        if sound is None or self._nonces.get(origin) == sound:
            return False
        self._nonces[origin] = sound
        return True

    def expiring(self, wall: float) -> bool:
        """Return True if the token is to be refreshed before it is used again."""
        record = self._record
        if record is None or record.expires_at is None:
            return False
        if record.refresh_token is None and isinstance(self.settings.grant, CodeGrant):
            return False
        early = min(self.settings.early, (record.lifetime or 0.0) / 10)
        return record.expires_at - early <= wall

    def accepted(self, operation: str) -> None:
        """Note that the server has accepted a request."""
        self._flows.pop(operation, None)

    # Flows

    def load(self, *, wall: float) -> None:
        """Begin to load the stored token, before the first request."""
        if self.state is not AuthState.IDLE:
            raise LocalProtocolError("a token is loaded before all else")
        self._move(_G.LOAD)
        self._begin(self._loading(), wall)

    def start(self, refused: Refused | None, *, wall: float) -> bool:
        """Begin to authorize; return False if there is nothing to do but to send again.

        ``refused``: the refusal; None for a token that is expiring.  Raises AuthorizationError if
        the same operation was refused too often.
        """
        if self._flow is not None:
            raise LocalProtocolError("an authorization is under way")
        if refused is not None:
            if refused.generation < self.generation:
                return False
            flows = self._flows.get(refused.operation, 0)
            if flows >= self.settings.max_flows:
                raise AuthorizationError(
                    f"the server refuses {printable(refused.operation) or 'the request'} after "
                    f"{flows} authorizations"
                )
            self._flows[refused.operation] = flows + 1
        self._move(_G.REFUSED)
        self.error = None
        self._begin(self._authorizing(refused), wall)
        return True

    def give(self, outcome: Outcome, *, wall: float) -> None:
        """Take the outcome of the need; ``wall``: seconds since 1970."""
        if self._flow is None:
            raise LocalProtocolError("no outcome is waited for")
        self._wall = wall
        try:
            self.need = self._flow.send(outcome)
        except StopIteration:
            self.need = self._flow = None

    def cancel(self, reason: str, *, wall: float) -> None:
        """End the flow; what is left to do, such as releasing the lock, is the need."""
        if self._flow is None:
            return
        self._wall = wall
        try:
            self.need = self._flow.throw(AuthorizationError(f"the authorization ended: {reason}"))
        except StopIteration:
            self.need = self._flow = None

    def _begin(self, flow: Flow, wall: float) -> None:
        self._wall = wall
        self._flow = flow
        self.need = next(flow)

    def _move(self, signal: AuthSignal) -> None:
        after = step(AUTHORIZATION, self.state, signal)
        if after is None:
            raise LocalProtocolError(f"{signal.value!r} is not possible in {self.state.value!r}")
        self.state = after

    def _failed(self, error: AuthorizationError) -> None:
        self.error = error
        self._move(_G.FAIL)

    def _loading(self) -> Flow:
        try:
            record = yield from self._load()
        except AuthorizationError as error:
            self._failed(error)
            return
        if record is None or self._is_over(record):
            self._move(_G.NOTHING)
        else:
            self._adopt(record)
            self._move(_G.FRESH)

    def _authorizing(self, refused: Refused | None) -> Flow:
        locked = False
        try:
            _sure((yield Lock(key=self.key)))
            locked = True
            yield from self._locked(refused)
        except AuthorizationError as error:
            if self.state is not AuthState.READY:
                self._failed(error)
        if locked:
            yield Unlock(key=self.key)

    def _locked(self, refused: Refused | None) -> Flow:
        """Refresh, or authorize, unless another process has done so meanwhile."""
        known = self._version
        record = yield from self._load()
        challenges = parse_challenges(() if refused is None else refused.lines)
        challenge = find_challenge(challenges, "dpop", "bearer")
        more = refused is not None and refused.status == 403
        wanted = (None if challenge is None else challenge.scopes) or frozenset()
        if record is not None and self._version != known and not self._is_over(record):
            granted = frozenset(record.scopes or ())
            if not more or wanted <= granted:
                self._adopt(record)
                self._move(_G.FRESH)
                return
        if record is not None and record.refresh_token is not None and not more:
            self._move(_G.REFRESH)
            if (yield from self._refreshed(record)):
                return
        self._move(_G.AUTHORIZE)
        yield from self._authorized(challenge, record, wanted if more else None)

    # Stored records

    def _load(self) -> Generator[Need, Outcome, TokenRecord | None]:
        stored = yield Load(key=self.key)
        if not isinstance(stored, Stored):
            raise _error(stored)
        self._version = stored.version
        if stored.record is None:
            return None
        try:
            record = msgspec.json.decode(stored.record, type=TokenRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            self.notes.append("the stored token cannot be read and is replaced")
            return None
        # A record of another server under this name would send its token to the wrong place.
        return record if covers(record.resource, self.resource) else None

    def _save(self, record: TokenRecord | None) -> Generator[Need, Outcome, bool]:
        """Replace the stored token; return False if another process has done so meanwhile."""
        data = None if record is None else _written(record)
        stored = yield Save(key=self.key, record=data, version=self._version)
        if not isinstance(stored, Stored):
            raise _error(stored)
        done = stored.record == data
        self._version = stored.version
        return done

    def _adopt(self, record: TokenRecord) -> None:
        self._record = record
        self._asked |= frozenset(record.scopes or ())
        self.generation += 1

    def _is_over(self, record: TokenRecord) -> bool:
        return record.expires_at is not None and record.expires_at <= self._wall

    # Refresh

    def _refreshed(self, record: TokenRecord) -> Generator[Need, Outcome, bool]:
        """Refresh the token; return False if the refresh token is no good."""
        scope = None if record.scopes is None else format_scopes(record.scopes) or None
        grant = refresh_grant(_plain(record.refresh_token or ""), scope, record.resource)
        response = yield from self._request(
            record.token_endpoint,
            grant,
            record.client,
            record.client.method or ClientAuth.NONE,
            record.issuer,
        )
        if isinstance(response, ErrorResponse):
            if response.error not in ("invalid_grant", "invalid_client", "unauthorized_client"):
                raise AuthorizationError(_told("the token was not refreshed", response))
            # Only this version is removed: a process that came first has stored a better one.
            yield from self._save(None)
            self._record = None
            return False
        yield from self._store(
            response, record.resource, record.issuer, record.token_endpoint, record.client, record
        )
        return True

    # Authorization

    def _authorized(
        self, challenge: Challenge | None, record: TokenRecord | None, more: frozenset[str] | None
    ) -> Flow:
        """Discover, register, and get a token by the grant of the settings."""
        authority = yield from self._discovered(challenge)
        settings, metadata = self.settings, authority.metadata
        endpoint = self._url(metadata.token_endpoint, "the token endpoint").text
        self._move(_G.ISSUER)
        scopes = self._scopes(authority, challenge, record, more)
        listing = isinstance(settings.grant, CodeGrant)
        redirect = (yield from self._listen()) if listing else ""
        client = yield from self._client(authority, endpoint, redirect)
        method = choose_method(client, metadata)
        client = msgspec.structs.replace(client, method=method)
        self._asked |= scopes
        scope = format_scopes(scopes) or None
        grant: Mapping[str, str | None]
        if isinstance(settings.grant, CodeGrant):
            self._move(_G.ASK)
            code, verifier = yield from self._signed_in(authority, client, redirect, scope)
            grant = code_grant(code, redirect, verifier, authority.resource)
            self._move(_G.REQUEST)
        else:
            self._move(_G.REQUEST)
            grant = yield from self._own_grant(authority, scope)
        response = yield from self._request(endpoint, grant, client, method, metadata.issuer)
        if isinstance(response, ErrorResponse):
            raise AuthorizationError(_told("the authorization server gave no token", response))
        yield from self._store(
            response, authority.resource, metadata.issuer, endpoint, client, None
        )

    def _own_grant(
        self, authority: _Authority, scope: str | None
    ) -> Generator[Need, Outcome, Mapping[str, str | None]]:
        """Return a grant that needs no person."""
        grant, issuer = self.settings.grant, authority.metadata.issuer
        if isinstance(grant, ClientCredentialsGrant):
            return client_credentials_grant(scope, authority.resource)
        assertion = yield Obtain(audience=issuer)
        if not isinstance(assertion, Text):
            raise _error(assertion)
        if isinstance(grant, AssertionGrant):
            return jwt_bearer_grant(assertion.text, scope, authority.resource)
        assert isinstance(grant, EnterpriseGrant)
        endpoint = self._url(grant.token_endpoint, "the token endpoint of the identity provider")
        exchange = exchange_grant(
            assertion.text,
            grant.subject_token_type,
            audience=issuer,
            resource=authority.resource,
            scope=scope,
        )
        method = choose_method(
            grant.client,
            ServerMetadata(
                issuer=endpoint.origin, token_endpoint_auth_methods_supported=tuple(ClientAuth)
            ),
        )
        response = yield from self._request(
            endpoint.text, exchange, grant.client, method, endpoint.text, bound=False
        )
        if isinstance(response, ErrorResponse):
            raise AuthorizationError(_told("the identity provider gave no assertion", response))
        if response.issued_token_type != ID_JAG or response.token_type.lower() != "n_a":
            raise AuthorizationError("the identity provider gave a token of another type")
        return jwt_bearer_grant(_plain(response.access_token), scope, authority.resource)

    def _scopes(
        self,
        authority: _Authority,
        challenge: Challenge | None,
        record: TokenRecord | None,
        more: frozenset[str] | None,
    ) -> frozenset[str]:
        """Return the scopes to ask for ("Scope Selection Strategy", "Step-Up")."""
        challenged = None if challenge is None else challenge.scopes
        named = authority.scopes if challenged is None else challenged
        scopes = (named or frozenset()) | self.settings.scopes
        if more is not None:
            scopes |= more | self._asked | frozenset((record and record.scopes) or ())
        ceiling = self.settings.ceiling
        if ceiling is not None:
            if challenged is not None and not challenged <= ceiling:
                over = printable(format_scopes(challenged - ceiling))
                raise AuthorizationError(f"the server asks for scopes that are not allowed: {over}")
            scopes &= ceiling
        supported = authority.metadata.scopes_supported or ()
        interactive = isinstance(self.settings.grant, CodeGrant)
        if interactive and self.settings.offline and "offline_access" in supported and scopes:
            scopes |= {"offline_access"}
        return scopes

    # Discovery

    def _discovered(self, challenge: Challenge | None) -> Generator[Need, Outcome, _Authority]:
        resource = yield from self._resource_metadata(challenge)
        self._move(_G.RESOURCE)
        if resource is None:
            return (yield from self._fallback())
        if not resource.authorization_servers:
            raise DocumentRefused("the metadata of the server", "it names no authorization server")
        issuer = resource.authorization_servers[0]
        wanted = self.settings.issuer
        if wanted is not None:
            if wanted not in resource.authorization_servers:
                raise AuthorizationError(
                    "the server does not name the issuer that this client is registered with"
                )
            issuer = wanted
        self._url(issuer, "the issuer")
        metadata = yield from self._server_metadata(issuer, server_metadata_urls(issuer))
        if metadata is None:
            raise DocumentRefused("the authorization server", "it has no metadata")
        supported = resource.scopes_supported
        scopes = None if supported is None else parse_scopes(" ".join(supported))
        return _Authority(
            resource=resource.resource, scopes=scopes, metadata=metadata, verified=True
        )

    def _resource_metadata(
        self, challenge: Challenge | None
    ) -> Generator[Need, Outcome, ResourceMetadata | None]:
        """Return the metadata of the protected resource, None if the server has none."""
        named = None if challenge is None else challenge.params.get("resource_metadata")
        places = resource_metadata_urls(self.resource) if named is None else (named,)
        what = "the metadata of the server"
        for place in places:
            response = yield from self._fetch("GET", self._url(place, f"the URL of {what}"), _JSON)
            if response.status == 200:
                document, dropped = read_document(response.body, ResourceMetadata, what)
                self._note(what, dropped)
                if not covers(document.resource, self.resource):
                    raise DocumentRefused(what, "it is about another resource")
                return document
            if not 400 <= response.status < 500 or named is not None:
                raise DocumentRefused(what, f"its status is {response.status}")
        if not self.settings.fallbacks:
            raise DocumentRefused(what, "there is none")
        return None

    def _server_metadata(
        self, issuer: str, places: Sequence[str]
    ) -> Generator[Need, Outcome, ServerMetadata | None]:
        """Return the metadata of an issuer, None if there is none; the first found is final."""
        what = "the metadata of the authorization server"
        for place in places:
            response = yield from self._fetch("GET", self._url(place, f"the URL of {what}"), _JSON)
            if response.status == 200:
                document, dropped = read_document(response.body, ServerMetadata, what)
                self._note(what, dropped)
                if document.issuer != issuer:
                    raise DocumentRefused(what, "it is of another issuer")
                return document
            if not 400 <= response.status < 500:
                raise DocumentRefused(what, f"its status is {response.status}")
        return None

    def _fallback(self) -> Generator[Need, Outcome, _Authority]:
        """Return what 2025-03-26 takes for granted: the server's origin is its issuer."""
        origin = parse_url(self.resource, "the resource").origin
        metadata = yield from self._server_metadata(origin, server_metadata_urls(origin)[:1])
        verified = metadata is not None
        if metadata is None:
            metadata = ServerMetadata(
                issuer=origin,
                authorization_endpoint=f"{origin}/authorize",
                token_endpoint=f"{origin}/token",
                registration_endpoint=f"{origin}/register",
                token_endpoint_auth_methods_supported=(
                    ClientAuth.BASIC.value,
                    ClientAuth.POST.value,
                    ClientAuth.NONE.value,
                ),
            )
        return _Authority(resource=self.resource, scopes=None, metadata=metadata, verified=verified)

    # Registration

    def _listen(self) -> Generator[Need, Outcome, str]:
        """Return the redirect URI, at which the callback is listened for."""
        grant = self.settings.grant
        assert isinstance(grant, CodeGrant)
        outcome = yield Listen(redirect_uri=grant.redirect_uris[0])
        if not isinstance(outcome, Text):
            raise _error(outcome)
        return outcome.text

    def _client(
        self, authority: _Authority, endpoint: str, redirect: str
    ) -> Generator[Need, Outcome, ClientIdentity]:
        """Return credentials for an issuer: given, by document, stored, or registered now."""
        settings, metadata = self.settings, authority.metadata
        key = f"client {metadata.issuer}"
        stored = yield Load(key=key)
        if not isinstance(stored, Stored):
            raise _error(stored)
        known = self._known_client(stored, metadata.issuer, endpoint, redirect)
        if settings.client is not None:
            bound = ClientRecord(
                issuer=metadata.issuer, token_endpoint=endpoint, client=settings.client
            )
            yield from self._bind(bound, stored)
            return settings.client
        if settings.metadata_url is not None and metadata.client_id_metadata_document_supported:
            return ClientIdentity(client_id=settings.metadata_url, method=ClientAuth.NONE)
        if known is not None:
            return known
        if metadata.registration_endpoint is None:
            raise AuthorizationError(
                f"the authorization server {printable(metadata.issuer)} registers no clients: give "
                "the credentials that you have there"
            )
        client = yield from self._registered(metadata, redirect)
        made = ClientRecord(
            issuer=metadata.issuer,
            token_endpoint=endpoint,
            client=client,
            redirect_uris=(redirect,) if redirect else (),
        )
        yield Save(key=key, record=_written(made), version=stored.version)
        return client

    def _bind(self, record: ClientRecord, stored: Stored) -> Flow:
        """Bind pre-registered credentials to the first issuer that they are used at.

        Raises AuthorizationError if that was another one, or sent them to another endpoint.
        """
        key = f"registered {self.resource} {record.client.client_id}"
        found = yield Load(key=key)
        if not isinstance(found, Stored):
            raise _error(found)
        if found.record is None:
            yield Save(key=key, record=_written(record, secret=False), version=found.version)
            return
        before = _client_record(found.record)
        if before is None or (before.issuer, before.token_endpoint) != (
            record.issuer,
            record.token_endpoint,
        ):
            raise AuthorizationError(
                "the server names another authorization server, or another token endpoint, than "
                "the one that the credentials of this client were used at"
            )

    def _known_client(
        self, stored: Stored, issuer: str, endpoint: str, redirect: str
    ) -> ClientIdentity | None:
        """Return a stored registration, if it still serves."""
        record = None if stored.record is None else _client_record(stored.record)
        if record is None or (record.issuer, record.token_endpoint) != (issuer, endpoint):
            return None
        expires = record.client.expires_at
        if expires is not None and expires <= self._wall:
            return None
        if redirect and not any(_same_redirect(each, redirect) for each in record.redirect_uris):
            return None
        return record.client

    def _registered(
        self, metadata: ServerMetadata, redirect: str
    ) -> Generator[Need, Outcome, ClientIdentity]:
        """Register at an issuer (RFC 7591)."""
        settings = self.settings
        asked = ClientIdentity(client_id="", client_secret="?")  # noqa: S106 - what could be given
        method = choose_method(asked, metadata)
        if ClientAuth.NONE.value in metadata.token_endpoint_auth_methods_supported and redirect:
            method = ClientAuth.NONE
        grants = ["authorization_code", "refresh_token"] if redirect else ["client_credentials"]
        wanted = {
            "client_name": settings.client_name,
            "client_uri": settings.client_uri,
            "redirect_uris": [redirect] if redirect else None,
            "grant_types": grants,
            "response_types": ["code"] if redirect else [],
            "token_endpoint_auth_method": method.value,
            "application_type": "native",
        }
        body = msgspec.json.encode({k: v for k, v in wanted.items() if v is not None})
        url = self._url(metadata.registration_endpoint, "the registration endpoint")
        headers = {**_JSON, "content-type": "application/json"}
        response = yield from self._fetch("POST", url, headers, body)
        what = "the registration"
        if response.status not in (200, 201):
            refusal = _error_response(response)
            raise AuthorizationError(_told("this client was not registered", refusal))
        made, dropped = read_document(response.body, Registration, what)
        self._note(what, dropped)
        if made.redirect_uris is not None and redirect and redirect not in made.redirect_uris:
            raise DocumentRefused(what, "it is for other redirect URIs")
        answered = made.token_endpoint_auth_method
        known = set(ClientAuth)
        chosen = method if answered is None else next((m for m in known if m == answered), None)
        secret = made.client_secret or None
        client = ClientIdentity(
            client_id=made.client_id,
            client_secret=secret,
            method=chosen,
            expires_at=made.client_secret_expires_at or None if secret else None,
        )
        if chosen is None or not client.can(chosen) and chosen is not ClientAuth.NONE:
            raise DocumentRefused(what, "it asks for another way of authentication")
        if not made.client_id or not made.client_id.isprintable() or not made.client_id.isascii():
            raise DocumentRefused(what, "its client id cannot be sent")
        return client

    # Sign-in

    def _signed_in(
        self, authority: _Authority, client: ClientIdentity, redirect: str, scope: str | None
    ) -> Generator[Need, Outcome, tuple[str, str]]:
        """Return the authorization code that the user's consent gave, and the PKCE verifier."""
        metadata = authority.metadata
        if authority.verified and "S256" not in metadata.code_challenge_methods_supported:
            raise AuthorizationError("the authorization server does not support PKCE with S256")
        endpoint = self._url(metadata.authorization_endpoint, "the authorization endpoint")
        verifier, state = self._random(), self._random()
        params = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": redirect,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "state": state,
            "resource": authority.resource,
        }
        if scope is not None:
            params["scope"] = scope
            if "offline_access" in scope.split():
                params["prompt"] = "consent"  # OpenID Connect Core section 11
        outcome = yield OpenUrl(
            url=with_query(endpoint, params),
            redirect_uri=redirect,
            state=state,
            timeout=self.settings.user_timeout,
        )
        if not isinstance(outcome, Callback):
            raise _error(outcome)
        return self._code(outcome.query, state, metadata), verifier

    def _code(self, query: str, state: str, metadata: ServerMetadata) -> str:
        """Return the code of an authorization response (RFC 9207 section 2.4 for ``iss``)."""
        what = "the authorization response"
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
        except ValueError:
            raise DocumentRefused(what, "it has too many parameters") from None
        params = unique(pairs, what)
        if not hmac.compare_digest(params.get("state", "").encode(), state.encode()):
            raise DocumentRefused(what, "its state is not the one that was sent")
        issuer = params.get("iss")
        if issuer is None and metadata.authorization_response_iss_parameter_supported:
            raise DocumentRefused(what, "it names no issuer")
        if issuer is not None and issuer != metadata.issuer:
            raise DocumentRefused(what, "it is of another issuer")
        if "error" in params:
            refusal = ErrorResponse(
                error=params["error"], error_description=params.get("error_description")
            )
            raise AuthorizationError(_told("authorization was refused", refusal))
        if not params.get("code"):
            raise DocumentRefused(what, "it has no code")
        return params["code"]

    # Requests

    def _request(
        self,
        endpoint: str,
        grant: Mapping[str, str | None],
        client: ClientIdentity,
        method: ClientAuth,
        audience: str,
        *,
        bound: bool = True,
    ) -> Generator[Need, Outcome, TokenResponse | ErrorResponse]:
        """Send a token request; once more if the server asks for a DPoP nonce.

        ``bound``: False for a token that no key is bound to.
        """
        url = self._url(endpoint, "the token endpoint")
        dpop = self.settings.dpop if bound else None
        for attempt in (1, 2):
            form = token_form(
                grant, client, method, audience=audience, jti=self._random(), wall=self._wall
            )
            yield from self._sign(form, client)
            headers = {**form.headers, "content-type": "application/x-www-form-urlencoded"}
            if dpop is not None:
                sign = self._proof(dpop, "POST", url, self._wall, None)
                signed = yield sign
                if not isinstance(signed, Signed):
                    raise _error(signed)
                headers["dpop"] = sign.input.signed(signed.signature)
            response = yield from self._fetch("POST", url, headers, form.body())
            if response.status == 200:
                break
            refusal = _error_response(response)
            nonce = _header(response, "dpop-nonce")
            again = refusal.error == "use_dpop_nonce" and self.take_nonce(url.text, nonce)
            if attempt == 2 or dpop is None or not again:
                return refusal
        what = "the token response"
        token, dropped = read_document(response.body, TokenResponse, what)
        self._note(what, dropped)
        self.take_nonce(url.text, _header(response, "dpop-nonce")) if dpop is not None else None
        return token

    def _sign(self, form: TokenForm, client: ClientIdentity) -> Flow:
        if form.assertion is None or client.signing is None:
            return
        signed = yield Sign(signing=client.signing, input=form.assertion)
        if not isinstance(signed, Signed):
            raise _error(signed)
        form.sign(signed.signature)

    def _proof(
        self, dpop: DpopKey, method: str, url: Url, wall: float, record: TokenRecord | None
    ) -> Sign:
        proof = make_proof(
            method,
            url.text,
            key=dpop.jwk,
            algorithm=dpop.signing.algorithm,
            jti=self._random(),
            wall=wall,
            token=None if record is None else _plain(record.access_token),
            nonce=self._nonces.get(url.origin),
        )
        return Sign(signing=dpop.signing, input=proof)

    def _store(
        self,
        response: TokenResponse,
        resource: str,
        issuer: str,
        endpoint: str,
        client: ClientIdentity,
        before: TokenRecord | None,
    ) -> Flow:
        """Check a token, keep it, and be ready."""
        scheme = _TOKEN_TYPES.get(response.token_type.lower())
        expected = "Bearer" if self.settings.dpop is None else "DPoP"
        what = "the token response"
        if scheme != expected:
            raise DocumentRefused(what, f"its type is not {expected}")
        access = _sound_token(response.access_token, what)
        refresh = response.refresh_token
        if refresh is not None:
            refresh = _sound_token(refresh, what)
        elif before is not None:
            refresh = before.refresh_token  # kept if there is no new one (RFC 6749 section 6)
        lifetime = response.expires_in
        if lifetime is not None and not 1 <= lifetime < 2**40:
            self.notes.append("the lifetime of the token is not sound and is ignored")
            lifetime = None
        scopes = parse_scopes(response.scope)
        if scopes is None:
            granted = before.scopes if before is not None else tuple(sorted(self._asked)) or None
        else:
            granted = tuple(sorted(scopes))
            if not scopes <= self._asked and self._asked:
                self.notes.append("the token has more scopes than were asked for")
        self._move(_G.TOKEN)
        record = TokenRecord(
            resource=resource,
            issuer=issuer,
            token_endpoint=endpoint,
            client=client,
            access_token=access,
            scheme=scheme,
            refresh_token=refresh,
            scopes=granted,
            expires_at=None if lifetime is None else self._wall + lifetime,
            lifetime=lifetime,
        )
        if not (yield from self._save(record)):
            self.notes.append("another process has stored a token meanwhile")
        self._adopt(record)
        self._move(_G.SAVED)

    def _fetch(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes = b""
    ) -> Generator[Need, Outcome, Fetched]:
        outcome = yield Fetch(
            method=method,
            url=url.text,
            headers=headers,
            body=body,
            timeout=self.settings.fetch_timeout,
        )
        if not isinstance(outcome, Fetched):
            raise _error(outcome, url)
        return outcome

    def _url(self, text: str | None, what: str) -> Url:
        """Return a URL that another party named, if it may be used."""
        if text is None:
            raise DocumentRefused("the metadata of the authorization server", f"it lacks {what}")
        return check_url(text, what, loopback=self._local)

    def _random(self) -> str:
        """Return 256 bits that follow from the seed, as base64url."""
        self._count += 1
        digest = hmac.digest(self._seed, b"authorization %d" % self._count, "sha256")
        return base64url(digest).decode()

    def _note(self, what: str, dropped: Sequence[str]) -> None:
        self.notes.extend(f"{what}: its member {name} is wrong and ignored" for name in dropped)


def _sure(outcome: Outcome) -> None:
    if not isinstance(outcome, Done):
        raise _error(outcome)


def _error(outcome: Outcome, url: Url | None = None) -> AuthorizationError:
    """Return the error for an outcome that is not the one that was asked for."""
    if not isinstance(outcome, Fault):
        raise LocalProtocolError(f"a {type(outcome).__name__} is no outcome of the need")
    place = "" if url is None else f"{url.origin}: "
    return AuthorizationError(place + printable(outcome.reason))


def _told(text: str, refusal: ErrorResponse) -> str:
    """Return a sentence with the error that another party has sent, made safe to show."""
    about = f": {printable(refusal.error_description)}" if refusal.error_description else ""
    return f"{text} ({printable(refusal.error, 60)}){about}"


def _error_response(response: Fetched) -> ErrorResponse:
    """Return the error in a response, or one that names its status."""
    try:
        found, _ = read_document(response.body, ErrorResponse, "the response")
    except DocumentRefused:
        return ErrorResponse(error=f"status {response.status}")
    return found


def _header(response: Fetched, name: str) -> str | None:
    """Return the value of a header that stands once."""
    values = [value for key, value in response.headers if key == name]
    return values[0] if len(values) == 1 else None


def _sound_token(token: str, what: str) -> str:
    text = _plain(token)
    if not text or len(text) > _MAX_TOKEN or not all("!" <= char <= "~" for char in text):
        raise DocumentRefused(what, "its token cannot be sent")
    return text


def _same_redirect(registered: str, redirect: str) -> bool:
    """Return True if a redirect URI is a registered one: any port on loopback (RFC 8252)."""
    one, other = (parse_url(each, "the redirect URI") for each in (registered, redirect))
    if one.loopback and one.host == other.host:
        return (one.scheme, one.path, one.query) == (other.scheme, other.path, other.query)
    return registered == redirect


def _plain(text: str) -> str:
    return str.__str__(text)


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} is not stored")


def _written(record: TokenRecord | ClientRecord, *, secret: bool = True) -> bytes:
    """Return a record as JSON for the store, with or without the secret of its client."""
    if not secret:
        client = msgspec.structs.replace(record.client, client_secret=None)
        record = msgspec.structs.replace(record, client=client)
    return msgspec.json.encode(record, enc_hook=_reveal)


def _client_record(data: bytes) -> ClientRecord | None:
    try:
        return msgspec.json.decode(data, type=ClientRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
