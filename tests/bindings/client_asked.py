"""Behaviours of our client with a server by hand that asks it something."""

from contextlib import suppress

import anyio

from mcpcore.errors import RequestTimeout
from mcpcore.spec.errors import INVALID_PARAMS, METHOD_NOT_FOUND, LocalError
from mcpcore_transports.client.callbacks import Callbacks
from tests.bindings.client_alone import Outcome, called, works
from tests.bindings.scripts import Message, Script
from tests.bindings.table import LEGACY, MODERN, Bench, behaviour
from tests.bindings.talk import Pondering
from tests.bindings.wires import LOST
from tests.clock import PATIENCE


async def _question(script: Script, request: Message, method: str, params: Message) -> Message:
    """Ask the client something while its call waits; its answer."""
    question = {"jsonrpc": "2.0", "id": "q", "method": method, "params": params}
    await script.send(question, request)
    return await script.answered("q")


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_client_answers_a_ping(bench: Bench) -> None:
    """``ping`` of the server has an empty result."""
    async with called(bench) as (script, request, _, _):
        assert (await _question(script, request, "ping", {}))["result"] == {}
        await script.reply(request, script.text("x"))


@behaviour(eras=(LEGACY,), by_hand=True)
async def an_unknown_question_is_refused(bench: Bench) -> None:
    """A request that no client knows, and one that was not declared, have an error."""
    async with called(bench) as (script, request, _, _):
        unknown = await _question(script, request, "acme/who", {})
        assert unknown["error"]["code"] == METHOD_NOT_FOUND
        undeclared = await _question(script, request, "roots/list", {})
        assert undeclared["error"]["code"] == METHOD_NOT_FOUND
        await script.reply(request, script.text("x"))


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_malformed_question_is_refused(bench: Bench) -> None:
    """What a callback could not understand is an error of its parameters."""
    callbacks = Callbacks(sampling=lambda params: {})
    async with called(bench, callbacks=callbacks) as (script, request, _, _):
        answer = await _question(script, request, "sampling/createMessage", {"messages": 1})
        assert answer["error"]["code"] == INVALID_PARAMS
        await script.reply(request, script.text("x"))


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_question_can_be_taken_back(bench: Bench) -> None:
    """A question that the server cancels ends its callback, and is not answered."""
    ponder = Pondering()
    callbacks = Callbacks(elicitation=ponder)
    async with called(bench, callbacks=callbacks) as (script, request, outcome, _):
        await script.ask_user(request)
        await ponder.asked.wait()
        await script.tell("notifications/cancelled", {"requestId": "question"}, request)
        await ponder.ended.wait()
        await script.reply(request, script.text("x"))
    assert outcome.text == "x"


SAME_STREAM = dict.fromkeys(
    ("stdio", "tcp", "unix", "ws", "sse"),
    "what the server asks is not tied to a call here: it has to take it back itself",
)


async def _given_up(bench: Bench, *, by_deadline: bool) -> None:
    ponder = Pondering()
    async with (
        bench.script() as script,
        bench.client(script.target, callbacks=Callbacks(elicitation=ponder)) as client,
    ):
        # A machine that stands still may let a deadline pass before anybody was asked: then
        # another call is made, which has more time.
        for timeout in (0.2, 2.0, 10.0) if by_deadline else (None,):
            outcome, tool = Outcome(), f"odd {timeout}"
            async with anyio.create_task_group() as group:

                async def call(
                    outcome: Outcome = outcome,
                    tool: str = tool,
                    timeout: float | None = timeout,
                    scope: anyio.CancelScope = group.cancel_scope,
                ) -> None:
                    await outcome.of(client, tool, timeout=timeout)
                    scope.cancel()

                group.start_soon(call)
                with suppress(*LOST):  # the call may be over
                    request = await script.called(tool)
                    await script.ask_user(request)
                    await ponder.asked.wait()
                if not by_deadline:
                    group.cancel_scope.cancel()
            if ponder.asked.is_set():
                break
        assert isinstance(outcome.error, RequestTimeout) is by_deadline
        with anyio.fail_after(PATIENCE):
            await ponder.ended.wait()
        if not bench.modern:
            await script.given_up(request)
        await works(script, client)


@behaviour(by_hand=True, skip=SAME_STREAM)
async def a_question_ends_with_its_cancelled_call(bench: Bench) -> None:
    """Who gives a call up answers no question of it any more, though nobody takes it back."""
    await _given_up(bench, by_deadline=False)


@behaviour(eras=(LEGACY,), by_hand=True, skip=SAME_STREAM)
async def a_question_ends_with_its_overdue_call(bench: Bench) -> None:
    """A call that comes to its deadline while a callback answers ends that as well."""
    await _given_up(bench, by_deadline=True)


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_failing_callback_is_an_answer(bench: Bench) -> None:
    """A mistake in a callback is an internal error for the server, without its words."""

    def broken(params: object) -> None:
        raise RuntimeError("a secret of the client")

    async with called(bench, callbacks=Callbacks(elicitation=broken)) as (script, request, _, _):
        await script.ask_user(request)
        answer = await script.answered("question")
        assert answer["error"]["code"] == -32603
        assert "secret" not in str(answer)
        await script.reply(request, script.text("x"))


@behaviour(eras=(MODERN,), by_hand=True)
async def the_state_returns_as_it_was(bench: Bench) -> None:
    """Answers go with the state of the server, byte for byte, in a new request."""
    callbacks = Callbacks(elicitation=lambda params: {"x": 3})
    async with called(bench, callbacks=callbacks) as (script, request, outcome, _):
        await script.ask_user(request)
        again = await script.called("odd")
        assert again["id"] != request["id"]
        assert again["params"]["requestState"] == "state"
        assert again["params"]["inputResponses"]["q"]["content"] == {"x": 3}
        await script.reply(again, script.text("x"))
    assert outcome.text == "x"


@behaviour(eras=(MODERN,), by_hand=True)
async def a_server_that_asks_for_ever(bench: Bench) -> None:
    """Rounds of input have an end: the call fails, and the conversation goes on."""
    callbacks = Callbacks(elicitation=lambda params: {"x": 3})
    async with (
        called(bench, callbacks=callbacks) as (script, request, outcome, _),
        anyio.create_task_group() as asking,
    ):

        async def ask(request: Message) -> None:
            while True:
                await script.ask_user(request)
                request = await script.called("odd")

        asking.start_soon(ask, request)
        await outcome.ended.wait()
        asking.cancel_scope.cancel()
    assert isinstance(outcome.error, LocalError)
