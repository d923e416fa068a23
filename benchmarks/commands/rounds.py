"""A row measured round by round, so that what there is can be kept whenever it ends."""

from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import structs

from benchmarks.method.samples import Measured, RowResult
from benchmarks.rows import Row
from benchmarks.runner import judge, run_row

_TRIES = 2
"""A variant that has failed so often is left out of the rounds that follow."""


def measure_row(
    row: Row,
    rounds: int,
    *,
    quick: bool,
    only: Sequence[str] = (),
    told: Callable[[int, str], object],
    kept: Callable[[RowResult], object],
) -> RowResult:
    """Measure a row: every variant in turn, as often as there are rounds.

    ``only``: these variants and no others; ``told`` gets the round and the title of the variant
    that follows, ``kept`` after each round what there is.
    """
    result = RowResult(row.title, row.unit, {})
    failures: Counter[str] = Counter()
    names = [name for name in row.variants if not only or name in only]
    for number in range(1, rounds + 1):
        if not names:
            break

        def told_of(_: int, title: str, number: int = number) -> None:
            told(number, title)

        found = run_row(row, 1, quick=quick, only=names, told=told_of)
        for name, once in found.variants.items():
            measured = result.variants.setdefault(name, Measured(once.title))
            measured.missing = once.missing or measured.missing
            measured.samples += [structs.replace(each, round=number) for each in once.samples]
            failures[name] += once.failed
        names = [
            name
            for name in names
            if failures[name] < _TRIES and (found.variants[name].samples or failures[name])
        ]
        result.verdicts = judge(row, result)
        kept(result)
    return result
