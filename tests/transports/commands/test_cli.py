"""The command, as its users run it."""

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer import Exit

from mcpcore.spec.types import Tool
from mcpcore_transports.commands.app import build
from mcpcore_transports.commands.client import convert_pairs
from mcpcore_transports.commands.output import Failure, guarded
from tests.clock import PATIENCE
from tests.command import mcpcore_here
from tests.transports.http_fixture import hello
from tests.transports.scripted import child, greeting
from tests.warm import PYTHON

ROOT = Path(__file__).parents[3]
MCPCORE = (sys.executable, "-m", "mcpcore_transports.commands.main")
WARM_MCPCORE = (*PYTHON, "-m", "mcpcore_transports.commands.main")
EVERYTHING = ("--", *PYTHON, "-m", "mcpcore_conformance.everything.server", "--stdio")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
Done = subprocess.CompletedProcess[str]
pytestmark = pytest.mark.usefixtures("warm_programs")


def mcpcore(
    *words: str,
    cwd: Path | None = None,
    program: Sequence[str] = WARM_MCPCORE,
    said: Sequence[object] = (),
    **changes: str,
) -> Done:
    """The command in a process of its own; ``said``: messages on its standard input."""
    return subprocess.run(
        [*program, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env={**ENVIRONMENT, **changes},
        input="".join(json.dumps(message) + "\n" for message in said),
        check=False,
    )


class Serving:
    """`mcpcore serve` as a child process, with what it announced."""

    def __init__(
        self,
        words: Sequence[str],
        count: int,
        cwd: Path | None = None,
        program: Sequence[str] = WARM_MCPCORE,
    ) -> None:
        self.process = subprocess.Popen(
            [*program, "serve", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=ENVIRONMENT,
        )
        assert self.process.stderr is not None
        lines = [self.process.stderr.readline() for _ in range(count)]
        assert all(line.startswith("listening on ") for line in lines), lines
        self.urls = [line.removeprefix("listening on ").strip() for line in lines]

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; return exit status, standard output and standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def served() -> Iterator[list[str]]:
    """The reference server on HTTP and WebSocket."""
    serving = Serving(["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"], 2)
    yield serving.urls
    assert serving.end(signal.SIGTERM) == (0, "", "")


@pytest.fixture(params=["stdio", "http", "ws"])
def server(request: pytest.FixtureRequest, served: list[str]) -> tuple[str, ...]:
    """The words that name a server, on every transport."""
    targets = {"stdio": EVERYTHING, "http": (served[0],), "ws": (served[1],)}
    return targets[request.param]


# Help


@pytest.mark.parametrize("command", ["serve", "dev", "call", "list", "probe", "servers", "install"])
def test_help_shows_examples(command: str) -> None:
    done = mcpcore_here(command, "--help")
    assert done.returncode == 0
    assert "Examples:\n" in done.stdout
    examples = re.findall(r"^    mcpcore (\w+)", done.stdout, re.MULTILINE)
    assert len(examples) >= 3
    assert set(examples) == {command}
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["call", "list", "probe"])
def test_help_says_that_servers_have_names(command: str) -> None:
    said = mcpcore_here(command, "--help", COLUMNS="120").stdout
    assert "the NAME that mcp.json has for one" in " ".join(said.split())
    example = (
        rf"^    mcpcore {command} (\S+ )*weather  +weather is the name of a server in mcp\.json$"
    )
    assert re.search(example, said, re.MULTILINE), said


@pytest.mark.parametrize("group", [[], ["bench"], ["conformance"], ["trace"]])
def test_help_of_a_group_shows_examples_and_whole_sentences(group: list[str]) -> None:
    done = mcpcore_here(*group, "--help", COLUMNS="80")
    examples = re.findall(r"^    (mcpcore .*)", done.stdout, re.MULTILINE)
    assert len(examples) >= 2
    assert all(each.startswith(" ".join(["mcpcore", *group, ""])) for each in examples)
    listed = done.stdout.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed


def test_the_server_is_named_in_one_way() -> None:
    for words in (["serve"], ["conformance", "server"]):
        assert "MODULE:SERVER" in mcpcore_here(*words, "--help").stdout


def test_version() -> None:
    done = mcpcore("--version", program=MCPCORE)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"mcpcore \d+\.\d+\.\d+\n", done.stdout)


