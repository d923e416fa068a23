"""Cases of the page basic/transports/streamable-http for clients: headers that mirror."""

import base64
from typing import Any

from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import tool
from mcpcore_conformance.kit.client_steps import call, complete, listing, prompt, read, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.messages import HEADER_MISMATCH, Message
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/transports/streamable-http")
case = page.client(MODERN, bindings=STREAMABLE)

PREFIX, SUFFIX = "=?base64?", "?="
CUSTOM = "http-custom-headers"
"""The official scenario: list the tools, then make the calls of the context."""


def _decoded(value: str) -> str:
    """What a header means; Broken if it is in the sentinel form and cannot be read."""
    if not (value.startswith(PREFIX) and value.endswith(SUFFIX)):
        return value
    try:
        inner = value[len(PREFIX) : -len(SUFFIX)]
        return base64.b64decode(inner, validate=True).decode()
    except ValueError as error:
        raise Broken(f"{value!r} cannot be decoded: {error}") from error


def _asked(link: ClientLink) -> list[Message]:
    """The requests of this era, without an initialize that was tried first, as the other has it."""
    return [each for each in link.requests() if each.method != "initialize"]


def _check_plain(value: str) -> None:
    check(all(" " <= each <= "~" for each in value), f"{value!r} has characters that are not plain")


@case.must(
    "protocol-version-header/client",
    "MCP-Protocol-Version equals the version of _meta, on every POST.",
)
async def version_header(talk: ClientTalk) -> None:
    """Every POST names the version of the protocol."""
    link = await talk.open()
    await talk.finished()
    for message in _asked(link):
        wanted = members(message.params.get("_meta")).get(META_PROTOCOL_VERSION)
        found = link.header(message, "mcp-protocol-version")
        check(wanted is not None, f"{message.method} came without a version in _meta")
        check(found == wanted, f"{message.method} of {wanted} came with the version {found!r}")


@case.must("standard-request-headers/client-method", "Mcp-Method equals the method, on every POST.")
async def method_header(talk: ClientTalk) -> None:
    """Every POST names the method."""
    link = await talk.open()
    await talk.finished()
    for message in _asked(link):
        found = link.header(message, "mcp-method")
        check(found == message.method, f"{message.method} came with Mcp-Method {found!r}")


@case.must("standard-request-headers/client-name", "Mcp-Name equals the tool's name.")
async def name_header(talk: ClientTalk) -> None:
    """A call names the tool."""
    link = await talk.open()
    message = await link.expect("tools/call")
    found = link.header(message, "mcp-name")
    wanted = message.params.get("name")
    check(wanted is not None, "tools/call came without a name")
    check(found == wanted, f"{wanted!r} came with Mcp-Name {found!r}")


@case.must(
    "standard-request-headers/client-all-methods",
    "Mcp-Name for tools/call, resources/read and prompts/get; Mcp-Method always.",
    **scripted(
        call("echo"), read("test://kit/a%20b?c=d"), prompt("greet"), complete(), listing("prompts")
    ),
)
async def all_methods(talk: ClientTalk) -> None:
    """Requests of all methods have the headers of their method."""
    link = await talk.open()
    await talk.finished()
    for message in _asked(link):
        found = link.header(message, "mcp-method")
        check(found == message.method, f"{message.method} came with Mcp-Method {found!r}")
        named = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
        member = named.get(message.method)
        if member is not None:
            name, wanted = link.header(message, "mcp-name"), message.params.get(member)
            check(wanted is not None, f"{message.method} came without {member}")
            check(name == wanted, f"{message.method} of {wanted!r} came with Mcp-Name {name!r}")


NAMES = ("naïve ☃", " padded ", "line\nbreak", "=?base64?bGl0ZXJhbA==?=")


@case.must(
    "value-encoding/client-name",
    "The sentinel form of base64, which decodes to the name.",
    **scripted(*[prompt(name) for name in NAMES], read("test://kit/ø☃")),
)
async def name_encoded(talk: ClientTalk) -> None:
    """Names that are not plain, or look encoded, are encoded in Mcp-Name."""
    talk.serving.prompts = [{"name": name} for name in NAMES]
    link = await talk.open()
    for wanted in (*NAMES, "test://kit/ø☃"):
        message = await link.expect(lambda each: each.method in ("prompts/get", "resources/read"))
        found = link.header(message, "mcp-name")
        if found is None:
            raise Broken(f"{message.method} of {wanted!r} came without Mcp-Name")
        _check_plain(found)
        check(found.startswith(PREFIX), f"{wanted!r} came as {found!r}, not encoded")
        check(_decoded(found) == wanted, f"{wanted!r} came as {found!r}")
        await link.serve_one(message)


