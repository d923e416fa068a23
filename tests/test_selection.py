"""Which cases of the tests a run has."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_SOME = ("tests/http/test_origin.py", "tests/transports/test_store_limits.py")


def cases(*options: str) -> dict[str, set[str]]:
    """By test, what is collected of it."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", *_SOME, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, set[str]] = defaultdict(set)
    for line in done.stdout.splitlines():
        name, _, case = line.partition("[")
        if "::" in name:
            found[name].add(case)
    return found


@pytest.mark.parametrize("share", [3, 8])
@pytest.mark.parametrize("run", ["long", "not long"])
def test_a_share_has_some_cases_of_each_test(share: int, run: str) -> None:
    whole, part = cases("-m", run), cases("-m", run, "--share", str(share))
    assert {name: len(each) for name, each in part.items()} == {
        name: -(-len(each) // share) for name, each in whole.items()
    }
    assert all(part[name] <= whole[name] for name in part)
    assert part == cases("-m", run, "--share", str(share))
