"""The scenarios that are known not to pass, each with its reason, and the verdict on a run.

The file may only shrink: a listed scenario that passes fails the run as a surprise does.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct, field

from conformance.official.suite import REVISIONS, SIDES, Scenario

EXPECTED_FILE = Path(__file__).with_name("expected-failures.toml")


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """Scenarios that fail for one reason.

    An item of ``scenarios`` is the name of a scenario, or ``name:check-id`` to excuse one check.
    """

    side: str
    revisions: list[str]
    scenarios: list[str]
    reason: str


class _File(Struct, forbid_unknown_fields=True):
    expected: list[Entry] = field(default_factory=list)


def load(path: Path = EXPECTED_FILE) -> list[Entry]:
    """Read the file; raises ValueError naming what is wrong in it."""
    entries = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).expected
    for entry in entries:
        if entry.side not in SIDES:
            raise ValueError(f"{path.name}: side {entry.side!r} is neither server nor client")
        if unknown := set(entry.revisions) - set(REVISIONS):
            raise ValueError(f"{path.name}: no requirement set for {', '.join(unknown)}")
        if not entry.reason.strip():
            raise ValueError(f"{path.name}: {', '.join(entry.scenarios)}: no reason given")
    return entries


class Verdict(Struct):
    """A run compared with the file."""

    unexpected: list[str] = field(default_factory=list)
    """Failures that the file does not name, as ``scenario`` or ``scenario:check-id``."""
    stale: list[str] = field(default_factory=list)
    """Entries of the file that passed, or that the suite does not have (not: that it skipped)."""
    expected: dict[str, str] = field(default_factory=dict)
    """Failures that the file names, with the reason."""

    @property
    def ok(self) -> bool:
        """Whether the run went as the file says."""
        return not self.unexpected and not self.stale


def judge(
    results: Iterable[Scenario], entries: Iterable[Entry], *, side: str, revision: str
) -> Verdict:
    """Compare the ``results`` of one side and revision with the entries that concern them."""
    reasons = {
        name: entry.reason
        for entry in entries
        if entry.side == side and revision in entry.revisions
        for name in entry.scenarios
    }
    verdict = Verdict()
    met: set[str] = set()
    for result in results:
        if result.outcome != "FAIL":
            if result.outcome == "skip":
                met.update(name for name in reasons if name.partition(":")[0] == result.name)
            continue
        failing = [f"{result.name}:{check}" for check in {c.id for c in result.failures}]
        if result.name in reasons:
            verdict.expected[result.name] = reasons[result.name]
            met.add(result.name)
        elif not failing:
            verdict.unexpected.append(result.name)
        for name in failing:
            if name in reasons:
                verdict.expected[name] = reasons[name]
                met.add(name)
            elif result.name not in reasons:
                verdict.unexpected.append(name)
    verdict.stale = [name for name in reasons if name not in met]
    verdict.unexpected.sort()
    return verdict
