"""Floods against a server of ours: what they cost it, and how an honest client fares beside them.

Each runs twice against a server in a process of its own, once stopping short of the limit that it
is about and once going over it, and each time two floods follow one another:

- What one connection, session or call takes is told by the first.
- Whether memory is used again is told by both: what the server holds when the second has gone, by
  what it held when the first was there.

Memory is the resident set as the operating system counts it.  The server has Python's allocator,
which gives back a mebibyte only when nothing at all is left in it, unless that of the C library is
asked for (``--allocator malloc``).
"""

import socket
import time
from collections.abc import Callable, Sequence

from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from mcpcore_bench.floods.kinds import (
    FLOODS,
    HELD,
    SPARE,
    Attack,
    Flood,
    most_connections,
    open_connections,
)
from mcpcore_bench.floods.probe import Times, percentile, probing
from mcpcore_bench.floods.wire import QUICK, Victim, bodiless, victim

__all__ = ["FLOODS", "SPARE", "Figures", "main", "run"]

TRIES = 3
"""Runs of the honest client beside one flood; the best counts, as others use the machine too."""
CALLS = 150
"""Calls of each run, of each kind."""
LATENCY = 50.0
"""Milliseconds within which all but one of a hundred calls of an honest client are answered."""
MORE = 60_000.0
"""Kilobytes that a server may hold more after a flood than before."""
LEVELS = 1.30
"""Memory after the second flood, by that with the first, at most.

The heap is cut up a little differently each time; a flood that is kept would make it almost 2."""
BLOCKS = 1.10
"""Blocks of memory in use after a flood, by those before, at most."""
IDLE = 0.05
"""The share of a CPU that nothing may take."""


class Figures(Struct, kw_only=True):
    """What a flood did.  Memory in kilobytes, times in milliseconds."""

    flood: str
    count: int
    over: bool
    held: int = 0
    """How many of what was asked for are held by the server at last."""
    refused: int = 0
    """How many of them it refused, as too many."""
    each: float = 0.0
    """Memory of one that is held."""
    coming: Times = field(default_factory=Times)
    """The honest client while the flood comes; of the better of the two floods."""
    beside: Times = field(default_factory=Times)
    """The honest client while the flood is held; the best of several runs."""
    failures: int = 0
    """Calls of honest clients that were not answered as they should be."""
    memory_idle: float = 0.0
    """When it had served a single call."""
    memory_held: float = 0.0
    memory_after: float = 0.0
    memory_again: float = 0.0
    """After the second flood; 0 if there was none."""
    blocks: float = 0.0
    """Blocks of memory in use after the first flood has gone, by those before; 0 with an
    allocator that cannot tell."""
    cpu_held: float = 0.0
    """Share of a CPU while the flood is held."""
    cpu_after: float = 0.0

    @property
    def p99(self) -> float:
        """Of the calls beside the held flood, on kept and on new connections: the worse."""
        return max(percentile(self.beside.kept, 99), percentile(self.beside.fresh, 99))

    @property
    def levels(self) -> float:
        """Memory after the second flood, by memory with the first; 0 if there was none."""
        return self.memory_again / self.memory_held if self.memory_held else 0.0

    def verdicts(self) -> list[tuple[str, bool]]:
        """What was to be shown, in words with figures, and whether it is so."""
        most = FLOODS[self.flood].most
        more = self.memory_after - self.memory_idle
        found = [
            (f"{self.p99:.1f} ms (p99, target {LATENCY:g})", self.p99 <= LATENCY),
            (f"{more / 1000:+.0f} MB after it (target {MORE / 1000:g})", more <= MORE),
            (f"CPU {self.cpu_after:.0%} after it (target {IDLE:.0%})", self.cpu_after <= IDLE),
            (f"{self.failures} calls of honest clients failed", not self.failures),
        ]
        if self.blocks:
            text = f"blocks in use {self.blocks:.1%} (target {BLOCKS:.0%})"
            found.append((text, self.blocks <= BLOCKS))
        if not FLOODS[self.flood].connections:  # over at once: what counts is while it runs
            worst = max(percentile(self.coming.kept, 99), percentile(self.coming.fresh, 99))
            found.insert(1, (f"{worst:.1f} ms while it comes", worst <= LATENCY))
        if self.memory_again:
            text = f"memory after the second flood {self.levels:.1%} of that with the first"
            found.append((f"{text} (target {LEVELS:.0%})", self.levels <= LEVELS))
        if most is not None and self.held and not self.over:
            found.insert(0, (f"{self.each:.1f} kB each (target {most:g})", self.each <= most))
        return found


