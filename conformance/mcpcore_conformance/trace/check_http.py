"""Checks of HTTP: heads, statuses, streams, sessions, and headers that mirror the body."""

from mcpcore.engine.mirror import same_value, value_at
from mcpcore.http.headers import HeaderError, decode_value, encode_value, is_session_id, quality
from mcpcore.spec.json_schema import header_params
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore.trace.format import TO_CLIENT, Record
from mcpcore_conformance.trace.book import Book, Conversation, named_revision
from mcpcore_conformance.trace.dialogue import Exchange, Head, Said, session_of
from mcpcore_conformance.trace.reading import Entry

_JSON, _EVENTS = "application/json", "text/event-stream"
_SESSION, _VERSION = "mcp-session-id", "mcp-protocol-version"
_STATUSES = {
    -32020: ("mismatch-status", 400),
    -32021: ("capability-status", 400),
    -32022: ("version-status", 400),
    -32601: ("method-status", 404),
}
_BODILESS = (202, 204, 304)
_UNDER_WAY = 1.0
"""Seconds in which a request may reach a server that was sent before its 404 was read."""
_WELL_KNOWN = "/.well-known/"
"""Beginning of paths of metadata, which are not the endpoint's (RFC 8615)."""


def check_post(book: Book, talk: Conversation, said: Said, revision: Revision | None) -> None:
    """The head of the POST that brought a message of a client; once for its body."""
    exchange = said.exchange
    head = exchange.request if exchange is not None else None
    if exchange is None or head is None or exchange.asked[0] is not said:
        return
    if _is_pipe(talk):
        return
    for media in (_JSON, _EVENTS):
        if head.get("accept") is None or not quality(head.get("accept"), media):
            text = f"Accept is {head.get('accept')!r}, without {media}"
            book.find("accept", head.line, "client", text, revision)
            break
    if revision is not None and revision.mirror_headers:
        _check_mirror(book, talk, said, head, revision)
    elif said.method != "initialize":
        _check_session(book, talk, head, revision)


def check_other(book: Book, talk: Conversation, head: Head, revision: Revision | None) -> None:
    """The head of a GET or a DELETE."""
    if head.target.startswith(_WELL_KNOWN):
        return
    if head.method == "GET" and revision is not None and revision.get_stream:
        accept = head.get("accept")
        if accept is None or not quality(accept, _EVENTS):
            text = f"Accept is {accept!r}, without {_EVENTS}"
            book.find("get-accept", head.line, "client", text, revision)
    if head.method in ("GET", "DELETE"):
        _check_session(book, talk, head, revision)


def _check_session(book: Book, talk: Conversation, head: Head, revision: Revision | None) -> None:
    if _is_pipe(talk) or talk.loose or talk.initialize is None or revision is None:
        return
    if talk.lost and (book.side == "client" or head.time - talk.lost_at > _UNDER_WAY):
        text = f"the session is lost since line {talk.lost}, and initialize did not follow"
        book.find("session-lost", head.line, "client", text, revision)
    if talk.session and head.get(_SESSION) != talk.session:
        book.find("session-sent", head.line, "client", "Mcp-Session-Id is missing", revision)
    if not talk.initialize.answered or not revision.version_header:
        return
    version = head.get(_VERSION)
    if version is None:
        book.find("version-header", head.line, "client", "it is missing", revision)
    elif version != revision.name:
        text = f"MCP-Protocol-Version is {version!r}, and {revision.name} was agreed"
        book.find("version-agreed", head.line, "client", text, revision)


# Headers that mirror the body


def _check_mirror(
    book: Book, talk: Conversation, said: Said, head: Head, revision: Revision
) -> None:
    row = lookup(said.method, "client", revision)
    wrong: list[str] = []
    named = row.subject if row is not None and row.header else None
    for header, value in (
        (_VERSION, said.meta.get(META_PROTOCOL_VERSION)),
        ("mcp-method", said.method or None),
        ("mcp-name", said.params.get(named) if named else None),
    ):
        if not isinstance(value, str):
            continue
        given = head.get(header)
        if given is None:
            text = f"{header} is missing; the body says {value[:60]!r}"
            book.find("metadata-headers", head.line, "client", text, revision)
        elif _plain(book, head, header, given, revision) != value:
            wrong.append(f"{header} is {given[:60]!r}; the body says {value[:60]!r}")
    if said.method == "tools/call":
        wrong += _check_params(book, talk, said, head, revision)
    for text in wrong:
        book.find("metadata-headers", head.line, "client", text, revision)
    if said.exchange is not None and wrong:
        talk.mismatches[said.exchange.key, head.line] = None


