"""Raw limit: a stdio server, one line in, one line out.

``--io blocking``: ``readline`` on a buffered file.  ``--io ready``: an asyncio loop that is told
when standard input can be read, and answers all lines that have come in one write.  ``--io
threads``: a worker thread of anyio for each read and each write.
"""

import asyncio
import os
import sys

from msgspec import UNSET

from mcpcore_bench.programs import raw_codec
from mcpcore_bench.programs.offer import arguments
from mcpcore_bench.programs.raw_codec import Codec, ToolError


def answer(codec: Codec, line: bytes) -> bytes:
    """The line that answers a line, empty for a notification."""
    try:
        request = raw_codec.read(line)
        if request.id is UNSET:
            return b""
        params = request.params
        meta = params.meta if params is not UNSET else UNSET
        return codec.answer(request, modern=meta is not UNSET and meta.version is not UNSET) + b"\n"
    except (ValueError, ToolError) as error:
        return raw_codec.refused(error)[1] + b"\n"


def answered(codec: Codec, parts: list[bytes], data: bytes) -> bytes:
    """What answers all lines that have come; ``parts`` are of the one that has not, yet."""
    parts.append(data)
    if b"\n" not in data:
        return b""
    *lines, rest = b"".join(parts).split(b"\n")
    parts[:] = (rest,) if rest else ()
    return b"".join([answer(codec, line) for line in lines])


def blocking(codec: Codec) -> None:
    """Read and answer line by line."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        sink.write(answer(codec, line))
        sink.flush()


async def ready(codec: Codec) -> None:
    """Answer whatever is there when something is."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    parts: list[bytes] = []

    def readable() -> None:
        data = os.read(0, 65536)
        if not data:
            loop.remove_reader(0)
            over.set_result(None)
            return
        out = answered(codec, parts, data)
        while out:
            out = out[os.write(1, out) :]

    loop.add_reader(0, readable)
    await over


def threads(codec: Codec) -> None:
    """The same, where every read and write is a worker thread's."""
    import anyio  # here and not above: the others are what there is without it
    from anyio import to_thread

    async def serve() -> None:
        parts: list[bytes] = []
        while data := await to_thread.run_sync(os.read, 0, 65536):
            out = answered(codec, parts, data)
            while out:
                out = out[await to_thread.run_sync(os.write, 1, out) :]

    anyio.run(serve)


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("io")
    codec = Codec(chosen.tools)
    if chosen.io == "ready":
        asyncio.run(ready(codec))
    elif chosen.io == "threads":
        threads(codec)
    else:
        blocking(codec)


if __name__ == "__main__":
    main()
