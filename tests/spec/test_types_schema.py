"""Every type of every revision against the official JSON schemas."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import inspect

from mcpcore.spec import types
from mcpcore.spec.decoding import decode
from mcpcore.spec.revisions import REVISIONS, Revision
from tests.spec.oracle import (
    MISSING,
    WITHOUT_STRUCT,
    Schema,
    Typed,
    definitions,
    flatten,
    is_message,
    needs_schemas,
    properties,
    reference,
    struct_of,
    typed,
    wire_fields,
)

pytestmark = needs_schemas
TYPED = [] if MISSING else [entry for revision in REVISIONS for entry in typed(revision)]
by_revision = pytest.mark.parametrize("revision", REVISIONS, ids=lambda row: str(row.name))

ANY_OF: dict[type[msgspec.Struct], set[str]] = {
    types.ElicitParams: {"ElicitRequestFormParams", "ElicitRequestURLParams"},
    types.EmbeddedRequest: {"CreateMessageRequest", "ElicitRequest", "ListRootsRequest"},
    types.PrimitiveSchema: {
        "BooleanSchema",
        "EnumSchema",
        "LegacyTitledEnumSchema",
        "NumberSchema",
        "StringSchema",
        "TitledMultiSelectEnumSchema",
        "TitledSingleSelectEnumSchema",
        "UntitledMultiSelectEnumSchema",
        "UntitledSingleSelectEnumSchema",
    },
    types.ResourceContents: {"BlobResourceContents", "TextResourceContents"},
}
"""Structs that stand for a union whose members no tag tells apart."""

OPTIONAL: dict[tuple[str, str], str] = {
    ("CacheablePage", "*"): "never alone; legacy results have no cache hints",
    ("CacheableResult", "*"): "legacy results of the same types have no cache hints",
    ("DiscoverResult", "cacheScope"): "shared with results that legacy revisions have, too",
    ("DiscoverResult", "ttlMs"): "shared with results that legacy revisions have, too",
    ("InputResponseParams", "*"): "the engine reads _meta",
    ("RequestMeta", "io.modelcontextprotocol/clientCapabilities"): "legacy requests have none",
    ("RequestMeta", "io.modelcontextprotocol/protocolVersion"): "legacy requests have none",
    ("ResultMeta", "io.modelcontextprotocol/subscriptionId"): "of the end of a listen stream only",
    ("Task", "ttl"): "the extension has ttlMs instead",
    ("TaskResult", "ttl"): "the extension has ttlMs instead",
    ("TaskStatusParams", "ttl"): "the extension has ttlMs instead",
    ("ElicitParams", "requestedSchema"): "URL mode has none",
}
"""Members that the schemas require in all revisions and we do not, each with the reason.

