"""Exceptions of rules are open for a time, or for a request: not for the whole of a schedule."""

import subprocess

import pytest

from tests.simulation.excuses import Excuses
from tests.simulation.schedule import read_faults
from tests.warm import PYTHON

_HEEDED = "a cancellation that has arrived is heeded"
_SLOW = "an answer that is slow makes an event stream"
_ORDER = "news for all comes in order"
_OVER = "no change is told after the end of a subscription"
_KEPT = "a session is kept"
_LOST = "no news for all is lost"


@pytest.mark.parametrize(
    ("faults", "since", "until", "excused"),
    [
        ("none", 0.0, 1e6, False),
        ("crash_server@5:0:0:1", 0.0, 1e6, False),
        ("store_fail@5:0:0:2", 0.0, 4.9, False),
        ("store_fail@5:0:0:2", 0.0, 5.0, True),
        ("store_fail@5:0:0:2", 6.0, 6.1, True),
        # What has failed was tried again by then.
        ("store_fail@5:0:0:2", 11.9, 20.0, True),
        ("store_fail@5:0:0:2", 12.1, 20.0, False),
        ("store_cut@5:0:0:40", 49.9, 50.0, True),
        ("store_cut@5:0:0:40", 50.1, 60.0, False),
        # A step that was begun in the last moment takes 18 seconds.
        ("store_slow@5:0:12:2", 29.9, 40.0, True),
        ("store_slow@5:0:12:2", 30.1, 40.0, False),
        ("store_fail@5:0:0:2,store_cut@100:0:0:2", 20.0, 99.0, False),
        ("store_fail@5:0:0:2,store_cut@100:0:0:2", 20.0, 101.0, True),
        ("wall@5:0:70:2", 0.0, 1e6, False),
    ],
)
def test_a_store_excuses_what_was_under_way(
    faults: str, since: float, until: float, *, excused: bool
) -> None:
    assert Excuses(read_faults(faults)).store(since, until) is excused


@pytest.mark.parametrize(
    ("faults", "since", "until", "wrong"),
    [
        ("none", 0.0, 1e6, 0.0),
        ("wall@5:0:-70:2", 0.0, 4.9, 0.0),
        ("wall@5:0:-70:2", 0.0, 5.0, 70.0),
        ("wall@5:0:-70:2", 7.0, 9.0, 70.0),
        ("wall@5:0:-70:2", 7.1, 9.0, 0.0),
        ("wall@5:0:-70:2,wall@6:1:15:1", 6.0, 9.0, 85.0),
        ("store_fail@5:0:0:2", 0.0, 1e6, 0.0),
    ],
)
def test_wall_clocks_are_wrong_for_a_time(
    faults: str, since: float, until: float, wrong: float
) -> None:
    assert Excuses(read_faults(faults)).wrong(since, until) == wrong


def test_from_the_last_wall_clock_on_all_are_right() -> None:
    assert Excuses(read_faults("wall@5:0:-70:2,wall@6:1:15:8,drop@30:0:0:0")).walls_right == 29.0
    assert Excuses(()).walls_right == 0.0


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("rule", "mutation", "schedule"),
    [
        (_HEEDED, "cancellations kept", "--seed 1 --scenario store --faults store_fail@19:0:0:0.5"),
        (_HEEDED, "cancellations kept", "--seed 1 --scenario store --faults twice@19:0:1:2"),
        (_SLOW, "never slow", "--seed 1 --scenario store --faults store_slow@19:0:0.1:0.5"),
        (_ORDER, "news overtaken", "--seed 13 --scenario store --faults store_fail@0.1:0:0:0.5"),
        (_OVER, "subscribed for ever", "--seed 18 --scenario http --faults twice@19:0:1:2"),
        (_KEPT, "ended early", "--seed 2 --scenario store --faults store_fail@19:0:0:0.5"),
        (_KEPT, "ended early", "--seed 2 --scenario store --faults wall@19:0:15:0.5"),
        (_LOST, "news missed", "--seed 27 --scenario store --faults wall@2:0:-15:2"),
    ],
)
def test_a_fault_excuses_nothing_that_is_far_from_it(
    rule: str, mutation: str, schedule: str
) -> None:
    command = [*PYTHON, "-m", "tests.simulation", *schedule.split()]
    broken = subprocess.run(
        [*command, "--mutation", mutation], capture_output=True, text=True, check=False
    )
    assert broken.returncode == 1, broken.stderr
    assert broken.stdout.splitlines()[-1].startswith(f"broken: {rule}")
    sound = subprocess.run(command, capture_output=True, text=True, check=False)
    assert sound.returncode == 0, sound.stdout[-500:]
