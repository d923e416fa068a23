"""Programs with one common fault each: the report names it, and little else."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from conformance.mutants.fault import Fault
from mcpcore_conformance.kit.messages import error, notification, result
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Run
from tests.conformance_kit.runs import OLD, cases_of, faulty, run_of
from tests.conformance_kit.servers.asking_programs import COMMON
from tests.conformance_kit.servers.streaming_programs import SessionHandler, SessionServer, Value

pytestmark = pytest.mark.anyio

_SERVER = r"""
import contextlib

TOOLS = [{"name": "echo", "inputSchema": schema("text"), "description": "Says it again."}]
VERSIONS = ("2025-06-18", "2025-11-25")
opened = False

def write(said):
    with lock, contextlib.suppress(OSError):
        print(json.dumps(said, indent=2 if FAULT == "many lines" else None), flush=True)

def put(id, **what):
    if FAULT == "ids as texts" and id is not None:
        id = str(id)
    if FAULT == "lists without ids" and "tools" in what.get("result", {}):
        id = None
    if FAULT == "ids as fractions" and id is not None:
        id = float(id)
    said = {"jsonrpc": "2.0", "id": id, **what}
    quick = said.get("result") == {} or "serverInfo" in said.get("result", {})
    if FAULT != "slow" or quick:
        write(said)
    if FAULT == "slow" and not quick or FAULT == "answers later again" and id is not None:
        timer = threading.Timer(0.4, write, [said])
        timer.daemon = FAULT != "slow"
        timer.start()

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

for said in messages():
    id, method, params = said.get("id"), said.get("method"), said.get("params", {})
    if method is None:
        continue
    if "id" not in said:
        if FAULT == "answers notifications":
            fail(-32601)
        if FAULT == "answers notifications well":
            put(None, result={})
    elif not isinstance(params, dict) or (not opened and method not in ("initialize", "ping")):
        fail(-32600, id)
    elif method == "ping":
        put(id, result={})
    elif method not in ("initialize", "tools/list", "tools/call"):
        fail(-32601, id)
    elif (found := answer(method, params)) is None:
        fail(-32602, id)
    else:
        put(id, result=found)
"""
SERVER = COMMON + _SERVER
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


async def ran(fault: str, tmp_path: Path, *cases: str, **settings: Any) -> Run:
    """A run of these cases, or of all."""
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return await run_of([sys.executable, str(path), fault], cases_of(*cases), **settings)


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


OTHERS = (
    "basic/index/error-codes/parse-error",
    "basic/index/messages/not-an-object",
    "basic/index/messages/not-json",
    "basic/index/notifications/unknown",
    "basic/index/requests/id-type",
    "basic/index/result-responses/number-and-string",
    "basic/index/requests/method-type",
    "basic/patterns/progress/progress-flow/malformed-token",
)


@pytest.mark.parametrize(
    "fault", [pytest.param("slow", marks=pytest.mark.long), "answers later again"]
)
async def test_what_comes_late_is_not_held_against_what_comes_next(
    fault: str, tmp_path: Path
) -> None:
    run = await ran(fault, tmp_path, *OTHERS, jobs=1, timeout=60.0)
    verdicts = {each.case.id: each.verdict for each in run.results}
    assert verdicts == dict.fromkeys(OTHERS, Verdict.PASSED)


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
    with SessionServer(Retorts, OLD) as server, server.serving():
        run = await run_of(f"http://{server.authority}/mcp", cases)
    failed = {each.case.id: each.detail for each in run.results if each.verdict is Verdict.FAILED}
    assert {*failed} == ANSWERED
    assert {each.startswith("an answer came, 'null', to ") for each in failed.values()} == {True}
    assert run.features[Binding.HTTP, OLD].pace.longest > 0.0


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
    cases = cases_of("server/tools/listing-tools/shape")
    with SessionServer(handler, OLD) as server, server.serving():
        run = await run_of(f"http://{server.authority}/mcp", cases)
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
    subject = faulty(Binding.CORE, lambda: _Floods(logs))
    run = await run_of(subject, cases_of("server/tools/error-handling/unknown-tool"))
    assert [each.detail for each in run.results] == [f"tools/call got {said}, not an error"]
