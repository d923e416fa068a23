"""Stores: what it costs to add an event to a stream, alone and in batches.

``python -m mcpcore_bench.programs.stores KIND BATCH WARM SECONDS`` prints a sample: microseconds of
the clock per event that was answered, for ``memory``, ``sqlite``, ``sqlite-full`` (waits for the
disk) or ``redis`` (a server of its own on a Unix socket).  Half of the events go onto one stream,
as a long answer does, the others onto many.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Raw

from mcpcore import Store, open_store
from mcpcore.http.storing import (
    SessionRecord,
    SessionSave,
    Step,
    StoreFailure,
    StreamAppend,
    StreamBegin,
)

SESSIONS = 20
WARM = 2_100
"""Events before anything is measured: then the long stream has begun to lose its oldest."""
SLICES = 20
"""The best of so many counts, as the least disturbed."""
SECONDS = 0.05
"""Least time of a slice."""
EVENT = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}' * 3


@contextmanager
def opened(kind: str) -> Iterator[Store]:
    """Open a new store of a kind."""
    with tempfile.TemporaryDirectory(prefix="mcpcore-bench-") as folder:
        if kind == "redis":
            with _redis(Path(folder)) as url:
                yield open_store(url)
        else:
            url = "memory:" if kind == "memory" else f"sqlite:{folder}/store.db"
            store = open_store(url + ("?synchronous=FULL" if kind == "sqlite-full" else ""))
            yield store
            store.close()


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert server.stdout is not None
        while "eady to accept" not in (line := server.stdout.readline()):
            if not line:
                raise RuntimeError("redis-server did not start")
        yield f"unix://{socket}?db=0"
    finally:
        server.kill()
        server.wait()


def measure(store: Store, batch: int) -> float:
    """Return the microseconds per event."""
    names = [f"session{number}" for number in range(SESSIONS)]
    now = time.time()
    for name in names:
        record = SessionRecord(id=name, revision="2025-11-25", capabilities=Raw(b"{}"), created=now)
        store.commit(
            "bench",
            [
                SessionSave(token=1, session=name, record=record),
                StreamBegin(token=2, session=name, stream=1, request=b"1"),
            ],
            now,
        )
    steps: list[Step] = []
    for number in range(2 * batch * SESSIONS):
        name = names[0] if number % 2 else names[number % SESSIONS]
        steps.append(StreamAppend(token=number, session=name, stream=1, data=EVENT))
    for _ in range(WARM // 100 + 1):
        store.commit("bench", [steps[number % len(steps)] for number in range(100)], now)
    return min(_slice(store, steps, batch, now) for _ in range(SLICES))


def _slice(store: Store, steps: list[Step], batch: int, now: float) -> float:
    done = 0
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < SECONDS:
        start = done % len(steps)
        for outcome in store.commit("bench", steps[start : start + batch], now):
            assert not isinstance(outcome, StoreFailure), outcome
        done += batch
    return spent / done * 1e6


def main() -> None:
    """Measure what the command line names."""
    kind, batch = sys.argv[1:3]
    with opened(kind) as store:
        print(f'{{"value":{measure(store, int(batch))}}}')


if __name__ == "__main__":
    main()
