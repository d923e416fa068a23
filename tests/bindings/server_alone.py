"""Behaviours of our server with a client by hand: what is owed, and what is nobody's business."""

from typing import Any

from mcpcore.spec.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from tests.bindings.places import revision
from tests.bindings.table import LEGACY, MODERN, Bench, behaviour
from tests.bindings.talk import META, Message, Talk
from tests.bindings.workbench import NOTE
from tests.transports.malformed import TABLE, Malformed

OVER_HTTP = "over HTTP each message has a status of its own, see the HTTP tests"


# What is no message


async def _survives(bench: Bench, rows: list[Malformed]) -> None:
    """Each row has the answer that is owed, if one is, and the conversation goes on."""
    async with bench.talk() as talk:
        for row in rows:
            if not row.is_text and bench.binding.name == "ws":
                continue  # no text frame can carry it, see the WebSocket tests
            await talk.wire.send(row.data)
            if row.code is not None:
                await talk.until(row.answered_by)
            await talk.check()
        assert not talk.kept, f"more than was owed: {talk.kept}"


@behaviour(by_hand=True)
async def what_is_not_json_is_answered(bench: Bench) -> None:
    """Each broken text costs one error, and nothing else."""
    await _survives(bench, [row for row in TABLE if row.code == -32700])


@behaviour(by_hand=True)
async def what_is_no_message_is_answered(bench: Bench) -> None:
    """JSON that is no message of JSON-RPC is refused with its id, where it has one."""
    names = {"a request before initialize"}
    rows = [row for row in TABLE if row.code == INVALID_REQUEST and row.name not in names]
    await _survives(bench, rows)


@behaviour(eras=(MODERN,), by_hand=True)
async def what_is_not_possible_is_refused(bench: Bench) -> None:
    """Requests that cannot be served have the code that says why."""
    codes = (METHOD_NOT_FOUND, INVALID_PARAMS, UNSUPPORTED_PROTOCOL_VERSION)
    mirrored = bench.binding.name == "http"  # there headers are wrong as well
    names = {"an undeclared capability"}
    rows = [row for row in TABLE if row.code in codes and row.name not in names]
    await _survives(bench, [] if mirrored else rows)


@behaviour(by_hand=True, skip={"http": OVER_HTTP, "sse": OVER_HTTP})
async def what_is_owed_nothing_has_nothing(bench: Bench) -> None:
    """Answers that nobody asked for and unknown notifications are passed over."""
    await _survives(bench, [row for row in TABLE if row.code is None])


# Opening


@behaviour(eras=(LEGACY,), by_hand=True)
async def nothing_comes_before_the_handshake(bench: Bench) -> None:
    """A request before ``initialize`` is refused; the handshake then works."""
    async with bench.talk(opened=False) as talk:
        refused = await talk.answer(await talk.ask("tools/list"))
        assert refused["error"]["code"] in (INVALID_REQUEST, INVALID_PARAMS)
        await talk.open()
        await talk.check()


@behaviour(eras=(LEGACY,), by_hand=True, skip={"http": OVER_HTTP})
async def a_second_handshake_is_refused(bench: Bench) -> None:
    """``initialize`` in an open conversation is an error, and the conversation goes on."""
    async with bench.talk() as talk:
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "x"}}
        params["clientInfo"] = {"name": "x", "version": "1"}
        assert "error" in await talk.answer(await talk.ask("initialize", params))
        await talk.check()


@behaviour(eras=(LEGACY,), by_hand=True)
async def an_unknown_revision_is_answered_with_a_known_one(bench: Bench) -> None:
    """A server that does not speak what is asked for offers what it speaks."""
    async with bench.talk(opened=False) as talk:
        params: Message = {
            "protocolVersion": "1999-01-01",
            "capabilities": {},
            "clientInfo": {"name": "old", "version": "1"},
        }
        answer = await talk.answer(await talk.ask("initialize", params))
        assert answer["result"]["protocolVersion"] == LEGACY


@behaviour(eras=(MODERN,), by_hand=True, skip={"http": OVER_HTTP})
async def an_unknown_modern_revision_is_refused(bench: Bench) -> None:
    """The error names the revisions that are spoken."""
    async with bench.talk() as talk:
        request = talk.request("tools/list")
        request["params"]["_meta"][META + "protocolVersion"] = "2099-01-01"
        await talk.wire.send(request)
        error = (await talk.answer(request["id"]))["error"]
        assert error["code"] == UNSUPPORTED_PROTOCOL_VERSION
        assert MODERN in error["data"]["supported"]
        await talk.check()


