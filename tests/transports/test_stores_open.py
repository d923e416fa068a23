"""Stores from URLs."""

import subprocess
import sys
from pathlib import Path

import pytest

from transports.stores.base import StoreSettings
from transports.stores.memory import MemoryStore
from transports.stores.open import StoreUrlError, open_store
from transports.stores.redis import RedisStore
from transports.stores.sqlite import SqliteStore

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
    ("url", "message"),
    [
        ("", "names no store"),
        ("postgres://u:secret@h/", "names no store"),
        ("memory:x", "nothing follows"),
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


def test_a_missing_extra_is_named() -> None:
    program = (
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'redis' else find(name, *rest)\n"
        "from transports.stores.open import open_store\n"
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
