"""Connections that break at every kind of place: nothing comes twice, what can be saved is."""

import pytest

from mcpcore import HttpSend, Recovery
from mcpcore.engine.events import EndReason, RequestEnded
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.http.cutwire import FULL, HALF_OPEN, SEEN, CutWire, Point, Talk

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
PRIMED = [row.name for row in LEGACY_ROWS if row.priming]
every_revision = pytest.mark.parametrize("version", NAMES)
anywhere = pytest.mark.parametrize(
    "workers",
    [
        pytest.param(0, id="memory"),
        pytest.param(1, id="store", marks=pytest.mark.long),
        pytest.param(2, id="two"),
    ],
)
every_death = pytest.mark.parametrize("dies", [SEEN, HALF_OPEN, FULL])
deaths_take_turns = pytest.mark.turns("dies")

REQUEST, HEAD, END = (Point(before=what) for what in ("request", "head", "end"))
ONCE = [
    REQUEST,
    HEAD,
    END,
    *[Point(events, extra) for events in range(5) for extra in (0, 1, 9, 35, 60, 90)],
]
AGAIN = [
    (Point(1), REQUEST),
    (Point(1), HEAD),
    (Point(1), Point(0)),
    (Point(1), Point(0, 1)),
    (Point(1), Point(0, 40)),
    (Point(1), Point(1)),
    (Point(1), Point(1, 30)),
    (Point(1), END),
    (Point(2), Point(1)),
    (Point(2, 20), Point(1, 20), Point(0, 20)),
    (Point(2, 20), HEAD, REQUEST, HEAD, Point(1)),
    (Point(3), Point(0), Point(0), Point(0), Point(0, 3)),
    (Point(4), Point(0, 50)),
    (END, END),
    (Point(1),) * 9,
    (Point(1, 1),) * 9,
]


def scripted(wire: CutWire, method: str, points: tuple[Point, ...]) -> list[int]:
    """Let the connections of one stream break at ``points``, one after the other.

    The connections are those of the call (``tools/call``, then GETs with a cursor that it made), or
    of the standalone stream (``GET``).  Returns the exchanges that broke.
    """
    left = list(points)
    chosen: list[int] = []

    def choose(send: HttpSend) -> Point | None:
        mine = method.encode() in send.body if not chosen else send.method == "GET"
        if method == "GET":
            mine = send.method == "GET"
        if not mine or not left:
            return None
        chosen.append(send.exchange)
        return left.pop(0)

    wire.choose = choose
    return chosen


def work(talk: Talk, call: int) -> None:
    """What the server does for a call; as much as it can, whoever listens."""
    talk.tell(call)
    talk.tell(call)
    talk.ask(call)
    talk.tell(0)
    talk.tell(call)


def run(talk: Talk, call: int) -> None:
    """Work on one call to its end, with time for the client to come back in between."""
    wire = talk.wire
    wire.settle()
    if call in talk.keys:
        work(talk, call)
        wire.pass_time(0.05)
        talk.tell(0)
        wire.pass_time(400)
        talk.answer(call)
    wire.pass_time(2000)


@every_revision
@anywhere
@pytest.mark.requirement("basic/transports/resume", "basic/transports/disconnect-no-cancel")
@every_death
@deaths_take_turns
@pytest.mark.share(2)
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((1 << 20,), id="whole"),
        pytest.param((7, 50), marks=[pytest.mark.long, pytest.mark.repeats]),
    ],
)
@pytest.mark.parametrize("point", ONCE)
def test_a_call_that_breaks_once(
    version: str, workers: int, dies: str, sizes: tuple[int, ...], point: Point
) -> None:
    wire = CutWire(version, sizes=sizes, workers=workers)
    talk = Talk(wire)
    wire.dies = dies
    chosen = scripted(wire, "tools/call", (point,))
    call = talk.call()
    run(talk, call)
    (broken,) = chosen
    talk.check_end()
    assert wire.cuts == 1
    assert talk.got[0] == talk.made[0]
    if wire.named(broken):
        assert talk.outcomes[call] == ["result"]
        assert talk.answered == [call]
    else:
        assert talk.outcomes[call] == ["ended"]
        (ended,) = wire.client_saw(RequestEnded)
        assert ended.reason is EndReason.CLOSED


