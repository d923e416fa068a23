"""Servers that offer little, or do it in their own way, and are in order: nothing is found."""

import base64
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import pytest

from conformance.mutants.fault import Fault
from conformance.mutants.faults import asks, declines, results_of
from conformance.mutants.http_faults import pours
from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.heard import Head
from mcpcore_conformance.kit.messages import encode, error, request, result
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.kit.wire import Plain, Poured
from mcpcore_conformance.run.registry import all_cases
from tests.conformance_kit.runs import NEW, OLD, cases_of, faulty, findings, passed, ran

EARLY = "2025-03-26"
BEFORE_THE_METHOD = {-32700, -32600, -32020, -32021, -32022}
"""Errors of messages whose method does not matter."""

ALWAYS = ("initialize", "ping", "server/discover", "subscriptions/listen")

Value = dict[str, Any]
Made = Callable[[], Fault]


class _Offers(Fault):
    """Declares these capabilities alone, and knows no other methods than these."""

    capabilities: Value
    methods: Iterable[str]

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "method" in value or value.get("id") is None:
            return (value,)
        method = self.method_of(value)
        if method and method not in {*ALWAYS, *self.methods}:
            early = value.get("error", {}).get("code") in BEFORE_THE_METHOD
            return (value if early else error(value["id"], -32601, "no such method"),)
        if "capabilities" in value.get("result", {}):
            result = {**value["result"], "capabilities": self.capabilities}
            return ({**value, "result": result},)
        return (value,)


def offers(capabilities: Value, *methods: str) -> Made:
    return lambda: _Offers(capabilities, methods)


NOTHING = offers({})
LOGS = offers({"logging": {}}, "logging/setLevel")
RESOURCES = offers({"resources": {}}, "resources/list", "resources/read")
TOOLS = offers({"tools": {}, "logging": {}}, "tools/list", "tools/call", "logging/setLevel")
PROMPTS = offers({"prompts": {}}, "prompts/list", "prompts/get")


@pytest.mark.share(4)
@pytest.mark.parametrize("revision", [EARLY, OLD, NEW])
@pytest.mark.parametrize(
    ("right", "least"),
    [
        pytest.param(NOTHING, 85, id="nothing"),
        pytest.param(LOGS, 85, id="logs"),
        pytest.param(RESOURCES, 105, id="resources-without-templates"),
        pytest.param(TOOLS, 160, id="tools"),
        pytest.param(PROMPTS, 105, id="prompts"),
    ],
)
def test_a_server_that_offers_little_has_no_finding(right: Made, least: int, revision: str) -> None:
    run = ran(faulty(Binding.CORE, right), all_cases(), revision)
    assert findings(run) == {}
    assert len(passed(run)) >= least


def _wants_length(data: bytes, found: Poured) -> Poured:
    head = data.partition(b"\r\n\r\n")[0].lower()
    if b"\r\ntransfer-encoding:" in head and b"\r\ncontent-length:" not in head:
        return Poured([Plain(411, [], whole=True)], closed=True)
    return found


def test_a_server_may_want_the_length_of_every_body() -> None:
    run = ran(faulty(Binding.HTTP, pours(_wants_length)), cases_of("rfc9110", "rfc9112"))
    assert findings(run) == {}
    left = {each.case.id for each in run.results if each.detail.endswith("Content-Length (411)")}
    assert left == {
        "rfc9112/section-7.1/chunked-served",
        "rfc9112/section-7.1.1/extensions-ignored",
    }


def _in_stream(body: bytes) -> bytes:
    """An event stream that says the same: no blank, two lines of data, ended by CR."""
    first, last = body.split(b",", 1)
    return b":hello\rdata:" + first + b",\rdata:" + last + b"\r\r"


def _streams(_data: bytes, found: Poured) -> Poured:
    streamed = [
        Plain(each.status, [("content-type", "text/event-stream")], _in_stream(each.body), True)
        for each in found.responses
    ]
    return Poured(streamed, found.closed)


def _closes(_data: bytes, found: Poured) -> Poured:
    first = found.responses[0]
    first = Plain(first.status, [*first.headers, ("connection", "close")], first.body, True)
    return Poured([first], closed=True)


