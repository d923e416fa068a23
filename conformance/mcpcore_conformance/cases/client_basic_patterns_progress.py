"""Cases of the page basic/patterns/progress for clients."""

from typing import Any

from mcpcore_conformance.kit.client_steps import call, scripted, together, under_way
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import Message, is_id
from mcpcore_conformance.kit.model import Page
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/patterns/progress")
case = page.client(**scripted(call(progress=True)))

CALLS = 6


def _token(message: Message) -> Any:
    meta = message.params.get("_meta")
    return meta.get("progressToken") if isinstance(meta, dict) else None


def _progress(token: Any, value: float) -> dict[str, Any]:
    return {"progressToken": token, "progress": value, "total": 10}


@case.must("progress-flow", "_meta.progressToken is a string or an integer.")
async def token_type(_: CalledLink, message: Call) -> None:
    """A client that wants to hear of progress gives a token of the right type."""
    check(is_id(_token(message)), f"the progress token is {_token(message)!r}")


@case.must(
    "progress-flow",
    "Requests that are under way at the same time have different tokens.",
    **scripted(together(*[call(progress=True) for _ in range(CALLS)])),
)
async def token_unique(link: ReadyLink) -> None:
    """Tokens of requests under way are unique."""
    tokens = [_token(each) for each in await under_way(link, "tools/call", CALLS)]
    need(len(tokens) != 1, "the client makes one call at a time")
    check(len({repr(each) for each in tokens}) == len(tokens), f"the tokens are {tokens}")


@case.should(
    "implementation-notes", "The caller hears of the progress of its request, and of nothing else."
)
async def tracks_tokens(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Progress for a token that nobody gave, or of another type, is not taken for the caller's."""
    token = _token(message)
    foreign = str(token) if isinstance(token, int) else 4711
    for value, each in ((1, token), (5, foreign), (6, "nobody's"), (2, token)):
        await link.notify("notifications/progress", _progress(each, value), about=message)
    await link.serve_one(message)
    step = await talk.good_step()
    heard = [each.get("progress") for each in step.progress]
    check(heard == [1, 2], f"of the progress 1 and 2 (and 5 and 6 of others) it heard {heard}")


@case.should(
    "implementation-notes",
    "It is dropped; the next request does not hear of it, and succeeds.",
    **scripted(call(progress=True), call(progress=True)),
)
async def late_progress(talk: ClientTalk) -> None:
    """Progress of a request that has been answered is ignored."""
    link, first = await talk.expect("tools/call")
    token = _token(first)
    await link.serve_one(first)
    second = await link.expect("tools/call")
    await link.notify("notifications/progress", _progress(token, 9), about=second)
    await link.serve_one(second)
    report = await talk.report()
    check(len(report.steps) == 2, f"{len(report.steps)} steps of two were reported")
    check(report.steps[1].good, f"the next call ended with {report.steps[1]}")
    check(not report.steps[1].progress, f"it heard of {report.steps[1].progress}")
