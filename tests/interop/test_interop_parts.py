"""The harness of interoperation: verdicts, lists, reports, and that every driver can fail."""

import ast
import re
import sys
from itertools import product
from pathlib import Path

import anyio
import pytest

from conformance.interop import __main__ as command
from conformance.interop import matrix, report
from conformance.interop.drivers.caller import Mismatch, Refused, Unavailable, expect
from conformance.interop.drivers.features import BY_NAME, FEATURES, Cell, measure
from conformance.interop.known import Known, load
from conformance.interop.matrix import (
    EVERY_LINE,
    FASTMCP,
    LINES,
    OURS,
    SIDES,
    TYPESCRIPT,
    Judged,
    Line,
    Talk,
    Verdict,
    absence,
    foreign_talks,
    judge,
    lack,
    present,
    relayed_talks,
    talks,
)
from conformance.interop.report import full, markdown, summary, table
from conformance.interop.talk import OUR_CLIENT, ROOT, STATELESS, converse
from mcpcore.spec.revisions import BY_NAME as REVISION
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, Revision

NEW, OLD = LINES
HERE = Path(__file__).parent
PACKAGE = ROOT / "conformance" / "interop"


def entry(kind: str = "fault", **changes: object) -> str:
    members = {
        "lines": ["1.x"],
        "side": "client",
        "features": ["ping"],
        "seen": "x",
        "reason": "it has none",
        "clause": "the page",
        **changes,
    }
    lines = [f"{name} = {value!r}" for name, value in members.items() if value is not None]
    return f"[[{kind}]]\n" + "\n".join(lines)


# Cells


def test_conversations_are_those_that_the_lines_and_the_specification_have() -> None:
    found = {(talk.line.name, talk.side, talk.transport, talk.revision.name) for talk in talks()}
    assert (
        len(talks()) == len(found) == (5 + 4 + 4) + (5 + 4 + 4 + 4) + (4 + 3 + 4) + (4 + 3 + 3 + 4)
    )
    assert ("1.x", "client", "stdio", "2026-07-28") not in found
    assert ("2.x", "client", "http", "2024-11-05") not in found
    assert ("2.x", "client", STATELESS, "2025-11-25") not in found
    assert len(talks(TYPESCRIPT)) == 4 * 2 + 2 * 2
    assert len(talks([FASTMCP])) == 2 * (2 + 2 + 1) + 2
    assert all(len(present(talk)) > 20 for talk in talks(EVERY_LINE))


def test_conversations_through_a_gateway() -> None:
    found = relayed_talks(EVERY_LINE)
    assert {str(talk) for talk in found if talk.line is OLD} == {
        "1.x as client, http, 2025-11-25, through a gateway to a server in 2025-11-25",
        "1.x as client, http, 2025-11-25, through a gateway to a server in 2026-07-28",
        "1.x as client, http, 2025-11-25, through a gateway to a server of 2.x in 2026-07-28",
        *(
            f"1.x as client, {over}, 2025-11-25, through a gateway to a server of fastmcp in {era}"
            for over, era in product(("http", "stdio"), ("2025-11-25", "2026-07-28"))
        ),
        "1.x as server, http, 2025-11-25, through a gateway to a server in 2025-11-25",
        "1.x as server, http, 2026-07-28, through a gateway to a server in 2025-11-25",
    }
    assert len(found) == len(set(found)) == 2 * (5 + 10 + 2) + 6 + 2 * 8 + 4 + 2 * 3
    alone = foreign_talks(EVERY_LINE)
    assert len(alone) == 2 * (2 + 1)
    assert not foreign_talks(LINES)
    assert [lack(talk, BY_NAME["task: input"], load()) is None for talk in alone] == [
        talk.revision is LATEST for talk in alone
    ]
    assert all(len(present(talk)) > 40 for talk in found)
    across = {feature.name for talk in found if is_across(talk) for feature in present(talk)}
    assert {"sampling", "roots", "progress", "cancellation", "resource updated"} <= across
    assert not across & {"ping", "task: result", "cache hints", "session: end"}
    ends = {(talk.client_name, talk.server_name) for talk in found if is_across(talk)}
    assert {("2.x", "1.x"), ("TypeScript 1.x", "fastmcp"), (OURS, "TypeScript 2.x")} <= ends


