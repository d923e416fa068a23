"""Checks of the head of a request: client, method and content types.

Sources: RFC 9110 section 15.5 (statuses); the Fetch standard, "CORS protocol"; the Streamable HTTP
pages, "Security Warning", "Sending Messages" and, for 2026-07-28, "Backward Compatibility".
"""

from collections.abc import Callable, Iterable, Mapping
from typing import cast

from msgspec import Struct

from mcpcore.http import headers
from mcpcore.http.documents import PREFLIGHT_AGE, Documents
from mcpcore.http.headers import Alike, Fields, HeaderError, HeaderLines
from mcpcore.http.messages import HttpRequest
from mcpcore.http.origin import OriginPolicy
from mcpcore.http.principals import Refusal
from mcpcore.http.server.exchange import Exchange, RequestFields, Terms
from mcpcore.http.settings import HttpSettings
from mcpcore.spec import refusals
from mcpcore.spec.revisions import Revision
from mcpcore.wire.jsontext import to_json

_UNCODED = "identity"
_PLAIN = ((headers.ACCEPT_ENCODING, _UNCODED.encode()),)
_VARY = (b"vary", b"Origin")
_ASKED_METHOD = b"access-control-request-method"
_ASKED_HEADERS = b"access-control-request-headers"
_EXPOSED = (
    b"access-control-expose-headers",
    b", ".join(
        (
            *(headers.SESSION_ID, headers.PROTOCOL_VERSION, headers.RETRY_AFTER),
            *(b"www-authenticate", b"dpop-nonce"),
        )
    ),
)
_CROSS_ORIGIN_HEADERS = frozenset(
    {
        b"accept",
        b"authorization",
        b"dpop",
        headers.CONTENT_TYPE,
        headers.LAST_EVENT_ID,
        headers.MCP_METHOD,
        headers.MCP_NAME,
        headers.PROTOCOL_VERSION,
        headers.SESSION_ID,
    }
)
_PRIVATE: "Lines" = ((headers.CACHE_CONTROL, b"no-store"), (b"vary", b"Authorization"))
_MOST_TERMS = 256
_LONGEST_TERMS = 1024


Values = tuple[bytes | None, ...]
Lines = tuple[tuple[bytes, bytes], ...]


class Admitted(Struct, frozen=True, eq=False):
    """Admitted POST and its parsed head, kept for further requests with an equal head."""

    gate: "Gate"
    path: str
    scheme: str
    fields: RequestFields
    extra: Lines


def private_lines(principal: str) -> "Lines":
    """Return the headers of the replies to a principal: kept by no cache, and its own ones."""
    return _PRIVATE + getattr(principal, "lines", ())


