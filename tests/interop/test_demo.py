"""The demonstration: talks and sign-ins, the kit on both sides; a failure shows."""

import sys

import pytest
from msgspec import structs
from rich.console import Console

from conformance.demo import __main__ as whole
from conformance.demo import authorization, kit
from conformance.demo import peers as demo
from conformance.interop.authorization import table
from conformance.interop.drivers.features import Cell
from conformance.interop.talk import OUR_CLIENT, converse, offered
from mcpcore.spec.revisions import BY_NAME, REVISIONS
from mcpcore_conformance.kit.model import Binding, Page, Side
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken

NAMES = list(demo.ROUNDS)
OURS = demo.Pair("our", "our", "stdio")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("pair", "revision"),
    [
        pytest.param(
            pair,
            revision,
            marks=[pytest.mark.repeats] * ((pair.transport, revision) != ("http", "2026-07-28")),
            id=f"{pair}, {pair.transport}, {revision}",
        )
        for pair in demo.PAIRS
        for revision in pair.revisions
    ],
)
def test_every_feature_of_a_pair(pair: demo.Pair, revision: str) -> None:
    """The matrix of the interoperation holds such talks, too, once each."""
    if "SDK" in (pair.client, pair.server) and not demo.SDK.installed:
        pytest.skip("the official SDK is not installed: make sdk")
    cells: list[Cell] = []
    client, server = demo.program(pair.client, "client"), demo.program(pair.server, "server")
    with offered(server, pair.transport) as target:
        converse(client, target, BY_NAME[revision], demo.ROUNDS, cells.append)
    assert [cell.feature for cell in cells] == NAMES
    assert {cell.feature: cell.detail for cell in cells if cell.outcome != "ok"} == {}
    assert [len(cell.ms) for cell in cells] == list(demo.ROUNDS.values())


@pytest.mark.parametrize(
    "command", [[sys.executable, "-c", "print('no server')"], ["/nonexistent/server"]]
)
def test_a_server_that_fails_fails_every_cell(command: list[str]) -> None:
    cells: list[Cell] = []
    converse(OUR_CLIENT, command, BY_NAME["2025-11-25"], demo.ROUNDS, cells.append)
    assert [cell.feature for cell in cells] == NAMES
    assert all(cell.outcome == "failed" and cell.detail for cell in cells)


def test_every_binding_of_the_sdk_is_there() -> None:
    for sides in (("our", "SDK"), ("SDK", "our")):
        there = {pair.transport for pair in demo.PAIRS if (pair.client, pair.server) == sides}
        assert there == {"stdio", "http", "sse"}
    for pair in demo.PAIRS:
        assert pair.revisions == (demo.REVISIONS[:1] if pair.transport == "sse" else demo.REVISIONS)


def test_the_kit_is_shown_on_both_sides_over_three_bindings() -> None:
    for side in Side:
        acts = [act for act in kit.ACTS if act.side is side]
        assert {binding for act in acts for binding in act.bindings} == {
            Binding.HTTP,
            Binding.WS,
            Binding.STDIO,
        }
        assert {revision.modern for act in acts for revision in act.revisions} == {True, False}


@pytest.mark.parametrize(
    ("transport", "count"),
    [("stdio", 2), ("http", 2), ("websocket", 2), ("sse", 1), ("tcp", 2), ("unix", 2)],
)
def test_a_pair_whose_server_fails_shows(
    transport: str,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "SDK", structs.replace(demo.SDK, environment=sys.prefix))
    monkeypatch.setattr(demo, "OUR_SERVER", (sys.executable, "-c", "exit('[out of order]')"))
    monkeypatch.setattr(demo, "PAIRS", (demo.Pair("our", "our", transport),))
    assert demo.talk(Console()) == count * len(NAMES)
    shown = capsys.readouterr().out
    assert f"0 of {count * len(NAMES)} cells ok" in shown
    assert shown.count(f"failed: our → our, {transport}") == count * len(NAMES)
    assert "[out of order]" in shown


