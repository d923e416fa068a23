"""Makers of faults in lists, capabilities and announcements."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import answers_to, own_messages, results_of

Entries = list[dict[str, Any]]
Extra = Value | bytes | Callable[[Value], Value]
"""A message, or what makes it of the answer that it is sent beside."""


def listed(method: str, member: str, edit: Callable[[Entries], Entries]) -> Breaks:
    """Edit the entries of a list."""
    return results_of(method, lambda result: {**result, member: edit(result[member])})


def less_by_connection(method: str, member: str) -> Breaks:
    """Leave out one entry more on each connection."""
    connections = count()

    def make() -> Fault:
        number = next(connections)
        return listed(method, member, lambda entries: entries[number % len(entries) :])()

    return make


class _LessAfterCalls(Fault):
    method: str
    member: str
    _called: bool = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._called |= isinstance(value, dict) and value.get("method") == "tools/call"
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self._called and "result" in value and self.method_of(value) == self.method:
            entries = value["result"][self.member][1:]
            value = {**value, "result": {**value["result"], self.member: entries}}
        return (value,)


def less_after_calls(method: str, member: str) -> Breaks:
    """Leave out an entry once a tool has been called."""
    return lambda: _LessAfterCalls(method, member)


def turned_each_time(method: str, member: str) -> Breaks:
    """Turn the order of entries round every other time."""
    times = count()
    return listed(method, member, lambda found: found[:: 1 if next(times) % 2 else -1])


def silent_capability(path: str) -> Breaks:
    """Declare a capability less; ``path`` may be one within another."""

    def without(value: Value, parts: list[str]) -> Value:
        first, *rest = parts
        if not rest:
            return {key: inner for key, inner in value.items() if key != first}
        return {**value, first: without(value.get(first, {}), rest)}

    def edit(value: Value) -> Value:
        if "capabilities" not in value.get("result", {}):
            return value
        declared = without(value["result"]["capabilities"], path.split("."))
        return {**value, "result": {**value["result"], "capabilities": declared}}

    return answers_to("", edit)


def quiet_about(method: str) -> Breaks:
    """Keep the server's notifications, or requests, of a method from the client."""
    return own_messages(method, lambda value: None)


def told(method: str, edit: Callable[[Value], Value]) -> Breaks:
    """Edit the params of the server's notifications, or requests, of a method."""
    return own_messages(method, lambda value: {**value, "params": edit(value.get("params", {}))})


class _Also(Fault):
    method: str
    more: Extra
    after: bool

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "method" in value or self.method_of(value) != self.method:
            return (value,)
        extra = self.more(value) if callable(self.more) else self.more
        return (value, extra) if self.after else (extra, value)


def also(method: str, extra: Extra, *, after: bool = False) -> Breaks:
    """Send one message more with each answer to a method."""
    return lambda: _Also(method, extra, after=after)
