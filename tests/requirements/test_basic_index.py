"""basic/index: what no other test of the base protocol shows."""

from typing import Any

import pytest

from mcpcore.engine.events import ErrorReceived, RequestReceived, ResultReceived
from mcpcore.spec.errors import ErrorData
from tests.engine.bench import META, answer, call, error, feed, modern_client, modern_server, sent

INFO = "io.modelcontextprotocol/clientInfo"


@pytest.mark.requirement("basic/index/legacy-codes-meaningless")
def test_codes_of_the_legacy_range_are_errors_like_any_other() -> None:
    peer = modern_client()
    for code in [*range(-32019, -31999), 4711]:
        request = peer.request("tools/list", now=0)
        sent(peer)
        [event] = feed(peer, error(request, code, "why"))
        assert isinstance(event, ErrorReceived)
        assert (event.request, event.error.code) == (request, code)
        assert sent(peer) == []


@pytest.mark.requirement("basic/index/meta-no-assumptions")
@pytest.mark.parametrize("value", [None, 0, "x", [], {"protocolVersion": 7}])
def test_reserved_keys_that_nobody_knows_mean_nothing(value: Any) -> None:
    unknown = {"io.modelcontextprotocol/unheard-of": value, "mcp.dev/x": value}
    server = modern_server()
    [received] = feed(server, call(1, "tools/list", {"_meta": {**META, **unknown}}))
    assert isinstance(received, RequestReceived)
    client = modern_client()
    request = client.request("tools/list", now=0)
    [result] = feed(client, answer(request, {"tools": [], "_meta": unknown}))
    assert isinstance(result, ResultReceived)


@pytest.mark.requirement("basic/index/identity-decides-nothing")
def test_the_name_of_the_other_side_changes_nothing() -> None:
    replies = []
    for info in (
        {},
        {INFO: {"name": "a", "version": "1"}},
        {INFO: {"name": "root", "version": ""}},
    ):
        server = modern_server()
        [received] = feed(server, call(1, "tools/list", {"_meta": {**META, **info}}))
        assert isinstance(received, RequestReceived)
        server.respond(received.key, {"tools": []})
        feed(server, call(2, "server/discover", {"_meta": {**META, **info}}))
        replies.append(sent(server))
    assert replies[0] == replies[1] == replies[2]


@pytest.mark.requirement("basic/index/reserved-codes")
@pytest.mark.parametrize(
    ("code", "sent_as"),
    [(-32019, -32019), (-32020, -32020), (-32023, -32603), (-32050, -32603), (-32099, -32603)],
)
def test_codes_that_the_specification_keeps_for_itself_are_not_made_up(
    code: int, sent_as: int
) -> None:
    server = modern_server()
    [received] = feed(server, call(1, "tools/list", modern=True))
    assert isinstance(received, RequestReceived)
    server.fail(received.key, ErrorData(code, "no"))
    assert sent(server)[0]["error"]["code"] == sent_as
