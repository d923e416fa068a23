"""Header fields of MCP over HTTP: names, parsing, and the encoding of values; gzip of replies.

Sources: RFC 9110 sections 5 (fields), 8.3 (Content-Type), 8.4 (codings) and 12.5 (negotiation); the
Streamable HTTP pages, for 2026-07-28 its section "Request Metadata" (mirrored headers, base64
form).  Field names are lower-case bytes throughout, as the HTTP parsers of the drivers give and
take them.
"""

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence

from mcpcore.wire.redaction import shown_headers

Headers = Sequence[tuple[bytes, bytes]]
HeaderList = list[tuple[bytes, bytes]]

ACCEPT = b"accept"
ACCEPT_ENCODING = b"accept-encoding"
ALLOW = b"allow"
CACHE_CONTROL = b"cache-control"
CONTENT_ENCODING = b"content-encoding"
CONTENT_LENGTH = b"content-length"
CONTENT_TYPE = b"content-type"
HOST = b"host"
LAST_EVENT_ID = b"last-event-id"
ORIGIN = b"origin"
RETRY_AFTER = b"retry-after"
TRANSFER_ENCODING = b"transfer-encoding"
WWW_AUTHENTICATE = b"www-authenticate"

PROTOCOL_VERSION = b"mcp-protocol-version"
SESSION_ID = b"mcp-session-id"
MCP_METHOD = b"mcp-method"
MCP_NAME = b"mcp-name"
MCP_PARAM_PREFIX = b"mcp-param-"

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

SECURITY = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""Header lines of every response: a browser that opens one shows plain data, which loads nothing,
is in no frame, and is never taken for another type (WHATWG Fetch, "X-Content-Type-Options")."""
_OURS = frozenset(
    {
        *(CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING),
        *(ALLOW, RETRY_AFTER, WWW_AUTHENTICATE),
        *(b"connection", b"date", b"keep-alive", b"trailer", b"upgrade", b"vary"),
        *(HOST, b"proxy-connection", b"te"),
    }
)
"""Response fields that a server of MCP sets itself, beside those that begin with ``mcp-`` and
``access-control-``."""

_OWS = b" \t"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MEDIA_TYPE = re.compile(r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)/([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*")
_FIELD_TEXT = re.compile(rb"[\t\x20-\x7e]*")
# Strings, which re compiles at first use: few media types have parameters.
_PARAMETER = r'\s*;\s*(?:([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*))?\s*'
_QUALITY = r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?"
_VISIBLE = re.compile(r"[\x21-\x7e]+")

_QUOTED = 60

_SENTINEL_START = "=?base64?"
_SENTINEL_END = "?="


_NONE: dict[bytes, list[bytes]] = {}
"""Shared empty dict of the many heads without repeated fields."""


DECIDING = (
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HOST,
    LAST_EVENT_ID,
    ORIGIN,
    TRANSFER_ENCODING,
    PROTOCOL_VERSION,
)
"""Fields that decide, with path, scheme and length, on a POST and the form of its reply."""


def decides(name: bytes) -> bool:
    """Return True if a field may decide on a request; length and session are read each time."""
    if name.startswith(b"mcp-"):
        return name != SESSION_ID
    return name in DECIDING


class Alike:
    """Shared record of requests that differ in no deciding field."""

    __slots__ = ("note",)

    def __init__(self) -> None:
        self.note: object = None
        """Finding about one of the requests that holds for all of them."""


class HeaderLines(list[tuple[bytes, bytes]]):
    """Field lines of a request; a parser that keeps equal ones sets all three attributes."""

    __slots__ = ("alike", "length", "session")

    alike: Alike
    length: int
    """Number of bytes of the body, by Content-Length; 0 without one."""
    session: str | None

    def __repr__(self) -> str:
        return repr(shown_headers(self))


class HeaderError(ValueError):
    """A field that must be refused; the message names the field and the reason."""


class Fields:
    """Fields of one message head by name, without the whitespace around them (RFC 9110 5.5)."""

    __slots__ = ("_first", "_more")

    def __init__(self, headers: Headers) -> None:
        self._first: dict[bytes, bytes] = {}
        self._more: dict[bytes, list[bytes]] = _NONE
        if headers:
            names, values = zip(*headers, strict=True)
            self._first = dict(zip(map(bytes.lower, names), values, strict=True))
            if len(self._first) < len(headers):  # some are repeated
                self._first, self._more = {}, {}
                for name, value in headers:
                    name = name.lower()
                    if name in self._first:
                        self._more.setdefault(name, []).append(value)
                    else:
                        self._first[name] = value

    def __contains__(self, name: bytes) -> bool:
        return name in self._first

    def one(self, name: bytes) -> str | None:
        """Return the value of a field that may occur once, None if it is absent.

        Raises HeaderError if it is repeated, or holds other than visible ASCII, space and tab.
        """
        value = self._first.get(name)
        if value is None:
            return None
        if name in self._more:
            raise HeaderError(f"the {_shown(name)} header is given more than once")
        value = value.strip(_OWS)
        if not _FIELD_TEXT.fullmatch(value):
            raise HeaderError(f"the {_shown(name)} header contains invalid characters")
        return value.decode("ascii")

    def all(self, name: bytes) -> str | None:
        """Return the values of a list field joined by commas, as Latin-1; None if it is absent."""
        value = self._first.get(name)
        if value is None:
            return None
        if name in self._more:
            values = (value, *self._more[name])
            value = b", ".join([each.strip(_OWS) for each in values])
        return value.strip(_OWS).decode("latin-1")

    def values_of(self, names: Iterable[bytes]) -> tuple[bytes | None, ...] | None:
        """Return the raw values of fields; None if any field of the head is repeated."""
        return tuple(map(self._first.get, names)) if self._more is _NONE else None

    def mirrored(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return values and, apart, errors of ``Mcp-Param-*`` fields by the rest of their names.

        An error counts only if the field is recognized ("Server Behavior for Custom Headers").
        """
        said: dict[str, str] = {}
        unreadable: dict[str, str] = {}
        for name in self._first:
            if name.startswith(MCP_PARAM_PREFIX):
                rest = name[len(MCP_PARAM_PREFIX) :].decode("ascii", "replace")
                try:
                    said[rest] = self._decoded(name)
                except HeaderError as error:
                    unreadable[rest] = str(error)
        return said, unreadable

    def name(self) -> str | None:
        """Return the decoded ``Mcp-Name``, None if it is absent. Raises HeaderError."""
        return self._decoded(MCP_NAME) if MCP_NAME in self._first else None

    def _decoded(self, name: bytes) -> str:
        value = self.one(name)
        try:
            return decode_value(value or "")
        except HeaderError as error:
            raise HeaderError(f"the {_shown(name)} header {error}") from None


