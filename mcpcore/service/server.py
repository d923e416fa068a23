"""Server: declared features, and the lookup and checking of the targets of its requests.

It does no I/O and awaits nothing; calling handlers is the runtime's part
(:class:`~mcpcore.service.Prepared`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec
from msgspec import Raw, Struct

from mcpcore.errors import InvalidValue
from mcpcore.service.declarations import (
    MAX_URI,
    CacheScope,
    FeatureOptions,
    cache_hints,
    check_count,
    check_icons,
    naming,
)
from mcpcore.service.handlers import (
    Bound,
    HealthCheck,
    Lifespan,
    OpenLifespan,
    Prepared,
    demand,
    permits,
)
from mcpcore.service.interface import Watcher
from mcpcore.service.pagination import Collection
from mcpcore.service.reading import read, shorten
from mcpcore.service.schema import Validator
from mcpcore.service.tools import MethodEntry, ToolEntry, ToolOptions, error_result
from mcpcore.spec.capabilities import (
    APP_TYPE,
    APPS_EXTENSION,
    SKILLS_EXTENSION,
    TASKS_EXTENSION,
    shows_apps,
)
from mcpcore.spec.decoding import decoder
from mcpcore.spec.errors import INVALID_PARAMS, METHOD_NOT_FOUND, Forbidden, McpError
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import LATEST, Revision
from mcpcore.spec.types import capabilities
from mcpcore.spec.types.base import Icon, Implementation, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.model import Maybe

# Optional features are imported with their first declaration, as that takes time.
if TYPE_CHECKING:
    from mcpcore.service.apps import AppOptions
    from mcpcore.service.mounting import Mount
    from mcpcore.service.prompts import CompletionEntry, PromptEntry
    from mcpcore.service.resources import ResourceEntry, ResourceOptions
    from mcpcore.service.skills import SkillEntry, SkillOptions

P = TypeVar("P", bound=Struct)
F = TypeVar("F", bound=Callable[..., Any])

_LISTS: dict[str, str] = {
    "tools": "notifications/tools/list_changed",
    "resources": "notifications/resources/list_changed",
    "templates": "notifications/resources/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "skills": "notifications/resources/list_changed",
}
"""Lists by name, each with the notification of its changes; skills are known by their files."""

LISTENED = frozenset({"notifications/roots/list_changed", "notifications/tasks/status"})
"""Notifications of the specification that a server may listen to: the engine handles the others."""

_FOR_ALL: tuple[str, str, str | None] = ("", "", None)
"""Key of the function that completes arguments without a function of their own."""

_KINDS = ("tools", "resources", "prompts", "completions", "tasks", "skills")

_decode_name = msgspec.json.Decoder(str).decode
_NO_ARGUMENTS = Raw(b"{}")
_BRACE = ord("{")


class _ListParams(Struct):
    """Params of a list request; a cursor of null counts as none, as some clients send it."""

    cursor: str | None = None


class _ToolCallParams(Struct):
    """Params of a tool call for the service; ``task`` is left to the runtime."""

    name: str
    arguments: Maybe[Raw] = None


class Server:
    """Declarations of a server.  Any thread may change them, also while it is served.

    ``name``, ``version``, ``title``, ``description``, ``website_url``, ``icons``: its identity.
    ``instructions``: a hint to models on how to use it.
    ``validator``: compiles JSON Schemas written by hand, see :data:`Validator`, and checks the
    patterns of types (``Meta(pattern=...)``).
    ``page_size``: items in one page of a list.
    ``list_ttl_ms``, ``list_cache_scope``: how long clients may keep lists, and who may share them;
    for all, or by list (``tools``, ``resources``, ``templates``, ``prompts``, ``skills``).  A list
    for a principal, or that is not the same for all, is always private.
    ``read_ttl_ms``, ``read_cache_scope``: the same for resources that declare nothing else.
    ``offers``: the features out of tools, resources, prompts, completions, tasks and skills to
    declare as capabilities even while there are none.
    ``list_changed``, ``subscribe``, ``logging``: True to declare these capabilities.
    ``extensions``, ``experimental``: capabilities declared as they are.
    ``max_uri``: maximum characters of a URI that is read or subscribed to.
    ``max_result``: maximum bytes of a tool's result, unless the tool declares its own.
    ``lifespan``: a function, of the server or of nothing, that returns an async context manager,
    which is entered before the first connection and left after the last one; its value is
    ``context.lifespan``.

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

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.0.0",
        title: str | None = None,
        description: str | None = None,
        website_url: str | None = None,
        icons: Sequence[Icon | str] = (),
        instructions: str | None = None,
        validator: Validator | None = None,
        page_size: int = 500,
        list_ttl_ms: int | Mapping[str, int] = 60_000,
        list_cache_scope: CacheScope | Mapping[str, CacheScope] = "public",
        read_ttl_ms: int = 0,
        read_cache_scope: CacheScope = "private",
        offers: Iterable[str] = (),
        list_changed: bool = True,
        subscribe: bool = True,
        logging: bool = True,
        extensions: Mapping[str, capabilities.Settings] | None = None,
        experimental: Mapping[str, capabilities.Settings] | None = None,
        max_uri: int = MAX_URI,
        max_result: int | None = None,
        lifespan: OpenLifespan | None = None,
    ) -> None:
        check_count("page_size", page_size)
        check_count("max_uri", max_uri)
        if max_result is not None:
            check_count("max_result", max_result)
        cache_hints(read_ttl_ms, read_cache_scope)
        self.info = Implementation(
            name=name,
            version=version,
            title=title or None,
            description=description or None,
            website_url=website_url or None,
            icons=check_icons(icons),
        )
        self.instructions = instructions
        self.validator = validator
        self.header_params: dict[str, dict[str, tuple[str, ...]]] = {}
        """Mirrored arguments (header part to property path) by tool name; kept up to date."""
        self._read_hints: tuple[int, CacheScope] = (read_ttl_ms, read_cache_scope)
        self.max_uri = max_uri
        """Maximum characters of a URI that is read or subscribed to."""
        self._max_result = max_result
        self._lifespan = None if lifespan is None else Lifespan(lifespan)
        self._health_checks: dict[str, HealthCheck] = {}
        self._mounts: list[Mount] = []
        """Servers that are mounted here."""
        self._mounted_in: list[Mount] = []
        self._offers = set(offers)
        if unknown := self._offers.difference(_KINDS):
            raise ValueError(f"offers: {min(unknown)!r} is none of {', '.join(_KINDS)}")
        self._list_changed = list_changed
        self._subscribe = subscribe
        self._logging = logging
        self._extensions = dict(extensions or {})
        self._experimental = dict(experimental or {})
        self._completions: dict[tuple[str, str, str | None], CompletionEntry] = {}
        self._extension_methods: dict[str, MethodEntry] = {}
        self._listeners: dict[str, MethodEntry] = {}
        self._watchers: dict[Watcher, None] = {}

        ttls = _by_list(list_ttl_ms, 60_000, "list_ttl_ms")
        scopes: dict[str, CacheScope] = _by_list(list_cache_scope, "public", "list_cache_scope")

        def collection(kind: str, member: str, list: str) -> Collection[Any]:
            return Collection(
                kind,
                member,
                scope=name,
                hints=cache_hints(ttls[list], scopes[list]),
                private=cache_hints(ttls[list], "private"),
                page_size=page_size,
                changed=lambda: self.list_changed(list),
            )

        self._tools: Collection[ToolEntry] = collection("tool", "tools", "tools")
        self._resources: Collection[ResourceEntry] = collection(
            "resource", "resources", "resources"
        )
        self._templates: Collection[ResourceEntry] = collection(
            "resource template", "resourceTemplates", "templates"
        )
        self._prompts: Collection[PromptEntry] = collection("prompt", "prompts", "prompts")
        self._skills: Collection[SkillEntry] = collection("skill", "skills", "skills")
        self.collections: Mapping[str, Collection[Any]] = {
            "tools": self._tools,
            "resources": self._resources,
            "templates": self._templates,
            "prompts": self._prompts,
            "skills": self._skills,
        }
        """Declared features by list, with the names that ``list_ttl_ms`` has for them."""

    # Declaring

    @overload
    def tool(
        self, function: F, /, *, name: str | None = None, **options: Unpack[ToolOptions]
    ) -> F: ...

    @overload
    def tool(
        self,
        label: str | None = None,
        /,
        *,
        name: str | None = None,
        **options: Unpack[ToolOptions],
    ) -> Callable[[F], F]: ...

    def tool(
        self, given: Any = None, /, *, name: str | None = None, **options: Unpack[ToolOptions]
    ) -> Any:
        """Declare the decorated function as a tool, with or without parentheses.

        The input schema comes from the type hints, descriptions from the docstring or
        ``Annotated[..., msgspec.Meta(description=...)]``.  Unknown arguments are refused.  A
        parameter annotated with a context class takes the context.  See
        :class:`~mcpcore.service.tools.ToolOptions` and :meth:`add_tool`.
        """
        return _decorator(given, name, partial(self.add_tool, **options))

    def add_tool(
        self, function: Callable[..., Any], name: str | None = None, **options: Unpack[ToolOptions]
    ) -> None:
        """Declare a tool; ``name`` is by default that of the function, see also ``ToolOptions``.

        Raises ValueError or TypeError naming the tool: bad name, name taken (unless ``replace``),
        types without a schema, a schema that is not sound.  Raises
        :class:`~mcpcore.errors.ValidatorMissing` for a schema written by hand without a validator.
        """
        name = _name(function, name)
        with naming(f"tool {name!r}"):
            entry = ToolEntry(function, name, self.validator, options, max_result=self._max_result)
        self.take("tools", name, entry, replace=options.get("replace", False))

    def remove_tool(self, name: str) -> None:
        """Remove a tool.  Raises KeyError if there is none of that name."""
        self._tools.remove(name)
        self.header_params.pop(name, None)

    def resource(self, uri: str, **options: "Unpack[ResourceOptions]") -> Callable[[F], F]:
        """Declare the decorated function as the reader of a resource or a family of them.

        A ``uri`` with braces is an RFC 6570 template (levels 1 to 3, and ``{path*}`` for the rest
        of a path); its variables fill the parameters of the function.  The function returns text,
        bytes, any value with a JSON form, or one or a list of ``TextResourceContents`` and
        ``BlobResourceContents``.  See :class:`~mcpcore.service.resources.ResourceOptions`.
        """
        _check_written(uri, 'resource("scheme://path")')

        def declare(function: F) -> F:
            self.add_resource(uri, function, **options)
            return function

        return declare

    def add_resource(
        self,
        uri: str,
        content: Callable[..., Any] | str | bytes,
        **options: "Unpack[ResourceOptions]",
    ) -> None:
        """Declare a resource or a template; text or bytes may stand for a function.

        Raises ValueError or TypeError: invalid URI or template, URI taken (unless ``replace``),
        variables and parameters that do not fit, a template with scopes or roles behind one that
        answers for it, also by a replacement.
        """
        if isinstance(content, str | bytes):
            data = content
            options.setdefault("name", uri)
            options.setdefault("size", len(data.encode() if isinstance(data, str) else data))
            content = lambda: data  # noqa: E731 - it needs no name
        ttl_ms, cache_scope = self._read_hints
        from mcpcore.service.resources import ResourceEntry  # late: with the first resource

        with naming(f"resource {uri!r}"):
            entry = ResourceEntry(
                content,
                uri,
                options,
                ttl_ms=ttl_ms,
                cache_scope=cache_scope,
                max_uri=self.max_uri,
                validator=self.validator,
            )
            entry.refuse_hidden_by(self._templates.by_key(), uri)
        kind = self._resources if entry.template is None else self._templates
        kind.add(uri, entry, replace=options.get("replace", False))

    def add_app(
        self,
        uri: str,
        html: Callable[..., Any] | str | bytes,
        **options: "Unpack[AppOptions]",
    ) -> None:
        """Declare the document of an app as a resource; tools name it by ``app=uri``.

        ``uri``: ``ui://`` and a name; ``html``: the document, or a function that returns it, which
        begins with ``<!doctype html>``.  See :class:`~mcpcore.service.apps.AppOptions`.

        Raises ValueError or TypeError, beyond what :meth:`add_resource` raises, for another scheme
        or media type, a document without its doctype, and for what no host would take: a domain
        that is no origin, a permission that does not exist.
        """
        from mcpcore.service.apps import resource_options  # late: few servers have apps

        with naming(f"app {uri!r}"):
            made = resource_options(uri, html, options)
        self.add_resource(uri, html, **made)

    def remove_resource(self, uri: str) -> None:
        """Remove a resource or a template, with its completions; KeyError if there is none."""
        (self._templates if uri in self._templates else self._resources).remove(uri)
        self._forget("template", uri)

    def resource_updated(self, uri: str) -> None:
        """Notify the watchers (:meth:`watch`) that a resource has changed."""
        from mcpcore.spec.types.resources import ResourceUpdatedParams  # late: as above

        self._tell("notifications/resources/updated", ResourceUpdatedParams(uri=uri))
        for mount in tuple(self._mounted_in):
            mount.updated(uri)

    def add_skills(self, files: Mapping[str, bytes], **options: "Unpack[SkillOptions]") -> None:
        """Declare the skills in ``files``, bytes by path, and each file as a resource.

        A directory with a ``SKILL.md`` is a skill, with all that is below it; ``read_skills`` of
        the front door reads the files of a directory.  See
        :class:`~mcpcore.service.skills.SkillOptions`.  Modern clients list and get skills, and
        read directories; for others the files are resources.

        Raises ValueError naming the file and the field: no skill, a path that leaves its
        directory, bad or missing front matter, a name other than that of the directory, more than
        512 files or 16 MiB in one skill, a URI that is taken (unless ``replace``).  Then nothing
        is declared.
        """
        from mcpcore.service.skills import declare  # late: few have skills

        declare(self, files, options)

    def remove_skill(self, uri: str) -> None:
        """Remove a skill, by the URI of its ``SKILL.md``, with the files that no other skill has.

        Raises KeyError if there is none.
        """
        from mcpcore.service.skills import remove  # late: few have skills

        remove(self, uri)

    @overload
    def prompt(
        self, function: F, /, *, name: str | None = None, **options: Unpack[FeatureOptions]
    ) -> F: ...

    @overload
    def prompt(
        self,
        label: str | None = None,
        /,
        *,
        name: str | None = None,
        **options: Unpack[FeatureOptions],
    ) -> Callable[[F], F]: ...

    def prompt(
        self, given: Any = None, /, *, name: str | None = None, **options: Unpack[FeatureOptions]
    ) -> Any:
        """Declare the decorated function as a prompt, with or without parentheses.

        Its parameters are the arguments.  It returns a string or content (a message of the user),
        messages (:func:`~mcpcore.service.user`, :func:`~mcpcore.service.assistant`), a list of
        these or a ``GetPromptResult``.
        """
        return _decorator(given, name, partial(self.add_prompt, **options))

    def add_prompt(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        **options: Unpack[FeatureOptions],
    ) -> None:
        """Declare a prompt; ``name`` is by default that of the function.

        Raises ValueError if the name is taken (unless ``replace``), TypeError naming a parameter
        that no string can fill.
        """
        name = _name(function, name)
        from mcpcore.service.prompts import PromptEntry  # late: with the first prompt

        with naming(f"prompt {name!r}"):
            entry = PromptEntry(function, name, options, self.validator)
        self._prompts.add(name, entry, replace=options.get("replace", False))

    def remove_prompt(self, name: str) -> None:
        """Remove a prompt, with its completions; KeyError if there is none of that name."""
        self._prompts.remove(name)
        self._forget("prompt", name)

    def completion(
        self,
        *,
        prompt: str | None = None,
        template: str | None = None,
        argument: str | None = None,
        thread: bool = False,
    ) -> Callable[[F], F]:
        """Declare the decorated function as the completion of an argument.

        ``prompt``: the prompt's name, or ``template``: the text of the URI template. ``argument``:
        the argument or variable; None: all that have no function of their own. The function takes
        the text typed so far and, if it has parameters of these names, ``argument`` (its name) and
        ``arguments`` (the values known already). It returns proposals, best first, in any number
        (100 are sent), or a ``Completion``.  ``thread``: run it in a worker thread.

        Without ``prompt`` and ``template`` the function completes all arguments without a function
        of their own, and takes the members of the request: ``ref`` (PromptReference or
        ResourceTemplateReference), ``argument`` (CompletionArgument), ``context``
        (CompletionContext or None).  Raises ValueError for both, an argument without either, or one
        that has a function.
        """
        kind, owner = ("template", template) if prompt is None else ("prompt", prompt)
        if (prompt is not None and template is not None) or (
            argument is not None and owner is None
        ):
            raise ValueError("an argument belongs to a prompt or to a template: name one of them")
        what = "the completion of all arguments"
        key = _FOR_ALL
        if owner is not None:
            what = f"completion of {argument or 'any argument'} of {kind} {owner!r}"
            key = (kind, owner, argument)

        def declare(function: F) -> F:
            from mcpcore.service.prompts import CompletionEntry  # late: few complete anything

            if key in self._completions:
                raise ValueError(f"{what} is declared already")
            with naming(what):
                self._completions[key] = CompletionEntry(
                    function, thread=thread, owned=owner is not None
                )
            return function

        return declare

    def _forget(self, kind: str, owner: str) -> None:
        for key in tuple(self._completions):  # other threads may change them meanwhile
            if key[:2] == (kind, owner):
                self._completions.pop(key, None)

    # Mounted servers

    def mount(self, other: "Server", prefix: str = "") -> None:
        """Offer what ``other`` declares, now and later: tools, resources, prompts, skills.

        Names begin with ``prefix``, URIs with it and a plus: with ``notes_``, the tool ``add``
        becomes ``notes_add``, and ``file:///a`` becomes ``notes+file:///a`` (``ui://chart``:
        ``ui://notes+chart``).  Handlers, completions, visibility, scopes and roles stay as they
        are, and contexts have the lifespan of ``other``, which is entered with that of this server
        if it was mounted before.  Changes of lists and of resources are passed on.

        Raises ValueError for a bad prefix, a server that is mounted in itself, and for a name or
        URI that is taken, naming both servers.  For what ``other`` declares later, the declaration
        raises it, and the feature is not mounted.
        """
        if not isinstance(other, Server):
            raise TypeError(f"mount takes a Server, not a {type(other).__name__}")
        if self in (other, *other.mounted):
            raise ValueError(f"the server {self.info.name!r} cannot be mounted in itself")
        from mcpcore.service.mounting import Mount  # late: few servers are mounted

        mount = Mount(self, other, prefix)
        self._mounts.append(mount)
        other._mounted_in.append(mount)

    @property
    def mounted(self) -> tuple["Server", ...]:
        """Servers that are mounted here, with those that are mounted in them, each once."""
        found: dict[Server, None] = {}
        for mount in self._mounts:
            found |= dict.fromkeys((mount.server, *mount.server.mounted))
        return tuple(found)

    @property
    def lifespan(self) -> Lifespan | None:
        """Lifespan that the runtime enters before serving, and leaves afterwards.

        If only mounted servers have one, it is one that does nothing.
        """
        if self._lifespan is None and any(each.lifespan for each in self.mounted):
            return Lifespan(nullcontext)
        return self._lifespan

    def health_check(self, function: F) -> F:
        """Declare the decorated function as a check of what the server needs, such as a database.

        It raises, or returns False, while the server cannot do its work, and takes the value of the
        lifespan, or nothing.  Over HTTP ``/health`` and ``/health/ready`` answer 503 meanwhile,
        with its name and the message of a :class:`~mcpcore.errors.HandlerError`.  A function that
        is not ``async`` runs in a worker thread.  Raises ValueError for a name that is taken.
        """
        name = _name(function, None)
        if name in self._health_checks:
            raise ValueError(f"the health check {name!r} is declared already")
        self._health_checks[name] = HealthCheck(function, self)
        return function

    @property
    def health_checks(self) -> Mapping[str, HealthCheck]:
        """Health checks by name; those of mounted servers have the server's name before theirs."""
        found = {
            f"{server.info.name}: {name}": check
            for server in self.mounted
            for name, check in server._health_checks.items()
        }
        return {**found, **self._health_checks}

    def has_resource(self, uri: str) -> bool:
        """Return True if there is a resource or a template for a URI."""
        from mcpcore.service.resources import find  # late: few have resources

        try:
            find(uri, self._resources.by_key().get(uri), self._templates, LATEST)
        except McpError:
            return False
        return True

    def take(self, list: str, key: str, entry: Any, *, replace: bool) -> None:
        """Add a declared feature to ``list`` under its name or URI.  Raises ValueError if taken."""
        self.collections[list].add(key, entry, replace=replace)
        if list != "tools":
            return
        if entry.header_params:
            self.header_params[key] = entry.header_params
        else:
            self.header_params.pop(key, None)

    def withdraw(self, list: str, key: str) -> None:
        """Remove a feature of ``list`` by its name or URI.  Raises KeyError if there is none."""
        remove: dict[str, Callable[[str], None]] = {
            "tools": self.remove_tool,
            "prompts": self.remove_prompt,
            "skills": self._skills.remove,
        }
        remove.get(list, self.remove_resource)(key)

    # Beyond the features

    def method(self, method: str, *, thread: bool = False) -> Callable[[F], F]:
        """Declare the decorated function as the handler of a request of an extension.

        Its parameters are the members of ``params`` with their names; it returns a Struct, a
        mapping or None.  Declare it before the server is served.  ``thread``: run it in a worker
        thread.  Raises ValueError for a method of the specification.
        """
        _check_written(method, 'method("extension/method")')
        if method in KNOWN_METHODS:
            raise ValueError(f"{method} belongs to the specification, not to an extension")
        return self._add_method(self._extension_methods, method, thread)

    def notification(self, method: str, *, thread: bool = False) -> Callable[[F], F]:
        """Declare the decorated function as the listener to a notification of clients.

        For instance ``notifications/roots/list_changed``, or one of an extension; not those that
        the engine handles itself.  Parameters as for :meth:`method`.  The notifications of one
        client are handled in order.
        """
        _check_written(method, 'notification("notifications/name")')
        if method in KNOWN_METHODS and method not in LISTENED:
            raise ValueError(f"{method} is no notification that a server listens to")
        return self._add_method(self._listeners, method, thread)

    @property
    def extension_methods(self) -> frozenset[str]:
        """Methods of the requests that :meth:`method` has declared."""
        return frozenset(self._extension_methods)

    @property
    def overheard(self) -> frozenset[str]:
        """Methods of the engine's own requests that a handler hears first: none."""
        return frozenset()

    def listener(self, method: str) -> MethodEntry | None:
        """Return the listener to a notification, if there is one."""
        return self._listeners.get(method)

    def _add_method(
        self, table: dict[str, MethodEntry], method: str, thread: bool
    ) -> Callable[[F], F]:
        if method in table:
            raise ValueError(f"{method} is declared already")

        def declare(function: F) -> F:
            with naming(method):
                table[method] = MethodEntry(function, thread=thread, validator=self.validator)
            return function

        return declare

    # Capabilities and changes

    def capabilities(self) -> capabilities.ServerCapabilities:
        """Return the capabilities for clients, from the declared features and ``offers``."""

        def offered(kind: str, *found: Any) -> bool:
            return kind in self._offers or any(found)

        changed = self._list_changed
        made = capabilities.ServerCapabilities(experimental=self._experimental or None)
        extensions = self._extensions
        if offered("tools", self._tools):
            made.tools = capabilities.ToolsCapability(list_changed=changed)
        skills = offered("skills", self._skills)
        if skills or offered("resources", self._resources, self._templates):
            made.resources = capabilities.ResourcesCapability(
                list_changed=changed, subscribe=self._subscribe
            )
        if offered("prompts", self._prompts):
            made.prompts = capabilities.PromptsCapability(list_changed=changed)
        if offered("completions", self._completions):
            made.completions = {}
        if self._logging:
            made.logging = {}
        if offered("tasks", *(entry.task for entry in self._tools)):
            requests = capabilities.TaskRequests(tools=capabilities.ToolTasks(call={}))
            made.tasks = capabilities.TasksCapability(list={}, cancel={}, requests=requests)
            extensions = {TASKS_EXTENSION: {}, **extensions}
        if skills:
            extensions = {SKILLS_EXTENSION: {"directoryRead": True}, **extensions}
        documents = (*self._resources, *self._templates)
        if self._tools.shows_apps or any(each.mime_type == APP_TYPE for each in documents):
            extensions = {APPS_EXTENSION: {"mimeTypes": [APP_TYPE]}, **extensions}
        made.extensions = extensions or None
        return made

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher(method, params)`` at once for each notification, in whatever thread."""
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        """Undo :meth:`watch`; does nothing if there is no such watcher."""
        self._watchers.pop(watcher, None)

    def list_changed(self, list: str) -> None:
        """Notify the watchers that ``visible`` decides differently about some of a list.

        ``list``: ``tools``, ``resources``, ``templates``, ``prompts`` or ``skills``; for the last
        one, which has no notification of its own, it is that of the resources.  Raises ValueError
        for another one.
        """
        if list not in _LISTS:
            raise ValueError(f"there is no list {list!r}: {', '.join(_LISTS)}")
        if self._list_changed:
            self._tell(_LISTS[list], None)
        for mount in tuple(self._mounted_in):
            mount.follow(list)

    def _tell(self, method: str, params: Struct | None) -> None:
        for watcher in tuple(self._watchers):
            watcher(method, params)

    # Requests

    def prepare(
        self,
        method: str,
        params: Raw | bytes,
        revision: Revision,
        principal: str | None = None,
        skim: Skim | None = None,
        client: ClientCapabilities | None = None,
    ) -> Prepared:
        """Look up and check the target of a request; ``params`` is its params object.

        ``principal``: the authenticated principal, if any.  ``skim``: the members of ``params``
        that the engine has read already.  ``client``: capabilities of the client; None: it may
        have any.  Raises Forbidden for want of scopes or a role, and
        McpError: unknown method, unknown tool, prompt or
        resource, bad params, bad cursor, and bad arguments in revisions in which these are an error
        of the protocol.
        """
        if method != "tools/call":
            if method == "tools/list" and client is not None and self._tools.shows_apps:
                return self._page(self._tools, params, revision, principal, apps=shows_apps(client))
            if (handler := _METHODS.get(method)) is not None:
                return handler(self, params, revision, principal)
            extension = self._extension_methods.get(method)
            if extension is None:
                raise McpError(METHOD_NOT_FOUND, f"Method not found: {shorten(method)}")
            return Bound(extension, extension.bind(params), revision)
        try:
            name = None if skim is None or skim.name is None else _decode_name(skim.name)
        except (msgspec.MsgspecError, UnicodeDecodeError):  # the full decoding gives the reason
            name = None
        if name is None or skim is None:
            call = _read(params, _ToolCallParams)
            name, arguments = call.name, call.arguments
        else:
            arguments = skim.arguments
        entry = self._tools.get(name, principal)
        if entry is None:
            raise McpError(INVALID_PARAMS, shorten(f"Unknown tool: {name}"))
        if entry.requirement is not None:
            demand(entry.requirement, principal)
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
            prepared = Bound(entry, values, revision)
        if entry.task is not None:
            prepared.task, prepared.requirement = entry.task, entry.requirement
            if entry.visible is not None:
                prepared.tool = name
        return prepared

    def _page(
        self,
        list: Collection[Any],
        params: Raw | bytes,
        revision: Revision,
        principal: str | None,
        *,
        apps: bool = True,
    ) -> Prepared:
        cursor = _read(params, _ListParams).cursor
        page = list.page(cursor, revision, principal, apps=apps)
        return Prepared(revision, result=page, bare=True)

    def _read_resource(
        self, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        from mcpcore.service.resources import find, not_found  # late: few have resources
        from mcpcore.spec.types.resources import ReadResourceParams

        uri = _read(params, ReadResourceParams).uri
        if len(uri) > self.max_uri:
            raise not_found(shorten(uri), revision, reason=f"longer than {self.max_uri}")
        templates = self._templates.seen_by(principal)
        entry, values = find(uri, self._resource_at(uri, principal), templates, revision)
        demand(entry.requirement, principal)
        read = Bound(entry, values, revision)
        read.uri = uri
        return read

    def _get_skill(
        self, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        from mcpcore.service.skills import entry_result  # late: few have skills

        return entry_result(self._skills, params, revision, principal)

    def _read_directory(
        self, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        from mcpcore.service.skills import directory_result  # late: few have skills

        return directory_result(self.collections, params, revision, principal)

    @property
    def guards_reading(self) -> bool:
        """True if a resource or template has required scopes or roles, or is not visible to all."""
        return self._resources.guarded or self._templates.guarded

    def demand_reading(self, uris: Iterable[str], principal: str | None) -> None:
        """Raise Forbidden, with all scopes that are needed, unless a principal may read all URIs.

        URIs that name nothing which the principal may see require nothing: :meth:`may_read` keeps
        its changes from them.
        """
        needed: set[str] = set()
        refused = role = False
        for uri in uris:
            entry = self._resource_for(uri, principal)
            if entry is not None and (found := entry.requirement) is not None:
                needed |= found.scopes
                try:
                    demand(found, principal)
                except Forbidden as error:
                    refused, role = True, role or error.role
        if refused:
            raise Forbidden(needed, role=role)

    def has_tool(self, name: str, principal: str | None) -> bool:
        """Return True if a tool exists for a principal; False where ``visible`` raises."""
        try:
            return self._tools.get(name, principal) is not None
        except Exception:
            return False

    def may_read(self, uri: str, principal: str | None) -> bool:
        """Return True if a principal may read a URI, or it names nothing.

        False where a function for ``visible`` raises.
        """
        if not self.guards_reading:
            return True
        try:
            entry = self._resource_for(uri, principal)
        except Exception:
            return False
        if entry is not None:
            return permits(entry.requirement, principal)
        return not self.has_resource(uri)

    def _resource_for(self, uri: str, principal: str | None) -> "ResourceEntry | None":
        """Return the resource or template that a principal reads by a URI, None without one."""
        from mcpcore.service.resources import find  # late: few servers have resources

        static, templates = self._resource_at(uri, principal), self._templates
        try:
            return find(uri, static, templates.seen_by(principal), LATEST)[0]
        except McpError:
            return None

    def _resource_at(self, uri: str, principal: str | None) -> "ResourceEntry | None":
        """Return the resource, and no template, that a principal reads by a URI.

        In another spelling a template could have it read: its handler gets what is decoded.
        """
        resources = self._resources
        return resources.get(uri, principal) or resources.spelled_otherwise(uri, principal)

    def _get_prompt(
        self, params: Raw | bytes, revision: Revision, principal: str | None
    ) -> Prepared:
        from mcpcore.spec.types.prompts import GetPromptParams  # late: few have prompts

        get = _read(params, GetPromptParams)
        entry = self._prompt(get.name, principal)
        return Bound(entry, entry.bind(get.arguments or {}), revision)

    def _prompt(self, name: str, principal: str | None) -> "PromptEntry":
        entry = self._prompts.get(name, principal)
        if entry is None:
            raise McpError(INVALID_PARAMS, shorten(f"Unknown prompt: {name}"))
        demand(entry.requirement, principal)
        return entry

    def _complete(self, params: Raw | bytes, revision: Revision, principal: str | None) -> Prepared:
        from mcpcore.service.prompts import complete_result  # late: few complete anything
        from mcpcore.spec.types.prompts import CompleteParams, PromptReference

        asked = _read(params, CompleteParams)
        if isinstance(asked.ref, PromptReference):
            kind, owner = "prompt", asked.ref.name
            prompt = self._prompt(owner, principal)
            names, origin = prompt.arguments, prompt.origin
        else:
            kind = "template"
            owner, names, origin = self._completed_template(asked.ref.uri, principal)
        argument = asked.argument.name
        if names and argument not in names:
            text = f"argument.name: {owner!r} has no argument {argument!r}"
            raise McpError(INVALID_PARAMS, shorten(text))
        home = self
        if origin is not None:
            home, owner = origin
            member = "name" if kind == "prompt" else "uri"
            asked.ref = msgspec.structs.replace(asked.ref, **{member: owner})
        completions = home._completions
        entry = completions.get((kind, owner, argument)) or completions.get((kind, owner, None))
        entry = entry or completions.get(_FOR_ALL)
        if entry is None:
            return Prepared(revision, result=complete_result(None))
        bound = Bound(entry, entry.bind(asked), revision)
        bound.home = None if origin is None else home
        return bound

    def _completed_template(
        self, uri: str, principal: str | None
    ) -> tuple[str, tuple[str, ...], "tuple[Server, str] | None"]:
        """Return the template of a reference: by its text, or by a URI that it matches."""
        from mcpcore.errors import UnsafeValue  # late: few have templates

        def matches(entry: "ResourceEntry") -> bool:
            try:
                return entry.template is not None and entry.template.match(uri) is not None
            except UnsafeValue:
                return False

        entries = list(self._templates.seen_by(principal))
        named = (each for each in entries if each.template and each.template.text == uri)
        found = next(named, None) or next(filter(matches, entries), None)
        found = found or self._resources.get(uri, principal)
        if found is None:
            raise McpError(INVALID_PARAMS, shorten(f"Unknown resource template: {uri}"))
        demand(found.requirement, principal)
        if found.template is None:
            return uri, (), found.origin
        return found.template.text, found.template.variables, found.origin


def _by_list(given: Any, default: Any, what: str) -> dict[str, Any]:
    """Return one value for each list, from one for all or from some by name."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(_LISTS, given)
    if unknown := given.keys() - _LISTS.keys():
        raise ValueError(f"{what}: {min(unknown)!r} is none of {', '.join(_LISTS)}")
    return {list: given.get(list, default) for list in _LISTS}


def _check_written(given: object, decorator: str) -> None:
    """Raise TypeError for a decorator without its parentheses, which would declare nothing."""
    if not isinstance(given, str):
        raise TypeError(f"expected a text, as in @server.{decorator}: got {given!r}")


def _name(function: Any, name: str | None) -> str:
    if found := name or getattr(function, "__name__", None):
        return str(found)
    raise TypeError(f"{type(function).__name__} objects have no name; pass one")


def _decorator(given: Any, name: str | None, add: Callable[[Any, str | None], None]) -> Any:
    """Return the decorator, or declare ``given`` at once if it is the function and not a name."""

    def declare(function: F) -> F:
        add(function, name)
        return function

    if callable(given):
        return declare(given)
    if given is not None:
        if name is not None:
            raise TypeError(f"two names are given: {given!r} and {name!r}")
        name = given
    return declare


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
    "skills/list": lambda server, *rest: server._page(server._skills, *rest),
    "skills/get": Server._get_skill,
    "resources/directory/read": Server._read_directory,
}
