"""Heads of HTTP/1.x messages: found in a buffer, parsed, refused where parsers disagree.

Usual heads of requests are read here, line by line with a cache of lines.  All others are read by
h11, or by httptools if the extra ``speed`` is installed.  Of httptools only the division into
header lines is used, where it is unambiguous and h11 has no objection to Host and
Transfer-Encoding; else h11 decides.  So all of them accept the same heads, with the same meaning.

Heads that two parsers could read differently are refused here: bare CR or LF, folded lines,
repeated or listed Content-Length, Content-Length beside Transfer-Encoding, control characters,
targets that are no path or contradict Host, and versions other than 1.0 and 1.1 (RFC 9112 sections
2.2, 3.2, 5.2, 6.1 and 11.2).
"""

import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Literal, TypeVar

import h11
from msgspec import Struct, structs

from mcpcore.errors import ExtraMissingError
from mcpcore.http.headers import (
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    EVENT_STREAM,
    PROTOCOL_VERSION,
    SESSION_ID,
    Alike,
    HeaderLines,
    HeaderList,
    decides,
)
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import ClientCertificate
from mcpcore.spec.refusals import (
    EXPECTATION,
    HEAD_TOO_LARGE,
    HTTP_VERSION,
    MALFORMED_REQUEST,
    MISDIRECTED,
    NOT_IMPLEMENTED,
    TARGET_TOO_LONG,
)
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.wire.redaction import HIDDEN, Discreet, is_secret_header, shown_headers
from mcpcore_transports.http1.body import BadHead, ChunkedBody, IncomingBody, LengthBody, StreamBody
from mcpcore_transports.http1.settings import HeadLimits, ParserName

HALF_A_LINE = b"\r"
"""First byte of an empty line, which may precede a head and is neither its part nor its start."""
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([1-9][0-9]*)\r")
_ZERO = ord("0")
_DIGITS = re.compile(rb"[ \t]*[0-9]{1,18}[ \t]*")
_ABSOLUTE = r"(?i:https?)://([^/?#]*)"  # a string, which re compiles at first use
_KNOWN = 1024
"""Maximum number of cached lines, and of kinds of heads."""
_SHORT, _SHORT_LINE = 4096, 256
"""Maximum bytes of a head whose kind is cached, and of a cached line."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_END = b"\r\n\r\n"
_NO_LIMITS = HeadLimits(sys.maxsize, sys.maxsize, sys.maxsize)
_FIRST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/(1\.[01])")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIELD = re.compile(rb"(" + _TOKEN + rb"++):[ \t]*+([!-~]*+(?:[ \t]++[!-~]++)*+)[ \t]*+")
"""Header line as in RFC 9110 section 5.5, in ASCII; a failing match takes linear time."""
_CONNECTION = b"connection"
_FRAMING = frozenset((b"transfer-encoding", b"upgrade", b"expect"))
"""Names of headers that change the end of the message or the steps after it."""
_QUOTED = r": (?=b['\"]|bytearray)"
_ANY_FIRST = rb"(" + _TOKEN + rb"+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n"

T = TypeVar("T")

HeadKind = tuple[bytes, ...]
"""Key of similar heads: first line, deciding lines, and the names of the other lines.

