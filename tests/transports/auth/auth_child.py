"""A process that shares a store of tokens with others: ``auth_child.py WHAT FOLDER ...``.

``count FOLDER TIMES``: adds one to a record, so many times, each time under its lock.
``write FOLDER``: writes records of growing size until it is killed, and prints each number.
``full FOLDER``: writes a record that the disk has no room for; prints the error.
``hold FOLDER``: holds the lock of writing until it is killed; prints a line then.
``fork FOLDER``: forks while it holds a lock, and prints a line once that is released; the fork ends
with the standard input.
``token FOLDER SERVER``: waits for a line, and prints the token that an authorizer has then.
"""

import json
import os
import sys
from pathlib import Path

import anyio

from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.authorizer import Authorizer
from mcpcore_transports.auth.file_store import FileTokens


async def count(store: FileTokens, times: str) -> None:
    for _ in range(int(times)):
        async with store.lock("key"):
            found = await store.load("key")
            number = json.loads(found.record or b"0")
            fresh = json.dumps(number + 1).encode()
            saved = await store.save("key", fresh, found.version)
            if saved.record != fresh:
                raise RuntimeError("somebody wrote without the lock")


async def write(store: FileTokens) -> None:
    number = 0
    while True:
        number += 1
        found = await store.load("key")
        record = json.dumps([number, "x" * (number % 50) * 1000]).encode()
        await store.save("key", record, found.version)
        print(number, flush=True)


async def full(store: FileTokens) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    found = await store.load("key")
    try:
        await store.save("key", json.dumps("x" * 1000).encode(), found.version)
    except AuthorizationError as error:
        print(error, flush=True)


async def fork(store: FileTokens) -> None:
    async with store.lock("key"):
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
    print("released", flush=True)


async def hold(store: FileTokens) -> None:
    import fcntl

    await store.save("other", b"0", 0)
    with (store.folder / "write.lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print("held", flush=True)
        await anyio.sleep_forever()


async def token(store: FileTokens, server: str) -> None:
    authorizer = Authorizer(server, store=store)
    print("ready", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    found = await authorizer.token()
    print("none" if found is None else found.header(), flush=True)


if __name__ == "__main__":
    works = {each.__name__: each for each in (count, write, full, fork, hold, token)}
    work = works[sys.argv[1]]
    anyio.run(work, FileTokens(Path(sys.argv[2])), *sys.argv[3:])  # type: ignore[arg-type]
