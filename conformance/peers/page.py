"""The page that says what was found in programs of others, as facts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from conformance.peers.checked import Checked, readings, span_of
from conformance.peers.findings import FOUND, Finding, Sight
from conformance.peers.programs import DATES, NEWER, OLDER, Peer
from mcpcore_conformance.kit.model import Case, Result, Verdict

HEAD = """# What the kit finds in other implementations

The [conformance kit](../../docs/how-to/conformance.md) run against both lines of the official
Python SDK ({versions}):

- servers and clients of this project, built on the SDK, in `conformance/interop/sdk`;
- the SDK's own `everything` server, over Streamable HTTP as its program has it and over stdio by
  the SDK's own transport, and the client that the SDK runs under the official suite, of its
  repository as it was on {dates}. These run on the SDK of the
  versions above as well: those of 1.x, which were taken at v1.29.0, on 1.30.0.

A line of the table says what a program does, the clause says what is asked for, and the verdict
what came of it: `failed` where a MUST is not met; `weak` where a SHOULD is not met, be it the
clause itself or advice beside a MUST, so that `MUST` with `weak` is no MUST broken. What could not
be found out is no finding and has a table of its own.

Each line was checked by reading the bytes: for the verdict, the programs and the revisions that it
names, and for what the kit says of them. Where a program does otherwise in another revision, that
is another line. What was on the wire follows below, of each with the words of the kit: with the
time in seconds since the case began (`earlier` is what opened the connection in another case) and
over HTTP the number of the exchange; of heads the lines that matter, of long conversations and long
lines the beginning, what the words of the kit are about, and of conversations the end. Blanks
around values in heads, and a byte order mark before events, are not shown.

A finding is one of the SDK, of uvicorn or httpx, the HTTP server and client below it, or of the
program that is built on it. The cases of RFC 9112, HTTP/1.1 itself, are left out. What depends on
timing, and is not found in every run, is marked so.

