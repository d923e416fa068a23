"""Methods of every revision, and of two extensions: one row per request or notification.

If a method has different rules in different revisions, the row holds all of them, and
:func:`lookup` gives the row as it holds in one revision.  The tasks of 2025-11-25 and those of the
extension are different protocols that share names: they have a row each.  Where a method is served
is in CONTRIBUTING.md, "A new method, a new revision".  Source: ``schema.ts`` and the feature pages
of each revision; the specifications of ``io.modelcontextprotocol/tasks`` and
``io.modelcontextprotocol/skills``.
"""

from enum import Enum
from functools import cache
from importlib import import_module

from msgspec import Struct, structs

from mcpcore.spec.capabilities import SKILLS_EXTENSION, TASKS_EXTENSION
from mcpcore.spec.revisions import BY_NAME, LEGACY, MODERN, REVISIONS, Revision, Span


class MethodKind(Enum):
    """Kinds of methods: a request is owed an answer, a notification is not."""

    REQUEST = "request"
    NOTIFICATION = "notification"


class Method(Struct, frozen=True):
    """Method of the protocol: its senders and revisions, its needs, its types."""

    name: str
    client: Span | None = None
    """Revisions in which a client sends it on the wire."""
    server: Span | None = None
    """Revisions in which a server sends it on the wire."""
    embedded: Span | None = None
    """Revisions in which a server puts it into an input round instead."""
    params_type: str | None = None
    """Module and name, within :mod:`mcpcore.spec.types`, of the type :attr:`params`; None if they
    have no members of their own."""
    result_type: str | None = None
    """Module and name of the type :attr:`result`."""
    capability: str | None = None
    """Capability that the receiver of a request, or the sender of a notification, must have
    declared."""
    capability_since: Revision = REVISIONS[0]
    """First revision that has this capability; in older ones nothing need be declared."""
    peer_capability: str | None = None
    """Capability that the other side of the two must have declared as well."""
    task_capability: str | None = None
    """Capability that the receiver must have declared to run the request as an experimental
    task."""
    task_extension: str | None = None
    """Extension by which the receiver may turn the request into a task."""
    about: frozenset[str] | None = None
    """Methods of the requests that it may name, if a server without requests on the wire sends
    it."""
    subject: str | None = None
    """Member of the params with what it is about: a name, a URI or the id of a task."""
    header: bool = False
    """True if ``Mcp-Name`` mirrors the subject, where headers mirror the body."""
    header_params: bool = False
    """True if members of its ``arguments`` may be mirrored as ``Mcp-Param-*``, where headers
    mirror."""
    filter: str | None = None
    """Field of the ``SubscriptionFilter`` that asks for it, where there are listen streams."""
    needs_input: bool = False
    """True if it may be answered with ``input_required``, where there are input rounds."""
    cacheable: bool = False
    """True if the result carries cache hints, where there are any."""
    extension: str | None = None
    """Extension that defines it; None for the core."""

    @property
    def kind(self) -> MethodKind:
        """Kind of the method, by its name."""
        return _NOTIFICATION if self.name.startswith("notifications/") else MethodKind.REQUEST

    @property
    def params(self) -> type[Struct]:
        """Type of its params."""
        kind = "Notification" if self.kind is _NOTIFICATION else "Request"
        return _type(self.params_type or f"base.{kind}Params")

    @property
    def result(self) -> type[Struct] | None:
        """Type of its complete result; None for notifications."""
        return None if self.result_type is None else _type(self.result_type)

    def occurs_in(self, revision: Revision) -> bool:
        """Return True if a revision has it, on the wire or embedded."""
        spans = (self.client, self.server, self.embedded)
        return any(span is not None and revision in span for span in spans)


# Rows hold the names of types, as most programs import those of a few methods only.
@cache
def _type(name: str) -> type[Struct]:
    module, _, own = name.partition(".")
    found: type[Struct] = getattr(import_module(f"mcpcore.spec.types.{module}"), own)
    return found


