"""Servers that write to standard output what is no message: one finding, and the rest is judged."""

import sys
from pathlib import Path

import pytest

from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.messages import parse
from mcpcore_conformance.kit.model import Verdict
from tests.conformance_kit.servers.test_plain_programs import played

pytestmark = pytest.mark.anyio

NOISE = "basic/transports/stdio/stdio/nothing-but-messages"
OTHERS = (
    "basic/lifecycle/initialization/answered",
    "basic/index/result-responses/many-in-flight",
    "basic/transports/stdio/stdio/byte-by-byte",
    "basic/utilities/ping/behavior-requirements/empty",
    "server/tools/listing-tools/shape",
    "server/tools/calling-tools/result-shape",
    "server/tools/text-content/given",
)
SERVER = """
import json, sys

BEFORE, MEANWHILE = sys.argv[1:]

def answer(said):
    if said["method"] == "initialize":
        info = {"name": "loud", "version": "1"}
        opened = {"capabilities": {"tools": {}}, "serverInfo": info}
        return {"protocolVersion": said["params"]["protocolVersion"], **opened}
    if said["method"] == "tools/list":
        return {"tools": [{"name": "test_simple_text", "inputSchema": {"type": "object"}}]}
    if said["method"] == "tools/call":
        print(MEANWHILE, end="", flush=True)
        return {"content": [{"type": "text", "text": "a text"}]}
    return {} if said["method"] == "ping" else None

print(BEFORE, end="", flush=True)
for line in sys.stdin:
    said = json.loads(line)
    if "id" in said:
        found = answer(said)
        error = {"code": -32601, "message": "no such method"}
        what = {"error": error} if found is None else {"result": found}
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], **what}), flush=True)
"""


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("before", "meanwhile", "shown"),
    [
        ("Server started.\n", "", "not JSON: Expecting value: line 1 column 1 (char 0): 'Serv"),
        ("[INFO] ready\n", "", "'[INFO] ready'"),
        ('{"level": "info"}\n', "", '\'{"level": "info"}\''),
        ("one\ntwo\n", "", "'one'"),
        ("", "called\n", "'called'"),
    ],
)
async def test_what_is_no_message_is_one_finding(
    before: str, meanwhile: str, shown: str, tmp_path: Path
) -> None:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    command = [sys.executable, str(path), before, meanwhile]
    found = await played(command, NOISE, *OTHERS, modern=False, timeout=5.0)
    verdict, detail = found.pop(NOISE.rpartition("/")[2])
    assert verdict is Verdict.FAILED
    assert shown in detail
    assert set(found.values()) == {(Verdict.PASSED, "")}


@pytest.mark.parametrize(
    ("line", "stray"),
    [
        (b"Listening on standard input", True),
        (b"[INFO] ready", True),
        (b'{"level": "info"}', True),
        (b"\xff\xfe", True),
        (b"7", True),
        (b"{", False),
        (b" [", False),
        (b'{"id": 1}', False),
        (b'{"jsonrpc": "1.0", "method": "ping", "id": 1}', False),
        (b'[{"result": 5}]', False),
        (b'{"jsonrpc": "2.0", "method": "ping"}', False),
    ],
)
def test_a_bad_message_is_not_taken_for_something_else(line: bytes, stray: bool) -> None:
    assert parse(Text(line)).stray is stray
