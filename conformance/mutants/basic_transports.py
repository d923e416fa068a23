"""Mutants of the page basic/transports."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from itertools import count
from typing import Any, ClassVar

from msgspec import field

from conformance.mutants.fault import Asked, Breaks, Fault, Value
from conformance.mutants.faults import alters, loses
from conformance.mutants.http_faults import (
    Concerns,
    calls,
    deletes,
    gets,
    header_of,
    notifications,
    overlooks,
    pours_otherwise,
    refuses,
    requests,
    responses,
    responses_to,
    status_of,
    with_header,
)
from conformance.mutants.model import Table
from conformance.mutants.rfc6455 import opens
from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Heard, Text, header
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports")


SESSION = "mcp-session-id"
PROGRESS_ID = "progressToken"
EVENTS = "text/event-stream"
Test = Callable[[Value], bool]


def message(heard: Heard) -> Value:
    """The message that was heard; empty if it is none."""
    if not isinstance(heard, Text):
        return {}
    value = json.loads(heard.data)
    return value if isinstance(value, dict) else {}


def of(method: str) -> Test:
    """Whether a message is of that method."""
    return lambda value: value.get("method") == method


def is_response(value: Value) -> bool:
    """Whether a message is a response."""
    return "result" in value or "error" in value


class _Misdirects(Fault):
    """Sends some messages over the first of certain streams: as well, or only there."""

    test: Test
    where: Concerns
    as_well: bool

    def heard(self, heard: Heard) -> Iterable[Heard]:
        streams = [number for number, asked in self.exchanges.items() if self.where(asked)]
        if not isinstance(heard, Text) or not streams or not self.test(message(heard)):
            return (heard,)
        moved = copy(heard)
        moved.exchange = streams[0]
        return (heard, moved) if self.as_well else (moved,)


def misdirects(test: Test, where: Concerns = gets, *, as_well: bool) -> Breaks:
    """Send some messages over the first stream of some requests: as well, or only there."""
    return lambda: _Misdirects(test, where, as_well=as_well)


table.server("responses-mixed", "each-on-its-own").does(
    "Sends all responses over the stream of the first call.",
    misdirects(is_response, calls("tools/call"), as_well=False),
)


@table.server("one-at-a-time", "beside-a-call")
class _OneAtATime(Fault):
    """Answers nothing else while a call runs."""

    _held: list[Heard] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        running = [
            n for n, asked in self.exchanges.items() if calls("tools/call", "test_wait")(asked)
        ]
        if not running or isinstance(heard, Gone):
            return (heard,)
        if heard.exchange not in running:
            self._held.append(heard)
            return ()
        if not isinstance(heard, Done):
            return (heard,)
        self.exchanges.pop(heard.exchange)
        held, self._held = self._held, []
        return (heard, *held)


class _Twice(Fault):
    """Sends progress twice."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        found = message(heard)
        twice = found.get("method") == "notifications/progress" and self._concerns(found["params"])
        return (heard, copy(heard)) if twice else (heard,)

    def _concerns(self, params: Value) -> bool:
        return True


class _ByToken(_Twice):
    users: Counter[str]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        meta = value.get("params", {}).get("_meta", {}) if isinstance(value, dict) else {}
        self.users.update([str(meta[PROGRESS_ID])] if PROGRESS_ID in meta else [])
        return payload

    def _concerns(self, params: Value) -> bool:
        return self.users[str(params[PROGRESS_ID])] > 1


def progress_by_token() -> Breaks:
    """Send progress as often as there are requests, on any connection, that have its token."""
    users: Counter[str] = Counter()
    return lambda: _ByToken(users)


