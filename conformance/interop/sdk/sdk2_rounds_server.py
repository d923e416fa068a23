"""The server of sdk2_server.py with the tools that the official suite asks for in 2026-07-28."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.rounds import offer_rounds
from conformance.interop.sdk.sdk2_server import app, main, server, ways

offer_rounds(ways)

if __name__ == "__main__":
    sys.exit(main(server.run_stdio_async, app, server.sse_app))
