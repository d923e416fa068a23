"""Behaviours of conversations that end: in good order, half, abruptly, and before they began."""

import anyio
import pytest
from msgspec import structs

from mcpcore.engine.config import Limits
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import ConnectionClosed
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import LocalError
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.core import ClientSettings
from tests.bindings.features import text
from tests.bindings.table import Bench, behaviour
from tests.bindings.talk import Pondering
from tests.clock import PATIENCE

OWN_PROCESS = "the server is a process of this client alone, and ends with it"
NO_RECONNECTING = ClientSettings(
    reconnect=ReconnectSettings(attempts=0), http=HttpClientSettings(max_resumes=0)
)
"""For what happens to a connection that breaks, and not to the next one."""


class Calls:
    """Calls that wait, and how each of them ends."""

    def __init__(self) -> None:
        self.ends: list[object] = []

    async def make(self, client: Client, tool: str, **arguments: object) -> None:
        try:
            self.ends.append(text(await client.call_tool(tool, arguments)))
        except Exception as error:
            self.ends.append(error)

    def errors(self) -> list[Exception]:
        assert all(isinstance(end, Exception) for end in self.ends), self.ends
        return [end for end in self.ends if isinstance(end, Exception)]


# Our server, and a client by hand


@behaviour(by_hand=True, skip={"stdio": OWN_PROCESS})
async def a_client_that_is_killed_ends_its_calls(bench: Bench) -> None:
    """Where the connection is the conversation, or the request, its end cancels what runs."""
    async with bench.talk() as talk:
        await talk.call("wait", case=bench.case)
        await bench.journal("started")
        await talk.wire.abort()
        if bench.connected:
            await bench.journal("cancelled")
        else:  # a disconnect is no cancellation
            async with bench.client() as client:
                await client.call_tool("release", {"case": bench.case})
                assert "cancelled" not in await bench.journal("released")


@behaviour(by_hand=True, skip={"stdio": OWN_PROCESS})
async def a_client_that_closes_ends_its_calls(bench: Bench) -> None:
    """A conversation that is closed as its binding has it cancels what runs."""
    async with bench.talk() as talk:
        await talk.call("wait", case=bench.case)
        await bench.journal("started")
        await talk.wire.close()
        await bench.journal("cancelled")


@behaviour(by_hand=True, skip={"stdio": OWN_PROCESS})
async def others_do_not_notice(bench: Bench) -> None:
    """Ten clients that are killed in the middle of a call leave the eleventh alone."""
    async with bench.client() as client:
        for _ in range(10):
            async with bench.talk() as talk:
                await talk.call("wait", case=bench.case)
                await talk.wire.abort()
        for number in range(3):
            assert text(await client.call_tool("echo", {"text": str(number)})) == str(number)
        await client.call_tool("release", {"case": bench.case})


@behaviour(
    by_hand=True,
    skip={
        "ws": "a WebSocket is closed both ways",
        "sse": "the event stream is a response: its request has no second half",
    },
)
async def who_has_finished_writing_gets_answers(bench: Bench) -> None:
    """A client that closes its half of the connection is answered on the other."""
    async with bench.talk() as talk:
        id = await talk.call("echo_later", text="answered")
        await talk.wire.half_close()
        assert await talk.text(id) == "answered"


@behaviour(by_hand=True)
async def a_client_that_says_nothing(bench: Bench) -> None:
    """A connection that is opened and closed again, or killed, leaves nothing behind."""
    async with bench.talk(opened=False) as talk:
        await talk.wire.abort()
    if not bench.binding.process:
        async with bench.client() as client:
            await client.ping()


@behaviour(
    by_hand=True,
    skip={
        "stdio": OWN_PROCESS,
        "http": "a message is the whole body of a request, see the HTTP tests",
        "sse": "a message is the whole body of a request, see the HTTP tests",
    },
)
async def a_client_that_stops_in_a_message(bench: Bench) -> None:
    """What was begun and never finished is executed by nobody."""
    async with bench.talk() as talk:
        request = talk.request("tools/call", {"name": "wait", "arguments": {"case": bench.case}})
        await talk.wire.begin(request)
        await talk.wire.abort()
    async with bench.client() as client:
        result = await client.call_tool("journal", {"case": bench.case})
        assert result.structured_content == {"entries": []}


# Our client, and a server by hand