class Gate:
    """Admission of requests; refused ones get their reply here."""

    def __init__(self, settings: HttpSettings, legacy: Iterable[Revision]) -> None:
        """``legacy``: the revisions served with sessions; without any there is only POST."""
        self._settings = settings
        self._versions = frozenset(revision.name for revision in legacy)
        self._policy = OriginPolicy(settings.allowed_hosts, settings.allowed_origins)
        with_sessions = self._versions and settings.sessions
        self._methods: dict[str | None, tuple[str, ...]] = {
            settings.path: ("POST", "GET", "DELETE") if with_sessions else ("POST",)
        }
        if settings.sse is not None:
            self._methods |= {settings.sse.stream: ("GET",), settings.sse.messages: ("POST",)}
        self._terms: dict[tuple[str, Values | None], tuple[Terms, Lines]] = {}
        """Terms and reply headers of admitted requests, by scheme and by the fields that decide."""
        self._lines = headers.response_lines(settings.headers)
        self.tell: Callable[[HttpRequest, str], object] | None = None
        """Function that is told of each request whose Host or Origin is refused, and why."""
        self._documents = Documents(settings.documents, settings.documents_age)

    def asks_who(self, head: HttpRequest) -> bool:
        """Return True if a request must be authenticated; preflights have no credentials."""
        return head.path in self._methods and head.method != "OPTIONS"

    def recall(self, head: HttpRequest) -> Admitted | None:
        """Return the record of an earlier admitted POST with an equal head; None without one."""
        if head.method != "POST":
            return None
        lines = head.headers
        assert isinstance(lines, HeaderLines)  # noqa: S101 - those of a request
        alike: Alike | None = getattr(lines, "alike", None)
        if alike is not None:
            if not 0 < lines.length <= self._settings.max_body:
                return None
            known = alike.note
            if (
                type(known) is Admitted
                and known.gate is self
                and known.path == head.path
                and known.scheme == head.scheme
            ):
                return known
        return self._recognise(head) if head.path == self._settings.path else None

    def _recognise(self, head: HttpRequest) -> Admitted | None:
        fields = RequestFields(head.headers)
        known = self._terms.get((head.scheme, fields.values_of(headers.DECIDING)))
        if known is None:
            return None
        try:
            length = headers.body_length(fields)
        except HeaderError:
            return None
        if length is None or not 0 < length <= self._settings.max_body:
            return None
        fields.read_session()
        fields.terms, extra = known
        return self._note(head, fields, extra, length)

    def _note(
        self, head: HttpRequest, fields: RequestFields, extra: Lines, wanted: int
    ) -> Admitted:
        lines = cast(HeaderLines, head.headers)
        known = Admitted(self, head.path, head.scheme, fields.deciding(lines), extra)
        alike = getattr(lines, "alike", None)
        if alike is None:
            alike = lines.alike = Alike()
            lines.length, lines.session = wanted, fields.session_id
        alike.note = known
        return known

    def admit(
        self,
        exchange: Exchange,
        head: HttpRequest,
        *,
        closing: bool,
        unready: Mapping[str, object],
        refusal: Refusal | None = None,
    ) -> bool:
        """Check all but the method; return False if the reply is ready.

        ``unready``: what a health check says if the server is not ready; nothing if it is.
        """
        exchange.extra = self._lines
        if head.path in self._settings.health_paths and head.method in ("GET", "HEAD"):
            if head.path == f"{self._settings.health_path}/live" or not unready:
                exchange.reply(200, b'{"status":"ok"}\n')
            else:
                body = to_json({"status": "unavailable", **unready}) + b"\n"
                exchange.reply(refusals.NOT_READY.status, body)
            return False
        document = self._documents.reply(head)
        if document is not None:
            if document.status == refusals.METHOD_NOT_ALLOWED.status:
                self._wrong_method(exchange, head, document.headers)
            else:
                exchange.reply(document.status, document.body, document.headers)
            return False
        origin, problem = self._origin(exchange.fields, head.scheme)
        if problem is not None:
            exchange.refuse(refusals.HOST_OR_ORIGIN, problem)
            if self.tell is not None:
                self.tell(head, problem)
            return False
        exchange.extra = self._readable_by(origin)
        page = self._settings.pages.get(head.path)
        if page is not None and head.method in ("GET", "HEAD"):
            shown = page(head)
            exchange.reply(shown.status, shown.body, shown.headers)
            return False
        methods = self._methods.get(head.path)
        if (head.method, head.path) == ("OPTIONS", "*"):  # RFC 9110 section 9.3.7
            exchange.reply(204, b"", (_allowed(self._methods[self._settings.path]),))
        elif methods is None:
            text = f"nothing is served at {headers.quoted(head.path)}"
            exchange.refuse(refusals.UNKNOWN_PATH, text)
        elif head.method == "OPTIONS":
            self._preflight(exchange, methods, cross_origin=origin is not None)
        elif head.method not in methods:
            self._wrong_method(exchange, head, (_allowed(methods),))
        elif refusal is not None:
            row = refusals.UNAUTHENTICATED
            exchange.refuse(row, refusal.message, refusal.lines(), status=refusal.status)
        else:
            try:
                exchange.fields.read()
            except HeaderError as error:
                exchange.refuse(refusals.MALFORMED_VERSION, f"header mismatch: {error}")
                return False
            exchange.terms, exchange.session_id = exchange.fields.terms, exchange.fields.session_id
            if closing:
                exchange.refuse(refusals.SHUTTING_DOWN)
            return not closing
        return False

    def readable(self, head: HttpRequest | None) -> Lines:
        """Return the header lines of any reply, which let a page of an allowed origin read it."""
        if head is None:
            return self._lines
        origin, problem = self._origin(Fields(head.headers), head.scheme)
        return self._readable_by(None if problem is not None else origin)

    def _readable_by(self, origin: str | None) -> Lines:
        if origin is None:
            return self._lines
        allowed = b"access-control-allow-origin", origin.encode("ascii")
        return (*self._lines, allowed, _EXPOSED, _VARY)

    def _origin(self, fields: Fields, scheme: str) -> tuple[str | None, str | None]:
        """Return the Origin of a request, and the reason to refuse it or its Host, if any."""
        try:
            origin = fields.one(headers.ORIGIN)
            return origin, self._policy.check(fields.one(headers.HOST), origin, scheme)
        except HeaderError as error:
            return None, str(error)

    def post_wanted(self, exchange: Exchange, head: HttpRequest) -> int:
        """Return :meth:`body_wanted`, and remember an admitted head for equal ones."""
        wanted = self.body_wanted(exchange)
        fields = exchange.fields
        # Without a length, that of the body is limited by this server alone.
        if wanted and headers.TRANSFER_ENCODING not in fields:
            self._note(head, fields, exchange.extra, wanted)
            values = fields.values_of(headers.DECIDING)
            if values is not None and sum(len(each or b"") for each in values) <= _LONGEST_TERMS:
                if len(self._terms) >= _MOST_TERMS:
                    self._terms.clear()
                self._terms[head.scheme, values] = exchange.terms, exchange.extra
        return wanted

    def body_wanted(self, exchange: Exchange) -> int:
        """Return the number of bytes of a POST to read, 0 if it is refused."""
        content_type = exchange.fields.all(headers.CONTENT_TYPE)
        limit = self._settings.max_body
        if not headers.is_json(content_type):
            given = "missing" if content_type is None else headers.quoted(content_type)
            text = f"the Content-Type must be {headers.JSON} (UTF-8), it is {given}"
            exchange.refuse(refusals.CONTENT_TYPE, text)
        elif (exchange.fields.all(headers.CONTENT_ENCODING) or _UNCODED).lower() != _UNCODED:
            exchange.refuse(refusals.CONTENT_CODING, more=_PLAIN)
        elif not (exchange.terms.accepts_json or exchange.terms.accepts_stream):
            text = f"the Accept header allows neither {headers.JSON} nor {headers.EVENT_STREAM}"
            exchange.refuse(refusals.NOT_ACCEPTABLE, text)
        else:
            try:
                length = headers.body_length(exchange.fields)
            except HeaderError as error:
                exchange.refuse(refusals.BODY_LENGTH, str(error))
                return 0
            if length is None:
                return limit
            if 0 < length <= limit:
                return length
            if length:
                self.too_large(exchange)
            else:
                exchange.refuse(refusals.EMPTY_BODY)
        return 0

    def too_large(self, exchange: Exchange) -> None:
        """Refuse a body that is longer than the limit."""
        text = f"the body is larger than {self._settings.max_body} bytes"
        exchange.refuse(refusals.BODY_TOO_LARGE, text)

    def stateful(self, exchange: Exchange, head: HttpRequest) -> bool:
        """Check a GET or DELETE, which only legacy revisions have; return False if refused."""
        claimed = exchange.claimed
        if claimed is not None and claimed.modern:
            text = f"{head.method} is not part of protocol version {claimed.name}"
            exchange.refuse(refusals.MODERN_METHOD, text, ((headers.ALLOW, b"POST, OPTIONS"),))
        elif not self.version_served(exchange):
            pass
        elif head.method == "GET" and not exchange.terms.accepts_stream:
            exchange.refuse(refusals.NO_EVENT_STREAM)
        elif exchange.session_id is None:
            exchange.refuse(refusals.SESSION_MISSING, "the Mcp-Session-Id header is missing")
        else:
            return True
        return False

    def version_served(self, exchange: Exchange) -> bool:
        """Check the version of a legacy request, which may be absent; return False if refused."""
        version = exchange.terms.version
        if version is None or version in self._versions:
            return True
        served = ", ".join(sorted(self._versions, reverse=True))
        text = f"unsupported protocol version {headers.quoted(version)}; supported: {served}"
        exchange.refuse(refusals.UNSUPPORTED_VERSION, text)
        return False

    def _wrong_method(self, exchange: Exchange, head: HttpRequest, lines: Lines) -> None:
        text = f"the method {headers.quoted(head.method)} is not allowed here"
        exchange.refuse(refusals.METHOD_NOT_ALLOWED, text, lines)

    def _preflight(
        self, exchange: Exchange, methods: tuple[str, ...], *, cross_origin: bool
    ) -> None:
        lines = [_allowed(methods)]
        fields = exchange.fields
        if cross_origin and _ASKED_METHOD in fields:
            asked = (fields.all(_ASKED_HEADERS) or "").lower().encode("latin-1").split(b",")
            granted = sorted(set(filter(_may_cross, map(bytes.strip, asked))))
            lines += [
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", b", ".join(granted)),
                PREFLIGHT_AGE,
            ]
        exchange.reply(204, b"", tuple(lines))


def _allowed(methods: tuple[str, ...]) -> tuple[bytes, bytes]:
    return headers.ALLOW, ", ".join((*methods, "OPTIONS")).encode()


def _may_cross(name: bytes) -> bool:
    mirrored = name.startswith(headers.MCP_PARAM_PREFIX) and headers.is_token(name)
    return mirrored or name in _CROSS_ORIGIN_HEADERS
