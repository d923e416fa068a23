"""Cases of the page basic/transports/streamable-http: closing, and what older revisions had."""

from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore_conformance.cases.basic_transports_streams import check_apart, reported
from mcpcore_conformance.kit.endpoint import (
    CLIENT_ERRORS,
    METHOD_NOT_ALLOWED,
    Answer,
    Endpoint,
    check_served,
    endpoint,
)
from mcpcore_conformance.kit.lists import acknowledged, listen
from mcpcore_conformance.kit.messages import Kind
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.running import AFTERWARDS, LONGER, over_too_soon, reporting
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.watching import any_call, watched

page = Page("basic/transports/streamable-http")
case = page.server(MODERN, bindings=STREAMABLE)

SESSION = "mcp-session-id"
PROGRESS = "notifications/progress"
LISTS_CHANGED = "notifications/tools/list_changed"


async def speaks_older(talk: ServerTalk) -> bool:
    """Whether the server takes the handshake of older revisions, so that it has their verbs."""
    link = await talk.connect(revision=LATEST_LEGACY)
    reply = await link.request("initialize", link.opening())
    return reply.message is not None and reply.message.kind is Kind.RESULT


async def check_old_verb(talk: ServerTalk, method: str, answer: Answer) -> None:
    """405 is due from a server of this revision alone; another may look for a session first."""
    if answer.status == METHOD_NOT_ALLOWED:
        return
    check(answer.status in CLIENT_ERRORS, f"{method} in this revision got {answer}, not 405")
    check(
        await speaks_older(talk),
        f"{method} got {answer}, not 405, though the server speaks no older revision",
    )


# What older revisions had


@case.should(
    "earlier-streamable-http-revisions/get",
    "Status 405; a server of older revisions may miss a session first.",
)
async def old_get(talk: ServerTalk) -> None:
    """There is no stream to GET in this revision."""
    point = await endpoint(talk)
    headers = [("accept", "text/event-stream"), ("mcp-protocol-version", talk.revision.name)]
    await check_old_verb(talk, "GET", await point.open(headers=headers))


@case.should(
    "earlier-streamable-http-revisions/delete",
    "Status 405; a server of older revisions may miss a session first.",
)
async def old_delete(talk: ServerTalk) -> None:
    """There is nothing to DELETE in this revision."""
    point = await endpoint(talk)
    headers = [("mcp-protocol-version", talk.revision.name)]
    await check_old_verb(talk, "DELETE", await point.fetch("DELETE", headers=headers))


@case.should(
    "earlier-streamable-http-revisions/session-ignored",
    "The request is served as without the header.",
)
async def session_ignored(talk: ServerTalk) -> None:
    """A session id that an older client may send means nothing."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={SESSION: "kit-session-of-nobody"})
    check_served(answer, "a request with Mcp-Session-Id")


@case.should(
    "earlier-streamable-http-revisions/no-session",
    "No response has Mcp-Session-Id, neither a new one nor the client's.",
)
async def no_session(talk: ServerTalk) -> None:
    """The server makes no session ids and repeats none."""
    point = await endpoint(talk)
    method, params = talk.any_request()
    for message in (point.message(), point.message(method, params), point.message("kit/none")):
        for headers in ({}, {SESSION: "kit-session-of-nobody"}):
            answer = await point.post(message, headers=headers)
            found = answer.header(SESSION)
            check(found is None, f"the response to {message['method']} has the session {found!r}")


@case.should(
    "earlier-streamable-http-revisions/event-id-ignored",
    "The request is served as without the header.",
)
async def event_id_ignored(talk: ServerTalk) -> None:
    """A Last-Event-ID means nothing."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={"last-event-id": "kit-1"})
    check_served(answer, "a request with Last-Event-ID")


# Closing


async def cancelled(point: Endpoint, label: str) -> int:
    """How many waits with that label were cancelled."""
    call = {"name": "test_cancelled_count", "arguments": {"label": label}}
    result = await point.link.ask("tools/call", call)
    return int(result["content"][0]["text"])


async def waiting(point: Endpoint, label: str, seconds: float, id: str) -> int:
    """Begin a call that waits, and return its exchange as soon as its stream is open."""
    call = {
        "name": "test_wait",
        "arguments": {"seconds": seconds, "label": label},
        "_meta": {"progressToken": label},
    }
    sent = await point.link.say(point.message("tools/call", call, id=id))
    await point.begun(sent.exchange)
    return sent.exchange


