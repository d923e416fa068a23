"""One broken thing in a server, made by editing what passes between it and the kit."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import over
from conformance.mutants.fault import Breaks, Fault, Value
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.heard import Head, Heard

Edit = Callable[[Value], Value | bytes | None]
"""Takes a message, returns what goes in its place; None: nothing."""


def hooked(**hooks: Callable[..., Any]) -> Breaks:
    """Run functions in the place of hooks of :class:`Fault`, by their names."""

    def make() -> Fault:
        fault = Fault()
        for name, hook in hooks.items():
            setattr(fault, name, hook)
        return fault

    return make


class Edited(Fault):
    """Edits answers to a method, or the server's own messages of a method."""

    method: str
    edit: Edit
    answers: bool = True

    def message(self, value: Value) -> Iterable[Value | bytes]:
        """Edit what belongs to the method."""
        concerned = ("method" not in value) is self.answers
        if not concerned or (self.method and self.method_of(value) != self.method):
            return (value,)
        edited = self.edit(value)
        return () if edited is None else (edited,)


def answers_to(method: str, edit: Edit) -> Breaks:
    """Edit the answers (results and errors) to a method; an empty one means every method."""
    return lambda: Edited(method, edit)


def results_of(method: str, edit: Callable[[Value], Value]) -> Breaks:
    """Edit the good results of a method."""
    return answers_to(method, over("result", edit))


def fails(method: str, code: int, message: str = "no") -> Breaks:
    """Do what a method wants, and answer with an error."""
    return answers_to(method, lambda value: messages.error(value["id"], code, message))


def errors_of(method: str, edit: Callable[[Value], Value]) -> Breaks:
    """Edit the errors that a method is answered with; an empty one means every method."""
    return answers_to(method, over("error", edit))


def own_messages(method: str, edit: Edit) -> Breaks:
    """Edit notifications and requests of the server of a method."""
    return lambda: Edited(method, edit, answers=False)


class _Instead(Fault):
    concerns: Callable[[Any], bool]
    _answer: Edit

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not self.concerns(value):
            return payload
        found = self._answer(value)
        if found is not None:
            self.answer(found)
        return None


def instead(concerns: Callable[[Any], bool], answer: Edit) -> Breaks:
    """Keep what concerns it from the server, and answer in its place (or not at all).

    ``concerns`` gets the message that the kit says, None if it is no JSON.
    """
    return lambda: _Instead(concerns, answer)


def ignores(concerns: Callable[[Any], bool]) -> Breaks:
    """Say nothing to what concerns it, and do nothing."""
    return instead(concerns, lambda _value: None)


def declines(concerns: Callable[[Any], bool], code: int = -32600) -> Breaks:
    """Answer what concerns it with an error, with the id if it is a request."""

    def answer(value: Any) -> Value:
        id = value.get("id") if isinstance(value, dict) else None
        return messages.error(id if messages.is_id(id) else None, code, "declined")

    return instead(concerns, answer)


def asks(method: str, test: Callable[[Value], bool] = lambda params: True) -> Callable[[Any], bool]:
    """Whether something is a message of that method, whose params pass the test."""
    return lambda value: (
        isinstance(value, dict) and value.get("method") == method and test(params_of(value))
    )


def params_of(value: Any) -> Value:
    """Params of what the kit says; empty if it has none, or is no message."""
    params = value.get("params") if isinstance(value, dict) else None
    return params if isinstance(params, dict) else {}


def meta_of(value: Any) -> Value:
    """``_meta`` of what the kit says; empty if it has none, or is no message."""
    meta = params_of(value).get("_meta")
    return meta if isinstance(meta, dict) else {}


class _Turns(Fault):
    """One fault until a number of messages have come, another one from the last of them on."""

    begins: Callable[[Any], bool]
    left: int
    now: Fault
    then: Fault

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self.left -= bool(self.begins(value))
        if self.left <= 0:
            self.now = self.then
        reaches = self.now.said(value, payload)
        self._answers += self.now.take_answers()
        return reaches

    def message(self, value: Value) -> Iterable[Value | bytes]:
        self.now.asked = self.asked
        return self.now.message(value)


