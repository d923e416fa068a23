"""Commands for servers of others: `mcpcore call`, `list`, `probe` and `servers`."""

import shlex
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Any

import anyio
import msgspec
from msgspec import Raw, Struct, structs
from rich.markup import escape

from mcpcore.errors import BadTarget, Malformed, PeerError
from mcpcore.http.client.call import DownloadProgress
from mcpcore.service.reading import typed
from mcpcore.spec import types
from mcpcore.spec.capabilities import SKILLS_EXTENSION, declares
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    MISSING_CLIENT_CAPABILITY,
    LocalError,
    McpError,
)
from mcpcore.spec.revisions import LATEST, LEGACY
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.config import ConfiguredServer, read_config
from mcpcore_transports.commands import output
from mcpcore_transports.commands.options import (
    CallOptions,
    ConnectOptions,
    ProbeOptions,
    QueryOptions,
    recording,
)
from mcpcore_transports.commands.output import Exit
from mcpcore_transports.commands.target import (
    config_path,
    connection,
    converse,
    era_doubt,
    interruptible,
    pins_path,
    split_target,
)
from mcpcore_transports.server.contents import fill_defaults, form_problems
from mcpcore_transports.targets import StdioTarget, Target, describe

_MIB = 1024 * 1024


def call(options: CallOptions) -> int:
    """Call a tool; return the exit status."""
    pairs, target = split_target(options.words, options)
    given = parse_pairs(pairs)
    base = {} if options.arguments is None else json_object(options.arguments, "--arguments")
    misfits: list[str] = []
    callbacks, tool = _callbacks(options, misfits), options.tool
    status = output.errors.status("")

    def downloaded(event: DownloadProgress) -> None:
        of = "" if event.total is None else f" of {event.total / _MIB:.1f}"
        status.update(f"received {event.received / _MIB:.1f}{of} MiB")
        status.start()

    if output.errors.is_terminal:
        callbacks.download = downloaded

    async def talk(client: Client) -> types.CallToolResult:
        await _compare(client, options)
        known = {listed.name: listed for listed in await client.tools()}
        if tool not in known:
            names = ", ".join(known) or "none"
            raise output.Failure(
                f"the server has no tool {tool!r}; its tools: {names}", Exit.REFUSED
            )
        values = {**base, **convert_pairs(given, known[tool])}
        if options.verbose and client.capabilities.logging is not None:
            await client.set_log_level("debug")
        try:
            return await client.call_tool(tool, values, progress=_show_progress)
        except PeerError as error:
            if remedy := _remedy(error, options):
                raise output.Failure(f"{error.method}: {error}; {remedy}", Exit.REFUSED) from error
            raise
        finally:
            if misfits:  # whatever the server says of an answer that it did not get
                raise output.wrong(f"--answer: {'; '.join(misfits)}")

    try:
        result = converse(target, options, talk, callbacks)
    finally:
        status.stop()
    if options.as_json:
        output.print_json(result)
    else:
        for block in result.content:
            output.print_block(block)
        if not result.content and result.is_structured:
            output.print_json(result.structured_content)
        if result.is_error:
            hidden = isinstance(target, StdioTarget) and not options.verbose
            why = "; --verbose shows what the server says of it on standard error" if hidden else ""
            output.errors.print(f"[bold red]the tool failed[/]{why}")
    return Exit.REFUSED if result.is_error else Exit.OK


_REMEDIES = {
    "elicitation.form": ("answer", "--answer JSON"),
    "sampling": ("sample", "--sample TEXT"),
    "roots": ("root", "--root URI"),
}
"""Options that make this client declare a capability."""


def _remedy(error: PeerError, options: CallOptions) -> str | None:
    """Return which option is missing where the server misses a capability of this client."""
    if error.code != MISSING_CLIENT_CAPABILITY:
        return None
    try:
        data = typed(error.error.data or Raw(b"{}"), types.MissingRequiredClientCapabilityData)
    except Malformed:
        return None
    missing = [
        flag
        for path, (option, flag) in _REMEDIES.items()
        if not getattr(options, option) and declares(data.required_capabilities, path)
    ]
    return f"give {' and '.join(missing)}" if missing else None


