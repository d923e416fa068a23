"""Attacks on a client that authorizes, over real sockets: numbers as in the page of the design.

Attacks on the pure machine are in tests/auth/test_client_attacks.py, those of a whole site in
test_connect_attacks.
"""

import socket
import time
from pathlib import Path

import anyio
import pytest

from mcpcore.auth.authorization import Refused
from mcpcore.auth.settings import AuthorizationSettings, CodeGrant
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.authorizer import Authorizer
from mcpcore_transports.auth.browser import BrowserSignIn
from mcpcore_transports.auth.callback import listen
from mcpcore_transports.auth.file_store import FileTokens
from tests.clock import patience, until
from tests.transports.auth.auth_site import (
    Person,
    authority,
    names,
)
from tests.transports.auth.test_auth_authorizer import authorizer, expiring, quiet
from tests.transports.auth.test_auth_callback import get, port_of, say

pytestmark = pytest.mark.anyio

UNAUTHORIZED = Refused(status=401, lines=("Bearer",))


async def test_15_the_port_of_the_callback_is_taken() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    uri = f"http://127.0.0.1:{taken.getsockname()[1]}/callback"
    settings = AuthorizationSettings(grant=CodeGrant(redirect_uri=uri))
    async with authority() as stage:
        with taken, patience(), pytest.raises(AuthorizationError, match="no callback"):
            await authorizer(stage, settings=settings).refused(UNAUTHORIZED)
        assert (stage.world.opened, stage.count("/register")) == ([], 0)


async def test_16_a_flood_of_callbacks_ends_the_sign_in() -> None:
    def flood(url: str) -> bool:
        port = int(url.partition("127.0.0.1%3A")[2].partition("%2F")[0])
        for number in range(10):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
                stream.sendall(get(f"code=evil&state={number}", port))
                while stream.recv(4096):
                    pass
        return True

    async with authority() as stage:
        one = authorizer(stage, sign_in=BrowserSignIn(flood, quiet))
        with patience(), pytest.raises(AuthorizationError, match="wrong state"):
            await one.refused(UNAUTHORIZED)
        assert stage.count("/token") == 0


async def test_17_the_page_repeats_nothing() -> None:
    async with authority() as stage:
        person = Person(stage.world)
        person.changed = {"error": "<b>", "error_description": "<script>alert(1)</script>\x1b[2J"}
        with patience(), pytest.raises(AuthorizationError) as caught:
            await authorizer(stage, person).refused(UNAUTHORIZED)
        await until(lambda: person.pages)  # the browser reads on when the flow is over
    assert b"script" not in person.pages[0]
    assert b"<b>" not in person.pages[0]
    assert "\x1b" not in str(caught.value)


async def test_14_a_page_that_was_made_to_point_here_is_not_heard() -> None:
    listener = await listen("http://127.0.0.1/callback")
    port = port_of(listener)
    request = get("code=evil&state=s", port).replace(b"Host: 127.0.0.1", b"Host: evil.example")
    with patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.wait, "s")
            assert (await say(port, request)).startswith(b"HTTP/1.1 421 ")
            tasks.cancel_scope.cancel()
    await listener.aclose()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1"])
async def test_28_a_public_server_leads_nowhere_inside(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = names(monkeypatch, {"mcp.example": [address]})
    one = Authorizer("https://mcp.example/mcp", proxy=None)
    with patience(), pytest.raises(AuthorizationError, match="not public"):
        await one.refused(UNAUTHORIZED)
    assert looked_up == ["mcp.example"]


async def test_51_a_link_in_the_store_ends_it_before_anything_is_sent(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    async with authority() as stage:
        await expiring(stage, store)
        (file,) = store.folder.glob("*.json")
        file.rename(tmp_path / "aside")
        file.symlink_to(tmp_path / "aside")
        with patience(), pytest.raises(AuthorizationError, match="a link"):
            await authorizer(stage, store=store).refused(UNAUTHORIZED)
        assert stage.site.connections == 0


@pytest.mark.parametrize("days", [1, -1])
async def test_59_a_clock_that_jumps_makes_one_refresh_at_most(
    days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    async with authority() as stage:
        one = authorizer(stage)
        with patience():
            await one.refused(UNAUTHORIZED)
            monkeypatch.setattr(time, "time", lambda: real() + days * 86400)
            found = [await one.token() for _ in range(3)]
        refreshed = days > 0
        assert {each and each.header() for each in found} == {f"Bearer access-{1 + refreshed}"}
        assert stage.count("/token") == 1 + refreshed
