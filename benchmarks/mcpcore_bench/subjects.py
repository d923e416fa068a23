"""Whom we measure: the programs, how each is started, and what has to be installed for it."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from shutil import which

from msgspec import Struct

from mcpcore_bench.load.jobs import Command

ROOT = Path(__file__).resolve().parents[2]
OURS = sys.executable
SDK = str(ROOT / ".venv-sdk" / "bin" / "python")
SDK1 = str(ROOT / ".venv-sdk1" / "bin" / "python")
FASTMCP = str(ROOT / ".venv-fastmcp" / "bin" / "python")
PROXIES = str(ROOT / ".venv-real1" / "bin" / "python")
NODE_MODULES = ROOT / ".tools" / "node_modules"
SDK_SCRIPT = str(ROOT / "benchmarks" / "peers" / "sdk_server.py")
SDK_CLIENT = str(ROOT / "benchmarks" / "peers" / "sdk_client.py")
FASTMCP_CLIENT = str(ROOT / "benchmarks" / "peers" / "sdk_fastmcp.py")
RECORDED = str(ROOT / "benchmarks" / "peers" / "recorded.py")
TYPESCRIPT = ROOT / "benchmarks" / "peers" / "typescript"
HOW = "make bench-tools"

Missing = Callable[[], str | None]


class Subject(Struct, frozen=True):
    """A program with its command line."""

    title: str
    words: tuple[str, ...]
    needs: Missing = lambda: None
    """Says what is not installed, if anything."""

    def command(self, *more: str) -> Command:
        """How it is started, with further words."""
        return Command((*self.words, *more))


@cache
def missing_here(*packages: str) -> str | None:
    """Which of these packages our own environment does not have."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed ({HOW})"
    return None


@cache
def missing_in(python: str, *packages: str, how: str = HOW) -> str | None:
    """Which of these packages another environment does not have."""
    place = Path(python)
    if not place.exists():
        return f"{place.parent.parent.name} is not there ({how})"
    ask = "import sys, importlib.util as u; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))"
    done = subprocess.run(
        [python, "-c", ask, *packages], capture_output=True, text=True, check=False
    )
    lacking = done.stdout.split()
    if lacking:
        return f"{place.parent.parent.name} lacks {', '.join(lacking)} ({how})"
    return None if done.returncode == 0 else f"{place.parent.parent.name} does not work"


def missing_typescript(line: str, *packages: str) -> str | None:
    """Whether Node or this line of the TypeScript SDK is not there."""
    if node() is None:
        return f"Node is not installed ({HOW})"
    if not all((NODE_MODULES / "@modelcontextprotocol" / each).is_dir() for each in packages):
        return f"the TypeScript SDK {line} is not installed ({HOW})"
    return None


def node() -> str | None:
    """The command of Node: ours below .tools, or the system's."""
    own = NODE_MODULES / ".bin" / "node"
    return str(own) if own.exists() else which("node")


def _module(name: str, title: str, *words: str, needs: Missing = lambda: None) -> Subject:
    return Subject(title, (OURS, "-m", f"mcpcore_bench.programs.{name}", *words), needs)


def _sdk(title: str, *words: str, packages: tuple[str, ...] = ("mcp",)) -> Subject:
    return Subject(title, (SDK, SDK_SCRIPT, *words), partial(missing_in, SDK, *packages))


def _sdk1(title: str, *words: str, packages: tuple[str, ...] = ("mcp",)) -> Subject:
    needs = partial(missing_in, SDK1, *packages, how="make sdk")
    return Subject(title, (SDK1, SDK_SCRIPT, "--kind", "high1", *words), needs)


def _adapted(title: str, python: str, kind: str) -> Subject:
    words = (python, SDK_SCRIPT, "--kind", kind, "--transport", "ours")
    return Subject(title, words, partial(missing_in, python, "mcpcore", how="make adapted"))


def _fastmcp(title: str, *words: str, packages: tuple[str, ...] = ("fastmcp",)) -> Subject:
    needs = partial(missing_in, FASTMCP, *packages)
    return Subject(title, (FASTMCP, SDK_SCRIPT, "--kind", "fastmcp", *words), needs)


def _node(program: str, *words: str) -> tuple[str, ...]:
    # Where a module stands is where Node looks for packages: so it is told where they are, and the
    # flag lets a module look there for what `import` means by a name.
    flag, script = "--experimental-import-meta-resolve", str(TYPESCRIPT / program)
    return (node() or "node", flag, script, *words, str(NODE_MODULES))


