"""Makers of faults of clients that need no class of their own."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.client_fault import ClientBreaks, ClientFault, Edit, Value
from mcpcore_conformance.kit.client_wire import Arrival, Asked, Ended, Signal
from mcpcore_conformance.kit.heard import Headers
from mcpcore_conformance.kit.messages import encode


def hooked(**hooks: Callable[..., Any]) -> ClientBreaks:
    """Run functions in the place of hooks of :class:`ClientFault`, by their names."""

    def make() -> ClientFault:
        fault = ClientFault()
        for name, hook in hooks.items():
            setattr(fault, name, hook)
        return fault

    return make


class _Said(ClientFault):
    method: str
    edit: Edit
    answers: bool = False
    place: int = 0

    def said(self, value: Value) -> Iterable[Value | bytes]:
        concerned = ("method" not in value) is self.answers
        if not concerned or self.method not in ("", self.method_of(value)):
            return (value,)
        edited = self.edit(value)
        made = () if edited is None else (edited,)
        if self.place < 0:
            return (*made, value)
        return (value, *made) if self.place else made


def says(method: str, edit: Edit) -> ClientBreaks:
    """Edit the client's own requests and notifications of a method; empty: of every method."""
    return lambda: _Said(method, edit)


def answers(method: str, edit: Edit) -> ClientBreaks:
    """Edit the client's answers to a method; empty: to every method."""
    return lambda: _Said(method, edit, answers=True)


def adds(method: str, edit: Edit) -> ClientBreaks:
    """After each message of a method, say what ``edit`` makes of it as well."""
    return lambda: _Said(method, edit, place=1)


def precedes(method: str, edit: Edit) -> ClientBreaks:
    """Before each message of a method, say what ``edit`` makes of it as well."""
    return lambda: _Said(method, edit, place=-1)


def adds_to_answers(method: str, edit: Edit) -> ClientBreaks:
    """After each answer to a method, say what ``edit`` makes of it as well."""
    return lambda: _Said(method, edit, answers=True, place=1)


class _Once(ClientFault):
    _said = False

    method: str
    edit: Edit

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != self.method:
            return (value,)
        again, self._said = self._said, True
        edited = self.edit(value) if again else value
        return () if edited is None else (edited,)


def once(method: str, edit: Edit) -> ClientBreaks:
    """Say the first message of a method as it is, and edit those that follow."""
    return lambda: _Once(method, edit)


def never_says(method: str) -> ClientBreaks:
    """Leave out the client's notifications of a method, or its answers to it."""

    class Silent(ClientFault):
        def said(self, value: Value) -> Iterable[Value | bytes]:
            silent = ("id" not in value or "method" not in value) and self.method_of(value)
            return () if silent == method else (value,)

    return Silent


def params_of(method: str, edit: Callable[[Value], Value]) -> ClientBreaks:
    """Edit the params of the client's requests and notifications of a method; empty: of all."""
    return says(method, lambda value: {**value, "params": edit({**value.get("params", {})})})


def repaired(concerns: Callable[[Value], bool], edit: Edit) -> ClientBreaks:
    """Edit what the kit says on its way to the client, which so does not see what is wrong."""

    def told(value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, dict) or not concerns(value):
            return payload
        edited = edit(value)
        return edited if edited is None or isinstance(edited, bytes) else encode(edited)

    return hooked(told=told)


def deaf_to(concerns: Callable[[Value], bool]) -> ClientBreaks:
    """Keep something that the kit says from the client."""
    return repaired(concerns, lambda value: None)


class _Responds(ClientFault):
    concerns: Callable[[Value], bool]
    make: Callable[[Value], Value]

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and self.concerns(value):
            self.invent(self.make(value))
        return payload


def responds(concerns: Callable[[Value], bool], make: Callable[[Value], Value]) -> ClientBreaks:
    """Say something more to what the kit says."""
    return lambda: _Responds(concerns, make)


def arrives(kind: type, edit: Callable[[Any], Iterable[Arrival]]) -> ClientBreaks:
    """Edit what the kit hears that is no message and no head: of a kind, Gone for instance."""
    return hooked(other=lambda found: edit(found) if isinstance(found, kind) else (found,))


def signals(*names: str) -> ClientBreaks:
    """End a server by signals in the place of the end of its input, ``EOF``."""
    return arrives(
        Signal,
        lambda signal: [Signal(name) for name in names] if signal.name == "EOF" else (signal,),
    )


def heads(edit: Callable[[Asked], Iterable[Asked]]) -> ClientBreaks:
    """Edit the heads of HTTP requests and upgrades, leave them out or add some."""
    return hooked(asked=edit)


def also_asks(method: str, target: str, **headers: str) -> ClientBreaks:
    """Beside every POST send another request, without a body."""

    def add(asked: Asked) -> Iterable[Asked]:
        if asked.method != "POST":
            return (asked,)
        made = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return asked, Asked(-asked.exchange - 1000, method, target, made)

    return heads(add)


def posts_to(target: str) -> ClientBreaks:
    """Post to another address."""

    def change(asked: Asked) -> Iterable[Asked]:
        asked.target = target if asked.method == "POST" else asked.target
        return (asked,)

    return heads(change)


def header(name: str, edit: Callable[[str], str | None], method: str = "") -> ClientBreaks:
    """Edit one header of HTTP requests (of an HTTP method), where it is; None leaves it out."""

    def change(asked: Asked) -> Iterable[Asked]:
        if method in ("", asked.method):
            made: Headers = []
            for each, value in asked.headers:
                kept = edit(value) if each == name else value
                if kept is not None:
                    made.append((each, kept))
            asked.headers = made
        return (asked,)

    return heads(change)


def without_header(name: str, method: str = "") -> ClientBreaks:
    """Leave out one header of HTTP requests."""
    return header(name, lambda value: None, method)


def with_header(name: str, value: str, method: str = "") -> ClientBreaks:
    """Add a header to HTTP requests."""

    def change(asked: Asked) -> Iterable[Asked]:
        if method in ("", asked.method):
            asked.headers = [*asked.headers, (name, value)]
        return (asked,)

    return heads(change)


def reports(step: int, outcome: Value) -> ClientBreaks:
    """Report another outcome of one step; -1: of connecting."""

    def change(report: Value) -> Value:
        if step < 0:
            return {**report, "opened": outcome}
        steps = [*report.get("steps", [])]
        steps[step : step + 1] = [outcome]
        return {**report, "steps": steps}

    return hooked(report=change)


class _GivesUp(ClientFault):
    concerns: Callable[[Any, bytes], bool]
    _given_up: bool = False

    def told(self, value: Any, payload: bytes) -> bytes | None:
        self._given_up = self._given_up or self.concerns(value, payload)
        return payload

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        ended = isinstance(arrival, Ended) and self._given_up
        return (Ended(1),) if ended else (arrival,)

    def report(self, report: Value) -> Value:
        if not self._given_up:
            return report
        failed = {"failure": "invalid", "message": "what the server sent"}
        return {**report, "steps": [failed for _ in report.get("steps", [])]}


def gives_up(concerns: Callable[[Any, bytes], bool]) -> ClientBreaks:
    """Fail when the kit says something that concerns it: the message, or None, and its bytes."""
    return lambda: _GivesUp(concerns)


def has(part: bytes) -> Callable[[Any, bytes], bool]:
    """Whether what the kit says has these bytes."""
    return lambda value, payload: part in payload


def exits(code: int) -> ClientBreaks:
    """End with another status."""
    return arrives(Ended, lambda ended: (Ended(code),))
