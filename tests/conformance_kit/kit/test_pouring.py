"""Bytes poured into a connection: how long what comes of them is waited for."""

import anyio
import trio
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.streams.stapled import StapledByteStream
from trio.testing import MockClock

from mcpcore_conformance.kit.bindings.http_pour import pour
from mcpcore_conformance.kit.wire import Poured

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Sends(ByteSendStream):
    def __init__(self) -> None:
        self.sent = b""

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent += item

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class _Answers(ByteReceiveStream):
    """Says one thing after another, each so many seconds after the one before."""

    def __init__(self, *answers: tuple[float, bytes]) -> None:
        self._answers = list(answers)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._answers:
            await anyio.sleep_forever()
        seconds, answer = self._answers[0]
        await anyio.sleep(seconds)
        del self._answers[0]
        return answer

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


def poured(*answers: tuple[float, bytes]) -> tuple[Poured, float]:
    """What came, and after how many seconds of virtual time it was over."""

    async def run() -> tuple[Poured, float]:
        stream = StapledByteStream(_Sends(), _Answers(*answers))
        began = trio.current_time()
        found = await pour(stream, [b"kit"], within=1.0, first=5.0, methods=(), wait=False)
        return found, trio.current_time() - began

    return trio.run(run, clock=MockClock(autojump_threshold=0))


def test_who_is_busy_elsewhere_is_waited_for() -> None:
    found, seconds = poured((4.5, RESPONSE))
    assert [each.status for each in found.responses] == [200]
    assert seconds == 4.5 + 1.0


def test_who_has_begun_to_answer_is_given_less() -> None:
    found, seconds = poured((0.0, RESPONSE), (2.0, RESPONSE))
    assert [each.status for each in found.responses] == [200]
    assert seconds == 1.0


def test_who_never_says_anything_is_given_up() -> None:
    found, seconds = poured((6.0, RESPONSE))
    assert found.responses == []
    assert not found.closed
    assert seconds == 5.0
