"""Schemes by which a server authenticates requests: API keys, client certificates, or any of some.

Each is an ``authenticate`` hook.  Sources: RFC 9110 section 11 (several schemes), RFC 6750 sections
2.1 and 3, RFC 9440 (Client-Cert).
"""

import inspect
import logging
import math
import re
import time
from binascii import a2b_base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

from mcpcore.auth.api_keys import ApiKey, ApiKeys, looks_like_key
from mcpcore.auth.challenges import format_challenge, format_scopes
from mcpcore.auth.resource_server import AuthEvent, Denied, FailureLimit
from mcpcore.auth.scopes import Requirement, ScopeTree
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import (
    ATTRIBUTES,
    ClientCertificate,
    Principal,
    Refusal,
    Verdict,
    address_of,
    quota_key,
)
from mcpcore.http.proxies import comes_from, read_networks
from mcpcore.spec.bounds import check_names
from mcpcore.spec.errors import ERRORS, FORBIDDEN
from mcpcore.spec.refusals import (
    INSUFFICIENT,
    MALFORMED_CREDENTIALS,
    TOO_MANY_FAILURES,
    UNAUTHENTICATED,
)
from mcpcore_transports.http.server.identity import LONGEST
from mcpcore_transports.link import clock

logger = logging.getLogger("mcpcore.auth")

_WRONG = (UNAUTHENTICATED.status, MALFORMED_CREDENTIALS.status)
"""Statuses of credentials that count for the limit of failures."""


Audit = Callable[[AuthEvent], object]
"""Callback for the judgement of each request, and for each operation that is refused."""


class Records:
    """Audit and the limit of failures of a scheme.

    Raises TypeError for a coroutine function as ``audit``: its events would be lost.
    """

    def __init__(self, scheme: str, audit: Audit | None, failures: FailureLimit | None) -> None:
        called = audit, getattr(audit, "__call__", None)  # noqa: B004 - of an object of a class
        if any(map(inspect.iscoroutinefunction, called)):
            raise TypeError("audit is a coroutine function: it is called, and nobody awaits it")
        self._scheme = scheme
        self._audit = audit
        self._failures = failures

    def wait(self, request: HttpRequest) -> float:
        """Return the seconds for which the address of a request has sent too much; 0: it has not.

        Without an address there is no limit: all would share one.
        """
        if not self._failures or request.peer is None:
            return 0.0
        return self._failures.wait(quota_key(address_of(request.peer)), clock())

    def flooded(self, request: HttpRequest, wait: float) -> Refusal:
        """Note that a request was refused as its address has sent too much; return the refusal."""
        text = "too many requests of this address were not authorized"
        status, seconds = TOO_MANY_FAILURES.status, str(math.ceil(wait))
        self._judged(request, False, reason=text, status=status)
        return Refusal(status=status, message=text, headers=(("Retry-After", seconds),))

    def admit(
        self,
        request: HttpRequest,
        principal: Principal,
        credential: str | None,
        kid: str | None = None,
    ) -> Principal:
        """Note that a request was admitted; operations that are refused to it will be noted."""
        if self._audit is not None:
            who = str(principal)
            event = self._judged(request, True, principal=who, credential=credential, kid=kid)
            principal.refused = partial(self._forbidden, event)
        return principal

    def refuse(
        self, request: HttpRequest, denied: Denied, credential: str | None = None
    ) -> Refusal:
        """Note that a request was refused; return its refusal."""
        reason, status = denied.reason, denied.status
        wrong = status in _WRONG if denied.failure is None else denied.failure
        known = credential is not None and request.peer is not None
        if wrong and known and self._failures is not None:
            self._failures.note(quota_key(address_of(request.peer)), clock())
        self._judged(request, False, reason=reason, status=status, credential=credential)
        return Refusal(
            status=status, message=reason, challenge=denied.challenge, headers=denied.headers
        )

    def _judged(self, request: HttpRequest, admitted: bool, **known: Any) -> AuthEvent:
        """Tell of a judgement; ``known``: further members of the event, which is returned."""
        event = AuthEvent(
            admitted=admitted,
            scheme=self._scheme,
            address=address_of(request.peer),
            method=request.method,
            path=request.path,
            **known,
        )
        self._tell(event)
        return event

    def _forbidden(
        self, admitted: AuthEvent, operation: str, subject: str | None, reason: str
    ) -> None:
        """Note that an operation was refused to a request that was admitted."""
        status = ERRORS[FORBIDDEN].status
        event = structs.replace(
            admitted,
            admitted=False,
            reason=reason,
            status=status,
            operation=operation,
            subject=subject,
        )
        self._tell(event)

    def _tell(self, event: AuthEvent) -> None:
        if self._audit is None:
            return
        try:
            self._audit(event)
        except Exception:
            logger.exception("the audit callback failed")


