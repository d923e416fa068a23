"""Which sessions go: limits on their number, on each client's share, and on their times."""

import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import HttpSettings, LocalProtocolError
from mcpcore.engine.events import RequestReceived, ResourceSubscribed, Violation
from mcpcore.http.principals import address_of, quota_key
from mcpcore.http.server.sessions import SessionClosed, SessionTable, SessionUse
from tests.http.server.test_httpserver_streams import CALL, methods
from tests.http.support import Bench, initialize, make_server, note, request

PING = request("ping")


def bench_of(**settings: Any) -> Bench:
    return Bench(make_server(HttpSettings(heartbeat=None, **settings)))


def opened(bench: Bench, **options: Any) -> str:
    """Open a session and complete its handshake, as a client that then does nothing."""
    session = bench.post(initialize(), **options).headers["mcp-session-id"]
    principal = options.get("principal")
    reply = bench.post(
        note("notifications/initialized"), mcp_session_id=session, principal=principal
    )
    assert reply.status == 202
    return session


def used(bench: Bench, session: str, **options: Any) -> bool:
    """Use a session; whether there was one."""
    status = bench.post(PING, mcp_session_id=session, **options).status
    assert status in (200, 404)
    return status == 200


def closed(bench: Bench) -> list[tuple[str, str]]:
    events = [event for event in bench.events if isinstance(event, SessionClosed)]
    return [(event.session, event.reason) for event in events]


# How many


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("sessions_per_client", "its client has opened too many others"),
        ("max_sessions", "there are too many others"),
    ],
)
def test_without_unused_ones_the_least_recently_used_goes(limit: str, why: str) -> None:
    bench = bench_of(**{limit: 3})
    sessions = [opened(bench) for _ in range(3)]
    for session in (*sessions, sessions[0]):
        assert used(bench, session)
    opened(bench)
    assert closed(bench) == [(sessions[1], why)]


def test_sessions_at_work_are_spared() -> None:
    bench = bench_of(max_sessions=3)
    listening, calling, resting = (opened(bench) for _ in range(3))
    bench.post(None, method="GET", mcp_session_id=listening)
    call = bench.send(CALL, mcp_session_id=calling)
    assert used(bench, resting)
    opened(bench)
    assert [session for session, _ in closed(bench)] == [resting]
    key = bench.take(RequestReceived).key
    bench.answer(key)
    assert bench.replies[call].status == 200


def test_where_all_are_at_work_a_new_client_gets_in_all_the_same() -> None:
    bench = bench_of(max_sessions=2)
    sessions = [opened(bench) for _ in range(2)]
    streams = [bench.post(None, method="GET", mcp_session_id=session) for session in sessions]
    assert used(bench, opened(bench))
    assert len(closed(bench)) == 1
    assert sum(stream.end is not None for stream in streams) == 1


def test_a_flood_of_initialize_locks_nobody_out() -> None:
    bench = bench_of(max_sessions=20, sessions_per_client=5)
    # An honest client that is slower than the flood.
    honest = opened(bench, principal="honest")
    assert used(bench, honest, principal="honest")
    for _ in range(300):
        assert bench.post(initialize(), principal="evil").status == 200
        assert bench.server.sessions <= 6
    assert used(bench, honest, principal="honest")
    newcomer = opened(bench, principal="newcomer")
    for number in range(300):
        assert bench.post(initialize(), principal=f"evil {number}").status == 200
        assert bench.server.sessions <= 20
    assert used(bench, honest, principal="honest")
    assert used(bench, newcomer, principal="newcomer")


def test_a_flood_of_initialize_from_the_same_address_ends_no_session_after_its_handshake() -> None:
    bench = bench_of(sessions_per_client=5)
    newcomer = opened(bench)
    for _ in range(20):
        bench.post(initialize())
    assert used(bench, newcomer)


def test_among_sessions_that_were_never_used_those_without_a_handshake_go_first() -> None:
    bench = bench_of(max_sessions=4)
    first, second = opened(bench), opened(bench)
    asked = bench.post(initialize()).headers["mcp-session-id"]
    assert used(bench, first)
    for _ in range(3):
        opened(bench)
    ended = [session for session, _ in closed(bench)]
    assert ended[:2] == [asked, second]
    assert used(bench, first)


def test_the_time_until_the_first_use_begins_with_the_handshake() -> None:
    bench = bench_of(session_unused=10)
    session = bench.post(initialize()).headers["mcp-session-id"]
    bench.pass_time(8)
    bench.post(note("notifications/initialized"), mcp_session_id=session)
    bench.pass_time(8)
    assert closed(bench) == []
    bench.pass_time(3)
    assert closed(bench) == [(session, "it was never used")]
    assert bench.server.deadline() is None


