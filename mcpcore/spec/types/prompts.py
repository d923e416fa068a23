"""Prompts, templates that a user picks, and completion of arguments, theirs and of URI templates.

Source: the prompts page and the completion page of each revision.
"""

from msgspec import field

from mcpcore.spec.types import base
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
    icons: list[base.Icon] = field(default_factory=list)
    meta: Maybe[base.Meta] = field(default=None, name="_meta")


class PromptMessage(Model, kw_only=True):
    """Message of a prompt."""

    role: base.Role
    content: ContentBlock


class ListPromptsResult(base.CacheablePage, kw_only=True):
    """Result of ``prompts/list``: one page of prompts."""

    prompts: list[Prompt]


class GetPromptParams(base.InputResponseParams, kw_only=True):
    """Params of ``prompts/get``."""

    name: str
    arguments: Maybe[dict[str, str]] = None


class GetPromptResult(base.Result, kw_only=True):
    """Result of ``prompts/get``: the prompt, filled in."""

    description: Maybe[str] = None
    messages: list[PromptMessage]


class PromptReference(Model, kw_only=True, tag_field="type", tag="ref/prompt"):
    """Reference to a prompt, by name."""

    name: str
    title: Maybe[str] = None


class ResourceTemplateReference(Model, kw_only=True, tag_field="type", tag="ref/resource"):
    """Reference to a resource template, by its URI template."""

    uri: str


ResourceReference = ResourceTemplateReference
"""Name of the type up to 2025-03-26."""


class CompletionArgument(Model, kw_only=True):
    """Argument that is being typed."""

    name: str
    value: str


class CompletionContext(Model, kw_only=True):
    """Arguments that are known already (since 2025-06-18)."""

    arguments: Maybe[dict[str, str]] = None


class CompleteParams(base.RequestParams, kw_only=True):
    """Params of ``completion/complete``."""

    ref: PromptReference | ResourceTemplateReference
    argument: CompletionArgument
    context: Maybe[CompletionContext] = None


class Completion(Model, kw_only=True):
    """Proposed values, at most 100, best first; ``total`` counts all that exist."""

    values: list[str]
    total: Maybe[int] = None
    has_more: Maybe[bool] = None


class CompleteResult(base.Result, kw_only=True):
    """Result of ``completion/complete``: the proposals."""

    completion: Completion
