"""What the servers of both lines share: arguments, announcement, data."""

import argparse
import base64
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import uvicorn

from mcpcore_conformance.everything.media import png, wav

PNG = base64.b64encode(png()).decode()
WAV = base64.b64encode(wav()).decode()
WEATHER_ICON = "https://example.com/weather.png"
WATCHED = "test://watched-resource"
PAGE = 2
"""Prompts on one page."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
DEFAULTS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
"""A default of every type."""
_TITLED = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
ENUMS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2"]},
        "titledSingle": {"type": "string", "oneOf": _TITLED},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
    },
    "required": ["untitledSingle"],
}
"""A choice of every kind."""
CONFIRM_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean"}},
    "required": ["confirm"],
}
ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}
"""The arguments of the tool that the model is given."""

_WORDS = ("paris", "park", "party", "test", "tested", "testing")


def proposals(name: str, typed: str, known: dict[str, str] | None) -> list[str]:
    """Complete the argument ``name``."""
    if name == "id":
        return [str(number) for number in range(1, 200) if str(number).startswith(typed)]
    first = (known or {}).get("arg1")
    words = _WORDS if name == "arg1" or first is None else (f"{first}-1", f"{first}-2")
    return [word for word in words if word.startswith(typed)]


async def _serve_http(app: Any, host: str, port: int, url: str) -> None:
    listener = socket.create_server((host, port), backlog=128)
    # asyncio does this only for sockets it made itself; without it each answer waits for an ack
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    print(f"listening on {url.format(f'{host}:{port}')}", file=sys.stderr, flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def main(
    run_stdio: Callable[[], Awaitable[None]],
    make_app: Callable[[bool], Any],
    make_sse_app: Callable[[], Any],
) -> int:
    """Serve on the transport that the command line names; ``make_app`` is told if stateless."""
    parser = argparse.ArgumentParser()
    binding = parser.add_mutually_exclusive_group(required=True)
    binding.add_argument("--stdio", action="store_true")
    binding.add_argument("--http", metavar="HOST:PORT")
    binding.add_argument("--sse", metavar="HOST:PORT")
    parser.add_argument(
        "--stateless", action="store_true", help="HTTP without sessions, answers without streams"
    )
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if chosen.stdio:
        anyio.run(run_stdio)
        return 0
    if chosen.sse:
        app, address, url = make_sse_app(), chosen.sse, "sse+http://{}/sse"
    else:
        app, address, url = make_app(chosen.stateless), chosen.http, "http://{}/mcp"
    host, _, port = address.rpartition(":")
    anyio.run(_serve_http, app, host, int(port), url)
    return 0
