"""Cases of the page client/elicitation for clients."""

from typing import Any

from mcpcore_conformance.cases.client_declared import declared
from mcpcore_conformance.kit.client_serving import tool
from mcpcore_conformance.kit.client_steps import Asking, ask_client, call, scripted
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk
from mcpcore_conformance.kit.messages import INVALID_PARAMS
from mcpcore_conformance.kit.model import (
    LEGACY_SINCE_2025_06_18,
    ONLY_2025_11_25,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.verdicts import check, need

page = Page("client/elicitation")

case = page.client(SINCE_2025_11_25)
ELICIT = "elicitation/create"
DEFAULTS_SCENARIO = "elicitation-sep1034-client-defaults"
DEFAULTS: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "gone"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
FIELDS: dict[str, dict[str, Any]] = {
    "colour": {"type": "string", "enum": ["red", "green"]},
    "amount": {"type": "integer"},
    "share": {"type": "number"},
    "sure": {"type": "boolean"},
    "word": {"type": "string"},
}


def _form(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"message": "Please fill this in", "requestedSchema": schema, **more}


async def _asked(talk: ClientTalk, params: dict[str, Any]) -> Asking:
    link = await talk.open()
    return await ask_client(link, await link.expect("tools/call"), ELICIT, params)


def _accepted(asking: Asking) -> dict[str, Any]:
    """The content of an answer that accepts."""
    result = asking.result
    check(result is not None, f"the form was refused: {asking.error}")
    assert result is not None
    check(result.get("action") == "accept", f"the action is {result.get('action')!r}")
    content = result.get("content")
    check(isinstance(content, dict), f"the content is {content!r}")
    found: dict[str, Any] = result["content"]
    return found


declared(case, "elicitation", "can be asked", LEGACY_SINCE_2025_06_18, DEFAULTS_SCENARIO)


@case.must(
    "elicitation-requests", "It is answered as a form.", **scripted(call(), needs=("elicitation",))
)
async def default_mode(talk: ClientTalk) -> None:
    """A request without a mode is a form."""
    content = _accepted(await _asked(talk, _form({"word": {"type": "string"}})))
    check(isinstance(content.get("word"), str), f"the content is {content!r}")


@case.should(
    "requested-schema",
    "The defaults of the fields that were left out.",
    needs=("elicitation",),
    scenario=DEFAULTS_SCENARIO,
)
async def defaults(talk: ClientTalk) -> None:
    """A form is filled with the defaults of its schema."""
    talk.serving.tools = [tool("test_client_elicitation_defaults")]
    form = _form(DEFAULTS)
    del form["requestedSchema"]["required"]
    content = _accepted(await _asked(talk, form))
    wanted = {name: rules["default"] for name, rules in DEFAULTS.items()}
    check(content == wanted, f"the content is {content!r}")


@case.should(
    "form-mode-security",
    "Content that keeps to the schema.",
    **scripted(call(), needs=("elicitation",)),
)
async def validates(talk: ClientTalk) -> None:
    """What a client fills in keeps to the form's schema."""
    content = _accepted(await _asked(talk, _form(FIELDS, mode="form")))
    kinds: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    for name, rules in FIELDS.items():
        value = content.get(name)
        fits = isinstance(value, kinds[str(rules["type"])]) and (
            rules["type"] == "boolean" or not isinstance(value, bool)
        )
        check(fits, f"{name} is {value!r}, not of the type {rules['type']}")
        check(value in rules.get("enum", [value]), f"{name} is {value!r}, not one of the choices")
    strange = content.keys() - FIELDS.keys()
    check(not strange, f"the content has fields that were not asked for: {sorted(strange)}")


@case.may(
    "response-actions",
    "The action decline, without content.",
    SINCE_2025_06_18,
    **scripted(call(), elicitation="decline", needs=("elicitation",)),
)
async def declines(talk: ClientTalk) -> None:
    """Who declines gives nothing away."""
    asking = await _asked(talk, _form(FIELDS))
    result = asking.result or {}
    check(result.get("action") == "decline", f"the answer is {asking.result or asking.error!r}")
    check(not result.get("content"), f"what was declined has the content {result.get('content')!r}")


@case.must(
    "error-handling",
    "The error -32602.",
    ONLY_2025_11_25,
    **scripted(call(), declare=["elicitation"], needs=("elicitation",)),
)
async def undeclared_mode(talk: ClientTalk) -> None:
    """A mode that was not declared is refused."""
    url = {"mode": "url", "message": "Look", "url": "https://example.com/", "elicitationId": "1"}
    link, message = await talk.expect("tools/call")
    declared = link.client_capabilities.get("elicitation", {})
    need("url" not in declared, "the client declares the mode url")
    asking = await ask_client(link, message, ELICIT, url)
    check(asking.error is not None, f"a URL was answered with {asking.result!r}")
    code = (asking.error or {}).get("code")
    check(code == INVALID_PARAMS, f"a URL got the error {code}")


@case.must(
    "safe-url-handling",
    "Nothing is asked for at that address.",
    bindings=STREAMABLE,
    **scripted(call(), declare=["elicitation", "elicitation.url"]),
)
async def no_prefetch(talk: ClientTalk) -> None:
    """A URL that the user is to visit is not fetched by the client."""
    origin = talk.host.address.rpartition("/")[0]
    params = {"mode": "url", "message": "Look", "url": f"{origin}/canary", "elicitationId": "1"}
    link = await talk.open()
    if "url" not in link.client_capabilities.get("elicitation", {}):
        talk.skip("the client does not declare the mode url")
    message = await link.expect("tools/call")
    asking = await ask_client(link, message, ELICIT, params)
    await link.serve_one(asking.call)
    await talk.finished()
    asked = (*link.asked, *link.strays)
    fetched = [f"{each.method} {each.target}" for each in asked if "canary" in each.target]
    check(not fetched, f"the client fetched {fetched}")


@case.must(
    "completion-notifications-for-url-mode-elicitation/client-unknown",
    "Nothing happens, and the call succeeds.",
    ONLY_2025_11_25,
)
async def unknown_completion(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Word that something is complete which nobody knows is ignored."""
    params = {"elicitationId": "nobody's"}
    await link.notify("notifications/elicitation/complete", params, about=message)
    await link.serve_one(message)
    await talk.succeeded()
