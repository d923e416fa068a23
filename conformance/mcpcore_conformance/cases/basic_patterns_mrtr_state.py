"""Cases of the page basic/patterns/mrtr: state that comes back as an attacker would have it."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from mcpcore_conformance.cases.basic_patterns_mrtr import (
    ABOUT,
    ELICITATION,
    ROUNDS,
    STATE,
    answered,
)
from mcpcore_conformance.kit.asking import call, check_asks, needs_input, worked
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind
from mcpcore_conformance.kit.model import MODERN, OTHER_PRINCIPAL, STREAMABLE, Page
from mcpcore_conformance.kit.readings import read_alike
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.shown import CALL, Asker
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import Round, ask, asker, askers, last_round
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/mrtr")

TAMPERED = "test_input_required_result_tampered_state"
WITH_ARGUMENT = "test_elicitation"
STATEFUL = ("found:state",)
case = page.server(MODERN, needs=STATEFUL)
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


@case.must(
    "server-requirements-basic-workflow/state-tampered", "An error, wherever the state was changed."
)
async def tampered(talk: ServerTalk) -> None:
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


@case.must(
    "server-requirements-basic-workflow/state-of-nobody", "An error: no such state was ever given."
)
async def of_nobody(talk: ServerTalk) -> None:
    """A state that the server has not made is refused in a first request."""
    asked = await asker(talk, "state", TAMPERED)
    link = await talk.open()
    seal = await sealed(talk, link, asked)
    state = "".join(talk.random.choices("ABCDEFGHabcdefgh0123", k=120))
    answers = {} if asked.known else (await seal.params())["inputResponses"]
    for made in (state, f"{state}.{state}", '{"secret":"integrity"}'):
        reply = await ask(link, asked, requestState=made, inputResponses=answers)
        seal.check_refused(reply, "that nobody made")


@case.must(
    "server-requirements-basic-workflow/state-of-other-type", "An error: a state is a string."
)
async def other_type(talk: ServerTalk) -> None:
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


@case.should(
    "server-requirements-basic-workflow/state-of-other-method",
    "An error: the state is one of a call.",
)
async def other_method(talk: ServerTalk) -> None:
    """A state is refused on another method."""
    first = (await askers(talk, "state", STATE))[0]
    others = await askers(talk, "input", *([f"prompt:{ABOUT}"] if first.known else []))
    await _on_another(talk, first, [each for each in others if each.method != first.method])


async def _on_another(talk: ServerTalk, first: Asker, others: list[Asker]) -> None:
    """Present the state of one request on another one, which asks as well."""
    others = [each for each in others if each.name != first.name]
    if not others:
        talk.skip("no tool, prompt or resource but one gives a requestState")
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


@case.should(
    "server-requirements-basic-workflow/state-of-other-arguments",
    "An error: the state is one of other arguments.",
)
async def other_arguments(talk: ServerTalk) -> None:
    """A state is refused on a call with other arguments."""
    found = await askers(talk, "state", WITH_ARGUMENT)
    pairs = [(each, other) for each in found if (other := _other_arguments(talk, each))]
    if not pairs:
        talk.skip("no tool that gives a requestState takes a text of any kind")
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


@case.should(
    "server-requirements-basic-workflow/not-counted-on",
    "The same question to the same request without anything.",
    needs=("found:input",),
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
