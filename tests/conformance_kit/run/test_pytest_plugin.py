"""The pytest plugin, run as others run it: cases become tests, verdicts become outcomes."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as Xml

import pytest

from mcpcore_conformance.launch import serving
from tests.clock import PATIENCE
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

EVERYTHING = f"{shlex.join(PYTHON)} -m mcpcore_conformance.everything.server --stdio"
CLIENT = f"{shlex.join(PYTHON)} -m mcpcore_conformance.everything.client"
IDS = "basic/index/error-responses/request-id"

# answers every request with its id as a string
LIAR = dedent(
    """
    import json, sys

    for line in sys.stdin:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if said.get("method") == "initialize":
            result = {
                "protocolVersion": said["params"]["protocolVersion"],
                "capabilities": {},
                "serverInfo": {"name": "liar", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": said["id"], "result": result}
        elif "id" in said:
            answer = {"jsonrpc": "2.0", "id": str(said["id"]), "result": {}}
        else:
            continue
        print(json.dumps(answer), flush=True)
    """
)


def run(
    folder: Path, *words: str, python: Sequence[str] = PYTHON
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder of its own."""
    return subprocess.run(
        [*python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_cases_that_apply_are_tests(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): assert True\n")
    done = run(
        tmp_path,
        *("--mcp-server", EVERYTHING, "--mcp-revision", "2025-11-25", "-rA", "-q"),
        *("--mcp-only", IDS, "--mcp-only", "basic/lifecycle/version-negotiation/version-echoed"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{IDS}[2025-11-25-stdio]" in done.stdout
    assert "test_own.py::test_own" in done.stdout
    assert "3 passed" in done.stdout


def test_a_broken_clause_fails_with_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "liar.py").write_text(LIAR)
    done = run(
        tmp_path,
        *("--mcp-server", f"{sys.executable} liar.py", "--mcp-revision", "2025-11-25"),
        *("--mcp-only", IDS, "--mcp-timeout", "0.5", "-q"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "MUST:" in done.stdout
    assert "clause: https://modelcontextprotocol.io/specification/" in done.stdout
    assert "-> request initialize" in done.stdout, "the dialogue is shown"
    assert "1 failed" in done.stdout


def test_what_does_not_apply_is_counted_not_collected(tmp_path: Path) -> None:
    (tmp_path / "liar.py").write_text(LIAR)
    done = run(
        tmp_path,
        *("--mcp-server", f"{sys.executable} liar.py", "--mcp-revision", "2025-11-25"),
        *("--mcp-only", "server/tools", "--mcp-timeout", "0.5", "--collect-only", "-q"),
    )
    (count,) = re.findall(r"(\d+) cases do not apply", done.stdout)
    assert int(count) > 10, "it declares no tools"
    assert done.stdout.count("::server/tools/") < 5


def test_a_server_of_this_process_and_a_pattern(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("--mcp-server", "mcpcore_conformance.everything.server:server", "-q", "-rA"),
        *("--mcp-only", "basic/lifecycle/version-negotiation/*", "-k", "version-echoed"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[2024-11-05-memory]" in done.stdout
    assert "4 passed" in done.stdout


def test_a_module_of_this_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from mcpcore.service import Server\nmine = Server('mine', offers=['tools'])\n"
    )
    done = subprocess.run(
        # -P: as the command `pytest` is, which does not look for modules in this folder
        [
            *(sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA"),
            *("--mcp-server", "mine:mine", "--mcp-only", IDS),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{IDS}[2025-11-25-memory]" in done.stdout


def test_a_client_is_started_for_each_case(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("--mcp-client", CLIENT, "--mcp-revision", "2025-11-25", "-q", "-rA"),
        *("--mcp-only", "basic/lifecycle/initialization/client-identifies-itself"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[2025-11-25-http]" in done.stdout


def test_a_client_of_which_no_case_is_wanted_is_not_started(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("--mcp-server", "mcpcore_conformance.everything.server:server", "-q", "-rA"),
        *("--mcp-client", "false", "--mcp-only", IDS, "--mcp-revision", "2025-11-25"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mcp-server", "no-such-program-at-all"], "speaks none of"),
        (["--mcp-server", "no_such_module:server"], "there is no module 'no_such_module'"),
        (["--mcp-server", "json:server"], "the module 'json' has no 'server'"),
        (["--mcp-server", "json:loads"], "not a Server"),
        (["--mcp-server", EVERYTHING, "--mcp-only", "no/such/case"], "there is no case"),
        (["--mcp-server", EVERYTHING, "--mcp-revision", "1999-01-01"], "1999-01-01"),
        (["--mcp-server", EVERYTHING, "--mcp-timeout", "0"], "'0' is no time to wait"),
        (["--mcp-server", EVERYTHING, "--mcp-timeout=-1"], "'-1' is no time to wait"),
        (["--mcp-server", EVERYTHING, "--mcp-timeout", "nan"], "'nan' is no time to wait"),
        (["--mcp-server", EVERYTHING, "--mcp-transport", "http"], "there is no --mcp-client"),
        (["--mcp-client", CLIENT, "--mcp-transport", "memory"], "memory: clients cannot be met so"),
        (["--mcp-client", CLIENT, "--mcp-transport", "pigeon"], "pigeon: clients cannot be met so"),
        (["--mcp-client", CLIENT, "--mcp-header", "A: b"], "there is no --mcp-server"),
        (["--mcp-server", EVERYTHING, "--mcp-header", "A: b"], "servers at a URL"),
        (["--mcp-server", "http://127.0.0.1:9/", "--mcp-header", "b"], "expected 'Name: value'"),
        (["--mcp-protected", EVERYTHING], "--mcp-protected starts one server"),
        (["--mcp-server", EVERYTHING, "--mcp-protected", EVERYTHING], "its URL"),
        (["--mcp-server", "tcp://127.0.0.1:9", "--mcp-protected", EVERYTHING], "its URL"),
        (["--mcp-server", "http://127.0.0.1:9/", "--mcp-protected", "exit"], "exit"),
    ],
    ids=[
        *(
            "program",
            "module",
            "attribute",
            "kind",
            "case",
            "revision",
            "no-time",
            "negative",
            "nan",
        ),
        *(
            "server-transport",
            "client-memory",
            "client-pigeon",
            "client-header",
            "no-url",
            "header",
            "protected-alone",
            "protected-command",
            "protected-socket",
            "protected-ends",
        ),
    ],
)
def test_mistakes_are_explained(words: list[str], said: str, tmp_path: Path) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 4, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_guarded_server_is_shown_what_lets_one_in_and_nobody_else_is(tmp_path: Path) -> None:
    secret = "open-sesame-4711"
    guarded = (*PYTHON, "-m", "tests.conformance_kit.run.token_server", secret)
    with serving(guarded) as (url,):
        words = [
            "--mcp-server",
            url,
            "--mcp-revision",
            "2025-11-25",
            "--mcp-only",
            IDS,
            "-rA",
            "-q",
        ]
        header = f"Authorization: Bearer {secret}"
        done = run(tmp_path, *words, "--mcp-header", header, "--mcp-header", "X-Kit: one")
        refused = run(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "401" in refused.stderr


def test_a_protected_server_is_started_and_told_of_an_authorization_server(
    tmp_path: Path, free_tcp_port: int
) -> None:
    place = f"127.0.0.1:{free_tcp_port}"
    command = f"{shlex.join(PYTHON)} -m mcpcore_conformance.everything.server --http {place}"
    expired, page = "basic/authorization/token-handling/expired", "rfc9728"
    only = ["--mcp-only", expired, "--mcp-only", page, "--mcp-revision", "2025-11-25", "-rA", "-q"]
    done = run(tmp_path, "--mcp-server", f"http://{place}/mcp", "--mcp-protected", command, *only)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"PASSED {expired}" in done.stdout.replace("mcp-server::", "")
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


# repeats the header that it was sent in every answer
GOSSIP = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if said.get("method") == "initialize":
            result = {
                "protocolVersion": said["params"]["protocolVersion"],
                "capabilities": {},
                "serverInfo": {"name": "gossip", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": said["id"], "result": result}
        else:
            told = self.headers["x-door"]
            bad = {"code": told, "message": told}
            answer = {"jsonrpc": "2.0", "id": said.get("id"), "error": bad}
        body = json.dumps(answer).encode()
        self.send_response(200 if "id" in said else 202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body) if "id" in said else 0))
        self.end_headers()
        if "id" in said:
            self.wfile.write(body)

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}/mcp", file=sys.stderr, flush=True)
server.serve_forever()
"""


@pytest.mark.long
def test_headers_are_not_in_what_is_shown_of_a_failure(tmp_path: Path) -> None:
    secret = "open-sesame-4711"
    with serving((sys.executable, "-c", GOSSIP)) as (url,):
        done = run(
            tmp_path,
            *("--mcp-server", url, "--mcp-revision", "2025-11-25", "--mcp-only", "basic/index"),
            *("--mcp-header", f"X-Door: {secret}", "--junitxml", "junit.xml", "-rA"),
        )
    assert done.returncode == 1, done.stdout + done.stderr
    report = (tmp_path / "junit.xml").read_text()
    for shown in (done.stdout, report):
        assert "the code of an error has to be an integer" in shown
        assert secret not in shown


def test_without_its_options_it_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): assert True\n")
    done = run(tmp_path, "-q", python=(sys.executable,))
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    assert "mcp" not in done.stdout


def test_a_case_that_fails_itself_is_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from mcpcore_conformance.kit.talk import ServerTalk\n"
        "async def fails(talk, **options):\n"
        "    raise RuntimeError('the kit is broken')\n"
        "ServerTalk.open = fails\n"
    )
    case = "server/tools/calling-tools/result-shape"
    words = ("--mcp-revision", "2025-11-25", "--mcp-only", case, "-q")
    done = run(tmp_path, "--mcp-server", EVERYTHING, *words)
    assert done.returncode == 1, done.stdout
    assert "RuntimeError: the kit is broken" in done.stdout
    assert "1 failed" in done.stdout


@pytest.mark.long
def test_strict_makes_a_should_a_failure(tmp_path: Path) -> None:
    (tmp_path / "liar.py").write_text(LIAR)
    words = [
        *("--mcp-server", f"{sys.executable} liar.py", "--mcp-revision", "2025-11-25"),
        *("--mcp-only", "basic/index/requests", "--mcp-timeout", "0.3", "-q"),
    ]
    lenient, strict = run(tmp_path, *words), run(tmp_path, *words, "--mcp-strict")
    assert "xfailed" in lenient.stdout
    assert "xfailed" not in strict.stdout
    assert strict.stdout.count("FAILED") > lenient.stdout.count("FAILED")


def test_reports_name_the_cases_without_the_paths_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "liar.py").write_text(LIAR)
    servers = ("--mcp-server", f"{sys.executable} liar.py") * 2
    done = run(
        tmp_path,
        *(*servers, "--mcp-only", IDS, "--mcp-revision", "2025-11-25", "--mcp-timeout", "0.5"),
        *("--junitxml", "junit.xml"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    cases = [*Xml.parse(tmp_path / "junit.xml").iter("testcase")]
    assert [each.get("classname") for each in cases] == ["mcp-server", "mcp-server-2"]
    assert {each.get("name") for each in cases} == {f"{IDS}[2025-11-25-stdio]"}
    for each in cases:
        (failure,) = each.iter("failure")
        assert "clause: https://modelcontextprotocol.io" in (failure.text or "")
        assert "-> request initialize" in (failure.text or "")


@pytest.mark.long
def test_beside_other_processes_what_cannot_be_checked_is_one_failure(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "test_own.py").write_text("def test_own(): assert True\n")
    done = run(tmp_path, "-p", "xdist", "-n", "2", "--mcp-server", "no-such-program", "-q")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "no-such-program cannot be started: no such file or directory" in done.stdout
    assert "Traceback" not in done.stdout
    assert "INTERNALERROR" not in done.stdout


# opens a pipe and says no more, where it is asked for what hangs it
HANGS = """
import json, sys, time

TOOL = {"name": "echo", "inputSchema": {"type": "object"}}
for line in sys.stdin:
    said = json.loads(line)
    if said.get("method") == sys.argv[1]:
        open("hangs", "w").close()
        time.sleep(600)
    elif said.get("method") == "initialize":
        result = {
            "protocolVersion": said["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "slow", "version": "1"},
        }
    elif said.get("method") == "tools/list":
        result = {"tools": [TOOL]}
    elif "id" in said:
        result = {}
    if "id" in said:
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"""


@pytest.mark.parametrize("method", ["initialize", "tools/call"], ids=["look", "case"])
def test_an_interruption_ends_it_at_once(method: str, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(HANGS)
    os.mkfifo(tmp_path / "hangs")
    words = (
        *("--mcp-server", f"{sys.executable} server.py {method}", "--mcp-timeout", "100"),
        *("--mcp-revision", "2025-06-18", "--mcp-only", "server/tools/calling-tools/result-shape"),
    )
    with subprocess.Popen(
        [*PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        (tmp_path / "hangs").read_text()
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "INTERNALERROR" not in said
    assert "KeyboardInterrupt" in said
