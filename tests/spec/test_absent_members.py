"""What is absent on the wire: how it reads, and that it stays absent when it is sent on."""

import copy
import pickle
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import UNSET, Raw, UnsetType, inspect

from mcpcore.engine import events
from mcpcore.spec import types
from mcpcore.spec.decoding import decode
from mcpcore.spec.errors import ErrorData, McpError
from mcpcore.spec.types.client_features import PrimitiveSchema
from mcpcore.spec.types.model import AS_SENT
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.listen import Listening
from mcpcore_transports.client.tasks import ClientTasks, TaskState
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicited, RootList

_NAMED = [getattr(types, name) for name in types._HOMES]
TYPES: list[type[msgspec.Struct]] = [
    *dict.fromkeys(
        each for each in _NAMED if isinstance(each, type) and issubclass(each, msgspec.Struct)
    ),
    ErrorData,
    TaskState,
]
by_type = pytest.mark.parametrize("kind", sorted(TYPES, key=str), ids=lambda kind: kind.__name__)

anything = st.recursive(
    st.sampled_from([None, True, False, 0, 7, "", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=3,
)
texts = st.sampled_from(["", "a", "b c"])
ABSENT_IF_NULL = ("nextCursor", None)
"""Member of which null means the same as absence: another page comes by a cursor that is not null,
as the pagination page of 2026-07-28 has it."""


def values(info: Any) -> st.SearchStrategy[Any]:
    """JSON values of a type as msgspec describes it."""
    match info:
        case inspect.StructType():
            return st.deferred(lambda: members(info.cls))
        case inspect.UnionType():
            return st.one_of(list(map(values, info.types)))
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.ListType():
            return st.lists(values(info.item_type), max_size=2)
        case inspect.DictType():
            return st.dictionaries(texts, values(info.value_type), max_size=2)
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType() | inspect.FloatType():
            return st.sampled_from([0, 1, 12])
        case inspect.NoneType():
            return st.none()
        case inspect.StrType():
            return texts
    assert isinstance(info, inspect.AnyType | inspect.RawType), info
    return anything


def members(kind: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a type: all that it requires, any part of the rest."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    tag = {} if info.tag_field is None else {info.tag_field: st.just(info.tag)}
    required = {each.encode_name: values(each.type) for each in info.fields if each.required}
    rest = {each.encode_name: values(each.type) for each in info.fields if not each.required}
    if kind is types.ResourceContents:
        required["text"] = rest.pop("text")
    if kind is types.ElicitParams:
        del rest["mode"]
        required["requestedSchema"] = rest.pop("requestedSchema")
    return st.fixed_dictionaries(tag | required, optional=rest)


def gone(again: Any, sent: Any) -> Iterator[tuple[str, Any]]:
    """What is in ``sent`` alone; fails for what is in ``again`` alone."""
    if isinstance(again, dict) and isinstance(sent, dict):
        assert again.keys() <= sent.keys()
        for name in sent:
            if name in again:
                yield from gone(again[name], sent[name])
            else:
                yield name, sent[name]
    elif isinstance(again, list) and isinstance(sent, list):
        for one, other in zip(again, sent, strict=True):
            yield from gone(one, other)
    else:
        assert (again, type(again) is bool) == (sent, type(sent) is bool)


def read(value: Any) -> Iterator[Any]:
    """Everything that a program can read of a value."""
    yield value
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from read(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from read(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from read(inner)


@by_type
@settings(max_examples=max(5, settings().max_examples // 10))
@given(data=st.data())
def test_what_was_absent_stays_absent(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    sent = data.draw(members(kind))
    found = decode(msgspec.json.encode(sent), kind)
    assert UNSET not in map(_itself, read(found))
    again = msgspec.json.decode(msgspec.json.encode(found))
    for name, value in gone(again, sent):
        assert value is False or value == [] or (name, value) == ABSENT_IF_NULL, name


def _itself(value: Any) -> Any:
    return UNSET if value is UNSET else None


@by_type
def test_what_is_absent_reads_none_false_or_an_empty_list(kind: type[msgspec.Struct]) -> None:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for each in info.fields:
        if not each.required:
            empty = each.default_factory is list
            assert empty or each.default is None or each.default is False, each.name


@by_type
def test_none_that_a_program_gives_is_not_written(kind: type[msgspec.Struct]) -> None:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    required: dict[str, Any] = {each.name: "url" for each in info.fields if each.required}
    if kind is types.ResourceContents:
        required["text"] = ""
    if kind in (types.ElicitParams, types.ElicitFormParams):
        required["requested_schema"] = {}
    given = {each.name: None for each in info.fields if each.default is None} | required
    written = msgspec.to_builtins(kind(**given))
    wire = {each.encode_name for each in info.fields if each.name in required}
    assert written.keys() - {info.tag_field} == wire


@by_type
def test_null_is_no_absence(kind: type[msgspec.Struct]) -> None:
    """A null is refused where the specification has none, as it was said and means nothing."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    sound = members(kind)
    for each in info.fields:
        if takes(each.type, inspect.AnyType, inspect.RawType, inspect.NoneType):
            continue
        value = msgspec.json.encode(_example(sound) | {each.encode_name: None})
        with pytest.raises(msgspec.ValidationError, match=r"got `null`"):
            decode(value, kind)


def takes(info: inspect.Type, *kinds: type[inspect.Type]) -> bool:
    """Whether a type, or an alternative of it, is one of these."""
    found = info.types if isinstance(info, inspect.UnionType) else [info]
    return any(isinstance(each, kinds) for each in found)


def _example(strategy: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    @settings(max_examples=1, database=None)
    @given(strategy)
    def keep(value: dict[str, Any]) -> None:
        found.append(value)

    keep()
    return found[0]


# Nulls that are values

TASK = {"taskId": "1", "status": "working", "createdAt": "", "lastUpdatedAt": ""}
TOOL_RESULT = {"type": "tool_result", "toolUseId": "1", "content": []}
NULLS: list[tuple[type[Any], Any]] = [
    (types.CallToolResult, {"content": [], "structuredContent": None}),
    (types.Task, TASK | {"ttl": None}),
    (types.Task, TASK | {"ttlMs": None, "pollIntervalMs": 1}),
    (types.Task, TASK | {"ttl": None, "ttlMs": None}),
    (types.TaskResult, TASK | {"ttlMs": None, "resultType": "task"}),
    (types.TaskStatusParams, TASK | {"ttl": None}),
    (types.CreateTaskResult, {"task": TASK | {"ttl": None}}),
    (types.ListTasksResult, {"tasks": [TASK, TASK | {"ttl": None}, TASK | {"ttl": 5}]}),
    (
        types.SamplingMessage,
        {"role": "user", "content": [TOOL_RESULT, TOOL_RESULT | {"structuredContent": None}]},
    ),
    (
        types.CreateMessageParams,
        {
            "messages": [{"role": "user", "content": TOOL_RESULT | {"structuredContent": None}}],
            "maxTokens": 1,
        },
    ),
]


@pytest.mark.parametrize(("kind", "sent"), NULLS, ids=lambda each: getattr(each, "__name__", ""))
def test_null_that_is_a_value_is_sent_on(kind: type[Any], sent: Any) -> None:
    found = decode(msgspec.json.encode(sent), kind)
    assert isinstance(found, kind)
    assert UNSET not in map(_itself, read(found))
    for one in (found, copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert one == found
        assert msgspec.json.decode(msgspec.json.encode(one)) == sent


def test_null_and_absence_read_alike_and_are_told_apart() -> None:
    null = decode(b'{"content":[],"structuredContent":null}', types.CallToolResult)
    absent = decode(b'{"content":[]}', types.CallToolResult)
    value = decode(b'{"content":[],"structuredContent":0}', types.CallToolResult)
    assert (null.structured_content, absent.structured_content) == (None, None)
    assert [each.is_structured for each in (null, absent, value)] == [True, False, True]
    assert type(absent) is type(value) is types.CallToolResult
    assert absent == types.CallToolResult(content=[])
    assert null != absent
    assert repr(null) == "CallToolResult(content=[], structured_content=None)"
    null.structured_content = {"a": 1}
    assert msgspec.json.encode(null) == b'{"content":[],"structuredContent":{"a":1}}'


def test_every_type_with_null_as_a_value_is_read_so() -> None:
    for kind in TYPES:
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        for each in info.fields:
            null = takes(each.type, inspect.AnyType, inspect.NoneType)
            if null and not each.required and each.encode_name != ABSENT_IF_NULL[0]:
                assert kind in AS_SENT, (kind, each.name)


# What programs are told

SEEN: list[Any] = [
    Client,
    Context,
    CallbackContext,
    Callbacks,
    ClientTasks,
    Listening,
    Elicited,
    RootList,
    McpError,
    PrimitiveSchema,
    *(value for value in vars(events).values() if isinstance(value, type) and value not in TYPES),
    *TYPES,
]


def hints(kind: Any) -> Iterator[tuple[str, Any]]:
    """What reading an attribute, or awaiting a method, of a type gives."""
    for base in kind.__mro__[:-1]:
        for name, value in vars(base).items():
            function = value.fget if isinstance(value, property) else value
            if not name.startswith("_") and callable(function):
                yield name, getattr(function, "__annotations__", {}).get("return")
        for name, hint in getattr(base, "__annotations__", {}).items():
            if not name.startswith("_"):
                yield name, hint


@pytest.mark.parametrize("kind", SEEN, ids=lambda kind: kind.__name__)
def test_no_program_is_told_of_a_member_that_may_be_unset(kind: Any) -> None:
    for name, hint in hints(kind):
        assert UnsetType not in typing.get_args(hint), name
        assert "Unset" not in str(hint), name


# Results of tools


def test_the_text_of_a_result() -> None:
    image = types.ImageContent(data="", mime_type="image/png")
    odd = types.UnknownContent({"type": "odd", "text": "no"})
    first, second = types.TextContent(text="a"), types.TextContent(text="b\n")
    result = types.CallToolResult(content=[first, image, odd, second])
    assert result.text == "a\nb\n"
    assert types.CallToolResult(content=[image]).text == ""


def test_a_result_is_itself_or_raised() -> None:
    from mcpcore import ToolFailed

    text = types.TextContent(text="no such city")
    good = types.CallToolResult(content=[text])
    assert good.raise_for_error() is good
    bad = types.CallToolResult(content=[text], is_error=True)
    with pytest.raises(ToolFailed, match=r"^no such city$") as caught:
        bad.raise_for_error()
    assert caught.value.result is bad
    with pytest.raises(ToolFailed, match=r"^the tool failed and did not say why$"):
        types.CallToolResult(content=[], is_error=True).raise_for_error()
    null = decode(b'{"content":[],"structuredContent":null,"isError":true}', types.CallToolResult)
    with pytest.raises(ToolFailed):
        null.raise_for_error()


def test_raw_null_is_null() -> None:
    made = types.CallToolResult(content=[], structured_content=Raw(b"null"))
    assert msgspec.json.encode(made) == b'{"content":[],"structuredContent":null}'
    assert made.is_structured
