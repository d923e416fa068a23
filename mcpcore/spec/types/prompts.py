"""Prompts: templates that a user picks.  Source: the prompts page of each revision."""

from msgspec import field

from mcpcore.spec.types.base import CacheablePage, Icon, InputResponseParams, Meta, Result, Role
from mcpcore.spec.types.content import ContentBlock
from mcpcore.spec.types.model import Maybe, Model


class PromptArgument(Model, kw_only=True):
    """Argument of a prompt; its value is a string."""

    name: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    required: bool = False


class Prompt(Model, kw_only=True):
    """Declaration of a prompt."""

    name: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    arguments: list[PromptArgument] = field(default_factory=list)
    icons: list[Icon] = field(default_factory=list)
    meta: Maybe[Meta] = field(default=None, name="_meta")


class PromptMessage(Model, kw_only=True):
    """Message of a prompt."""

    role: Role
    content: ContentBlock


class ListPromptsResult(CacheablePage, kw_only=True):
    """Result of ``prompts/list``: one page of prompts."""

    prompts: list[Prompt]


class GetPromptParams(InputResponseParams, kw_only=True):
    """Params of ``prompts/get``."""

    name: str
    arguments: Maybe[dict[str, str]] = None


class GetPromptResult(Result, kw_only=True):
    """Result of ``prompts/get``: the prompt, filled in."""

    description: Maybe[str] = None
    messages: list[PromptMessage]
