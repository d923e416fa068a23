"""Programs that say what nobody has asked for, and slow ones: which case blames them for it."""

import sys
from collections.abc import Iterable
from typing import Any

import pytest

from conformance.mutants.edits import over, put, to
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import answers_to, asks, responds, results_of
from conformance.mutants.lists import also
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.account import Account, Unasked
from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.messages import encode, error, notification, parse, request, result
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.kit.shapes import SUBSCRIPTION
from tests.conformance_kit.runs import NEW, OLD, cases_of, faulty, ran, run_of

LEGACY, MODERN = BY_NAME[OLD], BY_NAME[NEW]

Step = tuple[str, Any]
"""What is said to the program, or heard of it."""


def said(value: Any) -> Step:
    return "said", value


def heard(value: Any) -> Step:
    return "heard", value


def listing(id: Any, **params: Any) -> Step:
    return said(request(id, "tools/list", params))


def progress(token: Any, value: Any = 1) -> Step:
    params = {"progressToken": token, "progress": value}
    return heard(notification("notifications/progress", params))


def logged(level: str = "info") -> Step:
    return heard(notification("notifications/message", {"level": level, "data": "said"}))


def opened(**capabilities: Any) -> list[Step]:
    """The handshake of a server with these capabilities and a client that has roots."""
    opening = {"protocolVersion": LEGACY.name, "capabilities": {"roots": {}}, "clientInfo": {}}
    welcome = {"protocolVersion": LEGACY.name, "capabilities": capabilities, "serverInfo": {}}
    return [
        said(request(0, "initialize", opening)),
        heard(result(0, welcome)),
        said(notification("notifications/initialized")),
    ]


TOKEN = {"_meta": {"progressToken": "t"}}
UPDATED = heard(notification("notifications/resources/updated", {"uri": "x://y"}))
CHANGED = heard(notification("notifications/tools/list_changed"))


MISSHAPEN_UPDATE = [Unasked.MISSHAPEN, Unasked.SUBSCRIBED]