SLOW = """
import anyio
from mcpcore.service import Server

server = Server("slow")


@server.tool
async def slow() -> str:
    await anyio.sleep(SECONDS)
    return "done"
"""


@pytest.mark.parametrize(
    ("words", "seconds", "answers"), [((), 60, [1]), (("--drain", "30"), 0.8, [1, 2])]
)
def test_running_requests_have_the_time_that_drain_says(
    tmp_path: Path, words: tuple[str, ...], seconds: float, answers: list[int]
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("SECONDS", str(seconds)))
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello()},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "slow"}},
    ]
    done = mcpcore("serve", "slow:server", "--stdio", *words, cwd=tmp_path, said=lines)
    assert done.returncode == 0
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == answers


def test_without_words_there_is_help() -> None:
    done = mcpcore(program=MCPCORE)
    assert done.returncode == 2
    for command in ("serve", "call", "list", "probe", "servers"):
        assert re.search(rf"^  {command} ", done.stdout + done.stderr, re.MULTILINE)


# Calling


def test_call(server: tuple[str, ...]) -> None:
    done = mcpcore_here("call", "test_x_mcp_header", "region=us west=1", *server)
    assert (done.returncode, done.stdout, done.stderr) == (0, "region: us west=1\n", "")


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_call_with_answers(served: list[str], revision: str) -> None:
    words = ["call", "test_input_required_result_multiple_inputs", "--revision", revision]
    answers = ["--answer", '{"name":"Ada"}', "--sample", "hi", "--root", "file:///a"]
    done = mcpcore_here(*words, *answers, served[0])
    assert (done.returncode, done.stdout) == (0, "accept, hi, 1 roots\n")
    assert done.stderr == "the server asks: What is your name?\n"


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ('{"colour": "red"}', 0, "red\n"),
        ('{"colour": "x-secret"}', 2, "--answer: colour: expected one of red, blue"),
        ("{}", 2, "--answer: colour: missing"),
        ('{"color": "x-secret"}', 2, "--answer: colour: missing"),
    ],
)
def test_an_answer_that_breaks_the_form(
    tmp_path: Path, revision: str, answer: str, status: int, said: str
) -> None:
    (tmp_path / "mine.py").write_text(
        "from mcpcore import Context, Server\n"
        "COLOUR = {'type': 'string', 'enum': ['red', 'blue']}\n"
        "FORM = {'type': 'object', 'properties': {'colour': COLOUR}, 'required': ['colour']}\n"
        "server = Server('mine')\n"
        "@server.tool\n"
        "async def ask(context: Context) -> str:\n"
        "    form = await context.elicit('Which [/b]\\x1b[2J?', FORM)\n"
        "    return form.content['colour']\n"
    )
    words = ["call", "ask", "--answer", answer, "--revision", revision]
    done = mcpcore(*words, "--", *WARM_MCPCORE, "serve", "mine:server", "--stdio", cwd=tmp_path)
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True)
    asked, *rest = done.stderr.splitlines()
    assert asked == "the server asks: Which [/b]\\x1b[2J?"
    assert len(rest) == (status > 0)
    assert "x-secret" not in done.stderr


def test_call_prints_json(served: list[str]) -> None:
    done = mcpcore_here("call", "test_structured_output", "city=Paris", "--json", served[0])
    result = json.loads(done.stdout)
    assert result["structuredContent"] == {"city": "Paris", "temperature": 21.5}


def test_call_shows_progress_and_log_on_standard_error(served: list[str]) -> None:
    done = mcpcore_here("call", "test_tool_with_progress", served[0])
    assert done.stdout == "done\n"
    assert "progress: 50 of 100 Completed step 50 of 100" in done.stderr
    done = mcpcore_here("call", "-v", "test_tool_with_logging", served[0])
    assert "info: Tool execution started" in done.stderr


def test_call_describes_what_is_no_text(served: list[str]) -> None:
    done = mcpcore_here("call", "test_multiple_content_types", served[1])
    assert done.stdout.splitlines() == [
        "Multiple content types test:",
        "[image image/png, about 69 bytes]",
        "[resource test://mixed-content-resource application/json]",
        '{"test":"data","value":123}',
    ]


