"""Events: whoever is told of one tells it on as it was."""

import inspect

import msgspec
import pytest

from mcpcore.engine import events, reconnecting
from mcpcore.http import recovery, reports, sessions, storing

MODULES = (events, reconnecting, recovery, reports, sessions, storing)
KINDS = sorted(
    {
        each
        for module in MODULES
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, events.Event) and each is not events.Event
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_cannot_be_changed(kind: type[events.Event]) -> None:
    names = [field.name for field in msgspec.structs.fields(kind)]
    event = kind(**dict.fromkeys(names))  # what the members may be does not matter here
    for name in names:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(event, name, 1)


def test_all_kinds_of_events_are_known_here() -> None:
    names = {kind.__name__ for kind in KINDS}
    told = {"RequestReceived", "Reconnecting", "StreamReopened", "ExchangeEnded", "SessionOpened"}
    assert told < names
    assert len(names) > 40
