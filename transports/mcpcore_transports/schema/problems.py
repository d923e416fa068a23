"""Wording of the problems of a value.

A problem is ``path: what``.  The path is relative to the value: ``user.age``, ``[0].name``,
``["odd name"]``, empty for the value itself.  Values are quoted where they are short.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jsonschema.exceptions import ValidationError

MAX_PROBLEMS = 10
"""Maximum problems that are reported for one value."""
_QUOTED = 60
_MESSAGE = 300
_LISTED = 10
"""Maximum choices that are listed."""
_BRANCHES = 3
"""Maximum alternatives whose problems are reported."""
UNEVALUATED_ITEMS = "some items fit no part of the schema"
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")

_OWN_WORDS = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})
"""Keywords whose errors bring their messages."""
_BOUNDS = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}

_KINDS = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}


def problem_of(error: ValidationError) -> str:
    """Return the problem that an error of the library is about, as text of bounded length."""
    return _problem(error, error.absolute_path)


def _problem(error: ValidationError, path: Iterable[str | int]) -> str:
    text = f"{''.join(map(_step, path)).removeprefix('.')}: {_described(error)}"
    return text if len(text) <= _MESSAGE else text[: _MESSAGE - 3] + "..."


def _described(error: ValidationError) -> str:
    keyword: Any = error.validator
    schema: Any = error.schema
    if keyword is None:  # the schema is False
        return "nothing may be here"
    if keyword in _OWN_WORDS:
        return error.message
    if keyword == "propertyNames":
        inner = (error.context or [error])[0]
        return f"the name {quoted(error.message)}: {_described(inner)}"
    if keyword in ("anyOf", "oneOf"):
        branches: dict[Any, list[str]] = {}
        for each in error.context or ():
            branches.setdefault(each.schema_path[0], []).append(_problem(each, each.path))
        return _no_alternative(schema[keyword], list(branches.values()))
    if keyword in ("contains", "minContains", "maxContains"):
        return _contains(schema)
    rule = schema[keyword]
    if keyword == "additionalItems":
        rule = len(schema["items"])
    elif (bound := _BOUNDS.get(keyword)) is not None and schema.get(bound) is True:
        keyword = bound  # in draft-04 a boolean makes the bound beside it exclusive
    words = _WORDS.get(keyword)
    return f"breaks {keyword}" if words is None else words(rule, error.instance)


def quoted(value: Any) -> str:
    """Return a value as JSON, or only its type if that is long."""
    if isinstance(value, str | int | float | None):
        if isinstance(value, str) and len(value) > _QUOTED:
            return f"a string of {len(value)} characters"
        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= _QUOTED + 2:
            return text
    kind = _kind(value)
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _kind(value: Any) -> str:
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "value")


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if len(step) > _QUOTED:
        step = f"{step[:_QUOTED]}..."
    return f".{step}" if _NAME.fullmatch(step) else f"[{json.dumps(step, ensure_ascii=False)}]"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(quoted(name) for name in listed[:_LISTED])
    return shown + (f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else "")


def _type(rule: Any, value: Any) -> str:
    wanted = [rule] if isinstance(rule, str) else rule
    given = quoted(value)
    if given.startswith('"'):
        given = f"string {given}"
    return f"expected {' or '.join(wanted)}, got {given}"


def _enum(rule: Any, value: Any) -> str:
    if not rule:
        return "expected nothing at all"
    more = f" or {len(rule) - _LISTED} others" if len(rule) > _LISTED else ""
    return f"expected one of {', '.join(map(quoted, rule[:_LISTED]))}{more}, got {quoted(value)}"


def _than(words: str) -> Callable[[Any, Any], str]:
    return lambda rule, value: f"expected {words} {quoted(rule)}, got {quoted(value)}"


def _count(words: str, of: str) -> Callable[[Any, Any], str]:
    return lambda rule, value: f"expected {words} {rule} {of}, got {len(value)}"


def _dependent_required(rule: Any, value: Any) -> str:
    for name, needed in rule.items():
        if name in value and isinstance(needed, list):
            missing = [each for each in needed if each not in value]
            if missing:
                return f"missing {_names(missing)}, which {quoted(name)} requires"
    return "missing what another member requires"


def _contains(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minContains", 1), schema.get("maxContains")
    more = "" if most is None else f" and at most {most}"
    return f"expected at least {least}{more} of the items to fit what it has to contain"


def _no_alternative(rule: Any, alternatives: Sequence[Sequence[str]]) -> str:
    firsts = [each[0].removeprefix(": ") for each in alternatives if each]
    told = [first for first in firsts if len(first) <= _QUOTED * 2]
    if not alternatives:
        return "fits more than one of the alternatives"
    if len(alternatives) <= _BRANCHES and len(told) == len(alternatives):
        return f"fits none of the alternatives ({'; '.join(told)})"
    return f"fits none of the {len(rule)} alternatives"


def unexpected(names: Iterable[str]) -> str:
    """Return a message about members that are not allowed."""
    return f"unexpected {_names(names)}"


_WORDS: dict[str, Callable[[Any, Any], str]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda rule, value: f"expected {quoted(rule)}, got {quoted(value)}",
    "minimum": _than("at least"),
    "maximum": _than("at most"),
    "exclusiveMinimum": _than("more than"),
    "exclusiveMaximum": _than("less than"),
    "multipleOf": _than("a multiple of"),
    "minLength": _count("at least", "characters"),
    "maxLength": _count("at most", "characters"),
    "additionalItems": _count("at most", "items"),
    "minItems": _count("at least", "items"),
    "maxItems": _count("at most", "items"),
    "minProperties": _count("at least", "members"),
    "maxProperties": _count("at most", "members"),
    "pattern": lambda rule, value: f"{quoted(value)} does not match the pattern {quoted(rule)}",
    "uniqueItems": lambda rule, value: "some items are the same",
    "required": lambda rule, value: f"missing {_names(n for n in rule if n not in value)}",
    "dependentRequired": _dependent_required,
    "dependencies": _dependent_required,
    "not": lambda rule, value: (
        "nothing may be here" if rule is True or not rule else "fits what it must not fit"
    ),
}
