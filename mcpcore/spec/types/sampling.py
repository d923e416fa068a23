"""Sampling: the server asks the client's model.  Source: the sampling page of each revision."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType, field

from mcpcore.spec.types.base import Meta, RequestParams, Result, Role, TaskMetadata
from mcpcore.spec.types.content import SamplingContent
from mcpcore.spec.types.model import Model
from mcpcore.spec.types.tools import Tool


class SamplingMessage(Model, kw_only=True):
    """One message; ``content`` is one block, since 2025-11-25 also a list of them."""

    role: Role
    content: SamplingContent | list[SamplingContent]
    meta: Meta | UnsetType = field(default=UNSET, name="_meta")


class ModelHint(Model, kw_only=True):
    """Part of the name of a model that would suit."""

    name: str | UnsetType = UNSET


class ModelPreferences(Model, kw_only=True):
    """What matters in choosing a model; priorities from 0 to 1."""

    hints: list[ModelHint] | UnsetType = UNSET
    cost_priority: float | UnsetType = UNSET
    speed_priority: float | UnsetType = UNSET
    intelligence_priority: float | UnsetType = UNSET


class ToolChoice(Model, kw_only=True):
    """Whether the model may, must or must not use the tools."""

    mode: Literal["auto", "required", "none"] | UnsetType = UNSET


class CreateMessageParams(RequestParams, kw_only=True):
    """``sampling/createMessage``; ``max_tokens`` in tokens."""

    messages: list[SamplingMessage]
    max_tokens: int
    model_preferences: ModelPreferences | UnsetType = UNSET
    system_prompt: str | UnsetType = UNSET
    include_context: Literal["none", "thisServer", "allServers"] | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET


class CreateMessageResult(Result, kw_only=True):
    """What the model said.

    ``stop_reason`` is open; known ones: ``endTurn``, ``stopSequence``, ``maxTokens``, ``toolUse``.
    """

    role: Role
    content: SamplingContent | list[SamplingContent]
    model: str
    stop_reason: str | UnsetType = UNSET
