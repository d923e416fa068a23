"""Shapes that a revision gives to results, notifications and requests of a server.

The shapes are the kit's own; a test holds them against the official schemas.  What has no shape
here is held against the types of ``mcpcore.spec.types``.
"""

from functools import cache
from typing import Any

import msgspec

from mcpcore.spec.methods import Method, lookup, lookup_embedded
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.shape import (
    Shape,
    anything,
    array,
    either,
    flag,
    integer,
    mapping,
    number,
    one_of,
    record,
    string,
    structure,
    tagged,
)
from mcpcore_conformance.kit.shape_content import ID, ROLE, TASK, Shared, extension_task

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
TASKS = "io.modelcontextprotocol/tasks"
SKILLS = "io.modelcontextprotocol/skills"
APPS = "io.modelcontextprotocol/ui"
_VALUES = 100
"""Completions in one result, at most."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
WANTED = record(
    {},
    {
        "toolsListChanged": flag,
        "promptsListChanged": flag,
        "resourcesListChanged": flag,
        "resourceSubscriptions": array(string),
    },
)
"""Shape of the kinds of changes that a subscription asks for."""


def result_problem(method: str, result: dict[str, Any], revision: Revision) -> str:
    """Return the problem of a server's result; empty if there is none, or the method is not known.

    A ``tools/call`` may also have been made a task, and what needs input may ask for it.
    """
    row = lookup(method, "client", revision)
    if row is None or row.result is None:
        return ""
    tables = _tables(revision)
    kind = result.get("resultType")
    if revision.result_type:
        if not isinstance(kind, str):
            return f"resultType has to be a string, not {kind!r}"
        if kind == "input_required" and row.needs_input:
            return tables.input_required(result, "")
        if kind == "task" and row.task_extension:
            return tables.created(result, "")
        if kind != "complete":
            return f"resultType has to be 'complete', not {kind!r}"
    elif row.task_capability and "task" in result and "content" not in result:
        return tables.created(result, "")
    shape = tables.results.get(method)
    return _by_type(row.result, result) if shape is None else shape(result, "")


def params_problem(message_method: str, params: dict[str, Any], revision: Revision) -> str:
    """Return the problem of the params of a server's request or notification; empty if none."""
    shape = _tables(revision).params.get(message_method)
    if shape is not None:
        return shape(params, "")
    row: Method | None = lookup(message_method, "server", revision) or lookup_embedded(
        message_method, revision
    )
    return "" if row is None else _by_type(row.params, params)


def _by_type(type: Any, value: Any) -> str:
    try:
        msgspec.convert(value, type, strict=True)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


@cache
def _tables(revision: Revision) -> "_Tables":
    return _Tables(revision)