table.server("get-404", "stream-or-405").does("Answers GET with 404.", status_of(gets, 404))
table.server("get-as-json", "stream-or-405").does(
    "Calls its event stream JSON.", header_of(gets, "content-type", "application/json")
)
table.server("get-accept-overlooked", "accept").does(
    "Does not look at Accept of GET.", overlooks(gets, "accept", instead=EVENTS)
)
table.server("responses-on-get", "no-responses").does(
    "Sends responses over the GET stream as well.", misdirects(is_response, as_well=True)
)
table.server("progress-on-get", "unrelated-only").does(
    "Sends the progress of calls over the GET stream.",
    misdirects(of("notifications/progress"), as_well=False),
)
table.server("questions-on-get", "questions-on-their-stream").does(
    "Asks over the GET stream what a call wants to know.",
    misdirects(of("sampling/createMessage"), as_well=False),
)
table.server("answer-200", "answer-accepted").does(
    "Answers answers with status 200.", status_of(responses, 200)
)
table.server("unknown-answer-500", "unknown-answer").does(
    "Fails on answers to nothing.", refuses(responses, 500)
)
table.server("stream-without-response", "stream-kept-open").does(
    "Ends the stream of a call before its response, and has it for nobody who comes back.",
    responses_to(
        lambda asked: calls("tools/call")(asked) or gets(asked),
        text=lambda text: () if is_response(message(text)) else (text,),
    ),
)
table.server("broadcast", "no-broadcast").does(
    "Sends notifications over every GET stream.",
    misdirects(of("notifications/tools/list_changed"), as_well=True),
)
table.server("progress-twice", "progress-once").does("Sends progress twice.", _Twice)


_initialize = calls("initialize")
_numbers = count(1000)


class _Trusting(Fault):
    """Takes requests that it should refuse for those of the session of this connection."""

    concerns: Concerns
    _session: str | None = None

    def head(self, head: Head) -> Head:
        self._session = header(head.headers, SESSION) or self._session
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if self._session is not None and self.concerns(asked):
            asked.headers = {**asked.headers, SESSION: self._session}
        return asked


def trusting(concerns: Concerns) -> Breaks:
    """What concerns it is served as if it had the id of the session."""
    return lambda: _Trusting(concerns)


table.server("ids-in-a-row", "unpredictable").does(
    "Numbers its sessions.",
    header_of(_initialize, SESSION, lambda: f"session-of-this-server-{next(_numbers)}"),
)


class _Adopts(Fault):
    """Gives the id that initialize has named."""

    def fetching(self, asked: Asked) -> Asked | None:
        if _initialize(asked):
            asked.headers = {name: each for name, each in asked.headers.items() if name != SESSION}
        return asked

    def head(self, head: Head) -> Head:
        asked = self.exchanges.get(head.exchange)
        wanted = None if asked is None or not _initialize(asked) else asked.headers.get(SESSION)
        if wanted is not None:
            kept = [each for each in head.headers if each[0] != SESSION]
            head.headers = [*kept, (SESSION, wanted)]
        return head


class _EndsAll(Fault):
    """The end of one session is that of all."""

    ended = False

    def fetching(self, asked: Asked) -> Asked | None:
        if _initialize(asked):
            _EndsAll.ended = False
        if deletes(asked):
            _EndsAll.ended = True
        elif _EndsAll.ended:
            self.answer_http(404, None)
            return None
        return asked


def _missing(asked: Asked) -> bool:
    if asked.method == "POST" and SESSION not in asked.headers:
        return False
    return asked.headers.get(SESSION) is None


def _given(asked: Asked) -> bool:
    return asked.headers.get(SESSION) is not None


def _both(one: Concerns, other: Concerns) -> Concerns:
    return lambda asked: one(asked) and other(asked)


