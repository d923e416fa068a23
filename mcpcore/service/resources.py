"""Resources and resource templates: declared, found by URI, read.

Source: the resources page of each revision.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Self

from msgspec import Raw
from msgspec.structs import replace

from mcpcore.errors import (
    InvalidValue,
    OutputMismatch,
    ResourceError,
    ResourceNotFound,
    UnsafeValue,
)
from mcpcore.service import declarations
from mcpcore.service.content import contents, json_value
from mcpcore.service.handlers import Declaration, Prepared
from mcpcore.service.reading import StringHandler
from mcpcore.service.schema import Validator
from mcpcore.service.uri_templates import UriTemplate
from mcpcore.spec.capabilities import APP_TYPE
from mcpcore.spec.errors import McpError
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Annotations
from mcpcore.spec.types.content import ResourceContents
from mcpcore.spec.types.resources import ReadResourceResult, Resource, ResourceTemplate
from mcpcore.wire.jsontext import to_json

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"
_UNFIT = r"[\x00-\x20\x7f]"


class ResourceOptions(declarations.FeatureOptions, total=False):
    """Options of a resource or a template, beyond its URI and its function."""

    name: str
    """Name; default: that of the function."""
    mime_type: str
    """Media type of strings and bytes; default: text/plain, application/octet-stream."""
    annotations: Annotations | Mapping[str, Any]
    size: int
    """Size in bytes, before any encoding; resources only."""
    unchecked: Collection[str]
    """Variables whose values are not checked, ``..`` included; templates only."""
    ttl_ms: int
    """Milliseconds for which the contents stay fresh; default: the server's."""
    cache_scope: declarations.CacheScope
    """Sharing of kept contents; default: the server's.  Private in any case with ``visible``,
    ``scopes`` or ``roles``."""


