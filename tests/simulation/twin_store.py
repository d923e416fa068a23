"""A store in memory and one in SQLite, which are told the same and have to say the same."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import structs

from mcpcore.http.storing import Step
from mcpcore_transports.stores.base import Outcome, StoreSettings
from mcpcore_transports.stores.memory import MemoryStore
from mcpcore_transports.stores.sqlite import SqliteStore
from tests.simulation.rules import demand

_SAME = "both stores say the same"
_AT_ONCE = 1e-9
"""Seconds between two times that a lease is written down; by default the file is spared for three,
within which a worker is taken for gone a little sooner than by the store in memory."""


class TwinStore(MemoryStore):
    """What the workers of a run share.  It has to be closed."""

    def __init__(self, settings: StoreSettings, *, clock: Callable[[], float]) -> None:
        super().__init__(settings, clock=clock)
        self._folder = TemporaryDirectory(prefix="mcpcore-simulation-")
        at_once = structs.replace(settings, renew=_AT_ONCE)
        self._file = SqliteStore(Path(self._folder.name) / "store", at_once, clock=clock)

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """Let both carry out the steps, and demand one outcome."""
        ours, theirs = super().commit(worker, steps, wall), self._file.commit(worker, steps, wall)
        for step, one, other in zip(steps, ours, theirs, strict=True):
            demand(one == other, _SAME, step, one, other)
        return ours

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """Let a worker have its notes, which are the same from both, in some order."""
        ours, theirs = super().receive(worker, timeout), self._file.receive(worker, timeout)
        demand(sorted(ours) == sorted(theirs), _SAME, worker, ours, theirs)
        return ours

    def leave(self, worker: str) -> None:
        """Tell both that a worker is gone."""
        super().leave(worker)
        self._file.leave(worker)

    def present(self, worker: str) -> None:
        """Tell both that a worker is there.

        Nobody is looked for who may be gone: he may be the next of whom this is told.
        """
        self._renew(worker)
        file = self._file
        look, file._bury_expired = file._bury_expired, lambda now: None  # type: ignore[method-assign]
        file._renew(worker)
        file._bury_expired = look  # type: ignore[method-assign]
        # or the next look, if it comes within the same moment, would be put off
        file._renewed.clear()

    def close(self) -> None:
        """Close both, and remove the file."""
        super().close()
        self._file.close()
        self._folder.cleanup()