class Scheme(Protocol):
    """Scheme of authentication that :class:`AnyOf` chooses among."""

    def presented(self, request: HttpRequest) -> bool:
        """Return True if a request comes with a credential of this scheme."""

    def challenges(self) -> tuple[str, ...]:
        """Return the challenges of a request without a credential."""

    @property
    def documents(self) -> Mapping[str, bytes]:
        """Documents that are served to everybody, by path."""

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Return the principal of a request or its refusal, or an awaitable of these."""


class AnyOf:
    """Several schemes: the first whose credential is present decides, and no other after it.

    A request without any credential gets the challenges of all.  ``audit``: called for each such
    request; of others the schemes tell by their own.
    """

    def __init__(self, *schemes: Scheme, audit: Audit | None = None) -> None:
        if not schemes:
            raise ValueError("AnyOf takes at least one scheme")
        self._schemes = schemes
        self._records = Records("any", audit, None)
        found = [text for scheme in schemes for text in scheme.challenges()]
        # First those that tell a client where tokens come from: some read only one.
        self._challenges = tuple(sorted(found, key=lambda text: "resource_metadata" not in text))
        documents = [each for scheme in schemes for each in scheme.documents.items()]
        self.documents: Mapping[str, bytes] = dict(documents)
        if len(self.documents) < len(documents):
            raise ValueError("two schemes are for one resource: name all its issuers in one")

    def presented(self, request: HttpRequest) -> bool:
        """Return True if a request comes with a credential of any scheme."""
        return any(scheme.presented(request) for scheme in self._schemes)

    def challenges(self) -> tuple[str, ...]:
        """Return the challenges of all schemes."""
        return self._challenges

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Judge a request."""
        for scheme in self._schemes:
            if scheme.presented(request):
                return scheme(request)
        text = "there is no credential of a kind that is taken here"
        if not self._challenges:
            return self._records.refuse(request, Denied(status=INSUFFICIENT.status, reason=text))
        denied = Denied(reason=text, challenge=", ".join(self._challenges))
        return self._records.refuse(request, denied)


def _judging_scopes(
    required: Iterable[str], scope_tree: Mapping[str, Iterable[str]] | None
) -> Callable[[Iterable[str]], frozenset[str] | Denied]:
    """Return a function from scopes to these with all that they imply, or to a refusal.

    Raises ValueError for scopes that cannot be sent, TypeError for a string in place of several.
    """
    check_names(required, *(scope_tree or {}).values())
    needed = Requirement(frozenset(required))
    format_scopes(needed.scopes)
    tree = ScopeTree({name: tuple(each) for name, each in (scope_tree or {}).items()})

    def judge(scopes: Iterable[str]) -> frozenset[str] | Denied:
        held = tree.all_of(scopes)
        missing = needed.missing(held, ())
        if missing is None:
            return held
        return Denied(status=INSUFFICIENT.status, reason=missing.text, challenge=missing.challenge)

    return judge


def authorization_of(request: HttpRequest) -> list[str]:
    """Return the values of all Authorization headers."""
    return [value.decode("latin-1") for name, value in request.headers if name == b"authorization"]


def has_key(request: HttpRequest) -> bool:
    """Return True if a request comes with what looks like an API key."""
    return any(_key_in(value) is not None for value in authorization_of(request))


