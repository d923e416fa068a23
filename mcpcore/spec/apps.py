"""Apps as the extension ``io.modelcontextprotocol/ui`` has them: metadata, and its checks.

Source: the specification of the extension (SEP-1865), version 2026-01-26.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mcpcore.spec.capabilities import APP_TYPE
from mcpcore.spec.types.base import META_APP

VISIBILITY = ("model", "app")
"""Parties that may call a tool; both, if it does not say."""

_PERMISSIONS = frozenset({"camera", "microphone", "geolocation", "clipboardWrite"})
_DOMAINS = frozenset({"connectDomains", "resourceDomains", "frameDomains", "baseUriDomains"})
_URI = re.compile(r"ui://[^\x00-\x20\x7f]+")
_HOST = r"(?:(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
_ORIGIN = re.compile(rf"(?:https?|wss?)://{_HOST}(?::[0-9]{{1,5}})?")
_DOCUMENT = re.compile(
    r"\ufeff?(?>\s|<!--.*?-->)*+<!doctype\s+html[\s>]", re.DOTALL | re.IGNORECASE
)


def app_of(meta: Any) -> str | None:
    """Return the URI of a tool's app, from its ``_meta``, None without one."""
    if not isinstance(meta, Mapping):
        return None
    ui = meta.get("ui")
    uri = ui.get("resourceUri") if isinstance(ui, Mapping) else None
    found = meta.get(META_APP) if uri is None else uri
    return found if isinstance(found, str) else None


def is_document(html: str) -> bool:
    """Return True if a text begins as an HTML5 document does: with its doctype."""
    return _DOCUMENT.match(html) is not None


def tool_problems(meta: Any) -> Iterator[str]:
    """Yield what is wrong with the ``_meta`` of a tool, as far as it is about an app."""
    if not isinstance(meta, Mapping):
        return
    ui = meta.get("ui", {})
    if not isinstance(ui, Mapping):
        yield "ui: expected an object"
        return
    nested, flat = ui.get("resourceUri"), meta.get(META_APP)
    for name, uri in (("ui.resourceUri", nested), (META_APP, flat)):
        if uri is not None and not (isinstance(uri, str) and _URI.fullmatch(uri)):
            yield f"{name}: expected a URI that begins with ui://, got {uri!r:.80}"
    if nested is None and flat is not None:
        yield f"{META_APP} is deprecated, and ui.resourceUri is missing"
    elif flat not in (None, nested):
        yield f"ui.resourceUri and {META_APP} differ"
    visibility = ui.get("visibility", VISIBILITY)
    good = isinstance(visibility, list | tuple) and visibility
    if not good or any(each not in VISIBILITY for each in visibility):
        yield f"ui.visibility: expected one or both of {VISIBILITY}, got {visibility!r:.80}"


def document_problems(uri: Any, media_type: Any, meta: Any) -> Iterator[str]:
    """Yield what is wrong with the resource of an app, listed or read."""
    if not (isinstance(uri, str) and _URI.fullmatch(uri)):
        yield f"expected a URI that begins with ui://, got {uri!r:.80}"
    if media_type != APP_TYPE:
        yield f"mimeType: expected {APP_TYPE!r}, got {media_type!r:.80}"
    ui = meta.get("ui", {}) if isinstance(meta, Mapping) else {}
    if not isinstance(ui, Mapping):
        yield "ui: expected an object"
        return
    for name, problems in _MEMBERS.items():
        if name in ui:
            yield from problems(ui[name])


def _csp_problems(csp: Any) -> Iterator[str]:
    if not isinstance(csp, Mapping):
        yield "ui.csp: expected an object"
        return
    for name, domains in csp.items():
        if name not in _DOMAINS:
            yield f"ui.csp: {name!r:.80} is none of {', '.join(sorted(_DOMAINS))}"
        elif not isinstance(domains, list | tuple):
            yield f"ui.csp.{name}: expected a list of origins"
        else:
            for each in domains:
                if not (isinstance(each, str) and _ORIGIN.fullmatch(each)):
                    yield f"ui.csp.{name}: {each!r:.80} is no origin, such as https://example.com"


def _permission_problems(permissions: Any) -> Iterator[str]:
    if not isinstance(permissions, Mapping):
        yield "ui.permissions: expected an object"
        return
    for name, value in permissions.items():
        if name not in _PERMISSIONS:
            yield f"ui.permissions: {name!r:.80} is none of {', '.join(sorted(_PERMISSIONS))}"
        elif not isinstance(value, Mapping):
            yield f"ui.permissions.{name}: expected an object"


def _of_type(name: str, type: type) -> Callable[[Any], Iterator[str]]:
    def problems(value: Any) -> Iterator[str]:
        if not isinstance(value, type):
            yield f"ui.{name}: expected {type.__name__}, got {value!r:.80}"

    return problems


_MEMBERS: dict[str, Callable[[Any], Iterator[str]]] = {
    "csp": _csp_problems,
    "permissions": _permission_problems,
    "domain": _of_type("domain", str),
    "prefersBorder": _of_type("prefersBorder", bool),
}
"""Members of the metadata of an app's resource; others are for the future."""
