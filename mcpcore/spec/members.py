"""Members that each revision knows, and values reduced to the known ones.

The types are supersets of all revisions; a member that a revision lacks must not be sent in it.
Kinds of content that a revision lacks are handled in ``mcpcore.service.content``, as something
older has to replace them.  Source: ``schema.ts`` of each revision.
"""

from copy import copy
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_type_hints

from msgspec import NODEFAULT, Struct, structs

from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision, Span

V = TypeVar("V")

_TYPES = "mcpcore.spec.types."
_Members = dict[str, tuple[str, ...]]
"""Members by module and name of their type, within :mod:`mcpcore.spec.types`."""


def _since(first: str, members: _Members) -> tuple[Span, _Members]:
    return Span(BY_NAME[first], REVISIONS[-1]), members


_ROWS: tuple[tuple[Span, _Members], ...] = (
    _since(
        "2025-03-26",
        {"capabilities.ServerCapabilities": ("completions",), "tools.Tool": ("annotations",)},
    ),
    _since(
        "2025-06-18",
        {
            "base.Annotations": ("last_modified",),
            "content.AudioContent": ("meta",),
            "tools.CallToolResult": ("structured_content",),
            "prompts.CompleteParams": ("context",),
            "content.EmbeddedResource": ("meta",),
            "content.ImageContent": ("meta",),
            "base.Implementation": ("title",),
            "prompts.Prompt": ("meta", "title"),
            "prompts.PromptArgument": ("title",),
            "prompts.PromptReference": ("title",),
            "resources.Resource": ("meta", "title"),
            "content.ResourceContents": ("meta",),
            "resources.ResourceTemplate": ("meta", "title"),
            "client_features.Root": ("meta",),
            "content.TextContent": ("meta",),
            "tools.Tool": ("meta", "output_schema", "title"),
        },
    ),
    _since(
        "2025-11-25",
        {
            "client_features.CreateMessageParams": ("tool_choice", "tools"),
            "client_features.ElicitParams": ("mode", "url"),
            "base.Implementation": ("description", "icons", "website_url"),
            "prompts.Prompt": ("icons",),
            "resources.Resource": ("icons",),
            "content.ResourceLink": ("icons",),
            "resources.ResourceTemplate": ("icons",),
            "client_features.SamplingMessage": ("meta",),
            "tools.Tool": ("icons",),
        },
    ),
    (
        Span(BY_NAME["2025-11-25"], BY_NAME["2025-11-25"]),
        {
            "client_features.CreateMessageParams": ("task",),
            "client_features.ElicitParams": ("elicitation_id", "task"),
            "tools.Tool": ("execution",),
        },
    ),
)
"""Members that only some of their type's revisions have, with these revisions."""

_COMPLETE = frozenset(
    revision for revision in REVISIONS if all(revision in span for span, _ in _ROWS)
)
"""Revisions that know every member, so that values need no check."""


@lru_cache(maxsize=1024)
def unknown_members(kind: type[Any], revision: Revision) -> frozenset[str]:
    """Return the fields of ``kind`` that ``revision`` does not know.

    >>> from mcpcore.spec.types import Implementation
    >>> sorted(unknown_members(Implementation, BY_NAME["2025-06-18"]))
    ['description', 'icons', 'website_url']
    """
    owners = {
        f"{base.__module__}.{base.__name__}".removeprefix(_TYPES)
        for base in kind.__mro__
        if base.__module__.startswith(_TYPES)
    }
    return frozenset(
        name
        for span, members in _ROWS
        if revision not in span
        for owner, names in members.items()
        if owner in owners
        for name in names
    )


@lru_cache(maxsize=1024)
def _concerns(kind: type[Any], revision: Revision) -> bool:
    """Return True if ``kind`` could hold members unknown to ``revision``, at any depth."""
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


@lru_cache(maxsize=1024)
def _absent(kind: type[Struct]) -> dict[str, Any]:
    """Return the value of each member of ``kind`` when it is absent."""
    fields = structs.fields(kind)
    return {field.name: [] if field.default is NODEFAULT else field.default for field in fields}


def known_members(value: V, revision: Revision) -> V:
    """Return a Struct, or a list of them, without members unknown to ``revision``, at any depth."""
    if revision in _COMPLETE:
        return value
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
        if name not in unknown:
            kept = known_members(member, revision)
            if kept is not member:
                changes[name] = kept
        elif member != (absent := _absent(type(value))[name]):
            changes[name] = copy(absent)
    return structs.replace(value, **changes) if changes else value
