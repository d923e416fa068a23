"""A server program that breaks in the ways it is told to: ``fragile.py FOLDER [FATE...]``.

``FATE`` is for its first start, the second, and so on; beyond them it is well.  ``crash``: it ends
with code 3 at once.  ``mute``: it reads and never answers.  ``half``: it ends inside its first
answer.  Each start leaves a file with its process id in ``FOLDER``.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio

from mcpcore.service import Server
from mcpcore_transports.serve.serve import run
from mcpcore_transports.server.context import Context

server = Server("fragile")


@server.tool
def die(code: int = 7) -> str:
    """End the process."""
    print(f"cannot go on: {code}", file=sys.stderr, flush=True)
    os._exit(code)


@server.tool
async def wait(context: Context) -> str:
    """Report that it waits, and never return."""
    context.progress(1)
    await anyio.sleep_forever()
    return ""


@server.tool
def touch() -> str:
    """Say that the resource has changed."""
    server.resource_updated("a:b")
    return str(os.getpid())


@server.resource("a:b")
def read() -> str:
    """Be subscribed to."""
    return "text"


def main() -> None:
    number = len(list(FOLDER.glob("start-*")))
    (FOLDER / "new").write_text(str(os.getpid()))
    (FOLDER / "new").rename(FOLDER / f"start-{number}")
    print(f"start {number}", file=sys.stderr, flush=True)
    fate = sys.argv[2 + number] if len(sys.argv) > 2 + number else "well"
    if fate == "crash":
        print("no configuration", file=sys.stderr, flush=True)
        sys.exit(3)
    elif fate == "mute":
        time.sleep(600)
    elif fate == "half":
        sys.stdin.buffer.readline()
        os.write(1, b'{"jsonrpc":"2.0","id":1,"resu')
        sys.exit(4)
    run(server, stdio=True)


FOLDER = Path(sys.argv[1])

if __name__ == "__main__":
    main()
