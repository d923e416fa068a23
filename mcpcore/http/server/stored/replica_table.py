"""Replicas that a worker has of sessions in a store: their ids, and the choice of those to drop."""

import hmac
import re
from base64 import urlsafe_b64encode
from itertools import islice

from mcpcore.http.server.session_table import SPARED, Owner, SessionTable
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.stored.replica import SessionReplica
from mcpcore.http.settings import HttpSettings

_MAC_BYTES = 16
_ID = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{22}")


class ReplicaTable(SessionTable):
    """Replicas of one worker; ids bear a mark of the store, so that forged ones are recognized."""

    def __init__(self, secret: bytes, shared: bytes, settings: HttpSettings) -> None:
        """``secret`` is the worker's own, ``shared`` that of all workers."""
        super().__init__(secret, settings)
        self._mark = hmac.digest(shared, b"mcpcore session marks", "sha256")

    def new_id(self) -> str:
        """Return a session id of 256 unguessable bits, with its mark."""
        return self._marked(super().new_id())

    def could_be(self, id: str) -> bool:
        """Return True if a worker of the store has made this id."""
        if _ID.fullmatch(id) is None:
            return False
        return hmac.compare_digest(self._marked(id.partition(".")[0]), id)

    def replica(self, id: str | None) -> SessionReplica | None:
        """Return the replica of a session that is loaded here, else None."""
        session = self.get(id)
        return session if isinstance(session, SessionReplica) else None

    def replicas(self) -> list[SessionReplica]:
        """Return all replicas."""
        return [each for each in self if isinstance(each, SessionReplica)]

    def _marked(self, id: str) -> str:
        mac = hmac.digest(self._mark, id.encode(), "sha256")[:_MAC_BYTES]
        return f"{id}.{urlsafe_b64encode(mac).rstrip(b'=').decode('ascii')}"

    def excess(self, owner: Owner, now: float) -> tuple[Session, str] | None:
        """Return the replica to drop, and the reason, before there is one more; None if none must.

        Only an idle replica is dropped, which can be made again. The store limits the sessions of
        one owner and of all.
        """
        if len(self._sessions) < self._settings.max_sessions:
            return None
        replicas = (session for session in self._all if not session.over_sse)
        found = list(islice(replicas, SPARED))
        for session in found:
            if not session.busy:
                return session, "it is of no use now"
        for session in found:
            self.touch(session, now)
        return None

    def excess_of_sse(self, owner: Owner) -> tuple[Session, str] | None:
        """Return the HTTP+SSE session to end, and the reason; such sessions are in no store."""
        settings = self._settings
        all = [session for session in self._all if session.over_sse]
        own = [session for session in all if session.owner == owner]
        if len(own) >= settings.sessions_per_client:
            return own[0], "its client has opened too many others"
        if len(all) >= settings.max_sessions:
            return all[0], "there are too many others"
        return None