def test_a_handshake_whose_answer_takes_time_to_leave_is_no_use() -> None:
    bench = bench_of(session_unused=10)
    route = bench.send(initialize(), pump=False)
    bench.now += 5
    bench.send_modern("server/discover")
    session = bench.replies[route].headers["mcp-session-id"]
    bench.post(note("notifications/initialized"), mcp_session_id=session)
    bench.pass_time(11)
    assert closed(bench) == [(session, "it was never used")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1:1", "192.0.2.1:2", True),
        ("192.0.2.1:1", "192.0.2.2:1", False),
        ("192.0.2.1:1", "[::ffff:192.0.2.1]:1", True),
        (None, None, True),
    ],
)
def test_addresses_have_shares(one: str | None, other: str | None, same: bool) -> None:
    bench = bench_of(sessions_per_client=1)
    first = bench.post(initialize(), peer=one).headers["mcp-session-id"]
    bench.post(initialize(), peer=other)
    expected = [(first, "its client has opened too many others")] if same else []
    assert closed(bench) == expected


def test_a_principal_has_one_share_wherever_it_comes_from() -> None:
    bench = bench_of(sessions_per_client=1)
    bench.post(initialize(), peer="192.0.2.1:1", principal="192.0.2.1")
    bench.post(initialize(), peer="192.0.2.1:2")
    assert bench.server.sessions == 2
    bench.post(initialize(), peer="192.0.2.2:1", principal="192.0.2.1")
    assert bench.server.sessions == 2


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (None, ""),
        ("", ""),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("/run/a.sock", "/run/a.sock"),
        ("localhost:x", "localhost:x"),
    ],
)
def test_the_address_of_a_peer(peer: str | None, address: str) -> None:
    assert address_of(peer) == address


@pytest.mark.parametrize(
    ("address", "share"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:ff00::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a:b", "a:b"),
    ],
)
def test_the_share_of_an_address(address: str, share: str) -> None:
    assert quota_key(address) == share


# How long


def test_an_unused_session_ends_soon_and_a_used_one_later() -> None:
    bench = bench_of()
    unused, idle, listening, working = (opened(bench) for _ in range(4))
    assert used(bench, idle)
    bench.post(None, method="GET", mcp_session_id=listening)
    call = bench.send(CALL, mcp_session_id=working)
    key = bench.take(RequestReceived).key
    bench.server.disconnect(call, now=bench.now)
    bench.pass_time(59)
    assert closed(bench) == []
    bench.pass_time(2)
    assert closed(bench) == [(unused, "it was never used")]
    bench.pass_time(1730)
    assert len(closed(bench)) == 1
    bench.pass_time(20)
    assert closed(bench)[1:] == [(idle, "idle for too long")]
    bench.pass_time(10_000)
    assert len(closed(bench)) == 2
    bench.answer(key)
    bench.pass_time(1810)
    assert closed(bench)[2:] == [(working, "idle for too long")]
    bench.pass_time(68_000)
    assert len(closed(bench)) == 3
    bench.pass_time(10_000)
    assert closed(bench)[3:] == [(listening, "too old")]
    assert bench.server.deadline() is None


def test_a_session_at_work_is_looked_at_once_however_short_the_time() -> None:
    bench = bench_of(session_idle=1e-9)
    bench.now = 1e9  # where the clock cannot say so little
    session = opened(bench)
    bench.post(None, method="GET", mcp_session_id=session)
    bench.server.handle_timeout(bench.now)
    bench.pump()
    assert used(bench, session)


def test_a_handshake_that_is_still_being_answered_is_not_unused() -> None:
    bench = bench_of(session_unused=10)
    route = bench.send(initialize(), pump=False)
    bench.server.next_event()
    bench.server.next_event()
    bench.now += 20
    bench.server.handle_timeout(bench.now)
    bench.pump()
    assert bench.replies[route].status == 200
    assert bench.server.sessions == 1


class Plain:
    """A session without a conversation."""

    temporary = busy = False
    used_at = created = 0.0

    def __init__(self, number: int) -> None:
        self.id = str(number)
        self.owner = f"owner {number % 2}"
        self.usage = SessionUse.FRESH


@given(st.lists(st.tuples(st.sampled_from("oatx"), st.integers(0, 5)), max_size=60))
def test_the_table_agrees_with_a_plain_model(steps: list[tuple[str, int]]) -> None:
    """``o``: open, ``a``: agree, ``t``: touch, ``x``: remove; the model is three lists."""
    table = SessionTable(bytes(32), HttpSettings(sessions_per_client=1))
    fresh: list[Any] = []
    agreed: list[Any] = []
    worn: list[Any] = []
    sessions: dict[int, Any] = {}
    for now, (action, number) in enumerate(steps):
        due = table.deadline()
        session: Any = sessions.get(number)
        found = [each for each in (fresh, agreed, worn) if session in each]
        if action == "o" and not found:
            session = sessions[number] = cast(Any, Plain(number))
            table.add(session, now)
            fresh.append(session)
        elif action == "a" and found:
            table.agree(session, now)
            if found == [fresh]:
                fresh.remove(session)
                agreed.append(session)
        elif action == "t" and found:
            table.touch(session, now)
            found[0].remove(session)
            worn.append(session)
        elif action == "x" and found:
            table.remove(session)
            found[0].remove(session)
            assert session.usage is SessionUse.ENDED
        assert table.grown or (table.deadline() or math.inf) >= (due or math.inf)
        everybody = [*fresh, *agreed, *worn]
        assert len(table) == len(everybody)
        for owner in ("owner 0", "owner 1"):
            own = [each for each in everybody if each.owner == owner]
            excess = table.excess(owner, 0.0)
            assert (excess and excess[0]) == (own[0] if own else None)


