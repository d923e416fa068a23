"""Cases of the page basic/index: errors, notifications, answers nobody asked for, results."""

from typing import Any

from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Kind,
    error,
    notification,
    result,
)
from mcpcore_conformance.kit.model import LEGACY, MODERN, Binding, Page
from mcpcore_conformance.kit.probes import CLIENT_ERRORS, answers, plain_request, unanswered
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/index")
case = page.server()

STANDARD = {-32700, -32600, -32601, -32602, -32603}
DEFINED = {HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION}
RETIRED = {-32002, -32042}
FOREIGN = "test://no-such/resource-of-the-kit"


async def _errors(talk: ServerTalk, link: Link) -> list[tuple[str, dict[str, Any]]]:
    """Ask for what has to fail, in many ways; returns the errors that came."""
    method, params = talk.any_request()
    asked: list[tuple[str, dict[str, Any]]] = [
        ("kit/no-such-method", {}),
        (method, {**params, "cursor": "no cursor of this server"}),
        (method, {**params, "cursor": 17}),
    ]
    if talk.features.declares("tools"):
        asked += [("tools/call", {"name": "kit_no_such_tool"}), ("tools/call", {"name": 17})]
    if talk.features.declares("resources"):
        asked += [("resources/read", {"uri": FOREIGN}), ("resources/read", {"uri": ["x"]})]
    if talk.features.declares("prompts"):
        asked += [("prompts/get", {"name": "kit_no_such_prompt"}), ("prompts/get", {"name": {}})]
    if talk.features.declares("completions"):
        asked += [("completion/complete", {}), ("completion/complete", {"ref": 17})]
    found = []
    for name, given in asked:
        reply = await link.request(name, given)
        what = f"{name} {given}" if given else name
        if reply.message is not None and reply.message.kind is Kind.ERROR:
            check(
                reply.message.id == reply.sent.id,
                f"the error to {what} has the id {reply.message.id!r}, not {reply.sent.id!r}",
            )
            found.append((what, reply.error))
        elif reply.message is None:
            raise Broken(f"{what} got {reply}, neither a result nor an error")
    return found


@case.must("error-responses/request-id", "Every error has the id of its request, of the same type.")
async def error_ids(talk: ServerTalk) -> None:
    """Errors carry the id of the request that failed, be it an integer or a string."""
    link = await talk.open()
    await _errors(talk, link)
    for id in (0, -5, "", "17", talk.fresh_id()):
        reply = await link.request("kit/no-such-method", id=id)
        strays = [each.id for each in answers(link)]
        check(
            reply.message is not None and reply.message.answers(id),
            f"a request with the id {id!r} failed with the id {strays or reply}",
        )
    if not link.revision.modern:
        return
    for what, meta in (
        ("of a version that nobody speaks", {META_PROTOCOL_VERSION: "1900-01-01"}),
        ("without capabilities", {META_CLIENT_CAPABILITIES: None}),
    ):
        reply = await link.request("server/discover", meta=meta, id=talk.fresh_id())
        check(
            reply.message is not None and reply.message.answers(reply.sent.id),
            f"a request {what} failed without its id: {reply.message and reply.message.value}",
        )


@case.must(
    "error-responses/code-and-message",
    "error is an object with an integer code and a string message.",
)
async def error_members(talk: ServerTalk) -> None:
    """Every error says what it is, by an integer and a text."""
    link = await talk.open()
    # what is no error by the letter is found out where messages are read
    found = await _errors(talk, link)
    check(found, "nothing that was asked for failed")


@case.should("error-responses/meaningful", "A code other than 0, and a message that is not empty.")
async def meaningful_errors(talk: ServerTalk) -> None:
    """Errors mean something: a code of 0, or no words, is lawful and helps nobody."""
    link = await talk.open()
    for what, found in await _errors(talk, link):
        check(found["code"] != 0, f"the error to {what} has the code 0: {found}")
        check(found["message"].strip(), f"the error to {what} has no message: {found}")


