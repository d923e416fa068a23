"""Base class of a store that carries out steps: every other method becomes a step."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mcpcore.errors import NoSessionError, StepFailedError
from mcpcore.http.storing import (
    Announce,
    Announcements,
    LogPage,
    NoSession,
    Post,
    QueuePut,
    QueueTake,
    SessionCalls,
    SessionDelete,
    SessionLoad,
    SessionRecord,
    SessionSave,
    SessionTouch,
    Step,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamRead,
    StreamRelease,
)
from mcpcore_transports.stores.base import Outcome


def settled(outcome: Outcome) -> Any:
    """Return an outcome.  Raises StepFailedError for a StoreFailure."""
    if isinstance(outcome, NoSession):
        raise NoSessionError(outcome.reason)
    if isinstance(outcome, StoreFailure):
        raise StepFailedError(outcome.reason)
    return outcome


class ByStep(ABC):
    """Methods of ``Store``, each as one step given to ``commit``."""

    @abstractmethod
    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""

    def do(self, worker: str, step: Step, wall: float) -> Any:
        """Carry out a step and return its outcome.  Raises StepFailedError for a StoreFailure."""
        (outcome,) = self.commit(worker, [step], wall)
        return settled(outcome)

    def save(self, record: SessionRecord, wall: float) -> SessionRecord | bool | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        step = SessionSave(token=0, session=record.id, record=record)
        outcome: SessionRecord | bool | None = self.do("", step, wall)
        return outcome

    def load(self, session: str, wall: float) -> SessionRecord | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        record: SessionRecord | None = self.do("", SessionLoad(token=0, session=session), wall)
        return record

    def touch(self, session: str, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        there: bool = self.do("", SessionTouch(token=0, session=session), wall)
        return there

    def calls(self, worker: str, session: str, calls: int, limit: int, wall: float) -> int | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        step = SessionCalls(token=0, session=session, calls=calls, limit=limit)
        granted: int | None = self.do(worker, step, wall)
        return granted

    def delete(self, session: str, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        there: bool = self.do("", SessionDelete(token=0, session=session), wall)
        return there

    def begin(
        self,
        worker: str,
        session: str,
        stream: int,
        request: bytes | None,
        limit: int,
        wall: float,
    ) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        step = StreamBegin(token=0, session=session, stream=stream, request=request, limit=limit)
        begun: bool | None = self.do(worker, step, wall)
        return begun

    def append(
        self, worker: str, session: str, stream: int, data: bytes, ends: bool, wall: float
    ) -> int | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        step = StreamAppend(token=0, session=session, stream=stream, data=data, ends=ends)
        place: int | None = self.do(worker, step, wall)
        return place

    def read(
        self, worker: str, session: str, stream: int, after: int, limit: int, wall: float
    ) -> LogPage | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        step = StreamRead(token=0, session=session, stream=stream, after=after, limit=limit)
        page: LogPage | None = self.do(worker, step, wall)
        return page

    def put(self, session: str, data: bytes, once: str | None, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        put: bool = self.do("", QueuePut(token=0, session=session, data=data, once=once), wall)
        return put

    def take(self, worker: str, session: str, stream: int, limit: int, wall: float) -> LogPage:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        step = QueueTake(token=0, session=session, stream=stream, limit=limit)
        page: LogPage = self.do(worker, step, wall)
        return page

    def release(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        self.do(worker, StreamRelease(token=0, session=session, stream=stream), wall)

    def claim(self, worker: str, session: str, stream: int, limit: int, wall: float) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        step = StreamClaim(token=0, session=session, stream=stream, limit=limit)
        claimed: bool | None = self.do(worker, step, wall)
        return claimed

    def post(self, worker: str, to: str | None, note: bytes) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        self.do(worker, Post(token=0, session="", to=to, note=note), 0.0)

    def announce(self, worker: str, note: bytes, topic: str, wall: float) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        self.do(worker, Announce(token=0, session="", note=note, topic=topic), wall)

    def announcements(self, since: float, wall: float) -> tuple[bytes, ...]:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        notes: tuple[bytes, ...] = self.do(
            "", Announcements(token=0, session="", since=since), wall
        )
        return notes
