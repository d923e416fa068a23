"""The scenarios that are known not to pass, each with its reason, and the verdict on a run.

The file may only shrink: a listed scenario that passes fails the run as a surprise does.  So does
one that checks nothing, unless the file says that it is no more than a stub.
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


class Expected(Struct, forbid_unknown_fields=True):
    """What the file says."""

    expected: list[Entry] = field(default_factory=list)
    """Scenarios that fail."""
    stubs: list[Entry] = field(default_factory=list)
    """Scenarios that check nothing, as the suite itself has not built them."""


def load(path: Path = EXPECTED_FILE) -> Expected:
    """Read the file; raises ValueError naming what is wrong in it."""
    found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Expected)
    for entry in (*found.expected, *found.stubs):
        if entry.side not in SIDES:
            raise ValueError(f"{path.name}: side {entry.side!r} is neither server nor client")
        if unknown := set(entry.revisions) - set(REVISIONS):
            raise ValueError(f"{path.name}: no requirement set for {', '.join(unknown)}")
        if not entry.reason.strip():
            raise ValueError(f"{path.name}: {', '.join(entry.scenarios)}: no reason given")
    return found


class Verdict(Struct):
    """A run compared with the file."""

    unexpected: list[str] = field(default_factory=list)
    """Failures that the file does not name, as ``scenario`` or ``scenario:check-id``; and
    scenarios that checked nothing, which is not to be taken for a pass."""
    stale: list[str] = field(default_factory=list)
    """Entries of the file that passed, or that the suite does not have; stubs that check now."""
    expected: dict[str, str] = field(default_factory=dict)
    """Failures and stubs that the file names, with the reason."""

    @property
    def ok(self) -> bool:
        """Whether the run went as the file says."""
        return not self.unexpected and not self.stale


def judge(results: Iterable[Scenario], file: Expected, *, side: str, revision: str) -> Verdict:
    """Compare the ``results`` of one side and revision with what the file says of them."""
    reasons = _reasons(file.expected, side, revision)
    stubs = _reasons(file.stubs, side, revision)
    verdict = Verdict()
    met: set[str] = set()
    for result in results:
        if result.outcome == "skip":
            known = [name for name in reasons if name.partition(":")[0] == result.name]
            met.update(known)
            if result.name in stubs:
                verdict.expected[result.name] = stubs.pop(result.name)
            elif not known:
                verdict.unexpected.append(result.name)
        if result.outcome != "FAIL":
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
    verdict.stale = [name for name in reasons if name not in met] + list(stubs)
    verdict.unexpected.sort()
    return verdict


def _reasons(entries: Iterable[Entry], side: str, revision: str) -> dict[str, str]:
    return {
        name: entry.reason
        for entry in entries
        if entry.side == side and revision in entry.revisions
        for name in entry.scenarios
    }
