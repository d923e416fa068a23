"""Cases of the page client/sampling, as a server has to follow it."""

from typing import Any

from mcpcore.spec.methods import lookup
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import (
    Asked,
    ask_about,
    asking_link,
    failed,
    listen_too,
    needs_input,
    worked,
)
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import LEGACY, SINCE_2025_11_25, STREAMABLE, Page
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import asker, askers, own_questions, questioned
from mcpcore_conformance.kit.usable import objects, whole
from mcpcore_conformance.kit.verdicts import check

page = Page("client/sampling")
transports = Page("basic/transports")

METHOD = "sampling/createMessage"
TOOL = "test_sampling"
WITH_TOOLS = "test_sampling_with_tools"
SAMPLES = ("found:sampling",)
case = page.server(needs=SAMPLES)
ASKING = (
    (TOOL, METHOD),
    ("test_elicitation", "elicitation/create"),
    ("test_list_roots", "roots/list"),
)
"""Tools of the fixture that ask, and what they ask."""


async def asked(
    talk: ServerTalk,
    capabilities: dict[str, Any] | None = None,
    answer: Any = None,
    tool: str = TOOL,
) -> tuple[Link, Asked]:
    """Have the model asked, by a tool of the fixture or what was found.

    ``answer`` is the client's, a good one by default.
    """
    by = {} if answer is None else {METHOD: lambda _: answer}
    declared = {"sampling": {}} if capabilities is None else capabilities
    which = await asker(talk, "sampling", tool)
    return await questioned(talk, which, METHOD, declared, Answering(by=by))


@case.must(
    "creating-messages",
    "sampling/createMessage with messages, maxTokens and what the revision has besides.",
)
async def shape(talk: ServerTalk) -> None:
    """A request for sampling has the shape of its revision."""
    _, found = await asked(talk)
    problem = params_problem(METHOD, found.one(METHOD).params, talk.revision)
    check(not problem, f"the params of {METHOD}: {problem}")


@case.should("messages", "At least one message, and an upper bound of at least one token.")
async def content(talk: ServerTalk) -> None:
    """A request for sampling has something to say, and leaves room for an answer."""
    _, found = await asked(talk)
    params = found.one(METHOD).params
    check(params.get("messages"), "there are no messages")
    check(whole(params.get("maxTokens")) >= 1, f"maxTokens is {params.get('maxTokens')!r}")


@case.must("capabilities", "No request, and an error or a result that says so.")
async def declared_only(talk: ServerTalk) -> None:
    """A client that has not declared sampling is not asked for it."""
    link, found = await asked(talk, {})
    check(not found.of(METHOD), f"{METHOD} is asked of a client that has not declared it")
    check(found.reply.message is not None, f"the call got {found.reply}")
    await link.alive()


@case.must(
    "tools-in-sampling/declared-only", "No tools in the request, or no request.", SINCE_2025_11_25
)
async def tools_declared_only(talk: ServerTalk) -> None:
    """Tools are not offered to a client that has not declared sampling.tools."""
    _, found = await asked(talk, {"sampling": {}}, tool=WITH_TOOLS)
    for each in found.of(METHOD):
        extra = sorted({"tools", "toolChoice"} & set(each.params))
        check(not extra, f"{', '.join(extra)} for a client that has not declared sampling.tools")


@case.must(
    "tools-in-sampling/shape",
    "Tools with names and input schemas, and a choice that the page has.",
    SINCE_2025_11_25,
)
async def tools_shape(talk: ServerTalk) -> None:
    """A request with tools has the shape of its revision."""
    _, found = await asked(talk, {"sampling": {"tools": {}}}, tool=WITH_TOOLS)
    params = found.one(METHOD).params
    if WITH_TOOLS not in talk.features.tools and not params.get("tools"):
        talk.skip("no tool that samples gives the model tools")
    problem = params_problem(METHOD, params, talk.revision)
    check(not problem, f"the params of {METHOD}: {problem}")
    check(params.get("tools"), "the client can use tools, and gets none")


