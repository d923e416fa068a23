"""The conformance kit on both sides: our server and our client over three bindings, one matrix."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.commands.playing import play_out
from mcpcore_conformance.commands.progress import SHORT, STYLE, line_of
from mcpcore_conformance.kit.model import Binding, Side, Verdict
from mcpcore_conformance.run.clients import Command, prepare_client, run_client
from mcpcore_conformance.run.expected import failing
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.servers import CannotRun, prepare, run_server
from mcpcore_conformance.run.stages import EVERYTHING_CLIENT, everything

OLD, NEW = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
JOBS = 4
PATIENCE = 20.0
"""Seconds for an answer: a machine that shows something may be busy."""
NAMES = {Binding.HTTP: "HTTP", Binding.WS: "WebSocket", Binding.STDIO: "stdio"}


class Act(Struct, frozen=True):
    """All cases of a side over some bindings in some revisions."""

    side: Side
    bindings: tuple[Binding, ...]
    revisions: tuple[Revision, ...]

    def __str__(self) -> str:
        where = " and ".join(NAMES.get(binding, binding) for binding in self.bindings)
        when = ", ".join(revision.name for revision in self.revisions)
        return f"our {self.side} over {where} in {when}"


# Where cases cost processes, time allows for one era of a binding, of clients over HTTP for both.
ACTS = (
    Act(Side.SERVER, (Binding.HTTP, Binding.WS), REVISIONS),
    Act(Side.SERVER, (Binding.STDIO,), (NEW,)),
    Act(Side.CLIENT, (Binding.HTTP,), (OLD, NEW)),
    Act(Side.CLIENT, (Binding.WS,), (NEW,)),
    Act(Side.CLIENT, (Binding.STDIO,), (OLD,)),
)


def play(console: Console, acts: Sequence[Act] = ACTS) -> tuple[int, bool]:
    """Play the acts and print the matrix; returns how many are not well, and if interrupted."""
    runs: list[Run] = []
    interrupted = False
    for act in acts:
        console.print(str(act), highlight=False)
        run, interrupted = _played(act)
        runs.append(run)
        if interrupted:
            break
    bad = [
        result for run in runs for result in run.results if result.verdict in failing(strict=True)
    ]
    for result in bad:
        console.print(line_of(result))
    console.print(matrix(runs))
    total = sum((run.count() for run in runs), Counter[Verdict]())
    said = ", ".join(f"{total[verdict]} {verdict}" for verdict in Verdict if total[verdict])
    console.print(f"{len(all_cases())} cases: {said or 'nothing played'}", highlight=False)
    return len(bad), interrupted


def _played(act: Act) -> tuple[Run, bool]:
    settings = Settings(revisions=act.revisions, jobs=JOBS, timeout=PATIENCE)
    if act.side is Side.SERVER:
        subjects = [everything(binding) for binding in act.bindings]
        run = prepare(subjects, all_cases(), settings)

        async def start(listener: Listener) -> None:
            await run_server(run, subjects, listener)
    else:
        command = Command(EVERYTHING_CLIENT)
        run = prepare_client(command, act.bindings, all_cases(), settings)

        async def start(listener: Listener) -> None:
            await run_client(run, command, listener)

    ended = play_out(start)
    if ended is not None and not ended.reached:
        raise CannotRun(ended.why)
    return run, ended is not None


def matrix(runs: Sequence[Run]) -> Table:
    """Sides and bindings by revisions: how many passed, and whatever else there was.

    A cell that no act is about says so.
    """
    counts: dict[tuple[Side, Binding], dict[str, Counter[Verdict]]] = {}
    for run in runs:
        for result in run.results:
            row = counts.setdefault((run.side, result.binding), {})
            row.setdefault(result.revision, Counter())[result.verdict] += 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("our", "over"):
        table.add_column(heading, no_wrap=True)
    for revision in REVISIONS:
        table.add_column(revision.name, justify="right", no_wrap=True)
    for (side, binding), found in counts.items():
        cells = [_cell(found.get(revision.name, Counter())) for revision in REVISIONS]
        table.add_row(side, NAMES.get(binding, binding), *cells)
    return table


def _cell(counts: Counter[Verdict]) -> Text:
    if not counts:
        return Text("not played", style="dim")
    parts = [
        Text(f"{counts[verdict]} {SHORT[verdict]}", style=STYLE[verdict])
        for verdict in Verdict
        if counts[verdict]
    ]
    return Text("\n").join(parts)