def quoted(value: str) -> str:
    """Quote a value of a client for an error message, in visible ASCII and shortened."""
    short = value if len(value) <= _QUOTED else value[:_QUOTED] + "..."
    return '"' + "".join(c if " " <= c <= "~" and c != '"' else "?" for c in short) + '"'


def _shown(name: bytes) -> str:
    text = "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))
    return text.replace("Mcp-Protocol", "MCP-Protocol")


def encode_value(value: str) -> str:
    """Encode any text as a header value: unchanged if that is safe, else in the base64 form.

    Raises HeaderError for lone surrogates, which have no UTF-8.
    """
    visible = value.isascii() and value.isprintable() and value == value.strip(" ")
    if visible and not _looks_encoded(value):
        return value
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise HeaderError("a lone surrogate cannot be sent in a header") from None
    return f"{_SENTINEL_START}{b64encode(data).decode('ascii')}{_SENTINEL_END}"


def decode_value(value: str) -> str:
    """Decode a value of :func:`encode_value`; a value without the exact markers is literal.

    Raises HeaderError if the part between them is not canonical base64 of UTF-8.
    """
    if not _looks_encoded(value):
        return value
    inner = value[len(_SENTINEL_START) : -len(_SENTINEL_END)]
    try:
        data = b64decode(inner, validate=True)
    except ValueError as error:
        raise HeaderError(f"is no valid base64: {error}") from None
    if b64encode(data).decode("ascii") != inner or len(value) < len(_SENTINEL_START) + 2:
        raise HeaderError("is no canonical base64")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise HeaderError("is base64 of something that is not UTF-8") from None


def _looks_encoded(value: str) -> bool:
    return value.startswith(_SENTINEL_START) and value.endswith(_SENTINEL_END)


def is_token(name: bytes) -> bool:
    """Return True if ``name`` can be a field name (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(name) is not None


def is_field_text(value: bytes) -> bool:
    """Return True if ``value`` can be a field value: visible ASCII, space and tab only."""
    return _FIELD_TEXT.fullmatch(value) is not None


def response_lines(headers: Iterable[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header lines of every response: SECURITY, and what an application has set.

    One that it has set replaces that of its name; an empty value drops it.  Raises ValueError for
    what cannot be sent, and for fields that are not the application's to set.
    """
    lines = dict(SECURITY)
    for name, value in headers:
        key, text = name.lower().encode(), value.encode()
        if not (is_token(key) and is_field_text(text)) or text != text.strip(_OWS):
            raise ValueError(f"the response header {name!r} cannot be sent")
        if key in _OURS or key.startswith((b"mcp-", b"access-control-")):
            raise ValueError(f"the response header {name!r} is not yours to set")
        lines[key] = text
    return tuple((key, text) for key, text in lines.items() if text)


def is_session_id(value: str) -> bool:
    """Return True if ``value`` is only visible ASCII (0x21 to 0x7E), as session ids must be."""
    return _VISIBLE.fullmatch(value) is not None


