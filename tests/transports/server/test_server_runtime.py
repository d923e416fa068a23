"""The server's runtime: how handlers are run, stopped and answered for."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import Struct, structs

from mcpcore import (
    Context,
    HttpSettings,
    Limits,
    RuntimeSettings,
    SealSettings,
    Server,
    ToolError,
    make_seal,
)
from mcpcore.http.storing import SessionForgotten, SessionRestored
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.server.runtime import ServerRuntime
from tests.http.stored.storebench import one_in_session
from tests.http.support import request
from tests.transports.runtime_bench import LEGACY, MODERN, bench
from tests.transports.served import Endless

pytestmark = pytest.mark.anyio


class Consent(Struct):
    ok: bool


ELICITS: dict[str, Any] = {"elicitation": {}}
AGREED = {"action": "accept", "content": {"ok": True}}


def asking() -> Server:
    server = Server("s")

    @server.tool
    async def ask(context: Context, what: str = "x") -> str:
        kept = await context.remember("kept", lambda: f"kept {what}")
        answer = await context.elicit("Go on?", Consent, key="go")
        return f"{kept} {answer.action}"

    @server.prompt
    async def ask_too(context: Context) -> str:
        return (await context.elicit("Go on?", Consent, key="go")).action

    return server


def said(reply: dict[str, Any]) -> str:
    return str(reply["result"]["content"][0]["text"])


async def test_plain_functions_have_no_task_and_coroutines_one() -> None:
    server = Server("s")
    tasks: dict[str, int] = {}

    @server.tool
    def plain() -> str:
        tasks["plain"] = len(anyio.get_running_tasks())
        return "plain"

    @server.tool
    async def coroutine() -> str:
        tasks["coroutine"] = len(anyio.get_running_tasks())
        return "coroutine"

    async with bench(server) as made:
        before = len(anyio.get_running_tasks())
        id = made.post("tools/call", {"name": "plain"})
        assert [message["id"] for message in made.sent] == [id]
        await made.call("tools/call", {"name": "coroutine"})
    assert tasks == {"plain": before, "coroutine": before + 1}


async def test_a_plain_function_may_return_an_awaitable() -> None:
    server = Server("s")

    async def later() -> str:
        await anyio.lowlevel.checkpoint()
        return "later"

    @server.tool
    def tool() -> Any:
        return later()

    async with bench(server) as made:
        assert said(await made.call("tools/call", {"name": "tool"})) == "later"


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_errors_meant_for_the_client_come_out_of_task_groups(
    depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server("s")

    async def fail(levels: int) -> None:
        if not levels:
            raise ToolError("no such city")
        async with anyio.create_task_group() as group:
            group.start_soon(fail, levels - 1)

    @server.tool
    async def tool() -> str:
        await fail(depth)
        return "never"

    async with bench(server) as made:
        reply = await made.call("tools/call", {"name": "tool"})
    assert said(reply) == "no such city"
    assert caplog.records == []


async def test_a_result_that_is_no_json_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("s")

    @server.tool
    def tool() -> CallToolResult:
        return CallToolResult(content=[], structured_content={"x": float("nan")})

    async with bench(server) as made:
        reply = await made.call("tools/call", {"name": "tool"})
        assert reply["result"]["isError"] is True
        assert (await made.call("tools/list", {}))["result"]["tools"]
    assert len(caplog.records) == 1


@pytest.mark.requirement(
    "basic/patterns/cancellation/stop-and-free",
    "basic/transports/stdio/cancel-stops",
    "basic/transports/stdio/cancelled-silent",
)
@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_cancellation_reaches_the_handler_and_frees_its_place(revision: str) -> None:
    server = Endless()

    async with bench(server) as made:
        if revision == LEGACY:
            made.open_legacy()
        id = made.post("tools/call", {"name": "wait"}, revision=revision)
        await server.started.wait()
        assert made.peer.in_flight == 1
        made.cancel(id)
        await server.stopped.wait()
        await made.runtime.idle()
        assert made.peer.in_flight == 0
        assert [message for message in made.sent if message.get("id") == id] == []
    assert server.cancelled == [True]


async def test_undeclared_capability_in_the_legacy_era() -> None:
    async with bench(asking()) as made:
        made.open_legacy()
        reply = await made.call("tools/call", {"name": "ask"}, revision=LEGACY)
        prompt = await made.call("prompts/get", {"name": "ask_too"}, revision=LEGACY)
    assert reply["result"]["isError"] is True
    assert said(reply) == "the client does not support elicitation.form"
    assert prompt["error"]["message"] == "the client does not support elicitation.form"


@pytest.mark.requirement("client/elicitation/success-not-assumed")
async def test_a_client_that_takes_too_long() -> None:
    async with bench(asking(), RuntimeSettings(input_timeout=10.0)) as made:
        made.open_legacy(ELICITS)
        id = made.post("tools/call", {"name": "ask"}, revision=LEGACY)
        while not any(m.get("method") == "elicitation/create" for m in made.sent):
            await anyio.lowlevel.checkpoint()
        made.peer.handle_timeout(float("inf"))
        made.flush_soon()
        assert "did not answer" in said(await made.reply(id))


@pytest.mark.requirement("basic/patterns/mrtr/supported-methods")
async def test_only_some_methods_can_ask_in_the_modern_era(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = asking()

    @server.completion(prompt="ask_too")
    async def complete(typed: str, context: Context) -> list[str]:
        await context.elicit("Which?", Consent)
        return []

    params = {
        "ref": {"type": "ref/prompt", "name": "ask_too"},
        "argument": {"name": "a", "value": ""},
    }
    async with bench(server) as made:
        reply = await made.call("completion/complete", params, capabilities=ELICITS)
    assert reply["error"]["code"] == -32603
    assert "completion/complete cannot ask" in str(caplog.records[0].exc_info)


async def rounds(made: Any, **retry: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask once, answer, and return both replies; ``retry`` changes the params of the second."""
    params = {"name": "ask", "arguments": {"what": "a"}}
    first = await made.call("tools/call", params, capabilities=ELICITS)
    state = first["result"]["requestState"]
    again = {**params, "inputResponses": {"go": AGREED}, "requestState": state}
    for name, change in retry.items():
        again[name] = change(again[name])
    return first, await made.call("tools/call", again, capabilities=ELICITS)


