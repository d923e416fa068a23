"""The end of WebSockets under uvicorn, which closes them unless the application comes first."""

import socket

import anyio
import pytest
import uvicorn

from mcpcore import Server, ServeSettings, asgi_app
from tests.clock import patience, until
from tests.transports.sites import TEXT, call, upgraded

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop of uvicorn."""
    return "asyncio"


@pytest.mark.parametrize("lifespan", ["on", "off"])
async def test_the_application_can_close_with_1001_before_uvicorn_does(lifespan: str) -> None:
    server = Server("closing")
    started, finish = anyio.Event(), anyio.Event()

    @server.tool
    async def slow() -> str:
        started.set()
        await finish.wait()
        return "done"

    app = asgi_app(server, settings=ServeSettings(shared=True))
    config = uvicorn.Config(app, log_config=None, lifespan="on" if lifespan == "on" else "off")
    site = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with patience():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(site.serve, [listener])
                async with upgraded(port) as client:
                    await client.frame(TEXT, call(1, "slow"))
                    await started.wait()
                    async with anyio.create_task_group() as closing:
                        closing.start_soon(app.aclose)
                        await until(lambda: app.endpoint.closing)
                        finish.set()
                    site.should_exit = True
                    assert (await client.message())["result"]["content"][0]["text"] == "done"
                    assert (await client.closed())[0] == 1001
