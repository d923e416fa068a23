"""Cases of the page basic/patterns/mrtr for clients."""

from collections import Counter
from typing import Any

from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import text, tool
from mcpcore_conformance.kit.client_steps import (
    call,
    prompt,
    read,
    require_input,
    scripted,
    texts,
    together,
    under_way,
)
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/mrtr")
case = page.client(MODERN)
client_requirements_basic_workflow = case.at("client-requirements-basic-workflow")
supported_requests = case.at("supported-requests")

FORM = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "Really?",
        "requestedSchema": {
            "type": "object",
            "properties": {"confirmed": {"type": "boolean"}},
            "required": ["confirmed"],
        },
    },
}
SAMPLING = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "What is it?"}}],
        "maxTokens": 10,
    },
}
ROOTS = {"method": "roots/list"}
STATE = ' {"a":"\\u00e9/=", "b":1.0}\n\t=?☃ø\U0001f600 '
"""What a client that reads, trims or writes state anew would change."""
PARALLEL = 20
ROUNDS = 60

official = page.client(MODERN, needs=("elicitation",), scenario="sep-2322-client-request-state")
official_client_requirements_basic_workflow = official.at("client-requirements-basic-workflow")
TOOLS = [
    tool(f"test_mrtr_{kind}") for kind in ("echo_state", "unrelated", "no_state", "no_result_type")
]


async def _call(link: ClientLink, kind: str) -> Message:
    """Wait for one of the calls of the official scenario; others are answered."""
    while True:
        message = await link.expect("tools/call")
        if message.params.get("name") == f"test_mrtr_{kind}":
            return message
        await link.serve_one(message)


async def _round(
    talk: ClientTalk, kind: str, state: str | None
) -> tuple[ClientLink, Message, Message]:
    """Ask for input on a call of the official scenario; the call, and how it was made again."""
    talk.serving.tools = TOOLS
    link = await talk.open()
    message = await _call(link, kind)
    await require_input(link, message, {"confirm": FORM}, state)
    return link, message, await _call(link, kind)


@official_client_requirements_basic_workflow.must("requestState comes back exactly.")
async def echoes_state(talk: ClientTalk) -> None:
    """The state comes back as it was, character by character."""
    _, _, again = await _round(talk, "echo_state", STATE)
    found = again.params.get("requestState")
    check(found == STATE, f"the state {STATE!r} came back as {found!r}")


@official_client_requirements_basic_workflow.must(
    "Another id than that of the request which is made again."
)
async def new_id(talk: ClientTalk) -> None:
    """The request that is made again has an id of its own."""
    _, message, again = await _round(talk, "echo_state", STATE)
    check(again.id != message.id, f"the request was made again with the same id {again.id!r}")


@official_client_requirements_basic_workflow.must("No requestState.")
async def no_state(talk: ClientTalk) -> None:
    """Where there was no state, none comes back."""
    _, _, again = await _round(talk, "no_state", None)
    check(
        "requestState" not in again.params,
        f"the client made up the state {again.params.get('requestState')!r}",
    )


@official_client_requirements_basic_workflow.must(
    "The same params, with inputResponses and requestState added."
)
async def same_request(talk: ClientTalk) -> None:
    """It is the original request that is made again."""
    _, message, again = await _round(talk, "echo_state", STATE)
    check(again.method == message.method, f"{message.method} was made again as {again.method}")
    added = {"_meta", "inputResponses", "requestState"}
    before = {name: each for name, each in message.params.items() if name not in added}
    after = {name: each for name, each in again.params.items() if name not in added}
    check(before == after, f"the params {before} became {after}")


@official_client_requirements_basic_workflow.must("Other requests carry neither answers nor state.")
async def one_retry_only(talk: ClientTalk) -> None:
    """Answers and state go to the request that they belong to, and to no other."""
    link, message, again = await _round(talk, "echo_state", STATE)
    await link.serve_one(again)
    await talk.finished()
    for each in link.requests():
        strange = {"inputResponses", "requestState"} & each.params.keys()
        check(
            each.id in (message.id, again.id) or not strange,
            f"{each.method} of {each.params.get('name')!r} carries {sorted(strange)}",
        )


