"""Cases of the page basic/transports/streamable-http: which arguments a tool has mirrored."""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from mcpcore_conformance.cases.basic_transports_http_parameters import MIRROR
from mcpcore_conformance.kit.asking import entries
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import MIRROR as FLAW
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/streamable-http")
case = page.server(MODERN, bindings=STREAMABLE, needs=("tools",))

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
COMPOSITION = ("oneOf", "anyOf", "allOf", "not", "if", "then", "else", "items", "prefixItems")
PRIMITIVE = {"string", "integer", "boolean"}


class Annotated(Struct):
    """Where a tool's schema has the annotation."""

    tool: str
    name: Any
    rules: dict[str, Any]
    reachable: bool
    """Through ``properties`` alone."""


async def annotations(talk: ServerTalk) -> list[Annotated]:
    """All of them; a server without any has nothing to be tested here."""
    tools = await entries(await talk.open(), "tools/list", "tools")
    found = [
        each
        for tool in tools
        for each in _within(str(tool.get("name")), tool.get("inputSchema"), True)
    ]
    if not found:
        talk.skip(f"no tool has {MIRROR} in its schema")
    return found


def _within(tool: str, schema: Any, reachable: bool) -> Iterator[Annotated]:
    if isinstance(schema, list):
        for each in schema:
            yield from _within(tool, each, False)
    if not isinstance(schema, dict):
        return
    for name, value in schema.items():
        if name == "properties" and isinstance(value, dict):
            for rules in value.values():
                if isinstance(rules, dict) and MIRROR in rules:
                    yield Annotated(tool, rules[MIRROR], rules, reachable)
                yield from _within(tool, rules, reachable)
        elif name in COMPOSITION or name in ("$defs", "definitions", "additionalProperties"):
            inner = value.values() if name in ("$defs", "definitions") else (value,)
            for each in inner:
                if isinstance(each, dict) and MIRROR in each:
                    yield Annotated(tool, each[MIRROR], each, False)
                yield from _within(tool, each, False)


@case.must(
    "schema-extension/name-is-a-token",
    "One or more characters that a header name may have, no controls.",
)
async def name_is_token(talk: ServerTalk) -> None:
    """The name of a mirror is not empty, and a token of HTTP."""
    for each in await annotations(talk):
        fine = isinstance(each.name, str) and TOKEN.fullmatch(each.name)
        check(fine, f"{MIRROR} of {each.tool} is {each.name!r}", FLAW)


@case.must("schema-extension/names-unique", "No two mirrors of one tool differ in case alone.")
async def names_unique(talk: ServerTalk) -> None:
    """The names of a tool's mirrors are unique whatever their case."""
    seen: set[tuple[str, str]] = set()
    for each in await annotations(talk):
        key = (each.tool, str(each.name).lower())
        check(key not in seen, f"{each.tool} has {MIRROR} {each.name!r} twice")
        seen.add(key)


@case.must("schema-extension/primitive-types", "string, integer or boolean; no number.")
async def primitive_types(talk: ServerTalk) -> None:
    """Only arguments of a primitive type are mirrored."""
    for each in await annotations(talk):
        found = each.rules.get("type")
        check(
            isinstance(found, str) and found in PRIMITIVE,
            f"{MIRROR} {each.name!r} of {each.tool} is on type {found!r}",
        )


@case.must(
    "schema-extension/statically-reachable",
    "Every step from the root to the annotated property is a key of properties.",
)
async def statically_reachable(talk: ServerTalk) -> None:
    """Mirrored arguments are reached through properties alone."""
    for each in await annotations(talk):
        check(each.reachable, f"{MIRROR} {each.name!r} of {each.tool} is not reached so")
