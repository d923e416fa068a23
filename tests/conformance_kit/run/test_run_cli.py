"""``mcpcore conformance``, as its users run it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from mcpcore_conformance.commands.grouped import GROUPS
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_transports.commands.main import main
from tests.clock import PATIENCE
from tests.command import Done, mcpcore_here, python_here
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

ROOT = Path(__file__).parents[3]
MCPCORE = (sys.executable, "-m", "mcpcore_transports.commands.main", "conformance")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
EVERYTHING = (*PYTHON, "-m", "mcpcore_conformance.everything.server", "--stdio")
CLIENT = (*PYTHON, "-m", "mcpcore_conformance.everything.client")
LIFECYCLE = ("--only", "basic/lifecycle/version-negotiation", "--revision", "2025-06-18")

BROKEN = """
import json
import sys

for line in sys.stdin:
    said = json.loads(line)
    if said.get("method") == "initialize":
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "serverInfo": {"name": "\\x1b[31mbroken", "version": "1"},
        }
    elif "id" in said:
        result = {}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"""
"""A server of 2025-06-18 that answers everything well, also what it should not."""


def conformance(*words: str) -> Done:
    if words[:1] == ("mutants",):
        return python_here("conformance.mutants", *words[1:])
    return mcpcore_here("conformance", *words)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    path = tmp_path_factory.mktemp("servers") / "broken.py"
    path.write_text(BROKEN)
    return ("--", sys.executable, str(path))


@pytest.mark.parametrize("command", ["server", "client", "mutants"])
def test_help_shows_examples(command: str) -> None:
    done = conformance(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    examples = re.findall(
        r"^    (?:mcpcore conformance |python -m conformance.)(\w+)", done.stdout, re.MULTILINE
    )
    assert len(examples) >= 3
    assert set(examples) == {command}


@pytest.mark.parametrize("command", [(), ("server",), ("client",), ("mutants",)])
def test_exit_statuses_are_in_the_help(command: tuple[str, ...]) -> None:
    said = " ".join(conformance(*command, "--help").stdout.split())
    statuses = re.findall(r"(?:Exit status: |; )(\d+) ", said)
    assert statuses == (["0", "1", "2"] if command == ("mutants",) else ["0", "1", "2", "3", "130"])


@pytest.mark.parametrize("command", ["server", "client", "mutants"])
def test_every_option_stands_in_a_group(command: str) -> None:
    shown = conformance(command, "--help").stdout
    sections = re.split(r"^(\S.*):$", shown.partition("Examples:")[2], flags=re.MULTILINE)[1:]
    found = {
        heading: re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    assert [*found] == [*(each for each in GROUPS if each in found), "Options"]
    assert found["Options"] == ["--help"]
    assert ("--tool" in found["What is played"]) is (command == "server")
    assert found["How it is played"] == ["--jobs", "--timeout", "--seed"]


@pytest.mark.parametrize("side", ["server", "client"])
def test_cases_are_listed(side: str) -> None:
    done = conformance(side, "--list", "--json", "--only", "basic/lifecycle")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert rows
    for row in rows:
        assert list(row) == [
            *("id", "clause", "link", "strength", "revisions", "side", "bindings"),
            *("needs", "summary", "expects"),
        ]
        assert row["side"] == side
        assert row["id"].startswith("basic/lifecycle/")
        assert row["strength"] in ("MUST", "SHOULD", "MAY")
        assert row["revisions"]
        assert row["bindings"]
    shown = conformance(side, "--list", "--only", "basic/lifecycle")
    assert shown.returncode == 0
    fixtures = ("tool:", "prompt:", "resource:", "template:", "scenario:")
    named = sum(any(each.startswith(fixtures) for each in row["needs"]) for row in rows)
    title = f"cases ({len(rows)}; {named} only with what a program for tests has)"
    assert title in " ".join(shown.stdout.split())
    assert all(row["id"] in shown.stdout for row in rows)


def test_the_list_is_of_what_is_asked_for() -> None:
    def ids(*words: str) -> set[str]:
        done = conformance("server", "--list", "--json", *words)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        return {row["id"] for row in rows}

    everything, modern = ids(), ids("--revision", "2026-07-28")
    assert modern < everything
    assert "basic/lifecycle/version-negotiation/version-echoed" in everything - modern
    lines = ids("--transport", "memory")
    assert {each for each in everything if each.startswith("basic/transports/stdio/")} - lines
    assert ids("--transport", "memory", "--transport", "http") > lines


def test_a_good_server_over_several_transports(tmp_path: Path) -> None:
    done = conformance(
        "server",
        "mcpcore_conformance.everything.server:server",
        *("--transport", "memory", "--transport", "http", "--strict", "--report", "json"),
        *("--report", f"junit:{tmp_path}/new/junit.xml", "--report", f"html:{tmp_path}/r.html"),
        *LIFECYCLE,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["transport"], row["revision"]) for row in rows} == {
        ("memory", "2025-06-18"),
        ("http", "2025-06-18"),
    }
    assert {row["verdict"] for row in rows} <= {"passed", "not applicable"}
    assert Xml.parse(tmp_path / "new" / "junit.xml").getroot().get("failures") == "0"
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    # the report has standard output for itself
    assert "memory 2025-06-18: " in done.stderr
    assert "http 2025-06-18: " in done.stderr


def test_a_command_and_a_url_in_one_run(tmp_path: Path) -> None:
    done = conformance(
        "server",
        "mcpcore_conformance.everything.server:server",
        *LIFECYCLE,
        "--report",
        "json",
        "--",
        *EVERYTHING,
    )
    assert done.returncode == 0, done.stderr
    assert {row["transport"] for row in json.loads(done.stdout)} == {"memory", "stdio"}


def test_failures_are_told_and_kept(broken: tuple[str, ...], tmp_path: Path) -> None:
    words = (*LIFECYCLE, "--only", "basic/index", "--timeout", "1", "-v")
    done = conformance(
        "server",
        *words,
        "--trace-dir",
        str(tmp_path),
        "--report",
        f"json:{tmp_path}/r.json",
        *broken,
    )
    assert done.returncode == 1
    assert "failures\n" in done.stdout
    rows = json.loads((tmp_path / "r.json").read_text())
    failed = [row for row in rows if row["verdict"] == "failed"]
    assert failed
    for row in failed:
        assert f"failed {row['id']}" in done.stdout
        links = {each["link"] for each in failed if each["id"] == row["id"]}
        assert any(link in done.stdout for link in links)
        # its trace, and what was said
        assert Path(row["trace"]).read_text().startswith('{"trace":1,')
    assert '> request        {"jsonrpc":"2.0","id":1,"method":"initialize"' in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.long
def test_known_failures(broken: tuple[str, ...], tmp_path: Path) -> None:
    words = ("server", *LIFECYCLE, "--only", "basic/index", "--timeout", "1")
    known = tmp_path / "known.toml"
    done = conformance(*words, "--write-expected", str(known), *broken)
    assert done.returncode == 0, done.stderr
    assert known.read_text().count("[[expected]]") > 0
    expecting = (*words, "--expected-failures", str(known))
    done = conformance(*expecting, *broken)
    assert (done.returncode, "known failures" in done.stdout) == (0, True), done.stdout
    # the good server passes what is expected to fail
    done = conformance(*expecting, "--", *EVERYTHING)
    assert done.returncode == 1
    assert "expected to fail, and no failure" in done.stdout
    # a new failure
    entries = known.read_text().split("\n\n")
    known.write_text("\n\n".join([entries[0], *entries[2:]]))
    done = conformance(*expecting, *broken)
    assert done.returncode == 1
    assert "failures\n" in done.stdout
    assert re.search(r"\d+ known failure", done.stdout) or len(entries) == 2


def test_a_kit_that_fails_itself_makes_no_green_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def fails(talk: ServerTalk, **options: object) -> None:
        raise RuntimeError("the kit is broken")

    monkeypatch.setattr(ServerTalk, "open", fails)
    known, again = tmp_path / "known.toml", tmp_path / "again.toml"
    known.write_text('[[expected]]\ncase = "server/tools"\n')
    words = ("server", "mcpcore_conformance.everything.server:server", "--only", "server/tools")
    for more in (
        (),
        ("--expected-failures", str(known)),
        ("--write-expected", str(again)),
        ("--strict", "--write-expected", str(again)),
    ):
        done = conformance(*words, "--revision", "2025-11-25", *more)
        assert done.returncode == 1
        assert "RuntimeError: the kit is broken" in " ".join(done.stdout.split())
    assert "[[expected]]" not in again.read_text()


def test_weak_counts_where_it_is_strict(tmp_path: Path) -> None:
    (tmp_path / "weak.py").write_text(
        "from mcpcore_conformance.commands import app, server\n"
        "from mcpcore_conformance.kit.model import SHOULD, Page\n"
        "from mcpcore_conformance.run import registry\n"
        "page = Page('p')\n"
        "@page.server().should('a/b', '-')\n"
        "async def b(talk):\n"
        "    'Is weak.'\n"
        "    raise __import__('mcpcore_conformance.kit.verdicts').kit.verdicts.Broken('so')\n"
        "from mcpcore_conformance.commands import choice\n"
        "choice.all_cases = lambda: tuple(page.cases)\n"
        "from mcpcore_transports.commands.main import main\n"
        "main()\n"
    )
    base = [*PYTHON, str(tmp_path / "weak.py"), "conformance", "server"]
    heading = "weak, which fails only with --strict"
    for more, status in (((), 0), (("--strict",), 1), (("-v",), 0), (("-v", "--strict"), 1)):
        done = subprocess.run(
            [*base, "mcpcore_conformance.everything.server:server", *more],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=ENVIRONMENT,
            check=False,
        )
        assert (done.returncode, "5 weak" in done.stdout) == (status, True), done.stderr
        assert (heading in done.stdout) is (more == ("-v",))
        assert ("weak p/a/b (memory 2024-11-05" in done.stdout) is (more != ())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("server",), "no server: give a URL"),
        (("server", "http://h/mcp", "--only", "basic/lifecycel"), "did you mean basic/lifecycle"),
        (("server", "http://h/mcp", "--revision", "2025-01-01"), "known revisions: 2024-11-05"),
        (("server", "http://h/mcp", "--report", "xml"), "there is no format 'xml'"),
        (("server", "http://h/mcp", "--report", "json", "--report", "html"), "only one"),
        (
            ("server", "http://h/mcp", "--report", "json:a", "--report", "junit:./a"),
            "two reports to one file",
        ),
        (("server", "http://h/mcp", "--transport", "smtp"), "there is no transport 'smtp'"),
        (("server", "http://h/mcp", "--transport", "ws"), "not over ws"),
        (("server", "http://h/mcp", "http://i/mcp"), "two servers over http"),
        (
            ("server", "http://h/mcp", "--only", "basic/index/requests/client-id"),
            "is about a client: mcpcore conformance client",
        ),
        (
            ("server", "http://h/mcp", "--only", "basic/patterns", "--only", "basic/security"),
            "there is no case 'basic/security'; did you mean basic/security_best_practices",
        ),
        (("server", "http://h/mcp", "--only", "listing-tools"), "mean server/tools/listing-tools/"),
        (
            ("server", "http://h/mcp", "--expected-failures", "/nonexistent"),
            "/nonexistent: there is",
        ),
        (("server", "http://h/mcp", "--env", "A=1"), "--env is for servers that are started"),
        (("server", "nothing:server"), "there is no module 'nothing'"),
        (("server", "json:loads"), "is a function, not a Server"),
        (("server", "ftp://h"), "is no target"),
        (("server", "http://h/mcp", "--json"), "--json goes with --list; --report json gives"),
        (("client", "--json", "--", "x"), "--json goes with --list; --report json gives"),
        (("client",), "no command"),
        (("client", "python", "a b.py"), "behind --, as in: -- python 'a b.py'"),
        (("client", "--tool", "t", "--", "x"), "--tool is about servers"),
        (("client", "--thorough", "--", "x"), "--thorough is about servers"),
        (("client", "--other-header", "A: b", "--", "x"), "--other-header is about servers"),
        (("client", "--protected", "--", "x"), "--protected is about servers"),
        (("server", "--protected", "http://h/mcp"), "--protected takes the URL of a server and"),
        (("server", "--protected", "--", "x"), "--protected takes the URL of a server and"),
        (("server", "--protected", "tcp://h:1", "--", "x"), "--protected takes the URL of a"),
        (
            ("server", "--protected", "--transport", "ws", "http://h/mcp", "--", "x"),
            "the URL of a protected server says",
        ),
        (
            ("server", "--protected", "--transport", "tcp", "http://h/mcp", "--", "x"),
            "--protected is about http, ws, sse",
        ),
        (
            ("server", "--protected", "--other-header", "A: b", "http://h/mcp", "--", "x"),
            "brings the tokens of two principals itself",
        ),
        (("client", "--transport", "memory", "--", "x"), "cannot be met over memory"),
        (
            ("server", "ws://h/mcp", "--only", "basic/transports/sending-messages-to-the-server"),
            "none of these cases is about that transport",
        ),
    ],
)
def test_wrong_usage_is_one_sentence(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["conformance", *words])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err


def test_a_server_that_is_not_there(free_tcp_port: int) -> None:
    done = conformance("server", f"http://127.0.0.1:{free_tcp_port}/mcp", *LIFECYCLE)
    assert done.returncode == 3
    assert "speaks none of 2025-06-18 over http" in done.stderr


@pytest.mark.parametrize(
    "target",
    [("http://127.0.0.1:{port}/mcp",), ("--", sys.executable, "-c", "raise SystemExit(3)")],
    ids=["nobody", "ends"],
)
def test_where_nothing_could_be_played_the_reports_say_why(
    target: tuple[str, ...], free_tcp_port: int, tmp_path: Path
) -> None:
    formats = ("json", "junit", "svg", "markdown", "html")
    reports = [
        word for name in formats for word in ("--report", f"{name}:{tmp_path}/reports/{name}")
    ]
    words = [each.format(port=free_tcp_port) for each in target]
    done = conformance("server", *LIFECYCLE, *reports, *words)
    assert (done.returncode, done.stdout.count(" report: ")) == (3, len(formats))
    assert "speaks none of 2025-06-18" in done.stderr
    said = {name: (tmp_path / "reports" / name).read_text() for name in formats}
    for name in ("json", "junit", "markdown", "html"):
        assert "speaks none of 2025" in said[name].replace("\\", ""), name
    rows = json.loads(said["json"])
    assert {row["verdict"] for row in rows} == {"not played"}
    assert Xml.fromstring(said["junit"]).get("errors") == "1"
    assert "not reached" in said["svg"]


def test_a_server_that_hangs_is_given_up_in_the_time_that_was_given(tmp_path: Path) -> None:
    program = "import sys; sys.stdin.read()"
    done = conformance(
        *("server", "--timeout", "0.3", "--jobs", "1", "--only", "basic/lifecycle"),
        *("--", sys.executable, "-c", program),
    )
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert lines[0].startswith("looking at ")
    assert lines[0].endswith(" over stdio ...")
    assert "given up: nothing at all was heard of it" in done.stderr


HANGS = """
import sys, time
with open(sys.argv[1], "a") as file:
    file.write("started\\n")
