"""Which cases of the tests a run has."""

import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

ROOT = Path(__file__).parents[1]
_SOME = ("tests/http/server/test_origin.py", "tests/transports/stores/test_store_limits.py")
_LONG = {
    "test_what_a_killed_worker_had_is_free_again",
    "test_a_redis_that_is_away_or_has_lost_everything_is_noticed",
}
"""The tests in these files that are long themselves."""


def cases(*options: str) -> dict[str, set[str]]:
    """By test, what is collected of it."""
    warm = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # of what it has imported
    command = [*PYTHON, "-m", "pytest", *warm, "-q", "--collect-only", *_SOME, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, set[str]] = defaultdict(set)
    for line in done.stdout.splitlines():
        name, _, case = line.partition("[")
        if "::" in name:
            found[name].add(case)
    return found


@pytest.mark.parametrize(("share", "run"), [(3, "long"), (8, "not long")])
def test_a_share_has_some_cases_of_each_test(share: int, run: str) -> None:
    whole, part = cases("-m", run), cases("-m", run, "--share", str(share))
    assert {name: len(each) for name, each in part.items()} == {
        name: -(-len(each) // share) for name, each in whole.items()
    }
    assert all(part[name] <= whole[name] for name in part)
    assert part == cases("-m", run, "--share", str(share))


def test_of_repetitions_some_are_left_and_of_other_long_tests_all() -> None:
    """... on one event loop: the other one repeats it."""
    whole, part = cases("-m", "long"), cases("-m", "long", "--repetitions", "5")
    own = {name for name in whole if name.partition("::")[2] in _LONG}
    assert len(own) == len(_LONG)
    left = 0
    for name, each in whole.items():
        assert part[name] <= each
        if name in own:
            left += len(part[name]) - len(each) // 2
        else:
            assert len(part[name]) == -(-len(each) // 5)
    assert left == -(-sum(len(whole[name]) // 2 for name in own) // 5)
    assert cases("-m", "not long", "--repetitions", "5") == cases("-m", "not long")
