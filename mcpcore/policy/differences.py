"""Differences between two descriptions of a server: breaking, risky or additive.

A description holds the texts and schemas by which a server presents itself to a model: its
instructions, tools, prompts, resource templates, skills and resources.  For a caller, an input may
widen and an output may narrow; the other way breaks it.  A text that changes is risky, as a model
obeys it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

from mcpcore.spec import types
from mcpcore.spec.json_schema import is_object_schema, wrap_schema

PINNED = (
    *("name", "title", "description", "inputSchema", "outputSchema", "annotations", "arguments"),
    *("uriTemplate", "mimeType", "frontmatter", "resources"),
)
"""Members of a declaration that are compared; besides them ``ui`` of its ``_meta``."""
_EXACT, _FOLDED = frozenset(PINNED), frozenset(name.casefold() for name in PINNED)

Declaration = Mapping[str, Any]
"""Declaration of a tool, prompt, template or skill as JSON, with the members of :data:`PINNED`."""


class DifferenceKind(Enum):
    """Effect of a difference on who relies on the description."""

    BREAKING = "breaking"
    """Calls that were right may fail now, or do more harm than was told."""
    RISKY = "risky"
    """Text for a model, or a claim about behaviour, is another one."""
    ADDITIVE = "additive"
    """More is offered, and what was right stays right."""


_KINDS = (*DifferenceKind,)


class Difference(Struct, frozen=True):
    """Difference of two descriptions; ``place`` is a JSON pointer (RFC 6901)."""

    kind: DifferenceKind
    place: str
    text: str
    """Change in words: "added", "removed", "renamed from 'a'", or the values before and after."""


class ServerDescription(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Description of a server: declarations by name; templates, skills and resources by URI.

    Resources come and go, and are not pinned.
    """

    instructions: str | None = None
    tools: dict[str, dict[str, Any]] = {}
    prompts: dict[str, dict[str, Any]] = {}
    resource_templates: dict[str, dict[str, Any]] = {}
    skills: dict[str, dict[str, Any]] = {}
    resources: dict[str, dict[str, Any]] = {}


def describe_server(
    *,
    instructions: str | None = None,
    tools: Iterable[types.Tool] = (),
    prompts: Iterable[types.Prompt] = (),
    resource_templates: Iterable[types.ResourceTemplate] = (),
    skills: Iterable[types.Skill] = (),
    resources: Iterable[types.Resource] = (),
) -> ServerDescription:
    """Return the description of a server from what it has listed."""
    return ServerDescription(
        instructions=instructions,
        tools={each.name: pinned(each) for each in tools},
        prompts={each.name: pinned(each) for each in prompts},
        resource_templates={each.uri_template: pinned(each) for each in resource_templates},
        skills={each.uri: pinned(each) for each in skills},
        resources={each.uri: _without_times(pinned(each)) for each in resources},
    )


def _without_times(declaration: dict[str, Any]) -> dict[str, Any]:
    """Return a resource without annotations: they tell when it was modified."""
    declaration.pop("annotations", None)
    return declaration


def pinned(
    declared: types.Tool | types.Prompt | types.ResourceTemplate | types.Skill | types.Resource,
) -> dict[str, Any]:
    """Return the compared members of a declaration, as JSON."""
    return pinned_members(msgspec.to_builtins(declared))


def pinned_members(declaration: Declaration) -> dict[str, Any]:
    """Return the compared members of a declaration of any form.

    They include those whose names are in letters of another case, which some clients read too.
    """
    kept = {
        name: declaration[name] for name in PINNED if declaration.get(name) not in (None, [], "")
    }
    kept |= {name: declaration[name] for name in _misspelt(declaration)}
    if isinstance(hints := kept.get("annotations"), Mapping):
        kept["annotations"] = _known_hints(hints)
    meta = declaration.get("_meta")
    shown = meta.get("ui") if isinstance(meta, Mapping) else None
    return kept if shown is None else {**kept, "_meta": {"ui": shown}}


def _misspelt(declaration: Declaration) -> Iterator[str]:
    """Yield names of members that are the compared ones but for the case of their letters."""
    for name in declaration.keys() - _EXACT:
        if name.casefold() in _FOLDED:
            yield name


_HINTS = frozenset(
    each.encode_name
    for kind in (types.ToolAnnotations, types.Annotations)
    for each in msgspec.structs.fields(kind)
)
"""Annotations of the specification."""
_TOO_LARGE = 1 << 1023
"""Of larger integers Python may make no float."""


def _known_hints(annotations: Declaration) -> dict[str, Any]:
    """Return annotations as a client has read them, from whom the pins are."""
    kept = {name: each for name, each in annotations.items() if name in _HINTS}
    return {
        name: float(each) if type(each) is int and abs(each) < _TOO_LARGE else each
        for name, each in kept.items()
        if each not in (None, [])
    }