Heads with the same key are read alike."""


class RequestLines(Struct):
    """Parsed head of a request; names in lower case, values without the space around them."""

    method: bytes
    target: bytes
    version: bytes
    headers: HeaderList


Reader = Callable[[bytes], RequestLines]
"""Parser of a complete head.  Raises :class:`BadHead`."""


class RequestHead(Discreet, frozen=True):
    """Head of a request, with the facts that the driver needs.

    ``length``: bytes of the body, None if it is chunked.
    """

    request: HttpRequest
    text: bytes
    """Head as it was received."""
    keep_alive: bool
    http_1_0: bool
    length: int | None
    expects_continue: bool
    upgrade: bool
    plain: bool
    """True for a POST that needs nothing but its body and its reply."""
    around: tuple[bytes, bytes, int] | None = None
    """Text before and behind the length of the body, and the line of that; None until needed."""

    def __shown__(self) -> Mapping[str, object]:
        return {"text": HIDDEN, "around": HIDDEN}

    @property
    def revision(self) -> Revision | None:
        """Revision that the request names, if it names one that exists."""
        return named_revision(self.request)


def named_revision(request: HttpRequest) -> Revision | None:
    """Return the revision that a request names, None if it names none that exists."""
    for name, value in request.headers:
        if name == PROTOCOL_VERSION:
            return BY_NAME.get(value.decode("latin-1"))
    return None


class ResponseHead(Discreet, frozen=True):
    """Head of a response, which must not be changed.

    ``length``: bytes of the body, None if chunked or ended by the stream.
    """

    status: int
    headers: HeaderList
    keep_alive: bool
    length: int | None
    chunked: bool
    codings: list[bytes]
    """Values of Content-Encoding, in order."""
    lasting: bool
    """True for an event stream, whose end is not awaited."""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers)}

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, in order."""
        return [value for key, value in self.headers if key == name]

    def body(self) -> IncomingBody:
        """Return the reader of the body."""
        if self.chunked:
            return ChunkedBody()
        return StreamBody() if self.length is None else LengthBody(self.length)


def find_head(buffer: bytearray, limits: HeadLimits) -> int:
    """Return the length of the head at the start of ``buffer``, or 0 if it is not complete.

    Raises :class:`BadHead` as soon as it can never become an acceptable head.
    """
    if buffer and buffer[0] < 0x21 and buffer[0] != 0x0D:
        raise BadHead("this is not HTTP/1 (TLS on a plain port?)")
    end = buffer.find(b"\r\n\r\n")
    part = buffer if end < 0 else buffer[: end + 4]
    line = part.find(b"\r\n", 0, limits.first_line + 2)
    if line < 0 and len(part.removesuffix(b"\r")) > limits.first_line:  # its LF may be on the way
        raise BadHead(f"the first line is longer than {limits.first_line} bytes", TARGET_TOO_LONG)
    if len(part) > limits.size:
        raise BadHead(f"the header section is larger than {limits.size} bytes", HEAD_TOO_LARGE)
    if part.count(b"\n") != part.count(b"\r\n"):
        raise BadHead("a line of the head ends in LF without CR")
    if end >= 0:
        if part.count(b"\r") != part.count(b"\n"):
            raise BadHead("a CR without LF in the head")
        if part.count(b"\n") - 2 > limits.count:
            raise BadHead(f"more than {limits.count} header lines", HEAD_TOO_LARGE)
        return end + 4
    return 0


def usual(headers: HeaderLines, kind: HeadKind) -> RequestLines | None:
    """Return the lines of a usual head, or None for any other head.

    A usual head is that of a request for a path, with one Host, no field twice, and no framing but
    Content-Length.
    """
    first = _FIRST.fullmatch(kind[0])
    names = {name for name, _ in headers}
    if (
        first is None
        or len(names) != len(headers)
        or b"host" not in names
        or not _FRAMING.isdisjoint(names)
    ):
        return None
    method, target, version = first.groups()
    return RequestLines(method, target, version, headers)


