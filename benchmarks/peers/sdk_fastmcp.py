"""fastmcp as a client; run as a script in its own environment.

``sdk_fastmcp.py WARM SECONDS URL`` calls over HTTP.  Prints a sample: CPU of this process.
"""

import logging
import sys
import warnings
from pathlib import Path

import anyio
from fastmcp import Client

sys.path[0] = str(Path(__file__).resolve().parents[1])
from mcpcore_bench.programs.measuring import TEXT, measured

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


async def main(warm, seconds, url):
    """Measure."""
    async with Client(url) as client:
        await client.list_tools()

        async def call():
            result = await client.call_tool("echo", {"text": TEXT})
            if result.content[0].text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await measured(call, warm, seconds))


if __name__ == "__main__":
    anyio.run(main, float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
