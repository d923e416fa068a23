"""The client's half of the sans-IO core, on virtual time: it plays what the kit asks of clients.

The typed calls, the scenarios and the script are those of our reference client; beneath them is a
Peer (:mod:`mcpcore_conformance.subjects.core_conversation`), and nothing that waits.
"""

import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import Raw

from mcpcore import Config, Peer, Role
from mcpcore.engine.events import Ready
from mcpcore.spec.errors import LocalError, LocalProtocolError, McpError
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore.wire.jsontext import Body
from mcpcore_conformance.everything.client import SCENARIOS, declared, settings_for, tour
from mcpcore_conformance.everything.script import Script
from mcpcore_conformance.kit.client_launch import SCRIPT
from mcpcore_conformance.kit.hosts.core import Door
from mcpcore_conformance.subjects.core_conversation import Conversation
from mcpcore_conformance.subjects.strands import Strands
from mcpcore_transports.client.cache import Kept, ResultCache, ServerCache, ToolBook
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.listen import Listening
from mcpcore_transports.schema import compile_schema


class CoreClient:
    """One run of the client; see :class:`~mcpcore_conformance.kit.hosts.core.VirtualClient`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.strands = Strands(door.now)
        self._conversations: list[Conversation] = []
        self._report: bytes | None = None
        self._said = ""

    def start(self, scenario: str, revision: str, context: Mapping[str, Any]) -> None:
        """Begin with a scenario."""
        self.strands.start(self._play(scenario, revision, context))
        self.turn()

    def deadline(self) -> float | None:
        """When :meth:`pass_time` is next needed."""
        times = [each.peer.deadline() for each in self._conversations if each.closed is None]
        times.append(self.strands.deadline())
        return min((time for time in times if time is not None), default=None)

    def pass_time(self) -> None:
        """Do what is due now."""
        self.strands.pass_time()
        for each in self._conversations:
            if each.closed is None:
                each.peer.handle_timeout(self.door.now())
        self.turn()

    def report(self) -> bytes | None:
        """What it has written of a script."""
        return self._report

    def said(self) -> str:
        """What a program would have written to its standard error."""
        return self._said

    def stop(self) -> None:
        """Be gone at once."""
        self.strands.close()
        self._conversations.clear()

    def turn(self) -> None:
        """Go on until everything waits."""
        busy = True
        while busy:
            busy = self.strands.run()
            for each in [*self._conversations]:
                busy = each.turn() or busy

    def connect(self, callbacks: Callbacks, settings: ClientSettings) -> Conversation:
        """Open a connection to the kit."""
        config = Config(
            info=settings.info,
            capabilities=callbacks.capabilities(),
            negotiation=settings.negotiation,
            limits=settings.limits,
        )
        made = Conversation(Peer(Role.CLIENT, config), callbacks, self.strands)
        made.server = self.door.connect(_Hearing(self, made))
        self._conversations.append(made)
        return made

    async def _play(self, scenario: str, revision: str, context: Mapping[str, Any]) -> None:
        code = 1
        try:
            callbacks = declared(context, self.strands.sleep)
            connect = partial(_Connecting, self, callbacks, settings_for(revision, context))
            if scenario == SCRIPT:
                script = Script(connect, context, callbacks, self._write, self.strands)
                await script.play()
            else:
                async with connect() as client:
                    await SCENARIOS.get(scenario, tour)(client)
            code = 0
        except (McpError, LocalError) as error:
            self._said = f"error: {error}"
        except Exception:
            self._said = traceback.format_exc()
        self.door.leave(code)

    def _write(self, report: bytes) -> None:
        self._report = report


class _Hearing:
    """The client's end of a connection."""

    def __init__(self, client: CoreClient, conversation: Conversation) -> None:
        self._client = client
        self._conversation = conversation

    def receive(self, data: bytes) -> None:
        """See :class:`~mcpcore_conformance.kit.hosts.core.End`."""
        self._conversation.receive(data)
        self._client.turn()

    def close(self) -> None:
        """See :class:`~mcpcore_conformance.kit.hosts.core.End`."""
        self._conversation.lost()
        self._client.turn()


class _Connecting:
    """What :class:`mcpcore_transports.client.client.connect` is on an event loop."""

    def __init__(
        self,
        client: CoreClient,
        callbacks: Callbacks,
        settings: ClientSettings,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``headers`` are for HTTP."""
        self._make = partial(client.connect, callbacks, settings)
        self._conversation: Conversation | None = None

    async def __aenter__(self) -> Client:
        self._conversation = self._make()
        try:
            return _Client(self._conversation, await self._conversation.open())
        except BaseException:
            self._conversation.leave()
            raise

    async def __aexit__(self, *raised: Any) -> None:
        if self._conversation is not None:
            self._conversation.leave()


class _Client(Client):
    """The typed calls of a client on the core."""

    def __init__(self, conversation: Conversation, ready: Ready) -> None:
        tools = ToolBook({}, strict=False, compile_schema=compile_schema)
        cache = _Cache(conversation.strands)
        super().__init__(conversation.as_core(), ready, tools, cache, max_pages=1000)
        conversation.watch(tools.outdated)
        conversation.watch(cache.notified)
        self._conversation = conversation

    def listen(self, **wanted: Any) -> Listening:
        """See :meth:`mcpcore_transports.client.client.Client.listen`."""
        return _Listening(self._conversation, super().listen(**wanted).wanted)


class _Listening(Listening):
    """A stream of changes to which a strand listens."""

    def __init__(self, conversation: Conversation, wanted: SubscriptionFilter) -> None:
        super().__init__(conversation.as_core(), wanted)
        self._strands = conversation.strands
        self._bell = self._strands.event()

    async def _subscribe(self) -> None:
        raise LocalProtocolError(f"{self._core.revision.name} has no listen streams")

    async def _wait(self) -> None:
        await self._bell

    def _wake(self) -> None:
        bell, self._bell = self._bell, self._strands.event()
        bell.set()


class _Cache(ServerCache):
    """What is kept for a connection, as long as virtual time says."""

    def __init__(self, strands: Strands) -> None:
        super().__init__(ResultCache(), "the kit", "")
        self._strands = strands

    def get(self, method: str, params: Body, *, now: float, stale: bool = False) -> Kept | None:
        """See :class:`~mcpcore_transports.client.cache.ServerCache`."""
        return super().get(method, params, now=self._strands.now, stale=stale)

    def put(
        self,
        method: str,
        params: Body,
        result: Raw,
        mark: int,
        *,
        now: float,
        own: str | None = None,
    ) -> None:
        """See :class:`~mcpcore_transports.client.cache.ServerCache`."""
        super().put(method, params, result, mark, now=self._strands.now, own=own)
