"""Cases of the page basic/index for clients: batches, metadata, schemas."""

from typing import Any

from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import text
from mcpcore_conformance.kit.client_steps import (
    call,
    complete,
    listen,
    listing,
    prompt,
    read,
    require_input,
    scripted,
    texts,
    together,
    under_way,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import Kind, Message, result
from mcpcore_conformance.kit.model import (
    EVERY,
    MODERN,
    ONLY_2025_03_26,
    SINCE_2025_11_25,
    STREAMABLE,
    Binding,
    Page,
)
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/index")
case = page.client(MODERN)


# Batches


@case.must(
    "batching/client-takes-requests",
    "Each request of the batch is answered once, notifications are not.",
    ONLY_2025_03_26,
)
async def takes_batches(talk: ClientTalk) -> None:
    """A batch of requests and notifications is received and answered."""
    link = await talk.open()
    message = await link.expect("tools/call")
    batch = [
        {"jsonrpc": "2.0", "id": "one", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/com.example/odd"},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
    ]
    await link.say(batch, about=message)
    for each in ("one", 2):
        found = await link.wait_for(lambda heard, id=each: heard.answers(id))  # type: ignore[misc]
        if found is None:
            raise Broken(f"the request {each!r} of a batch got no answer: {talk.state(link)}")
    await link.serve_one(message)
    await talk.succeeded()
    answers = [each.id for each in link.seen if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(len(answers) == 2, f"a batch of two requests got answers to {answers}")


@case.must(
    "batching/client-takes-responses",
    "Both calls get their results.",
    ONLY_2025_03_26,
    bindings=EVERY - {Binding.HTTP},
    **scripted(together(call(arguments={"text": "a"}), call(arguments={"text": "b"}))),
)
async def takes_batched_responses(talk: ClientTalk) -> None:
    """A batch of responses answers all of its requests."""
    talk.serving.answer_by = "sse"
    link = await talk.open()
    held = await under_way(link, "tools/call", 2)
    if len(held) == 1:
        talk.skip("the client makes one call at a time")
    batch = [result(each.id, text(each.params["arguments"]["text"])) for each in reversed(held)]
    await link.say(batch, about=held[0])
    step = await talk.step()
    found = [texts(each.result) if each.good else str(each) for each in step.steps]
    check(found == [["a"], ["b"]], f"the calls got {found}")


# Metadata


def _asked(link: ClientLink) -> list[Message]:
    """What the client has asked for; initialize, which is of the other era, has no metadata."""
    return [each for each in link.requests() if each.method != "initialize"]


def _check_meta(message: Any, revision: str) -> None:
    meta = message.params.get("_meta")
    check(isinstance(meta, dict), f"{message.method} has no _meta")
    version = meta.get(META_PROTOCOL_VERSION)
    check(version == revision, f"{message.method} has the protocol version {version!r}")
    capabilities = meta.get(META_CLIENT_CAPABILITIES)
    check(isinstance(capabilities, dict), f"{message.method} has the capabilities {capabilities!r}")


@case.must("_meta/client-required", "_meta has the protocol version and the client's capabilities.")
async def meta_required(talk: ClientTalk) -> None:
    """Every request carries what a server has to know."""
    link = await talk.open()
    await talk.finished()
    for message in _asked(link):
        _check_meta(message, talk.revision.name)


@case.must(
    "_meta/client-required-everywhere",
    "_meta has the protocol version and the client's capabilities.",
    **scripted(
        listing("tools"),
        listing("resources"),
        listing("templates"),
        listing("prompts"),
        call(),
        read("test://kit/one"),
        prompt("greet"),
        complete(),
        listen(tools=True, changes=1),
    ),
)
async def meta_everywhere(talk: ClientTalk) -> None:
    """Requests of every kind, also those made again, carry what a server has to know."""
    link = await talk.open()
    message = await link.expect("tools/call")
    await require_input(link, message, {"a": {"method": "roots/list"}})
    again = await link.wait_for("tools/call")
    await link.serve_one(again or message)
    for method in ("resources/read", "prompts/get", "completion/complete"):
        await link.serve_one(await link.expect(method))
    await link.expect("subscriptions/listen")
    for each in _asked(link):
        _check_meta(each, talk.revision.name)


@case.should("_meta/client-info", "_meta has the client's name and version.")
async def client_info(talk: ClientTalk) -> None:
    """Every request says who asks."""
    link = await talk.open()
    await talk.finished()
    for message in _asked(link):
        info = message.params.get("_meta", {}).get(META_CLIENT_INFO)
        check(
            isinstance(info, dict) and "name" in info and "version" in info,
            f"{message.method} has the clientInfo {info!r}",
        )


# Schemas


@case.must(
    "ref-resolution/client-no-network", "Nothing is asked for at that address.", bindings=STREAMABLE
)
async def ref_no_network(talk: ClientTalk) -> None:
    """A $ref to the network, in the schemas of a tool, is not fetched."""
    origin = talk.host.address.rpartition("/")[0]
    remote = {"$ref": f"{origin}/canary.json"}
    talk.serving.tools[0] = {
        **talk.serving.tools[0],
        "inputSchema": {"type": "object", "properties": {"a": remote, "b": {"type": "number"}}},
        "outputSchema": {"type": "object", "properties": {"sum": remote}},
    }
    link = await talk.open()
    message = await link.expect("tools/call")
    await link.respond(message, {**text("8"), "structuredContent": {"sum": 8}})
    await talk.finished()
    asked = (*link.asked, *link.strays)
    fetched = [each.target for each in asked if "canary" in each.target]
    check(not fetched, f"the client fetched {fetched}")


@case.should(
    "ref-resolution/client-unresolved",
    "The call fails: what cannot be checked is not taken.",
    **scripted(listing(), call("sum")),
)
async def ref_unresolved(talk: ClientTalk) -> None:
    """A result that cannot be checked, as its schema refers to the network, is not permitted."""
    remote = {"$ref": "http://127.0.0.1:9/canary.json"}
    schema = {"type": "object", "properties": {"sum": remote}, "required": ["sum"]}
    talk.serving.tools.append(
        {"name": "sum", "inputSchema": {"type": "object"}, "outputSchema": schema}
    )
    link = await talk.open()
    message = await link.expect("tools/call")
    await link.respond(message, {**text("8"), "structuredContent": {"sum": 8}})
    step = await talk.step(1)
    check(not step.good, f"a result that cannot be checked was taken: {step.result!r}")


@case.must(
    "schema-dialect/client-keeps-schema",
    "The schema comes back as it was.",
    SINCE_2025_11_25,
    scenario="json-schema-2020-12-preservation",
)
async def keeps_schema(talk: ClientTalk) -> None:
    """A schema with the keywords of 2020-12 reaches the client's owner as it is."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"street": {"type": "string", "$anchor": "street"}},
        "properties": {"to": {"$ref": "#/$defs/street"}, "n": {"type": "integer"}},
        "allOf": [{"anyOf": [{"required": ["to"]}, {"required": ["n"]}]}],
        "if": {"required": ["n"]},
        "then": {"properties": {"n": {"minimum": 1}}},
        "else": {"properties": {"to": {"minLength": 1}}},
        "unevaluatedProperties": False,
    }
    echo = {
        "type": "object",
        "properties": {"schema": {"type": "object"}},
        "required": ["schema"],
    }
    talk.serving.tools = [
        {"name": "json_schema_2020_12_tool", "inputSchema": schema},
        {"name": "json_schema_echo", "inputSchema": echo},
    ]
    link = await talk.open()
    message = await link.expect("tools/call")
    while message.params.get("name") != "json_schema_echo":
        await link.serve_one(message)
        message = await link.expect("tools/call")
    found = message.params.get("arguments", {}).get("schema")
    if not found:
        talk.skip("the client does not know the scenario")
    check(found == schema, f"the schema came back as {found!r}")
