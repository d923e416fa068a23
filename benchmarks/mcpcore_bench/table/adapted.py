"""The rows about server objects of other SDKs: on their own HTTP transport, and served by ours."""

from mcpcore_bench.load.jobs import Ask
from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.table.http import CALL, calls

NEW = "2026-11-29T14:00:00+00:00"
"""Since when the table has them."""
_MODERN, _LEGACY = ("sdk-high", "fastmcp"), ("sdk1", "sdk-high", "fastmcp")


def _row(name: str, title: str, objects: tuple[str, ...], **members: object) -> Row:
    job = calls(replies="any", connections=1, **members)
    return Row(
        name=name,
        title=f"{title} of a server object of another SDK, over HTTP, one at a time",
        unit=CALL,
        variants=at(
            job,
            *(each + how for each in objects for how in ("-sse", "", "-adapted")),
            since=NEW,
        ),
        bounds=tuple(
            bound
            for each in objects
            for bound in (
                Bound(f"{each}-adapted", f"{each}-sse", 1 / 2),
                Bound(f"{each}-adapted", each),
            )
        ),
        note="SSE replies are what the transports of the SDKs send unless they are told otherwise, "
        "and what they must send to report progress. Ours send JSON where an answer is all there "
        "is, and a stream otherwise. A tool that is a plain function runs in a thread of the SDK, "
        "which is in all of these.",
    )


ROWS = (
    _row("adapted", "2026-07-28: tools/call of a plain function", _MODERN),
    _row(
        "adapted-async", "2026-07-28: tools/call of an async function", _MODERN, ask=Ask("wait", 0)
    ),
    _row("adapted-legacy", "2025-11-25: tools/call of a plain function", _LEGACY, era="legacy"),
)
