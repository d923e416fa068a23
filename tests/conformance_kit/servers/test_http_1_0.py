"""Servers of HTTP/1.0, as Python's own is by default: what is only of HTTP/1.1 is not for them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mcpcore_conformance.kit.messages import error, result
from mcpcore_conformance.kit.model import Result, Verdict
from tests.conformance_kit.handlers import Quiet, listening
from tests.conformance_kit.runs import NEW, OLD, cases_of, ran

ORDER = "rfc9112/section-9.3.2/pipelined-in-order"
EXPECT = "rfc9110/section-10.1.1/expect-continue"
INFO = {"name": "plain", "version": "1"}
HINTS = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def _answer(value: Any) -> dict[str, Any]:
    method = value["method"]
    if method == "initialize":
        opened = {"protocolVersion": OLD, "capabilities": {}, "serverInfo": INFO}
        return result(value["id"], opened)
    if method == "server/discover":
        offered = {"supportedVersions": [OLD, NEW], "capabilities": {}, "serverInfo": INFO}
        return result(value["id"], {**offered, **HINTS})
    if method == "ping":
        return result(value["id"], {})
    return error(value["id"], -32601, "no such method")


@contextmanager
def serving(version: str) -> Iterator[str]:
    """A server without sessions of that version of HTTP, which knows nothing of Expect."""

    class Handler(Quiet):
        protocol_version = version

        def do_POST(self) -> None:
            value = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(_answer(value)).encode() if "id" in value else b""
            self.answer(200 if body else 202, body)

        def handle_expect_100(self) -> bool:
            return True

    with listening(Handler) as address:
        yield f"http://{address}/mcp"


def played(version: str, revision: str, timeout: float = 10.0) -> dict[str, Result]:
    with serving(version) as url:
        run = ran(url, cases_of(ORDER, EXPECT), revision, timeout=timeout)
    return {each.case.id: each for each in run.results}


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_what_http_1_0_does_not_have_is_not_asked_of_it(revision: str) -> None:
    for found in played("HTTP/1.0", revision).values():
        assert found.verdict is Verdict.NOT_APPLICABLE, found.detail
        assert found.detail == "the server speaks HTTP/1.0"


@pytest.mark.share(2)
@pytest.mark.parametrize("revision", [OLD, NEW])
def test_the_same_server_of_http_1_1_has_to_know_of_expect(revision: str) -> None:
    # What never comes is waited for; a server that stands still is slow to say the rest as well.
    for timeout in (2.0, 10.0):
        found = played("HTTP/1.1", revision, timeout)
        if found[ORDER].verdict is Verdict.PASSED:
            break
    assert found[ORDER].verdict is Verdict.PASSED, found[ORDER].detail
    assert found[EXPECT].verdict is Verdict.FAILED, found[EXPECT].detail
