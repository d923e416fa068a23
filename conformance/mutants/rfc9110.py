"""Mutants that bear too much or too little of HTTP."""

from conformance.mutants.edits import to
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.faults import reads
from conformance.mutants.http_faults import everything, header_of, pours, pours_statuses, refuses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.wire import Poured

table = Table("rfc9110")


def _with_body(_data: bytes, found: Poured) -> Poured:
    for each in found.responses:
        each.body = b"{}"
    return found


def _silent(_data: bytes, _found: Poured) -> Poured:
    return Poured([], closed=False)


@table.server("starves", "half-open-others-served")
class _Starves(Fault):
    """Lets half requests take the places of whole ones."""

    halves = 0

    def written(self, data: bytes) -> bytes | None:
        self.halves += 1
        return None

    def fetching(self, asked: Asked) -> Asked | None:
        if self.halves < 20:
            return asked
        self.answer_http(503, None)
        return None


table.server("no-allow", "allow").does(
    "Does not say which methods there are.", header_of(everything, "allow", None)
)
table.server("head-with-body", "head-without-body").does(
    "Sends a body with the response to HEAD.", pours(_with_body)
)
table.server("does-not-continue", "expect-continue").does(
    "Waits for a body that waits for leave.", pours(_silent)
)
table.server("fails-on-nul", "no-controls").does("Fails on NUL in a header.", pours_statuses(500))
table.server("fails-on-long-headers", "header-too-large").does(
    "Fails on headers that are too long.", pours_statuses(500)
)
table.server("waits-for-terabytes", "announced-too-large").does(
    "Waits for a body of any size.", pours(_silent)
)
table.server("no-limit", "chunks-without-end").does(
    "Reads chunks as long as there are any.", pours(_silent)
)
table.server("small-only", "large-message").does(
    "Takes a large message for a bad one.",
    refuses(lambda asked: len(asked.body or b"") > 65536, 400),
)
table.server("waits-without-end", "half-a-head").does(
    "Waits for the rest of a request without end.", reads(to(None))
)