def _mirroring(name: str = "mirror", **properties: dict[str, Any]) -> dict[str, Any]:
    """A tool whose parameters ask to be mirrored."""
    return tool(name, inputSchema={"type": "object", "properties": properties})


def _of(kind: str, wanted: str) -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": wanted}


def _calls(*arguments: dict[str, Any], name: str = "mirror") -> dict[str, Any]:
    return {"toolCalls": [{"name": name, "arguments": each} for each in arguments]}


async def _next_call(talk: ClientTalk, link: ClientLink) -> Message:
    message = await link.expect("tools/call")
    await link.serve_one(message)
    return message


@case.must(
    "custom-headers-from-tool-parameters/client-mirrors",
    "Mcp-Param headers with the values, and none for other parameters.",
    scenario=CUSTOM,
    context=_calls({"region": "us west 1", "count": -7, "dry": False, "empty": "", "query": "q"}),
)
async def mirrors(talk: ClientTalk) -> None:
    """Parameters that ask for it are mirrored, and no others."""
    talk.serving.tools = [
        _mirroring(
            region=_of("string", "Region"),
            count=_of("integer", "Count"),
            dry=_of("boolean", "dRY"),
            empty=_of("string", "Empty"),
            query={"type": "string"},
        )
    ]
    link = await talk.open()
    message = await link.expect("tools/call")
    found = {name: value for name, value in link.headers(message) if name.startswith("mcp-param-")}
    wanted = {
        "mcp-param-region": "us west 1",
        "mcp-param-count": "-7",
        "mcp-param-dry": "false",
        "mcp-param-empty": "",
    }
    check(found == wanted, f"the parameters came as {found}")


HOSTILE = ("Hello, 世界", " padded ", "line1\r\nX-Injected: yes", "=?base64?literal?=", "nul\0l")


@case.must(
    "value-encoding/client-base64",
    "The sentinel form of base64, which decodes to the value.",
    scenario=CUSTOM,
    context=_calls(*[{"text": each} for each in HOSTILE]),
)
async def value_encoded(talk: ClientTalk) -> None:
    """Values that are not plain, are padded, or look encoded, are encoded."""
    talk.serving.tools = [_mirroring(text=_of("string", "Text"))]
    link = await talk.open()
    for wanted in HOSTILE:
        message = await _next_call(talk, link)
        found = link.header(message, "mcp-param-text")
        if found is None:
            raise Broken(f"{wanted!r} was not mirrored")
        _check_plain(found)
        check(
            found.startswith(PREFIX) and found.endswith(SUFFIX),
            f"{wanted!r} came as {found!r}, not encoded",
        )
        check(_decoded(found) == wanted, f"{wanted!r} came as {found!r}")


@case.must(
    "value-encoding/client-no-injection",
    "No header that the client did not mean to send.",
    scenario=CUSTOM,
    context=_calls({"text": "a\r\nX-Injected: yes"}, {"text": "a\nX-Injected: yes"}),
)
async def no_injection(talk: ClientTalk) -> None:
    """Line breaks in values do not become headers."""
    talk.serving.tools = [_mirroring(text=_of("string", "Text"))]
    link = await talk.open()
    await talk.finished()
    for message in link.seen:
        found = header(link.headers(message), "x-injected")
        check(found is None, f"a value became the header X-Injected: {found}")
    check(len(link.requests("tools/call")) >= 2, "the calls were not made")


@case.must(
    "schema-extension/client-nested",
    "The value at the path of the property; no header where there is none.",
    scenario=CUSTOM,
    context=_calls({"place": {"region": "north", "more": {"n": 3}}}, {"place": {}}),
)
async def nested(talk: ClientTalk) -> None:
    """Properties of properties are mirrored too."""
    more = {"type": "object", "properties": {"n": _of("integer", "N")}}
    inner = {"region": _of("string", "Region"), "more": more}
    talk.serving.tools = [_mirroring(place={"type": "object", "properties": inner})]
    link = await talk.open()
    message = await _next_call(talk, link)
    found = [link.header(message, f"mcp-param-{name}") for name in ("region", "n")]
    check(found == ["north", "3"], f"the nested values north and 3 came as {found}")
    message = await _next_call(talk, link)
    found = [link.header(message, f"mcp-param-{name}") for name in ("region", "n")]
    check(found == [None, None], f"values that are not there came as {found}")


