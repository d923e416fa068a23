"""A process that shares a store of tokens with others: ``auth_child.py WHAT FOLDER ...``.

``count FOLDER TIMES``: adds one to a record, so many times, each time under its lock.
``write FOLDER``: writes records of growing size until it is killed, and prints each number.
``full FOLDER``: writes a record that the disk has no room for; prints the error.
``hold FOLDER``: holds the lock of writing until it is killed; prints a line then.
``fork FOLDER``: forks while it holds a lock, and prints a line once that is released; the fork ends
with the standard input.
``twins FOLDER SERVER``: forks, and prints a proof of the parent and one of the fork.
``token FOLDER SERVER``: waits for a line, and prints the token that an authorizer has then.
"""

import json
import os
import sys
from pathlib import Path

import anyio

from mcpcore.auth.grants import ClientIdentity, SigningKey
from mcpcore.auth.records import TokenRecord, token_key, written
from mcpcore.auth.settings import AuthorizationSettings, DpopKey
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.authorizer import Authorizer
from mcpcore_transports.auth.file_store import FileTokens
from mcpcore_transports.auth.signing import PrivateKey


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


async def twins(store: FileTokens, server: str) -> None:
    key = PrivateKey.generate()
    bound = DpopKey(jwk=key.jwk, signing=SigningKey(algorithm="ES256", key="mine"))
    settings = AuthorizationSettings(dpop=bound)
    record = TokenRecord(
        resource=server,
        issuer=server,
        token_endpoint=server,
        client=ClientIdentity(client_id="x"),
        access_token="token",
        scheme="DPoP",
        thumbprint=key.thumbprint,
    )
    await store.save(token_key(server, settings).text, written(record), 0)
    authorizer = Authorizer(server, settings, store=store, keys={"mine": key})
    await authorizer.token()
    forked = os.fork()
    proof = authorizer.machine.proof("POST", server, wall=0.0)
    assert proof is not None
    os.write(1, f"{proof.input.claims['jti']}\n".encode())
    if forked == 0:
        os._exit(0)


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
    works = {each.__name__: each for each in (count, write, full, fork, twins, hold, token)}
    work = works[sys.argv[1]]
    anyio.run(work, FileTokens(Path(sys.argv[2])), *sys.argv[3:])  # type: ignore[arg-type]
