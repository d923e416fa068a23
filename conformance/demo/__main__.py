"""``python -m conformance.demo``: every pair of client and server, one table.

Our everything server is driven by our client over stdio, Streamable HTTP and WebSocket, and by the
official SDK's client over stdio and HTTP; the SDK's server is driven by our client over stdio and
HTTP; all in both eras.  Exits with 1 if a cell fails.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic

import anyio
import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conformance.demo.features import FEATURES, Cell, drive
from conformance.launch import LaunchError, serving

HERE = Path(__file__).resolve().parent
SDK_PYTHON = str(HERE.parents[1] / ".venv-sdk" / "bin" / "python")
OUR_SERVER = (sys.executable, "-m", "conformance.everything.server")
SDK_SERVER = (SDK_PYTHON, str(HERE / "sdk_server.py"))
SDK_CLIENT = (SDK_PYTHON, str(HERE / "sdk_client.py"))

REVISIONS = ("2025-11-25", "2026-07-28")
LOOPBACK = "127.0.0.1:0"
CONVERSATION_SECONDS = 60.0
NOTE = (
    "pair: client → server. round trip: the median of a feature's rounds. The tools of our server"
    " that report progress and log pause for 50 ms between messages, as the official suite's"
    " fixture asks."
)

Told = Callable[[Cell], object]
Target = str | Sequence[str]


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


@contextmanager
def offered(pair: Pair) -> Iterator[Target]:
    """Start the pair's server where it stands by itself, and yield what to connect to."""
    server = OUR_SERVER if pair.server == "our" else SDK_SERVER
    if pair.transport == "stdio":
        yield (*server, "--stdio")
        return
    option = "--ws" if pair.transport == "websocket" else "--http"
    with serving((*server, option, LOOPBACK)) as (url,):
        yield url


def drive_ours(target: Target, revision: str, told: Told) -> None:
    """Drive our client."""

    async def limited() -> None:
        with anyio.fail_after(CONVERSATION_SECONDS):
            await drive(target, revision, told)

    anyio.run(limited)


def drive_sdk(target: Target, revision: str, told: Told) -> None:
    """Drive the SDK's client, which runs in an environment of its own."""
    where = [target] if isinstance(target, str) else ["--", *target]
    command = [*SDK_CLIENT, "--revision", revision, *where]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            out, err = child.communicate(timeout=CONVERSATION_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
    cells = [msgspec.json.decode(line, type=Cell) for line in out.splitlines()]
    for cell in cells:
        told(cell)
    if len(cells) < len(FEATURES):
        last = err.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise RuntimeError(f"the SDK's client ended early: {last[0]}")


def converse(pair: Pair, target: Target, revision: str, told: Told) -> None:
    """Run all features of one pair in one revision; each is told exactly once."""
    missing = [feature for feature, _, _ in FEATURES]

    def tell(cell: Cell) -> None:
        missing.remove(cell.feature)
        told(cell)

    try:
        (drive_ours if pair.client == "our" else drive_sdk)(target, revision, tell)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        for feature in tuple(missing):
            tell(Cell(feature, "failed", f"{type(error).__name__}: {error}"))


def run(told: Callable[[Row], object]) -> None:
    """Run every pair in every revision."""
    for pair in PAIRS:
        rows = {revision: _teller(pair, revision, told) for revision in REVISIONS}
        try:
            with offered(pair) as target:
                for revision, tell in rows.items():
                    converse(pair, target, revision, tell)
        except LaunchError as error:
            for tell in rows.values():
                for feature, _, _ in FEATURES:
                    tell(Cell(feature, "failed", str(error)))


def _teller(pair: Pair, revision: str, told: Callable[[Row], object]) -> Told:
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
    if not Path(SDK_PYTHON).exists():
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
        total = len(PAIRS) * len(REVISIONS) * len(FEATURES)
        task = progress.add_task("starting", total=total)

        def told(row: Row) -> None:
            rows.append(row)
            where = f"{row.pair}, {row.pair.transport}, {row.revision}"
            progress.update(task, advance=1, description=where)
            if not console.is_terminal and len(rows) % len(FEATURES) == 0:
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