_ALWAYS = Span(REVISIONS[0], REVISIONS[-1])
_LEGACY = Span(LEGACY[0], LEGACY[-1])
_MODERN = Span(MODERN[0], MODERN[-1])
_SINCE_2025_06_18 = Span(BY_NAME["2025-06-18"], LEGACY[-1])
_ONLY_2025_11_25 = Span(BY_NAME["2025-11-25"], BY_NAME["2025-11-25"])
_NOTIFICATION = MethodKind.NOTIFICATION
_TASKS = f"extensions.{TASKS_EXTENSION}"
_SKILLS = f"extensions.{SKILLS_EXTENSION}"


def _page(name: str, result_type: str, capability: str) -> Method:
    """Make the row of a request for one page of a list."""
    return Method(
        name,
        client=_ALWAYS,
        params_type="base.PaginatedParams",
        result_type=result_type,
        capability=capability,
        cacheable=True,
    )


def _list_changed(feature: str) -> Method:
    """Make the row of the notification that a list of the server has changed."""
    return Method(
        f"notifications/{feature}/list_changed",
        server=_ALWAYS,
        capability=f"{feature}.listChanged",
        filter=f"{feature}_list_changed",
    )


def _setting(name: str, params_type: str, capability: str, subject: str | None = None) -> Method:
    """Make the row of a request by which a client sets something of its session (legacy)."""
    return Method(
        name,
        client=_LEGACY,
        params_type=params_type,
        result_type="base.EmptyResult",
        capability=capability,
        subject=subject,
    )


def _experimental(name: str, params_type: str, result_type: str | None, capability: str) -> Method:
    """Make a row of the experimental tasks, which either side may have."""
    return Method(
        name,
        client=_ONLY_2025_11_25,
        server=_ONLY_2025_11_25,
        params_type=params_type,
        result_type=result_type,
        capability=capability,
    )


def _task(name: str, params_type: str, result_type: str) -> Method:
    """Make the row of a request of the tasks extension."""
    return Method(
        name,
        client=_MODERN,
        params_type=params_type,
        result_type=result_type,
        capability=_TASKS,
        peer_capability=_TASKS,
        subject="taskId",
        header=True,
        extension=TASKS_EXTENSION,
    )


def _skill(
    name: str,
    params_type: str,
    result_type: str,
    subject: str | None = None,
    capability: str = _SKILLS,
) -> Method:
    """Make the row of a request of the skills extension."""
    return Method(
        name,
        client=_MODERN,
        params_type=params_type,
        result_type=result_type,
        capability=capability,
        subject=subject,
        cacheable=capability == _SKILLS,
        extension=SKILLS_EXTENSION,
    )


