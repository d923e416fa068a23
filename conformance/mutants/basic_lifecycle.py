"""Mutants of the page basic/lifecycle."""

from conformance.mutants.faults import results_of
from conformance.mutants.model import Table

table = Table("basic/lifecycle")

table.add(
    "other-version",
    "version-negotiation/version-echoed",
    "Answers every initialize with the oldest version.",
    results_of("initialize", lambda result: {**result, "protocolVersion": "2024-11-05"}),
    revision="2025-06-18",
)
table.add(
    "any-version",
    "version-negotiation/unknown-version",
    "Agrees to whatever version it is asked for.",
    results_of("initialize", lambda result: {**result, "protocolVersion": "1999-12-31"}),
)
