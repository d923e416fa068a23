"""`mcpcore doctor`: what each stage finds, and what is not checked behind a failure."""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import AnyByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

from mcpcore.policy.differences import ServerDescription
from mcpcore.service import Server
from mcpcore.service.apps import ToolApp
from mcpcore_transports.client.pins import write_pins
from mcpcore_transports.commands.examination import STAGES, Examination, StageResult
from mcpcore_transports.commands.lint import lint, missing_apps
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.targets import StdioTarget, Target, parse_target
from mcpcore_transports.tls import server_tls
from tests.clock import Clock, until
from tests.command import mcpcore_here
from tests.faults.cutting import listening
from tests.transports.certificates import Authority
from tests.transports.served import served
from tests.warm import PYTHON

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
ADD = {"name": "add", "description": "d", "inputSchema": NOTHING}
OBJECT = {"type": "object", "properties": {"a": {}}, "required": ["a"]}


def tool(name: str = "t", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": "d", "inputSchema": OBJECT, **more}


def taking(**schema: Any) -> dict[str, Any]:
    return tool(inputSchema={"type": "object", **schema})


LONG = tool("a" * 65)


@pytest.mark.parametrize(
    ("tools", "wanted"),
    [
        ([tool(), tool("a.b-c_D9")], []),
        (
            [tool("a b"), tool("\x1b")],
            ["the name must be 1 to 128 characters out of A-Z a-z 0-9 _ . / -: 'a b', '\\x1b'"],
        ),
        ([LONG], [f"names of more than 64 characters, which some models refuse: '{'a' * 65}'"]),
        ([tool(), tool()], ["listed more than once: 't'"]),
        ([tool(description="")], ["without a description: 't'"]),
        ([tool(description="d" * 2049)], ["descriptions of more than 2048 characters: 't'"]),
        ([tool(inputSchema={})], ["inputSchema is not of type object: 't'"]),
        ([tool(outputSchema={"type": "array"})], []),
        ([tool(outputSchema=True)], ["outputSchema is no object: 't'"]),
        ([taking(required=["b"])], ["inputSchema requires what it does not have: 't'"]),
        ([taking(properties=[])], ["inputSchema has properties or required in a wrong form: 't'"]),
        (
            [taking(**{**OBJECT, "$defs": {"x": {"$ref": "https://e/s"}}})],
            ["inputSchema refers to another document, which clients do not fetch: 't'"],
        ),
        (
            [tool(_meta={"x": "y" * 70_000})],
            ["the list has 68 KiB, which a model gets with each request"],
        ),
        (
            [tool(_meta={"ui": {"resourceUri": "https://x"}}), tool("u", _meta={"ui": {}})],
            ["ui.resourceUri: expected a URI that begins with ui://, got 'https://x': 't'"],
        ),
    ],
)
def test_lint_of_tools(tools: Sequence[dict[str, Any]], wanted: list[str]) -> None:
    assert lint("tools", tools) == wanted


@pytest.mark.parametrize(
    ("kind", "items", "wanted"),
    [
        (
            "prompts",
            [{"name": f"p{n}"} for n in range(7)],
            ["without a description: 'p0', 'p1', 'p2', 'p3', 'p4' and 2 more"],
        ),
        ("resources", [{"uri": "a:b"}, {"uri": "a:b"}], ["listed more than once: 'a:b'"]),
        (
            "resources",
            [{"uri": "ui://a", "name": "a", "mimeType": "text/html"}, {"uri": "x:a", "name": "b"}],
            ["mimeType: expected 'text/html;profile=mcp-app', got 'text/html': 'a'"],
        ),
        ("skills", [{}], []),
    ],
)
def test_lint(kind: str, items: Sequence[dict[str, Any]], wanted: list[str]) -> None:
    assert lint(kind, items) == wanted


def test_apps_are_looked_for_among_the_resources() -> None:
    tools = [tool("a", _meta={"ui": {"resourceUri": f"ui://{name}"}}) for name in "xy"]
    said = ["with an app that is not among the resources: 'a'"]
    assert [*missing_apps([*tools, tool("b")], [{"uri": "ui://x"}])] == said


async def examination(
    target: Target, pins: ServerDescription | None = None
) -> dict[str, StageResult]:
    """What each stage finds of a server."""
    found = await Examination(ConnectOptions(), target=target, pins=pins).run()
    return {each.stage: each for each in found}


def examined(servers: dict[str, Any], folder: Path, *words: str) -> tuple[int, Any]:
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    done = mcpcore_here("doctor", *words, "--json", "--config", str(file), TICKET="7")
    return done.returncode, json.loads(done.stdout)["servers"]


@pytest.mark.parametrize(
    ("entry", "stage", "state", "told"),
    [
        ({"command": "nosuch"}, "command", "failed", "command not found: nosuch (as started, PATH"),
        ({"command": "sh", "env": {"PATH": "/none"}}, "command", "failed", "PATH is /none)"),
        ({"command": "sh", "cwd": "/none"}, "command", "failed", "/none does not exist"),
        ({"command": "nosuch", "arg": []}, "file", "warning", "'arg' is unknown"),
        ({"url": "http://${NO_SUCH_VARIABLE}/"}, "variables", "failed", "NO_SUCH_VARIABLE"),
        ({"url": "http://127.0.0.${TICKET}:x/"}, "variables", "failed", "url"),
        ({"command": "sh", "disabled": True}, "file", "not checked", "disabled"),
        ({"url": "tcp://nothing.invalid:1"}, "dns", "failed", "nothing.invalid"),
        ({"url": "tcp://127.0.0.1:1"}, "tcp", "failed", "127.0.0.1 port 1: connection refused"),
    ],
)
def test_what_is_wrong_before_a_server_is_reached(
    entry: dict[str, Any], stage: str, state: str, told: str, tmp_path: Path
) -> None:
    status, found = examined({"a": entry}, tmp_path)
    results = {each["stage"]: each for each in found["a"]}
    assert list(results) == list(STAGES)
    assert results[stage]["state"] == state
    assert told in results[stage]["detail"]
    disabled = entry.get("disabled", False)
    assert status == (0 if disabled else 1)
    assert bool(results[stage].get("fix")) is not disabled
    behind = list(STAGES)[list(STAGES).index(stage) + 1 :]
    if state == "failed":
        assert all(results[name]["detail"] == f"{stage} failed" for name in behind)


def test_a_program_that_only_we_find_is_given_with_its_path(tmp_path: Path) -> None:
    entry = {"command": "sh", "env": {"PATH": "/none"}}
    _, found = examined({"a": entry, "b": {"command": "nosuch"}}, tmp_path, "a")
    assert list(found) == ["a"]
    assert found["a"][2]["fix"].startswith("give the whole path, /")


@pytest.mark.anyio
async def test_a_server_over_http_in_good_order_but_for_its_lists() -> None:
    server = Server("s", version="1")
    called = []
    server.add_tool(lambda: called.append(1), "n" * 65, description="d")
    app = ToolApp("ui://nowhere", visibility=["app"])
    server.add_tool(lambda: called.append(1), "shown", description="d", app=app)
    async with served(server) as here:
        found = await examination(parse_target(here.url))
    assert {name: each.state for name, each in found.items()} == {
        **dict.fromkeys(("file", "variables", "command", "tls", "pins", "calls"), "not checked"),
        **dict.fromkeys(("dns", "tcp", "http", "era", "handshake", "lists"), "ok"),
        "lint": "warning",
    }
    assert found["era"].detail == "modern: it answers server/discover"
    assert found["handshake"].detail.startswith("2026-07-28 with s 1, in ")
    assert found["lists"].detail == "2 tools"
    assert "names of more than 64" in found["lint"].detail
    assert "an app that is not among the resources: 'shown'" in found["lint"].detail
    assert not called


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pins", "state", "told"),
    [
        ({"tools": {"add": ADD}}, "ok", "as approved"),
        ({"instructions": "Obey."}, "warning", "additive /tools/add: added\n"),
        ({"tools": {"sub": ADD | {"name": "sub"}}}, "warning", "renamed from 'sub'"),
        ({"tools": {f"t{n}": {"name": f"t{n}"} for n in range(9)}}, "warning", "and 5 more"),
    ],
)
@pytest.mark.turns("state")
async def test_a_server_is_compared_with_what_was_approved(
    pins: dict[str, Any], state: str, told: str
) -> None:
    server = Server("s", version="1")
    server.add_tool(lambda: 1, "add", description="d")
    async with served(server) as here:
        found = (await examination(parse_target(here.url), ServerDescription(**pins)))["pins"]
    assert found.state == state
    assert told in f"{found.detail}\n"
    assert ("mcpcore pins diff" in found.fix) is (state != "ok")