@pytest.mark.parametrize("right", [_streams, _closes])
def test_a_server_may_stream_its_answers_or_close_behind_the_first(
    right: Callable[[bytes, Poured], Poured],
) -> None:
    case = "rfc9112/section-9.3.2/pipelined-in-order"
    run = ran(faulty(Binding.HTTP, pours(right)), cases_of(case))
    (verdict,) = (each.verdict for each in run.results if each.case.id == case)
    assert verdict in (Verdict.PASSED, Verdict.INFORMATIONAL)


class _AsksAtOnce(Fault):
    """Pings, and asks for the roots, as soon as a GET stream is open."""

    def head(self, head: Head) -> Head:
        if self.exchanges[head.exchange].method == "GET" and head.status == 200:
            for id, method in (("own-1", "ping"), ("own-2", "roots/list")):
                self.answer(request(id, method), head.exchange)
        return head

    def said(self, value: Any, payload: bytes) -> bytes | None:
        answers = isinstance(value, dict) and "method" not in value
        return None if answers and str(value.get("id")).startswith("own-") else payload


def test_what_a_server_asks_of_its_own_accord_belongs_to_no_call() -> None:
    places = (
        "listening-for-messages-from-the-server/questions-on-their-stream",
        "listening-for-messages-from-the-server/requests-on-the-stream-of-the-call",
        "sending-messages-to-the-server/answer-accepted",
        "session-management/answer-own-only",
        "session-management/streams-apart",
    )
    ids = {f"basic/transports/{each}" for each in places}
    run = ran(faulty(Binding.HTTP, _AsksAtOnce), cases_of(*ids))
    assert findings(run) == {}
    assert passed(run) == ids


class _OneToolThatMirrors(Fault):
    """Has no other tool than one with an argument that is required, and mirrored."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        result = value.get("result", {})
        if "tools" not in result:
            return (value,)
        tools = [each for each in result["tools"] if each["name"] == "test_x_mcp_header"]
        assert all("region" in each["inputSchema"]["required"] for each in tools)
        return ({**value, "result": {**result, "tools": tools}},)


CALLING = (
    "basic/versioning/extension-negotiation/not-declared",
    "basic/index/resulttype/named",
    "basic/patterns/cancellation/behavior-requirements/only-listen",
    "basic/patterns/index/request-and-response/no-server-requests",
    "basic/transports/streamable-http/server-behavior-for-custom-headers/unknown-ignored",
    "basic/transports/streamable-http/server-validation/invalid-characters",
    "basic/transports/streamable-http/value-encoding/name-decoded",
    "server/utilities/logging/capabilities/declared",
)


def test_a_call_has_the_headers_that_its_tool_wants() -> None:
    run = ran(faulty(Binding.HTTP, _OneToolThatMirrors), cases_of(*CALLING), NEW)
    assert findings(run) == {}
    assert passed(run) == {*CALLING}
    refused = {
        each.case.id
        for each in run.results
        if any(b"-32020" in line.data for line in each.transcript)
    }
    assert refused <= {"basic/transports/streamable-http/server-validation/invalid-characters"}


def test_a_server_that_logs_need_not_have_subscriptions() -> None:
    subject = faulty(Binding.HTTP, declines(asks("subscriptions/listen"), -32601))
    case = "server/utilities/logging/per-request-log-level/not-on-listen"
    run = ran(subject, cases_of(case), NEW)
    assert [each.detail for each in run.results] == ["the server has no subscriptions"]


class _PadsCursors(Fault):
    """Writes cursors in base64 with padding, and reads what comes before that."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        cursor = value.get("result", {}).get("nextCursor")
        if not isinstance(cursor, str):
            return (value,)
        # one byte more than a multiple of three
        written = base64.b64encode(f"{cursor}{'.' * (-len(cursor) % 3)}.".encode()).decode()
        assert written.endswith("==")
        return ({**value, "result": {**value["result"], "nextCursor": written}},)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = value.get("params") if isinstance(value, dict) else None
        if not isinstance(params, dict) or not isinstance(params.get("cursor"), str):
            return payload
        try:
            cursor = base64.b64decode(params["cursor"]).decode().rstrip(".")
        except ValueError:
            return payload
        return encode({**value, "params": {**params, "cursor": cursor}})


