"""`mcpcore call`: call a tool and print its result."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.elicitation import ElicitParams
from mcpcore.spec.types.lifecycle import LoggingMessageParams
from mcpcore.spec.types.sampling import CreateMessageParams, CreateMessageResult
from mcpcore.spec.types.tools import CallToolResult, Tool
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import Exit, Failure, errors, print_block, print_json
from mcpcore_transports.commands.target import converse, split_target


def call(
    tool: str,
    words: Sequence[str],
    options: ConnectOptions,
    *,
    arguments: str | None,
    answer: str | None,
    sample: str | None,
    roots: Sequence[str],
    as_json: bool,
) -> int:
    """Call ``tool``; return the exit status."""
    pairs, target = split_target(words, options)
    given = parse_pairs(pairs)
    base = _json_object(arguments, "--arguments") if arguments is not None else {}
    callbacks = _callbacks(answer, sample, roots)

    async def talk(client: Client) -> CallToolResult:
        known = {listed.name: listed for listed in await client.tools()}
        if tool not in known:
            names = ", ".join(known) or "none"
            raise Failure(f"the server has no tool {tool!r}; its tools: {names}", Exit.REFUSED)
        values = {**base, **convert_pairs(given, known[tool])}
        if options.verbose and client.capabilities.logging is not None:
            await client.set_log_level("debug")
        return await client.call_tool(tool, values, progress=_show_progress)

    result = converse(target, options, talk, callbacks)
    _show(result, as_json)
    return Exit.REFUSED if result.is_error else Exit.OK


def parse_pairs(words: Sequence[str]) -> dict[str, str]:
    """Split ``key=value`` words.  Raises Failure."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Failure(
                f"{word!r} is no argument; expected key=value, and the server last", Exit.USAGE
            )
        pairs[key] = value
    return pairs


def convert_pairs(pairs: Mapping[str, str], tool: Tool) -> dict[str, Any]:
    """Convert each value to the type in the tool's schema: text stays text, the rest is JSON."""
    properties = tool.input_schema.get("properties", {})
    values: dict[str, Any] = {}
    for key, text in pairs.items():
        rules = properties.get(key)
        kind = rules.get("type") if isinstance(rules, dict) else None
        values[key] = text
        if kind != "string":
            try:
                values[key] = msgspec.json.decode(text)
            except msgspec.DecodeError:
                if kind is not None:
                    raise Failure(
                        f"{key}={text}: the tool wants {kind}, which is written as JSON", Exit.USAGE
                    ) from None
    return values


def _json_object(text: str, option: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Failure(f"{option}: {error}", Exit.USAGE) from None


def _callbacks(answer: str | None, sample: str | None, roots: Sequence[str]) -> Callbacks:
    content = None if answer is None else _json_object(answer, "--answer")

    def elicit(params: ElicitParams) -> dict[str, Any] | None:
        errors.print(f"[dim]the server asks:[/] {params.message}", markup=True)
        return content

    def complete(params: CreateMessageParams) -> CreateMessageResult:
        text = TextContent(text=sample or "")
        return CreateMessageResult(role="assistant", content=text, model="mcpcore-cli")

    return Callbacks(
        elicitation=None if content is None else elicit,
        sampling=None if sample is None else complete,
        roots=list(roots) or None,
        log=_show_log,
    )


def _show_progress(value: float, total: float | None, message: str | None) -> None:
    of = "" if total is None else f" of {total:g}"
    errors.print(
        f"progress: {value:g}{of}{f' {message}' if message else ''}", style="dim", markup=False
    )


def _show_log(message: LoggingMessageParams) -> None:
    source = "" if message.logger is None else f" {message.logger}"
    text = message.data if isinstance(message.data, str) else msgspec.json.encode(message.data)
    shown = text if isinstance(text, str) else text.decode()
    errors.print(f"{message.level}{source}: {shown}", style="dim", markup=False)


def _show(result: CallToolResult, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for block in result.content:
        print_block(block)
    if not result.content and result.is_structured:
        print_json(result.structured_content)
    if result.is_error:
        errors.print("[bold red]the tool failed[/]")
