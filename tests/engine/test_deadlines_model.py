"""Deadlines against a plain dict, over so many operations that dead entries are cleared away."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.engine.deadlines import Deadlines

_OPERATIONS = 4000


class Item:
    """Something with a deadline."""

    def __init__(self) -> None:
        self.deadline: float | None = None


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1 << 32),
    items=st.sampled_from((30, 60, 3)),
    looks=st.sampled_from((0.05, 0.1, 0.5)),
    drops=st.sampled_from((0.1, 0.02, 0.5)),
)
def test_deadlines_are_those_of_a_dict(seed: int, items: int, looks: float, drops: float) -> None:
    chance = Random(seed)
    deadlines: Deadlines[Item] = Deadlines()
    things = [Item() for _ in range(items)]
    model: dict[Item, float] = {}
    now = 0.0
    for _ in range(_OPERATIONS):
        item = chance.choice(things)
        if chance.random() < drops:
            deadlines.set(item, None)
            model.pop(item, None)
        else:
            # Some come in order, some are the same, some were had before.
            when = now + chance.choice((20.0, chance.randrange(1, 40), 40 * chance.random()))
            deadlines.set(item, when)
            model[item] = when
        assert deadlines.live == len(model)
        if chance.random() < looks:
            assert deadlines.next() == min(model.values(), default=None)
        if chance.random() < looks / 4:
            now += chance.choice((0.5, 3.0))
            over = sorted(when for when in model.values() if when <= now)
            assert [model.pop(each) for each in deadlines.due(now)] == over
    deadlines.set(Item(), now)  # what was dropped is cleared away when something is added
    assert len(deadlines._queue) + len(deadlines._heap) <= 65 + 4 * deadlines.live
