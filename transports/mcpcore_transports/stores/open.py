"""Opening a store by its URL, as a command line or a settings file gives it."""

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

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
        return _memory(url, settings)
    if kind == "sqlite":
        return _sqlite(url, settings)
    if kind in _REDIS:
        return _redis(url, settings)
    raise StoreUrlError(
        f"{_shown(url)!r} names no store: it begins with memory:, sqlite:, redis://, rediss:// or"
        " unix://"
    )


def _memory(url: str, settings: StoreSettings | None) -> Callable[[], Store]:
    rest, _, query = url.partition(":")[2].partition("?")
    if rest:
        raise StoreUrlError(f"{url!r}: nothing but options follows on 'memory:'")
    options = _options(url, query)
    settings = _settings(url, options, settings)
    _no_more(url, options)
    from mcpcore_transports.stores.memory import MemoryStore

    return partial(MemoryStore, settings)


def _sqlite(url: str, settings: StoreSettings | None) -> Callable[[], Store]:
    rest, _, query = url.partition(":")[2].partition("?")
    # sqlite:///path as other programs write it, beside sqlite:path
    path = unquote(rest.removeprefix("//") if rest.startswith("///") else rest)
    if not path or path.startswith(("//", ":")):
        raise StoreUrlError(f"{url!r}: 'sqlite:' is followed by the path of a file")
    options = _options(url, query)
    settings = _settings(url, options, settings)
    from mcpcore_transports.stores.sqlite import SqliteStore, Synchronous

    synchronous = options.pop("synchronous", "NORMAL").upper()
    if synchronous not in get_args(Synchronous):
        raise StoreUrlError(f"{url!r}: synchronous is one of {', '.join(get_args(Synchronous))}")
    busy, poll = (
        _seconds(url, options, name, usual) for name, usual in (("busy", 5.0), ("poll", 0.02))
    )
    _no_more(url, options)
    return partial(
        SqliteStore,
        path,
        settings,
        synchronous=cast("Synchronous", synchronous),
        busy=busy,
        poll=poll,
    )


def _redis(url: str, settings: StoreSettings | None) -> Callable[[], Store]:
    if find_spec("redis") is None:
        raise ExtraMissingError(
            "the Redis store needs the extra `redis`: pip install 'mcpcore[redis]'"
        )
    from mcpcore_transports.stores.redis import RedisStore

    options = _options(url, urlsplit(url).query)
    prefix = options.pop("prefix", "mcpcore")
    if not prefix or "{" in prefix or "}" in prefix:
        raise StoreUrlError(f"{_shown(url)!r}: prefix is a name without braces")
    timeout = _seconds(url, options, "timeout", 5.0)
    settings = _settings(url, options, settings)
    if ours := sorted(_OURS & options.keys()):
        raise StoreUrlError(f"{_shown(url)!r} has no option {', '.join(ours)}")
    # urlunsplit drops the slashes of an empty host, which unix:///path needs.
    rest, query = url.partition("?")[0], urlencode(options, quote_via=quote)
    rest = f"{rest}?{query}" if query else rest
    try:
        store = RedisStore(rest, settings, prefix=prefix, timeout=timeout)
    except TypeError as error:
        name = str(error).rpartition("unexpected keyword argument ")[2].strip("'")
        raise StoreUrlError(f"{_shown(url)!r} has no option {name}") from error
    except ValueError as error:
        raise StoreUrlError(f"{_shown(url)!r}: {error}") from error
    return lambda: store  # connects at the first call


def _settings(
    url: str, options: dict[str, str], settings: StoreSettings | None
) -> StoreSettings | None:
    """Take the settings that every store has out of the options; return them over ``settings``."""
    given: dict[str, float] = {}
    for field in structs.fields(StoreSettings):
        text = options.pop(field.name, None)
        if text is None:
            continue
        whole = field.type is int
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = 0
        if not 0 < value < math.inf:
            kind = "a whole number" if whole else "a number of seconds"
            raise StoreUrlError(f"{_shown(url)!r}: {field.name} is {kind} above 0, not {text!r}")
        given[field.name] = value
    if not given:
        return settings
    made = structs.replace(settings or StoreSettings(), **given)
    if made.renew >= made.lease:
        raise StoreUrlError(
            f"{_shown(url)!r}: renew ({made.renew:g}) is below lease ({made.lease:g})"
        )
    return made


def _options(url: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise StoreUrlError(f"{_shown(url)!r}: {name} is given twice")
        options[name] = value
    return options


def _seconds(url: str, options: dict[str, str], name: str, usual: float) -> float:
    text = options.pop(name, None)
    if text is None:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 86400:
        raise StoreUrlError(f"{_shown(url)!r}: {name} is a number of seconds, not {text!r}")
    return value


def _no_more(url: str, options: dict[str, str]) -> None:
    if options:
        raise StoreUrlError(f"{_shown(url)!r} has no option {', '.join(sorted(options))}")


def _shown(url: str) -> str:
    """Return the URL without a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