@client_requirements_basic_workflow.must(
    "inputResponses has a result for each input request, of the right shape.",
    **scripted(call(), needs=("elicitation", "sampling", "roots")),
)
async def fulfils(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """All that was asked for is there when the request is made again."""
    requests: dict[str, dict[str, Any]] = {"a form": FORM, "b": SAMPLING, "": ROOTS}
    await require_input(link, message, requests, "s")
    again = await link.expect("tools/call")
    responses: dict[str, Any] = again.params.get("inputResponses", {})
    check(isinstance(responses, dict), f"inputResponses is {responses!r}")
    check(responses.keys() == requests.keys(), f"there are answers to {[*responses]}")
    for key, asked in requests.items():
        problem = _answer_problem(str(asked["method"]), responses[key], link)
        check(not problem, f"the answer to {asked['method']}: {problem}")
    await link.serve_one(again)
    await talk.good_step()


def _answer_problem(method: str, answer: Any, link: ClientLink) -> str:
    if not isinstance(answer, dict):
        return f"it is {answer!r}"
    members: dict[str, dict[str, Any]] = {
        "elicitation/create": {"action": str},
        "sampling/createMessage": {"role": str, "content": (dict, list), "model": str},
        "roots/list": {"roots": list},
    }
    for name, kind in members[method].items():
        if not isinstance(answer.get(name), kind):
            return f"{name} is {answer.get(name)!r}"
    return result_problem(method, answer, link.revision)


@client_requirements_basic_workflow.may(
    "The request is made again at once, with the state and without inputResponses.",
    **scripted(call()),
)
async def state_only(link: CalledLink, message: Call) -> None:
    """A server that asks for nothing but gives state may be asked again at once."""
    await require_input(link, message, None, STATE)
    again = await link.expect("tools/call")
    found = again.params.get("requestState")
    check(found == STATE, f"the state {STATE!r} came back as {found!r}")
    check(not again.params.get("inputResponses"), "it came with answers that nobody asked for")


@client_requirements_basic_workflow.must(
    "requestState, as an empty string.", **scripted(call(), needs=("roots",))
)
async def empty_state(link: CalledLink, message: Call) -> None:
    """An empty string is a state like any other."""
    await require_input(link, message, {"r": ROOTS}, "")
    found = (await link.expect("tools/call")).params.get("requestState")
    check(found == "", f"the empty state came back as {found!r}")


@client_requirements_basic_workflow.must(
    "No requestState after the second round.", **scripted(call(), needs=("roots",))
)
async def state_of_its_round(link: CalledLink, message: Call) -> None:
    """The state of one round does not come back after another that has none."""
    await require_input(link, message, {"r": ROOTS}, STATE)
    await require_input(link, await link.expect("tools/call"), {"r": ROOTS})
    params = (await link.expect("tools/call")).params
    check("requestState" not in params, "the state of the first round came after the second")


@client_requirements_basic_workflow.may(
    f"The client gives up before {ROUNDS} rounds.", **scripted(call())
)
async def bounded(talk: ClientTalk) -> None:
    """A server that asks again and again does not keep a client busy for ever."""
    talk.serving.by["tools/call"] = lambda message: {
        "resultType": "input_required",
        "requestState": "again",
    }
    talk.serving.hold.discard("tools/call")
    link = await talk.open()
    await link.until(lambda: len(link.requests("tools/call")) >= ROUNDS or talk.ended)
    rounds = len(link.requests("tools/call"))
    check(rounds < ROUNDS, f"after {rounds} rounds the client still goes on")
    step = await talk.step()
    check(not step.good, f"the call ended with {step}")


@supported_requests.must(
    "Each is made again with the answers, and its result reaches the caller.",
    **scripted(call(), prompt("greet", {"who": "kit"}), read("test://kit/one"), needs=("roots",)),
)
async def all_three(talk: ClientTalk, link: ReadyLink) -> None:
    """Input may be asked for by tools/call, prompts/get and resources/read."""
    for method in ("tools/call", "prompts/get", "resources/read"):
        await require_input(link, await link.expect(method), {"r": ROOTS}, method)
        again = await link.expect(method)
        check(again.params.get("requestState") == method, f"{method} lost its state")
        check("r" in again.params.get("inputResponses", {}), f"{method} lost its answers")
        await link.serve_one(again)
    report = await talk.report()
    bad = [str(each) for each in report.steps if not each.good]
    check(not bad and len(report.steps) == 3, f"the steps ended with {bad}")


@client_requirements_basic_workflow.must(
    "Each call comes again with its own state.",
    **scripted(
        together(*[call(arguments={"text": str(n)}) for n in range(PARALLEL)]), needs=("roots",)
    ),
)
async def parallel(talk: ClientTalk, link: ReadyLink) -> None:
    """Twenty calls that all need input at the same time do not mix up their states."""
    asked: set[str] = set()
    left = most = PARALLEL
    while left:
        held = await under_way(link, "tools/call", min(left, most))
        most = len(held)
        talk.random.shuffle(held)
        for message in held:
            own = message.params["arguments"]["text"]
            if own not in asked:
                asked.add(own)
                await require_input(link, message, {f"r{own}": ROOTS}, f"state {own}")
                continue
            state = message.params.get("requestState")
            check(state == f"state {own}", f"call {own} came again with {state!r}")
            keys = [*message.params.get("inputResponses", {})]
            check(keys == [f"r{own}"], f"call {own} came again with answers to {keys}")
            await link.respond(message, text(own))
            left -= 1
    step = await talk.step()
    found = [texts(each.result) if each.good else [str(each)] for each in step.steps]
    check(found == [[str(n)] for n in range(PARALLEL)], f"the calls got {found}")


@case.may(
    "server-requirements-basic-workflow",
    "No answer is made up; the call fails.",
    **scripted(call(timeout=5), declare=[]),
)
async def refuses_undeclared(link: CalledLink, message: Call) -> None:
    """A client that is asked for what it did not declare does not answer it."""
    await require_input(link, message, {"r": ROOTS}, "s")
    again = await link.wait_for("tools/call", within=1.0)
    made_up = again is not None and "r" in again.params.get("inputResponses", {})
    check(not made_up, "undeclared roots/list was answered")


@supported_requests.may(
    "The request fails, and is not made again.",
    **scripted({"do": "list", "what": "prompts"}, needs=("roots",)),
)
async def refuses_elsewhere(talk: ClientTalk) -> None:
    """Other requests than those three are not made again with answers."""
    talk.serving.hold.add("prompts/list")
    link = await talk.open()
    await require_input(link, await link.expect("prompts/list"), {"r": ROOTS}, "s")
    step = await talk.step()
    check(not step.good, f"the list ended with {step}")
    lists = link.requests("prompts/list")
    check(all("inputResponses" not in each.params for each in lists), "the list was asked again")


# Many rounds at the same time

CALLS = 100
MANY = 2
KEY = "asked"
"""What every call asks for, so that only the state tells the calls apart."""


@page.client(
    MODERN,
    **scripted(
        together(*[call(arguments={"text": str(n)}) for n in range(CALLS)]), needs=("roots",)
    ),
).must(
    "client-requirements-basic-workflow",
    "Each call comes again with the state of its own round, each time with another id.",
)
async def hundred(talk: ClientTalk) -> None:
    """A hundred calls that go through two input rounds each, at the same time, stay apart."""
    link = await talk.open()
    rounds: Counter[str] = Counter()
    before: dict[str, object] = {}
    left = most = CALLS
    while left:
        held = await under_way(link, "tools/call", min(left, most))
        most = len(held)
        ids = {message.id for message in held}
        check(len(ids) == len(held), f"{len(held)} requests under way have {len(ids)} ids")
        talk.random.shuffle(held)
        for message in held:
            own = message.params["arguments"]["text"]
            check(message.id != before.get(own), f"the id {message.id!r} was used again")
            before[own] = message.id
            done = rounds[own]
            state = message.params.get("requestState")
            wanted = f"call {own} round {done}" if done else None
            check(state == wanted, f"call {own} came with {state!r} after {done} rounds")
            keys = [*message.params.get("inputResponses", {})]
            check(keys == [KEY] * bool(done), f"call {own} came with answers to {keys}")
            if done == MANY:
                await link.respond(message, text(own))
                left -= 1
                continue
            rounds[own] += 1
            asked = {KEY: {"method": "roots/list", "params": {}}}
            await require_input(link, message, asked, f"call {own} round {done + 1}")
    step = await talk.step()
    found = [texts(each.result) if each.good else [str(each)] for each in step.steps]
    wrong = [(n, each) for n, each in enumerate(found) if each != [str(n)]]
    check(len(found) == CALLS, f"{len(found)} calls of {CALLS} were reported")
    check(not wrong, f"of the calls these got something else: {wrong[:5]}")
