"""Runs that nobody has measured."""

import msgspec

from mcpcore_bench.method.samples import Machine, Measured, RowResult, Run, Sample, Verdict
from mcpcore_bench.table.table import ROWS

FACTS = {
    "when": "2026-11-20T12:00:00+00:00",
    "cpu": "a CPU",
    "cores": 2,
    "memory": "8 GB",
    "system": "Linux",
    "python": "CPython 3.11",
    "load": [0.1, 0.2, 0.3],
    "packages": {"mcpcore": "0.1.0", "uvloop": "not installed"},
    "peers": {"official SDK": {"mcp": "2.3.0"}, "fastmcp": {}},
}
"""As files of old have them."""
LOAD = {"HTTP, 1 in flight": 9.0} | {
    f"HTTP, 1 in flight, {what}": value for what, value in (("responder", 20.0), ("a second", 3e4))
}


def answering(*values: float, load: float = 10.0) -> Measured:
    """What whoever answers the load generator took, and beside it what that took itself."""
    samples = [Sample(value, {"load": load * value, "rate": 1e6 / value}) for value in values]
    return Measured("a kind of work", samples)


def measured(*values: float, title: str = "a variant", wall: float | None = None) -> Measured:
    """Samples of these values; ``wall``: the wall clock's time as a multiple of each."""
    samples = []
    for value in values:
        facts = {"rate": 1e6 / value, "load": 10.0}
        if wall is not None:
            facts["wall"] = wall * value
        samples.append(Sample(value, facts=facts, latency={300: 5, 900: 1}))
    return Measured(title, samples)


def run(rows: dict[str, dict[str, Measured]], verdicts: list[Verdict] | None = None) -> Run:
    made = {
        name: RowResult(f"The row {name}", "µs", variants, verdicts or [])
        for name, variants in rows.items()
    }
    machine = msgspec.convert(FACTS, Machine)
    return Run(machine=machine, rounds=5, rows=made, quick=False, load=dict(LOAD))


def of_the_table() -> Run:
    """A small run with every variant of every row."""
    return run(
        {
            name: {key: measured(9.0, 10.0, title=each.title) for key, each in row.variants.items()}
            for name, row in ROWS.items()
        }
    )
