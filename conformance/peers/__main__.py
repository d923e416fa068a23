"""``python -m conformance.peers``: run the kit against the official SDKs.

What it finds is held against ``checked.toml``, where every fact stands of which somebody has read
the bytes; 1 is returned if there is another one, or one less, also where only the verdict, the
revisions or what the kit says differ.  ``--draft`` prints what is not read, with the bytes, as
entries for that file which lack the fact.  ``--write`` writes the page
conformance/peers/report.md anew, ``--only NAME`` chooses among the programs, ``--sources DIR``
adds the SDK's own programs (see the page).  ``--save DIR`` keeps results in files, ``--from DIR``
takes those that are kept there instead of running anything.  Most of a run is waiting for what
does not come: ``--programs`` run at a time, of each ``--jobs`` cases.
"""

import argparse
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic

import anyio

from conformance.peers.checked import drafts, read_checked, unchecked
from conformance.peers.findings import NOTABLE, gather
from conformance.peers.listening import listening
from conformance.peers.page import page_of, summary
from conformance.peers.programs import PEERS, PORT, ROOT, Peer, own_programs
from conformance.peers.saved import load, save
from conformance.peers.warm import warm
from mcpcore import parse_target
from mcpcore_conformance.kit.model import Binding, Case, Result, Side
from mcpcore_conformance.launch import LaunchError, serving
from mcpcore_conformance.run.clients import Command, prepare_client, run_client
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.servers import CannotRun, prepare, run_server
from mcpcore_conformance.run.stages import subject_of

EXAMPLES = """\
exit status:
  0 what is found is what was checked; 1 there is another finding, or one less; 2 wrong usage

examples:
  python -m conformance.peers
  python -m conformance.peers --only NAME --jobs 4
  python -m conformance.peers --sources DIR --save results
  python -m conformance.peers --from results --draft
  python -m conformance.peers --from results --write
"""
PAGE = ROOT / "conformance" / "peers" / "report.md"
FOREIGN = "rfc9112"
"""The page of which the HTTP server below an SDK is in charge."""
TIMEOUT = 10.0
"""Seconds for an answer: programs that are started side by side take their time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.peers",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="NAME", help="this program; repeatable")
    add("--jobs", type=int, default=8, metavar="N", help="cases at a time (%(default)s)")
    add("--programs", type=int, default=2, metavar="N", help="programs at a time (%(default)s)")
    add("--sources", type=Path, metavar="DIR", help="the SDK's sources, with its own programs")
    add("--save", type=Path, metavar="DIR", help="keep what came of it in files")
    add("--from", type=Path, metavar="DIR", dest="kept", help="take what is kept, run nothing")
    add("--draft", action="store_true", help="print what is not read, as entries to be completed")
    add("--write", action="store_true", help="write conformance/peers/report.md anew")
    chosen = parser.parse_args(arguments)
    known = [*PEERS, *own_programs(chosen.sources or chosen.kept or Path())]
    offered = known if chosen.sources or chosen.kept else PEERS
    peers = [peer for peer in offered if not chosen.only or peer.name in chosen.only]
    if chosen.kept:
        peers = [peer for peer in peers if (chosen.kept / peer.file).exists()]
    if not peers:
        parser.error(f"there are {', '.join(peer.name for peer in known)}")
    missing = sorted({peer.line for peer in peers if not peer.there})
    if missing and not chosen.kept:
        parser.error(f"SDK {' and '.join(missing)} is not installed: make sdk")
    cases = [case for case in all_cases() if case.page != FOREIGN]
    began = monotonic()
    try:
        results = _kept(peers, cases, chosen.kept) if chosen.kept else _run(peers, cases, chosen)
    except (CannotRun, LaunchError) as error:
        parser.exit(3, f"{error}\n")
    findings, checked = gather(results), read_checked()
    if chosen.write:
        PAGE.write_text(page_of(findings, checked, results, peers), encoding="utf-8")
        sys.stdout.write(f"written: {PAGE}\n")
    if chosen.draft:
        sys.stdout.writelines(drafts(findings, checked))
    met = {peer.name: [revision.name for revision in peer.revisions] for peer in peers}
    problems = unchecked(findings, checked, met)
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(
        f"{summary(findings)}, in {len(peers)} programs, {len(problems)} not as written down;"
        f" {monotonic() - began:.0f} s, {_processor_seconds():.0f} s of the processor\n"
    )
    return 1 if problems else 0


Results = list[tuple[str, Result]]
"""What was found, by names of peers."""


def _kept(peers: Sequence[Peer], cases: Sequence[Case], kept: Path) -> Results:
    return [(peer.name, result) for peer in peers for result in load(kept / peer.file, cases)]


def _run(peers: Sequence[Peer], cases: Sequence[Case], chosen: argparse.Namespace) -> Results:
    """Run the programs, some at a time; each has an event loop and a thread of its own."""

    def run(peer: Peer) -> list[Result]:
        found = _played(peer, cases, chosen.jobs)
        if chosen.save:
            save(chosen.save / peer.file, found)
        return found

    with ThreadPoolExecutor(chosen.programs) as threads:
        both = zip(peers, threads.map(run, peers), strict=True)
        return [(peer.name, result) for peer, found in both for result in found]


def _processor_seconds() -> float:
    """What this process and all that it has started and that have ended took."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))


def _played(peer: Peer, cases: Sequence[Case], jobs: int) -> list[Result]:
    settings = Settings(revisions=peer.revisions, jobs=jobs, timeout=TIMEOUT, tools=("*",))
    run = (
        _served(peer, cases, settings)
        if peer.side is Side.SERVER
        else _client(peer, cases, settings)
    )
    sys.stdout.write(f"{peer.name}: {len(run.results)} results in {run.seconds:.0f} s\n")
    sys.stdout.flush()
    for result in run.results:
        if result.verdict not in NOTABLE:
            result.transcript = []
    return run.results


def _served(peer: Peer, cases: Sequence[Case], settings: Settings) -> Run:
    if peer.binding is Binding.STDIO:
        with warm(peer.command) as words:
            return _server(words, cases, settings)
    if PORT in peer.command:
        with listening(peer.command) as url:
            return _server(url, cases, settings)
    with serving(peer.command) as (url,):
        return _server(url, cases, settings)


def _server(target: str | list[str], cases: Sequence[Case], settings: Settings) -> Run:
    subjects = [subject_of(parse_target(target))]
    run = prepare(subjects, cases, settings)
    anyio.run(partial(run_server, run, subjects, Listener()))
    return run


def _client(peer: Peer, cases: Sequence[Case], settings: Settings) -> Run:
    with warm(peer.command) as words:
        command = Command(words, cwd=str(Path.cwd()))
        run = prepare_client(command, [peer.binding], cases, settings)
        anyio.run(partial(run_client, run, command, Listener()))
    return run


if __name__ == "__main__":
    sys.exit(main())
