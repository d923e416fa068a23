"""`mcpcore load`: how long a tool of a running server takes under load."""

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
import typer

from mcpcore_bench.load.offered import OfferedLoad, OfferedResult, offer
from mcpcore_transports.client.client import Client
from mcpcore_transports.commands import output
from mcpcore_transports.commands.client import json_object
from mcpcore_transports.commands.options import ConnectOptions, Opt, Shown, Texts, connecting
from mcpcore_transports.commands.target import connection, converse, split_target
from mcpcore_transports.targets import Target, describe

__all__ = ["command", "is_local"]

_CLOSED, _OPEN = 10, 256
"""Maximum calls at a time, by default: in the closed loop, and in the open one."""
_MOST = 10_000
"""Maximum calls at a time, and in a second."""
_LONGEST = 3600
_SHOWN = 200
"""Maximum characters of an error that are shown."""
_PATIENCE = 10.0
"""Seconds for calls that are in flight at the end, without --timeout."""


class LoadOptions(ConnectOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore load``."""

    words: Annotated[Texts, typer.Argument(hidden=True, metavar="URL | NAME | -- COMMAND")] = ()
    tool: Annotated[str, Opt("The tool that is called.", "NAME")]
    seconds: Annotated[
        float, Opt("How long calls are offered.", "SECONDS", min=0.1, max=_LONGEST)
    ] = 10.0
    rate: Annotated[
        float | None,
        Opt("Open loop: so many calls are due in a second.", "N", min=0.01, max=_MOST),
    ] = None
    in_flight: Annotated[
        int | None,
        Opt(
            f"Closed loop: always so many at a time; default {_CLOSED}. Open: at most; {_OPEN}.",
            "N",
            min=1,
            max=_MOST,
        ),
    ] = None
    connections: Annotated[int, Opt("Clients that share the calls.", "N", min=1, max=1000)] = 1
    arguments: Annotated[str, Opt("Its arguments.", "JSON")] = "{}"
    remote: Annotated[
        bool, Opt("The server may be on another machine: you are allowed to load it.")
    ] = False
    as_json: Shown = False


def is_local(target: Target) -> bool:
    """Return True for a server on this machine, as far as its address says."""
    host = urlsplit(getattr(target, "url", "")).hostname
    if not host or host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def run(options: LoadOptions) -> int:
    """Offer the calls and tell what became of them; return the exit status."""
    rest, target = split_target(options.words, options)
    if rest:
        raise output.wrong(f"{rest[0]!r} was not expected; load takes one server")
    if not is_local(target) and not options.remote:
        raise output.wrong(
            f"{describe(target)} is not on this machine; --remote says that you may load it"
        )
    arguments = json_object(options.arguments, "--arguments")
    load = OfferedLoad(
        seconds=options.seconds,
        in_flight=options.in_flight or (_CLOSED if options.rate is None else _OPEN),
        rate=options.rate,
        patience=options.timeout or _PATIENCE,
    )
    result, status = OfferedResult(), output.Exit.OK
    try:
        converse(target, options, partial(_measure, target, options, arguments, load, result))
    except KeyboardInterrupt:
        status = output.Exit.INTERRUPTED
    if options.as_json:
        output.print_json({"target": describe(target), "load": load, **_numbers(result)})
    else:
        output.print_facts(_facts(load, result))
    failed = result.errors or result.unsent or result.unanswered
    return status or (output.Exit.REFUSED if failed else output.Exit.OK)


async def _measure(
    target: Target,
    options: LoadOptions,
    arguments: dict[str, Any],
    load: OfferedLoad,
    result: OfferedResult,
    client: Client,
) -> None:
    async with AsyncExitStack() as stack:
        clients = [client]
        for _ in range(options.connections - 1):
            made = await connection(target, options, revisions=options.revisions)
            clients.append(await stack.enter_async_context(made))
        for each in clients:  # so that no list is asked for meanwhile
            names = [tool.name for tool in await each.tools()]
            if options.tool not in names:
                raise output.Failure(
                    f"the server has no tool {options.tool!r}; its tools: {', '.join(names)}",
                    output.Exit.REFUSED,
                )
        async with anyio.create_task_group() as group:
            if sys.stderr.isatty():
                group.start_soon(_tell, result)
            await offer(
                [partial(_call, each, options.tool, arguments) for each in clients], load, result
            )
            group.cancel_scope.cancel()


async def _call(client: Client, tool: str, arguments: dict[str, Any]) -> None:
    (await client.call_tool(tool, arguments, repeat=False)).raise_for_error()


async def _tell(result: OfferedResult) -> None:
    """Show on the terminal, each second, how far it is."""
    began = anyio.current_time()
    while True:
        await anyio.sleep(1)
        passed = anyio.current_time() - began
        middle, high = (result.times.percentile(share) / 1e6 for share in (50, 99))
        output.say(
            f"{passed:.0f} s: {result.ended} calls, {result.ended / passed:.0f}/s, "
            f"{result.errors.total()} errors, p50 {middle:.1f} ms, p99 {high:.1f} ms"
        )


def _numbers(result: OfferedResult) -> dict[str, Any]:
    return {
        "seconds": round(result.seconds, 3),
        "calls": result.ended,
        "rate": round(result.rate, 1),
        "errors": dict(result.errors),
        "examples": result.examples,
        "unsent": result.unsent,
        "unanswered": result.unanswered,
        "milliseconds": {name: round(it, 3) for name, it in result.percentiles().items()},
    }


def _facts(load: OfferedLoad, result: OfferedResult) -> Sequence[tuple[str, str]]:
    kind = "closed loop" if load.rate is None else f"open loop, {load.rate:g}/s"
    facts = [
        ("load", f"{kind}, {'' if load.rate is None else 'at most '}{load.in_flight} at a time"),
        ("calls", f"{result.ended} in {result.seconds:.1f} s, {result.rate:.1f}/s"),
        *((name, f"{it:.2f} ms") for name, it in result.percentiles().items()),
        ("errors", str(result.errors.total())),
        *(
            (f"  {kind}", f"{number}, the first: {output.escaped(result.examples[kind])[:_SHOWN]}")
            for kind, number in result.errors.most_common()
        ),
    ]
    if result.unsent:
        facts.append(("unsent", f"{result.unsent} were due, and there was no place for them"))
    if result.unanswered:
        facts.append(("unanswered", f"{result.unanswered} at the end"))
    return facts


def load(context: typer.Context, *, options: LoadOptions) -> None:
    """Call a tool of a running server again and again, and say how long it takes.

    The server is a URL, a command behind --, or the NAME that mcp.json has for one. With --rate the
    loop is open: calls are due at that rate whatever becomes of them, and a call's time counts from
    when it was due, so that a server that stalls is charged for all that it kept waiting. Without
    it the loop is closed: so many calls are always under way as --in-flight says. A tool may
    change things: it is called thousands of times. Ctrl-C ends it, and what was measured is shown.

    Exit status: 0 all calls went well, 1 some did not, 2 wrong usage, 3 no connection.

    \b
    Examples:
      mcpcore load http://127.0.0.1:8000/mcp --tool add --arguments '{"a": 1, "b": 2}'
      mcpcore load http://127.0.0.1:8000/mcp --tool add --seconds 30 --rate 500
      mcpcore load http://127.0.0.1:8000/mcp --tool add --in-flight 50 --connections 5 --json
      mcpcore load --remote https://mcp.example.com/mcp --tool search --rate 5
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    output.guarded(options.verbose, lambda: run(options))


command = connecting(load, declared=LoadOptions)
