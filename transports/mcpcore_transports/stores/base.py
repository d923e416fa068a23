"""Store protocol, its settings, what all stores have in common, and opening a store by its URL.

A store is a plain blocking object.  The application calls :meth:`Store.commit` from one thread, a
batch of steps at a time, and :meth:`Store.receive` from another.  Several applications, in one
process or in many, may share one database behind it.  :mod:`mcpcore.http.storing` defines the
meaning of each step.
"""

import math
import re
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol, cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from mcpcore.errors import ExtraMissingError, StoreUrlError
from mcpcore.http.storing import (
    Ended,
    LogPage,
    Lost,
    Moved,
    SessionRecord,
    Step,
    StoredTask,
    StoreFailure,
    TaskChanged,
    Wake,
)
from mcpcore.spec.bounds import check_numbers

StepOutcome = (
    SessionRecord
    | LogPage
    | StoreFailure
    | StoredTask
    | tuple[bytes, ...]
    | tuple[StoredTask, ...]
    | bool
    | int
    | None
)
"""Outcome of a step; the class of the step defines which of these it has."""

SECRET_SIZE = 32
"""Bytes of the secret that the workers of a store share."""


class StoreSettings(Struct, frozen=True, kw_only=True):
    """Limits of a store: sizes in bytes, times in seconds; the same for all of its workers."""

    events: int = 1000
    """Maximum events kept per session, and messages in its queue; the oldest are dropped first."""
    event_bytes: int = 4 * 1024 * 1024
    """Maximum bytes of events kept per session; the newest event is kept, however long it is."""
    total_bytes: int = 256 * 1024 * 1024
    """Maximum bytes of events and messages of all sessions together (memory and SQLite)."""
    age: float = 300.0
    """Seconds for which events are kept, and streams that nothing writes to any more."""
    streams: int = 4096
    """Maximum streams per session; the oldest streams that are idle are dropped first."""
    queue_bytes: int = 256 * 1024
    """Maximum bytes in the queue of a session; old notifications are dropped, requests never."""
    once: int = 1000
    """Number of recent announcements remembered per session, to refuse duplicates."""
    sessions: int = 10_000
    """Maximum sessions at a time; the unused are dropped first, then the least recently used."""
    sessions_per_client: int = 1000
    """Maximum sessions of one owner (principal or address); beyond it one of its own is dropped."""
    unused: float = 60.0
    """Seconds after which a session ends that was not used again after ``initialize``."""
    idle: float = 1800.0
    """Seconds without use after which a session ends."""
    absolute: float = 86400.0
    """Maximum age of a session in seconds, however much it is used."""
    lease: float = 10.0
    """Seconds without a sign of life after which a worker counts as gone."""
    renew: float = 3.0
    """Seconds between two renewals of a worker's lease, approximately."""
    mailbox: int = 10_000
    """Maximum notes of other workers that wait for one worker; more are refused."""
    announcements: int = 200
    """Maximum announcements to everybody kept for sessions which no worker knows.

    Each is kept for ``idle`` seconds and all together take at most ``queue_bytes``; the oldest are
    dropped first.
    """
    proofs: int = 100_000
    """Maximum DPoP proofs whose use is remembered; further ones are refused until some end."""
    proofs_per_principal: int = 25_000
    """Maximum of them that one principal has shown, with however many keys."""
    tasks: int = 10_000
    """Maximum tasks at one time, ended ones that are kept included; further ones are refused."""
    tasks_per_owner: int = 1000
    """Maximum tasks of one principal or session."""
    task_bytes: int = 256 * 1024 * 1024
    """Maximum bytes of all tasks with their results; more are refused, but tasks end."""

    def __post_init__(self) -> None:
        check_numbers(self, "once", "renew", "announcements")


class Grade(IntEnum):
    """Degree to which a session was used: if there are too many, the lowest grade is dropped first.

    Within a grade, the sessions that were made (if fresh) or used longest ago are dropped first.
    Sessions with an open GET stream or a request in progress are dropped last of all.
    """

    FRESH = 0
    """No use since the session was made."""
    AGREED = 1
    """Loaded or saved again, as in a handshake."""
    USED = 2
    """Touched by a request beyond the handshake."""


SPARED = 32
"""Maximum busy sessions that are passed over, and count as used, in the search for a victim."""

RETURN = 6
"""Leases without a sign of life after which a worker is forgotten with its mailbox."""

TASK_END = 1024
"""Bytes by which a task may grow at its end beyond ``task_bytes``: else it could not be ended."""

TASK_PAGE = 1024 * 1024
"""Maximum bytes of the tasks of one list, which has one at least."""

STREAMS_PART = 16
"""Part of a session's streams that may go at once where there are too many: one of so many."""

SWEEPS = 15.0
"""Seconds between two sweeps over all sessions."""


