"""The harness of programs that people use: its tables, and that each of its verdicts can be red."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import anyio
import pytest

from conformance.peers.checked import Checked
from conformance.real import __main__ as command
from conformance.real import install as installing
from conformance.real.cells import FAILED, OK, UNAVAILABLE
from conformance.real.groups import NOT_REACHED, Outcome, groups_of
from conformance.real.install import ROOT, installed, missing
from conformance.real.judge import Judged, Verdict, judge
from conformance.real.kit import Checks, play
from conformance.real.processes import MARK, NotStarted, left, marked, run, sweep, traceable
from conformance.real.report import table_of_cells, versions_of
from conformance.real.scene import Hub, scene
from conformance.real.table import HERE, KIT, Package, Row, Table, read_table
from mcpcore_conformance.kit.model import Page
from mcpcore_conformance.kit.model import Verdict as KitVerdict
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken

PAGE = ROOT / "conformance" / "real" / "report.md"
WRONG = Path(__file__).with_name("wrong_server.py")
OURS = [sys.executable, "-m", "mcpcore_conformance.everything.server", "--stdio"]
OFFER = """
[offer.ours]
server = "mcpcore-everything"
tools = ["greet"]
calls = [{ tool = "greet", arguments = { name = "Ada" }, expects = "Ada" }]
"""
pytestmark = pytest.mark.timeout(1800)

BUSY = 60.0
"""Seconds for what is quick on a machine that has nothing else to do."""


def server(name: str, words: list[str], **more: object) -> str:
    return entry("server", name, words, transport="stdio", offer="ours", **more)


def client(name: str, words: list[str], **more: object) -> str:
    return entry("client", name, words, transports=["stdio"], **more)


def entry(kind: str, name: str, words: list[str], **more: object) -> str:
    members = {"name": name, "command": words, **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in members.items()]
    return f"[[{kind}]]\n" + "\n".join(lines) + "\n"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder for the tables of a test."""
    for name in ("programs", "known", "checked"):
        (tmp_path / f"{name}.toml").write_text("")
    return tmp_path


def written(tables: Path, *programs: str, known: str = "") -> Path:
    (tables / "programs.toml").write_text(OFFER + "".join(programs))
    (tables / "known.toml").write_text(known)
    return tables


# The tables


TABLE = read_table()
TRIED = {
    (row, cell)
    for row in TABLE.rows
    for group in groups_of(row, TABLE, Checks((), (), {}))
    for cell in group.cells
}


def test_what_the_project_promises_to_test_is_in_the_table() -> None:
    servers = {row.program.package for row in TABLE.rows if row.has_kit}
    assert {
        *("@modelcontextprotocol/server-everything", "@modelcontextprotocol/server-filesystem"),
        "@modelcontextprotocol/server-memory",
        "@modelcontextprotocol/server-sequential-thinking",
        *("@playwright/mcp", "@upstash/context7-mcp"),
        *("mcp-server-time", "mcp-server-git", "mcp-server-fetch"),
    } == servers
    others = {row.program.package for row in TABLE.rows} - servers
    assert {
        *("@modelcontextprotocol/inspector", "mcp-remote", "supergateway", "mcp-proxy", "fastmcp"),
        *("langchain-mcp-adapters", "pydantic-ai-slim", "openai-agents"),
    } == others
    kits = {row.way for row, cell in TRIED if cell == KIT}
    assert kits == {"stdio", "http"}


def test_every_entry_means_cells_that_are_tried() -> None:
    for known in TABLE.known:
        assert any(known.covers(row, cell) for row, cell in TRIED), known
        for name in known.cells:
            assert any(known.covers(row, cell) for row, cell in TRIED if cell == name), known
    for gateway in (False, True):
        apply = [known for known in TABLE.known if known.gateway in (None, gateway)]
        for row, cell in TRIED:
            assert sum(known.covers(row, cell) for known in apply) <= 1, (str(row), cell)


