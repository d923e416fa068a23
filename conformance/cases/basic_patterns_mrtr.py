"""Cases of the page basic/patterns/mrtr: what is asked for, and what comes of the answers."""

import json
from typing import Any

from conformance.kit.asking import (
    QUESTIONS,
    Asked,
    ask_about,
    ask_by_tool,
    call,
    check_asks,
    embedded,
    ended,
    failed,
    needs_input,
    worked,
)
from conformance.kit.link import Link
from conformance.kit.messages import Kind
from conformance.kit.model import EVERY, MODERN, MUST, SHOULD, Binding, Page
from conformance.kit.reply import Reply
from conformance.kit.shapes import result_problem
from conformance.kit.talk import ServerTalk
from conformance.kit.verdicts import check

page = Page("basic/patterns/mrtr")

PREFIX = "test_input_required_result_"
ELICITATION = f"{PREFIX}elicitation"
STATE = f"{PREFIX}request_state"
SEVERAL = f"{PREFIX}multiple_inputs"
ROUNDS = f"{PREFIX}multi_round"
CAPABILITIES = f"{PREFIX}capabilities"
PROMPT = f"{PREFIX}prompt"
NEEDS = {
    "elicitation": "elicitation/create",
    "sampling": "sampling/createMessage",
    "roots": "roots/list",
}
"""Capability to what may be asked of a client that declares it."""


async def first_round(link: Link, tool: str) -> Reply:
    """Call a tool that asks for input; the result has the shape of its revision."""
    reply = await call(link, tool, {})
    check_asks(reply, tool)
    problem = result_problem("tools/call", reply.result, link.revision)
    check(not problem, f"the result of {tool}: {problem}", "tools/call")
    return reply


def answered(link: Link, reply: Reply) -> dict[str, Any]:
    """The params that a client adds to the request in its retry."""
    made = link.again({}, reply.result)
    return {name: value for name, value in made.items() if name != "_meta"}


def accepted(**content: Any) -> dict[str, Any]:
    """What a user fills in."""
    return {"action": "accept", "content": content}


@page.server(
    MUST,
    "inputrequiredresult/shape",
    MODERN,
    expects="resultType input_required with a map of requests, or a state, or both.",
    needs=(f"tool:{SEVERAL}",),
)
async def shape(talk: ServerTalk) -> None:
    """A result that requires input has the shape that the page gives it."""
    await first_round(await talk.open(), SEVERAL)


@page.server(
    MUST,
    "server-requirements-basic-workflow/one-of-both",
    MODERN,
    expects="inputRequests or requestState.",
    needs=(f"tool:{ELICITATION}",),
)
async def one_of_both(talk: ServerTalk) -> None:
    """A result that requires input has requests, or a state."""
    reply = await call(await talk.open(), talk.tool(ELICITATION), {})
    check_asks(reply, ELICITATION)
    found = {"inputRequests", "requestState"} & set(reply.result)
    check(found, "the result has neither inputRequests nor requestState")


@page.server(
    MUST,
    "server-requirements-basic-workflow/kinds-of-requests",
    MODERN,
    expects="Elicitations, sampling and requests for roots, and nothing else.",
    needs=(f"tool:{SEVERAL}",),
)
async def kinds(talk: ServerTalk) -> None:
    """What is asked for are elicitations, sampling and roots."""
    reply = await call(await talk.open(), talk.tool(SEVERAL), {})
    for each in embedded(reply):
        check(each.method in QUESTIONS, f"{each.method!r} is asked of the client")


@page.server(
    MUST,
    "server-requirements-basic-workflow/unique-keys",
    MODERN,
    expects="No key of inputRequests twice.",
    needs=(f"tool:{SEVERAL}",),
)
async def unique_keys(talk: ServerTalk) -> None:
    """The keys of the requests are unique."""
    reply = await call(await talk.open(), talk.tool(SEVERAL), {})
    check_asks(reply, SEVERAL)
    assert reply.message is not None

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        check(not twice, f"the key {', '.join(twice)} is there more than once")
        return dict(pairs)

    json.loads(reply.message.source.data, object_pairs_hook=look)


@page.server(
    MUST,
    "multi-round-trip-requests/no-requests-on-the-wire",
    MODERN,
    expects="What the server wants of the client comes in results, never as a request.",
    needs=(f"tool:{SEVERAL}",),
)
async def nothing_on_the_wire(talk: ServerTalk) -> None:
    """A server asks by results and sends no requests of its own."""
    link = await talk.open()
    await ask_by_tool(link, talk.tool(SEVERAL))
    for name in ("test_sampling", "test_streaming_elicitation", "test_ping_client"):
        if name in talk.features.tools:
            tool = talk.tool(name)
            await ask_by_tool(link, tool, talk.arguments(tool))
    await link.quiet(0)
    check(not link.asked, f"the server sent the request {link.asked and link.asked[0].method}")


