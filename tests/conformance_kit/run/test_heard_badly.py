"""Programs at which a look comes to nothing: what was heard of them is judged all the same."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.mutants.registry import all_mutants
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener
from mcpcore_conformance.run.servers import prepare, run_server
from tests.conformance_kit.handlers import Quiet, listening
from tests.conformance_kit.run.test_run_cli import conformance
from tests.conformance_kit.runs import faulty

BEGINNING = """
import json
import sys

INDENT = None

def answer(said, **what):
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], **what}, indent=INDENT), flush=True)

def agree(said, version):
    info = {"name": "small", "version": "1"}
    answer(said, result={"protocolVersion": version, "capabilities": {}, "serverInfo": info})

def refuse(said):
    answer(said, error={"code": -32601, "message": "no such method"})

for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said:
        continue
    params = said.get("params", {})
    asked, modern = params.get("protocolVersion"), "_meta" in params
"""
LEGACY = """
    if said["method"] == "initialize":
        agree(said, "2025-11-25")
    elif said["method"] == "ping":
        answer(said, result={})
    else:
        refuse(said)
"""
NEVER_AGREES = """
    if said["method"] == "initialize":
        agree(said, "2025-06-18" if asked == "2025-11-25" else "2025-11-25")
    else:
        refuse(said)
"""
NO_DISCOVER = """
    if modern and said["method"] == "tools/list":
        result = {"resultType": "complete", "tools": [], "ttlMs": 0, "cacheScope": "private"}
        answer(said, result=result)
    else:
        refuse(said)
"""
REFUSES = """
    refuse(said)
"""
CLIENT_OF_ARRAYS = """
import json
import sys
import urllib.request

