"""The server of the behaviours: the same tools on every binding, in whatever process it runs.

What happens inside it is told by tools as well: ``journal`` returns what a case has left there, so
that a test sees it wherever the server is.
"""

import asyncio
import os
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import sniffio
from msgspec import Struct

import mcpcore_transports
from mcpcore.errors import ToolError
from mcpcore.service import Server
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicit, Input, ListRoots, Sample
from mcpcore_transports.server.notifications import NotificationContext
from tests.leaving import leave, write_words

NOTE = "notifications/acme/note"
LEAVE = "leave"
LEAVING = ("leave", "leave_later", "leave_in_thread", "leave_in_task")
"""Tools that end as :mod:`tests.leaving` says."""
SUM = "acme/sum"
COUNTER = "count://"
HOME = Path(mcpcore_transports.__file__).parent


class Point(Struct):
    """A structured result, and the form that users fill in."""

    x: int
    y: int = 0


class Entries(Struct):
    """What a case has left in the journal."""

    entries: list[str]


class Census(Struct):
    """What the server's process has of what may leak."""

    tasks: dict[str, int]
    """How many of each name."""
    threads: int
    descriptors: int

    def within(self, other: "Census") -> bool:
        """Whether there is no more than at another time."""
        fewer = sum(self.tasks.values()) <= sum(other.tasks.values())
        return fewer and self.threads <= other.threads and self.descriptors <= other.descriptors


def census() -> Census:
    """Count what this process has, but for what rests until it is needed again."""
    if sniffio.current_async_library() == "trio":
        import trio

        root = trio.lowlevel.current_root_task()
        coroutines: list[Any] = []
        ahead = [] if root is None else [root]
        while ahead:
            task = ahead.pop()
            coroutines.append(task.coro)
            ahead += [child for each in task.child_nurseries for child in each.child_tasks]
    else:
        coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    tasks = Counter(_doing(coroutine) for coroutine in coroutines)
    # Trio keeps idle threads of its own for a while.
    threads = [each for each in threading.enumerate() if not each.name.startswith("Trio")]
    return Census(dict(tasks), len(threads), len(os.listdir("/proc/self/fd")))


def _doing(coroutine: Any) -> str:
    """The innermost function of ours that a coroutine is in."""
    found = ""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        code, coroutine = frame.f_code, coroutine.cr_await
        if not found or code.co_filename.startswith(str(HOME)):
            found = code.co_qualname
    return found


class Journal:
    """What happened in each case, and who waits for more of it."""

    def __init__(self) -> None:
        self._entries: dict[str, list[str]] = defaultdict(list)
        self._more = anyio.Event()

    def add(self, case: str, entry: str) -> None:
        self._entries[case].append(entry)
        more, self._more = self._more, anyio.Event()
        more.set()

    def of(self, case: str) -> list[str]:
        return list(self._entries[case])

    async def until(self, case: str, entry: str, count: int) -> list[str]:
        """Wait until the case has so many of these entries; the caller bounds the time."""
        while self._entries[case].count(entry) < count:
            await self._more.wait()
        return self.of(case)


class Life(Struct):
    """What the lifespan yields: how often it was entered, and whether it is now."""

    entered: int = 0
    open: bool = False


