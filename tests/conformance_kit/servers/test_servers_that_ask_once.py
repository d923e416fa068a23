"""The kit, on servers that ask their client as long as it looks at them, and then no more."""

from pathlib import Path

import pytest

from mcpcore_conformance.kit.model import Verdict
from tests.conformance_kit.servers.test_servers_that_ask import ran

WHILE_ASKING = (
    "basic/utilities/ping/behavior-requirements/while-asking",
    "basic/utilities/cancellation/behavior-requirements/while-asking",
)
PROGRAM = """
import json, pathlib, sys

def say(**members):
    print(json.dumps({"jsonrpc": "2.0", **members}), flush=True)

asked = pathlib.Path(__file__).with_suffix(".asked")
asked.touch()
calling = None
for line in sys.stdin:
    message = json.loads(line)
    id, method = message.get("id"), message.get("method")
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        say(id=id, result={"protocolVersion": version, "capabilities": {"tools": {}},
                           "serverInfo": {"name": "once", "version": "1"}})
    elif method == "tools/list":
        say(id=id, result={"tools": [{"name": "greet", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call" and len(asked.read_text()) < 2:
        asked.write_text(asked.read_text() + "?")
        calling = id
        say(id="q", method="elicitation/create", params={"message": "Who?", "requestedSchema": {
            "type": "object", "properties": {"name": {"type": "string"}}}})
    elif method == "tools/call" and sys.argv[1] == "goes":
        sys.exit()
    elif method == "tools/call":
        say(id=id, result={"content": []})
    elif method is None and id == "q":
        say(id=calling, result={"content": []})
    elif method == "ping":
        say(id=id, result={})
    elif id is not None:
        say(id=id, error={"code": -32601, "message": "no"})
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.share(4)
@pytest.mark.anyio
@pytest.mark.parametrize("case", WHILE_ASKING)
@pytest.mark.parametrize(
    ("fault", "bad", "said"),
    [("stays", False, "did not ask its client this time"), ("goes", True, "nothing was asked")],
)
async def test_what_a_call_does_not_ask_again(
    fault: str, bad: bool, said: str, case: str, tmp_path: Path
) -> None:
    run = await ran(PROGRAM, fault, "2025-11-25", tmp_path, (case,), timeout=10.0)
    [result] = run.results
    assert (result.verdict is not Verdict.INCONCLUSIVE) is bad, (result.verdict, result.detail)
    assert said in result.detail