@case.must(
    "server-behavior-for-custom-headers/client-omits",
    "No header.",
    scenario=CUSTOM,
    context=_calls({"a": None, "b": "x"}, {"b": "x"}),
)
async def omits(talk: ClientTalk) -> None:
    """A parameter that is null or absent has no header."""
    nullable = {"type": "string", "x-mcp-header": "A"}
    talk.serving.tools = [_mirroring(a=nullable, b=_of("string", "B"))]
    link = await talk.open()
    for _ in range(2):
        message = await _next_call(talk, link)
        found = link.header(message, "mcp-param-a")
        check(found is None, f"{message.params.get('arguments')} came with Mcp-Param-A {found!r}")
        check(link.header(message, "mcp-param-b") == "x", "Mcp-Param-B is missing")


BAD: dict[str, dict[str, Any]] = {
    "empty": {"a": _of("string", "")},
    "blank": {"a": _of("string", "My Header")},
    "colon": {"a": _of("string", "My:Header")},
    "foreign": {"a": _of("string", "Région")},
    "control": {"a": _of("string", "A\r\nB")},
    "number": {"a": _of("number", "A")},
    "array": {"a": _of("array", "A")},
    "object": {"a": _of("object", "A")},
    "twice": {"a": _of("string", "A"), "b": _of("string", "a")},
    "items": {"a": {"type": "array", "items": _of("string", "A")}},
    "options": {"a": {"anyOf": [_of("string", "A"), {"type": "null"}]}},
    "no_string": {"a": {"type": "string", "x-mcp-header": 7}},
}


@case.must(
    "schema-extension/client-leaves-out",
    "Only the tool whose annotations are right is called.",
    scenario="http-invalid-tool-headers",
)
async def leaves_out(talk: ClientTalk) -> None:
    """Tools with annotations that break the rules are not offered, the others are."""
    talk.serving.tools = [
        *[_mirroring(f"bad_{name}", **properties) for name, properties in BAD.items()],
        _mirroring("valid_tool", a=_of("string", "A")),
    ]
    link = await talk.open()
    await talk.finished()
    called = {each.params.get("name") for each in link.requests("tools/call")}
    bad = sorted(str(each) for each in called - {"valid_tool"})
    check(not bad, f"tools with broken annotations were called: {', '.join(bad)}")
    check("valid_tool" in called, "the tool whose annotations are right was not called")


@case.should(
    "client-behavior/client-refreshes",
    "tools/list, then the call once more with the header.",
    scenario=CUSTOM,
    context=_calls({"region": "north"}),
)
async def refreshes(talk: ClientTalk) -> None:
    """A call whose headers are refused is made again after a look at the tools."""
    talk.serving.tools = [_mirroring(region={"type": "string"})]
    link = await talk.open()
    message = await link.expect("tools/call")
    lists = len(link.requests("tools/list"))
    talk.serving.tools = [_mirroring(region=_of("string", "Region"))]
    await link.fail(message, HEADER_MISMATCH, "Mcp-Param-Region is missing", status=400)
    again = await link.expect("tools/call")
    check(len(link.requests("tools/list")) > lists, "the tools were not listed again")
    found = link.header(again, "mcp-param-region")
    check(found == "north", f"the call was made again with Mcp-Param-Region {found!r}")


@case.may(
    "client-behavior/client-refreshes-once",
    "The call is given up after a few attempts.",
    scenario=CUSTOM,
    context=_calls({"region": "north"}),
)
async def refreshes_once(talk: ClientTalk) -> None:
    """A server that always refuses the headers is not asked for ever."""
    talk.serving.tools = [_mirroring(region=_of("string", "Region"))]
    link = await talk.open()
    for _ in range(6):
        message = await link.wait_for("tools/call")
        if message is None:
            return
        await link.fail(message, HEADER_MISMATCH, "Mcp-Param-Region is wrong", status=400)
    raise Broken("the call was made six times")