async def _compare(client: Client, options: CallOptions | QueryOptions) -> None:
    """Warn of a server that is not as approved, where anything was.  Raises Failure."""
    if pins_path(options.config).is_file():
        from mcpcore_transports.commands.pins import warn_of_changes  # late: few have pins

        await warn_of_changes(client, options)


def parse_pairs(words: Sequence[str]) -> dict[str, str]:
    """Split ``key=value`` words.  Raises Failure."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise output.wrong(f"{word!r} is no argument; expected key=value, and the server last")
        pairs[key] = value
    return pairs


_NO_TEXT: dict[type, frozenset[str]] = {
    bool: frozenset(("boolean",)),
    int: frozenset(("integer", "number")),
    float: frozenset(("number",)),
    type(None): frozenset(("null",)),
    list: frozenset(("array",)),
    dict: frozenset(("object",)),
}
"""Types of JSON that are not written like a text, by those of their values."""


def convert_pairs(pairs: Mapping[str, str], tool: types.Tool) -> dict[str, Any]:
    """Convert each value to a type in the tool's schema; JSON stays text where only text fits."""
    properties = _properties(tool)
    values: dict[str, Any] = {}
    for key, text in pairs.items():
        kinds = _kinds(properties.get(key))
        if kinds == ["string"]:
            values[key] = text
            continue
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            if kinds and "string" not in kinds:
                raise output.wrong(
                    f"{key}={text}: the tool wants {' or '.join(kinds)}, which is written as JSON"
                ) from None
            value = text
        fits = "string" not in kinds or not _NO_TEXT.get(type(value), frozenset()).isdisjoint(kinds)
        values[key] = value if fits else text
    return values


def _kinds(rules: object) -> list[str]:
    """Return the types that a schema names, itself or in alternatives; empty: it may be any."""
    if not isinstance(rules, dict):
        return []
    alternatives = rules.get("anyOf") or rules.get("oneOf")
    if "type" in rules or not isinstance(alternatives, list):
        kind = rules.get("type")
        named = kind if isinstance(kind, list) else [kind]
        return [each for each in named if isinstance(each, str)]
    named = [each.get("type") for each in alternatives if isinstance(each, dict)]
    kinds = [each for each in named if isinstance(each, str)]
    return kinds if len(kinds) == len(alternatives) else []


def _properties(tool: types.Tool) -> dict[str, Any]:
    """Return the properties in the schema of a tool, none if they are in a wrong form."""
    found = tool.input_schema.get("properties")
    return found if isinstance(found, dict) else {}