@pytest.mark.parametrize("words", [("--help",), ("list", "--help"), ("--version",)])
@pytest.mark.parametrize("buffered", [True, False])
def test_output_that_cannot_be_written_is_told(words: tuple[str, ...], buffered: bool) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*WARM_MCPCORE, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "" if buffered else "1"},
            check=False,
        )
    told = "error: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["call", "greet"], "gr\\xfc\\xdfe \\u2713\n"),
        (["list", "tools", "--json"], r'"says gr\u00fc\u00dfe"'),
    ],
)
def test_an_output_without_a_character_shows_its_code(
    words: list[str], shown: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from mcpcore.service import Server\n"
        "server = Server('mine')\n"
        "@server.tool(description='says gr\\u00fc\\u00dfe')\n"
        "def greet() -> str:\n"
        "    return 'gr\\u00fc\\u00dfe \\u2713'\n"
    )
    own = ("--", *WARM_MCPCORE, "serve", "mine:server", "--stdio")
    done = mcpcore(*words, *own, cwd=tmp_path, program=MCPCORE, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr.replace("listening on stdio\n", "")) == (0, "")
    assert shown in done.stdout


def test_values_are_read_as_the_schema_wants(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from mcpcore.service import Server\n"
        "server = Server('mine')\n"
        "@server.tool\n"
        "def show(text: str, number: int, flag: bool = False, items: list[int] = []) -> str:\n"
        "    return repr((text, number, flag, items))\n"
    )
    command = ("--", *WARM_MCPCORE, "serve", "mine:server", "--stdio")
    for given, shown in (
        (["text=7", "number=7", "flag=true", "items=[1,2]"], "('7', 7, True, [1, 2])"),
        (["number=1", "--arguments", '{"text": "t", "number": 9}'], "('t', 1, False, [])"),
    ):
        assert mcpcore("call", "show", *given, *command, cwd=tmp_path).stdout == f"{shown}\n"
    done = mcpcore("call", "show", "text=t", "number=seven", *command, cwd=tmp_path)
    assert done.returncode == 2
    assert "number=seven: the tool wants integer" in done.stderr


@pytest.mark.parametrize(
    ("rules", "text", "value"),
    [
        ({"type": "string"}, "7", "7"),
        ({"type": ["string", "null"]}, "7", "7"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "Oslo", "Oslo"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "7", "7"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "true", "true"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, '"x"', '"x"'),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "7", 7),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "7.5", "7.5"),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, "[1]", [1]),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/any"}]}, "7", 7),
        ({"anyOf": 3}, "7", 7),
        ({"type": 3}, "x", "x"),
        ({}, "7", 7),
        ({}, "Oslo", "Oslo"),
        (True, "7", 7),
    ],
)
def test_a_text_stays_one_where_only_a_text_fits(rules: Any, text: str, value: object) -> None:
    tool = Tool(name="show", input_schema={"type": "object", "properties": {"it": rules}})
    assert convert_pairs({"it": text}, tool) == {"it": value}


@pytest.mark.parametrize(
    "rules", [{"type": "integer"}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}]
)
def test_what_is_no_json_is_refused_where_no_text_fits(rules: Any) -> None:
    tool = Tool(name="show", input_schema={"type": "object", "properties": {"it": rules}})
    with pytest.raises(Failure, match=r"it=seven: the tool wants integer( or null)?, which is"):
        convert_pairs({"it": "seven"}, tool)


# Listing and probing


def test_list(server: tuple[str, ...]) -> None:
    done = mcpcore_here("list", *server)
    assert done.returncode == 0
    assert done.stdout.startswith("tools (")
    assert re.search(r"^test_structured_output +city +Returns an object", done.stdout, re.MULTILINE)
    for title in ("resources (8)", "templates (1)", "prompts (5)", "skills (2)"):
        assert f"\n{title}\n" in done.stdout


def test_list_one_kind_as_json(served: list[str]) -> None:
    done = mcpcore_here("list", "templates", "prompts", "--json", served[0])
    found = json.loads(done.stdout)
    assert list(found) == ["resourceTemplates", "prompts"]
    assert found["resourceTemplates"][0]["uriTemplate"] == "test://template/{id}/data"


def test_tables_on_a_terminal_fit_it() -> None:
    done = through_terminal([*MCPCORE, "list", "prompts", *EVERYTHING], columns=60)
    lines = done.replace("\r\n", "\n").splitlines()
    assert any("test_simple_prompt" in line for line in lines)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert max(map(len, plain)) <= 60


