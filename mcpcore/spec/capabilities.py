"""Capabilities as dotted paths: checks if one is declared, and which one a request needs.

A path is made of wire names: ``tools``, ``resources.subscribe``, ``elicitation.url``,
``extensions.io.modelcontextprotocol/tasks`` (after ``extensions`` and ``experimental`` the rest is
one key, dots included; a second slash comes before a setting of the extension).  Source: the
lifecycle page (legacy), the versioning page (modern) and the pages of the client features.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import BY_NAME, MODERN, REVISIONS, Revision, Span
from mcpcore.spec.types.capabilities import (
    ClientCapabilities,
    ElicitationCapability,
    SamplingCapability,
    ServerCapabilities,
)
from mcpcore.spec.types.model import Maybe, Model

Capabilities = ClientCapabilities | ServerCapabilities
C = TypeVar("C", bound=Capabilities)

TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
"""Identifier of the tasks extension."""
SKILLS_EXTENSION = "io.modelcontextprotocol/skills"
"""Identifier of the skills extension."""
APPS_EXTENSION = "io.modelcontextprotocol/ui"
"""Identifier of the extension for apps."""
APP_TYPE = "text/html;profile=mcp-app"
"""Media type of the document of an app."""
_OF_MODERN = frozenset({TASKS_EXTENSION, SKILLS_EXTENSION})
"""Extensions that are specified for the modern revisions alone."""

_KEYED = frozenset({"extensions", "experimental"})
"""Capabilities whose members are named outside of the specification."""

_FLAGS = frozenset({"listChanged", "subscribe", "directoryRead"})
"""Members that are true or false; all others are objects."""

_EXPERIMENTAL_TASKS = (BY_NAME["2025-11-25"],)
"""Revisions that have the capability ``tasks``."""

_ELICITATION = Span(BY_NAME["2025-06-18"], REVISIONS[-1])
"""Revisions that have elicitation at all."""
_KINDS_OF_INPUT = Span(BY_NAME["2025-11-25"], REVISIONS[-1])
"""Revisions in which elicitation has modes, and sampling has tools and context."""


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str, ...]:
    head, dot, rest = path.partition(".")
    if head in _KEYED and dot:
        prefix, slash, name = rest.partition("/")
        key, _, setting = name.partition("/")
        return (head, prefix + slash + key, *filter(None, (setting,)))
    return tuple(path.split("."))


def _walk(capabilities: Any, path: str) -> bool:
    value = capabilities
    for step in _steps(path):
        if isinstance(value, Mapping):
            value = value.get(step)
        else:
            value = getattr(value, _ATTRIBUTES.get(step, step), None)
        if value is None or value is False:
            return False
    return True


_ATTRIBUTES = {
    "listChanged": "list_changed",
    "createMessage": "create_message",
    "toolChoice": "tool_choice",
}


def declares(capabilities: Capabilities, path: str) -> bool:
    """Return True if ``capabilities`` contain ``path``; a flag must be true, an object present."""
    if _walk(capabilities, path):
        return True
    # Elicitation without a mode means forms.
    implied = path == "elicitation.form" and _walk(capabilities, "elicitation")
    return implied and not _walk(capabilities, "elicitation.url")


def shows_apps(capabilities: ClientCapabilities) -> bool:
    """Return True if a client has declared that it shows the documents of apps."""
    types = (capabilities.extensions or {}).get(APPS_EXTENSION, {}).get("mimeTypes")
    return isinstance(types, list) and APP_TYPE in types


def requirement(path: str) -> dict[str, Any]:
    """Return the capabilities object that declares ``path``, for ``data.requiredCapabilities``."""
    steps = _steps(path)
    value: Any = True if steps[-1] in _FLAGS else {}
    for step in reversed(steps):
        value = {step: value}
    return dict(value)


def in_revision(capabilities: C, revision: Revision) -> C:
    """Return the part of ``capabilities`` that may be declared in ``revision``.

    Tasks are a capability in one revision and an extension in later ones, as skills are; where
    elicitation has no modes it means forms.  Other extensions may be declared in every revision,
    as the capabilities of ``schema.ts`` are "not a closed set" in any.
    """
    if capabilities.tasks is not None and revision not in _EXPERIMENTAL_TASKS:
        capabilities = structs.replace(capabilities, tasks=None)
    extensions = capabilities.extensions
    if extensions is not None and _OF_MODERN & extensions.keys() and revision not in MODERN:
        rest = {name: value for name, value in extensions.items() if name not in _OF_MODERN}
        capabilities = structs.replace(capabilities, extensions=rest or None)
    if isinstance(capabilities, ClientCapabilities):
        capabilities = _input_in_revision(capabilities, revision)
    return known_members(capabilities, revision)


def _input_in_revision(capabilities: Any, revision: Revision) -> Any:
    if revision in _KINDS_OF_INPUT:
        return capabilities
    forms = revision in _ELICITATION and declares(capabilities, "elicitation.form")
    return structs.replace(
        capabilities,
        elicitation=ElicitationCapability() if forms else None,
        sampling=None if capabilities.sampling is None else SamplingCapability(),
    )


class _InputSkim(Model):
    mode: Any = None
    tools: Maybe[Raw] = None
    tool_choice: Maybe[Raw] = None


_input_skim = msgspec.json.Decoder(_InputSkim)


def input_capability(method: str, params: Struct | Mapping[str, Any] | Raw | None) -> str | None:
    """Return the path that a client must have declared to be sent ``method`` with ``params``.

    None if ``method`` is no request to a client.  Raises msgspec.DecodeError for params that are
    raw and no JSON object.
    """
    source: Any = _input_skim.decode(params) if isinstance(params, Raw) else params

    def member(name: str) -> Any:
        if isinstance(source, Mapping):
            return source.get(name)
        return getattr(source, _ATTRIBUTES.get(name, name), None)

    if method == "sampling/createMessage":
        plain = member("tools") is None and member("toolChoice") is None
        return "sampling" if plain else "sampling.tools"
    if method == "elicitation/create":
        return "elicitation.url" if member("mode") == "url" else "elicitation.form"
    return "roots" if method == "roots/list" else None
