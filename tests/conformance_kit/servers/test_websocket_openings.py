"""WebSocket servers that take more than they should: what is blamed on them, and in which words."""

from collections.abc import Callable
from typing import Any

import pytest

from conformance.mutants.fault import Fault
from mcpcore_conformance.kit.bindings.websocket import WebSocketStage
from mcpcore_conformance.kit.model import Binding, Result, Strength, Verdict
from mcpcore_conformance.kit.wire import Refused
from tests.conformance_kit.kit.test_wires import connected, tcp, until
from tests.conformance_kit.runs import cases_of, faulty, ran

NOT_ECHOED = "docs/websocket/subprotocols/token-not-echoed"
UNKNOWN = "docs/websocket/subprotocols/unknown-only"
KEY = "rfc6455/section-4.2.1/key-malformed"
TOKEN = "mcp.auth.kit-secret-0123456789"


class _Lax(Fault):
    """Takes unknown offers, and chooses none of them."""

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        offers = options.get("offers")
        if offers and not any(each == "mcp" or "mcp.version." in each for each in offers):
            return {**options, "offers": []}
        return options


class _Echoing(_Lax):
    """Takes them, and says in a header what they were."""

    def attribute(self, name: str, value: Any) -> Any:
        return [*value, ("x-offers", TOKEN)] if name == "accepted" else value


class _Telling(Fault):
    """Refuses unknown offers, and says in a header what they were."""

    def refused(self, refused: Refused) -> Refused:
        return Refused(refused.reason, status=refused.status, headers=[("x-offers", TOKEN)])


class _Older(Fault):
    """Refuses offers of revisions alone, of which it has not heard."""

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("offers") and "mcp" not in options["offers"]:
            raise Refused("HTTP status 400", status=400)
        return options


def found(fault: Callable[[], Fault], *ids: str) -> dict[str, Result]:
    run = ran(faulty(Binding.WS, fault), cases_of(*ids))
    return {each.case.id: each for each in run.results if each.case.id in ids}


@pytest.mark.share(5)
@pytest.mark.parametrize(
    ("fault", "token", "unknown"),
    [
        (Fault, Verdict.PASSED, Verdict.PASSED),
        (_Lax, Verdict.PASSED, Verdict.WEAK),
        (_Older, Verdict.WEAK, Verdict.PASSED),
        (_Echoing, Verdict.FAILED, Verdict.WEAK),
        (_Telling, Verdict.FAILED, Verdict.PASSED),
    ],
)
def test_a_token_is_to_be_told_to_nobody_and_unknown_offers_are_another_matter(
    fault: Callable[[], Fault], token: Verdict, unknown: Verdict
) -> None:
    results = found(fault, NOT_ECHOED, UNKNOWN)
    assert results[NOT_ECHOED].verdict is token, results[NOT_ECHOED].detail
    assert results[UNKNOWN].verdict is unknown, results[UNKNOWN].detail


class _AnyKey(Fault):
    """Takes any key, and answers with what has nothing to do with it."""

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("edit") is not None:
            headers = [("upgrade", "websocket"), ("sec-websocket-accept", "kit=")]
            raise Refused("accepted with status 101, but: Bad accept token", headers=headers)
        return options


def test_what_was_accepted_is_not_said_to_be_refused() -> None:
    result = found(_AnyKey, KEY)[KEY]
    assert (result.case.strength, result.verdict) == (Strength.MUST, Verdict.FAILED)
    assert "an opening without key was accepted" in result.detail
    assert "Sec-WebSocket-Accept 'kit='" in result.detail
    assert "refused" not in result.detail


@pytest.mark.anyio
async def test_an_opening_that_is_accepted_wrongly_says_with_which_headers() -> None:
    async def serve(stream: Any) -> None:
        await until(stream, b"\r\n\r\n")
        for part in (b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\n", b"Connection: Upgrade\r\n"):
            await stream.send(part)
        await stream.send(b"Sec-WebSocket-Accept: kit=\r\n\r\n")

    async with tcp(serve) as port, WebSocketStage(f"ws://127.0.0.1:{port}/mcp") as stage:
        with pytest.raises(Refused, match="accepted with status 101") as raised:
            await connected(stage)
    assert raised.value.status is None
    assert ("sec-websocket-accept", "kit=") in raised.value.headers
