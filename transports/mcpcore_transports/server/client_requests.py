"""Output of a server on behalf of its handlers: requests and notifications to clients."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from msgspec import UNSET, UnsetType

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.wire.message import Body, RequestId
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.pending import Waiting
from mcpcore_transports.running.progress import Progress, ProgressCallback
from mcpcore_transports.server.settings import RuntimeSettings

if TYPE_CHECKING:
    from mcpcore.http import HttpServer

ServerMachine: TypeAlias = "Peer | HttpServer"

_TURN = 8
"""Number of sends without waiting after which a handler lets other tasks run."""


class Outgoing:
    """Machine and link of a runtime, as far as handlers send through them."""

    def __init__(self, machine: ServerMachine, settings: RuntimeSettings | None) -> None:
        self.machine = machine
        self.teller = machine if isinstance(machine, Peer) else machine.teller
        """Object for the most frequent calls, in place of the machine."""
        self.settings = settings or RuntimeSettings()
        self.link: Link | None = None
        self.waiting = Waiting()
        """Requests whose answers from a legacy client handlers wait for."""
        self.progress: Progress
        """Callbacks for the progress of requests to the client."""
        self._drains: dict[Key, anyio.Event] = {}
        self._unyielding = 0

    def flush(self) -> None:
        """Have the link write, after a call of the machine."""
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
        """Send a request to a legacy client, on the stream of ``request`` or in ``session``.

        The outcome is kept for ``waiting.outcome``.  ``timeout``: by default that of questions.
        ``progress`` is called for the progress of the client, until it is forgotten.
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
        """Cancel a request to a legacy client, and send it the reason."""
        self.waiting.forget(request)
        self.progress.forget(request)
        self.machine.cancel(request, now=clock(), reason=reason)
        self.flush()

    async def drained(self, key: Key) -> None:
        """Wait until the output for a request has been taken; let other tasks run now and then."""
        if self.link is not None:
            self.link.write_now()
        queued = self.teller.queued
        if queued(key):
            while queued(key):
                event = self._drains.setdefault(key, anyio.Event())
                await event.wait()
            return
        # A turn of the event loop takes as long as an event.  But a handler that sends without end
        # would leave none to others, once its client is gone or as long as it keeps up.
        self._unyielding += 1
        if self._unyielding >= _TURN:
            self._unyielding = 0
            await anyio.lowlevel.checkpoint()

    def tell(self, session: str | None, method: str, params: Mapping[str, Any]) -> bool:
        """Notify the client of a session, or of the connection; return False if it is gone."""
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
        """Wake the handler that waits for the output of a request: it is taken, or was dropped."""
        waiting = self._drains.pop(key, None)
        if waiting is not None:
            waiting.set()
