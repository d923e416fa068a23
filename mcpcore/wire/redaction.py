"""Redaction of credentials: header fields, subprotocols and URLs as they may be shown.

The credentials of a client must not reach a log, an error or a ``repr``.  Only a few fields
are known to hold them (RFC 9110 sections 11.6.2 and 11.7.2, RFC 6265); others are judged by
their name, such as ``X-Api-Key``.  A URL keeps its secrets in the userinfo and in the query
(RFC 3986 sections 3.2.1 and 7.5).
"""

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

from msgspec import Struct

HIDDEN = "<...>"
"""Text that replaces a hidden value."""
TOKEN_PREFIX = "mcp.auth."  # noqa: S105 - how one begins, not one
"""Prefix of the subprotocols that carry an access token."""

_SECRET = rb"auth|cookie|dpop|token|secret|key|session|passw|credential|signature|assertion|jwt"
_PROTOCOLS = b"sec-websocket-protocol"
_OFFERED = rb"mcp\.auth\.[^,\s]*"


class Discreet(Struct, frozen=True):
    """Base of Structs with fields that a ``repr`` must not show as they are."""

    def __shown__(self) -> Mapping[str, object]:
        """Return those fields, as they may be shown."""
        return {}

    def __rich_repr__(self) -> list[tuple[str, object]]:
        shown = self.__shown__()
        return [
            (name, shown[name] if name in shown else getattr(self, name))
            for name in self.__struct_fields__
        ]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


class Secret(str):
    """Text that appears in no log: only :meth:`reveal` gives it as a plain string."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Secret":
        """Create a secret from a text, or from a secret: its text, not ``<secret>``."""
        return super().__new__(cls, str.__str__(text))

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def reveal(self) -> str:
        """Return the text itself, to be written into a request or a store."""
        return str.__str__(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def secret_values(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers of an application whose values no representation shows."""
    return {name: Secret(value) for name, value in headers.items()}


def is_secret_header(name: bytes) -> bool:
    """Return True if the value of the header field may be a credential, by its name."""
    return re.search(_SECRET, name, re.IGNORECASE) is not None


def shown_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return header fields as they may be shown: credentials, tokens and session ids are hidden."""
    hidden = HIDDEN.encode()
    shown = []
    for name, value in headers:
        if name.lower() == _PROTOCOLS:
            value = re.sub(_OFFERED, TOKEN_PREFIX.encode() + hidden, value, flags=re.IGNORECASE)
        elif is_secret_header(name):
            value = hidden
        shown.append((name, value))
    return shown


def shown_names(mapping: object) -> object:
    """Return a user's headers or variables as they may be shown: only names; a function as is."""
    return dict.fromkeys(mapping, HIDDEN) if isinstance(mapping, Mapping) else mapping


def shown_target(target: str) -> str:
    """Return the target of a request as it may be shown: the path, without the query."""
    path, mark, query = target.partition("?")
    return f"{path}?{HIDDEN}" if mark and query else target


def shown_url(url: str) -> str:
    """Return a URL as it may be shown: without userinfo, query and fragment.

    If it is no URL, the parts can only be guessed: then rather too little is shown.
    """
    from urllib.parse import urlsplit  # imported late: few programs show a URL

    head = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, slashes, rest = head.partition("://")
    if not slashes:
        scheme, rest = "", head
    try:
        parts = urlsplit(url)
        well_formed = bool(slashes and parts.hostname) and (parts.port is None or url.isascii())
    except ValueError:
        well_formed = False
    if well_formed:
        host, slash, path = rest.partition("/")
        rest = host.rpartition("@")[2] + slash + path
    elif "@" in rest:
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    elif "@" in url:
        rest = HIDDEN  # "?" or "#" may have been a part of the password
    return f"{scheme}{slashes}{rest}"


def shown_flaw(url: str, error: ValueError) -> str:
    """Return a parser's message on ``url`` as it may be shown; it repeats parts of the URL."""
    return "it is malformed" if "@" in url else str(error)
