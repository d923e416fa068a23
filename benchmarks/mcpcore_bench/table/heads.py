"""The rows about requests whose heads differ: nothing that is known of the last one helps."""

from typing import Any

from msgspec import structs

from mcpcore_bench.load.jobs import Ask
from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.table.http import CALL, CALL_BOUNDS, FLIGHTS, OURS, calls, legacy

_RAW = ("raw-anyio", "raw-protocol", "raw-httptools")
_PARSED = tuple(f"{name}-parsed" for name in OURS)


def _differing(name: str, title: str, **members: Any) -> Row:
    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants=at(calls(replies="any", **members), *OURS, *_RAW, "sdk", "sdk-best"),
        bounds=CALL_BOUNDS,
    )


def _legacy(name: str, title: str, sdk: str, share: float, **members: Any) -> Row:
    job = legacy(vary=True, **members)
    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants=at(job, *OURS, *_RAW, sdk, since=FLIGHTS),
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1.4),
            Bound("ours-asyncio", sdk, share),
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-speed", "raw-httptools"),
        ),
    )


ROWS = (
    _differing(
        "http-lengths",
        "HTTP modern tools/call, texts of 64 lengths in turn",
        more=tuple(Ask("echo", 200 + more) for more in range(1, 64)),
    ),
    _differing("http-heads", "HTTP modern tools/call, a header that differs each time", vary=True),
    Row(
        name="http-parsed",
        title="The same, each head read by h11 or httptools",
        unit=CALL,
        variants=at(
            calls(replies="any", vary=True), *_PARSED, *_RAW, "sdk", "sdk-best", since=FLIGHTS
        ),
        bounds=tuple(structs.replace(bound, ours=f"{bound.ours}-parsed") for bound in CALL_BOUNDS),
        note='Ours has `usual_heads="parsed"` here: no head is read by the plain reader.',
    ),
    _legacy(
        "http-legacy-heads",
        "HTTP legacy session, JSON replies, a header that differs each time",
        "sdk",
        1 / 4,
    ),
    _legacy(
        "http-legacy-sse-heads",
        "HTTP legacy session, SSE replies, a header that differs each time",
        "sdk-sse",
        1 / 6,
        replies="sse",
    ),
)
