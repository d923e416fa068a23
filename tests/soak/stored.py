"""One of the servers of the soak that share a store: ``stored.py BACKEND NAME PORT STORE TALLY``.

``STORE`` is the URL of it, ``TALLY`` a file of counters that they share as well.  All listen on one
port (0: a free one), and the kernel spreads connections over them.  It says and answers what
:mod:`tests.soak.network` does; what its tables have includes those of the store.
"""

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import structs

from mcpcore_transports.stores.base import StoreSettings, open_store
from tests.bindings.network import offer
from tests.soak.network import HTTP, LIVES, SETTINGS, answer
from tests.soak.sampling import listen_to_errors
from tests.soak.tools import make_server

_LIVES = StoreSettings(age=LIVES, unused=LIVES, idle=LIVES)
"""As without a store, what nobody comes back to is forgotten soon ..."""
_VIEWS = structs.replace(SETTINGS.http, session_replica_idle=LIVES)
"""... and so is what a worker knows of it."""


def _rows(url: str) -> dict[str, int]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:"))) as link:
        names = link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            f"database: {name}": link.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in names.fetchall()
        }


_SIZES = {"hash": "HLEN", "list": "LLEN", "zset": "ZCARD", "stream": "XLEN"}
"""How Redis is asked how much is in a key."""


def _members(url: str) -> dict[str, int]:
    import redis  # an extra

    found: Counter[str] = Counter()
    database: Any = redis.Redis.from_url(url, decode_responses=True)
    with closing(database) as link:
        for key in link.scan_iter():
            kind = key.rpartition("}:")[2].partition(":")[0]
            size = _SIZES.get(link.type(key))
            found[f"redis: {kind}"] += 1 if size is None else link.execute_command(size, key)
    return found


_CONTENTS: dict[str, Callable[[str], dict[str, int]]] = {"sqlite": _rows, "unix": _members}
"""What a store has, by the scheme of its URL."""


async def main(name: str, port: str, url: str, tally: str) -> None:
    listen_to_errors()
    stop = anyio.Event()
    contents = _CONTENTS[url.partition(":")[0]]
    with closing(open_store(url, _LIVES)) as store:
        link = structs.replace(HTTP, reuse_port=True)
        settings = structs.replace(SETTINGS, http=_VIEWS, http_link=link, store=store)
        async with anyio.create_task_group() as group:
            address = f"127.0.0.1:{port}"
            server = make_server(tally)
            serving = partial(offer, server, "http", address, stop, settings)
            await group.start(partial(serving, called=name))
            print("ready", flush=True)
            await answer(partial(contents, url))
            stop.set()


if __name__ == "__main__":
    name, port, url, tally = sys.argv[2:]
    anyio.run(main, name, port, url, tally, backend=sys.argv[1])