@pytest.mark.requirement("basic/patterns/mrtr/state-untrusted")
async def test_a_state_is_refused_even_where_nobody_reads_it() -> None:
    server = Server("s")

    @server.tool
    def plain() -> str:
        return "plain"

    async with bench(server) as made:
        reply = await made.call("tools/call", {"name": "plain", "requestState": "forged"})
    assert reply["error"]["code"] == -32602


@pytest.mark.requirement("basic/patterns/mrtr/state-bound")
async def test_a_state_expires() -> None:
    now = [1000.0]
    seal = make_seal(SealSettings(lifetime=60))
    settings = RuntimeSettings(seal=seal, wall=lambda: now[0])
    async with bench(asking(), settings) as made:
        params = {"name": "ask"}
        first = await made.call("tools/call", params, capabilities=ELICITS)
        now[0] += 61
        again = {
            **params,
            "inputResponses": {"go": AGREED},
            "requestState": first["result"]["requestState"],
        }
        reply = await made.call("tools/call", again, capabilities=ELICITS)
    assert reply["error"]["code"] == -32602
    assert "expired" in reply["error"]["message"]


@pytest.mark.requirement(
    "basic/patterns/mrtr/missing-asked-again", "basic/patterns/mrtr/responses-validated"
)
@pytest.mark.parametrize(
    "responses",
    [
        {},
        {"other": AGREED},
        {"go": {"action": "maybe"}},
        {"go": {"action": "accept", "content": {"ok": "yes"}}},
        {"go": 7},
        {"go": None},
    ],
)
async def test_what_is_missing_or_does_not_fit_is_asked_again(responses: dict[str, Any]) -> None:
    async with bench(asking()) as made:
        _, second = await rounds(made, inputResponses=lambda _: responses)
    assert second["result"]["resultType"] == "input_required"
    assert list(second["result"]["inputRequests"]) == ["go"]


@pytest.mark.requirement("basic/patterns/mrtr/extra-responses-ignored")
async def test_answers_count_without_a_state() -> None:
    async with bench(asking()) as made:
        params = {"name": "ask", "inputResponses": {"go": AGREED, "more": {}}}
        assert said(await made.call("tools/call", params, capabilities=ELICITS)) == "kept x accept"


async def test_a_question_put_differently_is_asked_again() -> None:
    server = Server("s")
    files = [7]

    @server.tool
    async def delete(context: Context) -> str:
        answer = await context.elicit(f"Delete {files[0]} files?", Consent)
        return f"deleted {files[0]}: {answer.action}"

    async with bench(server) as made:
        first = await made.call("tools/call", {"name": "delete"}, capabilities=ELICITS)
        (key,) = first["result"]["inputRequests"]
        files[0] = 5
        params = {
            "name": "delete",
            "inputResponses": {key: AGREED},
            "requestState": first["result"]["requestState"],
        }
        second = await made.call("tools/call", params, capabilities=ELICITS)
    (question,) = second["result"]["inputRequests"].values()
    assert question["params"]["message"] == "Delete 5 files?"