@behaviour(eras=(MODERN,), by_hand=True)
async def metadata_is_required(bench: Bench) -> None:
    """A modern request without its capabilities is an error of its parameters."""
    async with bench.talk() as talk:
        request = talk.request("tools/list")
        del request["params"]["_meta"][META + "clientCapabilities"]
        await talk.wire.send(request)
        assert (await talk.answer(request["id"]))["error"]["code"] == INVALID_PARAMS
        await talk.check()


@behaviour(eras=(MODERN,), by_hand=True)
async def results_say_who_made_them(bench: Bench) -> None:
    """A modern result is complete and carries the server's identity."""
    async with bench.talk() as talk:
        result = (await talk.answer(await talk.call("echo", text="x")))["result"]
        assert result["resultType"] == "complete"
        assert result["_meta"][META + "serverInfo"]["name"] == "workbench"


@behaviour(eras=(LEGACY,), by_hand=True, skip={"sse": "HTTP+SSE has no modern era"})
async def the_era_belongs_to_the_request(bench: Bench) -> None:
    """A modern request is served in a conversation that a handshake has opened, and after it."""
    async with bench.talk() as talk:
        modern = Talk(talk.wire, revision(MODERN))
        result = (await modern.answer(await modern.call("echo", id="m", text="x")))["result"]
        assert result["resultType"] == "complete"
        await talk.check()


# Questions


async def _asked(talk: Talk, tool: str, **arguments: Any) -> tuple[Any, Message]:
    """Call a tool that asks: the id of the call, and the question."""
    id = await talk.call(tool, **arguments)
    methods = ("elicitation/create", "sampling/createMessage", "roots/list")
    return id, await talk.until(lambda message: message.get("method") in methods)


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_question_is_answered_by_hand(bench: Bench) -> None:
    """The answer to a question reaches the tool that asked it."""
    async with bench.talk() as talk:
        id, question = await _asked(talk, "ask_roots")
        await talk.reply(question, {"roots": [{"uri": "file:///by-hand"}]})
        assert "file:///by-hand" in await talk.text(id)


@behaviour(eras=(LEGACY,), by_hand=True)
async def only_the_answer_with_the_id_counts(bench: Bench) -> None:
    """Answers with other ids, of another type or twice change nothing."""
    async with bench.talk() as talk:
        id, question = await _asked(talk, "ask_roots")
        right = question["id"]
        for wrong in ("nobody", 10**9, str(right) if isinstance(right, int) else [right]):
            await talk.reply({"id": wrong}, {"roots": [{"uri": "file:///wrong"}]})
        await talk.reply(question, {"roots": [{"uri": "file:///right"}]})
        await talk.reply(question, {"roots": [{"uri": "file:///late"}]})
        said = await talk.text(id)
        assert "file:///right" in said
        assert "wrong" not in said
        await talk.check()


@behaviour(eras=(LEGACY,), by_hand=True)
async def an_error_is_an_answer_too(bench: Bench) -> None:
    """What the client refuses is an error of the tool, which says so."""
    async with bench.talk() as talk:
        id, question = await _asked(talk, "ask_roots")
        error = {"code": -32603, "message": "no roots today"}
        await talk.wire.send({"jsonrpc": "2.0", "id": question["id"], "error": error})
        assert (await talk.answer(id))["result"]["isError"] is True
        await talk.check()


@behaviour(eras=(LEGACY,), by_hand=True)
async def nonsense_is_no_answer(bench: Bench) -> None:
    """A result that is not what was asked for is asked for again; it is no crash."""
    async with bench.talk() as talk:
        id, question = await _asked(talk, "ask_roots")
        await talk.reply(question, {"roots": "none"})
        again = await talk.next("roots/list")
        assert again["id"] != question["id"]
        await talk.reply(again, {"roots": [{"uri": "file:///sense"}]})
        assert "file:///sense" in await talk.text(id)


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_question_goes_with_its_call(bench: Bench) -> None:
    """When the call is cancelled, so is its question, and a late answer is passed over."""
    async with bench.talk() as talk:
        id, question = await _asked(talk, "ask_roots")
        await talk.wire.cancel(id)
        told = await talk.next("notifications/cancelled")
        assert told["params"]["requestId"] == question["id"]
        await talk.reply(question, {"roots": []})
        await talk.check()