class RequestParser:
    """Parser of request heads, with a cache of header lines and of kinds of heads.

    One parser serves all connections of a server.  Most heads of a client differ in the length of
    the body, in an id or in headers added by a proxy.  Of their other lines, each that decides on
    the admission or meaning of the request is parsed once and cached.
    """

    __slots__ = ("_kinds", "_known", "_lengths", "_limits", "_plain", "_read")

    def __init__(
        self, name: ParserName = "auto", limits: HeadLimits | None = None, *, plain: bool = True
    ) -> None:
        """Create a parser; without ``limits`` heads of any size are taken.

        ``name`` is the parser for heads that are not usual, or, unless ``plain``, for all heads.
        Raises ExtraMissingError if it is not installed.
        """
        self._read = read_by_h11 if chosen(name) == "h11" else _by_httptools()
        self._limits = limits or _NO_LIMITS
        self._plain = plain
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        """Deciding lines as received, each with its name in lower case and its value."""
        self._lengths: dict[bytes, tuple[tuple[bytes, bytes], int]] = {}
        """Lines of Content-Length as received, each with its name and value, and the length."""
        self._kinds: dict[HeadKind, RequestHead] = {}
        """Usual heads, each as the first of its kind was, without its lines and its client."""

    def take(
        self,
        buffer: bytearray,
        peer: str | None = None,
        *,
        scheme: str = "http",
        certificate: ClientCertificate | None = None,
    ) -> RequestHead | None:
        """Remove empty lines and a head from the front of ``buffer``; None if none is complete.

        ``peer`` is the client's address, ``scheme`` that of the connection, ``certificate`` the
        client's (:class:`~mcpcore.http.messages.HttpRequest`).  Raises :class:`BadHead`.
        """
        while buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2
            del buffer[:2]
        if not buffer:
            return None
        size = buffer.find(_END) + 4
        head = bytes(buffer[:size]) if size > 3 else b""
        found = self.read_lines(head) if 0 < len(head) <= self._limits.size else None
        kind = None if found is None else self._kinds.get(found[1])
        # Heads of a known kind differ in nothing but the size.
        if kind is None and not find_head(buffer, self._limits):
            return None
        if found is not None and kind is not None:
            headers, request = found[0], kind.request
            assert isinstance(request.headers, HeaderLines)  # noqa: S101 - that of a usual head
            headers.alike = request.headers.alike
            request = structs.replace(
                request, headers=headers, peer=peer, scheme=scheme, certificate=certificate
            )
            taken = structs.replace(kind, request=request, text=head, length=headers.length)
        elif found is None or (lines := usual(*found)) is None:
            if _CONTROL.search(head):  # RFC 9110 section 5.5; h11 lets some of them pass
                raise BadHead("a control character in the head")
            _refuse_folded(head)
            taken = _request_head(self._read(head), head, peer, scheme, certificate)
        else:
            found[0].alike = Alike()
            taken = _request_head(lines, head, peer, scheme, certificate)
            if len(head) <= _SHORT and not taken.request.query:  # which may hold a session id
                if len(self._kinds) >= _KNOWN:
                    self._kinds.clear()
                self._kinds[found[1]] = _without_secrets(taken, found[0].alike)
        del buffer[:size]
        return taken

    def with_length(self, buffer: bytearray, last: RequestHead) -> RequestHead | None:
        """Remove a head that differs from ``last`` only in the length of the body; else None.

        ``last`` is the head taken before on the same connection.
        """
        text, lines, around = last.text, last.request.headers, last.around
        assert isinstance(lines, HeaderLines)  # noqa: S101 - those of a request
        if around is None:
            found = _LENGTH.search(text)
            if found is None or not buffer.startswith(text[: found.start(1)]):
                return None
            line = lines.index((CONTENT_LENGTH, found[1]))
            around = text[: found.start(1)], text[found.end(1) :], line
        before, behind, line = around
        start = len(before)
        end = buffer.find(b"\r", start, start + 19)
        digits = bytes(buffer[start:end])
        if not digits.isdigit() or digits[0] == _ZERO:
            return None
        text = before + digits + behind
        if not buffer.startswith(text) or len(text) > self._limits.size:
            return None
        del buffer[: len(text)]
        headers = HeaderLines(lines)
        headers[line] = CONTENT_LENGTH, digits
        headers.length = int(digits)
        if (alike := getattr(lines, "alike", None)) is not None:
            headers.alike, headers.session = alike, lines.session
        request = structs.replace(last.request, headers=headers)
        return structs.replace(
            last, request=request, text=text, length=headers.length, around=around
        )

    def read_lines(self, head: bytes) -> tuple[HeaderLines, HeadKind] | None:
        """Read a complete head; None for a line that is not valid ASCII, or an invalid length.

        ``head`` ends with its first empty line.  The result need not be a :func:`usual` head.
        """
        if not self._plain:
            return None
        lines = head[:-4].split(b"\r\n")
        headers = HeaderLines(map(self._known.get, lines))  # type: ignore[arg-type]  # filled below
        del headers[0]
        headers.length, headers.session = 0, None
        at = 0
        for known in headers:
            at += 1
            if known is not None:
                continue
            said = self._lengths.get(lines[at])  # type: ignore[unreachable]
            if said is not None:
                headers[at - 1], headers.length = said
                lines[at] = CONTENT_LENGTH
                continue
            line = _FIELD.fullmatch(lines[at])
            if line is None:
                return None
            name, value = line.groups()
            name = name.lower()
            headers[at - 1] = (name, value)
            if name == CONTENT_LENGTH:
                if not value.isdigit() or len(value) > 18:
                    return None
                headers.length = int(value)
                _keep(self._lengths, lines[at], (headers[at - 1], headers.length))
            elif name == SESSION_ID:
                headers.session = value.decode("ascii")
            elif decides(name) or name == _CONNECTION:
                _keep(self._known, lines[at], headers[at - 1])
                continue
            lines[at] = name  # no line equals a name, as lines have a colon
        return headers, tuple(lines)


