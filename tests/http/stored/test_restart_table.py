"""Servers that die at every kind of place: what the store has goes on, the rest ends clearly."""

import pytest

from mcpcore.engine.events import ErrorReceived
from mcpcore.http.messages import HttpSend
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.http.client.test_drop_table import ONCE, scripted, work
from tests.http.cutwire import CutWire, Point, Talk

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
every_revision = pytest.mark.parametrize("version", NAMES)
places = pytest.mark.parametrize("workers", [pytest.param(1, id="one"), pytest.param(2, id="two")])


def restart(wire: CutWire, talk: Talk, call: int | None = None) -> None:
    """The worker that runs ``call`` dies (without one: all do), and another takes its place."""
    cluster = wire.cluster
    assert cluster is not None
    runner = None if call is None or call not in talk.ran else cluster.worker_of(talk.ran[call])
    for worker in [*cluster.workers] if runner is None else [runner]:
        cluster.add()
        wire.kill(worker)
    for running in [*talk.keys]:
        if cluster.worker_of(talk.ran[running]) is None:
            del talk.keys[running]


@every_revision
@places
@pytest.mark.requirement("basic/transports/resume", "basic/transports/disconnect-no-cancel")
@pytest.mark.turns("version")
@pytest.mark.parametrize("point", ONCE)
def test_a_server_that_dies_while_it_works_on_a_call(
    version: str, workers: int, point: Point
) -> None:
    wire = CutWire(version, workers=workers)
    talk = Talk(wire)
    chosen = scripted(wire, "tools/call", (point,))
    call = talk.call()
    wire.settle()
    if call in talk.keys:
        work(talk, call)
    wire.pass_time(0.05)
    restart(wire, talk, call)
    wire.pass_time(2000)
    talk.lossy = True  # what was in no queue yet is gone
    talk.check_end()
    (broken,) = chosen
    # The process that would have answered is gone: one error, however the client hears of it.
    assert talk.outcomes[call] == (["error"] if wire.named(broken) else ["ended"])
    if wire.named(broken):
        (error,) = wire.client_saw(ErrorReceived)
        assert "is gone" in error.error.message
        # What was sent before it died is not lost with it.
        assert talk.got[call] == talk.made[call]
    assert wire.client.exchanges == 1


@every_revision
@places
@pytest.mark.turns("version")
@pytest.mark.parametrize("point", ONCE)
def test_a_server_that_dies_when_it_has_answered(version: str, workers: int, point: Point) -> None:
    wire = CutWire(version, workers=workers)
    talk = Talk(wire)
    chosen = scripted(wire, "tools/call", (point,))
    call = talk.call()
    wire.settle()
    if call in talk.keys:
        work(talk, call)
        wire.settle()
        talk.answer(call)
        wire.settle()
    runner = call if workers == 2 else None
    written = call in talk.ran
    if written:
        for route in wire.writable():
            wire._deliver(route)  # one more look, and the server is no more
        restart(wire, talk, runner)
    wire.pass_time(2000)
    talk.lossy = True
    talk.check_end()
    (broken,) = chosen
    if wire.named(broken) and written:
        assert talk.outcomes[call] == ["result"]
    assert wire.client.exchanges == 1


@every_revision
@places
@pytest.mark.parametrize("pause", [0.0, 1.0, 30.0])
def test_sessions_outlive_servers(version: str, workers: int, pause: float) -> None:
    wire = CutWire(version, workers=workers)
    talk = Talk(wire)
    session = wire.client.session
    for round in range(4):
        call = talk.call()
        wire.settle()
        talk.tell(call)
        talk.ask(call)
        talk.tell(0)
        wire.run()
        talk.answer(call)
        wire.run()
        assert talk.outcomes[call] == ["result"]
        restart(wire, talk)
        wire.pass_time(pause)
        assert wire.cluster is not None
        if round % 2:
            wire.pass_time(30)
    wire.pass_time(400)
    talk.check_end()
    assert wire.client.session == session
    assert len(talk.answered) == 4
    assert talk.got[0] == [1, 2, 3, 4]


@every_revision
def test_the_standalone_stream_outlives_its_server(version: str) -> None:
    wire = CutWire(version, workers=2)
    talk = Talk(wire)

    def other(send: HttpSend) -> Point | None:
        return None

    wire.choose = other
    for _ in range(6):
        talk.tell(0)
        wire.pass_time(1)
        assert wire.cluster is not None
        holder = next(worker for worker in wire.cluster.workers if worker.server.exchanges)
        wire.cluster.add()
        wire.kill(holder)
        wire.pass_time(40)
    talk.tell(0)
    wire.pass_time(400)
    talk.check_end()
    assert talk.got[0] == talk.made[0] == [*range(1, 8)]
