"""One of the servers of the soak that share a store: ``stored.py BACKEND PORT DATABASE``.

All listen on one port (0: a free one), and the kernel spreads connections over them.  It says and
answers what :mod:`tests.soak.network` does; what its tables have includes those of the database.
"""

import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import structs

from tests.bindings.network import offer
from tests.soak.network import HTTP, LIVES, SETTINGS, answer
from tests.soak.sampling import listen_to_errors
from tests.soak.tools import make_server
from transports.stores.base import StoreSettings
from transports.stores.open import open_store

_LIVES = StoreSettings(age=LIVES, unused=LIVES, idle=LIVES)
"""As without a store, what nobody comes back to is forgotten soon ..."""
_VIEWS = structs.replace(SETTINGS.http, session_view_idle=LIVES)
"""... and so is what a worker knows of it."""


def _rows(database: str) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as link:
        names = link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            f"database: {name}": link.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in names.fetchall()
        }


async def main(port: str, database: str) -> None:
    listen_to_errors()
    stop = anyio.Event()
    with closing(open_store(f"sqlite:{database}", _LIVES)) as store:
        link = structs.replace(HTTP, reuse_port=True)
        settings = structs.replace(SETTINGS, http=_VIEWS, http_link=link, store=store)
        async with anyio.create_task_group() as group:
            address = f"127.0.0.1:{port}"
            server = make_server(f"{database}-tally")
            serving = partial(offer, server, "http", address, stop, settings)
            await group.start(partial(serving, called="stored"))
            print("ready", flush=True)
            await answer(partial(_rows, database))
            stop.set()


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], sys.argv[3], backend=sys.argv[1])
