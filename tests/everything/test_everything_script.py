"""The scenario ``script`` of the reference client, against our own server."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore_conformance.launch import serving
from tests.clock import patience
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]
CLIENT = (*PYTHON, "-m", "mcpcore_conformance.everything.client")
SERVER = (*PYTHON, "-m", "mcpcore_conformance.everything.server")
MODERN, LEGACY = "2026-07-28", "2025-11-25"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving([*SERVER, "--http", "127.0.0.1:0"]) as (found,):
        yield found


async def report(
    address: str, revision: str, folder: Path, *steps: dict[str, Any], **options: Any
) -> dict[str, Any]:
    """Play a script; returns what the client reports."""
    path = anyio.Path(folder / "report.json")
    context = {"name": "script", "steps": steps, "report": str(path), **options}
    environment = {
        **os.environ,
        "MCP_CONFORMANCE_SCENARIO": "script",
        "MCP_CONFORMANCE_PROTOCOL_VERSION": revision,
        "MCP_CONFORMANCE_CONTEXT": json.dumps(context),
    }
    with patience():
        ended = await anyio.run_process([*CLIENT, address], env=environment, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    found: dict[str, Any] = json.loads(await path.read_bytes())
    return found


def call(tool: str, **rest: Any) -> dict[str, Any]:
    return {"do": "call", "tool": tool, **rest}


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_each_step_has_its_outcome(url: str, revision: str, tmp_path: Path) -> None:
    found = await report(
        url,
        revision,
        tmp_path,
        {"do": "list", "what": "tools"},
        {"do": "list", "what": "resources"},
        {"do": "list", "what": "templates"},
        {"do": "list", "what": "prompts"},
        call("test_simple_text"),
        {"do": "read", "uri": "test://static-text"},
        {"do": "prompt", "name": "test_simple_prompt"},
        {"do": "ping"},
        {"do": "pause", "seconds": 0.01},
        call("no such tool"),
        {"do": "no such step"},
    )
    assert found["opened"] == {"result": {"revision": revision}}
    *steps, unknown, misread = found["steps"]
    assert all("result" in each for each in steps), steps
    assert "test_simple_text" in [each["name"] for each in steps[0]["result"]]
    assert steps[4]["result"]["content"][0]["type"] == "text"
    assert steps[5]["result"]["contents"][0]["uri"] == "test://static-text"
    assert unknown["error"]["code"] == -32602
    assert misread["failure"] == "refused"


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_time_runs_out_and_callers_change_their_minds(
    url: str, revision: str, tmp_path: Path
) -> None:
    wait = call("test_wait", arguments={"seconds": 30})
    found = await report(
        url,
        revision,
        tmp_path,
        {**wait, "timeout": 0.2},
        {**wait, "cancel_after": 0.2},
        {
            "do": "together",
            "steps": [call("test_simple_text"), {**wait, "cancel_after": 0.1}, {"do": "ping"}],
        },
        call("test_tool_with_progress", progress=True),
    )
    first, second, third, fourth = found["steps"]
    assert first["failure"] == "timeout"
    assert second == {"failure": "cancelled"}
    assert [next(iter(each)) for each in third["steps"]] == ["result", "failure", "result"]
    assert [each["progress"] for each in fourth["progress"]] == [0, 50, 100]


async def test_connecting_again_and_not_at_all(url: str, tmp_path: Path) -> None:
    found = await report(
        url,
        LEGACY,
        tmp_path,
        {"do": "close"},
        {"do": "ping"},
        {"do": "open"},
        {"do": "ping"},
        negotiate=True,
    )
    assert found["opened"]["result"] == {"revision": MODERN}, "what both speak"
    assert [next(iter(each)) for each in found["steps"]] == [
        "result",
        "failure",
        "result",
        "result",
    ]
    found = await report("http://127.0.0.1:9/mcp", LEGACY, tmp_path, {"do": "ping"})
    assert found["opened"]["failure"] == "closed"
    assert found["steps"] == []


async def test_what_is_declared_and_answered(tmp_path: Path) -> None:
    command = "stdio:" + " ".join([*SERVER, "--stdio"])
    ask = call("test_elicitation", arguments={"message": "who?"})
    found = await report(command, LEGACY, tmp_path, ask, declare=[])
    assert found["steps"][0].get("error") or found["steps"][0]["result"]["isError"]
    found = await report(command, LEGACY, tmp_path, ask, elicitation="decline")
    assert "decline" in found["steps"][0]["result"]["content"][0]["text"]
    found = await report(command, LEGACY, tmp_path, ask)
    assert "accept" in found["steps"][0]["result"]["content"][0]["text"]


async def test_changes_are_listened_for(url: str, tmp_path: Path) -> None:
    found = await report(
        url,
        MODERN,
        tmp_path,
        {"do": "listen", "tools": True, "changes": 1, "timeout": 0.3},
        {"do": "wait", "notification": "notifications/nothing", "timeout": 0.1},
        {"do": "level", "level": "debug"},
        call("test_tool_with_logging"),
        {"do": "wait", "notification": "notifications/message", "timeout": 10},
    )
    listened, waited, _, _, logged = found["steps"]
    assert listened["result"]["honoured"]["toolsListChanged"] is True
    assert listened["result"]["changes"] == []
    assert waited["failure"] == "timeout"
    assert logged == {"result": {}}
    assert "notifications/message" in [each["method"] for each in found["notifications"]]
