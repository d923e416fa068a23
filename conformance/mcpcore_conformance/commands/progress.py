"""Showing how a run goes: a live table on a terminal, plain lines elsewhere."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.reports.report import detail_of, safe
from mcpcore_conformance.run.plan import Unit
from mcpcore_conformance.run.run import Listener
from mcpcore_transports.commands.output import errors

STYLE = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.WEAK: "yellow",
    Verdict.INFORMATIONAL: "cyan",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.INCONCLUSIVE: "magenta",
}
SHORT = {
    Verdict.PASSED: "passed",
    Verdict.FAILED: "failed",
    Verdict.WEAK: "weak",
    Verdict.INFORMATIONAL: "info",
    Verdict.NOT_APPLICABLE: "n/a",
    Verdict.INCONCLUSIVE: "inconcl.",
}
NOTABLE = (Verdict.FAILED, Verdict.WEAK, Verdict.INCONCLUSIVE)
Place = tuple[Binding, str]


@contextmanager
def shown(secrets: Sequence[str] = (), console: Console = errors) -> Iterator[Listener]:
    """Show a run on standard error for as long as the context lasts, without the secrets."""
    if not console.is_terminal:
        yield Lines(console, secrets)
        return
    table = LiveTable(console, secrets)
    with Live(get_renderable=table.render, console=console, refresh_per_second=8) as live:
        table.live = live
        yield table


class _Counting(Listener):
    """Counts verdicts by binding and revision."""

    def __init__(self, console: Console, secrets: Sequence[str]) -> None:
        self.console = console
        self.secrets = secrets
        self.looking = ""
        self.total: Counter[Place] = Counter()
        self.counts: dict[Place, Counter[Verdict]] = {}
        self.told: set[str] = set()
        """What was said once, and is not said again of each case."""

    def looks(self, binding: Binding, target: str) -> None:
        """Say what is looked at."""
        self.looking = f"looking at {safe(target, self.secrets)} over {binding} ..."

    def planned(self, units: Sequence[Unit]) -> None:
        """Learn what is coming."""
        for unit in units:
            self.total[unit.binding, unit.revision.name] += 1
        self.counts = {group: Counter() for group in self.total}

    def ended(self, unit: Unit, result: Result) -> None:
        """Count, and tell of what is not well."""
        group = (unit.binding, unit.revision.name)
        self.counts[group][result.verdict] += 1
        if result.verdict in NOTABLE and result.detail not in self.told:
            self.tell(line_of(result, self.secrets))
        if self.counts[group].total() == self.total[group]:
            self.over(group)

    def gone(self, binding: Binding, how: str) -> None:
        """Print it."""
        self.told.add(how)
        self.tell(Text(safe(how, self.secrets), style=STYLE[Verdict.FAILED]))

    def came_back(self, binding: Binding, how: str) -> None:
        """Print it."""
        self.tell(Text(safe(how, self.secrets), style=STYLE[Verdict.WEAK]))

    def tell(self, text: Text) -> None:
        """Print one line."""
        self.console.print(text, soft_wrap=True)

    def over(self, group: Place) -> None:
        """All cases of a binding and revision are played."""


class Lines(_Counting):
    """One line for each thing that is not well, and for each binding and revision."""

    def looks(self, binding: Binding, target: str) -> None:
        """Print it."""
        super().looks(binding, target)
        self.tell(Text(self.looking))

    def over(self, group: Place) -> None:
        """Print what came of it."""
        counts = self.counts[group]
        said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        self.console.print(f"{group[0]} {group[1]}: {said}", soft_wrap=True, highlight=False)


class LiveTable(_Counting):
    """A table with a row for each binding and revision; what is not well scrolls above it."""

    def __init__(self, console: Console, secrets: Sequence[str]) -> None:
        super().__init__(console, secrets)
        self.live: Live | None = None
        self.playing: dict[Hashable, Unit] = {}

    def began(self, unit: Unit) -> None:
        """Remember what is played just now."""
        self.playing[unit.key] = unit

    def ended(self, unit: Unit, result: Result) -> None:
        """Count."""
        self.playing.pop(unit.key, None)
        super().ended(unit, result)

    def render(self) -> Group:
        """The table as it is now."""
        if not self.total:
            return Group(Text(self.looking, style="dim"))
        table = counted(self.counts, self.total)
        now = next(iter(self.playing.values()), None)
        return Group(table, Text(f"playing {now}" if now else "", style="dim", no_wrap=True))


def counted(counts: dict[Place, Counter[Verdict]], total: Counter[Place] | None = None) -> Table:
    """A table of counts; with ``total`` how far each row has got."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("transport", no_wrap=True)
    table.add_column("revision", no_wrap=True)
    if total is not None:
        table.add_column("", width=16)
    for verdict in Verdict:
        table.add_column(SHORT[verdict], justify="right", no_wrap=True)
    before = ""
    for (binding, revision), found in counts.items():
        row: list[str | Text | ProgressBar] = [binding if binding != before else "", revision]
        before = binding
        if total is not None:
            row.append(ProgressBar(total[binding, revision], found.total(), width=16))
        for verdict in Verdict:
            number = found[verdict]
            row.append(Text(str(number) if number else "", style=STYLE[verdict]))
        table.add_row(*row)
    return table


def line_of(result: Result, secrets: Sequence[str] = ()) -> Text:
    """One result in one line."""
    text = Text.from_markup(f"[{STYLE[result.verdict]}]{result.verdict}[/] ")
    where = f"{result.case.id} ({result.binding}, {result.revision})"
    detail = " ".join(detail_of(result, secrets).split())
    return text.append_text(Text.from_markup(f"{escape(where)}: {escape(detail)}"))
