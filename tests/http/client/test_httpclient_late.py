"""Answers that come late, and requests that begin anew: what simulated networks have found."""

import pytest

from mcpcore.engine.config import Negotiation
from mcpcore.engine.events import ErrorReceived, ProgressReceived, Ready, Violation
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.http.support import (
    DISCOVERED,
    Hand,
    initialize_result,
    make_client,
    note,
    starting,
)

UNKNOWN = {"jsonrpc": "2.0", "error": {"code": -32601, "message": "no such method"}}
RESUMABLE = [row.name for row in LEGACY_ROWS if row.resumable]


@pytest.mark.parametrize("answered", [False, True])
def test_a_handshake_that_the_late_answer_to_the_probe_overtook_opens_no_session(
    answered: bool,
) -> None:
    hand = starting(negotiation=Negotiation.AUTO)
    probe = hand.next()
    hand.pass_time(6)
    handshake = hand.next()
    hand.result(probe, DISCOVERED)
    assert hand.take(Ready).revision.modern
    if answered:
        hand.result(handshake, initialize_result(), mcp_session_id="s-late")
    assert hand.client.session is None
    request = hand.client.request("tools/list", now=hand.now)
    send = hand.next()
    assert "mcp-session-id" not in hand.fields_of(send)
    # The status says that the method is unknown, and nothing of a session.
    hand.reply(send, 404, {**UNKNOWN, "id": request})
    assert hand.take(ErrorReceived).error.code == -32601
    assert hand.client.exchanges == 0
    assert handshake.exchange in hand.aborted


@pytest.mark.parametrize("version", RESUMABLE)
def test_progress_begins_anew_with_the_request(version: str) -> None:
    hand = Hand(make_client(revisions=(next(r for r in LEGACY_ROWS if r.name == version),)))
    hand.open_legacy(version)
    request = hand.client.request(
        "tools/call", {"name": "x"}, now=hand.now, progress=True, repeat=True
    )
    news = note("notifications/progress", {"progressToken": request, "progress": 1})
    first = hand.next()
    hand.stream(first, news, id="e-1")
    assert hand.take(ProgressReceived).progress == 1
    # The server has forgotten the session, and the request with it.
    hand.end(first, "connection reset")
    again = hand.next()
    assert again.method == "GET"
    hand.reply(again, 404)
    hand.shake_hands(version, "s-2")
    posts = [hand.next(), hand.next()]
    (second,) = [send for send in posts if send.method == "POST"]
    hand.stream(second, news)
    assert hand.take(ProgressReceived).progress == 1
    assert not [event for event in hand.events if isinstance(event, Violation)]
