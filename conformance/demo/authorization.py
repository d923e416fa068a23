"""Authorization: our client and the official SDK's sign in at a protected server, one table.

The authorization server is the one for development, on loopback; nobody needs a browser.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conformance.interop.authorization.table import DEVELOPMENT, Meeting, issuing, protected, visit
from conformance.interop.drivers.features import Cell
from mcpcore_conformance.launch import LaunchError

REVISION = "2026-07-28"
MEETINGS = tuple(Meeting(client, "our", DEVELOPMENT, REVISION) for client in ("our", "SDK"))
NOTE = (
    "A protected server of ours, and the development authorization server that it trusts. The"
    " person consents by one GET of the authorization endpoint. One tool needs more than was asked"
    " for first, another needs what nobody is granted."
)

Cells = dict[tuple[Meeting, str], Cell]


def sign_in(console: Console) -> int:
    """Have both clients sign in, and print the table; returns how many steps failed."""
    console.print(f"two clients sign in at our server, in {REVISION}", highlight=False)
    cells: Cells = {}
    lock = Lock()

    def told(meeting: Meeting, cell: Cell) -> None:
        with lock:
            cells[meeting, cell.feature] = cell

    try:
        with (
            issuing(DEVELOPMENT) as issuer,
            protected(MEETINGS[0], issuer) as (url, strict),
            ThreadPoolExecutor(len(MEETINGS)) as pool,
        ):
            done = [pool.submit(visit, meeting, url, strict, told) for meeting in MEETINGS]
            for each in done:
                each.result()
    except LaunchError as error:
        for meeting in MEETINGS:
            for step in meeting.steps:
                told(meeting, Cell(step, "failed", str(error)))
    console.print(tabulate(cells))
    console.print(NOTE, highlight=False)
    failed = sum(cell.outcome != "ok" for cell in cells.values())
    console.print(f"{len(cells) - failed} of {len(cells)} steps ok")
    return failed


def tabulate(cells: Cells) -> Table:
    """Lay the steps out, naming the pair where it changes."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("pair", "step", "outcome"):
        table.add_column(heading, no_wrap=True)
    table.add_column("how")
    for meeting in MEETINGS:
        pair = f"{meeting.client} → {meeting.server}"
        for step in meeting.steps:
            cell = cells[meeting, step]
            outcome = "[green]ok[/]" if cell.outcome == "ok" else "[red]failed[/]"
            table.add_row(pair, step, outcome, Text(cell.detail))
            pair = ""
        table.add_section()
    return table