def is_across(talk: Talk) -> bool:
    return talk.behind is not talk.revision


@pytest.mark.parametrize(
    ("feature", "line", "transport", "revision", "reason"),
    [
        ("tools/call", NEW, STATELESS, "2025-03-26", None),
        ("tools/call", NEW, STATELESS, "2024-11-05", "2024-11-05 has no Streamable HTTP"),
        ("sampling", NEW, STATELESS, "2025-11-25", "the server can only answer"),
        ("sampling", NEW, STATELESS, "2026-07-28", None),
        ("progress", NEW, STATELESS, "2026-07-28", "the server can only answer"),
        ("ping", NEW, "stdio", "2025-11-25", None),
        ("ping", NEW, "stdio", "2026-07-28", "not in this revision"),
        ("audio content", NEW, "stdio", "2024-11-05", "not in this revision"),
        ("audio content", NEW, "http", "2025-03-26", None),
        ("tools/call", OLD, "sse", "2024-11-05", None),
        ("tools/call", NEW, "sse", "2025-11-25", None),
        ("tools/call", NEW, "sse", "2026-07-28", "2026-07-28 has no HTTP+SSE"),
        ("session: lost", OLD, "sse", "2025-11-25", "only over http"),
        ("session: end", OLD, "stdio", "2025-06-18", "only over http"),
        ("tools/call", OLD, "http", "2024-11-05", "2024-11-05 has no Streamable HTTP"),
        ("tools/call", OLD, "stdio", "2026-07-28", "SDK 1.x is not tried in 2026-07-28"),
    ],
)
def test_absence(
    feature: str, line: Line, transport: str, revision: str, reason: str | None
) -> None:
    found = absence(Talk(line, "server", transport, REVISION[revision]), BY_NAME[feature])
    assert found is None if reason is None else reason in str(found)


KNOWN = """
[[gap]]
lines = ["1.x"]
side = "client"
features = ["ping"]
transports = ["stdio"]
seen = "so it was|so it is"
lacks = "mcp.client.pings"
reason = "it cannot"

[[fault]]
lines = ["1.x", "2.x"]
side = "server"
features = ["ping"]
revisions = ["2025-11-25"]
seen = "^so it"
reason = "it does not"
clause = "the page"
"""


