"""The rows about our ASGI application, beside the SDK's under the same uvicorn."""

from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.table.http import CALL, calls, legacy

_BOUNDS = (
    Bound("ours-asgi", "sdk"),
    Bound("ours-asgi-speed", "sdk-best"),
    Bound("ours-asgi", "ours-asyncio"),
    Bound("ours-asgi-speed", "ours-speed"),
)
"""What uvicorn takes is in both; beside our own drivers it shows what an ASGI server costs."""
_WHO = ("ours-asgi", "ours-asgi-speed", "ours-asyncio", "ours-speed", "sdk", "sdk-best")

ROWS = (
    Row(
        name="asgi",
        title="ASGI application under uvicorn: modern tools/call, JSON reply, 16 in flight",
        unit=CALL,
        variants=at(calls(replies="any"), *_WHO),
        bounds=_BOUNDS,
        goal=False,
    ),
    Row(
        name="asgi-legacy",
        title="ASGI application under uvicorn: legacy session, JSON replies, 16 in flight",
        unit=CALL,
        variants=at(legacy(), *_WHO),
        bounds=_BOUNDS,
        goal=False,
    ),
)
