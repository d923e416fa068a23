"""A wire, and a stage, behind a fault."""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, cast

from conformance.mutants.fault import Asked, Breaks, Fault
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.http import HttpWire
from mcpcore_conformance.kit.bindings.lines import LinesWire
from mcpcore_conformance.kit.bindings.stdio import StdioWire
from mcpcore_conformance.kit.bindings.websocket import encoded
from mcpcore_conformance.kit.heard import Done, Gone, Head, Heard, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.tokens import Tokens
from mcpcore_conformance.kit.wire import Overrides, Poured, Refused, Stage, Wire

WEB = frozenset({Binding.HTTP, Binding.SSE})
"""Bindings whose messages are posted, each with a response of its own."""


class FaultyWire:
    """A wire behind a fault; everything that is not about messages goes straight through."""

    binding: Binding
    number: int

    def __init__(self, wire: Wire, fault: Fault) -> None:
        self._wire = wire
        self._fault = fault
        self._ready: deque[Heard] = deque()
        self._exchanges = 0

    def __getattr__(self, name: str) -> Any:
        return self._fault.attribute(name, getattr(self._wire, name))

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
        asked = Asked("POST", chosen, value, None, reaches or b"")
        if reaches is not None and self._wire.binding in WEB:
            edited = self._fault.fetching(copy(asked))
            reaches = None if edited is None else edited.body
            chosen = chosen if edited is None else edited.headers
        if reaches is None:
            return self._never_reached(asked)
        exchange = await self._wire.say(reaches, headers=chosen)
        self._fault.exchanges[exchange] = asked
        self._ready.extend(self._fault.take_answers())
        return exchange

    def _never_reached(self, asked: Asked) -> int:
        """Number an exchange that the server never sees, negatively."""
        self._exchanges -= 1
        exchange = self._exchanges if self._wire.binding in WEB else 0
        self._fault.exchanges[exchange] = asked
        answers = self._fault.take_answers()
        if exchange and not any(isinstance(each, Head | Done | Gone) for each in answers):
            # whatever a server says, or does not, a POST has a response
            kind = [("content-type", "application/json")] if answers else []
            answers = [Head(0, 200 if answers else 202, kind), *answers, Done(0)]
        for heard in answers:
            if not isinstance(heard, Gone):
                heard.exchange = exchange
            self._ready.append(heard)
        return exchange

    async def fetch(
        self,
        method: str,
        *,
        target: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> int:
        """Send what the fault makes of a plain request."""
        wire = cast("HttpWire", self._wire)
        value = None if body is None else _decoded(body)
        asked = Asked(method, dict(headers), value, target, body)
        if (reaches := self._fault.fetching(copy(asked))) is None:
            return self._never_reached(asked)
        kept = [pair for pair in headers if reaches.headers.get(pair[0]) == pair[1]]
        there = {name for name, _ in kept}
        for name, chosen in reaches.headers.items():
            if chosen is not None and name not in there:
                kept.append((name, chosen))
        exchange = await wire.fetch(
            reaches.method, target=reaches.target, headers=kept, body=reaches.body
        )
        self._fault.exchanges[exchange] = asked
        self._ready.extend(self._fault.take_answers())
        return exchange

    async def pour(self, *pieces: bytes, **options: Any) -> Poured:
        """Pour what the fault makes of the bytes, and of what comes of them."""
        wire = cast("HttpWire", self._wire)
        found = await wire.pour(*self._fault.pouring(pieces), **options)
        return self._fault.poured(pieces, found)

    async def reachable(self, host: str) -> bool:
        """What the fault makes of whether it is."""
        return self._fault.reached(await cast("HttpWire", self._wire).reachable(host))

    async def write(self, data: bytes) -> None:
        """Write what the fault makes of bytes."""
        if (reaches := self._fault.written(data)) is not None:
            await cast("LinesWire", self._wire).write(reaches)
        self._ready.extend(self._fault.take_answers())

    async def raw(self, data: bytes, **options: Any) -> int | None:
        """Send what the fault makes of bytes."""
        reaches = self._fault.written(data)
        self._ready.extend(self._fault.take_answers())
        if reaches is None:
            self._exchanges -= 1
            return self._exchanges
        found: int | None = await cast("Any", self._wire).raw(reaches, **options)
        return found

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """Send a frame as the fault has it."""
        await self.raw(encoded(opcode, payload, fin=fin))

    async def hear(self, within: float) -> Heard | None:
        """Return what the fault makes of what comes."""
        while not self._ready:
            heard = await self._wire.hear(within)
            if heard is None:
                return None
            for each in self._fault.heard(heard):
                self._ready.extend(self._edited(each))
            self._ready.extend(self._fault.take_answers())
        return self._ready.popleft()

    async def finish(self) -> None:
        """Say that nothing more comes, if the fault lets it through."""
        if self._fault.finished():
            await self._wire.finish()

    async def signal(self, number: int) -> None:
        """Send a signal, if the fault lets it through."""
        if self._fault.signalled(number):
            await cast("StdioWire", self._wire).signal(number)

    async def listen(self, last_event_id: str | None = None) -> int:
        """As the wire does it, as the fault has it."""
        if self._wire.binding is not Binding.HTTP:
            return await self._wire.listen(last_event_id)
        wire = cast("HttpWire", self._wire)
        headers = [("accept", "text/event-stream"), *wire.headers_for(None)]
        if last_event_id is not None:
            headers.append(("last-event-id", last_event_id))
        return await self.fetch("GET", headers=headers)

    async def cut(self, exchange: int = 0) -> None:
        """As the wire does it, if the fault lets it through."""
        if self._fault.cutting(exchange):
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


class FaultyStage(Stage):
    """A stage whose every connection is behind a new instance of a fault."""

    def __init__(self, stage: Stage, make: Breaks) -> None:
        self.binding = stage.binding
        self.target = stage.target
        self.headers: dict[str, str] = getattr(stage, "headers", {})
        self.other_headers: dict[str, str] = getattr(stage, "other_headers", {})
        self.tokens: Tokens | None = getattr(stage, "tokens", None)
        self._stage = stage
        self._make = make

    def now(self) -> float:
        """As the stage has it."""
        return self._stage.now()

    async def pause(self, seconds: float) -> None:
        """As the stage does it."""
        await self._stage.pause(seconds)

    async def connect(self, revision: Revision, *, log: Log, **options: Any) -> Wire:
        """Open a connection behind a fault."""
        fault = self._make()
        try:
            wire = await self._stage.connect(revision, log=log, **fault.connecting(options))
        except Refused as error:
            raise fault.refused(error) from error
        return FaultyWire(wire, fault)


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
