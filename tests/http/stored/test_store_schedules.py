"""Random schedules of workers that share a store: slow, in odd order, failing, dying."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from mcpcore.http.settings import HttpClientSettings, HttpSettings
from tests.http.client.test_drop_schedules import NAMES, Schedules, check
from tests.http.cutwire import CutWire, Talk
from tests.http.stored.cluster import EPOCH, Cluster, Worker
from tests.shares import Some


class StoreSchedules(Schedules):
    """The same client and network; what goes to and from the store takes its time."""

    cluster: Cluster
    failed = False

    @initialize(
        version=st.sampled_from(NAMES),
        delay=st.sampled_from([None, 0.0, 1.0]),
        seed=st.sampled_from([b"", b"seed"]),
        workers=st.integers(1, 3),
        view_idle=st.sampled_from([1.0, 1e6]),
        patience=st.sampled_from([10.0, 1e9]),
        in_flight=st.sampled_from([100, 1024]),
    )
    def begin(
        self,
        version: str,
        delay: float | None,
        seed: bytes,
        workers: int,
        view_idle: float,
        patience: float,
        in_flight: int,
    ) -> None:
        self.wire = CutWire(
            version,
            server=HttpSettings(
                json_delay=delay, session_replica_idle=view_idle, store_timeout=patience
            ),
            client=HttpClientSettings(max_resumes=10_000),
            seed=seed,
            workers=workers,
            # more than there are calls; of so many, a worker asks for all but the first
            in_flight=in_flight,
        )
        assert self.wire.cluster is not None
        self.cluster = self.wire.cluster
        self.talk = Talk(self.wire)
        self.cluster.slow = self.cluster.in_order = True
        self.failed = patience == 10.0

    def some_worker(self, data: Any) -> Worker:
        index: int = data.draw(st.integers(0, len(self.cluster.workers) - 1))
        return self.cluster.workers[index]

    # What the store does

    @rule(data=st.data(), count=st.sampled_from([1, 2, 100]))
    def carry_out(self, data: Any, count: int) -> None:
        self.some_worker(data).carry_out(count, EPOCH + self.wire.now)
        self.wire.settle()

    @rule(data=st.data())
    def learn(self, data: Any) -> None:
        worker = self.some_worker(data)
        if worker.outcomes:
            sessions = len(worker.outcomes)
            worker.learn(data.draw(st.integers(0, sessions - 1)), self.wire.now)
            self.wire.settle()

    @rule(data=st.data(), count=st.integers(1, 5))
    def read_mail(self, data: Any, count: int) -> None:
        worker = self.some_worker(data)
        worker.read_mail()
        while worker.notes and count:
            count -= 1
            worker.server.note(worker.notes.popleft(), now=self.wire.now)
        self.wire.settle()

    @rule()
    def catch_up(self) -> None:
        self.cluster.slow = False
        self.wire.settle()
        self.cluster.slow = True

    @rule(seconds=st.sampled_from([0.1, 1.0, 70.0]))
    def be_quick(self, seconds: float) -> None:
        self.cluster.slow = False
        self.wire.pass_time(seconds)
        self.cluster.slow = True

    # What goes wrong

    @rule(data=st.data(), kind=st.sampled_from(["StreamAppend", "StreamRead", ""]))
    def fail(self, data: Any, kind: str) -> None:
        self.failed = True
        worker = self.some_worker(data)
        worker.done_anyway = data.draw(st.booleans())
        worker.fails = lambda step: kind in type(step).__name__
        worker.carry_out(100, EPOCH + self.wire.now)
        worker.fails = lambda step: False
        self.wire.settle()

    @rule(data=st.data(), others=st.booleans())
    def kill(self, data: Any, others: bool) -> None:
        self.talk.lossy = True
        if not others or len(self.cluster.workers) == 1:
            self.cluster.add()
        self.wire.kill(self.some_worker(data))
        for call in [*self.talk.keys]:
            if self.cluster.worker_of(self.talk.ran[call]) is None:
                del self.talk.keys[call]
        self.wire.settle()

    # What must hold

    def teardown(self) -> None:
        if not hasattr(self, "talk"):
            return
        self.cluster.slow = False
        self.end()
        talk = self.talk
        for call, (outcome,) in talk.outcomes.items():
            alive = call in talk.ran and self.cluster.worker_of(talk.ran[call]) is not None
            assert outcome != "error" or self.failed or not alive
        for worker in self.cluster.workers:
            assert not worker.asked
            assert not worker.outcomes


def test_schedules_with_a_store() -> None:
    check(14, 50, StoreSchedules)


@pytest.mark.long
@pytest.mark.parametrize("part", range(2))
def test_many_schedules_with_a_store(part: int, some: Some) -> None:
    check(some.of(400), 60, StoreSchedules)
