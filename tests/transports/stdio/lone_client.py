"""A client program to be killed: ``lone_client.py BACKEND TOKEN HABIT...``, of one bad server."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import anyio

from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.stream.settings import ProcessSettings

BACKEND, TOKEN, *HABITS = sys.argv[1:]
SERVER = str(Path(__file__).with_name("habits.py"))


async def main() -> None:
    process = ProcessSettings(close_wait=0.3, term_wait=0.3, stderr="discard")
    command = [sys.executable, "-S", "-E", SERVER, TOKEN, *HABITS]
    revisions = ["2025-06-18"]
    settings = ClientSettings(process=process)
    async with connect(command, settings=settings, revisions=revisions):
        try:
            print("connected", flush=True)
            await anyio.sleep_forever()
        finally:
            print("closing", flush=True)


anyio.run(main, backend=BACKEND)