async def test_rounds_have_an_end() -> None:
    async with bench(asking(), RuntimeSettings(input_rounds=2)) as made:
        params: dict[str, Any] = {"name": "ask"}
        for _ in range(2):
            reply = await made.call("tools/call", params, capabilities=ELICITS)
            params = {"name": "ask", "requestState": reply["result"]["requestState"]}
        reply = await made.call("tools/call", params, capabilities=ELICITS)
    assert reply["error"]["message"] == "no usable input after 2 rounds"


async def test_a_state_that_grows_too_large(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("s")

    @server.tool
    async def ask(context: Context) -> str:
        await context.remember("big", lambda: "x" * 1000)
        await context.elicit("?", Consent)
        return "never"

    settings = RuntimeSettings(seal=make_seal(SealSettings(limit=500)))
    async with bench(server, settings) as made:
        reply = await made.call("tools/call", {"name": "ask"}, capabilities=ELICITS)
    assert reply["error"]["code"] == -32603
    assert "over the limit of 500" in str(caplog.records[0].exc_info)


async def test_a_handler_can_wait_until_its_output_was_taken() -> None:
    server = Server("s")
    steps: list[str] = []

    @server.tool
    async def much(context: Context) -> str:
        context.progress(1)
        steps.append("sent")
        await context.drained()
        steps.append("taken")
        return "done"

    async with bench(server) as made:
        made.stalled = True
        id = made.post("tools/call", {"name": "much", "_meta": {"progressToken": "t"}})
        await anyio.wait_all_tasks_blocked()
        assert steps == ["sent"]
        made.stalled = False
        made.flush_soon()
        assert said(await made.reply(id)) == "done"
    assert steps == ["sent", "taken"]


async def test_others_get_their_turn_when_nothing_waits_to_be_taken() -> None:
    server = Server("s")
    turns: list[int] = []

    @server.tool
    async def endless(context: Context) -> str:
        while len(turns) < 3:
            await context.drained()
        return "done"

    async def other() -> None:
        for number in range(3):
            turns.append(number)
            await anyio.lowlevel.checkpoint()

    async with bench(server) as made, anyio.create_task_group() as group:
        id = made.post("tools/call", {"name": "endless"})
        group.start_soon(other)
        assert said(await made.reply(id)) == "done"


@pytest.mark.parametrize("way", ["log", "report_progress"])
async def test_who_awaits_what_it_sends_waits_for_room(way: str) -> None:
    server = Server("s")
    steps: list[int] = []

    @server.tool
    async def much(context: Context) -> str:
        for step in range(1, 101):
            if way == "log":
                assert await context.info("x" * 100)
            else:
                await context.report_progress(step, 100, "x" * 100)
            steps.append(step)
        return "done"

    meta = {"progressToken": "t", "io.modelcontextprotocol/logLevel": "debug"}
    async with bench(server, RuntimeSettings(limits=Limits(queued=2000))) as made:
        made.stalled = True
        id = made.post("tools/call", {"name": "much", "_meta": meta})
        await anyio.wait_all_tasks_blocked()
        assert 1 < len(steps) < 30
        made.stalled = False
        made.flush_soon()
        assert said(await made.reply(id)) == "done"
    assert len(made.sent) == 101  # nothing had to make way


def test_what_is_kept_for_sessions_that_a_worker_has_forgotten_has_a_limit() -> None:
    settings = HttpSettings(session_replica_idle=10, max_sessions=2)
    one, session = one_in_session(settings=settings)
    runtime = ServerRuntime(Server("s"), one.stored)
    runtime.session_states[session] = {"kept": 1}

    one.pass_time(11)
    runtime.handle(one.take(SessionForgotten))
    assert runtime.session_states == {}
    one.post(request("tools/list", id=3), mcp_session_id=session)
    runtime.handle(restored := one.take(SessionRestored))
    assert runtime.session_states == {session: {"kept": 1}}
    for number in range(3):
        runtime.session_states[f"s{number}"] = {"number": number}
        runtime.handle(SessionForgotten(session=f"s{number}"))
    assert runtime.session_states.keys() == {session}
    for number in (0, 1):
        runtime.handle(structs.replace(restored, session=f"s{number}"))
    assert runtime.session_states.keys() == {session, "s1"}
