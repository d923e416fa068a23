"""Requests of an HTTP client: their targets and headers.

Source: the Streamable HTTP pages, for 2026-07-28 its section "Request Metadata".
"""

from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from mcpcore.engine.events import Route
from mcpcore.engine.transmit import Transmit
from mcpcore.http import headers
from mcpcore.http.messages import HttpSend
from mcpcore.spec.revisions import Revision
from mcpcore.wire.redaction import shown_url

Lines = list[tuple[bytes, bytes]]

_OURS = frozenset(
    {
        headers.ACCEPT,
        headers.CONTENT_LENGTH,
        headers.CONTENT_TYPE,
        headers.HOST,
        headers.LAST_EVENT_ID,
        headers.MCP_METHOD,
        headers.MCP_NAME,
        headers.PROTOCOL_VERSION,
        headers.SESSION_ID,
        headers.TRANSFER_ENCODING,
        b"connection",
    }
)
_LONGEST_ID = 4096
"""Maximum characters of an event id that is sent back."""


class Planner:
    """Builder of the requests to one server.

    Raises ValueError for a URL that is not http(s) with a host, or that holds credentials, and for
    headers that cannot be sent or are reserved for the engine.
    """

    def __init__(self, url: str, own: tuple[tuple[str, str], ...]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{shown_url(url)!r} is no http:// or https:// URL")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL holds credentials; send them in a header")
        self._url = url
        self._origin = _origin(parts)
        self.target = _target(parts)
        if not _is_sendable(self.target):
            raise ValueError(f"the path of {shown_url(url)!r} must be percent-encoded")
        host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._base: Lines = [(headers.HOST, host), *map(own_header, own)]

    def request(
        self,
        route: Route,
        method: str,
        lines: Lines,
        *,
        session: str | None,
        version: Revision | None,
        target: str | None = None,
        **more: Any,
    ) -> HttpSend:
        """Build a request; ``version``: the revision of the version header, None without one.

        ``target``: path and query, if not those of the URL.
        """
        lines = [*self._base, *lines]
        if session is not None:
            lines.append((headers.SESSION_ID, session.encode("ascii")))
        if version is not None:
            lines.append((headers.PROTOCOL_VERSION, version.name.encode("ascii")))
        target = self.target if target is None else target
        return HttpSend(exchange=route, method=method, target=target, headers=lines, **more)

    def endpoint(self, uri: bytes, base: str) -> str:
        """Return the target for POSTs that the event stream at ``base`` (path and query) names.

        Raises ValueError for an invalid URI, or one of another origin.
        """
        text = uri.decode("utf-8", "replace")
        if not 0 < len(text) <= _LONGEST_ID or not _is_sendable(text) or "\\" in text:
            raise ValueError("it is no URI")
        return self._resolve(text, base)

    def _resolve(self, text: str, base: str) -> str:
        """Return the target of a reference within our origin.  Raises ValueError."""
        parts = urlsplit(urljoin(urljoin(self._url, base), text))
        target = _target(parts)
        if "@" in parts.netloc or _origin(parts) != self._origin:
            raise ValueError("it is of another origin")
        if not _is_sendable(target):
            raise ValueError("it is no URI")
        return target

    def another(self) -> str:
        """Return a question about the usual path, for users of a URL that answers 404; or ""."""
        parts = urlsplit(self._url)
        if parts.path.endswith(_USUAL):
            return ""
        return f"; is it {parts.scheme}://{parts.netloc}{_USUAL}?"

    def moved(self, location: str | None, base: str = "") -> str | None:
        """Return the target of a redirect within our origin; None if it leads elsewhere or nowhere.

        ``base``: path and query of the request, if not those of the URL.
        """
        try:
            return self._resolve(location, base) if location else None
        except ValueError:
            return None


_USUAL = "/mcp"
_PORTS = {"http": 80, "https": 443}


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_sendable(target: str) -> bool:
    return target.isascii() and not any(char <= " " or char == "\x7f" for char in target)


def post_lines(frame: Transmit, size: int) -> Lines:
    """Return the header lines of a POST with a body of ``size`` bytes, mirrored ones included."""
    lines = [
        (headers.ACCEPT, headers.ACCEPT_BOTH),
        (headers.CONTENT_TYPE, headers.JSON.encode()),
        (headers.CONTENT_LENGTH, b"%d" % size),
    ]
    mirror = frame.mirror
    if mirror is not None:
        mirrored = {headers.MCP_METHOD: mirror.method, headers.MCP_NAME: mirror.name}
        for name, text in mirror.params.items():
            mirrored[headers.MCP_PARAM_PREFIX + name.lower().encode("ascii")] = text
        lines += [
            (name, headers.encode_value(text).encode("ascii"))
            for name, text in mirrored.items()
            if text is not None
        ]
    return lines


def own_header(header: tuple[str, str]) -> tuple[bytes, bytes]:
    """Check a header that the application of a client wants sent.  Raises ValueError."""
    name, value = (text.encode("utf-8", "surrogatepass") for text in (header[0].lower(), header[1]))
    if not headers.is_token(name):
        raise ValueError(f"{header[0]!r} is no header name")
    if name in _OURS or name.startswith(headers.MCP_PARAM_PREFIX):
        raise ValueError(f"the header {header[0]!r} is set by the engine")
    if not headers.is_field_text(value):
        raise ValueError(f"the value of the header {header[0]!r} cannot be sent")
    return name, value


def sendable_event_id(id: str) -> bool:
    """Return True if an event id can be sent in a header: short, without control characters."""
    return len(id) <= _LONGEST_ID and all(char >= " " and char != "\x7f" for char in id)
