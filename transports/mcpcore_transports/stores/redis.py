"""Store in Redis, for workers on several machines.

The keys of a session have a hash tag of their own, ``prefix:{id}:``; the keys of the workers have
``prefix:{workers}:``.  Each script touches one tag only, so that the keys may be spread over a
cluster.  Every key has a time to live.

A batch of steps is one pipeline.  Its notes to other workers follow in a second one, which is
repeated if it fails.  When a worker dies, the others are reminded of notes that it may have failed
to send.

Redis keeps in memory the changes that it has confirmed: how many of them are lost when Redis itself
dies depends on its persistence (docs/how-to/stores.md).  The client library is the extra ``redis``.
Source: https://redis.io/docs/latest/develop/programmability/eval-intro/
"""

import hashlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, cast

import msgspec
import redis
from msgspec import Struct, structs
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from mcpcore.errors import StoreUnavailableError
from mcpcore.http import storing
from mcpcore.http.storing import LogPage, NoSession, SessionRecord, Step, StoredTask, StoreFailure
from mcpcore_transports.stores.base import (
    LOST,
    SECRET_SIZE,
    SPARED,
    STREAMS_PART,
    TASK_END,
    TASK_PAGE,
    Grade,
    StepOutcome,
    StoreSettings,
    begun,
    is_request,
    made_room,
    moved,
    task_changed,
    wake,
)

SLACK = 5000
"""Milliseconds that keys outlive their data, so that clocks may differ."""
_CHUNK = 500
"""Maximum commands sent before replies are read."""

_NOTE_BYTES = 64 * 1024 * 1024
"""Bytes of notes to everybody that are kept behind the oldest; Redis deletes none that is read."""

_LEAST_WAIT = 0.1
"""Minimum seconds of one blocking read for notes, however often leases are renewed."""

_REFUSED = "GONE "
"""Prefix of errors that are raised by the scripts, not by Redis."""
_NO_SESSION = "NOSESSION"
"""Error of the scripts for a session that does not exist."""

Command = tuple[Any, ...]
Reply = Any
"""Reply as redis-py decodes it; an exception for an error."""

_GRADES = {
    storing.SessionLoad: Grade.AGREED,
    storing.SessionSave: Grade.AGREED,
    storing.SessionTouch: Grade.USED,
}
"""Grade by the step that uses a session; a save counts only for an existing session."""

_HOLDS = storing.StreamBegin | storing.StreamClaim | storing.StreamRead | storing.SessionCalls
"""Steps by which a worker gets streams, waits or calls of a session."""


