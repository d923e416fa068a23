"""Floods over real sockets: bounded, survived, and over when they are over; nobody else notices.

What is measured: the resident set of a server in a process of its own, as the operating system
counts it, at sizes that take more than the 60 MB which may stay.  What one connection, session or
call takes is held against the published targets themselves (12, 4 and 8 kB).  Python's allocator
gives back a mebibyte when nothing at all is left in it, so that what stays of the resident set is
bounded, but not to a tenth: the blocks in use are held against those before, and the resident set
after a second flood against that with the first.

How fast an honest client is beside each of them, ``python -m mcpcore_bench floods`` tells.
"""

import re
import sys
from collections.abc import Iterator

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

if not sys.platform.startswith("linux"):
    pytest.skip("memory is read from /proc", allow_module_level=True)
pytest.importorskip("rich")

from mcpcore_bench.floods import floods  # noqa: E402 - needs rich
from mcpcore_bench.floods.wire import (  # noqa: E402
    answer,
    begin_session,
    is_ok,
    legacy_call,
    victim,
)

COUNTS = {
    # name: short of the limit, and over it
    "idle connections": (7_000, 2_000),
    "event streams": (5_000, 1_000),
    "GET streams": (1_600, 900),
    "unread streams": (60, 30),  # of at least 1 MiB each, the default
    "sessions": (100_000, 15_000),  # a tenth of them may be there
    "sessions of a client": (10_000, 3_000),
    "calls": (4_500, 1_500),
}
TEXT = re.compile(rb'"text":"(\d+)"')
UNREAD = 2_200.0
"""Kilobytes that a stream of which nothing is read may take: 1 MiB that waits, and what is on its
way to the socket."""


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Skip where there are too few; put the limit back that the floods raise."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < COUNTS["idle connections"][0] + floods.SPARE:
        pytest.skip("too few descriptors")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_every_flood_is_tried() -> None:
    assert set(COUNTS) == set(floods.FLOODS)


@pytest.mark.repeats
@pytest.mark.parametrize("over", [False, True], ids=["short", "over"])
@pytest.mark.parametrize("name", floods.FLOODS)
def test_flood(name: str, over: bool) -> None:
    count = COUNTS[name][over]
    figures = floods.run(name, count, over=over, again=False, tries=1)
    assert figures.failures == 0
    ends_others = name.startswith("sessions")  # nobody is refused
    if over:
        assert figures.refused > 0 or ends_others
        assert figures.held < figures.count
    else:
        assert figures.refused == 0
        assert figures.held == figures.count or name == "sessions of a client"
    most = floods.FLOODS[name].most or UNREAD
    if figures.held and not (over and ends_others):
        assert figures.each <= most
    assert figures.memory_after <= figures.memory_idle + floods.MORE
    assert 0 < figures.blocks <= 1.05


@pytest.mark.parametrize(("name", "backend"), [("idle connections", "asyncio"), ("calls", "trio")])
def test_memory_is_used_again(name: str, backend: str) -> None:
    count = COUNTS[name][0]
    figures = floods.run(name, count, over=False, backend=backend, tries=1)
    assert figures.failures == 0
    assert figures.memory_held > figures.memory_idle + 10_000
    assert 0 < figures.levels <= floods.LEVELS


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stream_that_nobody_reads_delays_no_other_call_of_its_session(backend: str) -> None:
    """By the order of things: the other calls end while the stream does not get on."""
    with victim({"backend": backend}) as server, server.connect() as unread:
        session = begin_session(unread)
        with server.connect() as other:

            def ask(number: int, name: str) -> bytes:
                other.sendall(legacy_call(session, number, name))
                response = answer(other)
                assert is_ok(response)
                return response

            def lines(number: int) -> int:
                return int(TEXT.findall(ask(number, "lines"))[0])

            unread.sendall(legacy_call(session, 1, "gush"))
            number, before = 2, -1
            while (now := lines(number)) < 10 or now != before:
                before = now
                server.settle()
                number += 1
            for later in range(number + 1, number + 50):
                assert b'"id":%d' % later in ask(later, "quick")
            assert lines(number + 50) == now
            taken = 0
            while taken < 1_000_000:  # and goes on when it is read
                taken += len(unread.recv(1 << 16))
            server.settle()
            assert lines(number + 51) > now
