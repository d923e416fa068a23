"""Cases of the page basic/transports/streamable-http: what headers repeat of the body."""

import base64
from typing import Any

from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    CLIENT_ERRORS,
    NOT_FOUND,
    OK,
    Answer,
    endpoint,
    final,
)
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    encode,
)
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.usable import objects
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/streamable-http")
case = page.server(MODERN, bindings=STREAMABLE)

UNKNOWN = "2099-01-01"
VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"


def sentinel(text: str) -> str:
    """Write a value in the Base64 sentinel form."""
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def check_mismatch(answer: Answer, what: str) -> None:
    """Check that a request was refused as headers and body differ: 400 and -32020."""
    check(
        answer.status == BAD_REQUEST and answer.code == HEADER_MISMATCH,
        f"{what} got {answer}, not status 400 with the error {HEADER_MISMATCH}",
    )


def tool_call(talk: ServerTalk) -> tuple[str, dict[str, Any], str]:
    """A call that is served: method, params, and what Mcp-Name has to be."""
    tool = talk.any_tool()
    return "tools/call", {"name": tool.name, "arguments": talk.arguments(tool)}, tool.name


def resource_read(talk: ServerTalk) -> tuple[str, dict[str, Any], str]:
    """The reading of a resource that is listed."""
    for entry in talk.features.resources:
        uri = str(entry.get("uri"))
        return "resources/read", {"uri": uri}, uri
    talk.skip("the server lists no resources")


def prompt_get(talk: ServerTalk) -> tuple[str, dict[str, Any], str]:
    """The getting of a prompt that needs no arguments."""
    for entry in talk.features.prompts:
        if not any(each.get("required") for each in objects(entry.get("arguments"))):
            name = str(entry.get("name"))
            return "prompts/get", {"name": name}, name
    talk.skip("the server lists no prompt that can be got without arguments")


# The version


@case.must(
    "protocol-version-header/missing",
    "Status 400 and -32020; a server that has revisions before 2025-06-18 may take the "
    "request for one of 2025-03-26.",
)
async def version_missing(talk: ServerTalk) -> None:
    """A request without MCP-Protocol-Version is not served as one of this revision."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={VERSION: None})
    check(
        answer.status in CLIENT_ERRORS,
        f"a request without MCP-Protocol-Version got {answer}, not a refusal",
    )
    if answer.code == HEADER_MISMATCH:
        check(answer.status == BAD_REQUEST, f"the error {HEADER_MISMATCH} came with {answer}")


@case.must("protocol-version-header/other-than-body", "Status 400 and -32020.")
async def version_other(talk: ServerTalk) -> None:
    """A version header that is not the body's is refused."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={VERSION: UNKNOWN})
    check_mismatch(answer, f"MCP-Protocol-Version: {UNKNOWN} with another version in the body")
    older = LATEST_LEGACY.name
    answer = await point.post(point.message(), headers={VERSION: older})
    check(answer.refused, f"MCP-Protocol-Version: {older} above a modern body got {answer}")
    # a server of both eras may go by the header, and refuse what is no such request
    talk.should(
        answer.code == HEADER_MISMATCH,
        f"MCP-Protocol-Version: {older} above a modern body got {answer}, not {HEADER_MISMATCH}",
    )


@case.must("protocol-version-header/body-other-than-header", "Status 400 and -32020.")
async def version_of_body_other(talk: ServerTalk) -> None:
    """A version of the body that is not the header's is refused."""
    point = await endpoint(talk)
    message = point.message()
    message["params"]["_meta"][META_PROTOCOL_VERSION] = UNKNOWN
    answer = await point.post(message, headers={VERSION: talk.revision.name})
    check_mismatch(answer, f"a body of version {UNKNOWN} below a header of {talk.revision.name}")


