"""Callbacks.download: how far a large answer has come in, over real sockets."""

import gzip
import logging
from collections.abc import Callable

import pytest

from mcpcore import DownloadProgress, HttpClientSettings
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from tests.clock import patience
from tests.transports.villain import CHUNKED, EVENTS, JSON, Side, villain

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LARGE = "x".join(map(str, range(400_000)))  # 2.6 MiB
GZIP = b"Content-Encoding: gzip\r\n"


def chunked(side: Side) -> bytes:
    body = side.answer(LARGE)
    return JSON + CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def events(side: Side) -> bytes:
    return EVENTS + b"Connection: close\r\n\r\n" + side.event(side.answer(LARGE))


REPLIES: dict[str, tuple[Callable[[Side], bytes], list[int], bool, bool]] = {
    "length": (lambda side: side.json(side.answer(LARGE)), [1, 2, 2], True, True),
    "chunked": (chunked, [1, 2, 2], False, True),
    "gzip": (
        lambda side: side.json(gzip.compress(side.answer(LARGE)), GZIP),
        [1, 2, 2],
        False,
        True,
    ),
    "events": (events, [1, 2], False, False),
    "small": (lambda side: side.json(side.answer("x" * (MIB - 200))), [], False, True),
}
"""Answers, the whole MiB of each report, whether their length is known, and whether all is told."""


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-06-18"])
@pytest.mark.parametrize("kind", REPLIES)
async def test_a_large_answer_is_reported(kind: str, revision: str) -> None:
    make, steps, known, ends = REPLIES[kind]
    told: list[DownloadProgress] = []
    whole = 0

    async def bad(side: Side) -> bool:
        nonlocal whole
        whole = len(side.answer(LARGE))
        await side.send(make(side))
        return kind != "events"

    callbacks = Callbacks(download=told.append)
    with patience():
        async with (
            villain(bad, revision=revision) as server,
            connect(server.url, revision=revision, callbacks=callbacks) as client,
        ):
            await client.call_tool("good")
            assert not told
            result = await client.call_tool("bad")
            reports = [*told]
    assert result.text == ("x" * (MIB - 200) if kind == "small" else LARGE)
    assert [each.received // MIB for each in reports] == steps
    for each in reports:
        assert (each.method, each.name, each.request) == ("tools/call", "bad", server.called)
        assert each.total == (whole if known else None)
    if reports and ends:
        assert reports[-1].received == whole


async def test_a_callback_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    async def fail(event: DownloadProgress) -> None:
        told.append(event.received)
        raise RuntimeError("no")

    settings = ClientSettings(http=HttpClientSettings(download_step=1000))
    with patience(), caplog.at_level(logging.ERROR, logger="mcpcore.client"):
        async with (
            villain(lambda side: side.send(side.json(side.answer("x" * 3000)))) as server,
            connect(server.url, settings=settings, callbacks=Callbacks(download=fail)) as client,
        ):
            result = await client.call_tool("bad")
    assert len(result.text) == 3000
    assert told[-1] > 3000
    assert "a callback failed" in caplog.text
