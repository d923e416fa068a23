"""Everything that can fail is made to fail once, on every driver: see :mod:`tests.torture.points`.

In the quick tests a few points of every twentieth row, in the long ones one of 211, or of 397 where
much is seen in other rows as well; all of them by ``make torture``.
"""

import sys

import pytest

from tests.torture.__main__ import main
from tests.torture.cells import Cell, Tally, about, cells, each, torture
from tests.torture.rows import SELDOM

CELLS = list(cells())
QUICK, LONG, RARE = 397, 211, 397
"""Of so many points one is run; odd ones, so that the kinds of failures take turns."""


@pytest.mark.share(9)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(0, len(CELLS), 20), ids=lambda at: str(CELLS[at]))
def test_a_few_points(number: int) -> None:
    assert _failures(torture(CELLS[number], each(QUICK, number))) == ""


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(len(CELLS)), ids=lambda at: str(CELLS[at]))
def test_many_points(number: int) -> None:
    seldom = CELLS[number].driver in SELDOM
    assert _failures(torture(CELLS[number], each(RARE if seldom else LONG, number))) == ""


def _read(rows: str) -> dict[str, tuple[str, ...]]:
    """What was found, and below it where: the cell, and the family, site and kind of its points."""
    lines = rows.strip("\n").split("\n")
    found = zip(lines[::2], lines[1::2], strict=True)
    return {what: tuple(where.strip().split(" | ")) for what, where in found}


FOUND = _read(
    """
a handler that is cancelled, and its request is not
    tcp 2025-11-25 asyncio | user | later | cancelled
a callback that is cancelled, and the call is not
    memory 2026-07-28 asyncio | user | _elicited | cancelled
one of several callbacks at a time that is cancelled, and the call is not
    features-http 2026-07-28 asyncio | user | callbacks.elicitation_url | cancelled
headers that are being made when somebody cancels that
    http 2026-07-28 asyncio | user | headers | cancelled
somebody is looked up when somebody else cancels that
    http-asyncio 2026-07-28 asyncio | user | authenticate | cancelled
a listener that is cancelled, and nobody else is
    memory 2026-07-28 asyncio | user | _changed | cancelled
a Unix socket whose other end cannot be looked at
    unix 2026-07-28 asyncio | call | credentials | error
a TCP socket that cannot be told to stay alive
    tcp 2026-07-28 asyncio | call | keep_alive | error
a connection whose task has not begun
    ws 2025-11-25 asyncio | wait | _upgrade | server
a worker that does not go when told, and a report of it that raises
    workers-deaf 2026-07-28 asyncio | user | Supervisor.report | before
a trace, and the program's own name cannot be read
    features 2026-07-28 asyncio | call | _program read_text | error
a group of processes that cannot be signalled as one
    stubborn 2026-07-28 asyncio | call | send killpg | error
a process table that cannot be read
    stubborn 2026-07-28 asyncio | call | _find listdir | error
a guard that was killed just now
    process 2026-07-28 asyncio | call | _tell write | error
a clock or a seal that fails when a round of input ends
    features 2026-07-28 asyncio | user | server.runtime.wall | before
a request that is cancelled between two connections
    cut-off 2026-07-28 asyncio | wait | _tend | task
who is told of latencies fails
    pings 2026-07-28 trio | user | client.websocket.on_latency | before
a task that nobody may look at, while its changes are listened to
    tasks-listen 2026-07-28 asyncio | user | server.runtime.middleware | before
a worker that has said nothing after all
    workers 2026-07-28 asyncio | call | _await_ready | again
a worker that cannot be heard
    workers 2026-07-28 asyncio | call | _await_ready | error
a worker in whose place none can be started
    workers 2026-07-28 asyncio | call | _start  | error
a guard that cannot be started
    process 2026-07-28 asyncio | call | _hire Popen | error
a listener that cannot say where it is
    tcp 2026-07-28 trio | call | getsockname | error
it cannot be told whom middleware has let in, over HTTP
    asgi 2026-07-28 asyncio | user | _nobody_yet | before
it cannot be told whom middleware has let in, over WebSocket
    asgi-ws 2026-07-28 trio | user | _nobody_yet | after
a link of somebody else's that cannot be made
    custom 2025-11-25 trio | user | custom.make_link | before
a listener for which an event loop cannot wait
    unix 2026-07-28 asyncio | call | wait_readable | error
a connection that an event loop cannot watch
    ws 2026-07-28 asyncio | call | add_reader | error
a WebSocket that is accepted while the application ends
    asgi-ws 2026-07-28 asyncio | wait | _converse | server
a refusal that the system takes in parts
    crowded-tcp 2026-07-28 asyncio | call | send send | short
a farewell for which there is no room at first
    crowded-tcp 2026-07-28 trio | call | send_nowait write | again
a body that is left early, of somebody else's HTTP client
    asgi 2025-11-25 trio | wait | _stream | calls
"""
)
"""What was found, and mended: the points about it, all of them."""

FOUND_AMONG_MANY = _read(
    """
a connection over TLS that is lost at once
    https 2026-07-28 asyncio | call | _call_sslobject_method send | error
a client that sends no more while its answer is being written
    raw 2026-07-28 asyncio | call | _read_ready__data_received recv | again
a middleware of a client that fails when a listen stream is opened anew
    cut-off-http 2026-07-28 trio | user | _stamped | before
a middleware of a client that is cancelled, and the call is not
    tasks 2025-11-25 asyncio | user | _guarded | cancelled
"""
)
"""The same, where the points about it are so many that the quick tests leave them out."""


@pytest.mark.share(4)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(words, id=what) for what, words in FOUND.items()),
        *(
            pytest.param(words, id=what, marks=pytest.mark.long)
            for what, words in FOUND_AMONG_MANY.items()
        ),
    ],
)
def test_what_was_found(words: tuple[str, ...]) -> None:
    driver, family, site, kind = words
    tally = torture(Cell(*driver.split()), about(family, site, kind))
    assert _failures(tally) == ""
    assert tally.runs > tally.elsewhere, "there are no such points any more"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["htpp"], "there are: memory, "), (["--every", "0"], "is no number of at least 1")],
)
def test_what_would_run_nothing_is_an_error_of_usage(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["torture", *words])
    try:
        status: object = main()
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert said in capsys.readouterr().err


def _failures(tally: Tally) -> str:
    """What went wrong, a line each; that a cell has hardly any points is wrong as well."""
    few = [] if tally.points > 30 else [f"only {tally.points} points"]
    return "\n".join([*few, *tally.failures])