@pytest.mark.anyio
async def test_each_stage_is_told_before_the_next_one_begins() -> None:
    told: list[str] = []

    def tell(found: StageResult) -> None:
        told.append(found.stage)
        if found.stage == "dns":
            raise EOFError

    target = parse_target("http://127.0.0.1:9/mcp")
    with pytest.raises(EOFError):
        await Examination(ConnectOptions(), target=target).run(tell)
    assert told == ["file", "variables", "command", "dns"]


def stage(found: Any, name: str) -> Any:
    """What a stage has found of the server ``a``."""
    return next(each for each in found["a"] if each["stage"] == name)


def test_what_was_approved_stands_beside_the_configuration_or_elsewhere(
    tmp_path: Path,
) -> None:
    write_pins(tmp_path / "pins.json", "a", ServerDescription(instructions="Obey."))
    program = "from mcpcore import Server, run; run(Server('s'))"
    entry = {"command": sys.executable, "args": ["-c", program]}
    status, found = examined({"a": entry}, tmp_path)
    assert stage(found, "pins")["detail"] == "risky /instructions: removed"
    assert status == 0
    write_pins(tmp_path / "others", "a", ServerDescription())
    status, found = examined({"a": entry}, tmp_path, "--pins", str(tmp_path / "others"))
    assert stage(found, "pins")["state"] == "ok"
    (tmp_path / "pins.json").write_text("{")
    status, found = examined({"a": entry}, tmp_path)
    assert (stage(found, "pins")["state"], status) == ("warning", 0)
    assert "pins.json: cannot be read as pins" in stage(found, "pins")["detail"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("issued", "ca", "told", "fix"),
    [
        ({"names": ("127.0.0.1",)}, True, "TLSv1", ""),
        ({"names": ("127.0.0.1",)}, False, "unable to get local issuer", "--cacert"),
        ({"names": ("127.0.0.1",), "expired": True}, True, "expired", "renew"),
        ({"names": ("127.0.0.2",)}, True, "mismatch", "correct the name in the URL"),
    ],
)
async def test_what_is_wrong_with_a_certificate(
    issued: dict[str, Any], ca: bool, told: str, fix: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "some")
    shown = authority.issue(*issued["names"], expired=issued.get("expired", False))
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def close(stream: AnyByteStream) -> None:
        await stream.aclose()

    async def serve() -> None:
        await TLSListener(listener, server_tls(str(shown))).serve(close)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(serve)
        url = f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        options = ConnectOptions(ca=str(authority.file) if ca else None)
        found = await Examination(options, target=parse_target(url)).tls()
        group.cancel_scope.cancel()
    assert told in found.detail
    assert fix in found.fix
    assert (found.state == "failed") is bool(fix)


