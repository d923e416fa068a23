"""Behaviours of calls that end unanswered: cancelled, too late, or with their caller."""

from contextlib import suppress

import anyio
import pytest

from mcpcore.errors import RequestTimeout
from mcpcore.spec.errors import INVALID_REQUEST
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from tests.bindings.features import text
from tests.bindings.scripts import Message, Script
from tests.bindings.table import LEGACY, MODERN, Bench, behaviour
from tests.bindings.talk import Pondering, Talk
from tests.bindings.wires import LOST

OWN_PROCESS = {"stdio": "the server is the client's own process and ends with it"}
ROUTES = "over HTTP a modern request is cancelled by closing its response, never by a notification"


async def _started(bench: Bench, client: Client) -> None:
    await bench.journal("started", via=client)


async def _entries(client: Client, case: str, entry: str) -> None:
    """Wait for an entry of a case that is not the bench's own."""
    await client.call_tool("journal_until", {"case": case, "entry": entry})


async def _misses_its_deadline(bench: Bench, client: Client, tool: str) -> str:
    """Let a call run into its deadline after its handler has begun; the case it was about.

    A server that stands still for a while reads the call no sooner than its cancellation: such a
    call says nothing, and another is made, which has more time.
    """
    for seconds in (0.1, 1.0, 10.0):
        case, begun = f"{bench.case} {seconds}", False

        async def look(case: str = case) -> None:
            nonlocal begun
            await _entries(client, case, "started")
            begun = True

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            with pytest.raises(RequestTimeout, match="tools/call"):
                await client.call_tool(tool, {"case": case}, timeout=seconds)
            group.cancel_scope.cancel()
        if begun:
            return case
        await client.call_tool("release", {"case": case})  # if it begins later, it ends
    raise AssertionError("no handler began within its call's deadline")


async def _given_up_late(script: Script, client: Client, tool: str) -> Message:
    """Let a call run into its deadline that the script has heard, and give it up; its request.

    A machine that stands still may let the deadline pass before the call is even sent: then
    another is made, which has more time.
    """
    heard: list[Message] = []

    async def hear() -> None:
        heard.append(await script.called(tool))

    async with anyio.create_task_group() as group:
        group.start_soon(hear)
        unheard = -1
        for seconds in (0.1, 1.0, 10.0):
            unheard += 1
            with pytest.raises(RequestTimeout):
                await client.call_tool(tool, timeout=seconds)
            if heard:
                break
    await script.given_up(heard[0], unheard=unheard)
    return heard[0]


@behaviour()
async def a_cancelled_caller_cancels_the_handler(bench: Bench) -> None:
    """Who no longer waits says so, and the handler ends; the conversation goes on."""
    async with bench.client() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "wait", {"case": bench.case})
            await _started(bench, client)
            group.cancel_scope.cancel()
        entries = await bench.journal("cancelled", via=client)
        assert "released" not in entries
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


@behaviour()
async def a_timeout_cancels_the_handler(bench: Bench) -> None:
    """A deadline that passes ends the call on both sides."""
    async with bench.client() as client:
        case = await _misses_its_deadline(bench, client, "wait")
        await _entries(client, case, "cancelled")
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


@behaviour()
async def a_deadline_of_one_call_is_its_own(bench: Bench) -> None:
    """Of two calls that wait, only the impatient one ends."""
    async with bench.client() as client, anyio.create_task_group() as group:
        said: list[str] = []

        async def patient() -> None:
            said.append(text(await client.call_tool("wait", {"case": bench.case})))

        group.start_soon(patient)
        await _started(bench, client)
        with pytest.raises(RequestTimeout):
            await client.call_tool("wait", {"case": f"{bench.case}-2"}, timeout=0.05)
        await client.call_tool("release", {"case": bench.case})
    assert said == ["released"]


@behaviour()
async def a_result_too_late_is_nobodys(bench: Bench) -> None:
    """A handler that answers although nobody waits disturbs no later call."""
    async with bench.client() as client:
        case = await _misses_its_deadline(bench, client, "linger")
        await client.call_tool("release", {"case": case})
        await _entries(client, case, "lingered")
        for number in range(5):
            assert text(await client.call_tool("echo", {"text": str(number)})) == str(number)


@behaviour()
async def cancelling_while_the_user_is_asked(bench: Bench) -> None:
    """A call that is cancelled takes its question with it: the callback ends too."""
    ponder = Pondering()
    callbacks = Callbacks(elicitation=ponder)
    async with bench.client(callbacks=callbacks) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "ask_user")
            await ponder.asked.wait()
            group.cancel_scope.cancel()
        await ponder.ended.wait()
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


