"""Which members each revision knows, and values cut to what a revision knows.

The types are supersets of all revisions; what a revision lacks must not be sent in it.  Kinds of
content that a revision lacks are another matter, as something older has to stand in for them:
``mcpcore.service.content``.  Source: ``schema.ts`` of each revision.
"""

from functools import lru_cache
from typing import Any, TypeVar, get_args, get_type_hints

from msgspec import UNSET, Struct, structs

from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision, Span
from mcpcore.spec.types.base import Annotations, Implementation
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.completion import CompleteParams, PromptReference
from mcpcore.spec.types.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceContents,
    ResourceLink,
    TextContent,
)
from mcpcore.spec.types.elicitation import ElicitParams
from mcpcore.spec.types.prompts import Prompt, PromptArgument
from mcpcore.spec.types.resources import Resource, ResourceTemplate
from mcpcore.spec.types.roots import Root
from mcpcore.spec.types.sampling import CreateMessageParams, SamplingMessage
from mcpcore.spec.types.tools import CallToolResult, Tool

V = TypeVar("V")

_Members = dict[type[Struct], tuple[str, ...]]


def _since(first: str, members: _Members) -> tuple[Span, _Members]:
    return Span(BY_NAME[first], REVISIONS[-1]), members


def _only(name: str, members: _Members) -> tuple[Span, _Members]:
    return Span(BY_NAME[name], BY_NAME[name]), members


_ROWS: tuple[tuple[Span, _Members], ...] = (
    _since("2025-03-26", {ServerCapabilities: ("completions",), Tool: ("annotations",)}),
    _since(
        "2025-06-18",
        {
            Annotations: ("last_modified",),
            AudioContent: ("meta",),
            CallToolResult: ("structured_content",),
            CompleteParams: ("context",),
            EmbeddedResource: ("meta",),
            ImageContent: ("meta",),
            Implementation: ("title",),
            Prompt: ("meta", "title"),
            PromptArgument: ("title",),
            PromptReference: ("title",),
            Resource: ("meta", "title"),
            ResourceContents: ("meta",),
            ResourceTemplate: ("meta", "title"),
            Root: ("meta",),
            TextContent: ("meta",),
            Tool: ("meta", "output_schema", "title"),
        },
    ),
    _since(
        "2025-11-25",
        {
            CreateMessageParams: ("tool_choice", "tools"),
            ElicitParams: ("mode", "url"),
            Implementation: ("description", "icons", "website_url"),
            Prompt: ("icons",),
            Resource: ("icons",),
            ResourceLink: ("icons",),
            ResourceTemplate: ("icons",),
            SamplingMessage: ("meta",),
            Tool: ("icons",),
        },
    ),
    _only(
        "2025-11-25",
        {
            CreateMessageParams: ("task",),
            ElicitParams: ("elicitation_id", "task"),
            Tool: ("execution",),
        },
    ),
)
"""Members that not all revisions have in which their type exists, and the revisions that do."""


@lru_cache(maxsize=1024)
def unknown_members(kind: type[Any], revision: Revision) -> frozenset[str]:
    """The fields of ``kind`` that ``revision`` does not know.

    >>> sorted(unknown_members(Implementation, BY_NAME["2025-06-18"]))
    ['description', 'icons', 'website_url']
    """
    return frozenset(
        name
        for span, members in _ROWS
        if revision not in span
        for owner, names in members.items()
        if issubclass(kind, owner)
        for name in names
    )


@lru_cache(maxsize=1024)
def _concerns(kind: type[Any], revision: Revision) -> bool:
    """Whether a value of ``kind`` could hold what ``revision`` does not know, at any depth."""
    seen: set[Any] = set()
    pending: list[Any] = [kind]
    while pending:
        hint = pending.pop()
        if hint in seen:
            continue
        seen.add(hint)
        if isinstance(hint, type) and issubclass(hint, Struct):
            if unknown_members(hint, revision):
                return True
            pending.extend(get_type_hints(hint).values())
        else:
            pending.extend(get_args(hint))
    return False


def known_members(value: V, revision: Revision) -> V:
    """Return ``value`` without the members that ``revision`` does not know, at any depth.

    ``value`` is a Struct of the protocol or a list of them; it is returned as it is where nothing
    has to go, and never changed.
    """
    if isinstance(value, list):
        cut = [known_members(item, revision) for item in value]
        same = all(new is old for new, old in zip(cut, value, strict=True))
        return value if same else cut  # type: ignore[return-value]
    if not isinstance(value, Struct) or not _concerns(type(value), revision):
        return value
    unknown = unknown_members(type(value), revision)
    changes: dict[str, Any] = {}
    for name in value.__struct_fields__:
        member = getattr(value, name)
        if member is UNSET:
            continue
        kept = UNSET if name in unknown else known_members(member, revision)
        if kept is not member:
            changes[name] = kept
    return structs.replace(value, **changes) if changes else value
