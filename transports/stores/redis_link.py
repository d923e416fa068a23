"""A Redis server, the scripts that run in it, and batches of commands."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, cast

import redis
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from transports.stores.base import StoreSettings, StoreUnavailableError

SLACK = 5000
"""Milliseconds that keys live longer than what they hold, so that clocks may differ."""
_CHUNK = 500
"""Commands sent before replies are read, where there are many."""

Command = tuple[Any, ...]
Reply = Any
"""What redis-py makes of a reply; an exception for an error."""


class Script(Struct, frozen=True):
    """A script, by the digest that Redis knows it by."""

    text: str
    sha: str

    def call(self, base: str, operation: str, *values: object) -> Command:
        """Return the command that runs one of its operations on keys that begin with ``base``."""
        return ("EVALSHA", self.sha, 1, base, operation, *values)


class RedisLink:
    """Two clients: one for commands, one for waiting.

    Nothing is sent a second time by itself: a command of which no reply came may have been
    carried out.
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
        # An option of the URL that redis-py does not know would show when it connects.
        pool = self._db.connection_pool
        pool.connection_class(**pool.connection_kwargs)
        self._closed = False
        self.session = _script("session", settings)
        self.workers = _script("workers", settings)

    def close(self) -> None:
        """Close all connections; redis-py would open them again."""
        self._closed = True
        self._db.close()
        self._ears.close()

    def one(self, command: Command) -> Reply:
        """Carry out one command.  Raises StoreUnavailableError, also for an error of Redis."""
        (reply,) = self.run([command])
        if isinstance(reply, Exception):
            raise StoreUnavailableError(reason(reply)) from reply
        return reply

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Carry out commands in order, in one pipeline; a reply may be an exception.

        Raises StoreUnavailableError if not all replies came.
        """
        replies: list[Reply] = []
        for start in range(0, len(commands), _CHUNK):
            replies += self._send(commands[start : start + _CHUNK])
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            self._load()
            # Once Redis has forgotten its scripts, all that follows has failed, and can be
            # repeated in order.  If it has learned one again on the way, order is lost: then what
            # failed has failed.
            again = [at for at in missing if not self._ran_later(commands, replies, at)]
            for at, reply in zip(again, self._send([commands[at] for at in again]), strict=True):
                replies[at] = reply
        return replies

    def wait(self, cursors: dict[str, str], seconds: float) -> Reply:
        """Return what was added to Redis streams behind the given ids, waiting for it.

        Raises StoreUnavailableError.
        """
        self._check_open()
        block = max(1, round(seconds * 1000)) if seconds > 0 else None
        try:
            return self._ears.xread(cast("dict[Any, Any]", cursors), block=block)
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(reason(error)) from error

    def _send(self, commands: Sequence[Command]) -> list[Reply]:
        self._check_open()
        try:
            pipeline = self._db.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            return list(pipeline.execute(raise_on_error=False))
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(reason(error)) from error

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    def _load(self) -> None:
        self._send([("SCRIPT", "LOAD", script.text) for script in (self.session, self.workers)])

    @staticmethod
    def _ran_later(commands: Sequence[Command], replies: Sequence[Reply], at: int) -> bool:
        return any(
            commands[later][:2] == commands[at][:2]
            and not isinstance(replies[later], NoScriptError)
            for later in range(at + 1, len(commands))
        )


def reason(error: Exception) -> str:
    """Say what went wrong."""
    return f"Redis: {error}"


def _script(name: str, settings: StoreSettings) -> Script:
    numbers = {
        "AGE": settings.age,
        "EVENTS": settings.events,
        "EVENT_BYTES": settings.event_bytes,
        "STREAMS": settings.streams,
        "QUEUE_BYTES": settings.queue_bytes,
        "ONCE": settings.once,
        "SESSIONS": settings.sessions,
        "SESSIONS_PER_CLIENT": settings.sessions_per_client,
        "UNUSED": settings.unused,
        "IDLE": settings.idle,
        "ABSOLUTE": settings.absolute,
        "LEASE": settings.lease,
        "MAILBOX": settings.mailbox,
        "ANNOUNCEMENTS": settings.announcements,
        "SLACK": SLACK,
    }
    head = "".join(f"local {key} = {value!r}\n" for key, value in numbers.items())
    text = head + files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    # Redis names scripts so; nothing rests on the strength of the digest
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