def test_every_finding_that_was_read_is_of_a_server_in_the_table() -> None:
    met = {
        (row.peer, row.revision) for row, cell in TRIED if cell == KIT and row.revision is not None
    }
    for each in TABLE.checked:
        assert any(each.holds_in(peer) and revision in each.span for peer, revision in met), each


def test_rows_have_names_of_their_own() -> None:
    assert len({str(row) for row in TABLE.rows}) == len(TABLE.rows)


def test_the_page_has_every_program_reason_and_fact() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert versions_of(TABLE) in page
    assert "FAIL (" not in page
    for row in TABLE.rows:
        assert f"| {row.program.name} " in page
    reasons = (each.reason for each in TABLE.known if not each.gateway)
    for text in (*reasons, *(each.fact for each in TABLE.checked)):
        assert text.replace("|", "\\|") in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (server("x", OURS, revisions=["2020-01-01"]), "no revision '2020-01-01'"),
        (server("x", OURS, revisions=[]), "length"),
        (
            entry("server", "x", OURS, transport="fax", offer="ours", revisions=["2025-11-25"]),
            "fax",
        ),
        (
            entry("server", "x", OURS, transport="http", offer="ours", revisions=["2025-11-25"]),
            "url",
        ),
        (server("x", OURS, revisions=["2025-11-25"], package="x"), "no package 'x'"),
        (
            entry("server", "x", OURS, transport="stdio", offer="?", revisions=["2025-11-25"]),
            "offer",
        ),
        (client("x", OURS, cells=["flies"]), "no cell 'flies'"),
        (client("x", OURS, why="x"), "why"),
        ('[[package]]\nname = "x"\nversion = "^1"\nplace = "npm"\n', "version"),
        ('[[package]]\nname = "x"\nversion = "1"\nplace = "/usr"\n', "place"),
    ],
)
def test_a_bad_table_is_refused(text: str, message: str, tables: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(written(tables, text))


def known(**changes: object) -> str:
    members = {"programs": ["x"], "cells": ["calls"], "seen": "x", "reason": "it cannot", **changes}
    lines = [f"{key} = {json.dumps(value)}" for key, value in members.items() if value is not None]
    return "[[known]]\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (known(cells=["flies"]), "flies"),
        (known(revisions=["2020-01-01"]), "2020-01-01"),
        (known(seen="(x"), "seen: '"),
        (known(reason=""), "reason"),
        (known(seen=None), "seen"),
        (known(why="x"), "why"),
    ],
)
def test_a_bad_list_is_refused(text: str, message: str, tables: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(written(tables, known=text))


# Verdicts


@pytest.mark.parametrize(
    ("listed", "outcome", "detail", "verdict", "note"),
    [
        (None, OK, "", Verdict.OK, ""),
        (None, FAILED, "it broke", Verdict.RED, "it broke"),
        (None, UNAVAILABLE, "no way", Verdict.NONE, "no way"),
        (None, NOT_REACHED, "", Verdict.NONE, NOT_REACHED),
        (known(seen="br.ke"), FAILED, "it broke", Verdict.NONE, "it cannot"),
        (
            known(seen="br.ke", clause="a page"),
            FAILED,
            "it broke",
            Verdict.FAULT,
            "it cannot (a page)",
        ),
        (known(seen="else"), FAILED, "it broke", Verdict.RED, "it broke"),
        (known(), OK, "", Verdict.STALE, "it works, so it is not: it cannot"),
        (known(), NOT_REACHED, "", Verdict.NONE, NOT_REACHED),
    ],
)
def test_verdicts(
    listed: str | None, outcome: str, detail: str, verdict: Verdict, note: str, tables: Path
) -> None:
    table = read_table(
        written(tables, server("x", OURS, revisions=["2025-11-25"]), known=listed or "")
    )
    judged = judge(table.rows[0], Outcome("calls", outcome, detail), table)
    assert (judged.verdict, judged.note) == (verdict, note)


def test_an_entry_holds_where_it_says_and_nowhere_else(tables: Path) -> None:
    rows = (
        server("x", OURS, revisions=["2026-07-28", "2025-11-25"]),
        server("xy", OURS, revisions=["2025-11-25"], behind="http"),
    )
    entries = known(programs=["x*"], ways=["stdio"], revisions=["2025-11-25"], cells=["reads"])
    table = read_table(written(tables, *rows, known=entries))
    covered = [
        (str(row), cell)
        for row in table.rows
        for cell in ("calls", "reads")
        if table.find(row, cell, gateway=False) is not None
    ]
    assert covered == [("x, stdio, 2025-11-25", "reads")]


@pytest.mark.parametrize("listed", [None, True, False])
def test_an_entry_may_be_about_gateways_or_about_all_else(
    listed: bool | None, tables: Path
) -> None:
    text = known() if listed is None else known(gateway=listed)
    table = read_table(written(tables, server("x", OURS, revisions=["2025-11-25"]), known=text))
    for gateway in (True, False):
        found = table.find(table.rows[0], "calls", gateway=gateway)
        assert (found is not None) is (listed in (None, gateway))


def test_a_note_is_shown_once_and_numbered() -> None:
    rows = TABLE.rows[:2]
    cells = [
        Judged(rows[0], "opens", Verdict.OK),
        Judged(rows[0], "calls", Verdict.RED, "it broke"),
        Judged(rows[1], "calls", Verdict.STALE, "it works"),
        Judged(rows[1], KIT, Verdict.SKIPPED, "it broke"),
    ]
    lines = table_of_cells(cells).splitlines()
    shown = [[cell.strip() for cell in line.split("|")[1:-1]][3:] for line in lines[:4]]
    assert shown[0] == ["opens", "calls", "kit"]
    assert shown[2:] == [["ok", "FAIL (1)", ""], ["", "FAIL (2)", "skip (1)"]]
    assert lines[-2:] == ["1. it broke", "2. it works"]


# Runs


def cells_of(out: str) -> dict[str, str]:
    """What the table that was printed says of each program, in one line each."""
    rows = [line.split("|")[1:-1] for line in out.splitlines() if line.startswith("|")]
    return {row[0].strip(): " ".join(cell.strip() for cell in row[3:]) for row in rows[2:]}


@pytest.mark.long
def test_a_broken_program_is_red_and_a_good_one_is_not(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = server("good", OURS, revisions=["2026-07-28", "2025-11-25"])
    wrong = [sys.executable, str(WRONG), "legacy"]
    bad = server("bad", wrong, revisions=["2025-11-25"])
    where = str(written(tables, good, bad))
    assert command.main(["--tables", where, "--without", "kit", "--only", "good"]) == 0
    assert cells_of(capsys.readouterr().out) == {"good": "ok ok ok ok ok ok ok"}
    assert command.main(["--tables", where, "--without", "kit", "--only", "bad"]) == 1
    out = capsys.readouterr().out
    assert "it is called 'wrong'" in out
    assert "FAIL: bad, stdio, 2025-11-25: call: it printed no Ada" in out
    told = "FAIL (1) ok FAIL (2) ok ok FAIL (3) FAIL (4)"
    assert cells_of(out) == {"bad": told}, "it lists what it should, and nothing is left of it"


@pytest.mark.share(5)
@pytest.mark.parametrize(
    ("code", "shown", "said"),
    [
        ("print('no client')", "FAIL n/a ok", "no client"),
        ("import nothing", "FAIL n/a ok", "No module named 'nothing'"),
        ('print(\'["opens", "ok", ""]\'); sys.exit(\'fell\')', "ok FAIL ok", "fell"),
        ('print(\'["opens", "ok", ""]\\n["calls", "ok", ""]\')', "ok ok ok", ""),
        (
            'print(\'["opens", "ok", ""]\\n["calls", "ok", ""]\'); sys.exit(\'fell\')',
            "ok FAIL ok",
            "afterwards: fell",
        ),
    ],
)
def test_a_client_that_ends_early_is_red(
    code: str, shown: str, said: str, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [sys.executable, "-c", f"import sys\n{code}"]
    where = str(written(tables, client("c", words, cells=["opens", "calls"])))
    status = command.main(["--tables", where])
    out = capsys.readouterr().out
    found = " ".join(cell for cell in cells_of(out)["c"].split() if not cell.startswith("("))
    assert (status, found) == (int("FAIL" in shown), shown)
    assert said in out


def test_what_is_not_installed_is_skipped_with_its_reason(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = '[[package]]\nname = "no-such"\nversion = "1.0"\nplace = ".venv-none"\n'
    rows = (
        server("absent", OURS, revisions=["2025-11-25"], package="no-such"),
        server("needy", OURS, revisions=["2025-11-25"], needs=["no-such-program"]),
    )
    assert command.main(["--tables", str(written(tables, package, *rows))]) == 0
    out, err = capsys.readouterr()
    assert "no-such is not installed: make real" in out
    assert "there is no no-such-program" in out
    assert {*" ".join(cells_of(out).values()).split()} == {"skip", "(1)", "(2)"}
    assert "needy, stdio, 2025-11-25: the kit: skipped: there is no no-such-program" in err


@pytest.mark.parametrize(
    "arguments",
    [["--only", "nothing"], ["--cell", "flies"], ["--write", "x", "--only", "time"]],
)
def test_wrong_usage_is_said(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2


def test_tables_that_are_wrong_are_said(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tables / "programs.toml").write_text("[[server]]\n")
    with pytest.raises(SystemExit, match="2"):
        command.main(["--tables", str(tables)])
    assert "programs.toml: " in capsys.readouterr().err


# Processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a mark that outlives whoever started it."""
    if not traceable():
        pytest.skip("processes are looked for on Linux only")
    words = ["env", f"{MARK}=of-a-sleeper/{id(object())}", "sleep", "600"]
    process = subprocess.Popen(words)
    until = monotonic() + BUSY
    while "sleep 600" not in marked(words[1].partition("=")[2]).values():
        assert monotonic() < until
        sleep(0.01)
    yield process
    process.kill()
    process.wait()


def test_what_is_left_is_named_and_swept_away(sleeper: subprocess.Popen[bytes]) -> None:
    assert anyio.run(left, "of-a-sleeper/", 0.0) == [f"{sleeper.pid} (sleep 600)"]
    assert anyio.run(left, "of-another/", 0.0) == []
    sweep("of-a-sleeper/")
    assert sleeper.wait(BUSY) == -signal.SIGKILL
    assert anyio.run(left, "of-a-sleeper/", BUSY) == []


def test_a_command_that_does_not_end_is_killed() -> None:
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(NotStarted, match=r"has not ended within 0\.2 s"):
        anyio.run(partial(run, words, {}, 0.2))


def test_an_interrupt_leaves_nothing_behind(tables: Path) -> None:
    if not traceable():
        pytest.skip("processes are looked for on Linux only")
    waits = "import subprocess, sys; subprocess.run(sys.argv[sys.argv.index('--') + 1:])"
    rows = client("slow", [sys.executable, "-c", waits], cells=["opens"])
    words = [sys.executable, "-m", "conformance.real", "--tables", str(written(tables, rows))]
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until = monotonic() + BUSY
        while not any("--stdio" in each for each in marked(f"{process.pid}/").values()):
            assert process.poll() is None
            assert monotonic() < until
            sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=BUSY)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert marked(f"{process.pid}/") == {}


# Installing


def fake_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Package:
    """A package whose environment has a program of ours in the place of Python."""
    monkeypatch.setattr(installing, "ROOT", tmp_path)
    monkeypatch.setattr(installing, "REASONS", tmp_path / "tools" / "reasons.json")
    monkeypatch.setattr(installing, "TOOLS", tmp_path / "tools")
    python = tmp_path / ".venv-x" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return Package("some-thing", "1.2", ".venv-x", "more")


def test_what_cannot_be_installed_is_told_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = fake_place(tmp_path, monkeypatch, "echo 'ERROR: nobody has '$* >&2; exit 1")
    told: list[str] = []
    installing.install([package], told.append)
    reason = (
        "some-thing cannot be installed: ERROR: nobody has -m pip install -q some-thing[more]==1.2"
    )
    assert told == [".venv-x: installing some-thing", reason]
    assert missing(package) == reason


def test_what_is_installed_is_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / ".venv-x" / "lib" / "python3" / "site-packages" / "some_thing-1.2.dist-info"
    package = fake_place(tmp_path, monkeypatch, f"mkdir -p {info}")
    assert not installed(package)
    for told in (".venv-x: installing some-thing",), ():
        heard: list[str] = []
        installing.install([package], heard.append)
        assert tuple(heard) == told
        assert missing(package) == ""
    assert missing(Package("some-thing", "1.3", ".venv-x")) != ""


def test_one_package_that_cannot_be_installed_does_not_keep_the_others_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".venv-x" / "lib" / "python3" / "site-packages"
    script = f'case "$*" in *other*) exit 1;; *) mkdir -p {folder}/some_thing-1.2.dist-info;; esac'
    package = fake_place(tmp_path, monkeypatch, script)
    other = Package("other", "1", ".venv-x")
    installing.install([package, other], lambda line: None)
    assert missing(package) == ""
    assert missing(other) == "other cannot be installed: exit status 1"


def test_without_npm_its_packages_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_place(tmp_path, monkeypatch, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    package = Package("x", "1", "npm")
    installing.install([package], lambda line: None)
    assert missing(package) == "x cannot be installed: there is no npm"


# The kit


def cases_of_a_page() -> Page:
    page = Page("basic/test")
    case = page.server()

    @case.must("part/always", "Nothing.")
    async def always(talk: ServerTalk) -> None:
        """Finds the same in every server."""
        raise Broken("it is always so")

    @case.should("part/once", "Nothing.")
    async def once(talk: ServerTalk) -> None:
        """Finds something the first time only, as on a machine that is too busy."""
        tries.append(None)
        if len(tries) == 1:
            raise Broken("it was so once")

    tries: list[None] = []
    return page


def read(case: str, seen: str) -> Checked:
    return Checked(
        cases=(f"basic/test/part/{case}",),
        verdict=KitVerdict.FAILED,
        peers=("good over stdio",),
        revisions="2025-11-25",
        seen=seen,
        fact="It does so.",
    )


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("checked", "problems"),
    [
        ((), ["not read: failed basic/test/part/always"]),
        ((read("always", "always so"),), []),
        ((read("always", "never so"),), ["not read: failed", "not found any more: failed"]),
        (
            (read("always", "always so"), read("gone", "x")),
            ["not found any more: failed basic/test/part/gone"],
        ),
    ],
)
def test_a_finding_that_nobody_has_read_is_red(
    checked: tuple[Checked, ...], problems: list[str], tables: Path
) -> None:
    table = read_table(written(tables, server("good", OURS, revisions=["2025-11-25"])))
    checks = Checks(cases_of_a_page().cases, checked, {})
    found = anyio.run(play_kit, table, table.rows[0], checks)
    assert len(found) == len(problems)
    for each, beginning in zip(sorted(found), sorted(problems), strict=True):
        assert each.startswith(beginning)
    assert [peer for peer, _ in checks.results] == ["good over stdio"] * 2


async def play_kit(table: Table, row: Row, checks: Checks) -> list[str]:
    with scene(row, table, Hub("of-a-test/", {}, ""), KIT) as made:
        return await play(made, checks)


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "--only supergateway" in out
    assert HERE.name in out