# Without sessions


def test_without_sessions_every_request_stands_on_its_own() -> None:
    bench = bench_of(sessions=False)
    reply = bench.post(initialize())
    assert reply.json["result"]["protocolVersion"] == "2025-11-25"
    assert "mcp-session-id" not in reply.headers
    assert bench.post(note("notifications/initialized")).status == 202
    assert bench.post(PING, mcp_protocol_version="2025-11-25").json["result"] == {}
    waiting = bench.post(CALL, mcp_protocol_version="2025-06-18")
    other = bench.post({**CALL, "id": CALL["id"]}, mcp_protocol_version="2025-11-25")
    first, second = bench.take(RequestReceived), bench.take(RequestReceived)
    assert (first.revision.name, second.revision.name) == ("2025-06-18", "2025-11-25")
    bench.server.progress(first.key, 1)
    bench.server.respond(second.key, {"content": []})
    bench.server.respond(first.key, {"content": []})
    bench.pump()
    assert other.json["result"] == {"content": []}
    assert methods(waiting.events[:1]) == ["notifications/progress"]
    assert waiting.events[1]["result"] == {"content": []}
    assert waiting.ids == ["", ""]
    assert bench.server.sessions == 0
    assert closed(bench) == []
    assert bench.server.deadline() is None


def test_without_sessions_an_old_session_id_means_nothing() -> None:
    bench = bench_of(sessions=False)
    assert bench.post(PING, mcp_session_id="from before").json["result"] == {}


@pytest.mark.parametrize("method", ["ping", "roots/list", "sampling/createMessage"])
@pytest.mark.parametrize("opening", [False, True])
def test_without_sessions_nothing_can_be_asked(method: str, opening: bool) -> None:
    bench = bench_of(sessions=False)
    reply = bench.post(CALL)
    key = bench.take(RequestReceived).key
    if opening:
        bench.post(note("notifications/initialized"), mcp_protocol_version="2025-11-25")
    with pytest.raises(LocalProtocolError, match="no session is there in which to answer it"):
        bench.server.request(method, {}, now=bench.now, parent=key)
    bench.answer(key)
    assert reply.json["result"] == {"content": []}
    assert not any(isinstance(event, Violation) for event in bench.events)


def test_without_sessions_nothing_that_a_client_sets_outlasts_its_request() -> None:
    bench = bench_of(sessions=False)
    level = request("logging/setLevel", {"level": "debug"})
    assert bench.post(level).json["result"] == {}
    assert bench.post(request("resources/subscribe", {"uri": "a:b"})).json["result"] == {}
    bench.server.log(None, "error", "x")
    bench.server.notify("notifications/resources/updated", {"uri": "a:b"})
    bench.pump()
    assert all(reply.end is not None for reply in bench.replies.values())


def test_a_subscription_is_told_with_its_session() -> None:
    bench = bench_of()
    session = opened(bench)
    wanted = request("resources/subscribe", {"uri": "a:b"})
    assert bench.post(wanted, mcp_session_id=session).json["result"] == {}
    [told] = [event for event in bench.events if isinstance(event, ResourceSubscribed)]
    assert (told.uri, told.active, told.session) == ("a:b", True, session)


def test_without_sessions_the_version_of_a_request_without_header_is_the_assumed_one() -> None:
    bench = bench_of(sessions=False)
    batch = [request("ping", id=1), request("ping", id=2)]
    assert [answer["id"] for answer in bench.post(batch).json] == [1, 2]
    assert bench.post(batch, mcp_protocol_version="2025-11-25").code == -32600


def test_without_sessions_a_client_that_leaves_leaves_nothing_once_its_work_is_done() -> None:
    bench = bench_of(sessions=False)
    for body in (CALL, initialize(), note("notifications/initialized")):
        route = bench.send(body, pump=False)
        bench.server.disconnect(route, now=bench.now)
        bench.pump()
    key = bench.take(RequestReceived).key
    bench.answer(key)
    assert not bench.server._router.sessions._temporary
    assert not bench.server._endpoint.inbound
    bench.server.close(now=bench.now)
    assert bench.server.finished