@pytest.mark.parametrize("transport", ["websocket", "memory"])
def test_a_pair_that_works_shows(
    transport: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SDK", structs.replace(demo.SDK, environment=sys.prefix))
    monkeypatch.setattr(demo, "PAIRS", (demo.Pair("our", "our", transport),))
    monkeypatch.setattr(demo, "REVISIONS", ("2026-07-28",))
    assert demo.talk(Console()) == 0
    shown = capsys.readouterr().out
    assert f"{len(NAMES)} of {len(NAMES)} cells ok" in shown
    assert "failed" not in shown
    assert all(name in shown for name in NAMES)


@pytest.mark.parametrize(
    "clients", [["our"], pytest.param(["our", "SDK"], marks=pytest.mark.long)], ids=str
)
def test_clients_sign_in_without_a_browser(
    clients: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meetings = tuple(each for each in authorization.MEETINGS if each.client in clients)
    assert len(meetings) == len(clients)
    if any(each.missing for each in meetings):
        pytest.skip(str(meetings[-1].missing))
    monkeypatch.setattr(authorization, "MEETINGS", meetings)
    assert authorization.sign_in(Console(width=200)) == 0
    shown = capsys.readouterr().out
    assert f"{5 * len(clients)} of {5 * len(clients)} steps ok" in shown
    assert "failed" not in shown
    for said in (
        "the person was asked once",
        "as developer",
        "403, asked for notes:write, then 200",
        "a new token, and nobody was asked",
        "notes:admin is not granted: ",
    ):
        assert shown.count(said) == len(clients), said


def test_a_protected_server_that_fails_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = (sys.executable, "-c", "exit('[out of order]')")
    monkeypatch.setitem(table.SERVERS, "our", broken)
    assert authorization.sign_in(Console(width=300)) == 10
    shown = capsys.readouterr().out
    assert "0 of 10 steps ok" in shown
    assert shown.count("[out of order]") >= 10


def test_missing_sdk_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SDK", structs.replace(demo.SDK, environment="nonexistent"))
    assert whole.main([]) == 2
    assert "make sdk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"), [("--help", 0, "conformance kit"), ("quick", 2, "quick")]
)
def test_the_demonstration_does_not_start_over_what_it_is_asked(
    words: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        whole.main([words])
    assert ended.value.code == status
    assert said in "".join(capsys.readouterr())


def test_why_it_took_long_is_told() -> None:
    assert whole.told(179.6) == "the demonstration took 180 s"
    assert whole.told(181.0).startswith("the demonstration took 181 s; on two quiet cores")


@pytest.mark.parametrize("well", [True, False])
def test_the_kit_ends_with_the_matrix(
    well: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Page("p")

    @page.server().must("a/b", "-")
    async def b(talk: ServerTalk) -> None:
        """Is tried."""
        if not well:
            raise Broken("[out of order]")

    monkeypatch.setattr(kit, "all_cases", lambda: tuple(page.cases))
    acts = [
        kit.Act(Side.SERVER, (Binding.HTTP,), REVISIONS),
        kit.Act(Side.SERVER, (Binding.WS,), (kit.OLD, kit.NEW)),
    ]
    assert kit.play(Console(width=80), acts) == (0 if well else 7, False)
    shown = capsys.readouterr().out
    assert "our server over WebSocket in 2025-11-25, 2026-07-28" in shown
    word = "passed" if well else "failed"
    rows = [line.split() for line in shown.splitlines() if line.strip().startswith("server ")]
    assert rows == [
        ["server", "HTTP", *["1", word] * 5],
        ["server", "WebSocket", *["not", "played"] * 3, *["1", word] * 2],
    ]
    assert f"1 cases: 7 {word}" in shown
    assert shown.count("[out of order]") == (0 if well else 7)
