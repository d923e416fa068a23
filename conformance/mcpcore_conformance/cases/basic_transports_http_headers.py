"""Cases of the page basic/transports/streamable-http: what headers repeat of the body."""

import base64
import re
from typing import Annotated, Any

from msgspec import Struct

from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.asking import entries
from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    CLIENT_ERRORS,
    NOT_FOUND,
    OK,
    Answer,
    Endpoint,
    OpenEndpoint,
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.features import KNOWN, NONE_MAY_BE_CALLED
from mcpcore_conformance.kit.headers import mirror, mirrored
from mcpcore_conformance.kit.json_schema import value_problem
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    encode,
)
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, AnyTool, ServerTalk
from mcpcore_conformance.kit.usable import objects
from mcpcore_conformance.kit.verdicts import MIRROR as FLAW
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/transports/streamable-http")
case = page.server(MODERN, bindings=STREAMABLE)
protocol_version_header = case.at("protocol-version-header")
server_validation = case.at("server-validation")

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


def check_taken(answer: Answer, tool: str, what: str) -> None:
    """Check that a call with right headers is served, as far as the kit knows its arguments."""
    declined = f"{tool} does not take what the kit makes up: {what} got {answer}"
    need(tool in KNOWN or answer.code not in (INVALID_PARAMS, INTERNAL_ERROR), declined)
    check_served(answer, what)


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
async def version_missing(point: OpenEndpoint) -> None:
    """A request without MCP-Protocol-Version is not served as one of this revision."""
    answer = await point.post(point.message(), headers={VERSION: None})
    check(
        answer.status in CLIENT_ERRORS,
        f"a request without MCP-Protocol-Version got {answer}, not a refusal",
    )
    if answer.code == HEADER_MISMATCH:
        check(answer.status == BAD_REQUEST, f"the error {HEADER_MISMATCH} came with {answer}")


