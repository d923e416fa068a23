"""What somebody has read of the findings, and how it is held against a run."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from conformance.peers.findings import NOTABLE, Finding, Sight
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Span
from mcpcore_conformance.kit.model import Verdict

CHECKED = Path(__file__).resolve().parent / "checked.toml"
GAP = " ... "
"""Stands in ``seen`` for anything."""
SHOWN = 160
"""Characters of what a verdict says that are shown of it, in a draft, as ``seen``."""

_Text = Annotated[str, Meta(min_length=1)]


class Checked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fact that somebody has read the bytes of, and where it holds: there and nowhere else."""

    cases: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Ids; where it depends on timing, also patterns with ``*``."""
    verdict: Verdict
    peers: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Names of peers, or patterns of them with ``*``."""
    revisions: _Text
    """One, or the first and the last as ``2024-11-05 to 2025-11-25``, as far as a peer is met in
    them."""
    seen: _Text
    """A part of what the verdict says (see :func:`~conformance.peers.findings.normal`)."""
    fact: _Text
    """What the program does."""
    whose: str = "SDK"
    """SDK, uvicorn or httpx (HTTP below it), or program (what is built on the SDK)."""
    sometimes: bool = False
    """It depends on timing: a run need not find it."""

    def __post_init__(self) -> None:
        if self.verdict not in NOTABLE:
            raise ValueError(f"{self.verdict} is nothing to be read")
        if not self.sometimes and any("*" in case for case in self.cases):
            raise ValueError("what every run has to find is named by its id")
        _ = self.span

    @property
    def span(self) -> Span:
        """The revisions."""
        first, _, last = self.revisions.partition(" to ")
        if first not in BY_NAME or (last or first) not in BY_NAME:
            raise ValueError(f"no revisions: {self.revisions!r}")
        return Span(BY_NAME[first], BY_NAME[last or first])

    def holds_in(self, peer: str) -> bool:
        """Whether it was read of that peer."""
        return any(fnmatchcase(peer, each) for each in self.peers)

    def explains(self, case: str, sight: Sight, revision: str) -> bool:
        """Whether this is what a case saw in a peer in one revision."""
        return (
            sight.verdict is self.verdict
            and BY_NAME[revision] in self.span
            and self.holds_in(sight.peer)
            and any(fnmatchcase(case, each) for each in self.cases)
            and _part_of(self.seen, sight.detail)
        )


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    finding: tuple[Checked, ...] = ()


class Reading(Struct, frozen=True):
    """A sight, or some revisions of it, and what was written down about it."""

    sight: Sight
    revisions: list[str]
    known: Checked | None
    """None: nobody has read it."""


def read_checked(path: Path = CHECKED) -> tuple[Checked, ...]:
    """Read what was checked by hand."""
    return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).finding


def readings(finding: Finding, checked: Sequence[Checked]) -> Iterator[Reading]:
    """What was written down about each sight; of several that fit, the first counts."""
    for sight in finding.sights:
        by_known: dict[Checked | None, list[str]] = {}
        for revision in sight.revisions:
            fitting = (each for each in checked if each.explains(finding.case.id, sight, revision))
            by_known.setdefault(next(fitting, None), []).append(revision)
        for known, revisions in by_known.items():
            yield Reading(sight, revisions, known)


def unchecked(
    findings: Sequence[Finding], checked: Sequence[Checked], run: Mapping[str, Sequence[str]]
) -> list[str]:
    """What was found and not read, and what was read and not found.

    ``run`` has the names of the revisions in which each peer was met.
    """
    new, found = [], set()
    for finding in findings:
        for reading in readings(finding, checked):
            sight, case = reading.sight, finding.case.id
            if reading.known is None:
                where = f"{sight.verdict} {case} in {sight.peer}, {span_of(reading.revisions)}"
                new.append(f"not read: {where}: {sight.detail[:SHOWN]}")
            for revision in reading.revisions:
                found.add((reading.known, case, sight.peer, revision))
    gone = [
        f"not found any more: {each.verdict} {case} in {peer}, {span_of(missing)}"
        for each in checked
        if not each.sometimes
        for case in each.cases
        for peer, met in run.items()
        if each.holds_in(peer)
        and (
            missing := [
                name
                for name in met
                if BY_NAME[name] in each.span and (each, case, peer, name) not in found
            ]
        )
    ]
    return new + gone


def drafts(findings: Sequence[Finding], checked: Sequence[Checked]) -> Iterator[str]:
    """What nobody has read: the bytes, and an entry for checked.toml that lacks the fact."""
    for finding in findings:
        alike: dict[tuple[Verdict, str, str], list[Reading]] = {}
        for each in readings(finding, checked):
            if each.known is None:
                ends = dict.fromkeys((each.revisions[0], each.revisions[-1]))
                saw = (each.sight.verdict, each.sight.detail, " to ".join(ends))
                alike.setdefault(saw, []).append(each)
        for (verdict, detail, span), unread in alike.items():
            sight, revision = unread[0].sight, unread[0].revisions[0]
            lines = (f"{sight.peer}, {revision}: {detail}", *sight.said[revision])
            yield "".join(f"# {line}\n" for line in lines) + (
                "[[finding]]\n"
                f"cases = [{json.dumps(finding.case.id)}]\n"
                f'verdict = "{verdict}"\n'
                f"peers = {json.dumps([each.sight.peer for each in unread])}\n"
                f'revisions = "{span}"\n'
                f"seen = {json.dumps(detail[:SHOWN], ensure_ascii=False)}\n"
                'fact = ""\n\n'
            )


def span_of(revisions: Sequence[str]) -> str:
    """Revisions in short, where they follow each other."""
    names = [revision.name for revision in REVISIONS]
    places = sorted(names.index(name) for name in revisions)
    if len(places) > 1 and places == [*range(places[0], places[-1] + 1)]:
        return f"{names[places[0]]} to {names[places[-1]]}"
    return ", ".join(names[place] for place in places)


def _part_of(seen: str, detail: str) -> bool:
    """Whether what was seen is in there, its pieces in their order."""
    place = 0
    for piece in seen.split(GAP):
        found = detail.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return True