def make_workbench() -> Server:
    """Make the server. It is to be used on one event loop only."""
    life = Life()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Life]:
        await anyio.lowlevel.checkpoint()
        life.entered += 1
        life.open = True
        yield life
        life.open = False
        await anyio.lowlevel.checkpoint()

    server = Server(
        "workbench", version="1.0", instructions="Use it.", page_size=20, lifespan=lifespan
    )
    journal = Journal()
    counts: dict[str, int] = defaultdict(int)
    held: dict[str, anyio.Event] = defaultdict(anyio.Event)

    # Tools that answer

    @server.tool
    def echo(text: str) -> str:
        """Say it again."""
        return text

    @server.tool(name="echo_later")
    async def echo_later(text: str) -> str:
        """Say it again, from a coroutine that lets others go first."""
        await anyio.lowlevel.checkpoint()
        return text

    @server.tool
    def point(x: int, y: int = 0) -> Point:
        """Return a structured result."""
        return Point(x, y)

    @server.tool
    def fail(message: str) -> str:
        """Fail as a tool fails."""
        raise ToolError(message)

    @server.tool
    def crash() -> str:
        """Fail as a program fails."""
        raise RuntimeError("a secret of the program")

    @server.tool(structured_output=False)
    def big(size: int) -> str:
        """Return so many characters."""
        return "x" * size

    @server.tool
    def size(text: str) -> int:
        """Count characters."""
        return len(text)

    # What the lifespan yields

    @server.tool
    def life_now(context: Context[Life]) -> Life:
        return context.lifespan

    @server.tool
    async def life_later(context: Context[Life]) -> Life:
        await anyio.lowlevel.checkpoint()
        return context.lifespan

    @server.tool(thread=True)
    def life_in_thread(context: Context[Life]) -> Life:
        return context.lifespan

    # Tools that tell while they work

    @server.tool
    def steps(context: Context, count: int) -> int:
        """Report progress so often; return how often it was wanted."""
        return sum(context.progress(step, count, f"step {step}") for step in range(1, count + 1))

    @server.tool
    def say(context: Context, levels: list[str]) -> int:
        """Send a log message of each level; return how many were wanted."""
        return sum(context.log(level, {"said": level}, "bench") for level in levels)  # type: ignore[arg-type, misc]

    @server.tool
    def note(context: Context, value: int) -> bool:
        """Send a notification of an extension."""
        return context.notify(NOTE, {"value": value})

    # Tools that ask

    @server.tool
    async def ask_user(context: Context) -> str:
        answer = await context.elicit("Where?", Point)
        return f"{answer.action} {answer.content}"

    @server.tool
    async def ask_model(context: Context, text: str) -> str:
        result = await context.sample(text, 10)
        return result.content.text  # type: ignore[union-attr]

    @server.tool
    async def ask_roots(context: Context) -> list[str]:
        return [root.uri for root in await context.list_roots()]

    @server.tool
    async def ask_all(context: Context) -> str:
        wanted: dict[str, Input[Any]] = {
            "user": Elicit("Where?", Point),
            "model": Sample("Hello", 10),
            "roots": ListRoots(),
        }
        found = await context.gather_inputs(wanted)
        user, model, roots = found["user"], found["model"], found["roots"]
        return f"{user.content} {model.content.text} {roots[0].uri}"

    @server.tool
    async def remember(context: Context) -> list[int]:
        """Count once, although the handler may run again for the question's sake."""
        counts["remembered"] += 1
        first = await context.remember("first", lambda: counts["remembered"], int)
        await context.list_roots()
        again = await context.remember("first", lambda: -1, int)
        return [first, again]

    # Tools that wait

    @server.tool
    async def wait(context: Context, case: str) -> str:
        """Return when ``release`` is called for the case; the journal says how it ended."""
        context.progress(0)
        journal.add(case, "started")
        try:
            await held[case].wait()
        except anyio.get_cancelled_exc_class():
            journal.add(case, f"because {context.cancel_reason}")
            journal.add(case, "cancelled")
            raise
        journal.add(case, "released")
        return "released"

    @server.tool
    async def linger(case: str) -> str:
        """Like ``wait``, but it does not go when it is told to, only when it is released."""
        journal.add(case, "started")
        with anyio.CancelScope(shield=True):
            await held[case].wait()
        journal.add(case, "lingered")
        return "too late"

    @server.tool
    def release(case: str) -> None:
        held[case].set()

    @server.tool(name="journal")
    def read_journal(case: str) -> Entries:
        """Return what has happened in the case."""
        return Entries(journal.of(case))

    @server.tool
    async def journal_until(case: str, entry: str, count: int = 1) -> Entries:
        """Return what has happened as soon as there are so many of the entries."""
        return Entries(await journal.until(case, entry, count))

    @server.tool(name="census")
    def take_census() -> Census:
        """Count tasks, threads and descriptors of the server's process."""
        return census()

    # Changes

    @server.tool
    def change(what: str) -> None:
        """Make a list change: a tool, a prompt or a resource comes and goes."""
        if what == "tools":
            server.add_tool(echo, "for_a_moment")
            server.remove_tool("for_a_moment")
        elif what == "prompts":
            server.add_prompt(greet, "for_a_moment")
            server.remove_prompt("for_a_moment")
        else:
            server.add_resource("moment://", "text")
            server.remove_resource("moment://")

    @server.tool
    def count(name: str) -> int:
        """Make a counted resource change."""
        counts[name] += 1
        server.resource_updated(f"{COUNTER}{name}")
        return counts[name]

    @server.tool(thread=True)
    def stir(name: str) -> int:
        """Make a counted resource and all lists change, from a thread."""
        counted_so_far = count(name)
        for what in ("tools", "prompts", "resources"):
            change(what)
        return counted_so_far

    # Resources, prompts, completions

    @server.resource("text://plain", mime_type="text/plain")
    def plain() -> str:
        return "plain text"

    @server.resource("data://bytes", mime_type="application/octet-stream")
    def data() -> bytes:
        return bytes(range(256))

    @server.resource(COUNTER + "{name}")
    def counted(name: str) -> str:
        return str(counts[name])

    @server.prompt
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello, {name}!"

    @server.completion(prompt="greet", argument="name")
    def names(typed: str) -> list[str]:
        return [name for name in ("Ada", "Alan", "Grace") if name.startswith(typed)]

    for number in range(30):
        server.add_prompt(greet, f"greet_{number:02}")

    # What ends the program, or tries to

    write_words("mcpcore.server", journal)

    @server.tool(name="leave_later")
    async def leave_later(how: str, word: str) -> None:
        """Leave from a coroutine that lets others go first."""
        await anyio.lowlevel.checkpoint()
        leave(how, word)

    @server.tool
    async def leave_in_task(how: str, word: str) -> None:
        """Leave from a task that the tool has started."""
        async with anyio.create_task_group() as group:
            group.start_soon(leave_later, how, word)
            await anyio.sleep_forever()

    server.add_tool(leave, LEAVE)
    server.add_tool(leave, "leave_in_thread", thread=True)
    server.add_resource("leave://{how}/{word}", leave)
    server.add_prompt(leave, LEAVE)
    server.completion(prompt=LEAVE, argument="word")(lambda typed: leave(*typed.split("/")))
    server.method("acme/leave")(leave)
    server.notification("notifications/acme/plain")(leave)
    server.notification("notifications/acme/awaiting")(leave_later)
    server.notification("notifications/acme/thread", thread=True)(leave)

    # Extensions

    @server.method(SUM)
    def add_up(values: list[int]) -> dict[str, Any]:
        return {"sum": sum(values)}

    @server.notification(NOTE)
    def heard(case: str, value: int, context: NotificationContext[Life]) -> None:
        journal.add(case, f"noted {value}" if context.lifespan.open else "noted outside")

    return server
