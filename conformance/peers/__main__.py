"""``python -m conformance.peers``: run the kit against the official SDKs.

What it finds is held against ``checked.toml``, where every finding stands of which somebody has
read the bytes; 1 is returned if there is another one, or one less.  ``--write`` writes the page
docs/conformance-of-peers.md anew, ``--only NAME`` chooses among the programs.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import anyio

from conformance.kit.model import Binding, Case, Result, Side
from conformance.launch import serving
from conformance.peers.findings import gather, read_checked, unchecked
from conformance.peers.page import page_of
from conformance.peers.programs import PEERS, ROOT, Peer
from conformance.run.clients import Command, prepare_client, run_client
from conformance.run.plan import Settings
from conformance.run.registry import all_cases
from conformance.run.run import Listener, Run
from conformance.run.servers import prepare, run_server
from conformance.run.stages import subject_of
from transports.targets import parse_target

PAGE = ROOT / "docs" / "conformance-of-peers.md"
FOREIGN = "rfc9112/"
"""Pages of which the HTTP server below an SDK is in charge."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, and write if asked to."""
    parser = argparse.ArgumentParser(prog="python -m conformance.peers", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args(arguments)
    peers = [peer for peer in PEERS if not chosen.only or peer.name in chosen.only]
    if not peers:
        parser.error(f"there are {', '.join(peer.name for peer in PEERS)}")
    missing = sorted({peer.line for peer in peers if not peer.there})
    if missing:
        parser.error(f"SDK {' and '.join(missing)} is not installed: make sdk")
    results = [found for peer in peers for found in _results(peer, chosen.jobs)]
    findings = gather(results)
    named = {peer.name for peer in peers}
    checked = [each for each in read_checked() if not chosen.only or named.issuperset(each.peers)]
    if chosen.write:
        PAGE.write_text(page_of(findings, checked, results, peers), encoding="utf-8")
        sys.stdout.write(f"written: {PAGE}\n")
    problems = unchecked(findings, checked)
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(f"{len(findings)} findings, {len(problems)} not as written down\n")
    return 1 if problems else 0


def _results(peer: Peer, jobs: int) -> Iterator[tuple[str, Result]]:
    cases = [case for case in all_cases() if not case.page.startswith(FOREIGN)]
    settings = Settings(revisions=peer.revisions, jobs=jobs)
    sys.stdout.write(f"{peer.name} ...\n")
    sys.stdout.flush()
    run = (
        _served(peer, cases, settings)
        if peer.side is Side.SERVER
        else _client(peer, cases, settings)
    )
    return ((peer.name, result) for result in run.results)


def _served(peer: Peer, cases: Sequence[Case], settings: Settings) -> Run:
    if peer.binding is Binding.STDIO:
        return _server([*peer.command, "--stdio"], cases, settings)
    with serving([*peer.command, "--http", "127.0.0.1:0"]) as (url,):
        return _server(url, cases, settings)


def _server(target: str | list[str], cases: Sequence[Case], settings: Settings) -> Run:
    subjects = [subject_of(parse_target(target))]
    run = prepare(subjects, cases, settings)
    anyio.run(partial(run_server, run, subjects, Listener()))
    return run


def _client(peer: Peer, cases: Sequence[Case], settings: Settings) -> Run:
    command = Command(peer.command, cwd=str(Path.cwd()))
    run = prepare_client(command, [peer.binding], cases, settings)
    anyio.run(partial(run_client, run, command, Listener()))
    return run


if __name__ == "__main__":
    sys.exit(main())
