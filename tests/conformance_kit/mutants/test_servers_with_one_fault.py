"""Programs with one common fault each: the report names it, and little else."""

import json
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from conformance.mutants.fault import Fault
from conformance.mutants.faulty_wire import FaultyStage
from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.messages import error, notification, result
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import Subject, subject_of
from mcpcore_conformance.subjects.core import CoreStage
from mcpcore_transports.targets import HttpTarget, parse_target
from tests.conformance_kit.servers.streaming_programs import SessionHandler, SessionServer, Value

pytestmark = pytest.mark.anyio

SERVER = """
import json, sys

FAULT = sys.argv[1]
ECHO = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOLS = [{"name": "echo", "inputSchema": ECHO, "description": "Says it again."}]
VERSIONS = ("2025-06-18", "2025-11-25")
opened = False

def put(id, **what):
    if FAULT == "ids as texts" and id is not None:
        id = str(id)
    if FAULT == "lists without ids" and "tools" in what.get("result", {}):
        id = None
    if FAULT == "ids as fractions" and id is not None:
        id = float(id)
    said = {"jsonrpc": "2.0", "id": id, **what}
    print(json.dumps(said, indent=2 if FAULT == "many lines" else None), flush=True)

def fail(id, code):
    put(id, error={"code": code, "message": "no"})

def text(words, **more):
    if FAULT == "no number":
        more["_meta"] = {"com.example/took": float("nan")}
    return {"content": [{"type": "text", "text": words}], **more}

def call(params):
    arguments = params.get("arguments", {})
    if not isinstance(arguments, dict) or params.get("name") != "echo":
        return None
    if FAULT == "dies of arguments":
        return text(arguments["text"].strip())
    words = arguments.get("text")
    return text(words) if isinstance(words, str) else text("which?", isError=True)

def answer(method, params):
    global opened
    if method == "initialize":
        version = params.get("protocolVersion")
        if not isinstance(version, str):
            return None
        opened = True
        offered = version if version in VERSIONS else VERSIONS[-1]
        who = {"serverInfo": {"name": "odd", "version": "1"}, "capabilities": {"tools": {}}}
        return {"protocolVersion": offered, **who}
    if method == "tools/list":
        if FAULT == "pages without end":
            return {"tools": TOOLS, "nextCursor": "again"}
        return None if params.get("cursor") is not None else {"tools": TOOLS}
    return call(params)

for line in sys.stdin:
    try:
        said = json.loads(line)
    except ValueError:
        fail(None, -32700)
        continue
    good = isinstance(said, dict) and said.get("jsonrpc") == "2.0"
    method, id = (said.get("method"), said.get("id")) if good else (None, None)
    known = isinstance(id, (str, int)) and not isinstance(id, bool)
    if good and "method" not in said:
        continue
    if good and "id" not in said and isinstance(method, str):
        if FAULT == "answers notifications":
            fail(None, -32601)
        if FAULT == "answers notifications well":
            put(None, result={})
        continue
    params = said.get("params", {}) if good else None
    if not known or not isinstance(method, str) or not isinstance(params, dict):
        fail(id if known else None, -32600)
    elif method == "ping":
        put(id, result={})
    elif not opened and method != "initialize":
        fail(id, -32600)
    elif method not in ("initialize", "tools/list", "tools/call"):
        fail(id, -32601)
    elif (found := answer(method, params)) is None:
        fail(id, -32602)
    else:
        put(id, result=found)
"""
NOTIFICATIONS = "basic/index/notifications"
ANSWERED = {
    f"{NOTIFICATIONS}/unknown",
    f"{NOTIFICATIONS}/request-without-id",
    f"{NOTIFICATIONS}/malformed",
    "basic/lifecycle/initialization/initialized-unanswered",
}
SECURITY = "server/tools/security-considerations"
STDIO = "basic/transports/stdio/stdio"
PAGES = "server/utilities/pagination"
OPENED = "basic/lifecycle/initialization/answered"


@pytest.fixture
def anyio_backend() -> str:
    """One: what the kit does over stdio is tried on both elsewhere, and a run takes seconds."""
    return "asyncio"


async def ran(fault: str, tmp_path: Path) -> Run:
    """A run of all cases in one revision."""
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    subjects = [subject_of(parse_target([sys.executable, str(path), fault]))]
    run = prepare(subjects, all_cases(), Settings(revisions=(BY_NAME["2025-11-25"],), timeout=5.0))
    await run_server(run, subjects, Listener())
    return run


