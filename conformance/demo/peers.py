"""Talks with the official SDK: its client and our server, our client and its server, one table.

Over the bindings that it speaks as well (stdio, Streamable HTTP, HTTP+SSE), in both eras, but for
HTTP+SSE, which belongs to the first.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from threading import Lock

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conformance.interop.drivers.features import Cell
from conformance.interop.matrix import LINES
from conformance.interop.talk import OUR_CLIENT, OUR_SERVER, SSE, Tell, converse, offered
from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.launch import LaunchError

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
AT_A_TIME = 2
"""Conversations: most of their time is spent in starting and in waiting."""
NOTE = (
    "pair: client → server. round trip: the median of a feature's rounds, with two conversations at"
    " a time. The tools of our server"
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

    @property
    def revisions(self) -> tuple[str, ...]:
        """What is spoken: one revision of each era, if the transport has both."""
        if self.transport != SSE:
            return REVISIONS
        return tuple(name for name in REVISIONS if BY_NAME[name].handshake)


PAIRS = (
    Pair("SDK", "our", "stdio"),
    Pair("SDK", "our", "http"),
    Pair("SDK", "our", SSE),
    Pair("our", "SDK", "stdio"),
    Pair("our", "SDK", "http"),
    Pair("our", "SDK", SSE),
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
    """Run every pair in every revision, some at a time; every cell is told exactly once."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for done in [pool.submit(_run_pair, pair, told) for pair in PAIRS]:
            done.result()


def _run_pair(pair: Pair, told: Callable[[Row], object]) -> None:
    rows = {revision: _teller(pair, revision, told) for revision in pair.revisions}
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


def talk(console: Console) -> int:
    """Have all talks, and print the table; returns how many cells failed."""
    rows: list[Row] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        total = sum(len(pair.revisions) for pair in PAIRS) * len(ROUNDS)
        counts: Counter[str] = Counter()
        lock = Lock()
        task = progress.add_task("starting", total=total)

        def told(row: Row) -> None:
            where = f"{row.pair}, {row.pair.transport}, {row.revision}"
            with lock:
                rows.append(row)
                counts[where] += 1
            progress.update(task, advance=1, description=where)
            if not console.is_terminal and counts[where] == len(ROUNDS):
                console.print(f"{len(rows)} of {total} cells: {where} done", markup=False)

        run(told)
    rows.sort(key=lambda row: (PAIRS.index(row.pair), row.revision))
    console.print(tabulate(rows))
    console.print(NOTE, highlight=False)
    failed = [row for row in rows if row.cell.outcome != "ok"]
    for row in failed:
        where = f"{row.pair}, {row.pair.transport}, {row.revision}, {row.cell.feature}"
        console.print(f"failed: {where}: {row.cell.detail}", style="red", markup=False)
    console.print(f"{len(rows) - len(failed)} of {len(rows)} cells ok")
    return len(failed)
