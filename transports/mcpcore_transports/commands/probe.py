"""`mcpcore probe`: revisions, identity, capabilities and response time of a server."""

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio
import msgspec
from msgspec import structs

from mcpcore.errors import BadTarget
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.revisions import LEGACY
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.commands.options import ConnectOptions, recording
from mcpcore_transports.commands.output import Exit, print_facts, print_json
from mcpcore_transports.commands.target import client_settings, converse, split_target
from mcpcore_transports.targets import Target, describe

_ROUNDS = 10


def probe(words: Sequence[str], options: ConnectOptions, *, as_json: bool) -> int:
    """Probe a server; return the exit status."""
    rest, target = split_target(words, options)
    if rest:
        raise BadTarget(f"{rest[0]!r} was not expected; probe takes one server")
    began = time.perf_counter()

    async def talk(client: Client) -> dict[str, Any]:
        connected = time.perf_counter() - began
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
            found["revisions"] = anyio.run(_spoken, found["revision"], target, options)
    if as_json:
        print_json(found)
    else:
        print_facts(_facts(found))
    return Exit.OK


async def _spoken(known: str, target: Target, options: ConnectOptions) -> list[str]:
    """Return the revisions that a legacy server supports, tried one by one; ``known`` is one.

    There is one connection at a time, as a program may not tolerate a second process of itself.
    """
    spoken = []
    for row in reversed(LEGACY):
        if row.name == known:
            spoken.append(row.name)
            continue
        pinned = structs.replace(options, revisions=(row.name,))
        try:
            async with connect(
                target,
                revision=row.name,
                settings=client_settings(pinned),
                trace=options.recorder,
            ):
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
