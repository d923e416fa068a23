"""Who can talk to whom: eras and revisions over every transport, and what a client remembers.

The outcomes are those of the compatibility matrix of 2026-07-28, basic/versioning.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcpcore import Client, ClientSettings, LinkError, LocalError, NegotiationError, connect, serve
from mcpcore.engine.config import Limits, Negotiation
from mcpcore.spec.revisions import LEGACY, MODERN, REVISIONS
from mcpcore_transports.client.cache import ERAS, EraCache, place_of
from mcpcore_transports.targets import StdioTarget, parse_target
from tests.clock import PATIENCE
from tests.transports.offers import EVERY_TRANSPORT, PIDS, echo, offered
from tests.transports.scripted import DISCOVERY, greeting, http_server
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

ROOT = Path(__file__).parents[3]
SIDES = {
    "modern": [row.name for row in MODERN],
    "legacy": [row.name for row in LEGACY],
    "dual-era": [row.name for row in REVISIONS],
}
OUTCOMES = {
    ("modern", "modern"): "modern",
    ("modern", "legacy"): "fails",
    ("modern", "dual-era"): "modern",
    ("dual-era", "modern"): "modern",
    ("dual-era", "legacy"): "legacy",
    ("dual-era", "dual-era"): "modern",
    ("legacy", "modern"): "fails",
    ("legacy", "legacy"): "legacy",
    ("legacy", "dual-era"): "legacy",
}
"""Client and server to the era that they speak."""


def fresh(**limits: Any) -> ClientSettings:
    """Settings without a memory, by which a slow server is not taken for a legacy one."""
    return ClientSettings(eras=EraCache(), limits=Limits(**{"probe_timeout": PATIENCE, **limits}))


async def says(client: Client, text: str) -> str:
    return (await client.call_tool("echo", {"text": text})).text


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.requirement(
    "basic/versioning/unsupported-version",
    "basic/versioning/select-and-retry",
    "basic/versioning/discover",
    "basic/versioning/initialize-error-names-versions",
)
@pytest.mark.parametrize("transport", EVERY_TRANSPORT)
@pytest.mark.parametrize(("client_side", "server_side"), OUTCOMES)
async def test_compatibility_matrix(
    client_side: str, server_side: str, transport: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    outcome = OUTCOMES[client_side, server_side]
    async with offered(transport, "echo", SIDES[server_side], {PIDS: str(pids)}) as target:
        connecting = connect(target, revisions=SIDES[client_side], settings=fresh())
        if outcome == "fails":
            with pytest.raises(NegotiationError) as failure:
                await connecting.__aenter__()
            # What the user needs to know: what they speak, what we speak.
            for name in (SIDES[server_side][-1], SIDES[client_side][-1]):
                assert name in str(failure.value)
        else:
            async with connecting as client:
                assert client.revision.name == SIDES[outcome][-1]
                assert await says(client, "hello") == "hello"
    assert len(lines(pids)) == (transport == "stdio")


def test_revisions_must_exist() -> None:
    for revisions in (["2025-11-25", "1999-01-01"], ["DRAFT"]):
        with pytest.raises(ValueError, match="unknown protocol revision"):
            connect(echo(), revisions=revisions)
    with pytest.raises(ValueError, match="revision and revisions are given"):
        connect(echo(), revision="2025-11-25", revisions=["2025-11-25"])


async def test_revisions_of_a_server_must_exist() -> None:
    with pytest.raises(ValueError, match="unknown protocol revision '1999-01-01'"):
        await serve(echo(), http="127.0.0.1:0", revisions=["1999-01-01"])


# Legacy servers that others wrote: what they do with a request that they do not know

SCRIPT = """
import json, os, sys
unknown = json.loads(sys.argv[1])
with open(os.environ["OFFERS_PIDS"], "a") as pids:
    pids.write(f"{os.getpid()}\\n")
