"""``notifications/initialized`` over sockets: refused, it is said again, or all hear why."""

import anyio
import httpx
import pytest

from mcpcore import Callbacks, ClientSettings, EraCache, HttpServerSettings, Server, ServeSettings
from mcpcore.errors import ConnectionClosed, HttpStatusError
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore.http.settings import HttpClientSettings
from mcpcore_transports.client.client import Client, connect
from tests.clock import PATIENCE, patience
from tests.transports.http.test_http_faults import status
from tests.transports.served import served
from tests.transports.villain import Side, villain
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

INITIALIZED = "notifications/initialized"
LEGACY = ("2025-03-26", "2025-06-18", "2025-11-25")


def soon() -> ClientSettings:
    return ClientSettings(eras=EraCache(), http=HttpClientSettings(retry_delay=0.1, max_resumes=2))


async def well(side: Side) -> bool:
    await side.send(side.json(side.answer()))
    return True


async def answer(client: Client) -> str:
    return (await client.call_tool("bad", timeout=PATIENCE)).text


@pytest.mark.parametrize("carrier", ["own", "httpx"])
@pytest.mark.parametrize(("code", "times"), [(401, 1), (400, 1), (503, 3)])
async def test_who_cannot_begin_hears_why(code: int, times: int, carrier: str) -> None:
    async with villain(well, revision=LEGACY[-1]) as server, httpx.AsyncClient() as other:
        server.scripts[INITIALIZED] = status(code, body=b"not like this")
        brought = other if carrier == "httpx" else None
        with patience():
            async with connect(
                server.url, revision=LEGACY[-1], settings=soon(), http_client=brought
            ) as client:
                with pytest.raises(HttpStatusError, match=INITIALIZED) as raised:
                    await answer(client)
                assert raised.value.status == code
                with pytest.raises(ConnectionClosed, match="not like this"):
                    await answer(client)
        assert (server.seen[INITIALIZED], server.seen["bad"]) == (times, 0)
        assert server.seen["DELETE"] == 1, "the half open session is not left behind"


@pytest.mark.parametrize("revision", LEGACY)
@pytest.mark.parametrize("raises", [False, True])
async def test_a_server_whose_hook_failed_once_tells_of_changes(
    revision: str, raises: bool
) -> None:
    posts = 0

    def fails_once(request: HttpRequest) -> Verdict:
        nonlocal posts
        posts += request.method == "POST"
        if posts != 2:
            return Principal("ann")
        if raises:
            raise KeyError("of the database")
        return Refusal(status=503, message="the database is away")

    server = Server("site", version="1")
    server.add_tool(lambda: "one", "one")
    changed = anyio.Event()

    settings = ServeSettings(http_link=HttpServerSettings(authenticate=fails_once))
    async with (
        served(server, settings=settings) as running,
        connect(
            running.url,
            revision=revision,
            settings=soon(),
            callbacks=Callbacks(tools_changed=changed.set),
        ) as client,
    ):
        await client.list_tools()
        assert posts > 3
        server.add_tool(lambda: "two", "two")
        await changed.wait()
