"""Tables, Markdown, plots and the page of figures: well-formed, and saying what was measured."""

import re
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console

from mcpcore_bench.method.samples import Measured, Phase, Profile, RowResult, Run, Sample, Verdict
from mcpcore_bench.report.docs import BEGIN, END, PAGE, PLOTS, lacking, write_docs
from mcpcore_bench.report.docs import measured as measured_part
from mcpcore_bench.report.markdown import markdown, row_table
from mcpcore_bench.report.plots import draw
from mcpcore_bench.report.tables import bound, number, ratio, show_load, show_row, verdict
from mcpcore_bench.table.table import ROWS
from tests.benchmarks.runs import answering, measured, of_the_table, run


@pytest.fixture
def made() -> Run:
    rows = {
        name: {
            "ours-asyncio": measured(10.0, 12.0, 11.0, 11.0, 11.0, title="ours <fast> & | small"),
            "raw-protocol": measured(9.0, 9.0, 9.5, 9.0, 9.0, title="raw"),
            "sdk": Measured("official SDK", missing="not installed"),
        }
        for name in ("http", "http-1", "http-64", "stdio")
    }
    held = measured(4.0, 5.0, title="ours, asyncio")
    for sample in held.samples:
        sample.facts |= {"MB at 100": 0.4, "MB at 1000": 4.0}
    rows["idle-session"] = {"ours-asyncio": held}
    verdicts = [
        Verdict("ours-asyncio", "raw-protocol", 1.1, 11 / 9),
        Verdict("ours-asyncio", "sdk", 1 / 4, None),
    ]
    whole = run(rows, verdicts)
    whole.rows["idle-session"].verdicts = []
    return whole


def test_markdown_tables_have_as_many_cells_as_headings(made: Run) -> None:
    text = markdown(made)
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    assert len(tables) == 2 + len(made.rows)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "MISSED" in text
    assert "not measured" in text
    assert "1.22 x" in text


def test_plots_are_svg_and_show_every_variant(made: Run, tmp_path: Path) -> None:
    files = {file.name: file for file in draw(made, tmp_path / "plots")}
    assert {"cost-http.svg", "throughput.svg", "percentiles-http.svg", "memory.svg"} <= set(files)
    for file in files.values():
        root = ET.fromstring(file.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        for element in root.iter():
            for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
                assert -1 <= float(element.get(name, "0")) <= 2000, (file, element.attrib)
    said = files["cost-http.svg"].read_text(encoding="utf-8")
    assert "ours &lt;fast&gt; &amp; | small" in said


def test_the_terminal_is_told_the_same(made: Run) -> None:
    console = Console(width=160, record=True, file=StringIO())
    show_load(console, made)
    for name, row in made.rows.items():
        show_row(console, name, row)
    text = console.export_text()
    assert "not installed" in text
    assert "= 1.22 x  (at most 1.1 x: MISSED)" in text
    assert "not measured (at least 4 x less)" in text


@pytest.mark.parametrize("old", [False, True])
def test_what_the_load_generator_takes_has_a_spread(made: Run, *, old: bool) -> None:
    cells = ["9", "9 to 9", "20", "20 to 20", "30,000", "1"]
    if not old:
        made.own = {"HTTP, 1 in flight": answering(8.0, 9.0, 10.0, 11.0, 12.0, load=2.0)}
        cells = ["20", "18 to 22", "10", "9 to 11", "100,000", "5"]
    console = Console(width=160, record=True, file=StringIO())
    show_load(console, made)
    (line,) = (line for line in console.export_text().splitlines() if "HTTP, 1 in" in line)
    assert re.split(r"\s*│\s*", line.strip("│ \n"))[1:] == cells
    assert f"\n| HTTP, 1 in flight | {' | '.join(cells)} |\n" in markdown(made)


def phases(**values: float) -> list[Phase]:
    """What the same work took in some rows, and before and behind them."""
    found = [Phase(50.0 * at, value, row) for at, (row, value) in enumerate(values.items())]
    return [
        structs.replace(each, row="") if each.row in ("first", "last") else each for each in found
    ]


def test_the_speed_of_the_machine_is_told(made: Run) -> None:
    made.phases = phases(first=60.0, http=78.0, stdio=61.0, start=59.0, last=60.6)
    lines = (
        "- the machine: slowest phase 1.32 x of the fastest; raw protocol and h11, the same 5 "
        "times, took 59 (in start) to 78 µs of CPU a call (in http)\n"
        "- rows in which that took 1.1 x of the median or more: http 1.29 x\n"
    )
    for text in (markdown(made), measured_part(made, [])):
        assert lines in text
    made.phases = phases(first=60.0, http=61.0, last=66.0)
    text = markdown(made)
    assert "60 (0 s from the start, between rows) to 66 µs of CPU a call (100 s from" in text
    assert "of the median" not in text
    for few in ([], phases(first=60.0)):
        made.phases = few
        assert "slowest phase" not in markdown(made)


def test_the_command_that_made_a_run_is_told(made: Run) -> None:
    assert "made by" not in markdown(made)
    made.command = "mcpcore bench run --rounds 5 --json run.json"
    for text in (markdown(made), measured_part(made, [])):
        assert f"\n- made by: {made.command}\n" in text


def test_only_what_stands_between_the_marks_is_replaced(made: Run, tmp_path: Path) -> None:
    page, plots = tmp_path / "performance.md", tmp_path / "plots"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    plots.mkdir()
    (plots / "cost-gone.svg").write_text("old")
    write_docs(made, page, plots)
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "\nold\n" not in text
    assert "had other work" not in text
    assert not (plots / "cost-gone.svg").exists()
    for name in re.findall(r"\]\((plots/[^)]+)\)", text):
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("load", "others", "said"),
    [
        (7.6, None, "had other work meanwhile (a load of 8)"),
        (0.9, None, None),
        (7.6, 0.04, None),  # that of what had just ended
        (0.1, 0.1, None),
        (0.1, 0.11, "had other work meanwhile (11% of a processor)"),
        (0.1, 1.5, "had other work meanwhile (150% of a processor)"),
    ],
)
def test_the_page_says_so_if_the_machine_was_busy(
    load: float, others: float | None, said: str | None, made: Run
) -> None:
    made.machine.load = (load, 1.0, 0.0)
    made.others = others
    text = measured_part(made, [])
    assert ("had other work" in text) is (said is not None)
    assert said is None or said in text
    line = None if others is None else f"- others took {others:.0%} of a processor meanwhile\n"
    assert ("others took" in text) is ("others took" in markdown(made)) is (line is not None)
    assert line is None or (line in text and line in markdown(made))


