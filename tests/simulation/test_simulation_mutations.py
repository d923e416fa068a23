"""Bugs that are put into the core are found by the simulation, and each replay shows its own."""

import subprocess
import sys

import pytest

from tests.simulation.mutations import MUTATIONS


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTATIONS)
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
    again = simulation(*replay, "--mutation", name)
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1].startswith(f"broken: {breach[:40]}")
    sound = simulation(*replay)
    assert sound.returncode == 0, sound.stdout[-500:]