@pytest.mark.parametrize(
    ("line", "side", "transport", "revision", "outcome", "verdict", "note"),
    [
        (OLD, "client", "http", "2025-11-25", "ok", Verdict.OK, ""),
        (OLD, "client", "http", "2025-11-25", "failed", Verdict.RED, "so it was"),
        (OLD, "client", "http", "2025-11-25", "unavailable", Verdict.RED, "so it was"),
        (OLD, "client", "stdio", "2025-11-25", "failed", Verdict.NONE, "it cannot"),
        (OLD, "client", "stdio", "2024-11-05", "unavailable", Verdict.NONE, "it cannot"),
        (OLD, "client", "stdio", "2024-11-05", "ok", Verdict.STALE, "it works, so it is not"),
        (NEW, "client", "stdio", "2025-11-25", "failed", Verdict.RED, "so it was"),
        (NEW, "server", "http", "2025-11-25", "failed", Verdict.FAULT, "it does not (the page)"),
        (NEW, "server", "http", "2025-11-25", "ok", Verdict.STALE, "it works, so it is not"),
        (NEW, "server", "http", "2025-06-18", "failed", Verdict.RED, "so it was"),
    ],
)
def test_judge(
    line: Line,
    side: str,
    transport: str,
    revision: str,
    outcome: str,
    verdict: Verdict,
    note: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "known.toml"
    path.write_text(KNOWN)
    talk = Talk(line, side, transport, REVISION[revision])
    judged = judge(talk, Cell("ping", outcome, "so it was"), load(path))
    assert judged.verdict is verdict
    assert judged.note.startswith(note)
    assert verdict.red is (verdict in (Verdict.RED, Verdict.STALE))
    if verdict in (Verdict.NONE, Verdict.FAULT):
        other = judge(talk, Cell("ping", outcome, "another way"), load(path))
        assert (other.verdict, other.note) == (Verdict.RED, "another way")


@pytest.mark.parametrize(
    ("server", "revision", "behind", "outcome", "verdict"),
    [
        (NEW, LATEST, LATEST_LEGACY, "failed", Verdict.NONE),
        (NEW, LATEST, LATEST_LEGACY, "ok", Verdict.OK),
        (OLD, LATEST, LATEST_LEGACY, "failed", Verdict.FAULT),
        (OLD, LATEST, LATEST_LEGACY, "ok", Verdict.OK),
        (OLD, LATEST_LEGACY, LATEST_LEGACY, "ok", Verdict.STALE),
        (NEW, LATEST, LATEST, "failed", Verdict.RED),
    ],
)
def test_judge_through_a_gateway(
    server: Line,
    revision: Revision,
    behind: Revision,
    outcome: str,
    verdict: Verdict,
    tmp_path: Path,
) -> None:
    path = tmp_path / "known.toml"
    fault = entry(side="server", revisions=["2025-11-25"], lines=["1.x"])
    eras = {"revisions": ["2026-07-28"], "behind": ["2025-11-25"], "lines": ["2.x"]}
    path.write_text(f"{fault}\n{entry('difference', side=None, clause=None, **eras)}")
    known = load(path)
    for talk in (
        Talk(server, "server", "http", revision, behind),
        Talk(TYPESCRIPT[0], "client", "http", revision, behind, server),
        *([Talk(TYPESCRIPT[0], "client", "http", revision, None, server)] * (behind is revision)),
    ):
        assert judge(talk, Cell("ping", outcome, "x"), known).verdict is verdict


# What is known


def test_every_entry_means_a_cell_that_is_tried() -> None:
    known = load()
    for each in (*known.gap, *known.fault):
        tried = {
            (talk.line.name, feature.name)
            for talk in talks(EVERY_LINE)
            for feature in present(talk)
            if each.covers(
                talk.line.name, talk.side, talk.transport, talk.revision.name, feature.name
            )
        }
        assert tried == {(line, name) for line in each.lines for name in each.features}
    for other in known.difference:
        found = {
            feature.name
            for talk in relayed_talks(EVERY_LINE)
            for feature in present(talk)
            if talk.behind
            and other.covers(talk.server_name, talk.revision.name, talk.behind.name, feature.name)
        }
        assert found == set(other.features)


def test_no_cell_falls_under_two_entries() -> None:
    known = load()
    for talk in talks(EVERY_LINE):
        place = (talk.line.name, talk.side, talk.transport, talk.revision.name)
        for feature in FEATURES:
            covering = [
                each for each in (*known.gap, *known.fault) if each.covers(*place, feature.name)
            ]
            assert len(covering) <= 1, (str(talk), feature.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry(side="proxy"), "proxy"),
        (entry(features=["pong"]), "pong"),
        (entry(revisions=["2020-01-01"]), "2020-01-01"),
        (entry(reason=" "), "reason and clause"),
        (entry(clause=" "), "reason and clause"),
        (entry(clause=None), "clause"),
        (entry(reason=None), "reason"),
        (entry(why="x"), "why"),
        (entry(seen=None), "seen"),
        (entry(seen="(x"), "seen: '"),
        (entry("gap", clause=None), "lacks"),
        (entry("gap", clause=None, lacks="our client does not"), "no module of the SDK"),
        (entry("gap", clause=None, lacks="mcp"), "no module of the SDK"),
        (entry("difference", lines=None, side=None, clause=None, behind=["x"]), "no 'x'"),
    ],
)
def test_a_bad_list_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("lacks", "found"),
    [
        ("mcp.no_such_thing", []),
        ("mcp.client.session", ["'ping' is no gap: SDK 1.x has mcp.client.session"]),
    ],
)
def test_a_gap_is_for_want_of_something_in_the_sdk(
    lacks: str, found: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "known.toml"
    path.write_text(entry("gap", clause=None, lacks=lacks))
    if not OLD.installed:
        pytest.skip("the official SDK is not installed: make sdk")
    assert matrix.no_gaps(load(path)) == found
    assert matrix.no_gaps(load(path), [NEW]) == []


# The report


def cells() -> list[Judged]:
    one = Talk(NEW, "client", "stdio", LATEST_LEGACY)
    two = Talk(NEW, "client", "stdio", LATEST)
    return [
        Judged(one, "ping", Verdict.OK),
        Judged(one, "tools/call", Verdict.RED, "it | broke"),
        Judged(two, "tools/call", Verdict.FAULT, "it is wrong (a page)"),
        Judged(two, "roots", Verdict.NONE, "it cannot"),
        Judged(two, "sampling", Verdict.STALE, "it works"),
    ]


def test_table_is_aligned_and_escaped() -> None:
    laid_out = table(("a", "b"), [("x|y", "1"), ("z", "22")])
    assert laid_out.splitlines() == [
        "| a    | b  |",
        "| ---- | -- |",
        "| x\\|y | 1  |",
        "| z    | 22 |",
    ]


def test_full_table_names_every_reason() -> None:
    shown = full(cells(), [BY_NAME["ping"], BY_NAME["tools/call"]])
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in shown.splitlines()]
    assert rows[2] == ["ping", "2.x as client", "stdio", "", "", "", "ok", "n/a (1)"]
    called = next(row for row in rows if row[:3] == ["tools/call", "2.x as client", "stdio"])
    assert [re.sub(r"\d+", "N", cell) for cell in called[6:]] == ["FAIL (N)", "fault (N)"]
    notes = dict(re.findall(r"^(\d+)\. (.*)$", shown, re.MULTILINE))
    assert notes["1"] == "not in this revision"
    assert notes[re.sub(r"\D", "", called[6])] == "it | broke"
    assert notes[re.sub(r"\D", "", called[7])] == "it is wrong (a page)"


