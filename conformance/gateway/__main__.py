"""Play the kit against the reference programs, directly and through ``mcpcore gateway``.

``python -m conformance.gateway [ROW ...]`` prints each case whose verdict changes, and ends with
status 1 if any does that ``expected.toml`` does not list, or one that it lists does not.  A row is
``DOWN-UP:CLIENT/SERVER``, two transports and two revisions, such as
``http-stdio:2025-11-25/2025-11-25``, where ``both`` is a server of both eras, or for the client
behind a gateway ``client:REVISION``; ``--only`` restricts the cases.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

import msgspec
from msgspec import Struct

from mcpcore_conformance.launch import serving

COMMANDS = "mcpcore_transports.commands.main"
CLIENTS = ("mcpcore_conformance.everything.client", "conformance.gateway.client")
"""Modules of our command line, and of the client without and with a gateway."""
LEGACY, MODERN = "2025-11-25", "2026-07-28"
BOTH = "both"
CLIENT = "client"
ROWS = [
    *(
        f"{pair}:{era}/{era}"
        for pair in ("http-http", "http-stdio", "ws-http", "stdio-http")
        for era in (LEGACY, MODERN)
    ),
    *(f"{pair}:{era}/{BOTH}" for pair in ("http-http", "http-stdio") for era in (LEGACY, MODERN)),
    f"http-http:{LEGACY}/{MODERN}",
    f"http-http:{MODERN}/{LEGACY}",
    *(f"{CLIENT}:{era}" for era in (LEGACY, MODERN)),
]
"""Rows of one era on both sides, of a server of both, across eras, and those of the client."""
EXPECTED = Path(__file__).with_name("expected.toml")
_ANSWER, _PLAY = 20.0, 1800.0
"""Seconds for each answer, as a session may need a process that has to start, and for all."""
Verdicts = dict[str, tuple[str, str]]
"""Verdict and reason of each case, by revision and id."""
Start = Callable[[str], Sequence[str]]
"""Gives the words that start a module as a program, where many are started."""


def plainly(module: str) -> Sequence[str]:
    """Start a module as anybody would."""
    return (sys.executable, "-m", module)


MCPCORE = plainly(COMMANDS)


def play(
    target: Sequence[str], revision: str, only: Sequence[str], side: str = "server"
) -> Verdicts:
    """Play the kit against a target; return the verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        chosen = [word for each in only for word in ("--only", each)]
        before = [*MCPCORE, "conformance", side, "--revision", revision, *chosen]
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


def through(row: str, only: Sequence[str], start: Start) -> tuple[Verdicts, Verdicts]:
    """Return the verdicts of a row: direct and through the gateway."""
    pair, _, eras = row.partition(":")
    if pair == CLIENT:
        direct, behind = (play(["--", *start(each)], eras, only, CLIENT) for each in CLIENTS)
        return direct, behind
    (down, up), (client, server) = pair.split("-"), eras.split("/")
    address = ["127.0.0.1:0"]
    speaks = [] if server == BOTH else [server]
    everything = ["serve", *(word for each in speaks for word in ("--revision", each))]
    gateway = ["gateway", "--revision", client]
    gateway += [word for each in speaks for word in ("--server-revision", each)]
    if down == "ws":
        gateway.append("--verbose")  # which is middleware: it changes nothing either
    with serving([*MCPCORE, *everything, "--http", *address]) as (url,):
        behind = ["--", *start(COMMANDS), *everything, "--stdio"] if up == "stdio" else [url]
        direct = play_direct(down, client, only, start)
        if down == "stdio":
            target = ["--", *start(COMMANDS), *gateway, "--stdio", *behind]
            return direct, play(target, client, only)
        with serving([*MCPCORE, *gateway, f"--{down}", *address, *behind]) as (front,):
            return direct, play([front], client, only)


def play_direct(down: str, client: str, only: Sequence[str], start: Start) -> Verdicts:
    """Play the kit against the server itself, on the transport of the clients and in their era."""
    own = ["serve", "--revision", client]
    if down == "stdio":
        return play(["--", *start(COMMANDS), *own, "--stdio"], client, only)
    with serving([*MCPCORE, *own, f"--{down}", "127.0.0.1:0"]) as (direct,):
        return play([direct], client, only)


class Difference(Struct, frozen=True):
    """Verdicts that change on purpose: a pattern of rows, the cases, the clause, and the reason."""

    row: str
    cases: list[str]
    clause: str
    reason: str
    timing: bool = False
    """True if a slow machine may leave them unchanged."""


class _Expected(Struct, frozen=True):
    difference: list[Difference]


def expected() -> list[Difference]:
    """Return the differences of the list.  Raises msgspec.ValidationError."""
    return msgspec.convert(tomllib.loads(EXPECTED.read_text()), _Expected).difference


def compare(row: str, only: Sequence[str], start: Start = plainly) -> int:
    """Play a row, print its changed verdicts, and return how many are not as expected."""
    direct, relayed = through(row, only, start)
    listed = [each for each in expected() if fnmatch(row, each.row)]
    changed = {case for case in direct if direct[case][0] != relayed.get(case, ("none",))[0]}
    reasons = {name: each.reason for each in listed for name in each.cases}
    found = {case: reasons.get(case.partition(" ")[2]) for case in direct}
    timed = {name for each in listed if each.timing for name in each.cases}
    unchanged = {case for case in found.keys() - changed if case.partition(" ")[2] not in timed}
    wrong = [case for case in direct if case in (unchanged if found[case] else changed)]
    print(
        f"{row}: {len(direct)} cases, {len(changed)} changed verdicts, {len(wrong)} not expected",
        flush=True,
    )
    for case in direct:
        if case in changed or case in wrong:
            verdict, reason = relayed.get(case, ("none", ""))
            why = "" if found[case] is None else f" (expected to change: {found[case]})"
            print(f"  {case}: {direct[case][0]} -> {verdict}: {reason}{why}", flush=True)
    return len(wrong)


def main() -> int:
    """Compare the rows; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance.gateway", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"Default: {' '.join(ROWS)}")
    parser.add_argument("--only", action="append", default=[], metavar="CASE")
    options = parser.parse_args()
    return min(sum(compare(row, options.only) for row in options.rows or ROWS), 1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
