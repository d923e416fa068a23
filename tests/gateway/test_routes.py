"""Routes of a gateway: endpoints of one process, which know nothing of each other."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from mcpcore import Peer, connect
from mcpcore.engine.config import Role
from mcpcore.engine.seal import request_binding
from mcpcore.errors import BadTarget, SealBroken
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.server.seal import make_seal
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stores.base import open_store
from mcpcore_transports.targets import MemoryTarget, StdioTarget
from tests.clock import PATIENCE, patience
from tests.gateway.backend import backend
from tests.gateway.test_gateway import ERAS, LEGACY, text
from tests.transports.served import ANY_PORT

pytestmark = pytest.mark.anyio

BOTH: dict[str, tuple[str, ...]] = {"/mcp": ("a", "b"), "/billing": ("b",)}
CLIENT = {"name": "test", "version": "1"}
OPENING = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}


def routed(routes: dict[str, tuple[str, ...]]) -> Gateway:
    """Make a gateway before servers of this process."""
    targets = {name: MemoryTarget(backend(name)) for name in "ab"}
    return Gateway(targets, settings=GatewaySettings(routes=routes))


@asynccontextmanager
async def offered(made: Gateway, **options: Any) -> AsyncIterator[list[str]]:
    """Serve a gateway; its URLs."""
    urls: list[str] = []
    ready, stop = anyio.Event(), anyio.Event()

    async def run() -> None:
        await serve(made, on_listening=urls.append, on_ready=ready.set, stop=stop, **options)

    with patience():
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await ready.wait()
            yield urls
            stop.set()


@pytest.mark.parametrize("revision", ERAS)
async def test_each_path_has_its_own_servers_over_every_binding_with_paths(revision: str) -> None:
    names_of = ("http", "ws", "sse") if revision == LEGACY else ("http", "ws")
    bindings = dict.fromkeys(names_of, ANY_PORT)
    made, settings = routed(BOTH), ServeSettings(shared=True)
    async with offered(made, settings=settings, **bindings) as urls:
        paths = [urlsplit(url).path for url in urls]
        ends = [("", 3), ("/sse", 1 if revision == LEGACY else 0)]
        assert sorted(paths) == sorted(
            path + end for end, times in ends for path in BOTH for _ in range(times)
        )
        for url, path in zip(urls, paths, strict=True):
            async with connect(url, revision=revision) as client:
                names = {tool.name for tool in await client.tools()}
                alone = path.startswith("/billing")
                assert ("echo" in names, "a__echo" in names) == (alone, not alone)
                result = await client.call_tool("echo" if alone else "b__echo", {"text": "hi"})
                assert text(result) == "b: hi"


@pytest.mark.parametrize("store", [None, "memory:"])
async def test_a_session_is_unknown_to_the_other_routes(store: str | None) -> None:
    def talk(url: str) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        connection = HTTPConnection(place.hostname, place.port, timeout=PATIENCE)

        def ask(verb: str, path: str, session: str | None = None, **message: Any) -> Any:
            headers = {
                "Accept": "application/json, text/event-stream",
                "Content-Type": "application/json",
                **({} if session is None else {"Mcp-Session-Id": session}),
            }
            body = json.dumps({"jsonrpc": "2.0", "id": 1, **message}) if message else None
            connection.request(verb, path, body, headers)
            response = connection.getresponse()
            response.read()
            return response

        # One connection for all: the path of each request decides.
        opened = {path: ask("POST", path, method="initialize", params=OPENING) for path in BOTH}
        for path, response in opened.items():
            assert response.status == 200
            session = response.headers["Mcp-Session-Id"]
            for other in BOTH:
                found = 200 if other == path else 404
                assert ask("POST", other, session, method="ping").status == found
            (elsewhere,) = BOTH.keys() - {path}
            assert ask("GET", elsewhere, session).status == 404
            assert ask("DELETE", elsewhere, session).status == 404
            assert ask("POST", path, session, method="ping").status == 200
        assert ask("POST", "/other", method="ping").status == 404
        connection.close()

    kept = None if store is None else open_store(store)
    async with offered(routed(BOTH), http=ANY_PORT, settings=ServeSettings(store=kept)) as urls:
        await anyio.to_thread.run_sync(talk, urls[0])


def test_what_a_route_has_sealed_is_opened_by_no_other() -> None:
    settings = RuntimeSettings(seal=make_seal())
    made, binding = routed(BOTH), request_binding("ann", "tools/list", b"{}")
    first, other = made.routes.values()
    for route in (first, other):
        route.runtime(Peer(Role.SERVER, route.config(settings)), settings)
    cursor = first.relay.seal.seal(b"cursor", binding, wall=0.0)
    assert first.relay.seal.open(cursor, binding, wall=0.0) == b"cursor"
    with pytest.raises(SealBroken):
        other.relay.seal.open(cursor, binding, wall=0.0)


def test_what_is_known_of_a_server_holds_for_all_routes() -> None:
    target = StdioTarget(("true",))
    routes = {"/mcp": ("a",), "/billing": ("a",)}
    settings = GatewaySettings(routes=routes, processes_per_server=2)
    made = Gateway({"a": target, "unused": target}, settings=settings)
    one, other = (route.upstreams["a"] for route in made.routes.values())
    assert one.relayed.guard is other.relayed.guard
    address = one.addresses[""]
    assert one.closed(address, own=True) is None
    other.fleet.own["a"] += 2
    assert one.closed(address, own=True) == "busy: 2 processes run already"


@pytest.mark.parametrize("binding", ["tcp", "stdio"])
async def test_a_binding_without_paths_has_one_route(binding: str) -> None:
    given: Any = {binding: ANY_PORT if binding == "tcp" else True}
    with pytest.raises(BadTarget, match=f"^{binding} has no path, and so one route: .*billing"):
        await serve(routed(BOTH), **given)


async def test_one_route_has_every_binding() -> None:
    async with (
        offered(routed({"/billing": ("b",)}), http=ANY_PORT, tcp=ANY_PORT) as urls,
        connect(urls[0]) as client,
        connect(urls[1]) as other,
    ):
        for each in (client, other):
            assert text(await each.call_tool("echo", {"text": "hi"})) == "b: hi"


@pytest.mark.parametrize("second", ["/mcp/sse", "/health"])
async def test_two_endpoints_at_one_path(second: str) -> None:
    with pytest.raises(BadTarget, match=second):
        await serve(routed({"/mcp": ("a",), second: ("b",)}), http=ANY_PORT, sse=ANY_PORT)
