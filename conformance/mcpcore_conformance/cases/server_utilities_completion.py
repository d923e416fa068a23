"""Cases of the page server/utilities/completion."""

import re
from typing import Annotated, Any

from mcpcore.spec.methods import lookup
from mcpcore_conformance.kit.asking import capabilities_of
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INTERNAL_ERROR, INVALID_PARAMS, Kind
from mcpcore_conformance.kit.model import SINCE_2025_03_26, SINCE_2025_06_18, Page
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.usable import objects
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check, need

page = Page("server/utilities/completion")
case = page.server()
completion_results = case.at("completion-results")
error_handling = case.at("error-handling")

COMPLETE = "completion/complete"
DECLARED = SINCE_2025_03_26
WITH_CONTEXT = SINCE_2025_06_18
MOST = 100
"""Values in one answer."""
Ref = dict[str, Any]


def _prompts(talk: ServerTalk) -> list[tuple[Ref, str]]:
    """Every argument of every prompt: what is referred to, and the argument's name."""
    return [
        ({"type": "ref/prompt", "name": prompt["name"]}, str(argument.get("name")))
        for prompt in talk.features.prompts
        for argument in objects(prompt.get("arguments"))
    ]


def _templates(talk: ServerTalk) -> list[tuple[Ref, str]]:
    """Every plain variable of every template."""
    return [
        ({"type": "ref/resource", "uri": template["uriTemplate"]}, name)
        for template in talk.features.templates
        for name in re.findall(r"\{(\w+)\}", str(template.get("uriTemplate")))
    ]


def _targets(talk: ServerTalk) -> list[tuple[Ref, str]]:
    """What can be completed; the case does not apply if there is nothing, or no completion."""
    row = lookup(COMPLETE, "client", talk.revision)
    if row is not None and row.capability and not talk.features.declares(row.capability):
        talk.skip("the server does not declare completions")
    found = [*_prompts(talk), *_templates(talk)]
    return found or talk.skip("there is nothing to be completed")


async def _complete(
    talk: ServerTalk, link: Link, ref: Ref, name: str, value: str, **more: Any
) -> dict[str, Any]:
    """The completion of one argument."""
    params = {"ref": ref, "argument": {"name": name, "value": value}, **more}
    reply = await link.request(COMPLETE, params)
    if not talk.revision.handshake or talk.features.declares("completions"):
        found = reply.result.get("completion")
    elif not reply.good:
        # where there is no capability for it, a server need not have completion
        talk.skip(f"{COMPLETE} got {reply}")
    else:
        found = reply.result.get("completion")
    if not isinstance(found, dict):
        raise Broken(f"completion is {found!r}", COMPLETE)
    values, total = found.get("values"), found.get("total", 0)
    check(isinstance(values, list), f"values is {values!r}", COMPLETE)
    check(isinstance(total, int), f"total is {total!r}", COMPLETE)
    return found


@case.must(
    "capabilities", "completions is among the capabilities of a server that completes.", DECLARED
)
async def declared(talk: ServerTalk, link: OpenLink) -> None:
    """A server that completes declares it."""
    capabilities = await capabilities_of(link)
    refs = [*_prompts(talk), *_templates(talk)] or [({"type": "ref/prompt", "name": "kit"}, "x")]
    ref, name = refs[0]
    params = {"ref": ref, "argument": {"name": name, "value": ""}}
    reply = await link.request(COMPLETE, params)
    completes = reply.good
    check("completions" in capabilities or not completes, "it completes, and does not declare it")


@completion_results.must(
    "values, a list of strings; perhaps an integer total and a boolean hasMore."
)
async def shape(talk: ServerTalk, targets: Annotated[list[tuple[Ref, str]], _targets]) -> None:
    """Completions are what they have to be."""
    link = await talk.open()
    for ref, name in targets:
        found = await _complete(talk, link, ref, name, "")
        values, total = found["values"], found.get("total", 0)
        check(all(isinstance(each, str) for each in values), f"values is {values!r}")
        check(not isinstance(total, bool) and total >= 0, f"total is {total!r}")
        check(isinstance(found.get("hasMore", False), bool), f"hasMore is {found.get('hasMore')!r}")


@completion_results.must("No more than 100 values.")
async def at_most_a_hundred(talk: ServerTalk) -> None:
    """An answer has no more than 100 values."""
    targets = _targets(talk)
    link = await talk.open()
    for ref, name in targets:
        values = (await _complete(talk, link, ref, name, ""))["values"]
        check(len(values) <= MOST, f"{len(values)} values came for {name}")


@completion_results.should(
    "total is not less than there are values, and hasMore says whether it is more."
)
async def has_more(talk: ServerTalk, targets: Annotated[list[tuple[Ref, str]], _targets]) -> None:
    """What is said about the rest fits what has come."""
    link = await talk.open()
    for ref, name in targets:
        found = await _complete(talk, link, ref, name, "")
        count = len(found["values"])
        total = found.get("total", count)
        check(total >= count, f"total is {total}, and {count} values came for {name}")
        more = found.get("hasMore", total > count)
        check(more is (total > count) or "total" not in found, f"hasMore is {more} for {name}")