def json_object(text: str, option: str) -> dict[str, Any]:
    """Return the JSON object that is the value of an option.  Raises Failure."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        example = """'{"name": "Ada"}'"""
        raise output.wrong(f"{option} is no JSON object, like {example}: {error}") from None


def _callbacks(options: CallOptions, misfits: list[str]) -> Callbacks:
    """Return the callbacks; ``misfits`` gets what is wrong with an answer that breaks its form."""
    answer, sample = options.answer, options.sample
    content = None if answer is None else json_object(answer, "--answer")

    def elicit(params: types.ElicitParams) -> dict[str, Any] | None:
        output.errors.print(f"[dim]the server asks:[/] {_shown(params.message)}")
        form = params.requested_schema or {}
        misfits[:] = form_problems(form, fill_defaults(form, content or {}))
        if misfits:
            raise McpError(INTERNAL_ERROR, "the answer does not fit the form")
        return content

    def complete(params: types.CreateMessageParams) -> types.CreateMessageResult:
        text = types.TextContent(text=sample or "")
        return types.CreateMessageResult(role="assistant", content=text, model="mcpcore-cli")

    try:
        return Callbacks(
            elicitation=None if content is None else elicit,
            sampling=None if sample is None else complete,
            roots=list(options.root) or None,
            log=_show_log,
        )
    except ValueError as error:
        raise output.wrong(f"--root: {error}") from None


def _show_progress(value: float, total: float | None, message: str | None) -> None:
    of = "" if total is None else f" of {total:g}"
    said = f" {message}" if message else ""
    output.errors.print(_shown(f"progress: {value:g}{of}{said}"), style="dim")


def _show_log(message: types.LoggingMessageParams) -> None:
    source = "" if message.logger is None else f" {message.logger}"
    data = message.data
    text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    output.errors.print(_shown(f"{message.level}{source}: {text}"), style="dim")


def _shown(text: str) -> str:
    """Return text of the server without what rich or a terminal would obey."""
    return escape(output.escaped(text, lines=True))


_TYPES = {"https": "http", "wss": "ws", "sse+http": "sse", "sse+https": "sse"}
"""Types of servers in a configuration file by the scheme of their URL, where they differ."""


class Listing(Struct, frozen=True):
    """Kind of object that can be listed."""

    member: str
    """Member of the JSON output with the objects."""
    capability: str
    """Path of the capability that promises the list."""
    fetch: Callable[[Client], Awaitable[list[Any]]]
    columns: tuple[str, ...]
    """Titles of the columns before the description."""
    row: Callable[[Any], tuple[str, ...]]
    describe: Callable[[Any], str | None] = attrgetter("description")


def _tool_row(tool: types.Tool) -> tuple[str, ...]:
    found = tool.input_schema.get("required")
    required = found if isinstance(found, list) else []
    names = [name if name in required else f"[{name}]" for name in _properties(tool)]
    return tool.name, " ".join(names)


def _prompt_row(prompt: types.Prompt) -> tuple[str, ...]:
    names = [each.name if each.required else f"[{each.name}]" for each in prompt.arguments]
    return prompt.name, " ".join(names)


def _count(files: list[types.SkillResource] | str) -> str:
    return files if isinstance(files, str) else str(len(files))


KINDS = {
    "tools": Listing("tools", "tools", Client.tools, ("name", "arguments"), _tool_row),
    "resources": Listing(
        "resources",
        "resources",
        Client.resources,
        ("uri", "name", "type"),
        lambda each: (each.uri, each.name, each.mime_type or ""),
    ),
    "templates": Listing(
        "resourceTemplates",
        "resources",
        Client.resource_templates,
        ("template", "name", "type"),
        lambda each: (each.uri_template, each.name, each.mime_type or ""),
    ),
    "prompts": Listing("prompts", "prompts", Client.prompts, ("name", "arguments"), _prompt_row),
    "skills": Listing(
        "skills",
        f"extensions.{SKILLS_EXTENSION}",
        Client.skills,
        ("uri", "files"),
        lambda each: (each.uri, _count(each.resources)),
        lambda each: str(each.frontmatter.get("description", "")),
    ),
}


def list_offers(options: QueryOptions) -> int:
    """List the kinds that the words name, all by default; return the exit status."""
    rest, target = split_target(options.words, options)
    unknown = [word for word in rest if word not in KINDS]
    if unknown:
        raise output.wrong(
            f"{unknown[0]!r} cannot be listed; expected {', '.join(KINDS)}, and the server last"
        )

    async def talk(client: Client) -> dict[str, list[Any]]:
        await _compare(client, options)
        found = {}
        for kind in rest or KINDS:
            listing = KINDS[kind]
            if rest or declares(client.capabilities, listing.capability):
                found[kind] = await listing.fetch(client)
        return found

    found = converse(target, options, talk)
    if options.as_json:
        output.print_json({KINDS[kind].member: items for kind, items in found.items()})
        return Exit.OK
    for kind, items in found.items():
        listing = KINDS[kind]
        rows = [(*listing.row(each), output.first_line(listing.describe(each))) for each in items]
        output.print_table(f"{kind} ({len(items)})", (*listing.columns, "description"), rows)
    return Exit.OK


def list_servers(config: str | None, *, as_json: bool) -> int:
    """List the servers of the file; return the exit status.  Raises BadConfig."""
    path = config_path(config)
    servers = read_config(path)
    facts = [
        {
            "name": each.name,
            "type": _type(each),
            "target": _written(each),
            "disabled": each.disabled,
            "problem": each.problem,
        }
        for each in servers.values()
    ]
    if as_json:
        output.print_json({"file": str(path), "servers": facts})
        return Exit.OK
    columns = ("name", "type", "target", "problem")
    rows = [tuple(str(fact[name] or "") for name in columns) for fact in facts]
    output.print_table(f"servers in {path} ({len(rows)})", columns, rows)
    for server in servers.values():
        for doubt in server.doubts:
            output.print_warning(f"{server}: {doubt}")
    return Exit.OK


def _type(server: ConfiguredServer) -> str:
    scheme = (server.url or "").partition(":")[0].lower()
    return server.type or _TYPES.get(scheme, scheme)


def _written(server: ConfiguredServer) -> str:
    # As it is written: variables are not replaced, as there may be secrets in them.
    url = server.url and shown_url(server.url)
    return output.escaped(url or shlex.join([server.command or "", *server.args]))


_ROUNDS = 10


def probe(options: ProbeOptions) -> int:
    """Probe a server; return the exit status."""
    rest, target = split_target(options.words, options)
    if rest:
        raise BadTarget(f"{rest[0]!r} was not expected; probe takes one server")
    if options.health:
        from mcpcore_transports.commands.health import ask_health  # late: few ask

        return ask_health(target, options)
    began = time.perf_counter()

    async def talk(client: Client) -> dict[str, Any]:
        connected = time.perf_counter() - began
        if doubt := era_doubt(client, connected, options):
            output.print_warning(f"{doubt} (--revision {LATEST.name} asks for no other era)")
        return {
            "target": describe(target),
            "era": "modern" if client.revision.modern else "legacy",
            "revision": client.revision.name,
            "revisions": list(client.supported),
            "server": client.server_info,
            "instructions": client.instructions,
            "capabilities": client.capabilities,
            "connectMs": round(connected * 1000, 3),
            "roundTripMs": round(await _round_trip(client) * 1000, 3),
        }

    with recording(options) as recorder:
        options = structs.replace(options, recorder=recorder)
        found = converse(target, options, talk)
        if found["era"] == "legacy" and options.revisions is None:
            found["revisions"] = interruptible(partial(_spoken, found["revision"], target, options))
    if options.as_json:
        output.print_json(found)
    else:
        output.print_facts(_facts(found))
    return Exit.OK


async def _spoken(known: str, target: Target, options: ConnectOptions) -> list[str]:
    """Return the revisions of a legacy server, tried one by one: it may bear one process alone."""
    spoken = []
    for row in reversed(LEGACY):
        if row.name == known:
            spoken.append(row.name)
            continue
        try:
            async with await connection(target, options, revision=row.name):
                spoken.append(row.name)
        except (LocalError, McpError, OSError):
            continue  # it does not speak this one
    return spoken


async def _round_trip(client: Client) -> float:
    """Return the median time of several pings, in seconds; an error is an answer as well."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        with suppress(McpError):
            await client.ping()
        times.append(time.perf_counter() - began)
        await anyio.lowlevel.checkpoint()
    return statistics.median(times)


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    server = found["server"]
    name = "unknown"
    if server is not None:
        name = f"{server.name} {server.version}"
        if server.title is not None:
            name += f" ({server.title})"
    capabilities = msgspec.to_builtins(found["capabilities"])
    facts = [
        ("server", name),
        ("era", found["era"]),
        ("revision", found["revision"]),
        ("revisions", ", ".join(found["revisions"])),
        ("capabilities", ", ".join(_paths(capabilities)) or "none"),
        ("connected in", f"{found['connectMs']:.1f} ms"),
        ("round trip", f"{found['roundTripMs']:.2f} ms (median of {_ROUNDS})"),
    ]
    if found["instructions"]:
        facts.append(("instructions", found["instructions"]))
    return facts


def _paths(capabilities: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the paths of declared capabilities: of members, or of the name if it has none."""
    paths = []
    for name, value in capabilities.items():
        if value is not False:
            below = _paths(value, f"{prefix}{name}.") if isinstance(value, dict) else []
            paths += below or [prefix + name]
    return paths
