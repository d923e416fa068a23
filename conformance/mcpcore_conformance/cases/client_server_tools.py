"""Cases of the page server/tools for clients."""

from typing import Any

from mcpcore_conformance.kit.client_serving import text, tool
from mcpcore_conformance.kit.client_steps import call, listing, pause, scripted, texts
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, Outcome
from mcpcore_conformance.kit.model import SINCE_2025_06_18, SINCE_2025_11_25, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("server/tools")
case = page.client(**scripted(call()))

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "degrees": {"type": "number", "minimum": -90},
        "winds": {"type": "array", "items": {"$ref": "#/$defs/wind"}},
    },
    "required": ["city", "degrees"],
    "$defs": {"wind": {"enum": ["north", "south"]}},
}
ARGUMENTS = {
    "text": "é☃\U0001f600\n",
    "empty": "",
    "null": None,
    "big": 2**53 - 1,
    "small": -1.5e-7,
    "deep": {"a": [1, {"b": [[]]}], "": {}},
    "true": True,
}


async def _structured(talk: ClientTalk, content: Any) -> Outcome:
    """Answer a call of a tool that has a schema for its results."""
    talk.serving.tools = [tool("weather", outputSchema=SCHEMA)]
    link, message = await talk.expect("tools/call")
    await link.respond(message, {**text("see structuredContent"), "structuredContent": content})
    return await talk.step(1)


weather_case = page.client(SINCE_2025_06_18, **scripted(listing(), call("weather", {})))


@weather_case.should("output-schema", "The call fails.")
async def validates(talk: ClientTalk) -> None:
    """A structured result that breaks the tool's schema is not taken."""
    step = await _structured(talk, {"city": "Oslo", "degrees": "warm"})
    check(not step.good, f"it was taken: {step.result!r}")


@weather_case.should("output-schema", "The call fails.", SINCE_2025_11_25)
async def validates_references(talk: ClientTalk) -> None:
    """References within a schema count."""
    found = {"city": "Oslo", "degrees": 3, "winds": ["north", "up"]}
    step = await _structured(talk, found)
    check(not step.good, f"it was taken: {step.result!r}")


@weather_case.should("output-schema", "The result, whole.")
async def takes_what_is_right(talk: ClientTalk) -> None:
    """A structured result that keeps to the schema reaches the caller."""
    found = {"city": "Oslo", "degrees": -3.5, "winds": ["north"], "more": [1]}
    step = await _structured(talk, found)
    check(step.good, f"the call ended with {step}")
    got = step.result.get("structuredContent")
    check(got == found, f"{found} came as {got!r}")


@case.should("calling-tools", "The same JSON values.", **scripted(call("echo", ARGUMENTS)))
async def exact_arguments(_: CalledLink, message: Call) -> None:
    """Arguments reach the server as they were given."""
    found = message.params.get("arguments")
    check(found == ARGUMENTS, f"the arguments came as {found!r}")


@case.may("error-handling", "A result with isError and its text.")
async def tells_tool_errors(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """That a tool has failed is a result, which its caller can read."""
    await link.respond(message, {**text("it broke"), "isError": True})
    step = await talk.good_step()
    check(step.result.get("isError") is True, f"the caller got {step.result!r}")
    check(texts(step.result) == ["it broke"], f"the caller got {step.result!r}")


@case.may("error-handling", "The error's code, message and data.")
async def tells_protocol_errors(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """An error of the server reaches the caller with all that it says."""
    data = {"hint": ["é", None, 1.5]}
    await link.fail(message, -32602, "no such tool: ø", data)
    step = await talk.step()
    check(step.error, f"the caller got {step}")
    check(
        step.error == {"code": -32602, "message": "no such tool: ø", "data": data},
        f"the caller got {step.error!r}",
    )


@case.may(
    "tool-result",
    "The next call succeeds, whatever became of the first.",
    **scripted(call(timeout=5), call()),
)
async def unknown_content(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Content of a type that is not known does not bring a client down."""
    await link.respond(message, {"content": [{"type": "hologram", "depth": 3}]})
    await link.serve_one(await link.expect("tools/call"))
    await talk.good_step("the next call", 1)


@case.may(
    "list-changed-notification/client-survives",
    "The list that is read afterwards is the new one.",
    **scripted(listing(), call(), pause(0.2), listing()),
)
async def list_changed(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """After the list of tools has changed the new one is read."""
    talk.serving.tools = [tool("newcomer")]
    if not talk.revision.modern:
        await link.notify("notifications/tools/list_changed", about=message)
    await link.serve_one(message)
    step = await talk.good_step("the list", 3)
    names = [each.get("name") for each in step.result]
    check(names == ["newcomer"], f"the list has {names}")
