"""Servers that offer little, or do it in their own way, and are in order: nothing is found."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from conformance.kit.messages import error
from conformance.kit.model import Binding, Case, Result, Verdict
from conformance.kit.wire import Plain, Poured, Stage
from conformance.mutants.fault import Fault
from conformance.mutants.faults import FaultyStage
from conformance.mutants.http_faults import pours
from conformance.run.plan import Settings
from conformance.run.registry import all_cases
from conformance.run.run import Listener
from conformance.run.servers import prepare, run_server
from conformance.run.stages import Subject, everything
from conformance.subjects.core import CoreStage
from mcpcore.spec.revisions import BY_NAME

EARLY, OLD, NEW = "2025-03-26", "2025-11-25", "2026-07-28"
FINE = (Verdict.PASSED, Verdict.NOT_APPLICABLE)
BEFORE_THE_METHOD = {-32700, -32600, -32020, -32021, -32022}
"""Errors of messages whose method does not matter."""

ALWAYS = ("initialize", "ping", "server/discover", "subscriptions/listen")

Value = dict[str, Any]
Made = Callable[[], Fault]


class _Offers(Fault):
    """Declares these capabilities alone, and knows no other methods than these."""

    def __init__(self, capabilities: Value, methods: Iterable[str]) -> None:
        super().__init__()
        self._capabilities = capabilities
        self._methods = {*ALWAYS, *methods}

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "method" in value or value.get("id") is None:
            return (value,)
        method = self.method_of(value)
        if method and method not in self._methods:
            early = value.get("error", {}).get("code") in BEFORE_THE_METHOD
            return (value if early else error(value["id"], -32601, "no such method"),)
        if "capabilities" in value.get("result", {}):
            result = {**value["result"], "capabilities": self._capabilities}
            return ({**value, "result": result},)
        return (value,)


def offers(capabilities: Value, *methods: str) -> Made:
    return lambda: _Offers(capabilities, methods)


NOTHING = offers({})
LOGS = offers({"logging": {}}, "logging/setLevel")
RESOURCES = offers({"resources": {}}, "resources/list", "resources/read")
TOOLS = offers({"tools": {}, "logging": {}}, "tools/list", "tools/call", "logging/setLevel")
PROMPTS = offers({"prompts": {}}, "prompts/list", "prompts/get")


def played(
    stage: Callable[[AsyncExitStack], Any], binding: Binding, cases: Sequence[Case], revision: str
) -> list[Result]:
    """A run of cases on one server."""
    subjects = [Subject(binding, "right", stage)]
    run = prepare(subjects, cases, Settings(revisions=(BY_NAME[revision],), named=True))
    anyio.run(run_server, run, subjects, Listener())
    return run.results


def findings(results: list[Result]) -> dict[str, str]:
    return {each.case.id: each.detail for each in results if each.verdict not in FINE}


@pytest.mark.parametrize("revision", [EARLY, OLD, NEW])
@pytest.mark.parametrize(
    ("right", "passed"),
    [
        pytest.param(NOTHING, 85, id="nothing"),
        pytest.param(LOGS, 85, id="logs"),
        pytest.param(RESOURCES, 105, id="resources-without-templates"),
        pytest.param(TOOLS, 160, id="tools"),
        pytest.param(PROMPTS, 105, id="prompts"),
    ],
)
def test_a_server_that_offers_little_has_no_finding(
    right: Made, passed: int, revision: str
) -> None:
    async def make(stack: AsyncExitStack) -> Stage:
        return FaultyStage(await stack.enter_async_context(CoreStage()), right)

    results = played(make, Binding.CORE, all_cases(), revision)
    assert findings(results) == {}
    assert sum(each.verdict is Verdict.PASSED for each in results) >= passed


def _wants_length(data: bytes, found: Poured) -> Poured:
    head = data.partition(b"\r\n\r\n")[0].lower()
    if b"\r\ntransfer-encoding:" in head and b"\r\ncontent-length:" not in head:
        return Poured([Plain(411, [], whole=True)], closed=True)
    return found


def test_a_server_may_want_the_length_of_every_body() -> None:
    async def make(stack: AsyncExitStack) -> Stage:
        return FaultyStage(await everything(Binding.HTTP).make(stack), pours(_wants_length))

    cases = [each for each in all_cases() if each.page in ("rfc9110", "rfc9112")]
    results = played(make, Binding.HTTP, cases, OLD)
    assert findings(results) == {}
    left = {each.case.id for each in results if each.detail.endswith("Content-Length (411)")}
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
    async def make(stack: AsyncExitStack) -> Stage:
        return FaultyStage(await everything(Binding.HTTP).make(stack), pours(right))

    cases = [each for each in all_cases() if each.id == "rfc9112/section-9.3.2/pipelined-in-order"]
    results = played(make, Binding.HTTP, cases, OLD)
    assert [each.verdict for each in results if each.case in cases] in (
        [Verdict.PASSED],
        [Verdict.INFORMATIONAL],
    )


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
    async def make(stack: AsyncExitStack) -> Stage:
        return FaultyStage(await stack.enter_async_context(CoreStage()), made)

    cases = [each for each in all_cases() if each.id.startswith("basic/index/meta/")]
    results = played(make, Binding.CORE, cases, NEW)
    bad = (Verdict.FAILED, Verdict.WEAK, Verdict.INCONCLUSIVE)
    assert {each.case.id for each in results if each.verdict in bad} == found
