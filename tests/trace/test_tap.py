"""`mcpcore tap`: it records both sides, changes nothing, and says what breaks a rule."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcpcore_conformance.trace import read
from mcpcore_conformance.trace.check import check
from tests.command import ROOT, mcpcore_here
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "a client", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
CALL = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "hi", "password": "s3cr3t"}},
}
SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                            "serverInfo": {"name": "behind", "version": "1"}}
    elif asked["method"] == "tools/call":
        text = asked["params"]["arguments"]["text"]
        answer["result"] = {"content": [{"type": "text", "text": text}]}
        %s
    else:
        answer["error"] = {"code": -32601, "message": "method not found"}
    print(json.dumps(answer), flush=True)
"""
WRONG = 'print(json.dumps({"jsonrpc": "2.0", "id": 77, "result": {}}), flush=True)'


def tapped(folder: Path, wrong: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a client's messages through a tap on standard input and output."""
    script = folder / "server.py"
    script.write_text(SERVER % (wrong or "pass"))
    words = ["tap", "--stdio", *options, "--", sys.executable, str(script)]
    with subprocess.Popen(
        [*PYTHON, "-m", "mcpcore_transports.commands.main", *words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "TERM": "dumb"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tap:
        assert tap.stdin is not None
        assert tap.stdout is not None
        answers = []
        for messages in ((INITIALIZE,), (INITIALIZED, CALL)):
            for message in messages:
                tap.stdin.write(json.dumps(message) + "\n")
            tap.stdin.flush()
            answers.append(tap.stdout.readline())
        out, err = tap.communicate()
    return subprocess.CompletedProcess(words, tap.returncode, "".join(answers) + out, err)


def test_both_sides_are_recorded_and_nothing_is_changed(tmp_path: Path) -> None:
    done = tapped(tmp_path, "", "--check", "--strict", "--trace", "traffic.jsonl")
    assert done.returncode == 0, done.stderr
    assert '"text":"hi"' in done.stdout.replace(" ", "")
    correlations = []
    for side, recorder in (("client", "server"), ("server", "client")):
        trace = read(tmp_path / f"traffic.{side}.jsonl")
        assert trace.header.side == recorder
        calls = [each.record for each in trace.entries if each.record.method == "tools/call"]
        assert [json.loads(call.payload)["params"]["arguments"]["text"] for call in calls] == ["hi"]
        number = calls[0].correlation
        same = [each.record for each in trace.entries if each.record.correlation == number]
        correlations.append((number, [(each.kind, each.direction) for each in same]))
        assert "s3cr3t" not in (tmp_path / f"traffic.{side}.jsonl").read_text()
        assert f"traffic.{side}.jsonl: {len(trace.entries)} records, nothing found" in done.stderr
    both = [("request", "to-server"), ("result", "to-client")]
    assert correlations == [(2, both)] * 2  # the first request was initialize


def test_what_breaks_a_rule_is_said_with_its_line(tmp_path: Path) -> None:
    done = tapped(tmp_path, WRONG, "--check")
    assert done.returncode == 1, done.stderr
    found = check(read(tmp_path / "tap.server.jsonl"))
    assert found
    for each in found:
        assert f"tap.server.jsonl:{each.line}: {each.strength} {each.clause}" in done.stderr
    assert check(read(tmp_path / "tap.client.jsonl")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tap"], "expected one of: a URL, MODULE:SERVER, and a command behind --"),
        (["tap", "http://a/mcp", "--", "b"], "expected one of"),
        (["tap", "http://a/mcp", "--strict"], "--strict is for --check"),
        (["tap", "http://a/mcp", "--workers", "2"], "--workers: a trace of one side needs"),
        (["tap", "http://a/mcp", "--trace", "/no/where/t.jsonl"], "No such file"),
    ],
)
def test_words_that_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    done = mcpcore_here(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
