"""Cases of the page basic/transports/streamable-http: how values stand in headers."""

import base64

from mcpcore_conformance.cases.basic_transports_http_headers import (
    NAME,
    check_mismatch,
    sentinel,
    tool_call,
)
from mcpcore_conformance.kit.endpoint import BAD_REQUEST, check_served, endpoint, final
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/streamable-http")
case = page.server(MODERN, bindings=STREAMABLE, needs=("tools",))


@case.must("value-encoding/name-decoded", "The call is served as if the name were there in plain.")
async def name_decoded(talk: ServerTalk) -> None:
    """An Mcp-Name in the Base64 sentinel form is decoded before it is compared."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    answer = await point.post(point.message(method, params), headers={NAME: sentinel(name)})
    check_served(answer, f"{method} with Mcp-Name: {sentinel(name)}")


@case.must(
    "value-encoding/sentinel-small-letters",
    "Status 400 and -32020: it is the plain text of another name.",
)
async def sentinel_case(talk: ServerTalk) -> None:
    """The sentinel in capitals, or half of it, is plain text."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    whole = sentinel(name)
    for found in (whole.replace("base64", "BASE64"), whole.removesuffix("?="), whole[2:]):
        answer = await point.post(point.message(method, params), headers={NAME: found})
        check_mismatch(answer, f"Mcp-Name: {found}")


@case.must("value-encoding/sentinel-broken", "Status 400 and -32020.")
async def sentinel_broken(talk: ServerTalk) -> None:
    """What is no Base64 within the sentinel is refused, not guessed."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    text = base64.b64encode(name.encode()).decode()
    for inside in (f"{text}!", f"{text[:2]}!{text[2:]}", f"{text}=", "//8="):
        found = f"=?base64?{inside}?="
        answer = await point.post(point.message(method, params), headers={NAME: found})
        check_mismatch(answer, f"Mcp-Name: {found}")


@case.must(
    "server-validation/invalid-characters",
    "Status 400, with -32020 where the server's HTTP lets the header through.",
)
async def invalid_characters(talk: ServerTalk) -> None:
    """A mirrored value with bytes outside ASCII is refused."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    payload = encode(point.message(method, params))
    for raw in (name.encode() + b"\xc3\xa9", name.encode() + b"\xff"):
        lines = [
            line if not line.lower().startswith(b"mcp-name:") else b"mcp-name: " + raw
            for line in point.head_lines(payload)
        ]
        found = final(await point.pour(point.bytes_of(payload, b"Connection: close", lines=lines)))
        statuses = [each.status for each in found]
        check(statuses == [BAD_REQUEST], f"Mcp-Name: {raw!r} got {statuses}, not status 400")
