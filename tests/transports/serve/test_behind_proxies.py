"""Requests through proxies: whom they count for, over every binding of HTTP."""

from collections.abc import Mapping

import anyio
import pytest

from mcpcore.auth.resource_server import AuthEvent
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Refusal, Verdict
from mcpcore.service import Server
from mcpcore_transports.auth.schemes import ApiKeyScheme
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import AsgiApp, asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint, http_request
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.transports.http_fixture import UPGRADE, http, server, tool
from tests.transports.raw_site import served
from tests.transports.serve.test_asgi import Call

pytestmark = pytest.mark.anyio

CLIENT = "192.0.2.7"
NAMED = {"X-Forwarded-For": f"198.51.100.1, {CLIENT}"}
TRUSTED = [(("127.0.0.0/8", "::1"), CLIENT), (("10.0.0.0/8",), "127.0.0.1"), ((), "127.0.0.1")]


class Doorman:
    """A hook that lets nobody in, and notes where requests came from."""

    def __init__(self, proxies: tuple[str, ...]) -> None:
        self.seen: list[str] = []
        link = HttpServerSettings(authenticate=self._ask, trusted_proxies=proxies)
        self.settings = ServeSettings(http_link=link, shared=True)

    def _ask(self, request: HttpRequest) -> Verdict:
        assert (request.proxy is None) == (request.peer != CLIENT)
        self.seen.append(str(request.peer).partition(":")[0])
        return Refusal()


@pytest.mark.parametrize(("proxies", "seen"), TRUSTED)
@pytest.mark.parametrize(
    ("binding", "upgrade"), [("http", {}), ("http", UPGRADE), ("ws", UPGRADE), ("sse", {})]
)
async def test_over_sockets_a_trusted_proxy_names_the_client(
    binding: str, upgrade: Mapping[str, str | None], proxies: tuple[str, ...], seen: str
) -> None:
    doorman = Doorman(proxies)
    target = "/sse" if binding == "sse" else "/mcp"
    async with served(Server("closed"), doorman.settings, binding) as site:
        for lines in (NAMED, {}):
            client = await site.connect()
            sent = http(method="GET", target=target, headers={**upgrade, **lines})
            assert (await client.call(sent)).status == 401
    assert doorman.seen == [seen, "127.0.0.1"]


@pytest.mark.parametrize(("proxies", "seen"), TRUSTED)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_of_a_framework_a_trusted_proxy_names_the_client(
    kind: str, proxies: tuple[str, ...], seen: str
) -> None:
    doorman = Doorman(proxies)
    app = asgi_app(Server("closed"), settings=doorman.settings)
    assert await asked(app, kind, NAMED) == 401
    await app.aclose()
    assert doorman.seen == [seen]


async def asked(app: AsgiApp, kind: str, lines: dict[str, str]) -> int:
    """The status with which an ASGI application refuses a request."""
    sides = {"client": ("127.0.0.1", 1), "extensions": {"websocket.http.response": {}}}
    call = Call(app, http(method="GET", headers={**lines}), type=kind, **sides)
    if kind == "websocket":
        call.instead({"type": "websocket.connect"})
    return (await call.run()).status


async def test_each_client_that_a_proxy_names_may_have_a_websocket_of_a_framework() -> None:
    waiting, go_on = anyio.Event(), anyio.Event()

    async def hold(request: HttpRequest) -> Verdict:
        if not waiting.is_set():
            waiting.set()
            await go_on.wait()
        return Refusal()

    link = HttpServerSettings(authenticate=hold, trusted_proxies=("127.0.0.1",))
    few = WebSocketSettings(max_connections_per_client=1)
    settings = ServeSettings(http_link=link, websocket=few, shared=True)
    app = asgi_app(Server("closed"), settings=settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked, app, "websocket", NAMED)
        await waiting.wait()
        assert await asked(app, "websocket", {"X-Forwarded-For": "192.0.2.8"}) == 401
        assert await asked(app, "websocket", NAMED) == 503
        go_on.set()
    await app.aclose()


async def test_a_plain_request_is_counted_for_the_client_that_a_proxy_names() -> None:
    doorman = Doorman(("127.0.0.1",))
    endpoint = HttpEndpoint(Server("closed"), settings=doorman.settings)
    lines = [("Host", "localhost"), *NAMED.items()]
    request = http_request("POST", "/mcp", lines, peer="127.0.0.1:1")
    who = await endpoint.identify(request)
    with endpoint.handle(request, principal=who) as call:
        assert call.client == CLIENT
    await endpoint.aclose()
    assert doorman.seen == [CLIENT]


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_failures_of_one_client_are_not_those_of_another(trusted: bool) -> None:
    """Without trust in the proxy no header changes whose failures they are."""
    events: list[AuthEvent] = []
    guard = ApiKeyScheme([], max_failures=2, audit=events.append)
    proxies = ("127.0.0.1",) if trusted else ()
    settings = HttpServerSettings(authenticate=guard, trusted_proxies=proxies)
    statuses = []
    async with server(settings) as running:
        client = await running.connect()
        for name in (CLIENT, CLIENT, CLIENT, "192.0.2.8", CLIENT, "192.0.2.8"):
            lines = {"Authorization": "Bearer mck_wrong", "X-Forwarded-For": name}
            statuses.append((await client.call(tool("echo", headers=lines))).status)
    addresses = [each.address for each in events]
    if trusted:
        assert statuses == [401, 401, 429, 401, 429, 401]
        assert addresses == [CLIENT, CLIENT, CLIENT, "192.0.2.8", CLIENT, "192.0.2.8"]
    else:
        assert statuses == [401, 401, 429, 429, 429, 429]
        assert set(addresses) == {"127.0.0.1"}


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.1/8", ""])
def test_what_is_no_address_of_a_proxy_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"IPv4 or IPv6|host bits"):
        HttpServerSettings(trusted_proxies=(wrong,))
