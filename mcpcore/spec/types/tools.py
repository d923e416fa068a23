"""Tools: what a model may call.  Source: the tools page of each revision."""

from typing import Any, Literal

from msgspec import UNSET, Raw, UnsetType, field

from mcpcore.spec.types.base import (
    CacheablePage,
    Icon,
    InputResponseParams,
    Meta,
    Result,
    TaskMetadata,
)
from mcpcore.spec.types.content import ContentBlock
from mcpcore.spec.types.model import Model


class ToolAnnotations(Model, kw_only=True):
    """Hints on what a tool does; not to be trusted from an untrusted server."""

    title: str | UnsetType = UNSET
    read_only_hint: bool | UnsetType = UNSET
    destructive_hint: bool | UnsetType = UNSET
    idempotent_hint: bool | UnsetType = UNSET
    open_world_hint: bool | UnsetType = UNSET


class ToolExecution(Model, kw_only=True):
    """Whether a call may, must or must not run as a task (2025-11-25)."""

    task_support: Literal["forbidden", "optional", "required"] | UnsetType = UNSET


class Tool(Model, kw_only=True):
    """A tool's declaration.  The schemas keep every keyword, in order."""

    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | UnsetType = UNSET
    annotations: ToolAnnotations | UnsetType = UNSET
    execution: ToolExecution | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(default=UNSET, name="_meta")


class ListToolsResult(CacheablePage, kw_only=True):
    """``tools/list``: one page of tools."""

    tools: list[Tool]


class CallToolParams(InputResponseParams, kw_only=True):
    """``tools/call``; ``arguments`` is decoded by whoever knows the tool."""

    name: str
    arguments: Raw | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET


class CallToolResult(Result, kw_only=True):
    """What the tool said; ``structured_content`` is an object, since 2026-07-28 any JSON value."""

    content: list[ContentBlock]
    structured_content: Any = UNSET
    is_error: bool | UnsetType = UNSET