def _check_params(
    book: Book, talk: Conversation, said: Said, head: Head, revision: Revision
) -> list[str]:
    wanted = talk.tools.get(str(said.params.get("name")), {})
    wrong = []
    for name, path in wanted.items():
        header = f"mcp-param-{name.lower()}"
        value, given = value_at(said.params.get("arguments"), path), head.get(header)
        if value is None:
            if given is not None:
                text = f"{header} is {given[:60]!r}; the body has no {'.'.join(path)}"
                book.find("param-null", head.line, "client", text, revision)
        elif given is None:
            text = f"{header} is missing; {'.'.join(path)} is {str(value)[:60]!r}"
            book.find("param-mirrored", head.line, "client", text, revision)
        elif not same_value(_plain(book, head, header, given, revision), value):
            wrong.append(f"{header} is {given[:60]!r}; the body says {str(value)[:60]!r}")
    return wrong


def _plain(book: Book, head: Head, name: str, given: str, revision: Revision) -> str:
    try:
        value = decode_value(given)
    except HeaderError as error:
        text = f"{name}: {error}"
        book.find("value-encoded", head.line, "client", text, revision)
        return given
    if value == given and encode_value(given) != given and not given.startswith("<hidden-"):
        text = f"{name} holds {given[:60]!r} as it is"
        book.find("value-encoded", head.line, "client", text, revision)
    return value


def learn_tools(talk: Conversation, said: Said) -> None:
    """Which arguments are to be mirrored, from the result of tools/list."""
    tools = said.result.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        schema = tool.get("inputSchema") if isinstance(tool, dict) else None
        if isinstance(schema, dict) and isinstance(tool.get("name"), str):
            try:
                talk.tools[tool["name"]] = header_params(schema)
            except ValueError:
                talk.tools.pop(tool["name"], None)  # it is to be left out


# Responses


def check_response(
    book: Book, talk: Conversation, exchange: Exchange, head: Head, revision: Revision | None
) -> None:
    """The head of a response."""
    request = exchange.request
    session = head.get(_SESSION)
    if session is not None:
        if revision is not None and not revision.sessions:
            book.find("no-session", head.line, "server", "it gives a session id", revision)
        elif not session.startswith("<hidden-") and not is_session_id(session):
            text = f"the session id is {session[:60]!r}"
            book.find("session-characters", head.line, "server", text, revision)
        talk.session = talk.session or session_of(head) or ""
    if request is None or _is_pipe(talk) or request.target.startswith(_WELL_KNOWN):
        return
    media = head.media()
    if head.status == 404 and _is_loss(book, talk, request):
        talk.lost, talk.lost_at = head.line, head.time
        if request.method == "GET":
            book.unserved = book.unserved or head.line
    elif request.method == "GET" and head.status == 200 and media == _EVENTS:
        book.unserved = 0
    streams = revision is not None and revision.get_stream and talk.initialize is not None
    if request.method == "GET" and head.status == 200 and media != _EVENTS and streams:
        text = f"a GET is answered with {media or 'no type'}"
        book.find("get-answered", head.line, "server", text, revision)
    if request.method != "POST" or not exchange.asked:
        return
    if head.status in (401, 403) and head.get("www-authenticate") is not None:
        for each in exchange.asked:
            book.refuse(talk, each)
    asks = any(each.kind == "request" for each in exchange.asked)
    if asks and head.status == 200 and media not in (_JSON, _EVENTS):
        text = f"a request is answered with {media or 'no type'}"
        book.find("json-or-sse", head.line, "server", text, revision)
    silent = all(each.kind in ("notification", "result", "error") for each in exchange.asked)
    if silent and head.status < 300 and head.status != 202:
        text = f"what needs no answer is answered with {head.status}"
        book.find("accepted-202", head.line, "server", text, revision)
    buffered = (head.get("x-accel-buffering") or "").lower() != "no"
    if media == _EVENTS and buffered and revision is not None and revision.modern:
        text = "an event stream without X-Accel-Buffering: no"
        book.find("no-buffering", head.line, "server", text, revision)


def _is_loss(book: Book, talk: Conversation, request: Head) -> bool:
    """Whether 404 to a request tells that the session in use is lost.

    A server that answers GET with it in the next session as well has nothing there, and a client
    that goes on in that one has done what it can: in a trace of a server, whoever has begun since.
    """
    if not talk.session or request.get(_SESSION) != talk.session:
        return False  # the one before it, if any
    begun = talk.initialize.said.line if talk.initialize is not None else 0
    return request.method != "GET" or not 0 < book.unserved < begun


