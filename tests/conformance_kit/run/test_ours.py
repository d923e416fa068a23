"""Every case passes on our server and our client."""

import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import anyio
import pytest

from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.everything.app import PAGE_SIZE
from mcpcore_conformance.kit.client_play import HOSTS
from mcpcore_conformance.kit.model import Binding, Side, Verdict
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.stages import SMALL_PAGES
from tests.conformance_kit.ours import check, client_report, server_report
from tests.shares import Some
from tests.warm import CLIENT, SERVER, warm_program

LEAST = 900
"""Cases that there are at least."""
SOON = (Binding.CORE,)
"""Bindings whose server is played with in every revision by the tests that take seconds."""
SOCKETS = (Binding.TCP, Binding.UNIX)
"""Bindings that differ from stdio in how the lines get there only."""
PAIR = (BY_NAME["2025-11-25"], BY_NAME["2026-07-28"])
"""The newest revision of each era."""
FEWER = {
    **dict.fromkeys((Binding.STDIO, Binding.WS), PAIR),
    Binding.TCP: PAIR[:1],
    **dict.fromkeys((Binding.UNIX, Binding.MEMORY), PAIR[1:]),
    Binding.HTTP: (REVISIONS[1], *PAIR),  # the oldest with Streamable HTTP
    Binding.SSE: (REVISIONS[0], PAIR[0]),
}
"""With ``--repetitions`` these are enough on a binding: others are there as on the bare engine."""


def spoken(binding: Binding, some: Some) -> Sequence[Revision]:
    return REVISIONS if some.share == 1 else FEWER.get(binding, REVISIONS)


def test_there_are_enough_cases() -> None:
    assert len(all_cases()) >= LEAST
    assert {case.side for case in all_cases()} == {*Side}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("binding", SOON)
def test_our_server(binding: Binding) -> None:
    report = anyio.run(server_report, binding)
    check(report, Side.SERVER, binding, REVISIONS)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("binding", [Binding.HTTP, Binding.WS, Binding.SSE])
def test_our_server_with_a_guard(binding: Binding) -> None:
    revisions = [each for each in REVISIONS if each.handshake or binding is not Binding.SSE]
    report = anyio.run(functools.partial(server_report, binding, revisions, guarded=True))
    assert {entry.verdict for entry in report.entries} == {Verdict.PASSED}
    assert report.complete


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("binding", [each for each in Binding if each not in SOON])
def test_our_server_over_the_other_bindings(binding: Binding, some: Some) -> None:
    """Over stdio it is ours but for its start, as it is started very often."""
    revisions = spoken(binding, some)
    with ExitStack() as stack:
        words: Sequence[str] = ()
        if binding is Binding.STDIO:
            words = stack.enter_context(warm_program(SERVER, {PAGE_SIZE: str(SMALL_PAGES)}))
        report = anyio.run(server_report, binding, revisions, words)
    check(report, Side.SERVER, binding, revisions)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("binding", "few"), [(Binding.MEMORY, PAIR[:1]), (Binding.HTTP, PAIR[1:])])
def test_our_server_by_a_kit_on_trio(binding: Binding, few: Sequence[Revision], some: Some) -> None:
    revisions = PAIR if some.share == 1 else few
    play = functools.partial(server_report, binding, revisions, by="-trio")
    check(anyio.run(play, backend="trio"), Side.SERVER, binding, revisions)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("program", "few"),
    [
        pytest.param("aiohttp", PAIR, id="aiohttp"),
        pytest.param("wsgi", PAIR[:1], id="wsgi", marks=pytest.mark.repeats),
        pytest.param("wsgi flask", PAIR[1:], id="wsgi flask"),
        pytest.param("wsgi django", PAIR[:1], id="wsgi django", marks=pytest.mark.repeats),
    ],
)
def test_our_server_behind_a_framework(program: str, few: Sequence[Revision], some: Some) -> None:
    """Wherever it stands, it is the application of WSGI that is played: in each era once."""
    revisions = PAIR if some.share == 1 else few
    way, *name = program.split()
    words = ("env", f"{PAGE_SIZE}={SMALL_PAGES}", sys.executable, "-m")
    play = functools.partial(server_report, framework=program.replace(" ", "-"))
    program = f"tests.transports.serve.{way}_everything"
    report = anyio.run(play, Binding.HTTP, revisions, (*words, program, *name))
    check(report, Side.SERVER, Binding.HTTP, revisions)


@pytest.fixture(scope="module")
def warm() -> Iterator[Sequence[str]]:
    """Our client, but for its start."""
    with warm_program(CLIENT) as words:
        yield words


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "binding", [*(each for each in HOSTS if each not in SOCKETS), Binding.MEMORY]
)
def test_our_client(binding: Binding, warm: Sequence[str], some: Some) -> None:
    revisions = spoken(binding, some)
    report = anyio.run(client_report, binding, revisions, warm)
    check(report, Side.CLIENT, binding, revisions)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("binding", "revision"), list(zip(SOCKETS, PAIR, strict=True)))
def test_our_client_over_sockets_each_in_one_era(
    binding: Binding, revision: Revision, warm: Sequence[str]
) -> None:
    report = anyio.run(client_report, binding, (revision,), warm)
    check(report, Side.CLIENT, binding, (revision,))
