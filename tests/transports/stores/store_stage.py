"""A store of each kind for tests: three workers with two owners, and times that the test moves."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from msgspec import Raw

from mcpcore.http.storing import (
    AnyNote,
    SessionRecord,
    Step,
    TaskChanged,
)
from mcpcore_transports.stores.base import StepOutcome, Store, StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.transports.redis_server import PROGRAMS, redis_server

KINDS = ("memory", "sqlite", *PROGRAMS)
WORKERS = ("a", "b", "c")


class Stage:
    """Workers ``a``, ``b`` and ``c``; the last two share an owner, as threads of a process do."""

    def __init__(self, owners: dict[str, Store]) -> None:
        self.owners = owners
        self.wall = 1000.0
        """The wall clock."""
        self.now = 0.0
        """The clock of leases."""

    def commit(self, worker: str, *steps: Step) -> list[StepOutcome]:
        return self.owners[worker].commit(worker, steps, self.wall)

    def notes(self, worker: str) -> list[bytes]:
        return self.owners[worker].receive(worker, 0)

    def close(self) -> None:
        for store in {id(store): store for store in self.owners.values()}.values():
            store.close()


class Theatre:
    """Makes a stage after the other with stores of one kind."""

    def __init__(self, kind: str, folder: Path, redis_url: str | None) -> None:
        self.kind = kind
        self._folder = folder
        self._redis_url = redis_url
        self._made = 0

    @contextmanager
    def stage(self, settings: StoreSettings) -> Iterator[Stage]:
        self._made += 1
        stage = Stage({})
        first, second = self._stores(settings, stage)
        stage.owners.update(a=first, b=second, c=second)
        try:
            yield stage
        finally:
            stage.close()

    def _stores(self, settings: StoreSettings, stage: Stage) -> tuple[Store, Store]:
        def clock() -> float:
            return stage.now

        if self.kind == "memory":
            store = MemoryStore(settings, clock=clock)
            return store, store
        if self.kind == "sqlite":
            from mcpcore_transports.stores.sqlite import SqliteStore

            path = self._folder / f"{self._made}.db"
            return SqliteStore(path, settings, clock=clock), SqliteStore(
                path, settings, clock=clock
            )
        from mcpcore_transports.stores.redis import RedisStore

        assert self._redis_url is not None
        prefix = f"stage{self._made}"
        first, second = (
            RedisStore(self._redis_url, settings, prefix=prefix, clock=clock) for _ in range(2)
        )
        return first, second


@contextmanager
def theatre(kind: str, folder: Path) -> Iterator[Theatre]:
    """Make what stages of a kind need; skips the test where there is no redis-server."""
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(kind)).url if kind in PROGRAMS else None
        yield Theatre(kind, folder, url)


def record(
    session: str = "s",
    version: int = 1,
    created: float = 1000.0,
    level: str | None = None,
    owner: str = "",
    used: float | None = None,
) -> SessionRecord:
    return SessionRecord(
        id=session,
        principal="somebody",
        owner=owner,
        revision="2025-11-25",
        capabilities=Raw(b'{"roots":{}}'),
        created=created,
        version=version,
        log_level=level,
        used=used,
    )


def decoded(note: bytes) -> AnyNote | TaskChanged:
    made: AnyNote | TaskChanged = msgspec.json.decode(note, type=AnyNote | TaskChanged)
    return made