def canonical(value: object) -> bytes:
    """Return the one JSON text of a value: members in order of their names, without spaces."""
    return msgspec.json.encode(value, order="sorted")


_LISTS = {
    "tools": "tools",
    "prompts": "prompts",
    "resource_templates": "resourceTemplates",
    "skills": "skills",
    "resources": "resources",
}
"""Members of a description with declarations, and their names in JSON."""


def compare_servers(before: ServerDescription, after: ServerDescription) -> list[Difference]:
    """Return the differences between two descriptions of a server: the gravest first, by place.

    A new name whose declaration is otherwise that of a removed one is told as renamed.

    >>> old = ServerDescription(tools={"add": {"name": "add", "description": "Adds."}})
    >>> new = ServerDescription(tools={"add": {"name": "add", "description": "Adds two."}})
    >>> for each in compare_servers(old, new):
    ...     print(each.kind.value, each.place, each.text)
    risky /tools/add/description 'Adds.' became 'Adds two.'
    """
    found = [*_plain("/instructions", before.instructions, after.instructions)]
    for member, name in _LISTS.items():
        found += _declarations(f"/{name}", getattr(before, member), getattr(after, member))
    return sorted(found, key=lambda each: (_KINDS.index(each.kind), each.place))


def _declarations(
    place: str, before: Mapping[str, Declaration], after: Mapping[str, Declaration]
) -> Iterator[Difference]:
    gone: dict[bytes, list[str]] = {}
    for name in before.keys() - after.keys():
        gone.setdefault(body_of(before[name]), []).append(name)
    for name, declaration in after.items():
        at = f"{place}/{_escaped(name)}"
        if name in before:
            yield from compare_declarations(before[name], declaration, at)
        elif old := gone.get(body_of(declaration)):
            old.sort(reverse=True)
            yield Difference(DifferenceKind.BREAKING, at, f"renamed from {old.pop()!r}")
        else:
            yield Difference(DifferenceKind.ADDITIVE, at, "added")
    for name in chain.from_iterable(gone.values()):
        yield Difference(DifferenceKind.BREAKING, f"{place}/{_escaped(name)}", "removed")


def body_of(declaration: Declaration) -> bytes:
    """Return what two declarations have in common of which one is the other renamed."""
    names = ("name", "uriTemplate")
    return canonical({key: value for key, value in declaration.items() if key not in names})


def compare_declarations(
    before: Declaration, after: Declaration, place: str = ""
) -> Iterator[Difference]:
    """Yield the differences between two declarations of one tool, prompt, template or skill.

    A member of another form than the specification's breaks what relied on it.
    """
    for name, fits in _FORMS.items():
        old, new = before.get(name), after.get(name)
        if not (fits(old) and fits(new)):
            yield from _plain(f"{place}/{name}", old, new, DifferenceKind.BREAKING)
            before, after = {**before, name: None}, {**after, name: None}
    for name in ("name", "title", "description", "_meta", "frontmatter", "resources"):
        yield from _plain(f"{place}/{name}", before.get(name), after.get(name))
    yield from _plain(
        f"{place}/mimeType",
        before.get("mimeType"),
        after.get("mimeType"),
        DifferenceKind.BREAKING,
    )
    for name in sorted({*_misspelt(before), *_misspelt(after)}):
        yield from _plain(
            f"{place}/{name}", before.get(name), after.get(name), DifferenceKind.BREAKING
        )
    yield from _annotations(f"{place}/annotations", before, after)
    for name, widens in (("inputSchema", True), ("outputSchema", False)):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:  # a result without promise breaks who relied on one
            kind = DifferenceKind.ADDITIVE if old is None else DifferenceKind.BREAKING
            yield from _plain(f"{place}/{name}", old, new, kind)
        elif widens or not (_wraps(old, new) or _wraps(new, old)):
            yield from compare_schemas(old, new, f"{place}/{name}", widens=widens)
    old, new = (_as_schema(each.get("arguments") or ()) for each in (before, after))
    yield from compare_schemas(old, new, f"{place}/arguments", widens=True)


def _is_object(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _are_arguments(value: Any) -> bool:
    """Return True for the arguments of a prompt: objects with names."""
    if not isinstance(value, list):
        return value is None
    return all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in value)


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("annotations", "inputSchema", "outputSchema"), _is_object),
    "arguments": _are_arguments,
}
"""Members that are looked into, and the test of their form."""


