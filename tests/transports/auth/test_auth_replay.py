"""DPoP proofs that are sent again: to another worker, or after a restart (attack 47)."""

import subprocess
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mcpcore.auth.resource_server import Dpop, Issuer
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.auth.desk import proof
from tests.clock import patience
from tests.transports.auth.auth_desk import RESOURCE, issuer, judged, proven
from tests.transports.redis_server import redis_server
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

CHILD = [*PYTHON, "-m", "tests.transports.auth.auth_replay_child"]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_proof_is_good_at_one_worker_and_not_after_a_restart(
    kind: str, tmp_path: Path
) -> None:
    if kind == "redis":
        with redis_server() as server:
            await _two_workers(server.url)
    else:
        await _two_workers(f"sqlite:{tmp_path / 'proofs.db'}")


async def _two_workers(store: str) -> None:
    async with issuer() as desk:
        token = desk.bound()
        proofs = [
            proof(token, jti=f"p{number}", iat=time.time(), htu=RESOURCE) for number in range(20)
        ]
        found: Counter[int] = Counter()

        async def worker(backwards: bool) -> None:
            sent = [token, *(reversed(proofs) if backwards else proofs)]
            words = [*CHILD, store, desk.url]
            done = await anyio.to_thread.run_sync(
                partial(
                    subprocess.run,
                    words,
                    input="\n".join(sent).encode(),
                    stdout=subprocess.PIPE,
                    check=True,
                )
            )
            found.update(int(line) for line in done.stdout.split())

        with patience():
            async with anyio.create_task_group() as both:
                both.start_soon(worker, False)
                both.start_soon(worker, True)
            assert found == {200: 20, 401: 20}
            await worker(False)  # they have ended, and another begins
            assert found == {200: 20, 401: 40}


async def test_a_store_that_is_full_or_away_lets_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with issuer() as desk:
        store = MemoryStore(StoreSettings(proofs=3, proofs_per_principal=2))
        tokens: dict[str, str] = {}
        guard = ResourceServer(
            RESOURCE, [Issuer(issuer=desk.url)], dpop=Dpop.ALLOWED, replays=store
        )

        async def ask(jti: str, who: str = "ann") -> Any:
            token = tokens.setdefault(who, desk.bound(subject=who))
            return await judged(guard, proven(token, jti=jti))

        with patience():
            verdicts = [await ask(jti) for jti in ("a", "b", "c", "a")]
            verdicts += [await ask(jti, "bob") for jti in ("d", "e")]
            statuses = [getattr(each, "status", 200) for each in verdicts]
            assert statuses == [200, 200, 503, 401, 200, 503]
            handlers = anyio.to_thread.current_default_thread_limiter()
            before, handlers.total_tokens = handlers.total_tokens, 1
            async with handlers:  # whose threads are all busy
                with anyio.fail_after(5):
                    assert (await ask("d", "bob")).status == 401
            handlers.total_tokens = before
            store.close()
            away = await ask("f")
        assert (away.status, dict(away.headers)) == (503, {"Retry-After": "5"})
        assert "used proofs cannot be looked up" in caplog.text
        assert not [each for each in tokens.values() if each in caplog.text]
