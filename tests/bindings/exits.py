"""Behaviours of functions that end the program, or try to: on the server, and on the client.

The server's are those of the workbench that take ``how`` they end, and with which ``word``.
"""

from collections.abc import Awaitable, Callable
from traceback import format_exception
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.errors import HandlerExit, InputFailed, PeerError
from mcpcore.spec.errors import INTERNAL_ERROR
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from tests.bindings.client_alone import called
from tests.bindings.features import text
from tests.bindings.table import LEGACY, Bench, behaviour
from tests.bindings.workbench import LEAVE, LEAVING
from tests.clock import PATIENCE
from tests.error_ids import id_of, without_id
from tests.leaving import ENDS, LOG, TOLD, leave, words_in


def _word(bench: Bench, *more: str) -> str:
    return "-".join(("secret", bench.case, *more))


async def _logged(client: Client, entry: str) -> None:
    """Wait until the log of the server has it."""
    await client.call_tool("journal_until", {"case": LOG, "entry": entry})


async def _goes_on(*clients: Client) -> None:
    for client in clients:
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


@behaviour()
async def a_tool_that_exits_fails_alone(bench: Bench) -> None:
    """sys.exit() in a tool is the error of its call; this client goes on, and so does another."""
    async with bench.client() as other, bench.client() as client:
        for tool in LEAVING:
            for how in ENDS:
                word = _word(bench, tool, how)
                result = await client.call_tool(tool, {"how": how, "word": word})
                assert result.is_error
                [said] = [each.text for each in result.content if isinstance(each, TextContent)]
                assert without_id(said) == TOLD[how]
                await _logged(client, f"{id_of(said)} {word}")
        await _goes_on(client, other)


async def _refused(client: Client, how: str, word: str, asking: Awaitable[object]) -> None:
    with pytest.raises(PeerError) as caught:
        await asking
    error = caught.value.error
    assert (error.code, without_id(error.message)) == (INTERNAL_ERROR, TOLD[how])
    assert word not in str(error.data)
    await _logged(client, f"{id_of(error.message)} {word}")


@behaviour()
async def other_handlers_that_exit_fail_alone(bench: Bench) -> None:
    """The same for what reads a resource, fills a prompt, completes, or serves an extension."""
    async with bench.client() as other, bench.client() as client:
        for how in ENDS:
            word = _word(bench, how)
            given = {"how": how, "word": word}
            reference = PromptReference(name=LEAVE)
            for asking in (
                client.read_resource(f"leave://{how}/{word}"),
                client.get_prompt(LEAVE, given),
                client.complete(reference, "word", f"{how}/{word}"),
                client.request("acme/leave", given),
            ):
                await _refused(client, how, word, asking)
        await _goes_on(client, other)


@behaviour()
async def a_hearer_that_exits_harms_nobody(bench: Bench) -> None:
    """What hears notifications ends with an entry in the log, whether it awaits or not."""
    async with bench.client() as other, bench.client() as client:
        for how in ENDS:
            for kind in ("plain", "awaiting", "thread"):
                word = _word(bench, kind, how)
                assert client.notify(f"notifications/acme/{kind}", {"how": how, "word": word})
                await _logged(client, word)
        await _goes_on(client, other)


# Callbacks of a client

_ASKING = ("ask_user", "ask_model", "ask_roots", "ask_all")


def _enders(how: str, word: str) -> list[Callable[..., Any]]:
    """Plain ones, coroutine functions, and such as end in a task of their own."""

    def plain(*_: object) -> Any:
        leave(how, word)

    async def awaiting(*_: object) -> Any:
        await anyio.lowlevel.checkpoint()
        leave(how, word)

    async def in_task(*_: object) -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(awaiting)
            await anyio.sleep_forever()

    return [plain, awaiting, in_task]


@behaviour()
async def a_callback_that_exits_fails_one_call(bench: Bench) -> None:
    """What a callback ends with fails the call that asks for it: as its cause, or in the log."""
    async with bench.client() as other:
        for how in ENDS:
            word = _word(bench, how)
            for it in _enders(how, word):
                callbacks = Callbacks(elicitation=it, sampling=it, roots=it)
                async with bench.client(callbacks=callbacks) as client:
                    for tool in _ASKING:
                        with words_in("mcpcore.client") as logged:
                            if bench.modern:
                                with pytest.raises(InputFailed) as failed:
                                    await client.call_tool(tool, _arguments(tool))
                                assert isinstance(failed.value.__cause__, HandlerExit)
                                assert word in "".join(format_exception(failed.value))
                            else:
                                result = await client.call_tool(tool, _arguments(tool))
                                assert result.is_error
                                assert "secret" not in str(result)
                        assert (word in logged) is not bench.modern
                    await _goes_on(client, other)


def _arguments(tool: str) -> dict[str, str]:
    return {"text": "Hello"} if tool == "ask_model" else {}


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_callback_that_exits_is_an_answer(bench: Bench) -> None:
    """Whoever asks is told that the client failed, without its words."""
    for how in ENDS:
        for it in _enders(how, _word(bench, how)):
            callbacks = Callbacks(elicitation=it)
            async with called(bench, callbacks=callbacks) as (script, request, _, _):
                await script.ask_user(request)
                error = (await script.answered("question"))["error"]
                assert without_id(error["message"]) == "the client failed to answer"
                assert (error["code"], len(error)) == (INTERNAL_ERROR, 2)
                await script.reply(request, script.text("x"))


@behaviour()
async def a_callback_for_news_that_exits_harms_nobody(bench: Bench) -> None:
    """Who hears of logs, notifications, progress and changes ends in the client's log alone."""
    async with bench.client() as other:
        for how in ENDS:
            for it in _enders(how, _word(bench, how)):
                callbacks = Callbacks(log=it, notification=it, tools_changed=it)
                with words_in("mcpcore.client") as logged:
                    async with bench.client(callbacks=callbacks) as client:
                        await client.set_log_level("debug")
                        await client.call_tool("say", {"levels": ["error"]})
                        await client.call_tool("note", {"value": 1})
                        await client.call_tool("steps", {"count": 2}, progress=it)
                        async with client.listen(tools=True):
                            await client.call_tool("change", {"what": "tools"})
                            # each tool comes and goes, which two callbacks hear of
                            await _until(logged, 2 + 1 + 2 + 2)
                        await _goes_on(client, other)
                assert set(logged) == {_word(bench, how)}


async def _until(logged: list[str], count: int) -> None:
    with anyio.fail_after(PATIENCE):
        while len(logged) < count:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.001)
