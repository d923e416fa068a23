"""A resource server: from the head of a request to its principal, or to a refusal that helps.

Pure: signatures are verified by a function that is passed in, key sets and introspection answers
are fetched by the caller, who is told so by a :class:`Need` and asks again.

One order for every token: the header exactly once, its scheme, its length, its structure, the
algorithm, the key by ``kid``, the signature, then the claims.

Sources: RFC 6750 sections 2.1 and 3, RFC 9449 sections 7 and 9, RFC 8705 section 3, RFC 9728
sections 2 and 5.1; the authorization pages, "Token Handling" and "Error Handling".
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from mcpcore.auth.api_keys import looks_like_key
from mcpcore.auth.challenges import format_challenge, format_scopes
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.introspection import (
    CacheLimits,
    TokenCache,
    read_introspection,
    revocation_key,
    token_key,
)
from mcpcore.auth.keysets import KeySet, KeySetLimits
from mcpcore.auth.metadata import ResourceMetadata
from mcpcore.auth.proofs import (
    NonceMissing,
    Nonces,
    ProofRules,
    ReplayWindow,
    Seen,
    judge_proof,
    read_proof,
    thumbprint,
    use_digest,
)
from mcpcore.auth.scopes import Missing, ScopeTree
from mcpcore.auth.tokens import (
    ALGORITHMS,
    MAX_TOKEN,
    TYPES,
    ClaimRules,
    Grant,
    Jws,
    TokenFault,
    TokenRefused,
    judge_claims,
    judge_kind,
    judge_type,
    read_jws,
    read_time,
)
from mcpcore.auth.urls import (
    RESOURCE_METADATA,
    canonical_resource,
    check_url,
    parse_url,
    server_metadata_urls,
)
from mcpcore.errors import UrlRefused
from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore.spec.refusals import (
    INSUFFICIENT,
    MALFORMED_CREDENTIALS,
    NOT_JUDGED,
    TOO_MANY_FAILURES,
    UNAUTHENTICATED,
    RefusalRow,
)
from mcpcore.wire.redaction import HIDDEN, Discreet

_NO_KEYS = "the keys of the issuer cannot be fetched"
_MAX_LEEWAY = 600.0
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?=/|\Z)", re.IGNORECASE)

Verify = Callable[[Mapping[str, Any], str, bytes, bytes], bool]
"""Verification of a signature: JWK, algorithm, signed bytes, signature.

It returns False, and raises nothing, for a key that is not sound.
"""


class Dpop(Enum):
    """Binding of tokens to keys of their clients."""

    OFF = "off"
    ALLOWED = "allowed"
    REQUIRED = "required"


class Issuer(Struct, frozen=True, kw_only=True):
    """Authorization server whose tokens are accepted."""

    issuer: str
    """Issuer identifier, exactly as its metadata and its tokens have it."""
    jwks_url: str | None = None
    """URL of its keys; None: as its metadata says."""
    introspection_url: str | None = None
    """URL that is asked about tokens; None: tokens are JWTs and verified by keys."""
    client: ClientIdentity | None = None
    """Credentials for asking about tokens: a secret."""
    private: bool = False
    """True if it is in a private network: its hosts may have addresses of such networks."""
    audiences: frozenset[str] = frozenset()
    """Accepted audiences beside the resource identifier."""
    algorithms: frozenset[str] = ALGORITHMS
    """Accepted algorithms of the signatures of its tokens; asymmetric ones alone."""
    roles: str | None = None
    """Path of the claim with the roles, such as ``realm_access.roles``, or its name, such as
    ``https://notes.example/roles``."""
    types: frozenset[str] = TYPES
    """Accepted types of its tokens, which are in their header ``typ``: ``at+jwt``, which says that
    it is an access token (RFC 9068), and ``jwt``, which says nothing, as does a token without a
    type.  Both, as many servers say nothing; no other can be."""

    def __post_init__(self) -> None:
        check_kinds(self)
        server_metadata_urls(self.issuer)  # it has some: there is no query (RFC 8414 section 2)
        if not self.types or self.types - TYPES:
            raise ValueError("types of an issuer's tokens are at+jwt and jwt")
        if not self.algorithms or self.algorithms - ALGORITHMS:
            raise ValueError("algorithms of an issuer are asymmetric signature algorithms")