@pytest.mark.parametrize(
    ("without", "lost"),
    [
        ((), []),
        (("http-1000",), ["http-1000"]),
        (("stdio:fastmcp-stdio", "http-1"), ["http-1", "stdio:fastmcp-stdio"]),
        (tuple(ROWS), list(ROWS)),
    ],
)
def test_what_the_page_would_lose_is_named(without: tuple[str, ...], lost: list[str]) -> None:
    rows = {
        name: [variant for variant in row.variants if f"{name}:{variant}" not in without]
        for name, row in ROWS.items()
        if name not in without
    }
    assert lacking(rows) == lost
    assert lacking({**rows, "a row of old": ["ours"]}) == lost


LATER = {
    name if all(each.since for each in row.variants.values()) else f"{name}:{key}"
    for name, row in ROWS.items()
    for key, variant in row.variants.items()
    if variant.since
}


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_was_added_later_is_no_loss_to_a_run_but_said(name: str, made: Run) -> None:
    rows = {
        row: [key for key in found.variants if name not in (row, f"{row}:{key}")]
        for row, found in ROWS.items()
        if row != name
    }
    early, late = "2026-11-20T12:00:00+00:00", "2099-11-20T12:00:00+00:00"
    assert lacking(rows) == lacking(rows, late) == [name]
    assert lacking(rows, early) == []
    made.rows |= run({row: {key: measured(1.0) for key in keys} for row, keys in rows.items()}).rows
    made.machine.when = early
    assert f"Added since this run began, and not in it: `{name}`.\n" in measured_part(made, [])
    made.machine.when = late
    assert "Added since" not in measured_part(made, [])


def test_what_is_described_otherwise_since_a_run_is_said() -> None:
    made = of_the_table()
    for name, row in made.rows.items():
        row.title = ROWS[name].title
    assert "Described otherwise" not in measured_part(made, [])
    made.rows["a row of old"] = made.rows["http"]
    made.rows["sessions"].title += ", otherwise"
    assert "\n\nDescribed otherwise in the table since: `sessions`.\n" in measured_part(made, [])


