"""Contents of questions and answers: the forms of elicitation, the messages of sampling.

The specification restricts the schemas of forms to flat objects of primitive properties, so that no
JSON Schema library is needed here, except for patterns.

Sources: the elicitation page, "Requested Schema"; the sampling page of 2025-11-25 and later,
"Message Content Constraints".
"""

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import structs

from mcpcore.errors import Unsayable, ValidatorMissing
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    PrimitiveSchema,
    SamplingMessage,
)
from mcpcore.spec.types.content import (
    AudioContent,
    SamplingContent,
    ToolResultContent,
    ToolUseContent,
    UnknownContent,
)

_PATTERN_MEMORY = 4 * 1024 * 1024
"""Maximum bytes of compiled patterns of one form."""


# Forms


def check_form(schema: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the field, for a schema that is not allowed in a form."""
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        raise ValueError('the schema of a form has "type": "object" and "properties"')
    for name, rules in properties.items():
        try:
            field = msgspec.convert(rules, PrimitiveSchema)
        except msgspec.ValidationError as error:
            raise ValueError(f"field {name!r} of the form: {error}") from None
        items = field.items
        if field.type == "array" and (items is None or not (items.enum or items.any_of)):
            raise ValueError(f"field {name!r} of the form: a list holds choices only")
    for name in schema.get("required", ()):
        if name not in properties:
            raise ValueError(f"required field {name!r} of the form is not among its properties")


def form_for(schema: Mapping[str, Any], revision: Revision) -> Mapping[str, Any]:
    """Return a form in terms of ``revision``.  Raises :class:`Unsayable` for multiple choices.

    Older revisions have the titles of choices in a separate list, and defaults for booleans only.
    """
    if revision.rich_forms:
        return schema
    properties = {
        name: _plain_field(name, rules, revision)
        for name, rules in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def _plain_field(name: str, rules: Mapping[str, Any], revision: Revision) -> dict[str, Any]:
    if rules.get("type") == "array":
        raise Unsayable(f"{revision.name} has no multiple choice in forms (field {name!r})")
    plain = dict(rules)
    if rules.get("type") != "boolean":
        plain.pop("default", None)
    titled = plain.pop("oneOf", None)
    if titled:
        plain["enum"] = [choice["const"] for choice in titled]
        plain["enumNames"] = [choice["title"] for choice in titled]
    return plain


def form_problems(schema: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """Return the problems of ``content``, each naming its field; empty if there are none.

    Unknown fields, and fields with rules that are not allowed in a form, are accepted.
    """
    required = schema.get("required", ())
    problems = [f"{name}: missing" for name in required if content.get(name) is None]
    for name, rules in schema.get("properties", {}).items():
        if (value := content.get(name)) is None:
            continue
        if wrong := _field_problem(rules, value):
            problems.append(f"{name}: {wrong}")
    return problems


def _field_problem(rules: Any, value: Any) -> str | None:
    try:
        kind = msgspec.convert(rules, PrimitiveSchema).type
    except msgspec.ValidationError:
        return None
    return _CHECKS[kind](rules, value)


def pattern_check(schema: Mapping[str, Any]) -> Callable[[Any], list[str]]:
    """Return a function that lists the fields of a form's content that violate their patterns.

    Raises ValidatorMissing for patterns without the extra ``schema``, and ValueError, naming the
    field, for a pattern that is not supported.
    """
    checks: dict[str, Callable[[Any], list[str]]] = {}
    for name, rules in schema.get("properties", {}).items():
        if isinstance(rules, Mapping) and isinstance(pattern := rules.get("pattern"), str):
            try:
                checks[name] = _matcher(pattern)
            except ImportError:
                raise ValidatorMissing(f"field {name!r} of the form", "has a pattern") from None
            except ValueError as error:
                raise ValueError(f"field {name!r} of the form: {error}") from None

    def problems(content: Any) -> list[str]:
        return [
            f"{name}{wrong[0]}"
            for name, check in checks.items()
            if isinstance(value := content.get(name), str) and (wrong := check(value))
        ]

    return problems


@lru_cache(maxsize=32)
def _matcher(pattern: str) -> Callable[[Any], list[str]]:
    """Return a function that lists the problem of a text.  Raises ImportError, ValueError."""
    from mcpcore_transports.schema import SchemaLimits, compile_schema  # an extra

    limits = SchemaLimits(pattern_memory=_PATTERN_MEMORY)
    return compile_schema({"type": "string", "pattern": pattern}, limits=limits)


def fill_defaults(schema: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with the schema's defaults for the fields that it leaves out.

    A default that its own field does not allow, or that no answer may hold, is left out as well.
    """
    filled = dict(content)
    for name, rules in schema.get("properties", {}).items():
        if name in filled or not isinstance(rules, Mapping):
            continue
        default = rules.get("default")
        if isinstance(default, str | int | float | list) and not _field_problem(rules, default):
            filled[name] = default
    return filled


def _string_problem(rules: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, str):
        return f"expected a string, got {_type_name(value)}"
    if wrong := _choice_problem(rules, value):
        return wrong
    if wrong := _bound_problem(rules, "minLength", "maxLength", len(value), " characters"):
        return wrong
    if isinstance(pattern := rules.get("pattern"), str):
        # Patterns that cannot be checked are left to the other side.
        with suppress(ImportError, ValueError):
            if problems := _matcher(pattern)(value):
                return problems[0].removeprefix(": ")
    matches = _FORMATS.get(rules.get("format", ""))
    if matches and not matches(value):
        return f"expected the format {rules['format']}"
    return None


def _number_problem(rules: Mapping[str, Any], value: Any) -> str | None:
    whole = rules["type"] == "integer"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"expected {'an integer' if whole else 'a number'}, got {_type_name(value)}"
    if whole and isinstance(value, float) and not value.is_integer():
        return "expected an integer, got a fraction"
    return _bound_problem(rules, "minimum", "maximum", value)


def _array_problem(rules: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, list):
        return f"expected an array, got {_type_name(value)}"
    if wrong := _bound_problem(rules, "minItems", "maxItems", len(value), " choices"):
        return wrong
    items = {"type": "string", **rules.get("items", {})}
    return next((wrong for item in value if (wrong := _string_problem(items, item))), None)


def _bound_problem(
    rules: Mapping[str, Any], least: str, most: str, value: float, unit: str = ""
) -> str | None:
    if least in rules and value < rules[least]:
        return f"expected at least {rules[least]}{unit}"
    if most in rules and value > rules[most]:
        return f"expected at most {rules[most]}{unit}"
    return None


def _choice_problem(rules: Mapping[str, Any], value: str) -> str | None:
    choices = rules.get("enum")
    if choices is None:
        titled = rules.get("oneOf") or rules.get("anyOf")
        choices = None if titled is None else [choice.get("const") for choice in titled]
    if choices is None or value in choices:
        return None
    return f"expected one of {', '.join(map(str, choices))}"


def _type_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10 and text[4::3] == "--"  # ISO 8601 has more forms than RFC 3339


def _is_date_time(text: str) -> bool:
    return _is_date(text[:10]) and _TIME.fullmatch(text, 10) is not None


_CHECKS: dict[str, Callable[[Mapping[str, Any], Any], str | None]] = {
    "string": _string_problem,
    "number": _number_problem,
    "integer": _number_problem,
    "boolean": lambda rules, value: (
        None if isinstance(value, bool) else f"expected a boolean, got {_type_name(value)}"
    ),
    "array": _array_problem,
}
_TIME = re.compile(
    r"[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
"""Rest of a date-time after its date (RFC 3339, 5.6)."""
_FORMATS: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "email": lambda text: "@" in text[1:-1],
    "uri": lambda text: ":" in text[1:],
}


# Messages of sampling


def blocks_of(message: SamplingMessage | CreateMessageResult) -> Sequence[SamplingContent]:
    """Return the content blocks of a message, one or several."""
    return message.content if isinstance(message.content, list) else [message.content]


def message_problem(messages: Sequence[SamplingMessage]) -> str | None:
    """Return the fault in the tool uses and results of a conversation, or None.

    Results, without other content, follow directly after the uses that they answer.
    """
    open_uses: list[str] = []
    for number, message in enumerate(messages):
        found = blocks_of(message)
        results = [block for block in found if isinstance(block, ToolResultContent)]
        where = f"messages[{number}]"
        if results and len(results) < len(found):
            return f"{where}: tool results are mixed with other content"
        if results and message.role != "user":
            return f"{where}: tool results are the user's, not the {message.role}'s"
        answered = sorted(block.tool_use_id for block in results)
        if answered != sorted(open_uses):
            missing = sorted(set(open_uses).difference(answered))
            if missing:
                return f"{where}: tool result missing for {', '.join(missing)}"
            return f"{where}: a tool result answers no tool use of the message before"
        open_uses = [block.id for block in found if isinstance(block, ToolUseContent)]
        if open_uses and message.role != "assistant":
            return f"{where}: tool uses are the assistant's, not the {message.role}'s"
    if open_uses:
        return f"tool result missing for {', '.join(sorted(open_uses))}"
    return None


def params_for(params: CreateMessageParams, revision: Revision) -> CreateMessageParams:
    """Convert the params of a sampling request for ``revision``.  Raises :class:`Unsayable`.

    For a revision with one block per message, a message with several becomes several messages.
    """
    if not revision.sampling_tools and (params.tools, params.tool_choice) != (None, None):
        raise Unsayable(f"{revision.name} has no tools in sampling")
    messages: list[SamplingMessage] = []
    for message in params.messages:
        found = blocks_of(message)
        for block in found:
            _check_kind(block, revision)
        if revision.sampling_tools or not isinstance(message.content, list):
            messages.append(message)
        else:
            messages += [structs.replace(message, content=block) for block in found]
    return known_members(structs.replace(params, messages=messages), revision)


def result_for(result: CreateMessageResult, revision: Revision) -> CreateMessageResult:
    """Convert the result of a model for ``revision``.  Raises :class:`Unsayable`."""
    found = blocks_of(result)
    for block in found:
        _check_kind(block, revision)
    if not revision.sampling_tools and isinstance(result.content, list):
        if len(found) != 1:
            raise Unsayable(f"{revision.name} has one block of content in a sampling result")
        result = structs.replace(result, content=found[0])
    return known_members(result, revision)


def _check_kind(block: SamplingContent, revision: Revision) -> None:
    if isinstance(block, UnknownContent):
        raise Unsayable(f"content of the kind {block.type!r} is in no revision")
    if isinstance(block, ToolUseContent | ToolResultContent) and not revision.sampling_tools:
        raise Unsayable(f"{revision.name} has no tools in sampling")
    if isinstance(block, AudioContent) and not revision.audio_content:
        raise Unsayable(f"{revision.name} has no audio in sampling")
