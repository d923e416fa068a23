"""What the command makes of the words and options that say which server, and how to reach it."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from msgspec import structs

from mcpcore.errors import BadTarget, LinkError, NegotiationError
from mcpcore.service import Server
from mcpcore.spec import types
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.config import VARIABLE
from mcpcore_transports.commands.main import main
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import Failure, guarded, print_block, print_warning
from mcpcore_transports.commands.target import client_settings, fitted, split_target
from mcpcore_transports.http.client.proxies import ENVIRONMENT
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.targets import (
    HttpTarget,
    SseTarget,
    StdioTarget,
    Target,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
    parse_target,
)
from mcpcore_transports.tls import server_tls
from tests.clock import patience
from tests.transports.certificates import papers
from tests.transports.scripted import child, modern
from tests.transports.served import ANY_PORT, served

COMMAND = ("python", "server.py")
TARGETS: dict[str, Target] = {
    "http": HttpTarget("http://h/mcp"),
    "https": HttpTarget("https://h/mcp"),
    "sse+http": SseTarget("http://h/sse"),
    "sse+https": SseTarget("https://h/sse"),
    "ws": WebSocketTarget("ws://h/mcp"),
    "wss": WebSocketTarget("wss://h/mcp"),
    "tcp": TcpTarget("h", 1),
    "tls": TcpTarget("h", 1, tls=True),
    "unix": UnixTarget("/run/s"),
    "command": StdioTarget(COMMAND),
}
WEB = {"http", "https", "sse+http", "sse+https", "ws", "wss"}
SECURE = {"https", "sse+https", "wss", "tls"}
ALL = set(TARGETS)
FITS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("--header", {"headers": ("A: b",)}, WEB),
    ("--proxy", {"proxy": "http://p:1"}, WEB),
    ("--proxy", {"proxy": "none"}, WEB),
    ("--login", {"login": True}, WEB),
    ("--login", {"login": True, "browser": False}, WEB),
    ("--account", {"account": "work"}, WEB),
    ("--cacert", {"ca": "ca.pem"}, SECURE),
    ("--cert", {"cert": "me.pem"}, SECURE),
    ("--key", {"cert": "me.pem", "key": "me.key"}, SECURE),
    ("--env", {"env": ("A=b",)}, {"command"}),
    ("--cwd", {"cwd": "/srv"}, {"command"}),
    ("--memory-limit", {"memory_limit": "1G"}, {"command"}),
    ("--cpu-limit", {"cpu_limit": 1.0}, {"command"}),
    ("--timeout", {"timeout": 1.0}, ALL),
    ("--connect-timeout", {"connect_timeout": 1.0}, ALL),
    ("--reconnect", {"reconnect": 1}, ALL),
    ("--revision", {"revisions": ("2025-11-25",)}, ALL),
]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("name", "given", "fits"), FITS)
def test_an_option_fits_or_is_refused(
    kind: str, name: str, given: dict[str, Any], fits: set[str]
) -> None:
    target, options = TARGETS[kind], ConnectOptions(**given)
    if kind in fits:
        assert type(fitted(target, options)) is type(target)
        return
    with pytest.raises(BadTarget) as caught:
        fitted(target, options)
    shown = "a command" if kind == "command" else f"one of {kind}"
    said = "--cert" if name == "--key" else name
    assert str(caught.value).startswith(f"{said} is for ")
    assert str(caught.value).endswith(f"; this server is {shown}")


def test_what_options_make_of_a_target() -> None:
    target: Target = HttpTarget("http://h/", {"authorization": "file", "X": "1"})
    options = ConnectOptions(headers=("Authorization: given", "Y:  a: b "))
    assert fitted(target, options) == HttpTarget(
        "http://h/", {"X": "1", "Authorization": "given", "Y": "a: b"}
    )
    target = StdioTarget(COMMAND, {"A": "file", "B": "1"}, "/file")
    assert fitted(target, ConnectOptions(env=("A=given", "C=x=y", "D="))) == StdioTarget(
        COMMAND, {"A": "given", "B": "1", "C": "x=y", "D": ""}, "/file"
    )
    assert fitted(target, ConnectOptions(cwd="/given")) == structs.replace(target, cwd="/given")
    assert fitted(target, ConnectOptions()) is target


def test_a_header_for_authorization_takes_the_place_of_what_the_file_says() -> None:
    web = HttpTarget("https://h/", auth=lambda: "token")
    assert fitted(web, ConnectOptions(headers=("X: y",))) == structs.replace(
        web, headers={"X": "y"}
    )
    given = ConnectOptions(headers=("Authorization: Bearer x",))
    assert fitted(web, given) == HttpTarget("https://h/", {"Authorization": "Bearer x"})
    target = HttpTarget("https://h/", {"AUTHORIZATION": "x"})
    with pytest.raises(BadTarget, match="--login and the header Authorization"):
        fitted(target, ConnectOptions(login=True))


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        (["Authorization: Bearer s3cr3t"], "Authorization"),
        (["authorization: s3cr3t", "X: 1", "x-api-key: s3cr3t"], "authorization, x-api-key"),
        (["Cookie: s3cr3t"], "Cookie"),
        (["X-Team: s3cr3t"], None),
        (["Authorization: Bearer ${TOKEN}"], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("url", ["http://h/mcp", "ws://h/mcp", "sse+http://h/sse"])
def test_a_secret_in_the_command_line_is_warned_about(
    url: str, headers: list[str], named: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted(parse_target(url), ConnectOptions(headers=tuple(headers)))
    out, err = capsys.readouterr()
    warning = "" if named is None else f"warning: the value of {named} stands in the command line"
    assert (out, err[: len(warning)]) == ("", warning)
    assert (err.count("warning:"), "auth login" in err) == (int(named is not None),) * 2
    assert "s3cr3t" not in err


def test_a_variable_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "value")
    target = fitted(TARGETS["command"], ConnectOptions(env=("HERE",)))
    assert target == StdioTarget(COMMAND, {"HERE": "value"})


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"env": ("NOPE_",)}, "command", "--env: the variable NOPE_ is not set here"),
        ({"env": ("=x",)}, "command", "--env: '=x' is no variable; expected NAME=VALUE, or NAME"),
        ({"env": ("",)}, "command", "--env: '' is no variable"),
        ({"env": ("A=\0",)}, "command", "is no variable"),
        ({"key": "me.key"}, "https", "--key is the key of --cert, which is not given"),
        ({"headers": ("nonsense",)}, "ws", "what was given is no header; expected 'Name: value'"),
        ({"headers": (": x",)}, "ws", "what was given is no header"),
        ({"headers": ("A b: c",)}, "http", "'A b' is no header name"),
        ({"headers": ("A: \0",)}, "http", "the value of the header 'A' cannot be sent"),
        ({"headers": ("Host: x",)}, "sse+http", "the header 'Host' is set by the engine"),
        ({"browser": True}, "http", "--browser is for --login, which is not given"),
        ({"browser": False}, "ws", "--no-browser is for --login, which is not given"),
        (
            {"login": True, "headers": ("authorization: x",)},
            "https",
            "--login and the header Authorization: give one of the two",
        ),
        ({"memory_limit": "much"}, "command", "--memory-limit: 'much' is no size; expected bytes"),
        ({"memory_limit": "0"}, "command", "--memory-limit: '0' is no size"),
        ({"memory_limit": "-1G"}, "command", "--memory-limit: '-1G' is no size"),
    ],
)
def test_options_that_are_malformed(given: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(BadTarget) as caught:
        fitted(TARGETS[kind], ConnectOptions(**given))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("512M", 512 * 2**20),
        ("2G", 2**31),
        ("64KiB", 65536),
        ("1MB", 2**20),
        ("1T", 2**40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    process = client_settings(ConnectOptions(memory_limit=text)).process
    assert process is not None
    assert process.memory_limit == size


def test_times_and_attempts_reach_every_binding() -> None:
    settings: Any = client_settings(ConnectOptions(timeout=3.0, connect_timeout=7.0, reconnect=9))
    assert settings.limits.request_timeout == 3.0
    assert settings.limits.probe_timeout == 3.0
    assert settings.http_link.connect_time == 7.0
    assert settings.http.endpoint_timeout == 7.0
    assert settings.websocket.handshake_timeout == 7.0
    assert settings.socket.handshake_time == 7.0
    assert settings.process.startup_timeout == 7.0
    assert settings.http.max_resumes == 9
    assert (settings.reconnect.attempts, settings.reconnect.max_restarts) == (9, 9)
    plain: Any = client_settings(ConnectOptions())
    assert plain.process.startup_timeout == 60.0
    assert (plain.reconnect.attempts, plain.reconnect.max_restarts) == (5, 0)
    assert plain.limits.message_size == 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("given", "taken"), [(None, ENVIRONMENT), ("none", None), ("http://p:1", "http://p:1")]
)
def test_the_proxy(given: str | None, taken: str | None) -> None:
    assert client_settings(ConnectOptions(proxy=given)).proxy == taken


# Which server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a configuration file; home is another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    servers = {
        "weather": {"command": "run", "env": {"KEY": "${WEATHER_KEY:-none}"}},
        "tickets": {"url": "https://h/mcp", "headers": {"A": "${NOPE_}"}},
        "off": {"command": "run", "disabled": True},
        "tools": {"command": "tools", "arg": []},
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    other = {"servers": {"weather": {"url": "http://other/mcp"}}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "given", "rest", "target"),
    [
        (["a=1", "http://h/mcp"], {}, ["a=1"], HttpTarget("http://h/mcp")),
        (["unix:///run/s"], {}, [], UnixTarget("/run/s")),
        (["a"], {"command": ("x", "y")}, ["a"], StdioTarget(("x", "y"))),
        (["weather"], {}, [], StdioTarget(("run",), {"KEY": "none"})),
        (["a=1", "weather"], {}, ["a=1"], StdioTarget(("run",), {"KEY": "none"})),
        (["weather"], {"config": "other.json"}, [], HttpTarget("http://other/mcp")),
        (["weather"], {"env": ("KEY=x",)}, [], StdioTarget(("run",), {"KEY": "x"})),
        (["tools", "tools"], {}, ["tools"], StdioTarget(("tools",))),
    ],
)
def test_words_that_name_a_server(
    folder: Path, words: list[str], given: dict[str, Any], rest: list[str], target: Target
) -> None:
    assert split_target(words, ConnectOptions(**given)) == (rest, target)


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        ([], {}, "no server: give a URL, a name out of mcp.json, or -- and the command"),
        ([], {"command": ()}, "no command stands after --"),
        (["wether"], {}, "'wether' is no URL, and mcp.json has no server 'wether'; did you"),
        (["x"], {}, "its servers: weather, tickets, off, tools"),
        (["off"], {}, "mcp.json: server 'off' is disabled"),
        (["tickets"], {}, "mcp.json: server 'tickets': headers.A: the environment variable"),
        (["weather"], {"config": "nope.json"}, "nope.json: cannot be read: no such file"),
        (["weather"], {"headers": ("A: b",)}, "--header is for URLs of http, ws and sse; this"),
        (["http://h/"], {"config": "other.json"}, "--config is for servers that are named"),
        ([], {"config": "other.json", "command": ("x",)}, "--config is for servers that are named"),
        (["http://"], {}, "'http://' names no host"),
        (["htp://h/"], {}, "expected a URL that begins with http://"),
        (["tcp://h"], {}, "expected tcp://HOST:PORT"),
        (["unix://relative"], {}, "with three slashes"),
    ],
)
def test_words_that_name_none(
    folder: Path, words: list[str], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadTarget) as caught:
        split_target(words, ConnectOptions(**given))
    assert message in str(caught.value)


def test_without_a_file_a_name_is_no_server(folder: Path) -> None:
    (folder / "mcp.json").unlink()
    with pytest.raises(BadTarget, match="'weather' is no URL; a server is a URL, a name out of"):
        split_target(["weather"], ConnectOptions())


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("src/server.py", "for this file: -- python src/server.py"),
        ("127.0.0.1:8000", "for HTTP at this address: http://127.0.0.1:8000/mcp"),
        ("weather.app:server", "-- mcpcore serve weather.app:server --stdio"),
    ],
)
def test_what_a_word_that_is_no_server_may_mean(
    folder: Path, word: str, meant: str, listed: bool
) -> None:
    if not listed:
        (folder / "mcp.json").unlink()
    with pytest.raises(BadTarget) as caught:
        split_target([word], ConnectOptions())
    assert str(caught.value).endswith(meant)


def test_an_unknown_revision(folder: Path) -> None:
    with pytest.raises(Failure, match="known revisions"):
        split_target(["weather"], ConnectOptions(revisions=("1999-01-01",)))


# The commands


class Said:
    """What a command printed, and its exit status."""

    def __init__(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(words)
        self.status = caught.value.code
        self.out, self.err = capsys.readouterr()


SERVER = """
import os
from mcpcore.service import Server
from mcpcore_transports.serve.serve import run

