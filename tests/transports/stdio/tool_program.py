"""A program that serves stdio, with tools that misbehave: ``tool_program.py BACKEND TOKEN``."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import anyio

from mcpcore.engine.config import Limits
from mcpcore.service import Server
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.server.settings import RuntimeSettings

server = Server("tools", version="1")
TOKEN = sys.argv[2]


@server.tool()
def echo(text: str = "") -> str:
    return text


@server.tool()
async def wait() -> str:
    await anyio.sleep_forever()
    return "never"


@server.tool()
async def deaf() -> str:
    """It does not heed its cancellation."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(600)
    return "never"


@server.tool(thread=True)
def block() -> str:
    time.sleep(600)
    return "never"


@server.tool()
async def hold_up() -> str:
    """It holds up the event loop, once what was answered before has been sent."""
    await anyio.sleep(0.01)
    os.write(2, b"held up\n")
    time.sleep(600)  # noqa: ASYNC251
    return "never"


@server.tool()
def occupy() -> str:
    """It holds up the event loop from its first moment."""
    os.write(2, b"held up\n")
    time.sleep(600)
    return "never"


@server.tool()
def nap() -> str:
    time.sleep(0.2)
    return "slept"


@server.tool()
def shout() -> str:
    """It says more than a pipe holds."""
    os.write(1, b"x" * 1_000_000)
    return "said"


@server.tool()
async def chatter_at_last() -> str:
    """It prints once nobody reads it any more."""
    os.write(2, b"waiting\n")
    while os.readlink("/proc/self/fd/2") != os.devnull:  # noqa: ASYNC110  (nobody tells)
        await anyio.sleep(0.001)
    return chatter()


@server.tool()
async def children() -> str:
    sleeper = ["sleep", f"600.{TOKEN}"]
    subprocess.Popen(sleeper)  # noqa: ASYNC220
    subprocess.Popen(sleeper, start_new_session=True)  # noqa: ASYNC220
    # Its parent ends, and it is nobody's child any more.
    subprocess.run(["sh", "-c", f"trap '' TERM; {' '.join(sleeper)} &"], check=True)  # noqa: ASYNC221
    os.write(2, b"started\n")
    await anyio.sleep_forever()
    return "never"


@server.tool()
def chatter() -> str:
    print("printed")
    os.system("echo said by a program")
    os.write(1, b"written by C\n")
    with suppress(OSError):  # it may be closed
        os.write(2, b"written by C\n")
    return "said"


if __name__ == "__main__":
    limits = Limits(message_size=1024 * 1024)
    run(
        server,
        stdio=True,
        settings=ServeSettings(runtime=RuntimeSettings(limits=limits)),
        backend=sys.argv[1],
    )
    print("printed after serving")
