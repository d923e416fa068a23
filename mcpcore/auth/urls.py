"""URLs of OAuth: which may be fetched, opened and compared, and where metadata is found.

One policy for every URL that another party names: ``https``, or ``http`` on loopback if that is
allowed; no user information, no fragment, no character that a terminal or a second parser could
read differently, and none that a shell reads where a browser is sent; no host that is a private,
loopback or otherwise special address, however it is spelled.  The drivers apply :func:`is_public`
to resolved addresses as well.

Sources: RFC 3986 sections 2 and 3; RFC 8414 section 3.1, RFC 9728 sections 3.1, 3.3 and 7.7
(metadata URLs), OpenID Connect Discovery section 4; RFC 8707 section 2; the authorization pages,
"Canonical Server URI"; the security best practices page (allowed schemes, SSRF).
"""

import re
from collections.abc import Mapping
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct

from mcpcore.errors import UrlRefused

MAX_URL = 4096
"""Characters of a URL."""

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f]{0,4}:[0-9a-f:.]{1,40}\]|[0-9A-Za-z](?:[0-9A-Za-z\-._]{0,252}[0-9A-Za-z])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[0-9A-Za-z\-._~:/\[\]@!$&'()*+,;=%]*)?"
    r"(?P<query>\?[0-9A-Za-z\-._~:/?\[\]@!$&'()*+,;=%]*)?",
    re.IGNORECASE | re.ASCII,  # without ASCII, the Kelvin sign is a letter k
)
_ORIGIN = re.compile(r"https?://[0-9A-Za-z\-._:\[\]]+(?=[/?]|\Z)", re.IGNORECASE | re.ASCII)
_NUMERIC = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)", re.IGNORECASE | re.ASCII)
_SHELL = re.compile(r"[!$'()*;\[\]]")
_PORTS = {"https": 443, "http": 80}
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL = IPv6Network("2000::/3")
"""Addresses of the public Internet; others are refused unseen."""


def _networks(*texts: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))


_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
"""Private networks (RFC 1918, 4193, 6598)."""
_NEVER = (
    # Special purposes, of which each version of Python knows others (RFC 6890, 7526, 9637)
    *_networks("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20"),
    # Places beside link-local addresses where clouds keep credentials: Alibaba, Amazon, Google,
    # Linode, Microsoft, Oracle, Scaleway
    *_networks("100.100.100.200", "fd00:100::100:200", "fd00:ec2::/32", "fd20:ce::254"),
    *_networks("fd00:a9fe:a9fe::1", "168.63.129.16", "fd00:c1::a9fe:a9fe", "fd00:42::42"),
)
"""Addresses that are neither public nor opened as those of a private network."""
RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
_SERVER = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"


class Url(Struct, frozen=True):
    """Parsed absolute URL without user information and fragment."""

    text: str
    """The URL as it was written."""
    scheme: str
    host: str
    """Host in lower case; an IPv6 address without its brackets."""
    port: int
    path: str
    """Path as written; "" if there is none."""
    query: str
    """Query with its question mark, or ""."""

    @property
    def origin(self) -> str:
        """Scheme, host and port as text, without a default port (RFC 6454)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def loopback(self) -> bool:
        """True for ``localhost``, names below it and addresses of loopback."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        address = literal(self.host)
        return address is not None and _plain(address).is_loopback


def parse_url(text: str, what: str) -> Url:
    """Return the parts of a URL.  Raises UrlRefused, which names ``what``, for any other text."""
    match = _URL.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None:
        raise UrlRefused(what, "it is not a plain http or https URL")
    scheme = match["scheme"].lower()
    host = match["host"].lower().strip("[]")
    port = int(match["port"] or _PORTS[scheme])
    if not 0 < port < 65536:
        raise UrlRefused(what, "its port is out of range")
    if (":" in host or _NUMERIC.fullmatch(host)) and literal(host) is None:
        raise UrlRefused(what, "its host is no valid IP address")
    if ".." in host:
        raise UrlRefused(what, "its host has an empty label")
    return Url(text, scheme, host, port, match["path"] or "", match["query"] or "")