table.server("blank-in-id", "visible-ascii").does(
    "Has blanks in its session ids.",
    header_of(_initialize, SESSION, "session 12345678901234567890"),
)
table.server("id-outside-ascii", "visible-ascii").does(
    "Has letters outside ASCII in its session ids.",
    header_of(_initialize, SESSION, "s\u00e9ance-12345678901234567890"),
)
table.server("one-id", "unpredictable").does(
    "Gives every client the same id.",
    header_of(_initialize, SESSION, "0123456789abcdef0123456789abcdef"),
)
table.server("fixation", "not-chosen-by-client").does(
    "Takes the session id that a client brings.", _Adopts
)
table.server("takeover", "initialize-spares-others").does(
    "Lets initialize take over the session that it names.", _Adopts
)
table.server("one-id-of-two", "two-ids").does(
    "Takes one of two session ids.",
    pours_otherwise(lambda data: re.sub(rb"Mcp-Session-Id: [^\r]*\r\n", b"", data)),
)
table.server("post-without-id", "missing-post").does(
    "Serves requests without session id.", trusting(_both(_missing, requests))
)
table.server("notification-without-id", "missing-notification").does(
    "Takes notifications without session id.", trusting(_both(_missing, notifications))
)
table.server("get-without-id", "missing-get").does(
    "Opens streams without session id.", trusting(_both(_missing, gets))
)
table.server("delete-without-id", "missing-delete").does(
    "Ends somebody's session on a DELETE without id.", trusting(_both(_missing, deletes))
)
table.server("post-of-any-id", "unknown-post").does(
    "Serves requests with any session id.", trusting(_both(_given, requests))
)
table.server("unknown-400", "unknown-post", "unknown-get").does(
    "Answers the id of no session with 400.",
    refuses(lambda asked: _given(asked) and asked.method in ("GET", "POST"), 400),
)
table.server("get-of-any-id", "unknown-get").does(
    "Opens streams for any session id.", trusting(gets)
)
table.server("delete-of-any-id", "unknown-delete").does(
    "Says that it has ended sessions that never were.", refuses(deletes, 204)
)
table.server("delete-fails", "delete-ends").does("Fails to end sessions.", refuses(deletes, 500))
table.server(
    "never-ends",
    "ended-post",
    "ended-notification",
    "ended-get",
    "ended-delete",
    "end-closes-streams",
).does("Says that it ends sessions, and does not.", refuses(deletes, 204))
table.server("ends-all", "end-spares-others").does(
    "Ends all sessions when one of them is ended.", _EndsAll
)
table.server("session-name-literally", "header-name").does(
    "Knows the session header in one notation only.", refuses(with_header("MCP-SESSION-ID"), 400)
)


@table.server("leaks-progress", "session-management/streams-apart")
class _Leaks(Fault):
    """Sends the progress of one session to another one."""

    kept: ClassVar[list[tuple[Fault, Text]]] = []

    def fetching(self, asked: Asked) -> Asked | None:
        if calls("initialize")(asked):
            self.kept.clear()
        return asked

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Text) and of("notifications/progress")(message(heard)):
            self.kept.append((self, heard))
        streams = [number for number, asked in self.exchanges.items() if gets(asked)]
        foreign = [copy(text) for owner, text in self.kept if owner is not self]
        if not streams or not foreign:
            return (heard,)
        for each in foreign:
            each.exchange = streams[0]
        self.kept.clear()
        return (heard, *foreign)


class _CrossSession(Fault):
    """Takes some messages for those of the oldest session, whosever they are."""

    concerns: Concerns
    sessions: list[str]

    def head(self, head: Head) -> Head:
        if (found := header(head.headers, SESSION)) is not None:
            self.sessions.append(found)
            del self.sessions[:-2]
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if self.concerns(asked) and self.sessions:
            asked.headers = {**asked.headers, SESSION: self.sessions[0]}
        return asked


def crosses(concerns: Concerns) -> Breaks:
    """What concerns it counts for the oldest of the last two sessions."""
    sessions: list[str] = []
    return lambda: _CrossSession(concerns, sessions)


table.server("progress-of-other-sessions", "equal-ids").does(
    "Sends the progress of one session to another one that uses its token.", progress_by_token()
)
table.server("cancels-for-others", "cancel-own-only").does(
    "Lets any session cancel.",
    crosses(
        lambda asked: notifications(asked) and asked.value["method"] == "notifications/cancelled"
    ),
)
table.server("answers-for-others", "answer-own-only").does(
    "Lets any session answer.", crosses(responses)
)


LAST = "last-event-id"
_progress = of("notifications/progress")


def resumes(asked: Asked) -> bool:
    """Whether a GET picks a stream up."""
    return gets(asked) and asked.headers.get(LAST) is not None


@table.server("events-counted-by-stream", "ids-unique")
class _Counts(Fault):
    """Numbers the events of each stream from 1."""

    _count: Counter[int] = field(default_factory=Counter)

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, (Text, Event)) and heard.event_id:
            self._count[heard.exchange] += 1
            heard.event_id = str(self._count[heard.exchange])
        return (heard,)


class _Resumes(Fault):
    """Picks up from another event than it should."""

    choose: Callable[[str, list[str]], str]
    _ids: list[str] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, (Text, Event)) and heard.event_id:
            self._ids.append(heard.event_id)
        return (heard,)

    def fetching(self, asked: Asked) -> Asked | None:
        if resumes(asked) and self._ids:
            chosen = self.choose(str(asked.headers[LAST]), self._ids)
            asked.headers = {**asked.headers, LAST: chosen}
        return asked


