"""What goes between a machine of HTTP and its driver: nobody changes what another one holds."""

import inspect
from typing import Any

import pytest

from mcpcore.http import messages

KINDS = sorted(
    (
        each
        for _, each in inspect.getmembers(messages, inspect.isclass)
        if each.__module__ == messages.__name__
    ),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_cannot_be_changed(kind: type[Any]) -> None:
    names = kind.__struct_fields__
    message = kind(**{name: [] for name in names})  # what the members may be does not matter here
    for name in names:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(message, name, 1)


def test_all_kinds_of_messages_are_known_here() -> None:
    names = [kind.__name__ for kind in KINDS]
    told = ["HttpAbort", "HttpChunk", "HttpEnd", "HttpHead", "HttpReply", "HttpRequest", "HttpSend"]
    assert names == told
