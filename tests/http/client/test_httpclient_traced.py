"""HttpClient: the trace context of a request as headers, if that is asked for."""

from typing import Any

import pytest

from mcpcore import HttpClientSettings, Negotiation
from tests.http.support import DISCOVERED, Hand, make_client

TRACE = {"traceparent": "00-a-b-01", "tracestate": "k=v", "baggage": "user=1"}


@pytest.mark.parametrize(
    ("wanted", "meta", "expected"),
    [
        (True, TRACE, TRACE),
        (False, TRACE, {}),
        (True, {"other": 1}, {}),
        (True, {"traceparent": "a\r\nb", "baggage": "ä"}, {}),
        (True, {"traceparent": 5}, {}),
    ],
)
def test_trace_context_as_headers(
    wanted: bool, meta: dict[str, Any], expected: dict[str, str]
) -> None:
    settings = HttpClientSettings(trace_headers=wanted)
    hand = Hand(make_client(settings, negotiation=Negotiation.MODERN))
    hand.client.start(now=hand.now)
    hand.client.request("tools/list", {}, now=hand.now, meta=meta)
    probe = hand.next()
    hand.result(probe, DISCOVERED)
    sent = hand.fields_of(hand.next())
    assert {name: value for name, value in sent.items() if name in TRACE} == expected
