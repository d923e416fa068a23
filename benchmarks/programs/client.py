"""Our client, calling ``echo``: CPU of this process.

``python -m benchmarks.programs.client WARM SECONDS URL`` prints a sample; without URL it starts a
raw server on stdio.
"""

import sys

import anyio

from benchmarks.programs.measuring import TEXT, measured
from benchmarks.programs.sampling import sampled
from mcpcore.spec.types import TextContent
from transports.client import connect

STDIO = [sys.executable, "-m", "benchmarks.programs.raw_stdio", "--io", "blocking"]


async def main(warm: float, seconds: float, url: str | None) -> None:
    """Measure."""
    async with connect(STDIO if url is None else url) as client:
        await client.tools()

        async def call() -> None:
            result = await client.call_tool("echo", {"text": TEXT})
            block = result.content[0]
            if not isinstance(block, TextContent) or block.text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await measured(call, warm, seconds))


if __name__ == "__main__":
    given = sys.argv[3] if sys.argv[3:] else None
    with sampled():
        anyio.run(main, float(sys.argv[1]), float(sys.argv[2]), given)