@pytest.mark.share(5)
@pytest.mark.parametrize(
    ("fault", "failed", "said"),
    [
        ("none", set(), ""),
        pytest.param(
            "answers notifications",
            ANSWERED,
            "an answer came, {'jsonrpc': '2.0', 'id': None, 'error': ",
            marks=pytest.mark.long,
        ),
        (
            "answers notifications well",
            ANSWERED,
            """an answer came, '{"jsonrpc": "2.0", "id": null, "result": {}}', to """,
        ),
        (
            "ids as texts",
            {OPENED},
            "initialize got no answer with its id 1, but one with the id '1'",
        ),
        (
            "ids as fractions",
            {OPENED},
            "the server sent an invalid message: a result needs the id of its request, not 1.0: ",
        ),
        (
            "lists without ids",
            {
                "server/tools/listing-tools/shape",
                "basic/index/result-responses/many-in-flight",
                "basic/index/result-responses/number-and-string",
                f"{STDIO}/nothing-but-messages",
            },
            "the server sent an invalid message: a result needs the id of its request, not None: ",
        ),
        (
            "no number",
            {f"{STDIO}/nothing-but-messages", "server/tools/calling-tools/result-shape"},
            "the server sent an invalid message: not JSON: NaN is no JSON number: ",
        ),
        (
            "many lines",
            {OPENED, f"{STDIO}/nothing-but-messages", f"{STDIO}/no-embedded-newlines"},
            "the server sent an invalid message: not JSON: ",
        ),
        pytest.param(
            "dies of arguments",
            {f"{SECURITY}/missing-argument", f"{SECURITY}/wrong-type"},
            "tools/call ended the connection (the process ended with status 1)",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "pages without end",
            {f"{PAGES}/operations-supporting-pagination/tools"},
            "tools/list leads back to the cursor 'again'",
            marks=pytest.mark.long,
        ),
    ],
)
async def test_a_fault_is_named(fault: str, failed: set[str], said: str, tmp_path: Path) -> None:
    run = await ran(fault, tmp_path)
    found = {each.case.id: each for each in run.results if each.verdict is Verdict.FAILED}
    assert {*found} == failed
    assert [each.detail for each in found.values() if not each.detail.startswith(said)] == []
    assert {each.binding for each in run.results} == {Binding.STDIO}


@pytest.mark.long
async def test_a_list_without_end_hides_nothing_but_what_its_pages_have(tmp_path: Path) -> None:
    run = await ran("pages without end", tmp_path)
    hidden = [each.case.id for each in run.results if each.verdict is Verdict.INCONCLUSIVE]
    assert hidden == [f"{PAGES}/request-format/pages-differ"]


class Retorts(SessionHandler):
    """Has a body for everything, as some frameworks do."""

    def serve(self, message: Value, session: str) -> None:
        answers: Value = {"ping": {}, "tools/list": {"tools": []}}
        method = message["method"]
        good = isinstance(message.get("params", {}), dict) and method in answers
        told = result if good else error
        rest = (answers[method],) if good else (-32601, "no")
        self.say(200, told(message["id"], *rest))

    def take(self, message: Value, session: str) -> None:
        self.send_response(202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"null")


async def test_what_no_message_is_in_answer_to_a_notification_hides_no_other_case() -> None:
    cases = [each for each in all_cases() if each.id.startswith(("basic/index", "basic/lifecycle"))]
    with SessionServer(Retorts, "2025-11-25") as server, server.serving():
        subjects = [subject_of(HttpTarget(f"http://{server.authority}/mcp"))]
        run = prepare(subjects, cases, Settings(revisions=(BY_NAME["2025-11-25"],), timeout=5.0))
        await run_server(run, subjects, Listener())
    failed = {each.case.id: each.detail for each in run.results if each.verdict is Verdict.FAILED}
    assert {*failed} == ANSWERED
    assert {each.startswith("an answer came, 'null', to ") for each in failed.values()} == {True}
    assert run.features[Binding.HTTP, "2025-11-25"].pace.longest > 0.0


class Streams(SessionHandler):
    """Answers by streams that are none: ``data:``, or the empty line behind it, is not there."""

    before: bytes

    def serve(self, message: Value, session: str) -> None:
        self.stream(self.before + json.dumps(result(message["id"], {"tools": []})).encode() + b"\n")

    def take(self, message: Value, session: str) -> None:
        self.say(202)


@pytest.mark.parametrize("before", [b"", b"data: "])
async def test_what_is_no_event_of_a_stream_is_shown(before: bytes) -> None:
    handler = type("Handler", (Streams,), {"before": before})
    cases = [each for each in all_cases() if each.id == "server/tools/listing-tools/shape"]
    with SessionServer(handler, "2025-11-25") as server, server.serving():
        subjects = [subject_of(HttpTarget(f"http://{server.authority}/mcp"))]
        run = prepare(subjects, cases, Settings(revisions=(BY_NAME["2025-11-25"],), timeout=5.0))
        await run_server(run, subjects, Listener())
    begin = before.decode() + '{"jsonrpc": "2.0", "id": 2, "result":'
    said = f"tools/list got HTTP status 200 with an event stream of which {begin!r}"
    assert [each.detail.startswith(said[:-1]) for each in run.results] == [True]


class _Floods(Fault):
    """Logs without end in the place of an answer."""

    logs: int

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call":
            return (value,)
        return (notification("notifications/message", {"level": "info", "data": "x"}),) * self.logs


@pytest.mark.parametrize(
    ("logs", "said"), [(99, "no answer"), (500, "no answer among 500 messages")]
)
async def test_that_an_answer_is_lost_in_other_messages_is_told(logs: int, said: str) -> None:
    async def make(stack: AsyncExitStack) -> Stage:
        return FaultyStage(await stack.enter_async_context(CoreStage()), lambda: _Floods(logs))

    case = "server/tools/error-handling/unknown-tool"
    subjects = [Subject(Binding.CORE, "floods", make)]
    settings = Settings(revisions=(BY_NAME["2025-11-25"],))
    run = prepare(subjects, [each for each in all_cases() if each.id == case], settings)
    await run_server(run, subjects, Listener())
    assert [each.detail for each in run.results] == [f"tools/call got {said}, not an error"]
