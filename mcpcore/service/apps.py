"""Apps of a server: tools that hosts show in a document of HTML, and these documents.

Source: the specification of the extension ``io.modelcontextprotocol/ui`` (SEP-1865).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from mcpcore.service import declarations
from mcpcore.service.resources import ResourceOptions
from mcpcore.spec import apps
from mcpcore.spec.capabilities import APP_TYPE
from mcpcore.spec.types.base import META_APP


class AppOptions(ResourceOptions, total=False):
    """Options of the document of an app, which is a resource."""

    csp: Mapping[str, Sequence[str]]
    """Origins that the document needs, by ``connectDomains`` (requests), ``resourceDomains``
    (scripts, styles, images, fonts, media), ``frameDomains`` and ``baseUriDomains``; hosts block
    all others.  Default: none."""
    permissions: Collection[str]
    """Features of the browser that it asks for: ``camera``, ``microphone``, ``geolocation``,
    ``clipboardWrite``."""
    domain: str
    """Origin of its own for the document, in the form that the host has for it."""
    prefers_border: bool
    """True to ask for a border and a background, False for none; default: the host decides."""


class ToolApp(Struct, frozen=True):
    """App of a tool: the document that shows its results, and who may call the tool.

    ``uri``: the document's, ``ui://...``; None: none, the tool is for the documents of others.
    ``visibility``: ``model``, ``app``, or (default) both.  A tool for apps alone is not listed for
    clients that show none.  Raises ValueError for another URI or visibility.

    >>> ToolApp("ui://weather/map", visibility=["app"]).meta()["ui"]
    {'resourceUri': 'ui://weather/map', 'visibility': ['app']}
    """

    uri: str | None = None
    visibility: Collection[str] = apps.VISIBILITY

    def __post_init__(self) -> None:
        _refuse(apps.tool_problems(self.meta()))

    @property
    def only(self) -> bool:
        """True if only apps may call the tool."""
        return "model" not in self.visibility

    def meta(self) -> dict[str, Any]:
        """Return the members of the tool's ``_meta``."""
        ui: dict[str, Any] = {} if self.uri is None else {"resourceUri": self.uri}
        flat = {} if self.uri is None else {META_APP: self.uri}
        return {"ui": {**ui, "visibility": list(self.visibility)}, **flat}


def resource_options(uri: str, html: Any, options: AppOptions) -> ResourceOptions:
    """Return the options of the resource that a document is.  Raises TypeError, ValueError."""
    declarations.check_options(options, AppOptions)
    rest: Any = dict(options)
    permissions = rest.pop("permissions", None)
    given = {
        "csp": rest.pop("csp", None),
        "permissions": None if permissions is None else {name: {} for name in permissions},
        "domain": rest.pop("domain", None),
        "prefersBorder": rest.pop("prefers_border", None),
    }
    ui = {name: value for name, value in given.items() if value is not None}
    meta = rest.get("meta", {})
    rest["meta"] = {**meta, **({"ui": {**meta.get("ui", {}), **ui}} if ui else {})}
    made: ResourceOptions = rest
    media_type = made.setdefault("mime_type", APP_TYPE)
    _refuse(apps.document_problems(uri, media_type, made["meta"]))
    if isinstance(html, str | bytes):
        text = html if isinstance(html, str) else html.decode()
        if not apps.is_document(text):
            raise ValueError("the document has to begin with <!doctype html>")
    return made


def _refuse(problems: Iterator[str]) -> None:
    if (problem := next(problems, None)) is not None:
        raise ValueError(problem)
