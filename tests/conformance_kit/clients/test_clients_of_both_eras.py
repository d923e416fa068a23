"""Right clients with habits of their own: nothing is held against how they find out an era."""

import anyio
import pytest

from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.client_play import play_client
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.hosts.http import HttpWire
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.run.registry import all_cases
from tests.conformance_kit.clients.clients_of_both_eras import client_command, results_of

pytestmark = pytest.mark.anyio
LEGACY, MODERN = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
OPENINGS = (
    "basic/lifecycle/initialization",
    "basic/lifecycle/version-negotiation",
    "basic/lifecycle/error-handling",
    "basic/lifecycle/operation",
    "basic/index/requests/client-id-fresh",
    "basic/utilities/ping/behavior-requirements/client-answers-before-initialized",
)
OVER = {
    Binding.HTTP: (
        "basic/transports/session-management",
        "basic/transports/protocol-version-header",
        "basic/transports/listening-for-messages-from-the-server",
    ),
    Binding.STDIO: ("basic/lifecycle/stdio",),
}
WAYS = [
    (Binding.HTTP, "probes"),
    (Binding.HTTP, "tries listens metadata"),
    (Binding.STDIO, "probes"),
    (Binding.STDIO, "probes anew"),
]
HELD = {Verdict.FAILED, Verdict.WEAK, Verdict.INCONCLUSIVE}


@pytest.mark.share(2)
@pytest.mark.parametrize(("binding", "how"), WAYS)
async def test_what_opens_a_session_is_looked_at_from_initialize_on(
    binding: Binding, how: str
) -> None:
    results = await results_of(how, binding, LEGACY, (*OPENINGS, *OVER[binding]))
    held = {each.case.id: each.detail for each in results if each.verdict in HELD}
    assert held == {}
    assert sum(each.verdict is Verdict.PASSED for each in results) >= 10


BATCHES = (
    "basic/lifecycle/initialization",
    "basic/index/messages/client-json-rpc",
    "basic/transports/streamable-http/sending-messages/client-post",
)


async def test_a_batch_is_one_post_where_there_are_batches() -> None:
    results = await results_of("probes batches", Binding.HTTP, BY_NAME["2025-03-26"], BATCHES)
    assert {each.case.id: each.detail for each in results if each.verdict in HELD} == {}
    assert sum(each.verdict is Verdict.PASSED for each in results) >= 5


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("binding", "how"), WAYS)
async def test_nothing_at_all_is_held_against_them(binding: Binding, how: str) -> None:
    results = await results_of(how, binding, LEGACY)
    held = {each.case.id: each.detail for each in results if each.verdict in HELD}
    assert held == {}
    assert sum(each.verdict is Verdict.PASSED for each in results) >= 30


async def test_who_waits_as_long_as_the_server_says_has_waited_long_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's time begins when it hears the end of the stream, whatever the kit does then."""
    end = HttpWire.end

    async def busy(wire: HttpWire, exchange: int) -> bool:
        sent = await end(wire, exchange)
        await anyio.sleep(0.3)
        return sent

    monkeypatch.setattr(HttpWire, "end", busy)
    id = "basic/transports/sending-messages-to-the-server/client-retry"
    result = await played(id, "probes", Binding.HTTP, LEGACY)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


async def played(id: str, how: str, binding: Binding, revision: Revision) -> Result:
    """Play one case, whatever it needs."""
    (case,) = [each for each in all_cases() if each.id == id]
    command = client_command(how)
    timing = ClientTiming(answer=10.0)
    return await play_client(case, command.words, binding, revision, timing=timing, env=command.env)


@pytest.mark.parametrize(
    ("slug", "verdict"),
    [("falls-back", Verdict.PASSED), ("stays-modern", Verdict.FAILED)],
)
async def test_a_server_that_is_started_again_may_be_initialized_then(
    slug: str, verdict: Verdict
) -> None:
    id = f"basic/transports/stdio/backward-compatibility/client-{slug}"
    result = await played(id, "anew plain", Binding.STDIO, MODERN)
    assert result.verdict is verdict
    if verdict is Verdict.FAILED:
        assert result.detail == "after the error -32022 the client initialized"


BOUNDED = {
    "basic/index/requests/client-id-unique": Verdict.NOT_APPLICABLE,
    "basic/index/responses/client-matches-by-id": Verdict.PASSED,
}


async def test_who_makes_one_call_at_a_time_is_not_waited_for_in_vain() -> None:
    results = await results_of("bounded", Binding.HTTP, LEGACY, [*BOUNDED])
    assert {each.case.id: each.verdict for each in results} == BOUNDED
