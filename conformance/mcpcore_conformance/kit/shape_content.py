"""The shapes that several messages share: content, declarations, forms, tasks.

Source: ``schema.ts`` and the feature pages of each revision.
"""

import base64
import binascii
from typing import Any

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.model import (
    ONLY_2025_11_25,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
)
from mcpcore_conformance.kit.shape import (
    Shape,
    anything,
    array,
    either,
    flag,
    integer,
    mapping,
    nothing_or,
    number,
    one_of,
    record,
    string,
    structure,
    tagged,
)

_EXPERIMENTAL_TASKS = ONLY_2025_11_25
ID = either(string, integer())
ROLE = one_of("user", "assistant")
TITLED = record({"const": string, "title": string})


def encoded(value: Any, at: str) -> str:
    """Take base64 of RFC 4648 (section 4)."""
    if problem := string(value, at):
        return problem
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return f"{at} is not base64: {value[:40]!r}"
    return ""


class Shared:
    """The shared shapes as one revision has them."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.named = revision in SINCE_2025_06_18
        self.rich = revision in SINCE_2025_11_25
        meta: dict[str, Shape] = {"_meta": structure} if self.named else {}
        title: dict[str, Shape] = {"title": string} if self.named else {}
        icon = record(
            {"src": string},
            {"mimeType": string, "sizes": array(string), "theme": one_of("light", "dark")},
        )
        icons: dict[str, Shape] = {"icons": array(icon)} if self.rich else {}
        hints: dict[str, Shape] = {"audience": array(ROLE), "priority": number(0, 1)}
        if self.named:
            hints["lastModified"] = string
        self.annotations = record({}, hints)
        noted: dict[str, Shape] = {"annotations": self.annotations, **meta}
        contents = {"mimeType": string, **meta}
        self.contents = _either_member(
            ("text", "blob"),
            record({"uri": string, "text": string}, contents),
            record({"uri": string, "blob": encoded}, contents),
        )
        resource: dict[str, Shape] = {"description": string, "mimeType": string, "size": integer()}
        resource = {**resource, **noted, **title, **icons}
        self.resource = record({"uri": string, "name": string}, resource)
        template = {key: shape for key, shape in resource.items() if key != "size"}
        self.template = record({"uriTemplate": string, "name": string}, template)
        self.argument = record({"name": string}, {"description": string, "required": flag, **title})
        self.prompt = record(
            {"name": string},
            {"description": string, "arguments": array(self.argument), **meta, **title, **icons},
        )
        media = {"data": encoded, "mimeType": string}
        self.plain: dict[str, Shape] = {
            "text": record({"text": string}, noted),
            "image": record(media, noted),
        }
        if revision.audio_content:
            self.plain["audio"] = record(media, noted)
        blocks = {**self.plain, "resource": record({"resource": self.contents}, noted)}
        if revision.resource_links:
            blocks["resource_link"] = record({"uri": string, "name": string}, resource)
        self.block = tagged("type", blocks)
        self.tool = self._tool({**meta, **title, **icons})
        self.implementation = record(
            {"name": string, "version": string},
            {**title, **icons, **({"description": string, "websiteUrl": string} if icons else {})},
        )
        self.message = self._message(meta)
        self.capabilities = self._capabilities()
        self.form = _form(revision)

    def _tool(self, others: dict[str, Shape]) -> Shape:
        known: dict[str, Shape] = {"description": string, **others}
        if self.revision in SINCE_2025_03_26:
            names = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
            known["annotations"] = record({}, {"title": string, **dict.fromkeys(names, flag)})
        schema = _schema(self.revision.modern)
        if self.revision.structured_content:
            known["outputSchema"] = (
                record({}, {"$schema": string}) if self.revision.any_structured_content else schema
            )
        if self.revision in _EXPERIMENTAL_TASKS:
            support = one_of("forbidden", "optional", "required")
            known["execution"] = record({}, {"taskSupport": support})
        return record({"name": string, "inputSchema": schema}, known)

    def _message(self, meta: dict[str, Shape]) -> Shape:
        if not self.revision.sampling_tools:
            return record({"role": ROLE, "content": tagged("type", self.plain)})
        use = record({"id": string, "name": string, "input": structure}, meta)
        result = record(
            {"toolUseId": string, "content": array(self.block)},
            {**meta, "isError": flag, **self.structured},
        )
        block = tagged("type", {**self.plain, "tool_use": use, "tool_result": result})

        def content(value: Any, at: str) -> str:
            return (array(block) if isinstance(value, list) else block)(value, at)

        return record({"role": ROLE, "content": content}, meta)

    @property
    def structured(self) -> dict[str, Shape]:
        """``structuredContent``, where there is any."""
        if not self.revision.structured_content:
            return {}
        whole = self.revision.any_structured_content
        return {"structuredContent": anything if whole else structure}

    def _capabilities(self) -> Shape:
        changes = {"listChanged": flag}
        known: dict[str, Shape] = {
            "experimental": mapping(structure),
            "logging": structure,
            "tools": record({}, changes),
            "prompts": record({}, changes),
            "resources": record({}, {**changes, "subscribe": flag}),
        }
        if self.revision in SINCE_2025_03_26:
            known["completions"] = structure
        if self.revision in _EXPERIMENTAL_TASKS:
            requests = record({}, {"tools": record({}, {"call": structure})})
            parts = {"list": structure, "cancel": structure, "requests": requests}
            known["tasks"] = record({}, parts)
        if self.revision.modern:
            known["extensions"] = mapping(structure)
        return record({}, known)


def _schema(modern: bool) -> Shape:
    known: dict[str, Shape] = {"$schema": string}
    if not modern:
        known |= {"properties": mapping(structure), "required": array(string)}
    return record({"type": one_of("object")}, known)


def _either_member(members: tuple[str, str], *shapes: Shape) -> Shape:
    """Take what has one of two members, by the shape that belongs to it."""

    def look(value: Any, at: str) -> str:
        if isinstance(value, dict) and not any(member in value for member in members):
            return f"{at} has neither {members[0]} nor {members[1]}"
        return either(*shapes)(value, at)

    return look


def _form(revision: Revision) -> Shape:
    """The schema of a form: a flat object of primitive fields."""
    said: dict[str, Shape] = {"title": string, "description": string}
    rich = revision.rich_forms

    def default(shape: Shape) -> dict[str, Shape]:
        return {"default": shape} if rich else {}

    count: dict[str, Shape] = {"minItems": integer(), "maxItems": integer()}
    text = record(
        {},
        {
            **said,
            **default(string),
            "minLength": integer(),
            "maxLength": integer(),
            "format": one_of("email", "uri", "date", "date-time"),
        },
    )
    choice = record(
        {"enum": array(string)}, {**said, **default(string), "enumNames": array(string)}
    )
    titled = record({"oneOf": array(TITLED)}, {**said, **default(string)})
    bounds = {"minimum": number(), "maximum": number(), **default(number())}

    def single(value: Any, at: str) -> str:
        # what the members say decides which of the kinds it is
        if "enum" in value:
            return choice(value, at)
        return (titled if rich and "oneOf" in value else text)(value, at)

    several = record(
        {
            "items": _either_member(
                ("enum", "anyOf"),
                record({"type": one_of("string"), "enum": array(string)}),
                record({"anyOf": array(TITLED)}),
            )
        },
        {**said, **count, **default(array(string))},
    )
    kinds: dict[str, Shape] = {
        "string": single,
        "number": record({}, {**said, **bounds}),
        "integer": record({}, {**said, **bounds}),
        "boolean": record({}, {**said, "default": flag}),
    }
    if rich:
        kinds["array"] = several
    known: dict[str, Shape] = {"required": array(string), "$schema": string}
    return record(
        {"type": one_of("object"), "properties": mapping(tagged("type", kinds))},
        known if rich else {"required": array(string)},
    )


TASK = record(
    {
        "taskId": string,
        "status": one_of("working", "input_required", "completed", "failed", "cancelled"),
        "createdAt": string,
        "lastUpdatedAt": string,
        "ttl": nothing_or(integer()),
    },
    {"statusMessage": string, "pollInterval": integer()},
)
"""A task of 2025-11-25."""


def extension_task(requests: Shape) -> Shape:
    """A task of the extension; ``requests`` is the shape of its input requests."""
    common = record(
        {
            "taskId": string,
            "status": one_of("working", "input_required", "completed", "failed", "cancelled"),
            "createdAt": string,
            "lastUpdatedAt": string,
            "ttlMs": nothing_or(integer()),
        },
        {"statusMessage": string, "pollIntervalMs": integer()},
    )
    error = record({"code": integer(), "message": string})
    due: dict[str, tuple[str, Shape]] = {
        "input_required": ("inputRequests", requests),
        "completed": ("result", structure),
        "failed": ("error", error),
    }

    def look(value: Any, at: str) -> str:
        problem = common(value, at)
        if problem or value["status"] not in due:
            return problem
        member, shape = due[value["status"]]
        return record({member: shape})(value, at)

    return look
