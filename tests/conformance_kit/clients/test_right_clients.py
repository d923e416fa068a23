"""Habits of clients that break no clause: our client with one of them is judged as without it."""

from collections.abc import Callable, Iterable

import pytest

from conformance.mutants.client_fault import ClientFault, Value, behind
from conformance.mutants.client_faults import adds, also_asks, heads, params_of, says
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.client_play import play_client
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.client_wire import Arrival, Asked, Came
from mcpcore_conformance.kit.heard import Noise, header
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.run.registry import all_cases
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]
OURS = (*PYTHON, "-m", "mcpcore_conformance.everything.client")
TIMING = ClientTiming(start=20.0, answer=10.0, exit=20.0, quiet=0.02)
LEGACY, MODERN = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
CASES = {each.id: each for each in all_cases()}
CACHING = "server/utilities/caching"


class Pongs(ClientFault):
    """Sends pongs that nobody has asked for, as RFC 6455 section 5.5.3 allows."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """See ClientFault."""
        return [arrival, Noise("pong", b"alive")] if isinstance(arrival, Came) else (arrival,)


def lists_for_itself(value: Value) -> Value:
    """Read the first page of a list once more."""
    return {**value, "id": "own"}


def _without_token(params: Value) -> Value:
    return {**params, "_meta": {}}


def _stays_away(asked: Asked) -> Iterable[Asked]:
    return () if header(asked.headers, "last-event-id") is not None else (asked,)


def _legacy_first(value: Value) -> Value:
    return {**value, "method": "initialize"}


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("id", "binding", "revision", "habit", "verdict"),
    [
        pytest.param(
            "docs/websocket/websocket/client-text-frames",
            Binding.WS,
            MODERN,
            Pongs,
            Verdict.PASSED,
            id="pongs",
        ),
        pytest.param(
            "server/utilities/pagination/implementation-guidelines/client-end",
            Binding.TCP,
            LEGACY,
            adds("tools/list", lists_for_itself),
            Verdict.PASSED,
            id="lists-for-itself",
        ),
        pytest.param(
            f"{CACHING}/time-to-live-ttl-field/client-zero",
            Binding.TCP,
            MODERN,
            adds("tools/list", lists_for_itself),
            Verdict.PASSED,
            id="lists-more-often",
        ),
        pytest.param(
            "basic/transports/streamable-http/sending-messages/client-post",
            Binding.HTTP,
            LEGACY,
            also_asks("OPTIONS", "/mcp"),
            Verdict.PASSED,
            id="asks-for-options",
        ),
        pytest.param(
            "basic/authorization/index/token-requirements/client-every-request",
            Binding.HTTP,
            LEGACY,
            also_asks("GET", "/.well-known/oauth-protected-resource"),
            Verdict.PASSED,
            id="looks-for-metadata-without-a-token",
        ),
        pytest.param(
            "basic/patterns/cancellation/timeouts/client-maximum",
            Binding.TCP,
            LEGACY,
            params_of("tools/call", _without_token),
            Verdict.NOT_APPLICABLE,
            id="asks-for-no-progress",
        ),
        pytest.param(
            "basic/transports/sending-messages-to-the-server/client-retry",
            Binding.HTTP,
            LEGACY,
            heads(_stays_away),
            Verdict.NOT_APPLICABLE,
            id="does-not-resume",
        ),
        pytest.param(
            "basic/transports/stdio/backward-compatibility/client-falls-back",
            Binding.TCP,
            MODERN,
            says("server/discover", _legacy_first),
            Verdict.NOT_APPLICABLE,
            id="tries-the-older-era-first",
        ),
    ],
)
async def test_a_habit_that_is_right(
    id: str,
    binding: Binding,
    revision: Revision,
    habit: Callable[[], ClientFault],
    verdict: Verdict,
) -> None:
    short = verdict is Verdict.NOT_APPLICABLE and binding is Binding.HTTP
    timing = ClientTiming(answer=2.0) if short else TIMING
    result = await play_client(
        CASES[id], OURS, binding, revision, timing=timing, between=behind(habit)
    )
    assert (result.verdict, result.detail if verdict is Verdict.PASSED else "") == (verdict, "")
