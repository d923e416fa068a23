"""``python -m conformance.interop``: the official SDKs, every feature, one table; also relayed.

Exits with 1 if a cell is red, with 2 if an SDK is not installed; those in TypeScript, which need
npm, are left out if nobody asks for them.
"""

import argparse
import sys
from pathlib import Path
from time import monotonic

from conformance.interop.drivers.features import BY_NAME as FEATURE
from conformance.interop.drivers.features import FEATURES
from conformance.interop.known import load
from conformance.interop.matrix import (
    EVERY_LINE,
    SIDES,
    TRANSPORTS,
    TYPESCRIPT,
    Judged,
    foreign_talks,
    no_gaps,
    present,
    relayed_talks,
    run,
    talks,
)
from conformance.interop.report import full, markdown, relayed, summary
from mcpcore.spec.revisions import BY_NAME as REVISION
from mcpcore.spec.revisions import REVISIONS


def main(arguments: list[str] | None = None) -> int:
    """Run the conversations that are chosen, by default all, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.interop",
        description="Interoperation with both lines of the official SDKs.",
    )
    lines = {line.name: line for line in EVERY_LINE}
    parser.add_argument("--line", action="append", choices=lines)
    parser.add_argument("--side", action="append", choices=SIDES, help="what the SDK is")
    parser.add_argument("--transport", action="append", choices=TRANSPORTS)
    parser.add_argument("--revision", action="append", choices=REVISION, help="of the client")
    parser.add_argument("--feature", action="append", choices=FEATURE)
    parser.add_argument("--gateway", action="store_true", help="only through mcpcore gateway")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="fail if the report there is out of date"
    )
    chosen = parser.parse_args(arguments)
    narrowed = chosen.line or chosen.side or chosen.transport or chosen.revision or chosen.feature
    narrowed, reported = narrowed or chosen.gateway, chosen.write or chosen.check
    if narrowed and reported:
        parser.error("a report is of everything: choose nothing")
    wanted = [lines[name] for name in chosen.line or lines]
    absent = [line for line in wanted if not line.installed]
    for line in absent:
        problem = f"the SDK {line.name} {line.version} is not installed: make interop"
        print(problem, file=sys.stderr)
    if absent and (chosen.line or reported or not {*absent} <= {*TYPESCRIPT}):
        return 2
    wanted = [line for line in wanted if line not in absent]
    known = load()
    if problems := no_gaps(known, wanted):
        print("\n".join(problems), file=sys.stderr)
        return 1
    features = [FEATURE[name] for name in chosen.feature] if chosen.feature else FEATURES
    revisions = [REVISION[name] for name in chosen.revision] if chosen.revision else REVISIONS
    sides, transports = chosen.side or SIDES, chosen.transport or TRANSPORTS
    conversations = [
        talk
        for talk in (*foreign_talks(wanted), *relayed_talks(wanted))
        if (talk.behind or not chosen.gateway)
        and talk.side in sides
        and talk.transport in transports
        and talk.revision in revisions
    ]
    if not chosen.gateway:
        conversations = talks(wanted, sides, transports, revisions) + conversations
    if not any(present(talk, features) for talk in conversations):
        parser.error("there is nothing of the kind to try")
    began = monotonic()
    cells: list[Judged] = []
    for talk, found in run(conversations, features, known):
        red = sum(cell.verdict.red for cell in found)
        print(f"{talk}: {len(found)} features{f', {red} FAIL' if red else ''}", file=sys.stderr)
        cells += found
    if not chosen.gateway:
        print(f"{full(cells, features)}\n\n{summary(cells)}")
    print(f"\n{relayed(cells)}\n")
    failed = [cell for cell in cells if cell.verdict.red]
    for cell in failed:
        print(f"FAIL: {cell.talk}: {cell.feature}: {cell.note}")
    took = monotonic() - began
    print(f"{len(cells)} cells tried, {len(failed)} red, in {took:.0f} s")
    page = markdown(cells, known)
    if chosen.write:
        chosen.write.write_text(page, encoding="utf-8")
    if chosen.check and page != chosen.check.read_text(encoding="utf-8"):
        print(f"{chosen.check} is out of date: write it again with --write", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