class ResourceRules(Struct, frozen=True, kw_only=True):
    """Settings of a resource server."""

    resource: str
    """Resource identifier: the URL of the MCP endpoint as clients know it, without a query and
    without the path segments ``.`` and ``..``."""
    issuers: tuple[Issuer, ...]
    """Authorization servers whose tokens are accepted."""
    required: frozenset[str] = frozenset()
    """Scopes that every request needs."""
    scope_tree: Mapping[str, Sequence[str]] = {}
    """Scopes that a scope implies, by that scope: ``{"admin": {"read", "write"}}``."""
    scopes_supported: tuple[str, ...] | None = None
    """Scopes in the metadata; None: those that are required."""
    name: str | None = None
    """Name of the server in the metadata, for people."""
    documentation: str | None = None
    """URL of its documentation in the metadata."""
    dpop: Dpop = Dpop.OFF
    """Tokens that are bound to a key (RFC 9449): OFF, ALLOWED or REQUIRED."""
    certificate_bound: bool = False
    """True to say in the metadata that tokens may be bound to certificates of clients, which takes
    TLS that asks for these; a token that names one is good with it alone in any case."""
    proofs: ProofRules = ProofRules()
    """Rules for the proofs of DPoP."""
    leeway: float = 60.0
    """Seconds by which the clock of an issuer may differ, at most 600."""
    verified_for: float = 60.0
    """Most seconds for which a token is not verified, or asked about, again."""
    max_tokens: int = 10_000
    """Tokens whose judgement is kept."""
    max_introspections: int = 100
    """Tokens that are asked about at a time; requests with further ones get 503."""
    max_introspections_of_one: int | None = 25
    """Maximum of them that came from one address; None: no share, as behind a proxy that
    does not name its clients."""
    keys: KeySetLimits = KeySetLimits()
    """Limits of the key set of each issuer."""
    wrong_signatures: int = 500
    """Signatures found wrong in a second, of all tokens together and of the proofs of each
    principal, beyond which whatever would need another look gets 429: so a flood of them does not
    hold up the others."""

    def __post_init__(self) -> None:
        check_kinds(self)  # "required" is no Dpop.REQUIRED, and would let bearer tokens in
        # Without room for any token, none would be remembered that is revoked.
        check_numbers(self, "leeway", "verified_for")
        if self.leeway > _MAX_LEEWAY:  # as in milliseconds, with which no token expires that day
            raise ValueError(f"leeway is for clocks that differ: at most {_MAX_LEEWAY:g} seconds")


class Credential(Discreet, frozen=True, gc=False):
    """Token of a request, with its scheme in lower case and its proof."""

    scheme: str
    token: str
    proof: str | None = None

    def __shown__(self) -> Mapping[str, object]:
        return dict.fromkeys(("token", "proof"), HIDDEN)


class Denied(Struct, frozen=True, kw_only=True):
    """Refusal of a request: status, challenge and the reason."""

    status: int = UNAUTHENTICATED.status
    reason: str
    challenge: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    failure: bool | None = None
    """True if it counts against the address that the credential came from; None: by the status."""


class AuthEvent(Struct, frozen=True, kw_only=True):
    """Judgement of a request, or of an operation that it asked for, for an audit log.

    It holds no token.
    """

    admitted: bool
    scheme: str
    """``oauth``, ``api key``, ``certificate``, or ``any``: none of several found a credential."""
    reason: str = ""
    """Reason for the refusal; "" if the request was admitted."""
    status: int = 200
    principal: str | None = None
    credential: str | None = None
    """Name of the credential: the start of a token's SHA-256, or the id of an API key."""
    kid: str | None = None
    """Id of the key that has verified a JWT."""
    address: str = ""
    method: str
    path: str
    operation: str | None = None
    """JSON-RPC method that the principal lacks scopes or a role for; None: the event is about the
    HTTP request as a whole, or the one that has opened a WebSocket."""
    subject: str | None = None
    """Subject of the operation: the name of a tool or prompt, or a URI."""


