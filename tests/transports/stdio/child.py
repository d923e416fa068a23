"""A server program for the tests of stdio and of spawned processes: ``child.py BACKEND MODE...``.

It serves the tools of :class:`tests.transports.apps.ToolServer` on standard input and output; each
mode adds a habit, good or bad.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import anyio

from mcpcore.engine.events import Event, RequestReceived
from mcpcore_transports.stdio.server import StdioServerLink
from mcpcore_transports.stream.settings import ConnectionSettings, StdioSettings
from tests.transports.apps import ToolServer, make_server


class Chatty(ToolServer):
    """Prints, runs programs that print, and reads standard input, while it serves."""

    def react(self, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.id == 0:
            print("printed while serving")
            subprocess.run(["echo", "said by a program"], check=True)
            print(f"read {sys.stdin.readline()!r} from standard input")
        super().react(event)


async def serve(modes: list[str]) -> None:
    peer = make_server()
    app = Chatty(peer) if "chatty" in modes else ToolServer(peer)
    drain = 20.0 if "patient" in modes else 0.2
    link = StdioServerLink(
        peer, app, settings=StdioSettings(connection=ConnectionSettings(drain=drain))
    )
    app.link = link
    await link.run()


def main() -> None:
    backend, *modes = sys.argv[1:]
    if "noisy" in modes:
        os.write(1, b"Welcome to the server!\n\xff\xfe\n{}\n")
        os.write(2, b"starting up\nwarning: \xff is no UTF-8\n")
    if "flood" in modes:
        os.write(2, b"line of standard error\n" * 50_000)
    if "stubborn" in modes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "grandchild" in modes:
        # It keeps our output open and outlives us, unless somebody ends the whole group.
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        os.write(2, f"grandchild {child.pid}\n".encode())
    if "crash" in modes:
        sys.stderr.write("cannot read the configuration\n")
        sys.exit(3)
    if "kill" in modes:
        os.kill(os.getpid(), signal.SIGKILL)
    if "mute" in modes:
        os.close(1)
        os.dup2(2, 1)
    if "sleep" in modes:
        time.sleep(600)
    if "environment" in modes:
        os.write(2, ("\n".join(sorted(os.environ)) + f"\ncwd={os.getcwd()}\n").encode())
    anyio.run(serve, modes, backend=backend)
    if "bulky" in modes:
        os.write(1, b"more than the pipe holds\n" * 10_000)
    if "linger" in modes:
        os.write(2, b"lingering\n")
        time.sleep(600)
    os.write(2, b"after serving\n")
    print("printed after serving")


if __name__ == "__main__":
    main()