class Store(Protocol):
    """Storage of sessions with their event streams and queues, and of notes between workers."""

    def secret(self) -> bytes:
        """Return the 32 random bytes that the workers share, made once and kept.

        Raises StoreUnavailableError.
        """

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[StepOutcome]:
        """Carry out steps in order; return their outcomes once they are durable.

        ``wall`` is the time of the wall clock.  Never raises for a store that fails: the steps then
        have StoreFailure as their outcome.  Renews the lease of the worker.
        """

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """Wait for notes to ``worker``; return them in order, none after ``timeout`` seconds.

        Repeated calls keep the worker alive.  Returns an empty list once the worker has left.
        Raises StoreUnavailableError.
        """

    def leave(self, worker: str) -> None:
        """Remove a worker: its streams are orphaned and its connections released at once.

        Ends a waiting call of :meth:`receive`.  Raises StoreUnavailableError.
        """

    def use_once(self, digest: bytes, *, party: str, until: float, wall: float) -> bool | None:
        """Note the use of a DPoP proof; return True if it is the first, False if it is not.

        ``digest``: its name.  ``party``: the principal that has shown it, whose uses are counted.
        ``until``: the time of the wall clock until which the use is remembered.  None: so many are
        remembered, in all or of this party, that there is no room for another.  Raises
        StoreUnavailableError.
        """

    def close(self) -> None:
        """Close connections and files; stored data stays."""


def begun(record: SessionRecord, wall: float) -> float:
    """Return the time from which the age of a new session counts.

    The clock of its worker is behind if the machine has slept, or its time was set, since the
    worker has started; else such a session would be over at once.
    """
    return max(record.created, wall)


def ends(created: float, used: float | None, settings: StoreSettings) -> float:
    """Return the time at which a session ends; ``used`` None: never used since it was made."""
    if used is None:
        return created + min(settings.unused, settings.idle, settings.absolute)
    return min(used + settings.idle, created + settings.absolute)


class _IdOnly(Struct):
    id: msgspec.Raw | UnsetType = UNSET


_ENVELOPE = msgspec.json.Decoder(_IdOnly)


def is_request(data: bytes) -> bool:
    """Return True if a queued message is a request, which must not be dropped."""
    try:
        return _ENVELOPE.decode(data).id is not UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def wake(session: str, stream: int) -> bytes:
    """Return the note that a stream has something to read or to take."""
    return msgspec.json.encode(Wake(session=session, stream=stream))


def moved(session: str, stream: int) -> bytes:
    """Return the note that a stream has its connection at another worker."""
    return msgspec.json.encode(Moved(session=session, stream=stream))


def task_changed(id: str) -> bytes:
    """Return the note that a task has changed."""
    return msgspec.json.encode(TaskChanged(session="", task=id))


def made_room(session: str) -> bytes:
    """Return the note that a session has ended because there were too many."""
    return msgspec.json.encode(Ended(session=session, reason=MADE_ROOM))


MADE_ROOM = "it made room for others"

LOST = msgspec.json.encode(Lost(session=""))
"""Note that sessions may be lost."""


# Opening a store by its URL, as a command line or a settings file gives it

REDIS_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
"""Scheme of a store's URL to the one that redis-py knows: Valkey speaks the same protocol."""
_OURS = {"decode_responses", "protocol", "retry", "socket_connect_timeout", "socket_timeout"}
"""Options of redis-py that the store sets itself."""


def open_store(url: str, settings: StoreSettings | None = None) -> Store:
    """Open a store.

    Every setting of :class:`StoreSettings` may stand in the URL, where it overrides ``settings``,
    as in ``sqlite:PATH?sessions=500&age=60``.

    - ``memory:`` lives and dies with the process.
    - ``sqlite:PATH``, with ``?synchronous=FULL`` (default ``NORMAL``), ``busy=SECONDS`` (5) and
      ``poll=SECONDS`` (0.02).
    - ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` with TLS, or
      ``unix:///path/to/socket?db=0``, with ``prefix=NAME`` (``mcpcore``), ``timeout=SECONDS`` (5)
      and the options of ``redis.Redis.from_url``; ``valkey://`` and ``valkeys://`` mean the same.

    Raises StoreUrlError for an invalid URL, ExtraMissingError without the extra ``redis``,
    StoreUnavailableError for a file that cannot be opened.  A Redis server is connected to by the
    first call only.
    """
    return _opener(url, settings)()


def check_shared(url: str) -> None:
    """Raise StoreUrlError for a URL that several processes could not share; opens nothing."""
    if url.partition(":")[0].lower() == "memory":
        raise StoreUrlError(f"{url!r}: each process would have a store of its own")
    _opener(url, None)


def _opener(url: str, settings: StoreSettings | None) -> Callable[[], Store]:
    kind = url.partition(":")[0].lower()
    if kind == "memory" or kind == "sqlite":
        return _sqlite(_StoreUrl(url), settings, kind)
    if kind in REDIS_SCHEMES:
        return _redis(_StoreUrl(url), settings)
    raise StoreUrlError(
        f"{_shown(url)!r} names no store: it begins with memory:, sqlite:, redis://, rediss://,"
        " valkey://, valkeys:// or unix://"
    )