@case.must("protocol-version-header/other-than-body", "Status 400 and -32020.")
async def version_other(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A version header that is not the body's is refused."""
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
async def version_of_body_other(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A version of the body that is not the header's is refused."""
    message = point.message()
    message["params"]["_meta"][META_PROTOCOL_VERSION] = UNKNOWN
    answer = await point.post(message, headers={VERSION: talk.revision.name})
    check_mismatch(answer, f"a body of version {UNKNOWN} below a header of {talk.revision.name}")


@protocol_version_header.must("Status 400 and -32022, with the versions that are supported.")
async def unsupported(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A version that the server does not speak gets 400, and the list of those that it does."""
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


@protocol_version_header.must("Status 404 and -32601.")
async def unknown_method(point: OpenEndpoint) -> None:
    """A method that the server does not have gets 404 with an error."""
    answer = await point.post(point.message("kit/unknown"))
    check(
        answer.status == NOT_FOUND and answer.code == METHOD_NOT_FOUND,
        f"an unknown method got {answer}, not status 404 with the error {METHOD_NOT_FOUND}",
    )


@protocol_version_header.must("Status 404 and -32601 for what older revisions had.")
async def removed_method(point: OpenEndpoint) -> None:
    """A method of older revisions is unknown in this one, also to a server that speaks them."""
    for method in ("ping", "logging/setLevel", "resources/subscribe"):
        answer = await point.post(point.message(method, {"level": "info", "uri": "kit:none"}))
        check(
            answer.status == NOT_FOUND and answer.code == METHOD_NOT_FOUND,
            f"{method} got {answer}, not status 404 with the error {METHOD_NOT_FOUND}",
        )


@protocol_version_header.may("-32022: what another version has for methods is not known.")
async def version_before_method(point: OpenEndpoint) -> None:
    """Of an unknown version and an unknown method, the version is refused."""
    message = point.message("kit/unknown")
    message["params"]["_meta"][META_PROTOCOL_VERSION] = UNKNOWN
    answer = await point.post(message, headers={VERSION: UNKNOWN})
    check(answer.code == UNSUPPORTED_VERSION, f"got {answer}, not the error {UNSUPPORTED_VERSION}")


# Method and name


@case.must("standard-request-headers", "Status 400 and -32020.")
async def method_missing(point: OpenEndpoint) -> None:
    """A request without Mcp-Method is refused."""
    answer = await point.post(point.message(), headers={METHOD: None})
    check_mismatch(answer, "a request without Mcp-Method")


@case.must("server-validation/method-other-than-body", "Status 400 and -32020.")
async def method_other(point: OpenEndpoint, method: AnyMethod, params: AnyParams) -> None:
    """An Mcp-Method that is not the body's method is refused."""
    other = "tools/list" if method == point.plain else point.plain
    for found in (other, f"{method}/", ""):
        answer = await point.post(point.message(method, params), headers={METHOD: found})
        check_mismatch(answer, f"Mcp-Method: {found} with {method} in the body")


@case.must("case-sensitivity/values", "Status 400 and -32020.")
async def values_case(point: OpenEndpoint) -> None:
    """Header values are compared with regard to case."""
    answer = await point.post(point.message(), headers={METHOD: point.plain.upper()})
    check_mismatch(answer, f"Mcp-Method: {point.plain.upper()} with {point.plain} in the body")


@case.must("standard-request-headers", "Status 400 and -32020.", needs=("tools",))
async def name_missing_tool(talk: ServerTalk) -> None:
    """A call of a tool without Mcp-Name is refused."""
    await _without_name(talk, tool_call(talk))


@case.must("standard-request-headers", "Status 400 and -32020.", needs=("resources",))
async def name_missing_resource(talk: ServerTalk) -> None:
    """The reading of a resource without Mcp-Name is refused."""
    await _without_name(talk, resource_read(talk))


@case.must("standard-request-headers", "Status 400 and -32020.", needs=("prompts",))
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


@server_validation.must("Status 400 and -32020.", needs=("tools",))
async def name_other_than_body_tool(talk: ServerTalk) -> None:
    """A call of a tool under another name is refused."""
    await _other_names(talk, tool_call(talk))


@server_validation.must("Status 400 and -32020.", needs=("resources",))
async def name_other_than_body_resource(talk: ServerTalk) -> None:
    """The reading of a resource under another URI is refused."""
    await _other_names(talk, resource_read(talk))


@server_validation.must("Status 400 and -32020.", needs=("prompts",))
async def name_other_than_body_prompt(talk: ServerTalk) -> None:
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


@server_validation.should(
    "Status 400: whoever is in front of the server may have read the other one.", needs=("tools",)
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


@server_validation.must("The error has the id of the request.")
async def error_names_request(talk: ServerTalk, point: OpenEndpoint) -> None:
    """The error of a failed header check carries the request's id."""
    identifier = talk.fresh_id()
    answer = await point.post(point.message(id=identifier), headers={METHOD: "kit/other"})
    check_mismatch(answer, "an Mcp-Method other than the body's")
    found = answer.messages[-1].id
    check(found == identifier, f"the error has the id {found!r}, not {identifier!r}")


@case.should("sending-messages", "Status 202 or 4xx, never a message that is no error.")
async def notification_needs_no_mirrors(point: OpenEndpoint) -> None:
    """What headers a notification needs is not laid down: without them it does no harm."""
    message = {"jsonrpc": "2.0", "method": "notifications/kit/unknown", "params": {}}
    answer = await point.post(message, headers={METHOD: None, VERSION: None})
    check(answer.result is None, "a notification was answered with a result")
    check(OK < answer.status < 500, f"a notification without mirrors got {answer}")


# Arguments that are mirrored into headers

MIRROR = "x-mcp-header"
KINDS = "test_x_mcp_header_kinds"
FREE = {"type", "title", "description", "default", "examples", MIRROR}
"""Keywords of a property that may have any value of its type."""


class Call(Struct):
    """A call with one mirrored argument, a string."""

    point: Endpoint
    tool: str
    argument: str
    header: str
    arguments: dict[str, Any]

    def check_taken(self, answer: Answer, what: str) -> None:
        """Check that a call is served, as :func:`check_taken`."""
        check_taken(answer, self.tool, what)

    async def made(self, value: str, *, header: str | None) -> Answer:
        """Make the call with this value of the argument, and of the header."""
        params = {"name": self.tool, "arguments": {**self.arguments, self.argument: value}}
        message = self.point.message("tools/call", params)
        return await self.point.post(message, headers={self.header: header})


async def mirrored_call(talk: ServerTalk) -> Call:
    """A call of any tool that mirrors a string, any string, into a header that there can be."""
    found = [
        (tool, name, header)
        for tool in talk.features.tools.values()
        for name, rules in tool.input_schema.get("properties", {}).items()
        if rules.get("type") == "string" and rules.keys() <= FREE and (header := mirror(rules))
    ]
    for tool, name, header in found:
        arguments = {**talk.arguments(tool), name: "kit"}
        if talk.features.may_call(tool) and not value_problem(arguments, tool.input_schema):
            return Call(await endpoint(talk), tool.name, name, header, arguments)
    only = f"of those that mirror a string, {NONE_MAY_BE_CALLED}"
    talk.skip(only if found else f"no tool mirrors a string that may be any ({MIRROR})")


@case.must("server-behavior-for-custom-headers/served", "The call is served.")
async def param_served(call: Annotated[Call, mirrored_call]) -> None:
    """A call with the headers of its mirrored arguments is served."""
    call.check_taken(await call.made("eu-west", header="eu-west"), "a call with its mirror")


@case.must("server-behavior-for-custom-headers/missing", "Status 400 and -32020.")
async def param_missing(call: Annotated[Call, mirrored_call]) -> None:
    """An argument whose header is missing is refused."""
    check_mismatch(await call.made("kit", header=None), f"a call without {call.header}")


@case.must("server-behavior-for-custom-headers/other-than-body", "Status 400 and -32020.")
async def param_other(call: Annotated[Call, mirrored_call]) -> None:
    """A header that is not the argument, letter by letter, is refused."""
    for found in ("kit-other", "KIT", "ki", sentinel("other")):
        check_mismatch(await call.made("kit", header=found), f"{call.header}: {found} for 'kit'")


@case.must(
    "server-behavior-for-custom-headers", "The call is served as if the value were there in plain."
)
async def decoded(call: Annotated[Call, mirrored_call]) -> None:
    """A value in the Base64 sentinel form is decoded before it is compared."""
    for value in ("kit", "Hello, \u4e16\u754c", " padded ", "line1\nline2", "=?base64?literal?="):
        answer = await call.made(value, header=sentinel(value))
        call.check_taken(answer, f"{call.header}: {sentinel(value)} for {value!r}")


@case.must(
    "value-encoding", "What begins or ends like the sentinel, but does not do both, is plain text."
)
async def sentinel_look_alike(call: Annotated[Call, mirrored_call]) -> None:
    """Half a sentinel is a value like others."""
    for value in ("=?base64?a2l0", "a2l0?=", "=?BASE64?a2l0?="):
        call.check_taken(await call.made(value, header=value), f"{call.header}: {value}")


@case.must("value-encoding/parameter-broken", "Status 400 and -32020.")
async def param_broken(call: Annotated[Call, mirrored_call]) -> None:
    """What is no Base64 within the sentinel of a parameter is refused."""
    for inside in ("SGVsbG8", "SGVs!!!bG8=", "SGVsbG8=="):
        found = f"=?base64?{inside}?="
        check_mismatch(await call.made("Hello", header=found), f"{call.header}: {found}")


@case.must(
    "server-behavior-for-custom-headers/invalid-characters",
    "Status 400, also if the bytes are those of the argument.",
)
async def param_characters(call: Annotated[Call, mirrored_call]) -> None:
    """A mirror with bytes outside ASCII is refused."""
    value = "kit-\u00e9"
    params = {"name": call.tool, "arguments": {**call.arguments, call.argument: value}}
    payload = encode(call.point.message("tools/call", params))
    mirror_of = f"{call.header}:".encode()
    others = [each for each in call.point.head_lines(payload) if not each.startswith(mirror_of)]
    for raw in (value.encode(), value.encode("latin-1")):
        line = mirror_of + b" " + raw
        sent = call.point.bytes_of(payload, line, b"Connection: close", lines=others)
        statuses = [each.status for each in final(await call.point.pour(sent))]
        check(statuses == [BAD_REQUEST], f"{line!r} got {statuses}, not status 400")


@case.should(
    "server-behavior-for-custom-headers/unknown-ignored",
    "A parameter header that no argument asks for changes nothing.",
    needs=("tools",),
)
async def param_unknown(talk: ServerTalk, tool: AnyTool) -> None:
    """A parameter header that the server does not know is passed over."""
    point = await endpoint(talk)
    call = {"name": tool.name, "arguments": talk.arguments(tool)}
    message = point.message("tools/call", call)
    answer = await point.post(message, headers={"mcp-param-kit-unknown": "kit"})
    check_taken(answer, tool.name, "a call with a parameter header that nobody asked for")


case = page.server(MODERN, bindings=STREAMABLE, needs=(f"tool:{KINDS}",))


class Kinds(Struct):
    """Calls of the fixture whose arguments of every kind are mirrored."""

    point: Endpoint

    async def made(self, arguments: dict[str, Any], **headers: str) -> Answer:
        """Make the call with these headers alone, by the names of their mirrors."""
        message = self.point.message("tools/call", {"name": KINDS, "arguments": arguments})
        mirrors = {f"mcp-param-{name.replace('_', '-')}": each for name, each in headers.items()}
        none = dict.fromkeys(self.point.link.mirrors(message))
        return await self.point.post(message, headers={**none, **mirrors})


async def kinds(talk: ServerTalk) -> Kinds:
    """The fixture's calls."""
    return Kinds(await endpoint(talk))


@case.must(
    "server-behavior-for-custom-headers/nested",
    "Served with the header of the nested argument, refused without and with another.",
)
async def param_nested(calls: Annotated[Kinds, kinds]) -> None:
    """The header of a nested argument is compared as well."""
    arguments = {"place": {"zone": "b"}}
    check_served(await calls.made(arguments, zone="b"), "a nested mirror")
    check_mismatch(await calls.made(arguments), "a nested argument without its header")
    check_mismatch(await calls.made(arguments, zone="c"), "a nested mirror of another value")


@case.must("value-encoding", "true and false, in small letters; anything else is another value.")
async def booleans(calls: Annotated[Kinds, kinds]) -> None:
    """Booleans are mirrored as true and false."""
    check_served(await calls.made({"dry": True}, dry_run="true"), "true for true")
    check_served(await calls.made({"dry": False}, dry_run="false"), "false for false")
    for found in ("false", "1", "yes"):
        answer = await calls.made({"dry": True}, dry_run=found)
        check_mismatch(answer, f"Mcp-Param-Dry-Run: {found} for true")


@case.must("value-encoding/integers", "Decimal digits; another number is another value.")
async def param_integer(calls: Annotated[Kinds, kinds]) -> None:
    """Integers are mirrored in decimal."""
    for value in (42, -7, 0, 2**53 - 1):
        check_served(await calls.made({"shard": value}, shard=str(value)), f"{value} for {value}")
    for value, found in ((42, "43"), (42, "0x2a"), (42, "forty-two"), (2**53 - 1, str(2**53 - 2))):
        answer = await calls.made({"shard": value}, shard=found)
        check_mismatch(answer, f"Mcp-Param-Shard: {found} for {value}")


@case.should(
    "schema-extension", "Refused: beyond 2^53 an integer is not the same for every reader."
)
async def integers_within_range(calls: Annotated[Kinds, kinds]) -> None:
    """An integer outside the safe range is not mirrored."""
    for value in (2**53, -(2**53), 10**30):
        answer = await calls.made({"shard": value}, shard=str(value))
        served = answer.result is not None and not answer.result.get("isError")
        check(not served, f"Mcp-Param-Shard: {value} was served")


@case.should("server-validation", "42.0 in the header is 42 in the body.")
async def integers_numerically(calls: Annotated[Kinds, kinds]) -> None:
    """Integers are compared as numbers."""
    answer = await calls.made({"shard": 42}, shard="42.0")
    check_served(answer, "Mcp-Param-Shard: 42.0 for 42")


@case.must("server-behavior-for-custom-headers", "The call is served without the header.")
async def absent_not_expected(calls: Annotated[Kinds, kinds]) -> None:
    """An argument that is not given needs no header."""
    check_served(await calls.made({}), "a call without arguments and mirrors")
    answer = await calls.made({"place": {}})
    check_served(answer, "a nested argument that is not given")


@case.must(
    "server-behavior-for-custom-headers",
    "Whatever becomes of the call, its headers are not what is wrong.",
)
async def null_not_expected(calls: Annotated[Kinds, kinds]) -> None:
    """An argument that is null needs no header."""
    answer = await calls.made({"note": None})
    check(answer.status == OK, f"an argument that is null, without its header, got {answer}")


@case.should(
    "server-validation", "Status 400 and -32020: the header claims what the body does not say."
)
async def header_without_argument(calls: Annotated[Kinds, kinds]) -> None:
    """The header of an argument that is not there contradicts the body."""
    answer = await calls.made({}, note="kit")
    check_mismatch(answer, "a mirror of an argument that is not given")


# How values stand in headers

case = page.server(MODERN, bindings=STREAMABLE, needs=("tools",))
schema_extension = case.at("schema-extension")


@case.must("value-encoding", "The call is served as if the name were there in plain.")
async def name_decoded(talk: ServerTalk) -> None:
    """An Mcp-Name in the Base64 sentinel form is decoded before it is compared."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    answer = await point.post(point.message(method, params), headers={NAME: sentinel(name)})
    check_taken(answer, name, f"{method} with Mcp-Name: {sentinel(name)}")


@case.must("value-encoding", "Status 400 and -32020: it is the plain text of another name.")
async def sentinel_small_letters(talk: ServerTalk) -> None:
    """The sentinel in capitals, or half of it, is plain text."""
    method, params, name = tool_call(talk)
    point = await endpoint(talk)
    whole = sentinel(name)
    for found in (whole.replace("base64", "BASE64"), whole.removesuffix("?="), whole[2:]):
        answer = await point.post(point.message(method, params), headers={NAME: found})
        check_mismatch(answer, f"Mcp-Name: {found}")


@case.must("value-encoding", "Status 400 and -32020.")
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
    "server-validation", "Status 400, with -32020 where the server's HTTP lets the header through."
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


# Which arguments a tool has mirrored

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PRIMITIVE = {"string", "integer", "boolean"}


class Mirror(Struct):
    """Where a tool's schema has the annotation."""

    tool: str
    name: Any
    rules: dict[str, Any]
    reachable: bool
    """Through ``properties`` alone."""


async def annotations(talk: ServerTalk) -> list[Mirror]:
    """All of them; a server without any has nothing to be tested here."""
    tools = await entries(await talk.open(), "tools/list", "tools")
    found = [
        Mirror(str(tool.get("name")), rules[MIRROR], rules, reachable)
        for tool in tools
        for rules, reachable in mirrored(tool.get("inputSchema"))
    ]
    need(found, f"no tool has {MIRROR} in its schema")
    return found


@schema_extension.must("One or more characters that a header name may have, no controls.")
async def name_is_a_token(talk: ServerTalk) -> None:
    """The name of a mirror is not empty, and a token of HTTP."""
    for each in await annotations(talk):
        fine = isinstance(each.name, str) and TOKEN.fullmatch(each.name)
        check(fine, f"{MIRROR} of {each.tool} is {each.name!r}", FLAW)


@schema_extension.must("No two mirrors of one tool differ in case alone.")
async def names_unique(talk: ServerTalk) -> None:
    """The names of a tool's mirrors are unique whatever their case."""
    seen: set[tuple[str, str]] = set()
    for each in await annotations(talk):
        key = (each.tool, str(each.name).lower())
        check(key not in seen, f"{each.tool} has {MIRROR} {each.name!r} twice")
        seen.add(key)


@schema_extension.must("string, integer or boolean; no number.")
async def primitive_types(talk: ServerTalk) -> None:
    """Only arguments of a primitive type are mirrored."""
    for each in await annotations(talk):
        found = each.rules.get("type")
        check(
            isinstance(found, str) and found in PRIMITIVE,
            f"{MIRROR} {each.name!r} of {each.tool} is on type {found!r}",
        )


@schema_extension.must("Every step from the root to the annotated property is a key of properties.")
async def statically_reachable(talk: ServerTalk) -> None:
    """Mirrored arguments are reached through properties alone."""
    for each in await annotations(talk):
        check(each.reachable, f"{MIRROR} {each.name!r} of {each.tool} is not reached so")
