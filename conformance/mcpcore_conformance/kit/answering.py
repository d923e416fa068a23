"""Answers of the kit, as a client, to the requests of a server."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from mcpcore_conformance.kit.features import sample_form
from mcpcore_conformance.kit.messages import Message


class Answering(Struct):
    """Answers of the kit, as a client, to requests of a server.

    ``by`` method: a function of the request that returns a result, or None to leave it without an
    answer, or an ``error`` dict made by hand.
    """

    by: dict[str, Callable[[Message], dict[str, Any] | None]] = field(default_factory=dict)

    def result(self, message: Message) -> dict[str, Any] | None:
        """Return the result to answer with; None for no answer."""
        found = self.by.get(message.method) or _ANSWERS.get(message.method)
        return found(message) if found is not None else None


def _sample(_message: Message) -> dict[str, Any]:
    content = {"type": "text", "text": "said by the kit"}
    return {"role": "assistant", "content": content, "model": "kit", "stopReason": "endTurn"}


def _elicit(message: Message) -> dict[str, Any]:
    schema = message.params.get("requestedSchema")
    if schema is None:
        return {"action": "accept"}
    return {"action": "accept", "content": sample_form(schema)}


_ANSWERS: Mapping[str, Callable[[Message], dict[str, Any] | None]] = {
    "ping": lambda _message: {},
    "sampling/createMessage": _sample,
    "elicitation/create": _elicit,
    "roots/list": lambda _message: {"roots": [{"uri": "file:///kit", "name": "kit"}]},
}