@pytest.mark.parametrize(
    ("ours", "most", "said"),
    [
        ((11.0, 12.0, 13.0, 14.0, 15.0), 1.5, "met"),
        ((11.0, 12.0, 13.0, 14.0, 15.0), 1.39, "met (within the spread)"),
        ((11.0, 12.0, 13.0, 14.0, 15.0), 1.25, "MISSED (within the spread)"),
        ((11.0, 12.0, 13.0, 14.0, 15.0), 1.1, "MISSED"),
        ((13.0, 13.0, 13.0, 13.0, 13.0), 1.3, "met"),
        ((13.0, 13.0, 13.0, 99.0, 13.0), 1.3, "met"),
        ((13.0, 13.0, 13.0, 13.0), 1.3, "too few rounds"),
        ((13.0,), 1.0, "too few rounds"),
        ((), 1.3, "not measured"),
    ],
)
def test_a_verdict_within_the_noise_says_so(
    ours: tuple[float, ...], most: float, said: str
) -> None:
    mine, its = measured(*ours), measured(10.0, 10.0, 10.0, 10.0, 10.0)
    ratio = mine.median / its.median if ours else None
    made = run({"http": {"ours": mine, "raw": its}}, [Verdict("ours", "raw", most, ratio)])
    row = made.rows["http"]
    assert verdict(row, row.verdicts[0]) == said
    assert f"| {said} |" in markdown(made)
    console = Console(width=160, record=True, file=StringIO())
    show_row(console, "http", row)
    assert (f": {said})" if ours else f": {said} (") in console.export_text()


def test_the_spread_is_that_of_rounds_that_follow_one_another() -> None:
    """The machine may be slower in some of them: the ratio is not."""
    loads = (1.0, 1.5, 2.0, 2.5, 3.0)
    mine = measured(*(12 * load for load in loads))
    its = measured(*(10 * load for load in loads))
    held = [Verdict("ours", "raw-protocol", 1.3, 1.2), Verdict("ours", "1", 1.3, 1.2)]
    made = run({"http": {"ours": mine, "raw-protocol": its, "1": its}}, held)
    row = made.rows["http"]
    # What is to cost as much as another of ours cannot be told where that varies so.
    assert [verdict(row, each) for each in row.verdicts] == ["met", "too noisy"]
    assert "| too noisy |" in markdown(made)
    terminal, _ = told(row)
    assert "(at most 1.3 x: too noisy)" in terminal


def costing(value: float, **facts: float) -> Measured:
    return Measured(f"who takes {value:g}", [Sample(value, facts=facts)] * 5)


def told(row: RowResult, name: str = "http") -> tuple[str, str]:
    """A row on the terminal, and in Markdown."""
    console = Console(width=1000, record=True, file=StringIO())
    show_row(console, name, row)
    return console.export_text(), row_table(name, row)


@pytest.mark.parametrize(
    ("peer", "ours", "its", "suspicious"),
    [
        ("raw-protocol", costing(12, rate=18_000), costing(24, rate=40_000), True),
        ("raw-protocol", costing(12, rate=39_500), costing(24, rate=40_000), False),  # noise
        ("raw-protocol", costing(23.8, rate=18_000), costing(24, rate=40_000), False),  # noise
        ("raw-protocol", costing(12, rate=50_000), costing(24, rate=40_000), False),
        ("raw-protocol", costing(30, rate=18_000), costing(24, rate=40_000), False),
        ("sdk", costing(12, rate=18_000), costing(24, rate=40_000), False),
        ("raw-protocol", costing(12), costing(24, rate=40_000), False),
        ("raw-protocol", costing(12, rate=18_000), Measured("missing"), False),
        # Where the value is a time of the clock, the CPU stands beside it.
        ("raw-protocol", costing(55, rate=18_000, cpu=9), costing(25, rate=40_000, cpu=20), True),
        ("raw-protocol", costing(55, rate=18_000, cpu=30), costing(25, rate=40_000, cpu=20), False),
    ],
)
def test_less_work_done_with_less_cpu_than_the_raw_program_is_suspicious(
    peer: str, ours: Measured, its: Measured, *, suspicious: bool
) -> None:
    row = run({"http": {"ours": ours, peer: its}}, [Verdict("ours", peer, None, 0.5)]).rows["http"]
    start = f"Suspicious: {ours.title} does 18,000 a second, {its.title} 40,000, and takes less CPU"
    for text in told(row):
        assert (start in text) is ("Suspicious" in text) is suspicious


