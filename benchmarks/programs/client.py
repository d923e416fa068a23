"""Our client over HTTP, calling ``echo``: CPU of this process.

``python -m benchmarks.programs.client WARM SECONDS URL`` prints a sample.
"""

import sys

import anyio

from benchmarks.programs.measuring import TEXT, measured
from mcpcore.spec.types import TextContent
from transports.client import connect


async def main(warm: float, seconds: float, url: str) -> None:
    """Measure."""
    async with connect(url) as client:
        await client.tools()

        async def call() -> None:
            result = await client.call_tool("echo", {"text": TEXT})
            block = result.content[0]
            if not isinstance(block, TextContent) or block.text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await measured(call, warm, seconds))


if __name__ == "__main__":
    anyio.run(main, float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