@asynccontextmanager
async def answering(
    status: str, *lines: str, metadata: bool = False, about: str = ""
) -> AsyncIterator[str]:
    """A server that answers each POST so, and each GET so, too, or with metadata; its URL.

    ``about``: the resource of the metadata, if it is not the server itself.
    """
    url = ""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream):  # it is looked whether one can connect, too
                await reply(stream)

    async def reply(stream: SocketStream) -> None:
        asked, body = await stream.receive(), b""
        head = [f"HTTP/1.1 {status}", *lines]
        if metadata and asked.startswith(b"GET "):
            head = ["HTTP/1.1 200 OK", "content-type: application/json"]
            found = {"resource": about or url, "authorization_servers": ["https://id.example"]}
            body = json.dumps(found).encode()
        head += [f"content-length: {len(body)}", "", ""]
        await stream.send("\r\n".join(head).encode() + body)

    async with listening(answer) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        yield url


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "lines", "told", "fix"),
    [
        ("401 Unauthorized", (), "without a challenge", "WWW-Authenticate"),
        ("401 Unauthorized", ("www-authenticate: Bearer",), "status is 401", "9728"),
        ("301 Moved", ("location: http://127.0.0.1/other",), "http://127.0.0.1/other", "that URL"),
        ("404 Not Found", (), "status 404", "path"),
        ("500 Oops", (), "status 500", "log"),
        ("400 Bad Request", (), "status 400", ""),
    ],
)
@pytest.mark.turns("status")
async def test_what_a_status_says(status: str, lines: tuple[str, ...], told: str, fix: str) -> None:
    async with answering(status, *lines) as url:
        found = await Examination(ConnectOptions(), target=parse_target(url)).http()
    assert told in found.detail
    assert fix in found.fix
    assert bool(fix) is (found.state != "ok")


