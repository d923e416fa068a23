"""The page that says what was found in programs of others, as facts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from conformance.kit.model import Result, Verdict
from conformance.peers.findings import Checked, Finding, explained
from conformance.peers.programs import Peer

HEAD = """# What the kit finds in other implementations

The [conformance kit](conformance.md) run against programs built on both lines of the official
Python SDK ({versions}): the servers and clients of `conformance/interop/sdk`. Each finding was
checked by reading the bytes: a line of the table says what the program does, the clause says what
is asked for, and what was on the wire follows below. Cases about the HTTP/1.1 server underneath
(uvicorn; pages `rfc9112`) are left out.

`python -m conformance.peers --write` writes this page (after `make sdk`); without `--write` it
fails if a finding is new, or is not there any more.
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
    parts = [HEAD.format(versions=versions), *_COUNTS, *counts, _BELOW]
    return "\n".join([*parts, *_table(findings, checked), *_bytes(findings, checked)]) + "\n"


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


def _table(findings: Sequence[Finding], checked: Sequence[Checked]) -> Iterator[str]:
    yield "## Findings\n"
    yield "| clause | strength | where | what the program does | whose |"
    yield "|---|---|---|---|---|"
    for finding in findings:
        case = finding.case
        for (fact, whose), peers in _facts(finding, checked).items():
            where = (f"{peer}: {', '.join(finding.places[peer].revisions)}" for peer in peers)
            yield (
                f"| [{case.id}]({case.link}) | {case.strength} | {'; '.join(where)} |"
                f" {_cell(fact)} | {whose} |"
            )


def _facts(finding: Finding, checked: Sequence[Checked]) -> dict[tuple[str, str], list[str]]:
    """What was written down, and in which peers: those with one fact share a line."""
    found: dict[tuple[str, str], list[str]] = {}
    for peer, seen in finding.places.items():
        known = explained(finding, peer, checked)
        fact = (seen.detail, "not checked") if known is None else (known.fact, known.whose)
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