METHODS: tuple[Method, ...] = (
    # Lifecycle
    Method(
        "initialize",
        client=_LEGACY,
        params_type="lifecycle.InitializeParams",
        result_type="lifecycle.InitializeResult",
    ),
    Method("notifications/initialized", client=_LEGACY),
    Method("ping", client=_LEGACY, server=_LEGACY, result_type="base.EmptyResult"),
    Method(
        "server/discover", client=_MODERN, result_type="lifecycle.DiscoverResult", cacheable=True
    ),
    Method(
        "notifications/cancelled",
        client=_ALWAYS,
        server=_ALWAYS,
        params_type="base.CancelledParams",
        about=frozenset({"subscriptions/listen"}),
    ),
    Method(
        "notifications/progress", client=_LEGACY, server=_ALWAYS, params_type="base.ProgressParams"
    ),
    # Tools
    _page("tools/list", "tools.ListToolsResult", "tools"),
    Method(
        "tools/call",
        client=_ALWAYS,
        params_type="tools.CallToolParams",
        result_type="tools.CallToolResult",
        capability="tools",
        task_capability="tasks.requests.tools.call",
        task_extension=TASKS_EXTENSION,
        subject="name",
        header=True,
        header_params=True,
        needs_input=True,
    ),
    _list_changed("tools"),
    # Resources
    _page("resources/list", "resources.ListResourcesResult", "resources"),
    _page("resources/templates/list", "resources.ListResourceTemplatesResult", "resources"),
    Method(
        "resources/read",
        client=_ALWAYS,
        params_type="resources.ReadResourceParams",
        result_type="resources.ReadResourceResult",
        capability="resources",
        subject="uri",
        header=True,
        needs_input=True,
        cacheable=True,
    ),
    _setting("resources/subscribe", "resources.SubscribeParams", "resources.subscribe", "uri"),
    _setting("resources/unsubscribe", "resources.UnsubscribeParams", "resources.subscribe", "uri"),
    _list_changed("resources"),
    Method(
        "notifications/resources/updated",
        server=_ALWAYS,
        params_type="resources.ResourceUpdatedParams",
        capability="resources.subscribe",
        filter="resource_subscriptions",
    ),
    # Prompts and completion
    _page("prompts/list", "prompts.ListPromptsResult", "prompts"),
    Method(
        "prompts/get",
        client=_ALWAYS,
        params_type="prompts.GetPromptParams",
        result_type="prompts.GetPromptResult",
        capability="prompts",
        subject="name",
        header=True,
        needs_input=True,
    ),
    _list_changed("prompts"),
    Method(
        "completion/complete",
        client=_ALWAYS,
        params_type="prompts.CompleteParams",
        result_type="prompts.CompleteResult",
        capability="completions",
        capability_since=BY_NAME["2025-03-26"],
    ),
    # Logging
    _setting("logging/setLevel", "lifecycle.SetLevelParams", "logging"),
    Method(
        "notifications/message",
        server=_ALWAYS,
        params_type="lifecycle.LoggingMessageParams",
        capability="logging",
    ),
    # Subscriptions
    Method(
        "subscriptions/listen",
        client=_MODERN,
        params_type="lifecycle.SubscriptionsListenParams",
        result_type="lifecycle.SubscriptionsListenResult",
    ),
    Method(
        "notifications/subscriptions/acknowledged",
        server=_MODERN,
        params_type="lifecycle.SubscriptionsAcknowledgedParams",
    ),
    # Requests of a server to a client
    Method(
        "sampling/createMessage",
        server=_LEGACY,
        embedded=_MODERN,
        params_type="client_features.CreateMessageParams",
        result_type="client_features.CreateMessageResult",
        capability="sampling",
        task_capability="tasks.requests.sampling.createMessage",
    ),
    Method(
        "elicitation/create",
        server=_SINCE_2025_06_18,
        embedded=_MODERN,
        params_type="client_features.ElicitParams",
        result_type="client_features.ElicitResult",
        capability="elicitation",
        task_capability="tasks.requests.elicitation.create",
    ),
    Method(
        "notifications/elicitation/complete",
        server=_ONLY_2025_11_25,
        params_type="client_features.ElicitationCompleteParams",
        peer_capability="elicitation.url",
    ),
    Method(
        "roots/list",
        server=_LEGACY,
        embedded=_MODERN,
        result_type="client_features.ListRootsResult",
        capability="roots",
    ),
    Method("notifications/roots/list_changed", client=_LEGACY, capability="roots.listChanged"),
    # Tasks, experimental (2025-11-25)
    _experimental("tasks/get", "tasks.TaskParams", "tasks.TaskResult", "tasks"),
    _experimental("tasks/result", "tasks.TaskParams", "tasks.GetTaskPayloadResult", "tasks"),
    _experimental("tasks/list", "base.PaginatedParams", "tasks.ListTasksResult", "tasks.list"),
    _experimental("tasks/cancel", "tasks.TaskParams", "tasks.TaskResult", "tasks.cancel"),
    _experimental("notifications/tasks/status", "tasks.TaskStatusParams", None, "tasks"),
    # Tasks, extension
    _task("tasks/get", "tasks.TaskParams", "tasks.TaskResult"),
    _task("tasks/update", "tasks.UpdateTaskParams", "base.EmptyResult"),
    _task("tasks/cancel", "tasks.TaskParams", "base.EmptyResult"),
    Method(
        "notifications/tasks",
        server=_MODERN,
        params_type="tasks.TaskStatusParams",
        capability=_TASKS,
        peer_capability=_TASKS,
        filter="task_ids",
        extension=TASKS_EXTENSION,
    ),
    # Skills, extension
    _skill("skills/list", "base.PaginatedParams", "skills.ListSkillsResult"),
    _skill("skills/get", "skills.GetSkillParams", "skills.GetSkillResult", "uri"),
    _skill(
        "resources/directory/read",
        "skills.ReadDirectoryParams",
        "skills.ReadDirectoryResult",
        "uri",
        f"{_SKILLS}/directoryRead",
    ),
)
"""All rows."""