def check_url(text: str, what: str, *, loopback: bool = False, private: bool = False) -> Url:
    """Return the parts of a URL that may be fetched or opened.

    ``loopback``: True allows loopback hosts, and ``http`` there.  ``private``: True allows
    addresses of private networks.  Raises UrlRefused.
    """
    url = parse_url(text, what)
    if url.loopback:
        if not loopback:
            raise UrlRefused(what, "its host is this machine")
        address = literal(url.host)
        if url.host != "localhost" and (address is None or not address.is_loopback):
            # A name below localhost is whatever a resolver says, and so is a translated address.
            raise UrlRefused(what, "its host is this machine in another spelling than usual")
        return url
    if url.scheme != "https":
        raise UrlRefused(what, "it is not an https URL")
    address = literal(url.host)
    if address is not None and not is_public(address, private=private):
        raise UrlRefused(what, f"its host is not a public address{private_hint(address)}")
    return url


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that ``host`` is in its usual spelling, None for a name."""
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def is_public(address: IPv4Address | IPv6Address | str, *, private: bool = False) -> bool:
    """Return True if connections to ``address`` leave the machine and its private networks.

    ``private``: True takes addresses of private networks for public ones.  An IPv6 address that
    stands for an IPv4 one (mapped, NAT64, 6to4, Teredo) is judged as that.
    """
    if isinstance(address, str):
        try:
            address = ip_address(address)
        except ValueError:
            return False
    plain = _plain(address)
    if any(plain in network for network in _NEVER):
        return False
    if private and any(plain in network for network in _PRIVATE):
        return True
    if isinstance(plain, IPv6Address) and plain not in _GLOBAL:
        return False
    return plain.is_global and not plain.is_multicast


def private_hint(address: IPv4Address | IPv6Address | str) -> str:
    """Return the end of a sentence about a refused address: the setting that allows it, if any."""
    if not is_public(address, private=True):
        return ""
    return "; the setting `private` allows those of private networks"


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, or ``address``."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, address))[1]


def canonical_resource(text: str) -> str:
    """Return the resource identifier of an MCP endpoint.

    Scheme and host in lower case, no default port, no slash that stands alone; the query is a part
    of it (RFC 8707 section 2, RFC 9728 section 3.1).
    """
    url = parse_url(text, "the URL of the server")
    return url.origin + ("" if url.path == "/" else url.path) + url.query


def lower_origin(text: str) -> str:
    """Return a URL with scheme and host in lower case, and any other text as it is.

    The case of these two means nothing (RFC 3986 section 6.2.2.1); all else is compared as text.
    """
    origin = _ORIGIN.match(text)
    return text if origin is None else origin[0].lower() + text[origin.end() :]


def same_issuer(one: str, other: str) -> bool:
    """Return True for names of one issuer: the same text, a slash that is the whole path apart.

    Such names are one URL (RFC 3986 section 6.2.3), and their metadata is at one place (RFC 8414
    section 3.1); servers and issuers of many large providers do not agree on the slash.
    """
    short, long = sorted((one, other), key=len)
    return one == other or (long == f"{short}/" and "/" not in short.partition("://")[2])


def covers(resource: str, server: str, *, root: bool = True) -> bool:
    """Return True if protected resource metadata for ``resource`` may speak for ``server``.

    It is about that very server, a slash at the end apart (RFC 9728 section 3.3); a resource with a
    query stands for that alone.  One without stands for each query of its path, as an identifier
    should have none (section 1.2), while URLs have them for parameters and keys: what answers for a
    path answers for all its queries, so that none can impersonate another (section 7.3).  ``root``:
    True for metadata of the well-known place of the origin, which may be about the whole origin, as
    the authorization pages let clients ask there; no other parent path will do.
    """
    try:
        wide, narrow = (parse_url(text, "the resource") for text in (resource, server))
    except UrlRefused:
        return False
    if wide.origin != narrow.origin or (wide.query and wide.query != narrow.query):
        return False
    path = wide.path.rstrip("/")
    return path == narrow.path.rstrip("/") or (root and not path)


def resource_metadata_urls(server: str) -> tuple[str, ...]:
    """Return the well-known URLs of protected resource metadata, in the order to ask."""
    url = parse_url(server, "the URL of the server")
    root = url.origin + RESOURCE_METADATA
    own = root + canonical_resource(server).removeprefix(url.origin)
    return (root,) if own == root else (own, root)


def server_metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return the well-known URLs of authorization server metadata, in the order to ask."""
    url = parse_url(issuer, "the issuer")
    if url.query:
        raise UrlRefused("the issuer", "it has a query")
    path = url.path.rstrip("/")
    if not path:
        return (url.origin + _SERVER, url.origin + _OPENID)
    return (
        f"{url.origin}{_SERVER}{path}",
        f"{url.origin}{_OPENID}{path}",
        f"{url.origin}{path}{_OPENID}",
    )


def with_query(endpoint: Url, params: Mapping[str, str]) -> str:
    """Return the URL of an authorization request (RFC 6749 section 3.1: its query is kept).

    Raises UrlRefused if the endpoint's own query holds one of ``params``, or if the endpoint holds
    characters that a shell reads: a browser may be started by one.
    """
    what = "the authorization endpoint"
    if _SHELL.search(endpoint.text):
        raise UrlRefused(what, "it holds characters that a shell reads")
    own = {name for name, _ in parse_qsl(endpoint.query[1:], keep_blank_values=True)}
    if own & params.keys():
        raise UrlRefused(what, "its query holds a parameter of the request")
    query = urlencode(params)
    glue = "&" if len(endpoint.query) > 1 else ("" if endpoint.query else "?")
    return f"{endpoint.text}{glue}{query}"
