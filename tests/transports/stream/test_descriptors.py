"""Writing to descriptors that take no more for now, and a process that ends meanwhile."""

import asyncio
import os
from collections.abc import Callable, Iterator

import anyio
import anyio.lowlevel
import pytest

from mcpcore_transports.stream.descriptors import (
    DescriptorWriter,
    LoopWriter,
    WaitWriter,
    Write,
    open_writer,
)

KINDS: dict[str, Callable[[int, Write], DescriptorWriter]] = {
    "chosen": open_writer,
    "waiting": WaitWriter,
}


class Full:
    """A pipe that is full, and what writes to it as our links do."""

    def __init__(self) -> None:
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)
        os.set_blocking(self.sink, False)
        self.calls = 0
        self.size = self.fill()

    def fill(self) -> int:
        """Write until no more is taken; how much that was."""
        size = 0
        while True:
            try:
                size += os.write(self.sink, b"." * 65536)
            except BlockingIOError:
                return size

    def write(self, data: memoryview) -> int:
        """Write what is taken; 0 if that is nothing."""
        self.calls += 1
        try:
            return os.write(self.sink, data)
        except BlockingIOError:
            return 0

    def read(self) -> bytes:
        """Read all there is."""
        return os.read(self.source, 1 << 20)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.source)
        os.close(self.sink)


@pytest.fixture
def full() -> Iterator[Full]:
    pipe = Full()
    yield pipe
    pipe.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_writers_wait_write_and_stop(kind: str, full: Full, anyio_backend_name: str) -> None:
    data = memoryview(b"0123456789" * 20_000)  # more than the pipe takes
    writer = KINDS[kind](full.sink, full.write)
    if kind == "chosen":
        expected = LoopWriter if anyio_backend_name == "asyncio" else WaitWriter
        assert type(writer) is expected
    counts: list[int] = []
    came = b""

    async def write() -> None:
        while sum(counts) < len(data):
            counts.append(await writer.write(data[sum(counts) :]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        assert (counts, full.calls) == ([], 0)  # nothing is tried before there is room
        while len(came) < full.size + len(data):
            await anyio.wait_readable(full.source)
            came += full.read()
    assert came[full.size :] == data
    assert len(counts) > 1
    assert full.calls <= len(counts) + 1
    calls = full.calls
    for _ in range(5):  # there is room, and nobody has more to write
        await anyio.lowlevel.checkpoint()
    assert full.calls == calls
    writer.close()
    writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_who_gives_up_writes_nothing_later(kind: str, full: Full) -> None:
    writer = KINDS[kind](full.sink, full.write)
    with anyio.move_on_after(0.01) as scope:
        await writer.write(memoryview(b"late"))
    assert scope.cancelled_caught
    assert full.read().strip(b".") == b""
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    assert full.calls == 0
    assert await writer.write(memoryview(b"again")) == 5
    assert full.read() == b"again"
    writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_who_gives_up_leaves_the_number_to_what_has_it_next(kind: str, full: Full) -> None:
    """A process closes its server's input, which may be full, and takes its time to end."""
    writer = KINDS[kind](full.sink, full.write)
    with anyio.move_on_after(0.01):
        await writer.write(memoryview(b"late"))
    another = Full()
    os.dup2(another.source, full.sink)
    await anyio.wait_readable(full.sink)
    writer.close()
    another.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_writing_to_nobody_is_an_error(kind: str) -> None:
    full = Full()
    writer = KINDS[kind](full.sink, full.write)
    os.close(full.source)
    with pytest.raises(OSError, match="pipe"):
        await writer.write(memoryview(b"x"))
    writer.close()
    os.close(full.sink)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_a_writer_that_is_done_is_no_longer_watched(full: Full) -> None:
    loop = asyncio.get_running_loop()
    writer = open_writer(full.sink, full.write)
    full.read()
    assert await writer.write(memoryview(b"x")) == 1
    assert not loop.remove_writer(full.sink)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_who_gives_up_in_the_turn_in_which_there_is_room_writes_nothing(full: Full) -> None:
    writer = LoopWriter(full.sink, full.write)
    task = asyncio.ensure_future(writer.write(memoryview(b"late")))
    await anyio.wait_all_tasks_blocked()
    full.read()
    task.cancel()
    writer._ready()  # both were due in one turn of the loop
    await asyncio.wait([task])
    assert full.calls == 0
    writer.close()