``_meta`` of params and ``resultType`` are written and checked by the engine and never required.
"""
ENGINE_MEMBERS = {"_meta", "resultType"}

OURS: dict[str, str] = {
    "Completion": "the inline object in CompleteResult",
    "CompletionArgument": "the inline object in CompleteRequest",
    "CompletionContext": "the inline object in CompleteRequest",
    "CacheablePage": "CacheableResult and PaginatedResult in one",
    "ElicitParams": "both modes of elicitation",
    "ElicitationCompleteParams": "inline params",
    "ElicitationCapability": "the inline object in ClientCapabilities",
    "ElicitationTasks": "the inline object in ClientCapabilities",
    "EmbeddedRequest": "any request of an input round",
    "EnumItems": "the inline object in the multi-select schemas",
    "EnumOption": "the inline object in the titled enum schemas",
    "MissingRequiredClientCapabilityData": "data of an error",
    "NotificationSkim": "the engine's look at params",
    "PromptsCapability": "the inline object in ServerCapabilities",
    "ResourcesCapability": "the inline object in ServerCapabilities",
    "ResultSkim": "the engine's look at results",
    "RootsCapability": "the inline object in ClientCapabilities",
    "SamplingCapability": "the inline object in ClientCapabilities",
    "SamplingTasks": "the inline object in ClientCapabilities",
    "Skim": "the engine's look at params",
    **dict.fromkeys(types._NAMES["skills"].split(), "of the skills extension"),
    "TaskParams": "inline params",
    "TaskRequests": "the inline object in both capabilities",
    "TasksCapability": "the inline object in both capabilities",
    "ToolTasks": "the inline object in ServerCapabilities",
    "ToolsCapability": "the inline object in ServerCapabilities",
    "UnsupportedProtocolVersionData": "data of an error",
    "UpdateTaskParams": "of the tasks extension, which has no schema here",
    "UrlElicitationRequiredData": "data of an error",
}
"""Structs that no definition names."""

OWN_FIELDS: dict[str, set[str]] = {
    # A class for making one of two kinds inherits the other kind's member.
    "BlobResourceContents": {"text"},
    "ElicitFormParams": {"elicitationId", "url"},
    "ElicitUrlParams": {"requestedSchema"},
    "ResourceContents": {"blob", "text"},
    "TextResourceContents": {"blob"},
    # The definition read here has one mode only; the other has a definition of its own.
    "ElicitParams": {"elicitationId", "mode", "task", "url"},
    # From the prose: W3C trace context; the tag of notifications on a listen stream.
    "RequestMeta": {
        "baggage",
        "io.modelcontextprotocol/subscriptionId",
        "traceparent",
        "tracestate",
    },
    # From the tasks extension.
    "SubscriptionFilter": {"taskIds"},
    "Task": {"error", "inputRequests", "pollIntervalMs", "result", "ttlMs"},
    "TaskResult": {"error", "inputRequests", "pollIntervalMs", "result", "ttlMs"},
    "TaskStatusParams": {"error", "inputRequests", "pollIntervalMs", "result", "ttlMs"},
}
"""Members that no definition of the Struct has, each group with its reason."""


# Definitions and Structs


@by_revision
def test_every_definition_has_a_struct_or_a_reason(revision: Revision) -> None:
    homeless = [
        name
        for name, schema in definitions(revision).items()
        if struct_of(name) is None
        and name not in WITHOUT_STRUCT
        and not is_message(schema)
        and not name.endswith("ResultResponse")
        and not (reference(schema) and struct_of(str(reference(schema))))
        and not (name == "EnumSchema" and "anyOf" in schema)
        and not any(name in names for names in ANY_OF.values())
    ]
    assert [name for name in homeless if name != "InputRequest"] == []


def test_no_reason_is_stale() -> None:
    known = {name for revision in REVISIONS for name in definitions(revision)}
    assert WITHOUT_STRUCT.keys() <= known
    assert [name for name in WITHOUT_STRUCT if struct_of(name) is not None] == []


def test_every_struct_has_a_definition_or_a_reason() -> None:
    defined = {entry.struct.__name__ for entry in TYPED if "." not in entry.where}
    ours = {
        value.__name__
        for name in types._HOMES
        if isinstance(value := getattr(types, name), type) and issubclass(value, msgspec.Struct)
    }
    assert ours - defined - {"PrimitiveSchema", "Model"} == OURS.keys()


# Fields


def members_of(info: inspect.Type) -> list[inspect.Type]:
    """The alternatives of a field's type."""
    return list(info.types) if isinstance(info, inspect.UnionType) else [info]


def mismatches(revision: Revision, schema: Schema, info: inspect.Type, where: str) -> Iterator[str]:
    """Where a type of ours takes less than ``schema`` allows, or cannot hold it."""
    members = members_of(info)
    if any(isinstance(member, inspect.AnyType | inspect.RawType) for member in members):
        return
    if schema == {}:
        yield f"{where}: any JSON value"
        return
    name = reference(schema)
    structs = [member.cls for member in members if isinstance(member, inspect.StructType)]
    if name is not None:
        if struct_of(name) in structs or any(name in ANY_OF.get(cls, ()) for cls in structs):
            return
        yield from mismatches(revision, definitions(revision)[name], info, where)
        return
    for part in schema.get("anyOf", ()):
        yield from mismatches(revision, part, info, where)
    for kind in kinds(schema):
        if not any(accepts(revision, schema, kind, member, where) for member in members):
            yield f"{where}: {kind} {schema}"
    if "object" in kinds(schema) and len(structs) == 1:
        yield from missing_fields(revision, schema, structs[0], where)
    for member in members:
        if isinstance(member, inspect.ListType) and "items" in schema:
            yield from mismatches(revision, schema["items"], member.item_type, f"{where}[]")
        if isinstance(member, inspect.DictType) and schema.get("additionalProperties"):
            values = schema["additionalProperties"]
            if values is not True:
                yield from mismatches(revision, values, member.value_type, f"{where}[*]")


