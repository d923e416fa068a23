"""``timeout`` of a tool: the call fails and the handler is stopped, as far as it can be."""

import threading
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mcpcore import (
    Callbacks,
    ClientSettings,
    Context,
    MemoryTarget,
    RuntimeSettings,
    Server,
    Steps,
    connect,
)
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.server.middleware import Answer
from tests.clock import PATIENCE, patience

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"]),
]


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("task", ["forbidden", "optional", "required"])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_a_tool_whose_time_is_over(
    revision: str, kind: str, task: Any, guarded: bool
) -> None:
    server, ends = Server("s"), list[str]()
    begun, noticed = threading.Event(), threading.Event()
    kept, seen = list[dict[str, Any]](), list[tuple[bool, Any]]()

    async def endless() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            ends.append("cancelled")
        return ""

    def blocking(context: Context) -> str:
        begun.set()
        while not context.cancelled:
            time.sleep(0.001)  # a thread is told of it only when it asks
        kept.append(context.session_state)
        noticed.set()
        return "nobody hears this"

    in_thread = kind == "thread"
    server.add_tool(
        blocking if in_thread else endless,
        "slow",
        thread=in_thread,
        timeout=0.01,
        task=task,
        task_poll=0.001,
    )

    def steps(context: Context) -> Steps[Answer]:
        context.session_state["n"] = 1
        yield
        if context.method == "tools/call":
            seen.append((context.cancelled, context.session_state.get("n")))

    target = MemoryTarget(server, RuntimeSettings(middleware=(steps,) if guarded else ()))
    settings = ClientSettings(tasks=TaskOptions())
    with patience():
        async with connect(target, revision=revision, settings=settings) as client:
            result = await client.call_tool("slow")
            await client.ping()
            if begun.is_set():  # a thread that is not, by then, never begins
                assert await anyio.to_thread.run_sync(noticed.wait, PATIENCE)
    assert (result.is_error, result.text) == (
        True,
        "the tool 'slow' did not end within 0.01 seconds",
    )
    assert ends == ([] if in_thread else ["cancelled"])
    # The middleware goes on, while nobody waits for the thread.
    assert seen == ([(False, 1 if revision == "2025-11-25" else None)] if guarded else [])
    assert not any(kept)


async def test_a_tool_that_ends_in_time(revision: str) -> None:
    server = Server("s")

    @server.tool(timeout=3600)
    async def quick() -> str:
        return "done"

    @server.tool(timeout=3600)
    async def late() -> str:
        with anyio.fail_after(0.001):  # a time of its own
            await anyio.sleep_forever()
        return ""

    @server.tool(timeout=3600)
    async def ask(context: Context) -> str:
        return str((await context.elicit("?", {"type": "object", "properties": {}})).content)

    callbacks = Callbacks(elicitation=lambda form: {"n": 1})
    async with connect(server, revision=revision, callbacks=callbacks) as client:
        assert (await client.call_tool("quick")).text == "done"
        assert (await client.call_tool("ask")).text == "{'n': 1}"
        result = await client.call_tool("late")
    assert result.is_error
    assert "did not end" not in result.text
