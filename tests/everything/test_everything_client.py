"""The reference client as the official suite starts it, against servers that watch what it does."""

import json
import os
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from mcpcore.spec.types.tools import Tool
from mcpcore_conformance.everything.client import SCENARIOS, main, sample_arguments
from mcpcore_conformance.launch import serving
from tests.clock import patience
from tests.transports.scripted import DISCOVERY, http_server, modern
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

CLIENT = (*PYTHON, "-m", "mcpcore_conformance.everything.client")
MODERN, LEGACY = "2026-07-28", "2025-11-25"


class Mock:
    """A server of either era with some tools; remembers each call with its headers."""

    def __init__(self, *tools: dict[str, Any]) -> None:
        self.tools = list(tools)
        self.calls: list[tuple[str, dict[str, Any], Mapping[str, str]]] = []

    def __call__(self, message: dict[str, Any], headers: Mapping[str, str]) -> Any:
        method, params = message["method"], message.get("params", {})
        self.calls.append((method, params, headers))
        if "id" not in message:
            return 202, None
        answers: dict[str, Any] = {
            "initialize": {
                "protocolVersion": LEGACY,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "mock", "version": "1"},
            },
            "server/discover": DISCOVERY,
            "tools/list": modern({"tools": self.tools}),
            "tools/call": modern({"content": []}),
            "resources/list": modern({"resources": [{"uri": "test://a%20b?c", "name": "a"}]}),
            "resources/read": modern({"contents": []}),
            "prompts/list": modern({"prompts": [{"name": "p"}]}),
            "prompts/get": modern({"messages": []}),
        }
        return 200, {"jsonrpc": "2.0", "id": message["id"], "result": answers[method]}

    def called(self, method: str) -> list[dict[str, Any]]:
        return [params for name, params, _ in self.calls if name == method]


def tool(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


async def play(mock: Mock, scenario: str, revision: str, context: Any = None) -> str:
    environment = {
        **os.environ,
        "MCP_CONFORMANCE_SCENARIO": scenario,
        "MCP_CONFORMANCE_PROTOCOL_VERSION": revision,
    }
    if context is not None:
        environment["MCP_CONFORMANCE_CONTEXT"] = json.dumps(context)
    async with http_server(mock) as url:
        with patience():
            done = await anyio.run_process([*CLIENT, url], env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stderr.decode()


@pytest.mark.anyio
@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_tools_call(revision: str) -> None:
    mock = Mock(tool("add_numbers", a={"type": "number"}, b={"type": "number"}))
    await play(mock, "tools_call", revision)
    [call] = mock.called("tools/call")
    assert call["arguments"] == {"a": 5, "b": 3}
    assert bool(mock.called("initialize")) is (revision == LEGACY)
    assert bool(mock.called("server/discover")) is (revision == MODERN)


@pytest.mark.anyio
async def test_tour_with_its_headers() -> None:
    mock = Mock(tool("test_headers"))
    await play(mock, "http-standard-headers", MODERN)
    named = {
        method: headers["mcp-name"] for method, _, headers in mock.calls if "mcp-name" in headers
    }
    assert named == {
        "tools/call": "test_headers",
        "resources/read": "test://a%20b?c",
        "prompts/get": "p",
    }
    assert all(headers["mcp-method"] == method for method, _, headers in mock.calls)


@pytest.mark.anyio
async def test_mirrored_arguments_from_the_context() -> None:
    mock = Mock(tool("t", region={"type": "string", "x-mcp-header": "Region"}))
    calls = [{"name": "t", "arguments": {"region": "ü"}}, {"name": "t", "arguments": {}}]
    await play(mock, "http-custom-headers", MODERN, {"toolCalls": calls})
    assert [params["arguments"] for params in mock.called("tools/call")] == [{"region": "ü"}, {}]
    mirrored = [
        headers.get("mcp-param-region") for m, _, headers in mock.calls if m == "tools/call"
    ]
    assert mirrored == ["=?base64?w7w=?=", None]


@pytest.mark.anyio
async def test_broken_tools_are_not_called() -> None:
    bad = tool("bad", a={"type": "object", "x-mcp-header": "A"})
    mock = Mock(tool("valid_tool", a={"type": "string", "x-mcp-header": "A"}), bad)
    said = await play(mock, "http-invalid-tool-headers", MODERN)
    assert [params["name"] for params in mock.called("tools/call")] == ["valid_tool"]
    assert "'bad' is left out" in said


@pytest.mark.anyio
async def test_schemas_come_back_as_they_are() -> None:
    focal = tool("json_schema_2020_12_tool", a={"$anchor": "x", "const": None})
    mock = Mock(focal, tool("json_schema_echo"))
    await play(mock, "json-schema-2020-12-preservation", MODERN)
    [call] = mock.called("tools/call")
    assert call["arguments"] == {"schema": focal["inputSchema"]}


@pytest.mark.long
def test_any_server_gets_a_tour() -> None:
    command = (
        *PYTHON,
        "-m",
        "mcpcore_conformance.everything.server",
        "--http",
        "127.0.0.1:0",
    )
    with serving(command) as [url]:
        assert main([url]) == 0


def test_wrong_usage_and_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["http://127.0.0.1:1/mcp"]) == 1
    assert "connection refused" in capsys.readouterr().err


def test_sample_arguments_are_those_required() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {}}
    schema = {"type": "object", "properties": properties, "required": ["a", "b"]}
    assert sample_arguments(Tool(name="t", input_schema=schema)) == {"a": 1, "b": "test"}
    assert all(callable(play) for play in SCENARIOS.values())
