"""One client and one server connection that live long: of a call that is over nothing is kept.

Every kind of call is made a hundred times and then two hundred times more, on each family of
bindings.  Whatever has grown meanwhile is named: a table of any object of ours, or objects of any
class.  What may grow up to a bound is :data:`~tests.faults.allowed.REMEMBERED`, with the bound.
"""

import gc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from mcpcore.http.settings import HttpSettings
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget
from tests.bindings.places import ERAS, LEGACY
from tests.bindings.stories import SETTINGS
from tests.faults.allowed import REMEMBERED
from tests.faults.holdings import (
    KEEPERS,
    forget,
    living,
    modules,
    more,
    overdue_gone,
    package,
    tables,
)
from tests.rest import at_rest
from tests.soak.calls import KINDS, answering, subscription
from tests.soak.tools import make_server
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

FEW, MANY, AT_ONCE = 60, 180, 5
"""Rounds after which it is looked, and how many of them go on at the same time."""
SEEN = 5.0
"""Seconds within which what was under way is over."""


CASES = [
    *(pytest.param(name, era) for name in ("memory", "unix", "ws") for era in ERAS),
    *(
        pytest.param(name, era, marks=pytest.mark.long)
        for name in ("memory-wire", "http")
        for era in ERAS
    ),
    pytest.param("sse", LEGACY, marks=pytest.mark.long),
]
SERVING = ServeSettings(http=HttpSettings(replay_events=FEW))
"""What is kept for a client that comes back is as much as it may be when it is first looked."""

assert SETTINGS.http_link is not None
CALLING = structs.replace(
    SETTINGS, http_link=structs.replace(SETTINGS.http_link, connections=4 * AT_ONCE)
)
"""Not more connections at one time than at another."""


@asynccontextmanager
async def _on(binding: str, folder: Path) -> AsyncIterator[Any]:
    server = make_server()
    if binding.startswith("memory"):
        yield MemoryTarget(server, RuntimeSettings(), wire=binding == "memory-wire")
        return
    address = str(folder / "s") if binding == "unix" else ANY_PORT
    async with served(server, **{binding: address}, settings=SERVING, seconds=120) as state:
        yield state.url


async def _live(client: Client, rounds: int) -> None:
    for _ in range(rounds // AT_ONCE):
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                for kind in KINDS:
                    group.start_soon(kind, client)
        for _ in range(AT_ONCE):
            await subscription(client)


def _look() -> Counter[str]:
    """What tables have how much, and how many objects there are of which class."""
    overdue_gone()
    forget()
    kinds = Counter(
        f"objects: {package(each)} {each.__qualname__}"
        for each in map(type, gc.get_objects())
        if each.__module__ != "builtins"  # of which connections and tasks have many; see the tables
    )
    return tables([*living(KEEPERS), *modules()]) + kinds


async def _grown(few: Counter[str]) -> list[str]:
    """What has become more by nearly one for each round: in some there are more connections."""
    with anyio.move_on_after(SEEN):
        while found := more(_look(), few, REMEMBERED, (MANY - FEW) * 9 // 10):  # noqa: ASYNC110
            await anyio.sleep(0.1)  # nobody tells of the end of what is just about to end
    return found


@pytest.mark.share(2)
@pytest.mark.parametrize(("binding", "era"), CASES)
async def test_nothing_is_kept_of_what_is_over(binding: str, era: str, tmp_path: Path) -> None:
    at_rest()  # what others have left is not looked at
    async with (
        _on(binding, tmp_path) as target,
        connect(target, revision=era, settings=CALLING, callbacks=answering()) as client,
    ):
        await _live(client, FEW)
        few = _look()
        await _live(client, MANY - FEW)
        assert await _grown(few) == []
