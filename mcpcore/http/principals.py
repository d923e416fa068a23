"""Parties that a server tells apart: the principal of a request, or else its address.

An IPv6 /64 network counts as one client (RFC 4291 section 2.5.4, RFC 6177).  Sources: RFC 9110
section 11 (authentication), RFC 6750 section 3 (Bearer challenges); for client certificates RFC
4514 (how a subject is written) and RFC 5280 section 4.2.1.6 (subject alternative names).
"""

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.spec.bounds import check_names
from mcpcore.spec.refusals import UNAUTHENTICATED

if TYPE_CHECKING:  # late: stdio has no HTTP requests
    from mcpcore.http.messages import HttpRequest
else:
    HttpRequest = Any

# RFC 6750 section 2.1; a string, which re compiles at first use: few servers authenticate requests.
_BEARER = r"[A-Za-z0-9\-._~+/]+=*"
_NETWORK_BYTES = 8


class Principal(str):
    """Authenticated party: a name, which is the string itself, with scopes, roles and claims.

    Sessions, sealed state, tasks and quotas are bound to the name: it must belong to one party.
    """

    __slots__ = (
        "challenge",
        "claims",
        "exchangeable",
        "lines",
        "refused",
        "revoked",
        "roles",
        "scopes",
        "until",
    )

    claims: Mapping[str, Any]
    """Claims about the party, read-only."""
    scopes: frozenset[str]
    """Scopes that it has been granted, with all that they imply."""
    roles: frozenset[str]
    until: float | None
    """Time, by the clock of the driver, at which its streams and connections end; None: never."""
    revoked: "Callable[[], bool] | None"
    """Function that returns True once its credential is revoked: then streams end at their next
    heartbeat, connections in 15 seconds; so they do if it raises.  None: it cannot be revoked."""
    challenge: "Challenge | None"
    """Challenge that helps when scopes are missing; None: a plain one of the scheme Bearer."""
    exchangeable: bool
    """True if the request was judged by its bearer token, which is bound to no key: it may be
    exchanged for one of another server (RFC 8693)."""
    lines: tuple[tuple[bytes, bytes], ...]
    """Header lines of the answers to its requests, such as the next DPoP nonce."""
    refused: "OperationRefused | None"
    """Function that is told of each operation that it lacks scopes or a role for; it raises
    nothing."""

    def __new__(
        cls,
        name: str,
        *,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        until: float | None = None,
        revoked: Callable[[], bool] | None = None,
        challenge: "Challenge | None" = None,
        exchangeable: bool = False,
    ) -> "Principal":
        """Create a principal.

        Raises ValueError for a name that is empty or not printable, TypeError for a string or a
        mapping as scopes or roles, and for a time that is none.
        """
        if not name or not name.isprintable():
            raise ValueError("a principal has a printable name")
        check_names(scopes, roles)
        end: object = until
        if end is not None and (not isinstance(end, int | float) or math.isnan(end)):
            raise TypeError(f"until is a time by the clock of the driver, not {until!r}")
        self = super().__new__(cls, name)
        self.scopes, self.roles = frozenset(scopes), frozenset(roles)
        # Copied: a read-only view, too, shows what its maker still changes.
        self.claims = MappingProxyType(dict(claims or {}))
        self.until, self.revoked = until, revoked
        self.challenge, self.lines, self.refused = challenge, (), None
        self.exchangeable = exchangeable
        return self

    @property
    def rights(self) -> tuple[frozenset[str], frozenset[str], str]:
        """Scopes, roles and client, which tell the tokens of one party from each other."""
        client = self.claims.get("client_id") or self.claims.get("azp") or ""
        return self.scopes, self.roles, str(client)

    @property
    def name(self) -> str:
        """Name as a plain string."""
        return str(self)


def has_rights_of(principal: str | None, other: str | None) -> bool:
    """Return True if a party has all scopes and roles of another; plain names have none."""
    if not isinstance(other, Principal) or principal is other:
        return True
    known = principal if isinstance(principal, Principal) else Principal(other.name)
    return other.scopes <= known.scopes and other.roles <= known.roles


def joined(principal: str | None, other: str | None) -> str | None:
    """Return a party with the scopes and roles of both, and the claims of the first with any."""
    if not (isinstance(principal, Principal) and isinstance(other, Principal)):
        return principal if isinstance(principal, Principal) else other
    return Principal(
        principal.name,
        scopes=principal.scopes | other.scopes,
        roles=principal.roles | other.roles,
        claims=principal.claims or other.claims,
    )


class Refusal(Struct, frozen=True, kw_only=True):
    """Refusal of a request that is not authenticated; ``message`` goes to the client.

    ``challenge``: value of WWW-Authenticate, for a 401 ``Bearer``.  Raises ValueError.
    """

    status: int = UNAUTHENTICATED.status
    message: str = UNAUTHENTICATED.message
    challenge: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of the response, for instance Retry-After."""

    def __post_init__(self) -> None:
        from mcpcore.http.headers import is_field_text, is_token  # late: stdio has no refusals

        if not 400 <= self.status <= 599:
            raise ValueError(f"{self.status} is no status of a refusal")
        for name, value in self.lines():
            if not (is_token(name) and is_field_text(value)):
                raise ValueError(f"the header {name!r} of a refusal cannot be sent")

    def lines(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the header lines of the response."""
        challenge = self.challenge
        if challenge is None and self.status == UNAUTHENTICATED.status:
            challenge = "Bearer"
        lines = [] if challenge is None else [("www-authenticate", challenge)]
        return tuple(
            (name.lower().encode(), value.encode()) for name, value in (*lines, *self.headers)
        )


