"""Opening a store by its URL, as a command line or a settings file gives it."""

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode

from msgspec import structs

from mcpcore.errors import BadTarget, ExtraMissingError
from mcpcore_transports.stores.base import Store, StoreSettings

_REDIS = {"redis", "rediss", "unix"}
_OURS = {"decode_responses", "protocol", "retry", "socket_connect_timeout", "socket_timeout"}
"""Options of redis-py that the store sets itself."""


class StoreUrlError(BadTarget):
    """The URL names no known store, or has an option that the store does not know."""


def open_store(url: str, settings: StoreSettings | None = None) -> Store:
    """Open a store.

    Every setting of :class:`~mcpcore_transports.stores.base.StoreSettings` may stand in the URL,
    where it overrides ``settings``, as in ``sqlite:PATH?sessions=500&age=60``.

    - ``memory:`` lives and dies with the process.
    - ``sqlite:PATH``, with ``?synchronous=FULL`` (default ``NORMAL``), ``busy=SECONDS`` (5) and
      ``poll=SECONDS`` (0.02).
    - ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` with TLS, or
      ``unix:///path/to/socket?db=0``, with ``prefix=NAME`` (``mcpcore``), ``timeout=SECONDS`` (5)
      and the options of ``redis.Redis.from_url``.

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
    if kind == "memory":
        return _memory(_StoreUrl(url), settings)
    if kind == "sqlite":
        return _sqlite(_StoreUrl(url), settings)
    if kind in _REDIS:
        return _redis(_StoreUrl(url), settings)
    raise StoreUrlError(
        f"{_shown(url)!r} names no store: it begins with memory:, sqlite:, redis://, rediss:// or"
        " unix://"
    )


class _StoreUrl:
    """URL of a store, with its options that were not taken yet."""

    def __init__(self, url: str) -> None:
        self.shown = repr(_shown(url))
        # not urlsplit, which drops the slashes of an empty host: unix:///path needs them
        self.base, _, query = url.partition("?")
        kind, _, self.rest = self.base.partition(":")
        if kind.lower() in _REDIS:
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


def _memory(url: _StoreUrl, settings: StoreSettings | None) -> Callable[[], Store]:
    if url.rest:
        raise StoreUrlError(f"{url.shown}: nothing but options follows on 'memory:'")
    settings = url.settings(settings)
    url.check_taken()
    from mcpcore_transports.stores.sqlite import MemoryStore

    return partial(MemoryStore, settings)


def _sqlite(url: _StoreUrl, settings: StoreSettings | None) -> Callable[[], Store]:
    # sqlite:///path as other programs write it, beside sqlite:path
    path = unquote(url.rest.removeprefix("//") if url.rest.startswith("///") else url.rest)
    if not path or path.startswith(("//", ":")):
        raise StoreUrlError(f"{url.shown}: 'sqlite:' is followed by the path of a file")
    settings = url.settings(settings)
    from mcpcore_transports.stores.sqlite import SqliteStore, Synchronous

    synchronous = url.options.pop("synchronous", "NORMAL").upper()
    if synchronous not in get_args(Synchronous):
        raise StoreUrlError(
            f"{url.shown}: synchronous is one of {', '.join(get_args(Synchronous))}"
        )
    busy, poll = url.seconds("busy", 5.0), url.seconds("poll", 0.02)
    url.check_taken()
    mode = cast("Synchronous", synchronous)
    return partial(SqliteStore, path, settings, synchronous=mode, busy=busy, poll=poll)


def _redis(url: _StoreUrl, settings: StoreSettings | None) -> Callable[[], Store]:
    if find_spec("redis") is None:
        raise ExtraMissingError(
            "the Redis store needs the extra `redis`: pip install 'mcpcore[redis]'"
        )
    from mcpcore_transports.stores.redis import RedisStore

    prefix = url.options.pop("prefix", "mcpcore")
    if not prefix or "{" in prefix or "}" in prefix:
        raise StoreUrlError(f"{url.shown}: prefix is a name without braces")
    timeout = url.seconds("timeout", 5.0)
    settings = url.settings(settings)
    if ours := sorted(_OURS & url.options.keys()):
        raise StoreUrlError(f"{url.shown} has no option {', '.join(ours)}")
    query = urlencode(url.options, quote_via=quote)
    rest = f"{url.base}?{query}" if query else url.base
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
    """Return the URL without a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