def test_probe(server: tuple[str, ...]) -> None:
    done = mcpcore_here("probe", *server)
    assert done.returncode == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert facts["era"] == "modern"
    assert facts["revision"] == "2026-07-28"
    assert "2024-11-05" in facts["revisions"]
    assert "tools.listChanged" in facts["capabilities"]
    assert facts["server"].startswith("mcpcore-everything ")


def test_probe_of_a_legacy_server_finds_its_revisions(served: list[str]) -> None:
    done = mcpcore_here("probe", "--json", *legacy_server("2025-06-18"))
    found = json.loads(done.stdout)
    assert (found["era"], found["revision"]) == ("legacy", "2025-06-18")
    assert found["revisions"] == ["2025-06-18"]
    done = mcpcore_here("probe", "--revision", "2025-03-26", "--json", served[0])
    assert json.loads(done.stdout)["revisions"] == ["2025-03-26"]


@pytest.mark.parametrize(
    ("capabilities", "shown"),
    [
        ({}, "none"),
        ({"tools": {}}, "tools"),
        ({"tools": {"listChanged": False}}, "tools"),
        ({"tools": {"listChanged": True}, "logging": {}}, "tools.listChanged, logging"),
        ({"resources": {"listChanged": False, "subscribe": True}}, "resources.subscribe"),
    ],
)
def test_probe_names_each_capability(capabilities: dict[str, Any], shown: str) -> None:
    done = mcpcore_here("probe", *legacy_server("2025-11-25", capabilities))
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("capabilities"))
    assert sorted(line.split(None, 1)[1].split(", ")) == sorted(shown.split(", "))


def legacy_server(
    revision: str, capabilities: Mapping[str, Any] | None = None, *, ping: bool = True
) -> tuple[str, ...]:
    """A server that speaks one legacy revision only."""
    unknown = {"error": {"code": -32601, "message": "unknown"}}
    replies = {
        "server/discover": unknown,
        "initialize": greeting(revision, capabilities or {}),
        "ping": {"result": {}} if ping else unknown,
    }
    return ("--", *child(replies))


