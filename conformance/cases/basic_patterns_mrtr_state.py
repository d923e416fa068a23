"""Cases of the page basic/patterns/mrtr: state that comes back as an attacker would have it."""

from typing import Any

from conformance.cases.basic_patterns_mrtr import ELICITATION, STATE, answered
from conformance.kit.asking import call, check_asks, needs_input, worked
from conformance.kit.link import Link
from conformance.kit.messages import Kind
from conformance.kit.model import MODERN, MUST, OTHER_PRINCIPAL, SHOULD, STREAMABLE, Page
from conformance.kit.reply import Reply
from conformance.kit.talk import ServerTalk
from conformance.kit.verdicts import check

page = Page("basic/patterns/mrtr")

TAMPERED = "test_input_required_result_tampered_state"
WITH_ARGUMENT = ("test_elicitation", {"message": "one"}, {"message": "other"})


async def sealed(talk: ServerTalk, link: Link, tool: str, arguments: dict[str, Any]) -> Reply:
    """Call a tool that asks for input and gives a state; not applicable if it gives none."""
    reply = await call(link, talk.tool(tool), arguments)
    check_asks(reply, tool)
    if not isinstance(reply.result.get("requestState"), str):
        talk.skip(f"{tool} gives no requestState")
    return reply


def refused(reply: Reply) -> bool:
    """Whether a state was not taken: an error of the protocol."""
    return reply.message is not None and reply.message.kind is Kind.ERROR


@page.server(
    MUST,
    "server-requirements-basic-workflow/state-tampered",
    MODERN,
    expects="An error, wherever the state was changed.",
    needs=(f"tool:{TAMPERED}",),
)
async def tampered(talk: ServerTalk) -> None:
    """A state that was tampered with is refused."""
    link = await talk.open()
    params = answered(link, await sealed(talk, link, TAMPERED, {}))
    state = params["requestState"]
    for what, changed in _changed(talk, state):
        reply = await call(link, TAMPERED, {}, **{**params, "requestState": changed})
        check(refused(reply), f"a state {what} got {reply}")
    reply = await call(link, TAMPERED, {}, **params)
    check(worked(reply), f"the state as it was got {reply}")