@case.must(
    "protocol-version-header/unsupported",
    "Status 400 and -32022, with the versions that are supported.",
)
async def version_unsupported(talk: ServerTalk) -> None:
    """A version that the server does not speak gets 400, and the list of those that it does."""
    point = await endpoint(talk)
    message = point.message()
    message["params"]["_meta"][META_PROTOCOL_VERSION] = UNKNOWN
    answer = await point.post(message, headers={VERSION: UNKNOWN})
    check(
        answer.status == BAD_REQUEST and answer.code == UNSUPPORTED_VERSION,
        f"version {UNKNOWN} got {answer}, not status 400 with the error {UNSUPPORTED_VERSION}",
    )
    data = answer.messages[-1].error.get("data")
    found = data.get("supported") if isinstance(data, dict) else None
    check(
        isinstance(found, list) and talk.revision.name in found,
        f"the error names as supported {found!r}, without {talk.revision.name}",
    )


@case.must("protocol-version-header/unknown-method", "Status 404 and -32601.")
async def unknown_method(talk: ServerTalk) -> None:
    """A method that the server does not have gets 404 with an error."""
    point = await endpoint(talk)
    answer = await point.post(point.message("kit/unknown"))
    check(
        answer.status == NOT_FOUND and answer.code == METHOD_NOT_FOUND,
        f"an unknown method got {answer}, not status 404 with the error {METHOD_NOT_FOUND}",
    )


@case.must(
    "protocol-version-header/removed-method", "Status 404 and -32601 for what older revisions had."
)
async def removed_method(talk: ServerTalk) -> None:
    """A method of older revisions is unknown in this one, also to a server that speaks them."""
    point = await endpoint(talk)
    for method in ("ping", "logging/setLevel", "resources/subscribe"):
        answer = await point.post(point.message(method, {"level": "info", "uri": "kit:none"}))
        check(
            answer.status == NOT_FOUND and answer.code == METHOD_NOT_FOUND,
            f"{method} got {answer}, not status 404 with the error {METHOD_NOT_FOUND}",
        )


@case.may(
    "protocol-version-header/version-before-method",
    "-32022: what another version has for methods is not known.",
)
async def version_before_method(talk: ServerTalk) -> None:
    """Of an unknown version and an unknown method, the version is refused."""
    point = await endpoint(talk)
    message = point.message("kit/unknown")
    message["params"]["_meta"][META_PROTOCOL_VERSION] = UNKNOWN
    answer = await point.post(message, headers={VERSION: UNKNOWN})
    check(answer.code == UNSUPPORTED_VERSION, f"got {answer}, not the error {UNSUPPORTED_VERSION}")


# Method and name


@case.must("standard-request-headers/method-missing", "Status 400 and -32020.")
async def method_missing(talk: ServerTalk) -> None:
    """A request without Mcp-Method is refused."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={METHOD: None})
    check_mismatch(answer, "a request without Mcp-Method")


@case.must("server-validation/method-other-than-body", "Status 400 and -32020.")
async def method_other(talk: ServerTalk) -> None:
    """An Mcp-Method that is not the body's method is refused."""
    point = await endpoint(talk)
    method, params = talk.any_request()
    other = "tools/list" if method == point.plain else point.plain
    for found in (other, f"{method}/", ""):
        answer = await point.post(point.message(method, params), headers={METHOD: found})
        check_mismatch(answer, f"Mcp-Method: {found} with {method} in the body")