def through_terminal(command: Sequence[str], columns: int) -> str:
    """Run a command on a pseudo-terminal and return what it printed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=child,
        stdout=child,
        stderr=subprocess.DEVNULL,
        env={**ENVIRONMENT, "COLUMNS": str(columns), "TERM": "xterm"},
        cwd=ROOT,
    )
    os.close(child)
    out = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        out += chunk
    os.close(parent)
    assert process.wait(PATIENCE) == 0
    return out.decode()


# Errors


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["list", "http://127.0.0.1:1/mcp"], 3, "connection refused: 127.0.0.1:1"),
        (["list", "ws://127.0.0.1:1/mcp"], 3, "127.0.0.1:1"),
        (["list", "--", "nonexistent-command"], 3, "command not found: nonexistent-command"),
        (["list", "--", "sh", "-c", "echo oh >&2; exit 3"], 3, "code 3; its last words:\n  oh"),
        (["list", "--", "sh", "-c", "echo oh"], 3, "it has sent what is no message: 'oh'"),
        (["probe", "--timeout", "0.2", "--", "sleep", "60"], 3, "no answer within 0.2"),
        (["list", "--"], 2, "no command stands after --"),
        (["list", "nonsense"], 2, "'nonsense' is no URL"),
        (["list", "toolz", "http://127.0.0.1:1/"], 2, "'toolz' cannot be listed"),
        (["list", "--revision", "1999-01-01", "http://127.0.0.1:1/"], 2, "known revisions"),
        (["list", "--header", "nonsense", "http://127.0.0.1:1/"], 2, "'Name: value'"),
        (["probe", "x", "http://127.0.0.1:1/"], 2, "'x' was not expected"),
        (["call", "t", "novalue", "http://127.0.0.1:1/"], 2, "expected key=value"),
        (["call", "t", "--arguments", "[]", "http://127.0.0.1:1/"], 2, "--arguments is no JSON"),
        (["call", "t", "--answer", "{", "http://127.0.0.1:1/"], 2, "--answer is no JSON"),
        (["call", "t", "--root", "x", "http://127.0.0.1:1/"], 2, "--root: 'x' is no root"),
        (["serve", "nonexistent:server"], 2, "there is no module 'nonexistent'"),
        (["serve", "os:path"], 2, "'path' of the module 'os' is a module, not a Server"),
        (["serve", "os:O_RDONLY"], 2, "'O_RDONLY' of the module 'os' is an int, not a Server"),
        (["serve", ":x"], 2, "cannot be imported"),
        (["serve", "os:nothing"], 2, "the module 'os' has no 'nothing'\n"),
        (["serve", f"{EVERYTHING[-2]}:x"], 2, f"has no 'x'; it has {EVERYTHING[-2]}:server\n"),
        (["serve", __file__], 2, "is a file; name its module and the server in it: test_cli:serv"),
        (["serve", "--http", "nonsense"], 2, "HOST:PORT"),
        (["serve", "--http", "127.0.0.1:0", "--allow-host", "a b"], 2, "a b"),
        (["serve", "--http", "[::1"], 2, "no host"),
        (["serve", "--ws", "1:2:3:4"], 2, "no IPv6 address"),
        (["serve", "--stdio", "--allow-host", "h"], 2, "--allow-host is for --http, --ws and"),
        (["serve", "--tcp", "127.0.0.1:0", "--allow-origin", "null"], 2, "--allow-origin is for"),
        (["serve", "--stdio", "--tls-cert", "c.pem"], 2, "--tls-cert is for --http, --ws, --sse"),
        (["serve", "--unix", "s", "--insecure-tcp"], 2, "--insecure-tcp is for --tcp, and nothing"),
        (["serve", "--ws", "127.0.0.1:0", "--notice", "1"], 2, "--notice is for --http and --sse"),
        (["serve", "--sse", "127.0.0.1:0", "--store", "memory:"], 2, "--store is for --http"),
        (["frobnicate"], 2, "frobnicate"),
        (["list", "--timeout", "0", "http://127.0.0.1:1/"], 2, "0.001"),
    ],
)
def test_errors_are_one_sentence(words: list[str], status: int, message: str) -> None:
    done = mcpcore_here(*words)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.returncode == status


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["list", "http://127.0.0.1:1/mcp"], 3, "connection refused"),
        (["list", "name"], 2, "~/.mcp.json"),
        (["servers"], 2, "~/.mcp.json"),
        (["call", "t", "--config", "home.json", "home"], 2, "no home directory"),
        (["install", "http://h/", "--client", "cursor"], 2, "no home directory"),
        (["auth", "status"], 1, "set XDG_STATE_HOME"),
    ],
)
def test_a_user_without_a_home_directory(
    words: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"command": "x", "cwd": "${userHome}"}
    (tmp_path / "home.json").write_text(json.dumps({"mcpServers": {"home": entry}}))

    def unknown(number: int) -> None:
        raise KeyError(f"uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for variable in ("HOME", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    done = mcpcore_here(*words, cwd=tmp_path)
    assert message in done.stderr
    assert done.returncode == status


def test_an_unknown_tool(served: list[str]) -> None:
    done = mcpcore_here("call", "nope", served[0])
    assert done.returncode == 1
    assert "no tool 'nope'" in done.stderr
    assert "test_simple_text" in done.stderr


def test_a_tool_that_fails(served: list[str]) -> None:
    done = mcpcore_here("call", "test_error_handling", served[0])
    assert done.returncode == 1
    assert done.stdout == "This tool intentionally returns an error for testing\n"
    assert done.stderr == "the tool failed\n"
    done = mcpcore_here("call", "test_error_handling", "--json", served[0])
    assert (done.returncode, json.loads(done.stdout)["isError"]) == (1, True)


def test_a_tool_of_a_program_that_fails(tmp_path: Path) -> None:
    """What only the log of the program says can be seen."""
    source = "from mcpcore import Server, run\nserver = Server('s')\n"
    source += "server.add_tool(lambda: 1 / 0, 'divide')\nrun(server)\n"
    (tmp_path / "dividing.py").write_text(source)
    command = ("--", *PYTHON, "dividing.py")
    done = mcpcore_here("call", "divide", *command, cwd=tmp_path)
    assert done.stdout.startswith("Internal error (error id ")
    hint = "the tool failed; --verbose shows what the server says of it on standard error\n"
    assert (done.returncode, done.stderr) == (1, hint)
    done = mcpcore("call", "divide", "--verbose", *command, cwd=tmp_path)  # logs as its users see
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "the tool failed\n" in done.stderr


def test_an_error_of_the_server(served: list[str]) -> None:
    done = mcpcore_here("call", "test_missing_capability", served[0])
    assert done.returncode == 1
    said = "tools/call: the client does not support sampling (-32021); give --sample TEXT\n"
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_where_nothing_is(served: list[str]) -> None:
    done = mcpcore_here("list", served[0].removesuffix("mcp"))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith(f"; is it {served[0]}?\n")
    assert "2025-" not in done.stderr, "it is not about revisions"


def test_an_address_in_use(served: list[str]) -> None:
    address = served[0].removeprefix("http://").partition("/")[0]
    done = mcpcore_here("serve", "--http", address)
    assert done.returncode == 3
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("status", [0, 3])
def test_a_module_that_ends_the_program(status: int, tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text(f"import sys\nsys.exit({status})\n")
    done = mcpcore("serve", "ending", cwd=tmp_path)
    assert done.returncode == 2
    assert f"it ended the program (SystemExit: {status})" in done.stderr


def test_a_server_without_ping_can_be_probed() -> None:
    done = mcpcore_here("probe", "--json", *legacy_server("2025-11-25", ping=False))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["revision"] == "2025-11-25"


def test_a_module_that_fails_to_import(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nonexistent_library\n")
    done = mcpcore("serve", "broken", cwd=tmp_path)
    assert done.returncode == 2
    assert "'broken' cannot be imported: ModuleNotFoundError" in done.stderr
    assert "nonexistent_library" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in mcpcore("serve", "-v", "broken", cwd=tmp_path).stderr


ENDING = """
import atexit, os, signal
from mcpcore_transports.commands.main import main
atexit.register(os.kill, os.getpid(), signal.SIGINT)
main()
"""


def test_an_interrupt_while_the_process_ends_ends_it_in_silence() -> None:
    done = mcpcore("--version", program=(sys.executable, "-c", ENDING))
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert done.stdout.startswith("mcpcore ")


CLOSING = """
import os, signal, sys, anyio
from mcpcore_transports.commands.target import interruptible

