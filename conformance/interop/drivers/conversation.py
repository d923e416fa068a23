"""The conversation itself: opening, cancellation, notifications, subscriptions, sessions, tasks."""

import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio

from conformance.interop.drivers.caller import (
    Caller,
    Late,
    Object,
    Refused,
    Unavailable,
    expect,
    text_of,
)

WATCHED = "test://watched-resource"
MESSAGES = "notifications/message"
PROGRESS = "progress"
"""What the library's progress callback hears is kept under this name."""
HTTP_TIMEOUT = 5.0


async def opening(caller: Caller) -> None:
    """The revision, and what the server says of itself."""
    said = await caller.opening()
    expect(said["protocolVersion"] == caller.facts["name"], said)
    expect(said["serverInfo"]["name"] and said["serverInfo"]["version"], said)
    expect(said["instructions"], said)
    declared = said["capabilities"]
    missing = {"tools", "resources", "prompts", "logging", "completions"} - declared.keys()
    if not caller.facts["audio_content"]:  # completions are declared since the same revision
        missing -= {"completions"}
    expect(not missing, declared)


async def ping(caller: Caller) -> None:
    """Ask whether the server is there."""
    await caller.ping()


async def ping_back(caller: Caller) -> None:
    """The server asks whether the client is there."""
    text = await caller.say("test_ping_client")
    expect(text == "the client is there", text)


# While a call runs


async def progress(caller: Caller) -> None:
    """A call reports how far it is."""
    mark = caller.news.mark

    def hear(value: float, total: float | None, message: str | None) -> None:
        caller.news.add(PROGRESS, {"value": value, "total": total, "message": message})

    result = await caller.call("test_tool_with_progress", progress=hear)
    expect(text_of(result), result)
    heard = await caller.news.wait(mark, PROGRESS, 3)
    expect([each["value"] for each in heard] == [0, 50, 100], heard)
    expect(all(each["total"] == 100 for each in heard), heard)
    if caller.facts["audio_content"]:  # messages came with the revision that has audio
        expect(all(each["message"] for each in heard), heard)


async def logging(caller: Caller) -> None:
    """A call logs, with all that a message may have."""
    await caller.set_level("debug")
    mark = caller.news.mark
    await caller.say("test_tool_with_logging")
    messages = await caller.news.wait(mark, MESSAGES, 3)
    expect([each["level"] for each in messages] == ["info"] * 3, messages)
    expect(all("Tool execution" in str(each["data"]) for each in messages), messages)


async def logging_levels(caller: Caller) -> None:
    """Messages below the level that was asked for stay away."""
    await caller.set_level("error")
    mark = caller.news.mark
    await caller.say("test_tool_with_logging")
    unwanted = caller.news.since(mark, MESSAGES)
    await caller.set_level("info")
    mark = caller.news.mark
    await caller.say("test_tool_with_logging")
    await caller.news.wait(mark, MESSAGES, 3)
    expect(not unwanted, unwanted)


async def cancellation(caller: Caller) -> None:
    """A call is given up; the server notices, and the connection goes on."""
    before = await _cancelled(caller)
    with anyio.CancelScope() as scope:
        await caller.call(
            "test_wait", {"seconds": 30}, progress=lambda value, total, message: scope.cancel()
        )
    expect(scope.cancelled_caught, "the call ended by itself")
    noticed = before
    while noticed <= before:
        noticed = await _cancelled(caller)


async def _cancelled(caller: Caller) -> int:
    return int(await caller.say("test_cancelled_count"))


async def timeout(caller: Caller) -> None:
    """A call takes too long; its late answer disturbs nobody."""
    try:
        result = await caller.call("test_wait", {"seconds": 0.5}, timeout=0.2)
    except Late:
        pass
    else:
        expect(False, result)
    text = await caller.say("test_wait", {"seconds": 0.5})
    expect(text == "waited", text)


async def timeout_cancels(caller: Caller) -> None:
    """The server is told when nobody waits any longer."""
    before = await _cancelled(caller)
    with suppress(Late):
        await caller.call("test_wait", {"seconds": 3}, timeout=0.1)
    for _ in range(50):
        if await _cancelled(caller) > before:
            return
        await anyio.sleep(0.02)
    expect(False, "the server still works on the call")


# Changes


async def _changes(caller: Caller, member: str, tool: str, method: str) -> Object:
    """Have something change, and be told of it."""
    kind = method.split("/")[1] if method.endswith("list_changed") else "resource"
    if caller.modern:
        async with caller.listen({member: [WATCHED] if kind == "resource" else True}) as changes:
            await caller.say(tool)
            async for change in changes:
                expect(change["kind"] == kind, change)
                return change
        expect(False, "the stream ended")
    mark = caller.news.mark
    await caller.say(tool)
    return (await caller.news.wait(mark, method))[0]


async def tools_changed(caller: Caller) -> None:
    """The list of tools changes."""
    method = "notifications/tools/list_changed"
    await _changes(caller, "toolsListChanged", "test_trigger_tool_change", method)


async def prompts_changed(caller: Caller) -> None:
    """The list of prompts changes."""
    method = "notifications/prompts/list_changed"
    await _changes(caller, "promptsListChanged", "test_trigger_prompt_change", method)


