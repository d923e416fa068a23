"""Run one job, and print its sample."""

import importlib
import resource
import signal
import sys

import msgspec

from mcpcore_bench.load.asks import WrongReply
from mcpcore_bench.load.jobs import AnyJob
from mcpcore_bench.load.server import ServerFailed

MODULES = {
    "http": "http_calls",
    "lines": "lines",
    "websocket": "websocket",
    "http+sse": "legacy_sse",
    "events": "events",
    "resume": "resume",
    "setup": "setup",
    "memory": "memory",
    "peak": "peak",
    "after": "after",
    "first reply": "startup",
    "import": "startup",
    "program": "programs",
}
"""Where each kind of job is measured; imported when it is wanted, to begin at once."""


def main() -> int:
    """Measure what the command line says; 1 if that failed, and standard error says why."""
    # Whoever interrupts us lets servers end and files go first.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    job = msgspec.json.decode(sys.argv[1], type=AnyJob)
    tag = str(job.__struct_config__.tag)
    module = importlib.import_module(f"mcpcore_bench.load.{MODULES[tag]}")
    try:
        sample = module.measure(job)
    except (WrongReply, ServerFailed, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(msgspec.json.encode(sample).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