def _without_secrets(head: RequestHead, alike: Alike) -> RequestHead:
    """Return a head without the lines and the client of its request."""
    headers = HeaderLines()
    headers.alike = alike
    request = structs.replace(head.request, headers=headers, peer=None, certificate=None)
    return structs.replace(head, request=request, text=b"")


def _keep(known: dict[bytes, T], line: bytes, what: T) -> None:
    if len(line) <= _SHORT_LINE:
        if len(known) >= _KNOWN:
            known.clear()
        known[line] = what


def _request_head(
    lines: RequestLines,
    head: bytes,
    peer: str | None,
    scheme: str,
    certificate: ClientCertificate | None,
) -> RequestHead:
    if lines.version not in (b"1.1", b"1.0"):
        raise BadHead(f"HTTP/{lines.version.decode()} is not supported", HTTP_VERSION)
    http_1_0 = lines.version == b"1.0"
    headers = lines.headers
    length: int | None = _content_length(head)
    connection: set[bytes] = set()
    host = expect = b""
    chunked = upgrade = False
    for name, value in headers:
        if name == b"connection":
            connection.update(token.strip() for token in value.lower().split(b","))
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"host":
            host = value
        elif name == b"expect":
            expect = value.lower()
        elif name == b"upgrade":
            upgrade = True
    if chunked:
        if length is not None:
            raise BadHead("Content-Length and Transfer-Encoding exclude each other")
        if http_1_0:
            raise BadHead("Transfer-Encoding in an HTTP/1.0 request")
    elif length is None:
        length = 0
    if expect and expect != b"100-continue" and not http_1_0:
        raise BadHead("the only expectation supported is 100-continue", EXPECTATION)
    method, target = lines.method.decode("ascii"), lines.target.decode("ascii")
    if method == "CONNECT":
        raise BadHead("this is no proxy: CONNECT is not supported", NOT_IMPLEMENTED)
    path, query = split_target(target, host)
    if not path.startswith("/") and (method, target) != ("OPTIONS", "*"):
        raise BadHead("the request target is no path")  # RFC 9112 section 3.2
    if scheme != "https" and target[:6].lower() == "https:":  # RFC 9110 section 7.4
        raise BadHead("an https target on a connection without TLS", MISDIRECTED)
    keep_alive = not http_1_0 and b"close" not in connection
    upgrade = upgrade and b"upgrade" in connection and not http_1_0
    return RequestHead(
        HttpRequest(
            method=method,
            path=path,
            query=query,
            headers=headers,
            peer=peer,
            scheme=scheme,
            certificate=certificate,
        ),
        head,
        keep_alive=keep_alive,
        http_1_0=http_1_0,
        length=length,
        expects_continue=bool(expect) and not http_1_0 and length != 0,
        upgrade=upgrade,
        plain=method == "POST" and keep_alive and length is not None and not upgrade,
    )