@case.must(
    "tool-use-and-result-balance",
    "After the uses of tools a message of the user, with a result for each and nothing else.",
    SINCE_2025_11_25,
)
async def tool_results(talk: ServerTalk) -> None:
    """A model that uses tools is told the result of each."""
    which = await asker(talk, "sampling", WITH_TOOLS)
    declared = {**which.besides(METHOD), "sampling": {"tools": {}}}
    link = await asking_link(talk, declared, Answering({METHOD: _uses}))
    found = await ask_about(link, which.method, which.params, rounds=2)
    messages = [objects(each.params.get("messages")) for each in found.of(METHOD)]
    told = [each for each in messages if "kit-use-1" in repr(each)]
    for each in told or talk.skip("no tool tells the model what came of its uses"):
        uses = [n for n, one in enumerate(each) if "'tool_use'" in repr(one.get("content"))]
        check(uses, "results came without their uses")
        after = each[uses[-1] + 1] if uses[-1] + 1 < len(each) else {}
        blocks = after.get("content")
        blocks = blocks if isinstance(blocks, list) else [blocks]
        ids = sorted(str(block.get("toolUseId")) for block in objects(blocks))
        check(after.get("role") == "user", f"after the uses comes {after!r:.80}")
        check(ids == ["kit-use-1", "kit-use-2"], f"after two uses there are results for {ids}")


def _uses(message: Message) -> dict[str, Any]:
    """An answer that uses a tool twice, where there are tools and none was used."""
    offered = objects(message.params.get("tools"))
    said = {"role": "assistant", "model": "kit", "stopReason": "toolUse"}
    if not offered or "kit-use-1" in repr(message.params):
        text = {"type": "text", "text": "said by the kit"}
        return {**said, "content": text, "stopReason": "endTurn"}
    use = {"type": "tool_use", "name": offered[0].get("name"), "input": {"a": 2, "b": 2}}
    return {**said, "content": [{**use, "id": f"kit-use-{n}"} for n in (1, 2)]}


@case.should("capabilities", "No includeContext but none.", SINCE_2025_11_25)
async def context(talk: ServerTalk) -> None:
    """Context is not asked for of a client that has not declared sampling.context."""
    _, found = await asked(talk)
    wanted = found.one(METHOD).params.get("includeContext", "none")
    check(wanted == "none", f"includeContext is {wanted!r}, sampling.context is not declared")


@case.should("creating-messages", "The call goes on once the client has answered.")
async def answer_used(talk: ServerTalk) -> None:
    """What the client's model says reaches the tool."""
    _, found = await asked(talk)
    found.one(METHOD)
    known = TOOL in talk.features.tools
    if not known and not (worked(found.reply) and not needs_input(found.reply)):
        talk.skip(f"no tool takes what the kit makes up: with a good answer, {found.reply}")
    check(worked(found.reply), f"with a good answer: {found.reply}")
    check(not needs_input(found.reply), "the answer did not suffice")
    # what any other tool makes of it is its own affair
    said = not known or "said by the kit" in repr(found.reply.result)
    check(said, "what the model said is in no result")


@case.must(
    "error-handling",
    "An end of the call, better not as a success, and a server that goes on.",
    LEGACY,
)
async def refusal(talk: ServerTalk) -> None:
    """A user who refuses ends the call and nothing else."""
    error = {"code": -1, "message": "User rejected sampling request"}
    link, found = await asked(talk, answer={"error": error})
    found.one(METHOD)
    check(found.reply.message is not None, f"after the client's error the call got {found.reply}")
    # what a tool makes of a refusal is its own affair
    known = TOOL in talk.features.tools
    talk.should(not known or failed(found.reply), "the user refused, and the call succeeds")
    await link.alive()


@case.should("security-considerations", "An error, a result with isError, or the question again.")
async def malformed_answer(talk: ServerTalk) -> None:
    """An answer that has not the form of one is not used, and does no harm."""
    text = {"type": "text", "text": "said by the kit"}
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"role": "assistant", "content": "said by the kit", "model": "kit"},
        {"role": "robot", "content": text, "model": "kit"},
        {"role": "assistant", "content": text, "model": 17},
    )
    for answer in wrong:
        link, found = await asked(talk, answer=answer)
        found.one(METHOD)
        taken = not failed(found.reply) and not needs_input(found.reply)
        check(found.reply.message is not None, f"after the answer {answer}: {found.reply}")
        check(not taken, f"the answer {answer} was taken")
        await link.alive()


@transports.server(LEGACY, bindings=STREAMABLE, needs=("found:question",)).should(
    "listening-for-messages-from-the-server/requests-on-the-stream-of-the-call",
    "The request comes on the stream of the call that it is about, not on that of GET.",
)
async def right_stream(talk: ServerTalk) -> None:
    """What a call asks of the client comes on the stream of that call."""
    there = [
        name
        for name, method in ASKING
        if name in talk.features.tools and lookup(method, "server", talk.revision) is not None
    ]
    known = [await asker(talk, "question", name) for name in there]
    for each in known or await askers(talk, "question"):
        link = await talk.open(answering=Answering())
        await listen_too(link)
        found = await own_questions(link, each)
        if not found:
            talk.note(f"{each} did not ask")
        for one in found:
            what = one.message.method
            check(one.placed, f"{what} came on another stream than that of the call")
