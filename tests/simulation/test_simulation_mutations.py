"""Bugs that are put into the core are found by the simulation, and each replay shows its own."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.warm import PYTHON

_SHORT = 8
"""Faults and pieces of work that a replay has at most."""
_PAGE = Path(__file__).parents[2] / "tests" / "simulation" / "README.md"
_REPLAY = re.compile(r"`(--seed [^`]*?)(?: --mutation \"([^\"]*)\")?`")
_FOUND = _REPLAY.findall(" ".join(_PAGE.read_text(encoding="utf-8").split()))
_AT_ONCE = {"repeats all", "subscribed for ever"}
"""Found so soon that it is looked for each time."""


def _simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PYTHON, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_bug_can_be_put_into_the_core() -> None:
    apply = "from tests.simulation.mutations import MUTATIONS, apply; [*map(apply, MUTATIONS)]"
    subprocess.run([*PYTHON, "-c", apply], check=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=() if name in _AT_ONCE else [pytest.mark.long, pytest.mark.repeats]
        )
        for name in MUTATIONS
        if MUTATIONS[name].within
    ],
)
def test_a_bug_is_found_and_its_replay_shows_it(name: str) -> None:
    mutation = MUTATIONS[name]
    found = _simulation(
        *("--mutation", name, "--scenario", mutation.scenario, "--only", mutation.only),
        *("--schedules", str(mutation.within), "--failures", "1", "--first", str(mutation.first)),
    )
    assert found.returncode == 1, found.stderr
    breach, command = found.stdout.split("\n\n")[1].strip().split("\n")[-2:]
    replay = command.split()[3:]
    assert command.count("@") + command.partition("--works ")[2].count(":") <= _SHORT
    again = _simulation(*replay, "--mutation", name)
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1].startswith(f"broken: {breach[:40]}")
    sound = _simulation(*replay)
    assert sound.returncode == 0, sound.stdout[-500:]


@pytest.mark.long
@pytest.mark.parametrize("replay", [replay for replay, _ in _FOUND], ids=lambda each: each[:24])
def test_replays_of_the_page_find_nothing_in_a_sound_core(replay: str) -> None:
    sound = _simulation(*replay.split())
    assert sound.returncode == 0, sound.stdout[-500:]


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.parametrize(
    ("replay", "mutation"), [each for each in _FOUND if each[1]], ids=lambda each: each[:24]
)
def test_replays_of_the_page_show_what_they_are_for(replay: str, mutation: str) -> None:
    assert _simulation(*replay.split(), "--mutation", mutation).returncode == 1


def test_the_page_has_replays() -> None:
    assert len(_FOUND) >= 13
    shown = {mutation for _, mutation in _FOUND} - {""}
    seldom = {name for name, mutation in MUTATIONS.items() if not mutation.within}
    assert seldom <= shown <= set(MUTATIONS)