class ApiKeyScheme:
    """API keys, sent as ``Authorization: Bearer mck_...``, and made by ``mcpcore auth key``.

    ``required``: scopes that every request needs.  ``scope_tree``: scopes that imply others.
    ``audit``: called for each judgement.  ``max_failures``: refused keys of one address in a
    minute, after which further ones get 429; good keys are accepted still.  None: no limit.
    """

    documents: Mapping[str, bytes] = {}

    def __init__(
        self,
        keys: Iterable[ApiKey],
        *,
        required: Iterable[str] = (),
        scope_tree: Mapping[str, Iterable[str]] | None = None,
        audit: Audit | None = None,
        max_failures: int | None = 100,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._keys = ApiKeys(keys)
        self._judge_scopes = _judging_scopes(required, scope_tree)
        limit = None if max_failures is None else FailureLimit(max_failures)
        self._records = Records("api key", audit, limit)
        self._wall = wall

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._keys)} keys)"

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Accept these keys from now on, and no other.  Raises ValueError if two have one id.

        What others have opened, or the same key with another record, ends: streams at their next
        heartbeat, connections in 15 seconds.
        """
        self._keys.replace(keys)

    def presented(self, request: HttpRequest) -> bool:
        """Return True if a request comes with what looks like an API key."""
        return has_key(request)

    def challenges(self) -> tuple[str, ...]:
        """Return the challenge of a request without a key."""
        return ('Bearer realm="API keys"',)

    def __call__(self, request: HttpRequest) -> Verdict:
        """Judge a request."""
        values = authorization_of(request)
        if len(values) > 1:
            several = "the request has more than one credential"
            status = MALFORMED_CREDENTIALS.status
            return self._refuse(request, "invalid_request", several, status)
        text = _key_in(values[0]) if values else None
        if text is None:
            denied = Denied(
                reason="there is no API key in Authorization", challenge=self.challenges()[0]
            )
            return self._records.refuse(request, denied)
        record = self._keys.find(text, wall=self._wall())
        if record is None:
            return self._refuse(request, "invalid_token", "the API key is not accepted")
        scopes = self._judge_scopes(record.scopes)
        if isinstance(scopes, Denied):
            return self._records.refuse(request, scopes, record.id)
        principal = Principal(
            record.principal,
            scopes=scopes,
            roles=record.roles,
            claims={"api_key": record.id},
            until=_until(record.expires_at, self._wall),
            revoked=lambda: not self._keys.holds(record),
        )
        return self._records.admit(request, principal, record.id)

    def _refuse(
        self, request: HttpRequest, error: str, text: str, status: int = UNAUTHENTICATED.status
    ) -> Refusal:
        challenge = format_challenge(
            "Bearer", {"realm": "API keys", "error": error, "error_description": text}
        )
        if wait := self._records.wait(request):
            return self._records.flooded(request, wait)
        denied = Denied(status=status, reason=text, challenge=challenge)
        return self._records.refuse(request, denied, "unknown")


def _until(expires_at: float | None, wall: Callable[[], float]) -> float | None:
    """Return the time by the clock of the driver at which a credential expires; None: never."""
    if expires_at is None or expires_at - wall() > LONGEST:
        return None
    return clock() + expires_at - wall()


def _key_in(authorization: str) -> str | None:
    """Return the API key in a value of Authorization, None if it holds something else."""
    scheme, _, text = authorization.strip(" \t").partition(" ")
    text = text.strip(" ")
    return text if scheme.lower() == "bearer" and looks_like_key(text) else None


class CertificateRecord(Struct, frozen=True, kw_only=True):
    """Party that comes with a client certificate."""

    principal: str
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Raises for a name that none can have, and for a string in place of several.
        Principal(self.principal, scopes=self.scopes, roles=self.roles)
        format_scopes(self.scopes)


class CertificateScheme:
    """Client certificates, by their fingerprints or subjects.

    ``parties``: who comes with a certificate, by its SHA-256 in hexadecimal, with or without
    colons, or as OpenSSL prints it, or by its subject as RFC 4514 writes it, if it has attributes
    of :data:`~mcpcore.http.principals.ATTRIBUTES` alone.  A fingerprint goes before a subject.
    ``required``: scopes that every request needs.  ``scope_tree``: scopes that imply others.
    ``audit``: called for each judgement.

    Raises ValueError for any other name, or one that two parties have.
    """

    documents: Mapping[str, bytes] = {}

    def __init__(
        self,
        parties: Mapping[str, CertificateRecord],
        *,
        required: Iterable[str] = (),
        scope_tree: Mapping[str, Iterable[str]] | None = None,
        audit: Audit | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._parties = {_certificate_name(name): party for name, party in parties.items()}
        if len(self._parties) < len(parties):
            raise ValueError("a certificate is named twice")
        self._judge_scopes = _judging_scopes(required, scope_tree)
        self._records = Records("certificate", audit, None)

    def presented(self, request: HttpRequest) -> bool:
        """Return True if the client has proved to own a certificate, and shows nothing else.

        :class:`AnyOf` judges or refuses another credential, and passes none over for it.
        """
        return request.certificate is not None and not authorization_of(request)

    def challenges(self) -> tuple[str, ...]:
        """Return no challenge: certificates are asked for by TLS."""
        return ()

    def __call__(self, request: HttpRequest) -> Verdict:
        """Judge a request."""
        certificate = request.certificate
        if certificate is None:
            # No 401: that has a challenge, and would send a client for a token.
            text = "there is no client certificate"
            return self._records.refuse(request, Denied(status=INSUFFICIENT.status, reason=text))
        name = certificate.fingerprint
        known = self._parties.get(name) or self._parties.get(certificate.subject)
        if known is None:
            denied = Denied(
                status=INSUFFICIENT.status, reason="the client certificate is of nobody known here"
            )
            return self._records.refuse(request, denied, name[:16])
        ends = certificate.expires_at
        if ends is not None and ends <= self._wall():  # TLS looks when a connection begins
            denied = Denied(status=INSUFFICIENT.status, reason="the client certificate has expired")
            return self._records.refuse(request, denied, name[:16])
        scopes = self._judge_scopes(known.scopes)
        if isinstance(scopes, Denied):
            return self._records.refuse(request, scopes, name[:16])
        until = _until(ends, self._wall)
        principal = Principal(known.principal, scopes=scopes, roles=known.roles, until=until)
        return self._records.admit(request, principal, name[:16])


_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_ATTRIBUTE = (
    rf"(?:{'|'.join(ATTRIBUTES.values())})="
    r'(?![ #])(?:\\(?:[ #",+;<>\\]|00)|[^\\",+;<> ]| (?![,+]|\Z))*'
)
_SUBJECT = re.compile(rf"{_ATTRIBUTE}(?:[,+]{_ATTRIBUTE})*")
"""Subjects with one spelling each, whoever has read the certificate."""


def _certificate_name(text: str) -> str:
    """Return a fingerprint or subject as it is looked up.  Raises ValueError for neither."""
    digest = text.lower().removeprefix("sha256 fingerprint=").replace(":", "")
    if _FINGERPRINT.fullmatch(digest):
        return digest
    if not _SUBJECT.fullmatch(text):
        form = f"a SHA-256, or a subject like CN=ann,O=Example of {', '.join(ATTRIBUTES.values())}"
        raise ValueError(f"a certificate is named by {form}, not by {text!r}")
    return text


class BehindProxy:
    """Certificates of clients that a proxy in front passes on in the header Client-Cert (RFC 9440).

    ``scheme``: judges the requests.  ``proxies``: addresses or networks of the proxies; they verify
    the certificates, and let none of their clients send that header.  From any other address the
    header counts for nothing; from a proxy, the certificate of its own connection does.  ``audit``:
    called for each header that cannot be read; of other requests the scheme tells by its own.

    Raises ValueError for what is no address, ExtraMissingError without the extra ``auth``.
    """

    def __init__(
        self, scheme: Scheme, proxies: Iterable[str], *, audit: Audit | None = None
    ) -> None:
        from mcpcore_transports.auth.signing import subject_of  # late: few authorize

        self._scheme = scheme
        self._records = Records("certificate", audit, None)
        self._networks = read_networks(proxies)
        if not self._networks:
            raise ValueError("BehindProxy takes at least one address of a proxy")
        self._subject_of = subject_of
        self.documents: Mapping[str, bytes] = scheme.documents

    def presented(self, request: HttpRequest) -> bool:
        """Return True if a request comes with a credential, or a certificate of any form."""
        seen = self._seen(request)
        return seen is None or self._scheme.presented(seen)

    def challenges(self) -> tuple[str, ...]:
        """Return the challenges of the scheme."""
        return self._scheme.challenges()

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Judge a request."""
        seen = self._seen(request)
        if seen is None:
            text = "the header Client-Cert cannot be read"
            denied = Denied(status=MALFORMED_CREDENTIALS.status, reason=text)
            return self._records.refuse(request, denied)
        return self._scheme(seen)

    def _seen(self, request: HttpRequest) -> HttpRequest | None:
        """Return a request with the certificate of its client; None if that cannot be read."""
        if not comes_from(request.proxy or request.peer, self._networks):
            return request
        values = [value for name, value in request.headers if name == b"client-cert"]
        if not values:
            return structs.replace(request, certificate=None)
        found = _BYTES.fullmatch(values[0]) if len(values) == 1 else None
        try:
            der = b"" if found is None else a2b_base64(found[1], strict_mode=True)
            certificate = ClientCertificate(subject=self._subject_of(der), der=der)
        except ValueError:
            return None
        return structs.replace(request, certificate=certificate)


_BYTES = re.compile(rb"[ \t]*:([A-Za-z0-9+/=]+):[ \t]*")
"""Byte sequence of a structured field (RFC 8941 section 3.3.5)."""


def read_keys_file(path: str) -> tuple[ApiKey, ...]:
    """Return the records of a file of API keys: a JSON array, or one record a line.

    Raises OSError; ValueError for a file that cannot be read as one.
    """
    with Path(path).open("rb") as file:
        body = file.read(16 * 1024 * 1024)
    try:
        if body.lstrip().startswith(b"["):
            return msgspec.json.decode(body, type=tuple[ApiKey, ...])
        return tuple(msgspec.json.Decoder(ApiKey).decode_lines(body))
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from None
