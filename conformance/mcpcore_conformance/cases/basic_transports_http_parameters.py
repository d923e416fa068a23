"""Cases of the page basic/transports/streamable-http: arguments that are mirrored into headers."""

from typing import Any

from msgspec import Struct

from mcpcore_conformance.cases.basic_transports_http_headers import check_mismatch, sentinel
from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    OK,
    Answer,
    Endpoint,
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.features import NONE_MAY_BE_CALLED
from mcpcore_conformance.kit.headers import mirror
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/streamable-http")

MIRROR = "x-mcp-header"
KINDS = "test_x_mcp_header_kinds"
case = page.server(MODERN, bindings=STREAMABLE, needs=(f"tool:{KINDS}",))


class Call(Struct):
    """A call with one mirrored argument, a string."""

    point: Endpoint
    tool: str
    argument: str
    header: str
    arguments: dict[str, Any]

    async def made(self, value: str, *, header: str | None) -> Answer:
        """Make the call with this value of the argument, and of the header."""
        params = {"name": self.tool, "arguments": {**self.arguments, self.argument: value}}
        message = self.point.message("tools/call", params)
        return await self.point.post(message, headers={self.header: header})


async def mirrored_call(talk: ServerTalk) -> Call:
    """A call of any tool that mirrors a string, into a header that there can be."""
    found = [
        (tool, name, header)
        for tool in talk.features.tools.values()
        for name, rules in tool.input_schema.get("properties", {}).items()
        if rules.get("type") == "string" and (header := mirror(rules))
    ]
    for tool, name, header in found:
        if talk.features.may_call(tool):
            arguments = {**talk.arguments(tool), name: "kit"}
            return Call(await endpoint(talk), tool.name, name, header, arguments)
    only = f"of those that mirror a string, {NONE_MAY_BE_CALLED}"
    talk.skip(only if found else f"no tool mirrors a string ({MIRROR})")


@case.must("server-behavior-for-custom-headers/served", "The call is served.", needs=())
async def param_served(talk: ServerTalk) -> None:
    """A call with the headers of its mirrored arguments is served."""
    call = await mirrored_call(talk)
    check_served(await call.made("eu-west", header="eu-west"), "a call with its mirror")


@case.must("server-behavior-for-custom-headers/missing", "Status 400 and -32020.", needs=())
async def param_missing(talk: ServerTalk) -> None:
    """An argument whose header is missing is refused."""
    call = await mirrored_call(talk)
    check_mismatch(await call.made("kit", header=None), f"a call without {call.header}")


@case.must("server-behavior-for-custom-headers/other-than-body", "Status 400 and -32020.", needs=())
async def param_other(talk: ServerTalk) -> None:
    """A header that is not the argument, letter by letter, is refused."""
    call = await mirrored_call(talk)
    for found in ("kit-other", "KIT", "ki", sentinel("other")):
        check_mismatch(await call.made("kit", header=found), f"{call.header}: {found} for 'kit'")


@case.must(
    "server-behavior-for-custom-headers/decoded",
    "The call is served as if the value were there in plain.",
    needs=(),
)
async def param_decoded(talk: ServerTalk) -> None:
    """A value in the Base64 sentinel form is decoded before it is compared."""
    call = await mirrored_call(talk)
    for value in ("kit", "Hello, \u4e16\u754c", " padded ", "line1\nline2", "=?base64?literal?="):
        answer = await call.made(value, header=sentinel(value))
        check_served(answer, f"{call.header}: {sentinel(value)} for {value!r}")


@case.must(
    "value-encoding/sentinel-look-alike",
    "What begins or ends like the sentinel, but does not do both, is plain text.",
    needs=(),
)
async def sentinel_look_alike(talk: ServerTalk) -> None:
    """Half a sentinel is a value like others."""
    call = await mirrored_call(talk)
    for value in ("=?base64?a2l0", "a2l0?=", "=?BASE64?a2l0?="):
        check_served(await call.made(value, header=value), f"{call.header}: {value}")


@case.must("value-encoding/parameter-broken", "Status 400 and -32020.", needs=())
async def param_broken(talk: ServerTalk) -> None:
    """What is no Base64 within the sentinel of a parameter is refused."""
    call = await mirrored_call(talk)
    for inside in ("SGVsbG8", "SGVs!!!bG8=", "SGVsbG8=="):
        found = f"=?base64?{inside}?="
        check_mismatch(await call.made("Hello", header=found), f"{call.header}: {found}")


