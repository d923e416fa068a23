"""``python -m benchmarks [NAME ...] [--rounds N]``: what things cost.

And ``python -m benchmarks floods``: what attacks cost (:mod:`benchmarks.floods`).

Beside the official SDK, where that has something to compare.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks import floods, large, pair, startup, stdio, stores, tools
from benchmarks.measure import SDK, Series, interleave

FLOODS = "floods"
EXAMPLES = """\
examples:
  python -m benchmarks                          everything but the floods
  python -m benchmarks pair stdio --rounds 15   two of them, measured more often
  python -m benchmarks floods                   all floods at full size: about half an hour
  python -m benchmarks floods --scale 0.1       small ones, which tell less of memory
  python -m benchmarks floods --flood calls --flood sessions --backend trio
  python -m benchmarks floods --allocator pymalloc

The status is 0 if every target is met, 1 if one is MISSED, 2 if something is not there to run it.
"""


class Benchmark(Struct, frozen=True):
    """A number of variants, and the ratios between them that matter."""

    title: str
    variants: Mapping[str, Callable[[], float]]
    ratios: tuple[tuple[str, str, float | None], ...]
    """One, another, and the most that the one may cost as a fraction of the other (None: any)."""
    sdk: bool = True
    """The official SDK takes part."""


BENCHMARKS = {
    "startup": Benchmark(
        "Time of an import in a fresh interpreter",
        startup.VARIANTS,
        (("import mcpcore", "import mcp (official SDK)", 1 / 4),),
    ),
    "pair": Benchmark(
        "CPU of a sequential tools/call, client and server in one process",
        pair.VARIANTS,
        (
            ("two Peers, legacy era", "official SDK, legacy era", 1 / 10),
            ("two Peers, modern era", "official SDK, modern era (no JSON)", None),
        ),
    ),
    "stdio": Benchmark(
        "CPU of a stdio server for one tools/call",
        stdio.VARIANTS,
        (
            ("our stdio server, by readiness", "the same Peer, worker threads", 1 / 2),
            ("our stdio server, by readiness", "official SDK's stdio server", 1 / 5),
        ),
    ),
    "large": Benchmark(
        "Time of one large message to a stdio server (32 MB: at most 0.3 s)",
        large.VARIANTS,
        (("a message of 32 MB", "a message of 8 MB", 6.0),),
        sdk=False,
    ),
    "tools": Benchmark(
        "CPU of a request, few tools and many",
        tools.VARIANTS,
        (("tools/call, 1,000 tools", "tools/call, 10 tools", 1.05),),
        sdk=False,
    ),
    "stores": Benchmark(
        "Time of an event that is added to a stream",
        stores.VARIANTS,
        stores.RATIOS,
        sdk=False,
    ),
}


def run(console: Console, benchmark: Benchmark, rounds: int) -> dict[str, Series]:
    """Measure, saying how far it has come."""
    with console.status(benchmark.title) as status:

        def told(number: int) -> None:
            status.update(f"{benchmark.title}: round {number} of {rounds}")

        return interleave(benchmark.variants, rounds, told)


def show(console: Console, benchmark: Benchmark, series: Mapping[str, Series]) -> bool:
    """Print one benchmark; return whether every ratio is within its bound."""
    table = Table(title=benchmark.title, title_justify="left", title_style="bold")
    table.add_column("variant")
    for heading in ("median", "quartiles", "runs"):
        table.add_column(heading, justify="right")
    for name, measured in series.items():
        low, high = measured.spread
        table.add_row(
            name,
            f"{measured.median:,.1f} µs",
            f"{low:,.1f} to {high:,.1f}",
            str(len(measured.values)),
        )
    console.print(table)
    within = True
    for ours, theirs, most in benchmark.ratios:
        ratio = series[ours].median / series[theirs].median
        line = f"{ours} : {theirs} = 1 : {1 / ratio:.3g}"
        if most is not None:
            holds = ratio <= most
            within = within and holds
            verdict = "[green]met[/]" if holds else "[red]MISSED[/]"
            line += f"  (target at least 1 : {1 / most:.3g}, {verdict})"
        console.print(f"  {line}", soft_wrap=True, highlight=False)
    console.print()
    return within


def main() -> int:
    """Run what the command line names; 0 if every target is met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        choices=[*BENCHMARKS, FLOODS, []],
        help="all but the floods by default",
    )
    parser.add_argument("--rounds", type=int, default=7, help="of all but the floods (7)")
    flooding = parser.add_argument_group("floods")
    flooding.add_argument("--scale", type=float, default=1.0, help="how large they are (1.0)")
    flooding.add_argument(
        "--flood", action="append", default=[], choices=floods.FLOODS, help="only these"
    )
    flooding.add_argument(
        "--backend", default="asyncio", choices=("asyncio", "trio"), help="of the server (asyncio)"
    )
    flooding.add_argument(
        "--allocator",
        default="malloc",
        choices=("malloc", "pymalloc"),
        help="of the server: what PYTHONMALLOC says (malloc, as `mcpcore serve` has it)",
    )
    chosen = parser.parse_args()
    names = chosen.names or list(BENCHMARKS)
    flooded = 0
    if FLOODS in names:
        flooded = floods.main(chosen.scale, chosen.backend, chosen.flood, chosen.allocator)
        names = [name for name in names if name != FLOODS]
    if not Path(SDK).exists() and any(BENCHMARKS[name].sdk for name in names):
        print("the official SDK is not installed: run `make sdk`", file=sys.stderr)
        return 2
    console = Console()
    met = True
    for name in names:
        benchmark = BENCHMARKS[name]
        measured = run(console, benchmark, chosen.rounds)
        met = show(console, benchmark, measured) and met
    return flooded or (0 if met else 1)


if __name__ == "__main__":
    sys.exit(main())
