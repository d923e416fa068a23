"""What a server asks its client, in the words of each revision."""

from functools import cache
from typing import Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator

from mcpcore.errors import Unsayable
from mcpcore.spec.methods import lookup, lookup_embedded
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore.spec.types.client_features import CreateMessageResult, SamplingMessage
from mcpcore.spec.types.content import (
    AudioContent,
    SamplingContent,
    TextContent,
    ToolResultContent,
    ToolUseContent,
    UnknownContent,
)
from mcpcore_transports.server.contents import message_problem, params_for, result_for
from mcpcore_transports.server.elicitation import Elicit, ElicitUrl, Input, ListRoots, Sample
from tests.service.test_results_schema import closed
from tests.spec.oracle import FOLDER, definitions, needs_schemas

by_revision = pytest.mark.parametrize("revision", REVISIONS, ids=lambda row: str(row.name))

TEXT = TextContent(text="x", meta={"k": 1})
AUDIO = AudioContent(data="AA==", mime_type="audio/wav")
USE = ToolUseContent(id="1", name="t", input={"a": 1})
RESULT = ToolResultContent(tool_use_id="1", content=[TEXT], structured_content={"a": 1})
TOOL = {"name": "t", "inputSchema": {"type": "object"}, "title": "T", "execution": {}}


def message(
    role: Literal["user", "assistant"], *blocks: SamplingContent, meta: bool = False
) -> SamplingMessage:
    content = blocks[0] if len(blocks) == 1 else list(blocks)
    return SamplingMessage(role=role, content=content, meta={"k": 1} if meta else None)


TALK = [message("user", TEXT, meta=True), message("assistant", TEXT, TEXT), message("user", TEXT)]
TOOL_TALK = [*TALK, message("assistant", TEXT, USE), message("user", RESULT)]
FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "Ada"},
        "mood": {"type": "string", "oneOf": [{"const": "g", "title": "good"}]},
    },
}
MANY = {
    "type": "object",
    "properties": {"all": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}},
}

NAMES = {
    "roots/list": "ListRootsRequest",
    "sampling/createMessage": "CreateMessageRequest",
    "elicitation/create": "ElicitRequest",
}
ENVELOPE: dict[str, Any] = {"jsonrpc": "2.0", "id": 1}
"""Members that the definitions of requests name in some revisions and not in others."""

QUESTIONS: list[tuple[str, Input[Any], set[str]]] = [
    # A name, a question, and the revisions that cannot say it although they have its method.
    ("roots", ListRoots(), set()),
    ("talk", Sample(TALK, 10, {"systemPrompt": "?", "temperature": 1.0}), set()),
    ("preferences", Sample("Hi", 10, {"modelPreferences": {"hints": [{"name": "m"}]}}), set()),
    ("audio", Sample([message("user", AUDIO)], 10), {"2024-11-05"}),
    (
        "tools",
        Sample(TOOL_TALK, 10, {"tools": [TOOL], "toolChoice": {"mode": "auto"}}),
        {"2024-11-05", "2025-03-26", "2025-06-18"},
    ),
    ("uses", Sample(TOOL_TALK, 10), {"2024-11-05", "2025-03-26", "2025-06-18"}),
    ("form", Elicit("?", FORM), set()),
    ("choices", Elicit("?", MANY), {"2025-06-18"}),
    ("url", ElicitUrl("?", "https://x.test/"), {"2025-06-18"}),
]


@cache
def validator(method: str, revision: Revision) -> Draft202012Validator:
    document = msgspec.json.decode((FOLDER / revision.name / "schema.json").read_bytes())
    home = "$defs" if "$defs" in document else "definitions"
    reference = f"#/{home}/{NAMES[method]}"
    return Draft202012Validator({home: closed(document[home]), "$ref": reference})


@needs_schemas
@by_revision
@pytest.mark.parametrize(("question", "unsayable"), [row[1:] for row in QUESTIONS])
def test_questions(question: Input[Any], unsayable: set[str], revision: Revision) -> None:
    method = question.method
    if lookup(method, "server", revision) is None and lookup_embedded(method, revision) is None:
        return  # there is no such question, which the context says before it comes here
    if revision.name in unsayable:
        with pytest.raises(Unsayable, match=f"{revision.name} has no "):
            question.wire_params(revision)
        return
    request = {"method": method, "params": question.wire_params(revision)}
    known = definitions(revision)[NAMES[method]]["properties"]
    request |= {name: value for name, value in ENVELOPE.items() if name in known}
    found = validator(method, revision).iter_errors(request)
    assert [f"{error.json_path}: {error.message}" for error in found] == []


