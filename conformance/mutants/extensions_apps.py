"""Mutants of the extension io.modelcontextprotocol/ui."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import each, over, put, where
from conformance.mutants.fault import Breaks, Value
from conformance.mutants.faults import misread, results_of
from conformance.mutants.model import Table
from mcpcore_conformance.cases.extensions_apps import FLAT, SINCE_META, TYPE
from mcpcore_conformance.kit.shapes import APPS

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
table = Table("extensions/apps")


def _tools(edit: Callable[[Value], Value]) -> Breaks:
    """Edit the ``_meta`` of each tool that has an app."""
    change = over("_meta", where(lambda meta: "ui" in meta, edit))
    return results_of("tools/list", over("tools", each(change)))


def _ui(**members: Any) -> Breaks:
    return _tools(over("ui", put(**members)))


def _documents(edit: Callable[[Value], Value]) -> Breaks:
    """Edit the contents of each document."""
    change = where(lambda one: one.get("mimeType") == TYPE, edit)
    return results_of("resources/read", over("contents", each(change)))


def _rules(**members: Any) -> Breaks:
    return _documents(
        lambda one: {**one, "_meta": {"ui": {**one.get("_meta", {}).get("ui", {}), **members}}}
    )


def _declares(value: Any, payload: bytes) -> Any:
    """Let the server read that the client shows apps, whatever it declares."""
    params = value.get("params") if isinstance(value, dict) else None
    if not isinstance(params, dict):
        return payload
    holder, name = params.get("_meta", {}), CAPABILITIES
    if value.get("method") == "initialize":
        holder, name = params, "capabilities"
    if name not in holder:
        return payload
    holder[name]["extensions"] = {APPS: {"mimeTypes": [TYPE]}}
    return value


def _add(kills: str | tuple[str, ...], rows: dict[str, tuple[str, Breaks]]) -> None:
    names = (kills,) if isinstance(kills, str) else kills
    for slug, (summary, fault) in rows.items():
        table.server(slug, *names, revisions=SINCE_META).does(summary, fault)


_add(
    "resource-discovery/metadata",
    {
        "web-page": ("Has web pages as apps.", _ui(resourceUri="https://example.com")),
        "visible-to-users": ("Has another visibility.", _ui(visibility=["user"])),
        "visibility-text": ("Has one word as visibility.", _ui(visibility="app")),
        "flat-alone": ("Has the deprecated key alone.", _tools(lambda meta: {FLAT: meta[FLAT]})),
        "two-apps": (
            "Has another app under the deprecated key.",
            _tools(put(**{FLAT: "ui://everything/other"})),
        ),
    },
)
_add(
    "content-requirements/document",
    {
        "plain-html": ("Reads documents of another type.", _documents(put(mimeType="text/html"))),
        "fragment": (
            "Has a piece of HTML as document.",
            _documents(put(text="<p>It is noon.</p>")),
        ),
    },
)
_add(
    "ui-resource-format/rules",
    {
        "any-domain": ("Asks for all domains.", _rules(csp={"connectDomains": ["*"]})),
        "paths": (
            "Asks for a path, not an origin.",
            _rules(csp={"resourceDomains": ["https://cdn.example.com/a"]}),
        ),
        "one-domain": (
            "Has a domain where a list is.",
            _rules(csp={"frameDomains": "https://example.com"}),
        ),
        "policy-text": ("Has a policy as text.", _rules(csp="default-src 'none'")),
        "permission-list": ("Lists permissions.", _rules(permissions=["camera"])),
        "permission-true": ("Has true as permission.", _rules(permissions={"camera": True})),
        "border-text": ("Has a text as border.", _rules(prefersBorder="yes")),
    },
)
_add(
    ("content-requirements/document", "ui-resource-format/rules"),
    {
        "app-missing": (
            "Has no document for its tools.",
            _tools(lambda _: {"ui": {"resourceUri": "ui://everything/nowhere"}}),
        )
    },
)
_add(
    "server-behavior/by-capability",
    {"any-client": ("Tells every client of its apps.", misread(_declares))},
)
_add(
    "server-behavior/meaningful-content",
    {"for-apps-alone": ("Has results for apps alone.", results_of("tools/call", put(content=[])))},
)
_add(
    "ui-resource-format/listed",
    {
        "listed-as-html": (
            "Lists documents as another type.",
            results_of(
                "resources/list",
                over(
                    "resources",
                    each(
                        where(lambda one: one["uri"].startswith("ui:"), put(mimeType="text/html"))
                    ),
                ),
            ),
        )
    },
)
