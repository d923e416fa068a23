"""The client's authorization at one server: discovery, registration, grants, refresh, step-up.

A pure machine.  :meth:`Authorization.start` begins a *flow*; while there is one, ``need`` is what
must be done next, and :meth:`Authorization.give` takes its outcome::

    authorization.start(Refused(status=401, lines=...), wall=time.time())
    while (need := authorization.need) is not None:
        authorization.give(await carry_out(need), wall=time.time())

A flow ends READY, with a token of a new generation, or FAILED, with ``error``; the lock that it
took is released either way.  Requests remember the generation of the token that they were sent
with: twenty of them that are refused make one flow.

Sources: the authorization pages since 2025-03-26; RFC 6749, 7636, 8693, 8707 and 9207; the ext-auth
pages.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mcpcore.auth.challenges import (
    OAUTH_SCHEMES,
    Challenge,
    credential_named,
    find_challenge,
    format_scopes,
    metadata_named,
    parse_challenges,
    parse_scopes,
)
from mcpcore.auth.discovery import Discovered, find_authority, find_resource
from mcpcore.auth.endpoints import Endpoints, Unreachable, failure_by, told
from mcpcore.auth.grants import (
    ANY_METHOD,
    ID_JAG,
    ClientAuth,
    ClientIdentity,
    challenge_of,
    choose_method,
    client_credentials_grant,
    code_grant,
    exchange_grant,
    jwt_bearer_grant,
    read_code,
    refresh_grant,
)
from mcpcore.auth.metadata import (
    ErrorResponse,
    TokenResponse,
    printable,
)
from mcpcore.auth.needs import (
    Callback,
    Done,
    Load,
    Lock,
    Need,
    NeedFailed,
    Obtain,
    OpenUrl,
    Outcome,
    Save,
    Sign,
    Steps,
    Stored,
    Text,
    Unlock,
    expect,
)
from mcpcore.auth.proofs import thumbprint
from mcpcore.auth.records import TokenRecord, read_record, sound_token, token_key, written
from mcpcore.auth.registration import find_client, forget_client
from mcpcore.auth.settings import (
    AuthorizationSettings,
    ClientCredentialsGrant,
    CodeGrant,
    EnterpriseGrant,
)
from mcpcore.auth.urls import Url, canonical_resource, check_url, covers, with_query
from mcpcore.engine.lifecycle import State, Table, step
from mcpcore.errors import AuthorizationError, DocumentRefused, LocalProtocolError
from mcpcore.wire.redaction import Secret, shown_url


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
_RESTING = (_S.IDLE, _S.READY, _S.FAILED)
"""States without a flow."""

AUTHORIZATION: Table[AuthState, AuthSignal] = {
    (_S.IDLE, _G.LOAD): _S.LOADING,
    (_S.LOADING, _G.NOTHING): _S.IDLE,
    (_S.LOADING, _G.FRESH): _S.READY,
    **{(state, _G.REFUSED): _S.LOCKING for state in _RESTING},
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
    **{(state, _G.FAIL): _S.FAILED for state in _S if state not in _RESTING},
}

DIAGRAMS = (("Authorization of a client", "One client at one protected server.", AUTHORIZATION),)
"""State tables of this package, for docs/reference/protocol.md."""

_USE_NONCE = "use_dpop_nonce"
_INSUFFICIENT = "insufficient_scope"
_OFFLINE = "offline_access"
_REGISTERED = {*OAUTH_SCHEMES, _USE_NONCE, _INSUFFICIENT, "invalid_request", "invalid_token"}
"""Schemes and error codes of challenges, which are taken for no secret."""
_WORD = 8
"""Characters of a secret that may be a part of other words by chance if it has fewer."""
_PAUSE = 30.0
"""Seconds between two attempts to refresh a token that is good still: requests go on with it."""
_SAME = 2
"""Tokens that a person is asked for to meet one 401; a program would get the same again."""
_REFRESH_OVER = ("invalid_grant", "invalid_client", "unauthorized_client")


class Remedy(Enum):
    """Remedies for a refused request."""

    SEND_AGAIN = "send again"
    """Repetition with another token, which there is by now."""
    NEW_NONCE = "new nonce"
    """The server has given a DPoP nonce: send again."""
    AUTHORIZE = "authorize"


class Refused(Struct, frozen=True, kw_only=True):
    """Refusal of a request: a reason to authorize."""

    status: int
    lines: tuple[str, ...] = ()
    """Values of WWW-Authenticate."""
    generation: int = 0
    """Generation of the token that the request was sent with."""
    operation: str = ""
    """Method and name of what was asked for."""
    nonce: str | None = None
    """DPoP nonce that was in the proof of the request."""
    remedy: Remedy | None = None
    """Remedy that the request was sent again after; None if it was sent for the first time."""


class _Cancelled(AuthorizationError):
    """Cancellation of a flow."""


class _Tried(Struct, frozen=True, kw_only=True):
    """Attempts to authorize an operation, until it is accepted."""

    last: float
    """Time of the last one."""
    flows: int = 0
    """Number of them, without those that found the token of another process."""
    refreshed: bool = False
    """True if one of them has refreshed the token."""
    got: tuple[frozenset[str], ...] = ()
    """Scopes of the challenges that a new token was got for, once for each token."""


class _Reason(Struct, frozen=True, kw_only=True):
    """Reason of a flow: what the server has said, and what was tried before."""

    challenge: Challenge | None = None
    named: str | None = None
    """URL of the server's metadata; another challenge of OAuth than the chosen one may name it."""
    more: bool = False
    """True if the scopes of the token do not suffice."""
    operation: str | None = None
    """Operation that was refused; None for a token that is expiring."""
    tried: _Tried = _Tried(last=0.0)
    """Attempts to authorize the operation before."""
    wanted: str | None = None
    """Credential that the server asks for by a name of its own: a scheme, or the realm of one."""

    @property
    def scopes(self) -> frozenset[str]:
        """Scopes that the server asks for; a 403 does so by ``insufficient_scope`` alone."""
        challenge = self.challenge
        if challenge is None or (self.more and challenge.params.get("error") != _INSUFFICIENT):
            return frozenset()
        return challenge.scopes or frozenset()

    @property
    def unnamed(self) -> bool:
        """True if the token lacks scopes that the server does not name."""
        lacks = self.challenge is not None and self.challenge.params.get("error") == _INSUFFICIENT
        return self.more and lacks and not self.scopes


