"""Cases of the page client/elicitation, as a server has to follow it: users who visit URLs."""

from urllib.parse import urlsplit

from mcpcore_conformance.cases.asked_elicitation import (
    BOTH,
    METHOD,
    URL,
    URL_REQUIRED,
    VISITED,
    asked,
    check_shape,
)
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import ask_about, call
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import open_stream
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import ONLY_2025_11_25, SINCE_2025_11_25, Page
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import asker
from mcpcore_conformance.kit.verdicts import check

page = Page("client/elicitation")
case = page.server(SINCE_2025_11_25, needs=VISITED)

COMPLETE = "notifications/elicitation/complete"
REQUIRED = "test_url_elicitation_required"


@case.must(
    "url-mode-elicitation-requests/shape",
    "mode url, a message, a URL, and in 2025-11-25 an elicitationId.",
)
async def url_shape(talk: ServerTalk) -> None:
    """A URL is given in the shape of its revision."""
    link, found = await asked(talk, URL, BOTH)
    link.inbox.clear()
    request = found.one(METHOD)
    check(request.params.get("mode") == "url", f"the mode is {request.params.get('mode')!r}")
    check_shape(talk, request)


@case.must("url-mode-elicitation-requests/valid-url", "An absolute URL with a host.")
async def url_valid(talk: ServerTalk) -> None:
    """The URL is a valid one."""
    link, found = await asked(talk, URL, BOTH)
    link.inbox.clear()
    url = str(found.one(METHOD).params.get("url"))
    parts = urlsplit(url)
    check(parts.scheme and parts.netloc and " " not in url, f"the URL is {url[:80]!r}")


@case.should("safe-url-handling/https", "https, except for this machine.")
async def url_https(talk: ServerTalk) -> None:
    """URLs use HTTPS, except while something is developed."""
    link, found = await asked(talk, URL, BOTH)
    link.inbox.clear()
    parts = urlsplit(str(found.one(METHOD).params.get("url")))
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    check(parts.scheme == "https" or local, f"the URL has the scheme {parts.scheme!r}")


async def _completed(talk: ServerTalk) -> tuple[Link, Message, Message | None]:
    """A URL that was accepted: the client, the request and the word of its completion."""
    which = await asker(talk, "url", URL)
    link = await talk.connect(capabilities={**which.besides(METHOD), **BOTH}, answering=Answering())
    await link.initialize()
    await open_stream(link)
    found = await ask_about(link, which.method, which.params)
    found.requests = [each for each in found.requests if each.params.get("mode") == "url"]
    return link, found.one(METHOD), await link.wait_for(COMPLETE, 4 * talk.timing.quiet)


@case.must(
    "completion-notifications-for-url-mode-elicitation/id",
    "The elicitationId of the request.",
    ONLY_2025_11_25,
)
async def complete_id(talk: ServerTalk) -> None:
    """The word that a visit has ended names the elicitation."""
    link, request, complete = await _completed(talk)
    if complete is None:
        talk.skip("the server does not say when a visit has ended")
    problem = params_problem(COMPLETE, complete.params, talk.revision)
    check(not problem, f"the params of {COMPLETE}: {problem}")
    found, wanted = complete.params["elicitationId"], request.params.get("elicitationId")
    # the server may have asked for other visits meanwhile, of its own accord
    asked = [each.params.get("elicitationId") for each in link.asked]
    check(found in asked, f"{found!r} is complete, {wanted!r} was asked for")


@case.must(
    "completion-notifications-for-url-mode-elicitation/to-the-initiator",
    "Nothing for a client that was not asked.",
    ONLY_2025_11_25,
)
async def complete_to_initiator(talk: ServerTalk) -> None:
    """The word that a visit has ended goes to the client that was asked, and to no other."""
    other = await talk.open(capabilities=BOTH, answering=Answering())
    await open_stream(other)
    _, _, complete = await _completed(talk)
    if complete is None:
        talk.skip("the server does not say when a visit has ended")
    await other.quiet()
    asked = [each.params.get("elicitationId") for each in other.asked]
    strange = [
        each
        for each in other.inbox
        if each.method == COMPLETE and each.params.get("elicitationId") not in asked
    ]
    check(not strange, "another client was told of the end of a visit")


@case.must(
    "url-elicitation-required-error/list",
    "The error -32042 with elicitations in URL mode, each with an elicitationId.",
    ONLY_2025_11_25,
    needs=(f"tool:{REQUIRED}",),
)
async def required_list(talk: ServerTalk) -> None:
    """The error that demands a visit lists elicitations: shown by a tool known to demand one."""
    link = await talk.open(capabilities=BOTH, answering=Answering())
    error = (await call(link, talk.tool(REQUIRED), {})).failed_with(URL_REQUIRED)
    data = error.get("data")
    found = data.get("elicitations") if isinstance(data, dict) else None
    check(isinstance(found, list) and found, f"data of the error is {data!r:.80}")
    for each in found or []:
        check(isinstance(each, dict), f"an elicitation is {each!r:.80}")
        check(each.get("mode") == "url", f"an elicitation has the mode {each.get('mode')!r}")
        problem = params_problem(METHOD, each, talk.revision)
        check(not problem, f"an elicitation of the error: {problem}")