@case.must("reference-types", "A result with completion.")
async def prompt(talk: ServerTalk) -> None:
    """Arguments of a prompt can be completed."""
    _targets(talk)
    found = _prompts(talk) or talk.skip("no prompt has arguments")
    await _complete(talk, await talk.open(), *found[0], "")


@case.must("reference-types", "A result with completion.")
async def resource(talk: ServerTalk) -> None:
    """Variables of a resource template can be completed."""
    _targets(talk)
    found = _templates(talk) or talk.skip("there is no template with variables")
    await _complete(talk, await talk.open(), *found[0], "")


@case.must("requesting-completions", "A result with completion.", WITH_CONTEXT)
async def context(talk: ServerTalk) -> None:
    """A request may say which arguments have been settled."""
    ref, name = _targets(talk)[0]
    link = await talk.open()
    for arguments in ({}, {"kit_other": "settled"}):
        await _complete(talk, link, ref, name, "", context={"arguments": arguments})
    await _complete(talk, link, ref, name, "", context={})


@case.should("requesting-completions", "A result with completion, perhaps without values.")
async def any_text(talk: ServerTalk) -> None:
    """What was typed may be any text."""
    ref, name = _targets(talk)[0]
    link = await talk.open()
    for typed in ("\U0001f389 ünï", "x" * 5000, "a\nb\t", "../..", "%s{}$(id)", '"; --'):
        await _complete(talk, link, ref, name, typed)


async def _refused(link: Link, params: dict[str, Any]) -> None:
    reply = await link.request(COMPLETE, params)
    reply.failed_with(INVALID_PARAMS, what=f"{COMPLETE} with {params}")


@error_handling.should("The error -32602.", DECLARED, needs=("completions",))
async def unknown_prompt(talk: ServerTalk) -> None:
    """A prompt that does not exist cannot be completed."""
    ref = {"type": "ref/prompt", "name": "kit_no_such_prompt"}
    link = await talk.open()
    await _refused(link, {"ref": ref, "argument": {"name": "x", "value": ""}})


@error_handling.should("The error -32602 for each of them.", DECLARED, needs=("completions",))
async def missing(talk: ServerTalk) -> None:
    """A request that leaves out what is needed is refused."""
    ref, name = _targets(talk)[0]
    argument = {"name": name, "value": ""}
    link = await talk.open()
    for params in (
        {},
        {"ref": ref},
        {"argument": argument},
        {"ref": ref, "argument": {"name": name}},
        {"ref": ref, "argument": {"value": ""}},
        {"ref": {"type": ref["type"]}, "argument": argument},
    ):
        await _refused(link, params)


@case.must(
    "security",
    "An error; where it is -32603, nobody can tell who raised it.",
    DECLARED,
    needs=("completions",),
)
async def inputs_validated(talk: ServerTalk) -> None:
    """Inputs of a wrong type are refused before anybody works with them."""
    ref, name = _targets(talk)[0]
    wrong: tuple[dict[str, Any], ...] = (
        {"ref": "ref/prompt", "argument": {"name": name, "value": ""}},
        {"ref": {**ref, "type": "ref/tool"}, "argument": {"name": name, "value": ""}},
        {"ref": ref, "argument": {"name": name, "value": 17}},
        {"ref": ref, "argument": {"name": ["x"], "value": ""}},
        {"ref": ref, "argument": name},
    )
    link = await talk.open()
    unclear = None
    for params in wrong:
        reply = await link.request(COMPLETE, params)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"{COMPLETE} with {params} got {reply}")
        if reply.error["code"] == INTERNAL_ERROR:
            unclear = unclear or params
    if unclear is not None:
        raise Inconclusive(
            f"{COMPLETE} with {unclear} got an internal error, which is that of a check or of "
            "what works with the inputs"
        )


@case.should(
    "requesting-completions",
    "Values that go with what was typed, fewer than without it.",
    needs=("prompt:test_prompt_with_arguments",),
)
async def typed(talk: ServerTalk) -> None:
    """What was typed narrows the choice."""
    _targets(talk)
    link = await talk.open()
    ref = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
    every = (await _complete(talk, link, ref, "arg1", ""))["values"]
    need(every, "the argument arg1 has no completions")
    wanted = every[-1]
    fewer = (await _complete(talk, link, ref, "arg1", wanted))["values"]
    check(wanted in fewer, f"{wanted!r}, typed to its end, is not among {fewer}")
    alone = len(every) == 1 or len(fewer) < len(every)
    check(alone, f"{wanted!r} leaves the same values as nothing: {fewer}")
