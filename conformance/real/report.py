"""The table that is printed, and the page: conformance/real/report.md."""

from collections import Counter
from collections.abc import Iterable, Sequence

from conformance.interop.report import table as laid_out
from conformance.peers.findings import FOUND, gather
from conformance.peers.page import rows_of, table_of
from conformance.real.judge import Judged, Verdict
from conformance.real.table import COLUMNS, Row, Table
from mcpcore_conformance.kit.model import Result
from mcpcore_conformance.kit.model import Verdict as KitVerdict

HEAD = """\
# Programs that people use

Our client, our command and the conformance kit against servers of npm and PyPI, and clients and
proxies of npm and PyPI against our server, in the versions of {date}. `make real` installs them
(npm's below `.tools/real`, PyPI's in environments of their own), plays all of it and fails if a
cell is red; `make test-long` does so, too. This page is written by
`.venv/bin/python -m conformance.real --write conformance/real/report.md`; `--help` has examples of
other uses, such as `--only supergateway`, or `--gateway`, which puts `mcpcore gateway` between the
two sides of every row.

What is played stands in `conformance/real/programs.toml`: a program more is a few lines more.
Nothing leaves this machine: what heeds a proxy is given one that is not there. What cannot be
installed, or needs a program that is not there, is skipped, and the table says why. Ctrl-C ends
whatever was started.

{versions}

## The table

Servers are met over the transport of the second column, in the revision of the third; the newest
is found by our client itself. `stdio > http` is a proxy which is talked to over stdio, with our
server over HTTP behind it. Clients talk to our server in the revision that they like.

* `opens` to `agent`: our client with the server, or the client of the row with ours: the handshake
  or discovery; all lists, page by page; tools, also one that fails; resources; prompts;
  completions; a resource that is subscribed to and changes; questions to the user, to the model
  and for the roots; an agent of the library whose model, a function, calls a tool.
* `ends`: nothing that was started is left behind.
* `list`, `call`, `probe`: those of `mcpcore`.
* `kit`: every case of `mcpcore conformance server`; what it finds is read by hand, and stands
  below.

Cells say:

* **ok**: it works.
* **FAIL**: it does not.
* **fault**: the program departs from what the specification says; the note names the clause.
* **n/a**: the program does not have it; the note says how.
* **skip**: it was not tried here.

What is listed as a fault or as missing is tried in every run all the same: it fails the run if it
works, or if it fails in any other way than the one that is known (`conformance/real/known.toml`).
"""
FINDINGS = """
## What the kit finds

Each line was checked by reading the bytes, as those of the
[official SDKs](../peers/report.md) were, where verdicts and columns are explained; it stands
in `conformance/real/checked.toml`. A finding is one of the SDK that a program is built on, or of
the program itself. `--draft` prints what was not read, with the bytes. What is found and was not
read is looked for once more, alone, before it fails a run.

{counts}
"""


def table_of_cells(cells: Sequence[Judged]) -> str:
    """Lay out every cell, and the notes below."""
    found = {(each.row, each.cell): each for each in cells}
    columns = [column for column in COLUMNS if any(each.cell == column for each in cells)]
    notes: dict[str, int] = {}

    def shown(row: Row, column: str) -> str:
        cell = found.get((row, column))
        if cell is None:
            return ""
        word = "FAIL" if cell.verdict.red else cell.verdict.value
        return f"{word} ({notes.setdefault(cell.note, len(notes) + 1)})" if cell.note else word

    rows = [
        [row.program.name, row.way, row.revision_name, *(shown(row, each) for each in columns)]
        for row in dict.fromkeys(each.row for each in cells)
    ]
    listed = "\n".join(f"{number}. {note}" for note, number in notes.items())
    text = laid_out(["program", "transport", "revision", *columns], rows)
    return f"{text}\n\n{listed}" if listed else text


def page_of(
    table: Table, cells: Sequence[Judged], results: Sequence[tuple[str, Result]], date: str
) -> str:
    """Write the page."""
    findings = gather(results)
    rows = [row for finding in findings for row in rows_of(finding, table.checked)]
    found = [row for row in rows if row.verdict in FOUND]
    unclear = [row for row in rows if row.verdict not in FOUND]
    parts = [
        HEAD.format(date=date, versions=versions_of(table)),
        table_of_cells(cells),
        FINDINGS.format(counts=_counts(results)),
        *table_of(found),
    ]
    if unclear:
        parts += ["\n### What could not be found out\n", *table_of(unclear)]
    return "\n".join(parts) + "\n"


def versions_of(table: Table) -> str:
    """The packages with their versions."""
    rows = [
        (f"`{each.name}`", each.version, "npm" if each.place == "npm" else "PyPI")
        for each in table.packages.values()
    ]
    return laid_out(["package", "version", "of"], rows)


def summary(cells: Iterable[Judged]) -> str:
    """How many cells there are of each verdict."""
    count = Counter(each.verdict for each in cells)
    return ", ".join(f"{count[each]} {each.value}" for each in Verdict if count[each])


def _counts(results: Sequence[tuple[str, Result]]) -> str:
    counts: dict[tuple[str, str], Counter[KitVerdict]] = {}
    for peer, result in results:
        counts.setdefault((peer, result.revision), Counter())[result.verdict] += 1
    shown = (
        KitVerdict.PASSED,
        KitVerdict.FAILED,
        KitVerdict.WEAK,
        KitVerdict.INCONCLUSIVE,
        KitVerdict.NOT_APPLICABLE,
    )
    rows = [
        [peer, revision, *(str(count[each]) for each in shown)]
        for (peer, revision), count in sorted(counts.items())
    ]
    return laid_out(["program", "revision", *map(str, shown)], rows)