log = open(os.environ["OFFERS_PIDS"] + ".methods", "a")
for line in sys.stdin:
    message = json.loads(line)
    method, id = message["method"], message.get("id")
    print(method, file=log, flush=True)
    if method == "initialize":
        body = {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "legacy", "version": "1"}}}
    elif method == "tools/call":
        text = message["params"]["arguments"]["text"]
        body = {"result": {"content": [{"type": "text", "text": text}]}}
    elif id is None or unknown == "ignore":
        continue
    elif unknown == "empty":
        body = {"result": {}}
    else:
        body = {"error": {"code": unknown, "message": "what is that?"}}
    print(json.dumps({"jsonrpc": "2.0", "id": id, **body}), flush=True)
"""
REFUSALS = [-32601, -32602, -32600, -32603, -32000, 1]


def script(unknown: Any, tmp_path: Path) -> tuple[StdioTarget, Path, Path]:
    """A legacy server: its command, and where it writes down its starts and what it gets."""
    pids = tmp_path / "pids"
    command = [sys.executable, "-c", SCRIPT, json.dumps(unknown)]
    methods = pids.with_suffix(".methods")
    return StdioTarget(command, {PIDS: str(pids)}), pids, methods


@pytest.mark.requirement("basic/transports/stdio/probe-fallback")
@pytest.mark.parametrize("unknown", [*REFUSALS, "ignore", "empty"])
async def test_a_legacy_process_is_found_out_and_started_once(unknown: Any, tmp_path: Path) -> None:
    target, pids, methods = script(unknown, tmp_path)
    # Who answers has all the time that the machine needs to start it.
    settings = fresh(probe_timeout=0.2 if unknown == "ignore" else 20)
    for count in (1, 2):
        async with connect(target, settings=settings) as client:
            assert client.revision.name == "2025-06-18"
            assert await says(client, "hello") == "hello"
        assert len(lines(pids)) == count
    handshake = ["initialize", "notifications/initialized"]
    late = ["notifications/cancelled"] if unknown == "ignore" else []
    # The second connection remembers.
    assert lines(methods) == [
        "server/discover",
        *handshake,
        *late,
        "tools/call",
        *handshake,
        "tools/call",
    ]


async def test_a_process_that_cannot_start_is_not_taken_for_anything(tmp_path: Path) -> None:
    settings = fresh()
    broken = [sys.executable, "-c", "raise SystemExit('no configuration')"]
    for _ in range(3):
        with pytest.raises(LinkError, match="no configuration"):
            await connect(broken, settings=settings).__aenter__()
    with pytest.raises(LinkError, match="command not found") as failure:
        await connect(["/nowhere/at/all"], settings=settings).__aenter__()
    assert "server/discover" not in str(failure.value)


class Endpoint:
    """A legacy or modern HTTP server by hand, which keeps the methods that it gets."""

    def __init__(self, unknown: Any = (400, None)) -> None:
        self.unknown = unknown
        self.modern = False
        self.methods: list[str] = []

    def __call__(
        self, message: dict[str, Any], headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any] | None]:
        method, id = message["method"], message.get("id")
        self.methods.append(method)
        if id is None:
            return 202, None
        body: dict[str, Any]
        status = 200
        if method == "tools/call":
            text = message["params"]["arguments"]["text"]
            body = {"result": {"content": [{"type": "text", "text": text}]}}
        elif self.modern and method == "server/discover":
            body = {"result": DISCOVERY}
        elif self.modern:
            data = {"supported": SIDES["modern"], "requested": "2025-11-25"}
            status, body = 400, {"error": {"code": -32022, "message": "no", "data": data}}
        elif method == "initialize":
            body = greeting("2025-06-18")
        else:
            status, found = self.unknown
            if found is None:
                return status, None
            body = found
        return status, {"jsonrpc": "2.0", "id": id, **body}


@pytest.mark.requirement("basic/versioning/era-cached")
async def test_the_era_is_found_out_anew_when_memory_fails() -> None:
    endpoint, settings = Endpoint(), fresh()
    async with http_server(endpoint) as url:
        async with connect(url, settings=settings) as client:
            assert not client.revision.modern
            assert await says(client, "hello") == "hello"
        endpoint.modern, endpoint.methods = True, []
        for _ in range(2):
            async with connect(url, settings=settings) as client:
                assert client.revision.modern
        assert endpoint.methods == ["initialize", "server/discover", "server/discover"]
        endpoint.modern, endpoint.methods = False, []
        async with connect(url, settings=settings) as client:
            assert not client.revision.modern
        assert endpoint.methods[:2] == ["server/discover", "initialize"]


async def test_who_has_no_choice_neither_learns_nor_remembers() -> None:
    settings = fresh()
    async with offered("http", "echo") as target:
        async with connect(target, revision="2025-11-25", settings=settings):
            assert len(settings.eras or ()) == 0
        async with connect(target, settings=settings) as client:
            assert client.revision.modern  # not legacy, as the last one was by force
            assert len(settings.eras or ()) == 1
        async with connect(target, revisions=SIDES["legacy"], settings=settings) as client:
            assert not client.revision.modern


async def test_what_cannot_be_reached_is_forgotten() -> None:
    endpoint, settings = Endpoint(), fresh()
    async with http_server(endpoint) as url, connect(url, settings=settings):
        assert len(settings.eras or ()) == 1
    with pytest.raises(LocalError):
        await connect(url, settings=settings).__aenter__()
    assert len(settings.eras or ()) == 0


async def test_connections_of_a_process_share_what_they_know() -> None:
    endpoint = Endpoint()
    async with http_server(endpoint) as url:
        for _ in range(2):
            async with connect(url):
                pass
        assert endpoint.methods.count("server/discover") == 1
        ERAS.forget(place_of(parse_target(url)))
        async with connect(url):
            pass
        assert endpoint.methods.count("server/discover") == 2
    ERAS.forget(place_of(parse_target(url)))


def test_memory_is_bounded_in_time_and_size() -> None:
    eras = EraCache(limit=2, ttl=10.0)
    assert eras.get("a", now=0.0) is Negotiation.AUTO
    eras.learn("a", Negotiation.LEGACY, now=0.0)
    assert eras.get("a", now=9.9) is Negotiation.LEGACY
    assert eras.get("a", now=10.0) is Negotiation.AUTO
    eras.learn("b", Negotiation.MODERN, now=0.0)
    eras.learn("a", Negotiation.MODERN, now=5.0)
    eras.learn("c", Negotiation.LEGACY, now=5.0)
    known = [eras.get(key, now=6.0) for key in "abc"]
    assert known == [Negotiation.MODERN, Negotiation.AUTO, Negotiation.LEGACY]
    eras.forget("a")
    eras.forget("nobody")
    assert (eras.get("a", now=6.0), len(eras)) == (Negotiation.AUTO, 1)


def test_where_servers_are_found() -> None:
    web = "http://a.test/mcp"
    assert place_of(parse_target(web)) == place_of(
        parse_target("http://A.test/mcp?x=1", headers={"x": "1"})
    )
    different = [
        web,
        "https://a.test/mcp",
        "http://a.test:81/mcp",
        "http://a.test/other",
        "ws://a.test/mcp",
        ["server"],
        ["server", "--verbose"],
        StdioTarget(["server"], {"KEY": "1"}),
        StdioTarget(["server"], cwd="/srv"),
    ]
    assert len({place_of(parse_target(each)) for each in different}) == len(different)
    assert place_of(parse_target(echo())) is None


def test_the_command_restricts_both_sides(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from tests.transports.offers import echo\nserver = echo()\n")
    mcpcore = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    allowed = ["--revision", "2025-03-26", "--revision", "2025-06-18"]
    serving = [*mcpcore, "serve", "mine:server", "--stdio", *allowed]

    def probe(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*mcpcore, "probe", "--json", *options, "--", "env", f"PYTHONPATH={ROOT}", *serving],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE,
            check=False,
        )

    done = probe("--revision", "2024-11-05", "--revision", "2025-06-18")
    assert json.loads(done.stdout)["revision"] == "2025-06-18", done.stderr
    failed = probe("--revision", "2025-11-25")
    assert failed.returncode == 3
    assert "2025-06-18" in failed.stderr
    assert probe("--revision", "1999-01-01").returncode == 2
