"""Prompts: templates a user picks.  Source: the prompts page of each revision."""

from msgspec import UNSET, UnsetType, field

from mcpcore.spec.types.base import (
    CacheablePage,
    Icon,
    InputResponseParams,
    Meta,
    Result,
    Role,
)
from mcpcore.spec.types.content import ContentBlock
from mcpcore.spec.types.model import Model


class PromptArgument(Model, kw_only=True):
    """An argument of a prompt; its value is a string."""

    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    required: bool | UnsetType = UNSET


class Prompt(Model, kw_only=True):
    """A prompt's declaration."""

    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    arguments: list[PromptArgument] | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(default=UNSET, name="_meta")


class PromptMessage(Model, kw_only=True):
    """One message of a prompt."""

    role: Role
    content: ContentBlock


class ListPromptsResult(CacheablePage, kw_only=True):
    """``prompts/list``: one page of prompts."""

    prompts: list[Prompt]


class GetPromptParams(InputResponseParams, kw_only=True):
    """``prompts/get``."""

    name: str
    arguments: dict[str, str] | UnsetType = UNSET


class GetPromptResult(Result, kw_only=True):
    """The prompt, filled in."""

    description: str | UnsetType = UNSET
    messages: list[PromptMessage]
