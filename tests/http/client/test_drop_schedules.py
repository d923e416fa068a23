"""Random schedules: both machines, a virtual clock, and connections that break at any byte."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mcpcore import HttpClientSettings, HttpSettings, Recovery
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.http.cutwire import FULL, HALF_OPEN, SEEN, CutWire, Point, Talk
from tests.shares import Some

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
REFUSED = Point(before="request")


class Schedules(RuleBasedStateMachine):
    """One client in one session with a server, and a network at its worst."""

    wire: CutWire
    talk: Talk

    @initialize(
        version=st.sampled_from(NAMES),
        delay=st.sampled_from([None, 0.0, 1.0]),
        seed=st.sampled_from([b"", b"seed"]),
    )
    def begin(self, version: str, delay: float | None, seed: bytes) -> None:
        self.wire = CutWire(
            version,
            server=HttpSettings(json_delay=delay),
            client=HttpClientSettings(max_resumes=10_000),
            seed=seed,
        )
        self.talk = Talk(self.wire)

    # What the two sides do

    @rule()
    def call(self) -> None:
        if len(self.talk.made) < 6:
            self.talk.call()
            self.wire.settle()

    @rule(data=st.data(), count=st.integers(1, 3))
    def tell(self, data: Any, count: int) -> None:
        call = data.draw(st.sampled_from([0, *self.talk.keys]))
        for _ in range(count):
            self.talk.tell(call)
        self.wire.settle()

    @precondition(lambda self: self.talk.keys)
    @rule(data=st.data())
    def ask(self, data: Any) -> None:
        self.talk.ask(data.draw(st.sampled_from([*self.talk.keys])))
        self.wire.settle()

    @precondition(lambda self: self.talk.keys)
    @rule(data=st.data())
    def answer(self, data: Any) -> None:
        self.talk.answer(data.draw(st.sampled_from([*self.talk.keys])))
        self.wire.settle()

    @precondition(lambda self: self.talk.keys)
    @rule(data=st.data(), retry=st.sampled_from([0.0, 0.5, 3.0]))
    def close_stream(self, data: Any, retry: float) -> None:
        key = self.talk.keys[data.draw(st.sampled_from([*self.talk.keys]))]
        self.wire.server.close_stream(key, retry=retry, now=self.wire.now)

    @rule()
    def close_get_streams(self) -> None:
        session = self.wire.client.session
        assert session is not None
        self.wire.server.close_get_streams(session, now=self.wire.now)

    # What the network does

    @precondition(lambda self: self.wire.alive() or self.wire.half_open)
    @rule(data=st.data(), limit=st.sampled_from([1, 20, 100, 1000, 1 << 20]))
    def write(self, data: Any, limit: int) -> None:
        ready = self.wire.writable()
        if ready:
            self.wire.write(data.draw(st.sampled_from(ready)), limit)

    @precondition(lambda self: self.wire.alive())
    @rule(data=st.data(), count=st.integers(0, 300))
    def deliver(self, data: Any, count: int) -> None:
        self.wire.deliver(data.draw(st.sampled_from(self.wire.alive())), count)
        self.wire.settle()

    @rule()
    def all_goes_well(self) -> None:
        self.wire.run()

    @precondition(lambda self: self.wire.alive())
    @rule(
        data=st.data(),
        error=st.sampled_from([None, "reset"]),
        dies=st.sampled_from([SEEN, HALF_OPEN, FULL]),
    )
    def cut(self, data: Any, error: str | None, dies: str) -> None:
        exchange = data.draw(st.sampled_from(self.wire.alive()))
        self.wire.cut(exchange, error, dies=dies)
        self.wire.settle()

    @precondition(lambda self: self.wire.half_open)
    @rule(data=st.data())
    def tell_the_server(self, data: Any) -> None:
        self.wire.tell(data.draw(st.sampled_from(sorted(self.wire.half_open))))

    @rule(refused=st.booleans(), seconds=st.sampled_from([0.1, 1.0, 2.5, 20.0]))
    def wait(self, refused: bool, seconds: float) -> None:
        self.wire.choose = lambda send: REFUSED if refused and send.method == "GET" else None
        self.wire.pass_time(seconds)
        self.wire.choose = lambda send: None

    # What must hold

    @invariant()
    def nothing_comes_twice(self) -> None:
        if hasattr(self, "talk"):
            self.talk.check()

    def end(self) -> None:
        """The network has mended: let everything come to its end."""
        wire, talk = self.wire, self.talk
        for exchange in sorted(wire.half_open):
            wire.tell(exchange)
        wire.pass_time(400)
        for call in [*talk.keys]:
            talk.answer(call)
        wire.pass_time(400)
        talk.check_end()
        assert wire.client.exchanges == wire.server.exchanges == 1

    def teardown(self) -> None:
        if not hasattr(self, "talk"):
            return
        self.end()
        talk = self.talk
        given_up = {
            event.request for event in talk.interruptions if event.recovery is Recovery.FAIL
        }
        for request, number in talk.requests.items():
            ended = talk.outcomes[number] == ["ended"]
            # a stream that had ids was picked up, and only what had none could end
            assert ended or request not in given_up
        assert not talk.asked or any(each == ["ended"] for each in talk.outcomes.values())


def check(examples: int, steps: int, schedules: type[Schedules] = Schedules) -> None:
    """What must hold does, whatever happens in whatever order."""
    run_state_machine_as_test(
        schedules,
        settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None),
    )


def test_schedules() -> None:
    check(20, 40)


@pytest.mark.long
@pytest.mark.parametrize("part", range(3))
def test_many_schedules(part: int, some: Some) -> None:
    # in parts, because the memory of what was tried grows with the examples
    check(some.of(1_000), 50)
