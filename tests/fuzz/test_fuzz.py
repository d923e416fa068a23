"""The fuzz targets in small: corpus, fixed seeds, and that a fault is found and made small.

``python -m tests.fuzz`` does the same at any size (tests/fuzz/README.md).
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpcore import MAIN, FrameKind, HttpSettings, Limits, Peer, Role
from mcpcore.engine.lifecycle import RequestSignal, RequestState
from mcpcore_conformance.strategies import Malformed, malformed, messages
from mcpcore_transports.stream.settings import ConnectionSettings
from tests.absent import absent
from tests.clock import PATIENCE
from tests.engine.bench import server_config
from tests.faults.processes import Workers
from tests.fuzz import site
from tests.fuzz.__main__ import command_line, main
from tests.fuzz.campaign import Budget, best_engine, explain, run, table
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import Conversation
from tests.fuzz.faults import Watch, minimise
from tests.fuzz.messages import CANCELLED
from tests.fuzz.registry import CORPUS, SLOW, Counted, Target, load, names
from tests.fuzz.replies import BUSY
from tests.fuzz.sockets import LOOPS, WAYS, Loop, scheduled_by
from tests.fuzz.sockets import run as run_on
from tests.fuzz.targets import http_streams, websocket
from tests.fuzz.worker import fuzz
from tests.http.support import (
    LEGACY,
    META,
    MODERN,
    Bench,
    initialize,
    make_server,
    note,
    request,
)
from tests.shares import Some
from tests.websocket_table import codec

ROOT = Path(__file__).parents[2]
LINES = 100_000
"""Mutated inputs of the decoder of messages."""
CONVERSATIONS = {"peer_server": 3_600, "peer_client": 3_600, "http_server": 5_200}
"""Inputs of targets that hold conversations, each of several messages."""
MESSAGES = 100_000
"""That those have at least in all."""
STREAMS = {
    "http_streams": 3_600,
    "http_client_streams": 1_200,
    "websocket": 3_600,
    "websocket_client": 1_600,
}
"""Mutated streams of raw bytes, each sent twice, whole and in pieces; 10,000 in all."""
PARTS = 4
"""Seeds among which those are shared."""
MINUTE = {"plain": (1_000, 100), "guided": (300, 60)}
"""Inputs of each target, and of each that is slow, that take half a minute in all."""

SOME = settings(
    max_examples=max(10, settings().max_examples // 10),
    suppress_health_check=[HealthCheck.too_slow],
)
"""Examples of each target: few in the quick run, in the long one more, as its profile has."""

every = pytest.mark.parametrize("name", names())
either_run = pytest.mark.parametrize("run", ["quick", pytest.param("long", marks=pytest.mark.long)])
"""Once in each of the two runs, whose profiles of hypothesis are not the same."""


def faults_of(target: Target, *, seed: int, executions: int) -> list[str]:
    faults: list[str] = []
    done = fuzz(
        target,
        seed=seed,
        executions=executions,
        found=lambda data, what, report: faults.append(f"{what}: {data!r}\n{report}"),
    )
    assert faults or done == executions
    return faults


def fault_of(name: str, data: bytes) -> str | None:
    """What one input did wrong."""
    with Watch(load(name).run) as watch:
        fault = watch.fault(data)
    return None if fault is None else fault.report


@every
def test_the_corpus_and_some_mutations_of_it(name: str) -> None:
    target = load(name)
    count = len(target.corpus())
    assert count
    assert faults_of(target, seed=1, executions=count + 10) == []


@either_run
@every
@SOME
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, run: str, data: bytes) -> None:
    assert fault_of(name, data) is None


@either_run
@given(message=messages(), broken=malformed())
def test_messages_of_the_strategies(run: str, message: object, broken: Malformed) -> None:
    assert fault_of("wire", b"\x02" + json.dumps(message).encode()) is None
    assert fault_of("wire", b"\x02" + broken.data) is None


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < 300_000
    assert {path.name for path in CORPUS.iterdir()} == set(names())


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", ["wire", *STREAMS])
def test_so_many_lines_and_streams(name: str, part: int) -> None:
    target = load(name)
    executions = len(target.corpus()) + STREAMS.get(name, LINES) // PARTS
    assert faults_of(target, seed=2026 + part, executions=executions) == []


@pytest.mark.long
def test_so_many_messages_in_conversations(
    record_property: Callable[[str, object], None], some: Some
) -> None:
    """Of the parts the share that ``--repetitions`` leaves, but one at least."""
    parts = range(some.of(PARTS))
    delivered = {}
    for name, executions in CONVERSATIONS.items():
        counted = Counted(load(name))
        for part in parts:
            seed = 2026 + part
            assert faults_of(counted.target, seed=seed, executions=executions // PARTS) == []
        delivered[name] = counted.messages
    figures = [
        f"{name}: {count:,} messages in {CONVERSATIONS[name] // PARTS * len(parts):,} conversations"
        for name, count in delivered.items()
    ]
    record_property("figures", "\n".join([*figures, f"{sum(delivered.values()):,} in all"]))
    assert sum(delivered.values()) >= MESSAGES // PARTS * len(parts)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["plain", "guided"])
def test_a_minute_of_all(
    tmp_path: Path, engine: str, record_property: Callable[[str, object], None], some: Some
) -> None:
    """By inputs, not by time: what is found here is found again, on a machine of any speed.

    With guidance a target takes seconds to start: of them the share that ``--repetitions`` leaves.
    """
    targets: Sequence[str] = names()
    if engine == "guided":
        if best_engine() != engine:
            absent("atheris", "fuzz")
        targets = some(targets, str)
    budgets = {name: Budget(1, executions=MINUTE[engine][name in SLOW]) for name in targets}
    tallies = run(budgets, engine=engine, folder=tmp_path)
    record_property("figures", table(tallies))
    assert [(tally.target, tally.faults) for tally in tallies] == [(name, []) for name in targets]
    assert all(tally.executions for tally in tallies)


# The tools themselves


def _faulty(data: bytes) -> None:
    c = Choices(data)
    if c.pick("abcd") == "c" and c.below(1000) > 500 and b"key" in c.rest():
        raise ValueError("found")


def test_a_fault_is_found_made_small_and_repeated() -> None:
    target = Target("toy", _faulty, (b"key",))
    found: list[bytes] = []
    executions = 20_000
    assert fuzz(target, seed=3, executions=executions, found=lambda d, w, r: found.append(d)) > 0
    assert len(found) == 1
    assert len(found[0]) == 6
    with Watch(_faulty) as watch:
        fault = watch.fault(found[0])
        assert fault is not None
        assert fault.what.startswith("ValueError in test_fuzz.py:")
        assert minimise(watch, b"xx" + found[0] + b"yy", "another") == b"xx" + found[0] + b"yy"


def test_messages_are_counted() -> None:
    counted = Counted(Target("toy", len, (b"a",)))
    assert faults_of(counted.target, seed=1, executions=3) == []
    before = counted.messages
    counted.target.run(b"four")
    assert counted.messages == before + 4


@pytest.mark.parametrize("name", ["peer_server", "http_server"])
def test_a_conversation_counts_what_it_delivers(name: str) -> None:
    counted = Counted(load(name))
    counted.target.run(b"")
    nothing = counted.messages
    for data in load(name).corpus():
        counted.target.run(data)
    assert counted.messages > nothing + 2 * len(load(name).corpus())


class Slow(websocket.Scripted):
    """Takes its time to write."""

    async def send(self, item: bytes) -> None:
        """See ByteSendStream."""
        for _ in range(500):
            await anyio.lowlevel.checkpoint()
        await super().send(item)


class Held(websocket.Scripted):
    """Has the process stand before the first answer goes, as on a machine with much to do."""

    async def send(self, item: bytes) -> None:
        """See ByteSendStream."""
        if item[:1] == b"\x81" and b"\x81" not in self.said:
            until = time.monotonic() + 1.2 * ConnectionSettings().drain
            while time.monotonic() < until:
                pass
        await super().send(item)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_clock_has_no_part_in_what_is_told(loop: Loop) -> None:
    call = json.dumps(request("tools/call", {"name": "x"})).encode()
    frames = codec.text(call, key=b"\x01\x20\x03\x40").encode(client=True) + b"\xf1\x80"
    stream = Held([f"{websocket.OPENING}\r\n".encode(), frames])
    run_on(lambda: websocket.serve(stream), loop)
    _, _, said = bytes(stream.said).partition(b"\r\n\r\n")
    answer, close = codec.Reader(client=False).feed(said)
    assert (json.loads(answer.data)["id"], close.code) == (1, 1002)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_scripted_end_comes_when_all_is_written(loop: Loop) -> None:
    call = json.dumps(request("tools/call", {"name": "x"})).encode()
    frame = codec.text(call, key=b"\x01\x20\x03\x40").encode(client=True)
    stream = Slow([f"{websocket.OPENING}\r\n".encode(), frame])
    run_on(lambda: websocket.serve(stream), loop)
    assert b'"id":1' in stream.said


async def _order() -> list[int]:
    """In which order eight tasks go on that may go on at any time."""
    order = []

    async def count(number: int) -> None:
        for _ in range(8):
            order.append(number)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(count, number)
    return order


def test_an_input_has_one_order_of_tasks_on_trio() -> None:
    orders = []
    for data in (b"one", b"one", b"other"):
        scheduled_by(data)
        orders.append(run_on(_order, "trio"))
    assert orders[0] == orders[1] != orders[2]


def test_single_bytes_come_from_any_place() -> None:
    data = bytes(range(40))
    for seed in itertools.product((1,), range(16), range(40)):
        pieces = Choices(bytes(seed)).cuts(data, single=4)
        assert b"".join(pieces) == data
        _, whole, start = seed
        assert all(pieces)
        ends = [0, *itertools.accumulate(len(piece) for piece in pieces)]
        singles = {at for at, end in itertools.pairwise(ends) if end == at + 1}
        assert singles >= set(range(start, min(start + 4, 40)) if whole else range(40))
        assert len(pieces) <= (6 if whole else 40)


def test_two_ways_are_never_the_same() -> None:
    for first in range(len(WAYS)):
        for second in range(len(WAYS)):
            one, other = Choices(bytes([first, second])).pair(WAYS)
            assert one == WAYS[first]
            assert one != other
    assert {way.loop for way in WAYS} == set(LOOPS) >= {"asyncio", "trio"}
    assert {way.parser for way in WAYS if way.parsed} == {way.parser for way in WAYS}


@pytest.mark.parametrize(
    ("status", "stream", "allowed"),
    [
        (200, b"", True),
        (500, b"CONNECT x HTTP/2.0", False),
        (503, b"CONNECT x HTTP/2.0", False),
        (501, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (501, b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", True),
        (501, b"POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked, gzip\r\n\r\n", True),
        (501, b"\r\nTransfer-Encoding: chunked\r\nA: b\r\nTransfer-Encoding: chunked\r\n", True),
        (501, 2 * b"\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (501, b"CONNECT x HTTP/1.1\r\n\r\n", True),
        (505, b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n", False),
        (505, b"GET / HTTP/2.0\r\n\r\n", True),
    ],
)
def test_a_status_of_5xx_has_to_be_earned(status: int, stream: bytes, allowed: bool) -> None:
    assert http_streams.allowed(status, stream) is allowed


def test_a_server_is_busy_only_at_a_limit() -> None:
    settings, limits = HttpSettings(max_calls=2), Limits()
    bench = Bench(make_server(settings, limits=limits))
    strict, loose = (
        site.Visit([bench], Choices(b""), site.whole, bench.pump, settings=each, limits=limits)
        for each in (HttpSettings(max_calls=3), settings)
    )
    headers = {"mcp_protocol_version": MODERN, "mcp_method": "tools/call", "mcp_name": "x"}
    for id in range(3):
        call = request("tools/call", {"name": "x", "_meta": META}, id=id)
        if id < 2:
            loose.post(call, **headers)
            strict.open = loose.open
        else:
            with pytest.raises(AssertionError, match="busy with nothing"):
                strict.post(call, **headers)
            loose.pump()
    statuses = [reply.head and reply.status for reply in bench.replies.values()]
    assert statuses == [None, None, BUSY]


CALL = request("tools/call", {"name": "x"}, id=7)


def cancelling(id: int) -> dict[str, Any]:
    return note(CANCELLED, {"requestId": id})


def in_conversation(*lines: dict[str, Any]) -> Conversation:
    """With a server, opened by the book."""
    found = Conversation(Role.SERVER, server_config(), Choices(b""))
    for line in (initialize(), note("notifications/initialized"), *lines):
        found.line(json.dumps(line).encode())
    return found


def lose(peer: Peer) -> None:
    """A request is lost, as if its sender did not want it any more."""
    peer._state.drop(next(iter(peer._state.in_flight_by_id.values())), RequestSignal.END, "lost")


def test_an_answer_is_owed_unless_that_very_request_was_called_off() -> None:
    conversation = in_conversation(CALL, cancelling(7))
    assert [record.state for record in conversation.peer._endpoint.inbound.values()] == [
        RequestState.CANCELLED
    ]
    conversation.finish()
    unknown = in_conversation(CALL, cancelling(8))
    with pytest.raises(AssertionError, match="nobody has called off"):
        unknown.step(lose)
    both = in_conversation(CALL, cancelling(7))
    late = b'{"jsonrpc":"2.0","id":7,"result":{}}'
    with pytest.raises(AssertionError, match="nobody has asked"):
        both.step(lambda peer: peer._state.send_last(MAIN, FrameKind.RESULT, late))


def test_over_http_an_answer_is_owed_unless_that_very_request_was_called_off() -> None:
    for id, called_off in ((7, True), (8, False)):
        bench = Bench(make_server())
        visit = site.Visit(
            [bench],
            Choices(b""),
            site.whole,
            bench.pump,
            settings=HttpSettings(),
            limits=Limits(),
        )
        site.open_session(visit, LEGACY)
        (session,) = visit.sessions
        visit.post(CALL, mcp_session_id=session)
        visit.post(cancelling(id), mcp_session_id=session)
        assert len(visit.called_off) == called_off
        if called_off:
            visit.finish()
            continue
        (lost,) = bench.server._router.sessions
        lose(lost.peer)
        with pytest.raises(AssertionError, match="nobody has called off"):
            visit.pump()


def test_without_atheris_ci_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="atheris"):
        absent("atheris", "fuzz")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="atheris"):
        absent("atheris", "fuzz")


def test_a_seed_gives_the_same_inputs() -> None:
    seen: list[list[bytes]] = [[], []]
    for each in seen:
        target = Target("toy", each.append, (b"a", b"b"))
        fuzz(target, seed=9, executions=200, found=lambda d, w, r: None)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 50


def test_what_was_raised_is_told_where_it_does_not_come_again(tmp_path: Path) -> None:
    file = tmp_path / "raw-1"
    file.write_bytes(b"")
    raised = "ValueError: boo\n  at one()"
    said = f"\n === Uncaught Python exception: ===\n{raised}\n\n" + "INFO: more\n" * 900
    fault = explain(Workers(), "sse", f"{said}written to {file}\n", tmp_path)
    assert (fault.what, fault.report) == ("it happens in a process of many inputs only", raised)


def test_what_hangs_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.faults.HANG", 0.05)

    def spin(data: bytes) -> None:
        while data:
            pass

    with Watch(spin) as watch:
        assert watch.fault(b"") is None
        fault = watch.fault(b"x")
    assert fault is not None
    assert fault.what == "Hang"


def test_the_command_replays_an_input(tmp_path: Path) -> None:
    file = tmp_path / "sse" / "fault-1"
    file.parent.mkdir()
    file.write_bytes(b"\0\0data: x\n\n")
    command = [sys.executable, "-m", "tests.fuzz", "--replay", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "nothing is wrong\n")


def test_guidance_that_cannot_be_had_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--engine", "guided", "--executions", "1"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--engine guided: atheris is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "ten"])
def test_a_time_in_which_nothing_is_done_or_that_has_no_end_is_refused(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line().parse_args([f"--seconds={seconds}"])
    assert f"{seconds!r} is no number of seconds above 0" in capsys.readouterr().err
    assert command_line().parse_args(["--seconds=0.5"]).seconds == 0.5
