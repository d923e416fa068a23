"""Every method of every revision against the official JSON schemas."""

from typing import Any, NamedTuple

import pytest

from mcpcore.spec import types
from mcpcore.spec.methods import METHODS, MethodKind, lookup, lookup_embedded
from mcpcore.spec.revisions import REVISIONS, Revision
from tests.spec.oracle import (
    Schema,
    alternatives,
    definitions,
    flatten,
    is_message,
    needs_schemas,
    properties,
    reference,
    struct_of,
    wire_fields,
)

pytestmark = needs_schemas
by_revision = pytest.mark.parametrize("revision", REVISIONS, ids=lambda row: str(row.name))


class Use(NamedTuple):
    """One way in which a revision uses a method."""

    method: str
    kind: MethodKind
    sender: str  # "client", "server" or "embedded"


UNIONS = {
    "ClientRequest": (MethodKind.REQUEST, "client"),
    "ClientNotification": (MethodKind.NOTIFICATION, "client"),
    "ServerRequest": (MethodKind.REQUEST, "server"),
    "ServerNotification": (MethodKind.NOTIFICATION, "server"),
    "InputRequest": (MethodKind.REQUEST, "embedded"),
}


def messages(revision: Revision) -> dict[str, Schema]:
    """Definition name to schema of every request and notification."""
    return {
        name: schema
        for name, schema in definitions(revision).items()
        if is_message(schema) and name not in UNIONS
    }


def method_of(schema: Schema) -> str:
    return str(schema["properties"]["method"]["const"])


def uses(revision: Revision) -> dict[Use, str]:
    """Every use of a method in the schema of ``revision``, and the definition it is of."""
    found = {}
    for union, (kind, sender) in UNIONS.items():
        # A union of one notification is written out in place of its name.
        schema = definitions(revision).get(union, {})
        names = alternatives(revision, union) if "anyOf" in schema else []
        if is_message(schema):
            names = [
                name
                for name, message in messages(revision).items()
                if method_of(message) == method_of(schema)
            ]
        for name in names:
            found[Use(method_of(messages(revision)[name]), kind, sender)] = name
    return found


def row_of(use: Use, revision: Revision) -> Any:
    if use.sender == "embedded":
        return lookup_embedded(use.method, revision)
    return lookup(use.method, use.sender, revision)


@by_revision
def test_the_unions_name_every_message(revision: Revision) -> None:
    assert set(uses(revision).values()) == messages(revision).keys()


@by_revision
def test_every_method_has_a_row_and_every_row_a_method(revision: Revision) -> None:
    ours = set()
    for row in METHODS:
        for sender in ("client", "server", "embedded"):
            use = Use(row.name, row.kind, sender)
            found = row_of(use, revision)
            if found is not None and found.extension is None:
                ours.add(use)
    assert ours == uses(revision).keys()


@by_revision
def test_the_params_of_every_method(revision: Revision) -> None:
    for use, name in uses(revision).items():
        row = row_of(use, revision)
        schema = messages(revision)[name]
        params = schema["properties"].get("params")
        if params is None:
            assert row.params in (types.RequestParams, types.NotificationParams), use
            continue
        referred = reference(params)
        if referred is not None:
            assert row.params is struct_of(referred), use
        else:
            assert properties(revision, params).keys() <= wire_fields(row.params).keys(), use
        if "params" not in schema.get("required", ()):
            # What may be left out altogether must not lack anything.
            assert not any(field.required for field in wire_fields(row.params).values()), use


def result_of(revision: Revision, name: str) -> tuple[str, list[str]]:
    """The complete result of a request, and all that the schema lets it be answered with."""
    base = name.removesuffix("Request")
    response = definitions(revision).get(f"{base}ResultResponse")
    if response is not None:
        result = response["properties"]["result"]
        names = [reference(part) or "" for part in result.get("anyOf", [result])]
        (complete,) = [name for name in names if name != "InputRequiredResult"]
        return complete, names
    complete = f"{base}Result" if f"{base}Result" in definitions(revision) else "EmptyResult"
    return complete, [complete]


@by_revision
def test_the_result_of_every_request(revision: Revision) -> None:
    for use, name in uses(revision).items():
        row = row_of(use, revision)
        if use.kind is MethodKind.NOTIFICATION:
            assert row.result is None, use
            continue
        complete, names = result_of(revision, name)
        assert row.result is struct_of(complete), use
        assert row.needs_input == ("InputRequiredResult" in names), use
        result = flatten(revision, definitions(revision)[complete])
        assert row.cacheable == ("ttlMs" in result["properties"]), use


@by_revision
def test_requests_that_may_run_as_tasks(revision: Revision) -> None:
    for use, name in uses(revision).items():
        params = messages(revision)[name]["properties"].get("params", {})
        names = [reference(params) or ""]
        augmented = any(
            "task" in properties(revision, definitions(revision)[one])
            for union in names
            for one in alternatives(revision, union)
            if one in definitions(revision)
        )
        assert (row_of(use, revision).task_capability is not None) == augmented, use


@by_revision
def test_flags_that_the_schema_shows(revision: Revision) -> None:
    known = definitions(revision)
    result = properties(revision, known["CallToolResult"])
    meta = properties(revision, known.get("RequestMetaObject", {}))
    assert revision.handshake == ("InitializeRequest" in known)
    assert revision.modern == ("DiscoverRequest" in known)
    assert revision.server_requests == ("ServerRequest" in known)
    assert revision.batches == ("JSONRPCBatchRequest" in known)
    assert revision.input_rounds == ("InputRequiredResult" in known)
    assert revision.result_type == ("resultType" in result)
    assert revision.result_type == ("ResultMetaObject" in known)
    assert revision.cache_hints == ("CacheableResult" in known)
    assert revision.per_request_log_level == (types.base.META_LOG_LEVEL in meta)
    assert revision.structured_content == ("structuredContent" in result)
    assert revision.any_structured_content == (result.get("structuredContent") == {})
    assert revision.audio_content == ("AudioContent" in known)
    assert revision.resource_links == ("ResourceLink" in known)