def test_several_blocks_become_several_messages_where_there_is_one() -> None:
    said = Sample(TALK, 10).wire_params(BY_NAME["2025-06-18"])["messages"]
    assert [each["role"] for each in said] == ["user", "assistant", "assistant", "user"]
    assert all(each["content"] == {"type": "text", "text": "x", "_meta": {"k": 1}} for each in said)
    assert all("_meta" not in each for each in said)
    said = Sample(TALK, 10).wire_params(BY_NAME["2025-11-25"])["messages"]
    assert [each["role"] for each in said] == ["user", "assistant", "user"]
    assert len(said[1]["content"]) == 2
    assert said[0]["_meta"] == {"k": 1}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Hi", 10, {"system_prompt": "x"}), "no option 'system_prompt'.*systemPrompt"),
        (("Hi", 10, {"maxTokens": 5}), "no option 'maxTokens'"),
        (("Hi", "many"), "maxTokens"),
        (([{"role": "user"}], 10), "content"),
        (([{"role": "robot", "content": TEXT}], 10), "role"),
        (("Hi", 10, {"toolChoice": {"mode": "maybe"}}), "toolChoice.mode"),
    ],
)
def test_what_is_no_request_for_sampling(arguments: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        Sample(*arguments)


def test_context_of_servers_needs_a_capability_where_there_is_one() -> None:
    question = Sample("Hi", 10, {"includeContext": "thisServer"})
    assert question.needs(BY_NAME["2025-06-18"]) == ("sampling",)
    assert question.needs(BY_NAME["2025-11-25"]) == ("sampling", "sampling.context")
    assert Sample("Hi", 10, {"includeContext": "none"}).needs(REVISIONS[-1]) == ("sampling",)
    assert Sample("Hi", 10, {"tools": []}).needs(REVISIONS[-1]) == ("sampling.tools",)


# The rules on tool uses and results


@pytest.mark.requirement("client/sampling/results-alone", "client/sampling/balance")
@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], None),
        (TALK, None),
        (TOOL_TALK, None),
        ([*TOOL_TALK, message("assistant", TEXT)], None),
        (
            [message("assistant", USE), message("user", TEXT, RESULT)],
            "messages[1]: tool results are mixed with other content",
        ),
        (
            [message("assistant", USE), message("assistant", RESULT)],
            "messages[1]: tool results are the user's, not the assistant's",
        ),
        ([message("user", USE)], "messages[0]: tool uses are the assistant's, not the user's"),
        ([message("assistant", USE)], "tool result missing for 1"),
        (
            [message("assistant", USE), message("user", TEXT)],
            "messages[1]: tool result missing for 1",
        ),
        (
            [message("assistant", USE), message("user", RESULT, RESULT)],
            "messages[1]: a tool result answers no tool use of the message before",
        ),
        (
            [message("user", RESULT)],
            "messages[0]: a tool result answers no tool use of the message before",
        ),
    ],
)
def test_tool_uses_and_results(messages: list[SamplingMessage], problem: str | None) -> None:
    assert message_problem(messages) == problem
    if problem is not None:
        with pytest.raises(ValueError) as caught:
            Sample(messages, 10)
        assert str(caught.value) == problem


# What the client's model says


def said(*blocks: SamplingContent, several: bool = False) -> CreateMessageResult:
    content = list(blocks) if several or len(blocks) > 1 else blocks[0]
    return CreateMessageResult(role="assistant", content=content, model="m")


@pytest.mark.parametrize(
    ("result", "revision", "expected"),
    [
        (said(TEXT), "2025-06-18", said(TEXT)),
        (said(TEXT, several=True), "2025-06-18", said(TEXT)),
        (said(TEXT, several=True), "2025-11-25", said(TEXT, several=True)),
        (said(TEXT), "2024-11-05", said(TextContent(text="x"))),
        (said(USE), "2026-07-28", said(USE)),
        (said(TEXT, TEXT), "2025-06-18", "one block of content"),
        (said(several=True), "2025-06-18", "one block of content"),
        (said(USE), "2025-06-18", "no tools"),
        (said(AUDIO), "2024-11-05", "no audio"),
        (said(UnknownContent(type="smell")), "2026-07-28", "'smell' is in no revision"),
    ],
)
def test_results_of_sampling(
    result: CreateMessageResult, revision: str, expected: CreateMessageResult | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(Unsayable, match=expected):
            result_for(result, BY_NAME[revision])
    else:
        assert result_for(result, BY_NAME[revision]) == expected


def test_content_of_no_revision_is_not_asked_about() -> None:
    question = Sample([{"role": "user", "content": {"type": "smell"}}], 10)
    with pytest.raises(Unsayable, match="'smell' is in no revision"):
        question.wire_params(REVISIONS[-1])


@pytest.mark.requirement("client/elicitation/url-valid")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/relative",
        "javascript:alert(1)",
        "https://",
        "http://a b/",
        "http://[x",
        "file:///e",
    ],
)
def test_what_no_user_could_visit(url: str) -> None:
    with pytest.raises(ValueError, match="no URL that a user could visit"):
        ElicitUrl("?", url)


def test_params_for_leaves_the_request_as_it_was() -> None:
    question = Sample(TALK, 10)
    before = msgspec.json.encode(question.params())
    question.wire_params(REVISIONS[0])
    assert msgspec.json.encode(question.params()) == before
    assert params_for(question._typed, REVISIONS[-1]).messages == TALK
