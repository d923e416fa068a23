"""Many tools: what they cost a call, and what the list costs, in a server of this process.

``python -m benchmarks.tools call|list REQUESTS COUNT...`` prints microseconds of CPU per request
for each number of tools, measured in turn.  A request is the whole way through the client's engine,
the server's engine, its runtime and its service; ten tools are called, however many there are.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from benchmarks.measure import OURS, ROOT
from mcpcore import ClientCapabilities, Config, Implementation, Negotiation, Peer, Role
from mcpcore.engine.events import Event, ResultReceived
from mcpcore.service import Server
from transports.memory import MemoryPair
from transports.runtime import RuntimeSettings, ServerRuntime
from transports.server import server_config

FEW, MANY = 10, 1_000
CALLS = 10_000
LISTS = 1_000
BATCHES = 20
"""The best of so many counts, as the least disturbed: a few per cent are to be seen."""
ME = Implementation(name="tools", version="1")


def shelf(count: int) -> Server:
    """Make a server with so many tools, each with a schema of its own."""
    server = Server("shelf", page_size=count)
    for number in range(count):

        def tool(text: str, times: int = 1) -> str:
            return text * times

        server.add_tool(tool, f"tool_{number}", description=f"Repeats a text: number {number}.")
    return server


class Results:
    """The client's application: keeps the last result."""

    def __init__(self) -> None:
        self.last = b""
        self.count = 0

    def handle(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, ResultReceived):
            self.last = bytes(event.result)
            self.count += 1


class Site:
    """A server with so many tools, and a client that is connected to it."""

    def __init__(self, method: str, count: int) -> None:
        settings, self.results = RuntimeSettings(), Results()
        server = shelf(count)
        theirs = Peer(Role.SERVER, server_config(server, settings))
        config = Config(info=ME, capabilities=ClientCapabilities(), negotiation=Negotiation.MODERN)
        self.client = Peer(Role.CLIENT, config)
        runtime = ServerRuntime(server, theirs, settings)
        self.pair = MemoryPair(self.client, self.results, theirs, runtime)
        self.client.start(now=0.0)
        self.pair.pump(0.0)
        self.method = f"tools/{method}"
        self.params = [
            {"name": f"tool_{number * count // FEW}", "arguments": {"text": "hello", "times": 1}}
            for number in range(FEW)
        ]
        self.expected = b"hello"
        if method == "list":
            self.params, self.expected = [{}], f'"tool_{count - 1}"'.encode()

    def run(self, requests: int) -> float:
        """Send requests, one after the other; return microseconds of CPU for each."""
        self.results.count = 0
        began = time.process_time()
        for number in range(requests):
            params = self.params[number % len(self.params)]
            self.client.request(self.method, params, now=0.0)
            self.pair.pump(0.0)
        spent = time.process_time() - began
        if self.results.count != requests or self.expected not in self.results.last:
            raise SystemExit(f"{self.results.count} answers, the last: {self.results.last[:200]!r}")
        return spent / requests * 1e6


def measure(method: str, requests: int, counts: list[int]) -> list[float]:
    """Measure servers with these numbers of tools in turn."""
    sites = [Site(method, count) for count in counts]
    batches = [[site.run(requests // BATCHES) for site in sites] for _ in range(BATCHES + 1)]
    return [min(values) for values in zip(*batches[1:], strict=True)]  # the first warms up


class Pairs:
    """Runs of two servers side by side in one process, in an order that changes every time."""

    def __init__(self, method: str, requests: int) -> None:
        self._command = [OURS, "-m", "benchmarks.tools", method, str(requests)]
        self._order = [FEW, MANY]
        self._values: dict[int, float] = {}

    def take(self, count: int) -> Callable[[], float]:
        """Return a run, or what a run has left over, for one number of tools."""

        def value() -> float:
            if count not in self._values:
                self._order.reverse()
                command = [*self._command, *map(str, self._order)]
                done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
                self._values = dict(zip(self._order, map(float, done.stdout.split()), strict=True))
            return self._values.pop(count)

        return value


_calls, _lists = Pairs("call", CALLS), Pairs("list", LISTS)
VARIANTS: Mapping[str, Callable[[], float]] = {
    "tools/call, 10 tools": _calls.take(FEW),
    "tools/call, 1,000 tools": _calls.take(MANY),
    "tools/list, 10 tools": _lists.take(FEW),
    "tools/list, 1,000 tools": _lists.take(MANY),
}

if __name__ == "__main__":
    print(*measure(sys.argv[1], int(sys.argv[2]), [int(count) for count in sys.argv[3:]]))