async def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10):
        await anyio.lowlevel.checkpoint()

async def work():
    try:
        await anyio.lowlevel.checkpoint()
        await interrupt()
    finally:
        with anyio.CancelScope(shield=True):
            for _ in range(int(sys.argv[1])):
                await interrupt()
            print("closed")

try:
    interruptible(work)
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize(
    ("more", "ends"), [(0, (7, "closed\n")), (1, (7, "closed\n")), (2, (130, ""))]
)
def test_an_interrupt_does_not_break_into_what_is_being_closed(
    more: int, ends: tuple[int, str]
) -> None:
    done = mcpcore(str(more), program=(*PYTHON, "-c", CLOSING))
    assert (done.returncode, done.stdout, done.stderr) == (*ends, "")


# Serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_in_good_order(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from mcpcore.service import Server\nservice = Server('mine', offers=['tools'])\n"
    )
    serving = Serving(
        ["mine:service", "--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"], 2, tmp_path, MCPCORE
    )
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/mcp", serving.urls[0])
    assert re.fullmatch(r"ws://127\.0\.0\.1:[1-9]\d*/mcp", serving.urls[1])
    done = mcpcore_here("probe", "--json", serving.urls[0])
    assert json.loads(done.stdout)["server"]["name"] == "mine"
    assert serving.end(number) == (0, "", "")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_serve_with_closed_standard_streams(closed: str, tmp_path: Path) -> None:
    """Their numbers go to no socket: libuv aborts the process when it closes such a one."""
    path = tmp_path / "socket"
    words = ("sh", "-c", f'exec "$@" {closed}', "sh", *MCPCORE, "serve", "--unix", str(path))
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        try:
            give_up = time.monotonic() + PATIENCE
            while not path.exists() and process.poll() is None and time.monotonic() < give_up:
                time.sleep(0.05)
            assert mcpcore_here("probe", f"unix://{path}").returncode == 0
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


def test_serve_on_stdio_ends_with_its_input() -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    done = mcpcore("serve", "--stdio", program=MCPCORE, said=[request])
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert done.stderr == "listening on stdio\n"


# The extra, and plug-ins


def site(tmp_path: Path, **files: str) -> str:
    """A directory for the front of the module search path."""
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{tmp_path}{os.pathsep}{ROOT}"


