"""What the two sides declare they can do.

A sub-capability is a Struct, so that ``{}`` (declared, nothing special) differs from absence.
Source: the lifecycle page (legacy) and the versioning page (modern) of the specification.
"""

from typing import Any

from mcpcore.spec.types.model import Maybe, Model

Settings = dict[str, Any]
"""A capability without members of its own: an object, usually empty, kept as it is."""


class RootsCapability(Model, kw_only=True):
    """The client has roots; ``list_changed``: and says when they change (legacy)."""

    list_changed: bool = False


class SamplingCapability(Model, kw_only=True):
    """The client samples from a model; with ``context``, with ``tools``."""

    context: Maybe[Settings] = None
    tools: Maybe[Settings] = None


class ElicitationCapability(Model, kw_only=True):
    """The client asks its user, by form or by URL; neither named means form."""

    form: Maybe[Settings] = None
    url: Maybe[Settings] = None


class SamplingTasks(Model, kw_only=True):
    """Sampling requests that may run as tasks."""

    create_message: Maybe[Settings] = None


class ElicitationTasks(Model, kw_only=True):
    """Elicitation requests that may run as tasks."""

    create: Maybe[Settings] = None


class ToolTasks(Model, kw_only=True):
    """Tool requests that may run as tasks."""

    call: Maybe[Settings] = None


class TaskRequests(Model, kw_only=True):
    """The requests that may run as tasks: on a server those of tools, on a client the rest."""

    sampling: Maybe[SamplingTasks] = None
    elicitation: Maybe[ElicitationTasks] = None
    tools: Maybe[ToolTasks] = None


class TasksCapability(Model, kw_only=True):
    """The experimental tasks of 2025-11-25; later ones are an extension."""

    list: Maybe[Settings] = None
    cancel: Maybe[Settings] = None
    requests: Maybe[TaskRequests] = None


class ClientCapabilities(Model, kw_only=True):
    """What a client can do."""

    experimental: Maybe[dict[str, Settings]] = None
    roots: Maybe[RootsCapability] = None
    sampling: Maybe[SamplingCapability] = None
    elicitation: Maybe[ElicitationCapability] = None
    tasks: Maybe[TasksCapability] = None
    extensions: Maybe[dict[str, Settings]] = None


class PromptsCapability(Model, kw_only=True):
    """The server offers prompts."""

    list_changed: bool = False


class ResourcesCapability(Model, kw_only=True):
    """The server offers resources; ``subscribe``: and says when one of them changes."""

    subscribe: bool = False
    list_changed: bool = False


class ToolsCapability(Model, kw_only=True):
    """The server offers tools."""

    list_changed: bool = False


class ServerCapabilities(Model, kw_only=True):
    """What a server can do."""

    experimental: Maybe[dict[str, Settings]] = None
    logging: Maybe[Settings] = None
    completions: Maybe[Settings] = None
    prompts: Maybe[PromptsCapability] = None
    resources: Maybe[ResourcesCapability] = None
    tools: Maybe[ToolsCapability] = None
    tasks: Maybe[TasksCapability] = None
    extensions: Maybe[dict[str, Settings]] = None
