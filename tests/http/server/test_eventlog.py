"""Event ids that cannot be forged, and a log of events that stays within its bounds."""

from string import ascii_letters, digits
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.http.server.event_log import EventIds, EventLog, EventStream, SessionLog
from mcpcore.http.settings import HttpSettings

SECRET = bytes(range(32))
IDS = EventIds(SECRET)
NUMBERS = st.integers(0, 16**15 - 1)


def make_log(**settings: Any) -> EventLog:
    return EventLog(SECRET, HttpSettings(**settings))


def new_stream(log: EventLog, session: str = "s", route: int | None = None) -> EventStream:
    return SessionLog(log, session).new_stream(route, numbered=True)


def kept(stream: EventStream, position: int = 0) -> list[bytes] | None:
    entries = stream.after(position)
    return None if entries is None else [entry.data for entry in entries]


# Ids


@pytest.mark.requirement("basic/transports/event-ids-name-stream")
@given(stream=NUMBERS, position=NUMBERS)
def test_an_id_names_its_stream_and_position(stream: int, position: int) -> None:
    id = IDS.make("session", stream, position)
    assert IDS.read("session", id) == (stream, position)
    assert set(id) <= set(ascii_letters + digits + "-_.")


@given(stream=NUMBERS, position=NUMBERS)
def test_an_id_is_worth_nothing_elsewhere(stream: int, position: int) -> None:
    id = IDS.make("session", stream, position)
    assert IDS.read("another", id) is None
    assert EventIds(SECRET[::-1]).read("session", id) is None


@given(place=st.integers(0, 40), char=st.characters(codec="utf-8"))
def test_a_changed_id_is_none(place: int, char: str) -> None:
    id = IDS.make("session", 17, 35)
    changed = id[:place] + char + id[place + 1 :]
    assert (IDS.read("session", changed) is None) == (changed != id)


@given(st.text(max_size=60))
def test_garbage_is_none(text: str) -> None:
    assert IDS.read("session", text) is None


@pytest.mark.parametrize(
    ("change", "into"), [(("1.", "01."), "zeros"), ((".", ".0"), "zeros"), (("a", "A"), "case")]
)
def test_one_id_has_one_spelling(change: tuple[str, str], into: str) -> None:
    id = IDS.make("session", 0xA1, 5)
    spelled = id.replace(*change, 1)
    assert spelled != id, into
    assert IDS.read("session", spelled) is None


def test_ids_of_all_streams_differ() -> None:
    session = SessionLog(make_log(), "s")
    streams = [session.new_stream(None, numbered=True) for _ in range(20)]
    ids = [stream.append(b"{}") for stream in streams for _ in range(20)]
    ids += [stream.id(0) for stream in streams]
    assert len(set(ids)) == 420


# Bounds


def test_what_follows_a_position() -> None:
    stream = new_stream(make_log())
    for number in range(5):
        stream.append(b"%d" % number)
    assert kept(stream) == [b"0", b"1", b"2", b"3", b"4"]
    assert kept(stream, 3) == [b"3", b"4"]
    assert kept(stream, 5) == []


def test_the_oldest_events_of_a_session_go_first() -> None:
    log = make_log(replay_events=3)
    session = SessionLog(log, "s")
    one, two = (session.new_stream(None, numbered=True) for _ in range(2))
    other = new_stream(log, "another")
    for stream in (other, one, two, one, two, one):
        stream.append(b"{}")
    assert kept(one) is None
    assert kept(one, 1) == [b"{}"] * 2
    assert kept(two) is None
    assert kept(two, 1) == [b"{}"]
    assert kept(other) == [b"{}"]
    assert len(log) == 4


def test_bytes_of_a_session_are_bounded() -> None:
    log = make_log(replay_bytes=10)
    stream = new_stream(log)
    for size in (4, 4, 4):
        stream.append(b"x" * size)
    assert (log.size, kept(stream, 1)) == (8, [b"xxxx"] * 2)
    stream.append(b"x" * 11)
    assert (log.size, len(log), kept(stream, 3), kept(stream, 4)) == (0, 0, None, [])


@pytest.mark.parametrize("limit", [8, 11])
def test_bytes_of_all_sessions_are_bounded(limit: int) -> None:
    log = make_log(replay_total=limit)
    streams = [new_stream(log, f"s-{number}") for number in range(5)]
    for stream in streams:
        stream.append(b"x" * 4)
    assert [kept(stream) for stream in streams] == [None] * 3 + [[b"xxxx"]] * 2
    assert log.size == 8