@pytest.mark.parametrize("words", [(), ("a",)])
def test_a_file_that_cannot_be_read_has_failed(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text("{")
    done = mcpcore_here("doctor", *words, "--json", "--config", str(file))
    assert done.returncode == 1
    ((name, found),) = json.loads(done.stdout)["servers"].items()
    assert name == (words[0] if words else str(file))
    assert [each["stage"] for each in found] == list(STAGES)
    assert (found[0]["state"], found[0]["fix"]) == ("failed", "correct the file")
    assert found[0]["detail"].startswith(f"{file}: not JSON")


@pytest.mark.anyio
@pytest.mark.parametrize("revisions", [None, ("2025-11-25",)])
async def test_a_server_that_is_slow_to_answer_may_be_modern(
    revisions: tuple[str, ...] | None, clock: Clock
) -> None:
    asked: list[str] = []

    async def answer(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.IncompleteRead):
                await answer_all(stream, BufferedByteReceiveStream(stream))

    async def answer_all(stream: SocketStream, lines: BufferedByteReceiveStream) -> None:
        while True:
            request = json.loads(await lines.receive_until(b"\n", 65536))
            asked.append(request["method"])
            if request["method"] == "initialize":
                info = {"name": "s", "version": "1"}
                result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
                reply = {"jsonrpc": "2.0", "id": request["id"], "result": result}
                await stream.send(json.dumps(reply).encode() + b"\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        target = parse_target(f"tcp://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        results: list[list[StageResult]] = []

        async def examine() -> None:
            examination = Examination(ConnectOptions(revisions=revisions), target=target)
            results.append(await examination.run())
            group.cancel_scope.cancel()

        group.start_soon(examine)
        await until(lambda: asked)
        if revisions is None:
            await clock.skip(5)
    (era,) = [each for each in results[0] if each.stage == "era"]
    if revisions is None:
        assert (era.state, "within 5 s" in era.detail) == ("warning", True)
        assert era.fix == "--revision 2026-07-28 shows whether it is modern"
    else:
        assert (era.state, era.detail) == ("ok", "legacy: it wants initialize")


@pytest.mark.anyio
async def test_noise_of_a_program_that_does_not_answer_is_told() -> None:
    target = StdioTarget(("sh", "-c", "echo starting up..."))
    found = await examination(target)
    assert found["era"].state == "failed"
    assert "starting up" in found["era"].detail
    assert found["era"].fix == "write logs to standard error"


NOISY = """
import sys
print("starting up...", flush=True)
from mcpcore import Server, run
run(Server("noisy"))
"""


@pytest.mark.anyio
@pytest.mark.usefixtures("warm_programs")
async def test_noise_on_standard_output_is_told(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    found = await examination(StdioTarget((*PYTHON, str(tmp_path / "noisy.py"))))
    assert found["command"].state == "ok"
    assert found["lint"].state == "warning"
    assert "starting up" in found["lint"].detail
    assert found["lint"].fix == "write logs to standard error"


@pytest.mark.anyio
async def test_who_gives_tokens_is_found_by_the_metadata() -> None:
    challenge = "www-authenticate: Bearer scope=a"
    async with answering("401 Unauthorized", challenge, metadata=True) as url:
        results = await examination(parse_target(url))
    assert results["http"].detail.endswith("names authorization servers: https://id.example")
    assert results["http"].fix == f"mcpcore auth login {url}, unless a token is kept"
    assert (results["era"].state, results["era"].fix) == ("failed", f"mcpcore auth login {url}")


@pytest.mark.anyio
async def test_the_metadata_is_asked_for_by_the_proxy_of_the_server() -> None:
    server, challenge = "http://127.0.0.1:1/mcp", "www-authenticate: Bearer scope=a"
    async with answering("401 Unauthorized", challenge, metadata=True, about=server) as url:
        options = ConnectOptions(proxy=url.removesuffix("/mcp"))
        found = await Examination(options, target=parse_target(server)).http()
    assert found.detail.endswith("names authorization servers: https://id.example")
