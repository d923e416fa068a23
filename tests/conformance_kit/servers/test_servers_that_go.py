"""Servers that end in the middle of a run: one sentence, and no failures that are none."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.bindings.sockets import SocketStage
from mcpcore_conformance.kit.bindings.stdio import StdioWire
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.model import Binding, Line, Page, Result, Verdict
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.reports.report import report_of
from mcpcore_conformance.run.expected import judge
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.presence import Presence, knock
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import subject_of
from mcpcore_transports.targets import parse_target
from tests.conformance_kit.run.test_run_cli import conformance
from tests.conformance_kit.runs import run_of

pytestmark = pytest.mark.anyio

REVISION = "2025-11-25"
HTTP = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
left = int(sys.argv[2]) if len(sys.argv) > 2 else 1000

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global left
        left -= 1
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if said["method"] == "die" or left < 1:
            os._exit(9)
        result = {"capabilities": {}, "serverInfo": {"name": "mortal", "version": "1"}}
        if said["method"] == "initialize":
            result["protocolVersion"] = said["params"]["protocolVersion"]
        body = json.dumps({"jsonrpc": "2.0", "id": said.get("id"), "result": result})
        self.reply(*((200, body) if "id" in said else (202, "")))

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass

if sys.argv[3:]:
    Handler.do_HEAD = lambda self: self.reply(int(sys.argv[3]), sys.argv[4])
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""Its arguments: a port, how many messages it survives, and what HEAD gets, if anything."""
LINES = """
import json, os, socketserver, sys

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            said = json.loads(line)
            if said["method"] == "die":
                os._exit(9)
            result = {"capabilities": {}, "serverInfo": {"name": "mortal", "version": "1"}}
            if said["method"] == "initialize":
                result["protocolVersion"] = said["params"]["protocolVersion"]
            if "id" in said:
                answer = {"jsonrpc": "2.0", "id": said["id"], "result": result}
                self.wfile.write(json.dumps(answer).encode() + b"\\n")

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
SUPERVISED = """
import subprocess, sys

port, ends = sys.argv[1], 0
while ends < 4:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[2], port], stdout=subprocess.PIPE)
    port = child.stdout.readline().decode().strip()
    print(port, flush=True)
    ends += 1
    child.wait()
"""
STDIO = """
import json, os, sys

if os.path.exists(sys.argv[1]):
    sys.exit(7)
for line in sys.stdin:
    said = json.loads(line)
    if said["method"] == "die":
        os.write(2, b"1\\n2\\n3\\n\\nI die\\n")
        os._exit(9)
    if said["method"] == "die for good":
        open(sys.argv[1], "w").close()
        os._exit(9)
    result = {"capabilities": {}, "serverInfo": {"name": "mortal", "version": "1"}}
    if said["method"] == "initialize":
        result["protocolVersion"] = said["params"]["protocolVersion"]
    if "id" in said:
        answer = {"jsonrpc": "2.0", "id": said["id"], "result": result}
        print(json.dumps(answer), flush=True)