server = Server("named", version="1")


@server.tool
def look() -> str:
    import resource
    data, cpu = resource.RLIMIT_DATA, resource.RLIMIT_CPU
    limits = [resource.getrlimit(kind)[0] for kind in (data, cpu)]
    return f"{os.path.basename(os.getcwd())} {os.environ.get('KEY')} {limits}"


run(server)
"""


@pytest.fixture
def named(folder: Path) -> Path:
    (folder / "server.py").write_text(SERVER)
    (folder / "deeper").mkdir()
    entry = {
        "command": sys.executable,
        "args": [str(folder / "server.py")],
        "cwd": "deeper",
        "env": {"KEY": "${SECRET_:-default}", "PYTHONPATH": str(Path(__file__).parents[3])},
        "envFile": ".env",
    }
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"here": entry}}))
    return folder


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), "deeper default"),
        (("--env", "KEY=given"), "deeper given"),
        (("--cwd", "/"), " default"),
        (("--memory-limit", "3G", "--cpu-limit", "50"), f"deeper default [{3 * 2**30}, 50]"),
    ],
)
def test_a_named_server_is_called(
    named: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], shown: str
) -> None:
    said = Said(capsys, ("call", "look", *words, "here"))
    assert (said.status, said.out.startswith(shown)) == (0, True), (said.out, said.err)
    assert said.err == (
        "warning: mcp.json: server 'here': 'envFile' is not read: put its variables into 'env'\n"
    )


def test_a_named_server_is_listed_and_probed(
    named: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(capsys, ("list", "tools", "--json", "here"))
    assert [tool["name"] for tool in json.loads(said.out)["tools"]] == ["look"]
    said = Said(capsys, ("probe", "--json", "here"))
    assert json.loads(said.out)["server"]["name"] == "named"


def test_servers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, ("servers",))
    assert said.status == 0
    assert said.out.splitlines() == [
        "servers in mcp.json (4)",
        "name     type   target         problem",
        "weather  stdio  run",
        "tickets  http   https://h/mcp  NOPE_ not set",
        "off      stdio  run            disabled",
        "tools    stdio  tools",
    ]
    assert said.err == "warning: mcp.json: server 'tools': 'arg' is unknown: is 'args' meant?\n"
    said = Said(capsys, ("servers", "--json", "--config", "other.json"))
    assert json.loads(said.out) == {
        "file": "other.json",
        "servers": [
            {
                "name": "weather",
                "type": "http",
                "target": "http://other/mcp",
                "disabled": False,
                "problem": None,
            }
        ],
    }


def test_servers_shows_no_secret(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOPE_", "s3cr3t")
    monkeypatch.setenv("WEATHER_KEY", "s3cr3t")
    for words in (("servers",), ("servers", "--json")):
        said = Said(capsys, words)
        assert said.status == 0
        assert "s3cr3t" not in said.out + said.err


def test_servers_sends_no_control_characters_to_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"command": "run", "args": ["\x1b[2J", "\u202e", "ü"]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"odd": entry}}))
    said = Said(capsys, ("servers",))
    assert "run '\\x1b[2J' '\\u202e' 'ü'" in said.out
    assert said.status == 0


ODD: dict[str, dict[str, Any]] = {
    "blank description": {"description": " \n"},
    "properties": {"inputSchema": {"type": "object", "properties": None}},
    "required": {"inputSchema": {"type": "object", "properties": {"a": {}}, "required": 1}},
}


@pytest.mark.parametrize("words", [("list", "tools"), ("call", "odd", "a=1")])
@pytest.mark.parametrize("flaw", ODD)
def test_a_tool_in_a_wrong_form_can_be_listed_and_called(
    flaw: str, words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = {"name": "odd", "inputSchema": {"type": "object"}, **ODD[flaw]}
    caching = {"ttlMs": 0, "cacheScope": "private"}
    replies = {
        "tools/list": {"result": modern({"tools": [tool], **caching})},
        "tools/call": {"result": modern({"content": [{"type": "text", "text": "odd"}]})},
    }
    said = Said(capsys, (*words, "--", *child(replies)))
    assert (said.status, said.err) == (0, "")
    assert "odd" in said.out


@pytest.mark.parametrize(
    "block",
    [
        types.ImageContent(data="", mime_type="x\x1b[2J"),
        types.EmbeddedResource(resource=types.TextResourceContents(uri="x\x1b[2J", text="a")),
        types.ResourceLink(uri="u:a", name="x\x1b[2J"),
    ],
)
def test_what_a_block_is_sends_no_control_characters_to_a_terminal(
    block: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_block(block)
    said = capsys.readouterr().out
    assert "x\\x1b[2J" in said
    assert "\x1b" not in said


def test_an_error_sends_no_control_characters_to_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It may hold the words of a server."""

    def work() -> int:
        print_warning("[b]one\x9b2J")
        raise Failure("tools/call: two\x1b[2J\nthree [/] ü")

    with pytest.raises(typer.Exit):
        guarded(verbose=False, work=work)
    said = ["warning: [b]one\\x9b2J", "error: tools/call: two\\x1b[2J", "three [/] ü"]
    assert capsys.readouterr().err.splitlines() == said