params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c"}}
opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
request = urllib.request.Request(sys.argv[-1], json.dumps([opening]).encode(), headers)
urllib.request.urlopen(request, timeout=1)
"""
ANSWERED = "server/discover/response/answered"
ECHOED = "basic/lifecycle/version-negotiation/version-echoed"
ONE_LINE = "basic/transports/stdio/stdio/no-embedded-newlines"
NOTHING_ELSE = "basic/transports/stdio/stdio/nothing-but-messages"


def judged(*words: str, status: int) -> dict[tuple[str, str], tuple[str, str]]:
    """What the command says, by case and revision: verdicts and details."""
    side, *rest = words
    done = conformance(side, "--report", "json", *rest)
    assert done.returncode == status, done.stderr
    rows = json.loads(done.stdout)
    return {(row["id"], row["revision"]): (row["verdict"], row["detail"]) for row in rows}


def failures(found: dict[tuple[str, str], tuple[str, str]]) -> set[tuple[str, str]]:
    return {place for place, (verdict, _) in found.items() if verdict == "failed"}


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("program", "options", "failed"),
    [
        pytest.param(
            BEGINNING.replace("INDENT = None", "INDENT = 2") + LEGACY,
            (),
            {(ONE_LINE, "2025-11-25"), (NOTHING_ELSE, "2024-11-05")},
            id="indented",
        ),
        pytest.param(
            "print('ready', flush=True)\n" + BEGINNING + LEGACY,
            ("--revision", "2025-11-25"),
            {(NOTHING_ELSE, "2025-11-25")},
            id="greets",
        ),
        pytest.param(BEGINNING + NO_DISCOVER, (), {(ANSWERED, "2026-07-28")}, id="no-discover"),
        pytest.param(
            BEGINNING + NEVER_AGREES,
            (),
            {(ECHOED, "2025-11-25"), (ECHOED, "2025-06-18")},
            id="never-agrees",
        ),
        pytest.param(
            BEGINNING + LEGACY,
            ("--revision", "2026-07-28"),
            {(ANSWERED, "2026-07-28")},
            id="asked-for-by-name",
        ),
        pytest.param(BEGINNING + REFUSES, (), {(ANSWERED, "2026-07-28")}, id="refuses-all"),
    ],
)
def test_what_is_broken_is_found(
    program: str, options: tuple[str, ...], failed: set[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "server.py"
    path.write_text(program)
    only = [
        word for case in (ANSWERED, ECHOED, ONE_LINE, NOTHING_ELSE) for word in ("--only", case)
    ]
    command = ("--", sys.executable, str(path))
    found = judged("server", *only, *options, "--timeout", "2", *command, status=1)
    assert failed <= failures(found)


def test_a_revision_that_is_declined_is_nothing_broken(tmp_path: Path) -> None:
    path = tmp_path / "server.py"
    path.write_text(BEGINNING + LEGACY)
    only = ("--only", ANSWERED, "--only", ECHOED, "--only", ONE_LINE)
    found = judged("server", *only, "--", sys.executable, str(path), status=0)
    assert {place for place, (verdict, _) in found.items() if verdict == "passed"} == {
        (ECHOED, "2025-11-25"),
        (ONE_LINE, "2025-11-25"),
    }
    assert found[ANSWERED, "2026-07-28"] == (
        "not applicable",
        "the server does not speak 2026-07-28: server/discover got the error -32601"
        " ('no such method')",
    )
    done = conformance("server", *only, "--revision", "2024-11-05", "--", sys.executable, str(path))
    assert done.returncode == 3
    assert "initialize agreed to '2025-11-25'" in done.stderr


class _Guarded(Quiet):
    """Serves whoever sends a certain header."""

    protocol_version = "HTTP/1.1"
    wanted: str
    status: int

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        info = {"name": "guarded", "version": "1"}
        result: dict[str, Any] = {"capabilities": {}, "serverInfo": info}
        if said["method"] == "initialize":
            result["protocolVersion"] = said["params"]["protocolVersion"]
        good = self.wanted in self.headers
        body = json.dumps({"jsonrpc": "2.0", "id": said.get("id"), "result": result}).encode()
        self.answer(200 if good else self.status, body if good else b"")


@contextmanager
def guarded(header: str, code: int) -> Iterator[str]:
    """A server over HTTP that answers with a status to whoever does not send that header."""

    class Handler(_Guarded):
        wanted, status = header, code

    with listening(Handler) as address:
        yield f"http://{address}/mcp"


def test_a_server_that_wants_an_origin_is_judged() -> None:
    case = "basic/transports/streamable-http/security-endpoint/no-origin"
    words = ("--only", case, "--revision", "2025-11-25")
    with guarded("origin", 403) as url:
        found = judged("server", *words, url, status=1)
    assert found[case, "2025-11-25"] == (
        "failed",
        "a request without Origin got HTTP status 403 without a message; with one it is served",
    )
    with guarded("x-anything-else", 403) as url:
        done = conformance("server", *words, url)
    assert done.returncode == 3, "whether it is the Origin, nobody can tell"


def test_a_server_that_wants_credentials_is_not_judged() -> None:
    with guarded("authorization", 401) as url:
        done = conformance("server", "--revision", "2025-11-25", url)
    assert done.returncode == 3
    assert "it answers with status 401, and wants credentials (--header" in done.stderr


def test_a_client_whose_first_message_is_none_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "client.py"
    path.write_text(CLIENT_OF_ARRAYS)
    case = "basic/transports/streamable-http/sending-messages/client-single-message"
    other = "basic/lifecycle"
    words = ("--only", case, "--only", other, "--revision", "2025-11-25")
    found = judged("client", *words, "--", sys.executable, str(path), status=1)
    unready = "basic/lifecycle/initialization/client-sends-initialized"
    assert failures(found) == {(case, "2025-11-25"), (unready, "2025-11-25")}
    assert found[case, "2025-11-25"][1].startswith("2025-11-25 has no batches, the client sent one")
    assert "passed" in {verdict for verdict, _ in found.values()}


UNHEARD = (
    (ECHOED, Binding.MEMORY),
    ("basic/lifecycle/version-negotiation/newest-offered", Binding.MEMORY),
    (ONE_LINE, Binding.MEMORY),
    ("server/discover/discoverresult/own-version", Binding.MEMORY),
    ("server/discover/response/first-message", Binding.MEMORY),
    ("basic/transports/streamable-http/security-endpoint/no-origin", Binding.HTTP),
    ("rfc6455/section-10.2/no-origin", Binding.WS),
    ("docs/websocket/subprotocols/version-decides", Binding.WS),
    ("basic/utilities/cancellation/behavior-requirements/initialize-answered", Binding.MEMORY),
)
"""Cases whose mutants a look used to take for servers that speak nothing."""


@pytest.mark.share(5)
@pytest.mark.anyio
@pytest.mark.parametrize(("name", "binding"), UNHEARD)
async def test_a_whole_run_finds_what_a_mutant_has_broken(name: str, binding: Binding) -> None:
    case = next(each for each in all_cases() if each.id == name)
    mutants = [each for each in all_mutants() if name in each.kills]
    assert mutants
    for mutant in mutants:
        assert mutant.fault is not None
        subjects = [faulty(binding, mutant.fault)]
        run = prepare(subjects, [case], Settings(timeout=2.0))
        await run_server(run, subjects, Listener())
        assert {each.verdict for each in run.results} & {Verdict.FAILED, Verdict.WEAK}, _said(
            run.results
        )


def _said(results: list[Result]) -> list[tuple[str, Verdict, str]]:
    return [(each.revision, each.verdict, each.detail) for each in results]
