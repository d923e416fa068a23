"""The core plays a side of a trace, and says where it is of another mind."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpcore.spec.revisions import REVISIONS
from mcpcore.trace.format import Record
from mcpcore_conformance.trace.conversations import conversations
from mcpcore_conformance.trace.reading import TraceFile, read
from mcpcore_conformance.trace.replay import Step, parts, replay
from mcpcore_transports.client.client import connect
from mcpcore_transports.targets import MemoryTarget
from mcpcore_transports.tracing.tracing import Trace
from tests.trace.recorded import ERAS, answering, converse, server
from tests.trace.said import (
    BUILD,
    READY,
    c,
    done,
    error,
    get,
    handshake,
    initialize,
    initialized,
    modern,
    notice,
    post,
    prime,
    reply,
    request,
    result,
    s,
    session,
    stream,
    trace,
)
from tests.transports.served import served

CALL = {"name": "t", "arguments": {}}
ODD = [done({"resultType": "input_required", "inputRequests": each}) for each in ([1], {"q": 1})]
"""What asks for input in a wrong form."""
TOLD: dict[str, Any] = {"mcp_session_id": "abc", "mcp_protocol_version": "2025-11-25"}


def steps(of: TraceFile, side: str, **options: Any) -> list[Step]:
    return list(replay(of, side=side, **options))


def remarks(of: TraceFile, side: str, **options: Any) -> list[tuple[int, str]]:
    return [(step.line, text) for step in steps(of, side, **options) for text in step.remarks]


def at(found: list[Step], line: int) -> Step:
    return next(step for step in found if step.line == line)


UNASKED = {
    "stdio": trace(c(modern("tools/call", CALL)), s(done({"content": []}))),
    "http": trace(
        post(
            modern("tools/call", CALL),
            mcp_protocol_version="2026-07-28",
            mcp_method="tools/call",
            mcp_name="t",
        ),
        reply(done({"content": []})),
        binding="http",
    ),
}


@pytest.mark.parametrize("of", UNASKED.values(), ids=UNASKED)
def test_a_modern_client_may_begin_without_server_discover(of: TraceFile) -> None:
    found = steps(of, "client")
    assert [text for step in found for text in step.remarks] == []
    (sent,) = [text for step in found for text in step.sends]
    assert "request tools/call" in sent
    events = [text.partition(" ")[0] for step in found for text in step.events]
    assert events == ["Ready", "ResultReceived"]


# What was really recorded


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("revision", [row.name for row in REVISIONS])
async def test_a_recorded_conversation_is_what_the_core_would_do(
    revision: str, tmp_path: Path
) -> None:
    file = tmp_path / "trace.jsonl"
    async with connect(
        MemoryTarget(server), revision=revision, trace=file, callbacks=answering()
    ) as client:
        await converse(client) if revision in ERAS else await client.call_tool("steps")
    recorded = read(file)
    for side in ("client", "server"):
        assert remarks(recorded, side) == []
        assert any(step.events for step in steps(recorded, side))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("revision", ERAS)
@pytest.mark.parametrize("binding", ["http", "sse"])
async def test_and_over_http(binding: str, revision: str, tmp_path: Path) -> None:
    if binding == "sse" and revision == ERAS[1]:
        pytest.skip("HTTP+SSE has no modern era")
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    where: dict[str, Any] = {binding: "127.0.0.1:0"}
    async with (
        served(server, trace=theirs, **where) as state,
        connect(state.url, revision=revision, trace=ours, callbacks=answering()) as client,
    ):
        await converse(client)
    for file in (theirs, ours):
        for side in ("client", "server"):
            assert remarks(read(file), side) == [], (file.name, side)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_of_many_conversations_a_server_plays_all_at_once_and_a_client_one_by_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "server.jsonl"
    async with served(server, trace=file) as state:
        for _ in range(3):
            async with connect(state.url, revision=ERAS[0], callbacks=answering()) as client:
                await client.call_tool("echo", {"text": "x"})
    recorded = read(file)
    assert len(conversations(recorded)) == 3
    assert remarks(recorded, "server") == []
    assert remarks(recorded, "client") == []
    assert {step.conversation for step in steps(recorded, "server")} == {None}
    played = steps(recorded, "client")
    assert [*dict.fromkeys(step.conversation for step in played)] == [1, 2, 3]
    assert [part.title for part in parts(recorded, side="client")] == [
        f"conversation {number} of 3" for number in (1, 2, 3)
    ]
    last = steps(recorded, "client", conversation=3)
    assert last == [step for step in played if step.conversation == 3]
    with pytest.raises(ValueError, match="there is no conversation 4: the trace has 3"):
        steps(recorded, "client", conversation=4)


# Several connections


def on(connection: int, *said: Record | list[Record]) -> list[Record]:
    records = [record for each in said for record in (each if isinstance(each, list) else [each])]
    return [msgspec.structs.replace(record, connection=connection) for record in records]


def two() -> TraceFile:
    """Two connections, the records of which are mixed; on the second the server is wrong."""
    return trace(
        on(1, handshake()),
        on(4, handshake()),
        on(1, c(request("ping"))),
        on(4, c(request("ping", id=2)), s(error(-32601, 2))),
        on(1, s(result())),
    )


def test_each_connection_is_played_in_turn() -> None:
    found = steps(two(), "server")
    lines = {1: [2, 3, 4, 8, 11], 4: [5, 6, 7, 9, 10]}
    assert [(step.connection, step.line) for step in found] == [
        (connection, line) for connection, those in lines.items() for line in those
    ]
    assert [part.title for part in parts(two())] == [
        "connection 1 (1 of 2)",
        "connection 4 (2 of 2)",
    ]
    wrong = [(10, "the core says result where the trace has error")]
    assert remarks(two(), "server") == wrong
    assert remarks(two(), "server", connection=4) == wrong
    assert remarks(two(), "server", connection=1) == []
    assert [step.line for step in steps(two(), "server", connection=1)] == lines[1]
    assert [step.line for step in steps(two(), "client", conversation=2)] == lines[4]
    assert [part.title for part in parts(trace(handshake()))] == [""]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"connection": 2}, "there is no connection 2: the trace has 1, 4"),
        ({"conversation": 3}, "there is no conversation 3: the trace has 2"),
        ({"connection": 4, "conversation": 1}, "conversation 1 is on connection 1, not on 4"),
    ],
)
def test_what_there_is_not_cannot_be_played(choice: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        steps(two(), "server", **choice)


# Events and states


def test_events_and_states_follow_each_record() -> None:
    talk = trace(
        handshake(),
        c(request("tools/call", CALL)),
        c(notice("notifications/cancelled", {"requestId": 1, "reason": "enough"})),
        BUILD.note("closed", time=0.0, data=b"bye"),
    )
    found = steps(talk, "server")
    assert [step.line for step in found] == [2, 3, 4, 5, 6, 7]
    assert found[0].sends == ["result id=0"]
    assert found[0].state == "opening, 2025-11-25, 0 in flight, 0 pending"
    assert found[2].events == ["Ready revision=2025-11-25"]
    assert found[3].what == "-> request tools/call id=1"
    assert found[3].events[0].startswith("RequestReceived key=1 id=1 method=tools/call params={")
    assert found[3].state == "open, 2025-11-25, 1 in flight, 0 pending"
    assert found[4].events == ["RequestCancelled key=1 reason=enough"]
    assert found[4].state.startswith("open, 2025-11-25, 0 in flight")
    assert found[5].events == ["ConnectionEnded reason=bye"]
    assert found[5].state.startswith("closed")
    assert [step.remarks for step in found] == [[]] * 6


def test_the_ids_of_the_core_are_its_own() -> None:
    talk = trace(
        c(initialize(id="a")),
        s(initialized(id="a")),
        c(READY),
        c(request("tools/call", {**CALL, "_meta": {"progressToken": "token"}}, "b")),
        s(notice("notifications/progress", {"progressToken": "token", "progress": 1})),
        s(result({"content": []}, "b")),
    )
    found = steps(talk, "client")
    assert [step.remarks for step in found] == [[]] * 6
    assert at(found, 6).events[0].startswith("ProgressReceived")
    assert at(found, 7).events[0].startswith("ResultReceived")


def test_time_passes_between_records() -> None:
    records = [*session(), *reply(None, 9)]
    timed = [
        msgspec.structs.replace(record, time=0.0 if record is not records[-1] else 5000.0)
        for record in records
    ]
    talk = trace(timed, side="server")
    late = msgspec.structs.replace(talk.entries[-1].record, time=5000.0)
    talk.entries[-1] = talk.entries[-1]._replace(record=late)
    found = steps(talk, "server")
    passed = [step for step in found if step.what == "time passes"]
    assert passed
    assert any("SessionClosed" in text for step in passed for text in step.events)
    assert 0.0 < passed[0].time < 5000.0


# Where they do not agree


@pytest.mark.parametrize(
    ("side", "talk", "line", "text"),
    [
        (
            "server",
            trace(handshake(), s(result(id=7))),
            5,
            "the core has no such request to answer",
        ),
        (
            "server",
            trace(c(initialize()), s(error(-32602, 0))),
            3,
            "the core says result where the trace has error",
        ),
        (
            "server",
            trace(handshake(), c(request("tools/call", CALL)), s(result({})), s(result({}))),
            7,
            "the core has no such request to answer",
        ),
        (
            "server",
            trace(
                handshake(),
                c(request("tools/call", CALL)),
                c(notice("notifications/cancelled", {"requestId": 1})),
                s(result({})),
            ),
            7,
            "the core has no such request to answer",
        ),
        ("server", trace(handshake(), c(request("ping"))), 0, "the core said what the trace does"),
        (
            "client",
            trace(handshake(), c(notice("notifications/cancelled", {"requestId": 9}))),
            5,
            "the core has no such request to cancel",
        ),
        (
            "client",
            trace(c(initialize()), s(initialized()), c(request("tools/call", CALL))),
            0,
            "the core said what the trace does not: notification notifications/initialized",
        ),
        ("client", trace(handshake(), c(b"hello")), 5, "a core does not say what is invalid"),
        ("server", trace(handshake(), s(notice("notifications/message", {"level": "x"}))), 5, ""),
        ("server", trace(c(modern("tools/call", CALL)), s(ODD[0])), 3, "needs requests"),
        ("server", trace(c(modern("tools/call", CALL)), s(ODD[1])), 3, "cannot be asked"),
    ],
)
def test_where_core_and_trace_differ(side: str, talk: TraceFile, line: int, text: str) -> None:
    found = remarks(talk, side)
    assert [each for each in found if each[0] == line and text in each[1]], found


def test_what_the_other_side_breaks_is_an_event() -> None:
    found = steps(trace(handshake(), s(b"noise")), "client")
    assert at(found, 5).events[0].startswith("Violation code=-32700")


def test_a_trace_of_nothing_gives_nothing() -> None:
    assert steps(trace(), "client") == []


def test_a_modern_exchange_over_http() -> None:
    headers: dict[str, Any] = {
        "mcp_protocol_version": "2026-07-28",
        "mcp_method": "tools/call",
        "mcp_name": "t",
    }
    talk = trace(
        post(modern("tools/call", CALL), **headers),
        reply(done({"content": []})),
        post(modern("tools/call", CALL, 2), 2, **{**headers, "mcp_name": "other"}),
        reply(error(-32020, 2), 2, 400),
        binding="http",
    )
    found = steps(talk, "server")
    assert [step.remarks for step in found] == [[]] * 8
    assert at(found, 3).state == "0 sessions, 1 exchanges, 1 calls"
    assert at(found, 5).sends == ["HTTP 200", "result id=1", "end"]
    assert at(found, 7).sends == ["HTTP 400", "error id=2", "end"]


def test_a_session_over_http_has_an_id_of_the_core() -> None:
    talk = trace(
        session(),
        get(3, **TOLD),
        stream(prime("1"), stream=3, ends=False),
        post(request("tools/call", CALL), 4, **TOLD),
        reply(result({"content": []}), 4),
        get(5, "DELETE", **TOLD),
        reply(None, 5, 204),
        side="server",
        binding="http",
    )
    found = steps(talk, "server")
    assert [text for step in found for text in step.remarks] == []
    assert [at(found, line).state.partition(" exchanges")[0] for line in (2, 3, 7, 17)] == [
        *("0 sessions, 1", "opening, 1 sessions, 0", "open, 1 sessions, 0", "closed, 0 sessions, 0")
    ]
    theirs = steps(talk, "client")
    assert [at(theirs, line).state.split(",")[0] for line in (2, 5, 16, 17)] == [
        *("opening", "open", "closing", "closed")
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_same_trace_gives_the_same_steps(tmp_path: Path) -> None:
    lines: list[bytes] = []
    async with connect(MemoryTarget(server), trace=Trace(lines.append)) as client:
        await client.call_tool("steps", progress=lambda *_: None)
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines))
    recorded = read(tmp_path / "t.jsonl")
    for side in ("client", "server"):
        assert steps(recorded, side) == steps(recorded, side)


def test_what_no_driver_would_do_is_a_remark() -> None:
    talk = trace(session(), get(3, **TOLD), get(3, **TOLD), side="server", binding="http")
    found = remarks(talk, "server")
    assert [text for _, text in found if "does not take this: the exchange number 3" in text]


def test_it_is_for_the_core_to_give_an_exchange_up() -> None:
    left = BUILD.note("http-end", time=0.0, stream=3, data=b"given up by this side")
    talk = trace(
        session(),
        post(request("tools/call", CALL), 3, **TOLD),
        stream(stream=3, ends=False),
        left,
        post(notice("notifications/cancelled", {"requestId": 1}), 4, **TOLD),
        reply(None, 4, 202),
        binding="http",
    )
    found = steps(talk, "client")
    assert [text for step in found for text in step.remarks] == []
    assert "gives up an exchange" in [text for step in found for text in step.sends]
