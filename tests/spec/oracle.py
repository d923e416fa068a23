"""The official JSON schemas as an oracle, and how their definitions map to our types.

The schemas lie beside the checkout (``../shared/spec/<revision>/schema.json``) and not in it;
where they are absent, the tests that need them are skipped.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mcpcore.spec import types
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.methods import METHODS
from mcpcore.spec.revisions import REVISIONS, Revision

FOLDER = Path(__file__).parents[3] / "shared" / "spec"
MISSING = [revision.name for revision in REVISIONS if not (FOLDER / revision.name).is_dir()]

needs_schemas = pytest.mark.skipif(
    bool(MISSING), reason=f"no official JSON schema of {', '.join(MISSING)} beside the checkout"
)

Schema = dict[str, Any]

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "CancelTaskResult": types.TaskResult,
    "ElicitRequestFormParams": types.ElicitFormParams,
    "ElicitRequestURLParams": types.ElicitUrlParams,
    "Error": ErrorData,
    "GetTaskResult": types.TaskResult,
    "NotificationMetaObject": types.NotificationMeta,
    "NotificationParams": types.NotificationParams,
    "PrimitiveSchemaDefinition": types.PrimitiveSchema,
    "RequestMetaObject": types.RequestMeta,
    "RequestParams": types.RequestParams,
    "ResourceReference": types.ResourceTemplateReference,
    "ResultMetaObject": types.ResultMeta,
    "SubscriptionsListenResultMetaObject": types.ResultMeta,
}
"""Definitions whose Struct has another name than the rules of :func:`struct_of` give."""

_ENVELOPE = "an envelope: mcpcore.wire.message.Message"
_UNION = "a list of messages or types that are checked one by one"
_SCALAR = "a scalar or an open object: the fields of this type are checked where they stand"
_MIXIN = "never on its own: its members are checked in the types that include it"
_ERROR = "an error object with a fixed code: ErrorData and a row of ERRORS"

WITHOUT_STRUCT: dict[str, str] = {
    "Annotated": _MIXIN,
    "BaseMetadata": _MIXIN,
    "ClientNotification": _UNION,
    "ClientRequest": _UNION,
    "ClientResult": _UNION,
    "Cursor": _SCALAR,
    "HeaderMismatchError": _ERROR,
    "Icons": _MIXIN,
    "InputRequests": _SCALAR,
    "InputResponse": _UNION,
    "InputResponses": _SCALAR,
    "InternalError": _ERROR,
    "InvalidParamsError": _ERROR,
    "InvalidRequestError": _ERROR,
    "JSONArray": _SCALAR,
    "JSONObject": _SCALAR,
    "JSONRPCBatchRequest": _ENVELOPE,
    "JSONRPCBatchResponse": _ENVELOPE,
    "JSONRPCError": _ENVELOPE,
    "JSONRPCErrorResponse": _ENVELOPE,
    "JSONRPCMessage": _ENVELOPE,
    "JSONRPCNotification": _ENVELOPE,
    "JSONRPCRequest": _ENVELOPE,
    "JSONRPCResponse": _ENVELOPE,
    "JSONRPCResultResponse": _ENVELOPE,
    "JSONValue": _SCALAR,
    "LoggingLevel": _SCALAR,
    "MetaObject": _SCALAR,
    "MethodNotFoundError": _ERROR,
    "MissingRequiredClientCapabilityError": _ERROR,
    "MultiSelectEnumSchema": _UNION,
    "Notification": _ENVELOPE,
    "PaginatedRequest": _ENVELOPE,
    "ParseError": _ERROR,
    "ProgressToken": _SCALAR,
    "Request": _ENVELOPE,
    "RequestId": _SCALAR,
    "ResultType": _SCALAR,
    "Role": _SCALAR,
    "SamplingMessageContentBlock": _UNION,
    "ContentBlock": _UNION,
    "ServerNotification": _UNION,
    "ServerRequest": _UNION,
    "ServerResult": _UNION,
    "SingleSelectEnumSchema": _UNION,
    "TaskAugmentedRequestParams": _MIXIN,
    "TaskStatus": _SCALAR,
    "URLElicitationRequiredError": _ERROR,
    "UnsupportedProtocolVersionError": _ERROR,
}
"""Definitions that have no Struct, each with the reason."""


@cache
def definitions(revision: Revision) -> dict[str, Schema]:
    """Every definition of the official schema of ``revision``."""
    document = msgspec.json.decode((FOLDER / revision.name / "schema.json").read_bytes())
    found: dict[str, Schema] = document.get("$defs") or document["definitions"]
    return found


def reference(schema: Schema) -> str | None:
    """The name that a ``$ref`` points to."""
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


def flatten(revision: Revision, schema: Schema) -> Schema:
    """Follow references and merge ``allOf``."""
    name = reference(schema)
    if name is not None:
        return flatten(revision, definitions(revision)[name])
    if "allOf" not in schema:
        return schema
    merged: Schema = {"type": "object", "properties": {}, "required": []}
    for part in schema["allOf"]:
        flat = flatten(revision, part)
        merged["properties"] |= flat.get("properties", {})
        merged["required"] = [*merged["required"], *flat.get("required", [])]
    return merged


def properties(revision: Revision, schema: Schema) -> dict[str, Schema]:
    found: dict[str, Schema] = flatten(revision, schema).get("properties", {})
    return found


def alternatives(revision: Revision, name: str) -> list[str]:
    """The names that the union ``name`` lists, nested unions opened; itself if it is none."""
    schema = definitions(revision).get(name, {})
    if "anyOf" not in schema:
        return [name]
    names = [reference(part) for part in schema["anyOf"]]
    return [inner for part in names if part for inner in alternatives(revision, part)]


def is_message(schema: Schema) -> bool:
    """Whether a definition is a whole request or notification."""
    return "const" in schema.get("properties", {}).get("method", {})


def struct_of(name: str) -> type[msgspec.Struct] | None:
    """The Struct of a definition, or None."""
    if name in STRUCTS:
        return STRUCTS[name]
    for ending in ("RequestParams", "NotificationParams"):
        if name.endswith(ending):
            name = name.removesuffix(ending) + "Params"
    found = getattr(types, name, None)
    return found if isinstance(found, type) and issubclass(found, msgspec.Struct) else None


class Typed(NamedTuple):
    """A schema that a Struct stands for, wherever the revision wrote it down."""

    where: str
    revision: Revision
    schema: Schema
    struct: type[msgspec.Struct]


def typed(revision: Revision) -> Iterator[Typed]:
    """Every object schema of ``revision`` that has a Struct: definitions and inline params."""
    for name, schema in definitions(revision).items():
        struct = struct_of(name)
        if struct is not None and "anyOf" not in schema:
            yield Typed(name, revision, flatten(revision, schema), struct)
        if is_message(schema) and not name.startswith(("Client", "Server")):
            params = schema["properties"].get("params")
            if params is not None and reference(params) is None:
                row = next(
                    row for row in METHODS if row.name == schema["properties"]["method"]["const"]
                )
                yield Typed(f"{name}.params", revision, params, row.params)


def wire_fields(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a Struct by their names on the wire."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}
