"""The page that says what was found in programs of others, as facts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from conformance.kit.model import Result, Verdict
from conformance.peers.findings import Checked, Finding
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
    facts = {(each.case, peer): each for each in checked for peer in each.peers}
    versions = ", ".join(dict.fromkeys(f"{peer.line}: {peer.version}" for peer in peers))
    parts = [HEAD.format(versions=versions), *_counts(results, peers), *_table(findings, facts)]
    return "\n".join([*parts, *_bytes(findings)]) + "\n"


def _counts(results: Sequence[tuple[str, Result]], peers: Sequence[Peer]) -> Iterator[str]:
    yield "| program | played | passed | MUST broken | SHOULD not met | not applicable |"
    yield "|---|---|---|---|---|---|"
    for peer in peers:
        count = Counter(result.verdict for name, result in results if name == peer.name)
        none = count[Verdict.NOT_APPLICABLE]
        yield (
            f"| {peer.name} | {count.total() - none} |"
            f" {count[Verdict.PASSED] + count[Verdict.INFORMATIONAL]} |"
            f" {count[Verdict.FAILED]} | {count[Verdict.WEAK]} | {none} |"
        )
    yield "\nOne case counts once for each revision.\n"


def _table(findings: Sequence[Finding], facts: dict[tuple[str, str], Checked]) -> Iterator[str]:
    yield "## Findings\n"
    yield "| clause | strength | where | what the program does | whose |"
    yield "|---|---|---|---|---|"
    for finding in findings:
        for fact, where in _facts(finding, facts).items():
            case = finding.case
            yield (
                f"| [{case.id}]({case.link}) | {case.strength} | {'; '.join(where)} |"
                f" {_cell(fact[0])} | {fact[1]} |"
            )


def _facts(
    finding: Finding, facts: dict[tuple[str, str], Checked]
) -> dict[tuple[str, str], list[str]]:
    """What was written down, and where: programs with one fact share a line."""
    found: dict[tuple[str, str], list[str]] = {}
    for peer, revisions in finding.places.items():
        known = facts.get((finding.case.id, peer))
        fact = (finding.detail, "not checked") if known is None else (known.fact, known.whose)
        found.setdefault(fact, []).append(f"{peer}: {', '.join(revisions)}")
    return found


def _bytes(findings: Sequence[Finding]) -> Iterator[str]:
    yield "\n## What was on the wire\n"
    for finding in findings:
        yield f"### {finding.case.id}\n"
        yield "````"
        yield from finding.said
        yield "````\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