def test_summary_counts() -> None:
    row = summary(cells()).splitlines()[2]
    assert row.split("|")[-3:-1] == [" 1 ok, 1 FAIL ", " 0 ok, 1 FAIL, 1 fault, 1 n/a "]


def test_page_holds_every_entry() -> None:
    known = load()
    page = markdown(cells(), known)
    assert all(each.reason in page for each in (*known.gap, *known.fault))
    assert all(each.clause in page for each in known.fault)
    assert all(each.reason in page for each in known.difference)
    assert all(line.version in page for line in EVERY_LINE)
    assert "## Faults" not in markdown(cells(), Known())


# Programs


def test_versions_are_those_that_the_makefile_installs() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    versions = r"^((?:SDK1?|TYPESCRIPT2?|FASTMCP)_VERSION) := (\S+)$"
    installed = dict(re.findall(versions, text, re.MULTILINE))
    assert {line.version for line in EVERY_LINE} == set(installed.values())


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module or "")
    return found - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("folder", "libraries", "ours"),
    [
        ("drivers", {"anyio"}, r"conformance\.interop\.drivers(\.\w+)?"),
        (
            "sdk",
            {
                "anyio",
                "cryptography",
                "fastmcp",
                "httpx",
                "httpx2",
                "jwt",
                "mcp",
                "mcp_types",
                "pydantic",
                "starlette",
                "uvicorn",
            },
            r"(conformance\.interop\.(authorization|drivers|sdk)\.\w+|mcpcore_conformance\.everything\.media)",
        ),
    ],
)
def test_programs_of_the_sdk_need_nothing_of_ours(
    folder: str, libraries: set[str], ours: str
) -> None:
    paths = sorted((PACKAGE / folder).glob("*.py"))
    assert paths
    for path in paths:
        for name in imports(path):
            top = name.partition(".")[0]
            allowed = top in libraries | sys.stdlib_module_names or re.fullmatch(ours, name)
            assert allowed, f"{path.name} imports {name}"


def test_the_sdk_is_not_on_our_path() -> None:
    from importlib.util import find_spec

    assert find_spec("mcp") is None


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        ([sys.executable, "-c", "raise SystemExit('[no luck]')"], "ended early: [no luck]"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "ended early: exit status 3"),
        ([sys.executable, "-c", ""], "did not drive it"),
        ([*OUR_CLIENT], "exited with code 1; its last words: no server"),
    ],
)
def test_what_a_client_does_not_drive_has_failed(client: list[str], problem: str) -> None:
    found: list[Cell] = []
    server = [sys.executable, "-c", "raise SystemExit('no server')"]
    converse(client, server, LATEST_LEGACY, {"ping": 1, "roots": 1}, found.append)
    assert [cell.feature for cell in found] == ["ping", "roots"]
    assert all(cell.outcome == "failed" and problem in cell.detail for cell in found)