@table.server("fails-on-unknown-ids", "made-up-ids")
class _Fails(_Resumes):
    """Fails on event ids that it has not given."""

    choose: Callable[[str, list[str]], str] = lambda wanted, ids: wanted

    def fetching(self, asked: Asked) -> Asked | None:
        if resumes(asked) and asked.headers[LAST] not in self._ids:
            self.answer_http(500, None)
            return None
        return asked


@table.server("once-only", "after-the-end")
class _Forgets(Fault):
    """Forgets a response once it was replayed."""

    _brought = False

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if not isinstance(heard, Text) or not is_response(message(heard)):
            return (heard,)
        asked = self.exchanges.get(heard.exchange)
        if asked is None or not resumes(asked):
            return (heard,)
        brought, self._brought = self._brought, True
        return () if brought else (heard,)


table.server("stays-open", "after-the-end").does(
    "Does not end a stream that was picked up.",
    responses_to(resumes, other=lambda heard: () if isinstance(heard, Done) else (heard,)),
)


@table.server("of-all-sessions", "no-other-session")
class _AnySession(Fault):
    """Replays to one session what belongs to another one."""

    newest: ClassVar[list[str]] = []

    def head(self, head: Head) -> Head:
        if (found := header(head.headers, SESSION)) is not None:
            self.newest[:] = [found]
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if resumes(asked):
            asked.headers = {**asked.headers, SESSION: self.newest[0]}
        return asked


def _of_another(text: Text) -> Iterable[Heard]:
    value = message(text)
    if not _progress(value):
        return (text,)
    other = copy(text)
    value["params"]["progressToken"] = "kit-1"
    other.data = encode(value)
    return (text, other)


def _cancelled(text: Text) -> Iterable[Heard]:
    value = json.loads(text.data)
    if "result" in value:
        value["result"]["isError"] = True
        text.data = encode(value)
    return (text,)


table.server("newest-stream", "ids-name-their-stream").does(
    "Picks up the stream that spoke last, whatever the id.",
    lambda: _Resumes(lambda wanted, ids: ids[-1]),
)
table.server("not-resumed", "replayed", "get-stream-resumed").does(
    "Gives ids, and resumes nothing.", refuses(resumes, 405)
)
table.server("from-the-beginning", "exactly-what-followed").does(
    "Replays a stream from its first event.", lambda: _Resumes(lambda wanted, ids: ids[0])
)
table.server("responses-only", "exactly-what-followed").does(
    "Replays the response alone.",
    responses_to(resumes, text=lambda text: () if _progress(message(text)) else (text,)),
)
table.server("cancelled-by-disconnect", "disconnect-is-no-cancellation").does(
    "Ends calls in failure when their connection is lost.", responses_to(resumes, text=_cancelled)
)
table.server("of-all-streams", "no-other-stream").does(
    "Replays what belongs to other streams, too.", responses_to(resumes, text=_of_another)
)
table.server("unknown-from-the-beginning", "made-up-ids").does(
    "Takes an event id that it does not know for the first.",
    lambda: _Resumes(lambda wanted, ids: wanted if wanted in ids else ids[0]),
)
table.server("unprimed", "priming").does(
    "Opens its streams with the first message.",
    loses(Event, lambda event: not event.comment and not event.data),
)
table.server("primed-with-data", "priming").does(
    "Puts data into the first event of a stream.",
    alters(Event, lambda event: not event.comment, name="prime", data=b"{}"),
)
table.server("no-retry", "retry-before-closing").does(
    "Closes connections without saying when to come back.", alters(Event, retry=None)
)
table.server("does-not-take-back", "polling").does(
    "Does not know streams whose connection it has closed.", refuses(resumes, 404)
)


STREAM_HEAD = [("content-type", "text/event-stream")]


class _Endpoint(Fault):
    """Knows where messages have to be posted."""

    endpoint = ""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            self.endpoint = heard.data.decode()
        return (heard,)

    def misplaced(self, asked: Asked) -> bool:
        """Whether something is posted elsewhere."""
        return asked.method == "POST" and asked.target not in (None, self.endpoint)