@case.should(
    "error-codes/invalid-params",
    "The error -32602; over HTTP in the modern era also -32020, as Mcp-Name is missing.",
    needs=("tools",),
)
async def invalid_params(talk: ServerTalk) -> None:
    """Params without what the method needs, or of a wrong type, get the error for that."""
    link = await talk.open()
    mirrored = link.revision.mirror_headers and talk.binding is Binding.HTTP
    codes = (INVALID_PARAMS, HEADER_MISMATCH) if mirrored else (INVALID_PARAMS,)
    tool = talk.any_tool().name
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"name": None},
        {"name": 17},
        {"arguments": {}},
        {"name": tool, "arguments": []},
        {"name": tool, "arguments": "text"},
    )
    for params in wrong:
        reply = await link.request("tools/call", params)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"tools/call with the params {params} got {reply}, not the error -32602")
        reply.failed_with(*codes)


@case.must(
    "error-codes/reserved-codes",
    "No code from -32099 to -32020 but the defined ones, and neither -32002 nor -32042.",
    MODERN,
)
async def reserved_codes(talk: ServerTalk) -> None:
    """Codes that the specification keeps for itself, or has given up, are not sent."""
    link = await talk.open()
    for what, found in await _errors(talk, link):
        code = found["code"]
        check(code not in RETIRED, f"{what} got the retired code {code}")
        reserved = -32099 <= code <= -32020 and code not in DEFINED
        check(not reserved, f"{what} got the reserved code {code}")


@case.should("error-codes/legacy-codes", "No code from -32019 to -32000.", MODERN)
async def legacy_codes(talk: ServerTalk) -> None:
    """Codes that implementations once took for themselves are not used any more."""
    link = await talk.open()
    for what, found in await _errors(talk, link):
        code = found["code"]
        check(not -32019 <= code <= -32000, f"{what} got the legacy code {code}")


@case.should(
    "error-codes/own-codes",
    "Codes that the specification does not define lie outside -32768 to -32000.",
    MODERN,
)
async def own_codes(talk: ServerTalk) -> None:
    """Codes of one's own stay out of the range that JSON-RPC reserves."""
    link = await talk.open()
    for what, found in await _errors(talk, link):
        code = found["code"]
        own = code not in STANDARD | DEFINED
        check(not own or not -32768 <= code <= -32000, f"{what} got the code {code}")


# Notifications


@case.must("notifications/unknown", "No answer; over HTTP 202 or a status of 4xx.")
async def unknown_notification(talk: ServerTalk) -> None:
    """A notification that nobody knows is not answered."""
    link = await talk.open()
    methods = ("notifications/kit/nothing", "kit/nothing", "notifications/message")
    await unanswered(link, {method: notification(method, {"a": 1}) for method in methods})
    await link.alive()


@case.must(
    "notifications/malformed",
    "No answer; over HTTP a status of 4xx may come with an error that has no id.",
)
async def malformed_notification(talk: ServerTalk) -> None:
    """A notification whose params are of a wrong type is not answered."""
    link = await talk.open()
    wrong: tuple[Any, ...] = ([1], "text", 5, None, {"requestId": {}}, {"progressToken": []})
    said = {
        f"{method} with the params {params!r}": notification(method, params)
        for method in ("notifications/cancelled", "notifications/progress")
        for params in wrong
    }
    await unanswered(link, said)
    await link.alive()


@case.must("notifications/request-without-id", "No answer; over HTTP 202 or a status of 4xx.")
async def request_without_id(talk: ServerTalk) -> None:
    """The method of a request, sent without an id, is a notification, and is not answered."""
    link = await talk.open()
    method, params = talk.any_request()
    asked: tuple[tuple[str, dict[str, Any]], ...] = ((plain_request(link), {}), (method, params))
    said = {f"{name} without an id": notification(name, link.params(it)) for name, it in asked}
    await unanswered(link, said)
    await link.alive()


@case.should(
    "notifications/with-id",
    "An error with the id (-32600 to -32602): whoever sends an id waits for an answer.",
)
async def notification_with_id(talk: ServerTalk) -> None:
    """A notification's method, sent with an id, is a request that fails."""
    link = await talk.open()
    for method in ("notifications/cancelled", "notifications/initialized"):
        reply = await link.request(method, {"requestId": "kit-none"})
        reply.failed_with(METHOD_NOT_FOUND, INVALID_REQUEST, INVALID_PARAMS)


