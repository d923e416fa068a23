"""Failures that are known: a run fails on what is new, and on what is known and does not happen."""

import tomllib
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct, field

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.model import Binding, Case, Result, Verdict
from mcpcore_conformance.run.run import Run
from mcpcore_conformance.run.selection import NoSuchCase, select

_OPEN = (Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE)
"""Verdicts that do not say whether what is expected to fail does: an entry stays as it is."""


class BadExpectations(ValueError):
    """A file of expected failures that cannot be used; the message says why."""


class Expected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Failures of a case that are known."""

    case: str
    """An id, the beginning of ids up to a slash, or a pattern."""
    transports: tuple[str, ...] = ()
    """On these; none: on all."""
    revisions: tuple[str, ...] = ()
    """In these; none: in all."""
    reason: str = ""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    expected: tuple[Expected, ...] = ()


class Judged(StrEnum):
    """What a result means for the run."""

    FINE = "fine"
    FAILURE = "failure"
    """Nobody expected it."""
    KNOWN = "known"
    """It failed, as was expected."""
    UNEXPECTED_PASS = "unexpected pass"  # noqa: S105 - no password
    """It was expected to fail, and is no failure: passed, or weak where that is none."""


class Judgement(Struct, kw_only=True):
    """What a run comes to."""

    strict: bool
    of: dict[tuple[str, str, Binding], Judged] = field(default_factory=dict)
    """Of each result, by its key."""
    reasons: dict[tuple[str, str, Binding], str] = field(default_factory=dict)
    """Why known failures are known, as far as the file says."""
    stale: list[str] = field(default_factory=list)
    """What is expected to fail and is not applicable anywhere."""
    undecided: bool = False
    """Something was played, and nothing was found out: all of it is inconclusive."""

    def __getitem__(self, result: Result) -> Judged:
        """What a result means."""
        return self.of[key_of(result)]

    def count(self, judged: Judged) -> int:
        """How many results mean that."""
        return sum(each is judged for each in self.of.values())

    @property
    def well(self) -> bool:
        """Whether everything is as it should be."""
        bad = self.count(Judged.FAILURE) + self.count(Judged.UNEXPECTED_PASS)
        return not bad and not self.stale and not self.undecided


def key_of(result: Result) -> tuple[str, str, Binding]:
    """What tells a result from others of its run."""
    return result.case.id, result.revision, result.binding


def failing(strict: bool) -> frozenset[Verdict]:
    """The verdicts that are failures."""
    more = (Verdict.WEAK, Verdict.INCONCLUSIVE) if strict else ()
    return frozenset((Verdict.FAILED, *more))


def judge(run: Run, expected: Sequence[Expected], *, strict: bool) -> Judgement:
    """Say of each result what it means, and which expectations are idle."""
    judgement = Judgement(strict=strict)
    bad = failing(strict)
    live: set[int] = set()
    met: set[int] = set()
    for result in run.results:
        matching = [number for number, each in enumerate(expected) if _matches(each, result)]
        met.update(matching)
        if result.verdict is not Verdict.NOT_APPLICABLE:
            live.update(matching)
        judgement.of[key_of(result)] = _judged(result, bool(matching), bad)
        if matching:
            judgement.reasons[key_of(result)] = expected[matching[0]].reason
    judgement.stale = [expected[number].case for number in sorted(met - live)]
    verdicts = {result.verdict for result in run.results}
    judgement.undecided = Verdict.INCONCLUSIVE in verdicts and verdicts.issubset(_OPEN)
    return judgement


def _judged(result: Result, known: bool, bad: frozenset[Verdict]) -> Judged:
    if result.faulty:
        return Judged.FAILURE  # of the kit: no list of what is wrong with a program can know it
    if result.verdict in bad:
        return Judged.KNOWN if known else Judged.FAILURE
    return Judged.UNEXPECTED_PASS if known and result.verdict not in _OPEN else Judged.FINE


def _matches(expected: Expected, result: Result) -> bool:
    return (
        (not expected.transports or result.binding in expected.transports)
        and (not expected.revisions or result.revision in expected.revisions)
        and bool(_selected([result.case], expected.case))
    )


def _selected(cases: Sequence[Case], pattern: str) -> Sequence[Case]:
    try:
        return select(cases, [pattern])
    except NoSuchCase:
        return ()


def read_expected(text: str, cases: Sequence[Case]) -> tuple[Expected, ...]:
    """Read a file.  Raises BadExpectations, also for a case that there is not."""
    try:
        found = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadExpectations(str(error)) from None
    for each in found.expected:
        try:
            select(cases, [each.case])
        except NoSuchCase as error:
            raise BadExpectations(str(error)) from None
        _check_known("transport", each.transports, [*Binding])
        _check_known("revision", each.revisions, [*BY_NAME])
    return found.expected


def _check_known(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BadExpectations(f"there is no {what} {name!r}; there are {', '.join(known)}")