def kinds(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def accepts(revision: Revision, schema: Schema, kind: str, info: inspect.Type, where: str) -> bool:
    """Whether one alternative of ours holds values of the JSON type ``kind``."""
    match kind:
        case "string":
            values = schema.get("enum", [schema["const"]] if "const" in schema else None)
            if isinstance(info, inspect.LiteralType):
                return values is not None and set(values) <= set(info.values)
            return isinstance(info, inspect.StrType) and values is None
        case "integer":
            return isinstance(info, inspect.IntType)
        case "number":
            return isinstance(info, inspect.FloatType)
        case "boolean":
            return isinstance(info, inspect.BoolType)
        case "null":
            return isinstance(info, inspect.NoneType)
        case "array":
            return isinstance(info, inspect.ListType)
        case "object":
            return isinstance(info, inspect.StructType | inspect.DictType)
    raise AssertionError(f"{where}: unknown kind {kind}")


def missing_fields(
    revision: Revision, schema: Schema, struct: type[msgspec.Struct], where: str
) -> Iterator[str]:
    fields = wire_fields(struct)
    config = struct.__struct_config__
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    infos = {field.encode_name: field.type for field in info.fields}
    for name, inner in properties(revision, schema).items():
        if name == config.tag_field:
            if inner.get("const") != config.tag:
                yield f"{where}.{name}: {inner}"
        elif name not in fields:
            yield f"{where}.{name}: no such field in {struct.__name__}"
        else:
            yield from mismatches(revision, inner, infos[name], f"{where}.{name}")


@pytest.mark.parametrize("entry", TYPED, ids=lambda entry: f"{entry.revision.name}-{entry.where}")
def test_every_member_has_a_field_of_its_type(entry: Typed) -> None:
    assert list(missing_fields(entry.revision, entry.schema, entry.struct, entry.where)) == []


def test_every_required_member_is_required_and_nothing_else() -> None:
    always: dict[type[msgspec.Struct], set[str]] = {}
    for entry in TYPED:
        tag = entry.struct.__struct_config__.tag_field
        required = set(entry.schema.get("required", ())) - {tag}
        always[entry.struct] = always.get(entry.struct, required) & required
    wrong = []
    for struct, expected in always.items():
        ours = {name for name, field in wire_fields(struct).items() if field.required}
        wrong += [f"{struct.__name__}.{name} must be optional" for name in ours - expected]
        wrong += [
            f"{struct.__name__}.{name} must be required"
            for name in expected - ours - ENGINE_MEMBERS
            if (struct.__name__, name) not in OPTIONAL and (struct.__name__, "*") not in OPTIONAL
        ]
    assert wrong == []


def test_every_field_is_known_to_some_revision() -> None:
    known: dict[type[msgspec.Struct], set[str]] = defaultdict(set)
    for entry in TYPED:
        known[entry.struct] |= properties(entry.revision, entry.schema).keys()
    extra = {
        struct.__name__: more
        for struct, names in known.items()
        if (more := wire_fields(struct).keys() - names - ENGINE_MEMBERS)
    }
    assert extra == OWN_FIELDS


# Values

texts = st.text(max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
scalars: dict[str, st.SearchStrategy[Any]] = {
    "string": texts,
    "integer": st.integers(),
    "boolean": st.booleans(),
    "null": st.none(),
}

PLAIN: dict[str, Any] = {"elicitation": {}, "roots": {}, "sampling": {}}
"""Capabilities that some revision leaves open; we keep the members that others define."""

ON_THE_WIRE = [entry for entry in TYPED if entry.where != "ResourceContents"]
"""Without the one definition that never stands alone: it comes with a text or a blob."""
by_entry = pytest.mark.parametrize(
    "entry", ON_THE_WIRE, ids=lambda entry: f"{entry.revision.name}-{entry.where}"
)

_strategies: dict[tuple[Revision, str], st.SearchStrategy[Any]] = {}


def instances(revision: Revision, schema: Schema) -> st.SearchStrategy[Any]:
    """Values that ``schema`` allows; objects with declared members have no others."""
    name = reference(schema)
    if name is not None:
        key = (revision, name)
        if key not in _strategies:
            _strategies[key] = st.deferred(lambda: instances(revision, definitions(revision)[name]))
        return _strategies[key]
    schema = flatten(revision, schema)
    if "anyOf" in schema:
        return st.one_of([instances(revision, part) for part in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    options: list[st.SearchStrategy[Any]] = []
    for kind in kinds(schema):
        if kind == "number":
            low, high = schema.get("minimum"), schema.get("maximum")
            options.append(st.floats(low, high, allow_nan=False, allow_infinity=False))
        elif kind == "array":
            options.append(st.lists(instances(revision, schema["items"]), max_size=2))
        elif kind == "object":
            options.append(members(revision, schema))
        else:
            options.append(scalars[kind])
    return st.one_of(options) if options else values


def members(revision: Revision, schema: Schema) -> st.SearchStrategy[Any]:
    declared = schema.get("properties")
    if not declared:
        inner = schema.get("additionalProperties", {})
        return st.dictionaries(
            texts, values if inner is True else instances(revision, inner), max_size=2
        )
    made = {
        name: st.just(PLAIN[name])
        if name in PLAIN and "properties" in inner and not inner["properties"]
        else instances(revision, inner)
        for name, inner in declared.items()
    }
    required = schema.get("required", ())
    return st.fixed_dictionaries(
        {name: made[name] for name in required if name in made},
        optional={name: made[name] for name in made if name not in required},
    )


SAYS_NOTHING: dict[str, Any] = {
    "arguments": [],
    "audience": [],
    "hints": [],
    "icons": [],
    "isError": False,
    "listChanged": False,
    "promptsListChanged": False,
    "required": False,
    "resourceSubscriptions": [],
    "resourcesListChanged": False,
    "sizes": [],
    "stopSequences": [],
    "subscribe": False,
    "taskIds": [],
    "toolsListChanged": False,
}
"""Members whose absence says the same as this value, which they are not sent on with."""


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: numbers by value, but ``true`` is not 1.

    ``one`` may lack what says nothing in ``other``.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        lost = {key: other[key] for key in other.keys() - one.keys()}
        return (
            all(key in SAYS_NOTHING and SAYS_NOTHING[key] == lost[key] for key in lost)
            and one.keys() <= other.keys()
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


@by_entry
@settings(max_examples=max(4, settings().max_examples // 25))
@given(data=st.data())
def test_round_trip_loses_nothing(entry: Typed, data: st.DataObject) -> None:
    value = data.draw(instances(entry.revision, entry.schema))
    typed_value = decode(msgspec.json.encode(value), entry.struct)
    assert same(msgspec.json.decode(msgspec.json.encode(typed_value)), value)


WRONG: dict[str, Any] = {
    "string": 5,
    "integer": "5",
    "number": "5",
    "boolean": "true",
    "array": {},
    "object": [],
}


@by_entry
@settings(max_examples=1)
@given(data=st.data())
def test_a_missing_or_mistyped_member_is_refused_by_name(entry: Typed, data: st.DataObject) -> None:
    value = data.draw(instances(entry.revision, entry.schema))
    struct_fields = inspect.type_info(entry.struct)
    assert isinstance(struct_fields, inspect.StructType)
    for field in struct_fields.fields:
        name = field.encode_name
        if field.required:
            rest = {key: inner for key, inner in value.items() if key != name}
            with pytest.raises(msgspec.ValidationError, match=f"`{name}`"):
                decode(msgspec.json.encode(rest), entry.struct)
        declared = properties(entry.revision, entry.schema).get(name)
        if declared is None or isinstance(field.type, inspect.AnyType | inspect.RawType):
            continue
        kind = kinds(flatten(entry.revision, declared))
        if len(kind) == 1:
            wrong = value | {name: WRONG[kind[0]]}
            with pytest.raises(msgspec.ValidationError, match=rf"\$\.{name}"):
                decode(msgspec.json.encode(wrong), entry.struct)
