"""One broken thing in a server, made by editing what passes between it and the kit.

A fault sees every message on its way, decoded, and everything else that is heard; what it returns
takes the place of what it saw.  The kit cannot tell an edited server from a broken one.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from conformance.kit import messages
from conformance.kit.heard import Done, Event, Gone, Head, Headers, Heard, Noise, Text
from conformance.kit.log import Log
from conformance.kit.messages import encode
from conformance.kit.model import Binding
from conformance.kit.wire import Overrides, Stage, Wire
from mcpcore.spec.revisions import Revision

Value = dict[str, Any]
Edit = Callable[[Value], Value | bytes | None]
"""Takes a message, returns what goes in its place; None: nothing."""


class Fault:
    """A fault without any effect; subclasses override what they break.

    One instance is made for each wire.  ``asked`` maps the ids of requests to their messages.
    """

    def __init__(self) -> None:
        self.asked: dict[Any, Value] = {}
        self._answers: list[Heard] = []

    def said(self, value: Any, payload: bytes) -> bytes | None:
        """What reaches the server of something that the kit says; None: nothing.

        ``value`` is None if the payload is no JSON.  :meth:`answer` may be called from here.
        """
        return payload

    def headers(self, headers: dict[str, str | None]) -> dict[str, str | None]:
        """Headers that replace those of the kit on their way to the server."""
        return headers

    def message(self, value: Value) -> Iterable[Value | bytes]:
        """What the kit hears of a message of the server."""
        return (value,)

    def head(self, head: Head) -> Head:
        """What the kit hears of a response head; ``status`` and ``headers`` may be edited."""
        return head

    def other(self, heard: Event | Done | Gone | Noise) -> Iterable[Heard]:
        """What the kit hears of everything else."""
        return (heard,)

    def finished(self) -> bool:
        """Whether the server gets to know that the kit has nothing more to say."""
        return True

    # for subclasses

    def answer(self, value: Value | bytes, exchange: int = 0) -> None:
        """Say something in the server's place."""
        data = value if isinstance(value, bytes) else encode(value)
        self._answers.append(Text(data, exchange))

    def answer_http(self, status: int, value: Value | None, exchange: int) -> None:
        """Answer an exchange that never reaches the server, with a status and perhaps JSON."""
        kind: Headers = [] if value is None else [("content-type", "application/json")]
        self._answers.append(Head(exchange, status, kind))
        if value is not None:
            self._answers.append(Text(encode(value), exchange))
        self._answers.append(Done(exchange))

    def method_of(self, value: Value) -> str:
        """The method of a message, or of the request that it answers."""
        if "method" in value:
            return str(value["method"])
        identifier = value.get("id")
        asked = self.asked.get((type(identifier), identifier)) if _hashable(identifier) else None
        return "" if asked is None else str(asked["method"])

    def take_answers(self) -> list[Heard]:
        """What has been said in the server's place since the last time."""
        taken, self._answers = self._answers, []
        return taken

    def remember(self, value: Any) -> None:
        """Keep a request, for :meth:`method_of`."""
        if isinstance(value, dict) and "method" in value and _hashable(value.get("id")):
            self.asked[type(value.get("id")), value.get("id")] = value


def _hashable(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, type(None)))


class FaultyWire:
    """A wire behind a fault; everything that is not about messages goes straight through."""

    def __init__(self, wire: Wire, fault: Fault) -> None:
        self._wire = wire
        self._fault = fault
        self._ready: deque[Heard] = deque()
        self._exchanges = 0

    @property
    def binding(self) -> Binding:
        """Of the wire."""
        return self._wire.binding

    @property
    def number(self) -> int:
        """Of the wire."""
        return self._wire.number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._wire, name, value)

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """Send what the fault makes of it."""
        value = _decoded(payload)
        self._fault.remember(value)
        reaches = self._fault.said(value, payload)
        chosen = self._fault.headers(dict(headers or {}))
        if reaches is None:
            # numbers of exchanges that the server never sees are negative
            self._exchanges -= 1
            exchange = self._exchanges if self._wire.binding is Binding.HTTP else 0
            for heard in self._fault.take_answers():
                if not isinstance(heard, Gone):
                    heard.exchange = exchange
                self._ready.append(heard)
            return exchange
        exchange = await self._wire.say(reaches, headers=chosen)
        self._ready.extend(self._fault.take_answers())
        return exchange

    async def hear(self, within: float) -> Heard | None:
        """Return what the fault makes of what comes."""
        while not self._ready:
            heard = await self._wire.hear(within)
            if heard is None:
                return None
            self._ready.extend(self._edited(heard))
            self._ready.extend(self._fault.take_answers())
        return self._ready.popleft()

    async def finish(self) -> None:
        """Say that nothing more comes, if the fault lets it through."""
        if self._fault.finished():
            await self._wire.finish()

    async def listen(self, last_event_id: str | None = None) -> int:
        """As the wire does it."""
        return await self._wire.listen(last_event_id)

    async def cut(self, exchange: int = 0) -> None:
        """As the wire does it."""
        await self._wire.cut(exchange)

    async def close(self) -> None:
        """As the wire does it."""
        await self._wire.close()

    def _edited(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Head):
            return (self._fault.head(heard),)
        if not isinstance(heard, Text):
            return self._fault.other(heard)
        value = _decoded(heard.data)
        if not isinstance(value, dict):
            return (heard,)
        return [
            Text(
                each if isinstance(each, bytes) else encode(each),
                heard.exchange,
                heard.event_id,
                heard.at,
            )
            for each in self._fault.message(value)
        ]


class FaultyStage:
    """A stage whose every connection is behind a new instance of a fault."""

    def __init__(self, stage: Stage, make: Callable[[], Fault]) -> None:
        self.binding = stage.binding
        self.target = stage.target
        self._stage = stage
        self._make = make

    @property
    def keeps(self) -> bool:
        """Nothing is kept behind a fault."""
        return False

    def kept(self, revision: Revision, log: Log) -> tuple[Wire, int] | None:
        """Nothing is kept behind a fault."""
        return None

    def keep(self, revision: Revision, wire: Wire, next_id: int) -> None:
        """Nothing is kept behind a fault."""
        raise NotImplementedError

    def now(self) -> float:
        """As the stage has it."""
        return self._stage.now()

    async def pause(self, seconds: float) -> None:
        """As the stage does it."""
        await self._stage.pause(seconds)

    async def connect(self, revision: Revision, **options: Any) -> Wire:
        """Open a connection behind a fault."""
        return FaultyWire(await self._stage.connect(revision, **options), self._make())


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


# Faults that need no class of their own


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
