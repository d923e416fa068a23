"""Every program that is measured answers a verified round of what it is measured with."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from _pytest.mark import ParameterSet
from msgspec import structs

from mcpcore_bench import subjects
from mcpcore_bench.load.__main__ import MODULES
from mcpcore_bench.load.jobs import AnyJob, Events, HttpCalls, Memory, Peak, Resume
from mcpcore_bench.programs.offer import FILLERS_FROM, fillers
from mcpcore_bench.subjects import OURS, SUBJECTS, TYPESCRIPT, node
from mcpcore_bench.table.table import ROWS

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs epoll and /proc"),
    pytest.mark.timeout(600),
]

ROUNDS = {
    "http": None,
    "http-legacy": ("typescript", "typescript2-sessions", "ours-asyncio", "raw-httptools"),
    "http-legacy-sse": ("ours-anyio", "raw-protocol", "sdk-sse", "fastmcp-sse", "typescript2-sse"),
    "http-parsed": ("ours-anyio-parsed", "ours-asyncio-parsed", "ours-speed-parsed"),
    "http-legacy-sse-heads": ("ours-asyncio", "sdk-sse"),
    "asgi": ("ours-asgi", "ours-asgi-speed"),
    "asgi-legacy": ("ours-asgi",),
    "tls": None,
    "protected": None,
    "protected-new": ("ours-asyncio-protected",),
    "structured-stdio": None,
    "structured-websocket": None,
    "structured": ("ours-asyncio", "raw-protocol", "sdk", "typescript2", "typescript2-high"),
    "echo-10k": ("fastmcp", "typescript2"),
    "echo-16m": ("typescript2",),
    "list-10": ("ours-asyncio", "raw-protocol", "fastmcp", "typescript2"),
    "list-1000": ("fastmcp", "typescript2", "typescript2-high"),
    "progress": ("ours-anyio", "raw-anyio", "raw-httptools", "typescript2"),
    "progress-together": ("ours-asyncio", "raw-protocol", "encoding", "typescript2"),
    "resume": (
        "ours-asyncio",
        "raw-anyio",
        "raw-protocol",
        "raw-httptools",
        "sdk-events",
        "fastmcp-events",
        "typescript2-events",
    ),
    "setup": ("ours-asyncio", "raw-protocol", "sdk", "fastmcp", "typescript2"),
    "setup-legacy": (
        "ours-asyncio",
        "raw-httptools",
        "sdk",
        "fastmcp",
        "typescript",
        "typescript2-sessions",
    ),
    "waiting": ("ours-asyncio", "raw-protocol", "raw-httptools", "fastmcp", "typescript2"),
    "sessions": ("100",),
    "streams": ("100",),
    "stdio": None,
    "stdio-64": ("ours-stdio",),
    "websocket": None,
    "websocket-1": ("ours-ws",),
    "websocket-64": ("raw-ws",),
    **{
        f"echo-{size}-{binding}": None
        for size in ("10k", "1m", "16m")
        for binding in ("websocket", "stdio")
    },
    "bindings": None,
    "in-flight": (
        "stdio-16",
        "stdio-1000",
        "tcp-64",
        "tcp-1000",
        "unix-16",
        "sse-64",
        "raw-unix-64",
        "raw-tcp-1000",
        "sdk-sse-64",
    ),
    "setup-bindings": None,
    "client": None,
    "client-16": None,
    "client-64": None,
    "client-1000": None,
    "client-bindings": ("client-stdio", "sse", "unix", "sdk-client-stdio"),
    "memory": None,
    "peak-1m": ("ours-asyncio", "bytes"),
    "idle-session": ("fastmcp", "typescript2-sessions"),
    "idle-stream": ("ours-asyncio", "fastmcp", "typescript2-sessions"),
    "idle-connection": ("ours-asyncio",),
    "idle-bindings": None,
    "idle-server": ("ours-asyncio", "bare"),
    "active-connection": None,
    "active-session": ("ours-asyncio", "fastmcp"),
    "import": ("core",),
    "start": ("ours-stdio", "raw-stdio-ready", "typescript-stdio", "typescript2-stdio"),
    "stores": ("memory-1",),
    "added": None,
    "pins": None,
    "screening": None,
    "adapted-async": None,
    "adapted-legacy": ("sdk1", "sdk1-sse", "sdk1-adapted"),
    "hop": None,
    "hop-1m": ("hop",),
    "hop-legacy": ("hop", "fastmcp-hop"),
    "hop-stdio": None,
    "hop-sessions": ("100",),
    "hop-servers": ("2",),
    "hop-list": None,
    "hop-session": None,
}
"""Each program once at least, and each kind of job."""
CASES = [
    (row, variant)
    for row, variants in ROUNDS.items()
    for variant in (variants or ROWS[row].variants)
]


def _program(row: str, variant: str) -> tuple[str, ...]:
    return ROWS[row].variants[variant].job().server.words[:4]


_FIRST = {_program(*each): each for each in reversed(CASES)}
"""The first round of each program."""


def case(row: str, variant: str) -> ParameterSet:
    """The peers take seconds to start, one round each is as good as many; ours take tenths."""
    words = _program(row, variant)
    marks = [] if words[0] == OURS else [pytest.mark.long]
    if marks and _FIRST[words] != (row, variant):
        marks.append(pytest.mark.repeats)
    return pytest.param(row, variant, marks=marks, id=f"{row}-{variant}")


def small(job: AnyJob) -> AnyJob:
    """The same job, as little of it as there can be."""
    job = structs.replace(job, seconds=0.01, warm=0.0)
    if isinstance(job, HttpCalls):
        return structs.replace(
            job,
            connections=min(job.connections, 3),
            sessions=min(job.sessions, 5),
            streams=min(job.streams, 5),
        )
    if isinstance(job, Events | Resume):
        return structs.replace(job, count=20)
    if isinstance(job, Memory):
        return structs.replace(job, count=20)
    return structs.replace(job, calls=1) if isinstance(job, Peak) else job


@pytest.mark.share(10)
@pytest.mark.parametrize(("row", "variant"), [case(*each) for each in CASES])
def test_it_answers_rightly(row: str, variant: str) -> None:
    chosen = ROWS[row].variants[variant]
    if (missing := chosen.needs()) is not None:
        pytest.skip(missing)
    job = small(chosen.job())
    module = importlib.import_module(
        f"mcpcore_bench.load.{MODULES[str(job.__struct_config__.tag)]}"
    )
    sample = module.measure(job)
    # Twenty of a thing may well fit into memory that was there before; and the clock of a process
    # may stand still for a hundredth of a second, until it sleeps.  A difference may be all noise.
    assert sample.value >= 0 or "without" in sample.facts
    assert sample.facts.get("count", 1) > 0
    if row.startswith("client") or row == "memory":
        assert sum(sample.latency.values()) == sample.facts["count"]
    if row == "client-1000":
        assert sample.facts["count"] >= 1000, "a hundredth of a second is too short for others"


@pytest.mark.parametrize("count", [0, FILLERS_FROM, 10, 1000])
def test_node_offers_the_same_list(count: int) -> None:
    if (missing := SUBJECTS["typescript2"].needs()) is not None:
        pytest.skip(missing)
    offer = (TYPESCRIPT / "offer.mjs").as_uri()
    ask = f"import {{ fillers, tools }} from {offer!r}; console.log(JSON.stringify({{"
    ask += f"fillers: fillers({count}), tools: tools({count}).map((tool) => tool.name) }}))"
    called = (node() or "node", "--input-type=module", "-e", ask)
    said = subprocess.run(called, capture_output=True, check=True).stdout
    found = msgspec.json.decode(said, type=dict[str, list[Any]])
    named = [name for name, _ in fillers(count)]
    assert found["fillers"] == [list(each) for each in fillers(count)]
    assert found["tools"] == ["echo", "total", "wait", "events", *named]


@pytest.mark.parametrize(
    ("name", "line", "packages"),
    [
        ("typescript", "1.x", ["sdk"]),
        ("typescript-client", "1.x", ["sdk"]),
        ("typescript2", "2.x", ["server", "node"]),
        ("typescript2-stdio", "2.x", ["server", "node"]),
        ("typescript2-client", "2.x", ["client"]),
    ],
)
def test_a_line_of_the_sdk_that_is_not_there_is_named(
    name: str, line: str, packages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "NODE_MODULES", tmp_path)
    assert "Node" in (said := SUBJECTS[name].needs() or "") or "TypeScript" in said
    (tmp_path / ".bin").mkdir()
    (tmp_path / ".bin" / "node").touch()
    for package in packages:
        assert f"TypeScript SDK {line} is not" in (SUBJECTS[name].needs() or "")
        (tmp_path / "@modelcontextprotocol" / package).mkdir(parents=True)
    assert SUBJECTS[name].needs() is None


def test_every_job_survives_its_way_to_the_load_generator() -> None:
    for row in ROWS.values():
        for variant in row.variants.values():
            job = variant.job()
            assert msgspec.json.decode(msgspec.json.encode(job), type=AnyJob) == job


def test_every_program_is_among_the_rounds() -> None:
    everything = {_program(row, variant) for row in ROWS for variant in ROWS[row].variants}
    # Imports have no program, and stores are of no use without their servers.
    rest = {each for each in everything - _FIRST.keys() if "-c" not in each}
    assert {each[2] for each in rest} <= {"mcpcore_bench.programs.stores"}
