"""Tokens for upstream calls over real sockets: kept, shared, replaced, and of each person apart."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

import mcpcore_transports.auth.exchange as module
from mcpcore import Context
from mcpcore.auth.grants import ACCESS_TOKEN, ClientIdentity
from mcpcore.auth.upstream import Subject, Upstream
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.exchange import UpstreamTokens
from tests.clock import patience, turns
from tests.transports.auth.auth_site import Asked, Authority, authority, together

pytestmark = pytest.mark.anyio

CLIENT = ClientIdentity(client_id="me", client_secret="the-secret")
ANNA, BEN = Subject(token="anna's"), Subject(token="ben's")


def tokens(stage: Authority, **more: Any) -> UpstreamTokens:
    issuer = stage.site.url
    return UpstreamTokens(
        Upstream(resource="https://api.example", issuer=issuer, client=CLIENT), proxy=None, **more
    )


async def test_twenty_tasks_share_one_request() -> None:
    async with authority() as stage:
        upstream = tokens(stage)
        found = await together(20, upstream.headers)
        assert found == [{"Authorization": "Bearer access-1"}] * 20
        assert stage.count("/token") == 1
        assert upstream._turns == {}
    assert "secret" not in repr(upstream)


async def test_a_task_that_is_cancelled_leaves_the_turn_of_the_others() -> None:
    reached, go_on = anyio.Event(), anyio.Event()

    async def hang(asked: Asked, stream: ByteStream) -> None:
        if asked.target == "/token":
            reached.set()
            await go_on.wait()

    async with authority(hang) as stage:
        upstream = tokens(stage)
        with patience():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(upstream.token)
                await reached.wait()
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(upstream.token)
                    await turns()
                    waiting.cancel_scope.cancel()
                tasks.start_soon(upstream.token)
                await turns()
                go_on.set()
        assert stage.count("/token") == 1
        assert upstream._turns == {}


async def test_each_person_has_a_token_and_the_oldest_goes() -> None:
    async with authority() as stage:
        stage.world.token = {"issued_token_type": ACCESS_TOKEN}
        upstream = tokens(stage, max_subjects=2)
        with patience():
            one = await upstream.token(ANNA)
            two = await upstream.token(BEN)
            assert one.reveal() != two.reveal() == (await upstream.token(BEN)).reveal()
            own = await upstream.token()
            assert (await upstream.token()).reveal() == own.reveal()
            assert (await upstream.token(ANNA)).reveal() not in (one.reveal(), own.reveal())
        assert stage.count("/token") == 4
        assert len(upstream._kept) == 2


@pytest.mark.parametrize(("lasts", "until"), [(100, 90.0), (3600, 3570.0), (None, 60.0)])
async def test_a_token_is_replaced_before_it_ends(
    lasts: float | None, until: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock[0]))
    async with authority() as stage:
        stage.world.token = {"expires_in": lasts}
        upstream = tokens(stage)
        with patience():
            first = await upstream.token()
            clock[0] += until - 0.5
            assert (await upstream.token()).reveal() == first.reveal()
            clock[0] += 1.0
            assert (await upstream.token()).reveal() != first.reveal()


@pytest.mark.parametrize(("later", "replaced"), [(1.0, False), (6.0, True), (-86_400.0, True)])
async def test_a_token_that_its_server_refuses_is_replaced_unless_it_is_new(
    later: float, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a clock that is set back keep it."""
    clock = [1_000_000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock[0]))
    async with authority() as stage:
        upstream = tokens(stage)
        with patience():
            first = (await upstream.token()).reveal()
            clock[0] += later
            upstream.forget(first)
            assert ((await upstream.token()).reveal() != first) is replaced


async def test_a_refusal_is_told_to_all_and_tried_again() -> None:
    async with authority() as stage:
        stage.world.token = {"token_type": "mac"}
        upstream = tokens(stage)
        with patience():
            with pytest.raises(AuthorizationError, match="its type is not Bearer"):
                await upstream.token()
            stage.world.token = {}
            assert (await upstream.token()).reveal() == "access-2"


def test_no_part_of_a_context_is_named_like_a_token() -> None:
    """A handler is told who calls, and never with which token (attack 60)."""
    names = [name for name in dir(Context) if not name.startswith("__")]
    assert "principal" in names
    assert not [
        name for name in names if "token" in name.lower() and "progress" not in name.lower()
    ]