class RedisLink:
    """Two clients of one Redis server: one for commands, one for blocking reads.

    No command is retried automatically: a command without a reply may have been carried out.
    """

    def __init__(self, url: str, settings: StoreSettings, timeout: float) -> None:
        common: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "decode_responses": False,
            "socket_connect_timeout": timeout,
        }
        self._db = redis.Redis.from_url(url, socket_timeout=timeout, **common)
        self._ears = redis.Redis.from_url(url, socket_timeout=timeout + settings.renew, **common)
        # Make redis-py reject an unknown option of the URL now, not at the first connection.
        pool = self._db.connection_pool
        pool.connection_class(**pool.connection_kwargs)
        self._closed = False
        numbers = {
            **structs.asdict(settings),
            "slack": SLACK,
            "task_end": TASK_END,
            "task_page": TASK_PAGE,
            "note_bytes": _NOTE_BYTES,
            "streams_part": STREAMS_PART,
        }
        head = "".join(f"local {name.upper()} = {value!r}\n" for name, value in numbers.items())
        self._scripts = {
            name: head + files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
            for name in ("session", "workers", "rates")
        }
        # Redis names scripts by SHA-1; no security depends on the digest.
        self._digests = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._scripts.items()
        }

    def close(self) -> None:
        """Close all connections for good; redis-py alone would open them again."""
        self._closed = True
        self._db.close()
        self._ears.close()

    def script(self, name: str, base: str, operation: str, *values: object) -> Command:
        """Return the command for an operation of a script on keys that begin with ``base``."""
        return ("EVALSHA", self._digests[name], 1, base, operation, *values)

    def one(self, command: Command) -> Reply:
        """Carry out one command.  Raises StoreUnavailableError, also for an error of Redis."""
        (reply,) = self.run([command])
        if isinstance(reply, Exception):
            raise StoreUnavailableError(_reason(reply)) from reply
        return reply

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Carry out commands in order, in one pipeline; a reply may be an exception.

        Raises StoreUnavailableError if a reply is missing.
        """
        replies: list[Reply] = []
        for start in range(0, len(commands), _CHUNK):
            replies += self._send(commands[start : start + _CHUNK])
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            self._send([("SCRIPT", "LOAD", text) for text in self._scripts.values()])
            # After Redis has forgotten a script, all later calls of it have failed too, and can be
            # repeated in order.  A script that was loaded again in between breaks the order: then
            # the failed calls stay failed.
            ran = {
                commands[at][:2]: at
                for at, reply in enumerate(replies)
                if not isinstance(reply, NoScriptError)
            }
            again = [at for at in missing if ran.get(commands[at][:2], -1) < at]
            for at, reply in zip(again, self._send([commands[at] for at in again]), strict=True):
                replies[at] = reply
        return replies

    def wait(self, cursors: dict[str, str], seconds: float) -> Reply:
        """Return the entries added to Redis streams behind the given ids; wait for the first.

        Raises StoreUnavailableError.
        """
        self._check_open()
        block = max(1, round(seconds * 1000)) if seconds > 0 else None
        try:
            return self._ears.xread(cast("dict[Any, Any]", cursors), block=block)
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(_reason(error)) from error

    def _send(self, commands: Sequence[Command]) -> list[Reply]:
        self._check_open()
        try:
            pipeline = self._db.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            replies = list(pipeline.execute(raise_on_error=False))
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(_reason(error)) from error
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            # Another server has taken over, which only a new connection reaches.
            for client in (self._db, self._ears):
                client.connection_pool.disconnect(inuse_connections=False)
        return replies

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed")


def _reason(error: Exception) -> str:
    return f"Redis: {error}"


class _Here(Struct):
    """State of a worker of this process."""

    inbox: str
    """Id of the last note read from its mailbox."""
    all: str
    """Id of the last note read from the shared stream of notes to everybody."""
    renewed: float = -math.inf
    gone: frozenset[bytes] = frozenset()
    """Names of the dead workers at the last renewal."""
    missed: bool = False
    """True if the worker may have missed a note."""
    generation: bytes = b""
    """Identity of the data in Redis at the last renewal; it changes if Redis loses everything."""
    lost: bool = False
    """True if the worker must still be told that sessions may be lost."""
    left: bool = False


class _Made(Struct):
    """Properties of a session that decide which one is dropped first."""

    owner: str
    created: float | bytes
    grade: Grade = Grade.FRESH


def _victims(replies: Iterable[Reply]) -> dict[str, _Made]:
    """Return the sessions that must end, by id, from the replies to ``admit``."""
    return {
        session.decode(): _Made(owner.decode(), created)
        for reply in replies
        if isinstance(reply, list)
        for session, owner, created in zip(reply[::3], reply[1::3], reply[2::3], strict=True)
    }


def _outcome(step: Step, reply: Reply) -> StepOutcome:
    """Return the outcome of a step from the reply to its command."""
    if isinstance(reply, Exception):
        text = str(reply)
        if isinstance(reply, ResponseError) and text == _NO_SESSION:
            return NoSession()
        refused = isinstance(reply, ResponseError) and text.startswith(_REFUSED)
        return StoreFailure(text.removeprefix(_REFUSED) if refused else _reason(reply))
    if isinstance(step, storing.Post | storing.Announce):
        return None
    if isinstance(step, storing.Announcements):
        return tuple(reply)
    if isinstance(step, storing.TaskSave):
        return None if reply is None else bool(reply)
    if isinstance(step, storing.TaskLoad):
        return None if reply is None else _task(reply)
    if isinstance(step, storing.TaskList):
        return tuple(_task(each) for each in reply)
    try:
        return _OPERATIONS[type(step)].outcome(reply[0])
    except ValueError as error:  # a record of another version
        return StoreFailure(_reason(error))


def _task(reply: Reply) -> StoredTask:
    number, worker, gone, task = reply
    return StoredTask(number=number, worker=worker.decode(), gone=bool(gone), task=task)


def _notes(session: str, reply: Reply) -> Iterator[str | bytes]:
    """Yield the notes that came with a reply: name of a worker, note, name, note ..."""
    if isinstance(reply, list) and session:
        told = reply[1]
        for worker, kind, stream in zip(told[::3], told[1::3], told[2::3], strict=True):
            make = wake if kind == b"wake" else moved
            yield worker
            yield make(session, int(stream))


def _saved(value: Any) -> StepOutcome:
    if isinstance(value, bytes):
        return msgspec.json.decode(value, type=SessionRecord)
    return False if value < 0 else None


def _loaded(value: Any) -> StepOutcome:
    if value == b"":
        return None
    record, used = value
    made = msgspec.json.decode(record, type=SessionRecord)
    return structs.replace(made, used=float(used)) if used else made


def _page(value: Any) -> LogPage | None:
    if value == b"":
        return None
    lost, last, ended, orphaned, answers, request, entries, version = value
    return LogPage(
        entries=tuple(zip(entries[::2], entries[1::2], strict=True)),
        lost=lost,
        last=last,
        ended=bool(ended),
        orphaned=bool(orphaned),
        request=request if answers else None,
        version=version,
    )


def _number(value: int) -> int | None:
    return None if value < 0 else value


def _unless_full(value: int) -> bool | None:
    return False if value else None


class _Operation(NamedTuple):
    """Operation of the script for sessions that carries out one kind of step."""

    name: str
    values: Callable[[Any], tuple[object, ...]]
    """Arguments of the operation, from the step."""
    outcome: Callable[[Any], StepOutcome]
    """Outcome of the step, from the value that the operation returns."""


_OPERATIONS: Mapping[type[Step], _Operation] = {
    storing.SessionSave: _Operation(
        "save",
        lambda step: (msgspec.json.encode(step.record), step.record.version, step.record.created),
        _saved,
    ),
    storing.SessionLoad: _Operation("load", lambda step: (), _loaded),
    storing.SessionTouch: _Operation("touch", lambda step: (), bool),
    storing.SessionCalls: _Operation("calls", lambda step: (step.calls, step.limit), _number),
    storing.SessionDelete: _Operation("delete", lambda step: (), bool),
    storing.StreamBegin: _Operation(
        "begin",
        lambda step: (step.stream, int(step.request is not None), step.request or b"", step.limit),
        _unless_full,
    ),
    storing.StreamAppend: _Operation(
        "append", lambda step: (step.stream, step.data, int(step.ends)), _number
    ),
    storing.StreamRead: _Operation(
        "read", lambda step: (step.stream, step.after, step.limit), _page
    ),
    storing.StreamClaim: _Operation("claim", lambda step: (step.stream, step.limit), _unless_full),
    storing.StreamRelease: _Operation("release", lambda step: (step.stream,), lambda value: None),
    storing.QueuePut: _Operation(
        "put",
        lambda step: (
            *(step.data, int(is_request(step.data))),
            *(int(step.once is not None), step.once or ""),
        ),
        bool,
    ),
    storing.QueueTake: _Operation(
        "take",
        lambda step: (step.stream, step.limit),
        lambda value: _page(value) or LogPage(ended=True),
    ),
}


class RedisStore:
    """Store that keeps everything in a Redis server.  Safe to use from several threads.

    ``url`` is one for ``redis.Redis.from_url``: ``redis://``, ``rediss://`` or ``unix://``.
    ``timeout`` is the longest wait for a connection or a reply, in seconds.  ``clock`` replaces
    Redis's own clock for leases.
    """

    def __init__(
        self,
        url: str,
        settings: StoreSettings | None = None,
        *,
        prefix: str = "mcpcore",
        timeout: float = 5.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings or StoreSettings()
        self._prefix = prefix
        self._base = f"{prefix}:{{workers}}:"
        """Common prefix of all keys that belong to no session; the braces are their hash tag."""
        self._clock = clock
        self._link = RedisLink(url, self.settings, timeout)
        self._secret: bytes | None = None
        self._here: dict[str, _Here] = {}
        self._unsent: list[str | bytes] = []
        """Notes that could not be passed on: name of a worker, note, name, note ..."""
        self._lock = threading.Lock()
        """Lock of the state of this object; never held during a call to Redis."""

    def secret(self) -> bytes:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        made = self._secret or secrets.token_bytes(SECRET_SIZE)
        self._secret = bytes(self._link.one(self._of_workers("secret", made)))
        return self._secret

    def use_once(self, digest: bytes, *, party: str, until: float, wall: float) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        reply = self._link.one(self._of_workers("use", digest, party, repr(until), repr(wall)))
        return None if reply is None else bool(reply)

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[StepOutcome]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        try:
            self._renew(worker)
            return self._carry_out(worker, steps, wall)
        except StoreUnavailableError as error:
            self._failed()
            return [StoreFailure(str(error))] * len(steps)

    def close(self) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        self._link.close()

    def _carry_out(self, worker: str, steps: Sequence[Step], wall: float) -> list[StepOutcome]:
        before = self._record_held(worker, steps, wall)
        commands = [self._command(worker, step, wall) for step in steps]
        after = self._used(steps, wall)
        replies = self._link.run([*before, *commands, *after])[len(before) :][: len(steps)]
        told = [
            part
            for step, reply in zip(steps, replies, strict=True)
            for part in _notes(step.session, reply)
        ]
        try:
            self._follow_up(told, self._made(steps, replies, wall), wall)
        except StoreUnavailableError:
            # the steps themselves have been answered
            self._failed()
        return [_outcome(step, reply) for step, reply in zip(steps, replies, strict=True)]

    def _command(self, worker: str, step: Step, wall: float) -> Command:
        """Return the command that carries out a step."""
        match step:
            case storing.Post(to=None):
                return self._of_workers("post_all", worker, step.note)
            case storing.Post():
                return self._of_workers("post", step.to, step.note)
            case storing.Announce():
                return self._of_workers("announce", worker, step.note, step.topic, wall)
            case storing.Announcements():
                return self._of_workers("announcements", step.since, wall)
            case storing.TaskSave():
                about = step.id, step.owner or "", int(step.ended), step.expires, int(step.new)
                note = task_changed(step.id)
                return self._of_workers("save_task", worker, *about, wall, step.task, note)
            case storing.TaskLoad():
                return self._of_workers("load_task", step.id, wall, worker if step.follow else "")
            case storing.TaskList():
                where = step.owner, step.after, step.limit
                return self._of_workers("list_tasks", *where, wall)
        operation = _OPERATIONS[type(step)]
        values = operation.values(step)
        return self._of_session(step.session, operation.name, worker, wall, *values)

    def _record_held(self, worker: str, steps: Sequence[Step], wall: float) -> list[Command]:
        """Return commands that record each session where the worker gets streams, waits or calls.

        They go before the steps, so that the record is complete if the worker dies in between.
        """
        sessions = dict.fromkeys(step.session for step in steps if isinstance(step, _HOLDS))
        if not sessions:
            return []
        key = f"{self._base}held:{worker}"
        scores = [part for session in sessions for part in (wall, session)]
        oldest = wall - self.settings.absolute
        return [
            ("ZADD", key, *scores),
            ("ZREMRANGEBYSCORE", key, "-inf", oldest),
            ("PEXPIRE", key, math.ceil(2000 * self.settings.absolute)),
        ]

    def _used(self, steps: Sequence[Step], wall: float) -> list[Command]:
        """Return commands that record used and deleted sessions, for the order of dropping."""
        deleted = [step.session for step in steps if isinstance(step, storing.SessionDelete)]
        made: list[Command] = []
        for grade in (Grade.AGREED, Grade.USED):
            used = [step.session for step in steps if _GRADES.get(type(step)) is grade]
            if used:
                made.append(self._of_workers("used", wall, int(grade), *used))
        if deleted:
            made.append(self._of_workers("deleted", *deleted))
        return made

    def _made(
        self, steps: Sequence[Step], replies: Sequence[Reply], wall: float
    ) -> dict[str, _Made]:
        """Return the sessions that the steps have made and not deleted again."""
        made: dict[str, _Made] = {}
        for step, reply in zip(steps, replies, strict=True):
            if not isinstance(reply, list):
                continue
            if isinstance(step, storing.SessionDelete):
                made.pop(step.session, None)
            elif isinstance(step, storing.SessionSave) and reply[0] == 1:
                made[step.session] = _Made(step.record.owner, begun(step.record, wall))
            elif (known := made.get(step.session)) is not None and type(step) in _GRADES:
                known.grade = max(known.grade, _GRADES[type(step)])
        return made

    def _follow_up(self, told: Sequence[str | bytes], made: dict[str, _Made], wall: float) -> None:
        with self._lock:
            told, self._unsent = [*self._unsent, *told], []
        commands = [self._admit(session, each, wall) for session, each in made.items()]
        if told:
            commands.append(self._of_workers("tell", *told))
        if not commands:
            return
        try:
            replies = self._link.run(commands)
            if told and isinstance(replies[-1], Exception):
                raise StoreUnavailableError(_reason(replies[-1])) from replies[-1]
        except StoreUnavailableError:
            with self._lock:
                self._unsent = [*told, *self._unsent][-2 * self.settings.mailbox :]
            raise
        self._make_way(_victims(replies[: len(made)]), made, wall)

    def _make_way(self, victims: dict[str, _Made], made: dict[str, _Made], wall: float) -> None:
        """End the victims; busy ones count as used, and others are dropped instead.

        All of ``made`` exist by now, and each of them has pushed out another session.  Any session
        may be dropped except the last one made; among those of an owner, except the owner's last.
        If a session that was passed over is due again, all are busy and it is dropped.
        """
        newest = {each.owner: session for session, each in made.items()}
        last = next(reversed(made), "")
        spared: set[str] = set()
        for left in range(SPARED, -1, -1):
            if not victims:
                return
            ended = self._link.run(
                [
                    self._of_session(each, "evict", "", wall, int(left and each not in spared))
                    for each in victims
                ]
            )
            commands: list[Command] = []
            for (session, each), reply in zip(victims.items(), ended, strict=True):
                if isinstance(reply, list) and reply[0] == 0:
                    spared.add(session)
                    each.grade = Grade.USED
                    kept = newest.get(each.owner, ""), last
                    commands.append(self._admit(session, each, wall, *kept))
                else:
                    commands.append(self._of_workers("post_all", "", made_room(session)))
            victims = _victims(self._link.run(commands))

    def _admit(self, session: str, made: _Made, wall: float, *kept: str) -> Command:
        return self._of_workers(
            "admit", session, made.owner, made.created, wall, int(made.grade), *kept
        )

    # Workers and notes

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        until = time.monotonic() + timeout
        try:
            here = self._renew(worker)
            while True:
                self._follow_up((), {}, 0.0)
                left = max(0.0, until - time.monotonic())
                if here.lost:
                    here.lost, left = False, 0.0
                    found = [LOST]
                else:
                    found = []
                found += self._read(worker, here, min(left, max(self.settings.renew, _LEAST_WAIT)))
                if here.left or found or left <= 0:
                    return [] if here.left else found
                self._renew(worker, here)
        except StoreUnavailableError:
            self._failed()
            raise

    def leave(self, worker: str) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._lock:
            here = self._here.pop(worker, None)
        if here is not None:
            here.left = True
        self._link.one(self._of_workers("leave", worker))
        self._bury(worker, worker)

    def _read(self, worker: str, here: _Here, seconds: float) -> list[bytes]:
        """Return new notes, in the order in which Redis got them."""
        inbox, everybody = f"{self._base}inbox:{worker}", f"{self._base}all"
        before = here.inbox
        reply = self._link.wait({inbox: here.inbox, everybody: here.all}, seconds)
        found: list[tuple[int, bytes]] = []
        for key, entries in reply:
            newest = entries[-1][0].decode()
            if key.decode() == inbox:
                here.inbox = newest
            else:
                here.all = newest
            for _, fields in entries:
                note = fields.get(b"n")
                if note is not None and fields.get(b"f") != worker.encode():
                    found.append((int(fields[b"t"]), note))
        if here.inbox != before:
            self._make_room(inbox, here.inbox)
        found.sort(key=lambda entry: entry[0])
        return [note for _, note in found]

    def _make_room(self, inbox: str, read: str) -> None:
        """Trim a mailbox up to the last note read; its notes count as taken even if this fails."""
        number, _, part = read.partition("-")
        try:
            self._link.one(("XTRIM", inbox, "MINID", "=", f"{number}-{int(part) + 1}"))
        except StoreUnavailableError:
            self._failed()

    def _renew(self, worker: str, known: _Here | None = None) -> _Here:
        """Renew the lease of a worker if it is due; bury dead workers and remind of lost notes.

        ``known`` limits this to a worker that has not left since.
        """
        now = self._clock() if self._clock is not None else time.monotonic()
        with self._lock:
            here = self._here.get(worker)
            if known is not None and here is not known:
                return known
            if here is not None and here.renewed <= now < here.renewed + self.settings.renew:
                return here
        newest, gone, expired, generation = self._link.one(
            self._of_workers(
                "renew", worker, self._now(), self._secret or b"", secrets.token_bytes(12)
            )
        )
        with self._lock:
            here = self._here.setdefault(worker, _Here(inbox="0-0", all=newest.decode()))
            here.renewed = now
            missed, dead = here.missed, sorted(frozenset(gone) - here.gone)
            if here.generation and here.generation != generation:
                here.lost = True
                here.inbox = here.all = "0-0"  # the clock of another server may be behind
            here.lost = here.lost or missed
            here.generation = generation
            here.gone, here.missed = frozenset(gone), False
        for name in expired:
            self._bury(name.decode(), worker)
        if missed:
            self._on_each(worker, "remind", worker)
        elif dead:
            self._on_each(worker, "remind", worker, *dead)
        return here

    def _bury(self, worker: str, me: str) -> None:
        """Release what a worker has whose lease is over; then the other workers need not."""
        self._on_each(worker, "bury", me, worker)
        self._link.one(self._of_workers("buried", worker, self._now()))

    def _on_each(self, worker: str, operation: str, me: str, *values: object) -> None:
        """Run an operation on every session in which a worker has or had streams."""
        sessions = self._link.one(("ZRANGE", f"{self._base}held:{worker}", 0, -1))
        ids = [session.decode() for session in sessions]
        replies = self._link.run([self._of_session(id, operation, me, 0, *values) for id in ids])
        told = [part for id, reply in zip(ids, replies, strict=True) for part in _notes(id, reply)]
        self._follow_up(told, {}, 0.0)

    def _failed(self) -> None:
        """Record that Redis was unreachable: each worker of this process may have missed a note."""
        with self._lock:
            for here in self._here.values():
                here.missed = True
                here.renewed = -math.inf

    def _now(self) -> str:
        return "" if self._clock is None else repr(self._clock())

    def _of_workers(self, operation: str, *values: object) -> Command:
        return self._link.script("workers", self._base, operation, *values)

    def _of_session(
        self, session: str, operation: str, me: str, wall: float, *values: object
    ) -> Command:
        base = f"{self._prefix}:{{{session}}}:"
        return self._link.script("session", base, operation, wall, me, *values)
