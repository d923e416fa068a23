"""``python -m conformance.demo``: every pair of client and server, one table.

Our everything server is driven by our client over stdio, Streamable HTTP and WebSocket, and by the
official SDK's client over stdio and HTTP; the SDK's server is driven by our client over stdio and
HTTP; all in both eras.  Exits with 1 if a cell fails.
"""

import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import monotonic

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conformance.interop.drivers.features import Cell
from conformance.interop.matrix import LINES
from conformance.interop.talk import OUR_CLIENT, OUR_SERVER, Tell, converse, offered
from conformance.launch import LaunchError
from mcpcore.spec.revisions import BY_NAME

SDK = LINES[0]
ROUNDS = {
    "tools/list": 9,
    "tools/call": 15,
    "progress": 3,
    "structured output": 9,
    "tool error": 9,
    "resources/read: text": 9,
    "resource templates": 9,
    "prompts/get": 9,
    "completion": 9,
    "elicitation: accept": 5,
    "sampling": 5,
    "roots": 5,
    "cancellation": 3,
    "tools changed": 3,
    "logging": 3,
}
"""Feature to rounds."""
REVISIONS = ("2025-11-25", "2026-07-28")
NOTE = (
    "pair: client → server. round trip: the median of a feature's rounds. The tools of our server"
    " that report progress and log pause for 50 ms between messages, as the official suite's"
    " fixture asks."
)


class Pair(Struct, frozen=True):
    """A client, a server and a transport between them."""

    client: str
    server: str
    transport: str

    def __str__(self) -> str:
        return f"{self.client} → {self.server}"


PAIRS = (
    Pair("our", "our", "stdio"),
    Pair("our", "our", "http"),
    Pair("our", "our", "websocket"),
    Pair("SDK", "our", "stdio"),
    Pair("SDK", "our", "http"),
    Pair("our", "SDK", "stdio"),
    Pair("our", "SDK", "http"),
)


class Row(Struct):
    """One line of the table."""

    pair: Pair
    revision: str
    cell: Cell


def program(whose: str, side: str) -> Sequence[str]:
    """The command of a client or a server."""
    if whose == "SDK":
        return SDK.program(side)
    return OUR_CLIENT if side == "client" else OUR_SERVER


def run(told: Callable[[Row], object]) -> None:
    """Run every pair in every revision; every cell is told exactly once."""
    for pair in PAIRS:
        rows = {revision: _teller(pair, revision, told) for revision in REVISIONS}
        client, server = program(pair.client, "client"), program(pair.server, "server")
        try:
            with offered(server, pair.transport) as target:
                for revision, tell in rows.items():
                    converse(client, target, BY_NAME[revision], ROUNDS, tell)
        except LaunchError as error:
            for tell in rows.values():
                for feature in ROUNDS:
                    tell(Cell(feature, "failed", str(error)))


def _teller(pair: Pair, revision: str, told: Callable[[Row], object]) -> Tell:
    return lambda cell: told(Row(pair, revision, cell))


def tabulate(rows: Sequence[Row]) -> Table:
    """Lay the rows out, naming pair, transport and revision where they change."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("pair", "transport", "revision", "feature", "outcome"):
        table.add_column(heading, no_wrap=True)
    table.add_column("round trip", justify="right", no_wrap=True)
    before: tuple[str, ...] = ()
    for row in rows:
        place = (str(row.pair), row.pair.transport, row.revision)
        if before and place != before:
            table.add_section()
        shown = ("", "", "") if place == before else place
        before = place
        cell = row.cell
        outcome = "[green]ok[/]" if cell.outcome == "ok" else "[red]failed[/]"
        trip = f"{median(cell.ms):.2f} ms" if cell.ms else ""
        table.add_row(*shown, cell.feature, outcome, trip)
    return table


def main() -> int:
    """Run the demonstration and print its table."""
    console = Console()
    if not SDK.python.exists():
        print("the official SDK is not installed: run `make demo` or `make sdk`", file=sys.stderr)
        return 2
    rows: list[Row] = []
    began = monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        total = len(PAIRS) * len(REVISIONS) * len(ROUNDS)
        task = progress.add_task("starting", total=total)

        def told(row: Row) -> None:
            rows.append(row)
            where = f"{row.pair}, {row.pair.transport}, {row.revision}"
            progress.update(task, advance=1, description=where)
            if not console.is_terminal and len(rows) % len(ROUNDS) == 0:
                console.print(f"{len(rows)} of {total} cells: {where} done", markup=False)

        run(told)
    console.print(tabulate(rows))
    console.print(NOTE, highlight=False)
    failed = [row for row in rows if row.cell.outcome != "ok"]
    for row in failed:
        where = f"{row.pair}, {row.pair.transport}, {row.revision}, {row.cell.feature}"
        console.print(f"failed: {where}: {row.cell.detail}", style="red", markup=False)
    took = monotonic() - began
    console.print(f"{len(rows) - len(failed)} of {len(rows)} cells ok in {took:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
