"""Server objects of the official SDK and of fastmcp, served by ours: every feature."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from conformance.interop.drivers.features import Cell
from conformance.interop.drivers.script import Target
from conformance.interop.matrix import FASTMCP, LINES, Talk, present
from conformance.interop.talk import OUR_CLIENT, PROGRAMS, ROOT, converse, offered
from mcpcore.spec.errors import McpError
from mcpcore.spec.revisions import BY_NAME as REVISION
from mcpcore_conformance.launch import serving
from mcpcore_transports.adapters.server import AdaptedServer
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from tests.clock import PATIENCE
from tests.docs.blocks import blocks

LINE = {line.name: line for line in (*LINES, FASTMCP)}
ENVIRONMENT = {"1.x": ".venv-sdk1", "2.x": ".venv-sdk", "fastmcp": ".venv-fastmcp"}
SDK = Path(__file__).parent / "sdk"
PAGE = ROOT / "docs/how-to/other-sdks.md"
long = pytest.mark.long
repeats = [long, pytest.mark.repeats]
IN_EACH = [name if name == "2.x" else pytest.param(name, marks=long) for name in ENVIRONMENT]

KNOWN = {
    "unknown tool": "'isError': True",
    "unknown prompt": "error -32603: Internal error",
    "resource not found": "error (-32603: Internal error|-32602: Unknown resource)",
    "task: (result|input|cancel|modes)": "KeyError|CreateTaskResult",
    "session: (end|lost)": "the server has no sessions",
}
"""What the SDK answers otherwise than the specification, and what a binding does not have."""
KNOWN_OF_1_MODERN = {
    # The tool turns every exception into a result, the one for want of a capability as well.
    "missing capability": "'isError': True",
    # It keeps a list of its own of subscribed sessions; modern requests have no session.
    "resource updated": "TimeoutError",
    "header mirroring": "Unknown tool: test_x_mcp_header",  # the program has no such tool
}


def interpreter(environment: str) -> str:
    """The Python of an environment; skips where mcpcore is not installed in it."""
    home = ROOT / ENVIRONMENT[environment]
    if not (home / ".installed-mcpcore").exists():
        pytest.skip(f"mcpcore is not installed beside {environment}: make adapted")
    return str(home / "bin/python")


def command(environment: str, name: str, *options: str, folder: Path = SDK) -> list[str]:
    """The command that serves an object in an environment."""
    start = [interpreter(environment), "-m", "mcpcore_transports.commands.main", "serve", name]
    return ["env", f"PYTHONPATH={folder}", *start, *options]


def everything(line: str, *options: str) -> list[str]:
    name = f"{LINE[line].programs}_server:server"
    return command(line, name, "--reveal-errors", *options, folder=PROGRAMS)


def failures(
    client: Sequence[str], target: Target, talk: Talk, known: dict[str, str], *, automatic: bool
) -> dict[str, str]:
    """Drive all features of a conversation; return those that fail in another way than known."""
    cells: list[Cell] = []
    rounds = dict.fromkeys([feature.name for feature in present(talk)], 1)
    converse(client, target, talk.revision, rounds, cells.append, automatic=automatic)
    assert sum(cell.outcome == "ok" for cell in cells) > 25
    seen = {cell.feature: cell.detail for cell in cells if cell.outcome != "ok"}
    return {
        feature: detail
        for feature, detail in seen.items()
        if not any(re.fullmatch(k, feature) and re.search(v, detail) for k, v in known.items())
    }


@pytest.mark.parametrize(
    ("line", "transport", "revision"),
    [
        pytest.param("1.x", "http", "2025-11-25", marks=long),
        pytest.param("1.x", "stdio", "2025-06-18", marks=repeats),
        pytest.param("1.x", "sse", "2024-11-05", marks=repeats),
        pytest.param("1.x", "http", "2026-07-28", marks=long),
        pytest.param("1.x", "websocket", "2026-07-28", marks=repeats),
        ("2.x", "http", "2026-07-28"),
        pytest.param("2.x", "http", "2025-11-25", marks=repeats),
        pytest.param("2.x", "http", "2025-03-26", marks=repeats),
        pytest.param("2.x", "stdio", "2026-07-28", marks=repeats),
        pytest.param("2.x", "websocket", "2025-11-25", marks=long),
        pytest.param("fastmcp", "http", "2026-07-28", marks=long),
    ],
)
def test_our_client(line: str, transport: str, revision: str) -> None:
    spoken = REVISION[revision]
    known = {**KNOWN, **KNOWN_OF_1_MODERN} if line == "1.x" and spoken.modern else KNOWN
    talk = Talk(LINE["2.x"], "server", transport.replace("websocket", "http"), spoken)
    with offered(everything(line), transport) as target:
        assert failures(OUR_CLIENT, target, talk, known, automatic=False) == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("line", "client", "revision"),
    [("1.x", "2.x", "2025-11-25"), ("2.x", "1.x", "2025-11-25"), ("2.x", "2.x", "2026-07-28")],
)
def test_the_sdks_client(line: str, client: str, revision: str) -> None:
    talk = Talk(LINE[client], "client", "http", REVISION[revision])
    wanted = everything(line, "--revision", revision)
    faults = {"session: lost": "Refused", "timeout cancels": "still works"}  # of the clients
    with offered(wanted, "http") as target:
        program = LINE[client].program("client")
        assert failures(program, target, talk, {**KNOWN, **faults}, automatic=True) == {}


@contextmanager
def served(environment: str, name: str, binding: str, folder: Path = SDK) -> Iterator[str]:
    with serving([*command(environment, name, folder=folder), binding, "127.0.0.1:0"]) as (url,):
        yield url


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("binding", "revision"),
    [
        ("--http", "2026-07-28"),
        pytest.param("--http", "2025-11-25", marks=long),
        pytest.param("--ws", "2025-06-18", marks=long),
    ],
)
async def test_fastmcp(binding: str, revision: str) -> None:
    heard: list[object] = []
    legacy = REVISION[revision].handshake
    callbacks = Callbacks(
        elicitation=lambda form: {"name": "Ada"}, log=lambda message: heard.append(message.data)
    )
    with served("fastmcp", "fastmcp_everything:mcp", binding) as url:
        async with connect(url, revision=revision, callbacks=callbacks) as client:

            async def call(name: str, **arguments: object) -> str:
                return (await client.call_tool(name, arguments)).text

            assert await call("add", a=1, b=2) == "3"
            assert await call("facts") == "open 2"  # lifespan and middleware
            assert await call("ask") == ("legacy Ada" if legacy else "modern Ada asked")
            assert await call("remember", word="x") == ""
            assert await call("remember", word="y") == ("x" if legacy else "")
            await call("work")
            assert len(heard) == legacy  # modern clients ask for logs by request
            assert "secret" not in [tool.name for tool in (await client.list_tools()).tools]
            contents = (await client.read_resource("notes://a")).contents
            assert contents[0].text == "nothing about a"
            with pytest.raises(McpError, match="-32602"):
                await client.get_prompt("nothing")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("environment", "name"), [pytest.param("1.x", "lowlevel1", marks=long), ("2.x", "lowlevel2")]
)
async def test_low_level_servers(environment: str, name: str) -> None:
    heard: list[object] = []
    callbacks = Callbacks(log=lambda message: heard.append(message.data))
    with served(environment, f"{name}:server", "--ws") as url:
        async with connect(url, revision="2025-11-25", callbacks=callbacks) as client:
            for calls in (1, 2):  # messages for the connection go with the request that runs
                assert (await client.call_tool("log")).text == "log None"
                assert heard == ["called"] * calls
            if environment == "2.x":
                assert (await client.call_tool("closed")).text == "closed ['log', 'log']"
                async with anyio.create_task_group() as tasks:  # each ends with its own request
                    tasks.start_soon(client.call_tool, "release")
                    text = (await client.call_tool("held")).text
                    assert text == "held ['log', 'log', 'release']"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("environment", "name"), [pytest.param("1.x", "lowlevel1", marks=long), ("2.x", "lowlevel2")]
)
async def test_nobody_gets_what_is_for_another_client(environment: str, name: str) -> None:
    heard: list[object] = []
    callbacks = Callbacks(log=lambda message: heard.append(message.data))
    with served(environment, f"{name}:server", "--ws") as url:
        async with (
            connect(url, revision="2025-11-25") as first,
            connect(url, revision="2025-11-25", callbacks=callbacks) as second,
        ):
            await first.call_tool("log")
            await second.call_tool("all")
            assert heard == ["called"]


def test_headers_of_a_tool_that_no_list_has_told_of() -> None:
    params = {
        "name": "test_x_mcp_header",
        "arguments": {"region": "kit"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "test_x_mcp_header",
    }
    with served("fastmcp", "fastmcp_server:server", "--http", PROGRAMS) as url:
        for region, status in (("other", 400), ("other", 400), (None, 400), ("kit", 200)):
            given = headers if region is None else {**headers, "Mcp-Param-Region": region}
            answer = httpx.post(url, json=body, headers=given, timeout=PATIENCE)
            assert (answer.status_code, "-32020" in answer.text) == (status, status == 400)


SAID = "log token='' client_id='ada' scopes=['admin']"


@pytest.mark.parametrize(
    ("environment", "name", "tool", "said"),
    [
        pytest.param("1.x", "lowlevel1:server", "log", SAID, marks=long),
        ("2.x", "lowlevel2:server", "log", SAID),
        pytest.param("fastmcp", "fastmcp_everything:mcp", "secret", "secret", marks=long),
    ],
)
def test_handlers_know_the_principal(environment: str, name: str, tool: str, said: str) -> None:
    python = interpreter(environment)
    program = [python, str(SDK / "with_principal.py"), name, tool]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout.startswith(said), done.stderr


@pytest.mark.parametrize("environment", IN_EACH)
def test_an_object_with_authorization_of_its_own_is_refused(
    environment: str, tmp_path: Path
) -> None:
    made = {
        "1.x": """
