"""The kit's shapes against the official JSON schemas: what those refuse, the kit refuses too."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from jsonschema import Draft7Validator, Draft202012Validator

from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.kit.shapes import params_problem, result_problem
from tests.conformance_kit.spoiling import GONE, changed, places
from tests.spec.oracle import FOLDER, definitions, needs_schemas

INFO = {"name": "n", "version": "1", "title": "t", "websiteUrl": "https://example.com"}
ICON = {"src": "https://example.com/i.png", "mimeType": "image/png", "sizes": ["48x48"]}
ICONS = [{**ICON, "theme": "dark"}]
NOTES = {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"}
META = {"example.com/note": 1}
TEXT = {"type": "text", "text": "x", "annotations": NOTES, "_meta": META}
IMAGE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}
CONTENTS = {"uri": "test://x", "mimeType": "text/plain", "text": "x", "_meta": META}
BLOB = {"uri": "test://x", "mimeType": "image/png", "blob": "aGk="}
RESOURCE = {
    "uri": "test://x",
    "name": "x",
    "title": "X",
    "description": "d",
    "mimeType": "text/plain",
    "size": 3,
    "annotations": NOTES,
    "icons": ICONS,
    "_meta": META,
}
LINK = {"type": "resource_link", **RESOURCE}
EMBEDDED = {"type": "resource", "resource": CONTENTS, "annotations": NOTES}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {
    "name": "t",
    "title": "T",
    "description": "d",
    "inputSchema": SCHEMA,
    "outputSchema": SCHEMA,
    "annotations": {"title": "T", "readOnlyHint": True, "openWorldHint": False},
    "execution": {"taskSupport": "optional"},
    "icons": ICONS,
    "_meta": META,
}
PROMPT = {
    "name": "p",
    "title": "P",
    "description": "d",
    "arguments": [{"name": "a", "title": "A", "description": "d", "required": True}],
    "icons": ICONS,
    "_meta": META,
}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": False},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
    "completions": {},
    "experimental": {"x": {}},
    "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
    "extensions": {"io.modelcontextprotocol/tasks": {}},
}
TASK = {
    "taskId": "1",
    "status": "working",
    "statusMessage": "m",
    "createdAt": "2025-11-25T10:30:00Z",
    "lastUpdatedAt": "2025-11-25T10:30:00Z",
    "ttl": 1000,
    "pollInterval": 10,
}
FORM = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "title": "A", "minLength": 1, "format": "email", "default": "x"},
        "b": {"type": "integer", "minimum": 1, "maximum": 3, "default": 2},
        "c": {"type": "boolean", "default": True},
        "d": {"type": "string", "enum": ["x"], "enumNames": ["X"], "default": "x"},
        "e": {"type": "string", "oneOf": [{"const": "x", "title": "X"}]},
        "f": {"type": "array", "items": {"type": "string", "enum": ["x"]}, "minItems": 1},
        "g": {"type": "array", "items": {"anyOf": [{"const": "x", "title": "X"}]}},
    },
    "required": ["a"],
}
OLD_FORM = {**FORM, "properties": {k: v for k, v in FORM["properties"].items() if k in "bc"}}  # type: ignore[attr-defined]
SAMPLING = {
    "messages": [{"role": "user", "content": TEXT}],
    "maxTokens": 100,
    "modelPreferences": {"hints": [{"name": "m"}], "costPriority": 0.5, "speedPriority": 1},
    "systemPrompt": "s",
    "includeContext": "none",
    "temperature": 0.5,
    "stopSequences": ["x"],
    "metadata": {},
    "tools": [TOOL],
    "toolChoice": {"mode": "auto"},
}
TOOL_TALK = [
    {"type": "tool_use", "id": "1", "name": "t", "input": {}},
    {"type": "tool_result", "toolUseId": "1", "content": [TEXT], "isError": False},
]


class Sample(NamedTuple):
    """A good value of a definition, and which question to the kit it belongs to."""

    revision: Revision
    definition: str
    method: str
    value: dict[str, Any]
    result: bool

    def official(self) -> bool:
        """Whether the official schema takes the value."""
        return bool(_validator(self.revision, self.definition).is_valid(self._whole()))

    def problem(self) -> str:
        """What the kit says."""
        ask: Callable[[str, dict[str, Any], Revision], str]
        ask = result_problem if self.result else params_problem
        return ask(self.method, self.value, self.revision)

    def _whole(self) -> Any:
        if self.result:
            return self.value
        message = {"method": self.method, "params": self.value}
        framed = self.revision.server_requests or self.method.startswith("notifications/")
        return {"jsonrpc": "2.0", "id": 1, **message} if framed else message


@cache
def _validator(revision: Revision, definition: str) -> Any:
    found = definitions(revision)
    document = {"$ref": f"#/$defs/{definition}", "$defs": found}
    if '"definitions"' in (FOLDER / revision.name / "schema.json").read_text()[:200]:
        document = {"$ref": f"#/definitions/{definition}", "definitions": found}
    kind = Draft202012Validator if revision.rich_forms else Draft7Validator
    return kind(document)


def _samples(revision: Revision) -> Iterator[Sample]:
    kind = {"resultType": "complete", "_meta": {"io.modelcontextprotocol/serverInfo": INFO}}
    base: dict[str, Any] = kind if revision.result_type else {"_meta": META}
    hints = {"ttlMs": 5, "cacheScope": "public"} if revision.cache_hints else {}
    page = {**base, **hints, "nextCursor": "n"}
    blocks = [TEXT, IMAGE, EMBEDDED, {**EMBEDDED, "resource": BLOB}]
    blocks += [AUDIO] if revision.audio_content else []
    blocks += [LINK] if revision.resource_links else []
    results: list[tuple[str, str, dict[str, Any]]] = [
        ("ListToolsResult", "tools/list", {**page, "tools": [TOOL]}),
        (
            "CallToolResult",
            "tools/call",
            {**base, "content": blocks, "isError": False, "structuredContent": {"a": 1}},
        ),
        ("ListResourcesResult", "resources/list", {**page, "resources": [RESOURCE]}),
        (
            "ListResourceTemplatesResult",
            "resources/templates/list",
            {**page, "resourceTemplates": [{**RESOURCE, "uriTemplate": "test://{x}"}]},
        ),
        ("ReadResourceResult", "resources/read", {**base, **hints, "contents": [CONTENTS, BLOB]}),
        ("ListPromptsResult", "prompts/list", {**page, "prompts": [PROMPT]}),
        (
            "GetPromptResult",
            "prompts/get",
            {**base, "description": "d", "messages": [{"role": "user", "content": TEXT}]},
        ),
        (
            "CompleteResult",
            "completion/complete",
            {**base, "completion": {"values": ["x"], "total": 1, "hasMore": False}},
        ),
    ]
    if revision.handshake:
        opened = {"protocolVersion": "x", "capabilities": CAPABILITIES, "serverInfo": INFO}
        results += [
            ("InitializeResult", "initialize", {**base, **opened, "instructions": "i"}),
            ("EmptyResult", "ping", base),
        ]
    if revision.modern:
        found = {"supportedVersions": ["x"], "capabilities": CAPABILITIES, "instructions": "i"}
        results += [
            ("DiscoverResult", "server/discover", {**base, **hints, **found}),
            (
                "SubscriptionsListenResult",
                "subscriptions/listen",
                {"resultType": "complete", "_meta": {"io.modelcontextprotocol/subscriptionId": 1}},
            ),
            (
                "InputRequiredResult",
                "tools/call",
                {
                    **base,
                    "resultType": "input_required",
                    "requestState": "s",
                    "inputRequests": {
                        "a": {"method": "elicitation/create", "params": _form(revision)},
                        "b": {"method": "sampling/createMessage", "params": SAMPLING},
                        "c": {"method": "roots/list"},
                    },
                },
            ),
        ]
    if revision == BY_NAME["2025-11-25"]:
        results += [
            ("GetTaskResult", "tasks/get", {**base, **TASK}),
            ("CancelTaskResult", "tasks/cancel", {**base, **TASK}),
            ("ListTasksResult", "tasks/list", {**base, "tasks": [TASK], "nextCursor": "n"}),
            ("CreateTaskResult", "tools/call", {**base, "task": TASK}),
        ]
    for definition, method, value in results:
        yield Sample(revision, definition, method, value, result=True)
    yield from (Sample(revision, *each, result=False) for each in _messages(revision))


def _form(revision: Revision) -> dict[str, Any]:
    form = {"message": "m", "requestedSchema": FORM if revision.rich_forms else OLD_FORM}
    return {"mode": "form", **form} if revision.rich_forms else form


def _messages(revision: Revision) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "CreateMessageRequest", "sampling/createMessage", SAMPLING
    if revision.sampling_tools:
        message = {"role": "user", "content": TOOL_TALK, "_meta": META}
        value = {**SAMPLING, "messages": [message]}
        yield "CreateMessageRequest", "sampling/createMessage", value
    if revision.structured_content:
        yield "ElicitRequest", "elicitation/create", _form(revision)
    if revision.rich_forms:
        visit = {"mode": "url", "message": "m", "url": "https://example.com", "elicitationId": "e"}
        yield "ElicitRequest", "elicitation/create", visit
    yield "ListRootsRequest", "roots/list", {"_meta": META}
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": 1} if revision.modern else META}
    told: list[tuple[str, str, dict[str, Any]]] = [
        ("Cancelled", "cancelled", {"requestId": 1, "reason": "r"}),
        ("Progress", "progress", {"progressToken": 1, "progress": 1, "total": 2, "message": "m"}),
        ("LoggingMessage", "message", {"level": "info", "data": 1, "logger": "l"}),
        ("ResourceUpdated", "resources/updated", {"uri": "test://x"}),
        ("ToolListChanged", "tools/list_changed", {}),
        ("ResourceListChanged", "resources/list_changed", {}),
        ("PromptListChanged", "prompts/list_changed", {}),
    ]
    if revision.modern:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["test://x"]}
        told.append(
            ("SubscriptionsAcknowledged", "subscriptions/acknowledged", {"notifications": wanted})
        )
    elif revision.rich_forms:
        told += [
            ("TaskStatus", "tasks/status", TASK),
            ("ElicitationComplete", "elicitation/complete", {"elicitationId": "e"}),
        ]
    for definition, method, value in told:
        yield f"{definition}Notification", f"notifications/{method}", {**value, **meta}


SAMPLES = [sample for revision in REVISIONS for sample in _samples(revision)]
WRONG: list[Any] = [None, True, 0, -1, 1.5, 10_000, "wrong", [], [1], {}, {"type": "wrong"}]
STRICTER: tuple[str, ...] = (
    "_meta has to be an object",
    "resultType has to be 'complete'",
    "elements, 100 are the most",
    "there is neither inputRequests nor requestState",
    "task.",
    ".items",
    ".enum",
    ".oneOf",
    "has neither enum nor anyOf",
    "has neither text nor blob",
    "is not base64",
)
"""Where the kit refuses what the schemas let through, and the pages do not."""


pytestmark = needs_schemas


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda each: f"{each.revision.name}-{each[1]}")
def test_good_values_are_taken_by_both(sample: Sample) -> None:
    assert sample.official()
    assert not sample.problem()


@settings(max_examples=400)
@given(st.data())
def test_what_the_official_schema_refuses_the_kit_refuses(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(SAMPLES), label="sample")
    for _ in range(data.draw(st.integers(1, 2))):
        paths = [*places(sample.value)]
        if not paths:
            break
        path = data.draw(st.sampled_from(paths), label="place")
        wrong = data.draw(st.sampled_from([*WRONG, GONE]))
        sample = sample._replace(value=changed(sample.value, path, wrong))
    problem = sample.problem()
    if not sample.official():
        assert problem, sample
    elif problem:
        assert any(part in problem for part in STRICTER), (problem, sample)


@pytest.mark.share(4)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda each: f"{each.revision.name}-{each[1]}")
def test_every_single_change_that_the_official_schema_refuses(sample: Sample) -> None:
    for path in places(sample.value):
        for wrong in (*WRONG, GONE):
            spoilt = sample._replace(value=changed(sample.value, path, wrong))
            # the kit first, which takes less time and refuses nearly all
            assert spoilt.problem() or spoilt.official(), (path, wrong)