def quality(accept: str | None, media_type: str) -> float:
    """Return the weight of ``media_type`` in an ``Accept`` value: 0 means not acceptable.

    The most specific range decides. A missing header accepts everything.
    """
    if accept is None or accept == ACCEPT_BOTH:
        return 1.0
    main, _, sub = media_type.partition("/")
    best = (-1, 0.0)
    for element in _split_list(accept):
        match = _MEDIA_TYPE.match(element)
        parameters = None if match is None else _parameters(element, match.end())
        # Of the parameters only q has a meaning for event streams and JSON.
        if match is None or parameters is None:
            continue
        weight = parameters.get("q", "1")
        kind, subtype = match[1].lower(), match[2].lower()
        if not re.fullmatch(_QUALITY, weight):
            continue
        if kind == main and subtype == sub:
            specificity = 2
        elif kind == main and subtype == "*":
            specificity = 1
        elif kind == subtype == "*":
            specificity = 0
        else:
            continue
        best = max(best, (specificity, float(weight)))
    return best[1]


ACCEPT_BOTH = f"{JSON}, {EVENT_STREAM}"


def _split_list(value: str) -> list[str]:
    if '"' not in value:
        return value.split(",")
    return re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', value)


def _parameters(value: str, start: int) -> dict[str, str] | None:
    """Parse ``;name=value`` pairs from ``start`` to the end; None for any other text."""
    found: dict[str, str] = {}
    while start < len(value):
        match = re.compile(_PARAMETER).match(value, start)
        if match is None:
            return None
        if match[1] is not None:
            text = match[2]
            if text.startswith('"'):
                text = re.sub(r"\\(.)", r"\1", text[1:-1])
            found.setdefault(match[1].lower(), text)
        start = match.end()
    return found


def media_type(value: str) -> tuple[str, dict[str, str]] | None:
    """Parse a ``Content-Type``: lower-cased type and parameters, None if malformed."""
    match = _MEDIA_TYPE.match(value)
    if match is None:
        return None
    parameters = _parameters(value, match.end())
    return None if parameters is None else (f"{match[1]}/{match[2]}".lower(), parameters)


def is_json(content_type: str | None) -> bool:
    """Return True if a body with this ``Content-Type`` is JSON in UTF-8.

    A missing type is not: browsers can send such requests to other origins without a preflight.
    """
    if content_type == JSON:
        return True
    parsed = media_type(content_type) if content_type is not None else None
    if parsed is None or parsed[0] != JSON:
        return False
    return parsed[1].get("charset", "utf-8").lower() in ("utf-8", "utf8")


def body_length(fields: Fields) -> int | None:
    """Return the declared length of a body in bytes: 0 if there is none, None if it is chunked.

    Raises HeaderError for a length that is not a plain number, or that contradicts the chunks.
    """
    announced = fields.one(CONTENT_LENGTH)
    if TRANSFER_ENCODING in fields:
        if announced is not None:
            raise HeaderError("Content-Length and Transfer-Encoding stand together")
        return None
    if announced is None:
        return 0
    if not announced.isascii() or not announced.isdigit() or len(announced) > 18:
        raise HeaderError("the Content-Length header is not a number")
    return int(announced)


VARIES = (b"vary", ACCEPT_ENCODING)
"""Header of every reply whose form depends on the codings that its client accepts."""
GZIP_LINE = (CONTENT_ENCODING, b"gzip")

PIECE = 256 * 1024
"""Maximum bytes compressed at once, which takes some milliseconds."""
_LEVEL = 1
"""Compression level; higher ones take three times as long, for a tenth less of JSON."""
_GZIP = 16 + zlib.MAX_WBITS
_ELEMENT = r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*(?:;\s*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"


def takes_gzip(accept_encoding: str | None) -> bool:
    """Return True if ``Accept-Encoding`` allows gzip and does not prefer an uncompressed reply."""
    if accept_encoding is None or accept_encoding == "identity":
        return False
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        if match := re.fullmatch(_ELEMENT, element):
            name = match[1].lower().removeprefix("x-")
            weights.setdefault(name, 1.0 if match[2] is None else float(match[2]))
    gzip = weights.get("gzip", weights.get("*", 0.0))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


class Packing:
    """Compressor of one body, a piece at a time."""

    def __init__(self, body: bytes) -> None:
        self._left = memoryview(body)
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    @property
    def done(self) -> bool:
        """True if there is no further piece."""
        return not self._left

    def next(self) -> bytes:
        """Return the next piece, which is never empty."""
        piece, self._left = self._left[:PIECE], self._left[PIECE:]
        end = zlib.Z_SYNC_FLUSH if self._left else zlib.Z_FINISH
        return self._stream.compress(piece) + self._stream.flush(end)


def unpacker() -> Callable[[bytes], bytes]:
    """Return a function that decompresses trusted output of a :class:`Packing`, piece by piece."""
    return zlib.decompressobj(_GZIP).decompress
