"""Event ids: a server reads its own for the session that they were given to, and no others."""

from mcpcore.http.server.event_log import EventIds, EventLog, SessionLog
from mcpcore.http.settings import HttpSettings
from tests.fuzz.choices import Choices

TOKENS = (b"1.0.", b".", b"ffffffffffffff", b"-", b"_", b"=", b"\n", b"\xd9\xa3", b"A" * 22)
_IDS = EventIds(bytes(range(32)))
_OTHERS = EventIds(bytes(range(1, 33)))
_EVENTS, _BYTES, _TOTAL, _AGE = 5, 60, 90, 10.0


def _ids(c: Choices) -> None:
    stream, place = c.below(65536) ** c.below(4), c.below(65536) ** c.below(4)
    session = c.pick(("s-1", "", "s\n1"))
    id = _IDS.make(session, stream, place)
    assert _IDS.read(session, id) == (stream, place)
    assert _IDS.read("s-2", id) is None
    assert _OTHERS.read(session, id) is None
    at = c.below(len(id))
    bent = id[:at] + c.text(3) + id[at + c.below(3) :]
    assert bent == id or _IDS.read(session, bent) is None
    assert _IDS.read(session, c.rest().decode("utf-8", "replace")) is None


def _log(c: Choices) -> None:
    """What is kept against a plain list of all there was, within all of its limits."""
    settings = HttpSettings(
        replay_events=_EVENTS, replay_bytes=_BYTES, replay_total=_TOTAL, replay_age=_AGE
    )
    log = EventLog(bytes(32), settings)
    sessions = [SessionLog(log, name) for name in ("a", "b")]
    streams = [session.new_stream(None, numbered=True) for session in sessions for _ in range(2)]
    sent: list[list[tuple[float, bytes]]] = [[] for _ in streams]
    for _ in range(c.below(40)):
        which = c.below(len(streams))
        match c.below(4):
            case 0:
                log.now += c.below(8)
                log.sweep()
            case 1:
                position = c.below(len(sent[which]) + 1)
                _follow(streams[which].after(position), sent[which], position)
            case _:
                data = c.blob(40)
                assert streams[which].append(data) == streams[which].id(len(sent[which]) + 1)
                sent[which].append((log.now, data))
        kept = [entry for session in sessions for entry in session.entries]
        assert len(log) == len(kept)
        assert log.size == sum(len(entry.data) for entry in kept) <= _TOTAL
        for session in sessions:
            assert len(session.entries) <= _EVENTS
            assert session.size == sum(len(entry.data) for entry in session.entries) <= _BYTES
        due = log.deadline()
        assert (due is None) is (not kept)


def _follow(found: object, sent: list[tuple[float, bytes]], position: int) -> None:
    if found is None:
        return  # too old by some limit
    assert isinstance(found, list)
    assert [entry.data for entry in found] == [data for _, data in sent[position:]]


def TARGET(data: bytes) -> None:
    c = Choices(data)
    if c.flag():
        _log(c)
    else:
        _ids(c)
