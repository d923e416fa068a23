"""Long texts on a WebSocket: taken as they come, and to the same end as by wsproto.

A connection that is traced leaves every frame to wsproto: it tells what the end has to be.
"""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_transports.tracing.tracing import Trace
from mcpcore_transports.websocket.deflate import Bounds
from mcpcore_transports.websocket.link import Opened, WebSocketLink
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.fuzz.targets.websocket import Scripted
from tests.transports.apps import Recorder, make_client, make_server
from tests.transports.malformed import request
from tests.transports.sites import call
from tests.websocket_table import codec

LIMIT = 150_000
KEY = b"\x01\xa0\x03\x40"
SIZES = [0, 500, 60_000, 65_535, 65_536, 140_000]
FILLINGS = ["x", "\u00e9", "\u20ac", "\U0001f600", "xx\u20ac"]
NO_CHARACTERS = [b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0", b"\xe2\x82", b"\xf4\x90"]


def message(size: int, filling: str, *, client: bool) -> bytes:
    """One that its receiver is told of with all that it says."""
    told = {"level": "info", "data": "@"}
    text = call(1, text="@") if client else request("notifications/message", told, id=...)
    return text.replace(b"@", (filling * (size // len(filling.encode()))).encode())


async def never(trace: object) -> Opened:
    raise NotImplementedError  # the tests begin behind the opening


def outcome(pieces: list[bytes], *, client: bool, traced: bool) -> dict[str, Any]:
    """What comes of these pieces, where a client, or a server, has sent them."""
    peer = make_server(message_size=LIMIT) if client else make_client(message_size=LIMIT)
    app = Recorder(peer)
    link = WebSocketLink(peer, app, never, settings=WebSocketSettings(fragments=5))
    if traced:
        link.trace = Trace(lambda line: None).connection("server")
    link._begin(Opened(Scripted([]), Bounds(), b""))
    ws = link._ws
    assert ws is not None
    reader = codec.Reader(client=not client)
    heard, said, between = [], [], []
    for piece in pieces:
        link._feed(piece)
        while (event := peer.next_event()) is not None:
            app.handle(event)
        heard.append([(type(event), bytes(getattr(event, "params", b""))) for event in app.events])
        app.events.clear()
        said.append(reader.feed(link._take()))
        between.append(link._parting() or ws._boundaries.between)
    return {
        "heard": heard,
        "said": said,
        "between": between,
        "parting": link._parting(),
        "told": (ws.close, link._reason),
        "close_code": link.close_code,
        "final": link.final,
    }


@st.composite
def frames(draw: st.DrawFn, *, client: bool) -> list[codec.Frame]:
    """What one side sends: mostly messages, long and short."""
    how: dict[str, Any] = {"key": KEY if client else None}
    made: list[codec.Frame] = []
    kinds = ["whole", "whole", "whole", "wrong", "fragments", "ping", "pong", "odd"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)):
        text = message(draw(st.sampled_from(SIZES)), draw(st.sampled_from(FILLINGS)), client=client)
        at = draw(st.integers(min_value=0, max_value=len(text)))
        if kind == "whole":
            made.append(codec.text(text, **how))
        elif kind == "wrong":
            text = text[:at] + draw(st.sampled_from(NO_CHARACTERS)) + text[at:]
            made.append(codec.text(text, **how))
        elif kind == "fragments":
            made += [codec.text(text[:at], fin=False, **how), codec.more(text[at:], **how)]
        elif kind in ("ping", "pong"):
            made.append((codec.ping if kind == "ping" else codec.pong)(b"%d" % at, **how))
        else:
            odd = [
                codec.Frame(codec.BINARY, text, **how),
                codec.close(1000),
                codec.text(text, mask=not client),
                codec.text(text, bits=codec.RSV1, **how),
                codec.text(text, form=8, **how),
                codec.text(b"x" * LIMIT, length=LIMIT + 1, **how),
                codec.more(text, **how),
            ]
            made.append(draw(st.sampled_from(odd)))
    return made


@st.composite
def streams(draw: st.DrawFn) -> tuple[bool, list[bytes]]:
    """Whether a client sends it, and what it sends, cut anywhere."""
    client = draw(st.booleans())
    data = b"".join(made.encode(client=client) for made in draw(frames(client=client)))
    near = st.integers(min_value=0, max_value=30)  # where heads are, and the first of a text
    cuts = draw(st.lists(near | st.integers(min_value=0, max_value=len(data)), max_size=20))
    if draw(st.booleans()):
        cuts += range(0, len(data), 65536)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return client, [data[start:end] for start, end in pairwise(places)]


@given(stream=streams())
def test_a_stream_comes_to_the_same_as_by_wsproto(stream: tuple[bool, list[bytes]]) -> None:
    client, pieces = stream
    found = outcome(pieces, client=client, traced=False)
    assert found == outcome(pieces, client=client, traced=True)


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("client", [True, False])
def test_a_long_text_is_told_as_it_was_sent_however_it_is_cut(filling: str, client: bool) -> None:
    text = message(100_000, filling, client=client)
    data = codec.text(text, key=KEY).encode(client=client)
    for cut in (14, 1000, 1001, 1002, 1003, 65536, 99_999, len(data)):
        pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
        found = outcome(pieces, client=client, traced=False)
        assert not found["parting"]
        [(_, params)] = found["heard"][-1]
        assert params in text
        assert len(params) > 90_000


@pytest.mark.anyio
@pytest.mark.parametrize("cuts", [(0, 2), (0, 1, 2), (0,)], ids=["apart", "in three", "together"])
async def test_who_is_left_within_a_long_text_may_end_it_and_answer(cuts: tuple[int, ...]) -> None:
    """What is left of it is no frame, though its bytes look like the head of one."""
    rest = b"\x01\x7d" + codec.close(1001).encode(client=True)
    stream = Scripted([rest[start:end] for start, end in pairwise([*cuts, len(rest)])])
    peer = make_server()
    link = WebSocketLink(peer, Recorder(peer), never, settings=WebSocketSettings())
    begun = codec.text(b"x" * 998, length=1000, key=bytes(4)).encode(client=True)
    link._begin(Opened(stream, Bounds(), begun))
    assert link._channel is not None
    await link._say_goodbye(stream, link._channel)  # reads no further than the answer
    assert link.close_code == 1001
    [said] = codec.Reader(client=False).feed(bytes(stream.said))
    assert (said.kind, said.code) == ("close", 1001)