def since(begins: Callable[[Any], bool], then: Breaks, *, number: int = 1) -> Breaks:
    """Break when the kit says something that ``begins`` takes, for the ``number``-th time."""
    return lambda: _Turns(begins, number, Fault(), then())


def before(ends: Callable[[Any], bool], first: Breaks, *, number: int = 1) -> Breaks:
    """Be broken until the kit says something that ``ends`` takes, for the ``number``-th time."""
    return lambda: _Turns(ends, number, first(), Fault())


class _Together(Fault):
    faults: list[Fault]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        reaches: bytes | None = payload
        for fault in self.faults:
            if reaches is not None:
                reaches = fault.said(value, reaches)
                self._answers += fault.take_answers()
        return reaches

    def message(self, value: Value) -> Iterable[Value | bytes]:
        made: list[Value | bytes] = [value]
        for fault in self.faults:
            fault.asked = self.asked
            made = [
                part
                for each in made
                for part in ((each,) if isinstance(each, bytes) else fault.message(each))
            ]
        return made


def together(*makes: Breaks) -> Breaks:
    """Break several things, one after the other."""
    return lambda: _Together([make() for make in makes])


def reads(edit: Callable[[bytes], bytes | None]) -> Breaks:
    """Change what is written to the server as it is (lines, frames); None: nothing of it."""
    return hooked(written=edit)


def misread(edit: Callable[[Any, bytes], Any]) -> Breaks:
    """Let the server read something else than the kit says.

    ``edit`` gets the message (None if it is no JSON) and the bytes, and returns either.
    """

    def said(value: Any, payload: bytes) -> bytes:
        found = edit(value, payload)
        return found if isinstance(found, bytes) else messages.encode(found)

    return hooked(said=said)


class _Responds(Fault):
    concerns: Callable[[Any], bool]
    make: Callable[[Value], Value]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if self.concerns(value):
            self.answer(self.make(value))
        return payload


def responds(concerns: Callable[[Any], bool], make: Callable[[Value], Value]) -> Breaks:
    """Say something more to what the kit says."""
    return lambda: _Responds(concerns, make)


class _Dies(Fault):
    concerns: Callable[[Any, bytes], bool]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not self.concerns(value, payload):
            return payload
        self.vanish("the process ended with status 1", code=1)
        return None


def dies_of(concerns: Callable[[Any, bytes], bool]) -> Breaks:
    """End the connection when something is said: the message (None if it is no JSON), its bytes."""
    return lambda: _Dies(concerns)


def code(found: int, instead_of_it: int, method: str = "") -> Breaks:
    """Send another error code than the one that is due; perhaps for one method only."""
    return errors_of(method, over("code", lambda sent: instead_of_it if sent == found else sent))


def takes(method: str, result: Value) -> Breaks:
    """Answer every request of a method with a good result, whatever it says."""
    return instead(
        asks(method),
        lambda value: messages.result(value.get("id"), result) if "id" in value else None,
    )


def alters(kind: type, test: Callable[[Any], bool] = lambda found: True, **members: Any) -> Breaks:
    """Set members of what is heard, of a kind: ``data`` of an Event, ``code`` of a Gone.

    A function in the place of a value is given what there was.
    """

    def heard(found: Heard) -> Iterable[Heard]:
        if isinstance(found, kind) and test(found):
            for name, value in members.items():
                setattr(found, name, value(getattr(found, name)) if callable(value) else value)
        return (found,)

    return hooked(heard=heard)


def loses(kind: type, test: Callable[[Any], bool] = lambda found: True) -> Breaks:
    """Keep what is heard, of a kind, from the kit."""
    return hooked(heard=lambda found: () if isinstance(found, kind) and test(found) else (found,))


def followed(test: Callable[[Value], bool], make: Callable[[Value], Value]) -> Breaks:
    """Send one message more behind each of the server's that passes a test."""
    return hooked(message=lambda value: (value, make(value)) if test(value) else (value,))


def heads(edit: Callable[[Head], Head]) -> Breaks:
    """Edit response heads."""
    return hooked(head=edit)


def status(found: int, instead_of_it: int) -> Breaks:
    """Answer with another status."""

    def change(head: Head) -> Head:
        if head.status == found:
            head.status = instead_of_it
        return head

    return heads(change)