def test_the_wall_clock_stands_beside_the_cpu_of_a_start() -> None:
    made = run(
        {"start": {"ours": costing(120, wall=130), "node": costing(240, wall=104)}},
        [Verdict("ours", "node", 1.0, 0.5)],
    )
    both = "1/2.0, 1.25 x by the wall clock"
    terminal, table = told(made.rows["start"])
    assert f"= {both}  (at most 1 x: met)" in terminal
    assert f"| {both} | at most 1 x | met |" in markdown(made)
    assert "ms of wall clock" in terminal
    headings, _, ours, node, *_ = (line.split(" | ") for line in table.splitlines())
    at = headings.index("ms of wall clock")
    assert (ours[at], node[at]) == ("130", "104")
    first = "The first by CPU, and who follows: who takes 120, who takes 240. "
    first += "By the wall clock: who takes 240, who takes 120."
    assert first in terminal
    assert first in table
    made.rows["start"].variants["ours"] = costing(120, wall=60)
    alike = "The first by CPU and by the wall clock, and who follows: who takes 120, who takes 240."
    assert all(alike in text for text in told(made.rows["start"]))
    for other in told(run({"http": {"ours": measured(1.0)}}).rows["http"]):
        assert "wall clock" not in other


def test_a_bound_by_the_wall_clock_shows_the_times_of_the_wall_clock() -> None:
    variants = {"ours": costing(120, wall=130), "node": costing(240, wall=104)}
    held = Verdict("ours", "node", 1.0, 1.25, clock=True)
    made = run({"start": variants}, [held])
    terminal, _ = told(made.rows["start"])
    assert "= 1.25 x by the wall clock  (at most 1 x: MISSED)" in terminal
    cells = (
        "| who takes 120 | 130 | who takes 240 | 104 | ms of wall clock | 1.25 x by the wall clock"
    )
    assert cells in markdown(made)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"load": 9.9, "load_busy": 0.5, "busy": 0.6}, None),
        (
            {"load": 10.0, "load_busy": 0.5, "busy": 0.5},
            "(it 10 µs and 50% of the time, the server 10",
        ),
        (
            {"load": 2.0, "load_busy": 0.9, "busy": 1.0},
            "(it 2 µs and 90% of the time, the server 10 µs",
        ),
        ({"load": 2.0, "load_busy": 0.89, "busy": 1.0}, None),
        # Where the value is a time of the clock, it is held against the CPU beside it.
        ({"load": 4.0, "load_busy": 0.5, "busy": 0.5, "cpu": 3.0}, "the server 3 µs and 50%)"),
        ({"load": 11.0}, None),
        ({}, None),
    ],
)
def test_a_rate_that_is_as_much_that_of_the_load_generator_says_so(
    facts: dict[str, float], said: str | None
) -> None:
    row = run({"http": {"ours": costing(10, **facts), "raw": measured(20.0)}}).rows["http"]
    for text in told(row):
        assert ("Rates here are lower bounds" in text) is (said is not None)
        assert said is None or f"a processor: who takes 10 {said}" in text or said in text


@pytest.mark.parametrize(("busy", "told_so"), [(0.89, False), (0.9, True), (0.99, True)])
def test_a_client_says_what_whoever_answers_it_took(busy: float, *, told_so: bool) -> None:
    variants = {
        "client": costing(90, rate=7_000, answering=44.5, answering_busy=0.312),
        "raw-client": costing(20, rate=20_000, answering=45.5, answering_busy=busy),
        "typescript-client": Measured("not there", missing="not installed"),
    }
    row = run({"client": variants}).rows["client"]
    for text in told(row, "client"):
        assert "load µs" not in text
        assert "who answers, µs" in text
        assert "44.5" in text
        assert "31%" in text
        said = f"as whoever answers took 90% of a processor: who takes 20 (it {busy:.0%} of"
        assert (said in text) is ("Rates here are lower bounds" in text) is told_so
    plain = told(run({"client": {"client": costing(90, load=9.0)}}).rows["client"], "client")
    assert all("load µs" in text and "who answers" not in text for text in plain)


def test_ratios_without_a_bound_stand_beneath_the_table_of_their_row() -> None:
    variants = {"ours": costing(10), "raw": costing(5), "sdk": Measured("sdk", missing="gone")}
    verdicts = [
        Verdict("ours", "raw", None, 2.0),
        Verdict("ours", "raw", 1.5, 2.0),
        Verdict("ours", "sdk", None, None),
    ]
    table = row_table("http", run({"http": variants}, verdicts).rows["http"])
    assert "\n\nHeld by no bound: who takes 10 : who takes 5 = 2.00 x." in table
    assert table.count("2.00 x") == 1


