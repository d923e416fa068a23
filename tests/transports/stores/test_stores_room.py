"""Who goes when there are too many sessions: crowds of two owners, the same in every store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcpcore.http.storing import (
    Ended,
    SessionCalls,
    SessionDelete,
    SessionLoad,
    SessionSave,
    SessionTouch,
    Step,
    StreamAppend,
    StreamBegin,
    StreamRelease,
)
from mcpcore_transports.stores.base import StoreSettings
from tests.transports.stores.store_stage import Stage, Theatre, decoded, record, theatre

OWNERS = dict.fromkeys("abcd", "one") | dict.fromkeys("ef", "two")


@pytest.fixture(params=["sqlite", "redis"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Theatre]:
    """What the others are compared with."""
    with theatre("memory", tmp_path) as made:
        yield made


names = st.sampled_from(sorted(OWNERS))
STEPS: dict[str, Callable[[str], Step]] = {
    "touch": lambda name: SessionTouch(token=1, session=name),
    "load": lambda name: SessionLoad(token=1, session=name),
    "delete": lambda name: SessionDelete(token=1, session=name),
    "calls": lambda name: SessionCalls(token=1, session=name, calls=1, limit=5),
    "no calls": lambda name: SessionCalls(token=1, session=name, calls=0, limit=5),
    "get": lambda name: StreamBegin(token=1, session=name, stream=1, request=None),
    "no get": lambda name: StreamRelease(token=1, session=name, stream=1),
    "post": lambda name: StreamBegin(token=1, session=name, stream=2, request=b"7"),
    "no post": lambda name: StreamAppend(token=1, session=name, stream=2, data=b"", ends=True),
}
steps = st.tuples(st.sampled_from([*STEPS, "calls", "get", "post"]), names)
MANY = 100
bounds = st.one_of(
    # which goes for a batch that meets both bounds, where all are at work, is open
    st.tuples(st.integers(1, 3), st.just(MANY), st.just(4)),
    st.tuples(st.just(MANY), st.integers(1, 5), st.just(4)),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.just(1)),
)
"""The most sessions of an owner, of all, and made at once."""


def saved(name: str, created: float) -> Step:
    made = record(name, created=created, owner=OWNERS[name])
    return SessionSave(token=1, session=name, record=made)


def gone(stage: Stage) -> list[str]:
    """Who had to make room, as another worker is told."""
    notes = map(decoded, stage.notes("b"))
    return sorted(note.session for note in notes if isinstance(note, Ended))


@pytest.mark.parametrize("examples", [30, pytest.param(100, marks=pytest.mark.long)])
def test_the_same_go_in_every_store(house: Theatre, memory: Theatre, examples: int) -> None:
    @settings(
        max_examples=examples,
        phases=[phase for phase in Phase if phase is not Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data(), bound=bounds)
    def agree(data: st.DataObject, bound: tuple[int, int, int]) -> None:
        share, total, most = bound
        limits = StoreSettings(sessions=total, sessions_per_client=share, unused=1000, renew=0)
        makes = st.lists(names, min_size=1, max_size=most, unique=True)
        history = data.draw(st.lists(makes | steps, min_size=10, max_size=40))
        with house.stage(limits) as one, memory.stage(limits) as other:
            for stage in (one, other):
                stage.notes("b")
            living: set[str] = set()
            for drawn in history:
                one.wall = other.wall = one.wall + 1
                if isinstance(drawn, list):
                    new = [name for name in drawn if name not in living]
                    batch = [saved(name, one.wall + at / 100) for at, name in enumerate(new)]
                    living.update(new)
                else:
                    what, name = drawn
                    batch = [STEPS[what](name)]
                    living -= {name} if what == "delete" else set()
                assert one.commit("a", *batch) == other.commit("a", *batch)
                went = gone(other)
                assert gone(one) == went
                living.difference_update(went)

    agree()