def ends_at(principal: str | None) -> float:
    """Return the time at which the streams and connections of a party end.

    Infinity: never; minus infinity: its credential is revoked.
    """
    if not isinstance(principal, Principal):
        return math.inf
    try:
        if principal.revoked is not None and principal.revoked():
            return -math.inf
    except Exception:  # of the application; nobody knows then
        return -math.inf
    return math.inf if principal.until is None else principal.until


OUTLIVED = "the authorization of the client has ended"
"""Reason for the end of a stream or a connection at that time."""

Challenge = Callable[[frozenset[str], bool], str | None]
"""Function from the scopes that an operation needs, and True if a role is missing, to the value of
WWW-Authenticate."""
OperationRefused = Callable[[str, str | None, str], object]
"""Function for the JSON-RPC method of an operation, the name or URI in it, and the reason."""
Verdict = Principal | Refusal
Authenticate = Callable[[HttpRequest], Verdict | Awaitable[Verdict]]
"""Authentication function of an application: from the head of a request to its principal or a
refusal."""


def bearer_token(request: "HttpRequest") -> str | None:
    """Return the token of an ``Authorization: Bearer`` header; None without a readable one."""
    values = [value for name, value in request.headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].decode("latin-1").strip(" \t").partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and re.fullmatch(_BEARER, token) else None


def address_of(peer: str | None) -> str:
    """Return the host of ``host:port`` or ``[host]:port``; "" if ``peer`` is None."""
    if peer is None:
        return ""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    host, colon, port = peer.rpartition(":")
    return host if colon and port.isdigit() and ":" not in host else peer


def quota_key(address: str) -> str:
    """Return the quota key of an address: an IPv4 address, an IPv6 /64 network, or itself."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(IPv4Address(parsed.ipv4_mapped))
    network = parsed.packed[:_NETWORK_BYTES] + bytes(16 - _NETWORK_BYTES)
    return f"{IPv6Address(network)}/64"


# Client certificates

ATTRIBUTES = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""Attributes of subjects that RFC 4514 section 3 has a short name for, by their long names."""
_SPECIAL = frozenset('",+;<>\\')


class ClientCertificate(Struct, frozen=True, kw_only=True):
    """A verified client certificate whose key the client has proved to own.

    ``subject`` and ``names`` tell parties apart as far as the authorities issue none twice.
    """

    subject: str
    """Subject in the form of RFC 4514, for instance ``CN=ann,O=Example``; "" if it has none."""
    der: bytes
    """The certificate itself, in DER."""
    names: tuple[tuple[str, str], ...] = ()
    """Subject alternative names with their kinds: ``("DNS", "ann.example")``, ``("URI", ...)``,
    ``("email", ...)``, ``("IP Address", ...)``.  Empty if the server in front does not pass them
    on."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of ``der``, in lower-case hexadecimal."""
        from hashlib import sha256  # imported here, as servers without TLS also load this type

        return sha256(self.der).hexdigest()

    @property
    def expires_at(self) -> float | None:
        """End of its validity, in seconds since 1970; None if ``der`` does not tell."""
        return _not_after(self.der)


def _not_after(der: bytes) -> float | None:
    """Return the end of the validity of a certificate (RFC 5280 section 4.1.2.5)."""
    from datetime import UTC, datetime  # late, as above

    try:
        fields = _members(_members(_members(der)[0][1])[0][1])
        versioned = fields[0][0] == _VERSION
        tag, written = _members(fields[3 + versioned][1])[1]
        text = written.decode("ascii")
        if tag == _UTC_TIME:  # with two digits of the year
            text = ("19" if text >= "5" else "20") + text
        if not re.fullmatch(r"\d{14}Z", text):
            return None
        month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
        return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (IndexError, ValueError):
        return None


_VERSION, _UTC_TIME = 0xA0, 0x17


def _members(data: bytes) -> list[tuple[int, bytes]]:
    """Return values in DER, one after the other, as tags and contents (X.690 section 8.1)."""
    found, at = [], 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size >= 0x80:
            begin, at = at, at + size - 0x80
            size = int.from_bytes(data[begin:at])
        found.append((tag, data[at : at + size]))
        at += size
    return found


def write_name(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Write a distinguished name, given as the attributes of each of its parts, in order."""
    parts = [
        "+".join(f"{ATTRIBUTES.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in name
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    text = "".join(
        f"\\{char}" if char in _SPECIAL else "\\00" if char == "\0" else char for char in value
    )
    if text.endswith(" "):
        text = text[:-1] + "\\ "
    return f"\\{text}" if text.startswith((" ", "#")) else text
