"""Cases of the page basic/patterns/progress."""

from functools import partial
from itertools import pairwise
from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.belonging import unasked
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    Kind,
    Message,
    notification,
)
from mcpcore_conformance.kit.model import LEGACY, MODERN, ONE_CHANNEL, STREAMABLE, Page
from mcpcore_conformance.kit.probes import fence, outcome, unanswered
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.running import after_cancellation
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, OpenLink, ServerTalk
from mcpcore_conformance.kit.tour import check_asked, check_notified
from mcpcore_conformance.kit.verdicts import Inconclusive, check
from mcpcore_conformance.kit.watching import PROGRESS, watched

page = Page("basic/patterns/progress")

REPORTS = ("found:progress",)
case = page.server(needs=REPORTS)
of_any = page.server()
of_any_progress_flow = of_any.at("progress-flow")
AFTERWARDS = 0.2
"""Seconds in which what was under way would show: longer than the fixture's steps are apart."""


def _reports(link: Link, *tokens: Any) -> list[Message]:
    """The progress that has come with one of these tokens, of whatever type.

    That of other requests of the conversation may come late, and is none of these.
    """
    wanted = {str(each) for each in tokens}
    return [
        each
        for each in link.inbox
        if each.method == PROGRESS and str(each.params.get("progressToken")) in wanted
    ]


def _is_stray(link: Link, message: Message) -> bool:
    token = message.params.get("progressToken")
    return message.method == PROGRESS and not link.account.gave(token)


async def _check_strays(link: Link, what: str, took: float) -> None:
    """Check that no progress has come with a token that nobody has given.

    What comes so when nothing is asked for belongs to nothing: there is a case of that.
    """
    found = [each.params for each in link.inbox if _is_stray(link, each)]
    if found and await unasked(link, partial(_is_stray, link), took):
        raise Inconclusive(f"progress with tokens that nobody gave comes at any time: {found[0]}")
    check(not found, f"{what}: {found}")


async def _call(link: Link, token: Any = UNSET) -> Sent:
    """Call a tool that reports progress, with that token; without one it should not."""
    call = await watched(link.talk, "progress")
    params = call.params if token is UNSET else call.asking(token)
    return await link.send(call.method, params)


async def _reported(link: Link, *tokens: Any) -> list[list[Message]]:
    """Call the tool that reports progress, with each token; returns what each call reported."""
    began = link.talk.stage.now()
    calls = [await _call(link, each) for each in tokens]
    for sent in calls:
        reply = await link.reply(sent)
        check(reply.good, f"the call got {reply}")
    by_token = [_reports(link, token) for token in tokens]
    taken = {id(each) for reports in by_token for each in reports}
    link.inbox[:] = [each for each in link.inbox if id(each) not in taken]
    for token, reports in zip(tokens, by_token, strict=True):
        check(reports, f"no progress came for the token {token!r}, although the tool reports it")
    took = link.talk.stage.now() - began
    await _check_strays(link, "progress came for a token that nobody gave", took)
    return by_token


def _of_token(found: list[Message], token: Any) -> None:
    for each in found:
        said = each.params.get("progressToken")
        same = type(said) is type(token) and said == token
        check(same, f"progress for the token {token!r} came with the token {said!r}")


@case.must("progress-flow", "Every report carries the token as it was.")
async def string_token(link: OpenLink) -> None:
    """Progress comes with the token of the request, also if it looks like a number."""
    tokens = ("17", "tök en\u2028 " * 20)
    for token, found in zip(tokens, await _reported(link, *tokens), strict=True):
        _of_token(found, token)


@case.must("progress-flow", "Every report carries the token as a number, with the same value.")
async def integer_token(link: OpenLink) -> None:
    """A progress token may be an integer, zero and negative ones too."""
    tokens = (0, -(2**40))
    for token, found in zip(tokens, await _reported(link, *tokens), strict=True):
        _of_token(found, token)


@case.must("progress-flow", "Each value is larger than the one before it.")
async def increases(talk: ServerTalk, link: OpenLink) -> None:
    """The progress of a request only grows."""
    (found,) = await _reported(link, talk.fresh_id())
    values = [each.params.get("progress") for each in found]
    numbers = [each for each in values if isinstance(each, (int, float))]
    check(len(numbers) == len(values), f"progress is {values}")
    grows = all(before < after for before, after in pairwise(numbers))
    check(grows, f"progress went {values}")


@of_any_progress_flow.must("Each value is larger than the one before it, whichever tool is called.")
async def only_grows(talk: ServerTalk) -> None:
    """Whatever is asked for, its progress only grows."""
    await check_notified(talk, Unasked.BACKWARDS)


@case.must(
    "progress-flow",
    "progressToken, a number progress, perhaps a number total and a string message.",
)
async def shape(talk: ServerTalk, link: OpenLink) -> None:
    """Reports of progress are what they have to be."""
    (found,) = await _reported(link, talk.fresh_id())
    for each in found:
        problem = params_problem(PROGRESS, each.params, link.revision)
        check(not problem, f"{PROGRESS}: {problem}")
        for name in ("progress", "total"):
            value = each.params.get(name, 0)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            check(number, f"{name} is {value!r}")


