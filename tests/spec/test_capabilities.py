"""Capabilities as dotted paths."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from msgspec import Raw

from mcpcore.spec import types
from mcpcore.spec.capabilities import (
    SKILLS_EXTENSION,
    TASKS_EXTENSION,
    declares,
    in_revision,
    input_capability,
    requirement,
)
from mcpcore.spec.decoding import decode
from mcpcore.spec.methods import METHODS
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from tests.spec.oracle import definitions, needs_schemas, properties

TASKS = f"extensions.{TASKS_EXTENSION}"
SKILLS = f"extensions.{SKILLS_EXTENSION}"


def client(**members: Any) -> types.ClientCapabilities:
    return decode(msgspec.json.encode(members), types.ClientCapabilities)


def server(**members: Any) -> types.ServerCapabilities:
    return decode(msgspec.json.encode(members), types.ServerCapabilities)


@pytest.mark.parametrize(
    ("capabilities", "path", "expected"),
    [
        (client(), "roots", False),
        (client(roots={}), "roots", True),
        (client(roots={}), "roots.listChanged", False),
        (client(roots={"listChanged": False}), "roots.listChanged", False),
        (client(roots={"listChanged": True}), "roots.listChanged", True),
        (client(sampling={}), "sampling", True),
        (client(sampling={}), "sampling.tools", False),
        (client(sampling={"tools": {}}), "sampling.tools", True),
        (client(sampling={"context": {}}), "sampling.context", True),
        # An empty object means forms, and nothing else.
        (client(elicitation={}), "elicitation", True),
        (client(elicitation={}), "elicitation.form", True),
        (client(elicitation={}), "elicitation.url", False),
        (client(elicitation={"form": {}}), "elicitation.form", True),
        (client(elicitation={"form": {}}), "elicitation.url", False),
        (client(elicitation={"url": {}}), "elicitation.form", False),
        (client(elicitation={"url": {}}), "elicitation.url", True),
        (client(elicitation={"form": {}, "url": {}}), "elicitation.form", True),
        (client(), "elicitation.form", False),
        (client(extensions={TASKS_EXTENSION: {}}), TASKS, True),
        (client(extensions={"com.example/other": {}}), TASKS, False),
        (client(extensions={}), "extensions", True),
        (client(experimental={"a.b": {}}), "experimental.a.b", True),
        (client(experimental={"a": {"b": {}}}), "experimental.a.b", False),
        (
            client(tasks={"requests": {"sampling": {"createMessage": {}}}}),
            "tasks.requests.sampling.createMessage",
            True,
        ),
        (client(tasks={"requests": {}}), "tasks.requests.elicitation.create", False),
        (server(tools={}), "tools", True),
        (server(tools={"listChanged": True}), "tools.listChanged", True),
        (server(resources={"subscribe": True}), "resources.subscribe", True),
        (server(resources={"listChanged": True}), "resources.subscribe", False),
        (server(logging={}), "logging", True),
        (server(completions={}), "completions", True),
        (server(tasks={"list": {}, "cancel": {}}), "tasks.cancel", True),
        (server(tasks={"requests": {"tools": {"call": {}}}}), "tasks.requests.tools.call", True),
        (server(), "no.such", False),
        (server(tools={}), "tools.listChanged.deeper", False),
    ],
)
def test_declares(
    capabilities: types.ClientCapabilities | types.ServerCapabilities, path: str, expected: bool
) -> None:
    assert declares(capabilities, path) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sampling", {"sampling": {}}),
        ("sampling.tools", {"sampling": {"tools": {}}}),
        ("elicitation.url", {"elicitation": {"url": {}}}),
        ("roots.listChanged", {"roots": {"listChanged": True}}),
        ("resources.subscribe", {"resources": {"subscribe": True}}),
        (TASKS, {"extensions": {TASKS_EXTENSION: {}}}),
    ],
)
def test_requirement(path: str, expected: dict[str, Any]) -> None:
    assert requirement(path) == expected


def paths(struct: type[msgspec.Struct], prefix: str = "") -> list[str]:
    """Every path that leads through the fields of ``struct``."""
    found = []
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        path = prefix + field.encode_name
        found.append(path)
        if isinstance(field.type, msgspec.inspect.StructType):
            found += paths(field.type.cls, f"{path}.")
    return found


CLIENT_PATHS = [*paths(types.ClientCapabilities), TASKS, "experimental.x.y"]
SERVER_PATHS = [
    *paths(types.ServerCapabilities),
    *(TASKS, SKILLS, f"{SKILLS}/directoryRead", "experimental.x.y"),
]


@given(st.sampled_from(CLIENT_PATHS))
def test_what_a_client_is_asked_for_is_what_it_would_have_to_declare(path: str) -> None:
    assert not declares(types.ClientCapabilities(), path)
    assert declares(client(**requirement(path)), path)


@given(st.sampled_from(SERVER_PATHS))
def test_what_a_server_is_asked_for_is_what_it_would_have_to_declare(path: str) -> None:
    assert not declares(types.ServerCapabilities(), path)
    assert declares(server(**requirement(path)), path)


def test_every_capability_of_a_method_is_a_path() -> None:
    known = {*CLIENT_PATHS, *SERVER_PATHS}
    for row in METHODS:
        for path in (row.capability, row.peer_capability, row.task_capability):
            assert path is None or path in known, row.name


TOOL = {"name": "t", "inputSchema": {"type": "object"}}


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("roots/list", {}, "roots"),
        ("roots/list", None, "roots"),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}, "sampling"),
        ("sampling/createMessage", {"tools": [TOOL]}, "sampling.tools"),
        ("sampling/createMessage", {"tools": []}, "sampling.tools"),
        ("sampling/createMessage", {"toolChoice": {"mode": "none"}}, "sampling.tools"),
        ("elicitation/create", {"message": "?", "requestedSchema": {}}, "elicitation.form"),
        ("elicitation/create", {"mode": "form"}, "elicitation.form"),
        ("elicitation/create", {"mode": "url"}, "elicitation.url"),
        ("elicitation/create", {"mode": 5}, "elicitation.form"),
        ("tools/call", {"mode": "url", "tools": []}, None),
    ],
)
def test_what_a_request_to_a_client_needs(
    method: str, params: dict[str, Any] | None, expected: str | None
) -> None:
    assert input_capability(method, params) == expected
    assert input_capability(method, Raw(msgspec.json.encode(params or {}))) == expected


def test_what_a_typed_request_to_a_client_needs() -> None:
    choice = types.ToolChoice(mode="none")
    sampling = types.CreateMessageParams(messages=[], max_tokens=1, tool_choice=choice)
    assert input_capability("sampling/createMessage", sampling) == "sampling.tools"
    url = types.ElicitUrlParams(message="?", mode="url", url="https://example.com")
    assert input_capability("elicitation/create", url) == "elicitation.url"
    form = types.ElicitFormParams(message="?", requested_schema={})
    assert input_capability("elicitation/create", form) == "elicitation.form"


def test_raw_params_that_are_no_object() -> None:
    with pytest.raises(msgspec.DecodeError):
        input_capability("elicitation/create", Raw(b"[1]"))


EVERY_INPUT = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}, "context": {}},
    "elicitation": {"form": {}, "url": {}},
}


@pytest.mark.parametrize(
    ("declared", "revision", "expected"),
    [
        (EVERY_INPUT, "2026-07-28", EVERY_INPUT),
        (EVERY_INPUT, "2025-11-25", EVERY_INPUT),
        (EVERY_INPUT, "2025-06-18", {**EVERY_INPUT, "sampling": {}, "elicitation": {}}),
        (EVERY_INPUT, "2025-03-26", {"roots": {"listChanged": True}, "sampling": {}}),
        ({"elicitation": {"url": {}}}, "2025-06-18", {}),
        ({"elicitation": {}}, "2025-06-18", {"elicitation": {}}),
        ({}, "2024-11-05", {}),
    ],
)
def test_what_a_client_can_do_in_a_revision(
    declared: dict[str, Any], revision: str, expected: dict[str, Any]
) -> None:
    found = in_revision(client(**declared), BY_NAME[revision])
    assert msgspec.to_builtins(found) == expected


EVERYTHING = {
    "experimental": {"com.example/y": {}},
    "logging": {},
    "completions": {},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "tools": {"listChanged": True},
    "tasks": {"list": {}},
    "extensions": {TASKS_EXTENSION: {}, SKILLS_EXTENSION: {}, "com.example/x": {}},
}


@needs_schemas
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
@pytest.mark.parametrize("kind", [ServerCapabilities, ClientCapabilities])
def test_what_is_declared_is_what_the_schema_knows(kind: Any, revision: Revision) -> None:
    declared = {**EVERY_INPUT, **EVERYTHING}
    found = in_revision(msgspec.convert(declared, kind), revision)
    known = properties(revision, definitions(revision)[kind.__name__]).keys()
    assert msgspec.to_builtins(found).keys() - {"extensions"} == (
        known & declared.keys() - {"extensions"}
    )
    # No set of capabilities is closed; but two extensions are specified from 2026-07-28 on.
    kept = msgspec.to_builtins(found)["extensions"].keys()
    modern = {TASKS_EXTENSION, SKILLS_EXTENSION} if revision.modern else set()
    assert kept == {"com.example/x", *modern}