@page.server(
    MUST,
    "supported-requests/no-others",
    MODERN,
    expects="A complete result, or an error.",
)
async def supported(talk: ServerTalk) -> None:
    """Only tools/call, prompts/get and resources/read are answered with input_required."""
    link = await talk.open()
    requests: list[tuple[str, dict[str, Any]]] = [("server/discover", {})]
    for capability, methods in (
        ("tools", ("tools/list",)),
        ("resources", ("resources/list", "resources/templates/list")),
        ("prompts", ("prompts/list",)),
    ):
        if talk.features.declares(capability):
            requests += [(method, {}) for method in methods]
    if talk.features.declares("completions") and talk.features.prompts:
        reference = {"type": "ref/prompt", "name": talk.features.prompts[0]["name"]}
        argument = {"name": "kit", "value": ""}
        requests.append(("completion/complete", {"ref": reference, "argument": argument}))
    for method, params in requests:
        reply = await link.request(method, params)
        check(not needs_input(reply), f"{method} was answered with input_required")


@page.server(
    MUST,
    "supported-requests/prompts",
    MODERN,
    expects="input_required, and the messages once it is answered.",
    needs=(f"prompt:{PROMPT}",),
)
async def prompts(talk: ServerTalk) -> None:
    """A prompt may ask for input, too, and is given once there are answers."""
    link = await talk.open()
    asked = await ask_about(link, "prompts/get", {"name": PROMPT})
    check(asked.requests, f"{PROMPT} asked for nothing: {asked.reply}")
    problem = result_problem("prompts/get", asked.reply.result, talk.revision)
    check(not problem, f"the result of prompts/get: {problem}")
    check(ended(asked.reply), "the answers did not suffice")


@page.server(
    MUST,
    "basic-workflow/completed",
    MODERN,
    expects="A complete result once all is answered.",
    needs=(f"tool:{SEVERAL}",),
)
async def completed(talk: ServerTalk) -> None:
    """The retry with all answers, and the state, is carried out."""
    asked = await ask_by_tool(await talk.open(), talk.tool(SEVERAL))
    check(asked.requests, "nothing was asked for")
    check(ended(asked.reply) and worked(asked.reply), f"with all answers: {asked.reply}")
    problem = result_problem("tools/call", asked.reply.result, talk.revision)
    check(not problem, f"the result of {SEVERAL}: {problem}", "tools/call")


@page.server(
    SHOULD,
    "basic-workflow/several-rounds",
    MODERN,
    expects="Another question in the second round, and a complete result in the third.",
    needs=(f"tool:{ROUNDS}",),
)
async def rounds(talk: ServerTalk) -> None:
    """A server may ask again for something else, and keeps what it was told."""
    link = await talk.open()
    first = await first_round(link, ROUNDS)
    second = await call(link, ROUNDS, {}, **answered(link, first))
    check(needs_input(second), f"the second round got {second}, not another question")
    check(
        set(second.result.get("inputRequests", {})) - set(first.result.get("inputRequests", {})),
        "the second round asks for the same as the first",
    )
    third = await call(link, ROUNDS, {}, **answered(link, second))
    check(ended(third) and worked(third), f"the third round got {third}")


@page.server(
    SHOULD,
    "basic-workflow/independent-requests",
    MODERN,
    expects="The same result on another connection: all that is needed is in the retry.",
    needs=(f"tool:{STATE}",),
    bindings=EVERY - {Binding.STDIO},
)
async def independent(talk: ServerTalk) -> None:
    """The retry may come on another connection."""
    first, other = await talk.open(), await talk.connect()
    reply = await first_round(first, STATE)
    again = await call(other, STATE, {}, **answered(first, reply))
    check(ended(again) and worked(again), f"the retry on another connection got {again}")


@page.server(
    MUST,
    "client-requirements-basic-workflow/calls-apart",
    MODERN,
    expects="Each retry gets the result of its own answers.",
    needs=(f"tool:{ELICITATION}",),
)
async def calls_apart(talk: ServerTalk) -> None:
    """Calls that ask at the same time do not mix their answers."""
    link = await talk.open()
    names = [f"kit{talk.random.getrandbits(32)}" for _ in range(4)]
    firsts = [await first_round(link, ELICITATION) for _ in names]
    for name, reply in reversed([*zip(names, firsts, strict=True)]):
        params = _with(link, reply, accepted(name=name))
        found = await call(link, ELICITATION, {}, **params)
        check(name in repr(found.result.get("content")), f"the answer of {name} was lost")
        others = [each for each in names if each != name and each in repr(found.result)]
        check(not others, f"the answer of {name} became that of {others}")