"""


@contextmanager
def process(*words: str) -> Iterator[str]:
    """A server of its own, until the context ends; gives its port."""
    with subprocess.Popen(
        [sys.executable, "-c", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        try:
            yield program.stdout.readline().decode().strip()
        finally:
            os.killpg(program.pid, signal.SIGKILL)  # with the one that it supervises


class Heard(Listener):
    def __init__(self) -> None:
        self.how: list[str] = []

    def gone(self, binding: Binding, how: str) -> None:
        self.how.append(how)


def mortal(method: str = "die", before: int = 2, after: int = 4) -> Page:
    """Cases that a server survives, one that it does not, and others."""
    page = Page("p")

    def harmless(slug: str) -> None:
        @page.server().must(slug, "-")
        async def pings(talk: ServerTalk) -> None:
            """Asks for what every server has."""
            link = await talk.open()
            await link.ask("ping")

    for number in range(before):
        harmless(f"a/before-{number}")

    @page.server().must("a/deadly", "-")
    async def deadly(talk: ServerTalk) -> None:
        """Ends the server."""
        link = await talk.open()
        reply = await link.request(method)
        check(reply.message is not None, f"it got {reply}")

    for number in range(after):
        harmless(f"a/after-{number}")
    return page


async def played(
    target: object, page: Page, *, jobs: int = 1, timeout: float = 1.0
) -> tuple[Run, dict[str, Result], list[str]]:
    listener = Heard()
    run = await run_of(target, page.cases, REVISION, listener, jobs=jobs, timeout=timeout)
    found = {each.case.id.removeprefix("p/a/"): each for each in run.results}
    assert run.complete
    return run, found, listener.how


@pytest.mark.parametrize(
    ("program", "scheme", "binding"), [(HTTP, "http", "http"), (LINES, "tcp", "tcp")]
)
async def test_a_server_that_is_gone_is_said_once(program: str, scheme: str, binding: str) -> None:
    with process(program, "0") as port:
        target = f"{scheme}://127.0.0.1:{port}" + ("/mcp" if scheme == "http" else "")
        run, found, how = await played(target, mortal())
    sentence = (
        f"the server over {binding} is gone: {target} takes no connection any more (connection"
        f" refused), nor did it within 1 s; it went during p/a/deadly ({binding}, {REVISION})"
    )
    assert how == [sentence] == [*run.gone.values()]
    assert {name: each.verdict for name, each in found.items()} == {
        **{f"before-{number}": Verdict.PASSED for number in range(2)},
        "deadly": Verdict.FAILED,
        **{f"after-{number}": Verdict.INCONCLUSIVE for number in range(4)},
    }
    assert {found[f"after-{number}"].detail for number in range(4)} == {sentence}
    assert found["deadly"].detail.startswith("it got ")
    assert found["deadly"].detail.endswith(
        "; the server was gone afterwards (connection refused), it did not come back"
    )
    report = report_of(run, judge(run, (), strict=False))
    assert not report.well


async def test_cases_beside_the_deadly_one_are_suspects_and_no_others() -> None:
    with process(HTTP, "0") as port:
        _, found, how = await played(
            f"http://127.0.0.1:{port}/mcp", mortal(before=0, after=30), jobs=4
        )
    (sentence,) = how
    assert "p/a/deadly" in sentence
    assert found["deadly"].verdict is Verdict.FAILED
    rest = [each for name, each in found.items() if name != "deadly"]
    failed = [each for each in rest if each.verdict is Verdict.FAILED]
    assert len(failed) <= 3
    assert all("--jobs 1 tells which" in each.detail for each in failed)
    left = [each for each in rest if each.verdict is Verdict.INCONCLUSIVE]
    assert len([each for each in left if each.detail == sentence]) >= 20


@pytest.mark.parametrize("jobs", [1, 4])
async def test_a_server_that_comes_back_loses_one_case(jobs: int) -> None:
    with process(SUPERVISED, "0", HTTP) as port:
        page = mortal(before=0, after=12)
        run, found, how = await played(
            f"http://127.0.0.1:{port}/mcp", page, jobs=jobs, timeout=10.0
        )
    assert not how
    assert not run.gone
    bad = {name: each for name, each in found.items() if each.verdict is not Verdict.PASSED}
    assert [*bad] == ["deadly"]
    assert bad["deadly"].verdict is Verdict.FAILED
    # where it is back before anybody has looked, only the case tells of it
    assert bad["deadly"].detail.startswith("it got ")


class Returning(SocketStage):
    """An address that takes connections again as soon as somebody has tried it twice."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.tries = 0
        super().__init__(f"tcp://127.0.0.1:{self.port}")

    def __getattribute__(self, name: str) -> Any:
        if name == "target":
            self.tries += self.listener.fileno() == -1
            if self.tries > 1:
                self.tries, self.listener = 0, socket.create_server(("127.0.0.1", self.port))
        return super().__getattribute__(name)


async def test_an_end_that_no_case_repeats_is_told() -> None:
    stage = Returning()
    presence = Presence(stage, patience=10.0, starts=never)
    units = [Unit(case, BY_NAME[REVISION], Binding.TCP) for case in mortal(after=0).cases[:2]]
    both = [anyio.Event(), anyio.Event()]
    plays, results = 0, []

    async def play(number: int) -> None:
        unit = units[number]

        async def once() -> Result:
            nonlocal plays
            plays += 1
            said = Line(at=0.0, sent=False, wire=1, exchange=0, kind="message", data=b"{}")
            verdict = Verdict.PASSED
            if not all(each.is_set() for each in both):
                both[number].set()
                for each in both:
                    await each.wait()
                stage.listener.close()
                verdict = Verdict.FAILED
            return Result(
                case=unit.case,
                revision=REVISION,
                binding=Binding.TCP,
                verdict=verdict,
                notes=[],
                transcript=[said],
            )

        results.append(await presence.play(unit, once))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(play, 0)
        tasks.start_soon(play, 1)
    stage.listener.close()
    assert plays == 4
    assert [each.verdict for each in results] == [Verdict.PASSED] * 2
    note = "played again, as the server was gone meanwhile, and has come back"
    assert [each.notes for each in results] == [[note]] * 2
    (sentence,) = presence.away
    assert sentence.startswith(
        "the server over tcp was gone and has come back (connection refused);"
        " it went during one of p/a/before-"
    )


async def never() -> str:
    raise AssertionError("there is no process to start")


@pytest.mark.parametrize("jobs", [1, 3])
async def test_over_stdio_only_the_deadly_case_fails(jobs: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STDIO, str(tmp_path / "spoilt")]
    _, found, how = await played(command, mortal(), jobs=jobs, timeout=5.0)
    assert not how
    said = [each.data for each in found["deadly"].transcript if each.kind == "note"]
    assert said == [b"stderr: 2 / 3 / I die"]
    bad = {name: (each.verdict, each.detail) for name, each in found.items()}
    assert bad.pop("deadly") == (
        Verdict.FAILED,
        "it got the end of the connection (the process ended with status 9)",
    )
    assert {*bad.values()} == {(Verdict.PASSED, "")}