@of_any_progress_flow.should("The error -32602, or a result without any progress.")
async def malformed_token(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """A token that is neither a string nor an integer is refused, or brings no progress."""
    tokens: tuple[Any, ...] = (None, 1.5, True, {}, [1])
    for token in tokens:
        reply = await outcome(link, await link.send(method, params, meta={"progressToken": token}))
        check(
            reply.message is not None or 400 <= (reply.status or 0) < 500,
            f"a request with the progressToken {token!r} got {reply}",
        )
        if reply.message is not None and reply.message.kind is Kind.ERROR:
            reply.failed_with(INVALID_PARAMS, INVALID_REQUEST)
        check(not _reports(link, token), f"progress came for the token {token!r}")
    await link.alive()


@of_any_progress_flow.must("A result: progress may be asked for, and need not be given.")
async def any_request(talk: ServerTalk, link: OpenLink) -> None:
    """Every request may carry a token."""
    method, params = talk.any_request()
    token = talk.fresh_id()
    await link.ask(method, params, meta={"progressToken": token})
    _of_token(_reports(link, token), token)


@case.must("behavior-requirements", "No progress.")
async def not_asked_for(talk: ServerTalk, link: OpenLink) -> None:
    """A request without a token brings no progress."""
    began = talk.stage.now()
    await link.reply(await _call(link))
    await fence(link)
    await _check_strays(link, "progress came that nobody had asked for", talk.stage.now() - began)


@case.must("behavior-requirements", "Reports with both tokens, and with no other.")
async def own_tokens(talk: ServerTalk, link: OpenLink) -> None:
    """Two calls that run together report with a token each."""
    began = talk.stage.now()
    calls = [await _call(link, each) for each in (1, "1")]
    for sent in calls:
        await link.reply(sent)
    tokens = [each.params.get("progressToken") for each in _reports(link, 1)]
    for token in (1, "1"):
        there = any(type(each) is type(token) and each == token for each in tokens)
        check(there, f"no progress came for the token {token!r}: {tokens}")
    await _check_strays(link, "progress came for tokens that nobody gave", talk.stage.now() - began)


@case.must(
    "behavior-requirements",
    "Each report comes on the response of the request whose token it has.",
    MODERN,
    bindings=STREAMABLE,
)
async def own_stream(link: OpenLink) -> None:
    """Progress comes on the stream of its request."""
    calls = {token: await _call(link, token) for token in ("a", "b")}
    for sent in calls.values():
        await link.reply(sent)
    for token, sent in calls.items():
        for each in _reports(link, token):
            check(
                each.source.exchange == sent.exchange,
                f"progress for the token {token!r} came on the response of another request",
            )


@case.must("implementation-notes", "All progress comes before the answer, and none after it.")
async def ends_with_response(talk: ServerTalk, link: OpenLink) -> None:
    """Progress stops when the request is answered."""
    token = talk.fresh_id()
    await link.reply(await _call(link, token))
    before = len(_reports(link, token))
    await fence(link)
    await link.until(lambda: len(_reports(link, token)) > before, AFTERWARDS)
    late = [each.params for each in _reports(link, token)[before:]]
    check(not late, f"after the answer came {late}")


@case.must(
    "implementation-notes",
    "No more progress once the cancellation has been read.",
    bindings=ONE_CHANNEL,
    needs=("tool:test_tool_with_progress",),
)
async def ends_with_cancellation(talk: ServerTalk, link: OpenLink) -> None:
    """Progress stops when the request is cancelled.

    Other tools than the fixture's may be of those that cannot be cancelled.
    """
    late = await after_cancellation(talk, link, lambda each: each.method == PROGRESS)
    check(not late, f"after the cancellation came {[each.params for each in late]}")


@case.should("implementation-notes", "Progress, as the first time.")
async def token_again(talk: ServerTalk, link: OpenLink) -> None:
    """A token may be used again when its request is over."""
    token = talk.fresh_id()
    for _ in range(2):
        (found,) = await _reported(link, token)
        _of_token(found, token)


@of_any.should("behavior-requirements", "Nothing; over HTTP 202 or a status of 4xx.", LEGACY)
async def unknown_token(talk: ServerTalk, link: OpenLink) -> None:
    """Progress of the client for a token that the server never gave is ignored."""
    wrong: tuple[dict[str, Any], ...] = (
        {"progressToken": talk.fresh_id(), "progress": 1},
        {"progressToken": 99, "progress": 0.5, "total": 1},
        {"progress": 1},
        {"progressToken": "kit", "progress": "half"},
    )
    said = {f"progress with {each}": notification(PROGRESS, each) for each in wrong}
    await unanswered(link, said)
    await link.alive()


@of_any.must(
    "behavior-requirements",
    "No progress with a token that was not given, and none after the answer.",
)
async def active_tokens_only(talk: ServerTalk) -> None:
    """Whatever is asked for, progress has the token of a request that runs."""
    await check_asked(talk, Unasked.PROGRESS, Unasked.LATE)
