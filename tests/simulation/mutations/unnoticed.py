"""Bugs that disturb no conversation: what is kept for ever, said again, or not said in time."""

from typing import Any

from mcpcore.http.server import HttpServer
from mcpcore.http.session_table import SessionTable
from tests.simulation.mutations.model import Mutation, wrapped


def _routes_kept() -> None:
    """A server knows every exchange that there ever was."""

    def make(begin: Any) -> Any:
        def mutant(self: Any, exchange: Any, *rest: Any) -> Any:
            vars(self).setdefault("_seen", {})[exchange] = None
            return begin(self, exchange, *rest)

        return mutant

    wrapped(HttpServer, "_begin", make)


def _uses_kept() -> None:
    """A server knows all times at which a session was used, for as long as there is one."""

    def make(touch: Any) -> Any:
        def mutant(self: Any, session: Any, now: float) -> None:
            touch(self, session, now)
            vars(self).setdefault("_uses", []).append(now)

        return mutant

    def make_remove(remove: Any) -> Any:
        def mutant(self: Any, session: Any) -> None:
            remove(self, session)
            if len(self) == 0:
                vars(self).pop("_uses", None)

        return mutant

    wrapped(SessionTable, "touch", make)
    wrapped(SessionTable, "remove", make_remove)


MUTATIONS = [
    Mutation("routes kept", "http", _routes_kept),
    Mutation("uses kept", "http", _uses_kept),
]
