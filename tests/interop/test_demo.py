"""The demonstration: every pair with every feature, and that a failure shows."""

import sys
from pathlib import Path

import anyio
import pytest

from conformance.demo import __main__ as demo
from conformance.demo.features import FEATURES, Cell, Mismatch, expect, measure

NAMES = [feature for feature, _, _ in FEATURES]
OURS = demo.Pair("our", "our", "stdio")


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("revision", demo.REVISIONS)
@pytest.mark.parametrize("pair", demo.PAIRS, ids=lambda pair: f"{pair}, {pair.transport}")
def test_every_feature_of_a_pair(pair: demo.Pair, revision: str) -> None:
    if "SDK" in (pair.client, pair.server) and not Path(demo.SDK_PYTHON).exists():
        pytest.skip("the official SDK is not installed: make sdk")
    cells: list[Cell] = []
    with demo.offered(pair) as target:
        demo.converse(pair, target, revision, cells.append)
    assert [cell.feature for cell in cells] == NAMES
    assert {cell.feature: cell.detail for cell in cells if cell.outcome != "ok"} == {}
    assert all(len(cell.ms) == rounds for cell, (_, _, rounds) in zip(cells, FEATURES, strict=True))


@pytest.mark.parametrize(
    "command", [[sys.executable, "-c", "print('no server')"], ["/nonexistent/server"]]
)
def test_a_server_that_fails_fails_every_cell(command: list[str]) -> None:
    cells: list[Cell] = []
    demo.converse(OURS, command, "2025-11-25", cells.append)
    assert [cell.feature for cell in cells] == NAMES
    assert all(cell.outcome == "failed" and cell.detail for cell in cells)


@pytest.mark.parametrize("transport", ["stdio", "http", "websocket"])
def test_a_pair_whose_server_fails_shows(
    transport: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SDK_PYTHON", sys.executable)
    monkeypatch.setattr(demo, "OUR_SERVER", (sys.executable, "-c", "exit('[out of order]')"))
    monkeypatch.setattr(demo, "PAIRS", (demo.Pair("our", "our", transport),))
    assert demo.main() == 1
    shown = capsys.readouterr().out
    assert f"0 of {2 * len(NAMES)} cells ok" in shown
    assert shown.count(f"failed: our → our, {transport}") == 2 * len(NAMES)
    assert transport == "stdio" or "[out of order]" in shown


def test_a_pair_that_works_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SDK_PYTHON", sys.executable)
    monkeypatch.setattr(demo, "PAIRS", (demo.Pair("our", "our", "websocket"),))
    monkeypatch.setattr(demo, "REVISIONS", ("2026-07-28",))
    assert demo.main() == 0
    shown = capsys.readouterr().out
    assert f"{len(NAMES)} of {len(NAMES)} cells ok" in shown
    assert "failed" not in shown
    assert all(name in shown for name in NAMES)


def test_missing_sdk_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SDK_PYTHON", "/nonexistent/python")
    assert demo.main() == 2
    assert "make sdk" in capsys.readouterr().err


def test_what_a_round_raises_is_its_outcome() -> None:
    answers = ["a good answer", "a wrong answer", "a good answer"]

    async def one_round() -> None:
        answer = answers.pop(0)
        expect("good" in answer, answer)

    cell = anyio.run(measure, "prompts", one_round, 3)
    assert cell.outcome == "failed"
    assert cell.detail == f"{Mismatch.__name__}: unexpected: a wrong answer"
    assert len(cell.ms) == 1