@pytest.mark.parametrize(
    ("typer", "status", "told"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n",
            1,
            "the mcpcore command needs the extra `cli`: pip install 'mcpcore[cli]'\n",
        ),
        ("raise KeyboardInterrupt\n", 130, ""),
        ("raise RuntimeError('in a class body') from KeyboardInterrupt()\n", 130, ""),
        ("raise BaseExceptionGroup('of tasks', [KeyboardInterrupt()])\n", 130, ""),
    ],
    ids=["missing", "interrupted", "interrupted-class", "interrupted-group"],
)
def test_what_happens_before_there_is_a_command(
    typer: str, status: int, told: str, tmp_path: Path
) -> None:
    path = site(tmp_path, **{"typer.py": typer})
    done = mcpcore("list", "http://x/", program=MCPCORE, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (status, told)


def test_plug_ins_add_commands(tmp_path: Path) -> None:
    plugin = (
        "import typer\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def hello(name: str) -> None:\n"
        "    print('hello', name)\n"
        "@app.command()\n"
        "def other() -> None: ...\n"
        "def single(name: str) -> None:\n"
        "    print('single', name)\n"
    )
    points = "[mcpcore.commands]\ngroup = plugged:app\nsingle = plugged:single\nbad = nowhere:x\n"
    files = {
        "plugged.py": plugin,
        "plugged-1.0.dist-info__METADATA": "Metadata-Version: 2.1\nName: plugged\nVersion: 1.0",
        "plugged-1.0.dist-info__entry_points.txt": points,
    }
    path = site(tmp_path, **files)
    assert mcpcore("group", "hello", "Ada", PYTHONPATH=path).stdout == "hello Ada\n"
    assert mcpcore("single", "Ada", PYTHONPATH=path).stdout == "single Ada\n"
    for words, status in ((("--help",), 0), (("bad",), 2)):
        done: Any = mcpcore(*words, PYTHONPATH=path)
        assert done.returncode == status
        assert "warning: the command 'bad' cannot be loaded" in done.stderr


_LEVELS = ("mcpcore", "mcpcore.auth", "mcpcore.gateway", "mcpcore.guard")
WAYS: list[tuple[bool, str | None]] = [
    (False, None),
    (True, None),
    (True, "info"),
    (False, "error"),
]
LOGGED = {  # by what is given: nothing, --verbose, that with a level, a level
    ("shop", logging.DEBUG): (False, True, False, False),
    ("shop", logging.INFO): (False, True, True, False),
    ("shop", logging.WARNING): (True, True, True, False),
    ("mcpcore.server", logging.WARNING): (False, True, True, False),
    ("mcpcore.server", logging.ERROR): (True, True, True, True),
    ("mcpcore.gateway", logging.WARNING): (True, True, True, False),
    ("mcpcore.guard", logging.WARNING): (True, True, True, False),
    ("mcpcore.auth", logging.INFO): (False, True, True, False),
}


@pytest.mark.parametrize("record", LOGGED, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_a_command_writes_of_its_logs(
    record: tuple[str, int],
    way: tuple[bool, str | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, level = record
    loggers = [logging.getLogger(each) for each in (None, *_LEVELS)]
    before = [each.level for each in loggers]
    monkeypatch.setattr(loggers[0], "handlers", [])

    def work() -> int:
        logging.getLogger(name).log(level, "heard")
        return 0

    try:
        with pytest.raises(Exit):
            guarded(way[0], work, way[1])
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.setLevel(was)
    assert ("heard" in capsys.readouterr().err) is LOGGED[record][WAYS.index(way)]


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt(), False), (OSError(), True)])
def test_an_interrupt_is_no_failure_of_a_task(
    error: BaseException,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before = root.level
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", [])

    def work() -> int:
        logging.getLogger("asyncio").error("it was never retrieved", exc_info=error)
        return 0

    try:
        with pytest.raises(Exit):
            guarded(False, work, "error")
    finally:
        root.setLevel(before)
    assert ("never retrieved" in capsys.readouterr().err) is told


@pytest.mark.parametrize(
    ("words", "more"), [(["serve", "x"], False), (["auth"], False), ([], True), (["x"], True)]
)
def test_a_built_in_command_is_made_alone(words: list[str], more: bool) -> None:
    app = build(words)
    names = {each.name for each in app.registered_commands}
    names |= {each.name for each in app.registered_groups}
    assert names > {"serve", "auth"} if more else names == {words[0]}
