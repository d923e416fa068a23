"""Mutants for the page basic/index: brackets a million deep."""

from conformance.mutants.faults import dies_of
from conformance.mutants.model import Table

table = Table("basic/index")

DEEP = 100_000
"""Brackets that the mutants bear."""

table.server("recursive", "messages/bottomless").does(
    "Ends when brackets in each other are deeper than its stack.",
    dies_of(lambda _value, payload: max(payload.count(b"["), payload.count(b"{")) > DEEP),
)
