"""Requests of a client to the endpoints of OAuth, and what they have in common.

That is the policy for their URLs, the reading of documents, the authentication of the client, DPoP
proofs and their nonces, random texts, and the notes for the log.

Sources: RFC 6749 sections 3.2 and 5, RFC 8414 section 3, RFC 9449 sections 5 and 8.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote_plus

from msgspec.structs import replace

from mcpcore.auth.grants import (
    ClientAuth,
    ClientIdentity,
    base64url,
    client_assertion,
    token_form,
)
from mcpcore.auth.metadata import (
    D,
    ErrorResponse,
    TokenResponse,
    printable,
    read_document,
    read_object,
)
from mcpcore.auth.needs import Fetch, Fetched, NeedFailed, Sign, Signed, Steps, expect
from mcpcore.auth.proofs import make_proof, sound_nonce
from mcpcore.auth.settings import AuthorizationSettings, DpopKey
from mcpcore.auth.urls import Url, check_url, parse_url
from mcpcore.errors import AuthorizationError, DocumentRefused
from mcpcore.wire.redaction import Secret

JSON = {"accept": "application/json"}
_GOOD = (200, 201)
"""Statuses of a token request that was granted; frameworks that answer each POST with 201 do so
here too, against RFC 6749 section 5.1."""
_NONE = (404, 405, 410)
"""Statuses that say there is no such document."""
_ERRORS = frozenset(
    (
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "invalid_dpop_proof",
        "use_dpop_nonce",
        "unsupported_token_type",
    )
)
"""Error codes of the token and revocation endpoints (RFC 6749 section 5.2, RFC 7009 section 2.2.1,
RFC 8707 section 2, RFC 9449 section 5): they are no secret, whatever the secrets are."""
_NONCES = 16
"""Origins whose DPoP nonces are kept; the one that gave its nonce first is forgotten first."""


class Unreachable(AuthorizationError):
    """Outage of an issuer or a server: the same request of OAuth may succeed later."""


class Endpoints:
    """Requests of one client, whose server decides if they may go to loopback."""

    def __init__(self, settings: AuthorizationSettings, *, local: bool, seed: bytes) -> None:
        if len(seed) < 32:
            raise ValueError("the seed needs at least 32 random bytes")
        self.settings = settings
        self.wall = 0.0
        """Seconds since 1970, now."""
        self.notes: list[str] = []
        self._local = local
        self._seed = seed
        self._count = 0
        self._nonces: dict[str, str] = {}

    def url(self, text: str | None, what: str) -> Url:
        """Return a URL that another party named, if it may be used."""
        if text is None:
            raise DocumentRefused("the metadata of the authorization server", f"it lacks {what}")
        return check_url(text, what, loopback=self._local, private=self.settings.private)

    def reseed(self, seed: bytes) -> None:
        """Take other random bytes, as a process must that was forked."""
        self._seed = seed

    def random(self) -> str:
        """Return 256 bits that follow from the seed, as base64url."""
        self._count += 1
        digest = hmac.digest(self._seed, b"authorization %d" % self._count, "sha256")
        return base64url(digest).decode()

    # Documents

    def fetch(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes = b""
    ) -> Steps[Fetched]:
        """Send a request.  Raises Unreachable."""
        timeout = self.settings.fetch_timeout
        outcome = yield Fetch(
            method=method, url=url.text, headers=headers, body=body, timeout=timeout
        )
        if isinstance(outcome, NeedFailed):
            raise Unreachable(f"{url.origin}: {printable(outcome.reason)}")
        return expect(outcome, Fetched)

    def document(
        self, places: Sequence[str], kind: type[D], what: str, headers: Mapping[str, str] = JSON
    ) -> Steps[tuple[D, str] | None]:
        """Return the first document that is at one of the URLs, asked in their order, and its URL.

        None if there is none: each has answered 404, 405 or 410.  A redirect, which is not
        followed, another 4xx, or a web page leads to the next URL as well, but does not say that
        there is no document, and so allows no weaker way: without a document it raises
        DocumentRefused, as each other status does at once; a 5xx raises Unreachable.
        """
        refusal: DocumentRefused | None = None
        for place in places:
            response = yield from self.fetch("GET", self.url(place, f"the URL of {what}"), headers)
            status = response.status
            if status in _NONE:
                continue
            if status == 200 and not response.web_page:
                return self.read(response.body, kind, what), place
            fault = "it is a web page" if response.web_page else f"its status is {status}"
            refusal = DocumentRefused(what, fault)
            if status >= 500:
                raise Unreachable(str(refusal))
            if not response.web_page and not 300 <= status < 500:
                raise refusal
        if refusal is not None:
            raise refusal
        return None

    def read(self, body: bytes, kind: type[D], what: str) -> D:
        """Read a document, and note the members that were dropped."""
        document, dropped = read_document(body, kind, what)
        self.notes.extend(f"{what}: its member {name} is wrong and ignored" for name in dropped)
        return document

    # Tokens

    def token(
        self,
        url: Url,
        grant: Mapping[str, str | None],
        client: ClientIdentity,
        method: ClientAuth,
        *,
        audience: str,
        bound: bool = True,
    ) -> Steps[TokenResponse | ErrorResponse]:
        """Send a token request; once more if the server asks for a DPoP nonce.

        ``audience``: that of the client's assertion, if the client sets none.  ``bound``: False for
        a token that no key is bound to.
        """
        dpop = self.settings.dpop if bound else None
        args = url, grant, client, method, audience, dpop
        response, refusal = yield from self._token_request(*args)
        if dpop is not None and self._needs_nonce(url, response, refusal):
            response, refusal = yield from self._token_request(*args)
            self.take_nonce(url.text, response.header("dpop-nonce"))
        return refusal or self.read(response.body, TokenResponse, "the token response")

    def revoke(
        self,
        url: Url,
        token: str,
        hint: str,
        client: ClientIdentity,
        method: ClientAuth,
        *,
        audience: str,
    ) -> Steps[None]:
        """Revoke a token (RFC 7009); ``hint``: its kind.  Raises AuthorizationError."""
        form = {"token": Secret(token), "token_type_hint": hint}
        args = url, form, client, method, audience, None
        response, refusal = yield from self._token_request(*args)
        if refusal is not None and response.status // 100 != 2:  # no body counts (section 2.2)
            raise AuthorizationError(told("the token was not revoked", refusal))

    def _needs_nonce(self, url: Url, response: Fetched, refusal: ErrorResponse | None) -> bool:
        """Keep the nonce of a response; return True if it is a new one, without which none goes."""
        fresh = self.take_nonce(url.text, response.header("dpop-nonce"))
        return fresh and refusal is not None and refusal.error == "use_dpop_nonce"

    def _token_request(
        self,
        url: Url,
        grant: Mapping[str, str | None],
        client: ClientIdentity,
        method: ClientAuth,
        audience: str,
        dpop: DpopKey | None,
    ) -> Steps[tuple[Fetched, ErrorResponse | None]]:
        """Return the response, and its error, which repeats no secret; None with a token."""
        assertion = None
        if method is ClientAuth.PRIVATE_KEY and client.signing is not None:
            claims = client_assertion(
                client.client_id,
                client.signing,
                audience=client.assertion_audience or audience,
                jti=self.random(),
                wall=self.wall,
            )
            assertion = yield from signed(Sign(signing=client.signing, input=claims))
        form = token_form(grant, client, method, assertion)
        headers = {name: str.__str__(value) for name, value in form.headers.items()}
        if dpop is not None:
            proof = self.proof(dpop, "POST", url.text, wall=self.wall)
            headers["dpop"] = yield from signed(proof)
        response = yield from self.fetch("POST", url, headers, form.body())
        if response.status in _GOOD and not _tells_error(response.body):
            return response, None
        sent = [*form.params.values(), *form.headers.values(), Secret(client.client_secret or "")]
        secrets = [value.reveal() for value in sent if isinstance(value, Secret)]
        return response, _discreet(error_response(response), secrets)

    # DPoP

    def proof(
        self, dpop: DpopKey, method: str, url: str, *, wall: float, token: str | None = None
    ) -> Sign:
        """Return the proof of a request, to be signed; ``token``: the access token with it."""
        proof = make_proof(
            method,
            url,
            key=dpop.jwk,
            algorithm=dpop.signing.algorithm,
            jti=self.random(),
            wall=wall,
            token=token,
            nonce=self.nonce(url),
        )
        return Sign(signing=dpop.signing, input=proof)

    def nonce(self, url: str) -> str | None:
        """Return the DPoP nonce that the origin of a URL has given last."""
        return self._nonces.get(_origin(url))

    def take_nonce(self, url: str, nonce: str | None) -> bool:
        """Keep the DPoP nonce of a response; return True if it is a new one."""
        sound, origin = sound_nonce(nonce), _origin(url)
        if sound is None or self._nonces.get(origin) == sound:
            return False
        self._nonces.pop(origin, None)
        self._nonces[origin] = sound
        if len(self._nonces) > _NONCES:
            del self._nonces[next(iter(self._nonces))]
        return True


def signed(need: Sign) -> Steps[str]:
    """Return a JWT with its signature."""
    return need.input.signed(expect((yield need), Signed).signature)


def error_response(response: Fetched) -> ErrorResponse:
    """Return the error in a response, or one that names its status."""
    try:
        found = read_document(response.body, ErrorResponse, "the response")[0]
    except DocumentRefused:
        found = ErrorResponse(error=f"status {response.status}")
    return replace(found, status=response.status)


def _tells_error(body: bytes) -> bool:
    """Return True for an error in place of a token; some servers send it with status 200."""
    try:
        members = read_object(body, "the response")
    except DocumentRefused:
        return False
    return isinstance(members.get("error"), str) and "access_token" not in members


def _discreet(refusal: ErrorResponse, secrets: Iterable[str]) -> ErrorResponse:
    """Return an error of another party without a text of it that repeats a secret that was sent."""
    # As it is, as it stands in a form, and that of Basic without the name of the scheme.
    sent = [each for x in secrets for each in (x, quote_plus(x), x.removeprefix("Basic ")) if each]

    def repeats(text: str | None) -> bool:
        return any(each in (text or "") for each in sent)

    known = refusal.error in _ERRORS or not repeats(refusal.error)
    return ErrorResponse(
        error=refusal.error if known else "a secret is repeated",
        error_description=None if repeats(refusal.error_description) else refusal.error_description,
        status=refusal.status,
    )


def failure_by(text: str, refusal: ErrorResponse) -> AuthorizationError:
    """Return the failure by an error that another party has sent."""
    return (Unreachable if refusal.temporary else AuthorizationError)(told(text, refusal))


def told(text: str, refusal: ErrorResponse) -> str:
    """Return a sentence with the error that another party has sent, made safe to show."""
    about = f": {printable(refusal.error_description)}" if refusal.error_description else ""
    return f"{text} ({printable(refusal.error, 60)}){about}"


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place = rest.partition("/")[0].partition("?")[0]  # whatever follows: targets may be odd
    return parse_url(f"{scheme}://{place}", "the URL of the request").origin