@case.must(
    "server-behavior-for-custom-headers/invalid-characters",
    "Status 400, also if the bytes are those of the argument.",
    needs=(),
)
async def param_characters(talk: ServerTalk) -> None:
    """A mirror with bytes outside ASCII is refused."""
    call = await mirrored_call(talk)
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
async def param_unknown(talk: ServerTalk) -> None:
    """A parameter header that the server does not know is passed over."""
    tool = talk.any_tool()
    point = await endpoint(talk)
    call = {"name": tool.name, "arguments": talk.arguments(tool)}
    message = point.message("tools/call", call)
    answer = await point.post(message, headers={"mcp-param-kit-unknown": "kit"})
    check_served(answer, "a call with a parameter header that nobody asked for")


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
async def param_nested(talk: ServerTalk) -> None:
    """The header of a nested argument is compared as well."""
    calls = await kinds(talk)
    arguments = {"place": {"zone": "b"}}
    check_served(await calls.made(arguments, zone="b"), "a nested mirror")
    check_mismatch(await calls.made(arguments), "a nested argument without its header")
    check_mismatch(await calls.made(arguments, zone="c"), "a nested mirror of another value")


@case.must(
    "value-encoding/booleans", "true and false, in small letters; anything else is another value."
)
async def param_boolean(talk: ServerTalk) -> None:
    """Booleans are mirrored as true and false."""
    calls = await kinds(talk)
    check_served(await calls.made({"dry": True}, dry_run="true"), "true for true")
    check_served(await calls.made({"dry": False}, dry_run="false"), "false for false")
    for found in ("false", "1", "yes"):
        answer = await calls.made({"dry": True}, dry_run=found)
        check_mismatch(answer, f"Mcp-Param-Dry-Run: {found} for true")


@case.must("value-encoding/integers", "Decimal digits; another number is another value.")
async def param_integer(talk: ServerTalk) -> None:
    """Integers are mirrored in decimal."""
    calls = await kinds(talk)
    for value in (42, -7, 0, 2**53 - 1):
        check_served(await calls.made({"shard": value}, shard=str(value)), f"{value} for {value}")
    for value, found in ((42, "43"), (42, "0x2a"), (42, "forty-two"), (2**53 - 1, str(2**53 - 2))):
        answer = await calls.made({"shard": value}, shard=found)
        check_mismatch(answer, f"Mcp-Param-Shard: {found} for {value}")


@case.should(
    "schema-extension/integers-within-range",
    "Refused: beyond 2^53 an integer is not the same for every reader.",
)
async def integers_within_range(talk: ServerTalk) -> None:
    """An integer outside the safe range is not mirrored."""
    calls = await kinds(talk)
    for value in (2**53, -(2**53), 10**30):
        answer = await calls.made({"shard": value}, shard=str(value))
        served = answer.result is not None and not answer.result.get("isError")
        check(not served, f"Mcp-Param-Shard: {value} was served")


@case.should("server-validation/integers-numerically", "42.0 in the header is 42 in the body.")
async def integers_numerically(talk: ServerTalk) -> None:
    """Integers are compared as numbers."""
    calls = await kinds(talk)
    answer = await calls.made({"shard": 42}, shard="42.0")
    check_served(answer, "Mcp-Param-Shard: 42.0 for 42")


@case.must(
    "server-behavior-for-custom-headers/absent-not-expected",
    "The call is served without the header.",
)
async def absent_not_expected(talk: ServerTalk) -> None:
    """An argument that is not given needs no header."""
    calls = await kinds(talk)
    check_served(await calls.made({}), "a call without arguments and mirrors")
    answer = await calls.made({"place": {}})
    check_served(answer, "a nested argument that is not given")


@case.must(
    "server-behavior-for-custom-headers/null-not-expected",
    "Whatever becomes of the call, its headers are not what is wrong.",
)
async def null_not_expected(talk: ServerTalk) -> None:
    """An argument that is null needs no header."""
    calls = await kinds(talk)
    answer = await calls.made({"note": None})
    check(answer.status == OK, f"an argument that is null, without its header, got {answer}")


@case.should(
    "server-validation/header-without-argument",
    "Status 400 and -32020: the header claims what the body does not say.",
)
async def header_without_argument(talk: ServerTalk) -> None:
    """The header of an argument that is not there contradicts the body."""
    calls = await kinds(talk)
    answer = await calls.made({}, note="kit")
    check_mismatch(answer, "a mirror of an argument that is not given")