async def resources_changed(caller: Caller) -> None:
    """The list of resources changes."""
    method = "notifications/resources/list_changed"
    await _changes(caller, "resourcesListChanged", "test_trigger_resource_change", method)


async def resource_updated(caller: Caller) -> None:
    """A resource that was subscribed to changes; after the end of that, nothing is told."""
    method, tool = "notifications/resources/updated", "test_trigger_resource_change"
    if not caller.modern:
        await caller.subscribe(WATCHED)
    change = await _changes(caller, "resourceSubscriptions", tool, method)
    expect(change["uri"] == WATCHED, change)
    if caller.modern:
        return
    await caller.unsubscribe(WATCHED)
    mark = caller.news.mark
    await caller.say(tool)
    # What comes after it on the same stream shows that it did not come.
    await caller.news.wait(mark, "notifications/resources/list_changed")
    expect(not caller.news.since(mark, method), caller.news.heard[mark:])


# Sessions


@asynccontextmanager
async def _second(caller: Caller) -> AsyncIterator[tuple[Caller, str]]:
    async with caller.another() as other:
        session = other.session
        if session is None:
            raise Unavailable("the server has no sessions")
        yield other, session


def _bare(caller: Caller, method: str, session: str) -> int:
    """Send a request without any library, as part of a session; return its status."""
    parts = urlsplit(caller.url or "")
    connection = http.client.HTTPConnection(parts.netloc, timeout=HTTP_TIMEOUT)
    headers = {
        "Mcp-Session-Id": session,
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
    if caller.facts["version_header"]:
        headers["MCP-Protocol-Version"] = caller.facts["name"]
    body = json.dumps({"jsonrpc": "2.0", "id": "bare", "method": "ping"})
    try:
        connection.request(method, parts.path, body if method == "POST" else None, headers)
        return connection.getresponse().status
    finally:
        connection.close()


async def session_end(caller: Caller) -> None:
    """A client that leaves ends its session."""
    async with _second(caller) as (other, session):
        await other.say("test_simple_text")
        status = await anyio.to_thread.run_sync(_bare, caller, "POST", session)
        expect(status == 200, f"status {status} while the session lasts")
    status = await anyio.to_thread.run_sync(_bare, caller, "POST", session)
    expect(status == 404, f"status {status} after its end")


async def session_lost(caller: Caller) -> None:
    """The session ends behind the client's back; the client opens another one."""
    async with _second(caller) as (other, session):
        await other.say("test_simple_text")
        status = await anyio.to_thread.run_sync(_bare, caller, "DELETE", session)
        expect(status in (200, 202, 204), f"status {status} to DELETE")
        text = await other.say("test_simple_text")
        expect("simple text" in text, text)
        expect(other.session not in (None, session), other.session)


# Experimental tasks


async def task_result(caller: Caller) -> None:
    """A call runs as a task, is asked after, and has a result."""
    task = await caller.start_task("slow_compute", {"seconds": 0.2, "label": "sum"})
    expect(task["status"] == "working" and task["createdAt"], task)
    asked = await caller.task(task["taskId"])
    expect(asked["taskId"] == task["taskId"], asked)
    result = await caller.task_result(task["taskId"])
    expect("sum took" in text_of(result), result)
    related = result["_meta"]["io.modelcontextprotocol/related-task"]
    expect(related["taskId"] == task["taskId"], result)
    asked = await caller.task(task["taskId"])
    expect(asked["status"] == "completed", asked)
    listed = await caller.tasks()
    expect(task["taskId"] in [each["taskId"] for each in listed], listed)


async def task_input(caller: Caller) -> None:
    """A task asks the user."""
    task = await caller.start_task("confirm_delete", {"filename": "old.txt"})
    result = await caller.task_result(task["taskId"])
    expect(text_of(result) == "old.txt was deleted", result)
    _, params = caller.answers.asked[-1]
    related = params["_meta"]["io.modelcontextprotocol/related-task"]
    expect(related["taskId"] == task["taskId"], params)


async def task_cancel(caller: Caller) -> None:
    """A task is cancelled."""
    task = await caller.start_task("slow_compute", {"seconds": 30})
    cancelled = await caller.cancel_task(task["taskId"])
    expect(cancelled["status"] == "cancelled", cancelled)
    try:
        again = await caller.cancel_task(task["taskId"])
    except Refused as refused:
        expect(refused.code == -32602, refused)
    else:
        expect(False, again)


async def task_modes(caller: Caller) -> None:
    """A tool that must run as a task refuses to be called plainly, and the other way round."""
    tools = {tool["name"]: tool for tool in await caller.all_pages("tools/list", "tools")}
    modes = {name: tool.get("execution", {}).get("taskSupport") for name, tool in tools.items()}
    expect(modes["slow_compute"] == "optional" and modes["failing_job"] == "required", modes)
    for name, send in (
        ("failing_job", caller.call("failing_job")),
        ("greet", caller.start_task("greet", {"name": "Ada"})),
    ):
        try:
            result = await send
        except Refused as refused:
            expect(refused.code == -32601, f"{name}: {refused}")
        else:
            expect(False, f"{name}: {result}")
