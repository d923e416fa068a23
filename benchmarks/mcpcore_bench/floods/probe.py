"""An honest client beside a flood: ``python -m mcpcore_bench.floods.probe PORT CALLS PAUSE``.

A process of its own, so that it waits for the server and not for the flood.  It makes its calls in
turn on a connection that it keeps and each on a new one, ``PAUSE`` seconds between two, until there
were CALLS of each kind or standard input ends (CALLS 0), and prints the times of those that were
answered, in milliseconds, and how many were not.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles

from msgspec import Struct, field

from mcpcore_bench.floods.wire import QUICK, answer, is_busy, is_ok
from mcpcore_bench.subjects import OURS, ROOT


class Times(Struct, kw_only=True):
    """What one or several such clients have seen."""

    kept: list[float] = field(default_factory=list)
    """On a connection that was there before."""
    fresh: list[float] = field(default_factory=list)
    """On a new connection for each, from connecting to the end of the answer."""
    failures: int = 0
    """Calls with another answer than theirs, or none."""
    turned_away: int = 0
    """New connections that were refused with 503 and Retry-After, as there were too many."""


def percentile(times: list[float], share: int) -> float:
    """For instance 99: how long all but one of a hundred took at most; 0 without any."""
    if len(times) < 2:
        return times[0] if times else 0.0
    return quantiles(times, n=100, method="inclusive")[share - 1]


@contextmanager
def probing(port: int, calls: int = 0, pause: float = 0.002) -> Iterator[Times]:
    """Have an honest client beside what the context does; Times are filled when it ends."""
    command = [OURS, "-m", "mcpcore_bench.floods.probe", str(port), str(calls), str(pause)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    found = Times()
    try:
        process.stdout.readline()  # it has begun
        yield found
        seen = json.loads(process.communicate(timeout=120)[0])
        for name, value in seen.items():
            setattr(found, name, value)
    finally:
        process.kill()
        process.communicate()


def _timed(connection: socket.socket, began: float, times: list[float]) -> bytes:
    connection.sendall(QUICK)
    response = answer(connection)
    if is_ok(response):
        times.append((time.perf_counter() - began) * 1000)
    return response


def _probe(port: int, calls: int, pause: float) -> Times:
    found = Times()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as kept:
        kept.sendall(QUICK)
        answer(kept)
        print("begun", flush=True)
        done = 0
        while not calls or done < calls:
            if calls:
                time.sleep(pause)
            elif select.select([sys.stdin], [], [], pause)[0]:
                break
            done += 1
            found.failures += not is_ok(_timed(kept, time.perf_counter(), found.kept))
            began = time.perf_counter()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as fresh:
                    response = _timed(fresh, began, found.fresh)
            except ConnectionError:
                response = b""
            found.turned_away += is_busy(response)
            found.failures += not (is_ok(response) or is_busy(response))
    return found


if __name__ == "__main__":
    seen = _probe(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps({name: getattr(seen, name) for name in Times.__struct_fields__}))