def run(
    name: str,
    count: int,
    *,
    over: bool,
    backend: str = "asyncio",
    allocator: str = "pymalloc",
    again: bool = True,
    tries: int = TRIES,
) -> Figures:
    """Run one flood: short of its limit, or over it; and then ``again``, to see what stays."""
    flood = FLOODS[name]
    if flood.connections:
        count = min(count, most_connections())
    elif not over:
        count = count // 10  # as many as there may be
    settings = {**flood.settings(count, over), "backend": backend}
    settings["link"] = {**HELD, **settings.get("link", {})}
    figures = Figures(flood=name, count=count, over=over)
    with victim(settings, allocator) as server:
        server.ask(QUICK)
        figures.memory_idle = server.memory
        with probing(server.port, 100):
            pass
        blocks = server.blocks
        _flood(server, flood, figures, tries)
        figures.blocks = server.blocks / blocks if blocks else 0.0
        figures.memory_after = server.memory
        figures.cpu_after = server.busy_share(2.0)
        if again:
            second = Figures(flood=name, count=count, over=over)
            _flood(server, flood, second, 1)
            figures.failures += second.failures
            if percentile(second.coming.kept, 99) < percentile(figures.coming.kept, 99):
                figures.coming = second.coming
            server.ask(QUICK)
            figures.memory_again = server.memory
    return figures


def _flood(server: Victim, flood: Flood, figures: Figures, tries: int) -> None:
    """Let a flood come, be held and go."""
    count = figures.count
    based: list[socket.socket] = []
    if flood.base:
        based = open_connections(server, count, QUICK).connections
        server.settle()
    before = server.memory
    with probing(server.port) as figures.coming:
        attack = flood.attack(server, count, figures.over, based)
    server.settle()
    late = attack.look() if attack.look is not None else 0
    figures.held, figures.refused = attack.taken - late, attack.refused + late
    figures.memory_held = server.memory
    figures.each = (figures.memory_held - before) / figures.held if figures.held else 0.0
    figures.cpu_held = server.busy_share(1.0)
    runs = []
    for _ in range(tries):
        with probing(server.port, CALLS) as seen:
            pass
        runs.append(seen)
    figures.beside = min(runs, key=lambda times: percentile(times.kept, 99))
    figures.failures += sum(times.failures for times in (figures.coming, *runs))
    _leave(server, attack, based)
    time.sleep(flood.gone_after)
    server.settle()
    with probing(server.port, CALLS) as seen:
        pass
    figures.failures += seen.failures


def _leave(server: Victim, attack: Attack, based: list[socket.socket]) -> None:
    """Let all clients leave, and end what would go on without them."""
    for connection in (*attack.connections, *based):
        connection.close()
    while server.sessions:
        server.ask(bodiless("DELETE", server.sessions.pop()))


COLUMNS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("sent", lambda row: f"{row.count:,}"),
    ("limit", lambda row: "over" if row.over else "short"),
    ("held", lambda row: f"{row.held:,}"),
    ("refused", lambda row: f"{row.refused:,}"),
    ("kB each", lambda row: f"{row.each:.1f}"),
    ("p50", lambda row: f"{percentile(row.beside.kept, 50):.1f}"),
    ("p99", lambda row: f"{percentile(row.beside.kept, 99):.1f}"),
    ("p99 new", lambda row: _fresh(row.beside)),
    ("coming", lambda row: f"{percentile(row.coming.kept, 99):.1f}"),
    ("new", lambda row: _fresh(row.coming)),
    ("MB idle", lambda row: f"{row.memory_idle / 1000:.0f}"),
    ("held", lambda row: f"{row.memory_held / 1000:.0f}"),
    ("after", lambda row: f"{row.memory_after / 1000:.0f}"),
    ("again", lambda row: f"{row.memory_again / 1000:.0f}"),
    ("in use", lambda row: f"{row.blocks:.1%}" if row.blocks else "-"),
    ("CPU", lambda row: f"{row.cpu_held:.0%}"),
    ("after", lambda row: f"{row.cpu_after:.0%}"),
)


def _fresh(times: Times) -> str:
    return f"{percentile(times.fresh, 99):.1f}" if times.fresh else "503"


def show(console: Console, all_figures: Sequence[Figures]) -> bool:
    """Print what was measured; return whether every target is met."""
    table = Table(title="Floods", title_justify="left", title_style="bold")
    table.add_column("flood", no_wrap=True)
    for heading, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in all_figures:
        table.add_row(row.flood, *(tell(row) for _, tell in COLUMNS))
    console.print(table)
    console.print(
        "  Times in ms, of an honest client: while the flood is held, on a connection that it keeps"
        "\n  and on a new one for each call (503: new ones are refused, as there are too many), and"
        "\n  while it comes.  Memory: after one call, with the flood, after it, after another one."
    )
    met = True
    for row in all_figures:
        verdicts = row.verdicts()
        met = met and all(holds for _, holds in verdicts)
        texts = (text if holds else f"[red]MISSED: {text}[/]" for text, holds in verdicts)
        where = "over" if row.over else "short"
        console.print(f"  {row.flood}, {where}: {'; '.join(texts)}", highlight=False)
    return met


def main(scale: float, backend: str, names: Sequence[str] = (), allocator: str = "pymalloc") -> int:
    """Run the named floods, or all, and print figures; 0 if every target is met."""
    console = Console(width=170)
    found: list[Figures] = []
    for name in names or FLOODS:
        for over in (False, True):
            count = max(20, round(FLOODS[name].count * scale))
            limit = "over" if over else "short of"
            with console.status(f"{name}: {count:,}, {limit} the limit, on {backend}"):
                made = run(name, count, over=over, backend=backend, allocator=allocator)
            found.append(made)
    return 0 if show(console, found) else 1
