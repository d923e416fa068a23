"""Capabilities that clients and servers declare.

A sub-capability is a Struct, so that ``{}`` (declared, nothing special) differs from absence.
Source: the lifecycle page (legacy) and the versioning page (modern) of the specification.
"""

from typing import Any

from mcpcore.spec.types.model import Maybe, Model

Settings = dict[str, Any]
"""Capability without members of its own: an object, usually empty, kept as it is."""


class RootsCapability(Model, kw_only=True):
    """Roots of a client; ``list_changed``: it notifies when they change (legacy)."""

    list_changed: bool = False


class SamplingCapability(Model, kw_only=True):
    """Sampling from a client's model; with ``context``, with ``tools``."""

    context: Maybe[Settings] = None
    tools: Maybe[Settings] = None


class ElicitationCapability(Model, kw_only=True):
    """Elicitation from a client's user, by form or by URL; neither named means form."""

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
    """Requests that may run as tasks: on a server those of tools, on a client the rest."""

    sampling: Maybe[SamplingTasks] = None
    elicitation: Maybe[ElicitationTasks] = None
    tools: Maybe[ToolTasks] = None


class TasksCapability(Model, kw_only=True):
    """Experimental tasks of 2025-11-25; later ones are an extension."""

    list: Maybe[Settings] = None
    cancel: Maybe[Settings] = None
    requests: Maybe[TaskRequests] = None


class ClientCapabilities(Model, kw_only=True):
    """Capabilities of a client."""

    experimental: Maybe[dict[str, Settings]] = None
    roots: Maybe[RootsCapability] = None
    sampling: Maybe[SamplingCapability] = None
    elicitation: Maybe[ElicitationCapability] = None
    tasks: Maybe[TasksCapability] = None
    extensions: Maybe[dict[str, Settings]] = None


class PromptsCapability(Model, kw_only=True):
    """Prompts of a server; ``list_changed``: it notifies when their list changes."""

    list_changed: bool = False


class ResourcesCapability(Model, kw_only=True):
    """Resources of a server; ``subscribe``: it notifies when one of them changes."""

    subscribe: bool = False
    list_changed: bool = False


class ToolsCapability(Model, kw_only=True):
    """Tools of a server; ``list_changed``: it notifies when their list changes."""

    list_changed: bool = False


class ServerCapabilities(Model, kw_only=True):
    """Capabilities of a server."""

    experimental: Maybe[dict[str, Settings]] = None
    logging: Maybe[Settings] = None
    completions: Maybe[Settings] = None
    prompts: Maybe[PromptsCapability] = None
    resources: Maybe[ResourcesCapability] = None
    tools: Maybe[ToolsCapability] = None
    tasks: Maybe[TasksCapability] = None
    extensions: Maybe[dict[str, Settings]] = None
