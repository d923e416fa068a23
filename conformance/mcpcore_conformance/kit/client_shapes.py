"""Shapes that a revision gives to the params of a client's messages.

The shapes are the kit's own, from ``schema.ts`` of each revision; a test holds them against the
official schemas.  What a request of the modern era has to have in ``_meta``, and what initialize
has to say, is for the cases about that.
"""

from functools import cache
from typing import Any

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.model import SINCE_2025_06_18
from mcpcore_conformance.kit.shape import (
    Shape,
    flag,
    integer,
    mapping,
    one_of,
    record,
    string,
    structure,
    tagged,
)
from mcpcore_conformance.kit.shape_content import ID
from mcpcore_conformance.kit.shapes import LEVELS, WANTED, params_problem

_TOLD = ("notifications/cancelled", "notifications/progress", "notifications/tasks/status")
"""Notifications that both sides send alike."""


def sent_problem(method: str, params: dict[str, Any], revision: Revision) -> str:
    """Return the problem of the params of a client's request or notification.

    Empty if nothing is, or the revision does not have the method.
    """
    if lookup(method, "client", revision) is None:
        return ""
    if method in _TOLD:
        return params_problem(method, params, revision)
    return _shapes(revision).get(method, record({}, {"_meta": structure}))(params, "")


@cache
def _shapes(revision: Revision) -> dict[str, Shape]:
    """The params of requests."""
    meta: dict[str, Shape] = {"_meta": record({}, {"progressToken": ID})}
    more: dict[str, Shape] = {"inputResponses": mapping(structure), "requestState": string}
    again = {**meta, **more} if revision.modern else meta
    task: dict[str, Shape] = {"task": record({}, {"ttl": integer()})}
    called = {"arguments": structure, **({} if revision.modern else task), **again}
    bare = record({}, meta)
    page = record({}, {"cursor": string, **meta})
    uri = record({"uri": string}, meta)
    of_task = record({"taskId": string}, meta)
    refs = {
        "ref/prompt": record({"name": string}),
        "ref/resource": record({"uri": string}),
    }
    typed = record({"name": string, "value": string})
    context = record({}, {"arguments": mapping(string)})
    known = {**meta, **({"context": context} if revision in SINCE_2025_06_18 else {})}
    capabilities = {
        "experimental": mapping(structure),
        "roots": record({}, {"listChanged": flag}),
        "sampling": structure,
        "elicitation": structure,
    }
    return {
        "initialize": record({}, {"capabilities": record({}, capabilities), **meta}),
        "ping": bare,
        "server/discover": bare,
        "tools/list": page,
        "tools/call": record({"name": string}, called),
        "resources/list": page,
        "resources/templates/list": page,
        "resources/read": record({"uri": string}, again),
        "resources/subscribe": uri,
        "resources/unsubscribe": uri,
        "prompts/list": page,
        "prompts/get": record({"name": string}, {"arguments": mapping(string), **again}),
        "completion/complete": record({"ref": tagged("type", refs), "argument": typed}, known),
        "logging/setLevel": record({"level": one_of(*LEVELS)}, meta),
        "subscriptions/listen": record({"notifications": WANTED}, meta),
        "tasks/get": of_task,
        "tasks/result": of_task,
        "tasks/cancel": of_task,
        "tasks/update": record({"taskId": string, "inputResponses": mapping(structure)}, meta),
        "tasks/list": page,
    }
