"""What leaves a server for its clients on behalf of handlers: questions and notifications."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from msgspec import UNSET, UnsetType

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.wire.message import Body, RequestId
from transports.link import Link, clock
from transports.progress import Progress, ProgressCallback
from transports.running import Waiting
from transports.runtime_settings import RuntimeSettings

if TYPE_CHECKING:
    from mcpcore.http.server import HttpServer

ServerMachine: TypeAlias = "Peer | HttpServer"

_TURN = 8
"""Others get their turn when a handler has found so many times that all it sent was taken."""


class Outgoing:
    """The machine and the link of a runtime, as far as handlers speak through them."""

    def __init__(self, machine: ServerMachine, settings: RuntimeSettings | None) -> None:
        self.machine = machine
        self.teller = machine if isinstance(machine, Peer) else machine.teller
        """Takes what very many calls are made for in the place of the machine."""
        self.in_flight = self.teller.hub.inbound
        """The requests that are being worked on; only to be looked at."""
        self.settings = settings or RuntimeSettings()
        self.link: Link | None = None
        self.waiting = Waiting()
        """The handlers that wait for an answer of a legacy client."""
        self.progress: Progress
        """Who hears of the progress of our questions."""
        self._drains: dict[Key, anyio.Event] = {}
        self._unyielding = 0

    def flush(self) -> None:
        """The machine was called: have the link write what it has to send."""
        if self.link is not None:
            self.link.flush_soon()

    def send_request(
        self,
        method: str,
        params: Body,
        *,
        request: RequestReceived | None = None,
        session: str | None = None,
        timeout: float | UnsetType | None = UNSET,
        progress: ProgressCallback | None = None,
    ) -> RequestId:
        """Ask a legacy client: on the stream of its ``request``, or in its ``session``.

        The outcome is kept for ``waiting.outcome``.  ``timeout``: by default that of questions.
        ``progress`` hears how far the client is, until it is forgotten.
        Raises LocalProtocolError, also for a capability that the client did not declare.
        """
        wait = self.settings.input_timeout if timeout is UNSET else timeout
        parent = None if request is None else request.key
        ask: Callable[..., RequestId] = self.machine.request
        if not isinstance(self.machine, Peer):
            ask = partial(ask, session=session if parent is None else None)
        sent = ask(
            method,
            params,
            now=clock(),
            timeout=wait,
            parent=parent,
            progress=progress is not None,
        )
        self.waiting.expect(sent)
        if progress is not None:
            self.progress.expect(sent, progress)
        self.flush()
        return sent

    def withdraw(self, request: RequestId, reason: str) -> None:
        """Give up a question to a legacy client, and tell it why."""
        self.waiting.forget(request)
        self.progress.forget(request)
        self.machine.cancel(request, now=clock(), reason=reason)
        self.flush()

    async def drained(self, key: Key) -> None:
        """Wait until what was sent for a request has been taken; others get their turn in time."""
        if self.link is not None:
            self.link.write_now()
        queued = self.teller.queued
        if queued(key):
            while queued(key):
                event = self._drains.setdefault(key, anyio.Event())
                await event.wait()
            return
        # A turn of the event loop takes as long as an event; but a handler that sends without end
        # would leave none to others at all, once its client is gone or as long as it keeps up.
        self._unyielding += 1
        if self._unyielding >= _TURN:
            self._unyielding = 0
            await anyio.lowlevel.checkpoint()

    def tell(self, session: str | None, method: str, params: Mapping[str, Any]) -> bool:
        """Notify the client of a session, or of the connection; False if it is gone."""
        try:
            if not isinstance(self.machine, Peer):
                self.machine.notify(method, params, session=session)
            else:
                self.machine.notify(method, params)
        except LocalProtocolError:
            return False
        self.flush()
        return True

    def _wake(self, key: Key) -> None:
        """Nothing waits to be sent for a request, or nothing will be sent any more."""
        waiting = self._drains.pop(key, None)
        if waiting is not None:
            waiting.set()
