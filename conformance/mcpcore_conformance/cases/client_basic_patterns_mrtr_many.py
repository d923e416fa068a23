"""Cases of the page basic/patterns/mrtr for clients: many rounds at the same time."""

from collections import Counter

from mcpcore_conformance.kit.client_serving import text
from mcpcore_conformance.kit.client_steps import (
    call,
    require_input,
    scripted,
    texts,
    together,
    under_way,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/mrtr")

CALLS = 100
ROUNDS = 2
KEY = "asked"
"""What every call asks for, so that only the state tells the calls apart."""


@page.client(
    MODERN,
    **scripted(
        together(*[call(arguments={"text": str(n)}) for n in range(CALLS)]), needs=("roots",)
    ),
).must(
    "client-requirements-basic-workflow/client-hundred",
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
            if done == ROUNDS:
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
