"""HttpServer, streams that break off: event ids, replay, polling, and those who try to cheat."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mcpcore import HttpSettings, LocalProtocolError, Principal
from mcpcore.engine.events import EndReason, RequestCancelled, RequestEnded, RequestReceived
from mcpcore.http.storing import Step, StreamAppend, StreamRead
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.http.stored.storebench import StoreBench, party
from tests.http.support import LEGACY, NOTHING, Bench, Reply, in_session, make_server, note, request

CALL = request("tools/call", {"name": "x", "_meta": {"progressToken": "p"}})
NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
every_revision = pytest.mark.parametrize("version", NAMES)


class Broken:
    """A session whose call streams its progress."""

    def __init__(
        self,
        version: str = LEGACY,
        settings: HttpSettings | None = None,
        *,
        stored: bool = False,
        **options: Any,
    ) -> None:
        self.bench = party("a", settings=settings)[0] if stored else Bench(make_server(settings))
        self.session = self.bench.session(version, **options)
        self.route, self.key = self.call(1, **options)

    @property
    def reply(self) -> Reply:
        return self.bench.replies[self.route]

    def call(self, id: int, **options: Any) -> tuple[int, int]:
        route = self.bench.send({**CALL, "id": id}, mcp_session_id=self.session, **options)
        return route, self.bench.take(RequestReceived).key

    def progress(self, *values: int, key: int | None = None, pump: bool = True) -> None:
        for value in values:
            self.bench.server.progress(self.key if key is None else key, value)
        if pump:
            self.bench.pump()

    def respond(self, text: str = "done") -> None:
        assert self.bench.server.respond(self.key, {"content": [], "text": text})
        self.bench.pump()

    def notify(self, *numbers: int) -> None:
        for number in numbers:
            self.bench.server.notify("notifications/n", {"n": number})
        self.bench.pump()

    def get(self, cursor: str | None = None, **options: Any) -> int:
        options.setdefault("mcp_session_id", self.session)
        if cursor is not None:
            options["last_event_id"] = cursor
        return self.bench.send(None, method="GET", **options)

    def resume(self, cursor: str, **options: Any) -> Reply:
        return self.bench.replies[self.get(cursor, **options)]

    def asked(self, kind: type[Step]) -> list[Any]:
        """The steps of a kind that the store has done, if there is one."""
        return self.bench.asked(kind) if isinstance(self.bench, StoreBench) else []

    def cut(self, route: int | None = None) -> None:
        self.bench.server.disconnect(self.route if route is None else route, now=self.bench.now)
        self.bench.pump()


Begin = Callable[..., Broken]


@pytest.fixture(params=[False, True], ids=["memory", "store"])
def begin(request: pytest.FixtureRequest) -> Begin:
    """A session at a server that keeps its streams in memory, or in a store."""
    return partial(Broken, stored=request.param)


def shown(reply: Reply) -> list[Any]:
    """What a stream says: progress values, numbers of notifications, texts of answers."""
    seen = []
    for event in reply.events:
        params = event.get("params", event.get("result", {}))
        seen.append(next(params[name] for name in ("progress", "n", "text") if name in params))
    return seen


def cursors(reply: Reply) -> list[str]:
    """The ids of the events that say something."""
    return [event.id or "" for event in reply.raw_events if event.payload]


# What follows an id, and then live


@every_revision
@pytest.mark.requirement(
    "basic/transports/event-ids-unique",
    "basic/transports/disconnect-no-cancel",
    "basic/transports/response-comes",
)
@pytest.mark.parametrize("received", range(4))
def test_a_stream_is_picked_up_anywhere(begin: Begin, version: str, received: int) -> None:
    test = begin(version)
    test.progress(1, 2, 3, 4)
    cursor = cursors(test.reply)[received]
    test.cut()
    test.progress(5)
    again = test.resume(cursor)
    assert again.headers["content-type"] == "text/event-stream"
    assert shown(again) == [*range(received + 2, 5), 5]
    before = again.end
    assert before is None
    test.progress(6)
    test.respond()
    assert shown(again)[-2:] == [6, "done"]
    assert again.end is not None
    assert cursors(again)[: 3 - received] == cursors(test.reply)[received + 1 :]
    ids = {*test.reply.ids, *again.ids}
    assert len(ids) == 7 + (version == LEGACY)
    assert "RequestCancelled" not in test.bench.kinds()
    assert test.bench.server.exchanges == 0


@every_revision
def test_an_answer_is_kept_for_a_client_that_comes_back(begin: Begin, version: str) -> None:
    test = begin(version)
    test.progress(1)
    cursor = cursors(test.reply)[0]
    test.cut()
    test.progress(2)
    test.respond()
    for _ in range(3):
        again = test.resume(cursor)
        assert shown(again) == [2, "done"]
        assert again.end is not None
    last = test.resume(cursors(again)[-1])
    assert (last.status, last.body) == (200, b"")
    assert last.end is not None
    assert test.bench.server.exchanges == 0


@every_revision
def test_a_stream_moves_off_a_connection_that_only_seems_alive(begin: Begin, version: str) -> None:
    test = begin(version)
    test.progress(1, 2)
    cursor = cursors(test.reply)[0]
    # not taken by the old connection, which the server believes in
    test.progress(3, pump=False)
    test.bench.server.writable()
    again = test.resume(cursor)
    assert test.reply.cut
    assert shown(test.reply) == [1, 2]
    test.respond()
    assert shown(again) == [2, 3, "done"]
    test.cut()
    assert test.bench.server.exchanges == 0


def test_a_cancelled_call_is_answered_to_nobody(begin: Begin) -> None:
    test = begin()
    test.progress(1)
    test.cut()
    test.bench.post(note("notifications/cancelled", {"requestId": 1}), mcp_session_id=test.session)
    assert test.bench.take(RequestCancelled).key == test.key
    test.bench.server.release(test.key)
    again = test.resume(test.reply.ids[0])
    assert shown(again) == [1]
    assert again.end is not None


# Messages that belong to no request


@every_revision
def test_what_is_made_while_nobody_listens_reaches_the_next_get(begin: Begin, version: str) -> None:
    test = begin(version)
    first = test.get()
    test.notify(1, 2, 3)
    test.cut(first)
    test.notify(4)
    again = test.get(cursors(test.bench.replies[first])[1])
    test.notify(5)
    assert shown(test.bench.replies[again]) == [3, 4, 5]
    test.cut(again)
    test.notify(6)
    new = test.bench.replies[test.get()]
    assert shown(new) == [6]
    # the old stream goes on without what another has brought
    late = test.resume(cursors(test.bench.replies[again])[-1])
    test.notify(7)
    assert shown(late) == [7]
    assert shown(new) == [6]


def test_what_a_broken_get_stream_had_not_sent_goes_elsewhere_once(begin: Begin) -> None:
    test = begin()
    old, new = test.get(), test.get()
    test.notify(1)
    test.bench.server.notify("notifications/n", {"n": 2})
    test.bench.server.writable()
    test.cut(new)
    assert shown(test.bench.replies[old]) == [2]
    assert shown(test.resume(cursors(test.bench.replies[new])[0])) == []


def test_streams_that_broke_off_are_remembered_within_bounds() -> None:
    test = Broken(settings=HttpSettings(session_streams=2))
    ids = []
    for number in range(4):
        route = test.get()
        test.notify(number)
        ids.append(test.bench.replies[route].ids)
        test.cut(route)
    assert [test.resume(each[0]).status for each in ids] == [410, 410, 200, 200]
    assert test.resume(ids[2][1]).status == 200
    assert test.bench.replies[test.get()].status == 409


def test_a_get_stream_that_comes_back_counts(begin: Begin) -> None:
    test = begin(settings=HttpSettings(session_streams=2))
    route = test.get()
    test.cut(route)
    cursor = test.bench.replies[route].ids[0]
    others = [test.get(), test.get()]
    assert test.resume(cursor).status == 409
    test.cut(others[0])
    assert test.resume(cursor).status == 200


# Who may ask for what


@every_revision
@pytest.mark.requirement("basic/transports/no-foreign-replay", "basic/transports/no-broadcast")
def test_a_stream_replays_nothing_of_another(begin: Begin, version: str) -> None:
    test = begin(version)
    others = [test.call(id) for id in (2, 3)]
    get = test.get()
    for number, (_, key) in enumerate(others, 1):
        test.progress(10 * number, 10 * number + 1, key=key)
    test.progress(1, 2)
    test.notify(100, 101)
    for route in (test.route, get, others[0][0]):
        test.cut(route)
    test.progress(12, key=others[0][1])
    replies = test.bench.replies
    assert shown(test.resume(cursors(test.reply)[0])) == [2]
    assert shown(test.resume(cursors(replies[others[0][0]])[0])) == [11, 12]
    assert shown(test.resume(cursors(replies[get])[0])) == [101]
    assert shown(replies[others[1][0]]) == [20, 21]


def assert_clear(reply: Reply, status: int, text: str) -> None:
    assert reply.status == status
    assert reply.end is not None
    error = json.loads(reply.body)
    assert set(error) == {"jsonrpc", "id", "error"} or set(error) == {"jsonrpc", "error"}
    assert text.lower() in error["error"]["message"].lower()
    assert set(error["error"]) == {"code", "message"}


@every_revision
@pytest.mark.requirement("basic/transports/no-foreign-replay")
def test_attacks(begin: Begin, version: str) -> None:
    test = begin(version)
    test.progress(1, 2)
    own = cursors(test.reply)[0]
    stranger = test.bench.session(version)
    tampered = [
        own[:-1] + ("A" if own[-1] != "A" else "B"),
        own.replace(".1.", ".0."),
        own.replace(".1.", ".2."),
        "2" + own[1:],
        own + "A",
        own[:-1],
        own.upper(),
        own.split(".")[0],
        "1.1.",
        "..",
        "9" * 4000,
        "null",
        "0",
        "-1",
        "\x7f" * 3,
        "é",
        "a, b",
    ]
    for cursor in tampered:
        assert_clear(test.resume(cursor), 400, "Last-Event-ID")
    assert_clear(test.resume(own, mcp_session_id=stranger), 400, "Last-Event-ID")
    assert test.resume(own, mcp_session_id="made-up").status == 404
    assert test.resume(own, remove=("mcp-session-id",)).status == 400
    assert test.asked(StreamRead) == []
    # none of that has disturbed the stream
    test.respond()
    assert shown(test.reply) == [1, 2, "done"]


def test_another_principal_is_nobody(begin: Begin) -> None:
    test = begin(principal="alice")
    test.progress(1, 2)
    cursor = cursors(test.reply)[0]
    assert test.resume(cursor, principal="mallory").status == 404
    assert test.resume(cursor).status == 404
    assert shown(test.resume(cursor, principal="alice")) == [2]


POOR, RICH, LORD = (
    Principal("ann", scopes={"r"}),
    Principal("ann", scopes={"r", "w"}),
    Principal("ann", scopes={"r"}, roles={"admin"}),
)


@pytest.mark.parametrize("opener", [RICH, LORD, POOR])
@pytest.mark.parametrize("caller", [RICH, LORD, POOR])
@pytest.mark.parametrize("reader", [RICH, LORD, POOR, "ann"])
def test_a_stream_is_for_all_rights_that_the_session_was_used_with(
    begin: Begin, opener: Principal, caller: Principal, reader: str
) -> None:
    """Resumed or new: it carries what they were needed for."""
    test = begin(principal=opener)
    test.call(2, principal=caller)
    test.progress(1, 2)
    cursor = cursors(test.reply)[0]
    allowed = isinstance(reader, Principal) and all(
        each.scopes <= reader.scopes and each.roles <= reader.roles for each in (opener, caller)
    )
    assert test.resume(cursor, principal=reader).status == (200 if allowed else 404)
    get = test.bench.replies[test.get(principal=reader)]
    assert get.status == (200 if allowed else 404)
    test.notify(7)
    assert shown(get) == [7] if allowed else get.code == -32600


def test_a_stream_ends_when_its_session_is_used_with_more_rights(begin: Begin) -> None:
    test = begin(principal=POOR)
    poor = test.bench.replies[test.get(principal=POOR)]
    test.notify(1)
    test.call(2, principal=POOR)
    before = poor.end
    assert (shown(poor), before) == ([1], None)
    test.call(3, principal=RICH)
    assert poor.end is not None
    test.notify(2)
    assert shown(poor) == [1]
    rich = test.resume(poor.ids[-1], principal=RICH)
    assert shown(rich) == [2]
    test.call(4, principal=POOR)
    test.notify(3)
    assert shown(rich) == [2, 3]
    assert test.resume(poor.ids[-1], principal=POOR).status == 404


def test_ids_of_a_session_that_has_ended_are_worth_nothing(begin: Begin) -> None:
    test = begin()
    test.progress(1)
    test.bench.send(None, method="DELETE", mcp_session_id=test.session)
    assert test.resume(test.reply.ids[0]).status == 404
    assert test.resume(test.reply.ids[0], mcp_session_id=test.bench.session()).status == 400


def test_a_header_given_twice_is_refused(begin: Begin) -> None:
    test = begin()
    test.progress(1)
    again = test.resume(test.reply.ids[0], repeat=("last-event-id",))
    assert_clear(again, 400, "Last-Event-ID")


@every_revision
@pytest.mark.parametrize("cursor", ["", " ", "\t "])
def test_an_empty_cursor_opens_a_new_stream(begin: Begin, version: str, cursor: str) -> None:
    """As none at all: nothing of another stream is sent again."""
    test = begin(version)
    test.progress(1, 2)
    test.cut()
    test.progress(3)
    new = test.resume(cursor)
    assert (new.status, shown(new)) == (200, [])
    test.notify(7)
    assert shown(new) == [7]
    # What is asked for by its id comes once, and here alone.
    test.respond()
    assert shown(test.resume(cursors(test.reply)[0])) == [2, 3, "done"]
    assert shown(new) == [7]


# Bounds


@pytest.mark.parametrize(
    "settings",
    [HttpSettings(replay_events=2), HttpSettings(replay_bytes=300), HttpSettings(replay_total=300)],
)
def test_what_is_not_kept_any_more_is_said(settings: HttpSettings) -> None:
    test = Broken("2025-06-18", settings)
    test.progress(*range(1, 6))
    ids = cursors(test.reply)
    test.cut()
    gone = test.resume(ids[0])
    assert_clear(gone, 410, "not kept")
    assert gone.json["error"]["message"].endswith(
        "what followed the Last-Event-ID is not kept any more"
    )
    assert shown(test.resume(ids[3])) == [5]
    test.bench.server.writable()


def test_a_call_that_goes_on_for_longer_than_its_events_are_kept(begin: Begin) -> None:
    test = begin("2025-06-18", HttpSettings(replay_age=60, heartbeat=None))
    test.progress(1)
    cursor = cursors(test.reply)[0]
    test.bench.pass_time(100)
    test.cut()
    test.respond()
    assert shown(test.resume(cursor)) == ["done"]


def test_a_stream_that_is_not_read_is_closed_and_can_be_resumed() -> None:
    test = Broken("2025-06-18", HttpSettings(max_queued=100))
    test.progress(1)
    get = test.get()
    test.notify(0)
    server = test.bench.server
    for value in range(1, 30):
        server.notify("notifications/x", {"n": value}, parent=test.key)
        server.notify("notifications/n", {"n": value})
        server.writable()
    test.bench.pump()
    replies = test.bench.replies
    for route in (test.route, get):
        assert replies[route].cut
    assert shown(test.resume(cursors(test.reply)[0])) == [*range(1, 30)]
    assert shown(test.resume(cursors(replies[get])[0])) == [*range(1, 30)]


def test_a_client_that_was_given_no_id_has_nothing_to_ask_for(begin: Begin) -> None:
    test = begin("2025-06-18")
    get = test.bench.replies[test.get()]
    silent = test.get()
    test.cut(silent)
    test.progress(1, pump=False)
    test.bench.server.writable()
    test.cut()
    test.bench.server.request("roots/list", now=test.bench.now, parent=test.key)
    test.respond()
    assert [event["method"] for event in get.events] == ["roots/list"]
    assert test.bench.server.exchanges == 1


def test_a_question_of_a_call_that_takes_json_only_takes_the_get_stream(begin: Begin) -> None:
    test = begin()
    get = test.bench.replies[test.get()]
    route, key = test.call(2, accept="application/json")
    assert test.bench.server.progress(key, 1)
    asked = test.bench.server.request("roots/list", now=test.bench.now, parent=key)
    test.bench.answer(key)
    assert [event["id"] for event in get.events] == [asked]
    assert test.bench.replies[route].json == {"jsonrpc": "2.0", "id": 2, "result": NOTHING}
    assert test.asked(StreamAppend) == []


def test_a_question_is_taken_back_though_the_stream_of_its_call_is_gone(begin: Begin) -> None:
    test = begin()
    get = test.bench.replies[test.get()]
    asked = test.bench.server.request("roots/list", now=test.bench.now, parent=test.key)
    test.bench.pump()
    cancel = note("notifications/cancelled", {"requestId": 1})
    assert test.bench.post(cancel, mcp_session_id=test.session).status == 202
    test.bench.server.cancel(asked, now=test.bench.now)
    test.bench.pump()
    [told] = get.events
    assert told["method"] == "notifications/cancelled"
    assert told["params"]["requestId"] == asked


def test_ids_can_be_switched_off(begin: Begin) -> None:
    test = begin(settings=HttpSettings(resumable=False))
    get = test.get()
    test.progress(1, 2)
    test.notify(1)
    assert b"id:" not in test.reply.body.replace(b'"id:', b"")
    assert test.reply.ids == ["", ""]
    assert (shown(test.bench.replies[get]), test.bench.replies[get].ids) == ([1], [""])
    route, key = test.call(2)
    test.progress(3, key=key)
    test.bench.answer(key)
    assert [event.get("id") for event in test.bench.replies[route].events] == [None, 2]
    assert test.bench.replies[route].ids == ["", ""]
    assert test.asked(StreamAppend) == []
    assert test.bench.server.close_stream(test.key, now=test.bench.now) is False
    assert_clear(test.resume("1.1." + "A" * 22), 400, "Last-Event-ID")
    test.cut()
    test.cut(get)
    asked = test.bench.server.request("roots/list", now=test.bench.now, parent=test.key)
    test.notify(2)
    new = test.bench.replies[test.get()]
    assert [event.get("id") for event in new.events] == [asked, None]


def test_an_answer_may_be_written_after_its_session_has_ended() -> None:
    test = Broken()
    test.progress(1, pump=False)
    test.bench.server.respond(test.key, {"content": []})
    test.bench.server.writable()
    test.bench.send(None, method="DELETE", mcp_session_id=test.session)
    assert len(test.reply.events) == 2
    assert test.bench.server.deadline() is None


# Polling


@pytest.mark.requirement("basic/transports/prime")
@pytest.mark.parametrize("how", ["progress", "delay", "get"])
def test_a_stream_is_primed(begin: Begin, how: str) -> None:
    test = begin(settings=HttpSettings(reconnect_delay=2.5, json_delay=1.0))
    reply = test.reply
    if how == "progress":
        test.progress(1)
    elif how == "delay":
        test.bench.pass_time(1)
    else:
        reply = test.bench.replies[test.get()]
    first = reply.raw_events[0]
    assert (first.payload, first.event, first.retry) == (b"", "message", 2500)
    assert first.id
    assert reply.body.startswith(b"id: ")


@pytest.mark.parametrize("version", NAMES[:-1])
def test_older_revisions_know_no_priming(begin: Begin, version: str) -> None:
    test = begin(version)
    test.progress(1)
    get = test.bench.replies[test.get()]
    assert get.body == b""
    assert [event.payload == b"" for event in test.reply.raw_events] == [False]
    assert test.bench.server.close_stream(test.key, now=test.bench.now) is False
    assert test.bench.server.close_get_streams(test.session, now=test.bench.now) == 0
    test.respond()
    assert shown(test.reply) == [1, "done"]


@pytest.mark.parametrize("retry", [float("nan"), float("inf"), 1e15])
def test_a_time_that_is_none_closes_nothing(begin: Begin, retry: float) -> None:
    test = begin()
    server, now = test.bench.server, test.bench.now
    with pytest.raises(ValueError, match="retry must be at most 31536000 seconds"):
        server.close_stream(test.key, retry=retry, now=now)
    assert test.reply.head is None
    (session,) = [each.id for each in server._router.sessions]
    with pytest.raises(ValueError, match="retry must be at most 31536000 seconds"):
        server.close_get_streams(session, retry=retry, now=now)


@pytest.mark.requirement("basic/transports/prime", "basic/transports/retry-sent")
@pytest.mark.parametrize("streaming", [True, False])
def test_the_server_closes_the_connection_and_is_polled(streaming: bool) -> None:
    test = Broken()
    server, bench = test.bench.server, test.bench
    if streaming:
        test.progress(1)
    server.progress(test.key, 2)
    assert server.close_stream(test.key, retry=0.25, now=bench.now)
    assert server.close_stream(test.key, now=bench.now) is False
    test.progress(3)
    assert test.reply.end is not None
    assert not test.reply.end.close
    assert shown(test.reply) == [1, 2] if streaming else [2]
    first, last = test.reply.raw_events[0], test.reply.raw_events[-1]
    assert (first.payload, last.payload, last.retry) == (b"", b"", 250)
    assert last.id == test.reply.ids[-2]
    # polled, closed again, polled
    poll = test.resume(last.id or "")
    assert server.close_stream(test.key, now=bench.now)
    bench.pump()
    assert shown(poll) == [3]
    assert poll.raw_events[-1].retry == 1000
    assert poll.end is not None
    test.respond()
    again = test.resume(poll.ids[-1])
    assert shown(again) == ["done"]
    assert server.close_stream(test.key, now=bench.now) is False
    assert "RequestCancelled" not in bench.kinds()
    assert server.exchanges == 0


def test_a_stream_that_was_closed_before_anything_was_written() -> None:
    test = Broken()
    server = test.bench.server
    assert server.close_stream(test.key, retry=-1, now=test.bench.now)
    test.cut()
    again = test.bench.session()
    assert again
    number = server._router.sessions.find(test.session, None)
    assert number is not None
    assert len(number.log.streams) == 1
    test.respond()


def test_no_stream_of_a_session_that_has_ended_is_closed(begin: Begin) -> None:
    test = begin()
    test.progress(1)
    test.bench.send(None, method="DELETE", mcp_session_id=test.session)
    assert test.bench.server.close_stream(test.key, now=test.bench.now) is False


def test_what_comes_after_the_end_of_a_get_stream_goes_nowhere(begin: Begin) -> None:
    test = begin()
    get = test.get()
    test.bench.server.close(now=test.bench.now)
    test.notify(1)
    assert shown(test.bench.replies[get]) == []
    assert test.bench.replies[get].end is not None


def test_connections_that_cannot_be_closed() -> None:
    bench, session = in_session()
    bench.modern("tools/list")
    modern = bench.take(RequestReceived).key
    plain = bench.post(CALL, mcp_session_id=session, accept="application/json")
    key = bench.take(RequestReceived).key
    for each in (modern, key, 999):
        assert bench.server.close_stream(each, now=bench.now) is False
    bench.answer(key)
    assert plain.json["id"] == 1
    route = bench.send(CALL, mcp_session_id=session)
    gone = bench.take(RequestReceived).key
    bench.server.disconnect(route, now=bench.now)
    assert bench.server.close_stream(gone, now=bench.now) is False


@pytest.mark.requirement("basic/transports/get-stream-polling", "basic/transports/retry-sent")
def test_get_streams_are_polled_too(begin: Begin) -> None:
    test = begin()
    routes = [test.get(), test.get()]
    test.notify(1)
    server = test.bench.server
    assert server.close_get_streams(test.session, retry=3, now=test.bench.now) == 2
    test.notify(2)
    newest = test.bench.replies[routes[1]]
    for route in routes:
        reply = test.bench.replies[route]
        assert reply.end is not None
        assert reply.raw_events[-1].retry == 3000
    assert shown(newest) == [1]
    again = test.resume(newest.ids[-1])
    test.notify(3)
    assert shown(again) == [2, 3]
    with pytest.raises(LocalProtocolError, match="no such session"):
        server.close_get_streams("made-up", now=test.bench.now)


def test_whoever_was_told_to_come_back_may_do_so_twice(begin: Begin) -> None:
    test = begin()
    assert test.bench.server.close_stream(test.key, now=test.bench.now)
    test.bench.pump()
    cursor = test.reply.ids[-1]
    test.cut(test.get(cursor))  # gone again before there was anything to say
    test.progress(1)
    assert shown(test.resume(cursor)) == [1]


def test_a_question_that_nobody_comes_back_for_times_out() -> None:
    test = Broken()
    assert test.bench.server.close_stream(test.key, now=test.bench.now)
    server = test.bench.server
    asked = server.request("roots/list", now=test.bench.now, parent=test.key, timeout=5)
    test.bench.pass_time(6)
    ended = test.bench.take(RequestEnded)
    assert (ended.request, ended.reason) == (asked, EndReason.TIMED_OUT)
    again = test.resume(test.reply.ids[-1])
    assert [event["method"] for event in again.events] == ["roots/list", "notifications/cancelled"]
