"""Time of one large ``tools/call`` to a stdio server, from its first byte to its answer.

Put together from reads of 64 KiB, it has to cost in proportion to its length.  Run as a program,
this module is the server: ``python -m benchmarks.large``.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping

from benchmarks.measure import OURS, ROOT
from benchmarks.stdio import INITIALIZE, INITIALIZED

MB = 1_000_000
TIMES = 3


def message(size: int) -> bytes:
    """A call whose argument has ``size`` bytes."""
    head = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"length","arguments":'
    return head + b'{"text":"' + b"x" * size + b'"}}}\n'


def write(fd: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def call(size: int) -> Callable[[], float]:
    """Return a run that measures one call, in microseconds: the best of a few."""

    def run() -> float:
        command = [OURS, "-m", "benchmarks.large"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            sink = child.stdin.fileno()
            write(sink, INITIALIZE)
            child.stdout.readline()
            write(sink, INITIALIZED)
            data = message(size)
            taken = []
            for _ in range(TIMES):
                writer = threading.Thread(target=write, args=(sink, data))
                begun = time.perf_counter()
                writer.start()
                answer = child.stdout.readline()
                taken.append(time.perf_counter() - begun)
                writer.join()
                if b'"text":"%d"' % size not in answer:
                    raise RuntimeError(f"wrong answer: {answer!r}")
            child.stdin.close()
        return min(taken) * 1e6

    return run


VARIANTS: Mapping[str, Callable[[], float]] = {
    "a message of 32 MB": call(32 * MB),
    "a message of 8 MB": call(8 * MB),
}


def main() -> None:
    """Serve on standard input and output."""
    from mcpcore.engine.config import Limits
    from mcpcore.service import Server
    from transports.runtime import RuntimeSettings
    from transports.server import ServeSettings, run

    server = Server("large")

    @server.tool()
    def length(text: str) -> int:
        return len(text)

    limits = Limits(message_size=64 * MB)
    run(server, stdio=True, settings=ServeSettings(runtime=RuntimeSettings(limits=limits)))


if __name__ == "__main__":
    main()
