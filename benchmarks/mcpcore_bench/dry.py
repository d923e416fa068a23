"""A call without the sockets: what it takes of CPU, of steps of the interpreter, and of calls.

``python -m mcpcore_bench.dry [WORK]...`` feeds connections of ours, and of raw programs, in turn
and in one process, and checks every reply.  The loop is that of asyncio; where requests are
answered at once it does not turn.

Steps are bytecode instructions of Python functions, none of them for what is written in C; calls
are those of Python functions, going on in a generator or a coroutine included.  Both are exact for
one version of Python and of its packages.  Times are there for the ratio of one program to another.
"""

import argparse
import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from statistics import median
from types import FrameType
from typing import Any, NamedTuple

from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from mcpcore_bench import dry_wires
from mcpcore_bench.dry_wires import END, Opener, Wire, programs
from mcpcore_bench.load import events, http_wire
from mcpcore_bench.load.asks import (
    FIRST,
    HOLE,
    INITIALIZED,
    LEGACY,
    Question,
    WrongReply,
    initialize,
)
from mcpcore_bench.load.http_calls import RING
from mcpcore_bench.load.http_wire import Place, asking, post
from mcpcore_bench.load.jobs import Ask, Command, Era, Events
from mcpcore_bench.programs.offer import FILLERS_FROM
from mcpcore_bench.programs.sampling import layer_of

PLACE = Place("127.0.0.1", 80, "/mcp")
ROUNDS = 7
COUNTED = 256
"""Calls, at least, of which steps are counted; fewer where there are fewer different ones."""
TOGETHER = 64
"""Calls of a round, at least."""
_OWN = frozenset({__file__, dry_wires.__file__})
"""What stands there counts for nobody."""
_STEP = re.compile(rb'"progress":(\d+)')


class Work(Struct, frozen=True, kw_only=True):
    """What is asked.  One that has the name of a row is what that row asks."""

    title: str
    asks: tuple[Ask, ...] = (Ask(),)
    """In turn."""
    vary: bool = False
    """Every head has a field of its own."""
    sessions: int = 0
    """Those of the legacy era, used in turn; 0: the modern era."""
    connections: int = 1
    """With a request in flight on each, all at once."""
    requests: int = RING
    """Different ones, which come in turn: one for each connection, where there are several."""
    lines: bool = False
    """Of standard input, not of HTTP."""
    tools: int = FILLERS_FROM
    """So many are registered."""
    events: int = 0
    """Calls that report progress so often: the figures are those of an event."""
    together: bool = False
    """Events that are ready together, not one by one."""

    @property
    def unit(self) -> str:
        """What the figures are of."""
        return "an event" if self.events else "a call"


def _events(title: str, *, together: bool) -> Work:
    title = f"HTTP, 1,000 progress events on one stream, {title}"
    return Work(title=title, events=1000, together=together, requests=2)


def _waiting(count: int) -> Work:
    title = f"HTTP, {count:,} calls in flight that wait 50 ms"
    return Work(title=title, asks=(Ask("wait", 50),), connections=count, requests=count)


def _tools(count: int) -> Work:
    return Work(
        title=f"HTTP, calls of all but a few of {count:,} tools in turn",
        asks=tuple(Ask("filler", number) for number in range(count - FILLERS_FROM)),
        tools=count,
    )


WORKS = {
    "http": Work(title="HTTP, the same head each time"),
    "http-lengths": Work(
        title="HTTP, texts of 64 lengths in turn",
        asks=tuple(Ask("echo", 200 + more) for more in range(64)),
    ),
    "http-heads": Work(title="HTTP, a header that differs each time", vary=True),
    **{
        f"sessions-{count}": Work(
            title=f"HTTP, legacy sessions in turn: {count:,}",
            sessions=count,
            requests=max(RING, count),
        )
        for count in (1, 100, 10_000)
    },
    "tools-10": _tools(10),
    "tools-1000": _tools(1000),
    "waiting-16": _waiting(16),
    "waiting-1000": _waiting(1000),
    "progress": _events("one at a time", together=False),
    "progress-together": _events("ready together", together=True),
    "echo-1m": Work(
        title="HTTP, 1 MB of text and back", asks=(Ask("echo", 1_000_000),), requests=4
    ),
    "stdio": Work(title="A line of standard input and its reply", lines=True),
}