@case.must("case-sensitivity/values", "Status 400 and -32020.")
async def values_case(talk: ServerTalk) -> None:
    """Header values are compared with regard to case."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={METHOD: point.plain.upper()})
    check_mismatch(answer, f"Mcp-Method: {point.plain.upper()} with {point.plain} in the body")


@case.must("standard-request-headers/name-missing-tool", "Status 400 and -32020.", needs=("tools",))
async def name_missing_tool(talk: ServerTalk) -> None:
    """A call of a tool without Mcp-Name is refused."""
    await _without_name(talk, tool_call(talk))


@case.must(
    "standard-request-headers/name-missing-resource", "Status 400 and -32020.", needs=("resources",)
)
async def name_missing_resource(talk: ServerTalk) -> None:
    """The reading of a resource without Mcp-Name is refused."""
    await _without_name(talk, resource_read(talk))


@case.must(
    "standard-request-headers/name-missing-prompt", "Status 400 and -32020.", needs=("prompts",)
)
async def name_missing_prompt(talk: ServerTalk) -> None:
    """The getting of a prompt without Mcp-Name is refused."""
    await _without_name(talk, prompt_get(talk))


async def _without_name(talk: ServerTalk, asked: tuple[str, dict[str, Any], str]) -> None:
    method, params, _ = asked
    point = await endpoint(talk)
    check_mismatch(
        await point.post(point.message(method, params), headers={NAME: None}),
        f"{method} without Mcp-Name",
    )


@case.must(
    "server-validation/name-other-than-body-tool", "Status 400 and -32020.", needs=("tools",)
)
async def name_other_tool(talk: ServerTalk) -> None:
    """A call of a tool under another name is refused."""
    await _other_names(talk, tool_call(talk))


@case.must(
    "server-validation/name-other-than-body-resource",
    "Status 400 and -32020.",
    needs=("resources",),
)
async def name_other_resource(talk: ServerTalk) -> None:
    """The reading of a resource under another URI is refused."""
    await _other_names(talk, resource_read(talk))


@case.must(
    "server-validation/name-other-than-body-prompt", "Status 400 and -32020.", needs=("prompts",)
)
async def name_other_prompt(talk: ServerTalk) -> None:
    """The getting of a prompt under another name is refused."""
    await _other_names(talk, prompt_get(talk))


async def _other_names(talk: ServerTalk, asked: tuple[str, dict[str, Any], str]) -> None:
    method, params, name = asked
    point = await endpoint(talk)
    for found in ("kit-other", name.swapcase(), f"{name}/", sentinel("kit-other")):
        if found != name:
            answer = await point.post(point.message(method, params), headers={NAME: found})
            check_mismatch(answer, f"{method} of {name} with Mcp-Name: {found}")


# Order and form of refusals


@case.should(
    "server-validation/header-twice",
    "Status 400: whoever is in front of the server may have read the other one.",
    needs=("tools",),
)
async def header_twice(talk: ServerTalk) -> None:
    """A second line of a mirrored header does not hide behind the first."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    payload = encode(point.message(method, params))
    for line in (b"Mcp-Name: kit-other", b"Mcp-Method: tools/list"):
        own = point.head_lines(payload)
        for lines in ([*own, line], [line, *own]):
            sent = point.bytes_of(payload, b"Connection: close", lines=lines)
            statuses = [each.status for each in final(await point.pour(sent))]
            what = f"{line.decode()} beside the line that fits ({name})"
            check(statuses == [BAD_REQUEST], f"{what} got {statuses}, not status 400")


@case.must("server-validation/error-names-request", "The error has the id of the request.")
async def error_names_request(talk: ServerTalk) -> None:
    """The error of a failed header check carries the request's id."""
    point = await endpoint(talk)
    identifier = talk.fresh_id()
    answer = await point.post(point.message(id=identifier), headers={METHOD: "kit/other"})
    check_mismatch(answer, "an Mcp-Method other than the body's")
    found = answer.messages[-1].id
    check(found == identifier, f"the error has the id {found!r}, not {identifier!r}")


@case.should(
    "sending-messages/notification-needs-no-mirrors",
    "Status 202 or 4xx, never a message that is no error.",
)
async def notification_mirrors(talk: ServerTalk) -> None:
    """What headers a notification needs is not laid down: without them it does no harm."""
    point = await endpoint(talk)
    message = {"jsonrpc": "2.0", "method": "notifications/kit/unknown", "params": {}}
    answer = await point.post(message, headers={METHOD: None, VERSION: None})
    check(answer.result is None, "a notification was answered with a result")
    check(OK < answer.status < 500, f"a notification without mirrors got {answer}")
