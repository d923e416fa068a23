"""mcp-proxy before a stdio server of ours; run as a script in its own environment.

``mcp_proxy_server.py PYTHON``: the interpreter of the server.
"""

import socket
import sys
import threading
import time

from mcp_proxy.__main__ import main


def announce(port):
    """Say where it is, as soon as it answers."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            break
    print(f"listening on http://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = (sys.argv[1], "-m", "mcpcore_bench.programs.ours", "--binding", "stdio")
sys.argv[1:] = ["--port", str(port), "--log-level", "ERROR", "--", *server]
threading.Thread(target=announce, args=(port,), daemon=True).start()
main()