def _changed(talk: ServerTalk, state: str) -> list[tuple[str, str]]:
    made = [
        ("with something behind it", f"{state}-TAMPERED"),
        ("with something before it", f"x{state}"),
        ("without its last character", state[:-1]),
        ("without its second half", state[: len(state) // 2]),
        ("turned round", state[::-1]),
        ("that is empty", ""),
        ("of somebody's own making", "eyJhZG1pbiI6dHJ1ZX0"),
    ]
    for _ in range(8):
        # not the last character: some of the bits of that one may say nothing
        place = talk.random.randrange(len(state) - 1)
        other = "A" if state[place] != "A" else "B"
        made.append((f"changed at {place}", f"{state[:place]}{other}{state[place + 1 :]}"))
    return [(what, changed) for what, changed in made if changed != state]


@page.server(
    MUST,
    "server-requirements-basic-workflow/state-of-nobody",
    MODERN,
    expects="An error: no such state was ever given.",
    needs=(f"tool:{TAMPERED}",),
)
async def of_nobody(talk: ServerTalk) -> None:
    """A state that the server has not made is refused in a first request."""
    link = await talk.open()
    await sealed(talk, link, TAMPERED, {})
    state = "".join(talk.random.choices("ABCDEFGHabcdefgh0123", k=120))
    for made in (state, f"{state}.{state}", '{"secret":"integrity"}'):
        reply = await call(link, TAMPERED, {}, requestState=made, inputResponses={})
        check(refused(reply), f"a state that nobody made got {reply}")


@page.server(
    MUST,
    "server-requirements-basic-workflow/state-of-other-type",
    MODERN,
    expects="An error: a state is a string.",
    needs=(f"tool:{TAMPERED}",),
)
async def other_type(talk: ServerTalk) -> None:
    """A state that is no string is refused."""
    link = await talk.open()
    params = answered(link, await sealed(talk, link, TAMPERED, {}))
    for made in (17, {"state": params["requestState"]}, [params["requestState"]], True):
        reply = await call(link, TAMPERED, {}, **{**params, "requestState": made})
        check(refused(reply), f"the state {made!r:.40} got {reply}")


@page.server(
    SHOULD,
    "server-requirements-basic-workflow/state-of-other-tool",
    MODERN,
    expects="An error, or the question of the other tool: the state is not taken.",
    needs=(f"tool:{TAMPERED}", f"tool:{STATE}"),
)
async def other_tool(talk: ServerTalk) -> None:
    """A state is refused on the call of another tool."""
    link = await talk.open()
    params = answered(link, await sealed(talk, link, STATE, {}))
    reply = await call(link, TAMPERED, {}, **params)
    check(refused(reply), f"the state of {STATE} on {TAMPERED} got {reply}")


@page.server(
    SHOULD,
    "server-requirements-basic-workflow/state-of-other-method",
    MODERN,
    expects="An error: the state is one of a call.",
    needs=(f"tool:{STATE}", "prompt:test_input_required_result_prompt"),
)
async def other_method(talk: ServerTalk) -> None:
    """A state is refused on another method."""
    link = await talk.open()
    params = answered(link, await sealed(talk, link, STATE, {}))
    prompt = {"name": "test_input_required_result_prompt", **params}
    reply = await link.request("prompts/get", prompt)
    check(refused(reply), f"the state of a call on prompts/get got {reply}")


@page.server(
    SHOULD,
    "server-requirements-basic-workflow/state-of-other-arguments",
    MODERN,
    expects="An error: the state is one of other arguments.",
    needs=(f"tool:{WITH_ARGUMENT[0]}",),
)
async def other_arguments(talk: ServerTalk) -> None:
    """A state is refused on a call with other arguments."""
    tool, arguments, other = WITH_ARGUMENT
    link = await talk.open()
    params = answered(link, await sealed(talk, link, tool, arguments))
    reply = await call(link, tool, other, **params)
    check(refused(reply), f"the state of other arguments got {reply}")
    reply = await call(link, tool, arguments, **params)
    check(not refused(reply), f"the state of the same arguments got {reply}")


@page.server(
    SHOULD,
    "server-requirements-basic-workflow/state-of-other-principal",
    MODERN,
    bindings=STREAMABLE,
    expects="An error: the state was given to somebody else.",
    needs=(f"tool:{TAMPERED}", OTHER_PRINCIPAL),
)
async def other_principal(talk: ServerTalk) -> None:
    """A state is refused when another principal presents it."""
    link = await talk.open()
    params = answered(link, await sealed(talk, link, TAMPERED, {}))
    reply = await call(await talk.somebody_else(), TAMPERED, {}, **params)
    check(refused(reply), f"the state of another principal got {reply}")
    reply = await call(link, TAMPERED, {}, **params)
    check(worked(reply), f"the state got {reply} from the principal it was given to")


@page.server(
    MUST,
    "server-requirements-basic-workflow/state-of-other-round",
    MODERN,
    expects="An error, or a question; never a result that nobody was asked for.",
    needs=("tool:test_input_required_result_multi_round",),
)
async def other_round(talk: ServerTalk) -> None:
    """A state does not bring about an answer that nobody has given."""
    tool = "test_input_required_result_multi_round"
    link = await talk.open()
    first = await call(link, talk.tool(tool), {})
    check_asks(first, tool)
    second = await call(link, tool, {}, **answered(link, first))
    if not isinstance(second.result.get("requestState"), str):
        talk.skip(f"{tool} gives no requestState")
    state = second.result["requestState"]
    reply = await call(link, tool, {}, requestState=state, inputResponses={})
    check(refused(reply) or needs_input(reply), f"a state without answers got {reply}")


@page.server(
    SHOULD,
    "server-requirements-basic-workflow/not-counted-on",
    MODERN,
    expects="The same question to the same request without anything.",
    needs=(f"tool:{ELICITATION}",),
)
async def not_counted_on(talk: ServerTalk) -> None:
    """A server does not count on a retry: the request may come again as it was."""
    link = await talk.open()
    for _ in range(3):
        reply = await call(link, talk.tool(ELICITATION), {})
        check(needs_input(reply), f"the request, once more as it was, got {reply}")


__all__ = ["page"]
