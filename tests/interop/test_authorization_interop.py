"""Interoperation of authorization: no step fails, the page says the same; a wrong client shows."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from conformance.interop.authorization import table
from conformance.interop.authorization.__main__ import main
from conformance.interop.authorization.report import FASTMCP_VERSION, markdown
from conformance.interop.authorization.steps import (
    MOST_ASKED,
    STEPS,
    USER,
    NotAuthorized,
    SignedIn,
    visit,
)
from conformance.interop.authorization.table import MEETINGS, REVISIONS, Meeting
from conformance.interop.drivers.features import Cell
from conformance.interop.talk import ROOT

REPORT = ROOT / "conformance" / "interop" / "authorization" / "report.md"


def _meetings() -> Iterator[Any]:
    """The parties meet in one of the eras first, in turns; the other one is a repetition."""
    for number, meeting in enumerate(MEETINGS):
        again = number % len(REVISIONS) != number // len(REVISIONS) % len(REVISIONS)
        yield pytest.param(meeting, marks=[pytest.mark.repeats] * again)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("meeting", list(_meetings()), ids=str)
def test_no_step_fails(meeting: Meeting) -> None:
    if meeting.missing:
        pytest.skip(meeting.missing)
    cells: list[Cell] = []
    table.meet(meeting, lambda _, cell: cells.append(cell))
    assert {cell.feature: cell.detail for cell in cells if cell.outcome != "ok"} == {}
    assert tuple(cell.feature for cell in cells) == meeting.steps


def test_the_page_is_what_the_table_says_when_no_step_fails() -> None:
    cells = {(each, step): Cell(step, "ok") for each in MEETINGS for step in each.steps}
    written = REPORT.read_text(encoding="utf-8")
    assert written == markdown(cells), (
        "write it again: python -m conformance.interop.authorization --write FILE"
    )
    assert f"FASTMCP_VERSION := {FASTMCP_VERSION}\n" in (ROOT / "Makefile").read_text()


class FaultyClient(SignedIn):
    """A client that does one thing wrong."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.asked = 2 if fault == "asked twice" else 1
        self.number = 0

    async def call(self, tool: str) -> str:
        match tool:
            case "whoami":
                return "somebody" if self.fault == "another user" else USER
            case "serial":
                return str(self.number)
            case "write":
                self.asked += self.fault != "not asked"
                return "not written" if self.fault == "not written" else "written"
        if self.fault == "let in":
            return "purged"
        if self.fault == "broken":
            raise ConnectionError("lost")
        self.asked = MOST_ASKED + (self.fault == "asked for ever")
        raise NotAuthorized("no such scope")

    async def expire(self) -> None:
        self.number += self.fault != "same token"
        self.asked += self.fault == "asked to refresh"


@pytest.mark.parametrize(
    ("fault", "step", "said"),
    [
        ("", None, ""),
        ("asked twice", "sign in", "the person was asked 2 times"),
        ("another user", "tools/call", "the token is for 'somebody'"),
        ("not asked", "step up", "asked 0 times"),
        ("not written", "step up", "unexpected: 'not written'"),
        ("same token", "refresh", "the token is the same"),
        ("asked to refresh", "refresh", "the person was asked"),
        ("let in", "refused", "unexpected: 'purged'"),
        ("asked for ever", "refused", "the person was asked 5 times"),
        ("broken", "refused", "ConnectionError: lost"),
    ],
)
def test_a_client_that_is_wrong_shows(fault: str, step: str | None, said: str) -> None:
    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[SignedIn]:
        yield FaultyClient(fault)

    cells: list[Cell] = []
    anyio.run(visit, connect, "http://127.0.0.1/mcp", None, cells.append)
    assert tuple(cell.feature for cell in cells) == STEPS
    failed = {cell.feature: cell.detail for cell in cells if cell.outcome != "ok"}
    assert failed == ({} if step is None else {step: said})


def test_a_strict_server_that_lets_in_shows() -> None:
    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[SignedIn]:
        yield FaultyClient("")

    cells: list[Cell] = []
    anyio.run(visit, connect, "http://127.0.0.1/mcp", "http://127.0.0.1/strict", cells.append)
    assert [(cell.feature, cell.outcome) for cell in cells] == [
        ("sign in", "ok"),
        ("tools/call", "ok"),
        ("refresh", "ok"),
        ("refused", "failed"),
    ]


@pytest.mark.parametrize("party", ["client", "server"])
def test_a_program_that_fails_fails_every_step(
    party: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = (sys.executable, "-c", "exit('[out of order]')")
    monkeypatch.setitem(table.CLIENTS if party == "client" else table.SERVERS, "our", broken)
    meeting = Meeting("our", "our", table.DEVELOPMENT, "2026-07-28")
    cells: list[Cell] = []
    table.meet(meeting, lambda _, cell: cells.append(cell))
    assert tuple(cell.feature for cell in cells) == STEPS
    assert all(cell.outcome == "failed" and "[out of order]" in cell.detail for cell in cells)


def test_a_report_is_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--client", "our", "--server", "our", "--write", "report.md"])
    assert "a report is of everything" in capsys.readouterr().err
