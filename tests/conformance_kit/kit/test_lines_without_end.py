"""A line that does not end: it is left where it is too long, and that is what is found."""

import sys

import pytest
from anyio.abc import ByteStream

from mcpcore_conformance.kit.bindings.lines import BEGINNING, LINE_LIMIT
from mcpcore_conformance.kit.bindings.sockets import SocketStage
from mcpcore_conformance.kit.bindings.stdio import StdioStage
from mcpcore_conformance.kit.heard import Gone, Heard, Text
from mcpcore_conformance.kit.wire import Stage
from tests.clock import PATIENCE
from tests.conformance_kit.kit.test_wires import connected, tcp
from tests.conformance_kit.servers.test_plain_programs import played

pytestmark = pytest.mark.anyio
REASON = "the kit reads no further: 16 MiB came without a newline"
ENDLESS = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
LARGE = 12 * 2**20
FIRST_LARGE = f"print('x' * {LARGE}, flush=True); input()"
ANSWERED = "basic/lifecycle/initialization/answered"


async def first_two(stage: Stage) -> list[Heard | None]:
    wire = await connected(stage)
    found = [await wire.hear(PATIENCE) for _ in range(2)]
    await wire.close()
    return found


def check(line: Heard | None, end: Heard | None) -> None:
    assert isinstance(line, Text)
    assert line.data == b"x" * BEGINNING
    assert isinstance(end, Gone)
    assert end.reason == REASON


@pytest.mark.long
async def test_of_a_process_that_ends_no_line_the_beginning_is_kept() -> None:
    async with StdioStage([sys.executable, "-c", ENDLESS]) as stage:
        check(*await first_two(stage))


async def test_of_a_connection_without_a_newline_the_beginning_is_kept() -> None:
    async def serve(stream: ByteStream) -> None:
        for _ in range(LINE_LIMIT // 2**16 + 1):
            await stream.send(b"x" * 2**16)
        await stream.receive()

    async with tcp(serve) as port, SocketStage(f"tcp://127.0.0.1:{port}") as stage:
        check(*await first_two(stage))


async def test_a_message_larger_than_all_that_cases_say_is_taken_whole() -> None:
    async with StdioStage([sys.executable, "-c", FIRST_LARGE]) as stage:
        wire = await connected(stage)
        line = await wire.hear(PATIENCE)
        await wire.close()
    assert isinstance(line, Text)
    assert len(line.data) == LARGE


@pytest.mark.long
async def test_the_finding_says_that_the_line_did_not_end() -> None:
    found = await played([sys.executable, "-c", ENDLESS], ANSWERED, modern=False, timeout=5.0)
    assert f"({REASON})" in found["answered"][1]
