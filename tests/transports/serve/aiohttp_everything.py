"""The server behind aiohttp: ``-m tests.transports.serve.aiohttp_everything --http PLACE``.

Announces itself as every reference program does; the application is the one of the how-to page.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from mcpcore_conformance.everything.server import server
from tests.docs.blocks import DOCS, programs

PAGE: Path = DOCS / "how-to" / "asgi.md"


async def main() -> None:
    """Serve until a signal."""
    names: dict[str, Any] = {}
    exec(programs(PAGE)[-1].files["on_aiohttp.py"], names)
    runner = web.AppRunner(names["aiohttp_app"](server), handler_cancellation=True)
    await runner.setup()
    host, _, port = sys.argv[2].rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    place, bound = runner.addresses[0]
    print(f"listening on http://{place}:{bound}/mcp", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
