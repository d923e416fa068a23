"""Behaviours of our client with a server by hand: what it believes, and what it passes over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore.engine.events import Violation
from mcpcore.errors import InvalidResponse, NegotiationError, PeerError
from mcpcore.spec.errors import LocalError
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.core import ClientSettings
from tests.bindings.features import text
from tests.bindings.scripts import Message, Script
from tests.bindings.table import LEGACY, MODERN, Bench, behaviour

OWN_STREAM = "over HTTP what is no answer to its request does not come on its response"


class Outcome:
    """How a call ended."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.error: Exception | None = None
        self.ended = anyio.Event()

    async def of(self, client: Client, tool: str, **options: Any) -> None:
        try:
            self.text = text(await client.call_tool(tool, **options))
        except Exception as error:
            self.error = error
        self.ended.set()


@asynccontextmanager
async def called(
    bench: Bench, *, callbacks: Callbacks | None = None, **options: Any
) -> AsyncIterator[tuple[Script, Message, Outcome, Client]]:
    """A client that has called the tool ``odd``: the server, the call, and how it will end."""
    outcome = Outcome()
    async with bench.script() as script, bench.client(script.target, callbacks=callbacks) as client:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await outcome.of(client, "odd", **options)

            group.start_soon(call)
            request = await script.called("odd")
            yield script, request, outcome, client
        await works(script, client)


async def works(script: Script, client: Client) -> None:
    """Show that the conversation goes on."""
    outcome = Outcome()
    async with anyio.create_task_group() as group:
        group.start_soon(outcome.of, client, "fence")
        await script.reply(await script.called("fence"), script.text("here"))
    assert outcome.text == "here", outcome.error


# Answers


@behaviour(by_hand=True)
async def an_error_is_raised_as_it_came(bench: Bench) -> None:
    """Code, message and data of the server's error reach the caller."""
    async with called(bench) as (script, request, outcome, _):
        await script.refuse(request, -31999, "no luck")
    assert isinstance(outcome.error, PeerError)
    assert (outcome.error.code, outcome.error.error.message) == (-31999, "no luck")


@behaviour(by_hand=True, skip={"http": OWN_STREAM})
async def an_answer_to_nobody_is_passed_over(bench: Bench) -> None:
    """Answers with unknown ids, or ids of another type, answer nothing."""
    async with called(bench) as (script, request, outcome, _):
        id = request["id"]
        for wrong in (10**9, "nobody", str(id) if isinstance(id, int) else 1):
            await script.wire.send({"jsonrpc": "2.0", "id": wrong, "result": script.text("wrong")})
        await script.reply(request, script.text("right"))
    assert outcome.text == "right"


@behaviour(by_hand=True, skip={"http": OWN_STREAM})
async def the_first_answer_counts(bench: Bench) -> None:
    """A second answer to a request is passed over."""
    async with called(bench) as (script, request, outcome, _):
        await script.reply(request, script.text("first"))
        await script.reply(request, script.text("second"))
    assert outcome.text == "first"


@behaviour(by_hand=True)
async def a_result_beside_an_error_is_neither(bench: Bench) -> None:
    """What is both is a broken answer, and ends its call alone."""
    async with called(bench) as (script, request, outcome, _):
        await script.wire.send(
            {
                "jsonrpc": "2.0",
                "id": request["id"],
                "result": script.text("yes"),
                "error": {"code": 1, "message": "no"},
            }
        )
    assert isinstance(outcome.error, LocalError)


@behaviour(by_hand=True)
async def a_result_of_another_shape_is_refused(bench: Bench) -> None:
    """A result that is not what the method promises is an error that says so."""
    async with called(bench) as (script, request, outcome, _):
        await script.reply(request, script.complete({"content": "a string"}))
    assert isinstance(outcome.error, InvalidResponse)
    assert "content" in str(outcome.error)


@behaviour(by_hand=True)
async def an_error_of_another_shape_is_refused(bench: Bench) -> None:
    """An error without a code ends the call, and nothing else."""
    async with called(bench) as (script, request, outcome, _):
        await script.wire.send({"jsonrpc": "2.0", "id": request["id"], "error": "a string"})
    assert isinstance(outcome.error, LocalError | PeerError)


@behaviour(eras=(MODERN,), by_hand=True)
async def an_unknown_kind_of_result_is_refused(bench: Bench) -> None:
    """A ``resultType`` that the revision does not know is an error, not a result."""
    async with called(bench) as (script, request, outcome, _):
        await script.reply(request, {**script.text("x"), "resultType": "maybe"})
    assert isinstance(outcome.error, InvalidResponse)


@behaviour(eras=(MODERN,), by_hand=True)
async def a_result_without_its_kind_is_complete(bench: Bench) -> None:
    """Without ``resultType`` a result is taken as complete."""
    async with called(bench) as (script, request, outcome, _):
        await script.reply(request, {"content": [{"type": "text", "text": "whole"}]})
    assert outcome.text == "whole"