@behaviour()
async def a_client_that_leaves_ends_its_calls(bench: Bench) -> None:
    """Leaving the ``async with`` block ends what still waits, at once and with one error each."""
    errors: list[BaseException] = []
    async with anyio.create_task_group() as group, bench.client() as client:

        async def call() -> None:
            try:
                await client.call_tool("wait", {"case": bench.case})
            except Exception as error:
                errors.append(error)

        for _ in range(3):
            group.start_soon(call)
        await bench.journal("started", 3, via=client)
    assert len(errors) == 3
    assert all(isinstance(error, ConnectionError) for error in errors)


@behaviour()
async def a_race_of_answers_and_cancellations(bench: Bench) -> None:
    """Calls cancelled at about the moment of their answer end once, and none hurts another."""
    ends = {"answered": 0, "timed out": 0}
    async with bench.client() as client, anyio.create_task_group() as group:

        async def call(number: int) -> None:
            try:
                said = await client.call_tool(
                    "echo_later", {"text": str(number)}, timeout=0.002 * (number % 10 + 1)
                )
            except RequestTimeout:
                ends["timed out"] += 1
            else:
                assert text(said) == str(number)
                ends["answered"] += 1

        for number in range(60):
            group.start_soon(call, number)
    assert sum(ends.values()) == 60
    async with bench.client() as client:
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


# With a client by hand


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
async def ids_of_any_size_come_back(bench: Bench) -> None:
    """An id of thirty digits, an empty one and one that needs escapes are answered exactly."""
    async with bench.talk() as talk:
        for id in (10**29 + 7, -1, 0, "", 'a "\u2028\n'):
            assert await talk.text(await talk.call("echo", id=id, text=repr(id))) == repr(id)


@behaviour(by_hand=True)
async def an_id_can_be_used_again(bench: Bench) -> None:
    """Once a request is answered, its id is free."""
    async with bench.talk() as talk:
        for text_ in ("one", "two"):
            assert await talk.text(await talk.call("echo", id=5, text=text_)) == text_


@behaviour(
    by_hand=True,
    skip={"http": "over HTTP an id in flight belongs to its own response, see the HTTP tests"},
)
async def an_id_in_flight_is_refused(bench: Bench) -> None:
    """A second request with the id of one that waits is an error; the first is not harmed."""
    async with bench.talk() as talk:
        await talk.call("wait", id=5, case=bench.case)
        await bench.journal("started", via=talk)
        await talk.call("echo", id=5, text="again")
        refused = await talk.answer(5)
        assert refused["error"]["code"] == INVALID_REQUEST
        await talk.call("release", case=bench.case)
        assert await talk.text(5) == "released"


@behaviour(by_hand=True)
async def a_cancelled_request_is_not_answered(bench: Bench) -> None:
    """After the cancellation nothing more comes for the id, whatever the handler returns."""
    async with bench.talk() as talk:
        id = await talk.call("linger", case=bench.case)
        await bench.journal("started", via=talk)
        await talk.wire.cancel(id)
        await talk.check()
        await talk.call("release", case=bench.case)
        await bench.journal("lingered", via=talk)
        await talk.check()
        assert all(message.get("id") != id for message in talk.kept)


@behaviour(eras=(LEGACY,), by_hand=True)
async def the_reason_of_a_cancellation_arrives(bench: Bench) -> None:
    """Why a call was cancelled is told to its handler."""
    async with bench.talk() as talk:
        id = await talk.call("wait", case=bench.case)
        await bench.journal("started", via=talk)
        await talk.wire.cancel(id, "lunch")
        assert "because lunch" in await bench.journal("cancelled", via=talk)


async def _cancels(talk: Talk, id: object) -> None:
    params = {"requestId": id}
    await talk.tell("notifications/cancelled", params)


@behaviour(by_hand=True)
async def cancelling_what_is_not_there(bench: Bench) -> None:
    """Unknown, answered and malformed ids in a cancellation are ignored."""
    async with bench.talk() as talk:
        answered = await talk.call("echo", text="done")
        await talk.text(answered)
        for id in (answered, 999, "nobody", None, 1.5, {"id": 1}):
            await _cancels(talk, id)
        await talk.tell("notifications/cancelled", {})
        await talk.check()


