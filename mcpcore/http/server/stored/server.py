"""StoredHttpServer: an HttpServer whose sessions and events live in a store.

The application also carries out the steps that come out of ``next_event()``, returns their
outcomes, and passes on the notes of other workers::

    while (event := server.next_event()) is not None:
        if isinstance(event, Step):
            batch.append(event)             # later: server.stored(event.token, outcome, now=...)
    server.note(data, now=clock())          # from the mailbox of this worker

:mod:`mcpcore.http.storing` describes steps, outcomes and notes.
"""

from typing import Any

from mcpcore.engine.config import Config
from mcpcore.http.server.router import Router
from mcpcore.http.server.server import HttpServer
from mcpcore.http.server.session_table import MIN_SECRET
from mcpcore.http.server.state import ServerState
from mcpcore.http.server.stored.mailbox import WORKER
from mcpcore.http.server.stored.sessions import StoredSessions
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import StoreBinding


class StoredHttpServer(HttpServer):
    """Server side of one HTTP endpoint, as one of the workers that share a store.

    It is an HttpServer whose sessions have another home, and nothing else.  ``secret``: at least 32
    fresh random bytes of this worker's own, never used again; ``store`` names the worker and holds
    the common facts of all.  ``config.id_prefix`` is not used: ids of our requests name the worker.
    Raises ValueError as HttpServer, and for an invalid binding.
    """

    def __init__(
        self,
        config: Config,
        *,
        secret: bytes,
        store: StoreBinding,
        settings: HttpSettings | None = None,
    ) -> None:
        if WORKER.fullmatch(store.worker) is None:
            raise ValueError(f"a worker cannot be called {store.worker!r}")
        if len(store.secret) < MIN_SECRET:
            raise ValueError(f"the workers' secret must have at least {MIN_SECRET} random bytes")

        def at_store(state: ServerState, router: Router) -> StoredSessions:
            self._stored = StoredSessions(state, router, secret, store)
            return self._stored

        super().__init__(config, secret=secret, settings=settings, sessions=at_store)

    def stored(self, token: int, outcome: Any, *, now: float) -> None:
        """Handle the outcome of a step; outcomes may come in any order."""
        self._log.now = now
        self._stored.stored(token, outcome)

    def note(self, data: bytes, *, now: float) -> None:
        """Handle a note to this worker.  Raises LocalProtocolError if ``data`` is not valid."""
        self._log.now = now
        self._stored.note(data)