# Answers that nobody asked for


def _strange_answers(talk: ServerTalk) -> dict[str, dict[str, Any]]:
    id = talk.fresh_id()
    return {
        "a result that nobody asked for": result(id, {}),
        "an error that nobody asked for": error(id, -32603, "nothing"),
        "an error without an id": error(None, -32700, "nothing"),
        "an answer with both a result and an error": {**result(id, {}), **error(id, 1, "both")},
        "a result that is no object": {"jsonrpc": "2.0", "id": id, "result": 17},
        "an error that is no object": {"jsonrpc": "2.0", "id": id, "error": "text"},
    }


@case.should(
    "responses/unknown-id", "Nothing is said to it, and the next request is served.", LEGACY
)
async def unknown_answer(talk: ServerTalk) -> None:
    """Answers to requests that the server never made are dropped."""
    link = await talk.open()
    await unanswered(link, dict(list(_strange_answers(talk).items())[:3]))
    await link.alive()


@case.should(
    "responses/malformed",
    "The server goes on: at most an error without an id comes, no status of 5xx.",
)
async def malformed_answer(talk: ServerTalk) -> None:
    """Answers that are none, and that nobody asked for, do no harm."""
    link = await talk.open()
    heads = await unanswered(link, _strange_answers(talk), errors=True)
    for what, head in heads.items():
        check(head.status < 500, f"{what} got HTTP status {head.status}")
    await link.alive()


# Results


async def _results(talk: ServerTalk, link: Link) -> list[Reply]:
    """Ask for everything that the server offers; returns the good results."""
    asked: list[tuple[str, dict[str, Any]]] = [(plain_request(link), {}), talk.any_request()]
    features = talk.features
    if (tool := features.plainest_tool()) is not None:
        asked.append(("tools/call", {"name": tool.name, "arguments": talk.arguments(tool)}))
    if features.declares("resources"):
        asked += [("resources/list", {}), ("resources/templates/list", {})]
    if features.resources:
        asked.append(("resources/read", {"uri": features.resources[0]["uri"]}))
    if features.declares("prompts"):
        asked.append(("prompts/list", {}))
    plain = [each for each in features.prompts if not each.get("arguments")]
    if plain:
        asked.append(("prompts/get", {"name": plain[0]["name"]}))
    replies = [await link.request(method, params) for method, params in asked]
    return [
        reply
        for reply in replies
        if reply.message is not None and reply.message.kind is Kind.RESULT
    ]


@case.must(
    "resulttype/named",
    "resultType is complete, input_required, or that of an extension that was declared.",
    MODERN,
)
async def result_type(talk: ServerTalk) -> None:
    """Every result says of which type it is."""
    link = await talk.open()
    for reply in await _results(talk, link):
        kind = reply.result.get("resultType")
        check(
            kind in ("complete", "input_required"),
            f"the result of {reply.sent.method} has the resultType {kind!r}",
        )


@case.should(
    "meta/server-info",
    "_meta has io.modelcontextprotocol/serverInfo, with a name and a version.",
    MODERN,
)
async def server_info(talk: ServerTalk) -> None:
    """Every result says who the server is."""
    link = await talk.open()
    for reply in await _results(talk, link):
        meta = reply.result.get("_meta")
        info = meta.get("io.modelcontextprotocol/serverInfo") if isinstance(meta, dict) else None
        check(
            isinstance(info, dict)
            and isinstance(info.get("name"), str)
            and isinstance(info.get("version"), str),
            f"the result of {reply.sent.method} has the serverInfo {info!r}",
        )


@case.should("responses/not-for-clients", "No result; over HTTP a status of 4xx.", MODERN)
async def no_answers_from_clients(talk: ServerTalk) -> None:
    """A client does not send answers: one that comes is refused, or dropped."""
    link = await talk.open()
    said = {"an answer of a client": result(talk.fresh_id(), {})}
    for what, head in (await unanswered(link, said, errors=True)).items():
        refused = head.status in CLIENT_ERRORS
        check(refused, f"{what} got HTTP status {head.status}, not one of 4xx")
    await link.alive()