Servers and clients are met in all revisions over HTTP, servers also over stdio. Over HTTP+SSE two
revisions are played, 2024-11-05, to which it belongs, and 2025-11-25; with clients over stdio the
newest of each era. All tools may be called (`--tool '*'`). Clients play
[scripts](../../docs/how-to/conformance-clients.md#script); a case does not apply where the SDK has
no call for a step.

## How it is made

```shell
make peers                               # fails if something was not read, or is not there any more
```

That installs both lines of the SDK in environments of their own, and runs the programs of this
project. The SDK's own are taken from its repository, twice, as `2.x` and as `1.x`; all of them
together make this page:

```shell
git clone https://github.com/modelcontextprotocol/python-sdk sdk/2.x
git -C sdk/2.x checkout {newer}
git -C sdk/2.x worktree add ../1.x {older}
make peers SOURCES=sdk
```

That takes about 800 seconds of the processor; a run says at its end what it took. On a busy machine
more is late, and more is found that depends on timing.
`.venv/bin/python -m conformance.peers` has further options: `--write` writes this page, `--only
NAME` chooses a program, `--programs N` and `--jobs N` say how many programs, and how many cases of
each, run at a time, `--save DIR` keeps results and `--from DIR` takes them without another run.

What has been read stands in `conformance/peers/checked.toml`: cases, verdict, programs, revisions,
a part of what the kit says, and the fact. A result that differs in any of them was not read, and
the run fails; `--draft` prints its bytes, and an entry to which the fact is to be added. An entry
of which a case, a program or a revision is not found any more makes the run fail as well, unless
it depends on timing.

## How much there is
"""


class Row(Struct):
    """A line of a table: a fact about a case, and where it holds."""

    case: Case
    verdict: Verdict
    fact: str
    whose: str
    sometimes: bool
    places: dict[str, list[str]] = field(default_factory=dict)
    """Revisions, by names of peers."""
    shown: list[tuple[Sight, str]] = field(default_factory=list)
    """One sight, in one revision, for each wording of the kit's."""


def page_of(
    findings: Sequence[Finding],
    checked: Sequence[Checked],
    results: Sequence[tuple[str, Result]],
    peers: Sequence[Peer],
) -> str:
    """Write the page."""
    versions = ", ".join(dict.fromkeys(f"{peer.line}: {peer.version}" for peer in peers))
    rows = [row for finding in findings for row in rows_of(finding, checked)]
    found = [row for row in rows if row.verdict in FOUND]
    unclear = [row for row in rows if row.verdict not in FOUND]
    parts = [
        HEAD.format(versions=versions, dates=DATES, newer=NEWER, older=OLDER),
        *_COUNTS,
        *(_count(peer, findings, found, results) for peer in peers),
        _BELOW,
        _total(findings, found),
        "## Findings\n",
        *table_of(found),
        "\n## What could not be found out\n",
        *(table_of(unclear) if unclear else ("Nothing.",)),
        "\n## What was on the wire\n",
        *_bytes(rows),
    ]
    return "\n".join(parts) + "\n"


SOMETIMES = " (Not in every run.)"
UNREAD = "not read"

_COUNTS = (
    "| program | played | passed | failed | weak | inconclusive | not applicable"
    " | findings that failed | findings that are weak | of the SDK |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
_BELOW = """
Up to `not applicable`, a case counts once for each revision. A finding is a case that failed or was
weak in a program, in however many revisions; if it failed in any of them, it failed.
"""


def summary(findings: Sequence[Finding]) -> str:
    """How much that is, by verdict."""
    worst = Counter(verdict for finding in findings for verdict in finding.worst().values())
    cases = sum(bool(finding.worst()) for finding in findings)
    unclear = sum(len(finding.unclear()) for finding in findings)
    return (
        f"{worst.total()} findings of {cases} cases: {worst[Verdict.FAILED]} failed,"
        f" {worst[Verdict.WEAK]} weak; besides, {unclear} inconclusive"
    )


def _count(
    peer: Peer,
    findings: Sequence[Finding],
    rows: Sequence[Row],
    results: Sequence[tuple[str, Result]],
) -> str:
    count = Counter(result.verdict for name, result in results if name == peer.name)
    none = count[Verdict.NOT_APPLICABLE]
    here = Counter(each.worst().get(peer.name) for each in findings)
    of_sdk = {row.case.id for row in rows if peer.name in row.places and row.whose == "SDK"}
    cells = (
        peer.name,
        count.total() - none,
        count[Verdict.PASSED] + count[Verdict.INFORMATIONAL],
        count[Verdict.FAILED],
        count[Verdict.WEAK],
        count[Verdict.INCONCLUSIVE],
        none,
        here[Verdict.FAILED],
        here[Verdict.WEAK],
        len(of_sdk),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _total(findings: Sequence[Finding], rows: Sequence[Row]) -> str:
    """How much that is in all: one cause shows in many cases, and in many programs."""
    facts = {(row.fact, row.whose) for row in rows}
    own = sum(whose == "SDK" for _, whose in facts)
    return (
        f"In all {summary(findings)}. The findings come to {len(facts)} different facts, {own} of"
        " them about the SDK.\n"
    )


def rows_of(finding: Finding, checked: Sequence[Checked]) -> Iterator[Row]:
    """What was written down, with the peers: those with one fact and verdict share a line."""
    rows: dict[tuple[Verdict, str, str, bool], Row] = {}
    for each in readings(finding, checked):
        sight, known = each.sight, each.known
        about = (sight.verdict, sight.detail, UNREAD, False)
        if known is not None:
            about = (sight.verdict, known.fact, known.whose, known.sometimes)
        row = rows.setdefault(about, Row(finding.case, *about))
        row.places.setdefault(sight.peer, []).extend(each.revisions)
        if all(other.detail != sight.detail for other, _ in row.shown):
            row.shown.append((sight, each.revisions[0]))
    yield from rows.values()


def table_of(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out the lines."""
    yield "| clause | strength | verdict | where | what the program does | whose |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        newest = max(name for revisions in row.places.values() for name in revisions)
        yield (
            f"| [{row.case.id}]({row.case.link_in(newest)}) | {row.case.strength} | {row.verdict} |"
            f" {_where(row)} | {_cell(row.fact)}{SOMETIMES * row.sometimes} | {row.whose} |"
        )


def _where(row: Row) -> str:
    """Programs and revisions; programs with the same revisions share them."""
    places: dict[str, list[str]] = {}
    for peer, revisions in row.places.items():
        places.setdefault(span_of(revisions), []).append(peer)
    return "; ".join(f"{', '.join(found)}: {span}" for span, found in places.items())


def _bytes(rows: Sequence[Row]) -> Iterator[str]:
    last = ""
    for row in rows:
        if row.case.id != last:
            last = row.case.id
            yield f"### {last}\n"
        for sight, revision in row.shown:
            yield f"{sight.peer}, {revision}, {sight.verdict}:\n"
            yield "````text"
            yield f"the kit: {_short(sight.detail)}"
            yield from sight.said[revision]
            yield "````\n"


SAYING = 300
"""Characters of what the kit says."""


def _short(text: str) -> str:
    return text if len(text) <= SAYING else f"{text[:SAYING]} ..."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
