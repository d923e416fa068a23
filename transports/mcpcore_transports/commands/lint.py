"""Rules for what a server offers, beyond what makes it invalid: what clients and models stumble at.

Source of its bounds: those that programs and models have which use servers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mcpcore.service.tools import check_name

__all__ = ["lint"]

_PORTABLE = 64
"""Characters of a name that all model APIs take."""
_LONG_TEXT = 2048
"""Characters of a description that a model may be expected to read."""
_HEAVY = 64 * 1024
"""Bytes of a list of tools, which a model gets with each request."""
_MOST_SHOWN = 5

Item = Mapping[str, Any]
Rule = Callable[[Sequence[Item]], Iterator[str]]


def lint(kind: str, items: Sequence[Item]) -> list[str]:
    """Return what is doubtful about the items of a list, as they came, in a sentence each.

    ``kind``: tools, prompts, resources, templates; others have no rules.
    """
    return [said for rule in _RULES.get(kind, ()) for said in rule(items)]


def _name(item: Item) -> str:
    return str(item.get("name", ""))


def _named(items: Sequence[Item], wrong: Callable[[Item], bool], said: str) -> Iterator[str]:
    """Say something of all items that are wrong in the same way, in one sentence."""
    found = [_name(item) for item in items if wrong(item)]
    if found:
        more = len(found) - _MOST_SHOWN
        shown = ", ".join(map(ascii, found[:_MOST_SHOWN]))
        yield f"{said}: {shown}{f' and {more} more' if more > 0 else ''}"


def _names(items: Sequence[Item]) -> Iterator[str]:
    wrong: dict[str, list[Item]] = {}
    for item in items:
        try:
            check_name(_name(item))
        except ValueError as error:
            wrong.setdefault(str(error), []).append(item)
    for said, found in wrong.items():
        yield from _named(found, lambda _: True, said)
    said = f"names of more than {_PORTABLE} characters, which some models refuse"
    yield from _named(items, lambda item: _PORTABLE < len(_name(item)) <= 128, said)


def _twice(member: str) -> Rule:
    def rule(items: Sequence[Item]) -> Iterator[str]:
        counts = Counter(str(item.get(member)) for item in items)
        twice = [ascii(each) for each, number in counts.items() if number > 1]
        if twice:
            yield f"listed more than once: {', '.join(twice[:_MOST_SHOWN])}"

    return rule


def _texts(items: Sequence[Item]) -> Iterator[str]:
    yield from _named(items, lambda item: not item.get("description"), "without a description")
    said = f"descriptions of more than {_LONG_TEXT} characters"
    yield from _named(items, lambda item: len(item.get("description") or "") > _LONG_TEXT, said)


def _schemas(items: Sequence[Item]) -> Iterator[str]:
    for member in ("inputSchema", "outputSchema"):
        wrong: dict[str, list[Item]] = {}
        for item in items:
            if member in item:
                for said in _of_schema(item[member], strict=member == "inputSchema"):
                    wrong.setdefault(said, []).append(item)
        for said, found in wrong.items():
            yield from _named(found, lambda _: True, f"{member} {said}")


def _of_schema(schema: Any, *, strict: bool) -> Iterator[str]:
    if not isinstance(schema, dict):
        yield "is no object"
        return
    if strict and schema.get("type") != "object":
        yield "is not of type object"
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        yield "has properties or required in a wrong form"
    elif any(name not in properties for name in required if isinstance(name, str)):
        yield "requires what it does not have"
    if re.search(rb'"\$ref":"[a-z+]{2,9}://', msgspec.json.encode(schema)):
        yield "refers to another document, which clients do not fetch"


def _weight(items: Sequence[Item]) -> Iterator[str]:
    size = len(msgspec.json.encode(items))
    if size > _HEAVY:
        yield f"the list has {size // 1024} KiB, which a model gets with each request"


_RULES: dict[str, Sequence[Rule]] = {
    "tools": (_names, _twice("name"), _texts, _schemas, _weight),
    "prompts": (_names, _twice("name"), _texts),
    "resources": (_twice("uri"),),
    "templates": (_twice("uriTemplate"),),
}
