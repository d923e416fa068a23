"""Logs as JSON with the request they belong to, and the audit log of refusals and sign-ins."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from mcpcore import (
    Activity,
    McpError,
    Rate,
    RateLimits,
    RuntimeSettings,
    Server,
    connect,
)
from mcpcore.auth.resource_server import AuthEvent
from mcpcore.engine.events import Event, Violation
from mcpcore.http.server.exchange import ExchangeEnded
from mcpcore.http.server.sessions import SessionClosed, SessionOpened
from mcpcore_transports.client.request_log import RequestRecord
from mcpcore_transports.http.server.log import HttpLog, log_judgement
from mcpcore_transports.running.audit import AUDIT_LOGGER, log_decision, session_label
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.logs import JsonLines, LogLabels, label_logs
from mcpcore_transports.server.violations import caller_of
from mcpcore_transports.targets import MemoryTarget
from tests.transports.served import served

pytestmark = pytest.mark.anyio
logger = logging.getLogger("shop")


def shop() -> Server:
    server = Server("shop", version="1")

    @server.tool
    def pay(amount: int) -> str:
        logger.info("paid %d", amount)
        if amount == 0:
            raise KeyError("a secret")
        return "ok"

    @server.tool
    async def later(amount: int) -> str:
        logger.info("paid %d", amount)
        return "ok"

    return server


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(each) for each in caplog.text.splitlines()]


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.handler.setFormatter(JsonLines())
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize("tool", ["pay", "later"])
async def test_records_of_handlers_name_their_request(
    tool: str, shown: pytest.LogCaptureFixture
) -> None:
    settings = RuntimeSettings(middleware=(label_logs(),))
    async with connect(MemoryTarget(shop(), settings)) as client:
        await client.call_tool(tool, {"amount": 1}, meta={"traceparent": "of the client"})
        logger.info("outside")
    inside, outside = [each for each in lines(shown) if each["logger"] == "shop"]
    assert inside["message"] == "paid 1"
    assert inside["method"] == "tools/call"
    assert inside["traceparent"] == "of the client"
    assert inside["request_id"]
    assert inside["time"].endswith("Z")
    assert inside["level"] == "info"
    assert outside.keys() == {"time", "level", "logger", "message"}


async def test_requests_of_one_id_are_told_apart_over_http(
    shown: pytest.LogCaptureFixture,
) -> None:
    settings = ServeSettings(runtime=RuntimeSettings(middleware=(label_logs(),)))
    async with served(shop(), settings=settings) as here:
        for _ in range(2):
            async with connect(here.url, revision="2026-07-28") as client:
                await client.call_tool("pay", {"amount": 1})
    first, second = [each for each in lines(shown) if each["logger"] == "shop"]
    assert first["request_id"] == second["request_id"]
    assert first["exchange"] < second["exchange"]


async def test_a_masked_exception_has_the_id_that_the_client_was_told(
    shown: pytest.LogCaptureFixture,
) -> None:
    settings = RuntimeSettings(middleware=(label_logs(),), error_ids=lambda: "id-7")
    async with connect(MemoryTarget(shop(), settings)) as client:
        result = await client.call_tool("pay", {"amount": 0})
    assert "id-7" in result.text
    [failed] = [each for each in lines(shown) if each["level"] == "error"]
    assert failed["error_id"] == "id-7"
    assert failed["method"] == "tools/call"
    assert "KeyError" in failed["exception"]


async def test_a_refusal_by_rates_says_who_what_and_why(shown: pytest.LogCaptureFixture) -> None:
    limiter = RateLimits({Activity.TOOLS: Rate(1, per=3600.0)}, callers=10)
    async with connect(MemoryTarget(shop(), RuntimeSettings(limiter=limiter))) as client:
        await client.call_tool("pay", {"amount": 1})
        with pytest.raises(McpError):
            await client.call_tool("pay", {"amount": 1})
    [refused] = [each for each in lines(shown) if each["logger"] == AUDIT_LOGGER]
    assert refused["who"].startswith("connection ")
    assert refused["what"] == "tools/call 'pay'"
    assert refused["reason"]
    assert refused["admitted"] is False


def test_judgements_and_decisions_are_lines_of_one_log(shown: pytest.LogCaptureFixture) -> None:
    event = AuthEvent(admitted=False, scheme="oauth", reason="expired", method="POST", path="/mcp")
    log_judgement(event)
    log_decision("a\nb" + "x" * 300, "sign-in", admitted=True)
    judged, decided = lines(shown)
    assert judged["logger"] == decided["logger"] == AUDIT_LOGGER
    assert (judged["reason"], judged["admitted"]) == ("expired", False)
    assert decided["who"].startswith("a?bx")
    assert len(decided["who"]) == 200


def test_a_reason_that_names_what_a_client_has_sent_is_one_line(
    shown: pytest.LogCaptureFixture,
) -> None:
    reason = "it needs the scopes a\nPOST /mcp authorized " + "x" * 2000
    log_judgement(structs.replace(JUDGED, reason=reason, subject="f:///\u2028" + "x" * 2000))
    log_decision("ann", "tools/call 'pay'", reason)
    for found in lines(shown):
        assert "the scopes a?POST" in found["message"]
        assert len(found["message"]) < 1100
        assert found["reason"] in found["message"]
        assert found.get("subject", "f:///?x").startswith("f:///?x")
        assert len(found.get("subject", "")) <= 200


ENDED = ExchangeEnded(
    exchange=1,
    method="POST",
    path="/mcp",
    peer="192.0.2.1:7",
    status=403,
    complete=True,
    sent=2,
    began=0.0,
    principal="ann",
    session=None,
    stream=None,
    rpc_method="tools/call",
    request=7,
    revision="2025-11-25",
)
JUDGED = AuthEvent(
    admitted=False,
    scheme="oauth",
    reason="forbidden",
    status=403,
    principal="ann",
    method="POST",
    path="/mcp",
    operation="tools/call",
    subject="pay",
)


class Ignoring:
    def handle(self, event: Event) -> None:
        """Take an event."""


def test_a_word_means_the_same_in_all_records(shown: pytest.LogCaptureFixture) -> None:
    HttpLog(Ignoring()).handle(ENDED)
    log_judgement(JUDGED)
    for found in lines(shown):
        assert (found["method"], found["http_method"]) == ("tools/call", "POST")
        assert (found["path"], found["status"], found["principal"]) == ("/mcp", 403, "ann")
        assert "tools/call" in found["message"]
    exchange, judged = lines(shown)
    assert (exchange["request_id"], judged["subject"]) == ("7", "pay")


def test_the_page_has_each_member_of_the_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = HttpLog(Ignoring())
    for event in (ENDED, SessionOpened(session="s"), SessionClosed(session="s", reason="idle")):
        log.handle(event)
    log_judgement(JUDGED)
    log_decision("ann", "tools/call 'pay'", "too many")
    names = {*LogLabels.__struct_fields__, *RequestRecord.__struct_fields__, "error_id"}
    names |= {"time", "level", "logger", "message", "exception", "stack"}
    names |= {
        name.removeprefix("mcp_")
        for record in caplog.records
        for name in vars(record)
        if name.startswith("mcp_")
    }
    page = Path(__file__).parents[3] / "docs/how-to/observability.md"
    rows = re.findall(r"^\| (`.*?) \|", page.read_text().partition("### Members")[2], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(names)


def test_whatever_a_record_holds_it_is_one_line_of_json() -> None:
    text = "a lone \ud800, and\na second line"  # in no log of pytest: xdist cannot pass it on
    record = logger.makeRecord("shop", logging.INFO, "shop.py", 1, text, (), None, sinfo="a\nb")
    [line] = JsonLines().format(record).splitlines()
    found = json.loads(line)
    assert found["message"] == text
    assert found["stack"] == "a\nb"


def test_a_caller_without_a_principal_is_told_by_a_label() -> None:
    event = Violation(code=0, message="", route=0, session="the id")
    assert caller_of(event, "connection 1") == f"session {session_label('the id')}"
    assert "the id" not in caller_of(event, "connection 1")
