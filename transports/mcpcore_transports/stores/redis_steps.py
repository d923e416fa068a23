"""Conversion of steps into Redis commands, and of replies into outcomes."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs
from redis.exceptions import ResponseError

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
from mcpcore_transports.stores.base import Outcome, is_request, moved, wake
from mcpcore_transports.stores.redis_link import Command, RedisLink, Reply, reason

_REFUSED = "GONE "
"""Prefix of errors that are raised by the scripts, not by Redis."""
_NO_SESSION = "NOSESSION"
"""Error of the scripts for a session that does not exist."""


def session_base(prefix: str, session: str) -> str:
    """Return the common prefix of all keys of a session; the braces are its hash tag."""
    return f"{prefix}:{{{session}}}:"


def command(link: RedisLink, prefix: str, worker: str, step: Step, wall: float) -> Command | None:
    """Return the command that carries out a step; None for an unknown step."""

    def of_session(operation: str, *values: object) -> Command:
        return link.session.call(
            session_base(prefix, step.session), operation, wall, worker, *values
        )

    def of_workers(operation: str, *values: object) -> Command:
        return link.workers.call(workers_base(prefix), operation, *values)

    match step:
        case StreamAppend():
            return of_session("append", step.stream, step.data, int(step.ends))
        case StreamRead():
            return of_session("read", step.stream, step.after, step.limit)
        case StreamBegin():
            answers, request = int(step.request is not None), step.request or b""
            return of_session("begin", step.stream, answers, request, step.limit)
        case QueuePut():
            named, once = int(step.once is not None), step.once or ""
            return of_session("put", step.data, int(is_request(step.data)), named, once)
        case QueueTake():
            return of_session("take", step.stream, step.limit)
        case StreamClaim():
            return of_session("claim", step.stream, step.limit)
        case StreamRelease():
            return of_session("release", step.stream)
        case SessionTouch():
            return of_session("touch")
        case SessionCalls():
            return of_session("calls", step.calls, step.limit)
        case SessionLoad():
            return of_session("load")
        case SessionSave():
            record = step.record
            return of_session("save", msgspec.json.encode(record), record.version, record.created)
        case SessionDelete():
            return of_session("delete")
        case Post(to=None):
            return of_workers("post_all", worker, step.note)
        case Post():
            return of_workers("post", step.to, step.note)
        case Announce():
            return of_workers("announce", worker, step.note, step.topic, wall)
        case Announcements():
            return of_workers("announcements", step.since, wall)
    return None


def workers_base(prefix: str) -> str:
    """Return the common prefix of all keys that belong to no session."""
    return f"{prefix}:{{workers}}:"


def outcome(step: Step, reply: Reply) -> Outcome:
    """Return the outcome of a step from the reply to its command."""
    if isinstance(reply, Exception):
        text = str(reply)
        if isinstance(reply, ResponseError) and text == _NO_SESSION:
            return NoSession()
        refused = isinstance(reply, ResponseError) and text.startswith(_REFUSED)
        return StoreFailure(text.removeprefix(_REFUSED) if refused else reason(reply))
    if isinstance(step, Post | Announce):
        return None
    if isinstance(step, Announcements):
        return tuple(reply)
    value = reply[0]
    match step:
        case StreamAppend():
            return None if value < 0 else int(value)
        case StreamRead():
            return None if value == b"" else _page(value)
        case QueueTake():
            return LogPage(ended=True) if value == b"" else _page(value)
        case SessionSave() if isinstance(value, bytes):
            return msgspec.json.decode(value, type=SessionRecord)
        case SessionSave():
            return False if value < 0 else None
        case SessionLoad():
            return None if value == b"" else _loaded(*value)
        case SessionCalls():
            return None if value < 0 else int(value)
        case StreamBegin() | StreamClaim():
            return False if value else None
        case QueuePut() | SessionTouch() | SessionDelete():
            return bool(value)
    return None


def notes(session: str, reply: Reply) -> Iterator[str | bytes]:
    """Yield the notes that came with a reply: name of a worker, note, name, note ..."""
    if isinstance(reply, list) and session:
        told = reply[1]
        for worker, kind, stream in zip(told[::3], told[1::3], told[2::3], strict=True):
            make = wake if kind == b"wake" else moved
            yield worker
            yield make(session, int(stream))


def _loaded(record: bytes, used: bytes) -> SessionRecord:
    made = msgspec.json.decode(record, type=SessionRecord)
    return structs.replace(made, used=float(used)) if used else made


def _page(value: Any) -> LogPage:
    lost, last, ended, orphaned, answers, request, entries = value
    return LogPage(
        entries=tuple(zip(entries[::2], entries[1::2], strict=True)),
        lost=lost,
        last=last,
        ended=bool(ended),
        orphaned=bool(orphaned),
        request=request if answers else None,
    )