def test_servers_without_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mcp.json").unlink()
    said = Said(capsys, ("servers",))
    assert (said.status, said.out) == (2, "")
    assert "there is no configuration file: none of mcp.json, .mcp.json, " in said.err
    assert VARIABLE in said.err


@pytest.mark.parametrize("scheme", ["http", "https", "sse+https", "wss"])
def test_a_proxy_that_is_none_is_one_sentence(
    scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(capsys, ("list", "--proxy", "socks5://u:s3cr3t@h:1", f"{scheme}://h.example/"))
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("error: 'socks5://h:1' is a SOCKS proxy")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("url", ["https://h/", "sse+https://h/", "wss://h/", "tls://h:1"])
@pytest.mark.parametrize("option", ["--cacert", "--cert"])
def test_a_certificate_that_is_none_is_one_sentence(
    url: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(capsys, ("probe", option, "nowhere.pem", url))
    assert (said.status, said.out) == (2, "")
    assert "nowhere.pem" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "target", [["x"], Server("here"), TcpTarget("h", 1), HttpTarget("http://h/")]
)
def test_headers_are_for_urls(target: Any) -> None:
    with pytest.raises(BadTarget, match="headers are for URLs of http and ws, not for a "):
        connect(target, headers={"A": "b"})


def test_a_broken_file_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mcp.json").write_text("{")
    for words in (("servers",), ("list", "weather"), ("call", "x", "weather")):
        said = Said(capsys, words)
        assert (said.status, said.out) == (2, "")
        assert said.err.startswith("error: mcp.json: not JSON: ")
        assert said.err.count("\n") == 1


# Options at work, over every binding

CANNOT_CONNECT = (LinkError, NegotiationError)


def make_server() -> Server:
    server = Server("options", version="1")

    @server.tool
    def said(context: Context) -> str:
        return str(context.principal)

    return server


async def said_by(client: Client) -> str:
    return (await client.call_tool("said")).text


@pytest.mark.anyio
async def test_tls_over_every_binding_that_has_it() -> None:
    tls = server_tls(papers().server, client_ca=papers().trusted.file)
    settings = ServeSettings(ssl_context=tls)
    with_papers = ConnectOptions(ca=str(papers().trusted.file), cert=str(papers().client))
    async with served(
        make_server(), http=ANY_PORT, ws=ANY_PORT, sse=ANY_PORT, tcp=ANY_PORT, settings=settings
    ) as state:
        schemes = [url.partition("://")[0] for url in state.urls]
        assert sorted(schemes) == ["https", "sse+https", "tls", "wss"]
        for url in state.urls:
            target, options = fitted(parse_target(url), with_papers), with_papers
            async with connect(target, settings=client_settings(options)) as client:
                assert await said_by(client) == "None"
            with pytest.raises(CANNOT_CONNECT, match="certificate"):
                async with connect(parse_target(url), settings=client_settings(ConnectOptions())):
                    raise AssertionError


@pytest.mark.anyio
async def test_headers_over_every_binding_that_has_them() -> None:
    """One that the server refuses tells that it has come."""
    options = ConnectOptions(headers=("Origin: https://evil.example",))
    async with served(make_server(), http=ANY_PORT, ws=ANY_PORT, sse=ANY_PORT) as state:
        for url in state.urls:
            with pytest.raises(CANNOT_CONNECT, match="403"):
                async with connect(fitted(parse_target(url), options)):
                    raise AssertionError
            async with connect(fitted(parse_target(url), ConnectOptions())) as client:
                assert await said_by(client) == "None"


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["https", "ws", "wss", "sse+https", "tls", "command"])
async def test_whoever_is_silent_while_connecting_is_given_up(scheme: str, tmp_path: Path) -> None:
    options = ConnectOptions(connect_timeout=0.2)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        target: Target = StdioTarget([sys.executable, "-c", "input(); input(); input()"])
        if scheme != "command":
            path = "" if scheme == "tls" else "/mcp"
            target = parse_target(f"{scheme}://127.0.0.1:{port}{path}")
        with patience(), pytest.raises(CANNOT_CONNECT, match=r"0\.2 s"):
            async with connect(fitted(target, options), settings=client_settings(options)):
                raise AssertionError