class Authorization:
    """Authorization of one client at one protected server."""

    def __init__(
        self, server: str, settings: AuthorizationSettings | None = None, *, seed: bytes
    ) -> None:
        """Create a machine for the MCP endpoint ``server``; ``seed``: 32 random bytes or more.

        Raises UrlRefused for a server to which no token may be sent.
        """
        self.settings = settings or AuthorizationSettings()
        url = check_url(
            server, "the URL of the server", loopback=True, private=self.settings.private
        )
        self.resource = canonical_resource(server)
        self.state = AuthState.IDLE
        self.need: Need | None = None
        """Need that the flow waits for; None without a flow."""
        self.error: AuthorizationError | None = None
        self.generation = 0
        """Number of the current token; it grows with each."""
        dpop = self.settings.dpop
        self._scheme = "Bearer" if dpop is None else "DPoP"
        self._thumbprint = None if dpop is None else thumbprint(dpop.jwk)
        self._endpoints = Endpoints(self.settings, local=url.loopback, seed=seed)
        if self.settings.trusting:
            self.notes.append(
                "the settings name no issuer: the first that the server names gets the credentials"
            )
        self._flow: Steps[None] | None = None
        self._record: TokenRecord | None = None
        self._early = 0.0
        """Time before which a token that is good still is not refreshed."""
        self._version = 0
        self._unsaved: int | None = None
        """Version that ``_record``, or its absence, is to replace in the store; None if it is not
        on its way there."""
        self._named: str | None = None
        """URL of the server's metadata as the last challenge named it; a step-up may name none, and
        a token that is renewed before its end comes without a challenge."""
        self._asked: frozenset[str] = frozenset()
        self._denied: dict[frozenset[str], float] = {}
        """Scopes that were needed for an operation and that a person has denied, and when; those of
        ``max_operations`` at most."""
        self._sign_ins: deque[float] = deque(maxlen=self.settings.max_sign_ins)
        """Times of the last sign-ins of a person."""
        self._tried: dict[str, _Tried] = {}
        """Attempts by operation; ``max_operations`` at most."""

    def __repr__(self) -> str:
        return f"Authorization({shown_url(self.resource)!r}, {self.state.value})"

    def reseed(self, seed: bytes) -> None:
        """Take other random bytes, as a process must that was forked."""
        self._endpoints.reseed(seed)

    # Tokens

    @property
    def key(self) -> str:
        """Key of the token's record in the store."""
        return token_key(self.resource, self.settings).text

    @property
    def notes(self) -> list[str]:
        """Faults of other parties that were overlooked, for the log; the application empties it."""
        return self._endpoints.notes

    @property
    def token(self) -> tuple[str, Secret] | None:
        """Scheme and token for requests to the server; None without one."""
        record = self._record
        return None if record is None else (record.scheme, Secret(record.access_token))

    def proof(self, method: str, url: str, *, wall: float) -> Sign | None:
        """Return the DPoP proof of a request to the server, to be signed; None if it needs none."""
        record, dpop = self._record, self.settings.dpop
        if record is None or dpop is None:
            return None
        return self._endpoints.proof(dpop, method, url, wall=wall, token=record.access_token)

    def take_nonce(self, url: str, nonce: str | None) -> bool:
        """Keep the DPoP nonce of a response; return True if it is a new one."""
        return self._endpoints.take_nonce(url, nonce)

    def nonce(self, url: str) -> str | None:
        """Return the DPoP nonce for the next request to a URL."""
        return self._endpoints.nonce(url)

    def remedy(self, refused: Refused) -> Remedy:
        """Return what a refused request needs before it is sent again."""
        if refused.generation < self.generation and not self._in_vain(refused):
            return Remedy.SEND_AGAIN
        fresh = self.nonce(self.resource) != refused.nonce
        if fresh and self._error(refused) == _USE_NONCE and refused.remedy is not Remedy.NEW_NONCE:
            return Remedy.NEW_NONCE
        return Remedy.AUTHORIZE

    def _in_vain(self, refused: Refused) -> bool:
        """Return True if a request was sent again with a token that a newer one does not better.

        A refusal of the first names the scopes of one way in, of which the server may know others.
        """
        if refused.status != 403 or refused.remedy in (None, Remedy.NEW_NONCE):
            return False
        return bool(self._lacking(_Reason(challenge=self._challenge(refused), more=True)))

    def expiring(self, wall: float) -> bool:
        """Return True if the token is to be refreshed before it is used again."""
        record = self._record
        if record is None or record.expires_at is None:
            return False
        if record.refresh_token is None and isinstance(self.settings.grant, CodeGrant):
            return False
        early = min(self.settings.early, (record.lifetime or 0.0) / 10)
        return record.expires_at <= wall or (
            record.expires_at - early <= wall and self._early <= wall
        )

    def expires_in(self, wall: float) -> float | None:
        """Return the seconds until the token expires; None without one, or if nobody knows."""
        record = self._record
        return None if record is None or record.expires_at is None else record.expires_at - wall

    @property
    def settling(self) -> bool:
        """True while a token is on its way here, or to the store.

        What it is got by, a code or the stored refresh token, may be used up: a flow that ends now
        loses what replaces it.
        """
        return self.state in (AuthState.REFRESHING, AuthState.REQUESTING_TOKEN, AuthState.SAVING)

    def accepted(self, operation: str) -> None:
        """Note that the server has accepted a request."""
        self._tried.pop(operation, None)

    # Flows

    def load(self, *, wall: float) -> None:
        """Begin to load the stored token, before the first request."""
        if self.state is not AuthState.IDLE:
            raise LocalProtocolError("a token is loaded before all else")
        self._move(AuthSignal.LOAD)
        self._begin(self._loading(), wall)

    def start(self, refused: Refused | None, *, wall: float) -> bool:
        """Begin to authorize; return False if there is nothing to do but to send again.

        ``refused``: the refusal; None for a token that is expiring.  Raises AuthorizationError for
        a refusal that no token would change, or of an operation that was refused too often.
        """
        if self._flow is not None:
            raise LocalProtocolError("an authorization is under way")
        reason = _Reason()
        if refused is not None:
            if self.remedy(refused) is not Remedy.AUTHORIZE:
                return False
            reason = self._reason(refused, wall)
        else:
            self._early = wall + _PAUSE
        self._move(AuthSignal.REFUSED)
        self.error = None
        self._begin(self._authorizing(reason), wall)
        return True

    def give(self, outcome: Outcome, *, wall: float) -> None:
        """Take the outcome of the need; ``wall``: seconds since 1970.

        Raises LocalProtocolError for that of another need: the flow has failed, and the application
        releases the lock.
        """
        if self._flow is None:
            raise LocalProtocolError("no outcome is waited for")
        self._endpoints.wall = wall
        try:
            self.need = self._flow.send(outcome)
        except StopIteration:
            self.need = self._flow = None
        except Exception as mistake:
            self.need = self._flow = None
            self._fail(AuthorizationError(f"the authorization failed: {type(mistake).__name__}"))
            raise

    def cancel(self, reason: str, *, wall: float) -> None:
        """End the flow; the need that is left, if any, is to release the lock."""
        if self._flow is None or isinstance(self.need, Unlock):
            return
        self._endpoints.wall = wall
        try:
            self.need = self._flow.throw(_Cancelled(f"the authorization ended: {reason}"))
        except StopIteration:
            self.need = self._flow = None

    def _challenges(self, refused: Refused) -> list[Challenge]:
        """Return the challenges of a refusal, without what repeats a secret of ours."""
        return [
            replace(each, params={x: y for x, y in each.params.items() if not self._repeats(y)})
            for each in parse_challenges(refused.lines)
            if not self._repeats(each.scheme.lower())
        ]

    def _challenge(self, refused: Refused) -> Challenge | None:
        return find_challenge(self._challenges(refused), self._scheme.lower(), *OAUTH_SCHEMES)

    def _repeats(self, text: str) -> bool:
        """Return True if another party repeats the token or what it was got by, in any case.

        What is as short as a word is looked for among the words.
        """
        record = self._record
        if record is None or text in _REGISTERED:
            return False
        secrets = record.access_token, record.refresh_token, record.client.client_secret
        text = text.lower()
        words = text.split()
        return any(
            secret.lower() in (words if len(secret) < _WORD else text)
            for secret in secrets
            if secret
        )

    def _error(self, refused: Refused) -> str | None:
        challenge = self._challenge(refused)
        return None if challenge is None else challenge.params.get("error")

    def _reason(self, refused: Refused, wall: float) -> _Reason:
        """Return the reason of a flow, which counts among those of its operation."""
        challenge, error = self._challenge(refused), self._error(refused)
        more = refused.status == 403
        if error == _USE_NONCE:
            raise AuthorizationError("the server takes none of the DPoP nonces that it gives")
        operation = refused.operation
        tried = self._tried.get(operation)
        if tried is None or not 0 <= wall - tried.last < self.settings.flows_period:
            tried = _Tried(last=wall)
        challenges = self._challenges(refused)
        reason = _Reason(
            challenge=challenge,
            named=metadata_named(challenge, challenges),
            more=more,
            operation=operation,
            tried=tried,
            wanted=credential_named(challenges),
        )
        if more:  # a scope that was asked for in vain, or is held, is not asked for again
            lacking = self._lacking(reason)
            over = not reason.unnamed and lacking <= frozenset().union(*tried.got)
        else:
            same = _SAME if isinstance(self.settings.grant, CodeGrant) else 1
            over = tried.got.count(reason.scopes) >= same
        if over or tried.flows >= self.settings.max_flows:
            raise AuthorizationError(self._hopeless(reason))
        if more:
            self._check_denied(reason.scopes, wall)
        self._check_room(operation, wall)
        self._tried[operation] = replace(tried, flows=tried.flows + 1, last=wall)
        return reason

    def _lacking(self, reason: _Reason) -> frozenset[str]:
        """Return the scopes that the server asks for and the token does not have."""
        record = self._record
        return reason.scopes - frozenset(() if record is None else record.scopes or ())

    def _hopeless(self, reason: _Reason) -> str:
        """Return why no further token is asked for, with the word of the server and what helps."""
        params = {} if reason.challenge is None else reason.challenge.params
        said, tried = params.get("error_description", ""), reason.tried
        text = (
            f"the server refuses {printable(reason.operation) or 'the request'}"
            f"{f' after {tried.flows} authorizations' if tried.flows else ''}"
            f"{said and f' ({printable(said)})'}: "
        )
        if self.error is not None and tried.flows and not tried.got:
            return text + f"the last one failed: {self.error}"
        if not reason.more:
            return text + (
                f"it takes no token that is got for {shown_url(self.resource)}: is that its "
                "resource, and does it trust the issuer?"
            )
        if lacking := self._lacking(reason):
            names = printable(format_scopes(lacking))
            if not lacking <= self._asked:
                return text + f"it asks for {names} as well, beyond `max_flows`"
            return text + f"the authorization server does not grant {names} to this account"
        if reason.scopes:
            names = printable(format_scopes(reason.scopes))
            return text + f"it asks for {names}, which the token has already"
        if reason.unnamed:
            return text + "it wants more scopes and does not name them"
        return text + (
            "it names no scope that would help; this account may lack a role, and another one "
            "have it"
        )

    def _check_denied(self, wanted: frozenset[str], wall: float) -> None:
        """Raise AuthorizationError if a person has lately denied the scopes that are wanted."""
        for scopes, when in self._denied.items():
            lately = 0 <= wall - when < self.settings.flows_period
            if scopes <= wanted and bool(scopes) == bool(wanted) and lately:
                names = printable(format_scopes(scopes)) or "the server does not name them"
                raise AuthorizationError(f"scopes that are needed were lately denied: {names}")

    def _check_room(self, operation: str, wall: float) -> None:
        """Raise AuthorizationError if too many operations are counted to count another one."""
        most, period = self.settings.max_operations, self.settings.flows_period
        if operation in self._tried or len(self._tried) < most:
            return
        self._tried = {
            name: tried for name, tried in self._tried.items() if 0 <= wall - tried.last < period
        }
        if len(self._tried) >= most:
            raise AuthorizationError(
                f"the server has refused {most} operations within {period:g} s: "
                f"{printable(operation) or 'the request'} begins no authorization of its own"
            )

    def _begin(self, flow: Steps[None], wall: float) -> None:
        self._endpoints.wall = wall
        self._flow = flow
        self.need = next(flow)

    def _move(self, signal: AuthSignal) -> None:
        after = step(AUTHORIZATION, self.state, signal)
        if after is None:
            raise LocalProtocolError(f"{signal.value!r} is not possible in {self.state.value!r}")
        self.state = after

    def _fail(self, error: AuthorizationError) -> None:
        self.error = error
        self._move(AuthSignal.FAIL)

    def _loading(self) -> Steps[None]:
        try:
            record = yield from self._load()
        except _Cancelled:
            self._move(AuthSignal.NOTHING)  # whoever needs it next loads it
            return
        except AuthorizationError as error:
            self._fail(error)
            return
        wall = self._endpoints.wall
        if record is None or (record.refresh_token is None and record.is_over(wall)):
            self._move(AuthSignal.NOTHING)
        else:
            self._adopt(record)
            self._move(AuthSignal.FRESH)

    def _authorizing(self, reason: _Reason) -> Steps[None]:
        locked = False
        try:
            expect((yield Lock(key=self.key)), Done)
            locked = True
            yield from self._locked(reason)
        except AuthorizationError as error:
            redeeming = self.state is AuthState.REQUESTING_TOKEN
            asked = redeeming and isinstance(self.settings.grant, CodeGrant)
            if isinstance(error, Unreachable) and not asked:
                self._note(reason, flows=reason.tried.flows)  # an outage has cost nobody anything
            self._fail(error)
        if locked:
            yield Unlock(key=self.key)

    def _locked(self, reason: _Reason) -> Steps[None]:
        """Refresh, or authorize, unless another process has done so meanwhile."""
        used = None if self._record is None else self._record.access_token
        failure: AuthorizationError | None = None
        record = yield from self._load()
        if record is not None:
            other = record.access_token != used and not record.is_over(self._endpoints.wall)
            wanted = reason.scopes if reason.more else frozenset()
            if other and wanted <= frozenset(record.scopes or ()):
                self._adopt(record)
                self._note(reason, flows=reason.tried.flows)  # it has cost nobody anything
                self._move(AuthSignal.FRESH)
                return
            # A token that was got for this operation, and refused, is not refreshed again.
            anew = reason.tried.refreshed or reason.tried.got
            if record.refresh_token is not None and not reason.more and not anew:
                self._move(AuthSignal.REFRESH)
                try:
                    if (yield from self._refreshed(record, record.refresh_token, reason)):
                        return
                except AuthorizationError as error:
                    if reason.operation is None or isinstance(error, _Cancelled):
                        raise
                    failure = error
        self._check_refused(reason, "the refresh token is not in the store any more")
        self._move(AuthSignal.AUTHORIZE)
        yield from self._authorized(reason, record, failure)

    # Stored records

    def _load(self) -> Steps[TokenRecord | None]:
        """Return the record to go on with.

        That is the own one if it was not stored and nobody has stored another: the refresh token
        that is in the store still is used up.
        """
        stored = expect((yield Load(key=self.key)), Stored)
        self._version = stored.version
        if self._unsaved == stored.version:
            yield from self._save(self._record)
            return self._record
        self._unsaved = None
        record = read_record(stored.record, TokenRecord)
        if record is None:
            if stored.record is not None:
                self.notes.append("the stored token cannot be read and is replaced")
            return None
        return record if self._fits(record) else None

    def _fits(self, record: TokenRecord) -> bool:
        """Return True if a stored token is of this server, and within the settings.

        Its name does not tell the scheme, the key and the ceiling, and somebody else may have
        written it.
        """
        return (
            covers(record.resource, self.resource)
            and (record.scheme, record.thumbprint) == (self._scheme, self._thumbprint)
            and self.settings.allows(record.scopes)
        )

    def _save(self, record: TokenRecord | None) -> Steps[None]:
        """Replace the stored token, unless another process has done so meanwhile."""
        data = None if record is None else written(record)
        self._unsaved = self._version
        outcome = yield Save(key=self.key, record=data, version=self._version)
        if isinstance(outcome, NeedFailed):
            self.notes.append(f"the token is not stored: {printable(outcome.reason)}")
            return
        stored = expect(outcome, Stored)
        self._version, self._unsaved = stored.version, None
        if stored.record != data:
            self.notes.append("another process has stored a token meanwhile")

    def _adopt(self, record: TokenRecord) -> None:
        self._record = record
        self._early = 0.0
        self._asked |= frozenset(record.scopes or ())
        self.generation += 1

    def _store(self, response: TokenResponse, like: TokenRecord) -> Steps[None]:
        """Check a token, keep it, and be ready.

        ``like``: the record that it replaces, or one with all but the token; in it, the scopes that
        were asked for.
        """
        what = "the token response"
        if response.token_type.lower() != self._scheme.lower():
            raise DocumentRefused(what, f"its type is not {self._scheme}")
        refresh = response.refresh_token or None  # some servers write an empty one for none
        lifetime = response.expires_in
        if lifetime is not None and not 1 <= lifetime < 2**40:
            self.notes.append("the lifetime of the token is not sound and is ignored")
            lifetime = None
        said, asked, ceiling = response.scope, like.scopes, self.settings.ceiling
        scopes = parse_scopes(said)
        if said and scopes is None:
            if ceiling is not None:
                raise DocumentRefused(what, "its scopes cannot be read")
            self.notes.append("the scopes of the token cannot be read and are ignored")
        if scopes is not None and ceiling is not None and (over := scopes - ceiling):
            names = printable(format_scopes(over))
            raise DocumentRefused(what, f"its scopes are more than are allowed: {names}")
        if scopes is not None and asked is not None and not scopes <= frozenset(asked):
            self.notes.append("the token has more scopes than were asked for")
        record = replace(
            like,
            access_token=sound_token(response.access_token, what),
            scheme=self._scheme,
            # Kept if there is no new one (RFC 6749 section 6).
            refresh_token=like.refresh_token if refresh is None else sound_token(refresh, what),
            scopes=asked if scopes is None else tuple(sorted(scopes)),
            expires_at=None if lifetime is None else self._endpoints.wall + lifetime,
            lifetime=lifetime,
        )
        self._move(AuthSignal.TOKEN)
        self._adopt(record)  # at once: it is not lost with the store, or by a cancellation
        yield from self._save(record)
        self._move(AuthSignal.SAVED)

    # Refresh

    def _refreshed(self, record: TokenRecord, token: str, reason: _Reason) -> Steps[bool]:
        """Refresh the token; return False if the authorization server refuses to.

        The record is removed if its refresh token is no good.  A request that was refused goes on
        without a refresh whatever the error says; a token that is expiring is good still.
        """
        scope = format_scopes(record.scopes or ()) or None
        client = self._client(record)
        response = yield from self._endpoints.token(
            self._endpoints.url(record.token_endpoint, "the token endpoint"),
            refresh_grant(token, scope, record.resource),
            client,
            client.method or ClientAuth.NONE,
            audience=record.issuer,
        )
        if not isinstance(response, ErrorResponse):
            yield from self._store(response, replace(record, client=client))
            self._note(reason, refreshed=True)
            return True
        failure = failure_by("the token was not refreshed", response)
        if response.error in _REFRESH_OVER:
            yield from self._save(None)
            yield from self._forget(response, record.issuer, client)
            self._check_refused(reason, str(failure))
            self._record = None
            return False
        if response.temporary or reason.operation is None:
            raise failure
        self.notes.append(str(failure))
        return False

    def _client(self, record: TokenRecord) -> ClientIdentity:
        """Return the client of a record, with the credentials that the settings name now."""
        given, before = self.settings.client, record.client
        if given is None:
            return before
        client = replace(given, method=given.method or before.method)
        return replace(client, method=choose_method(client, ANY_METHOD))

    def _check_refused(self, reason: _Reason, text: str) -> None:
        """Raise AuthorizationError if a person would be asked though no request was refused.

        It goes on with the token that there is: a refused one waits for a person as long as needed.
        """
        record = self._record
        if record is None or reason.operation is not None:
            return
        if isinstance(self.settings.grant, CodeGrant):
            self._record = replace(record, refresh_token=None)
            raise AuthorizationError(text)

    def _forget(self, refusal: ErrorResponse, issuer: str, client: ClientIdentity) -> Steps[None]:
        """Remove the registration of a client at an issuer that does not know it any more."""
        if refusal.error == "invalid_client" and self.settings.client is None:
            yield from forget_client(issuer, self.settings.grant.kind, client.client_id)

    # Authorization

    def _authorized(
        self, reason: _Reason, record: TokenRecord | None, failure: AuthorizationError | None
    ) -> Steps[None]:
        """Discover, register, and get a token by the grant of the settings.

        ``failure``: that of a refresh; it is raised if the issuer is where it was: there may be an
        outage, while one that the server does not name any more may be gone for ever.
        """
        endpoints = self._endpoints
        named = reason.named
        if named is None and (reason.more or reason.challenge is None):
            named = self._named
        self._named = named
        resource = yield from find_resource(endpoints, self.resource, named)
        bound = resource is not None and resource.dpop_bound_access_tokens_required
        if reason.challenge is not None:  # one of Bearer goes before that of DPoP
            bound = bound or reason.challenge.scheme == "dpop"
        if bound and self.settings.dpop is None:
            raise AuthorizationError(
                "the server takes tokens bound to a DPoP key alone: give this client one, `dpop`"
            )
        self._move(AuthSignal.RESOURCE)
        last = None if record is None else record.issuer
        authority = yield from find_authority(
            endpoints, self.resource, resource, wanted=reason.wanted, before=last
        )
        metadata = authority.metadata
        given = self.settings.client
        place = metadata.endpoint("token_endpoint", certificate=bool(given and given.certificate))
        token_endpoint = endpoints.url(place, "the token endpoint")
        if failure is not None and record is not None:
            before = record.issuer, record.token_endpoint
            if (metadata.issuer, token_endpoint.text) == before:
                raise failure
            self.notes.append(f"the authorization server has moved: {failure}")
        sign_in = (
            self._sign_in_endpoint(authority)
            if isinstance(self.settings.grant, CodeGrant)
            else None
        )
        scopes = self._scopes(authority, reason, record)
        self._move(AuthSignal.ISSUER)
        client, redirect = yield from find_client(
            endpoints, self.resource, authority, token_endpoint.text
        )
        client = replace(client, method=choose_method(client, metadata))
        scope = format_scopes(scopes) or None
        grant: Mapping[str, str | None]
        if sign_in is not None:
            self._move(AuthSignal.ASK)
            grant = yield from self._code_grant(authority, sign_in, client, redirect, scope, reason)
        else:
            grant = yield from self._own_grant(authority, scope)
        self._move(AuthSignal.REQUEST)
        response = yield from endpoints.token(
            token_endpoint,
            grant,
            client,
            client.method or ClientAuth.NONE,
            audience=metadata.issuer,
        )
        if isinstance(response, ErrorResponse):
            yield from self._forget(response, metadata.issuer, client)
            raise failure_by("the authorization server gave no token", response)
        self._asked |= scopes
        like = TokenRecord(
            resource=authority.resource,
            issuer=metadata.issuer,
            token_endpoint=token_endpoint.text,
            client=client,
            access_token="",
            scopes=tuple(sorted(scopes)) or None,
            thumbprint=self._thumbprint,
        )
        yield from self._store(response, like)
        self._note(reason, got=(*reason.tried.got, reason.scopes))

    def _note(self, reason: _Reason, **known: Any) -> None:
        """Note what an attempt has brought for its operation, if that is counted still."""
        operation = reason.operation
        if operation is not None and (tried := self._tried.get(operation)) is not None:
            self._tried[operation] = replace(tried, **known)

    def _scopes(
        self, authority: Discovered, reason: _Reason, record: TokenRecord | None
    ) -> frozenset[str]:
        """Return the scopes to ask for ("Scope Selection Strategy", "Step-Up").

        Raises AuthorizationError if they would be those of before, or more than are allowed.
        """
        challenged, settings, metadata = reason.scopes, self.settings, authority.metadata
        wanted = challenged or frozenset(x for x in authority.scopes if not self._repeats(x))
        before = self._asked if reason.more else frozenset()
        if record is not None and record.issuer == metadata.issuer:
            before |= frozenset(record.scopes or ())
        ceiling = settings.ceiling
        allowed = wanted if ceiling is None else wanted & ceiling
        if reason.unnamed and allowed <= before:
            raise AuthorizationError(self._hopeless(reason))
        scopes = wanted | settings.scopes | before
        if ceiling is not None:
            if over := challenged - ceiling:
                text = "the server asks for scopes that are not allowed"
                raise AuthorizationError(f"{text}: {printable(format_scopes(over))}")
            # By name: where none is named, the issuer chooses (RFC 6749 section 3.3).
            scopes = scopes & ceiling or ceiling - {_OFFLINE}
            if not scopes:
                raise AuthorizationError("no scope is allowed that a token could be asked for with")
        interactive = isinstance(settings.grant, CodeGrant) and settings.offline and scopes
        if interactive and _OFFLINE in (metadata.scopes_supported or ()):
            scopes |= {_OFFLINE} if ceiling is None else ceiling & {_OFFLINE}
        return scopes

    # Grants

    def _own_grant(
        self, authority: Discovered, scope: str | None
    ) -> Steps[Mapping[str, str | None]]:
        """Return a grant that needs no person."""
        grant, resource = self.settings.grant, authority.resource
        if isinstance(grant, ClientCredentialsGrant):
            return client_credentials_grant(scope, resource)
        assertion = expect((yield Obtain(audience=authority.metadata.issuer)), Text).text
        if isinstance(grant, EnterpriseGrant):
            assertion = yield from self._exchanged(grant, authority, assertion, scope)
        return jwt_bearer_grant(assertion, scope, resource)

    def _exchanged(
        self, grant: EnterpriseGrant, authority: Discovered, token: str, scope: str | None
    ) -> Steps[str]:
        """Return the ID-JAG that an identity provider gives for the token of a person."""
        url = self._endpoints.url(grant.token_endpoint, "the token endpoint of the provider")
        exchange = exchange_grant(
            token,
            grant.subject_token_type,
            audience=authority.metadata.issuer,
            resource=authority.resource,
            scope=scope,
        )
        method = choose_method(grant.client, ANY_METHOD)
        response = yield from self._endpoints.token(
            url, exchange, grant.client, method, audience=url.text, bound=False
        )
        if isinstance(response, ErrorResponse):
            raise failure_by("the identity provider gave no assertion", response)
        if response.issued_token_type != ID_JAG or response.token_type.lower() != "n_a":
            raise AuthorizationError("the identity provider gave a token of another type")
        return str.__str__(response.access_token)

    # Sign-in

    def _sign_in_endpoint(self, authority: Discovered) -> Url:
        """Return the authorization endpoint of a server that checks PKCE."""
        metadata = authority.metadata
        if authority.published and "S256" not in metadata.code_challenge_methods_supported:
            raise AuthorizationError("the authorization server does not support PKCE with S256")
        return self._endpoints.url(metadata.authorization_endpoint, "the authorization endpoint")

    def _code_grant(
        self,
        authority: Discovered,
        endpoint: Url,
        client: ClientIdentity,
        redirect: str,
        scope: str | None,
        reason: _Reason,
    ) -> Steps[Mapping[str, str | None]]:
        """Return the grant of the authorization code that a person's consent gives."""
        wall, period, before = self._endpoints.wall, self.settings.flows_period, self._sign_ins
        most = self.settings.max_sign_ins
        if len(before) == most and (not most or 0 <= wall - before[0] < period):
            text = f"a person has signed in {most} times within {period:g} s"
            raise AuthorizationError(f"{text}, and the server wants another sign-in")
        verifier, state = self._endpoints.random(), self._endpoints.random()
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
            if _OFFLINE in scope.split():
                params["prompt"] = "consent"  # OpenID Connect Core section 11
        need = OpenUrl(
            url=with_query(endpoint, params),
            redirect_uri=redirect,
            state=state,
            timeout=self.settings.user_timeout,
        )
        answer = expect((yield need), Callback)
        before.append(wall)
        code = read_code(answer.query, state, authority.metadata)
        if isinstance(code, ErrorResponse):
            if reason.more and code.error == "access_denied":
                self._denied.pop(reason.scopes, None)
                self._denied[reason.scopes] = self._endpoints.wall
                if len(self._denied) > self.settings.max_operations:
                    del self._denied[next(iter(self._denied))]
            raise AuthorizationError(told("authorization was refused", code))
        return code_grant(code, redirect, verifier, authority.resource)
