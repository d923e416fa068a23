"""The rows about what looks at calls, telemetry and trust: what it adds to each."""

from mcpcore_bench.load.jobs import SelfMeasured
from mcpcore_bench.rows import Bound, Row, at, constant
from mcpcore_bench.subjects import SUBJECTS

SINCE = "2026-11-29T14:00:00+00:00"
"""Since when the table has these rows."""


def _job(name: str) -> SelfMeasured:
    return SelfMeasured(server=SUBJECTS[name].command())


def _held(name: str, title: str, unit: str, subject: str, goal: str, most: float) -> Row:
    """Return a row of ours beside its goal alone."""
    return Row(
        name=name,
        title=title,
        unit=unit,
        variants={
            **at(_job, subject, since=SINCE),
            goal: constant(f"goal: {most:g} {unit.split()[0]}", most, SINCE),
        },
        bounds=(Bound(subject, goal, 1.0),),
    )


ROWS = (
    Row(
        name="added",
        title="What a call in memory takes more with telemetry, or a guard",
        unit="µs of CPU a call",
        variants={
            **at(
                _job,
                *("metrics", "no-op", "recorded", "recorded-both", "guarded"),
                *("sdk-recorded", "fastmcp-recorded"),
                since=SINCE,
            ),
            **{f"{most}-us": constant(f"goal: {most} µs", most, SINCE) for most in (8, 15, 60)},
        },
        bounds=(
            Bound("metrics", "8-us", 1.0),
            Bound("no-op", "15-us", 1.0),
            Bound("recorded", "60-us", 1.0),
            Bound("recorded-both", "sdk-recorded"),
            Bound("recorded-both", "fastmcp-recorded"),
        ),
        note="Beside calls without it, which take turns with it in a process; the peers make spans "
        "always, and have here what the SDK of OpenTelemetry adds that records them.  What is "
        "recorded is thrown away.  The guard screens a result of 200 bytes, too.",
    ),
    _held("pins", "Whether a tool may be called, by its pin", "µs of CPU", "pins", "1-us", 1.0),
    _held(
        "screening",
        "A list of 1,000 tools whose descriptions of 270 characters are screened",
        "ms of CPU",
        "screening",
        "50-ms",
        50.0,
    ),
)
