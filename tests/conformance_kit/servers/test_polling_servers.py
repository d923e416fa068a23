"""Servers that close the stream of a POST and give the answer to who comes back are in order."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import uuid4

import anyio
import pytest
from msgspec import Struct

from mcpcore.spec.revisions import BY_NAME, LATEST
from mcpcore_conformance.kit.heard import Done, Event, Head, Heard, Text
from mcpcore_conformance.kit.link_coming_back import MOST, ComingBack
from mcpcore_conformance.kit.messages import encode, error, notification, request, result
from mcpcore_conformance.kit.model import Binding, Case
from mcpcore_conformance.kit.talk import ServerTalk, Timing
from mcpcore_conformance.kit.wire import Wire
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Run
from tests.conformance_kit.runs import OLD, cases_of, findings, passed, ran
from tests.conformance_kit.servers.streaming_programs import SessionHandler, SessionServer

EARLIER = "2025-06-18"
PIPELINED = "rfc9112/section-9.3.2/pipelined-in-order"
KEPT_OPEN = "basic/transports/sending-messages-to-the-server/stream-kept-open"
NUMBER = {"type": "integer"}
TOOLS = [
    {
        "name": name,
        "description": "Adds.",
        "annotations": {"readOnlyHint": True},
        "inputSchema": {
            "type": "object",
            "properties": dict.fromkeys(needed, NUMBER),
            "required": needed,
        },
    }
    for name, needed in (
        ("add", ["a", "b"]),
        ("test_tool_with_progress", []),
        ("test_reconnection", []),
    )
]
Value = dict[str, Any]


class _Stream(Struct):
    """What a client gets that comes back for an answer."""

    session: str
    events: list[str]
    """The data of each: the first is empty, the last the answer."""

    def shown(self, name: str, first: int, end: int) -> bytes:
        numbered = [*enumerate(self.events)][first:end]
        return "".join(
            f"id: {name}-{number}\ndata: {data}\n\n" for number, data in numbered
        ).encode()


class _Polled(SessionServer):
    """Has its clients come back twice: for calls of tools, or for every answer."""

    def __init__(self, *, all: bool, revision: str, forgets: bool, retry: int) -> None:
        super().__init__(_Handler, revision)
        self.all, self.forgets, self.retry = all, forgets, retry
        self.streams: dict[str, _Stream] = {}
        self.visits = 0
        """How often somebody has come back."""


def _called(message: Value, revision: str) -> Value:
    id, params = message["id"], message.get("params", {})
    given = params.get("arguments", {})
    if params.get("name") not in [each["name"] for each in TOOLS] or not isinstance(given, dict):
        return error(id, -32602, "no such tool")
    numbers = [given.get("a"), given.get("b")] if params["name"] == "add" else []
    sound = [each for each in numbers if isinstance(each, int) and not isinstance(each, bool)]
    if sound != numbers:
        if revision != OLD:
            return error(id, -32602, "a and b are integers")
        return result(id, {"content": [{"type": "text", "text": "no number"}], "isError": True})
    return result(id, {"content": [{"type": "text", "text": str(sum(sound))}]})


def _progress(message: Value) -> list[str]:
    params = message.get("params", {})
    given = isinstance(params, dict) and params.get("name") == "test_tool_with_progress"
    token = params.get("_meta", {}).get("progressToken") if given else None
    if token is None:
        return []
    steps = [{"progressToken": token, "progress": each, "total": 100} for each in (0, 50, 100)]
    return [json.dumps(notification("notifications/progress", each)) for each in steps]


def _answer(message: Value, revision: str) -> Value:
    id, params = message["id"], message.get("params", {})
    if not isinstance(params, dict):
        return error(id, -32602, "params is an object")
    match message["method"]:
        case "ping":
            return result(id, {})
        case "tools/list":
            bad = "cursor" in params
            return error(id, -32602, "no such page") if bad else result(id, {"tools": TOOLS})
        case "tools/call":
            return _called(message, revision)
    return error(id, -32601, "no such method")


class _Handler(SessionHandler):
    server: _Polled

    def pick_up(self, mark: str | None, session: str) -> None:
        """See :class:`SessionHandler`."""
        if mark is None:
            self.say(405, allow="GET, POST, DELETE")
            return
        name, _, number = mark.rpartition("-")
        stream = self.server.streams.get(name)
        if (
            stream is None
            or stream.session != session
            or not number.isdigit()
            or self.server.forgets
        ):
            self.say(400, error(None, -32600, "no such stream"))
            return
        self.server.visits += 1
        after = int(number) + 1
        self.stream(stream.shown(name, after, 2 if after == 1 else len(stream.events)))

    def serve(self, message: Value, session: str) -> None:
        """See :class:`SessionHandler`."""
        if self.server.all or message["method"] == "tools/call":
            name = uuid4().hex
            told = _progress(message) or [""]
            stream = _Stream(
                session, ["", *told, json.dumps(_answer(message, self.server.revision))]
            )
            self.server.streams[name] = stream
            self.stream(b"retry: %d\n" % self.server.retry + stream.shown(name, 0, 1))
        else:
            self.say(200, _answer(message, self.server.revision))


@contextmanager
def polled(
    *, all: bool = True, revision: str = OLD, forgets: bool = False, retry: int = 10
) -> Iterator[_Polled]:
    """A server that is polled, in a thread of its own."""
    server = _Polled(all=all, revision=revision, forgets=forgets, retry=retry)
    with server, server.serving():
        yield server


def played(server: _Polled, cases: Sequence[Case]) -> Run:
    """A run of cases on it."""
    return ran(f"http://{server.authority}/mcp", cases, server.revision)


def about_the_protocol(case: Case) -> bool:
    """Not about the syntax of HTTP, which is that of the standard library here."""
    return case.id == PIPELINED or not case.page.startswith("rfc")


@pytest.mark.long
@pytest.mark.parametrize("all", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_server_may_have_its_clients_come_back_for_answers(all: bool) -> None:
    cases = [each for each in all_cases() if about_the_protocol(each)]
    with polled(all=all) as server:
        run = played(server, cases)
    assert findings(run) == {}
    assert server.visits > 30
    assert len(passed(run)) > 140


@pytest.mark.long
def test_before_2025_11_25_a_server_should_keep_its_streams_open() -> None:
    cases = [each for each in all_cases() if about_the_protocol(each)]
    with polled(revision=EARLIER) as server:
        run = played(server, cases)
    assert findings(run).keys() == {KEPT_OPEN}


def test_a_server_that_forgets_what_it_has_promised_is_blamed() -> None:
    shape = "server/tools/calling-tools/result-shape"
    case = "server/tools/tool-names/case-sensitive"
    with polled(all=False, forgets=True) as server:
        found = findings(played(server, cases_of(shape, case)))
    unanswered = "got HTTP status 200 without a message"
    assert found[shape][1] == f"tools/call {unanswered}, not a result"
    assert found[case][1] == f"a call of ADD {unanswered}, not an error"


class _Opens:
    """A connection that only counts how often a stream was picked up."""

    binding = Binding.HTTP

    def __init__(self) -> None:
        self.marks: list[str | None] = []

    async def listen(self, last_event_id: str | None = None) -> int:
        self.marks.append(last_event_id)
        return 1 + len(self.marks)


class _Waits(Struct):
    timing: Timing = Timing(answer=5.0)


POST = encode(request(1, "ping"))
ANSWER = encode(result(1, {}))


def _stream(exchange: int, *heard: Heard, status: int = 200, **done: Any) -> list[Heard]:
    head = Head(exchange, status, [("content-type", "text/event-stream")])
    return [head, *heard, Done(exchange, **done)]


def _coming_back(
    streams: Sequence[list[Heard]], revision: str = OLD, payload: bytes = POST
) -> tuple[list[float], list[str | None], list[Heard]]:
    """How long the kit stays away, with which ids it comes back, and what the link hears."""
    wire = _Opens()
    talk = cast("ServerTalk", _Waits())
    back = ComingBack(talk, cast("Wire", wire), BY_NAME[revision])
    back.posted(1, payload)
    pauses: list[float] = []
    found: list[Heard] = []

    async def play() -> None:
        now = 100.0
        for stream in streams:
            found.extend(one for each in stream if (one := back.heard(each, now)) is not None)
            pause = back.until_next(now)
            if pause == float("inf"):
                return
            pauses.append(round(pause, 3))
            now += pause
            await back.come_back(now)

    anyio.run(play)
    return pauses, wire.marks, found


def test_the_kit_stays_away_as_long_as_it_is_told_up_to_a_limit() -> None:
    streams = [
        _stream(1, Event(1, retry=700), Event(1, event_id="a")),
        _stream(2, Event(2, event_id="b", retry=60_000)),
        _stream(3, Text(b'{"jsonrpc":"2.0","method":"x"}', 3, "c", retry=2000)),
        _stream(4, Text(ANSWER, 4, "d")),
    ]
    pauses, marks, found = _coming_back(streams)
    assert pauses == [0.7, 5.0, 2.0]
    assert marks == ["a", "b", "c"]
    assert [each.exchange for each in found if isinstance(each, (Text, Event, Done))] == [1] * 6
    assert found[-1] == Done(1)


def test_the_kit_does_not_come_back_for_ever() -> None:
    streams = [_stream(1 + number, Event(1 + number, event_id="a")) for number in range(100)]
    pauses, marks, found = _coming_back(streams)
    assert len(marks) == MOST
    assert 4.0 < sum(pauses) < 10.0
    assert [each for each in found if isinstance(each, Done)] == [Done(1)]


@pytest.mark.parametrize(
    ("stream", "revision", "payload", "times"),
    [
        pytest.param(_stream(1, Event(1, event_id="a")), OLD, POST, 1, id="an-id"),
        pytest.param(_stream(1, Event(1, event_id="a")), EARLIER, POST, 1, id="an-earlier-one"),
        pytest.param(_stream(1, Event(1, event_id="a"), clean=False), OLD, POST, 1, id="lost"),
        pytest.param(_stream(1, Event(1, retry=1)), OLD, POST, 0, id="no-id"),
        pytest.param(
            _stream(1, Event(1, event_id="a"), Event(1, event_id="")), OLD, POST, 0, id="taken-back"
        ),
        pytest.param(_stream(1, Text(ANSWER, 1, "a")), OLD, POST, 0, id="answered"),
        pytest.param(
            _stream(1, Event(1, event_id="a"), clean=False, cut=True), OLD, POST, 0, id="cut"
        ),
        pytest.param(_stream(1, Event(1, event_id="a"), status=400), OLD, POST, 0, id="refused"),
        pytest.param(_stream(1, Event(1, event_id="a")), LATEST.name, POST, 0, id="modern"),
        pytest.param(
            _stream(1, Event(1, event_id="a")), OLD, encode(notification("x")), 0, id="nothing-owed"
        ),
        pytest.param(
            _stream(1, Text(ANSWER, 1, "a")),
            "2025-03-26",
            b"[" + POST + b"," + encode(request(2, "ping")) + b"]",
            1,
            id="one-of-a-batch",
        ),
    ],
)
def test_the_kit_comes_back_for_what_is_owed_and_can_be_had(
    stream: list[Heard], revision: str, payload: bytes, times: int
) -> None:
    _, marks, _ = _coming_back([stream], revision, payload)
    assert marks == ["a"] * times
