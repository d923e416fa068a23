"""Settings, states and events of the policies are what the pages say."""

from typing import Any

import msgspec
import pytest
from msgspec import Struct

from mcpcore.engine.lifecycle import State
from mcpcore.policy import balancing, breaker, health
from mcpcore.policy.balancing import BalanceSettings, Standing
from mcpcore.policy.breaker import Breaker, BreakerSettings, Circuit
from mcpcore.policy.failures import RequestFailure
from mcpcore.policy.health import Condition, HealthSettings
from mcpcore.policy.rates import Activity, Rate, activity_of, busy
from mcpcore.policy.retrying import RetrySettings
from mcpcore.policy.suspicion import Suspicious
from mcpcore.spec.methods import METHODS, MethodKind
from mcpcore.spec.revisions import LEGACY, MODERN
from tests.documented import check_defaults, check_states, check_values

SETTINGS = [BalanceSettings(), BreakerSettings(), HealthSettings(), RetrySettings()]
MODULES = [f"mcpcore.policy.{name}" for name in ("balancing", "breaker", "health")]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: type(each).__name__)
def test_defaults(settings: Struct) -> None:
    check_defaults(settings)


@pytest.mark.parametrize(
    ("states", "module"), [(Circuit, breaker), (Condition, health), (Standing, balancing)]
)
def test_states_and_signals(states: type[State], module: Any) -> None:
    (diagram,) = module.DIAGRAMS
    check_states(states, diagram)


@pytest.mark.parametrize("module", [*MODULES, "mcpcore.policy.retrying"])
def test_settings_and_events_cannot_be_changed(module: str) -> None:
    check_values(module)


@pytest.mark.parametrize("kind", [Rate, RequestFailure, Suspicious])
def test_values_cannot_be_changed(kind: type[Struct]) -> None:
    assert kind.__struct_config__.frozen


WORDS = {
    Activity.TOOLS: ("tool calls", ["tools/call"]),
    Activity.READS: (
        "reads of resources",
        ["resources/read", "resources/directory/read", "skills/get"],
    ),
    Activity.PROMPTS: ("prompts", ["prompts/get"]),
    Activity.LISTS: (
        "requests for lists",
        [
            *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
            "skills/list",
        ],
    ),
    Activity.COMPLETION: ("completions", ["completion/complete"]),
    Activity.SUBSCRIPTIONS: (
        "subscriptions",
        ["subscriptions/listen", "resources/subscribe", "resources/unsubscribe"],
    ),
    Activity.TASKS: (
        "requests about tasks",
        ["tasks/get", "tasks/update", "tasks/result", "tasks/list", "tasks/cancel"],
    ),
    Activity.EXTENSIONS: ("requests of extensions", ["acme/dig"]),
    Activity.LOGGING: ("log messages", []),
    Activity.PROGRESS: ("progress notifications", []),
    Activity.SAMPLING: ("requests for sampling", ["sampling/createMessage"]),
    Activity.ELICITATION: ("requests for elicitation", ["elicitation/create"]),
    Activity.ROOTS: ("requests for roots", ["roots/list"]),
}
FREE = {"initialize", "ping", "server/discover", "logging/setLevel"}
"""Requests that the engine answers."""


@pytest.mark.parametrize("activity", Activity)
def test_an_activity_is_named_in_its_error(activity: Activity) -> None:
    text, methods = WORDS[activity]
    assert all(activity_of(method) is activity for method in methods)
    for revision, code, wait, told, milliseconds in (
        (MODERN[0], 1001, 0.00154, "0.0015", 2),
        (LEGACY[0], -32000, 3600.0, "3600", 3_600_000),
    ):
        error = busy(activity, wait, revision)
        assert error.error.message == f"busy: too many {text}; try again in {told} seconds"
        assert error.code == code
        assert msgspec.json.decode(error.error.data or b"") == {"retryAfterMs": milliseconds}


def test_every_request_of_the_protocol_belongs_to_an_activity() -> None:
    requests = {row.name for row in METHODS if row.kind is MethodKind.REQUEST}
    known = {method for _, methods in WORDS.values() for method in methods}
    assert requests - FREE == known - {"acme/dig"}


def test_a_breaker_needs_no_name() -> None:
    unnamed = Breaker(BreakerSettings(consecutive=1))
    permit = unnamed.admit(now=0.0)
    assert permit is not None
    unnamed.record(permit, failed=True, now=0.0)
    change = unnamed.next_event()
    assert change is not None
    assert change.name == ""
