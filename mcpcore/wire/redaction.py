"""Showing what may hold credentials: header fields, subprotocols and URLs, without these.

What a client proves its identity with must not reach a log, an error or a ``repr``.  Which fields
do is known of a few only (RFC 9110 sections 11.6.2 and 11.7.2, RFC 6265); of others the name has to
tell, such as ``X-Api-Key``.  A URL keeps its secrets in the userinfo and in the query (RFC 3986
sections 3.2.1 and 7.5).
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

HIDDEN = "<...>"
"""Stands for what is not shown."""
TOKEN_PREFIX = "mcp.auth."  # noqa: S105 - how one begins, not one
"""A subprotocol that begins so is an access token."""

_SECRET = rb"auth|cookie|token|secret|key|session|passw|credential|signature|assertion|jwt"
_PROTOCOLS = b"sec-websocket-protocol"
_OFFERED = rb"mcp\.auth\.[^,\s]*"


class Discreet(Struct, frozen=True):
    """A Struct with fields that a ``repr`` must not show as they are."""

    def __shown__(self) -> Mapping[str, object]:
        """Those fields, as they may be shown."""
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


def is_secret_header(name: bytes) -> bool:
    """Whether the value of the header field may be a credential, by its name."""
    return re.search(_SECRET, name, re.IGNORECASE) is not None


def shown_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Header fields as they may be shown: the value of those that may be credentials is hidden.

    Of subprotocols only the tokens are.  A session id counts as a credential: who knows it may use
    the session where nobody is authenticated.
    """
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
    """Headers or variables of a user as they may be shown: the names; a function as it is."""
    return dict.fromkeys(mapping, HIDDEN) if isinstance(mapping, Mapping) else mapping


def shown_target(target: str) -> str:
    """The target of a request, path and query, as it may be shown: without what is in the query."""
    path, mark, query = target.partition("?")
    return f"{path}?{HIDDEN}" if mark and query else target


def shown_url(url: str) -> str:
    """A URL as it may be shown: without userinfo, query and fragment.

    Also what is no URL, where the parts can only be guessed: then rather too little is shown.
    """
    from urllib.parse import urlsplit  # here and not above: few programs show a URL

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
        rest = HIDDEN  # the mark may have been a part of the password
    return f"{scheme}{slashes}{rest}"


def shown_flaw(url: str, error: ValueError) -> str:
    """What a parser says is wrong with ``url``; it repeats parts of it."""
    return "it is malformed" if "@" in url else str(error)
