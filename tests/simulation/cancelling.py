"""Rules of cancellation, held from the wires: one that has arrived is heeded, one made is said.

That something arrived is decided from bytes and from connections that end, never from what a
machine tells of it.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

from mcpcore.engine.events import EndReason
from tests.simulation.accounts import ACTIVE, Run
from tests.simulation.rules import demand

CANCELLED = "notifications/cancelled"
GIVEN_UP = frozenset({EndReason.CANCELLED, EndReason.TIMED_OUT})
_MARK = CANCELLED.encode()
_HEEDED = "a cancellation that has arrived is heeded"


class Arrivals:
    """What was begun by where it came from, and whether its cancellation is heeded."""

    def __init__(self) -> None:
        self._runs: dict[Any, list[Run]] = {}
        """By connection, exchange or session, as they were begun."""
        self.taken: set[tuple[Any, Any]] = set()
        """By connection and id: the requests that a batch calls off which is being taken in."""

    def begun(self, run: Run, *places: Any) -> None:
        """A server has begun to work on a request, which came by these."""
        for place in places:
            if place is not None:
                self._runs.setdefault(place, []).append(run)

    def left(self, place: Any) -> None:
        """Demand that nobody works on what came by a place that is no more."""
        for run in self._runs.get(place, ()):
            demand(run.state != ACTIVE, _HEEDED, run.client, run.ask, "its sender has left")

    def cancelled(self, place: Any, id: Any) -> None:
        """Demand that nobody works on a request: a notification has called it off."""
        heeded(self.meant(place, [id]))

    def meant(self, place: Any, ids: Collection[Any]) -> list[Run]:
        """What was begun so far of the requests that are called off."""
        return [run for run in self._runs.get(place, ()) if run.id in ids]


def heeded(runs: Iterable[Run]) -> None:
    """Demand that nobody works on requests that were called off."""
    for run in runs:
        demand(run.state != ACTIVE, _HEEDED, run.client, run.ask, run.id)


class LinesIn:
    """What a server takes in on a connection with newlines: the requests that are called off."""

    def __init__(self) -> None:
        self._rest = b""
        self.batched: list[Any] = []
        """Those that a batch has called off which is complete with the last piece."""

    def taken(self, data: bytes) -> list[Any]:
        """The ids that the lines name which are complete with this piece."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.batched = [id for line in lines if line.startswith(b"[") for id in called_off(line)]
        return [id for line in lines for id in called_off(line)]


def called_off(text: bytes) -> list[Any]:
    """The ids of requests that a message, or a batch of them, calls off."""
    if _MARK not in text:
        return []
    told = json.loads(text)
    messages = told if isinstance(told, list) else [told]
    return [
        message["params"]["requestId"] for message in messages if message.get("method") == CANCELLED
    ]


class GivenUp:
    """Requests that one side has given up, and still has to call off on its connection."""

    def __init__(self) -> None:
        self._owed: set[Any] = set()

    def owes(self, id: Any) -> None:
        """A request that was sent was given up."""
        self._owed.add(id)

    def said(self, id: Any) -> None:
        """It was called off."""
        self._owed.discard(id)

    def settled(self) -> None:
        """Demand that nothing is owed: all that there was to say was said."""
        demand(not self._owed, "what is given up is called off", sorted(self._owed))