def accounted(account: Account, *steps: Step) -> Account:
    for how, value in steps:
        if how == "said":
            account.said(value)
        else:
            account.heard(parse(Text(encode(value))))
    return account


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([listing(1), heard(result(1, {}))], []),
        ([listing(1), heard(result(1, {})), heard(result(1, {}))], [Unasked.TWICE]),
        ([listing(1), heard(error(1, -1, "no")), heard(result(1, {}))], [Unasked.TWICE]),
        ([listing(1), listing(1), heard(result(1, {})), heard(result(1, {}))], []),
        ([listing(1), heard(result("1", {}))], [Unasked.UNKNOWN]),
        ([listing(1), heard(error(None, -1, "no"))], [Unasked.NAMELESS]),
        ([said(b"{"), heard(error(None, -1, "no"))], []),
        ([heard(request("s", "ping")), heard(request("s", "ping"))], [Unasked.AGAIN]),
        ([heard(request("1", "ping")), heard(request(1, "ping"))], []),
        ([heard(result(5, {}))], [Unasked.UNKNOWN]),
        # what the kit says wrong on purpose is not held against anybody
        ([said(b'{"id": 5, "what'), heard(error(5, -1, "no"))], []),
        ([said(b"nothing"), listing(1), heard(result(1, {})), heard(result(1, {}))], []),
        ([said(request(2**60 + 1, "ping")), heard(result(2**60, {}))], []),
        ([said(request(None, "ping")), heard(error("", -1, "no"))], []),
        ([said(result(9, {})), heard(error(9, -1, "what?"))], []),
        ([said([request(1, "ping")]), heard(result(1, {}))], []),
        # capabilities
        ([*opened(tools={}), CHANGED], [Unasked.UNDECLARED]),
        ([*opened(tools={"listChanged": True}), CHANGED], []),
        ([CHANGED], []),
        ([*opened(), heard(request("s", "roots/list"))], []),
        ([*opened(), heard(request("s", "sampling/createMessage", {}))], [Unasked.ASKED]),
        ([*opened(), heard(request("s", "ping"))], []),
        ([*opened(), heard(request("s", "tools/list"))], [Unasked.FOREIGN]),
        ([*opened(), heard(notification("notifications/of/its/own"))], []),
        ([*opened(), logged()], [Unasked.LOGGED]),
        ([*opened(logging={}), logged()], []),
        ([heard(notification("notifications/subscriptions/acknowledged"))], [Unasked.FOREIGN]),
        ([*opened(resources={"subscribe": True}), UPDATED], [Unasked.SUBSCRIBED]),
        (
            [
                *opened(resources={"subscribe": True}),
                said(request(1, "resources/subscribe", {"uri": "x://"})),
                UPDATED,
            ],
            [],
        ),
        # what notifications say
        ([*opened(logging={}), logged("verbose")], [Unasked.MISSHAPEN]),
        ([heard(notification("notifications/resources/updated"))], MISSHAPEN_UPDATE),
        ([listing(1, **TOKEN), progress("t", "1")], [Unasked.MISSHAPEN]),
        ([listing(1, **TOKEN), progress("t", 1), progress("t", 1.5)], []),
        ([listing(1, **TOKEN), progress("t", 2), progress("t", 2)], [Unasked.BACKWARDS]),
        ([listing(1, **TOKEN), progress("t", 3), progress("t", 2)], [Unasked.BACKWARDS]),
        (
            [
                *(listing(1, **TOKEN), progress("t", 3), heard(result(1, {}))),
                *(listing(2, **TOKEN), progress("t", 1)),
            ],
            [],
        ),
        (
            [
                *(listing(1, **TOKEN), progress("t", 3)),
                *(listing(2, **TOKEN), progress("t", 1), progress("t", 4), progress("t", 2)),
            ],
            [],
        ),
        # progress and cancellation
        ([listing(1, **TOKEN), progress("t"), heard(result(1, {}))], []),
        ([listing(1, **TOKEN), heard(result(1, {})), progress("t")], [Unasked.LATE]),
        ([listing(1, **TOKEN), heard(result(1, {"task": {}})), progress("t")], []),
        ([listing(1, **TOKEN), progress("u")], [Unasked.PROGRESS]),
        ([listing(1), progress(1)], [Unasked.PROGRESS]),
        (
            [
                heard(request("s", "ping")),
                heard(notification("notifications/cancelled", {"requestId": "s"})),
            ],
            [],
        ),
        (
            [listing(1), heard(notification("notifications/cancelled", {"requestId": 1}))],
            [Unasked.CANCELLED],
        ),
    ],
)
def test_what_a_server_says_unasked_is_found(steps: list[Step], found: list[Unasked]) -> None:
    assert [*accounted(Account("server", LEGACY), *steps).found] == found


ENDED = heard(notification("notifications/cancelled", {"requestId": 1}))


def subscribing(id: Any, *kinds: str) -> Step:
    wanted = dict.fromkeys(kinds, True)
    return said(request(id, "subscriptions/listen", {"notifications": wanted}))


def told(of: str, id: Any) -> Step:
    """A change of a list, with the id of a subscription."""
    method = f"notifications/{of}/list_changed"
    return heard(notification(method, {"_meta": {SUBSCRIPTION: id}}))


def acknowledging(id: Any) -> Step:
    params = {"notifications": {}, "_meta": {SUBSCRIPTION: id}}
    return heard(notification("notifications/subscriptions/acknowledged", params))


LISTEN = subscribing(1, "toolsListChanged")
LISTENED = (LISTEN, acknowledging(1))
LEVEL = {"_meta": {META_LOG_LEVEL: "info"}}


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([CHANGED], [Unasked.SUBSCRIBED]),
        ([*LISTENED, told("tools", 1), ENDED], []),
        ([LISTEN, told("tools", 1)], [Unasked.EARLY]),
        ([*LISTENED, CHANGED], [Unasked.UNNAMED]),
        ([*LISTENED, told("tools", "1")], [Unasked.UNNAMED]),
        ([*LISTENED, told("tools", {"id": 1})], [Unasked.UNNAMED]),
        ([*LISTENED, told("prompts", 1)], [Unasked.OTHERWISE]),
        ([*LISTENED, subscribing(2), acknowledging(2), told("tools", 2)], [Unasked.OTHERWISE]),
        ([*LISTENED, LISTEN, told("tools", 1)], []),
        ([LISTEN, acknowledging(2)], [Unasked.UNNAMED]),
        ([listing(1, **LEVEL), logged(), heard(result(1, {}))], []),
        ([listing(1, **LEVEL), heard(error(1, -1, "no")), logged()], [Unasked.UNLEVELLED]),
        ([listing(1, **LEVEL), heard(result(1, {"resultType": "task"})), logged()], []),
        ([listing(1), logged()], [Unasked.UNLEVELLED]),
        ([listing(1), ENDED], [Unasked.CANCELLED]),
    ],
)
def test_of_a_modern_server_too(steps: list[Step], found: list[Unasked]) -> None:
    assert [*accounted(Account("server", MODERN), *steps).found] == found