from mcp.server.auth.settings import AuthSettings
from mcp.server.fastmcp import FastMCP
auth = AuthSettings(issuer_url="https://a.example", resource_server_url="https://b.example")
mcp = FastMCP("x", auth=auth, token_verifier=object())
""",
        "2.x": """
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
auth = AuthSettings(issuer_url="https://a.example", resource_server_url="https://b.example")
mcp = MCPServer("x", auth=auth, token_verifier=object())
""",
        "fastmcp": """
from fastmcp import FastMCP
from fastmcp.server.auth import StaticTokenVerifier
mcp = FastMCP("x", auth=StaticTokenVerifier({}))
""",
    }
    (tmp_path / "guarded.py").write_text(made[environment])
    words = command(environment, "guarded:mcp", "--http", "127.0.0.1:0", folder=tmp_path)
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "authorization of its own" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("2.x", "sdk2"),
        pytest.param("1.x", "sdk1", marks=long),
        pytest.param("fastmcp", "fast", marks=long),
    ],
)
async def test_the_programs_of_the_page(environment: str, name: str, tmp_path: Path) -> None:
    (source,) = [each.text for each in blocks(PAGE) if each.text.startswith(f"# {name}.py")]
    (tmp_path / f"{name}.py").write_text(source)
    with served(environment, f"{name}:mcp", "--ws", tmp_path) as url:
        async with connect(url) as client:
            result = await client.call_tool("count", {"to": 3})
            assert result.text == "counted to 3"


def test_icons_of_an_object_that_clients_have_to_refuse_are_left_out() -> None:
    icons = [{"src": "http://localhost/a.png"}, {"src": "https://example.com/b.png"}]
    info = {"name": "named", "version": "1", "icons": icons}
    sdk: Any = SimpleNamespace(info=info, instructions=None, header_params={}, lifespan=nullcontext)
    made = AdaptedServer(object(), sdk)
    assert [icon.src for icon in made.info.icons] == ["https://example.com/b.png"]
