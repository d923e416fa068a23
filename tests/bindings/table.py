"""Behaviours: what must come out alike on every binding, in both eras, on either event loop.

A behaviour is a coroutine function that gets a :class:`Bench`.  It is one of three kinds by what it
takes from it: our client and our server together, our client and a server spoken by hand, or our
server and a client spoken by hand.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
from msgspec import Struct

from mcpcore.spec.revisions import Revision
from mcpcore_transports.client.client import Client, connect
from tests.bindings.hosts import hosting
from tests.bindings.places import BINDINGS, ERAS, LEGACY, MODERN, Binding, House, revision
from tests.bindings.scripts import Script
from tests.bindings.talk import Talk
from tests.bindings.wires import calling

_cases = count()


class Bench:
    """What a behaviour is tried on: one binding, one revision, and the means to speak over it.

    ``way``: the one of :data:`~tests.bindings.places.HTTP_WAYS` in which the workbench is served.
    """

    def __init__(self, house: House, binding: Binding, era: str, way: str | None = None) -> None:
        self._house = house
        self._place = way or binding.name
        self.binding = binding
        self.revision: Revision = revision(era)
        self.target: Any = None
        """Where the workbench is."""
        self.case = f"{house.backend}-{binding.name}-{era}-{next(_cases)}"
        """A name that no other test has, for the journal of the workbench."""

    @property
    def modern(self) -> bool:
        """Whether the revision is of the modern era."""
        return self.revision.modern

    @property
    def connected(self) -> bool:
        """Whether the end of a connection ends what runs on it."""
        return self.binding.connected or self.modern

    def _server(self) -> Any:
        if self.target is None:
            self.target = self._house.target(self._place)
        return self.target

    @asynccontextmanager
    async def client(self, target: Any = None, **options: Any) -> AsyncIterator[Client]:
        """Our client, connected to the workbench or to another target."""
        where = self._server() if target is None else target
        async with connect(where, revision=self.revision.name, **options) as client:
            assert client.revision is self.revision
            yield client

    @asynccontextmanager
    async def talk(self, *, opened: bool = True) -> AsyncIterator[Talk]:
        """A client by hand, in conversation with the workbench."""
        modern = self.revision.name if self.modern else None
        async with calling(self.binding.name, self._server(), modern) as wire:
            talk = Talk(wire, self.revision)
            if opened:
                await talk.open()
            yield talk

    @asynccontextmanager
    async def script(self) -> AsyncIterator[Script]:
        """A server by hand, which a client of ours may connect to."""
        async with (
            hosting(self.binding.name, modern=self.modern) as host,
            anyio.create_task_group() as tasks,
        ):
            yield Script(host, self.revision, tasks)
            tasks.cancel_scope.cancel()

    async def journal(
        self, entry: str, times: int = 1, *, via: Client | Talk | None = None
    ) -> list[str]:
        """Wait until the workbench has so many such entries of this case; return all of them.

        ``via`` whom it is asked; without, by another client, which a server that is the client's
        own process cannot have.
        """
        arguments = {"case": self.case, "entry": entry, "count": times}
        if isinstance(via, Talk):
            answer = await via.answer(await via.call("journal_until", **arguments))
            return list(answer["result"]["structuredContent"]["entries"])
        if via is None:
            async with self.client() as client:
                return await self.journal(entry, times, via=client)
        result = await via.call_tool("journal_until", arguments)
        return list(result.structured_content["entries"])


Run = Callable[[Bench], Awaitable[None]]


class Behaviour(Struct, frozen=True):
    """One row: what is tried, where, and why not elsewhere."""

    name: str
    run: Run
    eras: tuple[str, ...]
    skips: Mapping[str, str]
    """Binding to the reason why it does not have this behaviour."""
    by_hand: bool
    """One of the sides is spoken by hand, which needs bytes between them."""
    long: bool

    def reason_to_skip(self, binding: Binding, era: str) -> str | None:
        """Why the behaviour is not tried there, None if it is."""
        if not binding.has(revision(era)):
            return binding.why
        if self.by_hand and not binding.bytes:
            return "in memory there are no bytes that could be spoken by hand"
        return self.skips.get(binding.name)


BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(
    *,
    eras: tuple[str, ...] = ERAS,
    skip: Mapping[str, str] | None = None,
    by_hand: bool = False,
    long: bool = False,
) -> Callable[[Run], Run]:
    """Add the decorated function to the table. ``skip``: binding to the reason why."""
    skips = dict(skip or {})
    assert skips.keys() <= BINDINGS.keys()

    def add(run: Run) -> Run:
        name = run.__name__
        assert name not in BEHAVIOURS, f"there are two behaviours {name}"
        assert run.__doc__, f"{name} does not say what it shows"
        BEHAVIOURS[name] = Behaviour(name, run, eras, skips, by_hand, long)
        return run

    return add


__all__ = ["BEHAVIOURS", "BINDINGS", "ERAS", "LEGACY", "MODERN", "Bench", "behaviour"]
