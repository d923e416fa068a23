"""Behaviours of much: large messages, many at a time, long streams."""

import anyio
import pytest

from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import LocalError, McpError
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from tests.bindings.features import text
from tests.bindings.places import ROOMY
from tests.bindings.table import Bench, behaviour
from tests.bindings.workbench import NOTE
from tests.clock import PATIENCE

MB = 1024 * 1024
_SETTINGS = ClientSettings(
    limits=ROOMY, http_link=HttpClientLinkSettings(connections=1100, connect_time=PATIENCE)
)
_TIGHT = ClientSettings(
    limits=Limits(message_size=50_000),
    http=HttpClientSettings(max_body=50_000, max_event=50_000),
)


async def _there_and_back(bench: Bench, size: int) -> None:
    given = "".join(chr(97 + n % 26) for n in range(1000)) * (size // 1000)
    async with bench.client(settings=_SETTINGS) as client:
        assert text(await client.call_tool("echo", {"text": given})) == given


@behaviour()
async def a_megabyte_there_and_back(bench: Bench) -> None:
    """A message of 1 MB is returned as it was sent."""
    await _there_and_back(bench, MB)


@behaviour(long=True)
async def sixteen_megabytes_there_and_back(bench: Bench) -> None:
    """A message of 16 MB is returned as it was sent."""
    await _there_and_back(bench, 16 * MB)


@behaviour()
async def large_ones_do_not_mix(bench: Bench) -> None:
    """Large results at the same time each arrive whole, small ones between them."""
    sizes = [300_000, 10, 200_000, 1, 100_000, 0]
    found: dict[int, int] = {}
    async with bench.client() as client, anyio.create_task_group() as group:
        for size in sizes:

            async def call(size: int = size) -> None:
                said = text(await client.call_tool("big", {"size": size}))
                assert said.strip("x") == ""
                found[size] = len(said)

            group.start_soon(call)
    assert found == {size: size for size in sizes}


@behaviour()
async def too_much_for_the_client(bench: Bench) -> None:
    """A result over the client's limit ends its call in an error, promptly."""
    async with bench.client(settings=_TIGHT) as client:
        with pytest.raises((LocalError, McpError)):
            await client.call_tool("big", {"size": 200_000}, timeout=5)


@behaviour()
async def too_much_for_the_server(bench: Bench) -> None:
    """A request over the server's limit ends its call in an error, and no other client's."""
    async with bench.client(settings=_SETTINGS) as other:
        async with bench.client(settings=_SETTINGS) as client:
            with pytest.raises((LocalError, McpError)):
                await client.call_tool("size", {"text": "x" * (33 * MB)}, timeout=PATIENCE)
        assert text(await other.call_tool("echo", {"text": "on"})) == "on"


@behaviour()
async def fifty_at_a_time(bench: Bench) -> None:
    """Fifty calls at once, of functions and coroutines: each has its own answer."""
    found: dict[int, str] = {}
    async with bench.client() as client, anyio.create_task_group() as group:
        for number in range(50):

            async def call(number: int = number) -> None:
                tool = "echo_later" if number % 2 else "echo"
                found[number] = text(await client.call_tool(tool, {"text": str(number)}))

            group.start_soon(call)
    assert found == {number: str(number) for number in range(50)}


@behaviour(long=True)
async def a_thousand_in_flight(bench: Bench) -> None:
    """A thousand calls wait at the same time, and all are answered."""
    answers: list[str] = []
    async with bench.client(settings=_SETTINGS) as client, anyio.create_task_group() as group:

        async def call() -> None:
            answers.append(text(await client.call_tool("wait", {"case": bench.case})))

        for _ in range(1000):
            group.start_soon(call)
        entries = await bench.journal("started", 1000, via=client)
        assert entries == ["started"] * 1000
        await client.call_tool("release", {"case": bench.case})
    assert answers == ["released"] * 1000


@behaviour()
async def a_long_stream_of_progress(bench: Bench) -> None:
    """Progress may be joined where it piles up, but never turns back, and its end is heard."""
    heard: list[float] = []
    async with bench.client() as client:
        said = await client.call_tool(
            "steps", {"count": 500}, progress=lambda value, *_: heard.append(value)
        )
    assert text(said) == "500"
    assert heard == sorted(set(heard))
    assert heard[-1] == 500


@behaviour()
async def notifications_keep_their_order(bench: Bench) -> None:
    """A hundred notifications of the client are heard, each once; on one connection in order."""
    async with bench.client() as client:
        for value in range(100):
            assert client.notify(NOTE, {"case": bench.case, "value": value})
        entries = await bench.journal(f"noted {99}", via=client)
        while len(entries) < 100:
            entries = await bench.journal(f"noted {len(entries)}", via=client)
    expected = [f"noted {value}" for value in range(100)]
    if bench.binding.ordered:
        assert entries == expected
    else:
        assert sorted(entries) == sorted(expected)


@behaviour(by_hand=True)
async def a_megabyte_from_a_server_by_hand(bench: Bench) -> None:
    """A result of 1 MB from another's server arrives whole."""
    async with bench.script() as script, bench.client(script.target) as client:
        async with anyio.create_task_group() as group:
            found: list[int] = []

            async def call() -> None:
                found.append(len(text(await client.call_tool("big"))))

            group.start_soon(call)
            await script.reply(await script.called("big"), script.text("y" * MB))
        assert found == [MB]


@behaviour(by_hand=True)
async def a_thousand_notifications_from_a_server_by_hand(bench: Bench) -> None:
    """Notifications of another's server are heard in order, each once, before the answer."""
    heard: list[float] = []
    async with (
        bench.script() as script,
        bench.client(script.target) as client,
        anyio.create_task_group() as group,
    ):

        async def call() -> None:
            await client.call_tool("chatty", progress=lambda value, *_: heard.append(value))

        group.start_soon(call)
        request = await script.called("chatty")
        token = request["params"]["_meta"]["progressToken"]
        for step in range(1000):
            params = {"progressToken": token, "progress": step}
            await script.tell("notifications/progress", params, request)
        await script.reply(request, script.text("done"))
    assert heard == [float(step) for step in range(1000)]