@behaviour(by_hand=True)
async def unknown_members_are_passed_over(bench: Bench) -> None:
    """What later revisions may add does not disturb."""
    async with called(bench) as (script, request, outcome, _):
        result = {**script.text("x"), "novelty": {"deep": [1]}, "_meta": {"acme/x": 1}}
        await script.reply(request, result)
    assert outcome.text == "x"


# What comes unasked


@behaviour(by_hand=True)
async def unknown_notifications_are_passed_over(bench: Bench) -> None:
    """A notification that nobody knows reaches who wants all, and disturbs nobody."""
    heard: list[str] = []
    callbacks = Callbacks(notification=lambda method, params: heard.append(method))
    async with called(bench, callbacks=callbacks) as (script, request, outcome, _):
        await script.tell("notifications/novelty", {"x": 1}, request)
        await script.reply(request, script.text("x"))
    assert outcome.text == "x"
    assert heard == ["notifications/novelty"]


@behaviour(by_hand=True)
async def progress_of_nobody_is_passed_over(bench: Bench) -> None:
    """Progress with another token, that turns back or repeats, is not heard."""
    heard: list[float] = []

    def hear(value: float, total: float | None, message: str | None) -> None:
        heard.append(value)

    async with called(bench, progress=hear) as (script, request, outcome, _):
        token = request["params"]["_meta"]["progressToken"]
        for given, value in ((token, 1), ("?", 5), (token, 1), (token, 0.5), (token, 2)):
            params = {"progressToken": given, "progress": value}
            await script.tell("notifications/progress", params, request)
        await script.reply(request, script.text("x"))
    assert outcome.text == "x"
    assert heard == [1, 2]


@behaviour(by_hand=True, skip={"ws": "a frame that is not UTF-8 ends a WebSocket, with 1007"})
async def what_is_no_message_is_passed_over(bench: Bench) -> None:
    """Each line or event that is no message costs itself and nothing else, and is told."""
    told: list[Violation] = []
    callbacks = Callbacks(violation=told.append)
    async with called(bench, callbacks=callbacks) as (script, request, outcome, _):
        nonsense = (
            b"",
            b"hello",
            b"{",
            b"[]",
            b"null",
            b'{"jsonrpc":"1.0","method":"x"}',
            b'{"jsonrpc":"2.0","method":"x","params":{"a":NaN}}',
            b'{"jsonrpc":"2.0","method":"x","params":{"a":"\xff"}}',
            b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * 500 + b"]" * 500 + b"}",
        )
        for junk in nonsense:
            await script.send(junk, request)
        await script.reply(request, script.text("x"))
    assert outcome.text == "x"
    assert len(told) == len(nonsense) - 1  # nothing is said of an empty line


@behaviour(by_hand=True)
async def log_messages_by_hand(bench: Bench) -> None:
    """A log message reaches its callback, with its logger and its data."""
    heard: list[Any] = []

    def hear(params: Any) -> None:
        heard.append((params.level, params.logger, params.data))

    async with called(bench, callbacks=Callbacks(log=hear)) as (script, request, outcome, _):
        params = {"level": "alert", "logger": "hand", "data": [1, {"a": None}]}
        await script.tell("notifications/message", params, request)
        await script.reply(request, script.text("x"))
    assert outcome.text == "x"
    assert heard == [("alert", "hand", [1, {"a": None}])]


@behaviour(eras=(LEGACY,), by_hand=True)
async def changes_by_hand(bench: Bench) -> None:
    """The news that a list has changed, or a resource, reaches its callback."""
    heard: list[str] = []
    callbacks = Callbacks(
        tools_changed=lambda: heard.append("tools"),
        prompts_changed=lambda: heard.append("prompts"),
        resources_changed=lambda: heard.append("resources"),
        resource_updated=heard.append,
    )
    async with called(bench, callbacks=callbacks) as (script, request, _, _):
        for what in ("tools", "prompts", "resources"):
            await script.tell(f"notifications/{what}/list_changed", {}, request)
        await script.tell("notifications/resources/updated", {"uri": "a://b"}, request)
        await script.reply(request, script.text("x"))
    assert heard == ["tools", "prompts", "resources", "a://b"]


# Opening


@behaviour(by_hand=True)
async def a_server_of_another_revision_is_refused(bench: Bench) -> None:
    """A client of one revision does not speak another because a server says so."""
    async with bench.script() as script:
        script.version = "1999-01-01"
        with pytest.raises(NegotiationError, match="1999-01-01"):
            async with bench.client(script.target) as client:
                await client.discover() if bench.modern else await client.ping()


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_handshake_can_be_refused(bench: Bench) -> None:
    """The server's own words say why there is no conversation."""
    async with bench.script() as script:
        script.refusal = "closed on Sundays"
        with pytest.raises(NegotiationError, match="closed on Sundays"):
            async with bench.client(script.target):
                pass


@behaviour(by_hand=True)
async def a_server_may_be_silent_about_itself(bench: Bench) -> None:
    """Instructions are optional, and so are capabilities beyond what is called."""
    async with bench.script() as script:
        script.capabilities = {"tools": {}}
        script.instructions = None
        async with bench.client(script.target, settings=ClientSettings()) as client:
            assert client.instructions is None
            await works(script, client)
