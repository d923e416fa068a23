"""Completion of the arguments of prompts and templates.

Source: the completion page of each revision.
"""

from mcpcore.spec.types.base import RequestParams, Result
from mcpcore.spec.types.model import Maybe, Model


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


class CompleteParams(RequestParams, kw_only=True):
    """Params of ``completion/complete``."""

    ref: PromptReference | ResourceTemplateReference
    argument: CompletionArgument
    context: Maybe[CompletionContext] = None


class Completion(Model, kw_only=True):
    """Proposed values, at most 100, best first; ``total`` counts all that exist."""

    values: list[str]
    total: Maybe[int] = None
    has_more: Maybe[bool] = None


class CompleteResult(Result, kw_only=True):
    """Result of ``completion/complete``: the proposals."""

    completion: Completion
