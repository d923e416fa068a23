"""Cases of the page basic/index for clients."""

from typing import Any

from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import text
from mcpcore_conformance.kit.client_shapes import sent_problem
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
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import (
    METHOD_NOT_FOUND,
    Kind,
    Message,
    encode,
    error,
    is_id,
    result,
)
from mcpcore_conformance.kit.model import (
    LEGACY,
    MODERN,
    ONE_CHANNEL,
    ONLY_2025_03_26,
    SINCE_2025_11_25,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.verdicts import ID, MESSAGE, MISMADE, Broken, check, need

page = Page("basic/index")
case = page.client()
messages = case.at("messages")
responses = case.at("responses")

CALLS = 40
DEPTH = 20_000
HELD_BACK = 0.5
"""Seconds in which a client that has taken another answer for its own leaves, or goes on."""


# Messages and requests


@messages.must(
    "jsonrpc is 2.0, params are an object, and all else is as JSON-RPC has it.", bare=True
)
async def json_rpc(talk: ClientTalk) -> None:
    """What a client sends, answers too, are JSON-RPC messages."""
    talk.forgives, talk.skips_noise = MISMADE - {MESSAGE}, True
    link = await talk.open()
    message = await link.wait_for("tools/call")
    if message is not None:
        if talk.revision.handshake:
            told = await link.tell("ping", about=message)
            await link.wait_for(lambda each: each.answers(told.id))
        await link.serve_one(message)
    await talk.finished()


@case.must(
    "requests/client-id",
    "Every request has an id that is a string or an integer; notifications have none.",
    bare=True,
)
async def id_type(talk: ClientTalk) -> None:
    """What a client sends are requests with proper ids, and notifications without one."""
    talk.forgives = MISMADE - {ID}
    link = await talk.open()
    await talk.finished()
    for message in link.requests():
        check(is_id(message.id), f"the id of {message.method} is {message.id!r}")
    known = {"notifications/initialized", "notifications/cancelled", "notifications/progress"}
    strange = [
        each.method
        for each in link.requests()
        if each.method in known or each.method.startswith("notifications/")
    ]
    check(not strange, f"notifications were sent with an id: {strange}")


@case.must("requests", "No id is used twice in a session.", LEGACY)
async def id_fresh(talk: ClientTalk, link: ReadyLink) -> None:
    """A client never uses an id again within a session."""
    await talk.finished()
    requests = [each for each in link.session if each.kind is Kind.REQUEST]
    ids = [(type(each.id), each.id) for each in requests if is_id(each.id)]
    check(len(set(ids)) == len(ids), f"the ids are {[each for _, each in ids]}")


@case.must(
    "requests",
    "Requests that are under way at the same time have different ids.",
    **scripted(together(*[call(arguments={"text": str(n)}) for n in range(CALLS)])),
)
async def id_unique(link: ReadyLink) -> None:
    """Forty requests at once have forty ids; of a client that bounds them, as many as it makes."""
    held = await under_way(link, "tools/call", CALLS)
    need(len(held) != 1, "the client makes one call at a time")
    ids = {(type(each.id), each.id) for each in held}
    check(len(ids) == len(held), f"{len(held)} requests have {len(ids)} ids")


@responses.should(
    "Each call gets the result that has its id.",
    **scripted(together(*[call(arguments={"text": str(n)}) for n in range(CALLS)])),
)
async def matches_by_id(talk: ClientTalk, link: ReadyLink) -> None:
    """Answers that come in another order reach their own requests."""
    left = most = CALLS
    while left:
        held = await under_way(link, "tools/call", min(left, most))
        most = len(held)
        left -= most
        talk.random.shuffle(held)
        for message in held:
            await link.respond(message, text(message.params["arguments"]["text"]))
    step = await talk.step()
    found = [texts(each.result) if each.good else [str(each)] for each in step.steps]
    wrong = [n for n, each in enumerate(found) if each != [str(n)]]
    check(not wrong, f"call {wrong[:1]} got {found[wrong[0]] if wrong else ''}")


async def _well_formed(talk: ClientTalk, kind: Kind) -> None:
    """Check the params of all requests, or of all notifications, of a call."""
    await talk.open()
    await talk.finished()
    for message in (each for link in talk.links for each in link.seen):
        # what is no good message is what another case is about
        if message.kind is kind and not message.detail:
            problem = sent_problem(message.method, message.params, talk.revision)
            check(not problem, f"the params of {message.method}: {problem}")


@case.must("requests/client-params", "They have the members of their method, each of its type.")
async def request_params(talk: ClientTalk) -> None:
    """The params of a client's requests are those that the schema of the revision has."""
    await _well_formed(talk, Kind.REQUEST)


@case.must(
    "notifications/client-params", "They have the members of their method, each of its type."
)
async def notification_params(talk: ClientTalk) -> None:
    """The params of a client's notifications are those that the schema of the revision has."""
    await _well_formed(talk, Kind.NOTIFICATION)


# Responses that a client gets


async def _not_taken(talk: ClientTalk, broken: dict[str, Any], what: str) -> None:
    """Answer a call with something broken, then well: only the second may be taken."""
    link, message = await talk.expect("tools/call")
    await link.answer(message, {"jsonrpc": "2.0", "id": message.id, **broken})
    step = await talk.step()
    check(not step.good, f"{what} was taken for a result: {step.result!r}")


@responses.should("The call fails.", **scripted(call(timeout=2)))
async def result_and_error(talk: ClientTalk) -> None:
    """A response with both a result and an error is no result."""
    found = {"code": 1, "message": "an error"}
    good = {**text("both"), "resultType": "complete"}
    await _not_taken(talk, {"result": good, "error": found}, "a response with both")


@responses.should("The call fails.", **scripted(call(timeout=2)))
async def neither(talk: ClientTalk) -> None:
    """A response with neither a result nor an error is no result."""
    await _not_taken(talk, {}, "a response with neither")


@responses.should("The calls fail.", **scripted(together(*[call(timeout=2) for _ in range(4)])))
async def version_member(talk: ClientTalk, link: ReadyLink) -> None:
    """A response that does not say that it is JSON-RPC 2.0 is no result."""
    for wrong in ({"jsonrpc": "1.0"}, {"jsonrpc": 2.0}, {"jsonrpc": None}, {}):
        message = await link.expect("tools/call")
        good = {**text("of another protocol"), "resultType": "complete"}
        await link.answer(message, {**wrong, "id": message.id, "result": good})
    step = await talk.step()
    check(len(step.steps) == 4, f"{len(step.steps)} calls of four were reported")
    taken = [number for number, each in enumerate(step.steps) if each.good]
    check(not taken, f"of four responses {len(taken)} were taken for results")


@responses.should("They are dropped, and the client's own request gets its answer.")
async def unknown_id(talk: ClientTalk) -> None:
    """Responses with an id that no request has are nobody's answer.

    The answer to the request is held back: who has taken another one for it leaves before it comes.
    """
    talk.serving.answer_by = "sse"
    link, message = await talk.expect("tools/call")
    for each in ("nobody's", 987654, -1):
        await link.say(result(each, {"content": [], "resultType": "complete"}), about=message)
    await link.say(error(31337, 1, "nobody's"), about=message)
    exchange = message.source.exchange
    left = await link.until(lambda: link.gone or exchange in link.dropped or talk.ended, HELD_BACK)
    check(not left, f"the client did not wait for its own answer: {talk.state(link)}")
    await link.serve_one(message)
    await talk.succeeded()


@responses.should("It is not the answer: 7 and the string 7 are different ids.", **scripted(call()))
async def id_kind(talk: ClientTalk) -> None:
    """A response whose id has another type than that of the request does not answer it."""
    talk.serving.answer_by = "sse"
    link, message = await talk.expect("tools/call")
    other: Any = str(message.id)
    if isinstance(message.id, str):
        other = int(message.id) if message.id.isdigit() else [message.id]
    wrong = {**text("for another"), "resultType": "complete"}
    await link.say({"jsonrpc": "2.0", "id": other, "result": wrong}, about=message)
    await link.respond(message, text("for this one"))
    step = await talk.good_step()
    check(texts(step.result) == ["for this one"], f"the call got {step.result!r}")


@case.must("resulttype", "The call fails: the result is invalid.", MODERN, **scripted(call()))
async def unknown(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A result of a type that the client does not know is invalid."""
    await link.respond(message, {**text("strange"), "resultType": "com.example/half"})
    step = await talk.step()
    check(not step.good, f"a result of the type com.example/half was taken: {step.result!r}")


@case.must("resulttype/client-absent", "The result counts as complete.", MODERN)
async def result_type_absent(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A result without a type is complete."""
    await link.respond(message, text("as it used to be"), bare=True)
    await talk.succeeded()


@case.should("general-fields", "They are kept or ignored; the call succeeds.")
async def unknown_members(talk: ClientTalk) -> None:
    """Members that a client does not know do no harm."""
    strange = {"x": [1, {"y": None}], "n": 1e3}
    talk.serving.tools = [
        {**each, "com.example/odd": strange, "_meta": {"com.example/a": strange}}
        for each in talk.serving.tools
    ]
    link, message = await talk.expect("tools/call")
    meta = {"com.example/b": strange}
    await link.notify("notifications/com.example/odd", strange, about=message)
    block = {"type": "text", "text": "odd", "odd": strange, "_meta": meta}
    await link.respond(message, {"content": [block], "odd": strange, "_meta": meta})
    await talk.succeeded()


@messages.may(
    "The call fails or not, and the next one succeeds.", **scripted(call(timeout=5), call())
)
async def survives_depth(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A result that is nested twenty thousand times does not bring a client down."""
    deep = b"[" * DEPTH + b"]" * DEPTH
    good = encode(result(message.id, {**text("deep"), "resultType": "complete"}))
    await link.answer(message, good[:-2] + b',"deep":' + deep + b"}}")
    await link.serve_one(await link.expect("tools/call", within=10.0))
    await talk.good_step("the next call", 1)


@messages.may("The call fails, and the next one succeeds.", **scripted(call(timeout=3), call()))
async def survives_garbage(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """An answer that is no JSON fails one call at most."""
    await link.answer(message, b'{"jsonrpc":"2.0","id":')
    await link.serve_one(await link.expect("tools/call"))
    report = await talk.report()
    check(len(report.steps) == 2, f"{len(report.steps)} steps of two were reported")
    check(not report.steps[0].good, f"garbage was taken for {report.steps[0].result!r}")
    check(report.steps[1].good, f"the next call ended with {report.steps[1]}")


# Responses that a client gives


@responses.must("The answer has the same id, in value and type.", LEGACY)
async def echoes_id(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A client answers requests of the server with the id that they have."""
    for each in (0, -7, 7, "7", "", "ø☃", 2**53 - 1, talk.random.getrandbits(40)):
        await link.ask("ping", id=each, about=message)


@responses.must("The error -32601.", LEGACY)
async def unknown_method(link: CalledLink, message: Call) -> None:
    """A request of the server that the client does not know gets an error."""
    answer = await link.ask("com.example/odd", {"a": 1}, about=message)
    check(answer.kind is Kind.ERROR, f"com.example/odd was answered with {answer.value!r}")
    check(answer.code == METHOD_NOT_FOUND, f"com.example/odd got the error {answer.code}")


@case.must("notifications", "Nothing is said about them.")
async def no_answer(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Notifications are never answered, whatever is wrong with them."""
    for method, params in (
        ("notifications/com.example/odd", {"a": 1}),
        ("notifications/com.example/odd", None),
        ("notifications/message", {"level": "nonsense"}),
        ("notifications/resources/updated", {}),
        ("notifications/progress", {"progressToken": None, "progress": "much"}),
    ):
        await link.notify(method, params, about=message)
    await link.serve_one(message)
    await link.quiet()
    await talk.finished()
    answers = [each.value for each in link.seen if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(not answers, f"a notification was answered: {answers}")


# Batches, metadata, schemas

case = page.client(MODERN)


# Batches


@case.must(
    "batching/client-takes-requests",
    "Each request of the batch is answered once, notifications are not.",
    ONLY_2025_03_26,
)
async def takes_batches(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A batch of requests and notifications is received and answered."""
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
    bindings=ONE_CHANNEL,
    **scripted(together(call(arguments={"text": "a"}), call(arguments={"text": "b"}))),
)
async def takes_batched_responses(talk: ClientTalk) -> None:
    """A batch of responses answers all of its requests."""
    talk.serving.answer_by = "sse"
    link = await talk.open()
    held = await under_way(link, "tools/call", 2)
    need(len(held) != 1, "the client makes one call at a time")
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
async def meta_required(talk: ClientTalk, link: ReadyLink) -> None:
    """Every request carries what a server has to know."""
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
async def meta_everywhere(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Requests of every kind, also those made again, carry what a server has to know."""
    await require_input(link, message, {"a": {"method": "roots/list"}})
    again = await link.wait_for("tools/call")
    await link.serve_one(again or message)
    for method in ("resources/read", "prompts/get", "completion/complete"):
        await link.serve_one(await link.expect(method))
    await link.expect("subscriptions/listen")
    for each in _asked(link):
        _check_meta(each, talk.revision.name)


@case.should("_meta/client-info", "_meta has the client's name and version.")
async def client_info(talk: ClientTalk, link: ReadyLink) -> None:
    """Every request says who asks."""
    await talk.finished()
    for message in _asked(link):
        info = message.params.get("_meta", {}).get(META_CLIENT_INFO)
        check(
            isinstance(info, dict) and "name" in info and "version" in info,
            f"{message.method} has the clientInfo {info!r}",
        )


# Schemas


@case.must("ref-resolution", "Nothing is asked for at that address.", bindings=STREAMABLE)
async def no_network(talk: ClientTalk) -> None:
    """A $ref to the network, in the schemas of a tool, is not fetched."""
    origin = talk.host.address.rpartition("/")[0]
    remote = {"$ref": f"{origin}/canary.json"}
    talk.serving.tools[0] = {
        **talk.serving.tools[0],
        "inputSchema": {"type": "object", "properties": {"a": remote, "b": {"type": "number"}}},
        "outputSchema": {"type": "object", "properties": {"sum": remote}},
    }
    link, message = await talk.expect("tools/call")
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
    link, message = await talk.expect("tools/call")
    await link.respond(message, {**text("8"), "structuredContent": {"sum": 8}})
    step = await talk.step(1)
    check(not step.good, f"a result that cannot be checked was taken: {step.result!r}")


@case.must(
    "schema-dialect",
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
    link, message = await talk.expect("tools/call")
    while message.params.get("name") != "json_schema_echo":
        await link.serve_one(message)
        message = await link.expect("tools/call")
    found = message.params.get("arguments", {}).get("schema")
    need(found, "the client does not know the scenario")
    check(found == schema, f"the schema came back as {found!r}")