class Told:
    """What a call that reports progress is answered with."""

    def __init__(self, count: int) -> None:
        self._count = count

    def check(self, number: int, reply: bytes) -> None:
        """Look at all events, of which the last is the result.  Raises WrongReply."""
        steps = [int(step) for step in _STEP.findall(reply)]
        if steps != list(range(1, self._count + 1)) or b'"id":%d' % number not in reply:
            raise WrongReply(f"{len(steps)} events, or no result: {reply[-300:]!r}")


class Request(NamedTuple):
    """Ready bytes, and what they ask."""

    number: int
    data: bytes
    question: Question | Told


class Figures(Struct, kw_only=True):
    """What a call takes of a program, or an event."""

    program: str
    microseconds: float
    """Of CPU; the median of the rounds."""
    layers: dict[str, float]
    """Steps, by layer; the most first."""
    calls: float

    @property
    def steps(self) -> float:
        """Those of all layers."""
        return sum(self.layers.values())


class Counted(Struct):
    """What the interpreter has done."""

    files: Counter[str] = field(default_factory=Counter)
    """Steps, by source file."""
    calls: int = 0


@contextmanager
def counting() -> Iterator[Counted]:
    """Count what this thread does in functions that begin, or go on, while the context lasts."""
    found = Counted()

    def within(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            found.files[frame.f_code.co_filename] += 1
        return within

    def begins(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename in _OWN:
            return None
        found.calls += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return within

    before = sys.gettrace()
    sys.settrace(begins)
    try:
        yield found
    finally:
        sys.settrace(before)


class Rig:
    """A program, with its connections and all that it is asked."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._wires: list[Wire] = []
        self._requests: list[Request] = []
        self._missing = 0
        self._complete = asyncio.Event()

    async def open(self, opener: Opener, stack: AsyncExitStack) -> None:
        """Connect for as long as ``stack`` lasts, open sessions, and make the requests."""
        work = self._work
        self._wires = await stack.enter_async_context(opener(work.connections, self._written))
        era: Era = "legacy" if work.lines or work.sessions else "modern"
        if work.events:
            job = Events(server=Command(()), count=work.events, together=work.together)
            asked = Request(FIRST, events.request(PLACE, job, None), Told(work.events))
            self._requests = [asked] * work.requests
            return
        questions = [Question(ask, era) for ask in work.asks]
        if work.lines:
            for line in (initialize(1), INITIALIZED):
                self._wires[0].deliver(line + b"\n")
                self._wires[0].outlet.take()
        sessions = [self._open_session() for _ in range(work.sessions)] or [None]
        for at in range(work.requests):
            number, question = FIRST + at, questions[at % len(questions)]
            if work.lines:
                data = question.body(number) + b"\n"
            else:
                session = sessions[at % len(sessions)]
                whole = asking(PLACE, question, "any", session, vary=work.vary)
                data = whole.replace(HOLE, b"%d" % number)
            self._requests.append(Request(number, data, question))

    def _open_session(self) -> str | None:
        wire = self._wires[0]
        wire.deliver(post(PLACE, initialize(1)))
        session = http_wire.field(wire.outlet.take(), b"mcp-session-id").decode()
        wire.deliver(post(PLACE, INITIALIZED, MCP_Protocol_Version=LEGACY, Mcp_Session_Id=session))
        wire.outlet.take()
        return session

    def _written(self) -> None:
        if self._work.events and not self._wires[0].outlet.ended:
            return
        self._missing -= 1
        if not self._missing:
            self._complete.set()

    async def cost(self) -> float:
        """Ask everything once, and oftener where it is little: microseconds of CPU."""
        count = len(self._requests) * (self._work.events or 1)
        times = -(-TOGETHER // count)
        spent = 0.0
        for _ in range(times):
            began = time.process_time()
            await self._ask(self._requests)
            spent += time.process_time() - began
            self._check(self._requests)
        return spent / (times * count) * 1e6

    async def count(self) -> tuple[dict[str, float], float]:
        """Steps, by layer, and calls for each of the first requests, or for each event."""
        asked = self._requests[: max(COUNTED, len(self._wires))]
        count = len(asked) * (self._work.events or 1)
        with counting() as found:
            await self._ask(asked)
        self._check(asked)
        layers: Counter[str] = Counter()
        for file, steps in found.files.items():
            layers[layer_of(file)] += steps
        shares = {layer: steps / count for layer, steps in layers.most_common()}
        return shares, found.calls / count

    async def _ask(self, asked: Sequence[Request]) -> None:
        wires = self._wires
        if self._work.events:
            for request in asked:
                self._missing = 1
                self._complete.clear()
                wires[0].deliver(request.data)
                await self._complete.wait()
        elif len(wires) == 1:
            deliver = wires[0].deliver
            for request in asked:
                deliver(request.data)
        else:
            self._missing = len(asked)
            self._complete.clear()
            for wire, request in zip(wires, asked, strict=True):
                wire.deliver(request.data)
            await self._complete.wait()

    def _check(self, asked: Sequence[Request]) -> None:
        cut = _lines if self._work.lines else _bodies
        replies = [reply for wire in self._wires for reply in cut(wire.outlet.take())]
        if len(replies) != len(asked):
            raise WrongReply(f"{len(replies)} replies to {len(asked)} requests")
        for request, reply in zip(asked, replies, strict=True):
            request.question.check(request.number, reply)


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines()


def _bodies(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        begin = data.find(b"\r\n\r\n", at) + 4
        head = data[at:begin]
        if not head.startswith(b"HTTP/1.1 200 "):
            raise WrongReply(f"not what was asked for: {data[at : at + 300]!r}")
        if b"chunked" in head:
            yield http_wire.dechunked(data, begin) or b""
            at = data.index(END, begin) + len(END)
            continue
        at = begin + int(http_wire.field(head, b"content-length"))
        yield data[begin:at]


async def measure(work: Work, rounds: int, *, alone: bool = False) -> list[Figures]:
    """Measure the programs in turn, ours first; or ours ``alone``.  Raises WrongReply."""
    async with AsyncExitStack() as stack:
        rigs = {}
        chosen = list(programs(lines=work.lines, tools=work.tools).items())
        for name, opener in chosen[:1] if alone else chosen:
            rigs[name] = Rig(work)
            await rigs[name].open(opener, stack)
            await rigs[name].cost()
        costs: dict[str, list[float]] = {name: [await rig.cost()] for name, rig in rigs.items()}
        for _ in range(rounds - 1):
            for name, rig in rigs.items():
                costs[name].append(await rig.cost())
        found = []
        for name, rig in rigs.items():
            layers, calls = await rig.count()
            figures = Figures(
                program=name, microseconds=median(costs[name]), layers=layers, calls=calls
            )
            found.append(figures)
        return found


def show(console: Console, work: Work, found: Sequence[Figures]) -> None:
    """Print what was measured; times beside that of the first raw program, if there is one."""
    table = Table(title=work.title, title_justify="left", title_style="bold")
    table.add_column("program")
    for heading in (f"µs of CPU {work.unit}", "of raw", "steps", "calls"):
        table.add_column(heading, justify="right")
    beside = found[1].microseconds if found[1:] else None
    for each in found:
        table.add_row(
            each.program,
            f"{each.microseconds:.1f}",
            "" if beside is None else f"{each.microseconds / beside:.2f} x",
            f"{each.steps:,.0f}",
            f"{each.calls:,.1f}",
        )
    console.print(table)
    of_ours = ", ".join(f"{layer} {steps:,.0f}" for layer, steps in found[0].layers.items())
    console.print(f"  Steps of ours: {of_ours}.", highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m mcpcore_bench.dry",
        description="What a call takes without the sockets: CPU, steps of the interpreter, calls.",
    )
    parser.add_argument("works", metavar="WORK", nargs="*", help=f"of {', '.join(WORKS)}")
    parser.add_argument(
        "--ours", action="store_true", help="ours alone, for a profiler that looks at this process"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default %(default)s")
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.works if name not in WORKS]:
        parser.error(f"there is no {unknown[0]!r}, but {', '.join(WORKS)}")
    if chosen.rounds < 1:
        parser.error("--rounds is 1 at least")
    console = Console()
    for name in chosen.works or WORKS:
        work = WORKS[name]
        show(console, work, asyncio.run(measure(work, chosen.rounds, alone=chosen.ours)))


if __name__ == "__main__":
    main()
