"""Format of traces: the traffic of connections, one JSON object a line.

The first line is a :class:`Header`, every other one a :class:`Record`.  :class:`RecordBuilder`
makes records of the bytes on the wire: it finds their kind, hides the secrets and limits the size.
docs/reference/traces.md describes the format for authors of other readers.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, Required, TypedDict, Unpack, get_args

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from mcpcore.errors import BadTrace
from mcpcore.trace.redaction import Redactor

FORMAT = 1
"""Version of the format: the first member of a trace's first line."""

Side = Literal["client", "server"]
Direction = Literal["to-server", "to-client"]
TO_SERVER: Direction = "to-server"
TO_CLIENT: Direction = "to-client"

RecordKind = Literal[
    "request",
    "notification",
    "result",
    "error",
    "batch",
    "invalid",
    "http-request",
    "http-response",
    "http-body",
    "http-end",
    "sse-event",
    "sse-comment",
    "ping",
    "pong",
    "close",
    "binary",
    "opened",
    "closed",
    "full",
    "note",
]
KINDS: tuple[str, ...] = get_args(RecordKind)
MESSAGES: frozenset[str] = frozenset(KINDS[:6])
"""Kinds that are JSON-RPC, or should have been."""

RECORD_SIZE = 256 * 1024
"""Default maximum bytes of a message that one record holds."""

RequestId = str | int
_LINE_BREAK = re.compile(rb"(\r?\n)")