async def test_a_process_that_ended_between_two_cases_is_not_gone_on_with(tmp_path: Path) -> None:
    page = Page("p")
    links: list[Link] = []

    @page.server().must("a/opens", "-")
    async def opens(talk: ServerTalk) -> None:
        """Leaves a conversation to others."""
        links.append(await talk.open())

    @page.server().must("a/waits", "-")
    async def waits(talk: ServerTalk) -> None:
        """Waits until the process has ended."""
        wire = cast("StdioWire", links[0].wire)
        await wire.signal(signal.SIGKILL)
        assert await wire.exited(10.0) == -signal.SIGKILL

    @page.server().must("a/goes-on", "-")
    async def goes_on(talk: ServerTalk) -> None:
        """Finds another one."""
        links.append(await talk.open())
        await links[-1].ask("ping")

    command = [sys.executable, "-c", STDIO, str(tmp_path / "spoilt")]
    _, found, _ = await played(command, page, timeout=10.0)
    assert {name: each.detail for name, each in found.items() if each.detail} == {}
    assert {each.verdict for each in found.values()} == {Verdict.PASSED}
    assert links[0].wire is not links[1].wire


async def test_a_command_that_does_not_start_any_more_is_said_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STDIO, str(tmp_path / "spoilt")]
    _, found, how = await played(command, mortal("die for good"), timeout=5.0)
    (sentence,) = how
    assert sentence.startswith(
        f"the server over stdio does not start any more after p/a/deadly (stdio, {REVISION}):"
    )
    assert "the process ended with status 7" in sentence
    assert found["deadly"].verdict is Verdict.FAILED
    assert {found[f"after-{number}"].detail for number in range(4)} == {sentence}
    assert {found[f"after-{number}"].verdict for number in range(4)} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("linger", "stays", "why"),
    [(10.0, False, "connection refused"), (10.0, True, ""), (0.0, True, "")],
)
async def test_a_connection_that_a_process_lets_in_as_it_ends_is_none(
    linger: float, stays: bool, why: str
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    target = f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    def ends() -> None:
        connection, _ = listener.accept()
        if not stays:
            listener.close()
        connection.close()

    thread = threading.Thread(target=ends)
    thread.start()
    assert await knock(target, 10.0, linger=linger) == why
    thread.join()
    listener.close()


async def test_a_socket_that_is_not_there_takes_no_connection(tmp_path: Path) -> None:
    assert await knock(f"unix://{tmp_path}/s", 10.0) == "no such file or directory"


async def test_a_server_that_goes_while_it_is_looked_at_is_said_once() -> None:
    # the first look takes three messages: initialize, initialized, and a list
    program = HTTP.replace('"capabilities": {}', '"capabilities": {"tools": {}}, "tools": []')
    with process(program, "0", "4") as port:
        subjects = [subject_of(parse_target(f"http://127.0.0.1:{port}/mcp"))]
        revisions = tuple(BY_NAME[name] for name in ("2025-06-18", REVISION))
        settings = Settings(revisions=revisions, jobs=1, timeout=1.0)
        run = prepare(subjects, mortal().cases, settings)
        listener = Heard()
        await run_server(run, subjects, listener)
    assert run.complete
    (sentence,) = listener.how
    assert sentence.endswith(f"; it went while it was looked at in {REVISION}")
    assert {each.verdict for each in run.results} == {Verdict.INCONCLUSIVE}
    assert {each.detail for each in run.results} == {sentence}


def test_the_command_says_it_once(tmp_path: Path) -> None:
    reports = {kind: tmp_path / kind for kind in ("junit", "markdown", "json", "svg")}
    with process(HTTP, "0", "30") as port:
        url = f"http://127.0.0.1:{port}/mcp"
        done = conformance(
            *("server", "--timeout", "1", "--revision", REVISION),
            *(word for kind, path in reports.items() for word in ("--report", f"{kind}:{path}")),
            url,
        )
    assert done.returncode == 1, done.stderr
    told = f"the server over http is gone: {url} takes no connection any more (connection refused)"
    assert done.stderr.count(told) == 1
    assert done.stdout.count(told) == 1
    rows = json.loads(reports["json"].read_text())
    gone = [row for row in rows if row["detail"].startswith(told)]
    assert {row["verdict"] for row in gone} == {"inconclusive"}
    assert len(gone) > 50
    assert f"; {len(gone)} cases were not played" in " ".join(done.stdout.split())
    assert len([row for row in rows if "the server was gone afterwards" in row["detail"]]) in (
        range(1, 5)
    )
    assert '<error message="the server over http is gone' in reports["junit"].read_text()
    assert f"## Not played, as the server was gone ({len(gone)})" in reports["markdown"].read_text()
    assert "server gone" in reports["svg"].read_text()
