"""Mutants whose sessions can be taken over."""

from itertools import count
from typing import ClassVar

from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import calls, deletes, header_of, one_principal, refuses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Head, header

table = Table("basic/security_best_practices")

SESSION = "mcp-session-id"
_clock = count(1_700_000_000_000)


table.server("ids-from-a-clock", "ids-not-deterministic").does(
    "Makes session ids from the time of day.",
    header_of(calls("initialize"), SESSION, lambda: f"node-7-process-4711-{next(_clock)}"),
)


@table.server("tells-of-others", "ids-not-told")
class _Tells(Fault):
    """Tells every client the session ids of others."""

    known: ClassVar[list[str]] = []

    def head(self, head: Head) -> Head:
        found = header(head.headers, SESSION)
        if found is not None:
            self.known.append(found)
            del self.known[:-2]
        else:
            head.headers.append(("x-sessions", ",".join(self.known)))
        return head


@table.server("ids-given-again", "ids-not-given-again")
class _Recycles(Fault):
    """Gives the ids of sessions that have ended to others."""

    free: ClassVar[list[str]] = []

    _session: str | None = None

    def head(self, head: Head) -> Head:
        found = header(head.headers, SESSION)
        if found is not None and self.free:
            kept = [each for each in head.headers if each[0] != SESSION]
            head.headers = [*kept, (SESSION, self.free[0])]
        self._session = self._session or found
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if deletes(asked) and self._session is not None:
            self.free[:] = [self._session]
        elif calls("initialize")(asked) and len(self.free) > 1:
            self.free.clear()
        return asked


table.server("one-id", "ids-not-deterministic").does(
    "Gives every client the same id.",
    header_of(calls("initialize"), SESSION, "0123456789abcdef0123456789abcdef"),
)
table.server("sessions-never-end", "ids-not-given-again").does(
    "Says that it ends sessions, and does not.", refuses(deletes, 204)
)
table.server("sessions-of-everybody", "ids-bound-to-users").does(
    "Lets every user into every session.", one_principal
)
