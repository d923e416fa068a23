"""What a program does not need it does not import: that is most of the time it takes to start."""

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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
from mcpcore_transports.http1.settings import HttpServerSettings
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

COMMAND = """
from mcpcore_transports.commands.main import main

main(["serve", "--http", "127.0.0.1:0", "--show-config"])
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
    "mcpcore.policy.rates",
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
    "mcpcore_transports.server.elicitation",
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
    "the command": (COMMAND, {*OF_OTHERS} - {"rich", "typer"} | {"importlib.metadata"}),
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


def unexplained(source: str) -> Iterator[int]:
    """Lines of late imports of ours, and of imports for types alone, without a comment.

    The comment stands on the import or above it; of imports that follow each other, at one.
    """

    @cache
    def said() -> set[int]:
        """Lines with a comment: few files need them, and to find them takes long."""
        return {
            token.start[0]
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:"))
        }

    def late(node: ast.stmt) -> bool:
        return (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mcpcore")) or (
            isinstance(node, ast.Import) and node.names[0].name.startswith("mcpcore")
        )

    def look(body: list[ast.stmt], inside: bool) -> Iterator[int]:
        explained = False
        for node in body:
            imports = inside and isinstance(node, ast.Import | ast.ImportFrom)
            lines = range(node.lineno - 1, (node.end_lineno or node.lineno) + 1)
            explained = imports and (explained or not said().isdisjoint(lines))
            if inside and late(node) and not explained:
                yield node.lineno
            if (
                isinstance(node, ast.If)
                and isinstance(node.test, ast.Name)
                and node.test.id == "TYPE_CHECKING"
            ):
                for_types = any(isinstance(each, ast.Import | ast.ImportFrom) for each in node.body)
                if for_types and said().isdisjoint({node.lineno - 1, node.lineno}):
                    yield node.lineno
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for name in ("body", "orelse", "finalbody", "handlers", "cases"):
                inner = getattr(node, name, [])
                blocks = [inner] if name in ("body", "orelse", "finalbody") else inner
                for block in blocks:
                    yield from look(getattr(block, "body", block), inside or function)

    return look(ast.parse(source).body, inside=False)


@pytest.mark.parametrize("package", ["mcpcore", "transports/mcpcore_transports"])
def test_late_imports_have_a_reason(package: str) -> None:
    root = Path(__file__).parent.parent
    files = sorted((root / package).rglob("*.py"))
    assert len(files) > 60
    assert [
        f"{path.relative_to(root)}:{line}"
        for path in files
        for line in unexplained(path.read_text(encoding="utf-8"))
    ] == []


LATE = "def f():\n    from mcpcore.wire import sse"
TYPES = "if TYPE_CHECKING:{}\n    from mcpcore.wire import sse\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (LATE, [2]),
        (f"{LATE}  # late: few need it", []),
        (f"{LATE}  # noqa: F401", [2]),
        (f"{LATE}  # late\n    from mcpcore import run", []),
        (f"{LATE}  # late\n    x = 1\n    from mcpcore import run", [4]),
        (
            "class A:\n    async def f(self):\n        try:\n            import mcpcore.types\n"
            "        except ImportError:\n            from mcpcore import run\n",
            [4, 6],
        ),
        ("def f(x):\n    match x:\n        case 1:\n            import mcpcore", [4]),
        ("from mcpcore import run", []),
        ("def f():\n    import json", []),
        (TYPES.format(""), [1]),
        (TYPES.format("  # a type alone"), []),
        ("# types alone\n" + TYPES.format(""), []),
        ("if TYPE_CHECKING:\n    A = B | C", []),
    ],
)
def test_a_late_import_without_a_reason_is_found(source: str, found: list[int]) -> None:
    assert list(unexplained(source)) == found
