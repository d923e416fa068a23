"""A store from a URL, as a command line or a settings file has it."""

from importlib.util import find_spec
from typing import cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from transports.stores.base import Store, StoreSettings, StoreUnavailableError
from transports.targets import BadTarget

_REDIS = {"redis", "rediss", "unix"}


class StoreUrlError(BadTarget):
    """The URL names no store, or an option that it does not have."""


class ExtraMissingError(StoreUnavailableError, ImportError):
    """The store needs an extra that is not installed; the message names it."""


def open_store(url: str, settings: StoreSettings | None = None) -> Store:
    """Open a store.

    - ``memory:`` lives and dies with the process.
    - ``sqlite:PATH``, with ``?synchronous=FULL`` (default ``NORMAL``), ``busy=SECONDS`` (5) and
      ``poll=SECONDS`` (0.02).
    - ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` with TLS, or
      ``unix:///path/to/socket?db=0``, with ``prefix=NAME`` (``mcpcore``), ``timeout=SECONDS`` (5)
      and the options of ``redis.Redis.from_url``.

    Raises StoreUrlError for a URL that is wrong, ExtraMissingError without the extra ``redis``,
    StoreUnavailableError for a file that cannot be opened.  Whether Redis answers shows at the
    first call.
    """
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


def _memory(url: str, settings: StoreSettings | None) -> Store:
    if url.lower() != "memory:":
        raise StoreUrlError(f"{url!r}: nothing follows on 'memory:'")
    from transports.stores.memory import MemoryStore

    return MemoryStore(settings)


def _sqlite(url: str, settings: StoreSettings | None) -> Store:
    rest, _, query = url.partition(":")[2].partition("?")
    # sqlite:///path as others write it, beside sqlite:path
    path = unquote(rest.removeprefix("//") if rest.startswith("///") else rest)
    if not path or path.startswith(("//", ":")):
        raise StoreUrlError(f"{url!r}: 'sqlite:' is followed by the path of a file")
    options = _options(url, query)
    from transports.stores.sqlite import SqliteStore, Synchronous

    synchronous = options.pop("synchronous", "NORMAL").upper()
    if synchronous not in get_args(Synchronous):
        raise StoreUrlError(f"{url!r}: synchronous is one of {', '.join(get_args(Synchronous))}")
    busy, poll = (
        _seconds(url, options, name, usual) for name, usual in (("busy", 5.0), ("poll", 0.02))
    )
    _no_more(url, options)
    return SqliteStore(
        path, settings, synchronous=cast("Synchronous", synchronous), busy=busy, poll=poll
    )


def _redis(url: str, settings: StoreSettings | None) -> Store:
    if find_spec("redis") is None:
        raise ExtraMissingError(
            "the Redis store needs the extra `redis`: pip install 'mcpcore[redis]'"
        )
    from transports.stores.redis import RedisStore

    options = _options(url, urlsplit(url).query)
    prefix = options.pop("prefix", "mcpcore")
    if not prefix or "{" in prefix or "}" in prefix:
        raise StoreUrlError(f"{_shown(url)!r}: prefix is a name without braces")
    timeout = _seconds(url, options, "timeout", 5.0)
    # urlunsplit drops the slashes of an empty host, which unix:///path needs.
    rest, query = url.partition("?")[0], urlencode(options, quote_via=quote)
    rest = f"{rest}?{query}" if query else rest
    try:
        return RedisStore(rest, settings, prefix=prefix, timeout=timeout)
    except (ValueError, TypeError) as error:
        raise StoreUrlError(f"{_shown(url)!r}: {error}") from error


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
    """The URL without a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
