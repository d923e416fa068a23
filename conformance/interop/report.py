"""The report: one table of all cells, with notes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

from msgspec import structs

from conformance.interop.drivers.features import FEATURES, Feature
from conformance.interop.known import Entry, Known
from conformance.interop.matrix import (
    ERAS,
    EVERY_LINE,
    Judged,
    Talk,
    Verdict,
    absence,
    foreign_talks,
    talks,
)
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision

INTRODUCTION = """\
# Interoperation

Our client and our server against programs written with the official SDKs in Python and in
TypeScript, both lines of each, and with fastmcp ({versions}):
every feature that both sides have, in both directions, over stdio and Streamable HTTP; with Python
also over HTTP+SSE, and with its servers also without sessions and streams, as many are deployed.
The SDK in Python speaks every revision that its line has, the others the newest of each era. The
same drivers (`conformance/interop/drivers`) drive the clients of all libraries; their programs are
in `conformance/interop/sdk`, ours are `mcpcore_conformance.everything.server` and
`conformance.interop.our_client`. The clients of the SDK in Python meet the server of fastmcp, too;
what that lacks is not tried there.

`make interop` runs all of it, prints the tables and fails if a cell is red. This page is written by
`.venv/bin/python -m conformance.interop --write conformance/interop/report.md`.

* **ok**: the feature works.
* **FAIL**: it does not.
* **fault**: the SDK departs from what the specification says; the note names the clause.
* **n/a**: the revision, the transport or the SDK does not have it; the note says which.

What is listed as a fault or as missing is tried in every run all the same: it fails the run if it
works, or if it fails in any other way than the one that is known
(`conformance/interop/known.toml`). When the SDK is the client, our server speaks the one revision
and the SDK's client finds it out by itself; when it is the server, our client is told the revision,
and finds out the newest."""
RELAYED = """\
The same with `mcpcore gateway` between the two, over HTTP: in each era, and from each to the other,
where a server of the official SDK in Python stands behind the clients, too, and in either era one
of fastmcp, which is met over stdio as well. Features are those that both revisions have. Between
the eras what is listed may also work; what the server lacks is not tried."""


def markdown(cells: Iterable[Judged], known: Known) -> str:
    """Write the whole page."""
    cells = list(cells)
    versions = [f"{line.name} is {line.version}" for line in EVERY_LINE]
    parts = [INTRODUCTION.format(versions=", ".join(versions)), "## Summary", summary(cells)]
    parts += ["## Through a gateway", RELAYED, relayed(cells)]
    if known.fault:
        rows = [
            (*_whose(entry), ", ".join(entry.revisions) or "all", entry.reason, entry.clause)
            for entry in known.fault
        ]
        header = ("SDK", "Features", "Revisions", "What it does", "Clause")
        parts += ["## Faults of the SDK", table(header, rows)]
    if known.difference:
        differences = [
            (", ".join(each.features), *map(", ".join, (each.revisions, each.behind)), each.reason)
            for each in known.difference
        ]
        columns = ("Features", "Client", "Server", "Why")
        parts += ["## What differs between the eras", table(columns, differences)]
    if known.gap:
        gaps = [(*_whose(entry), entry.reason) for entry in known.gap]
        parts += ["## What is missing", table(("SDK", "Features", "Why"), gaps)]
    parts += ["## All cells", full(cells)]
    return "\n\n".join(parts) + "\n"


def summary(cells: Sequence[Judged]) -> str:
    """Count the verdicts of each conversation."""
    counts: dict[Talk, Counter[Verdict]] = {}
    for cell in cells:
        counts.setdefault(cell.talk, Counter())[cell.verdict] += 1
    rows = []
    for place in _places():
        row = [_whose_ends(place), place.transport]
        for revision in REVISIONS:
            count = counts.get(structs.replace(place, revision=revision))
            row.append(_counted(count) if count else "n/a")
        rows.append(row)
    return table(("SDK", "Transport", *(row.name for row in REVISIONS)), rows)


def relayed(cells: Iterable[Judged]) -> str:
    """Count the verdicts of what went through a gateway, by eras of client and server."""
    eras = list(product(ERAS, repeat=2))
    counts: dict[tuple[str, str], dict[tuple[Revision, Revision | None], Counter[Verdict]]] = {}
    for cell in cells:
        if (talk := cell.talk).behind:
            over = "" if talk.transport == "http" else f", {talk.transport}"
            ends = counts.setdefault((talk.client_name, talk.server_name + over), {})
            ends.setdefault((talk.revision, talk.behind), Counter())[cell.verdict] += 1
    rows = [
        (*names, *(_counted(ends[each]) if each in ends else "" for each in eras))
        for names, ends in counts.items()
    ]
    return table(("Client", "Server", *(f"{one.name} > {two.name}" for one, two in eras)), rows)


def full(cells: Sequence[Judged], features: Sequence[Feature] = FEATURES) -> str:
    """Write every cell, and the notes below."""
    found = {(cell.talk, cell.feature): cell for cell in cells}
    notes: dict[str, int] = {}

    def shown(talk: Talk, feature: Feature) -> str:
        cell = found.get((talk, feature.name))
        if cell is None:
            reason = absence(talk, feature)
            return "" if reason is None else _noted(Verdict.NONE, reason, notes)
        return _noted(cell.verdict, cell.note, notes)

    rows = []
    for feature in features:
        for place in _places():
            row = [feature.name, _whose_ends(place), place.transport]
            row += [shown(structs.replace(place, revision=each), feature) for each in REVISIONS]
            if any(row[3:]):
                rows.append(row)
    header = ("Feature", "SDK", "Transport", *(revision.name for revision in REVISIONS))
    listed = "\n".join(f"{number}. {note}" for note, number in notes.items())
    return f"{table(header, rows)}\n\n{listed}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table of Markdown that can be read as it is."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def _whose(entry: Entry) -> tuple[str, str]:
    return f"{' and '.join(entry.lines)} as {entry.side}", ", ".join(entry.features)


def _whose_ends(talk: Talk) -> str:
    server = f" of {talk.server.name}" if talk.server else ""
    return f"{talk.line.name} as {talk.side}{server}"


def _places() -> list[Talk]:
    """Every conversation without a gateway, in one revision, in the order of the table."""
    found = (*talks(EVERY_LINE), *foreign_talks(EVERY_LINE))
    return list(dict.fromkeys(structs.replace(talk, revision=LATEST) for talk in found))


def _counted(count: Counter[Verdict]) -> str:
    red = sum(number for verdict, number in count.items() if verdict.red)
    parts = [f"{count[Verdict.OK]} ok"]
    parts += [f"{red} FAIL"] if red else []
    parts += [f"{count[Verdict.FAULT]} fault"] if count[Verdict.FAULT] else []
    parts += [f"{count[Verdict.NONE]} n/a"] if count[Verdict.NONE] else []
    return ", ".join(parts)


_WORDS = {Verdict.RED: "FAIL", Verdict.STALE: "FAIL", Verdict.FAULT: "fault", Verdict.NONE: "n/a"}


def _noted(verdict: Verdict, note: str, notes: dict[str, int]) -> str:
    if verdict is Verdict.OK:
        return "ok"
    return f"{_WORDS[verdict]} ({notes.setdefault(note, len(notes) + 1)})"