def test_a_note_of_the_table_stands_with_the_row() -> None:
    row = run({"list-1000": {"ours-asyncio": measured(1.0)}}).rows["list-1000"]
    note = ROWS["list-1000"].note
    assert note
    assert all(note in text for text in told(row, "list-1000"))
    assert all(note not in text for text in told(row, "list-10"))


def test_the_time_to_catch_up_is_shown_in_seconds() -> None:
    row = run({"resume": {"ours": costing(2.9, seconds=0.0351, rate=280_000)}}).rows["resume"]
    for text in told(row, "resume"):
        assert "s for all of them" in text
        assert "0.0351" in text


def test_the_cpu_stands_beside_the_time_of_calls_together() -> None:
    row = run({"hop-waiting": {"hop": costing(245, cpu=172)}}).rows["hop-waiting"]
    for text in told(row, "hop-waiting"):
        assert "µs of CPU " in text
        assert "172" in text


def test_a_variant_that_failed_in_a_round_says_so_beside_its_figures(made: Run) -> None:
    once = measured(*(10.0,) * 6, title="now and then")
    once.missing = "failed: Traceback\n  somewhere\nWrongReply: another text"
    never = Measured("never", missing="failed: no server")
    row = run({"http": {"once": once, "never": never, "ours": measured(1.0)}}).rows["http"]
    for text in told(row):
        assert text.count("Not in every round: ") == 1
        assert "Not in every round: now and then failed: WrongReply: another text" in text
        assert text.count("failed: no server") == 1
        assert "failed: failed" not in text
    made.rows["http"] = row
    text = markdown(made)
    assert "\n- `http:once`: now and then: failed: WrongReply: another text\n" in text
    assert "\n- `http:never`: never: failed: no server\n" in text


def test_markdown_says_that_rounds_were_short(made: Run) -> None:
    assert "\nRounds: 5. Costs" in markdown(made)
    made.quick = True
    assert "\nRounds: 5, short ones (--quick). Costs" in markdown(made)


@pytest.mark.parametrize("title", ["HTTP: ours, on asyncio's loop", "HTTP: ours, on asyncio"])
def test_a_profile_says_on_which_loop_and_how_often_it_looked(title: str, made: Run) -> None:
    made.profiles = {
        "http:ours-asyncio": Profile("HTTP: ours, asyncio, else h11", {"asyncio": 1.0}, 0.3, 1573),
        "http:ours-speed": Profile(title, {"asyncio": 1.0}, 0.1, 9),
    }
    for text in (markdown(made), measured_part(made, [])):
        assert "| layer | `http:ours-asyncio` | `http:ours-speed` (on asyncio's loop) |" in text
        assert "\n\nLooks: `http:ours-asyncio` 1,573, `http:ours-speed` 9." in text


def test_every_plot_that_is_there_is_shown() -> None:
    shown = re.findall(rf"\]\({PLOTS.name}/([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(file.name for file in PLOTS.iterdir())


def test_the_page_has_its_marks() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)


def test_every_row_that_misses_a_bound_has_its_reasons() -> None:
    text = PAGE.read_text(encoding="utf-8")
    goals = text.partition("### Goals")[2].partition("###")[0].splitlines()
    missed = {
        name
        for line in goals
        if line.rstrip(" |").rpartition("| ")[2].startswith("MISSED")
        for name in re.findall(r"\(`([a-z0-9-]+)`\) \|", line)
    }
    bullets = re.findall(r"^- \*\*(.+?)\*\*", text.partition("## What stays")[2], re.M | re.S)
    reasons = {name for bullet in bullets for name in re.findall(r"`([a-z0-9-]+)`", bullet)}
    assert missed <= reasons
    assert reasons <= set(ROWS)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.1234, "0.123"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (0.0, "0")],
)
def test_numbers_have_three_figures(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.3, "at most 1.3 x"), (1 / 3.5, "at least 3.5 x less"), (1, "at most 1 x")],
)
def test_bounds_are_said_as_they_are_meant(value: float, said: str) -> None:
    assert bound(value) == said
    assert ratio(0.25) == "1/4.0"
    assert ratio(1.234) == "1.23 x"
