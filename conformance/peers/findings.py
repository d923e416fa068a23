"""Findings: what a case saw in the programs of others, with the bytes."""

import re
from collections.abc import Iterable

from msgspec import Struct, field

from conformance.peers.said import bytes_of
from mcpcore_conformance.kit.model import Case, Result, Verdict

FOUND = (Verdict.FAILED, Verdict.WEAK)
NOTABLE = (*FOUND, Verdict.INCONCLUSIVE)

_VARYING = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\bkit-[0-9a-f]{8,}"), "kit-ID"),
    (re.compile(r"'id': \d+"), "'id': N"),
    (re.compile(r"Last-Event-ID: \S+"), "Last-Event-ID: ID"),
    (re.compile(r"(answered twice: )\[[\d, ]+\]"), r"\1IDS"),
    (re.compile(r"(input_value=).*?(, input_type=)", re.DOTALL), r"\1...\2"),
)
"""What is another one in every run, or in every revision, and what is written in its place."""
_SET = re.compile(r"\{('[^'{}]*'(?:, '[^'{}]*')+)\}")
"""A set of texts, which are in any order."""


class Sight(Struct):
    """What a case saw in one program, in the same words in some revisions."""

    peer: str
    verdict: Verdict
    detail: str
    """Without what changes from run to run."""
    said: dict[str, list[str]]
    """The bytes, oldest first, by revisions."""

    @property
    def revisions(self) -> list[str]:
        """Names of the revisions."""
        return [*self.said]


class Finding(Struct):
    """What one case saw, in all programs."""

    case: Case
    sights: list[Sight] = field(default_factory=list)

    def worst(self) -> dict[str, Verdict]:
        """What it came to, by names of peers in which it found something."""
        by_peer: dict[str, Verdict] = {}
        for sight in self.sights:
            if sight.verdict in FOUND and by_peer.get(sight.peer) is not Verdict.FAILED:
                by_peer[sight.peer] = sight.verdict
        return by_peer

    def unclear(self) -> set[str]:
        """Names of peers in which it could not be found out whether the clause holds."""
        return {each.peer for each in self.sights if each.verdict is Verdict.INCONCLUSIVE}


def gather(results: Iterable[tuple[str, Result]]) -> list[Finding]:
    """Put results of peers together: by case, program, verdict and what the verdict says."""
    found: dict[str, Finding] = {}
    for peer, result in results:
        if result.verdict not in NOTABLE:
            continue
        finding = found.setdefault(result.case.id, Finding(result.case))
        saw = (peer, result.verdict, normal(result.detail, result.revision))
        for sight in finding.sights:
            if (sight.peer, sight.verdict, sight.detail) == saw:
                sight.said[result.revision] = bytes_of(result)
                break
        else:
            finding.sights.append(Sight(*saw, {result.revision: bytes_of(result)}))
    return sorted(found.values(), key=lambda each: each.case.id)


def normal(detail: str, revision: str) -> str:
    """What a verdict says, without ports, ids and the name of the revision."""
    for varying, instead in _VARYING:
        detail = varying.sub(instead, detail)
    detail = _SET.sub(lambda found: f"{{{', '.join(sorted(found[1].split(', ')))}}}", detail)
    return " ".join(detail.replace(revision, "REVISION").split())
