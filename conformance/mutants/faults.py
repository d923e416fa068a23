"""One broken thing in a server, made by editing what passes between it and the kit."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.fault import Asked, Fault, Value
from conformance.mutants.faulty_wire import FaultyStage, FaultyWire
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.heard import Head

Edit = Callable[[Value], Value | bytes | None]
"""Takes a message, returns what goes in its place; None: nothing."""


class Edited(Fault):
    """Edits answers to a method, or the server's own messages of a method."""

    def __init__(self, method: str, edit: Edit, *, answers: bool = True) -> None:
        super().__init__()
        self._method, self._edit, self._about_answers = method, edit, answers

    def message(self, value: Value) -> Iterable[Value | bytes]:
        """Edit what belongs to the method."""
        concerned = ("method" not in value) is self._about_answers
        if not concerned or (self._method and self.method_of(value) != self._method):
            return (value,)
        edited = self._edit(value)
        return () if edited is None else (edited,)


def answers_to(method: str, edit: Edit) -> Callable[[], Fault]:
    """Edit the answers (results and errors) to a method; an empty one means every method."""
    return lambda: Edited(method, edit)


def results_of(method: str, edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the good results of a method."""

    def change(value: Value) -> Value:
        return {**value, "result": edit(value["result"])} if "result" in value else value

    return answers_to(method, change)


def own_messages(method: str, edit: Edit) -> Callable[[], Fault]:
    """Edit notifications and requests of the server of a method."""
    return lambda: Edited(method, edit, answers=False)


class _Instead(Fault):
    def __init__(self, concerns: Callable[[Any], bool], answer: Edit) -> None:
        super().__init__()
        self._concerns, self._answer = concerns, answer

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not self._concerns(value):
            return payload
        found = self._answer(value)
        if found is not None:
            self.answer(found)
        return None


def instead(concerns: Callable[[Any], bool], answer: Edit) -> Callable[[], Fault]:
    """Keep what concerns it from the server, and answer in its place (or not at all).

    ``concerns`` gets the message that the kit says, None if it is no JSON.
    """
    return lambda: _Instead(concerns, answer)


def ignores(concerns: Callable[[Any], bool]) -> Callable[[], Fault]:
    """Say nothing to what concerns it, and do nothing."""
    return instead(concerns, lambda _value: None)


def declines(concerns: Callable[[Any], bool], code: int = -32600) -> Callable[[], Fault]:
    """Answer what concerns it with an error, with the id if it is a request."""

    def answer(value: Any) -> Value:
        id = value.get("id") if isinstance(value, dict) else None
        return messages.error(id if messages.is_id(id) else None, code, "declined")

    return instead(concerns, answer)


def asks(method: str) -> Callable[[Any], bool]:
    """Whether something is a message of that method."""
    return lambda value: isinstance(value, dict) and value.get("method") == method


class _Misread(Fault):
    def __init__(self, edit: Callable[[Any, bytes], Any]) -> None:
        super().__init__()
        self._edit_said = edit

    def said(self, value: Any, payload: bytes) -> bytes | None:
        found = self._edit_said(value, payload)
        return found if isinstance(found, bytes) else messages.encode(found)


def misread(edit: Callable[[Any, bytes], Any]) -> Callable[[], Fault]:
    """Let the server read something else than the kit says.

    ``edit`` gets the message (None if it is no JSON) and the bytes, and returns either.
    """
    return lambda: _Misread(edit)


class _Dies(Fault):
    def __init__(self, concerns: Callable[[Any, bytes], bool]) -> None:
        super().__init__()
        self._concerns = concerns

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not self._concerns(value, payload):
            return payload
        self.vanish("the process ended with status 1", code=1)
        return None


def dies_of(concerns: Callable[[Any, bytes], bool]) -> Callable[[], Fault]:
    """End the connection when something is said: the message (None if it is no JSON), its bytes."""
    return lambda: _Dies(concerns)


def code(found: int, instead_of_it: int, method: str = "") -> Callable[[], Fault]:
    """Send another error code than the one that is due; perhaps for one method only."""

    def change(value: Value) -> Value:
        if value.get("error", {}).get("code") != found:
            return value
        return {**value, "error": {**value["error"], "code": instead_of_it}}

    return answers_to(method, change)


def takes(method: str, result: Value) -> Callable[[], Fault]:
    """Answer every request of a method with a good result, whatever it says."""
    return instead(
        lambda value: isinstance(value, dict) and value.get("method") == method,
        lambda value: messages.result(value.get("id"), result) if "id" in value else None,
    )


class _Statuses(Fault):
    def __init__(self, edit: Callable[[Head], Head]) -> None:
        super().__init__()
        self._edit_head = edit

    def head(self, head: Head) -> Head:
        return self._edit_head(head)


def heads(edit: Callable[[Head], Head]) -> Callable[[], Fault]:
    """Edit response heads."""
    return lambda: _Statuses(edit)


def status(found: int, instead_of_it: int) -> Callable[[], Fault]:
    """Answer with another status."""

    def change(head: Head) -> Head:
        if head.status == found:
            head.status = instead_of_it
        return head

    return heads(change)


__all__ = [
    "Asked",
    "Edit",
    "Edited",
    "Fault",
    "FaultyStage",
    "FaultyWire",
    "Value",
    "answers_to",
    "asks",
    "code",
    "declines",
    "dies_of",
    "heads",
    "ignores",
    "instead",
    "misread",
    "own_messages",
    "results_of",
    "status",
    "takes",
]