class _StoreUrl:
    """URL of a store, with its options that were not taken yet."""

    def __init__(self, url: str) -> None:
        self.shown = repr(_shown(url))
        # not urlsplit, which drops the slashes of an empty host: unix:///path needs them
        self.base, _, query = url.partition("?")
        kind, _, self.rest = self.base.partition(":")
        if kind.lower() in REDIS_SCHEMES:
            query = query.partition("#")[0]
        self.options: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in self.options:
                raise StoreUrlError(f"{self.shown}: {name} is given twice")
            self.options[name] = value

    def seconds(self, name: str, usual: float) -> float:
        """Take a time out of the options."""
        text = self.options.pop(name, None)
        value = usual if text is None else _number(text, float)
        if not 0 < value < 86400:
            raise StoreUrlError(f"{self.shown}: {name} is a number of seconds, not {text!r}")
        return value

    def settings(self, settings: StoreSettings | None) -> StoreSettings | None:
        """Take the settings that every store has out of the options; return them over those."""
        given: dict[str, float] = {}
        for field in structs.fields(StoreSettings):
            text = self.options.pop(field.name, None)
            if text is None:
                continue
            value = _number(text, field.type)
            if not 0 < value < math.inf:
                kind = "a whole number" if field.type is int else "a number of seconds"
                raise StoreUrlError(f"{self.shown}: {field.name} is {kind} above 0, not {text!r}")
            given[field.name] = value
        if not given:
            return settings
        made = structs.replace(settings or StoreSettings(), **given)
        if made.renew >= made.lease:
            raise StoreUrlError(
                f"{self.shown}: renew ({made.renew:g}) is below lease ({made.lease:g})"
            )
        return made

    def check_taken(self) -> None:
        """Raise StoreUrlError for an option that nothing has taken."""
        if self.options:
            raise StoreUrlError(f"{self.shown} has no option {', '.join(sorted(self.options))}")


def _sqlite(url: _StoreUrl, settings: StoreSettings | None, kind: str) -> Callable[[], Store]:
    from mcpcore_transports.stores.sqlite import MemoryStore, SqliteStore  # late: slow
    from mcpcore_transports.stores.sqlite_file import Synchronous

    settings = url.settings(settings)
    if kind == "memory":
        if url.rest:
            raise StoreUrlError(f"{url.shown}: nothing but options follows on 'memory:'")
        url.check_taken()
        return partial(MemoryStore, settings)
    # sqlite:///path as other programs write it, beside sqlite:path
    path = unquote(url.rest.removeprefix("//") if url.rest.startswith("///") else url.rest)
    if not path or path.startswith(("//", ":")):
        raise StoreUrlError(f"{url.shown}: 'sqlite:' is followed by the path of a file")
    synchronous = url.options.pop("synchronous", "NORMAL").upper()
    if synchronous not in get_args(Synchronous):
        raise StoreUrlError(
            f"{url.shown}: synchronous is one of {', '.join(get_args(Synchronous))}"
        )
    busy, poll = url.seconds("busy", 5.0), url.seconds("poll", 0.02)
    url.check_taken()
    mode = cast("Synchronous", synchronous)
    return partial(SqliteStore, path, settings, synchronous=mode, busy=busy, poll=poll)


def require_redis(what_needs: str) -> None:
    """Raise ExtraMissingError without the extra ``redis``; it begins with ``what_needs``."""
    if find_spec("redis") is None:
        raise ExtraMissingError(f"{what_needs} the extra `redis`: pip install 'mcpcore[redis]'")


def _redis(url: _StoreUrl, settings: StoreSettings | None) -> Callable[[], Store]:
    require_redis("the Redis store needs")
    from mcpcore_transports.stores.redis import RedisStore  # late: an extra

    prefix = url.options.pop("prefix", "mcpcore")
    if not prefix or "{" in prefix or "}" in prefix:
        raise StoreUrlError(f"{url.shown}: prefix is a name without braces")
    timeout = url.seconds("timeout", 5.0)
    settings = url.settings(settings)
    if ours := sorted(_OURS & url.options.keys()):
        raise StoreUrlError(f"{url.shown} has no option {', '.join(ours)}")
    query = urlencode(url.options, quote_via=quote)
    base = f"{REDIS_SCHEMES[url.base.partition(':')[0].lower()]}:{url.rest}"
    rest = f"{base}?{query}" if query else base
    try:
        store = RedisStore(rest, settings, prefix=prefix, timeout=timeout)
    except TypeError as error:
        name = str(error).rpartition("unexpected keyword argument ")[2].strip("'")
        raise StoreUrlError(f"{url.shown} has no option {name}") from error
    except ValueError as error:
        raise StoreUrlError(f"{url.shown}: {error}") from error
    return lambda: store  # connects at the first call


def _number(text: str, kind: Any) -> float:
    """Return the number that is written in an option, 0 for anything else."""
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        return 0


def _shown(url: str) -> str:
    """Return the URL without a password, which may also be an option of redis-py."""
    head, at, tail = url.rpartition("@")
    shown = f"{head.partition('://')[0]}://...@{tail}" if at else url
    return re.sub(r"(?<=password=)[^&#]+", "...", shown)
