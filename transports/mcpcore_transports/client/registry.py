"""Registries of servers: what they list, doubts about it, and the entry for ``mcp.json``.

Nothing that a registry says is taken on trust: replies are bounded, redirects are not followed,
and an entry has an exact version and only words that cannot be taken for something else.

Source: the MCP registry API, version 0.1, and its ``server.json`` of 2025-12-11.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import Struct, field

from mcpcore.auth.needs import Fetch, NeedFailed
from mcpcore.auth.urls import check_url
from mcpcore.errors import BadTarget, RegistryError
from mcpcore.policy.screening import screen
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.targets import check_headers

OFFICIAL = "https://registry.modelcontextprotocol.io"
"""Base URL of the official registry."""

_REGISTRY = "the URL of the registry"
_PAGE, _PAGES = 100, 50
_REPLY = 8 * 2**20
_NAME = r"[A-Za-z0-9.-]+/[A-Za-z0-9._-]+"
_EXACT = r"v?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?([-+][0-9A-Za-z.+-]+)?"
"""Pattern of a version that is no range and no tag such as ``latest``, for linear time."""
_SEMVER = r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?"
"""Pattern of an exact version of npm, to which ``1`` and ``1.2`` are ranges."""
_LONGEST = 255
"""Characters of a version."""
_TELLING = r"(?i)(UV|PIP|NPM_CONFIG|NODE|PYTHON|LD|DYLD|DOCKER|DOTNET|NUGET)_?.*|PATH|HOME"
"""Pattern of variables that change what a command fetches or runs."""
_BRACES = re.compile(r"\{([A-Za-z_]\w*)\}")
T = TypeVar("T")


class RegistryInput(Struct, rename="camel", frozen=True, kw_only=True):
    """Value that a command, a header or a variable needs; a ``type`` makes it an argument."""

    name: str = ""
    type: Literal["", "positional", "named"] = ""
    value_hint: str = ""
    description: str = ""
    is_required: bool = False
    is_secret: bool = False
    value: str | None = None
    default: str | None = None
    variables: "dict[str, RegistryInput]" = {}


class RegistryTransport(Struct, rename="camel", frozen=True, kw_only=True):
    """Place at which a server is reached, or the way in which a package is spoken to."""

    type: str
    url: str = ""
    headers: list[RegistryInput] = []
    variables: dict[str, RegistryInput] = {}


class RegistryPackage(Struct, rename="camel", frozen=True, kw_only=True):
    """Package that holds a server, at a registry of packages such as npm or PyPI."""

    registry_type: str
    identifier: str
    transport: RegistryTransport
    version: str = ""
    registry_base_url: str = ""
    runtime_hint: str = ""
    runtime_arguments: list[RegistryInput] = []
    package_arguments: list[RegistryInput] = []
    environment_variables: list[RegistryInput] = []


class RegistryServer(Struct, rename="camel", frozen=True, kw_only=True):
    """Version of a server, as its publisher describes it (``server.json``)."""

    name: str
    description: str
    version: str
    title: str = ""
    repository: dict[str, Any] = {}
    website_url: str = ""
    packages: list[RegistryPackage] = []
    remotes: list[RegistryTransport] = []

    def __post_init__(self) -> None:
        if re.fullmatch(_NAME, self.name) is None:
            raise ValueError(f"name: {self.name!r} is not NAMESPACE/NAME")


class RegistryRecord(Struct, rename={"meta": "_meta"}, frozen=True, kw_only=True):
    """A server, and what the registry itself says of it."""

    server: RegistryServer
    meta: dict[str, Any] = {}

    @property
    def status(self) -> str:
        """Status (active, deprecated or deleted) with its reason; "" if the registry has none."""
        official = self.meta.get("io.modelcontextprotocol.registry/official")
        if not isinstance(official, dict):
            return ""
        said = (official.get("status"), official.get("statusMessage"))
        return ": ".join(each for each in said if isinstance(each, str) and each)


class _Metadata(Struct, rename="camel"):
    next_cursor: str | None = None


class _RegistryPage(Struct):
    servers: list[msgspec.Raw]
    metadata: _Metadata = field(default_factory=_Metadata)


class _PackageRuntime(Struct, frozen=True):
    """Command that fetches a package of one kind and runs it."""

    words: tuple[str, ...]
    pattern: str
    """Pattern of the identifiers."""
    between: str
    """Separator of identifier and version."""
    home: str
    """Base URL of the usual registry."""
    version: str = _EXACT
    """Pattern of its exact versions."""


_RUNTIMES: Mapping[str, _PackageRuntime] = {
    "npm": _PackageRuntime(
        ("npx", "-y"),
        r"(@[a-z0-9~][\w.~-]*/)?[A-Za-z0-9~][\w.~-]*",
        "@",
        "https://registry.npmjs.org",
        _SEMVER,
    ),
    "pypi": _PackageRuntime(("uvx",), r"[A-Za-z0-9][\w.-]*", "@", "https://pypi.org"),
    "oci": _PackageRuntime(
        ("docker", "run", "-i", "--rm"),
        r"[a-z0-9][a-z0-9.:/_-]*(@sha256:[0-9a-f]{64})?",
        ":",
        "https://docker.io",
    ),
    "nuget": _PackageRuntime(
        ("dnx", "--yes"), r"[A-Za-z0-9][\w.-]*", "@", "https://api.nuget.org/v3/index.json"
    ),
}
"""Runtimes by kind of package.  Others (mcpb, cargo) no command starts by a version."""


class Registry:
    """A registry at a base URL, https or on loopback.  Raises UrlRefused."""

    def __init__(self, url: str = OFFICIAL, *, timeout: float = 30.0) -> None:
        self._base = check_url(url.rstrip("/"), _REGISTRY, loopback=True)
        self._timeout = timeout
        self._fetcher = Fetcher(local=self._base.loopback)

    async def search(self, text: str, *, most: int = 30) -> tuple[list[RegistryRecord], int]:
        """Return the servers whose name contains ``text``, at most ``most``, at their newest.

        The number beside them is that of the records that cannot be read.  Raises RegistryError.
        """
        found: list[RegistryRecord] = []
        unreadable, cursor, seen = 0, None, set[str]()
        for _ in range(_PAGES):
            query = {"search": text, "version": "latest", "limit": str(min(most, _PAGE))}
            if cursor:
                query["cursor"] = cursor
            page = await self._get(f"servers?{urlencode(query)}", _RegistryPage)
            for raw in page.servers:
                try:
                    found.append(msgspec.json.decode(raw, type=RegistryRecord))
                except (msgspec.MsgspecError, RecursionError):
                    unreadable += 1
            cursor = page.metadata.next_cursor
            if not cursor or cursor in seen or len(found) >= most:
                break
            seen.add(cursor)
        return found[:most], unreadable

    async def version(self, name: str, version: str = "latest") -> RegistryRecord:
        """Return one version of a server.  Raises RegistryError."""
        path = f"servers/{quote(name, safe='')}/versions/{quote(version, safe='')}"
        record = await self._get(path, RegistryRecord, f"there is no {name} of version {version}")
        if record.server.name != name:
            raise RegistryError(f"{name}: the registry answered with {record.server.name}")
        if version not in ("latest", record.server.version):
            raise RegistryError(f"{name}: the registry answered with {record.server.version!r}")
        return record

    async def _get(self, path: str, kind: type[T], missing: str = "") -> T:
        url = f"{self._base.text}/v0.1/{path}"
        headers = {"accept": "application/json"}
        asked = Fetch(method="GET", url=url, headers=headers, timeout=self._timeout, limit=_REPLY)
        reply = await self._fetcher.fetch(asked)
        where = f"the registry {self._base.origin}"
        if isinstance(reply, NeedFailed):
            raise RegistryError(f"{where}: {reply.reason}")
        if reply.status == 404 and missing:
            raise RegistryError(f"{where}: {missing}")
        if reply.status != 200:
            raise RegistryError(f"{where} answered with status {reply.status}")
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RegistryError(f"{where}: its reply is malformed: {error}") from None


class RegistryEntry(Struct, frozen=True):
    """Entry for ``mcp.json``; ``needs`` holds the variables to set, with what they are."""

    members: dict[str, Any]
    needs: dict[str, str]


class _Needs(dict[str, str]):
    """Variables that an entry refers to, with what they are.

    A name begins with that of the server: else an entry could take any variable of the user's.
    """

    def __init__(self, server: str) -> None:
        super().__init__()
        self._prefix = f"MCP_{server}".replace("-", "__").replace("/", "___").replace(".", "_")

    def add(self, name: str, wanted: RegistryInput) -> str:
        """Return the reference to the variable for an input."""
        variable = f"{self._prefix}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}".upper()
        self[variable] = f"{wanted.description}{' (secret)' if wanted.is_secret else ''}".strip()
        return f"${{{variable}}}"


def make_entry(server: RegistryServer, package: str | None = None) -> RegistryEntry:
    """Return the entry of a server: its first remote, or its ``package`` of that kind.

    Values that a person has to give become ``${VARIABLES}``.  Raises RegistryError.
    """
    needs = _Needs(server.name)
    if package is None and server.remotes:
        return RegistryEntry(_remote(server.remotes[0], needs), needs)
    usable = [each for each in server.packages if package in (None, each.registry_type)]
    if not usable:
        kinds = ", ".join(sorted({each.registry_type for each in server.packages})) or "none"
        wanted = "a remote or a package" if package is None else f"a package of {package}"
        raise RegistryError(f"{server.name} has not got {wanted}; its packages: {kinds}")
    chosen = next((each for each in usable if each.registry_type in _RUNTIMES), usable[0])
    return RegistryEntry(_command(chosen, needs), needs)


def _remote(remote: RegistryTransport, needs: _Needs) -> dict[str, Any]:
    if remote.type not in ("streamable-http", "sse"):
        raise RegistryError(f"remotes: the transport {remote.type!r} is unknown")
    url = _filled(remote.url, remote.variables, needs)
    try:
        place = urlsplit(url).netloc
    except ValueError:
        place = ""
    if not url.startswith(("https://", "http://")) or not place or "@" in place:
        raise RegistryError(f"remotes: {url!r} is no URL of http")
    kind = "sse" if remote.type == "sse" else "http"
    entry: dict[str, Any] = {"type": kind, "url": url}
    headers = {each.name: text for each, text in _texts(remote.headers, needs)}
    try:
        check_headers(headers)
    except BadTarget as error:
        raise RegistryError(f"remotes: {error}") from None
    return {**entry, "headers": headers} if headers else entry


def _command(package: RegistryPackage, needs: _Needs) -> dict[str, Any]:
    """Return the entry that starts a package at its exact version."""
    kind = package.registry_type
    runtime = _RUNTIMES.get(kind)
    if runtime is None:
        raise RegistryError(f"packages: no command starts a package of {kind!r} by its version")
    if package.transport.type != "stdio":
        raise RegistryError(f"packages: {package.identifier!r} is not spoken to over stdio")
    if package.runtime_hint not in ("", runtime.words[0]):
        raise RegistryError(f"packages: runtimeHint {package.runtime_hint!r} is not for {kind}")
    if re.fullmatch(runtime.pattern, package.identifier, re.ASCII) is None:
        raise RegistryError(f"packages: {package.identifier!r} is no identifier of {kind}")
    env = {each.name: text for each, text in _texts(package.environment_variables, needs)}
    for name in env:
        if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None:
            raise RegistryError(f"environmentVariables: {name!r} is no name of a variable")
    words = [*runtime.words[1:], *_words(package.runtime_arguments, needs)]
    if kind == "oci":  # a container has none of our variables
        words += [word for name in env for word in ("-e", name)]
    words += [_exact(package, runtime), *_words(package.package_arguments, needs)]
    entry: dict[str, Any] = {"command": runtime.words[0], "args": words}
    return {**entry, "env": env} if env else entry


def _exact(package: RegistryPackage, runtime: _PackageRuntime) -> str:
    """Return identifier and version as one word.  Raises RegistryError for an inexact version."""
    identifier, version = package.identifier, package.version
    if package.registry_type == "oci" and "@" in identifier:
        return identifier
    if package.registry_type == "oci" and ":" in identifier.split("/")[-1]:
        identifier, _, version = identifier.rpartition(":")
    if len(version) > _LONGEST or re.fullmatch(runtime.version, version, re.ASCII) is None:
        raise RegistryError(f"packages: {identifier!r} has no exact version: {version!r:.80}")
    return f"{identifier}{runtime.between}{version}"


def _words(arguments: Iterable[RegistryInput], needs: _Needs) -> Iterator[str]:
    for each, text in _texts(arguments, needs):
        yield from (_plain(each.name), text) if each.type == "named" else (text,)


def _texts(inputs: Iterable[RegistryInput], needs: _Needs) -> Iterator[tuple[RegistryInput, str]]:
    """Yield the inputs that are set or needed, with the text for each."""
    for each in inputs:
        text = each.value if each.value is not None else each.default
        if text is not None:
            yield each, _filled(text, each.variables, needs)
        elif each.is_required or each.type == "positional":
            yield each, needs.add(each.name or each.value_hint, each)


def _filled(text: str, variables: Mapping[str, RegistryInput], needs: _Needs) -> str:
    """Return a text whose ``{names}`` are replaced by their values, or by ``${NAMES}``."""

    def value(match: re.Match[str]) -> str:
        known = variables.get(match[1])
        if known is None:
            return match[0]
        text = known.value if known.value is not None else known.default
        return needs.add(match[1], known) if text is None else _plain(text)

    return _BRACES.sub(value, _plain(text))


def _plain(text: str) -> str:
    """Return a text of the registry.  Raises RegistryError if it could take a variable of ours."""
    if "$" in text or not text.isprintable():  # two texts could make a reference together
        raise RegistryError(f"{text!r} holds control characters, or a reference to your variables")
    return text


def doubts(record: RegistryRecord, package: str | None = None) -> list[str]:
    """Return what speaks against adding a server, in a sentence each."""
    return [*_doubts_of_record(record), *_doubts_of_entry(record.server, package)]


def _doubts_of_record(record: RegistryRecord) -> Iterator[str]:
    server = record.server
    if record.status and record.status != "active":
        yield f"status: {record.status}"
    if len(server.version) > _LONGEST or re.fullmatch(_EXACT, server.version) is None:
        yield f"version: {server.version!r:.80} is not exact"
    if not server.repository.get("url"):
        yield "repository: there is no source code to look at"
    for place, text in (("title", server.title), ("description", server.description)):
        yield from (f"{place}: {each.rule}: {each.excerpt}" for each in screen(text))


def _doubts_of_entry(server: RegistryServer, package: str | None) -> Iterator[str]:
    try:
        entry = make_entry(server, package).members
    except RegistryError as error:
        yield str(error)
        return
    url = entry.get("url")
    if url is not None:
        yield from _doubts_of_url(url, server.name)
        return
    for each in server.packages:
        runtime = _RUNTIMES.get(each.registry_type)
        if runtime is None or package not in (None, each.registry_type):
            continue
        base = each.registry_base_url.rstrip("/")
        if base not in ("", runtime.home):
            yield f"registryBaseUrl: {base} is not {runtime.home}, which {runtime.words[0]} asks"
        elsewhere = each.identifier.partition("/")[0]
        if each.registry_type == "oci" and re.search(r"[.:]", elsewhere) and "/" in each.identifier:
            yield f"packages: the image comes from {elsewhere}"
        for variable in each.environment_variables:
            if re.fullmatch(_TELLING, variable.name):
                yield f"environmentVariables: {variable.name} changes what {runtime.words[0]} does"
        if each.runtime_arguments:
            words = _joined(each.runtime_arguments)
            yield f"runtimeArguments: they decide what {runtime.words[0]} does: {words}"


def _doubts_of_url(url: str, name: str) -> Iterator[str]:
    scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
    if scheme != "https":
        yield f"remotes: {scheme} is not encrypted"
    domain = ".".join(reversed(name.partition("/")[0].lower().split(".")))
    if not domain.endswith(".github.io") and not f".{host}".endswith(f".{domain}"):
        yield f"remotes: the host {host} is not one of the publisher's domain, {domain}"


def _joined(arguments: Sequence[RegistryInput]) -> str:
    words = ((each.name, each.value or each.default or "") for each in arguments)
    return " ".join(word for pair in words for word in pair if word)