def _wraps(schema: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return True if ``other`` is what revisions with objects only have for an output schema."""
    return not is_object_schema(schema) and wrap_schema(schema) == other


_HARMFUL = {
    "readOnlyHint": (False, False),
    "destructiveHint": (True, True),
    "idempotentHint": (False, False),
    "openWorldHint": (True, True),
}
"""Hints of tools: the value that warns, and the default (schema page, "ToolAnnotations")."""


def _annotations(place: str, before: Declaration, after: Declaration) -> Iterator[Difference]:
    old, new = before.get("annotations") or {}, after.get("annotations") or {}
    for name in sorted(old.keys() | new.keys()):
        harmful, default = _HARMFUL.get(name, (None, None))
        warns = name in _HARMFUL and new.get(name, default) is harmful
        kind = DifferenceKind.BREAKING if warns else DifferenceKind.RISKY
        yield from _plain(
            f"{place}/{_escaped(name)}", old.get(name, default), new.get(name, default), kind
        )


def _as_schema(arguments: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a prompt's arguments."""
    given = {each["name"]: each for each in arguments}
    return {
        "properties": {
            name: {key: each[key] for key in ("title", "description") if key in each}
            for name, each in given.items()
        },
        "required": [name for name, each in given.items() if each.get("required")],
    }


# Schemas

_TEXTS = frozenset({"title", "description", "$comment", "examples", "default", "deprecated"})
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_MAPS = frozenset({"properties", "$defs", "definitions"})
_SETS = {"type": True, "enum": True, "required": False}
"""Keywords with a set of values: True if more of them allow more."""


def compare_schemas(
    before: Mapping[str, Any], after: Mapping[str, Any], place: str, *, widens: bool
) -> Iterator[Difference]:
    """Yield the differences between two JSON Schemas.

    ``widens``: True for an input, which may come to allow more; False for an output, which may
    come to allow less.  A change whose effect is not known counts as breaking.
    """
    pending = [(before, after, place)]
    while pending:
        old, new, at = pending.pop()
        for keyword in sorted(old.keys() | new.keys()):
            one, other, here = old.get(keyword), new.get(keyword), f"{at}/{_escaped(keyword)}"
            if keyword in _MAPS and all(isinstance(each, dict | None) for each in (one, other)):
                yield from _members(one or {}, other or {}, here, new, pending)
            elif keyword == "items" and isinstance(one, dict) and isinstance(other, dict):
                pending.append((one, other, here))
            elif not (keyword in _SETS and _as_set(one) == _as_set(other)):
                yield from _plain(here, one, other, _effect(keyword, one, other, widens))


def _members(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    place: str,
    schema: Mapping[str, Any],
    pending: list[tuple[Mapping[str, Any], Mapping[str, Any], str]],
) -> Iterator[Difference]:
    """Yield members that come and go; note those that stay, to be compared."""
    for name in sorted(old.keys() | new.keys()):
        here = f"{place}/{_escaped(name)}"
        one, other = old.get(name), new.get(name)
        if name not in new:
            yield Difference(DifferenceKind.BREAKING, here, "removed")
        elif name not in old:  # one that is required is told by that keyword as well
            yield Difference(DifferenceKind.ADDITIVE, here, "added")
        elif isinstance(one, dict) and isinstance(other, dict):
            pending.append((one, other, here))
        else:
            yield from _plain(here, one, other, DifferenceKind.BREAKING)


def _effect(keyword: str, one: Any, other: Any, widens: bool) -> DifferenceKind:
    """Return the kind of a change of a keyword's value, if it is one."""
    if keyword in _TEXTS:
        return DifferenceKind.RISKY
    wider = _wider(keyword, one, other)
    return DifferenceKind.ADDITIVE if wider is widens else DifferenceKind.BREAKING


def _wider(keyword: str, one: Any, other: Any) -> bool | None:
    """Return True if a schema allows more than before, False if less, None if that is unclear."""
    if keyword in _SETS.keys() | _LOWER | _UPPER and (one is None or other is None):
        return other is None
    if keyword in _SETS:
        old, new = _as_set(one), _as_set(other)
        if not (old <= new or new <= old):
            return None
        return (old <= new) is _SETS[keyword]
    if keyword in _LOWER | _UPPER and all(isinstance(each, int | float) for each in (one, other)):
        return bool(other < one) is (keyword in _LOWER)
    return True if other is None and keyword in ("pattern", "format", "const") else None


def _as_set(value: Any) -> set[bytes]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return {canonical(each) for each in values}


# Values

_SHOWN = 200
"""Maximum characters of a value in a text."""


def _plain(
    place: str, before: Any, after: Any, kind: DifferenceKind = DifferenceKind.RISKY
) -> Iterator[Difference]:
    """Yield the difference of two values, None for one that is absent, if there is one."""
    if before is after or canonical(before) == canonical(after):
        return
    if before is None or after is None:
        text = "added" if before is None else "removed"
    else:
        text = f"{_shown(before)} became {_shown(after)}"
    yield Difference(kind, place, text)


def _shown(value: Any) -> str:
    """Return a value as one line of printable characters."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