def _typescript(program: str, word: str) -> Subject:
    needs = partial(missing_typescript, "1.x", "sdk")
    return Subject("TypeScript SDK 1.x", _node(program, word), needs)


def _typescript2(title: str, *words: str) -> Subject:
    needs = partial(missing_typescript, "2.x", "server", "node")
    return Subject(f"TypeScript SDK 2.x{title}", _node("server2.mjs", *words), needs)


_SPEEDY = ("mcp", "httptools", "uvloop")
_BEST = ("--parser", "httptools", "--loop", "uvloop")

_SPEED = partial(missing_here, "httptools", "uvloop")
_CERTIFICATES = partial(missing_here, "trustme")
_SPEED_TLS = partial(missing_here, "httptools", "uvloop", "trustme")
_ISSUER = ("--issuer", "{issuer}")
_UPSTREAM = ("--upstream", "{upstream}")
_OTEL = partial(missing_here, "opentelemetry.sdk", "prometheus_client")
_KEYS = partial(missing_here, "cryptography")
_SPEED_KEYS = partial(missing_here, "httptools", "uvloop", "cryptography")
_UVICORN = partial(missing_here, "uvicorn")
_UVICORN_BEST = partial(missing_here, "uvicorn", "httptools", "uvloop")

SUBJECTS: dict[str, Subject] = {
    # HTTP
    "ours-anyio": _module("ours", "ours, anyio, own parser, else h11", "--driver", "anyio"),
    "ours-trio": _module(
        "ours", "ours, trio, own parser, else h11", "--driver", "anyio", "--backend", "trio"
    ),
    "ours-asyncio": _module("ours", "ours, asyncio, own parser, else h11", "--driver", "asyncio"),
    "ours-speed": _module("ours", "ours, speed extra", "--driver", "speed", needs=_SPEED),
    "ours-anyio-parsed": _module(
        "ours", "ours, anyio, h11", "--driver", "anyio", "--heads", "parsed"
    ),
    "ours-asyncio-parsed": _module(
        "ours", "ours, asyncio, h11", "--driver", "asyncio", "--heads", "parsed"
    ),
    "ours-speed-parsed": _module(
        "ours",
        "ours, httptools, uvloop",
        "--driver",
        "speed",
        "--heads",
        "parsed",
        needs=_SPEED,
    ),
    "ours-asgi": _module("ours_asgi", "ours, ASGI under uvicorn", needs=_UVICORN),
    "ours-asgi-speed": _module(
        "ours_asgi", "ours, ASGI under uvicorn, httptools, uvloop", *_BEST, needs=_UVICORN_BEST
    ),
    "raw-anyio": _module("raw_h11", "raw anyio and h11", "--io", "anyio"),
    "raw-trio": _module("raw_h11", "raw trio and h11", "--io", "anyio", "--backend", "trio"),
    "raw-streams": _module("raw_h11", "raw asyncio streams and h11", "--io", "streams"),
    "raw-protocol": _module("raw_h11", "raw protocol and h11", "--io", "protocol"),
    "raw-httptools": _module(
        "raw_httptools",
        "raw protocol, httptools, uvloop",
        "--loop",
        "uvloop",
        needs=_SPEED,
    ),
    "raw-httptools-asyncio": _module(
        "raw_httptools",
        "raw protocol, httptools, asyncio",
        needs=partial(missing_here, "httptools"),
    ),
    "raw-bare": _module(
        "raw_httptools",
        "raw httptools, uvloop, no checks",
        "--loop",
        "uvloop",
        "--checks",
        "no",
        needs=_SPEED,
    ),
    "responder": _module("responder", "ready bytes on epoll"),
    "sdk": _sdk("official SDK, JSON replies", "--replies", "json"),
    "sdk-sse": _sdk("official SDK, SSE replies", "--replies", "sse"),
    "sdk-events": _sdk("official SDK, events in memory", "--replies", "sse", "--events", "yes"),
    "sdk-best": _sdk(
        "official SDK, httptools, uvloop", "--replies", "json", *_BEST, packages=_SPEEDY
    ),
    "sdk-high": _sdk("official SDK, MCPServer", "--kind", "high", "--replies", "json"),
    "sdk-high-sse": _sdk(
        "official SDK, MCPServer, SSE replies", "--kind", "high", "--replies", "sse"
    ),
    "sdk1": _sdk1("official SDK 1.x, FastMCP, JSON replies", "--replies", "json"),
    "sdk1-sse": _sdk1("official SDK 1.x, FastMCP, SSE replies", "--replies", "sse"),
    "fastmcp": _fastmcp("fastmcp", "--replies", "json"),
    "fastmcp-sse": _fastmcp("fastmcp, SSE replies", "--replies", "sse"),
    "fastmcp-events": _fastmcp("fastmcp, events in memory", "--replies", "sse", "--events", "yes"),
    "sdk-high-adapted": _adapted("official SDK, MCPServer, served by ours", SDK, "high"),
    "sdk1-adapted": _adapted("official SDK 1.x, FastMCP, served by ours", SDK1, "high1"),
    "fastmcp-adapted": _adapted("fastmcp, served by ours", FASTMCP, "fastmcp"),
    "typescript": _typescript("server.mjs", "http"),
    "typescript2": _typescript2("", "http"),
    "typescript2-high": _typescript2(", McpServer", "--kind", "high", "http"),
    "typescript2-sessions": _typescript2("", "sessions"),
    "typescript2-sse": _typescript2(", SSE replies", "--replies", "sse", "sessions"),
    "typescript2-events": _typescript2(
        ", events in memory", "--replies", "sse", "--events", "yes", "sessions"
    ),
    # over TLS
    "ours-asyncio-tls": _module(
        "ours", "ours, asyncio, https", "--driver", "asyncio", needs=_CERTIFICATES
    ),
    "ours-speed-tls": _module(
        "ours", "ours, speed extra, https", "--driver", "speed", needs=_SPEED_TLS
    ),
    "raw-protocol-tls": _module(
        "raw_h11", "raw protocol and h11, https", "--io", "protocol", needs=_CERTIFICATES
    ),
    "raw-httptools-tls": _module(
        "raw_httptools",
        "raw protocol, httptools, uvloop, https",
        "--loop",
        "uvloop",
        needs=_SPEED_TLS,
    ),
    "sdk-tls": Subject(
        "official SDK, JSON replies, https",
        (SDK, SDK_SCRIPT, "--replies", "json"),
        lambda: _CERTIFICATES() or missing_in(SDK, "mcp"),
    ),
    "ours-asyncio-protected": _module(
        "ours", "ours, asyncio, protected", "--driver", "asyncio", *_ISSUER, needs=_KEYS
    ),
    "ours-speed-protected": _module(
        "ours", "ours, speed extra, protected", "--driver", "speed", *_ISSUER, needs=_SPEED_KEYS
    ),
    "sdk-protected": Subject(
        "official SDK, PyJWT",
        (SDK, SDK_SCRIPT, "--replies", "json", *_ISSUER),
        lambda: _KEYS() or missing_in(SDK, "mcp", "jwt"),
    ),
    "fastmcp-protected": Subject(
        "fastmcp, JWTVerifier",
        (FASTMCP, SDK_SCRIPT, "--kind", "fastmcp", "--replies", "json", *_ISSUER),
        lambda: _KEYS() or missing_in(FASTMCP, "fastmcp"),
    ),
    "ours-wss": _module("ours", "ours, wss", "--binding", "ws", needs=_CERTIFICATES),
    "raw-wss-streams": _module(
        "raw_websocket",
        "raw wsproto on asyncio streams, wss",
        "--io",
        "streams",
        needs=_CERTIFICATES,
    ),
    "websockets-tls": _module(
        "raw_websocket",
        "websockets library, wss",
        "--io",
        "websockets",
        needs=partial(missing_here, "websockets", "trustme"),
    ),
    # gateways and proxies
    "hop": _module("hop", "our gateway, asyncio", "--driver", "asyncio", *_UPSTREAM),
    "hop-speed": _module(
        "hop", "our gateway, speed extra", "--driver", "speed", *_UPSTREAM, needs=_SPEED
    ),
    "hop-stdio": _module("hop", "our gateway", "--driver", "asyncio", "--upstream", "stdio"),
    "fastmcp-hop": _fastmcp("fastmcp's proxy", *_UPSTREAM),
    "mcp-proxy": Subject(
        "mcp-proxy",
        (PROXIES, str(ROOT / "benchmarks" / "peers" / "mcp_proxy_server.py"), OURS),
        partial(missing_in, PROXIES, "mcp_proxy", how="make real-programs"),
    ),
    # stdio
    "ours-stdio": _module("ours", "ours", "--binding", "stdio"),
    "raw-stdio-ready": _module("raw_stdio", "raw, by readiness", "--io", "ready"),
    "raw-stdio-blocking": _module("raw_stdio", "raw, blocking readline", "--io", "blocking"),
    "raw-stdio-threads": _module("raw_stdio", "raw, worker threads", "--io", "threads"),
    "responder-stdio": _module("responder", "ready bytes", "--binding", "stdio"),
    "sdk-stdio": _sdk("official SDK", "--binding", "stdio"),
    "sdk-high-stdio": _sdk("official SDK, MCPServer", "--kind", "high", "--binding", "stdio"),
    "fastmcp-stdio": _fastmcp("fastmcp", "--binding", "stdio"),
    "typescript-stdio": _typescript("server.mjs", "stdio"),
    "typescript2-stdio": _typescript2("", "stdio"),
    # WebSocket and the other bindings
    "ours-ws": _module("ours", "ours", "--binding", "ws"),
    "raw-ws": _module("raw_websocket", "raw wsproto on anyio", "--io", "anyio"),
    "raw-ws-streams": _module("raw_websocket", "raw wsproto on asyncio streams", "--io", "streams"),
    "websockets": _module(
        "raw_websocket",
        "websockets library",
        "--io",
        "websockets",
        needs=partial(missing_here, "websockets"),
    ),
    "ours-sse": _module("ours", "ours, HTTP+SSE", "--binding", "sse"),
    "sdk-sse-binding": _sdk("official SDK, HTTP+SSE", "--binding", "sse"),
    "fastmcp-sse-binding": _fastmcp("fastmcp, HTTP+SSE", "--binding", "sse"),
    "ours-tcp": _module("ours", "ours, TCP", "--binding", "tcp"),
    "ours-unix": _module("ours", "ours, Unix socket", "--binding", "unix", "--path", "{path}"),
    "raw-tcp": _module("raw_lines", "raw protocol, TCP", "--binding", "tcp"),
    "raw-unix": _module(
        "raw_lines", "raw protocol, Unix socket", "--binding", "unix", "--path", "{path}"
    ),
    # clients, and what measures itself
    "client": _module("client", "our client"),
    "client-stdio": _module("client", "our client, stdio"),
    "raw-client": _module("raw_client", "raw h11 client on anyio"),
    "sdk-client": Subject("official SDK", (SDK, SDK_CLIENT), partial(missing_in, SDK, "mcp")),
    "sdk-client-stdio": Subject(
        "official SDK, stdio",
        (SDK, SDK_CLIENT, "stdio", OURS),
        partial(missing_in, SDK, "mcp"),
    ),
    "fastmcp-client": Subject(
        "fastmcp", (FASTMCP, FASTMCP_CLIENT), partial(missing_in, FASTMCP, "fastmcp")
    ),
    "typescript-client": _typescript("client.mjs", "1"),
    "typescript2-client": Subject(
        "TypeScript SDK 2.x",
        _node("client.mjs", "2"),
        partial(missing_typescript, "2.x", "client"),
    ),
    "encoding": _module("encoding", "encoding the events alone"),
    "memory": _module("in_memory", "our Client and server in memory", "client"),
    "pair": _module("in_memory", "bare pair of Peers", "pair"),
    "sdk-memory": Subject(
        "official SDK in memory", (SDK, SDK_CLIENT, "memory"), partial(missing_in, SDK, "mcp")
    ),
    # what is added to a call in memory
    **{
        kind: _module("added", title, kind, needs=_OTEL)
        for kind, title in {
            "metrics": "metrics of the server",
            "no-op": "spans of the server for nobody",
            "recorded": "metrics and recorded spans of the server",
            "recorded-both": "recorded spans of both sides",
            "guarded": "pins, screening",
            "pins": "the comparison",
            "screening": "screening",
        }.items()
    },
    **{
        f"{kind}-recorded": Subject(
            f"{title}, recorded spans of both sides",
            (python, RECORDED, kind),
            partial(missing_in, python, kind.replace("sdk", "mcp"), "opentelemetry.sdk"),
        )
        for kind, title, python in (("sdk", "official SDK", SDK), ("fastmcp", "fastmcp", FASTMCP))
    },
}