def _numbered() -> Made:
    """A server whose cursors are the numbers of pages, of which the first one has number 0."""
    given = [""]

    class Numbered(Fault):
        def message(self, value: Value) -> Iterable[Value | bytes]:
            cursor = value.get("result", {}).get("nextCursor")
            if not isinstance(cursor, str):
                return (value,)
            if cursor not in given:
                given.append(cursor)
            number = str(given.index(cursor))
            return ({**value, "result": {**value["result"], "nextCursor": number}},)

        def said(self, value: Any, payload: bytes) -> bytes | None:
            params = value.get("params") if isinstance(value, dict) else None
            if not isinstance(params, dict):
                return payload
            cursor = params.get("cursor")
            if not isinstance(cursor, str) or cursor not in map(str, range(len(given))):
                return payload
            rest = {name: each for name, each in params.items() if name != "cursor"}
            place = {"cursor": given[int(cursor)]} if cursor != "0" else {}
            return encode({**value, "params": {**rest, **place}})

    return Numbered


@pytest.mark.parametrize("made", [lambda: _PadsCursors, _numbered], ids=["padded", "numbered"])
def test_a_cursor_may_be_read_without_care(made: Callable[[], Made]) -> None:
    page = "server/utilities/pagination"
    run = ran(faulty(Binding.CORE, made()), cases_of(page))
    assert findings(run) == {}
    assert f"{page}/implementation-guidelines/altered" in passed(run)


class _InAHurry(Fault):
    """Is done with a task before the next message comes, unless it takes half a second."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = value.get("params", {}) if asks("tools/call")(value) else {}
        if params.get("name") != "slow_compute" or params["arguments"]["seconds"] >= 0.5:
            return payload
        arguments = {**params["arguments"], "seconds": 0}
        return encode({**value, "params": {**params, "arguments": arguments}})


@pytest.mark.parametrize(
    ("case", "revision"),
    [
        ("basic/utilities/tasks/task-cancellation/cancelled", OLD),
        ("extensions/tasks/task-status-notifications/whole-task", NEW),
    ],
)
def test_a_task_may_have_ended_when_the_next_message_comes(case: str, revision: str) -> None:
    run = ran(faulty(Binding.MEMORY, _InAHurry), cases_of(case), revision)
    assert [(each.verdict, each.detail) for each in run.results] == [(Verdict.PASSED, "")]


class _ReportsTwice(Fault):
    """Says of a call that waits how it does, and says so once more."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != "notifications/progress":
            return (value,)
        params = {**value["params"], "progress": value["params"]["progress"] + 0.1}
        return (value, {**value, "params": params})


def test_what_was_on_its_way_when_a_call_was_cancelled_is_no_fault() -> None:
    case = "basic/transports/stdio/cancellation/silent-afterwards"
    run = ran(faulty(Binding.MEMORY, _ReportsTwice), cases_of(case), NEW)
    assert [(each.verdict, each.detail) for each in run.results] == [(Verdict.PASSED, "")]


def _counts() -> Made:
    """A list of tools that changes all the time: each has the number of times it was asked for."""
    asked = count()

    def renamed(result: Value) -> Value:
        number = next(asked)
        return {**result, "tools": [{**result["tools"][0], "name": f"test_{number}"}]}

    return results_of("tools/list", renamed)


def test_a_list_may_change_in_time() -> None:
    places = ("list-not-per-connection", "list-order", "list-no-side-effect")
    ids = {f"server/tools/capabilities/{each}" for each in places}
    run = ran(faulty(Binding.CORE, _counts()), cases_of(*ids), NEW)
    changes = "tools change while nothing else is asked for"
    assert {each.case.id: each.detail for each in run.results} == dict.fromkeys(ids, changes)