# Drivers


@pytest.mark.parametrize(
    ("era", "revision"), [("legacy", LATEST_LEGACY), ("modern", LATEST)], ids=["legacy", "modern"]
)
def test_every_driver_fails_where_the_server_is_wrong(era: str, revision: object) -> None:
    assert revision in (LATEST, LATEST_LEGACY)
    row = LATEST if revision is LATEST else LATEST_LEGACY
    rounds = {feature.name: 1 for feature in present(Talk(NEW, "server", "stdio", row))}
    found: list[Cell] = []
    server = [sys.executable, str(HERE / "wrong_server.py"), era]
    converse([*OUR_CLIENT, "--patience", "0.3"], server, row, rounds, found.append)
    outcomes = {cell.feature: cell.outcome for cell in found}
    assert set(outcomes.values()) == {"failed"}, outcomes
    assert not any("ended early" in cell.detail for cell in found)


@pytest.mark.parametrize(
    ("raised", "outcome", "detail"),
    [
        (None, "ok", ""),
        (Refused(-32602, "bad\n  cursor"), "failed", "Refused: error -32602: bad cursor"),
        (Unavailable("no way"), "unavailable", "Unavailable: no way"),
        (ExceptionGroup("", [ExceptionGroup("", [ValueError("x")])]), "failed", "ValueError: x"),
        (ValueError("x" * 1000), "failed", f"ValueError: {'x' * 288}"),
        (TimeoutError(), "failed", "TimeoutError"),
    ],
)
def test_what_a_round_raises_is_its_outcome(
    raised: Exception | None, outcome: str, detail: str
) -> None:
    async def one_round() -> None:
        if raised is not None:
            raise raised

    cell = anyio.run(measure, "prompts", one_round, 3)
    assert (cell.outcome, cell.detail) == (outcome, detail)
    assert len(cell.ms) == (3 if outcome == "ok" else 0)


def test_a_later_round_can_fail() -> None:
    answers = ["a good answer", "a wrong answer", "a good answer"]

    async def one_round() -> None:
        answer = answers.pop(0)
        expect("good" in answer, answer)

    cell = anyio.run(measure, "prompts", one_round, 3)
    assert cell.outcome == "failed"
    assert cell.detail == f"{Mismatch.__name__}: unexpected: a wrong answer"
    assert len(cell.ms) == 1


def test_patience_has_an_end() -> None:
    cell = anyio.run(measure, "prompts", anyio.sleep_forever, 1, 0.01)
    assert (cell.outcome, cell.detail) == ("failed", "TimeoutError")


# The command


def test_missing_sdk_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = Line("9.x", "9.9", ".venv-none", (LATEST,), "sdk9")
    monkeypatch.setattr(command, "EVERY_LINE", (missing,))
    assert command.main([]) == 2
    assert "9.9 is not installed: make interop" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--line", "3.x"],
        ["--feature", "x"],
        ["--line", "1.x", "--write", "x.md"],
        ["--transport", "sse", "--revision", "2026-07-28"],
        ["--feature", "session: end", "--transport", "stdio"],
    ],
)
def test_wrong_usage(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Both lines seem to be installed, and to lack what is said to be missing in them.
    monkeypatch.setattr(Line, "installed", True)
    monkeypatch.setattr(Line, "has", lambda line, module: False)
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)


def test_a_red_cell_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # An SDK whose programs are none: its interpreter is ours, and the scripts do not exist.
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / ".installed-9.9").touch()
    line = Line("9.x", "9.9", str(environment), (LATEST,), "sdk9")
    monkeypatch.setattr(command, "EVERY_LINE", (line,))
    monkeypatch.setattr(report, "EVERY_LINE", (line,))
    assert command.main(["--transport", "stdio", "--feature", "tools/call"]) == 1
    shown = capsys.readouterr().out
    assert f"{len(SIDES)} cells tried, {len(SIDES)} red" in shown
    assert shown.count("FAIL: 9.x as ") == len(SIDES)
