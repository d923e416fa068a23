"""Tools: functions that a model may call.  Source: the tools page of each revision."""

from typing import Any, Literal, Self

from msgspec import Raw, field

from mcpcore.spec.errors import ToolFailed
from mcpcore.spec.types import base
from mcpcore.spec.types.content import ContentBlock, TextContent
from mcpcore.spec.types.model import Maybe, Model, as_sent


class ToolAnnotations(Model, kw_only=True):
    """Hints on the behaviour of a tool; not to be trusted from an untrusted server."""

    title: Maybe[str] = None
    read_only_hint: Maybe[bool] = None
    destructive_hint: Maybe[bool] = None
    idempotent_hint: Maybe[bool] = None
    open_world_hint: Maybe[bool] = None


class ToolExecution(Model, kw_only=True):
    """Support for tasks: a call may, must or must not run as one (2025-11-25)."""

    task_support: Maybe[Literal["forbidden", "optional", "required"]] = None


class Tool(Model, kw_only=True):
    """Declaration of a tool.  The schemas keep every keyword, in order."""

    name: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    input_schema: dict[str, Any]
    output_schema: Maybe[dict[str, Any]] = None
    annotations: Maybe[ToolAnnotations] = None
    execution: Maybe[ToolExecution] = None
    icons: list[base.Icon] = field(default_factory=list)
    meta: Maybe[base.Meta] = field(default=None, name="_meta")


class ListToolsResult(base.CacheablePage, kw_only=True):
    """Result of ``tools/list``: one page of tools."""

    tools: list[Tool]


class CallToolParams(base.InputResponseParams, kw_only=True):
    """Params of ``tools/call``; ``arguments`` stay raw until the tool is known."""

    name: str
    arguments: Maybe[Raw] = None
    task: Maybe[base.TaskMetadata] = None


class CallToolResult(base.Result, kw_only=True):
    """Result of a tool; ``structured_content`` is an object, since 2026-07-28 any JSON value.

    A null that was received reads None as absence does, and is still one when it is sent on;
    :attr:`is_structured` tells them apart.  To send one, use ``Raw(b"null")``.
    """

    content: list[ContentBlock]
    structured_content: Any = None
    is_error: bool = False

    @property
    def text(self) -> str:
        """Text blocks of the content, one below the other; other blocks are left out."""
        return "\n".join(block.text for block in self.content if isinstance(block, TextContent))

    @property
    def is_structured(self) -> bool:
        """True if there is structured content; null counts as content."""
        return self.structured_content is not None or bool(self.__null__)

    def raise_for_error(self) -> Self:
        """Return this result, or raise :class:`ToolFailed` if it reports an error."""
        if self.is_error:
            raise ToolFailed(self)
        return self


as_sent(CallToolResult, "structured_content")
