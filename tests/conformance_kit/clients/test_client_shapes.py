"""The kit's shapes of what clients send against the official JSON schemas."""

from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.kit.client_shapes import sent_problem
from tests.conformance_kit.spoiling import GONE, changed, places
from tests.spec.oracle import definitions, needs_schemas

pytestmark = needs_schemas

URI = {"uri": "test://x"}
REQUESTED: dict[str, tuple[str, dict[str, Any]]] = {
    "ping": ("PingRequest", {}),
    "tools/list": ("ListToolsRequest", {"cursor": "c"}),
    "tools/call": ("CallToolRequest", {"name": "t", "arguments": {"a": 1}}),
    "resources/list": ("ListResourcesRequest", {"cursor": "c"}),
    "resources/templates/list": ("ListResourceTemplatesRequest", {"cursor": "c"}),
    "resources/read": ("ReadResourceRequest", URI),
    "resources/subscribe": ("SubscribeRequest", URI),
    "resources/unsubscribe": ("UnsubscribeRequest", URI),
    "prompts/list": ("ListPromptsRequest", {"cursor": "c"}),
    "prompts/get": ("GetPromptRequest", {"name": "p", "arguments": {"a": "1"}}),
    "completion/complete": (
        "CompleteRequest",
        {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}},
    ),
    "logging/setLevel": ("SetLevelRequest", {"level": "info"}),
    "subscriptions/listen": (
        "SubscriptionsListenRequest",
        {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["test://x"]}},
    ),
    "notifications/cancelled": ("CancelledNotification", {"requestId": 1, "reason": "r"}),
    "notifications/progress": (
        "ProgressNotification",
        {"progressToken": "t", "progress": 1, "total": 2},
    ),
    "notifications/roots/list_changed": ("RootsListChangedNotification", {}),
}
WRONG: list[Any] = [None, True, 1.5, 10_000, "wrong", [], [1], {}, {"type": "wrong"}]
SAMPLES = [
    (revision, method)
    for revision in REVISIONS
    for method in REQUESTED
    if lookup(method, "client", revision) is not None
]


def whole(method: str, params: Any) -> dict[str, Any]:
    made = {"jsonrpc": "2.0", "method": method, "params": params}
    return made if method.startswith("notifications/") else {**made, "id": 1}


def good(revision: Revision, method: str) -> dict[str, Any]:
    """Good params, of the modern era with what its requests have to say."""
    meta: dict[str, Any] = {}
    if not method.startswith("notifications/"):
        meta["progressToken"] = "t"
        if revision.modern:
            meta["io.modelcontextprotocol/protocolVersion"] = revision.name
            meta["io.modelcontextprotocol/clientInfo"] = {"name": "c", "version": "1"}
            meta["io.modelcontextprotocol/clientCapabilities"] = {}
    return {**deepcopy(REQUESTED[method][1]), "_meta": meta}


def officially(revision: Revision, method: str, params: Any) -> bool:
    names = definitions(revision)
    key = "$defs" if revision in (BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]) else "definitions"
    name = REQUESTED[method][0]
    schema = {"$ref": f"#/{key}/{name}", key: names}
    return bool(Draft202012Validator(schema).is_valid(whole(method, params)))


@pytest.mark.parametrize(
    ("revision", "method"), SAMPLES, ids=[f"{each.name}-{method}" for each, method in SAMPLES]
)
def test_every_single_change_that_the_official_schema_refuses(
    revision: Revision, method: str
) -> None:
    params = good(revision, method)
    assert officially(revision, method, params)
    assert sent_problem(method, params, revision) == ""
    for path in places(params):
        # what the modern era has to say there is for other cases
        if revision.modern and path[0] == "_meta" and path != ("_meta", "progressToken"):
            continue
        for wrong in (*WRONG, GONE):
            spoilt = changed(params, path, wrong)
            refused = not officially(revision, method, spoilt)
            found = sent_problem(method, spoilt, revision)
            # the base of all requests has _meta, the schemas of some methods leave it out
            assert bool(found) is refused or (found and path[0] == "_meta"), (path, wrong, found)


def test_what_a_revision_does_not_have_is_for_another_case() -> None:
    assert sent_problem("ping", {"_meta": 7}, BY_NAME["2026-07-28"]) == ""
    assert sent_problem("com.example/odd", {"_meta": 7}, BY_NAME["2025-11-25"]) == ""
