"""server/tools, server/utilities/completion: a middleware can limit the rate of requests."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mcpcore.service import Server
from mcpcore.spec.errors import BUSY, McpError
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware
from mcpcore_transports.server.settings import RuntimeSettings
from tests.transports.runtime_bench import LEGACY, MODERN, bench

pytestmark = pytest.mark.anyio


def at_most(allowed: int, clock: Callable[[], float]) -> ServerMiddleware:
    """Let ``allowed`` requests of each method pass in a second."""
    seen: Counter[tuple[str, int]] = Counter()

    def limited(request: Context) -> Steps[Answer]:
        window = (request.method, int(clock()))
        seen[window] += 1
        if seen[window] > allowed:
            raise McpError(BUSY, "too many requests; try again in a second")
        yield

    return limited


@pytest.mark.requirement(
    "server/tools/rate-limited",
    "server/utilities/completion/rate-limited",
    "server/utilities/completion/server-rate-limit",
)
@pytest.mark.parametrize("revision", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "work"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}},
        ),
    ],
)
async def test_calls_beyond_the_rate_are_refused_before_they_are_handled(
    method: str, params: dict[str, Any], revision: str
) -> None:
    handled: list[str] = []
    now = [0.0]
    server = Server("s")
    server.add_prompt(lambda a: "x", "p")

    @server.tool
    def work() -> str:
        handled.append("tools/call")
        return "x"

    @server.completion(prompt="p", argument="a")
    def complete(typed: str) -> list[str]:
        handled.append("completion/complete")
        return []

    settings = RuntimeSettings(middleware=(at_most(2, lambda: now[0]),))
    async with bench(server, settings) as made:
        if revision == LEGACY:
            made.open_legacy()
        replies = [await made.call(method, params, revision=revision) for _ in range(4)]
        listed = await made.call("tools/list", {}, revision=revision)
        now[0] += 1
        later = await made.call(method, params, revision=revision)
    assert ["error" in reply for reply in replies] == [False, False, True, True]
    assert "too many requests" in replies[-1]["error"]["message"]
    assert "result" in listed
    assert "result" in later
    assert handled == [method] * 3
