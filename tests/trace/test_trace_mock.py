"""A server out of a trace: which request gets which answer, in which era, and over what."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpcore.engine import events
from mcpcore.engine.config import Config, Role
from mcpcore.engine.peer import Peer
from mcpcore.errors import McpError
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore_conformance.trace.compare import same_but_hidden
from mcpcore_conformance.trace.mock import Mock
from mcpcore_conformance.trace.reading import TraceFile
from mcpcore_transports.client.client import connect
from mcpcore_transports.server.settings import RuntimeSettings
from tests.command import mcpcore_here
from tests.trace.said import (
    Lines,
    c,
    done,
    error,
    handshake,
    modern,
    notice,
    request,
    result,
    s,
    saved,
    trace,
)
from tests.transports.served import served
from tests.warm import PYTHON

ERAS = ("2025-11-25", "2026-07-28")
TOOL = {"name": "t", "inputSchema": {"type": "object"}}


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


def calls(era: str, *pairs: tuple[dict[str, Any], dict[str, Any]]) -> TraceFile:
    """A trace of calls of one tool with these arguments, and what they returned."""
    lines: Lines = [] if era == ERAS[1] else handshake(server={"tools": {}})
    ask, answer = (modern, done) if era == ERAS[1] else (request, result)
    for number, (arguments, returned) in enumerate(pairs, 1):
        params = {"name": "t", "arguments": arguments}
        lines += [c(ask("tools/call", params, number)), s(answer(returned, number))]
    return trace(lines)


class Talk:
    """One client of a mock: a machine on each side, and nothing between them."""

    def __init__(self, mock: Mock, era: str) -> None:
        rules = RuntimeSettings()
        self._server = Peer(Role.SERVER, mock.config(rules))
        self._runtime = mock.runtime(self._server, rules)
        me = Implementation(name="c", version="1")
        config = Config(info=me, capabilities=ClientCapabilities(), revisions=(BY_NAME[era],))
        self._client = Peer(Role.CLIENT, config)
        self._client.start(now=0.0)
        self.heard: list[events.Event] = []
        """Notifications about requests."""

    def ask(self, method: str, params: Any, *, progress: bool = False) -> events.Event:
        """Ask; return how it ends."""
        self._client.request(method, params, now=0.0, force=True, progress=progress)
        for _ in range(5):
            self._server.receive_data(self._client.lines_to_send(), now=0.0)
            while event := self._server.next_event():
                self._runtime.handle(event)
            self._client.receive_data(self._server.lines_to_send(), now=0.0)
            while event := self._client.next_event():
                if isinstance(event, events.ResultReceived | events.ErrorReceived):
                    return event
                if isinstance(event, events.InputRequired):
                    return event
                if isinstance(event, events.ProgressReceived | events.NotificationReceived):
                    self.heard.append(event)
        raise AssertionError("no answer")

    def call(self, **arguments: Any) -> str:
        """Call the tool; return its text, or the message of its error."""
        found = self.ask("tools/call", {"name": "t", "arguments": arguments})
        if isinstance(found, events.ErrorReceived):
            return found.error.message
        assert isinstance(found, events.ResultReceived)
        return str(msgspec.json.decode(found.result)["content"][0]["text"])


@pytest.mark.parametrize("recorded", ERAS)
@pytest.mark.parametrize("spoken", ERAS)
def test_repeats_are_answered_in_order_for_each_client_and_misses_are_told(
    recorded: str, spoken: str
) -> None:
    told: list[str] = []
    mock = Mock(
        calls(recorded, ({"a": 1}, text("one")), ({"a": 1}, text("two")), ({"a": 2}, text("x"))),
        told.append,
    )
    first, second = Talk(mock, spoken), Talk(mock, spoken)
    assert [first.call(a=1), second.call(a=1)] == ["one", "one"]
    assert [first.call(a=1), first.call(a=1), second.call(a=1)] == ["two", "two", "two"]
    assert first.call(a=2) == "x"
    assert not told
    missing = "the trace has no answer to tools/call with these params, only with 2 others"
    assert first.call(a=3) == missing
    assert told == [f'MISSED: {missing}; asked was "tools/call" ' + told[0].partition('" ')[2]]
    assert '"a": 3' in told[0]
    assert mock.missed == 1


def news(method: str, **params: Any) -> Any:
    return s(notice(f"notifications/{method}", params))


@pytest.mark.parametrize("spoken", ERAS)
@pytest.mark.parametrize("asks", [True, False])
def test_progress_and_log_messages_come_again_before_the_answer(spoken: str, asks: bool) -> None:
    params = {"name": "t", "arguments": {}, "_meta": {"progressToken": 70}}
    other = {"name": "t", "arguments": {"b": 1}, "_meta": {"progressToken": 71}}
    made = trace(
        handshake(server={"tools": {}, "logging": {}}),
        c(request("tools/call", params, 1)),
        news("message", level="warning", data="alone", logger="l"),
        c(request("tools/call", other, 2)),
        news("progress", progressToken=70, progress=1, total=2, message="half"),
        news("progress", progressToken=71, progress=9),
        news("progress", progressToken=72, progress=9),
        news("message", level="error", data="of one of two"),
        news("tools/list_changed"),
        s(result(text("one"), 1)),
        s(result(text("two"), 2)),
    )
    talk = Talk(Mock(made, print), spoken)
    talk.ask("tools/call", {"name": "t", "arguments": {}}, progress=asks)
    told = [each for each in talk.heard if isinstance(each, events.ProgressReceived)]
    found = [(each.progress, each.total, each.message) for each in told]
    assert found == [(1, 2, "half")] * asks
    logged = [each for each in talk.heard if isinstance(each, events.NotificationReceived)]
    modern = spoken == ERAS[1]  # where each request asks for log messages
    assert [msgspec.json.decode(each.params)["data"] for each in logged] == ["alone"] * (not modern)


@pytest.mark.parametrize("odd", [{"progress": "x"}, {"level": "loud", "data": 1}, {}])
def test_news_of_the_trace_that_are_none_are_told(odd: dict[str, Any]) -> None:
    told: list[str] = []
    params = {"name": "t", "arguments": {}, "_meta": {"progressToken": 70}}
    method = "message" if "level" in odd else "progress"
    made = trace(
        handshake(server={"tools": {}, "logging": {}}),
        c(request("tools/call", params, 1)),
        news(method, progressToken=70, **odd),
        s(result(text("one"), 1)),
    )
    assert (
        "the answer of the trace cannot be given" in Talk(Mock(made, told.append), ERAS[0]).call()
    )
    assert len(told) == 1


LISTED = {"tools": [TOOL]}
ASKING = {
    "resultType": "input_required",
    "inputRequests": {"q": {"method": "roots/list"}},
    "requestState": "S",
}
ASKING_NOTHING = {"resultType": "input_required", "inputRequests": [1]}
NO_CODE = {"jsonrpc": "2.0", "id": 1, "error": {"message": "no"}}


@pytest.mark.parametrize(
    ("made", "spoken", "method", "params", "wanted"),
    [
        (
            trace(handshake(), c(request("tools/list")), s(result(LISTED))),
            ERAS[1],
            "tools/list",
            {},
            {**LISTED, "ttlMs": 0, "cacheScope": "private", "resultType": "complete"},
        ),
        (
            trace(
                c(modern("tools/list", {"cursor": None})),
                s(done({**LISTED, "ttlMs": 5, "cacheScope": "public"})),
            ),
            ERAS[0],
            "tools/list",
            {},
            LISTED,
        ),
        (
            trace(handshake(), c(request("prompts/get", {"name": "p"})), s(error(data={"a": 1}))),
            ERAS[0],
            "prompts/get",
            {"name": "p"},
            (-32602, "no"),
        ),
        (
            trace(handshake(), c(request("prompts/get", {"name": "p"})), s(NO_CODE)),
            ERAS[0],
            "prompts/get",
            {"name": "p"},
            (-32603, "no"),
        ),
        (
            trace(c(modern("tools/call", {"name": "t"})), s(done(ASKING_NOTHING))),
            ERAS[1],
            "tools/call",
            {"name": "t"},
            (
                -32603,
                "the answer of the trace cannot be given: "
                "input_required needs requests, a state, or both",
            ),
        ),
        (
            trace(c(modern("tools/call", {"name": "t"})), s(done(ASKING))),
            ERAS[0],
            "tools/call",
            {"name": "t"},
            (
                -32603,
                "the answer of the trace cannot be given: "
                "it asks for input in the way of 2026-07-28",
            ),
        ),
        (
            trace(
                handshake(),
                c(request("tools/call", {"name": "t", "arguments": {"key": "<hidden-1>"}})),
                s(result(text("hidden"))),
            ),
            ERAS[1],
            "tools/call",
            {"name": "t", "arguments": {"key": "anything"}, "_meta": {"x": 1}},
            {**text("hidden"), "resultType": "complete"},
        ),
    ],
    ids=[
        *("hints are added", "hints are dropped", "an error", "an error without code"),
        *("a round without questions", "a round", "what is hidden"),
    ],
)
def test_answers_fit_the_era_of_the_client(
    made: TraceFile, spoken: str, method: str, params: Any, wanted: Any
) -> None:
    found = Talk(Mock(made, lambda line: None), spoken).ask(method, params)
    if isinstance(found, events.ErrorReceived):
        assert (found.error.code, found.error.message) == wanted
    else:
        assert isinstance(found, events.ResultReceived)
        answer = msgspec.json.decode(found.result)
        answer.pop("_meta", None)
        assert answer == wanted


def test_what_a_client_asks_is_told_without_what_a_terminal_obeys() -> None:
    told: list[str] = []
    Talk(Mock(calls(ERAS[0]), told.append), ERAS[0]).call(a="\x9b31m\u202e\x1b")
    assert told[0].isascii()
    assert told[0].isprintable()


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("a<hidden-1>b", "a b", True),
        ("a<hidden-1>a", "a", False),
        ("<hidden-1>x<hidden-2>y<.7.>", "1x2y<.7.>", True),
        ("<hidden-1>x<hidden-2>x<hidden-3>", "x", False),
        ("<...>", "", True),
        ("a<hidden-1>", 7, False),
        ("<hidden-1>", 7, True),
        ("<hidden-1>a" * 5000 + "b", "a" * 20_000, False),
        ({"a": ["<hidden-1>", 1]}, {"a": ["x", 1]}, True),
        ({"a": ["<hidden-1>", 1]}, {"a": ["x", 2]}, False),
        ({"a": 1}, {"a": 1, "b": 1}, False),
        ([1], [1, 2], False),
    ],
)
def test_what_is_hidden_may_be_anything(wanted: Any, found: Any, same: bool) -> None:
    assert same_but_hidden(wanted, found) is same


@pytest.mark.anyio
@pytest.mark.parametrize("binding", ["http", "ws", "tcp"])
@pytest.mark.turns("binding")
async def test_it_is_served_on_the_bindings_of_serve(binding: str) -> None:
    made = trace(
        handshake(server={"tools": {}}),
        c(request("tools/list")),
        s(result(LISTED)),
        c(request("tools/call", {"name": "t"}, 2)),
        s(result(text("said"), 2)),
    )
    mock = Mock(made, lambda line: None)
    at: Any = {binding: "127.0.0.1:0"}
    async with served(mock, **at) as here:
        for era in ERAS:
            async with connect(here.url, revision=era) as client:
                assert (client.server_info and client.server_info.name) == "s"
                assert (await client.call_tool("t", {})).text == "said"
                with pytest.raises(McpError, match="only with 1 others"):
                    await client.call_tool("t", {"a": 1})
    assert mock.missed == 2


@pytest.mark.usefixtures("warm_programs")
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [({}, 0, b""), ({"a": "?"}, 1, b"1 requests had no answer in the trace\n")],
)
def test_the_command_fails_if_something_was_missed(
    arguments: dict[str, Any], status: int, told: bytes, tmp_path: Path
) -> None:
    file = saved(calls(ERAS[1], ({}, text("said"))), tmp_path)
    asked = modern("tools/call", {"name": "t", "arguments": arguments})
    done = subprocess.run(
        [*PYTHON, "-m", "mcpcore_transports.commands.main", "trace", "mock", file, "--stdio"],
        input=msgspec.json.encode(asked) + b"\n",
        capture_output=True,
    )
    assert (done.returncode, done.stderr.endswith(told)) == (status, True)
    assert (b"said" in done.stdout, b"MISSED: " in done.stderr) == (not status, bool(status))


def test_it_needs_one_process(tmp_path: Path) -> None:
    words = ("trace", "mock", str(saved(calls(ERAS[0]), tmp_path)), "--workers", "2")
    assert mcpcore_here(*words, "--http", "127.0.0.1:0").returncode == 2