"""
SAYS_NOTHING = """
import socket, urllib.parse
url = urllib.parse.urlsplit(sys.argv[2])
connection = socket.create_connection((url.hostname, url.port))
"""


@pytest.mark.share(5)
@pytest.mark.parametrize(
    ("program", "transport", "jobs", "said"),
    [
        (HANGS, "http", "1", "did not connect"),
        (HANGS, "http", "4", "did not connect"),
        (HANGS, "stdio", "4", "did not connect"),
        (HANGS + SAYS_NOTHING, "http", "4", "did not connect"),
        (HANGS + SAYS_NOTHING, "tcp", "4", "did not initialize"),
    ],
)
def test_a_client_that_hangs_is_started_twice_and_given_up(
    program: str, transport: str, jobs: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "client.py").write_text(program + "time.sleep(600)\n")
    starts = tmp_path / "starts"
    done = conformance(
        *("client", "--timeout", "0.5", "--jobs", jobs, "--only", "basic/lifecycle"),
        *("--transport", transport, "--"),
        *(sys.executable, str(tmp_path / "client.py"), str(starts)),
    )
    assert done.returncode == 3
    assert re.search(f"the client {said}.*: it is running", done.stderr)
    assert "given up: nothing at all was heard of it" in done.stderr
    assert done.stderr.startswith("looking at ")
    assert starts.read_text() == "started\n" * 2


def test_a_server_is_reported_under_the_name_that_was_given(tmp_path: Path) -> None:
    name = "mcpcore_conformance.everything.server:server"
    done = conformance("server", name, "--transport", "http", *LIFECYCLE)
    assert done.returncode == 0, done.stderr
    assert f"\n{name}: " in done.stdout
    assert f"looking at {name} over http ..." in done.stderr


def test_a_command_that_is_no_server() -> None:
    program = "import sys; sys.exit('no\\nconfiguration')"
    done = conformance("server", *LIFECYCLE, "--", sys.executable, "-c", program)
    assert done.returncode == 3
    assert "speaks none of 2025-06-18 over stdio" in done.stderr
    assert "standard error: no / configuration" in done.stderr


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    words = ("server", "mcpcore_conformance.everything.server:server", *LIFECYCLE)
    for more in (
        ("--report", f"json:{tmp_path}/file/r.json"),
        ("--report", f"json:{tmp_path}"),
        ("--write-expected", f"{tmp_path}"),
        ("--trace-dir", f"{tmp_path}/file"),
    ):
        done = conformance(*words, *more)
        assert done.returncode == 3
        assert f"{more[1].removeprefix('json:')} cannot be written: " in done.stderr
        assert done.stdout == "", "it is said before anything is played"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_report_that_is_lost_takes_no_other_with_it(tmp_path: Path) -> None:
    done = conformance(
        *("server", "mcpcore_conformance.everything.server:server", *LIFECYCLE),
        *("--report", "json:/dev/full", "--report", f"json:{tmp_path}/r.json"),
    )
    assert done.returncode == 3
    assert "/dev/full cannot be written: No space left on device" in done.stderr
    assert "passed" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_what_is_done(number: signal.Signals, tmp_path: Path) -> None:
    # a server that answers the handshake, says who it is, and then nothing more
    (tmp_path / "mute.py").write_text(
        "import os, sys\n"
        "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
        + BROKEN.replace('    elif "id" in said:\n        result = {}\n', "")
    )
    pids = tmp_path / "pids"
    process = subprocess.Popen(
        [
            *(*MCPCORE, "server", *LIFECYCLE, "--only", "basic/index/messages", "--timeout", "60"),
            *("--jobs", "1", "--report", f"json:{tmp_path}/r.json"),
            *("--", sys.executable, str(tmp_path / "mute.py"), str(pids)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stderr is not None
    looking, first = process.stderr.readline(), process.stderr.readline()
    assert looking.startswith("looking at ")
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    rows = json.loads((tmp_path / "r.json").read_text())
    verdicts = {row["verdict"] for row in rows}
    assert "not played" in verdicts
    assert verdicts - {"not played"}, first
    details = {row["detail"] for row in rows if row["verdict"] == "not played"}
    assert details == {"the run was interrupted"}
    assert re.search(r"; \d+ not played: the run was interrupted, in ", out)
    for pid in map(int, pids.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_client() -> None:
    done = conformance("client", *LIFECYCLE, "--strict", "--report", "json", "--", *CLIENT)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["side"], row["transport"]) for row in rows} == {("client", "http")}
    assert {row["verdict"] for row in rows} <= {"passed", "not applicable"}


def test_a_command_that_is_no_client() -> None:
    done = conformance("client", *LIFECYCLE, "--", sys.executable, "-c", "print('hello')")
    assert done.returncode == 3
    assert "was not seen to speak any revision over http" in done.stderr


def test_the_table_of_mutants() -> None:
    only = "basic/lifecycle/version-negotiation/version-echoed"
    done = conformance("mutants", "--only", only, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["case"] for row in rows} == {only}
    assert all(row["killed"] and row["ours"] == "passed" for row in rows)
    assert any(row["proof"] for row in rows)
    done = conformance("mutants", "--only", only)
    assert done.returncode == 0
    assert "1 cases, " in done.stdout
    assert "no cases without proof" in done.stdout


def test_mutants_of_a_case_that_is_none() -> None:
    done = conformance("mutants", "--only", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no case 'x'" in done.stderr


def test_a_terminal_shows_a_live_table(tmp_path: Path) -> None:
    import pty

    main, other = pty.openpty()
    process = subprocess.Popen(
        [*MCPCORE, "server", "mcpcore_conformance.everything.server:server", *LIFECYCLE],
        stdout=other,
        stderr=other,
        stdin=subprocess.DEVNULL,
        env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(other)
    shown = b""
    while True:
        try:
            data = os.read(main, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(main)
    assert process.wait(PATIENCE) == 0
    assert b"\x1b[" in shown
    assert b"2025-06-18" in shown
    assert b"transport" in shown
