"""The plots of a run: cost, throughput, percentile curves, memory."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from mcpcore_bench.load.memory import AT
from mcpcore_bench.method.samples import Measured, RowResult, Run
from mcpcore_bench.report.svg import Bar, Line, bars, lines

_CURVES = {
    "http": ("ours-anyio", "ours-asyncio", "ours-speed", "raw-protocol", "raw-httptools", "sdk"),
    "stdio": (
        "ours-stdio",
        "raw-stdio-ready",
        "raw-stdio-blocking",
        "sdk-stdio",
        "fastmcp-stdio",
        "typescript-stdio",
        "typescript2-stdio",
    ),
    "websocket": ("ours-ws", "raw-ws", "raw-ws-streams", "websockets"),
    "client": (
        "client",
        "raw-client",
        "sdk-client",
        "fastmcp-client",
        "typescript-client",
        "typescript2-client",
    ),
}
"""The variants whose curves are drawn, by row: as many as can be told apart."""
_FLYING = {
    "http": {"http-1": 1, "http": 16, "http-64": 64, "http-1000": 1000},
    "websocket": {"websocket-1": 1, "websocket": 16, "websocket-64": 64, "websocket-1000": 1000},
    "client": {"client": 1, "client-16": 16, "client-64": 64, "client-1000": 1000},
}
"""How many calls are in flight, by row, for each of those that have such rows."""
_BINDINGS = "in-flight"
"""A row of many bindings: its variants are ``binding-number``, for each number in flight."""
_NUMBERED = re.compile(r"(.+)-(\d+)")
_MEMORY = {
    "idle-connection": "connection",
    "idle-session": "session",
    "idle-stream": "session, GET stream",
    "active-session": "session, waiting call",
}
_TAIL = 99.99


def draw(run: Run, folder: Path, rows: Collection[str] | None = None) -> list[Path]:
    """Write the plots that the run has figures for; returns the files.

    ``rows``: only these get one of their costs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        f"cost-{name}.svg": cost(name, row)
        for name, row in run.rows.items()
        if _any(row) and (rows is None or name in rows)
    }
    if flying := throughput(run, "http", "HTTP"):
        made["throughput.svg"] = flying
    if flying := throughput(run, "websocket", "WebSocket"):
        made["throughput-websocket.svg"] = flying
    if flying := throughput(run, "client", "Clients,"):
        made["throughput-client.svg"] = flying
    if flying := throughput_of_bindings(run):
        made["throughput-bindings.svg"] = flying
    for name, keys in _CURVES.items():
        row = run.rows.get(name)
        if row is not None and (curve := percentiles(row, keys)):
            made[f"percentiles-{name}.svg"] = curve
    if held := memory(run):
        made["memory.svg"] = held
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in made]


def _any(row: RowResult) -> bool:
    return any(measured.samples for measured in row.variants.values())


def _hue(name: str) -> int:
    if name.startswith(("ours", "client", "memory", "pair")):
        return 0
    return 6 if name.startswith(("raw", "bare", "websockets")) else 1


def cost(name: str, row: RowResult) -> str:
    """Bars of one row."""
    values = [
        Bar(measured.title, measured.median, *measured.quartiles, colour=_hue(key))
        for key, measured in row.variants.items()
        if measured.samples
    ]
    return bars(f"{name}: {row.title}", row.unit, values)


def throughput(run: Run, name: str, called: str) -> str | None:
    """Calls a second against the number in flight, of a row and those beside it."""
    series = {}
    for key in _CURVES[name]:
        found = {
            count: run.rows[row].variants[key]
            for row, count in _FLYING[name].items()
            if row in run.rows and key in run.rows[row].variants
        }
        if found:
            series[next(iter(found.values())).title] = found
    return _throughput(called, series)


def throughput_of_bindings(run: Run) -> str | None:
    """The same of the row that has all numbers in flight, on each binding."""
    series: dict[str, dict[int, Measured]] = {}
    variants = run.rows[_BINDINGS].variants if _BINDINGS in run.rows else {}
    for key, measured in variants.items():
        if found := _NUMBERED.fullmatch(key):
            number = int(found[2])
            title = measured.title.removesuffix(f", {number:,}")
            series.setdefault(title, {})[number] = measured
    return _throughput("Other bindings,", series)


def _throughput(called: str, series: Mapping[str, Mapping[int, Measured]]) -> str | None:
    drawn = []
    for title, found in series.items():
        rates = {count: measured.fact("rate") for count, measured in found.items()}
        points = sorted((float(count), rate) for count, rate in rates.items() if rate is not None)
        if len(points) > 1:
            drawn.append(Line(title, points))
    if not drawn:
        return None
    title = f"{called} tools/call: throughput"
    return lines(title, "in flight", "calls a second", drawn, log_x=True)


def percentiles(row: RowResult, keys: Collection[str]) -> str | None:
    """Latency against the share of calls that took no longer; the tail is stretched.

    ``keys``: of the variants that are drawn.
    """
    series = [
        Line(measured.title, _curve(measured))
        for key, measured in row.variants.items()
        if measured.histogram.counts and key in keys
    ]
    if not series:
        return None
    ticks = [(1 / (1 - share / 100), f"{share:g} %") for share in (0, 50, 90, 99, 99.9, 99.99)]
    return lines(
        f"{row.title}: latency",
        "share of the calls",
        "µs",
        series,
        log_x=True,
        log_y=True,
        names=ticks,
    )


def _curve(measured: Measured) -> list[tuple[float, float]]:
    curve = measured.histogram.curve()
    points = [(1 / (1 - share / 100), value / 1000) for share, value in curve if share <= _TAIL]
    return [(1.0, curve[0][1] / 1000), *points]


def memory(run: Run) -> str | None:
    """Memory against the number of what is held."""
    series = [
        Line(f"{measured.title.partition(',')[0]}: {what}", points)
        for row, what in _MEMORY.items()
        for key, measured in (run.rows[row].variants if row in run.rows else {}).items()
        if key in ("ours-asyncio", "sdk") and (points := _grown(measured))
    ]
    if not series:
        return None
    across = "sessions or connections"
    return lines("Memory held", across, "MB", series, log_x=True, log_y=True)


def _grown(measured: Measured) -> list[tuple[float, float]]:
    names = {name for sample in measured.samples for name in sample.facts if name.startswith(AT)}
    found = ((float(name.removeprefix(AT)), measured.fact(name)) for name in names)
    return sorted((count, grown) for count, grown in found if grown is not None)