@case.must(
    "cancellation/closing-cancels",
    "The call is cancelled as soon as practical.",
    needs=("tool:test_wait", "tool:test_cancelled_count"),
)
async def closing_cancels(talk: ServerTalk) -> None:
    """A client that closes the response stream cancels its request."""
    point = await endpoint(talk)
    label = str(talk.fresh_id())
    before = await cancelled(point, label)
    await point.wire.cut(await waiting(point, label, 20.0, label))
    seen = await _is_cancelled(point, label, before)
    check(seen, "two seconds after its stream was closed the call was still running")


async def _is_cancelled(point: Endpoint, label: str, before: int) -> bool:
    """Whether a wait is cancelled within two seconds."""
    for _ in range(100):
        if await cancelled(point, label) > before:
            return True
        await point.talk.advance(0.02)
    return False


@case.must(
    "cancellation/closing-spares-others",
    "The other call, of the same id, runs to its end.",
    needs=("tool:test_wait", "tool:test_cancelled_count"),
)
async def closing_spares_others(talk: ServerTalk) -> None:
    """Closing one stream cancels the request of that stream alone, whatever the ids."""
    first, second = await endpoint(talk), await endpoint(talk)
    for seconds in LONGER:
        label = str(talk.fresh_id())
        before = await cancelled(second, label)
        kept = await waiting(first, f"{label}-kept", seconds, "same")
        await second.wire.cut(await waiting(second, label, 20.0, "same"))
        seen = await _is_cancelled(second, label, before)
        await first.link.fence()
        early = first.so_far(kept).result is not None
        answer = await first.answer(kept, first.link.patience + seconds)
        check_served(answer, "a call beside one that was cancelled")
        if seen and not early:
            return
    raise over_too_soon("the end of the other stream")


@case.must("receiving-messages/equal-ids", "Each response is on the response to its own POST.")
async def equal_ids(talk: ServerTalk) -> None:
    """Two clients use one request id and one progress token at the same time."""
    points = [await endpoint(talk), await endpoint(talk)]
    call, token = any_call(talk), str(talk.fresh_id())
    sent = [await each.call(call, token, id="same") for each in points]
    for point, each in zip(points, sent, strict=True):
        answer = await point.answer(each.exchange)
        check_served(answer, "a call with an id that another client uses")
        await check_apart(point, call, reported(answer, token), "a client")


# Which notification goes where


@case.must(
    "receiving-messages/no-progress-on-listen",
    "Progress and log messages come on the stream of their request alone.",
    needs=("tools.listChanged", "found:progress"),
)
async def no_progress_on_listen(talk: ServerTalk) -> None:
    """What belongs to a request does not go over a stream of subscriptions/listen."""
    point = await endpoint(talk)
    listening = await listen(point.link, {"toolsListChanged": True})
    await acknowledged(point.link, listening)
    sent = await point.call(await watched(talk, "progress"), "kit")
    check_served(await point.answer(sent.exchange), "a call with progress")
    await point.link.quiet()
    strays = [
        each.method
        for each in point.so_far(listening.exchange).messages
        if each.method in (PROGRESS, "notifications/message")
    ]
    check(not strays, f"the stream of subscriptions/listen brought {strays}")


@case.must(
    "receiving-messages/no-changes-on-calls",
    "Changes come on the streams of subscriptions/listen alone.",
    needs=(
        "tools.listChanged",
        "tool:test_trigger_tool_change",
        "tool:test_tool_with_progress",
    ),
)
async def no_changes_on_calls(talk: ServerTalk) -> None:
    """A change that somebody has subscribed to does not go over the stream of a call.

    Only of the fixture it is known what changes a list, and what leaves its stream open meanwhile.
    """
    point = await endpoint(talk)
    listening = await listen(point.link, {"toolsListChanged": True})
    await acknowledged(point.link, listening)
    change = {"name": "test_trigger_tool_change"}
    for pause, params in reporting(talk):
        call = {**params, "_meta": {"progressToken": "kit"}}
        running = await point.link.say(point.message("tools/call", call))
        await point.begun(running.exchange)
        changing = await point.post(point.message("tools/call", change))
        check_served(changing, "the call that changes the list")
        early = point.so_far(running.exchange).result is not None
        patience = point.link.patience + AFTERWARDS * pause
        for answer in (changing, await point.answer(running.exchange, patience)):
            strays = [each.method for each in answer.messages if each.method == LISTS_CHANGED]
            check(not strays, f"{LISTS_CHANGED} came on the stream of a call")
        if not early:
            return
    raise over_too_soon("the call that changes the list")
