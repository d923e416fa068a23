"""Play the kit against the everything server, directly and through ``mcpcore gateway``.

``python -m conformance.gateway [ROW ...]`` prints each case whose verdict changes, and ends with
status 1 if any does in a row of one era.  A row is ``DOWN-UP:CLIENT-SERVER``, two transports and
two revisions, such as ``http-stdio:2025-11-25-2025-11-25``; ``--only`` restricts the cases.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MCPCORE = [sys.executable, "-m", "mcpcore_transports.commands.main"]
LEGACY, MODERN = "2025-11-25", "2026-07-28"
ROWS = [
    f"{pair}:{era}/{era}"
    for pair in ("http-http", "http-stdio", "ws-http", "stdio-http")
    for era in (LEGACY, MODERN)
]
"""Rows of one era on both sides."""
_ANSWER, _PLAY = 20.0, 1800.0
"""Seconds for each answer, as a session may need a process that has to start, and for all."""
Verdicts = dict[str, tuple[str, str]]
"""Verdict and reason of each case, by revision and id."""


@contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """Run a command that prints ``listening on URL``; yield that URL."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.match("listening on (.*)", line)
            if found:
                yield found[1]
                break
        else:
            raise SystemExit(f"{command} does not listen")
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        process.wait()


def play(target: Sequence[str], revision: str, only: Sequence[str]) -> Verdicts:
    """Play the kit against a target; return the verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        chosen = [word for each in only for word in ("--only", each)]
        before = [*MCPCORE, "conformance", "server", "--revision", revision, *chosen]
        before += ["--timeout", str(_ANSWER)]
        subprocess.run(
            [*before, "--report", f"json:{report}", *target],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PLAY,
            check=False,
        )
        cases = json.loads(report.read_text())
    return {
        f"{case['revision']} {case['id']}": (case["verdict"], case["detail"] or "")
        for case in cases
    }


def through(row: str, only: Sequence[str]) -> tuple[Verdicts, Verdicts]:
    """Return the verdicts of a row: direct and through the gateway."""
    pair, _, eras = row.partition(":")
    (down, up), (client, server) = pair.split("-"), eras.split("/")
    address = ["127.0.0.1:0"]
    everything = [*MCPCORE, "serve", "--revision", server]
    gateway = [*MCPCORE, "gateway"]
    with started([*everything, "--http", *address]) as url:
        behind = ["--", *everything, "--stdio"] if up == "stdio" else [url]
        if down == "stdio":
            target = ["--", *gateway, "--stdio", "--revision", client, *behind]
            return play_direct(down, everything, url, client, server, only), play(
                target, client, only
            )
        if up == "stdio":
            command = [*gateway, f"--{down}", *address, "--revision", client, *behind]
        else:
            command = [*gateway, *behind, f"--{down}", *address, "--revision", client]
        with started(command) as front:
            return play_direct(down, everything, url, client, server, only), play(
                [front], client, only
            )


def play_direct(
    down: str, everything: Sequence[str], url: str, client: str, server: str, only: Sequence[str]
) -> Verdicts:
    """Play the kit against the server itself, on the transport of the clients and in their era."""
    own = [*MCPCORE, "serve", "--revision", client]
    if down == "stdio":
        return play(["--", *own, "--stdio"], client, only)
    with started([*own, f"--{down}", "127.0.0.1:0"]) as direct:
        return play([direct], client, only)


def main() -> int:
    """Compare the rows; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance.gateway", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"Default: {' '.join(ROWS)}")
    parser.add_argument("--only", action="append", default=[], metavar="CASE")
    options = parser.parse_args()
    changed = 0
    for row in options.rows or ROWS:
        direct, relayed = through(row, options.only)
        differing = [case for case in direct if direct[case][0] != relayed.get(case, ("none",))[0]]
        print(f"{row}: {len(direct)} cases, {len(differing)} changed verdicts", flush=True)
        for case in differing:
            verdict, reason = relayed.get(case, ("none", ""))
            print(f"  {case}: {direct[case][0]} -> {verdict}: {reason}", flush=True)
        client, _, server = row.partition(":")[2].partition("/")
        changed += len(differing) if client == server else 0
    return min(changed, 1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
