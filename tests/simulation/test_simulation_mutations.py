"""Bugs that are put into the core are found by the simulation, and each replay shows its own."""

import subprocess
import sys

import pytest

from tests.simulation.mutations import MUTATIONS

_SHORT = 8
"""Faults and pieces of work that a replay has at most."""
_AT_ONCE = {"repeats all", "subscribed for ever"}
"""Found so soon that it is looked for each time."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in _AT_ONCE else pytest.mark.long) for name in MUTATIONS],
)
def test_a_bug_is_found_and_its_replay_shows_it(name: str) -> None:
    mutation = MUTATIONS[name]

    def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.simulation", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    found = simulation(
        *("--mutation", name, "--scenario", mutation.scenario, "--only", mutation.only),
        *("--schedules", str(mutation.within), "--failures", "1"),
    )
    assert found.returncode == 1, found.stderr
    breach, command = found.stdout.split("\n\n")[1].strip().split("\n")[-2:]
    replay = command.split()[3:]
    assert command.count("@") + command.partition("--works ")[2].count(":") <= _SHORT
    again = simulation(*replay, "--mutation", name)
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1].startswith(f"broken: {breach[:40]}")
    sound = simulation(*replay)
    assert sound.returncode == 0, sound.stdout[-500:]
