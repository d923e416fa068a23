"""SQLite file that several threads of this process use, one transaction at a time."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mcpcore.errors import StepFailedError, StoreUnavailableError
from mcpcore_transports.stores.schema import prepare


class SqliteFile:
    """Connection to a SQLite file, its transactions, and the totals kept during one.

    ``undone`` is called when a transaction was rolled back.
    """

    def __init__(
        self, path: str | Path, synchronous: str, busy: float, *, undone: Callable[[], None]
    ) -> None:
        self._undone = undone
        self.lock = threading.RLock()
        """Lock of the connection and of the attributes below."""
        self._depth = 0
        self.size = 0
        """Bytes of events and queued messages, while a transaction runs."""
        self.count = 0
        """Number of sessions, while a transaction runs."""
        self.told = False
        """True if the transaction leaves notes."""
        self.bell = threading.Condition()
        """Condition notified after a transaction of this process has left notes."""
        self.rung = 0
        try:
            self.db = prepare(path, synchronous, busy)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"SQLite: {path}: {error}") from error

    def close(self) -> None:
        """Close the file; waiting receivers raise StoreUnavailableError."""
        with self.lock:
            self.db.close()
        self.ring()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one transaction; within another transaction, as a part of it.

        A StepFailedError of the block commits; every other exception rolls back.  Raises
        StoreUnavailableError, and every exception of the block.
        """
        with self.lock:
            if self._depth:
                yield
                return
            try:
                self.db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"SQLite: {error}") from error
            self._depth = 1
            self.told = False
            refusal: StepFailedError | None = None
            try:
                self.size, self.count = before = self._totals()
                try:
                    yield
                except StepFailedError as refused:
                    refusal = refused
                self._finish(before)
            except (sqlite3.DataError, sqlite3.ProgrammingError):
                self._undo()
                raise
            except sqlite3.Error as error:
                self._undo()
                raise StoreUnavailableError(f"SQLite: {error}") from error
            except BaseException:
                self._undo()
                raise
            finally:
                self._depth = 0
        if self.told:
            self.ring()
        if refusal is not None:
            raise refusal

    def _totals(self) -> tuple[int, int]:
        (size,), (count,) = self.db.execute(
            "SELECT value FROM facts WHERE name IN ('bytes', 'sessions') ORDER BY name"
        )
        return size, count

    def _finish(self, before: tuple[int, int]) -> None:
        if before != (self.size, self.count):
            self.db.execute(
                "UPDATE facts SET value = CASE name WHEN 'bytes' THEN ? ELSE ? END"
                " WHERE name IN ('bytes', 'sessions')",
                (self.size, self.count),
            )
        self.db.execute("COMMIT")

    def _undo(self) -> None:
        # SQLite may have rolled back already, as for a full disk
        with suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
        self._undone()

    def ring(self) -> None:
        """Wake the receivers of this process."""
        with self.bell:
            self.rung += 1
            self.bell.notify_all()

    def row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row, None if there is none."""
        row: tuple[Any, ...] | None = self.db.execute(statement, values).fetchone()
        return row

    def value(self, statement: str, *values: object) -> Any:
        """Return the first column of the first row, None if there is no row."""
        row = self.row(statement, *values)
        return None if row is None else row[0]