def _with(link: Link, reply: Reply, answer: Any) -> dict[str, Any]:
    """The retry with one and the same answer for every request."""
    params = answered(link, reply)
    keys = reply.result.get("inputRequests", {})
    return {**params, "inputResponses": dict.fromkeys(keys, answer)}


async def _asked_without(talk: ServerTalk, capability: str, tool: str) -> Asked:
    declared: dict[str, Any] = {name: {} for name in NEEDS if name != capability}
    link = await talk.open(capabilities=declared)
    asked = await ask_by_tool(link, talk.tool(tool))
    for each in asked.requests:
        check(
            each.method != NEEDS[capability],
            f"{each.method} is asked of a client that has not declared {capability}",
        )
    return asked


def _undeclared(capability: str) -> None:
    async def undeclared(talk: ServerTalk) -> None:
        await _asked_without(talk, capability, CAPABILITIES)
        if SEVERAL in talk.features.tools:
            asked = await _asked_without(talk, capability, SEVERAL)
            check(asked.reply.message is not None, f"{SEVERAL} got {asked.reply}")

    undeclared.__doc__ = f"A client that has not declared {capability} is not asked for it."
    page.server(
        MUST,
        f"server-requirements-basic-workflow/undeclared-{capability}",
        MODERN,
        expects="Other questions, an error, or a result; never what was not declared.",
        needs=(f"tool:{CAPABILITIES}",),
    )(undeclared)


for _name in NEEDS:
    _undeclared(_name)


@page.server(
    SHOULD,
    "error-handling/missing-answer",
    MODERN,
    expects="The question again, not an error.",
    needs=(f"tool:{ELICITATION}",),
)
async def missing_answer(talk: ServerTalk) -> None:
    """An answer that is missing is asked for again."""
    link = await talk.open()
    reply = await first_round(link, ELICITATION)
    given: tuple[dict[str, Any], ...] = ({}, {"mcpcore_conformance": accepted(name="kit")})
    for answers in given:
        params = {**answered(link, reply), "inputResponses": answers}
        again = await call(link, ELICITATION, {}, **params)
        check(needs_input(again), f"without an answer that is needed: {again}")
        missing = set(reply.result["inputRequests"]) - set(again.result.get("inputRequests", {}))
        check(not missing, f"{', '.join(missing)} is missing and not asked for again")


@page.server(
    SHOULD,
    "error-handling/further-answers",
    MODERN,
    expects="A complete result: what nobody asked for is ignored.",
    needs=(f"tool:{ELICITATION}",),
)
async def further_answers(talk: ServerTalk) -> None:
    """Answers that nobody asked for are ignored."""
    link = await talk.open()
    params = answered(link, await first_round(link, ELICITATION))
    params["inputResponses"]["mcpcore_conformance"] = {"unknown": [1, 2]}
    reply = await call(link, ELICITATION, {}, **params)
    check(ended(reply) and worked(reply), f"with one answer more than needed: {reply}")


@page.server(
    SHOULD,
    "error-handling/malformed-answers",
    MODERN,
    expects="An error of the protocol.",
    needs=(f"tool:{ELICITATION}",),
)
async def malformed_answers(talk: ServerTalk) -> None:
    """InputResponses that is no object is an error."""
    link = await talk.open()
    params = answered(link, await first_round(link, ELICITATION))
    wrong: tuple[Any, ...] = ([], "yes", 1)
    for answers in wrong:
        reply = await call(link, ELICITATION, {}, **{**params, "inputResponses": answers})
        check(
            reply.message is not None and reply.message.kind is Kind.ERROR,
            f"inputResponses {answers!r} got {reply}",
        )


@page.server(
    SHOULD,
    "error-handling/malformed-answer",
    MODERN,
    expects="An error, or the question again; the answer is not taken for a good one.",
    needs=(f"tool:{ELICITATION}",),
)
async def malformed_answer(talk: ServerTalk) -> None:
    """An answer that does not have the form of one is not used."""
    link = await talk.open()
    reply = await first_round(link, ELICITATION)
    wrong: tuple[Any, ...] = (12345, "kit", [], {}, {"action": "perhaps"}, accepted(name=17))
    for answer in wrong:
        again = await call(link, ELICITATION, {}, **_with(link, reply, answer))
        check(
            failed(again) or needs_input(again),
            f"the answer {answer!r} was taken: {again}",
        )


__all__ = ["page"]
