"""Cases of the page server/prompts."""

from typing import Any

from mcpcore_conformance.cases.server_lists import announced, listed, steady
from mcpcore_conformance.kit.asking import entries, failed
from mcpcore_conformance.kit.content import check_base64, check_mime_type, check_result, each_answer
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import check_unique
from mcpcore_conformance.kit.messages import INVALID_PARAMS, METHOD_NOT_FOUND, Kind, Message
from mcpcore_conformance.kit.model import Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.usable import objects, texts
from mcpcore_conformance.kit.verdicts import Inconclusive, check, need

page = Page("server/prompts")
case = page.server(needs=("prompts",))
getting_a_prompt = case.at("getting-a-prompt")
error_handling = case.at("error-handling")

NOBODY = "mcpcore-conformance.no-such-prompt"
UNKNOWN = "mcpcore_conformance"
"""An argument that no prompt has."""
MOST = 8
"""Prompts that are asked for, at most, to see what they give."""


async def get(link: Link, name: Any, arguments: Any = None) -> Reply:
    """Send ``prompts/get``; no ``arguments``: none are sent."""
    params = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    return await link.request("prompts/get", params)


async def got(talk: ServerTalk, name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
    """The messages of a prompt that has to be there."""
    params = {"name": name, "arguments": arguments} if arguments else {"name": name}
    return [*(await (await talk.open()).ask("prompts/get", params))["messages"]]


def _needed(prompt: dict[str, Any]) -> list[str]:
    """The names of the arguments without which a prompt cannot be had."""
    return texts(
        [each.get("name") for each in objects(prompt.get("arguments")) if each.get("required")]
    )


def _some(talk: ServerTalk) -> dict[str, Any]:
    """A prompt: one that needs no input of the client, as far as its name says so."""
    return (_plain(talk) or talk.features.prompts or talk.skip("the server lists no prompts"))[0]


def _plain(talk: ServerTalk) -> list[dict[str, Any]]:
    return [each for each in talk.features.prompts if "input_required" not in each["name"]]


def _demanding(talk: ServerTalk) -> dict[str, Any]:
    found = [each for each in talk.features.prompts if _needed(each)]
    return (found or talk.skip("no prompt needs arguments"))[0]


listed(case, "prompts", "names")
steady(case, "prompts", "name")


@case.should("prompt", "No name twice.")
async def name_unique(talk: ServerTalk) -> None:
    """Each prompt is identified by its name."""
    await check_unique(talk, "prompts", "name")


@case.should("prompt", "No argument of a prompt twice.")
async def arguments_unique(talk: ServerTalk) -> None:
    """The arguments of a prompt have names of their own."""
    for prompt in await entries(await talk.open(), "prompts/list", "prompts"):
        names = [str(each.get("name")) for each in objects(prompt.get("arguments"))]
        check(len(names) == len(set(names)), f"{prompt.get('name')} has the arguments {names}")


@case.must("getting-a-prompt/shape", "Messages with a role and one block of content.")
async def get_shape(talk: ServerTalk) -> None:
    """The results of prompts/get have the shape of their revision."""
    prompt, seen = _some(talk), False

    def look(name: str, answer: Message) -> None:
        nonlocal seen
        if answer.kind is Kind.RESULT:
            seen = True
            check_result(talk, "prompts/get", answer.result, name)
            return
        check(answer.code != METHOD_NOT_FOUND, f"{name} is listed, and prompts/get is not there")
        talk.note(f"{name} is listed, and getting it got the error {answer.code}")

    reply = await get(await talk.open(), prompt["name"], dict.fromkeys(_needed(prompt), "kit"))
    check(reply.message, f"{prompt['name']} got {reply}")
    assert reply.message is not None
    look(prompt["name"], reply.message)
    others = [each["name"] for each in _plain(talk)[:MOST] if each is not prompt]
    offers = [talk.features.params_for(("prompts/get", each)) for each in others]
    await each_answer(talk, "prompts/get", offers, look)
    # which arguments a prompt takes no list says
    need(seen, "no prompt takes the arguments that the kit makes up")


@getting_a_prompt.must("The prompt: the member arguments is optional.")
async def no_arguments(talk: ServerTalk) -> None:
    """A prompt that needs no arguments can be had without the member arguments."""
    found = [each for each in _plain(talk) if not _needed(each)]
    prompt = (found or talk.skip("every prompt needs arguments"))[0]
    link = await talk.open()
    reply = await get(link, prompt["name"])
    if not reply.good and failed(await get(link, prompt["name"], {})):
        raise Inconclusive(f"{prompt['name']} fails with empty arguments as well")
    check(reply.good, f"{prompt['name']} without arguments got {reply}")


@getting_a_prompt.should(
    "Both arguments are in the messages.", needs=("prompt:test_prompt_with_arguments",)
)
async def arguments_used(talk: ServerTalk) -> None:
    """A prompt is customized by its arguments."""
    values = [f"kit{talk.random.getrandbits(32)}" for _ in range(2)]
    arguments = dict(zip(("arg1", "arg2"), values, strict=True))
    said = repr(await got(talk, "test_prompt_with_arguments", arguments))
    for value in values:
        check(value in said, f"the argument {value} is in no message")


@error_handling.should("The error -32602.")
async def unknown_prompt(talk: ServerTalk) -> None:
    """A prompt that does not exist is an invalid parameter."""
    (await get(await talk.open(), NOBODY)).failed_with(INVALID_PARAMS)


@error_handling.should("The error -32602.")
async def missing_argument(talk: ServerTalk) -> None:
    """A required argument that is missing is an invalid parameter."""
    prompt = _demanding(talk)
    link = await talk.open()
    (await get(link, prompt["name"])).failed_with(INVALID_PARAMS)
    needed = _needed(prompt)
    (await get(link, prompt["name"], dict.fromkeys(needed[1:], "kit"))).failed_with(INVALID_PARAMS)


@case.should("implementation-considerations", "The error -32602: arguments are strings.")
async def argument_type(talk: ServerTalk) -> None:
    """Arguments are checked before they are used: they are strings."""
    prompt = _demanding(talk)
    link = await talk.open()
    for value in (17, ["kit"], {"kit": 1}, None):
        arguments = dict.fromkeys(_needed(prompt), value)
        (await get(link, prompt["name"], arguments)).failed_with(INVALID_PARAMS)


@case.should("implementation-considerations", "A result that leaves it out, or the error -32602.")
async def further_argument(talk: ServerTalk) -> None:
    """An argument that the prompt does not have does no harm."""
    prompt, link = _some(talk), await talk.open()
    needed = dict.fromkeys(_needed(prompt), "kit")
    reply = await get(link, prompt["name"], {**needed, UNKNOWN: "kit"})
    if not reply.good:
        if failed(await get(link, prompt["name"], needed)):
            raise Inconclusive(f"{prompt['name']} fails without it as well")
        reply.failed_with(INVALID_PARAMS)
        return
    check_result(talk, "prompts/get", reply.result, "prompts/get")


@error_handling.should("The error -32602: the request does not follow the schema of prompts/get.")
async def malformed(talk: ServerTalk) -> None:
    """A request without a name, or with arguments that are no object, is an error."""
    prompt = _some(talk)
    link = await talk.open()
    reply = await link.request("prompts/get", {"arguments": {}})
    check(failed(reply), f"prompts/get without a name got {reply}")
    for arguments in (["kit"], "kit"):
        (await get(link, prompt["name"], arguments)).failed_with(INVALID_PARAMS)


@case.must(
    "image-content/base64",
    "A block of type image with base64 data and a MIME type.",
    needs=("prompt:test_prompt_with_image",),
)
async def image_content(talk: ServerTalk) -> None:
    """The data of an image is base64, with a MIME type."""
    messages = await got(talk, "test_prompt_with_image", {})
    found = [each["content"] for each in messages if each["content"]["type"] == "image"]
    check(found, "no message has an image")
    check(check_base64(found[0]["data"], "data"), "the image is empty")
    check_mime_type(found[0]["mimeType"], "mimeType")


@case.must(
    "embedded-resources/complete",
    "A block of type resource with a URI, a MIME type, and a text or base64.",
    needs=("prompt:test_prompt_with_embedded_resource",),
)
async def embedded_resource(talk: ServerTalk) -> None:
    """An embedded resource has a URI, a MIME type, and a text or base64."""
    uri = "test://example-resource"
    messages = await got(talk, "test_prompt_with_embedded_resource", {"resourceUri": uri})
    found = [each["content"] for each in messages if each["content"]["type"] == "resource"]
    check(found, "no message has a resource")
    resource = found[0]["resource"]
    check(":" in resource["uri"], f"the resource has the URI {resource['uri']!r}")
    check_mime_type(resource.get("mimeType"), "mimeType")
    if "blob" in resource:
        check_base64(resource["blob"], "blob")


announced(case, "prompts", "test_trigger_prompt_change", "prompts")