@table.server("greets-first", "endpoint-first")
class _Greets(_Endpoint):
    """Says something else before the endpoint."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            return (Event(heard.exchange, name="hello", data=b"{}"), heard)
        return (heard,)


table.server("points-elsewhere", "endpoint-of-same-origin").does(
    "Has messages posted to another origin.",
    alters(Event, lambda event: event.name == "endpoint", data=b"http://evil.example/messages"),
)
table.server("numbers", "endpoints-differ").does(
    "Numbers its clients.",
    alters(
        Event,
        lambda event: event.name == "endpoint",
        data=lambda _: b"/messages?session_id=%d" % next(_numbers),
    ),
)


@table.server("answers-in-body", "answers-on-the-stream")
class _AnswersInBody(Fault):
    """Answers in the body of the POST."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Text) and is_response(message(heard)) and self.exchanges:
            heard.exchange = max(self.exchanges)
        return (heard,)


@table.server("any-place", "posted-elsewhere")
class _AnyPlace(_Endpoint):
    """Takes messages wherever they are posted."""

    def fetching(self, asked: Asked) -> Asked | None:
        if self.misplaced(asked):
            asked.target = self.endpoint
        return asked


@table.server("any-session", "unknown-session")
class _NoSession(_Endpoint):
    """Takes messages for sessions that never were."""

    def fetching(self, asked: Asked) -> Asked | None:
        if not self.misplaced(asked):
            return asked
        self.answer_http(202, None)
        return None


@table.server("broadcasts", "http-with-sse/streams-apart")
class _Broadcasts(Fault):
    """Sends answers to all clients."""

    said_to: ClassVar[list[tuple[Fault, Text]]] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        foreign = [copy(text) for owner, text in self.said_to if owner is not self]
        if foreign:
            self.said_to.clear()
        if isinstance(heard, Text) and message(heard).get("id") == "same":
            self.said_to[:] = [(self, heard)]
        return (*foreign, heard)


table.server("stream-as-text", "event-stream").does(
    "Calls its event stream plain text.", header_of(gets, "content-type", "text/plain")
)
table.server("post-500", "post-accepted").does(
    "Answers POSTs that it takes with 500.", status_of(calls("ping"), 500)
)
table.server("takes-from-the-gone", "end-of-the-stream").does(
    "Takes messages of clients that have left.",
    refuses(lambda asked: requests(asked) and asked.value["id"] == "kit-late", 202),
)
table.server("takes-malformed", "malformed").does(
    "Says that it has taken what is no message.",
    refuses(lambda asked: asked.method == "POST" and not isinstance(asked.value, dict), 202),
)
table.server("stream-at-endpoint", "get-at-the-endpoint").does(
    "Opens event streams where messages are posted.",
    refuses(lambda asked: gets(asked) and asked.target is not None, 200, headers=STREAM_HEAD),
)
table.server("any-origin-of-streams", "foreign-origin-stream").does(
    "Does not look at the Origin of GET.", opens("headers")
)
table.server("any-origin-of-posts", "foreign-origin-post").does(
    "Does not look at the Origin of POST.", overlooks(requests, "origin")
)


VERSION = "mcp-protocol-version"
AGREED = LATEST_LEGACY.name

table.server("any-version", "unsupported", "invalid").does(
    "Does not look at the version of requests.", overlooks(requests, VERSION, instead=AGREED)
)
table.server("any-version-of-notifications", "invalid-notification").does(
    "Does not look at the version of notifications.",
    overlooks(notifications, VERSION, instead=AGREED),
)
table.server("any-version-of-get", "invalid-get").does(
    "Does not look at the version of GET.", overlooks(gets, VERSION, instead=AGREED)
)
table.server("any-version-of-delete", "invalid-delete").does(
    "Does not look at the version of DELETE.", overlooks(deletes, VERSION, instead=AGREED)
)
table.server("version-needed", "absent").does(
    "Refuses requests without a version.",
    refuses(with_header(VERSION, lambda value: value is None), 400),
)
table.server("no-version-on-initialize", "on-initialize").does(
    "Refuses an initialize that has the header already.",
    refuses(lambda asked: calls("initialize")(asked) and VERSION in asked.headers, 400),
)
