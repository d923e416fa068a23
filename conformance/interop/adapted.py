"""Play the kit against servers of other SDKs: on their own transports, and served by ours.

``python -m conformance.interop.adapted`` prints each case that ends worse where ``mcpcore serve``
has taken the server object, and ends with status 1 if any does.  ``--official`` plays the official
suite instead of the kit (``make ci-tools``).
"""

import argparse
import sys
from collections.abc import Sequence

from msgspec import Struct

from conformance.gateway.__main__ import Verdicts, play
from conformance.interop.talk import LOOPBACK, PROGRAMS, ROOT
from conformance.official import suite
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_conformance.kit.model import Verdict
from mcpcore_conformance.launch import serving

SERVE = ("-m", "mcpcore_transports.commands.main", "serve")
WRONG = (Verdict.WEAK, Verdict.INCONCLUSIVE, Verdict.FAILED)
"""Verdicts that say that something is wrong, the worst last."""


class Adapted(Struct, frozen=True):
    """Server object: its environment, folder and module, and the revisions of its SDK."""

    name: str
    environment: str
    folder: str
    module: str
    revisions: tuple[str, ...]

    @property
    def python(self) -> str:
        """The interpreter that has the SDK, and mcpcore beside it."""
        return str(ROOT / self.environment / "bin" / "python")

    @property
    def there(self) -> bool:
        """True if mcpcore is installed beside the SDK (make adapted)."""
        return (ROOT / self.environment / ".installed-mcpcore").exists()


_BOTH = (LATEST_LEGACY.name, LATEST.name)
SERVERS = (
    Adapted("1.x", ".venv-sdk1", str(PROGRAMS), "sdk1_server", _BOTH[:1]),
    Adapted("2.x", ".venv-sdk", str(PROGRAMS), "sdk2_server", _BOTH),
    Adapted("fastmcp", ".venv-fastmcp", str(PROGRAMS), "fastmcp_server", _BOTH),
)


def commands(server: Adapted) -> list[list[str]]:
    """Return the commands that serve an object on its own transports, and on ours."""
    path = ["env", f"PYTHONPATH={server.folder}", server.python]
    return [
        [*path, f"{server.folder}/{server.module}.py"],
        [*path, *SERVE, f"{server.module}:server", "--reveal-errors"],
    ]


def played(command: Sequence[str], transport: str, revision: str, only: Sequence[str]) -> Verdicts:
    """Return the verdicts of the kit on a server."""
    if transport == "stdio":
        return play(["--", *command, "--stdio"], revision, only)
    with serving([*command, "--http", LOOPBACK]) as (url,):
        return play([url], revision, only)


def checked(command: Sequence[str], revision: str, only: Sequence[str]) -> Verdicts:
    """Return the verdicts of the official suite on a server over HTTP: scenarios and checks."""
    chosen = {
        name: scored
        for name, scored in suite.requirements(revision, "server").items()
        if not only or name in only
    }
    found: Verdicts = {}
    for each in suite.run_server(revision, chosen, command=[*command, "--http", LOOPBACK]):
        failed = {check.id: check.error_message or check.description for check in each.failures}
        for check in each.checks:
            verdict = Verdict.FAILED if check.id in failed else Verdict.PASSED
            found[f"{each.name}: {check.id}"] = verdict, failed.get(check.id, "")
        verdict = Verdict.FAILED if each.outcome == "FAIL" else Verdict.PASSED
        found[each.name] = verdict, each.problem or "; ".join(failed.values())
    return found


def badness(verdict: str) -> int:
    """Return how bad a verdict is; 0 if nothing is wrong."""
    return WRONG.index(Verdict(verdict)) + 1 if verdict in WRONG else 0


def compare(what: str, own: Verdicts, ours: Verdicts) -> int:
    """Print what ends worse on our transport; return how many cases do.

    A check that only their own transport gets to tells nothing: its scenario does.
    """
    shared = [case for case in own if case in ours]
    worse = [case for case in shared if badness(ours[case][0]) > badness(own[case][0])]
    better = sum(badness(ours[case][0]) < badness(own[case][0]) for case in shared)
    wrong = sum(badness(own[case][0]) > 0 for case in shared)
    print(
        f"{what}: {len(shared)} cases, {wrong} wrong, {better} better, {len(worse)} worse",
        flush=True,
    )
    for case in worse:
        print(f"  {case}: {own[case][0]} -> {ours[case][0]}: {ours[case][1]}", flush=True)
    return len(worse)


def main() -> int:
    """Compare the servers; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance.interop.adapted")
    parser.add_argument("--only", action="append", default=[], metavar="CASE")
    parser.add_argument("--server", action="append", choices=[each.name for each in SERVERS])
    parser.add_argument("--transport", action="append", choices=("http", "stdio"))
    parser.add_argument("--official", action="store_true", help="the official suite, over HTTP")
    chosen = parser.parse_args()
    worse = 0
    for server in SERVERS:
        if chosen.server and server.name not in chosen.server:
            continue
        if not server.there:
            print(f"mcpcore is not installed beside {server.name}: make adapted", file=sys.stderr)
            return 2
        for revision in server.revisions:
            if chosen.official:
                both = [checked(each, revision, chosen.only) for each in commands(server)]
                worse += compare(f"{server.name}, official suite of {revision}", *both)
                continue
            for transport in chosen.transport or ("http", "stdio"):
                both = [played(each, transport, revision, chosen.only) for each in commands(server)]
                worse += compare(f"{server.name} over {transport} in {revision}", *both)
    return min(worse, 1)


if __name__ == "__main__":
    sys.exit(main())
