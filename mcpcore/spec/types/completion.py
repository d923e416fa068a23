"""Completion of the arguments of prompts and templates.

Source: the completion page of each revision.
"""

from mcpcore.spec.types.base import RequestParams, Result
from mcpcore.spec.types.model import Maybe, Model


class PromptReference(Model, kw_only=True, tag_field="type", tag="ref/prompt"):
    """A prompt, by name."""

    name: str
    title: Maybe[str] = None


class ResourceTemplateReference(Model, kw_only=True, tag_field="type", tag="ref/resource"):
    """A resource template, by its URI template."""

    uri: str


ResourceReference = ResourceTemplateReference
"""The name it had up to 2025-03-26."""


class CompletionArgument(Model, kw_only=True):
    """The argument that is being typed."""

    name: str
    value: str


class CompletionContext(Model, kw_only=True):
    """The arguments that are known already (since 2025-06-18)."""

    arguments: Maybe[dict[str, str]] = None


class CompleteParams(RequestParams, kw_only=True):
    """``completion/complete``."""

    ref: PromptReference | ResourceTemplateReference
    argument: CompletionArgument
    context: Maybe[CompletionContext] = None


class Completion(Model, kw_only=True):
    """At most 100 values, best first; ``total`` counts what there is."""

    values: list[str]
    total: Maybe[int] = None
    has_more: Maybe[bool] = None


class CompleteResult(Result, kw_only=True):
    """The proposals."""

    completion: Completion
