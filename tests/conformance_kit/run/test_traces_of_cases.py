"""Traces of all cases: `mcpcore trace` shows, checks and plays what the kit has recorded."""

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpcore_conformance.kit.model import Side
from mcpcore_conformance.launch import serving
from mcpcore_conformance.trace import TraceFile, read
from mcpcore_conformance.trace.check import check
from mcpcore_conformance.trace.replay import replay
from mcpcore_conformance.trace.show import timeline
from tests.command import Done, mcpcore_here
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

EVERYTHING = "mcpcore_conformance.everything.server"
SERVER = f"{EVERYTHING}:server"
CLIENT = ("--", *PYTHON, "-m", "mcpcore_conformance.everything.client")
R1, R2 = "2025-11-25", "2026-07-28"
PAGES = ("basic/patterns/progress", "docs/websocket/subprotocols", "server/tools/calling-tools")
OF_CLIENTS = ("basic/patterns/progress",)


def conformance(*words: str) -> Done:
    return mcpcore_here("conformance", *words)


def only(pages: tuple[str, ...]) -> Iterator[str]:
    for page in pages:
        yield from ("--only", page)


def played(side: str, transport: str, folder: Path, *target: str) -> list[TraceFile]:
    """Record all cases of some pages, and read what was recorded; a file for each."""
    done = conformance(
        *(side, "--transport", transport, "--revision", R1, "--revision", R2),
        *("--trace-dir", str(folder), "--trace-all", "--report", "json"),
        *only(PAGES if side == "server" else OF_CLIENTS),
        *target,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    found = Counter(row["verdict"] for row in rows if row.get("trace"))
    # what does not apply is not played
    assert found == Counter(row["verdict"] for row in rows if row["verdict"] != "not applicable")
    assert found["passed"] > 5
    names = [Path(row["trace"]) for row in rows if row.get("trace")]
    assert sorted(names) == sorted(folder.iterdir())
    return [*map(read, names)]


@pytest.mark.share(6)
@pytest.mark.parametrize("transport", ["stdio", "http", "ws"])
@pytest.mark.parametrize(("side", "target"), [("server", (SERVER,)), ("client", CLIENT)])
def test_each_case_has_a_trace_that_can_be_worked_with(
    side: str, target: tuple[str, ...], transport: str, tmp_path: Path
) -> None:
    traces = played(side, transport, tmp_path, *target)
    assert {each.header.side for each in traces} == {"client" if side == Side.SERVER else "server"}
    assert all(each.complete and each.header.redacted for each in traces)
    for trace in traces:
        # what the kit says may be wrong on purpose; what ours says is not
        assert [each for each in check(trace) if each.side == side] == []
        assert len([*timeline(trace)]) > len(trace.entries)
        assert [*replay(trace)]
    path = min(tmp_path.iterdir())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for command in ("show", "check", "replay"):
        done = mcpcore_here("trace", command, str(path))
        assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_a_trace_of_a_case_is_played_against_a_live_server(tmp_path: Path) -> None:
    words = ("--revision", R1, "--only", "server/tools/calling-tools/result-shape")
    done = conformance(
        *("server", SERVER, "--transport", "http", *words),
        *("--trace-dir", str(tmp_path), "--trace-all"),
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.iterdir()
    with serving([*PYTHON, "-m", EVERYTHING, "--http", "127.0.0.1:0"]) as (url,):
        again = mcpcore_here("trace", "replay", str(path), "--against", url)
    assert (again.returncode, again.stderr) == (0, ""), again.stdout


TOKEN = "a-token-that-nobody-guesses-17"


@pytest.mark.parametrize("kept", [False, True])
def test_secrets_are_in_the_traces_only_if_that_is_wanted(kept: bool, tmp_path: Path) -> None:
    with serving([*PYTHON, "-m", "tests.conformance_kit.run.token_server", TOKEN]) as (url,):
        done = conformance(
            *("server", url, "--header", f"Authorization: Bearer {TOKEN}", "--revision", R1),
            *("--only", "server/tools/calling-tools", "--report", "json"),
            *("--trace-dir", str(tmp_path / "t"), "--trace-all"),
            *(["--trace-secrets"] if kept else []),
        )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    for path in (tmp_path / "t").iterdir():
        assert (TOKEN in path.read_text()) is kept
        assert read(path).header.redacted is not kept


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("option", ["--trace-all", "--trace-secrets"])
def test_what_traces_hold_is_asked_with_where_they_go(side: str, option: str) -> None:
    done = conformance(side, option, *((SERVER,) if side == "server" else CLIENT))
    assert done.returncode == 2
    assert done.stderr == f"error: {option} is for --trace-dir, which is not given\n"
