"""Mutants of which message goes over which stream of Streamable HTTP."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.http_faults import (
    Concerns,
    calls,
    gets,
    header_of,
    overlooks,
    refuses,
    responses,
    responses_to,
    status_of,
)
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Done, Gone, Heard, Text

table = Table("basic/transports")

SESSION = "mcp-session-id"
PROGRESS_ID = "progressToken"
EVENTS = "text/event-stream"
Test = Callable[[Value], bool]


def message(heard: Heard) -> Value:
    """The message that was heard; empty if it is none."""
    if not isinstance(heard, Text):
        return {}
    value = json.loads(heard.data)
    return value if isinstance(value, dict) else {}


def of(method: str) -> Test:
    """Whether a message is of that method."""
    return lambda value: value.get("method") == method


def is_response(value: Value) -> bool:
    """Whether a message is a response."""
    return "result" in value or "error" in value


class _Misdirects(Fault):
    """Sends some messages over the first of certain streams: as well, or only there."""

    def __init__(self, test: Test, where: Concerns, *, as_well: bool) -> None:
        super().__init__()
        self._test, self._where, self._as_well = test, where, as_well

    def heard(self, heard: Heard) -> Iterable[Heard]:
        streams = [number for number, asked in self.exchanges.items() if self._where(asked)]
        if not isinstance(heard, Text) or not streams or not self._test(message(heard)):
            return (heard,)
        moved = copy(heard)
        moved.exchange = streams[0]
        return (heard, moved) if self._as_well else (moved,)


def misdirects(test: Test, where: Concerns = gets, *, as_well: bool) -> Callable[[], Fault]:
    """Send some messages over the first stream of some requests: as well, or only there."""
    return lambda: _Misdirects(test, where, as_well=as_well)


@table.server("responses-mixed", "sending-messages-to-the-server/each-on-its-own")
class _Mixes(Fault):
    """Sends all responses over the stream of the first call."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        first = min(
            (n for n, asked in self.exchanges.items() if calls("tools/call")(asked)), default=0
        )
        if isinstance(heard, Text) and first and is_response(message(heard)):
            heard.exchange = first
        return (heard,)


@table.server("one-at-a-time", "multiple-connections/beside-a-call")
class _OneAtATime(Fault):
    """Answers nothing else while a call runs."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Heard] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        running = [
            n for n, asked in self.exchanges.items() if calls("tools/call", "test_wait")(asked)
        ]
        if not running or isinstance(heard, Gone):
            return (heard,)
        if heard.exchange not in running:
            self._held.append(heard)
            return ()
        if not isinstance(heard, Done):
            return (heard,)
        self.exchanges.pop(heard.exchange)
        held, self._held = self._held, []
        return (heard, *held)


class _Twice(Fault):
    """Sends progress twice."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        found = message(heard)
        twice = found.get("method") == "notifications/progress" and self._concerns(found["params"])
        return (heard, copy(heard)) if twice else (heard,)

    def _concerns(self, params: Value) -> bool:
        return True


class _ByToken(_Twice):
    def __init__(self, users: Counter[str]) -> None:
        super().__init__()
        self._users = users

    def said(self, value: Any, payload: bytes) -> bytes | None:
        meta = value.get("params", {}).get("_meta", {}) if isinstance(value, dict) else {}
        self._users.update([str(meta[PROGRESS_ID])] if PROGRESS_ID in meta else [])
        return payload

    def _concerns(self, params: Value) -> bool:
        return self._users[str(params[PROGRESS_ID])] > 1


def progress_by_token() -> Callable[[], Fault]:
    """Send progress as often as there are requests, on any connection, that have its token."""
    users: Counter[str] = Counter()
    return lambda: _ByToken(users)


table.server("get-404", "listening-for-messages-from-the-server/stream-or-405").does(
    "Answers GET with 404.", status_of(gets, 404)
)
table.server("get-as-json", "listening-for-messages-from-the-server/stream-or-405").does(
    "Calls its event stream JSON.", header_of(gets, "content-type", "application/json")
)
table.server("get-accept-overlooked", "listening-for-messages-from-the-server/accept").does(
    "Does not look at Accept of GET.", overlooks(gets, "accept", instead=EVENTS)
)
table.server("responses-on-get", "listening-for-messages-from-the-server/no-responses").does(
    "Sends responses over the GET stream as well.", misdirects(is_response, as_well=True)
)
table.server("progress-on-get", "listening-for-messages-from-the-server/unrelated-only").does(
    "Sends the progress of calls over the GET stream.",
    misdirects(of("notifications/progress"), as_well=False),
)
table.server(
    "questions-on-get", "listening-for-messages-from-the-server/questions-on-their-stream"
).does(
    "Asks over the GET stream what a call wants to know.",
    misdirects(of("sampling/createMessage"), as_well=False),
)
table.server("answer-200", "sending-messages-to-the-server/answer-accepted").does(
    "Answers answers with status 200.", status_of(responses, 200)
)
table.server("unknown-answer-500", "sending-messages-to-the-server/unknown-answer").does(
    "Fails on answers to nothing.", refuses(responses, 500)
)
table.server("stream-without-response", "sending-messages-to-the-server/stream-kept-open").does(
    "Ends the stream of a call before its response, and has it for nobody who comes back.",
    responses_to(
        lambda asked: calls("tools/call")(asked) or gets(asked),
        text=lambda text: () if is_response(message(text)) else (text,),
    ),
)
table.server("broadcast", "multiple-connections/no-broadcast").does(
    "Sends notifications over every GET stream.",
    misdirects(of("notifications/tools/list_changed"), as_well=True),
)
table.server("progress-twice", "multiple-connections/progress-once").does(
    "Sends progress twice.", _Twice
)
