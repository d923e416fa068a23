"""For a store that carries out steps as they are: each of its calls, made into a step."""

from abc import ABC, abstractmethod
from typing import Any

from mcpcore.http.storing import (
    LogPage,
    Post,
    QueuePut,
    QueueTake,
    SessionDelete,
    SessionLoad,
    SessionRecord,
    SessionSave,
    SessionTouch,
    Step,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamRead,
    StreamRelease,
)


class ByStep(ABC):
    """The calls of :class:`~transports.stores.base.Store` in terms of one.

    Each raises StoreUnavailableError, and StepFailedError where the interface says so.
    """

    @abstractmethod
    def _do(self, worker: str, step: Step, wall: float) -> Any:
        """Carry out a step and return its outcome, StepFailedError for a StoreFailure."""

    def save(self, record: SessionRecord, wall: float) -> None:
        """See :class:`~transports.stores.base.SessionStore`."""
        self._do("", SessionSave(token=0, session=record.id, record=record), wall)

    def load(self, session: str, wall: float) -> SessionRecord | None:
        """See :class:`~transports.stores.base.SessionStore`."""
        record: SessionRecord | None = self._do("", SessionLoad(token=0, session=session), wall)
        return record

    def touch(self, session: str, wall: float) -> bool:
        """See :class:`~transports.stores.base.SessionStore`."""
        there: bool = self._do("", SessionTouch(token=0, session=session), wall)
        return there

    def delete(self, session: str, wall: float) -> bool:
        """See :class:`~transports.stores.base.SessionStore`."""
        there: bool = self._do("", SessionDelete(token=0, session=session), wall)
        return there

    def begin(
        self, worker: str, session: str, stream: int, request: bytes | None, wall: float
    ) -> None:
        """See :class:`~transports.stores.base.EventStore`."""
        step = StreamBegin(token=0, session=session, stream=stream, request=request)
        self._do(worker, step, wall)

    def append(
        self, worker: str, session: str, stream: int, data: bytes, ends: bool, wall: float
    ) -> int | None:
        """See :class:`~transports.stores.base.EventStore`."""
        step = StreamAppend(token=0, session=session, stream=stream, data=data, ends=ends)
        place: int | None = self._do(worker, step, wall)
        return place

    def read(
        self, worker: str, session: str, stream: int, after: int, limit: int, wall: float
    ) -> LogPage | None:
        """See :class:`~transports.stores.base.EventStore`."""
        step = StreamRead(token=0, session=session, stream=stream, after=after, limit=limit)
        page: LogPage | None = self._do(worker, step, wall)
        return page

    def put(self, session: str, data: bytes, once: str | None, wall: float) -> bool:
        """See :class:`~transports.stores.base.EventStore`."""
        put: bool = self._do("", QueuePut(token=0, session=session, data=data, once=once), wall)
        return put

    def take(self, worker: str, session: str, stream: int, limit: int, wall: float) -> LogPage:
        """See :class:`~transports.stores.base.EventStore`."""
        step = QueueTake(token=0, session=session, stream=stream, limit=limit)
        page: LogPage = self._do(worker, step, wall)
        return page

    def release(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~transports.stores.base.EventStore`."""
        self._do(worker, StreamRelease(token=0, session=session, stream=stream), wall)

    def claim(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~transports.stores.base.EventStore`."""
        self._do(worker, StreamClaim(token=0, session=session, stream=stream), wall)

    def post(self, worker: str, to: str | None, note: bytes) -> None:
        """See :class:`~transports.stores.base.Mailbox`."""
        self._do(worker, Post(token=0, session="", to=to, note=note), 0.0)
