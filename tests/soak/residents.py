"""Clients that live as long as the soak, one on each binding in each era, and what they leave.

Each makes every kind of call in turns on one connection (over HTTP: in one session), while the
others come and go.  As they stay, what is kept of each call of theirs, at either end, shows.
"""

from collections import Counter
from contextlib import AsyncExitStack

import anyio
from msgspec import json

from mcpcore.engine.events import Violation
from mcpcore_transports.client.client import Client, connect
from tests.bindings.places import ERAS, LEGACY
from tests.soak.actors import Soak
from tests.soak.calls import KINDS, answering, said, subscription
from tests.soak.house import SSE, STEADY
from tests.soak.network import ROUND
from tests.soak.rules import ROUNDS

LIVING = 5.0
"""Seconds that a resident rests between two rounds."""
WARM = 3
"""Rounds after which everything is there that is made when it is first needed."""


class Residents:
    """The clients that stay, each by its binding and era."""

    def __init__(self, soak: Soak) -> None:
        self._soak = soak
        self._clients: dict[tuple[str, str], Client] = {}
        self.rounds: Counter[tuple[str, str]] = Counter()
        """How often each has made every kind of call since then."""

    async def move_in(self, stack: AsyncExitStack) -> None:
        """Connect all, until the stack is unwound, and have each do its first rounds."""
        for binding in self._soak.house.there():
            for era in ERAS:
                if binding in SSE and era != LEGACY:
                    continue
                target = self._soak.house.target(binding)
                callbacks = answering()
                callbacks.violation = _complain
                client = await stack.enter_async_context(
                    connect(target, revision=era, settings=STEADY, callbacks=callbacks)
                )
                self._clients[binding, era] = client
        async with anyio.create_task_group() as group:
            for where in self._clients:
                group.start_soon(self._warm, where)
        self.rounds.clear()

    async def live(self, binding: str, era: str) -> None:
        """Have one of them do its rounds until the soak is over."""
        over = self._soak.over
        while not over.is_set():
            try:
                with anyio.fail_after(ROUND):
                    await self.act(binding, era)
            except Exception as error:
                error.add_note(f"resident on {binding} in {era}")
                raise
            with anyio.move_on_after(LIVING * self._soak.random.uniform(0.5, 1.5)):
                await over.wait()

    async def _warm(self, where: tuple[str, str]) -> None:
        for _ in range(WARM):
            await self.act(*where)

    async def act(self, binding: str, era: str) -> None:
        """Have one of them do a round."""
        client = self._clients[binding, era]
        async with anyio.create_task_group() as group:
            for kind in KINDS:
                group.start_soon(kind, client)
        await subscription(client)
        self.rounds[binding, era] += 1
        done = self._soak.done
        done["calls of residents"] += len(KINDS) + 1
        done[ROUNDS] = min(self.rounds[where] for where in self._clients)

    @property
    def everywhere(self) -> tuple[tuple[str, str], ...]:
        """Where there is one: binding and era."""
        return tuple(self._clients)

    async def kept_by_processes(self) -> dict[str, dict[str, int]]:
        """What is kept by the servers that are processes of their own, by name."""
        return {
            f"server on stdio in {era}": json.decode(
                said(await self._clients["stdio", era].call_tool("kept")), type=dict[str, int]
            )
            for era in ERAS
        }


def _complain(violation: Violation) -> None:
    raise AssertionError(f"a resident is told something wrong: {violation}")