def begun(**capabilities: Any) -> list[Step]:
    """The handshake of a client with these capabilities and a server that has tools."""
    opening = {"protocolVersion": LEGACY.name, "capabilities": capabilities, "clientInfo": {}}
    welcome = {"protocolVersion": LEGACY.name, "capabilities": {"tools": {}}, "serverInfo": {}}
    return [heard(request(0, "initialize", opening)), said(result(0, welcome))]


ROOTS = heard(notification("notifications/roots/list_changed"))


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([*begun(), heard(request(1, "tools/list"))], []),
        ([*begun(), heard(request(1, "prompts/list"))], [Unasked.ASKED]),
        ([*begun(), ROOTS], [Unasked.UNDECLARED]),
        ([*begun(roots={"listChanged": True}), ROOTS], []),
        ([*begun(), heard(result("k", {}))], [Unasked.UNKNOWN]),
        ([said(request("k", "ping")), heard(result("k", {}))], []),
        ([said(request("k", "ping")), *[heard(result("k", {}))] * 2], [Unasked.TWICE]),
        ([*begun(), heard(notification("notifications/message", {}))], [Unasked.FOREIGN]),
        (
            [*begun(), heard(notification("notifications/cancelled", {"requestId": 0}))],
            [Unasked.INITIALIZE],
        ),
    ],
)
def test_and_of_a_client(steps: list[Step], found: list[Unasked]) -> None:
    assert [*accounted(Account("client", LEGACY), *steps).found] == found


def test_an_answer_that_comes_again_on_a_resumed_stream_is_no_second_one() -> None:
    account = accounted(Account("server", LEGACY), listing(1))
    once = encode(result(1, {}))
    surplus = [account.heard(parse(Text(once, exchange))) for exchange in (4, 5, 4)]
    assert surplus == [False, False, True]
    assert [*account.found] == [Unasked.TWICE]


def test_between_two_cases_what_was_answered_is_settled() -> None:
    account = accounted(Account("server", LEGACY), said(b'{"id": 7 "id": 7'))
    account.heard(parse(Text(encode(error(7, -1, "no")))))
    account.settle()
    assert account.heard(parse(Text(encode(error(7, -1, "no")))))


TWICE = "basic/index/result-responses/answered-once"
OWN = "basic/index/result-responses/of-a-request"
GROWS = "basic/patterns/progress/progress-flow/only-grows"
PARAMS = "basic/index/notifications/params"
DECLARED = "basic/lifecycle/operation/announces-what-is-declared"


class _TheIdBefore(Fault):
    """Answers a list with the id of the request before."""

    _last: Any = None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        last, self._last = self._last, value.get("id", self._last)
        return ({**value, "id": last} if self.method_of(value) == "tools/list" else value,)


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        (_TheIdBefore, TWICE),
        (answers_to("tools/list", lambda said: encode([said])), TWICE),
        (answers_to("tools/list", over("id", str)), OWN),
        (responds(asks("notifications/initialized"), to(result("initialized", {}))), OWN),
        (also("tools/list", UPDATED[1]), DECLARED),
    ],
)
def test_what_is_answered_or_told_otherwise_is_named_by_its_own_case(
    fault: Breaks, case: str
) -> None:
    plain = results_of("initialize", put(capabilities={"tools": {}}))
    for faults, verdict in ((plain,), Verdict.PASSED), ((plain, fault), Verdict.FAILED):
        run = ran(faulty(Binding.CORE, *faults), cases_of(case))
        assert {each.case.id: each.verdict for each in run.results} == {case: verdict}


