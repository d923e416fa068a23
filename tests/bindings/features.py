"""Behaviours of features: our client and our server together."""

from typing import Any

from tests.bindings.table import Bench, behaviour
from transports.callbacks import Callbacks


@behaviour()
async def a_tool_answers(bench: Bench) -> None:
    """A call has its result."""
    async with bench.client() as client:
        result = await client.call_tool("echo", {"text": "hello"})
        assert result.content[0].text == "hello"  # type: ignore[union-attr]


@behaviour()
async def progress_arrives_in_order(bench: Bench) -> None:
    """Progress is heard before the result, step by step, none twice."""
    heard: list[tuple[float, float | None, str | None]] = []
    async with bench.client() as client:
        await client.call_tool("steps", {"count": 5}, progress=lambda *step: heard.append(step))
    assert heard == [(float(step), 5.0, f"step {step}") for step in range(1, 6)]


@behaviour()
async def a_user_is_asked(bench: Bench) -> None:
    """A form is filled in while the call waits."""

    def fill_in(params: Any) -> dict[str, Any]:
        return {"x": 3, "y": 4}

    async with bench.client(callbacks=Callbacks(elicitation=fill_in)) as client:
        result = await client.call_tool("ask_user")
    assert result.content[0].text == "accept Point(x=3, y=4)"  # type: ignore[union-attr]


@behaviour(by_hand=True)
async def ids_keep_their_type(bench: Bench) -> None:
    """1 and "1" are in flight together, and cancelling one leaves the other."""
    async with bench.talk() as talk:
        await talk.call("wait", id=71, case=bench.case)
        await talk.call("wait", id="71", case=bench.case)
        await bench.journal("started", 2, via=talk)
        await talk.wire.cancel(71)
        await bench.journal("cancelled", via=talk)
        await talk.call("release", case=bench.case)
        assert await talk.text("71") == "released"
        await talk.check()


@behaviour(by_hand=True)
async def a_client_hears_of_progress_by_hand(bench: Bench) -> None:
    """Progress of a server by hand reaches the caller."""
    heard: list[float] = []
    async with bench.script() as script, bench.client(script.target) as client:
        import anyio

        async with anyio.create_task_group() as group:

            async def call() -> None:
                result = await client.call_tool(
                    "any", progress=lambda value, *_: heard.append(value)
                )
                assert result.content[0].text == "done"  # type: ignore[union-attr]

            group.start_soon(call)
            request = await script.called("any")
            token = request["params"]["_meta"]["progressToken"]
            params = {"progressToken": token, "progress": 1}
            await script.tell("notifications/progress", params, request)
            await script.reply(request, script.text("done"))
    assert heard == [1]
