"""The rows about protected servers: what the token of each request adds."""

from mcpcore_bench.load.jobs import Bearer, HttpCalls
from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.http import CALL, calls

SINCE = "2026-11-26T05:00:00+00:00"
"""Since when the table has these rows."""
_NOTE = (
    "Tokens are JWTs by RS256 with a key of 2,048 bits, which the load generator serves. The "
    "official SDK has a hook for verifiers and none of its own: here it has PyJWT, which it brings "
    "along. It and fastmcp verify a token with each request; ours remembers by their hash those "
    "that are valid."
)


def _protected(name: str, title: str, bearer: Bearer, note: str) -> Row:
    def job(subject: str) -> HttpCalls:
        return HttpCalls(server=SUBJECTS[subject].command(), replies="any", bearer=bearer)

    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants={
            **at(calls(replies="any"), "ours-asyncio", "ours-speed", since=SINCE),
            **at(
                job,
                "ours-asyncio-protected",
                "ours-speed-protected",
                "sdk-protected",
                "fastmcp-protected",
                since=SINCE,
            ),
        },
        bounds=(
            Bound("ours-asyncio-protected", "ours-asyncio"),
            Bound("ours-speed-protected", "ours-speed"),
            Bound("ours-asyncio-protected", "sdk-protected"),
            Bound("ours-asyncio-protected", "fastmcp-protected"),
        ),
        goal=False,
        note=note,
    )


ROWS = (
    _protected(
        "protected",
        "HTTP modern tools/call with a token that was seen before, 16 in flight",
        "known",
        _NOTE,
    ),
    _protected(
        "protected-new",
        "HTTP modern tools/call with a token that is new each time, 16 in flight",
        "fresh",
        f"{_NOTE} 1,024 tokens take turns, of which ours is told to remember 256.",
    ),
)
