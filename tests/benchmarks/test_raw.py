"""The raw programs are the plainest fast way, on the same footing as ours, and do check."""

import sys
from collections.abc import Sequence
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_bench.load.asks import FIRST, INITIALIZED, Question
from mcpcore_bench.load.http_calls import ring
from mcpcore_bench.load.http_wire import Place, Replies, asking, request
from mcpcore_bench.load.jobs import Ask
from mcpcore_bench.load.server import listening
from mcpcore_bench.load.setup import coming
from mcpcore_bench.programs.offer import FILLERS_FROM
from mcpcore_bench.programs.raw_codec import Codec
from mcpcore_bench.programs.raw_h11 import Exchange
from mcpcore_bench.programs.raw_http import Site
from mcpcore_bench.programs.raw_stdio import answer
from mcpcore_bench.programs.raw_stdio import answered as answered_lines
from mcpcore_bench.subjects import SUBJECTS

PLACE = Place("127.0.0.1", 80, "/mcp")
CALLS = 8
MAPPED_ANEW = 200
"""Page faults that a call with 1 MB takes at the least where its memory comes from the kernel."""


def faults(process: int) -> int:
    """Minor ones of a process so far: the tenth of proc_pid_stat(5)."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(words[7])


@pytest.mark.share(4)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize(
    "name",
    [
        "ours-anyio",
        "ours-asyncio",
        "ours-speed",
        "raw-anyio",
        "raw-protocol",
        "raw-httptools",
        "responder",
    ],
)
def test_all_have_the_memory_of_large_messages_from_the_heap(name: str) -> None:
    if (missing := SUBJECTS[name].needs()) is not None:
        pytest.skip(missing)
    question = Question(Ask("echo", 1_000_000), "modern")
    with listening(SUBJECTS[name].command()) as (process, url):
        place = Place.of(url)
        with place.connect() as connection:
            replies = Replies(connection)

            def call() -> None:
                (_, data), *_ = ring(asking(place, question, "any", None), FIRST, 1)
                connection.sendall(data)
                assert len(replies.wait()) > 1_000_000

            for _ in range(CALLS):
                call()
            before = faults(process)
            for _ in range(CALLS):
                call()
            assert faults(process) - before < MAPPED_ANEW * CALLS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_so_has_the_raw_limit_of_lines() -> None:
    with listening(SUBJECTS["raw-tcp"].command()) as (process, url):
        come = coming("tcp", url, Ask("echo", 1_000_000))
        for _ in range(CALLS):
            come().close()
        before = faults(process)
        for _ in range(CALLS):
            come().close()
        assert faults(process) - before < MAPPED_ANEW * CALLS


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([1, 200, 9000])), min_size=1, max_size=6),
    st.integers(1, 10_000),
)
def test_lines_are_answered_wherever_they_are_cut(
    wanted: list[tuple[bool, int]], piece: int
) -> None:
    codec, parts = Codec(FILLERS_FROM), list[bytes]()
    lines = [
        Question(Ask("echo", size), "legacy").body(FIRST + number) if asks else INITIALIZED
        for number, (asks, size) in enumerate(wanted)
    ]
    data = b"".join(line + b"\n" for line in lines)
    cut = [data[at : at + piece] for at in range(0, len(data), piece)]
    out = b"".join([answered_lines(codec, parts, each) for each in cut])
    assert out == b"".join([answer(codec, line) for line in lines])
    assert out.count(b"\n") == sum(asks for asks, _ in wanted)
    assert not parts


def asked(*numbers: int) -> bytes:
    """Calls, one after the other; all ids have as many digits."""
    whole = asking(PLACE, Question(Ask(), "modern"), "any", None)
    return b"".join(data for number in numbers for _, data in ring(whole, FIRST + number, 1))


def exchange() -> Exchange:
    return Exchange(Site(Codec(FILLERS_FROM)))


def answered(pieces: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """What an h11 client reads of the responses: their status and body."""
    served, out = exchange(), b""
    for piece in pieces:
        served.feed(piece)
        while (answer := served.next_answer()) is not None:
            out += served.whole(answer)
    found: list[tuple[int, bytes]] = []
    while out:
        client = h11.Connection(h11.CLIENT)
        head = h11.Request(method="GET", target="/", headers=[("host", "here")])
        client.send(head)
        client.send(h11.EndOfMessage())
        client.receive_data(out)
        response, body = client.next_event(), b""
        assert isinstance(response, h11.Response)
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        found.append((response.status_code, body))
        out = client.trailing_data[0]
    return found


@pytest.mark.parametrize("size", [1, 7, 300, 100_000])
def test_requests_that_follow_one_another_are_answered_in_turn(size: int) -> None:
    data = asked(1, 2, 3)
    found = answered([data[at : at + size] for at in range(0, len(data), size)])
    assert [status for status, _ in found] == [200, 200, 200]
    for number, (_, body) in enumerate(found, 1):
        assert b'"id":%d,' % (FIRST + number) in body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (asked(1).replace(b"Host: 127.0.0.1:80", b"Host: elsewhere"), 403),
        (asked(1).replace(b"POST /mcp", b"POST /other"), 404),
        (request(PLACE, "GET", b"", {}), 405),
        (asked(1).replace(b"Accept: application/json, text/event-stream", b"Accept: text/x"), 406),
        (asked(1).replace(b"Content-Type: application/json", b"Content-Type: text/plain"), 415),
        (asked(1).replace(b"Mcp-Name: echo", b"Mcp-Name: other"), 400),
    ],
)
def test_what_is_wrong_is_refused_and_the_next_request_is_answered(
    data: bytes, status: int
) -> None:
    assert [status for status, _ in answered([data, asked(2)])] == [status, 200]


@pytest.mark.parametrize(
    "data",
    [
        asked(1).replace(b"HTTP/1.1", b"HTTP/9"),
        asked(1).replace(b"Accept:", b"Acc ept:"),
        asked(1).replace(b"\r\nHost: 127.0.0.1:80", b""),
        asked(1).replace(b"Content-Length: ", b"Content-Length: x"),
    ],
)
def test_h11_looks_at_every_head(data: bytes) -> None:
    served = exchange()
    served.feed(asked(1))
    answer = served.next_answer()
    assert answer is not None
    served.whole(answer)
    served.feed(data)
    with pytest.raises(h11.RemoteProtocolError):
        served.next_answer()


def test_a_request_waits_for_the_response_to_the_one_before_it() -> None:
    served = exchange()
    served.feed(asked(1, 2))
    first = served.next_answer()
    assert first is not None
    assert served.next_answer() is None
    served.whole(first)
    second = served.next_answer()
    assert second is not None
    assert b'"id":%d,' % (FIRST + 2) in second.body