class Header(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """First line of a trace: the recorded side, its connection, and the time."""

    trace: int
    """Version of the format, ``FORMAT``."""
    started: str = ""
    """Wall-clock time of 0.0: RFC 3339, UTC."""
    side: Side
    """Side that recorded."""
    binding: str = ""
    """stdio, http, sse, websocket, tcp, unix, memory; "" if records of kind ``opened`` tell."""
    program: str = ""
    """Program that recorded: name and version."""
    target: str = ""
    """Address or program that it talked to or served."""
    redacted: bool = True
    """True if secrets were taken out."""


class Record(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """Recorded event: a message, an HTTP head, a control frame, or a change of the connection."""

    time: float
    """Seconds since the start of the trace."""
    kind: RecordKind
    direction: Direction | None = None
    """Direction of the bytes; None for events of the connection itself."""
    connection: int = 1
    """Number of the connection; over HTTP it is that of the endpoint or the client."""
    stream: int = 0
    """Over HTTP: number of the exchange of a request and a response; else 0."""
    text: str | None = None
    """Message, head or reason: as it was, but for hidden secrets and the cut end."""
    data: bytes | None = field(name="bytes", default=None)
    """Content that is not UTF-8, instead of ``text``; base64 in the file.  At most one of both is
    set."""
    method: str | None = None
    """Method of a request or a notification."""
    id: RequestId | None = None
    """Id of a request, a result or an error."""
    status: int | None = None
    """Status of an HTTP response, or the code of a WebSocket's close."""
    event: str | None = None
    """Type of the server-sent event that carried it; None if there was none."""
    event_id: str | None = None
    retry: int | None = None
    """Milliseconds given by the event."""
    binding: str | None = None
    """Binding of a connection that was opened."""
    correlation: int | None = None
    """Number of a request of a client, in the two traces of who has passed it on; its outcome has
    the same."""
    cut: int = 0
    """Bytes left out at the end, for the limit of a record."""
    redactions: tuple[str, ...] = ()
    """Places where secrets were hidden: a path in the message, ``header NAME``, ``query NAME``."""

    @property
    def payload(self) -> bytes:
        """Bytes that were on the wire, as far as they were kept."""
        return self.data if self.data is not None else (self.text or "").encode()


class _Envelope(Struct):
    """Members of a message that tell its kind."""

    jsonrpc: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_HEADER = msgspec.json.Decoder(Header)
_RECORD = msgspec.json.Decoder(Record)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ENCODER = msgspec.json.Encoder()


def encode_line(item: Header | Record) -> bytes:
    """Encode one line of a trace, its newline included."""
    return _ENCODER.encode(item) + b"\n"


def decode_line(line: bytes) -> Header | Record:
    """Decode a line.  Raises BadTrace, which says why it cannot be read."""
    try:
        try:
            return _RECORD.decode(line)
        except msgspec.ValidationError:
            found = msgspec.json.decode(line)
            if not (isinstance(found, dict) and "trace" in found):
                raise
        header = _HEADER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadTrace(str(error)) from None
    if header.trace != FORMAT:
        raise BadTrace(f"format {header.trace} of traces is not known, {FORMAT} is")
    return header


def classify(data: bytes) -> tuple[RecordKind, str | None, RequestId | None]:
    """Return the kind, method and id of a JSON-RPC message."""
    if data.lstrip(b" \t\r\n")[:1] == b"[":
        return "batch", None, None
    try:
        found = _ENVELOPE.decode(data)
        data.decode()
        value = None if found.id is UNSET else msgspec.json.decode(found.id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "invalid", None, None
    method = found.method if isinstance(found.method, str) else None
    known = isinstance(value, (str, int)) and not isinstance(value, bool)
    identity: RequestId | None = value if known else None
    if method is not None:
        if found.id is UNSET:
            return "notification", method, None
        return ("request" if known else "invalid"), method, identity
    if (found.result is UNSET) is (found.error is UNSET):
        return "invalid", None, identity
    return ("error" if found.result is UNSET else "result"), None, identity


class Facts(TypedDict, total=False):
    """Members of a record that stand there as they are given; see :class:`Record`."""

    time: Required[float]
    direction: Direction | None
    connection: int
    stream: int
    status: int | None
    event: str | None
    event_id: str | None
    retry: int | None
    binding: str | None


class RecordBuilder:
    """Makes the records of one trace; a secret has the same mark throughout."""

    def __init__(self, redactor: Redactor | None, *, record_size: int | None = RECORD_SIZE) -> None:
        """Make a builder; ``redactor`` None keeps secrets, ``record_size`` None sets no limit."""
        self._redactor = redactor
        self._size = record_size

    def message(
        self,
        data: bytes,
        *,
        otherwise: RecordKind = "invalid",
        dropped: int = 0,
        **facts: Unpack[Facts],
    ) -> Record:
        """Record a JSON-RPC message.

        ``otherwise`` is the kind of an input that is no message; ``dropped`` the number of bytes at
        its end that were not kept.
        """
        kind, method, identity = classify(data)
        kind = otherwise if kind == "invalid" else kind
        record = self.note(kind, data=data, dropped=dropped, **facts)
        if method is None and identity is None:
            return record
        if self._redactor is not None:
            if method is not None:
                method = self._redactor.text(method)[0]
            if isinstance(identity, str):
                identity = self._redactor.text(identity)[0]
        return msgspec.structs.replace(record, method=method, id=identity)

    def head(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        method: str = "",
        target: str = "",
        **facts: Unpack[Facts],
    ) -> Record:
        """Record the head of an HTTP request (``method``, ``target``) or response (``status``).

        Its text has the start line and the fields, one a line, as HTTP/1.1 writes them.
        """
        places: list[str] = []
        fields: Sequence[tuple[bytes, bytes]] = list(headers)
        if self._redactor is not None:
            fields, places = self._redactor.headers(fields)
            target, more = self._redactor.target(target)
            places = more + places
        status = facts.get("status")
        start = f"{method} {target}" if status is None else f"{status}"
        lines = [start.encode("utf-8", "surrogateescape")]
        lines += [name + b": " + value for name, value in fields]
        text, data, cut = self._bounded(b"\n".join(lines))
        kind: RecordKind = "http-request" if status is None else "http-response"
        told = tuple(places)
        return Record(kind=kind, text=text, data=data, cut=cut, redactions=told, **facts)

    def unread_head(self, data: bytes, **facts: Unpack[Facts]) -> Record:
        """Record input that came in place of an HTTP head and is none."""
        places: list[str] = []
        if self._redactor is not None:
            start, *rest = _LINE_BREAK.split(data)
            words = []
            for word in start.decode("latin-1").split(" "):
                safe, more = self._redactor.target(word) if "?" in word else (word, [])
                words.append(safe.encode("latin-1"))
                places += more
            fields = [line.partition(b":") for line in rest]
            shown, more = self._redactor.headers((name, value) for name, _, value in fields)
            colons = [colon for _, colon, _ in fields]
            lines = [
                name + colon + value for (name, value), colon in zip(shown, colons, strict=True)
            ]
            places += more
            data = b"".join((b" ".join(words), *lines))
        record = self.note("invalid", data=data, **facts)
        return msgspec.structs.replace(record, redactions=(*places, *record.redactions))

    def note(
        self,
        kind: RecordKind,
        *,
        data: bytes | None = None,
        dropped: int = 0,
        **facts: Unpack[Facts],
    ) -> Record:
        """Record anything else; ``data`` holds the bytes on the wire or a description."""
        if data is None:
            return Record(kind=kind, cut=dropped, **facts)
        places: list[str] = []
        if self._redactor is not None:
            if facts.get("event") == "endpoint":  # of HTTP+SSE: its query is the session
                url, places = self._redactor.target(data.decode("utf-8", "surrogateescape"))
                data = url.encode("utf-8", "surrogateescape")
            else:
                data, places = self._redactor.data(data)
        text, kept, cut = self._bounded(data)
        cut, told = cut + dropped, tuple(places)
        return Record(kind=kind, text=text, data=kept, cut=cut, redactions=told, **facts)

    def _bounded(self, data: bytes) -> tuple[str | None, bytes | None, int]:
        """Return the kept part as text or as bytes, and the number of bytes cut."""
        kept = data
        if self._size is not None and len(data) > self._size:
            kept = data[: self._size]
            while kept and kept != data and data[len(kept)] & 0xC0 == 0x80:
                kept = kept[:-1]  # not within a character
        cut = len(data) - len(kept)
        try:
            return kept.decode(), None, cut
        except UnicodeDecodeError:
            return None, kept, cut