async def _killed_with_calls(bench: Bench, count: int, *, orderly: bool) -> list[Exception]:
    calls = Calls()
    async with (
        bench.script() as script,
        bench.client(script.target, settings=NO_RECONNECTING) as client,
    ):
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(calls.make, client, f"wait_{number}")
            for number in range(count):
                await script.called(f"wait_{number}")
            await script.die(orderly=orderly)
        assert len(calls.ends) == count
    return calls.errors()


@behaviour(by_hand=True)
async def a_server_that_is_killed(bench: Bench) -> None:
    """Thirty calls that wait end with exactly one clear error each."""
    errors = await _killed_with_calls(bench, 30, orderly=False)
    assert all(isinstance(error, LocalError) for error in errors), errors
    assert all(isinstance(error, ConnectionError) for error in errors), errors
    assert len({id(error) for error in errors}) == 30


@behaviour(by_hand=True)
async def a_server_that_closes(bench: Bench) -> None:
    """A server that leaves in good order ends what waits as one that is killed."""
    errors = await _killed_with_calls(bench, 3, orderly=True)
    assert all(isinstance(error, ConnectionError) for error in errors), errors


@behaviour(by_hand=True, skip={"http": "over HTTP each call finds out for itself, and may connect"})
async def after_the_end_calls_fail_at_once(bench: Bench) -> None:
    """Once the conversation is over, a call ends in an error that says why, without a wait."""
    calls = Calls()
    async with (
        bench.script() as script,
        bench.client(script.target, settings=NO_RECONNECTING) as client,
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(calls.make, client, "first")
            await script.called("first")
            await script.die()
        assert client.closed
        with pytest.raises(ConnectionClosed) as caught:
            await client.call_tool("second")
        assert str(client.closed) in str(caught.value)


@behaviour(by_hand=True)
async def a_server_that_dies_while_it_is_greeted(bench: Bench) -> None:
    """A connection that ends before it is open is an error of ``connect``, at once."""
    async with bench.script() as script:
        script.dies_of = ("initialize", "server/discover", "tools/list")
        with pytest.raises(LocalError):
            async with bench.client(script.target, settings=NO_RECONNECTING) as client:
                await client.list_tools()


@behaviour(by_hand=True)
async def a_server_that_never_answers(bench: Bench) -> None:
    """A server that takes everything and says nothing ends ``connect`` by its deadline."""
    limits = Limits(request_timeout=0.3, probe_timeout=0.3)
    settings = structs.replace(NO_RECONNECTING, limits=limits)
    async with bench.script() as script:
        script.deaf = True
        with pytest.raises(LocalError):
            async with bench.client(script.target, settings=settings) as client:
                await client.list_tools()


@behaviour(by_hand=True)
async def a_server_that_dies_while_it_asks(bench: Bench) -> None:
    """A callback at work when the connection ends is cancelled; the call has one error."""
    ponder = Pondering()
    calls = Calls()
    async with bench.script() as script:
        async with (
            bench.client(
                script.target, settings=NO_RECONNECTING, callbacks=Callbacks(elicitation=ponder)
            ) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(calls.make, client, "asks")
            request = await script.called("asks")
            await script.ask_user(request)
            await ponder.asked.wait()
            if bench.modern:  # the question was the answer: nothing waits on the server
                group.cancel_scope.cancel()
            else:
                await script.die()
        await ponder.ended.wait()
    assert bench.modern or len(calls.errors()) == 1


@behaviour(by_hand=True)
async def what_was_said_before_the_end_is_heard(bench: Bench) -> None:
    """An answer that was sent just before the server left is a result, not an error."""
    calls = Calls()
    async with (
        bench.script() as script,
        bench.client(script.target, settings=NO_RECONNECTING) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(calls.make, client, "last")
        request = await script.called("last")
        await script.reply(request, script.text("last words"))
        await script.die(orderly=True)
    assert calls.ends == ["last words"]


@behaviour()
async def leaving_twice_is_leaving(bench: Bench) -> None:
    """A client that is cancelled while it leaves is gone all the same, within bounds."""
    with anyio.move_on_after(PATIENCE) as scope:
        with anyio.CancelScope() as inner:
            async with bench.client() as client:
                await client.ping()
                inner.cancel()
        assert inner.cancel_called
    assert not scope.cancelled_caught


@behaviour()
async def an_exception_comes_out_as_it_is(bench: Bench) -> None:
    """What is raised in the ``async with`` block is not wrapped in a group."""
    with pytest.raises(ZeroDivisionError):
        async with bench.client():
            raise ZeroDivisionError