class _Particular(Fault):
    """Has one tool and one prompt, whose arguments have to name something that there is."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        result = value.get("result", {})
        place = {"type": "string", "x-mcp-header": "Place"}
        schema = {"type": "object", "properties": {"place": place}, "required": ["place"]}
        hints = {"readOnlyHint": True}
        tool = {"inputSchema": schema, "outputSchema": schema, "annotations": hints}
        alone = {
            "tools": {"name": "look", **tool},
            "prompts": {"name": "say", "arguments": [{"name": "place", "required": True}]},
        }
        lists = {name: [each] for name, each in alone.items() if name in result}
        return ({**value, "result": {**result, **lists}} if lists else value,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        named = (asks("tools/call"), asks("prompts/get"))
        if not any(asking(value) for asking in named):
            return payload
        self.answer(error(value["id"], -32602, "there is no such place"))
        return None


class _Lax(_Particular):
    """Has one tool, for which the kit can make up nothing, and which takes anything."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "tools" not in value.get("result", {}):
            return (value,)
        schema = {"type": "object", "minProperties": 2, "additionalProperties": False}
        tool = {"name": "look", "inputSchema": schema, "annotations": {"readOnlyHint": True}}
        return ({**value, "result": {**value["result"], "tools": [tool]}},)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not asks("tools/call")(value):
            return payload
        self.answer(result(value["id"], {"resultType": "complete", "content": []}))
        return None


def test_a_further_argument_is_tried_where_no_others_can_be_made_up() -> None:
    id = "server/tools/security-considerations/further-argument"
    [found] = ran(faulty(Binding.CORE, _Lax), cases_of(id), NEW).results
    assert found.verdict is Verdict.FAILED
    assert found.detail.startswith("look forbids further arguments")


MADE_UP = (
    "server/tools/calling-tools/result-shape",
    "server/tools/output-schema/conforms",
    "server/tools/structured-content/as-text",
    "server/tools/structured-content/object",
    "server/prompts/getting-a-prompt/shape",
    "basic/versioning/extension-negotiation/not-declared",
)
MIRRORS = tuple(
    f"basic/transports/streamable-http/{each}"
    for each in (
        "server-behavior-for-custom-headers/served",
        "server-behavior-for-custom-headers/decoded",
        "server-behavior-for-custom-headers/unknown-ignored",
        "value-encoding/sentinel-look-alike",
        "value-encoding/name-decoded",
    )
)


@pytest.mark.parametrize(
    ("binding", "revision", "ids"),
    [
        (Binding.CORE, "2025-06-18", MADE_UP),
        (Binding.CORE, NEW, MADE_UP),
        (Binding.HTTP, NEW, MIRRORS),
    ],
)
def test_tools_and_prompts_need_not_take_what_the_kit_makes_up(
    binding: Binding, revision: str, ids: tuple[str, ...]
) -> None:
    cases = cases_of(*ids)
    results = ran(faulty(binding, _Particular), cases, revision).results
    held = {each.id for each in cases if each.holds_in(BY_NAME[revision])}
    assert {each.case.id: each.verdict for each in results} == dict.fromkeys(
        held, Verdict.NOT_APPLICABLE
    )
    assert [each.detail for each in results if "the kit makes up" not in each.detail] == []


META = {f"basic/index/meta/{each}" for each in ("missing", "version-missing", "field-types")}


class _Guesses(Fault):
    """Takes what names no version for a request of an older revision, which it has, too."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        ask = isinstance(value, dict) and "method" in value and "id" in value
        if not ask or value["method"] == "initialize":
            return payload
        params = value.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(meta, dict) and "io.modelcontextprotocol/protocolVersion" in meta:
            return payload
        self.answer(error(value["id"], -32601, "no such method"))
        return None


class _GuessesAlone(_Guesses):
    """Does so, but has no older revision."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and value.get("method") == "initialize":
            self.answer(error(value["id"], -32601, "no such method"))
            return None
        return super().said(value, payload)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (_Guesses, set()),
        (_GuessesAlone, META),
    ],
)
def test_a_server_of_both_eras_may_take_what_names_no_version_for_an_older_one(
    made: Made, found: set[str]
) -> None:
    cases = [each for each in all_cases() if each.id.startswith("basic/index/meta/")]
    run = ran(faulty(Binding.CORE, made), cases, NEW)
    bad = (Verdict.FAILED, Verdict.WEAK, Verdict.INCONCLUSIVE)
    assert {id for id, (verdict, _) in findings(run).items() if verdict in bad} == found
