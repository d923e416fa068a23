"""Rules for what a server offers, beyond what makes it invalid: what clients and models stumble at.

Source of its bounds: those that programs and models have which use servers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mcpcore.service.tools import check_name
from mcpcore.spec.apps import app_of, document_problems, tool_problems

__all__ = ["lint", "missing_apps"]

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


def _grouped(items: Sequence[Item], problems: Callable[[Item], Iterable[str]]) -> Iterator[str]:
    """Say each problem once, of all items that have it."""
    wrong: dict[str, list[Item]] = {}
    for item in items:
        for said in problems(item):
            wrong.setdefault(said, []).append(item)
    for said, found in wrong.items():
        yield from _named(found, lambda _: True, said)


def _of_name(item: Item) -> Iterator[str]:
    try:
        check_name(_name(item))
    except ValueError as error:
        yield str(error)


def _names(items: Sequence[Item]) -> Iterator[str]:
    yield from _grouped(items, _of_name)
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
        having = [item for item in items if member in item]
        yield from _grouped(having, partial(_of_member, member))


def _of_member(member: str, item: Item) -> Iterator[str]:
    for said in _of_schema(item[member], strict=member == "inputSchema"):
        yield f"{member} {said}"


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


def _apps(items: Sequence[Item]) -> Iterator[str]:
    yield from _grouped(items, lambda item: tool_problems(item.get("_meta")))


def _documents(items: Sequence[Item]) -> Iterator[str]:
    apps = [item for item in items if str(item.get("uri")).startswith("ui://")]
    yield from _grouped(
        apps,
        lambda item: document_problems(item["uri"], item.get("mimeType"), item.get("_meta")),
    )


def missing_apps(tools: Sequence[Item], resources: Sequence[Item]) -> Iterator[str]:
    """Say which tools have an app that is not listed, though it may be there."""
    listed = {item.get("uri") for item in resources}
    said = "with an app that is not among the resources"
    yield from _named(tools, lambda item: app_of(item.get("_meta")) not in (None, *listed), said)


_RULES: dict[str, Sequence[Rule]] = {
    "tools": (_names, _twice("name"), _texts, _schemas, _apps, _weight),
    "prompts": (_names, _twice("name"), _texts),
    "resources": (_twice("uri"), _documents),
    "templates": (_twice("uriTemplate"),),
}
