"""The page that says what was found in programs of others, as facts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from conformance.kit.model import Result, Verdict
from conformance.peers.findings import Checked, Finding, explained
from conformance.peers.programs import DATES, NEWER, OLDER, Peer
from mcpcore.spec.revisions import REVISIONS

HEAD = """# What the kit finds in other implementations

The [conformance kit](conformance.md) run against both lines of the official Python SDK
({versions}):

- servers and clients of this project, built on the SDK, in `conformance/interop/sdk`;
- the SDK's own `everything` server, over Streamable HTTP as its program has it and over stdio by
  the SDK's own transport, and the client that the SDK runs under the official suite, of its
  repository as it was on {dates}. These run on the SDK of the
  versions above as well: those of 1.x, which were taken at v1.29.0, on 1.30.0.

Each finding was checked by reading the bytes: a line of the table says what the program does, the
clause says what is asked for, and what was on the wire follows below (of heads, the lines that
matter; long ones are cut). A finding is one of the SDK, of uvicorn or httpx, the HTTP server and
client below it, or of the program that is built on it. The cases of RFC 9112, HTTP/1.1 itself, are
left out. What depends on timing, and is not found in every run, is marked so.

Servers and clients are met in all revisions over HTTP, servers also over stdio. Over HTTP+SSE two
revisions are played, 2024-11-05, to which it belongs, and 2025-11-25; with clients over stdio the
newest of each era. All tools may be called (`--tool '*'`). Clients play
[scripts](conformance-clients.md#script); a case does not apply where the SDK has no call for a
step.

## How it is made

```shell
make peers                               # fails if a finding is new, or is not there any more
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

That takes about 470 seconds of the processor; a run says at its end what it took.
`python -m conformance.peers` has further options: `--write` writes this page, `--only NAME` chooses
a program, `--programs N` and `--jobs N` say how many programs, and how many cases of each, run at a
time, `--save DIR` keeps results and `--from DIR` takes them without another run.

What has been read stands in `conformance/peers/checked.toml`.

## How much there is
"""


def page_of(
    findings: Sequence[Finding],
    checked: Sequence[Checked],
    results: Sequence[tuple[str, Result]],
    peers: Sequence[Peer],
) -> str:
    """Write the page."""
    versions = ", ".join(dict.fromkeys(f"{peer.line}: {peer.version}" for peer in peers))
    counts = [_count(peer, findings, checked, results) for peer in peers]
    head = HEAD.format(versions=versions, dates=DATES, newer=NEWER, older=OLDER)
    parts = [head, *_COUNTS, *counts, _BELOW, _total(findings, checked)]
    return "\n".join([*parts, *_table(findings, checked), *_bytes(findings, checked)]) + "\n"


SOMETIMES = " (Not in every run.)"

_COUNTS = (
    "| program | played | passed | failed | weak | inconclusive | not applicable"
    " | findings | of the SDK |",
    "|---|---|---|---|---|---|---|---|---|",
)
_BELOW = """
Up to `not applicable`, a case counts once for each revision; a finding is a case that failed, was
weak or inconclusive in a program, in however many revisions.
"""


def _count(
    peer: Peer,
    findings: Sequence[Finding],
    checked: Sequence[Checked],
    results: Sequence[tuple[str, Result]],
) -> str:
    count = Counter(result.verdict for name, result in results if name == peer.name)
    none = count[Verdict.NOT_APPLICABLE]
    here = [each for each in findings if peer.name in each.places]
    known = (explained(each, peer.name, checked) for each in here)
    whose = Counter(each.whose for each in known if each is not None)
    cells = (
        peer.name,
        count.total() - none,
        count[Verdict.PASSED] + count[Verdict.INFORMATIONAL],
        count[Verdict.FAILED],
        count[Verdict.WEAK],
        count[Verdict.INCONCLUSIVE],
        none,
        len(here),
        whose["SDK"],
    )
    return f"| {' | '.join(map(str, cells))} |"


def _total(findings: Sequence[Finding], checked: Sequence[Checked]) -> str:
    """How much that is in all: one cause shows in many cases, and in many programs."""
    facts = {fact[:2] for finding in findings for fact in _facts(finding, checked)}
    own = sum(whose == "SDK" for _, whose in facts)
    places = sum(len(finding.places) for finding in findings)
    return (
        f"In all {places} findings of {len(findings)} cases. They come to {len(facts)} different"
        f" facts, {own} of them about the SDK.\n"
    )


def _table(findings: Sequence[Finding], checked: Sequence[Checked]) -> Iterator[str]:
    yield "## Findings\n"
    yield "| clause | strength | where | what the program does | whose |"
    yield "|---|---|---|---|---|"
    for finding in findings:
        case = finding.case
        for (fact, whose, sometimes), peers in _facts(finding, checked).items():
            newest = max(name for peer in peers for name in finding.places[peer].revisions)
            yield (
                f"| [{case.id}]({case.link_in(newest)}) | {case.strength} |"
                f" {_where(finding, peers)} | {_cell(fact)}{SOMETIMES * sometimes} | {whose} |"
            )


def _where(finding: Finding, peers: Sequence[str]) -> str:
    """Programs and revisions; programs with the same revisions share them."""
    places: dict[str, list[str]] = {}
    for peer in peers:
        places.setdefault(_span(finding.places[peer].revisions), []).append(peer)
    return "; ".join(f"{', '.join(found)}: {span}" for span, found in places.items())


def _span(revisions: Sequence[str]) -> str:
    """Revisions in short, where they follow each other."""
    names = [revision.name for revision in REVISIONS]
    places = [names.index(name) for name in revisions]
    if len(places) > 2 and places == [*range(places[0], places[-1] + 1)]:
        return f"{revisions[0]} to {revisions[-1]}"
    return ", ".join(revisions)


_Fact = tuple[str, str, bool]
"""What a program does, whose it is, and whether it depends on timing."""


def _facts(finding: Finding, checked: Sequence[Checked]) -> dict[_Fact, list[str]]:
    """What was written down, and in which peers: those with one fact share a line."""
    found: dict[_Fact, list[str]] = {}
    for peer, seen in finding.places.items():
        known = explained(finding, peer, checked)
        fact = (seen.detail, "not checked", False)
        if known is not None:
            fact = known.fact, known.whose, known.sometimes
        found.setdefault(fact, []).append(peer)
    return found


def _bytes(findings: Sequence[Finding], checked: Sequence[Checked]) -> Iterator[str]:
    yield "\n## What was on the wire\n"
    for finding in findings:
        yield f"### {finding.case.id}\n"
        for peers in _facts(finding, checked).values():
            yield f"{peers[0]}, {finding.places[peers[0]].revisions[0]}:\n"
            yield "````text"
            yield from finding.places[peers[0]].said
            yield "````\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
