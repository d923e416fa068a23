"""basic/transports: streams, session ids, and what goes over standard input."""

import pytest

from mcpcore.engine.config import Negotiation
from mcpcore.engine.events import RequestReceived
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from tests.http.support import META, Bench, Hand, make_client
from tests.requirements.looking_glass import PROGRAM, seen

LEVEL = "io.modelcontextprotocol/logLevel"


@pytest.mark.requirement(
    "basic/transports/streamable-http/related-notifications",
    "server/utilities/logging/request-stream-only",
)
def test_a_stream_carries_what_belongs_to_its_request_and_nothing_else() -> None:
    bench = Bench()
    wanted = {"notifications": {"toolsListChanged": True}}
    listening = bench.modern("subscriptions/listen", wanted)
    keys = []
    replies = []
    for id in (1, 2):
        meta = {**META, "progressToken": id, LEVEL: "info"}
        replies.append(bench.modern("tools/list", {"_meta": meta}, id=id))
        keys.append(bench.take(RequestReceived).key)
    for id, key in enumerate(keys, 1):
        bench.server.progress(key, 1)
        bench.server.log(key, "error", id)
    bench.server.log(None, "error", "to nobody")
    bench.server.notify("notifications/tools/list_changed")
    for key in keys:
        bench.server.respond(key, {"tools": []})
    bench.pump()
    for id, reply in enumerate(replies, 1):
        progress, log, answer = reply.events
        assert progress["params"]["progressToken"] == id
        assert log["params"]["data"] == id
        assert answer["id"] == id
    assert [event["method"] for event in listening.events] == [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
    ]


@pytest.mark.requirement("basic/transports/session-id-guarded")
@pytest.mark.parametrize("status", [301, 307, 400, 500])
def test_a_session_id_goes_nowhere_but_to_its_server(status: int) -> None:
    secret = "s-very-secret"
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy(session=secret)
    hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), status, location="http://evil.example/mcp")
    assert hand.sent == []
    assert hand.events
    assert secret not in repr(hand.events)


@pytest.mark.anyio
@pytest.mark.requirement("basic/transports/stdio/stdin-clean")
async def test_a_client_writes_nothing_but_messages() -> None:
    settings = ClientSettings(negotiation=Negotiation.LEGACY)
    callbacks = Callbacks(roots=[])
    async with connect(PROGRAM, settings=settings, callbacks=callbacks) as client:
        with pytest.raises(Exception, match="no such method"):
            await client.request("tools/list")
        client.notify("notifications/roots/list_changed")
        methods = [message["method"] for message in await seen(client)]
    assert methods == [
        "initialize",
        "notifications/initialized",
        "tools/list",
        "notifications/roots/list_changed",
        "tools/call",
    ]
