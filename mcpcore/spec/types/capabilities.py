"""What the two sides declare they can do.

A sub-capability is a Struct, so that ``{}`` (declared, nothing special) differs from absence.
Source: the lifecycle page (legacy) and the versioning page (modern) of the specification.
"""

from typing import Any

from msgspec import UNSET, UnsetType

from mcpcore.spec.types.model import Model

Settings = dict[str, Any]
"""A capability without members of its own: an object, usually empty, kept as it is."""


class RootsCapability(Model, kw_only=True):
    """The client has roots; ``list_changed``: and says when they change (legacy)."""

    list_changed: bool | UnsetType = UNSET


class SamplingCapability(Model, kw_only=True):
    """The client samples from a model; with ``context``, with ``tools``."""

    context: Settings | UnsetType = UNSET
    tools: Settings | UnsetType = UNSET


class ElicitationCapability(Model, kw_only=True):
    """The client asks its user, by form or by URL; neither named means form."""

    form: Settings | UnsetType = UNSET
    url: Settings | UnsetType = UNSET


class SamplingTasks(Model, kw_only=True):
    """Sampling requests that may run as tasks."""

    create_message: Settings | UnsetType = UNSET


class ElicitationTasks(Model, kw_only=True):
    """Elicitation requests that may run as tasks."""

    create: Settings | UnsetType = UNSET


class ToolTasks(Model, kw_only=True):
    """Tool requests that may run as tasks."""

    call: Settings | UnsetType = UNSET


class TaskRequests(Model, kw_only=True):
    """The requests that may run as tasks: on a server those of tools, on a client the rest."""

    sampling: SamplingTasks | UnsetType = UNSET
    elicitation: ElicitationTasks | UnsetType = UNSET
    tools: ToolTasks | UnsetType = UNSET


class TasksCapability(Model, kw_only=True):
    """The experimental tasks of 2025-11-25; later ones are an extension."""

    list: Settings | UnsetType = UNSET
    cancel: Settings | UnsetType = UNSET
    requests: TaskRequests | UnsetType = UNSET


class ClientCapabilities(Model, kw_only=True):
    """What a client can do."""

    experimental: dict[str, Settings] | UnsetType = UNSET
    roots: RootsCapability | UnsetType = UNSET
    sampling: SamplingCapability | UnsetType = UNSET
    elicitation: ElicitationCapability | UnsetType = UNSET
    tasks: TasksCapability | UnsetType = UNSET
    extensions: dict[str, Settings] | UnsetType = UNSET


class PromptsCapability(Model, kw_only=True):
    """The server offers prompts."""

    list_changed: bool | UnsetType = UNSET


class ResourcesCapability(Model, kw_only=True):
    """The server offers resources; ``subscribe``: and says when one of them changes."""

    subscribe: bool | UnsetType = UNSET
    list_changed: bool | UnsetType = UNSET


class ToolsCapability(Model, kw_only=True):
    """The server offers tools."""

    list_changed: bool | UnsetType = UNSET


class ServerCapabilities(Model, kw_only=True):
    """What a server can do."""

    experimental: dict[str, Settings] | UnsetType = UNSET
    logging: Settings | UnsetType = UNSET
    completions: Settings | UnsetType = UNSET
    prompts: PromptsCapability | UnsetType = UNSET
    resources: ResourcesCapability | UnsetType = UNSET
    tools: ToolsCapability | UnsetType = UNSET
    tasks: TasksCapability | UnsetType = UNSET
    extensions: dict[str, Settings] | UnsetType = UNSET
