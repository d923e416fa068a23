"""Sampling, the server asks the client's model, and roots, the places where it may work.

Source: the sampling page and the roots page of each revision.
"""

from typing import Any, Literal

from msgspec import field

from mcpcore.spec.types.base import Meta, RequestParams, Result, Role, TaskMetadata
from mcpcore.spec.types.content import SamplingContent
from mcpcore.spec.types.model import Maybe, Model
from mcpcore.spec.types.tools import Tool


class SamplingMessage(Model, kw_only=True):
    """Message of a dialogue; ``content`` is one block, since 2025-11-25 also a list of blocks."""

    role: Role
    content: SamplingContent | list[SamplingContent]
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ModelHint(Model, kw_only=True):
    """Part of the name of a suitable model."""

    name: Maybe[str] = None


class ModelPreferences(Model, kw_only=True):
    """Criteria for choosing a model; priorities from 0 to 1."""

    hints: list[ModelHint] = field(default_factory=list)
    cost_priority: Maybe[float] = None
    speed_priority: Maybe[float] = None
    intelligence_priority: Maybe[float] = None


class ToolChoice(Model, kw_only=True):
    """Permission or duty of the model to use tools: it may, must or must not."""

    mode: Maybe[Literal["auto", "required", "none"]] = None


class CreateMessageParams(RequestParams, kw_only=True):
    """Params of ``sampling/createMessage``; ``max_tokens`` in tokens."""

    messages: list[SamplingMessage]
    max_tokens: int
    model_preferences: Maybe[ModelPreferences] = None
    system_prompt: Maybe[str] = None
    include_context: Maybe[Literal["none", "thisServer", "allServers"]] = None
    temperature: Maybe[float] = None
    stop_sequences: list[str] = field(default_factory=list)
    metadata: Maybe[dict[str, Any]] = None
    tools: Maybe[list[Tool]] = None
    tool_choice: Maybe[ToolChoice] = None
    task: Maybe[TaskMetadata] = None


class CreateMessageResult(Result, kw_only=True):
    """Result of ``sampling/createMessage``: the message of the model.

    ``stop_reason`` is open; known ones: ``endTurn``, ``stopSequence``, ``maxTokens``, ``toolUse``.
    """

    role: Role
    content: SamplingContent | list[SamplingContent]
    model: str
    stop_reason: Maybe[str] = None


class Root(Model, kw_only=True):
    """Root: a place, as a ``file://`` URI."""

    uri: str
    name: Maybe[str] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ListRootsResult(Result, kw_only=True):
    """Result of ``roots/list``: all roots."""

    roots: list[Root]
