"""Events: whoever is told of one tells it on as it was."""

import inspect

import msgspec
import pytest

from mcpcore.engine import events, reconnection
from mcpcore.http import storing
from mcpcore.http.client import call
from mcpcore.http.server import exchange, sessions

MODULES = (events, reconnection, call, exchange, sessions, storing)
KINDS = sorted(
    {
        each
        for module in MODULES
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, events.Event) and each is not events.Event
    },
    key=lambda kind: kind.__name__,
)
BY_NAMES = [
    kind for kind in KINDS if kind.__module__ != events.__name__ and msgspec.structs.fields(kind)
]
TOLD = """
    Announce Announcements ConnectionEnded ConnectionLost ErrorReceived ExchangeEnded
    InputRequired LogLevelChanged NegotiationFailed NoteLost NoteReceived
    NotificationReceived Post ProgressReceived QueuePut QueueTake Ready Reconnected
    Reconnecting ReconnectingGivenUp RequestCancelled RequestEnded RequestReceived
    ResourceSubscribed ResultReceived SessionCalls SessionClosed SessionDelete SessionForgotten
    SessionLoad SessionOpened SessionRestored SessionSave SessionTouch Step
    StreamAppend StreamBegin StreamClaim StreamDrained StreamInterrupted StreamRead
    StreamRelease StreamReopened
    SubscriptionAcknowledged SubscriptionClosed SubscriptionNotification SubscriptionOpened
    Violation
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_cannot_be_changed(kind: type[events.Event]) -> None:
    names = [field.name for field in msgspec.structs.fields(kind)]
    event = kind(**dict.fromkeys(names))  # what the members may be does not matter here
    for name in names:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(event, name, 1)


@pytest.mark.parametrize("kind", BY_NAMES)
def test_an_event_that_is_none_of_a_conversation_is_made_by_names(kind: type[events.Event]) -> None:
    with pytest.raises(TypeError, match="positional"):
        kind(1)


def test_all_kinds_of_events_are_known_here() -> None:
    assert set(TOLD.split()) <= {kind.__name__ for kind in KINDS}