class NeedKeys(Struct, frozen=True):
    """Keys of an issuer are to be fetched; then the request is judged again."""

    issuer: Issuer
    kid: str | None


class NeedIntrospection(Struct, frozen=True):
    """An issuer is to be asked about a token; then the request is judged again."""

    issuer: Issuer
    key: bytes
    bound: bool = False
    """True for a token that is bound to a key or a certificate, which the answer has to name."""


class NeedUse(Struct, frozen=True):
    """A proof is to be looked up where its uses are kept: the outcome goes to ``used``."""

    grant: Grant
    jti: str
    key: str
    """Thumbprint of its key."""
    until: float
    """End of its validity, in seconds since 1970."""

    @property
    def digest(self) -> bytes:
        """Name of the proof where its uses are kept."""
        return use_digest(self.jti, self.key)

    @property
    def party(self) -> str:
        """Name of its principal where uses are counted: as short for all."""
        name = principal_name(self.grant.issuer, self.grant.subject)
        return hashlib.sha256(name.encode()).hexdigest()


Need = NeedKeys | NeedIntrospection


class ResourceGuard:
    """Judgement of the requests to one protected resource.

    ``remembers``: False if the uses of DPoP proofs are kept elsewhere, as several workers share
    them; then there is a :class:`NeedUse` for each.

    Raises ValueError for rules that cannot hold; UrlRefused, which is one, for a URL of theirs that
    no client would send a token to, or that would never be fetched.
    """

    def __init__(
        self,
        rules: ResourceRules,
        verify: Verify,
        *,
        nonces: Nonces | None = None,
        replays: ReplayWindow | None = None,
        remembers: bool = True,
    ) -> None:
        if not rules.issuers:
            raise ValueError("a resource server trusts at least one issuer")
        if len({each.issuer for each in rules.issuers}) < len(rules.issuers):
            raise ValueError("an issuer is named twice")
        if sum(each.introspection_url is not None for each in rules.issuers) > 1:
            raise ValueError("an opaque token names no issuer: one alone can be asked about tokens")
        self.rules = rules
        what = "the setting `resource`"
        url = check_url(rules.resource, what, loopback=True, private=True)
        if url.query:  # RFC 8707 section 2 advises against one
            raise UrlRefused(what, "it has a query")
        if _DOT_SEGMENT.search(url.path):  # clients remove them (RFC 3986 section 5.2.4)
            raise UrlRefused(what, "its path has dot segments")
        self.url = parse_url(canonical_resource(rules.resource), "the resource")
        for each in rules.issuers:
            for name in ("issuer", "jwks_url", "introspection_url"):
                if (url := getattr(each, name)) is not None:
                    what, local = f"the setting `{name}`", self.url.loopback
                    check_url(url, what, loopback=local, private=each.private)
        self.tree = ScopeTree({name: tuple(each) for name, each in rules.scope_tree.items()})
        self.key_sets = {each.issuer: KeySet(rules.keys) for each in rules.issuers}
        # A slash that is the whole path changes nothing (RFC 3986 section 6.2.3): many add it.
        slash = "" if self.url.path else "/"
        names = {self.url.text, rules.resource, self.url.text + slash}
        self.claim_rules = {
            each.issuer: ClaimRules(
                issuer=each.issuer,
                audiences=frozenset(each.audiences | names),
                roles=each.roles,
                types=each.types,
                leeway=rules.leeway,
            )
            for each in rules.issuers
        }
        """Expectations of the tokens of each issuer."""
        self.tokens = TokenCache(
            CacheLimits(
                active_for=rules.verified_for,
                max_tokens=rules.max_tokens,
                max_waiting=rules.max_introspections,
                max_waiting_of_one=rules.max_introspections_of_one,
            )
        )
        self._verify = verify
        self._nonces = nonces
        self._replays = ReplayWindow() if replays is None else replays  # an empty one is false
        self._remembers = remembers
        self._wrong = FailureLimit(rules.wrong_signatures, window=1.0, parties=1)
        self._wrong_proofs = FailureLimit(rules.wrong_signatures, window=1.0)
        self._issuers = {each.issuer: each for each in rules.issuers}
        self._opaque = next((each for each in rules.issuers if each.introspection_url), None)
        self._revoked: OrderedDict[bytes, float] = OrderedDict()
        format_scopes(rules.required)

    # Metadata

    @property
    def metadata_path(self) -> str:
        """Path at which the metadata is served (RFC 9728 section 3.1)."""
        return RESOURCE_METADATA + self.url.path

    @property
    def metadata_url(self) -> str:
        """URL of the metadata, from the settings and never from a request."""
        return self.url.origin + self.metadata_path

    def metadata(self) -> bytes:
        """Return the protected resource metadata as JSON."""
        rules = self.rules
        supported = rules.scopes_supported
        if supported is None and rules.required:
            supported = tuple(sorted(rules.required))
        bound = rules.dpop is not Dpop.OFF
        document = ResourceMetadata(
            resource=self.url.text,
            authorization_servers=tuple(each.issuer for each in rules.issuers),
            scopes_supported=supported,
            bearer_methods_supported=("header",),
            resource_name=rules.name,
            resource_documentation=rules.documentation,
            dpop_signing_alg_values_supported=(
                tuple(sorted(rules.proofs.algorithms)) if bound else None
            ),
            dpop_bound_access_tokens_required=rules.dpop is Dpop.REQUIRED,
            tls_client_certificate_bound_access_tokens=rules.certificate_bound,
        )
        return msgspec.json.encode(document)

    # Refusals

    def challenge(
        self,
        error: str | None = None,
        description: str | None = None,
        scopes: frozenset[str] | None = None,
    ) -> str:
        """Return the value of WWW-Authenticate: a challenge for each scheme that is accepted."""
        wanted = self.rules.required if scopes is None else scopes
        fault = {"error": error, "error_description": description}
        params = {
            "scope": format_scopes(wanted) or None,
            "resource_metadata": self.metadata_url,
        }
        dpop = self.rules.dpop
        texts = []
        if dpop is not Dpop.REQUIRED:
            told = {} if error in _PROOF_ERRORS else fault
            texts.append(format_challenge("Bearer", {**told, **params}))
        if dpop is not Dpop.OFF:
            algorithms = " ".join(sorted(self.rules.proofs.algorithms))
            texts.append(format_challenge("DPoP", {**fault, **params, "algs": algorithms}))
        return ", ".join(texts)

    def unauthorized(self, fault: TokenFault | None) -> Denied:
        """Return the 401 for a request without a token, or with one that is refused."""
        if fault is None:
            return Denied(reason="there is no token", challenge=self.challenge())
        error = "invalid_dpop_proof" if fault is TokenFault.PROOF else "invalid_token"
        return Denied(reason=fault.value, challenge=self.challenge(error, fault.value))

    def insufficient(self, missing: Missing) -> Denied:
        """Return the 403 for a token without the permissions that an operation requires.

        The scopes that every request needs are named as well, as a new token needs them.  If no
        scope would help, there is a challenge, as RFC 6750 section 3 demands, but without
        ``insufficient_scope``, which would have a person sign in for nothing.
        """
        needed = missing.needed and missing.needed | self.rules.required
        return Denied(
            status=INSUFFICIENT.status,
            reason=missing.text,
            challenge=self.challenge(missing.error, missing.text, needed),
        )

    # Requests

    def credential(self, headers: Sequence[tuple[bytes, bytes]]) -> Credential | Denied:
        """Return the token of a request, or the refusal of one without."""
        fields = dict(reversed(headers))  # of a field that is repeated the first line counts
        name, _, token = fields.get(b"authorization", b"").strip(b" \t").partition(b" ")
        token = token.strip(b" ")
        scheme = name.lower().decode("latin-1")
        if scheme not in ("bearer", "dpop"):
            return self.unauthorized(None)
        if len(fields) < len(headers) and _is_twice(headers, b"authorization", b"dpop"):
            text, status = "the request has more than one credential", MALFORMED_CREDENTIALS.status
            challenge = self.challenge("invalid_request", text)
            return Denied(status=status, reason=text, challenge=challenge)
        if not token or len(token) > MAX_TOKEN or token.translate(None, _SENDABLE):
            return self.unauthorized(TokenFault.MALFORMED)
        if scheme == "dpop" and self.rules.dpop is Dpop.OFF:
            return self.unauthorized(TokenFault.BINDING)
        if scheme == "bearer" and self.rules.dpop is Dpop.REQUIRED:
            return self.unauthorized(TokenFault.BINDING)
        proof = fields.get(b"dpop")
        shown = None if proof is None else proof.decode("latin-1")
        return Credential(scheme, token.decode(), shown)

    def judge(
        self,
        credential: Credential,
        method: str,
        path: str,
        *,
        certificate: str | None = None,
        now: float,
        wall: float,
    ) -> Grant | Denied | Need | NeedUse:
        """Return what a request is granted, its refusal, or what must be fetched first.

        ``path``: of the request, as its client wrote it.  A DPoP proof is for the resource or, as
        over HTTP+SSE there are two endpoints, for this path at the origin of the resource.
        ``certificate``: SHA-256 of the client's TLS certificate in base64url, if there is one.
        """
        try:
            grant = self._token(credential.token, now, wall)
            if not isinstance(grant, Grant):
                return grant
            if grant.expires_at + self.rules.leeway <= wall:
                raise TokenRefused(TokenFault.EXPIRED)
            use = self._bound(grant, credential, method, path, certificate, now, wall)
        except TokenRefused as refused:
            return self.unauthorized(refused.fault)
        except NonceMissing as missing:
            return Denied(
                reason=str(missing),
                challenge=self.challenge("use_dpop_nonce"),
                headers=(("DPoP-Nonce", missing.nonce),),
                failure=False,  # all else was verified
            )
        except _Unavailable as unavailable:
            retry = (("Retry-After", str(unavailable.wait)),)
            return Denied(
                status=unavailable.status,
                reason=str(unavailable),
                headers=retry,
                failure=unavailable.failure,
            )
        if use is None:
            return self._sufficient(grant)
        if not self._remembers:
            return use
        seen = self._replays.look(
            use.jti, use.key, party=use.party, until=use.until, wall=wall, now=now
        )
        return self.used(use, seen)

    def used(self, need: NeedUse, seen: Seen) -> Grant | Denied:
        """Return what a request is granted whose proof was looked up, or its refusal."""
        if seen is Seen.REPLAYED:
            return self.unauthorized(TokenFault.PROOF)
        if seen is Seen.FULL:
            text = "there are too many proofs to remember"
            return Denied(status=NOT_JUDGED.status, reason=text, headers=(("Retry-After", "5"),))
        return self._sufficient(need.grant)

    def _sufficient(self, grant: Grant) -> Grant | Denied:
        """Return a grant, or the refusal if it lacks what every request needs."""
        required = self.rules.required
        if required <= grant.scopes or required <= self.tree.all_of(grant.scopes):
            return grant
        return self.insufficient(Missing(required))

    def _token(self, token: str, now: float, wall: float) -> Grant | Need | Denied:
        if self._revoked and self.revoked(revocation_key(token), wall=wall):
            raise TokenRefused(TokenFault.REVOKED)
        key = token_key(token)
        known = self.tokens.look(key, now)
        if isinstance(known, Grant):
            return known
        if known is not None:
            raise TokenRefused(known)
        if looks_like_key(token):
            raise TokenRefused(TokenFault.TYPE)
        if self._opaque is not None and token.count(".") != 2:
            return NeedIntrospection(self._opaque, key)
        jws = read_jws(token)
        issuer = self._issuers.get(jws.issuer or "")
        if issuer is None:
            raise TokenRefused(TokenFault.ISSUER)
        if _is_asked(issuer, token):
            # The answer need not tell the kind of the token, or its binding; its issuer knows.
            judge_kind(jws.claims, explicit=judge_type(jws, self.claim_rules[issuer.issuer]))
            return NeedIntrospection(issuer, key, bound="cnf" in jws.claims)
        grant = self._verified(jws, issuer, now, wall)
        if isinstance(grant, Grant):
            self.tokens.end(key, grant, now=now, wall=wall)
        return grant

    def _verified(self, jws: Jws, issuer: Issuer, now: float, wall: float) -> Grant | Need:
        if jws.algorithm not in issuer.algorithms:
            raise TokenRefused(TokenFault.ALGORITHM)
        rules = self.claim_rules[issuer.issuer]
        explicit = judge_type(jws, rules)
        key_set = self.key_sets[issuer.issuer]
        keys = key_set.find(jws.kid, jws.algorithm, now)
        if keys is None:
            return NeedKeys(issuer, jws.kid)
        if key_set.lacking(now):
            raise _Unavailable(_NO_KEYS)
        if not keys:
            raise _Unavailable(_NO_KEYS) if key_set.failing else TokenRefused(TokenFault.KEY)
        _check_wrong(self._wrong, "", now)
        for key in keys:
            if self._verify(key.jwk, jws.algorithm, jws.signing_input, jws.signature):
                break
        else:
            for _ in keys:
                self._wrong.note("", now)
            if key_set.doubted(now):
                return NeedKeys(issuer, jws.kid)
            if key_set.failing:
                raise _Unavailable(_NO_KEYS, failure=True)
            raise TokenRefused(TokenFault.SIGNATURE)
        return judge_claims(
            jws.claims, rules, wall=wall, explicit=explicit, kid=key.kid, jwk=key.jwk
        )

    def introspected(
        self, need: NeedIntrospection, body: bytes, *, now: float, wall: float
    ) -> None:
        """Take the answer about a token.  Raises DocumentRefused for one that cannot be read."""
        judgement: Grant | TokenFault | None = None
        try:
            rules, lasts = self.claim_rules[need.issuer.issuer], self.rules.verified_for
            judgement = read_introspection(body, rules, wall=wall, lasts=lasts, bound=need.bound)
        except TokenRefused as refused:
            judgement = refused.fault
        finally:
            self.tokens.end(need.key, judgement, now=now, wall=wall)

    def revoke(self, token: str, *, wall: float, lasts: float = 86_400.0) -> None:
        """Refuse a token from now on, with whatever signature, for as long as it is valid.

        That is told by the token itself, if it is a JWT; else it is refused for ``lasts`` seconds.
        At most ``max_tokens`` are remembered; the oldest are forgotten.
        """
        until = wall + lasts
        with suppress(TokenRefused):  # it tells nothing
            ends = read_time(read_jws(token).claims, "exp")
            if ends is not None:
                until = max(until, ends + self.rules.leeway)
        self.tokens.forget(token_key(token))
        key = revocation_key(token)
        self._revoked[key] = until
        self._revoked.move_to_end(key)
        if len(self._revoked) > self.rules.max_tokens:
            self._revoked.popitem(last=False)

    def revoked(self, key: bytes, *, wall: float) -> bool:
        """Return True if the token of this :func:`revocation_key` was revoked here."""
        return self._revoked.get(key, 0.0) > wall

    def holds(
        self, grant: Grant, token: str, *, now: float, wall: float
    ) -> bool | NeedIntrospection:
        """Return False if what a token has granted was taken back: it was revoked, or grants less.

        Of a token that its issuer is asked about, the last answer counts; the issuer is to be asked
        again if that is too old, while the token lasts.  Of another, its key has to be published
        still: who had stolen one has given its tokens whatever end.
        """
        if self.revoked(revocation_key(token), wall=wall):
            return False
        issuer, key = self._issuers[grant.issuer], token_key(token)
        if not _is_asked(issuer, token):
            return any(each.jwk == grant.jwk for each in self.key_sets[grant.issuer].keys)
        if grant.expires_at <= wall:
            return True
        until, known = self.tokens.last(key) or (now, grant)
        if not isinstance(known, Grant) or not known.has_rights_of(grant):
            return False
        return now < until or NeedIntrospection(issuer, key, bound=grant.bound)

    def _bound(
        self,
        grant: Grant,
        credential: Credential,
        method: str,
        path: str,
        certificate: str | None,
        now: float,
        wall: float,
    ) -> NeedUse | None:
        """Check that the request comes from the client to which the token is bound.

        Return the use of its proof, None without one.
        """
        if grant.certificate is not None and not (
            certificate is not None
            and hmac.compare_digest(certificate.encode(), grant.certificate.encode())
        ):
            raise TokenRefused(TokenFault.BINDING)
        if credential.scheme == "bearer":
            if grant.thumbprint is not None:
                raise TokenRefused(TokenFault.BINDING)  # a bound token is never taken as Bearer
            return None
        if credential.proof is None:
            raise TokenRefused(TokenFault.PROOF)
        rules = self.rules.proofs
        proof, key = read_proof(credential.proof, rules)
        if (shown := thumbprint(key)) != grant.thumbprint:  # None: bound to no key
            raise TokenRefused(TokenFault.BINDING)
        party = principal_name(grant.issuer, grant.subject)
        _check_wrong(self._wrong_proofs, party, now)
        if not self._verify(key, proof.algorithm, proof.signing_input, proof.signature):
            self._wrong_proofs.note(party, now)
            raise TokenRefused(TokenFault.PROOF)
        jti = judge_proof(
            proof,
            rules,
            method=method,
            urls=(self.url.text, self.url.origin + path),
            token=credential.token,
            nonces=self._nonces,
            wall=wall,
        )
        return NeedUse(grant, jti, shown, wall + 2 * rules.age)

    def nonce_line(self, wall: float) -> tuple[tuple[str, str], ...]:
        """Return the header that offers the next nonce, if nonces are demanded."""
        return () if self._nonces is None else (("DPoP-Nonce", self._nonces.current(wall)),)


