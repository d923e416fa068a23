"""Connections to a Redis server, its scripts, and batches of commands."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, cast

import redis
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from mcpcore.errors import StoreUnavailableError
from mcpcore_transports.stores.base import StoreSettings

SLACK = 5000
"""Milliseconds that keys outlive their data, so that clocks may differ."""
_CHUNK = 500
"""Maximum commands sent before replies are read."""

Command = tuple[Any, ...]
Reply = Any
"""Reply as redis-py decodes it; an exception for an error."""


class Script(Struct, frozen=True):
    """A script, with the SHA-1 digest by which Redis knows it."""

    text: str
    sha: str

    def call(self, base: str, operation: str, *values: object) -> Command:
        """Return the command that runs one of its operations on keys that begin with ``base``."""
        return ("EVALSHA", self.sha, 1, base, operation, *values)


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
        self.session = _script("session", settings)
        self.workers = _script("workers", settings)

    def close(self) -> None:
        """Close all connections for good; redis-py alone would open them again."""
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

        Raises StoreUnavailableError if a reply is missing.
        """
        replies: list[Reply] = []
        for start in range(0, len(commands), _CHUNK):
            replies += self._send(commands[start : start + _CHUNK])
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            self._load()
            # After Redis has forgotten a script, all later calls of it have failed too, and can be
            # repeated in order.  A script that was loaded again in between breaks the order: then
            # the failed calls stay failed.
            again = [at for at in missing if not self._ran_later(commands, replies, at)]
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
    """Return the error message for an exception of redis-py."""
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
    # Redis names scripts by SHA-1; no security depends on the digest.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
