"""Our client, calling ``echo``: CPU of this process.

``python -m mcpcore_bench.programs.client [--width N] WARM SECONDS URL`` prints a sample; without
URL it starts a raw server on stdio.  N calls are in flight, with as many connections where those of
HTTP are needed for it.
"""

import sys

import anyio

from mcpcore import ClientSettings, HttpClientLinkSettings, connect
from mcpcore.types import TextContent
from mcpcore_bench.programs.measuring import TEXT, measured, widened
from mcpcore_bench.programs.sampling import sampled

STDIO = [sys.executable, "-m", "mcpcore_bench.programs.raw_stdio", "--io", "blocking"]


async def main(width: int, warm: float, seconds: float, url: str | None) -> None:
    """Measure."""
    link = HttpClientLinkSettings(connections=width) if width > 1 else None
    settings = ClientSettings(http_link=link)
    async with connect(STDIO if url is None else url, settings=settings) as client:
        await client.tools()

        async def call() -> None:
            result = await client.call_tool("echo", {"text": TEXT})
            block = result.content[0]
            if not isinstance(block, TextContent) or block.text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await measured(call, warm, seconds, width))


if __name__ == "__main__":
    flying, (warmth, time, *given) = widened(sys.argv[1:])
    with sampled():
        anyio.run(main, flying, float(warmth), float(time), given[0] if given else None)
