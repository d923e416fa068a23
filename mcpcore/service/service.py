"""Server: declared features, and the lookup, checking and answering of its requests.

:class:`Server` does no I/O and awaits nothing.  It declares the features, finds and checks the
target of a request, and shapes the return value of a handler. Calling the handler is the runtime's
part (:class:`~mcpcore.service.prepared.Prepared`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from mcpcore.errors import InvalidValue
from mcpcore.service.outputs import error_result
from mcpcore.service.pagination import Collection
from mcpcore.service.prepared import Listed, Prepared
from mcpcore.service.registry import FOR_ALL, Registry
from mcpcore.service.schema import read, shorten
from mcpcore.spec.decoding import decoder
from mcpcore.spec.errors import INVALID_PARAMS, METHOD_NOT_FOUND, McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Skim
from mcpcore.spec.types.model import Maybe

P = TypeVar("P", bound=Struct)

_decode_name = msgspec.json.Decoder(str).decode
_NO_ARGUMENTS = Raw(b"{}")
_BRACE = ord("{")


class _ListParams(Struct):
    """Params of a list request; a cursor of null counts as none, as some clients send it."""

    cursor: str | None = None


class _Call(Struct):
    """Params of a tool call for the service; ``task`` is left to the runtime."""

    name: str
    arguments: Maybe[Raw] = None


class Server(Registry):
    """Declarations of a server.

    ``name``, ``version``, ``title``, ``description``, ``website_url``, ``icons``: its identity.
    ``instructions``: a hint to models on how to use it.
    ``validator``: compiles JSON Schemas written by hand, see :data:`Validator`, and checks the
    patterns of types (``Meta(pattern=...)``).
    ``page_size``: items in one page of a list.
    ``list_ttl_ms``, ``list_cache_scope``: how long clients may keep lists, and who may share them;
    for all lists, or by list (``tools``, ``resources``, ``templates``, ``prompts``).  A list that
    is not the same for all principals is always private.
    ``read_ttl_ms``, ``read_cache_scope``: the same for resources that declare nothing else.
    ``offers``: the features out of tools, resources, prompts, completions and tasks to declare as
    capabilities even while there are none.
    ``list_changed``, ``subscribe``, ``logging``: True to declare these capabilities.
    ``extensions``, ``experimental``: capabilities declared as they are.
    ``max_uri``: maximum characters of a URI that is read or subscribed to.
    ``max_result``: maximum bytes of a tool's result, unless the tool declares its own; None: no
    limit.
    ``lifespan``: a function, of the server or of nothing, that returns an async context manager. It
    is entered before the first connection and left after the last one, and ``context.lifespan`` is
    the value that it yields.

    >>> server = Server("calculator", version="1.0")
    >>> @server.tool
    ... def add(a: int, b: int = 0) -> int:
    ...     "Adds two numbers."
    ...     return a + b
    >>> @server.resource("notes://{topic}")
    ... def notes(topic: str) -> str:
    ...     return f"Nothing is known about {topic}."
    >>> @server.prompt
    ... def explain(topic: str) -> str:
    ...     return f"Explain {topic} to me."
    >>> @server.completion(prompt="explain", argument="topic")
    ... def topics(typed: str) -> list[str]:
    ...     return [topic for topic in ("algebra", "geometry") if topic.startswith(typed)]
    """

    def prepare(
        self,
        method: str,
        params: Raw | bytes,
        revision: Revision,
        principal: str | None = None,
        skim: Skim | None = None,
    ) -> Prepared:
        """Look up and check the target of a request; ``params`` is its params object.

        ``principal``: the authenticated principal, if any.  ``skim``: the members of ``params``
        that the engine has read, which saves decoding them again.

        Raises McpError: unknown method, unknown tool, prompt or resource, bad params, bad cursor,
        and bad arguments in revisions in which these are an error of the protocol.
        """
        if method != "tools/call":
            return self._prepare_other(method, params, revision, principal)
        if skim is None or skim.name is None:
            name, arguments = _read_call(params)
        else:
            try:
                name, arguments = _decode_name(skim.name), skim.arguments
            except (msgspec.MsgspecError, UnicodeDecodeError):  # the full decoding gives the reason
                name, arguments = _read_call(params)
        entry = self._tools.get(name, principal)
        if entry is None:
            raise McpError(INVALID_PARAMS, shorten(f"Unknown tool: {name}"))
        if arguments is None:
            arguments = _NO_ARGUMENTS
        try:
            values = entry.bind(arguments)
        except InvalidValue as error:
            if memoryview(arguments)[0] != _BRACE:
                raise McpError(INVALID_PARAMS, "params.arguments: Expected object") from None
            if not revision.tool_errors_in_result:
                raise McpError(INVALID_PARAMS, str(error)) from None
            prepared = Prepared(revision, result=error_result(str(error)))
            prepared.error, prepared.failed = error, True
        else:
            prepared = entry.call_type(entry, values, revision)
        if entry.task is not None:
            prepared.task = entry.task
        return prepared

    def _prepare_other(
        self, method: str, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        handler = _METHODS.get(method)
        if handler is not None:
            return handler(self, params, revision, principal)
        entry = self._extension_methods.get(method)
        if entry is None:
            raise McpError(METHOD_NOT_FOUND, f"Method not found: {shorten(method)}")
        from mcpcore.service.extensions import MethodCall

        return MethodCall(entry, entry.bind(params), revision)

    def _page(
        self,
        list: Collection[Any],
        params: Raw | bytes,
        revision: Revision,
        principal: str | None,
    ) -> Prepared:
        cursor = _read(params, _ListParams).cursor
        return Listed(revision, result=list.page(cursor, revision, principal))

    def _read_resource(
        self, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        from mcpcore.service.resources import ResourceRead, find, not_found
        from mcpcore.spec.types.resources import ReadResourceParams

        uri = _read(params, ReadResourceParams).uri
        if len(uri) > self.max_uri:
            raise not_found(shorten(uri), revision, reason=f"longer than {self.max_uri}")
        templates = self._templates.seen_by(principal)
        entry, values = find(uri, self._resources.get(uri, principal), templates, revision)
        return ResourceRead(entry, values, uri, revision)

    def _get_prompt(
        self, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        from mcpcore.service.prompts import PromptGet
        from mcpcore.spec.types.prompts import GetPromptParams

        get = _read(params, GetPromptParams)
        entry = self._prompts.get(get.name, principal)
        if entry is None:
            raise McpError(INVALID_PARAMS, shorten(f"Unknown prompt: {get.name}"))
        arguments = get.arguments or {}
        return PromptGet(entry, entry.bind(arguments), revision)

    def _complete(self, params: Raw | bytes, revision: Revision, principal: str | None) -> Prepared:
        from mcpcore.service.completions import CompletionCall, complete_result
        from mcpcore.spec.types.completion import CompleteParams, PromptReference

        asked = _read(params, CompleteParams)
        if isinstance(asked.ref, PromptReference):
            kind, owner = "prompt", asked.ref.name
            prompt = self._prompts.get(owner, principal)
            if prompt is None:
                raise McpError(INVALID_PARAMS, shorten(f"Unknown prompt: {owner}"))
            names = prompt.arguments
        else:
            kind = "template"
            owner, names = self._completed_template(asked.ref.uri, principal)
        argument = asked.argument.name
        if names and argument not in names:
            raise McpError(
                INVALID_PARAMS,
                shorten(f"argument.name: {owner!r} has no argument {argument!r}"),
            )
        entry = self._completions.get((kind, owner, argument))
        entry = entry or self._completions.get((kind, owner, None))
        entry = entry or self._completions.get(FOR_ALL)
        if entry is None:
            return Prepared(revision, result=complete_result(None))
        return CompletionCall(entry, entry.bind(asked), revision)

    def _completed_template(self, uri: str, principal: str | None) -> tuple[str, tuple[str, ...]]:
        """Return the template of a reference: by its text, or by a URI that it matches."""
        from mcpcore.service.uri_templates import UnsafeValue

        seen = self._templates.seen_by(principal)
        templates = [entry.template for entry in seen if entry.template is not None]
        for template in templates:
            if uri == template.text:
                return uri, template.variables
        for template in templates:
            try:
                if template.match(uri) is not None:
                    return template.text, template.variables
            except UnsafeValue:
                continue
        if self._resources.get(uri, principal) is not None:
            return uri, ()
        raise McpError(INVALID_PARAMS, shorten(f"Unknown resource template: {uri}"))


def _read_call(params: Raw | bytes) -> tuple[str, Raw | None]:
    call = _read(params, _Call)
    return call.name, call.arguments


def _read(params: Raw | bytes, type: type[P]) -> P:
    try:
        return read(decoder(type), params, "params")
    except InvalidValue as error:
        raise McpError(INVALID_PARAMS, str(error)) from None


_Handler = Callable[[Server, Raw | bytes, Revision, str | None], Prepared]
_METHODS: dict[str, _Handler] = {
    "tools/list": lambda server, *rest: server._page(server._tools, *rest),
    "resources/read": Server._read_resource,
    "resources/list": lambda server, *rest: server._page(server._resources, *rest),
    "resources/templates/list": lambda server, *rest: server._page(server._templates, *rest),
    "prompts/get": Server._get_prompt,
    "prompts/list": lambda server, *rest: server._page(server._prompts, *rest),
    "completion/complete": Server._complete,
}