@behaviour(eras=(MODERN,), by_hand=True)
async def a_round_of_input_by_hand(bench: Bench) -> None:
    """A question is a result; the call is made again with the answer and the state."""
    async with bench.talk() as talk:
        first = (await talk.answer(await talk.call("ask_roots")))["result"]
        assert first["resultType"] == "input_required"
        [key] = first["inputRequests"]
        assert first["inputRequests"][key]["method"] == "roots/list"
        again: Message = {
            "name": "ask_roots",
            "arguments": {},
            "inputResponses": {key: {"roots": [{"uri": "file:///by-hand"}]}},
        }
        if "requestState" in first:
            again["requestState"] = first["requestState"]
        assert "file:///by-hand" in await talk.text(await talk.ask("tools/call", again))


@behaviour(eras=(MODERN,), by_hand=True)
async def a_state_made_up_is_refused(bench: Bench) -> None:
    """A state that this server did not make, or not for this request, is an error."""
    async with bench.talk() as talk:
        forged: Message = {"name": "ask_roots", "arguments": {}, "requestState": "forged"}
        answer = await talk.answer(await talk.ask("tools/call", forged))
        assert answer["error"]["code"] == INVALID_PARAMS
        await talk.check()


@behaviour(eras=(MODERN,), by_hand=True)
async def who_declares_nothing_is_not_asked(bench: Bench) -> None:
    """The error names the capability that the tool would need."""
    async with bench.talk() as talk:
        request = talk.request("tools/call", {"name": "ask_roots", "arguments": {}})
        request["params"]["_meta"][META + "clientCapabilities"] = {}
        await talk.wire.send(request)
        error = (await talk.answer(request["id"]))["error"]
        assert error["code"] == MISSING_CLIENT_CAPABILITY
        assert "roots" in error["data"]["requiredCapabilities"]


# News


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_subscription_by_hand(bench: Bench) -> None:
    """After ``resources/subscribe`` an update comes, and only for what was subscribed to."""
    uri = f"count://{bench.case}"
    async with bench.talk() as talk:
        assert "result" in await talk.answer(await talk.ask("resources/subscribe", {"uri": uri}))
        await talk.text(await talk.call("count", name=f"{bench.case}-other"))
        await talk.text(await talk.call("count", name=bench.case))
        update = await talk.next("notifications/resources/updated")
        assert update["params"]["uri"] == uri


@behaviour(eras=(MODERN,), by_hand=True)
async def a_listen_stream_by_hand(bench: Bench) -> None:
    """It is acknowledged first, and what comes says to which stream it belongs."""
    uri = f"count://{bench.case}"
    async with bench.talk() as talk:
        wanted = {"notifications": {"resourceSubscriptions": [uri]}}
        id = await talk.ask("subscriptions/listen", wanted)
        first = await talk.next("notifications/subscriptions/acknowledged")
        assert first["params"]["_meta"][META + "subscriptionId"] == id
        await talk.text(await talk.call("count", name=bench.case))
        update = await talk.next("notifications/resources/updated")
        assert update["params"]["uri"] == uri
        assert update["params"]["_meta"][META + "subscriptionId"] == id
        await talk.wire.cancel(id)
        await talk.check()


@behaviour(by_hand=True)
async def log_levels_by_hand(bench: Bench) -> None:
    """Only messages from the wanted level on are sent: set once, or with each request."""
    async with bench.talk() as talk:
        params: Message = {"name": "say", "arguments": {"levels": ["info", "error"]}}
        if bench.modern:
            params["_meta"] = {META + "logLevel": "error"}
        else:
            level = {"level": "error"}
            assert "result" in await talk.answer(await talk.ask("logging/setLevel", level))
        assert await talk.text(await talk.ask("tools/call", params)) == "1"
        told = await talk.next("notifications/message")
        assert told["params"]["level"] == "error"
        assert not [m for m in talk.kept if m.get("method") == "notifications/message"]


@behaviour(by_hand=True)
async def notifications_by_hand(bench: Bench) -> None:
    """A notification is answered by nothing, heard or not."""
    async with bench.talk() as talk:
        await talk.tell(NOTE, {"case": bench.case, "value": 1})
        await talk.tell("notifications/unknown", {"case": bench.case})
        await talk.tell("notifications/roots/list_changed")
        await bench.journal("noted 1", via=talk)
        await talk.check()
        assert all("error" not in message for message in talk.kept)


@behaviour(eras=(LEGACY,), by_hand=True)
async def a_ping_by_hand(bench: Bench) -> None:
    """``ping`` has an empty result, also while a call waits."""
    async with bench.talk() as talk:
        await talk.call("wait", case=bench.case)
        await bench.journal("started", via=talk)
        assert (await talk.answer(await talk.ask("ping")))["result"] == {}
        await talk.call("release", case=bench.case)
