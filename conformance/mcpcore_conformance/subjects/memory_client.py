"""Our reference client in this process: its runtime on streams that never leave memory."""

from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from mcpcore.engine.peer import Peer
from mcpcore.spec.errors import LocalError, McpError
from mcpcore_conformance.everything.client import SCENARIOS, declared, settings_for, tour
from mcpcore_conformance.everything.script import AnyioPace, Script
from mcpcore_conformance.kit.client_launch import SCRIPT
from mcpcore_conformance.kit.hosts.memory import InMemory, Visit
from mcpcore_conformance.subjects.memory import memory_streams
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.client import connect
from mcpcore_transports.link import App
from mcpcore_transports.stream.channels import StreamLink
from mcpcore_transports.targets import CustomTarget

if TYPE_CHECKING:
    from mcpcore_transports.stream.connection import StreamConnection


class _Kit(CustomTarget):
    """The kit, as a server on such a stream."""

    name = "the kit"

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def make_link(self, peer: Peer, app: App) -> "StreamConnection":
        """See :class:`~mcpcore_transports.targets.CustomTarget`."""
        ours, theirs = memory_streams()
        self._visit.enter(theirs)
        return StreamLink(peer, app, ours)


async def _play(visit: Visit) -> str:
    callbacks = declared(visit.context)
    # each run is one of a program that knows nothing of those before
    settings = structs.replace(settings_for(visit.revision, visit.context), eras=EraCache())
    opening = partial(connect, _Kit(visit), callbacks=callbacks, settings=settings)
    try:
        if visit.scenario == SCRIPT:
            await Script(opening, visit.context, callbacks, visit.write, AnyioPace()).play()
        else:
            async with opening() as client:
                await SCENARIOS.get(visit.scenario, tour)(client)
    except (McpError, LocalError, OSError) as error:
        return f"error: {error}"
    return ""


MEMORY_CLIENT = InMemory(_play)