@every_revision
@anywhere
@every_death
@deaths_take_turns
@pytest.mark.share(2)
@pytest.mark.parametrize("points", AGAIN)
def test_a_call_that_breaks_repeatedly(
    version: str, workers: int, dies: str, points: tuple[Point, ...]
) -> None:
    wire = CutWire(version, workers=workers)
    talk = Talk(wire)
    wire.dies = dies
    chosen = scripted(wire, "tools/call", points)
    call = talk.call()
    run(talk, call)
    talk.check_end()
    assert wire.named(chosen[0])
    assert talk.outcomes[call] == ["result"]
    assert talk.answered == [call]
    assert wire.cuts >= 1
    assert wire.server.exchanges <= 1 + len(wire.half_open)


@every_revision
@anywhere
@every_death
@deaths_take_turns
@pytest.mark.parametrize(
    "points",
    [(Point(events, extra),) for events in range(5) for extra in (0, 5, 70)]
    + [
        (Point(1), Point(0)),
        (Point(2), Point(1), Point(0, 9)),
        (Point(2), HEAD, REQUEST, HEAD),
        (Point(1),) * 6,
    ],
)
def test_the_standalone_stream_breaks(
    version: str, workers: int, dies: str, points: tuple[Point, ...]
) -> None:
    wire = CutWire(version, workers=workers)
    wire.dies = dies
    chosen = scripted(wire, "GET", points)
    talk = Talk(wire)
    for pause in (0, 0, 1, 30, 0, 0, 1, 200):
        talk.tell(0)
        wire.pass_time(pause)
    wire.pass_time(500)
    talk.check_end()
    assert wire.cuts >= 1
    assert talk.got[0][-1] == 8
    if wire.named(chosen[0]):
        assert talk.got[0] == [*range(1, 9)]
        assert {event.recovery for event in talk.interruptions} == {Recovery.RESUME}
    else:
        assert talk.interruptions[0].recovery is Recovery.REOPEN


@pytest.mark.parametrize("version", PRIMED)
@anywhere
@pytest.mark.parametrize("points", [(), (Point(1),), (Point(1, 30), HEAD), (Point(2),)])
def test_a_polled_call_breaks(version: str, workers: int, points: tuple[Point, ...]) -> None:
    wire = CutWire(version, workers=workers)
    talk = Talk(wire)
    scripted(wire, "tools/call", points)
    call = talk.call()
    wire.settle()
    for _ in range(20):
        talk.tell(call)
        wire.server.close_stream(talk.keys[call], retry=3, now=wire.now)
        wire.pass_time(2)
    talk.answer(call)
    wire.pass_time(100)
    talk.check_end()
    assert talk.outcomes[call] == ["result"]
    assert talk.got[call] == [*range(1, 21)]


@every_revision
@anywhere
def test_several_streams_break_at_once(version: str, workers: int) -> None:
    wire = CutWire(version, workers=workers)
    talk = Talk(wire)
    calls = [talk.call() for _ in range(10)]
    wire.settle()
    for _ in range(3):
        for call in (*calls, 0):
            talk.tell(call)
        wire.run()
        for exchange in wire.alive():
            wire.cut(exchange, dies=(SEEN, HALF_OPEN, FULL)[exchange % 3])
        for call in (*calls, 0):
            talk.tell(call)
        wire.pass_time(50)
    for call in calls:
        talk.answer(call)
    wire.pass_time(50)
    talk.check_end()
    assert all(outcomes == ["result"] for outcomes in talk.outcomes.values())
    assert talk.got[0] == [*range(1, 7)]
