"""Whether results have the shape that their revision gives them.

The types are those of ``mcpcore.spec.types``, which are held against the official schemas.
"""

from typing import Any

import msgspec

from mcpcore.spec.methods import Method, lookup, lookup_embedded
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import InputRequiredResult


def result_problem(method: str, result: dict[str, Any], revision: Revision) -> str:
    """What is wrong with a server's result; empty if nothing is, or the method is not known."""
    row = lookup(method, "client", revision)
    if row is None or row.result is None:
        return ""
    kind = result.get("resultType")
    if revision.result_type and not isinstance(kind, str):
        return f"resultType has to be a string, not {kind!r}"
    if kind == "input_required" and row.needs_input:
        return _problem(InputRequiredResult, result)
    if row.cacheable:
        for name in ("ttlMs", "cacheScope"):
            if name not in result:
                return f"{name} is missing"
    return _problem(row.result, result)


def params_problem(message_method: str, params: dict[str, Any], revision: Revision) -> str:
    """What is wrong with the params of a server's request or notification; empty if nothing is."""
    row: Method | None = lookup(message_method, "server", revision) or lookup_embedded(
        message_method, revision
    )
    return "" if row is None else _problem(row.params, params)


def _problem(type: Any, value: Any) -> str:
    try:
        msgspec.convert(value, type, strict=True)
    except msgspec.ValidationError as error:
        return str(error)
    return ""