class _Tables:
    """The shapes of one revision."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.shared = Shared(revision)
        self.meta: dict[str, Shape] = {"_meta": structure}
        if revision.result_type:
            self.meta = {"_meta": record({}, {SERVER_INFO: self.shared.implementation})}
        self.params: dict[str, Shape] = self._requests() | self._notifications()
        self.input_required = self._input_required()
        self.created: Shape = record({"task": TASK}, self.meta)
        if revision.modern:
            task = extension_task(self.requests)
            self.created = lambda value, at: self.result({})(value, at) or task(value, at)
        self.results = self._results()

    def result(self, needed: dict[str, Shape], others: dict[str, Shape] | None = None) -> Shape:
        """A result with these members."""
        kind: dict[str, Shape] = {"resultType": string} if self.revision.result_type else {}
        return record({**needed, **kind}, {**(others or {}), **self.meta})

    def cacheable(self, needed: dict[str, Shape], others: dict[str, Shape] | None = None) -> Shape:
        """A result that may be kept for a while, where results say how long."""
        if self.revision.cache_hints:
            hints = {"ttlMs": integer(0), "cacheScope": one_of("public", "private")}
            needed = {**needed, **hints}
        return self.result(needed, others)

    def page(self, member: str, of: Shape) -> Shape:
        """A page of a list."""
        return self.cacheable({member: array(of)}, {"nextCursor": string})

    def _results(self) -> dict[str, Shape]:
        shared = self.shared
        message = record({"role": ROLE, "content": shared.block})
        # the schema does not name the most; the page does
        values = {"values": array(string, _VALUES)}
        completion = record(values, {"total": integer(), "hasMore": flag})
        empty = self.result({})
        opened = {
            "protocolVersion": string,
            "capabilities": shared.capabilities,
            "serverInfo": shared.implementation,
        }
        found = {"supportedVersions": array(string), "capabilities": shared.capabilities}
        ended = record({SUBSCRIPTION: ID}, {SERVER_INFO: shared.implementation})
        return {
            "initialize": self.result(opened, {"instructions": string}),
            "server/discover": self.cacheable(found, {"instructions": string}),
            "ping": empty,
            "logging/setLevel": empty,
            "resources/subscribe": empty,
            "resources/unsubscribe": empty,
            "tools/list": self.page("tools", shared.tool),
            "tools/call": self.result(
                {"content": array(shared.block)}, {"isError": flag, **shared.structured}
            ),
            "resources/list": self.page("resources", shared.resource),
            "resources/templates/list": self.page("resourceTemplates", shared.template),
            "resources/read": self.cacheable({"contents": array(shared.contents)}),
            "prompts/list": self.page("prompts", shared.prompt),
            "prompts/get": self.result({"messages": array(message)}, {"description": string}),
            "completion/complete": self.result({"completion": completion}),
            "subscriptions/listen": record({"resultType": string, "_meta": ended}),
            **self._tasks(),
            **self._skills(),
        }

    def _skills(self) -> dict[str, Shape]:
        file = record({"uri": string, "digest": string, "size": integer(0)})
        head = record({"name": string, "description": string})
        files = either(one_of("dynamic"), array(file))
        skill = record({"uri": string, "frontmatter": head, "resources": files})
        children = {"resources": array(self.shared.resource)}
        return {
            "skills/list": self.page("skills", skill),
            "skills/get": self.cacheable({"skill": skill}),
            "resources/directory/read": self.result(children, {"nextCursor": string}),
        }

    def _tasks(self) -> dict[str, Shape]:
        if self.revision.modern:
            task = extension_task(self.requests)
            return {
                "tasks/get": lambda value, at: self.result({})(value, at) or task(value, at),
                "tasks/update": self.result({}),
                "tasks/cancel": self.result({}),
            }

        def state(value: Any, at: str) -> str:
            return TASK(value, at) or self.result({})(value, at)

        return {
            "tasks/get": state,
            "tasks/cancel": state,
            "tasks/result": self.result({}),
            "tasks/list": self.result({"tasks": array(TASK)}, {"nextCursor": string}),
        }

    def _requests(self) -> dict[str, Shape]:
        shared = self.shared
        task: dict[str, Shape] = {"task": record({}, {"ttl": integer()})}
        own: dict[str, Shape] = {"_meta": record({}, {"progressToken": ID})}
        if self.revision.modern:
            task, own = {}, {}
        hint = record({}, {"name": string})
        share = number(0, 1)
        preferences = record(
            {},
            {
                "hints": array(hint),
                "costPriority": share,
                "speedPriority": share,
                "intelligencePriority": share,
            },
        )
        sampling: dict[str, Shape] = {
            "modelPreferences": preferences,
            "systemPrompt": string,
            "includeContext": one_of("none", "thisServer", "allServers"),
            "temperature": number(),
            "stopSequences": array(string),
            "metadata": structure,
        }
        if self.revision.sampling_tools:
            choice = record({}, {"mode": one_of("auto", "required", "none")})
            sampling |= {**task, **own, "tools": array(shared.tool), "toolChoice": choice}
        form = {"message": string, "requestedSchema": shared.form}
        visit: dict[str, Shape] = {"message": string, "url": string}
        if not self.revision.modern:
            visit["elicitationId"] = string
        asked = record(form, {**task, **own})
        modes = {"form": asked, "url": record(visit, {**task, **own})}

        def elicitation(value: Any, at: str) -> str:
            if not isinstance(value, dict) or "mode" not in value:
                return asked(value, at)
            return tagged("mode", modes)(value, at)

        return {
            "sampling/createMessage": record(
                {"messages": array(shared.message), "maxTokens": integer()}, sampling
            ),
            "elicitation/create": elicitation if self.revision.rich_forms else record(form),
            "roots/list": record({}, {"_meta": structure}),
            "ping": record({}, {"_meta": structure}),
        }

    def _notifications(self) -> dict[str, Shape]:
        meta: dict[str, Shape] = {"_meta": structure}
        if self.revision.modern:
            meta = {"_meta": record({}, {SUBSCRIPTION: ID})}
        bare = record({}, meta)
        # until 2025-06-18 nobody can leave the id out, 2025-11-25 lets tasks do it
        cancelled: dict[str, Shape] = {"requestId": ID}
        known: dict[str, Shape] = {"reason": string, **meta}
        optional = self.shared.rich and not self.revision.modern
        progress = {"progressToken": ID, "progress": number()}
        said: dict[str, Shape] = {"message": string} if self.revision.audio_content else {}
        return {
            "notifications/cancelled": (
                record({}, {**cancelled, **known}) if optional else record(cancelled, known)
            ),
            "notifications/progress": record(progress, {"total": number(), **said, **meta}),
            "notifications/message": record(
                {"level": one_of(*LEVELS), "data": anything}, {"logger": string, **meta}
            ),
            "notifications/resources/updated": record({"uri": string}, meta),
            "notifications/tools/list_changed": bare,
            "notifications/resources/list_changed": bare,
            "notifications/prompts/list_changed": bare,
            "notifications/elicitation/complete": record({"elicitationId": string}),
            "notifications/subscriptions/acknowledged": record({"notifications": WANTED}, meta),
            "notifications/tasks/status": lambda value, at: TASK(value, at) or bare(value, at),
        }

    @property
    def requests(self) -> Shape:
        """A map of input requests."""

        def one(value: Any, at: str) -> str:
            params = {
                method: record({"params": self.params[method]})
                for method in ("sampling/createMessage", "elicitation/create")
            }
            roots = record({}, {"params": self.params["roots/list"]})
            return tagged("method", {**params, "roots/list": roots})(value, at)

        return mapping(one)

    def _input_required(self) -> Shape:
        known = {"inputRequests": self.requests, "requestState": string}
        shape = self.result({}, known)

        def look(value: Any, at: str) -> str:
            if "inputRequests" not in value and "requestState" not in value:
                return "there is neither inputRequests nor requestState"
            return shape(value, at)

        return look
