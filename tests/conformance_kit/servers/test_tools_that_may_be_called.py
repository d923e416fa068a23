"""What the kit calls of a server's tools: none that nobody has allowed, and all that were."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.run.stages import written
from tests.conformance_kit.runs import NEW, OLD, cases_of, run_of

pytestmark = pytest.mark.anyio

SERVER = """
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOOLS, CALLED = json.loads(sys.argv[1]), sys.argv[2]
NEW, OLD = "2026-07-28", "2025-11-25"
OFFERED = {"tools": {}, **({} if TOOLS else {"prompts": {}, "resources": {}})}
NAMES = ("first", "silent", "third", "fourth")
TASKS = {"tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}

class Refused(Exception):
    pass

def call(params):
    found = [each for each in TOOLS if each["name"] == params.get("name")]
    arguments = params.get("arguments", {})
    if not found or not isinstance(arguments, dict):
        raise Refused(-32602)
    with open(CALLED, "a") as called:
        called.write(json.dumps(params) + "\\n")
    if found[0]["name"] == "silent":
        return None
    content = [{"type": "text", "text": "done"}]
    return {"content": content, "structuredContent": {"degrees": "hot"}}

def answer(method, params):
    meta = params.get("_meta")
    modern = isinstance(meta, dict) and any(name.endswith("/protocolVersion") for name in meta)
    if method == "initialize" and not modern:
        who = {"name": "kept", "version": "1"}
        return {"protocolVersion": OLD, "capabilities": {**OFFERED, **TASKS}, "serverInfo": who}
    more = {"ttlMs": 0, "cacheScope": "private"} if modern else {}
    if modern:
        more["resultType"] = "complete"
    if method == "server/discover" and modern:
        return {"supportedVersions": [NEW, OLD], "capabilities": OFFERED, **more}
    if method == "ping" and not modern:
        return {}
    if method == "tools/list":
        return {"tools": TOOLS, **more}
    if method in ("prompts/list", "resources/list"):
        member = method.partition("/")[0]
        return {member: [{"name": each, "uri": f"test://{each}"} for each in NAMES]}
    if method == "prompts/get" and params.get("name") != "silent":
        return {"messages": [{"role": "user", "content": {"type": "text", "text": "say"}}]}
    if method == "resources/read" and params.get("uri") != "test://silent":
        return {"contents": [{"uri": params.get("uri"), "text": "text"}]}
    if method in ("prompts/get", "resources/read"):
        return None
    if method == "tools/call":
        result = call(params)
        return result and {**result, **more}
    raise Refused(-32601)

def respond(line):
    try:
        said = json.loads(line)
    except ValueError:
        return {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no"}}
    if not isinstance(said, dict) or not isinstance(said.get("method"), str):
        return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}
    if "id" not in said:
        return None
    params = said.get("params", {})
    head = {"jsonrpc": "2.0", "id": said["id"]}
    try:
        result = answer(said["method"], params if isinstance(params, dict) else {})
    except Refused as refused:
        return {**head, "error": {"code": refused.args[0], "message": "no"}}
    return result and {**head, "result": result}

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        found = respond(self.rfile.read(int(self.headers.get("content-length", 0))))
        body = b"" if found is None else json.dumps(found).encode()
        self.send_response(202 if found is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

if "--http" in sys.argv:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}/mcp", file=sys.stderr, flush=True)
    server.serve_forever()
for line in sys.stdin.buffer:
    found = respond(line)
    if found is not None:
        print(json.dumps(found), flush=True)
"""
DESTROYS = {"destructiveHint": True}
READS = {"readOnlyHint": True}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DEGREES = {"type": "object", "properties": {"degrees": {"type": "number"}}}


def tool(name: str, schema: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": schema or {"type": "object"}, **more}


def mirroring(header: Any) -> dict[str, Any]:
    region = {"type": "string", "x-mcp-header": header}
    return {"type": "object", "properties": {"region": region}}


FORBIDDEN = (
    tool("wipe_all", annotations=DESTROYS),
    tool("drop_region", mirroring("Region"), annotations=DESTROYS),
    tool("move_region", mirroring("Place")),
    tool("purge", execution={"taskSupport": "optional"}),
    tool("purge_now", execution={"taskSupport": "forbidden"}),
    tool("rename", CITY),
    tool("weather", CITY, outputSchema=DEGREES),
    tool("write", CITY, annotations={"readOnlyHint": False}),
    tool("drop_city", {**CITY, "additionalProperties": False}, annotations=DESTROYS),
    # what a tool says of itself counts more than a name
    tool("echo", CITY, annotations=DESTROYS),
    tool("test_wait", annotations=DESTROYS),
    tool("test_x_mcp_header", mirroring("Zone"), annotations=DESTROYS),
    tool("test_sampling", annotations=DESTROYS),
    tool("test_elicitation", annotations=DESTROYS),
    tool("test_input_required_result_elicitation", annotations=DESTROYS),
    tool("test_input_required_result_multiple_inputs", annotations=DESTROYS),
    tool("test_tool_with_logging", annotations=DESTROYS),
    tool("test_trigger_tool_change", annotations=DESTROYS),
    tool("slow_compute", annotations=DESTROYS, execution={"taskSupport": "optional"}),
)


@pytest.fixture
def anyio_backend() -> str:
    """One: what the kit does over stdio and HTTP is tried on both elsewhere."""
    return "asyncio"


async def played(
    tools: Sequence[dict[str, Any]],
    folder: Path,
    *cases: str,
    binding: Binding = Binding.STDIO,
    revision: str = OLD,
    allowed: tuple[str, ...] = (),
) -> tuple[dict[str, Result], list[dict[str, Any]]]:
    """A run of these cases, of all if none is named: its results, and the calls that came."""
    path, called = folder / "server.py", folder / "called"
    path.write_text(SERVER)
    called.write_text("")
    command = [sys.executable, str(path), json.dumps(tools), str(called)]
    chosen = cases_of(*cases)
    run = await run_of(written(command, binding), chosen, revision, timeout=2.0, tools=allowed)
    calls = [json.loads(line) for line in called.read_text().splitlines()]
    return {each.case.id: each for each in run.results}, calls


@pytest.mark.long
@pytest.mark.parametrize(
    ("binding", "revision"),
    [
        (Binding.STDIO, OLD),
        (Binding.HTTP, NEW),
        pytest.param(Binding.STDIO, NEW, marks=pytest.mark.repeats),
        pytest.param(Binding.HTTP, OLD, marks=pytest.mark.repeats),
    ],
)
async def test_no_case_calls_a_tool_that_nobody_has_allowed(
    binding: Binding, revision: str, tmp_path: Path
) -> None:
    results, calls = await played(FORBIDDEN, tmp_path, binding=binding, revision=revision)
    assert results["server/tools/listing-tools/shape"].verdict is Verdict.PASSED
    assert calls == []
    allowed, calls = await played(
        FORBIDDEN,
        tmp_path,
        "server/tools/calling-tools/result-shape",
        binding=binding,
        revision=revision,
        allowed=("wipe_all",),
    )
    assert [each.verdict for each in allowed.values()] == [Verdict.PASSED]
    assert {each["name"] for each in calls} == {"wipe_all"}


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("name", "allowed", "verdict"),
    [
        ("weather", (), Verdict.NOT_APPLICABLE),
        ("weather", ("weather",), Verdict.FAILED),
        ("weather", ("*",), Verdict.FAILED),
        ("greet", (), Verdict.FAILED),
    ],
)
async def test_an_output_that_breaks_its_own_schema_is_found_where_the_tool_may_be_called(
    name: str, allowed: tuple[str, ...], verdict: Verdict, tmp_path: Path
) -> None:
    case = "server/tools/output-schema/conforms"
    # the plainest one is another one
    tools = [tool("add", annotations=READS), tool(name, CITY, outputSchema=DEGREES)]
    found, _ = await played(tools, tmp_path, case, allowed=allowed)
    assert found[case].verdict is verdict, found[case].detail


@pytest.mark.long
async def test_a_tool_that_never_answers_is_not_passed_over(tmp_path: Path) -> None:
    case = "server/tools/calling-tools/result-shape"
    tools = [tool(each, annotations=READS) for each in ("echo", "silent", "third", "fourth")]
    found, _ = await played(tools, tmp_path, case)
    assert found[case].verdict is Verdict.INCONCLUSIVE
    assert found[case].detail == "there was nothing to look at: silent takes longer than 2 s"


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("case", "silent"),
    [
        ("server/prompts/getting-a-prompt/shape", "silent"),
        ("server/resources/reading-resources/shape", "test://silent"),
    ],
)
async def test_nor_are_prompts_and_resources(case: str, silent: str, tmp_path: Path) -> None:
    found, _ = await played([], tmp_path, case)
    assert found[case].verdict is Verdict.INCONCLUSIVE
    assert found[case].detail.endswith(f"look at: {silent} takes longer than 2 s")


async def test_a_name_in_the_other_case_is_that_of_a_tool_that_may_not_be_called(
    tmp_path: Path,
) -> None:
    case = "server/tools/tool-names/case-sensitive"
    tools = [tool("echo", annotations=READS), tool("ECHO", annotations=DESTROYS)]
    found, calls = await played(tools, tmp_path, case)
    assert (found[case].verdict, calls) == (Verdict.NOT_APPLICABLE, [])


async def test_a_mirror_that_no_header_can_have_is_found_once(tmp_path: Path) -> None:
    home = "server/tools/x-mcp-header/token"
    twin = "basic/transports/streamable-http/schema-extension/name-is-a-token"
    twins = [
        f"basic/transports/streamable-http/{each}"
        for each in (
            "server-behavior-for-custom-headers/served",
            "server-behavior-for-custom-headers/missing",
            "server-behavior-for-custom-headers/other-than-body",
            "server-behavior-for-custom-headers/decoded",
            "server-behavior-for-custom-headers/invalid-characters",
            "value-encoding/sentinel-look-alike",
            "value-encoding/parameter-broken",
        )
    ]
    tools = [
        tool(f"read_{number}", mirroring(header), annotations=READS)
        for number, header in enumerate(("My Region", "", "Region\r\nX: 1", "Région", 7))
    ]
    binding = Binding.HTTP
    found, _ = await played(tools, tmp_path, home, twin, *twins, binding=binding, revision=NEW)
    assert found[home].verdict is Verdict.FAILED
    assert found[twin].verdict is Verdict.INCONCLUSIVE
    assert home in found[twin].detail
    assert {found[each].verdict for each in twins} == {Verdict.NOT_APPLICABLE}
