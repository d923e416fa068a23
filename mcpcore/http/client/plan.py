"""Requests of an HTTP client: their targets and headers.

Source: the Streamable HTTP pages, for 2026-07-28 its section "Request Metadata".
"""

from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urljoin, urlsplit

from mcpcore.engine.events import Route
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.headers import (
    ACCEPT,
    ACCEPT_BOTH,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EVENT_STREAM,
    HOST,
    JSON,
    LAST_EVENT_ID,
    MCP_METHOD,
    MCP_NAME,
    MCP_PARAM_PREFIX,
    PROTOCOL_VERSION,
    SESSION_ID,
    TRANSFER_ENCODING,
    encode_value,
    is_field_text,
    is_token,
)
from mcpcore.http.messages import HttpSend
from mcpcore.spec.revisions import Revision
from mcpcore.wire.redaction import shown_url

Lines = list[tuple[bytes, bytes]]

_OURS = frozenset(
    {
        ACCEPT,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        HOST,
        LAST_EVENT_ID,
        MCP_METHOD,
        MCP_NAME,
        PROTOCOL_VERSION,
        SESSION_ID,
        TRANSFER_ENCODING,
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

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...]) -> None:
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
        self._base: Lines = [(HOST, host), *map(own_header, headers)]

    def post(
        self,
        route: Route,
        frame: Transmit,
        *,
        session: str | None,
        version: Revision | None,
        timeout: float | None = None,
        target: str | None = None,
    ) -> HttpSend:
        """Build the POST of one message; ``version`` is the revision of the version header.

        ``version`` None: no such header.  ``target``: path and query, if not those of the URL.
        """
        body = b"".join(frame.data)
        lines = [
            *self._base,
            (ACCEPT, ACCEPT_BOTH),
            (CONTENT_TYPE, JSON.encode()),
            (CONTENT_LENGTH, b"%d" % len(body)),
        ]
        _add_context(lines, session, version)
        mirror = frame.mirror
        if mirror is not None:
            for field, value in (
                (MCP_METHOD, mirror.method),
                (MCP_NAME, mirror.name),
                *_mirrored(mirror.params),
            ):
                if value is not None:
                    lines.append((field, encode_value(value).encode("ascii")))
        return HttpSend(
            exchange=route,
            method="POST",
            target=self.target if target is None else target,
            headers=lines,
            body=body,
            timeout=timeout,
            repeatable=frame.kind is not FrameKind.REQUEST or frame.repeatable,
        )

    def get(
        self,
        route: Route,
        *,
        session: str | None,
        version: Revision | None,
        last_event_id: str = "",
        after: float | None = None,
        target: str | None = None,
        timeout: float | None = None,
    ) -> HttpSend:
        """Build the GET that opens a stream, or resumes one after ``last_event_id``.

        ``target``: path and query if the stream has moved.  ``timeout``: seconds until it must
        begin.
        """
        lines = [*self._base, (ACCEPT, EVENT_STREAM.encode())]
        _add_context(lines, session, version)
        if last_event_id:
            # UTF-8, as the HTML standard has it ("Processing model").
            lines.append((LAST_EVENT_ID, last_event_id.encode()))
        return HttpSend(
            exchange=route,
            method="GET",
            target=self.target if target is None else target,
            headers=lines,
            after=after,
            head_timeout=timeout,
        )

    def delete(
        self,
        route: Route,
        *,
        session: str,
        version: Revision | None,
        timeout: float | None = None,
    ) -> HttpSend:
        """Build the DELETE that ends a session."""
        lines = [*self._base]
        _add_context(lines, session, version)
        return HttpSend(
            exchange=route, method="DELETE", target=self.target, headers=lines, timeout=timeout
        )

    def endpoint(self, uri: bytes, base: str) -> str:
        """Return the target for POSTs that the event stream at ``base`` (path and query) names.

        Raises ValueError for an invalid URI, or one of another origin.
        """
        text = uri.decode("utf-8", "replace")
        if not 0 < len(text) <= _LONGEST_ID or not _is_sendable(text) or "\\" in text:
            raise ValueError("it is no URI")
        parts = urlsplit(urljoin(urljoin(self._url, base), text))
        if "@" in parts.netloc or _origin(parts) != self._origin:
            raise ValueError("it is of another origin")
        return _target(parts)

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
        if not location:
            return None
        try:
            parts = urlsplit(urljoin(urljoin(self._url, base), location))
            target = _target(parts)
            if _origin(parts) != self._origin or "@" in parts.netloc or not _is_sendable(target):
                return None
        except ValueError:
            return None
        return target


_USUAL = "/mcp"
_PORTS = {"http": 80, "https": 443}


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_sendable(target: str) -> bool:
    return target.isascii() and not any(char <= " " or char == "\x7f" for char in target)


def _mirrored(params: Mapping[str, str]) -> Iterator[tuple[bytes, str]]:
    for name, text in params.items():
        yield MCP_PARAM_PREFIX + name.lower().encode("ascii"), text


def _add_context(lines: Lines, session: str | None, version: Revision | None) -> None:
    if session is not None:
        lines.append((SESSION_ID, session.encode("ascii")))
    if version is not None:
        lines.append((PROTOCOL_VERSION, version.name.encode("ascii")))


def own_header(header: tuple[str, str]) -> tuple[bytes, bytes]:
    """Check a header that the application of a client wants sent.  Raises ValueError."""
    name, value = (text.encode("utf-8", "surrogatepass") for text in (header[0].lower(), header[1]))
    if not is_token(name):
        raise ValueError(f"{header[0]!r} is no header name")
    if name in _OURS or name.startswith(MCP_PARAM_PREFIX):
        raise ValueError(f"the header {header[0]!r} is set by the engine")
    if not is_field_text(value):
        raise ValueError(f"the value of the header {header[0]!r} cannot be sent")
    return name, value


def sendable_event_id(id: str) -> bool:
    """Return True if an event id can be sent in a header: short, without control characters."""
    return len(id) <= _LONGEST_ID and all(char >= " " and char != "\x7f" for char in id)