def check_told(book: Book, talk: Conversation, said: Said, revision: Revision | None) -> None:
    """A message of a response's body."""
    exchange = said.exchange
    if exchange is None or exchange.request is None or _is_pipe(talk):
        return
    request, response = exchange.request, exchange.response
    answer = said.kind in ("result", "error")
    streamed = said.record.event is not None
    if request.method == "GET" and answer and streamed and request.get("last-event-id") is None:
        text = "a response on the GET stream"
        book.find("get-no-response", said.line, "server", text, revision)
    if request.method != "POST":
        return
    answers = [each for each in exchange.told if each.kind in ("result", "error")]
    earlier = [each for each in answers if each is not said]
    asked = [each for each in exchange.asked if each.kind == "request"]
    if earlier and len(earlier) >= max(1, len(asked)) and not said.batch:
        text = f"it follows the response of line {earlier[-1].line}"
        book.find("response-ends", said.line, "server", text, revision)
    if answer and said.id is not None and asked and not any(e.id == said.id for e in asked):
        text = f"the request with id {said.id!r} came on another exchange"
        book.find("response-place", said.line, "server", text, revision)
    code = said.error.get("code")
    if revision is not None and revision.modern and response is not None and code in _STATUSES:
        rule, status = _STATUSES[code]
        if response.status != status and response.media() != _EVENTS:
            text = f"{code} with status {response.status}"
            book.find(rule, said.line, "server", text, revision)
    if said.kind == "result" and (exchange.key, request.line) in talk.mismatches:
        text = f"the headers of line {request.line} contradict the body, and it is served"
        book.find("headers-match", said.line, "server", text, revision)


# Event streams


def check_event(book: Book, talk: Conversation, exchange: Exchange, entry: Entry) -> None:
    """An event, whatever it holds."""
    line, record = entry
    exchange.events += 1
    request, revision = exchange.request, talk.revision
    if record.event == "endpoint" and exchange.events > 1:
        text = f"it is event number {exchange.events} of its stream"
        book.find("sse-endpoint", line, "server", text, revision)
    if _is_pipe(talk):
        return
    first = exchange.events == 1
    if first and revision is not None and revision.priming and record.kind != "sse-event":
        resumed = request is not None and request.get("last-event-id") is not None
        if not resumed and record.event_id is not None:
            book.find("primed", line, "server", "the first event is a message", revision)
    identity = record.event_id
    if not identity or (record.kind == "sse-event" and record.text):
        return
    resumed = request is not None and request.get("last-event-id") is not None
    if identity not in talk.event_ids:
        talk.event_ids[identity] = line
    elif not resumed and record.kind != "sse-event":  # not told again, and more than a place
        text = f"{identity!r} was the id of the event of line {talk.event_ids[identity]}"
        book.find("event-ids", line, "server", text, revision)


def check_end(book: Book, talk: Conversation, exchange: Exchange, entry: Entry) -> None:
    """An event stream has ended in good order: it brought what was asked for."""
    line, record = entry
    revision = talk.revision
    if record.text or revision is None or _is_pipe(talk):
        return  # somebody broke it off
    if exchange.request is None or exchange.request.method != "POST":
        return
    if revision.priming and exchange.events > exchange.messages:
        return  # there was an event to come back with
    if any(each.kind == "error" and each.id is None for each in exchange.told):
        return  # the body as a whole was refused
    answered = {(type(each.id), each.id) for each in exchange.told}
    cancelled = {each.said.line for each in talk.requests.values() if each.cancelled}
    for each in exchange.asked:
        if each.line in cancelled:
            continue
        if each.kind == "request" and (type(each.id), each.id) not in answered:
            text = f"the request of line {each.line} has no response on it"
            book.find("response-comes", line, "server", text, revision)


def is_over(exchange: Exchange, record: Record) -> bool:
    """Whether an exchange has its response; the end of one that is a stream has its own record."""
    request, response = exchange.request, exchange.response
    if record.direction != TO_CLIENT or response is None or response.media() == _EVENTS:
        return False
    if record.kind != "http-response":
        return True
    waits = request is not None and request.method == "POST" and not exchange.asked
    return not waits and (response.status in _BODILESS or response.get("content-length") == "0")


def revision_of(
    talk: Conversation, exchange: Exchange | None, said: Said | None
) -> Revision | None:
    """The revision of an exchange: as agreed, or as the request says."""
    if said is not None and (named := named_revision(said)) is not None:
        return named
    head = exchange.request if exchange is not None else None
    claimed = BY_NAME.get(head.get(_VERSION) or "") if head is not None else None
    if claimed is not None and claimed.modern:
        return claimed
    return talk.revision or (claimed if talk.loose else None)


def _is_pipe(talk: Conversation) -> bool:
    """Whether the conversation is one of HTTP+SSE."""
    return talk.piped


def said_first(exchange: Exchange) -> Said | None:
    """The message of a request's body."""
    return exchange.asked[0] if exchange.asked else None
