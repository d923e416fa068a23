"""Plots: each is drawn of what a run has, and can be read."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mcpcore_bench.method.samples import Measured
from mcpcore_bench.report.plots import draw
from mcpcore_bench.report.svg import Line, lines
from tests.benchmarks.runs import measured, of_the_table, run

COLOURS = 8


def lines_of(file: Path) -> list[str]:
    """The names of what is drawn in a plot of lines, each of which has points."""
    root = ET.fromstring(file.read_text(encoding="utf-8"))
    drawn = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert all(len(str(each.get("points")).split()) > 1 for each in drawn)
    texts = root.findall("{http://www.w3.org/2000/svg}text")
    coloured = {str(each.get("stroke")) for each in drawn}
    found = [str(each.text) for each in texts if each.get("fill") in coloured]
    assert len(found) == len(drawn)
    return found


@pytest.mark.parametrize(
    ("name", "among"),
    [
        ("percentiles-http", ["ours, speed extra", "raw protocol and h11"]),
        ("percentiles-stdio", ["ours", "raw, by readiness", "official SDK", "fastmcp"]),
        ("percentiles-websocket", ["ours", "raw wsproto on anyio", "websockets library"]),
        ("throughput", ["ours, speed extra", "raw protocol and h11", "official SDK, JSON"]),
        ("throughput-websocket", ["ours", "raw wsproto on anyio", "websockets library"]),
        ("percentiles-client", ["our client", "raw h11 client", "official SDK", "TypeScript"]),
        ("throughput-client", ["our client", "raw h11 client", "official SDK"]),
        ("throughput-bindings", ["stdio", "TCP", "Unix socket", "HTTP+SSE"]),
    ],
)
def test_each_plot_is_drawn_of_what_a_run_has(name: str, among: list[str], tmp_path: Path) -> None:
    files = {file.stem: file for file in draw(of_the_table(), tmp_path, rows=())}
    found = lines_of(files[name])
    assert len(found) == len(set(found)) <= COLOURS, "colours that can be told apart"
    assert all(any(said in each for each in found) for said in among)


def test_a_row_that_no_run_has_has_no_plot(tmp_path: Path) -> None:
    rows = ("http", "http-1", "stdio")
    variants = {
        "ours-asyncio": measured(10.0, title="ours"),
        "sdk": Measured("SDK", missing="gone"),
    }
    files = draw(run(dict.fromkeys(rows, variants)), tmp_path, rows=())
    assert {file.stem for file in files} == {"percentiles-http", "throughput"}


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("points", [[(1.0, 5.0)], [(1.0, 1.0), (1000.0, 1.0)], [(2.0, 0.0)]])
def test_a_chart_of_hardly_anything_is_a_chart(
    points: list[tuple[float, float]], *, log: bool
) -> None:
    text = lines("t", "x", "y", [Line("only", points)], log_x=log, log_y=log)
    assert "nan" not in text
    ET.fromstring(text)
