"""Settings and states of the relay are what the pages say."""

from typing import Any

import pytest

from mcpcore.relay.listens import DIAGRAMS, ListenState
from mcpcore.relay.settings import RelaySettings
from tests.documented import check_defaults, check_states, check_values


def test_defaults() -> None:
    check_defaults(RelaySettings())
    check_values("mcpcore.relay.settings")


def test_states_and_signals() -> None:
    (diagram,) = DIAGRAMS
    check_states(ListenState, diagram)


MAY_BE_ZERO = {"parked", "repeats", "list_ttl", "list_bytes", "grace"}
MAY_BE_ZERO |= {"changes_apart", "unknown_apart"}


@pytest.mark.parametrize("name", sorted({*RelaySettings.__struct_fields__} - {"naming"}))
def test_settings_out_of_range(name: str) -> None:
    for value in (-1, 0):
        given: dict[str, Any] = {name: value}
        if value == 0 and name in MAY_BE_ZERO:
            RelaySettings(**given)
        else:
            with pytest.raises(ValueError, match=name):
                RelaySettings(**given)