@behaviour(by_hand=True, skip={"http": ROUTES, "sse": "HTTP+SSE has no modern era"}, eras=(MODERN,))
async def cancelling_twice(bench: Bench) -> None:
    """The second cancellation of a request changes nothing."""
    async with bench.talk() as talk:
        id = await talk.call("wait", case=bench.case)
        await bench.journal("started", via=talk)
        await _cancels(talk, id)
        await _cancels(talk, id)
        await bench.journal("cancelled", via=talk)
        await talk.check()


@behaviour(eras=(LEGACY,), by_hand=True)
async def initialize_cannot_be_cancelled(bench: Bench) -> None:
    """The handshake is answered though its cancellation follows at once."""
    async with bench.talk(opened=False) as talk:
        params = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "hasty", "version": "1"},
        }
        id = await talk.ask("initialize", params)
        if bench.binding.name != "http":  # there its session is known by the answer only
            await _cancels(talk, id)
        assert (await talk.answer(id))["result"]["protocolVersion"] == LEGACY


@behaviour(by_hand=True)
async def progress_ends_with_the_call(bench: Bench) -> None:
    """No progress follows the answer it belongs to."""
    async with bench.talk() as talk:
        params = {
            "name": "steps",
            "arguments": {"count": 3},
            "_meta": {"progressToken": "mine"},
        }
        id = await talk.ask("tools/call", params)
        assert await talk.text(id) == "3"
        heard = [m["params"]["progress"] for m in talk.kept if "progress" in m.get("params", {})]
        assert heard == [1, 2, 3]
        await talk.check()
        assert not [m for m in talk.kept if m.get("params", {}).get("progress", 0) > 3]


@behaviour(by_hand=True)
async def tokens_keep_their_type(bench: Bench) -> None:
    """The token of progress comes back as a number or a string, as it was given."""
    async with bench.talk() as talk:
        for token in (7, "7"):
            params = {"name": "steps", "arguments": {"count": 1}, "_meta": {"progressToken": token}}
            await talk.text(await talk.ask("tools/call", params))
        tokens = [m["params"]["progressToken"] for m in talk.kept]
        assert tokens == [7, "7"]
        assert [type(token) for token in tokens] == [int, str]


# With a server by hand


@behaviour(by_hand=True)
async def a_server_is_told_of_a_timeout(bench: Bench) -> None:
    """A client that gives up says so as its era and binding have it."""
    async with bench.script() as script, bench.client(script.target) as client:
        await _given_up_late(script, client, "never")


@behaviour(by_hand=True)
async def an_answer_after_the_timeout_is_dropped(bench: Bench) -> None:
    """What comes too late is nobody's; the next call has its own answer."""
    async with bench.script() as script, bench.client(script.target) as client:
        late = await _given_up_late(script, client, "late")
        if not script.streams_are_per_request:
            await script.reply(late, script.text("late"))
        async with anyio.create_task_group() as group:
            said: list[str] = []

            async def call() -> None:
                said.append(text(await client.call_tool("next")))

            group.start_soon(call)
            await script.reply(await script.called("next"), script.text("next"))
        assert said == ["next"]


@behaviour(by_hand=True)
async def progress_gives_more_time(bench: Bench) -> None:
    """A call that makes progress outlives its timeout, which begins anew each time."""
    async with bench.script() as script, bench.client(script.target) as client:
        said: list[str] = []
        for timeout in (1.0, 10.0):
            await _makes_progress(script, client, timeout, said)
            if said:
                break
        assert said == ["at last"]


async def _makes_progress(script: Script, client: Client, timeout: float, said: list[str]) -> None:
    """Tell of progress for longer than a call's timeout, and then answer it.

    A machine that stands still between two steps may let the timeout pass; nothing is said then.
    """
    heard, tool = anyio.Event(), f"slow_{timeout:.0f}"

    def hear(value: float, total: float | None, message: str | None) -> None:
        if value == 6:
            heard.set()

    async with anyio.create_task_group() as group:

        async def call() -> None:
            try:
                said.append(text(await client.call_tool(tool, progress=hear, timeout=timeout)))
            except RequestTimeout:
                group.cancel_scope.cancel()

        group.start_soon(call)
        with suppress(*LOST):  # the call may be over
            request = await script.called(tool)
            token = request["params"]["_meta"]["progressToken"]
            for step in range(1, 7):  # 1.2 times the timeout in all
                await anyio.sleep(timeout / 5)
                params = {"progressToken": token, "progress": step}
                await script.tell("notifications/progress", params, request)
            await heard.wait()
            await script.reply(request, script.text("at last"))