_INTERIM = 64
"""Maximum number of interim (1xx) responses before a final one: no server has a use for more."""
_INTERIM_LINES = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_INTERIM_STATUS = re.compile(rb"1[0-9][0-9][ \r]")
_SHORT_RESPONSE, _FEW = 2048, 64
"""Maximum bytes of a response head that is cached, and number of these."""


class ResponseParser:
    """Parser of response heads, past interim ones; ``upgrade``: status 101 may be the answer."""

    def __init__(self, limits: HeadLimits, *, upgrade: bool = False) -> None:
        self.interim = 0
        """Number of interim responses so far; set it to 0 for the next response."""
        self._limits = limits
        self._upgrade = upgrade
        self._last: tuple[bytes, ResponseHead] | None = None
        """Text of the last head and its meaning, if it may be kept."""

    def take(self, buffer: bytearray) -> ResponseHead | None:
        """Take the head off the start of ``buffer``; None if incomplete.  Raises BadHead."""
        last = self._last
        if last is not None and buffer.startswith(last[0]):
            del buffer[: len(last[0])]
            return last[1]
        while size := find_head(buffer, self._limits):
            raw = bytes(buffer[:size])
            del buffer[:size]
            if not raw.startswith(_INTERIM_LINES) or not _INTERIM_STATUS.match(raw, 9):
                head = _known_response(raw)
                self._last = (raw, head) if raw in _RESPONSES else None
                return head
            if raw[9:12] == b"101":
                if self._upgrade:
                    return parse_response(raw)
                raise BadHead("it switched protocols unasked")
            self.interim += 1
            if self.interim >= _INTERIM:
                raise BadHead(f"{_INTERIM} interim responses")
        return None


_RESPONSES: dict[bytes, ResponseHead] = {}
"""Heads that were parsed, without those that may hold a credential or a session id."""


def _known_response(head: bytes) -> ResponseHead:
    """Parse a head, with a cache: those of a server differ mostly in the second of Date."""
    known = _RESPONSES.get(head)
    if known is None:
        known = parse_response(head)
        secret = any(is_secret_header(name) for name, _ in known.headers)
        if len(head) <= _SHORT_RESPONSE and not secret:
            if len(_RESPONSES) >= _FEW:
                _RESPONSES.clear()
            _RESPONSES[head] = known
    return known


def parse_response(head: bytes) -> ResponseHead:
    """Parse the head of a response, which may grant an upgrade.  Raises :class:`BadHead`."""
    _refuse_folded(head)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(head))
    interim = head.startswith(_INTERIM_LINES)
    if interim:  # status 101 is valid only then
        lines = [("host", ""), ("upgrade", "x"), ("connection", "x")]
        connection.send(h11.Request(method="GET", target="/", headers=lines))
        connection.send(h11.EndOfMessage())
    event = _h11_event(connection, head)
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        raise BadHead("malformed response")
    if event.http_version != b"1.1" and (interim or event.http_version != b"1.0"):
        text = "has no upgrade" if interim else "is not supported"
        raise BadHead(f"HTTP/{event.http_version.decode()} {text}")
    headers: HeaderList = list(event.headers)
    length = _content_length(head)
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    if chunked and length is not None:
        raise BadHead("Content-Length and Transfer-Encoding exclude each other")
    if event.status_code in (204, 304):
        length, chunked = 0, False
    close = any(
        b"close" in (token.strip() for token in value.lower().split(b","))
        for name, value in headers
        if name == b"connection"
    )
    return ResponseHead(
        event.status_code,
        headers,
        keep_alive=event.http_version == b"1.1" and not close and (chunked or length is not None),
        length=length,
        chunked=chunked,
        codings=[value for name, value in headers if name == CONTENT_ENCODING],
        lasting=any(
            name == b"content-type" and EVENT_STREAM.encode() in value.lower()
            for name, value in headers
        ),
    )


