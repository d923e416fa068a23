"""What a program does not need it does not import: that is most of the time it takes to start."""

import json
import subprocess
import sys

import pytest

CORE = "import mcpcore"

STDIO = """
from mcpcore.service import Server
from mcpcore_transports.server.context import Context
from mcpcore_transports.serve.serve import run

server = Server("lean")

@server.tool
def echo(context: Context, text: str) -> str:
    return text

run(server)
"""

HTTP = """
import anyio
from mcpcore.service import Server
from mcpcore_transports.server.context import Context
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings, serve

server = Server("lean")

@server.tool
def echo(context: Context, text: str) -> str:
    return text

async def main() -> None:
    stop = anyio.Event()
    link = HttpServerSettings(driver="asyncio", parser="h11")
    settings = ServeSettings(http_link=link)
    await serve(server, http="127.0.0.1:0", settings=settings, on_ready=stop.set, stop=stop)

anyio.run(main)
"""

ASKED = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "said"}},
    },
]

NOT_OFFERED = {
    "mcpcore.engine.seal",
    "mcpcore.service.prompts",
    "mcpcore.service.pydantic_types",
    "mcpcore.service.rate",
    "mcpcore.service.resources",
    "mcpcore.service.tasks",
    "mcpcore.service.twins",
    "mcpcore.service.uri_templates",
    "mcpcore.spec.types.client_features",
    "mcpcore.spec.types.prompts",
    "mcpcore.spec.types.resources",
    "mcpcore.spec.types.tasks",
    "mcpcore_transports.http.server.identity",
    "mcpcore_transports.http.server.log",
    "mcpcore_transports.server.inputs",
    "mcpcore_transports.server.seal",
    "mcpcore_transports.server.middleware",
    "mcpcore_transports.running.tasks",
    "mcpcore_transports.server.tasks.tasks",
    "mcpcore_transports.tracing.tracing",
}
OF_OTHERS = {
    "anyio.from_thread",
    "cryptography",
    "httptools",
    "jsonschema",
    "pydantic",
    "redis",
    "rich",
    "sqlite3",
    "trio",
    "typer",
}
OF_CLIENTS = {
    "mcpcore.engine.reconnection",
    "mcpcore.http.client",
    "mcpcore_transports.client.client",
    "mcpcore_transports.stdio.process",
    "mcpcore_transports.targets",
}

UNNEEDED: dict[str, tuple[str, set[str]]] = {
    "the core": (
        CORE,
        {
            *NOT_OFFERED,
            *OF_OTHERS,
            "anyio",
            "asyncio",
            "hashlib",
            "json",
            "mcpcore.http",
            "mcpcore.service",
            "ssl",
            "urllib.parse",
        },
    ),
    "stdio": (
        STDIO,
        {
            *NOT_OFFERED,
            *OF_OTHERS,
            *OF_CLIENTS,
            "h11",
            "hashlib",
            "json",
            "mcpcore.http.headers",
            "mcpcore.http.server",
            "random",
            "secrets",
            "mcpcore_transports.http.server.host",
            "mcpcore_transports.stores",
            "mcpcore_transports.websocket.link",
            "urllib.parse",
            "wsproto",
        },
    ),
    "HTTP": (
        HTTP,
        {
            *NOT_OFFERED,
            *OF_OTHERS,
            *OF_CLIENTS,
            "ctypes",
            "hashlib",
            "json",
            "mcpcore.http.server.stored",
            "random",
            "secrets",
            "mcpcore_transports.stream.connection",
            "mcpcore_transports.server.rate_limits",
            "mcpcore_transports.stdio.server",
            "mcpcore_transports.http.server.store_link",
            "mcpcore_transports.stores",
            "mcpcore_transports.tls",
            "mcpcore_transports.websocket.link",
            "urllib.parse",
            "wsproto",
        },
    ),
}


def imported(program: str) -> set[str]:
    """What a program has imported when it ends."""
    words = [sys.executable, "-X", "importtime", "-c", program]
    said = "".join(f"{json.dumps(message)}\n" for message in ASKED)
    done = subprocess.run(words, input=said, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    if program is STDIO:
        assert '"said"' in done.stdout
    lines = done.stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize("kind", UNNEEDED)
def test_what_is_not_needed_is_not_imported(kind: str) -> None:
    program, unneeded = UNNEEDED[kind]
    found = imported(program)
    assert "mcpcore.engine.peer" in found
    assert found & unneeded == set()


def test_what_is_not_imported_exists() -> None:
    names = {name for _, unneeded in UNNEEDED.values() for name in unneeded}
    ours = sorted(name for name in names if name.startswith("mcpcore"))
    code = f"import importlib\nfor name in {ours}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
