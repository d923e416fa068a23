"""What a client logs of a server's mistakes: bounded for each stream, however many streams."""

import pytest

from mcpcore.engine.events import Violation
from mcpcore.policy.suspicion import Suspicion
from mcpcore_transports.client.core import ViolationLog
from mcpcore_transports.server.violations import ClientViolations


def test_each_stream_is_shown_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    log = ViolationLog()
    with caplog.at_level("WARNING", "mcpcore.client"):
        for _ in range(1000):
            log.tell(Violation(-32600, "first", 1))
        assert len(caplog.messages) == 10 + 6, "16, 32, 64, 128, 256, 512"
        log.tell(Violation(-32600, "second", 2))
    assert caplog.messages[-1] == "the server broke a rule: second"
    assert caplog.messages[-2] == "the server broke a rule, 512 times by now: first"


def test_a_stream_that_goes_on_is_not_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    log = ViolationLog()
    with caplog.at_level("WARNING", "mcpcore.client"):
        for route in range(1, 2000):
            log.tell(Violation(-32600, "often", 0))
            log.tell(Violation(-32600, "once", route))
    assert sum("often" in message for message in caplog.messages) == 10 + 7


def test_what_the_other_side_says_makes_no_lines_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = Violation(-32600, "a\nforged", 1, principal="ann\nforged")
    with caplog.at_level("INFO"):
        ViolationLog().tell(event)
        ClientViolations(Suspicion(violations=1)).hear(event)
    assert caplog.messages[:3] == [
        "the server broke a rule: a?forged",
        "a client broke a rule: a?forged",
        "principal ann?forged breaks many rules, the last one: a?forged",
    ]
    assert "\n" not in "".join(caplog.messages)