def _refuse_folded(head: bytes) -> None:
    if b"\n " in head or b"\n\t" in head:
        raise BadHead("folded header lines are not accepted")


def _content_length(head: bytes) -> int | None:
    """Return the Content-Length, if any.  Raises BadHead if it is repeated or no number."""
    found: list[bytes] = _CONTENT_LENGTH.findall(head)
    if not found:
        return None
    if len(found) > 1 or not _DIGITS.fullmatch(found[0]):
        raise BadHead("Content-Length must be one number, once")
    return int(found[0])


def split_target(target: str, host: bytes) -> tuple[str, str]:
    """Split a request target into path and query.  Raises :class:`BadHead`."""
    if "#" in target:
        raise BadHead("a fragment in the request target")
    absolute = None if target.startswith("/") else re.match(_ABSOLUTE, target)
    if absolute:  # RFC 9112 section 3.2.2: a server has to accept it
        if absolute[1].encode("ascii").lower() != host.lower():
            raise BadHead("the request target contradicts the Host header")
        target = target[absolute.end() :]
        if not target.startswith("/"):
            target = "/" + target
    path, _, query = target.partition("?")
    return path, query


# Libraries


def chosen(name: ParserName) -> Literal["h11", "httptools"]:
    """Return the parser to use; ``auto``: httptools where it is installed.

    Raises ExtraMissingError.
    """
    if name == "h11":
        return "h11"
    if find_spec("httptools") is not None:
        return "httptools"
    if name == "httptools":
        raise ExtraMissingError(
            "the parser httptools is not installed: pip install 'mcpcore[speed]'"
        )
    return "h11"


def read_by_h11(head: bytes) -> RequestLines:
    """Parse the head of a request with h11."""
    event = _h11_event(h11.Connection(h11.SERVER, max_incomplete_event_size=len(head)), head)
    if not isinstance(event, h11.Request):  # pragma: no cover - servers get no other
        raise BadHead("malformed request")
    return RequestLines(event.method, event.target, event.http_version, list(event.headers))


def _h11_event(connection: h11.Connection, head: bytes) -> object:
    """Return the h11 event for a head.  Raises :class:`BadHead`."""
    connection.receive_data(head)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        row = NOT_IMPLEMENTED if error.error_status_hint == 501 else MALFORMED_REQUEST
        raise BadHead(_reason(error), row) from error


def _reason(error: Exception) -> str:
    """Return the message of h11 without the received data, which it quotes as a Python literal."""
    return re.split(_QUOTED, str(error))[0].replace("b'", "'")


class _LineCollector:
    """Callbacks of httptools that collect the header lines."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: HeaderList = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


def _by_httptools() -> Reader:
    """Return a parser of request heads that uses httptools."""
    from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

    first_line = re.compile(_ANY_FIRST).match

    def read(head: bytes) -> RequestLines:
        first = first_line(head)
        if first is None:
            return read_by_h11(head)
        method, target, version = first.groups()
        lines = _LineCollector()
        try:
            HttpRequestParser(lines).feed_data(head)
        except HttpParserUpgrade:
            pass  # another protocol is requested behind the head, which is complete
        except HttpParserError:
            return read_by_h11(head)
        headers = lines.headers
        hosts = codings = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings += 1 if value == b"chunked" else 2
        if (
            len(headers) != head.count(b"\n") - 2
            or hosts > 1
            or (not hosts and version == b"1.1")
            or codings > 1
        ):
            return read_by_h11(head)
        return RequestLines(method, target, version, headers)

    return read
