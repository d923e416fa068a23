"""The tables against the package ``mcp-types``, which knows the protocol as two wire eras."""

from types import ModuleType
from typing import Any

import mcp_types._v2025_11_25 as legacy_models
import mcp_types._v2026_07_28 as modern_models
import pytest
from mcp_types import jsonrpc, methods, version
from pydantic import BaseModel

from mcpcore.spec import errors
from mcpcore.spec.methods import METHODS, Method, MethodKind, lookup
from mcpcore.spec.revisions import BY_NAME, LATEST, LATEST_LEGACY, LEGACY, MODERN
from tests.spec.oracle import WITHOUT_STRUCT, struct_of, wire_fields

TABLES: list[tuple[Any, str, MethodKind]] = [
    (methods.CLIENT_REQUESTS, "client", MethodKind.REQUEST),
    (methods.CLIENT_NOTIFICATIONS, "client", MethodKind.NOTIFICATION),
    (methods.SERVER_REQUESTS, "server", MethodKind.REQUEST),
    (methods.SERVER_NOTIFICATIONS, "server", MethodKind.NOTIFICATION),
]


def is_extension(row: Method) -> bool:
    """The package leaves extensions, and the tasks of 2025-11-25, out on purpose."""
    ways = ("tasks/", "notifications/tasks", "skills/", "resources/directory/")
    return row.name.startswith(ways)


def test_revisions() -> None:
    assert tuple(BY_NAME) == version.KNOWN_PROTOCOL_VERSIONS
    assert tuple(row.name for row in LEGACY) == version.HANDSHAKE_PROTOCOL_VERSIONS
    assert tuple(row.name for row in MODERN) == version.MODERN_PROTOCOL_VERSIONS
    assert LATEST.name == version.LATEST_MODERN_VERSION
    assert LATEST_LEGACY.name == version.LATEST_HANDSHAKE_VERSION


@pytest.mark.parametrize(("table", "sender", "kind"), TABLES)
def test_methods_on_the_wire(table: Any, sender: str, kind: MethodKind) -> None:
    ours = {
        (row.name, name)
        for row in METHODS
        for name, revision in BY_NAME.items()
        if row.kind is kind
        and not is_extension(row)
        and lookup(row.name, sender, revision) is not None
    }
    assert ours == set(table)


def test_cacheable_and_input_required_methods() -> None:
    rows = [row for row in METHODS if not is_extension(row)]
    assert {row.name for row in rows if row.cacheable} == methods.CACHEABLE_METHODS
    assert {row.name for row in rows if row.needs_input} == methods.INPUT_REQUIRED_METHODS


@pytest.mark.parametrize(
    "name",
    [
        "HEADER_MISMATCH",
        "INTERNAL_ERROR",
        "INVALID_PARAMS",
        "INVALID_REQUEST",
        "METHOD_NOT_FOUND",
        "PARSE_ERROR",
        "UNSUPPORTED_PROTOCOL_VERSION",
        "URL_ELICITATION_REQUIRED",
    ],
)
def test_error_codes(name: str) -> None:
    assert getattr(errors, name) == getattr(jsonrpc, name)


def test_the_error_code_with_another_name() -> None:
    assert errors.MISSING_CLIENT_CAPABILITY == jsonrpc.MISSING_REQUIRED_CLIENT_CAPABILITY


def models(module: ModuleType) -> dict[str, type[BaseModel]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel
    }


NAMED_DIFFERENTLY = {
    "Argument": "CompletionArgument",
    "Context": "CompletionContext",
    "Elicitation": "ElicitationCapability",
    "Prompts": "PromptsCapability",
    "Resources": "ResourcesCapability",
    "Roots": "RootsCapability",
    "Sampling": "SamplingCapability",
}
"""Inline objects: the package's generated name and ours."""


@pytest.mark.parametrize("module", [legacy_models, modern_models], ids=["legacy", "modern"])
def test_every_model_with_a_struct_has_its_fields(module: ModuleType) -> None:
    compared = 0
    wrong = []
    for name, model in models(module).items():
        if name in WITHOUT_STRUCT:
            continue
        struct = struct_of(NAMED_DIFFERENTLY.get(name, name))
        if struct is None:
            continue
        compared += 1
        tag = struct.__struct_config__.tag_field
        fields = wire_fields(struct)
        for field_name, field in model.model_fields.items():
            wire = field.alias or field_name
            if wire != tag and wire not in fields:
                wrong.append(f"{name}.{wire}")
            elif wire in fields and fields[wire].required and not field.is_required():
                wrong.append(f"{name}.{wire} is optional there")
    assert wrong == []
    assert compared > 60
