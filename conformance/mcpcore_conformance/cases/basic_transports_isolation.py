"""Cases of the page basic/transports: sessions of Streamable HTTP beside one another."""

from mcpcore_conformance.cases.basic_transports_sessions import stateful
from mcpcore_conformance.cases.basic_transports_streamable_http import cancelled
from mcpcore_conformance.cases.basic_transports_streams import (
    RESPONSES,
    WITH_PROGRESS,
    asked,
    calling,
    check_apart,
    listening,
    reported,
    sampled,
    silent,
)
from mcpcore_conformance.kit.endpoint import WITH_SESSIONS, Endpoint, check_served, endpoint
from mcpcore_conformance.kit.messages import notification, result
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.watching import any_call

page = Page("basic/transports")
case = page.server(WITH_SESSIONS, bindings=STREAMABLE)
session_management = case.at("session-management")

SAMPLING = "sampling/createMessage"


@session_management.should("Both are answered, each on its own stream.")
async def equal_ids(talk: ServerTalk) -> None:
    """Two sessions use one request id and one progress token at the same time."""
    first, second = await endpoint(talk), await endpoint(talk)
    call, token = any_call(talk), str(talk.fresh_id())
    sent = [(point, await point.call(call, token, id="same")) for point in (first, second)]
    for point, each in sent:
        answer = await point.answer(each.exchange)
        found = [one.id for one in answer.messages if one.kind in RESPONSES]
        check(found == ["same"], f"a session got the responses {found}")
        await check_apart(point, call, reported(answer, token), "a session")


@session_management.should(
    "Nothing of one session's calls comes on another session's stream.", needs=WITH_PROGRESS
)
async def streams_apart(talk: ServerTalk) -> None:
    """The GET stream of a session brings nothing that concerns another session's calls."""
    (first, _), (second, _) = await stateful(talk), await stateful(talk)
    stream = await listening(talk, second)
    mark = str(talk.fresh_id())
    await first.answer((await calling(first, mark, id=f"{mark}-call")).exchange)
    if "test_sampling" in talk.features.tools:
        call = {"name": "test_sampling", "arguments": {"prompt": mark}}
        await first.post(first.message("tools/call", call, id=f"{mark}-sample"))
    await second.link.quiet()
    # what the server says to a client on its own account is nobody else's
    strays = [
        each.method or str(each.kind)
        for each in (*second.so_far(stream.exchange).messages, *second.link.asked)
        if mark in repr(each.value)
    ]
    check(not strays, f"a session got {strays} of another one")


@session_management.should(
    "The call goes on.", needs=("tool:test_wait", "tool:test_cancelled_count")
)
async def cancel_own_only(talk: ServerTalk) -> None:
    """A session cannot cancel the request of another one by its id."""
    (first, _), (second, _) = await stateful(talk), await stateful(talk)
    label = str(talk.fresh_id())
    before = await cancelled(first, label)
    wait = {"name": "test_wait", "arguments": {"seconds": 30, "label": label}}
    sent = await first.link.say(first.message("tools/call", wait, id="kit-shared"))
    await first.link.alive()
    foreign = {"requestId": "kit-shared"}
    await second.post(notification("notifications/cancelled", foreign))
    for _ in range(5):
        check(
            await cancelled(first, label) == before,
            "a session has cancelled the call of another one",
        )
        await talk.advance(0.02)
    await first.link.cancel(Sent("kit-shared", sent.exchange, "tools/call"))


@session_management.should(
    "The question stays open until its own session answers it.", needs=("tool:test_sampling",)
)
async def answer_own_only(talk: ServerTalk) -> None:
    """A session cannot answer what the server has asked of another one."""
    first = Endpoint(talk, await talk.open(answering=silent()))
    if first.wire.session is None:
        talk.skip("the server gives no session ids")
    second = await endpoint(talk)
    call = {"name": "test_sampling", "arguments": {"prompt": "anything"}}
    sent = await first.link.say(first.message("tools/call", call))
    question = await asked(talk, first, sent)
    await second.post(result(question.id, sampled("forged")))
    await second.link.alive()
    await first.post(result(question.id, sampled("genuine")))
    answer = await first.answer(sent.exchange)
    check_served(answer, "the call")
    said = str(answer.result)
    check("forged" not in said, f"the answer of another session was taken: {said[:200]}")
    check("genuine" in said, f"the session's own answer was not taken: {said[:200]}")
