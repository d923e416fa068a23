"""Stores from URLs."""

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from mcpcore.errors import StoreUrlError
from mcpcore_transports.stores.base import StoreSettings, check_shared, ends, open_store
from mcpcore_transports.stores.redis import RedisStore
from mcpcore_transports.stores.sqlite import MemoryStore, SqliteStore

SETTINGS = StoreSettings(events=7)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("sqlite:{folder}/a.db", SqliteStore),
        ("sqlite://{folder}/a.db", SqliteStore),
        ("sqlite:{folder}/a%20b.db?synchronous=full&busy=1&poll=0.1", SqliteStore),
        ("redis://localhost:1/0?prefix=other&timeout=1", RedisStore),
        ("rediss://user:word@localhost:1/3?ssl_cert_reqs=required", RedisStore),
        ("valkey://localhost:1/0?prefix=other", RedisStore),
        ("valkeys://user:word@localhost:1/3?ssl_cert_reqs=required", RedisStore),
        ("unix:///tmp/nowhere.sock?db=1&prefix=x", RedisStore),
    ],
)
def test_urls(url: str, kind: type[object], tmp_path: Path) -> None:
    store = open_store(url.format(folder=tmp_path), SETTINGS)
    assert isinstance(store, kind)
    assert isinstance(store, MemoryStore | SqliteStore | RedisStore)
    assert store.settings is SETTINGS
    store.close()
    if kind is SqliteStore:
        assert sorted(tmp_path.glob("a*.db"))


@pytest.mark.parametrize(
    "url",
    [
        "memory:?",
        "sqlite:{folder}/a.db?busy=1&",
        "redis://h/0?prefix=p&",
        "unix:///tmp/s.sock?db=1&",
    ],
)
def test_settings_in_urls(url: str, tmp_path: Path) -> None:
    url = url.format(folder=tmp_path)
    store = open_store(f"{url}sessions=5&idle=0.5&lease=20", SETTINGS)
    assert isinstance(store, MemoryStore | SqliteStore | RedisStore)
    assert store.settings == structs.replace(SETTINGS, sessions=5, idle=0.5, lease=20.0)
    store.close()
    # Every setting may stand there.
    wanted = {
        field.name: 7 if field.name == "renew" else 9 for field in structs.fields(StoreSettings)
    }
    store = open_store(url + "&".join(f"{name}={value}" for name, value in wanted.items()))
    assert isinstance(store, MemoryStore | SqliteStore | RedisStore)
    assert store.settings == StoreSettings(**wanted)
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "names no store"),
        ("postgres://u:secret@h/", "names no store"),
        ("memory:x", "nothing but options follows"),
        ("memory:?color=red", "no option color"),
        ("memory:?sessions=many", "sessions is a whole number above 0, not 'many'"),
        ("memory:?sessions=1.5", "sessions is a whole number above 0, not '1.5'"),
        ("sqlite:a.db?sessions=0", "sessions is a whole number above 0, not '0'"),
        ("sqlite:a.db?idle=nan", "idle is a number of seconds above 0, not 'nan'"),
        ("sqlite:a.db?lease=inf", "lease is a number of seconds above 0, not 'inf'"),
        ("sqlite:a.db?lease=3", "renew (3) is below lease (3)"),
        ("sqlite:a.db?age=1&age=2", "age is given twice"),
        ("redis://u:secret@h/?age=-1", "age is a number of seconds above 0"),
        ("redis://u:secret@h/?sesions=5", "'redis://...@h/?sesions=5' has no option sesions"),
        ("redis://h/?password=secret&sesions=5", "'redis://h/?password=...&sesions=5' has no"),
        ("rediss://u:secret@h/?sesions=5", "has no option sesions"),
        ("unix:///tmp/x.sock?sesions=5", "has no option sesions"),
        ("redis://u:secret@h/?protocol=3", "has no option protocol"),
        ("redis://u:secret@h/?health_check_interval=x", "health_check_interval"),
        ("sqlite:", "path of a file"),
        ("sqlite://", "path of a file"),
        ("sqlite::memory:", "path of a file"),
        ("sqlite:a.db?synchronous=OFF", "NORMAL, FULL, EXTRA"),
        ("sqlite:a.db?busy=long", "busy is a number of seconds, not 'long'"),
        ("sqlite:a.db?poll=-1", "poll is a number"),
        ("sqlite:a.db?color=red", "no option color"),
        ("sqlite:a.db?busy=1&busy=2", "busy is given twice"),
        ("redis://u:secret@h/?prefix={x}", "prefix"),
        ("redis://u:secret@h/?timeout=nan", "timeout is a number"),
        ("redis://u:secret@h:port/", "redis://...@h:port/"),
    ],
)
def test_wrong_urls(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUrlError) as raised:
        open_store(url)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_what_processes_can_share(tmp_path: Path) -> None:
    check_shared(f"sqlite:{tmp_path}/a.db?sessions=5")
    check_shared("redis://localhost:1/0?age=5")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreUrlError, match="a store of its own"):
        check_shared("memory:?sessions=5")
    with pytest.raises(StoreUrlError, match="no option color"):
        check_shared("sqlite:a.db?color=red")


def test_a_missing_extra_is_named() -> None:
    program = (
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'redis' else find(name, *rest)\n"
        "from mcpcore_transports.stores.base import open_store\n"
        "try:\n    open_store('redis://localhost/')\n"
        "except ImportError as error:\n    print(error)\n"
        "open_store('memory:').close()\n"
        "import sys; print('redis' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "the Redis store needs the extra `redis`: pip install 'mcpcore[redis]'\nFalse\n"
    )


@pytest.mark.parametrize(
    ("used", "unused", "idle", "absolute", "end"),
    [
        (None, 60, 1800, 86_400, 60),
        (None, 60, 10, 86_400, 10),
        (None, 60, 1800, 20, 20),
        (50, 60, 1800, 86_400, 1850),
        (50, 60, 1800, 100, 100),
    ],
)
def test_a_session_ends_by_the_first_of_its_limits(
    used: float | None, unused: float, idle: float, absolute: float, end: float
) -> None:
    settings = StoreSettings(unused=unused, idle=idle, absolute=absolute)
    assert ends(0.0, used, settings) == end