class FailureLimit:
    """Limit of the credentials of one party that are refused: ``most`` in ``window`` seconds.

    A party is an address, or a principal.  At most ``parties`` are remembered; those that failed
    longest ago are forgotten.
    """

    def __init__(self, most: int = 100, *, window: float = 60.0, parties: int = 10_000) -> None:
        self._most = most
        self._window = window
        self._parties = parties
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __bool__(self) -> bool:
        """Return True if any failure is remembered."""
        return bool(self._failures)

    def wait(self, party: str, now: float) -> float:
        """Return the seconds until credentials of a party are judged again; 0: they are."""
        began, count = self._failures.get(party, (now, 0))
        return max(0.0, began + self._window - now) if count >= self._most else 0.0

    def note(self, party: str, now: float) -> None:
        """Note that a credential of a party was refused."""
        began, count = self._failures.get(party, (now, 0))
        if now >= began + self._window:
            began, count = now, 0
        self._failures.pop(party, None)  # no move_to_end: another thread may drop it in between
        self._failures[party] = began, count + 1
        if len(self._failures) > self._parties:
            self._failures.popitem(last=False)


class _Unavailable(Exception):
    """Lack of what it takes to say if a request is authorized; ``wait``: seconds to try again."""

    def __init__(
        self,
        reason: str,
        row: RefusalRow = NOT_JUDGED,
        *,
        wait: int = 5,
        failure: bool | None = None,
    ) -> None:
        super().__init__(reason)
        self.status, self.wait, self.failure = row.status, wait, failure


def _check_wrong(limit: FailureLimit, party: str, now: float) -> None:
    """Raise _Unavailable if too many signatures of a party were wrong for another look."""
    if limit.wait(party, now):
        raise _Unavailable("too many signatures were wrong", TOO_MANY_FAILURES, wait=1)


def _is_asked(issuer: Issuer, token: str) -> bool:
    """Return True if an issuer is asked about a token of its own: it is opaque, or has no keys."""
    return issuer.introspection_url is not None and (
        issuer.jwks_url is None or token.count(".") != 2
    )


def _is_twice(headers: Sequence[tuple[bytes, bytes]], *fields: bytes) -> bool:
    """Return True if one of some fields is repeated."""
    names = [name for name, _ in headers]
    return any(names.count(field) > 1 for field in fields)


_SENDABLE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
_PROOF_ERRORS = ("invalid_dpop_proof", "use_dpop_nonce")
"""Errors that the DPoP scheme alone has (RFC 9449 sections 7.1 and 9)."""


def principal_name(issuer: str, subject: str) -> str:
    """Return the name of a principal: no other issuer and subject have the same."""
    return msgspec.json.encode([issuer, subject]).decode()