def _resolve(row: Method, sender: str, revision: Revision) -> Method:
    """Return ``row`` without the rules that do not hold in ``revision``."""
    lone_server = sender == "server" and not revision.server_requests
    has_capability = revision in Span(row.capability_since, REVISIONS[-1])
    resolved = structs.replace(
        row,
        capability=row.capability if has_capability else None,
        task_capability=row.task_capability if revision in _ONLY_2025_11_25 else None,
        task_extension=row.task_extension if revision.modern else None,
        about=row.about if lone_server else None,
        header=row.header and revision.mirror_headers,
        header_params=row.header_params and revision.mirror_headers,
        filter=row.filter if revision.modern else None,
        needs_input=row.needs_input and revision.input_rounds,
        cacheable=row.cacheable and revision.cache_hints,
    )
    return row if resolved == row else resolved


_WIRE: dict[tuple[str, str, Revision], Method] = {
    (row.name, sender, revision): _resolve(row, sender, revision)
    for row in METHODS
    for sender, span in (("client", row.client), ("server", row.server))
    if span is not None
    for revision in REVISIONS
    if revision in span
}

_EMBEDDED: dict[tuple[str, Revision], Method] = {
    (row.name, revision): _resolve(row, "server", revision)
    for row in METHODS
    if row.embedded is not None
    for revision in REVISIONS
    if revision in row.embedded
}

REPEATABLE = frozenset(
    {
        *("initialize", "ping", "server/discover", "logging/setLevel"),
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
        *("resources/read", "resources/subscribe", "resources/unsubscribe"),
        *("tasks/get", "tasks/result", "tasks/list"),
        *("skills/list", "skills/get", "resources/directory/read"),
    }
)
"""Requests that may reach the other side twice: the second time changes only a connection."""

SUBJECTS = {row.name: row.subject for row in METHODS if row.subject is not None}
"""Members of params with what a request is about, by method."""

KNOWN_METHODS = frozenset(row.name for row in METHODS)
"""All methods of all revisions; any other method belongs to an extension."""

MODERN_ONLY = KNOWN_METHODS.difference(
    row.name for row in METHODS if any(map(row.occurs_in, LEGACY))
)
"""Methods that exist in the modern era only."""


def lookup(method: str, sender: str, revision: Revision) -> Method | None:
    """Return the row of a method that ``sender`` (``client`` or ``server``) may send on the wire.

    Rules of other revisions than ``revision`` are blanked.  None if there is no such method there.
    """
    return _WIRE.get((method, sender, revision))


def probe_method(revision: Revision) -> str:
    """Return the request that shows that a server answers: ``ping`` or ``server/discover``."""
    return "server/discover" if lookup("ping", "client", revision) is None else "ping"


def lookup_embedded(method: str, revision: Revision) -> Method | None:
    """Return the row of a request that a server may embed in an input round, or None."""
    return _EMBEDDED.get((method, revision))
