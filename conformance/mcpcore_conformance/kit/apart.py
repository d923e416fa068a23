"""Members of results that have cases of their own: no case about the rest is held up by them."""

from typing import Any

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.shapes import result_problem

TTL, SCOPE, CURSOR = "ttlMs", "cacheScope", "nextCursor"
"""Members of results, and names of the flaws of results in which they are wrong."""
AGREED = "agreed"
"""The flaw of an ``initialize`` that agrees to a version that nobody speaks."""


def shape_problem(method: str, result: dict[str, Any], revision: Revision) -> str:
    """Return the problem of a result apart from those members; empty if there is none."""
    rest = {**result, TTL: 0, SCOPE: "private"}
    if not isinstance(result.get(CURSOR, ""), str):
        del rest[CURSOR]
    return result_problem(method, rest, revision)