class ResourceEntry(Declaration):
    """Resource, or template with its family of resources."""

    def __init__(
        self,
        function: Callable[..., Any],
        uri: str,
        options: ResourceOptions,
        *,
        ttl_ms: int,
        cache_scope: declarations.CacheScope,
        max_uri: int,
        validator: Validator | None = None,
    ) -> None:
        declarations.check_options(options, ResourceOptions)
        self.template: UriTemplate | None = None
        if "{" in uri:
            unchecked = options.get("unchecked", ())
            self.template = UriTemplate(uri, unchecked=unchecked, max_length=max_uri)
        elif "unchecked" in options:
            raise TypeError("only a template has variables that could be unchecked")
        if self.template is not None and "size" in options:
            raise TypeError("a template has no size")
        paths = self.template.paths if self.template else ()
        thread = options.get("thread", False)
        handler = StringHandler(function, validator, thread=thread, paths=paths)
        super().__init__(handler, options.get("visible"), declarations.requirement(options))
        self.bind_values = handler.bind
        self.mime_type = options.get("mime_type")
        variables = set(self.template.variables) if self.template else set()
        parameters = {parameter.name: parameter for parameter in handler.parameters}
        for variable in variables - parameters.keys():
            raise TypeError(f"the function has no parameter for the variable {variable!r}")
        for parameter in parameters.keys() - variables:
            if parameters[parameter].required:
                raise TypeError(f"the URI has no variable for the parameter {parameter!r}")
        self.ttl_ms: int = options.get("ttl_ms", ttl_ms)
        self.cache_scope: declarations.CacheScope = options.get("cache_scope", cache_scope)
        declarations.cache_hints(self.ttl_ms, self.cache_scope)
        ui = options.get("meta", {}).get("ui")
        shown = self.mime_type == APP_TYPE and ui is not None
        self._meta: dict[str, Any] | None = {"ui": ui} if shown else None
        fixed = uri.partition("{")[0]
        if not re.match(_SCHEME, fixed) or re.search(_UNFIT, fixed):
            raise ValueError(f"{fixed!r} is no absolute URI")
        common = {
            "name": options.get("name") or getattr(function, "__name__", None) or uri,
            "mime_type": self.mime_type or None,
            "annotations": declarations.typed(options.get("annotations"), Annotations),
            **declarations.common_members(options, handler.description),
        }
        self.declared = (
            Resource(uri=uri, size=options.get("size"), **common)
            if self.template is None
            else ResourceTemplate(uri_template=uri, **common)
        )

    def renamed(self, key: str, uri: Callable[[str], str]) -> Self:
        """Return a copy with another URI or template."""
        made = super().renamed(key, uri)
        if self.template is None:
            made.declared = replace(self.declared, uri=key)
        else:
            made.template = self.template.renamed(key)
            made.declared = replace(self.declared, uri_template=key)
        return made

    def bind(self, uri: str) -> tuple[Any, ...] | None:
        """Return the values for the handler, None for a URI of others.  Raises UnsafeValue."""
        guarded, template = self.requirement is not None, self.template
        values = {} if template is None else template.match(uri, spelled_anyhow=guarded)
        if values is None:
            return None
        try:
            return self.bind_values(values, uri)
        except InvalidValue:
            return None  # a URI with 'x' in place of a number names nothing

    def refuse_hidden_by(self, templates: Mapping[str, Self], key: str) -> None:
        """Raise ValueError if an earlier template with other requirements answers for this one.

        Then what this one requires would be required of nobody; nor is it to answer so for a later
        one, where it replaces another.  ``templates``: all, in order; ``key``: its own.
        """
        if self.template is None:
            return
        replaced = False
        for text, each in templates.items():
            if text == key:
                replaced = True
            elif replaced and each._is_hidden_by(self):
                raise ValueError(f"it answers for {text!r}: replace or remove that one first")
            elif not replaced and self._is_hidden_by(each):
                raise ValueError(f"{text!r} answers for it: declare that one behind it")

    def _is_hidden_by(self, other: Self) -> bool:
        """Return True if a template in front answers for all of this one and requires other things.

        One that is hidden from some does not count.
        """
        if self.template is None or self.requirement in (None, other.requirement):
            return False
        return other.visible is None and all(map(other.answers, self.template.samples()))

    def answers(self, uri: str) -> bool:
        """Return True if it is the resource of a URI, or a template that matches."""
        try:
            return self.bind(uri) is not None
        except Exception:  # also of a type of the application, which no request has yet
            return False

    def finish(self, value: Any, request: Prepared) -> Raw:
        """Shape text, bytes, contents, or data (as JSON) into the result."""
        if isinstance(value, ReadResourceResult):
            result = request.own(value)
        else:
            result = ReadResourceResult(contents=self._contents(value, request.uri))
            if self._meta is not None:  # hosts look for the rules of an app in its contents
                result.contents = [
                    replace(each, meta={**self._meta, **(each.meta or {})})
                    for each in result.contents
                ]
        if not request.revision.cache_hints:
            result.ttl_ms = result.cache_scope = None
        else:
            if result.ttl_ms is None:
                result.ttl_ms = self.ttl_ms
            elif result.ttl_ms < 0:
                result.ttl_ms = 0  # as clients treat it
            if self.requirement is not None or self.visible is not None:
                result.cache_scope = "private"
            elif result.cache_scope is None:
                result.cache_scope = self.cache_scope
        return Raw(to_json(known_members(result, request.revision)))

    def _contents(self, value: Any, uri: str) -> list[ResourceContents]:
        mime_type = self.mime_type
        if isinstance(value, ResourceContents):
            return [value]
        if isinstance(value, list) and value and isinstance(value[0], ResourceContents):
            if not all(isinstance(item, ResourceContents) for item in value):
                text = "either all items are ResourceContents or none is"
                raise OutputMismatch(text, "the result mixes contents and something else")
            return value
        if isinstance(value, str | bytes | bytearray):
            return [contents(uri, value, mime_type)]
        if value is None:
            raise OutputMismatch("a resource must have contents, got None", "the result is empty")
        text = json_value(value).decode()
        return [contents(uri, text, mime_type or "application/json")]

    def failure(self, error: Exception, told: str | None, request: Prepared) -> Raw:
        """Raise an error with the URI; a resource that is not found has its own code."""
        if isinstance(error, ResourceNotFound):
            raise not_found(request.uri, request.revision, str(error)) from error
        if isinstance(error, ResourceError):
            raise McpError(error.code, str(error), {"uri": request.uri}) from error
        return super().failure(error, told, request)


def find(
    uri: str, static: ResourceEntry | None, templates: Iterable[ResourceEntry], revision: Revision
) -> tuple[ResourceEntry, tuple[Any, ...]]:
    """Return the resource of a URI, or the first template, with values.  Raises McpError.

    What a template with required scopes or roles refuses as dangerous belongs to no other one.
    """
    if static is not None:
        return static, static.bind(uri) or ()
    unsafe: UnsafeValue | None = None
    for entry in templates:
        try:
            values = entry.bind(uri)
        except UnsafeValue as error:
            unsafe = unsafe or error
            if entry.requirement is not None:
                break
            continue
        if values is not None:
            return entry, values
    raise not_found(uri, revision, reason=str(unsafe) if unsafe else None)


def not_found(
    uri: str, revision: Revision, message: str = "Resource not found", reason: str | None = None
) -> McpError:
    """Return the error for a resource that does not exist."""
    data = {"uri": uri} if reason is None else {"uri": uri, "reason": reason}
    return McpError(revision.resource_not_found, message, data)