TALKATIVE = """
import json, sys, threading

FAULT = sys.argv[1]
PREFIX = "io.modelcontextprotocol/"
HINTS = {"ttlMs": 0, "cacheScope": "private"}
DECLARED = {"tools": {"listChanged": True}, "logging": {}}
lock = threading.Lock()
left = {}

def write(message):
    with lock:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

def notify(method, params):
    write({"method": "notifications/" + method, "params": params})

def tool(name, *needed):
    properties = {each: {"type": "string"} for each in needed}
    schema = {"type": "object", "properties": properties, "required": list(needed)}
    return {"name": name, "inputSchema": schema, "annotations": {"readOnlyHint": True}}

def call(name, meta):
    if name != "look_up":
        return
    token, level = meta.get("progressToken"), meta.get(PREFIX + "logLevel")
    if token is not None:
        for value in (3, 2) if FAULT.startswith("counts down") else (1, 2.5):
            value = str(value) if FAULT == "progress in words" else value
            notify("progress", {"progressToken": token, "progress": value})
    if level is not None or FAULT == "logs unasked":
        said = "verbose" if FAULT == "logs verbosely" else level or "info"
        notify("message", {"level": said, "data": "looked up"})

def tell(id, of="tools"):
    named = {"id": id} if FAULT == "wraps the id" else id
    meta = {"_meta": {PREFIX + "subscriptionId": named}}
    notify(of + "/list_changed", {} if FAULT == "nameless" else meta)

def follow(id):
    if FAULT == "early":
        tell(id)
    meta = {PREFIX + "subscriptionId": id}
    wanted = {"toolsListChanged": True}
    notify("subscriptions/acknowledged", {"notifications": wanted, "_meta": meta})
    while not left[id].wait(0.05):
        tell(id, "prompts" if FAULT == "of prompts" else "tools")

for line in sys.stdin:
    message = json.loads(line)
    id, method, params = message.get("id"), message["method"], message.get("params", {})
    if method == "notifications/cancelled":
        if params["requestId"] in left:
            left[params["requestId"]].set()
    if id is None:
        continue
    found = None
    if method == "server/discover":
        found = {"supportedVersions": ["2026-07-28"], "capabilities": DECLARED, **HINTS}
    elif method == "tools/list":
        found = {"tools": [tool("nothing"), tool("look_up", "word")], **HINTS}
    elif method == "tools/call":
        call(params["name"], params["_meta"])
        if FAULT.endswith("for ever") and params["name"] == "look_up":
            continue
        found = {"content": []}
    elif method == "subscriptions/listen":
        left[id] = threading.Event()
        threading.Thread(target=follow, args=[id], daemon=True).start()
        continue
    if found is None:
        write({"id": id, "error": {"code": -32601, "message": "no"}})
    else:
        write({"id": id, "result": {"resultType": "complete", **found}})
"""
"""Has tools of names of its own, tells of changes of its own accord, and one thing is wrong."""
STREAMS = "basic/patterns/subscriptions"
NAMED = f"{STREAMS}/receiving-notifications/named-by-all"
NOTIFYING = (
    PARAMS,
    GROWS,
    f"{STREAMS}/acknowledgment/before-changes",
    NAMED,
    f"{STREAMS}/opening-a-stream/of-the-kind",
    "server/utilities/logging/per-request-log-level/only-where-asked-for",
)


async def played(fault: str, *names: str, timeout: float = 5.0) -> dict[str, Verdict]:
    """Play cases, one after another, on the talkative program."""
    command = [sys.executable, "-c", TALKATIVE, fault]
    run = await run_of(command, cases_of(*names), NEW, jobs=1, timeout=timeout)
    return {each.case.id: each.verdict for each in run.results}


@pytest.mark.share(9)
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("", ""),
        ("progress in words", PARAMS),
        ("logs verbosely", PARAMS),
        ("counts down", GROWS),
        ("early", NOTIFYING[2]),
        ("nameless", NAMED),
        ("wraps the id", NAMED),
        ("of prompts", NOTIFYING[4]),
        ("logs unasked", NOTIFYING[5]),
    ],
)
async def test_what_any_tool_or_stream_tells_is_judged_by_one_case(fault: str, case: str) -> None:
    verdicts = dict.fromkeys(NOTIFYING, Verdict.PASSED)
    if case:
        verdicts[case] = Verdict.FAILED
    assert await played(fault, *NOTIFYING) == verdicts


@pytest.mark.anyio
async def test_a_tool_without_an_end_is_judged_by_what_it_tells_until_the_kit_gives_it_up() -> None:
    verdicts = {PARAMS: Verdict.PASSED, GROWS: Verdict.FAILED}
    assert await played("counts down for ever", *verdicts, timeout=1.0) == verdicts
