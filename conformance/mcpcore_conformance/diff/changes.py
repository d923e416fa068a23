"""Changes between two offers, by what they may do to clients and models.

A client sends what an input schema allows: it breaks if less is allowed, or more is required.  It
reads what an output schema promises: it breaks if less is promised.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["LEVELS", "Change", "changes"]

BREAKING, RISKY, ADDITIVE = LEVELS = ("breaking", "risky", "additive")
"""From the gravest: a client may fail; models read something else; there is more than before."""
_KEYS = {
    "tools": "name",
    "prompts": "name",
    "resources": "uri",
    "resourceTemplates": "uriTemplate",
}
"""Members that tell the items of a list apart."""
_IGNORED = frozenset(("size", "lastModified"))
"""Members that change with the content of a resource."""
_TEXTS = frozenset(("description", "title", "default", "examples", "$comment", "deprecated"))
"""Keywords of a schema that models read, and nothing checks."""
_DEEPEST = 50
"""Levels of a schema, beyond which it is compared as a whole."""
_SHOWN = 80


class Change(Struct, frozen=True):
    """One difference."""

    level: str
    place: str
    """Path, such as ``tools/add.inputSchema.a``."""
    detail: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the changes from one offer to another, the gravest first.

    Lists that one of them does not have are not compared.  Raises ValueError if none is left.
    """
    members = [member for member in _KEYS if member in before and member in after]
    if not members:
        raise ValueError("they have no list in common")
    found = [
        change
        for member in members
        for change in _lists(member, _by_key(member, before), _by_key(member, after))
    ]
    if "instructions" in before and "instructions" in after:
        found += _texts("instructions", before["instructions"], after["instructions"])
    return sorted(found, key=lambda each: LEVELS.index(each.level))


def _by_key(member: str, offer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(each.get(_KEYS[member])): each for each in offer[member]}


def _lists(
    member: str, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> Iterator[Change]:
    new: dict[bytes, list[str]] = {}
    for name, item in after.items():
        if name not in before:
            new.setdefault(_body(member, item), []).append(name)
    for name, item in before.items():
        place = f"{member}/{name}"
        if name in after:
            yield from _items(place, item, after[name])
        elif same := new.get(_body(member, item)):
            yield Change(BREAKING, place, f"renamed to {_shown(same.pop())}")
        else:
            yield Change(BREAKING, place, "removed")
    for names in new.values():
        for name in names:
            yield Change(ADDITIVE, f"{member}/{name}", "added")


def _body(member: str, item: Mapping[str, Any]) -> bytes:
    """Return all of an item but what it is called."""
    rest = {name: value for name, value in item.items() if name != _KEYS[member]}
    return msgspec.json.encode(rest, order="sorted")


def _items(place: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*before, *after} - _IGNORED):
        one, other = before.get(name), after.get(name)
        if one != other:
            yield from _MEMBERS.get(name, _texts)(f"{place}.{name}", one, other)


def _texts(place: str, before: Any, after: Any) -> Iterator[Change]:
    """Compare what models read, or what no client has to know."""
    if before != after:
        yield Change(RISKY, place, _turned(before, after))


def _mime(place: str, before: Any, after: Any) -> Iterator[Change]:
    yield Change(BREAKING, place, _turned(before, after))


def _arguments(place: str, before: Any, after: Any) -> Iterator[Change]:
    """Compare the arguments of a prompt, as the schema that they amount to."""
    yield from _Schemas(sent=True).compare(place, _as_schema(before), _as_schema(after))


def _as_schema(arguments: Any) -> dict[str, Any]:
    listed: Sequence[Any] = arguments if isinstance(arguments, list) else ()
    known = {str(each.get("name")): each for each in listed if isinstance(each, dict)}
    texts = {
        name: {key: it for key, it in each.items() if key in _TEXTS} for name, each in known.items()
    }
    required = [name for name, each in known.items() if each.get("required")]
    return {"type": "object", "properties": texts, "required": required}


class _Schemas(Struct, frozen=True):
    """Comparison of JSON Schemas: of what a client sends, or of what it reads."""

    sent: bool

    def compare(self, place: str, before: Any, after: Any, depth: int = 0) -> Iterator[Change]:
        """Compare two schemas, as far as their keywords are known."""
        if before == after:
            return
        known = isinstance(before, dict) and isinstance(after, dict) and depth < _DEEPEST
        if not known:
            more = (after if self.sent else before) is None
            yield Change(ADDITIVE if more else BREAKING, place, _turned(before, after))
            return
        for name in sorted({*before, *after} - {"properties", "required"}):
            one, other = before.get(name), after.get(name)
            if one != other:
                yield from self._keyword(f"{place}.{name}", name, one, other, depth)
        yield from self._properties(place, before, after, depth)

    def _keyword(
        self, place: str, name: str, before: Any, after: Any, depth: int
    ) -> Iterator[Change]:
        if name in _TEXTS:
            yield Change(RISKY, place, _turned(before, after))
        elif name in ("type", "enum"):
            one, other = _values(before), _values(after)
            wider = after is None or (before is not None and one <= other)
            narrower = before is None or (after is not None and other <= one)
            fits = wider if self.sent else narrower
            yield Change(ADDITIVE if fits else BREAKING, place, _turned(before, after))
        elif name == "items":
            yield from self.compare(place, before, after, depth + 1)
        else:  # other keywords bind: without one more is allowed
            fits = (after if self.sent else before) is None
            yield Change(ADDITIVE if fits else BREAKING, place, _turned(before, after))

    def _properties(
        self, place: str, before: dict[str, Any], after: dict[str, Any], depth: int
    ) -> Iterator[Change]:
        one, other = _members(before), _members(after)
        must, will = _values(before.get("required")), _values(after.get("required"))
        for name in sorted(one.keys() | other.keys()):
            inner = f"{place}.{name}"
            key = msgspec.json.encode(name)
            if name not in other:
                yield Change(BREAKING, inner, "removed")
            elif name not in one:
                grave = self.sent and key in will
                said = "added, and required" if key in will else "added"
                yield Change(BREAKING if grave else ADDITIVE, inner, said)
            else:
                if (key in must) != (key in will):
                    more = key in will
                    said = "is required now" if more else "is not required any more"
                    yield Change(BREAKING if more is self.sent else ADDITIVE, inner, said)
                yield from self.compare(inner, one[name], other[name], depth + 1)


def _members(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _values(value: Any) -> set[bytes]:
    several = value if isinstance(value, list) else [value]
    found = {msgspec.json.encode(each, order="sorted") for each in several}
    return found | {b'"integer"'} if b'"number"' in found else found  # each integer is a number


def _turned(before: Any, after: Any) -> str:
    if before is None:
        return f"added: {_shown(after)}"
    return "removed" if after is None else f"{_shown(before)} became {_shown(after)}"


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


_MEMBERS: dict[str, Callable[[str, Any, Any], Iterator[Change]]] = {
    "inputSchema": _Schemas(sent=True).compare,
    "outputSchema": _Schemas(sent=False).compare,
    "arguments": _arguments,
    "mimeType": _mime,
}
"""Functions that compare members; all others are texts, or hints to models."""
