"""Attacks on a client that authorizes, over real sockets: numbers as in the page of the design.

Attacks on the pure machine are in tests/auth/test_client_attacks.py.
"""

import gzip
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore.auth.authorization import Refused
from mcpcore.auth.settings import AuthorizationSettings, CodeGrant
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.authorizer import Authorizer
from mcpcore_transports.auth.browser import BrowserSignIn
from mcpcore_transports.auth.callback import listen
from mcpcore_transports.auth.file_store import FileTokens
from mcpcore_transports.auth.stores import MemoryTokens
from tests.auth.world import answer, key_of
from tests.clock import patience, until
from tests.transports.auth.auth_site import (
    Authority,
    Person,
    answering,
    authority,
    names,
    reply,
    site,
)
from tests.transports.auth.test_auth_authorizer import authorizer, expiring, quiet
from tests.transports.auth.test_auth_callback import get, port_of, say

pytestmark = pytest.mark.anyio

UNAUTHORIZED = Refused(status=401, lines=("Bearer",))
PRM = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server"
BOMB = gzip.compress(b" " * (1 << 24))


def told(**members: str) -> Callable[[Authority, str], None]:
    """Metadata of the authorization server with other members; TRAP is the site of an attacker."""

    def spoil(stage: Authority, trap: str) -> None:
        base = stage.site.url
        stage.world.metadata |= {
            name: text.replace("TRAP", trap).replace("BASE", base) for name, text in members.items()
        }

    return spoil


def page(path: str, found: Any) -> Callable[[Authority, str], None]:
    def spoil(stage: Authority, trap: str) -> None:
        made = found(trap) if callable(found) else found
        stage.world.pages[f"{stage.site.url}{path}"] = made

    return spoil


def moved(status: int) -> Callable[[str], Any]:
    return lambda trap: answer({}, status, location=f"{trap}/token")


ROWS: dict[str, tuple[Callable[[Authority, str], None], str]] = {
    "22 a file": (told(token_endpoint="file:///etc/passwd"), "not a plain"),
    "22 gopher": (told(registration_endpoint="gopher://id.example/"), "not a plain"),
    "24 a private address": (told(token_endpoint="https://10.0.0.1/token"), "not a public"),
    "24 the cloud": (told(registration_endpoint="https://169.254.169.254/"), "not a public"),
    "24 a decimal address": (told(token_endpoint="https://2130706433/token"), "no valid IP"),
    "25 redirect of the resource": (page(PRM, moved(302)), "status is 302"),
    "25 redirect of the metadata": (page(METADATA, moved(301)), "status is 301"),
    "25 redirect of the registration": (page("/register", moved(307)), "status 307"),
    "26 redirect of the code": (page("/token", moved(307)), "status 307"),
    "27 redirect of the code by 308": (page("/token", moved(308)), "status 308"),
    "28 a private name": (told(token_endpoint="https://inside.example/"), "not public"),
    "30 javascript": (told(authorization_endpoint="javascript:alert(1)"), "not a plain"),
    "31 a shell": (told(authorization_endpoint="BASE/$(id)"), "a shell reads"),
    "31 a quote": (told(authorization_endpoint='BASE/"'), "not a plain"),
    "31 an option": (told(authorization_endpoint="--new-window=BASE"), "not a plain"),
    "33 a large resource": (page(PRM, answer(b" " * (1 << 21))), "larger than"),
    "33 large metadata": (page(METADATA, answer(b" " * (1 << 21))), "larger than"),
    "33 a large registration": (page("/register", answer(b" " * (1 << 21))), "larger than"),
    "33 a large token": (page("/token", answer(b" " * (1 << 21))), "larger than"),
    "33 a bomb": (page(METADATA, answer(BOMB, content_encoding="gzip")), "compressed"),
}


@pytest.mark.parametrize("row", ROWS)
async def test_an_attack_of_the_other_side(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, why = ROWS[row]
    names(monkeypatch, {"inside.example": ["10.1.1.1"]})
    async with authority() as stage, site(answering(reply())) as trap:
        spoil(stage, trap.url)
        store = MemoryTokens()
        one = authorizer(stage, store=store)
        with patience(), pytest.raises(AuthorizationError, match=why):
            await one.refused(UNAUTHORIZED)
        assert await one.token() is None
        found = await store.load(key_of(stage.server))
        assert (trap.connections, found.record) == (0, None)
        opens = "/token" in row or row.startswith(("26", "27", "28")) or row.endswith("token")
        assert bool(stage.world.opened) is opens


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
