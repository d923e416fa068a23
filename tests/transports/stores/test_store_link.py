"""A server and its store: what happens when the store fails, is slow, or comes back."""

import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import Context, MemoryStore, Server, ServeSettings, connect
from mcpcore.errors import CallFailed, NegotiationError, PeerError, StoreUnavailableError
from mcpcore.http.storing import Step
from mcpcore_transports.http.server.store_link import StoreLink, StoreLinkSettings, worker_name
from mcpcore_transports.stores.base import StepOutcome
from tests.clock import PATIENCE, patience, until
from tests.transports.served import served

pytestmark = pytest.mark.anyio

LEGACY = "2025-11-25"


class Moody(MemoryStore):
    """A store of somebody's own, which does not always do what it should."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Exception | None = None
        self.deaf: Exception | None = None
        self.rude: Exception | None = None
        self.forgets = False
        self.left: list[str] = []
        self.batches: list[int] = []
        self.heard = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[StepOutcome]:
        self.may_go_on.wait(PATIENCE)
        self.batches.append(len(steps))
        if self.fails is not None:
            raise self.fails
        outcomes = super().commit(worker, steps, wall)
        return outcomes[1:] if self.forgets else outcomes

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        if self.deaf is not None:
            self.heard.set()
            raise self.deaf
        return super().receive(worker, timeout)

    def leave(self, worker: str) -> None:
        self.left.append(worker)
        super().leave(worker)
        if self.rude is not None:
            raise self.rude


def make_server() -> Server:
    server = Server("stored")

    @server.tool
    async def say(context: Context, word: str) -> str:
        context.info(word)
        return word

    return server


@asynccontextmanager
async def site(store: MemoryStore, **settings: object) -> AsyncIterator[str]:
    """A server with a store; yields its URL."""
    link = StoreLinkSettings(pause=0.01, **settings)  # type: ignore[arg-type]
    async with served(make_server(), settings=ServeSettings(store=store, store_link=link)) as found:
        yield found.url


async def said(url: str, word: str) -> str:
    async with connect(url, revision=LEGACY) as client:
        return (await client.call_tool("say", {"word": word})).text


async def test_a_worker_leaves_when_its_server_ends() -> None:
    store = Moody()
    async with site(store) as url:
        assert await said(url, "hello") == "hello"
        assert store.left == []
    assert len(set(store.left)) == 1  # the thread that waits for notes may say it once more


@pytest.mark.parametrize("fault", [StoreUnavailableError("gone"), ZeroDivisionError("a fault")])
async def test_a_store_that_fails_at_the_end_holds_no_server_up(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = Moody()
    store.rude = fault
    async with site(store) as url:
        assert await said(url, "hello") == "hello"
    assert f": {fault}" in caplog.text


async def test_a_store_that_forgets_an_outcome_ends_no_server() -> None:
    store = Moody()
    async with site(store) as url:
        store.forgets = True
        with pytest.raises(NegotiationError):
            await said(url, "lost")
        store.forgets = False
        assert await said(url, "hello") == "hello"


@pytest.mark.parametrize("fault", [StoreUnavailableError("gone"), ZeroDivisionError("a fault")])
async def test_a_store_that_fails_is_told_to_clients_and_may_come_back(fault: Exception) -> None:
    store = Moody()
    async with site(store) as url:
        async with connect(url, revision=LEGACY) as client:
            await client.call_tool("say", {"word": "first"})  # by then it is known to be ready
            store.fails = fault
            with pytest.raises((CallFailed, PeerError)) as caught:
                await client.call_tool("say", {"word": "lost"}, timeout=PATIENCE)
            assert "a fault" not in str(caught.value)  # which is nobody's business
            with pytest.raises(NegotiationError):
                await said(url, "nobody")
            store.fails = None
            assert (await client.call_tool("say", {"word": "again"})).text == "again"
        assert await said(url, "new") == "new"


async def test_readiness_says_whether_the_store_is_within_reach() -> None:
    store = Moody()
    async with site(store, listen=0.05) as url:
        assert await health(url) == "HTTP/1.1 200"
        store.deaf = StoreUnavailableError("no route")
        await anyio.to_thread.run_sync(store.heard.wait, 10)
        with patience():
            while await health(url) != "HTTP/1.1 503":
                await anyio.lowlevel.checkpoint()
        assert await health(url, "/live") == "HTTP/1.1 200"
        store.deaf = None
        with patience():
            while await health(url) != "HTTP/1.1 200":
                await anyio.lowlevel.checkpoint()


async def health(url: str, what: str = "") -> str:
    """What the health page answers."""
    port = int(url.split(":")[2].partition("/")[0])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET /health{what} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return (await stream.receive())[:12].decode()


async def test_a_mailbox_that_fails_is_said_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Moody()
    store.deaf = StoreUnavailableError("no route")
    with caplog.at_level(logging.WARNING, "mcpcore.store"):
        async with site(store, listen=0.05) as url:
            for _ in range(3):
                await anyio.to_thread.run_sync(store.heard.wait, 10)
                store.heard.clear()
            assert await said(url, "hello") == "hello"
            store.deaf = None
            await until(lambda: "within reach again" in caplog.text)
    assert caplog.text.count("out of reach: no route") == 1


async def test_what_comes_meanwhile_is_one_batch() -> None:
    store = Moody()
    async with site(store) as url:
        assert await said(url, "hello") == "hello"
        store.may_go_on.clear()
        async with anyio.create_task_group() as group:
            words: list[str] = []

            async def say(word: str) -> None:
                words.append(await said(url, word))

            for word in "abcdefgh":
                group.start_soon(say, word)
            await until(lambda: len(store.batches) >= 1)
            await anyio.wait_all_tasks_blocked()
            store.may_go_on.set()
        assert sorted(words) == list("abcdefgh")
    assert max(store.batches) >= 7  # the first opened the batch that had to wait


async def test_more_than_may_wait_is_busy() -> None:
    store = Moody()
    async with site(store, waiting=0) as url:
        with pytest.raises(NegotiationError):
            await said(url, "hello")


def test_names_of_workers_are_new_and_tell_nothing() -> None:
    names = {worker_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(name) == 12 for name in names)


async def test_a_thread_that_begins_late_does_not_bring_back_a_worker_that_has_left() -> None:
    store = MemoryStore()
    nobody: Any = None
    link = StoreLink(store, "worker", nobody, nobody, lambda: None)
    link._receive(0.0)
    assert [*store._renewed] == ["worker"]
    await link.leave()
    link._receive(0.0)
    assert not store._renewed
