"""Progress and logs are judged over stdio, too, whatever the tool that they come from is called."""

import sys
from pathlib import Path

import pytest

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.model import Verdict
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import subject_of
from mcpcore_transports.targets import parse_target

pytestmark = pytest.mark.anyio

SERVER = """
import json, sys

FAULT, CALLED = sys.argv[1:]
READS = {"readOnlyHint": True}
NAMES = {"look_up": READS, "reindex": READS, "sweep": READS, "wipe": {}}
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
least = "debug"
SCHEMA = {"type": "object"}
TOOLS = [{"name": n, "inputSchema": SCHEMA, "annotations": hints} for n, hints in NAMES.items()]

def put(**said):
    print(json.dumps({"jsonrpc": "2.0", **said}), flush=True)

def report(token, *steps):
    for each in steps:
        value = str(each) if FAULT == "in words" else each
        params = {"progressToken": token, "progress": value}
        put(method="notifications/progress", params=params)

def log(level):
    known = "debug" if FAULT == "deaf" else least
    if LEVELS.index(level) >= LEVELS.index(known):
        level = "loud" if FAULT == "loud" else level
        put(method="notifications/message", params={"level": level, "data": "swept"})

def answer(method, params):
    global least
    if method == "initialize":
        who = {"name": "reporting", "version": "1"}
        offers = {"tools": {}, "logging": {}}
        return {"protocolVersion": "2025-11-25", "capabilities": offers, "serverInfo": who}
    if method == "logging/setLevel":
        least = params["level"]
    return {"tools": TOOLS} if method == "tools/list" else {}

for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said or "method" not in said:
        continue
    params = said.get("params", {})
    if said["method"] != "tools/call":
        put(id=said["id"], result=answer(said["method"], params))
        continue
    with open(CALLED, "a") as called:
        print(params["name"], file=called)
    token = params.get("_meta", {}).get("progressToken")
    if params["name"] == "reindex" and token is not None:
        report("" if token == 0 and FAULT == "no zero" else token, *(
            (1, 3, 2) if FAULT == "backwards" else (1, 2, 3)
        ))
    if params["name"] == "sweep":
        log("info")
        log("error")
    put(id=said["id"], result={"content": []})
    if FAULT == "late" and params["name"] == "reindex" and token is not None:
        report(token, 4)
"""
PROGRESS, LOGS = "basic/patterns/progress", "server/utilities/logging"
FLOW, ENDS = f"{PROGRESS}/progress-flow", f"{PROGRESS}/implementation-notes/ends-with-response"


@pytest.fixture
def anyio_backend() -> str:
    """One: what the kit does over stdio is tried on both elsewhere."""
    return "asyncio"


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("page", "fault", "blamed"),
    [
        (PROGRESS, "none", set()),
        (PROGRESS, "backwards", {f"{FLOW}/increases", f"{FLOW}/only-grows"}),
        (PROGRESS, "in words", {f"{FLOW}/increases", f"{FLOW}/shape"}),
        (PROGRESS, "no zero", {f"{FLOW}/integer-token"}),
        (PROGRESS, "late", {ENDS}),
        (LOGS, "none", set()),
        (
            LOGS,
            "deaf",
            {f"{LOGS}/log-levels/nothing-below-the-one-set", f"{LOGS}/setting-log-level/changed"},
        ),
        (
            LOGS,
            "loud",
            {f"{LOGS}/log-levels/known", f"{LOGS}/log-levels/nothing-below-the-one-set"},
        ),
    ],
)
async def test_a_fault_is_found(page: str, fault: str, blamed: set[str], tmp_path: Path) -> None:
    path, called = tmp_path / "server.py", tmp_path / "called"
    path.write_text(SERVER)
    subjects = [subject_of(parse_target([sys.executable, str(path), fault, str(called)]))]
    about = ("progress-flow", "implementation-notes", "log-levels", "setting-log-level")
    cases = [each for each in all_cases() if each.page == page and each.section in about]
    settings = Settings(revisions=(BY_NAME["2025-11-25"],), timeout=5.0)
    run = prepare(subjects, cases, settings)
    await run_server(run, subjects, Listener())
    applied = [each for each in run.results if each.verdict is not Verdict.NOT_APPLICABLE]
    found = {each.case.id for each in applied if each.verdict is not Verdict.PASSED}
    assert found == blamed
    seen = [each for each in applied if {"found:progress", "found:logs"} & {*each.case.needs}]
    assert len(seen) >= 3
    assert {*called.read_text().split()} == {"look_up", "reindex", "sweep"}