def test_events_grow_old() -> None:
    log = make_log(replay_age=80)
    stream = new_stream(log)
    assert log.deadline() is None
    stream.append(b"0")
    log.now = 50
    stream.append(b"1")
    assert (log.begun, log.deadline()) == (True, 80)
    stream.append(b"2")
    assert not log.begun  # the next deadline is no sooner
    log.now = 79
    assert kept(stream) == [b"0", b"1", b"2"]
    log.now = 80
    assert kept(stream) is None
    assert kept(stream, 1) == [b"1", b"2"]
    assert log.deadline() == 130
    log.now = 129
    log.sweep()
    # no sooner than an eighth of the age after the last look
    assert log.deadline() == 139
    log.now = 139
    log.sweep()
    assert (log.deadline(), len(log), log.size) == (None, 0, 0)


def test_nothing_is_kept_of_a_closed_session_or_a_forgotten_stream() -> None:
    log = make_log()
    session = SessionLog(log, "s")
    one, two = session.new_stream(5, numbered=True), session.new_stream(None, numbered=True)
    for stream in (one, two, one):
        stream.append(b"xx")
    session.forget(one)
    assert (len(log), log.size, session.size, session.posts) == (1, 2, 2, {})
    one.append(b"xx")
    assert (len(log), kept(one), kept(one, 3)) == (1, None, [])
    assert kept(two) == [b"xx"]
    assert session.streams == {2: two}
    third = session.new_stream(None, numbered=True)
    session.end(third)
    assert session.streams == {2: two}
    session.close()
    two.append(b"xx")
    assert (len(log), log.size, session.size) == (0, 0, 0)


def test_a_stream_that_has_ended_goes_with_its_last_event() -> None:
    log = make_log(replay_age=10)
    session = SessionLog(log, "s")
    stream, empty = session.new_stream(5, numbered=True), session.new_stream(6, numbered=True)
    stream.append(b"x")
    session.end(stream)
    assert session.streams == {1: stream, 2: empty}
    assert session.posts == {6: empty}
    session.end(empty)
    assert session.streams == {1: stream}
    log.now = 10
    log.sweep()
    assert session.streams == {}


def test_the_dead_do_not_pile_up() -> None:
    log = make_log(replay_events=5)
    old = new_stream(log, "old")
    old.append(b"x")
    stream = new_stream(log)
    for _ in range(1000):
        stream.append(b"x")
        assert len(log._order) <= 64 + 4 * 6
    assert kept(old) == [b"x"]
    assert kept(stream, 995) == [b"x"] * 5


def test_a_stream_without_ids_keeps_nothing() -> None:
    log = make_log()
    stream = SessionLog(log, "s").new_stream(None, numbered=False)
    assert stream.append(b"x") is None
    stream.taken()
    assert (len(log), stream.named) == (0, False)


@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 4)), max_size=60)
)
def test_the_log_against_a_model(steps: list[tuple[int, int, int]]) -> None:
    log = make_log(replay_events=7, replay_bytes=60, replay_total=100, replay_age=9)
    sessions = [SessionLog(log, str(number)) for number in range(2)]
    streams = [sessions[n % 2].new_stream(n, numbered=True) for n in range(6)]
    model: list[tuple[int, int, float]] = []  # stream, size, time

    def surplus(mine: list[tuple[int, int, float]]) -> bool:
        return len(mine) > 7 or sum(size for _, size, _ in mine) > 60

    for number, size, pause in steps:
        log.now += pause
        log.sweep()
        model = [entry for entry in model if entry[2] + 9 > log.now]
        streams[number].append(b"x" * size)
        model.append((number, size, log.now))
        while surplus(mine := [entry for entry in model if entry[0] % 2 == number % 2]):
            model.remove(mine[0])
        while sum(size for _, size, _ in model) > 100:
            model.pop(0)
        assert len(log) == len(model)
        assert log.size == sum(size for _, size, _ in model)
        for n, stream in enumerate(streams):
            assert [len(entry.data) for entry in stream.after(stream.lost) or ()] == [
                size for mine, size, _ in model if mine == n
            ]
