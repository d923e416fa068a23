"""The typed decode, unknown content blocks, and the looks before it."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from msgspec import Raw

from mcpcore.spec import types
from mcpcore.spec.decoding import decode, decoder
from mcpcore.spec.types.base import full_meta
from mcpcore.spec.types.content import UnknownContent

TEXT = {"type": "text", "text": "a"}
IMAGE = {"type": "image", "data": "AA==", "mimeType": "image/png"}
LINK = {"type": "resource_link", "uri": "file:///a", "name": "a"}
USE = {"type": "tool_use", "id": "1", "name": "t", "input": {}}
VIDEO = {"type": "video", "content": [{"type": "text"}], "type2": None}
"""A type that nobody knows, whose members look like content."""
ODD = {"type": "", "x": 1.5}

content = st.lists(st.sampled_from([TEXT, IMAGE, LINK, VIDEO, ODD]), max_size=5)
sampled = st.lists(st.sampled_from([TEXT, IMAGE, USE, VIDEO, ODD]), max_size=5)
answered = st.builds(
    lambda blocks: {"type": "tool_result", "toolUseId": "1", "content": blocks}, content
)
said = st.one_of(
    st.sampled_from([TEXT, VIDEO]), st.lists(st.one_of(st.sampled_from([USE, ODD]), answered))
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": said}),
    max_size=3,
)


def again(value: Any, type: type[msgspec.Struct]) -> Any:
    """What is left of a value that went through a type."""
    return msgspec.json.decode(msgspec.json.encode(decode(msgspec.json.encode(value), type)))


@given(content)
def test_tool_results_keep_unknown_content(blocks: list[Any]) -> None:
    structured = {"content": [VIDEO], "messages": VIDEO}
    result = {"content": blocks, "structuredContent": structured}
    assert again(result, types.CallToolResult) == result


@given(st.lists(st.sampled_from([TEXT, VIDEO, LINK]), max_size=3))
def test_prompts_keep_unknown_content(blocks: list[Any]) -> None:
    listed = [{"role": "user", "content": block} for block in blocks]
    result = {"messages": listed}
    assert again(result, types.GetPromptResult) == result
    for message in listed:
        assert again(message, types.PromptMessage) == message


@given(messages)
def test_sampling_keeps_unknown_content(listed: list[Any]) -> None:
    params = {"messages": listed, "maxTokens": 1}
    assert again(params, types.CreateMessageParams) == params
    for message in listed:
        assert again(message, types.SamplingMessage) == message
        result = message | {"model": "m"}
        assert again(result, types.CreateMessageResult) == result


def test_unknown_content_keeps_its_place_and_its_neighbours() -> None:
    result = decode(
        msgspec.json.encode({"content": [TEXT, VIDEO, IMAGE]}), types.CallToolResult
    ).content
    assert isinstance(result[0], types.TextContent)
    assert isinstance(result[1], UnknownContent)
    assert result[1].type == "video"
    assert result[1] == VIDEO
    assert isinstance(result[2], types.ImageContent)


def test_known_content_in_the_wrong_place_is_unknown_there() -> None:
    message = decode(msgspec.json.encode({"role": "user", "content": LINK}), types.SamplingMessage)
    assert message.content == LINK


@pytest.mark.parametrize(
    ("type", "value", "says"),
    [
        (types.CallToolResult, {"content": [{"type": "text"}]}, r"`text` - at `\$\.content\[0\]`"),
        (types.CallToolResult, {"content": [VIDEO, {"type": "text"}]}, r"`text` - at .*\[1\]`"),
        (types.CallToolResult, {"content": [5]}, r"\$\.content\[0\]"),
        (types.CallToolResult, {"content": [{"type": 5}]}, r"\$\.content\[0\]\.type"),
        (types.CallToolResult, {"content": [{}]}, "`type`"),
        (types.CallToolResult, {"content": VIDEO}, r"Expected `array`.*\$\.content"),
        (types.CallToolResult, {}, "`content`"),
        (types.GetPromptResult, {"messages": [{"role": "user", "content": [TEXT]}]}, "content"),
        (types.ReadResourceResult, {"contents": [{"uri": "a"}]}, r"`text` or `blob`.*\[0\]"),
        (types.ElicitParams, {"message": "?"}, "`requestedSchema`"),
        (types.ElicitParams, {"message": "?", "mode": "url"}, "`url`"),
        (types.ElicitParams, {"message": "?", "mode": "no"}, r"\$\.mode"),
        (types.SetLevelParams, {"level": "loud"}, r"'loud'.*\$\.level"),
        (types.CompleteParams, {"ref": {"type": "ref/tool"}, "argument": {}}, r"\$\.ref\.type"),
    ],
)
def test_errors_name_the_member(type: type[msgspec.Struct], value: Any, says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        decode(msgspec.json.encode(value), type)


def test_json_that_is_broken() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b'{"content": [', types.CallToolResult)


def test_one_decoder_for_each_type() -> None:
    assert decoder(types.Tool) is decoder(types.Tool)


# Schemas and arguments


def test_schemas_keep_every_keyword_in_order() -> None:
    data = (
        b'{"name":"t","inputSchema":{"type":"object","x-first":1.0,"properties":'
        b'{"b":{"maximum":123456789012345678901234567890},"a":true},"$comment":null},'
        b'"outputSchema":{"z":[],"$schema":"x"}}'
    )
    assert msgspec.json.encode(decode(data, types.Tool)) == data


def test_arguments_stay_raw() -> None:
    params = decode(b'{"name":"t","arguments":{"a" : 1e400}}', types.CallToolParams)
    assert isinstance(params.arguments, Raw)
    assert bytes(params.arguments) == b'{"a" : 1e400}'


def test_null_is_not_absence() -> None:
    result = decode(b'{"content":[],"structuredContent":null}', types.CallToolResult)
    assert result.structured_content is None
    assert decode(b'{"content":[]}', types.CallToolResult).structured_content is None
    task = {"taskId": "1", "status": "working", "createdAt": "", "lastUpdatedAt": "", "ttl": None}
    assert again(task, types.Task) == task


# _meta and skims

META = {
    "progressToken": 7,
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    "io.modelcontextprotocol/logLevel": "info",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "baggage": "c=d",
    "com.example/own": [1],
}


def test_skim_reads_the_metadata_and_leaves_the_rest_raw() -> None:
    params = {
        "_meta": META,
        "name": "t",
        "uri": 5,
        "taskId": None,
        "inputResponses": {"k": {"action": "decline"}},
        "requestState": "s",
        "arguments": {},
    }
    skim = decode(msgspec.json.encode(params), types.Skim)
    meta = skim.meta
    assert isinstance(meta, types.RequestMeta)
    assert meta.progress_token == 7
    assert meta.protocol_version == "2026-07-28"
    assert meta.client_info == types.Implementation(name="c", version="1")
    assert isinstance(meta.client_capabilities, types.ClientCapabilities)
    assert meta.log_level == "info"
    assert (meta.traceparent, meta.tracestate, meta.baggage) == (
        META["traceparent"],
        "a=b",
        "c=d",
    )
    raws = (skim.name, skim.uri, skim.task_id, skim.input_responses, skim.request_state)
    assert [bytes(raw) for raw in raws if isinstance(raw, Raw)] == [
        b'"t"',
        b"5",
        b"null",
        b'{"k":{"action":"decline"}}',
        b'"s"',
    ]


@pytest.mark.requirement("basic/patterns/progress/token-type")
def test_progress_tokens_keep_their_type() -> None:
    for token in ("7", 7, 10**30, ""):
        data = msgspec.json.encode({"progressToken": token})
        found = decode(data, types.RequestMeta).progress_token
        assert found == token
        assert type(found) is type(token)
    for wrong in (b"1.5", b"true", b"null", b"{}"):
        with pytest.raises(msgspec.ValidationError, match="progressToken"):
            decode(b'{"progressToken":%s}' % wrong, types.RequestMeta)


def test_the_other_skims() -> None:
    note = decode(
        b'{"_meta":{"io.modelcontextprotocol/subscriptionId":"7"}}', types.NotificationSkim
    )
    assert note.meta == types.NotificationMeta(subscription_id="7")
    meta = decode(
        b'{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}', types.ResultMeta
    )
    assert meta == types.ResultMeta(server_info=types.Implementation(name="s", version="1"))
    result = decode(
        b'{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},'
        b'"requestState":"s","content":5}',
        types.ResultSkim,
    )
    assert (result.result_type, result.request_state) == ("input_required", "s")
    assert isinstance(result.input_requests, dict)
    assert {key: bytes(raw) for key, raw in result.input_requests.items()} == {
        "k": b'{"method":"roots/list"}'
    }


def test_full_meta() -> None:
    assert full_meta(msgspec.json.encode({"_meta": META, "x": 1})) == META
    assert full_meta(Raw(b"{}")) == {}
    with pytest.raises(msgspec.ValidationError, match="_meta"):
        full_meta(b'{"_meta":[]}')


def test_severity_is_the_order_of_syslog() -> None:
    assert list(types.SEVERITY) == [
        "debug",
        "info",
        "notice",
        "warning",
        "error",
        "critical",
        "alert",
        "emergency",
    ]
    assert types.SEVERITY["debug"] < types.SEVERITY["emergency"]


def test_terminal_statuses() -> None:
    assert {"cancelled", "completed", "failed"} == types.TERMINAL


def test_primitive_schema_reads_every_kind_of_field() -> None:
    made = [
        types.StringSchema(title="t", min_length=1, format="email", default="a@b.c"),
        types.NumberSchema(type="integer", minimum=1, default=2),
        types.BooleanSchema(default=True),
        types.UntitledSingleSelectEnumSchema(enum=["a"]),
        types.TitledSingleSelectEnumSchema(one_of=[types.EnumOption(const="a", title="A")]),
        types.UntitledMultiSelectEnumSchema(items=types.EnumItems(type="string", enum=["a"])),
        types.TitledMultiSelectEnumSchema(
            items=types.EnumItems(any_of=[types.EnumOption(const="a", title="A")]), default=["a"]
        ),
        types.LegacyTitledEnumSchema(enum=["a"], enum_names=["A"]),
    ]
    for schema in made:
        data = msgspec.json.encode(schema)
        read = decode(data, types.PrimitiveSchema)
        assert msgspec.json.decode(msgspec.json.encode(read)) == msgspec.json.decode(data)
