"""The Redis store: its keys and scripts."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from msgspec import structs

from mcpcore.errors import StoreUnavailableError
from mcpcore.http.storing import (
    Announce,
    Announcements,
    LogPage,
    Post,
    QueuePut,
    QueueTake,
    SessionCalls,
    SessionDelete,
    SessionLoad,
    SessionRecord,
    SessionSave,
    SessionTouch,
    Step,
    StoredTask,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamRead,
    TaskList,
    TaskSave,
)
from mcpcore_transports.stores.base import LOST, StepOutcome, StoreSettings
from mcpcore_transports.stores.redis import RedisStore
from tests.clock import PATIENCE
from tests.transports.redis_server import PROGRAMS, RedisServer, redis_server
from tests.transports.stores.store_stage import record


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with redis_server(request.param) as made:
        yield made


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(server.url)) as made:
        yield made


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with closing(RedisStore(server.url, StoreSettings(sessions=2), prefix="p")) as made:
        yield made


def steps(session: str) -> list[Step]:
    return [
        SessionSave(token=1, session=session, record=record(session)),
        SessionTouch(token=1, session=session),
        StreamBegin(token=1, session=session, stream=1, request=b"1"),
        StreamBegin(token=1, session=session, stream=2),
        StreamAppend(token=1, session=session, stream=1, data=b"x"),
        SessionCalls(token=1, session=session, calls=2, limit=3),
        Announce(token=1, session="", note=b"n", topic="t"),
        Announcements(token=1, session="", since=0),
        QueuePut(token=1, session=session, data=b"{}", once="o"),
        QueueTake(token=1, session=session, stream=2, limit=10),
        QueueTake(token=1, session=session, stream=2, limit=10),
        QueuePut(token=1, session=session, data=b"{}", once="p"),
        StreamRead(token=1, session=session, stream=1, after=1, limit=10),
        Post(token=1, session="", to=None, note=b"n"),
        Post(token=1, session="", to="a", note=b"n"),
        StreamClaim(token=1, session=session, stream=1),
    ]


@pytest.mark.parametrize("lost", ["sessions", "born", "owners", "of:evil"])
def test_counts_that_redis_has_lost_in_part_are_taken_up_again(
    server: RedisServer, client: redis.Redis, lost: str
) -> None:
    settings = StoreSettings(sessions=4, sessions_per_client=2)
    with closing(RedisStore(server.url, settings, prefix="p")) as store:
        names = [f"s{number}" for number in range(12)]
        for at, name in enumerate(names):
            if at == 4:
                assert client.delete(f"p:{{workers}}:{lost}") == 1
            made = record(name, created=1000 + at, owner="evil")
            step = SessionSave(token=1, session=name, record=made)
            assert store.commit("a", [step], 1000 + at) == [None]
        assert client.zrange("p:{workers}:of:evil", 0, -1) == [b"s10", b"s11"]
        assert client.zrange("p:{workers}:sessions", -2, -1) == [b"s10", b"s11"]
        loads = [SessionLoad(token=1, session=name) for name in names[4:]]
        loaded = store.commit("a", loads, 1012)
        assert [record.id for record in loaded if isinstance(record, SessionRecord)] == names[-2:]


def test_a_record_that_cannot_be_read_harms_no_other_step(
    store: RedisStore, client: redis.Redis
) -> None:
    store.commit("a", [save("r", 1000), save("s", 1000)], 1000)
    client.hset("p:{r}:s", "record", b'{"id":"r"}')
    again = SessionSave(token=1, session="r", record=record("r", created=1000))
    batch = [again, SessionLoad(token=1, session="r"), SessionTouch(token=1, session="s")]
    saved, loaded, other = store.commit("a", batch, 1001)
    assert isinstance(saved, StoreFailure)
    assert isinstance(loaded, StoreFailure)
    assert other is True


def touched(store: RedisStore) -> list[StepOutcome]:
    """Which of the sessions r, s and t are there."""
    return store.commit("a", [SessionTouch(token=1, session=each) for each in "rst"], 1003)


def save(session: str, at: float) -> SessionSave:
    return SessionSave(token=1, session=session, record=record(session, created=at))


def test_a_session_that_is_used_in_the_batch_that_makes_it_is_no_unused_one(
    store: RedisStore,
) -> None:
    store.commit("a", [save("r", 1000), SessionTouch(token=1, session="r")], 1000)
    store.commit("a", [save("s", 1001)], 1001)
    store.commit("a", [save("t", 1002)], 1002)
    assert touched(store) == [True, False, True]


def test_a_session_that_is_deleted_in_the_batch_that_makes_it_takes_no_room(
    store: RedisStore,
) -> None:
    store.commit("a", [save("r", 1000)], 1000)
    store.commit("a", [save("s", 1001), SessionDelete(token=1, session="s")], 1001)
    store.commit("a", [save("t", 1002)], 1002)
    assert touched(store) == [True, False, True]


def test_room_is_made_at_the_end_of_a_batch(store: RedisStore) -> None:
    for at, name in enumerate("rs"):
        store.commit("a", [save(name, 1000 + at)], 1000 + at)
    assert store.commit("a", [save("t", 1002), SessionTouch(token=1, session="r")], 1002) == [
        None,
        True,
    ]
    assert touched(store) == [True, False, True]


def work(store: RedisStore) -> None:
    store.secret()
    assert store.use_once(b"1", party="ann", until=1600, wall=1000)
    store.receive("a", 0)
    for session in ("r", "s", "t"):  # one more than is kept
        for outcome in store.commit("a", steps(session), 1000):
            assert not isinstance(outcome, StoreFailure)
    store.commit("b", [StreamClaim(token=1, session="t", stream=2)], 1000)
    store.receive("a", 0)
    store.leave("b")


def test_every_key_has_a_time_to_live(store: RedisStore, client: redis.Redis) -> None:
    work(store)
    keys = {key.decode(): client.ttl(key) for key in client.scan_iter()}
    assert {key.partition("}")[0] for key in keys} == {"p:{workers", "p:{s", "p:{t"}
    assert all(0 < left <= 2 * 86400 for left in keys.values()), keys


def test_uses_of_proofs_are_kept_until_the_last_of_them_ends(
    store: RedisStore, client: redis.Redis
) -> None:
    for digest, until in ((b"1", 1000 + 86400 * 9), (b"2", 1600)):
        assert store.use_once(digest, party="ann", until=until, wall=1000)
    keys = set(client.scan_iter("p:{workers}:proofs*"))
    assert keys == {b"p:{workers}:proofs", b"p:{workers}:proofs:ann"}
    assert all(86400 * 8 < client.ttl(key) < 86400 * 10 for key in keys)


def test_what_ends_leaves_nothing(store: RedisStore, client: redis.Redis) -> None:
    work(store)
    deletes = [SessionDelete(token=1, session=session) for session in ("s", "t")]
    assert store.commit("a", deletes, 1000) == [True, True]
    assert list(client.scan_iter("p:{[rst]}*")) == []


def test_each_script_stays_with_one_tag(
    store: RedisStore, client: redis.Redis, server: RedisServer
) -> None:
    seen: list[tuple[str, list[str]]] = []
    listening = threading.Event()

    def listen() -> None:
        with redis.Redis.from_url(server.url).monitor() as monitor:  # type: ignore[no-untyped-call]
            listening.set()
            for command in monitor.listen():
                parts = command["command"].split(" ")
                if parts[0].lower() == "ping":
                    return
                seen.append((command["client_type"], parts))

    listener = threading.Thread(target=listen)
    listener.start()
    assert listening.wait(PATIENCE)
    work(store)
    client.ping()
    listener.join(PATIENCE)
    base, scripts, calls = "", 0, 0
    for kind, parts in seen:
        if parts[0].upper() == "EVALSHA":
            base, scripts = parts[3], scripts + 1
        elif kind == "lua" and parts[0].upper() != "TIME":
            assert parts[1].startswith(base), parts
            calls += 1
    assert scripts > 30
    assert calls > 100


def test_scripts_that_redis_has_forgotten(store: RedisStore, client: redis.Redis) -> None:
    store.commit("a", steps("s"), 1000)
    client.script_flush()
    appends = [
        StreamAppend(token=1, session="s", stream=1, data=b"%d" % number) for number in range(5)
    ]
    assert store.commit("a", appends, 1000) == [2, 3, 4, 5, 6]
    client.script_flush()
    store.receive("a", 0)


def test_a_redis_that_is_full_says_so(store: RedisStore, client: redis.Redis) -> None:
    store.commit("a", steps("s"), 1000)
    client.config_set("maxmemory", 1)
    append = StreamAppend(token=1, session="s", stream=1, data=b"y")
    (outcome,) = store.commit("a", [append], 1000)
    assert isinstance(outcome, StoreFailure)
    assert "memory" in outcome.reason
    client.config_set("maxmemory", 0)
    assert store.commit("a", [append], 1000) == [2]


def test_prefixes_keep_stores_apart(store: RedisStore, server: RedisServer) -> None:
    store.commit("a", steps("s"), 1000)
    with closing(RedisStore(server.url, prefix="q")) as other:
        assert other.commit("a", [SessionLoad(token=1, session="s")], 1000) == [None]
        assert other.secret() != store.secret()


def test_a_wake_that_was_lost_with_its_sender_is_made_again(
    server: RedisServer, client: redis.Redis
) -> None:
    now = 0.0
    settings = StoreSettings(lease=10, renew=0)
    with (
        closing(RedisStore(server.url, settings, prefix="p", clock=lambda: now)) as one,
        closing(RedisStore(server.url, settings, prefix="p", clock=lambda: now)) as other,
    ):
        one.commit("a", steps("s")[:3], 1000)
        read = StreamRead(token=1, session="s", stream=1, after=0, limit=10)
        other.commit("b", [read], 1000)
        end = StreamAppend(token=1, session="s", stream=1, data=b"x", ends=True)
        assert one.commit("a", [end], 1000) == [1]
        # as if worker a had died after the step, and before it could pass the note on
        assert client.xtrim("p:{workers}:inbox:b", maxlen=0, approximate=False) == 1
        assert other.receive("b", 0) == []
        now = 5.0
        assert other.receive("b", 0) == []
        now = 10.0
        woken = b'{"note":"wake","session":"s","stream":1}'
        found = [*other.receive("b", 0), *other.receive("b", 0)]
        assert found == [woken]


def test_what_a_worker_cannot_release_as_it_leaves_is_released_by_others(
    store: RedisStore, server: RedisServer, client: redis.Redis
) -> None:
    store.commit("a", steps("s")[:3], 1000)
    with closing(RedisStore(server.url, StoreSettings(renew=0), prefix="p")) as other:
        other.receive("b", 0)
        # as if the connection were lost after the first of its commands
        client.execute_command("ACL", "SETUSER", "default", "-zrange")  # type: ignore[no-untyped-call]
        with pytest.raises(StoreUnavailableError):
            store.leave("a")
        client.execute_command("ACL", "SETUSER", "default", "+zrange")  # type: ignore[no-untyped-call]
        other.receive("b", 0)
        read = StreamRead(token=1, session="s", stream=1, after=0, limit=10)
        (page,) = other.commit("b", [read], 1000)
        assert isinstance(page, LogPage)
        assert page.orphaned
        other.leave("b")
        assert not [key for key in client.scan_iter() if key.endswith(b":gone")]


def test_a_wake_that_redis_has_no_room_for_follows_later(
    store: RedisStore, client: redis.Redis
) -> None:
    store.commit("a", steps("s")[:3], 1000)
    read = StreamRead(token=1, session="s", stream=1, after=0, limit=10)
    store.commit("b", [read], 1000)
    # as if the memory ended between the step and its notes
    client.execute_command("ACL", "SETUSER", "default", "-incr")  # type: ignore[no-untyped-call]
    append = StreamAppend(token=1, session="s", stream=1, data=b"x")
    assert store.commit("a", [append], 1000) == [1]
    client.execute_command("ACL", "SETUSER", "default", "+incr")  # type: ignore[no-untyped-call]
    store.commit("a", [], 1000)
    assert b'{"note":"wake","session":"s","stream":1}' in store.receive("b", 0)


def test_a_server_that_has_taken_over_is_reached(server: RedisServer, store: RedisStore) -> None:
    post = Post(token=1, session="", to=None, note=b"n")
    assert store.receive("a", 0) == store.receive("b", 0) == []
    with (
        redis_server() as successor,
        closing(redis.Redis.from_url(server.url)) as before,
    ):
        before.replicaof("127.0.0.1", "1")  # connections to it stay
        successor.socket.rename(server.socket)
        (refused,) = store.commit("a", [post], 1000)
        assert isinstance(refused, StoreFailure)
        assert store.commit("a", [post], 1000) == [None]
        assert b"n" in store.receive("b", PATIENCE)


def test_notes_are_heard_again_though_the_clock_of_redis_is_set_back(
    server: RedisServer, client: redis.Redis
) -> None:
    client.xadd("p:{workers}:all", {"n": "old", "t": 1}, id="9999999999999-0")
    post = Post(token=1, session="", to=None, note=b"n")
    with closing(RedisStore(server.url, StoreSettings(renew=0), prefix="p")) as store:
        assert store.receive("a", 0) == []
        client.flushall()
        assert store.receive("a", 0) == [LOST]
        store.commit("b", [post], 1000)
        assert store.receive("a", 0) == [b"n"]


def test_notes_that_were_read_count_though_no_room_can_be_made(
    store: RedisStore, client: redis.Redis
) -> None:
    assert store.receive("a", 0) == []
    post = [
        Post(token=1, session="", to="a", note=b"mine"),
        Post(token=1, session="", to=None, note=b"all"),
    ]
    store.commit("b", post, 1000)
    client.execute_command("ACL", "SETUSER", "default", "-xtrim")  # type: ignore[no-untyped-call]
    assert store.receive("a", 0) == [b"mine", b"all"]
    client.execute_command("ACL", "SETUSER", "default", "+xtrim")  # type: ignore[no-untyped-call]
    assert store.receive("a", 0) == [LOST]  # what may have been missed is looked for
    store.commit("b", post, 1000)
    assert store.receive("a", 0) == [b"mine", b"all"]
    assert client.xlen("p:{workers}:inbox:a") == 0


def test_long_notes_to_everybody_take_no_more_room_than_is_meant_for_them(
    store: RedisStore, client: redis.Redis
) -> None:
    """Nobody takes them out, and any client makes some: by a cancellation with a long reason."""
    store.receive("b", 0)
    for note in (b"1", b"2" * (65 * 2**20), b"3"):
        post = Post(token=1, session="", to=None, note=note)
        assert store.commit("a", [post], 1000) == [None]
    assert client.xlen("p:{workers}:all") == 2
    assert [note[:1] for note in store.receive("b", 0)] == [b"2", b"3"]


def test_each_worker_is_told_that_everything_is_lost(
    server: RedisServer, client: redis.Redis
) -> None:
    now = 0.0
    settings = StoreSettings(renew=3)
    with (
        closing(RedisStore(server.url, settings, prefix="p", clock=lambda: now)) as one,
        closing(RedisStore(server.url, settings, prefix="p", clock=lambda: now)) as other,
    ):
        for store, worker in ((one, "a"), (other, "b"), (other, "c")):
            assert store.receive(worker, 0) == []
        client.flushall()
        now = 3.0
        one.commit("a", [SessionTouch(token=1, session="s")], 1000)
        for store, worker in ((one, "a"), (other, "b"), (other, "c")):
            assert store.receive(worker, 0) == [LOST]
            assert store.receive(worker, 0) == []
        now = 6.0
        assert one.receive("a", 0) == []


@pytest.mark.parametrize(("expires", "later"), [(1.0, 2.0), (float("inf"), 2 * 86400.0)])
def test_a_task_that_redis_has_dropped_by_itself_takes_no_room_of_its_owner(
    client: redis.Redis, store: RedisStore, expires: float, later: float
) -> None:
    made = TaskSave(
        token=1, session="", id="x", owner="ann", task=b"t", ended=False, expires=expires, new=True
    )
    assert store.commit("a", [made], 0.0) == [True]
    client.unlink("p:{workers}:task:x")  # which its time to live does when nobody asks for long
    other = structs.replace(made, id="y", expires=later + 7)
    assert store.commit("a", [other], later) == [True]
    assert client.zcard("p:{workers}:tasks:ann") == 1
    assert client.hgetall("p:{workers}:sizes") == {b"": b"1", b"y": b"1:ann"}


def test_a_task_that_redis_has_dropped_by_itself_hides_no_other(
    client: redis.Redis, store: RedisStore
) -> None:
    for id in "xy":
        made = TaskSave(
            token=1, session="", id=id, owner="ann", task=b"t", ended=False, expires=9.0, new=True
        )
        assert store.commit("a", [made], 0.0) == [True]
    client.unlink("p:{workers}:task:x")  # as the clocks differ
    listed = TaskList(token=1, session="", owner="ann", after=0, limit=1)
    assert store.commit("a", [listed], 0.0) == [
        (StoredTask(number=2, worker="a", gone=False, task=b"t"),)
    ]
