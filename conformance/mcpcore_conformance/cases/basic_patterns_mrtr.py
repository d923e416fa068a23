"""Cases of the page basic/patterns/mrtr."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from mcpcore_conformance.kit.asking import (
    QUESTIONS,
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
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind
from mcpcore_conformance.kit.model import EVERY, MODERN, OTHER_PRINCIPAL, STREAMABLE, Binding, Page
from mcpcore_conformance.kit.readings import read_alike
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.shown import CALL, PROMPT, Asker
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import Round, ask, asker, askers, check_still_asks, last_round
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/patterns/mrtr")

PREFIX = "test_input_required_result_"
ELICITATION = f"{PREFIX}elicitation"
STATE = f"{PREFIX}request_state"
SEVERAL = f"{PREFIX}multiple_inputs"
ROUNDS = f"{PREFIX}multi_round"
CAPABILITIES = f"{PREFIX}capabilities"
ABOUT = f"{PREFIX}prompt"
NEEDS = {
    "elicitation": "elicitation/create",
    "sampling": "sampling/createMessage",
    "roots": "roots/list",
}
"""Capability to what may be asked of a client that declares it."""
EVERYTHING: dict[str, Any] = {
    "roots": {},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
}


INPUT, STATEFUL = ("found:input",), ("found:state",)
case = page.server(MODERN, needs=INPUT)


async def first_round(link: Link, asked: Asker) -> Reply:
    """Make a request that is answered by questions."""
    reply = await ask(link, asked)
    check_still_asks(link.talk, asked, reply)
    return reply


def answered(link: Link, reply: Reply) -> dict[str, Any]:
    """The params that a client adds to the request in its retry."""
    made = link.again({}, reply.result)
    return {name: value for name, value in made.items() if name != "_meta"}


def accepted(**content: Any) -> dict[str, Any]:
    """What a user fills in."""
    return {"action": "accept", "content": content}


@case.must(
    "inputrequiredresult", "resultType input_required with a map of requests, or a state, or both."
)
async def shape(talk: ServerTalk) -> None:
    """A result that requires input has the shape that the page gives it."""
    found = await askers(talk, "input", SEVERAL)
    link = await talk.open(capabilities=EVERYTHING)
    for each in found:
        reply = await first_round(link, each)
        problem = result_problem(each.method, reply.result, talk.revision)
        check(not problem, f"the result of {each}: {problem}", each.method)


@case.must("server-requirements-basic-workflow", "inputRequests or requestState.")
async def one_of_both(talk: ServerTalk) -> None:
    """A result that requires input has requests, or a state."""
    found = await askers(talk, "input", ELICITATION)
    link = await talk.open(capabilities=EVERYTHING)
    for each in found:
        reply = await first_round(link, each)
        given = {"inputRequests", "requestState"} & set(reply.result)
        check(given, f"the result of {each} has neither inputRequests nor requestState")


@case.must(
    "server-requirements-basic-workflow/kinds-of-requests",
    "Elicitations, sampling and requests for roots, and nothing else.",
)
async def kinds(talk: ServerTalk) -> None:
    """What is asked for are elicitations, sampling and roots."""
    found = await askers(talk, "input", SEVERAL)
    link = await talk.open(capabilities=EVERYTHING)
    for asked in found:
        for each in embedded(await ask(link, asked)):
            check(each.method in QUESTIONS, f"{each.method!r} is asked of the client")


@case.must("server-requirements-basic-workflow", "No key of inputRequests twice.")
async def unique_keys(talk: ServerTalk) -> None:
    """The keys of the requests are unique."""

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        check(not twice, f"the key {', '.join(twice)} is there more than once")
        return dict(pairs)

    found = await askers(talk, "input", SEVERAL)
    link = await talk.open(capabilities=EVERYTHING)
    for each in found:
        reply = await first_round(link, each)
        assert reply.message is not None
        json.loads(reply.message.source.data, object_pairs_hook=look)


@case.must(
    "multi-round-trip-requests/no-requests-on-the-wire",
    "What the server wants of the client comes in results, never as a request.",
)
async def nothing_on_the_wire(talk: ServerTalk) -> None:
    """A server asks by results and sends no requests of its own."""
    found = await askers(talk, "question", SEVERAL)
    link = await talk.open()
    for each in found:
        await ask_about(link, each.method, each.params)
    for name in ("test_sampling", "test_streaming_elicitation", "test_ping_client"):
        if name in talk.features.tools:
            tool = talk.tool(name)
            await ask_by_tool(link, tool, talk.arguments(tool))
    await link.quiet(0)
    check(not link.asked, f"the server sent the request {link.asked and link.asked[0].method}")


@case.must("supported-requests/no-others", "A complete result, or an error.", needs=())
async def supported(talk: ServerTalk, link: OpenLink) -> None:
    """Only tools/call, prompts/get and resources/read are answered with input_required."""
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


@case.must("supported-requests", "input_required, and the messages once it is answered.")
async def prompts(talk: ServerTalk) -> None:
    """A prompt may ask for input, too, and is given once there are answers."""
    found = await askers(talk, "input", f"prompt:{ABOUT}")
    which = next((each for each in found if each.method == PROMPT), None)
    if which is None:
        talk.skip("the server has no prompt that asks for input")
    result = (await last_round(talk, await talk.open(), which)).result
    problem = result_problem(PROMPT, result, talk.revision)
    check(not problem, f"the result of prompts/get: {problem}")


@case.must("basic-workflow", "A complete result once all is answered.")
async def completed(talk: ServerTalk) -> None:
    """The retry with all answers, and the state, is carried out."""
    which = await asker(talk, "input", SEVERAL)
    result = (await last_round(talk, await talk.open(), which)).result
    problem = result_problem(which.method, result, talk.revision)
    check(not problem, f"the result of {which}: {problem}", which.method)


@case.should(
    "basic-workflow/several-rounds",
    "Another question in the second round, and a complete result in the third.",
    needs=(f"tool:{ROUNDS}",),
)
async def rounds(talk: ServerTalk, link: OpenLink) -> None:
    """A server may ask again, and keeps what it was told: shown by a tool that has to ask twice."""
    asked = await asker(talk, "input", ROUNDS)
    first = await first_round(link, asked)
    second = await ask(link, asked, **answered(link, first))
    check(needs_input(second), f"the second round got {second}, not another question")
    check(
        set(second.result.get("inputRequests", {})) - set(first.result.get("inputRequests", {})),
        "the second round asks for the same as the first",
    )
    third = await ask(link, asked, **answered(link, second))
    check(ended(third) and worked(third), f"the third round got {third}")


@case.should(
    "basic-workflow/independent-requests",
    "The same result on another connection: all that is needed is in the retry.",
    bindings=EVERY - {Binding.STDIO},
    needs=STATEFUL,
)
async def independent(talk: ServerTalk) -> None:
    """The retry may come on another connection."""
    asked = await asker(talk, "state", STATE)
    first, other = await talk.open(), await talk.connect()
    last = await last_round(talk, first, asked)
    again = await ask(other, asked, **await last.anew(first))
    check(ended(again) and worked(again), f"the retry on another connection got {again}")


@case.must(
    "client-requirements-basic-workflow",
    "Each retry gets the result of its own answers.",
    needs=("found:elicitation",),
)
async def calls_apart(talk: ServerTalk) -> None:
    """Calls that ask at the same time do not mix their answers."""
    asked = await asker(talk, "elicitation", ELICITATION)
    link = await talk.open()
    names = [f"kit{talk.random.getrandbits(32)}" for _ in range(4)]
    told = asked.known or await _tells(talk, link, asked)
    firsts = [await first_round(link, asked) for _ in names]
    for name, reply in reversed([*zip(names, firsts, strict=True)]):
        found = await ask(link, asked, **_named(link, reply, name))
        if told:
            check(name in repr(found.result.get("content")), f"the answer of {name} was lost")
        result = found.result if worked(found) else {}
        others = [each for each in names if each != name and each in repr(result)]
        check(not others, f"the answer of {name} became that of {others}")


async def _tells(talk: ServerTalk, link: Link, asked: Asker) -> bool:
    """Whether a result has what the user has filled in, where nothing can be mixed up."""
    word = f"kit{talk.random.getrandbits(32)}"
    reply = await ask(link, asked, **_named(link, await first_round(link, asked), word))
    return worked(reply) and word in repr(reply.result.get("content"))


def _named(link: Link, reply: Reply, name: str) -> dict[str, Any]:
    """The retry with a text in every field of every form that takes one."""
    params = answered(link, reply)
    for key, request in members(reply.result.get("inputRequests")).items():
        for field, rules in _fields(request).items():
            if rules.get("type") == "string" and not {"enum", "oneOf", "format"} & set(rules):
                params["inputResponses"][key]["content"][field] = name
    return params


def _fields(request: Any) -> dict[str, dict[str, Any]]:
    """The fields of the form that is asked for, if it is one."""
    schema = members(members(members(request).get("params")).get("requestedSchema"))
    return {name: members(rules) for name, rules in members(schema.get("properties")).items()}


def _with(link: Link, reply: Reply, answer: Any) -> dict[str, Any]:
    """The retry with one and the same answer for every request."""
    params = answered(link, reply)
    keys = reply.result.get("inputRequests", {})
    return {**params, "inputResponses": dict.fromkeys(keys, answer)}


async def _check_undeclared(link: Link, capability: str, asked: Asker) -> Reply:
    found = await ask_about(link, asked.method, asked.params)
    for each in found.requests:
        check(
            each.method != NEEDS[capability],
            f"{each.method} is asked of a client that has not declared {capability}",
        )
    return found.reply


def _undeclared(capability: str) -> None:
    async def undeclared(talk: ServerTalk) -> None:
        found = await askers(talk, capability, CAPABILITIES)
        if found[0].known and SEVERAL in talk.features.tools:
            found += await askers(talk, capability, SEVERAL)
        declared: dict[str, Any] = {name: {} for name in NEEDS if name != capability}
        link = await talk.open(capabilities=declared)
        for each in found:
            reply = await _check_undeclared(link, capability, each)
            check(reply.message is not None, f"{each} got {reply}")

    undeclared.__doc__ = f"A client that has not declared {capability} is not asked for it."
    case.must(
        f"server-requirements-basic-workflow/undeclared-{capability}",
        "Other questions, an error, or a result; never what was not declared.",
        needs=(f"found:{capability}",),
    )(undeclared)


for _name in NEEDS:
    _undeclared(_name)


@case.should("error-handling", "The question again, not an error.", needs=("found:elicitation",))
async def missing_answer(talk: ServerTalk) -> None:
    """An answer that is missing is asked for again."""
    asked = await asker(talk, "elicitation", ELICITATION)
    link = await talk.open()
    given: tuple[dict[str, Any], ...] = ({}, {"mcpcore_conformance": accepted(name="kit")})
    for answers in given:
        reply = await first_round(link, asked)
        params = {**answered(link, reply), "inputResponses": answers}
        again = await ask(link, asked, **params)
        if not asked.known and worked(again) and not needs_input(again):
            continue  # what is missing may be something that it can do without
        check(needs_input(again), f"without an answer that is needed: {again}")
        missing = set(members(reply.result.get("inputRequests"))) - set(
            again.result.get("inputRequests", {})
        )
        check(not missing, f"{', '.join(missing)} is missing and not asked for again")


@case.should("error-handling", "A complete result: what nobody asked for is ignored.")
async def further_answers(talk: ServerTalk) -> None:
    """Answers that nobody asked for are ignored."""
    asked = await asker(talk, "input", ELICITATION)
    link = await talk.open()
    params = await (await last_round(talk, link, asked)).anew(link)
    params["inputResponses"]["mcpcore_conformance"] = {"unknown": [1, 2]}
    reply = await ask(link, asked, **params)
    check(ended(reply) and worked(reply), f"with one answer more than needed: {reply}")


@case.should("error-handling", "An error of the protocol.")
async def malformed_answers(talk: ServerTalk) -> None:
    """InputResponses that is no object is an error."""
    asked = await asker(talk, "input", ELICITATION)
    link = await talk.open()
    wrong: tuple[Any, ...] = ([], "yes", 1)
    for answers in wrong:
        params = answered(link, await first_round(link, asked))
        reply = await ask(link, asked, **{**params, "inputResponses": answers})
        check(
            reply.message is not None and reply.message.kind is Kind.ERROR,
            f"inputResponses {answers!r} got {reply}",
        )


@case.should(
    "error-handling",
    "An error, or the question again; the answer is not taken for a good one.",
    needs=("found:elicitation",),
)
async def malformed_answer(talk: ServerTalk) -> None:
    """An answer that does not have the form of one is not used."""
    asked = await asker(talk, "elicitation", ELICITATION)
    link = await talk.open()
    reply = await first_round(link, asked)
    wrong: list[Any] = [12345, "kit", [], {}, {"action": "perhaps"}]
    for request in members(reply.result.get("inputRequests")).values():
        # no field of a form takes an object
        wrong += [accepted(**{name: {"kit": 17}}) for name in _fields(request)]
        wrong += [accepted(**{name: 17}) for name in _texts(request)]
    for answer in wrong:
        reply = await first_round(link, asked)
        again = await ask(link, asked, **_with(link, reply, answer))
        check(failed(again) or needs_input(again), f"the answer {answer!r} was taken: {again}")


def _texts(request: Any) -> list[str]:
    """The names of the fields that take a text."""
    return [name for name, rules in _fields(request).items() if rules.get("type") == "string"]


# State that comes back as an attacker would have it

TAMPERED = "test_input_required_result_tampered_state"
WITH_ARGUMENT = "test_elicitation"
case = page.server(MODERN, needs=STATEFUL)
server_requirements_basic_workflow = case.at("server-requirements-basic-workflow")
MOST = 3
"""Requests with a state that are tried in one case."""
VALUES = 6
"""Values in a state that can be read, each of which is changed once."""


class Sealed:
    """A request that goes on only with its state, as far as can be seen, and its last round."""

    def __init__(self, talk: ServerTalk, link: Link, last: Round, *, decides: bool) -> None:
        self.talk = talk
        self.link = link
        self.last = last
        self.asked = last.asked
        self.decides = decides
        """Whether the server does otherwise where there is no state."""

    async def params(self) -> dict[str, Any]:
        """The params of the last round, with a state that was given just now."""
        params = await self.last.anew(self.link)
        if not isinstance(params.get("requestState"), str):
            self.talk.skip(f"{self.asked.name} gives no requestState")
        return params

    def check_refused(self, reply: Reply, what: str) -> None:
        """Check that a state was not taken.

        Where nobody knows what the state is for, it may be one that does no harm: its protection
        may be left out where tampering with it causes nothing worse than a failure.
        """
        if self.asked.known:
            check(refused(reply), f"a state {what} got {reply}")
        elif self.decides:
            taken = worked(reply) and not needs_input(reply)
            check(not taken, f"{self.asked} goes on with a state {what}, and not without one")


async def sealed(talk: ServerTalk, link: Link, asked: Asker) -> Sealed:
    """See how a request goes on; not applicable if it has no state."""
    last = await last_round(talk, link, asked)
    decides = asked.known
    if not decides:
        params = await last.anew(link)
        params.pop("requestState", None)
        without = await ask(link, asked, **params)
        decides = not worked(without) or needs_input(without)
    made = Sealed(talk, link, last, decides=decides)
    await made.params()
    return made


def refused(reply: Reply) -> bool:
    """Whether a state was not taken: an error of the protocol."""
    return reply.message is not None and reply.message.kind is Kind.ERROR


@server_requirements_basic_workflow.must("An error, wherever the state was changed.")
async def state_tampered(talk: ServerTalk) -> None:
    """A state that was tampered with is refused."""
    found = await askers(talk, "state", TAMPERED)
    link = await talk.open()
    for asked in found[:MOST]:
        seal = await sealed(talk, link, asked)
        for change in _changes(talk):
            params = await seal.params()
            state = params["requestState"]
            what, changed = change(state)
            if changed is not None and not read_alike(state, changed):
                reply = await ask(link, asked, **{**params, "requestState": changed})
                seal.check_refused(reply, what)
        reply = await ask(link, asked, **await seal.params())
        check(worked(reply), f"the state as it was got {reply}")


Change = Callable[[str], tuple[str, str | None]]
"""Changes a state: says how, and to what; None if it cannot be changed so."""


def _changes(talk: ServerTalk) -> list[Change]:
    def at_random(state: str) -> tuple[str, str]:
        place = talk.random.randrange(max(len(state), 1))
        other = "A" if state[place : place + 1] not in "Aa" else "B"
        return f"changed at {place}", f"{state[:place]}{other}{state[place + 1 :]}"

    return [
        lambda state: ("with something behind it", f"{state}-TAMPERED"),
        lambda state: ("with something before it", f"x{state}"),
        lambda state: ("without its last character", state[:-1]),
        lambda state: ("without its second half", state[: len(state) // 2]),
        lambda state: ("turned round", state[::-1]),
        lambda _: ("that is empty", ""),
        lambda _: ("of somebody's own making", "eyJhZG1pbiI6dHJ1ZX0"),
        *[partial(_with_other_value, place) for place in range(VALUES)],
        *[at_random] * 8,
    ]


def _with_other_value(place: int, state: str) -> tuple[str, str | None]:
    return "in which a value was changed", _rewritten(state, place)


def _rewritten(state: str, place: int) -> str | None:
    """A state that is JSON, as it is or in base64, with one other value in it, or None."""
    padded = state + "=" * (-len(state) % 4)
    for text, encoded in ((state, False), (padded, True)):
        with suppress(ValueError):
            value = json.loads(base64.urlsafe_b64decode(text) if encoded else text)
            found = [*_others(value)]
            if place >= len(found):
                return None
            made = json.dumps(found[place])
            if not encoded:
                return made
            written = base64.urlsafe_b64encode(made.encode()).decode()
            return written if state == padded else written.rstrip("=")
    return None


def _others(value: Any) -> Iterator[Any]:
    """Values of the same form that differ from it in one place each."""
    match value:
        case dict():
            for name, each in value.items():
                yield from ({**value, name: other} for other in _others(each))
        case list():
            for place, each in enumerate(value):
                yield from ([*value[:place], other, *value[place + 1 :]] for other in _others(each))
        case bool():
            yield not value
        case int() | float():
            yield value + 1
        case str():
            yield f"{value}x"


@server_requirements_basic_workflow.must("An error: no such state was ever given.")
async def state_of_nobody(talk: ServerTalk) -> None:
    """A state that the server has not made is refused in a first request."""
    asked = await asker(talk, "state", TAMPERED)
    link = await talk.open()
    seal = await sealed(talk, link, asked)
    state = "".join(talk.random.choices("ABCDEFGHabcdefgh0123", k=120))
    answers = {} if asked.known else (await seal.params())["inputResponses"]
    for made in (state, f"{state}.{state}", '{"secret":"integrity"}'):
        reply = await ask(link, asked, requestState=made, inputResponses=answers)
        seal.check_refused(reply, "that nobody made")


@server_requirements_basic_workflow.must("An error: a state is a string.")
async def state_of_other_type(talk: ServerTalk) -> None:
    """A state that is no string is refused."""
    asked = await asker(talk, "state", TAMPERED)
    link = await talk.open()
    seal = await sealed(talk, link, asked)
    for wrap in (lambda _: 17, lambda state: {"state": state}, lambda state: [state], bool):
        params = await seal.params()
        made = wrap(params["requestState"])
        reply = await ask(link, asked, **{**params, "requestState": made})
        seal.check_refused(reply, f"that is {made!r:.40}")


@case.should(
    "server-requirements-basic-workflow/state-of-other-tool",
    "An error, or the question of the other tool: the state is not taken.",
)
async def other_tool(talk: ServerTalk) -> None:
    """A state is refused on the call of another tool."""
    first = (await askers(talk, "state", STATE))[0]
    others = await askers(talk, "state", *([TAMPERED] if first.known else []))
    await _on_another(talk, first, [each for each in others if each.method == CALL])


@server_requirements_basic_workflow.should("An error: the state is one of a call.")
async def state_of_other_method(talk: ServerTalk) -> None:
    """A state is refused on another method."""
    first = (await askers(talk, "state", STATE))[0]
    others = await askers(talk, "input", *([f"prompt:{ABOUT}"] if first.known else []))
    await _on_another(talk, first, [each for each in others if each.method != first.method])


async def _on_another(talk: ServerTalk, first: Asker, others: list[Asker]) -> None:
    """Present the state of one request on another one, which asks as well."""
    others = [each for each in others if each.name != first.name]
    need(others, "no tool, prompt or resource but one gives a requestState")
    link = await talk.open()
    seal = await sealed(talk, link, first)
    state = (await seal.params())["requestState"]
    for other in others[:MOST]:
        params = await seal.params()
        if not first.known:
            # with the answers that this one wants, so that it is for the state alone to be wrong
            params = await (await sealed(talk, link, other)).params()
        reply = await ask(link, other, **{**params, "requestState": state})
        taken = not refused(reply) if first.known else worked(reply) and not needs_input(reply)
        check(not taken, f"the state of {first} on {other} got {reply}")


@server_requirements_basic_workflow.should("An error: the state is one of other arguments.")
async def state_of_other_arguments(talk: ServerTalk) -> None:
    """A state is refused on a call with other arguments."""
    found = await askers(talk, "state", WITH_ARGUMENT)
    pairs = [(each, other) for each in found if (other := _other_arguments(talk, each))]
    need(pairs, "no tool that gives a requestState takes a text of any kind")
    link = await talk.open()
    for asked, other in pairs[:MOST]:
        seal = await sealed(talk, link, asked)
        reply = await ask(link, asked, other, **await seal.params())
        if asked.known:
            check(refused(reply), f"the state of other arguments got {reply}")
            reply = await ask(link, asked, **await seal.params())
            check(not refused(reply), f"the state of the same arguments got {reply}")
        elif seal.decides:
            taken = worked(reply) and not needs_input(reply)
            check(not taken, f"{asked} goes on with a state of other arguments")


def _other_arguments(talk: ServerTalk, asked: Asker) -> dict[str, Any]:
    """Other arguments than it has, of the same kinds; none if there may be none."""
    given = members(asked.params.get("arguments"))
    if asked.known:
        return {**given, "message": "other"}
    if asked.method != CALL:
        return {}
    fields = members(talk.features.tools[asked.name].input_schema.get("properties"))
    for name, value in given.items():
        plain = not {"enum", "const", "format", "anyOf", "oneOf"} & set(members(fields.get(name)))
        if isinstance(value, str) and plain and "maxLength" not in fields[name]:
            return {**given, name: f"{value} other"}
    return {}


@case.should(
    "server-requirements-basic-workflow/state-of-other-principal",
    "An error: the state was given to somebody else.",
    bindings=STREAMABLE,
    needs=(*STATEFUL, OTHER_PRINCIPAL),
)
async def other_principal(talk: ServerTalk) -> None:
    """A state is refused when another principal presents it."""
    asked = await asker(talk, "state", TAMPERED)
    link = await talk.open()
    seal = await sealed(talk, link, asked)
    params = await seal.params()
    reply = await ask(await talk.somebody_else(), asked, **params)
    if asked.known:
        check(refused(reply), f"the state of another principal got {reply}")
    elif seal.decides:
        taken = worked(reply) and not needs_input(reply)
        check(not taken, f"{asked} goes on with a state that was given to another principal")
    reply = await ask(link, asked, **params)
    check(worked(reply), f"the state got {reply} from the principal it was given to")


@case.must(
    "server-requirements-basic-workflow/state-of-other-round",
    "An error, or a question; never a result that nobody was asked for.",
    needs=(f"tool:{ROUNDS}",),
)
async def other_round(talk: ServerTalk) -> None:
    """A state brings about no answer that nobody has given: shown by a tool that needs one."""
    tool = ROUNDS
    link = await talk.open()
    first = await call(link, talk.tool(tool), {})
    check_asks(first, tool)
    second = await call(link, tool, {}, **answered(link, first))
    if not isinstance(second.result.get("requestState"), str):
        talk.skip(f"{tool} gives no requestState")
    state = second.result["requestState"]
    reply = await call(link, tool, {}, requestState=state, inputResponses={})
    check(refused(reply) or needs_input(reply), f"a state without answers got {reply}")


@server_requirements_basic_workflow.should(
    "The same question to the same request without anything.", needs=("found:input",)
)
async def not_counted_on(talk: ServerTalk) -> None:
    """A server does not count on a retry: the request may come again as it was."""
    asked = await asker(talk, "input", ELICITATION)
    link = await talk.open()
    for _ in range(3):
        reply = await ask(link, asked)
        if not asked.known and worked(reply) and not needs_input(reply):
            talk.skip(f"no tool asks again: {asked} has got what it wants to know")
        check(needs_input(reply), f"the request, once more as it was, got {reply}")
