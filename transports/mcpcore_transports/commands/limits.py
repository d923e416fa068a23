"""`mcpcore serve --limit NAME=VALUE`: the numbers and times of every binding's settings.

A name is that of a setting as in ``docs/reference/limits.md``, ``HttpSettings.max_body``.  The part
behind the dot is enough if only one kind of settings that matters to the served bindings has it.
"""

import re
import sys
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from inspect import get_annotations
from typing import Any, TypeVar

from msgspec import Struct, structs

from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpSettings
from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.runtime import RuntimeSettings
from mcpcore_transports.sockets.settings import SocketSettings
from mcpcore_transports.stdio.server import StdioSettings
from mcpcore_transports.stream.connection import PumpSettings
from mcpcore_transports.websocket.settings import WebSocketSettings

S = TypeVar("S", bound=Struct)

SIZES = frozenset(
    {
        *("max_body", "session_queue", "max_queued", "replay_bytes", "replay_total"),
        *("request_line", "header_bytes", "body_rate", "linger_bytes", "read_ahead", "write_size"),
        *("message_size", "introduction", "subscribed", "queued", "read_size", "gzip_from"),
    }
)
"""Settings that count bytes."""
_MAY_BE_ZERO = frozenset(
    {
        *("turned_away", "notice_time", "drain_time", "drain", "linger", "linger_time"),
        *("linger_bytes", "body_rate", "body_grace", "json_delay", "reconnect_delay"),
    }
)
"""Settings that may be 0; with any other at 0, nothing would be served or a loop would not rest."""
_NO_LIMITS: frozenset[tuple[type[Struct], str]] = frozenset(
    {
        # What a client bears.
        *((Limits, name) for name in ("input_rounds", "input_requests", "probe_timeout")),
        (Limits, "farewell"),
        # The permissions of a file.
        (SocketSettings, "mode"),
        # Of a function that the command has no way to give.
        (HttpServerSettings, "authenticate_time"),
        (SocketSettings, "authenticate_time"),
    }
)
"""Numeric settings that limit nothing in a server of the command."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MOST_SECONDS = 10 * 365 * 86_400.0
"""Maximum seconds of a setting, as event loops do not accept larger numbers."""


class _Kind(Struct, frozen=True):
    """Class of settings, with the options that it matters to, and its places in the settings."""

    of: type[Struct]
    bindings: frozenset[str]
    places: tuple[str, ...]


def replaced(settings: S, place: str, **values: Any) -> S:
    """Return ``settings`` with ``values`` at a place, such as ``stdio.pump``."""
    member, _, rest = place.partition(".")
    inner = getattr(settings, member)
    changed = replaced(inner, rest, **values) if rest else structs.replace(inner, **values)
    return structs.replace(settings, **{member: changed})


_WEB = frozenset({"--http", "--sse"})
_SOCKETS = frozenset({"--tcp", "--unix"})
_WS = frozenset({"--ws", "--websocket"})
_STDIO = frozenset({"--stdio"})
_ALL = _WEB | _SOCKETS | _WS | _STDIO

PUMPS = ("stdio.pump", "websocket.pump", "socket.pump")

_KINDS = (
    _Kind(HttpSettings, _WEB, ("http",)),
    _Kind(HttpServerSettings, _WEB, ("http_link",)),
    _Kind(Limits, _ALL, ("runtime.limits",)),
    _Kind(RuntimeSettings, _ALL, ("runtime",)),
    _Kind(WebSocketSettings, _WS, ("websocket",)),
    _Kind(SocketSettings, _SOCKETS, ("socket",)),
    _Kind(StdioSettings, _STDIO, ("stdio",)),
    _Kind(PumpSettings, _STDIO | _WS | _SOCKETS, PUMPS),
)
_ONLY = {
    # The messages of HTTP have bounds of their own, and so have its streams.
    **dict.fromkeys(("Limits.message_size", "Limits.listen_streams"), _ALL - _WEB),
    **dict.fromkeys(
        (
            *("HttpSettings.session_view_idle", "HttpSettings.session_touch"),
            *("HttpSettings.store_timeout", "HttpSettings.store_retry"),
        ),
        frozenset({"--store", "--workers"}),
    ),
}
"""Options that a setting matters to, where they are not those of its class."""
_IN_STORE = {
    "HttpSettings.sessions_per_client": "sessions_per_client",
    "HttpSettings.session_unused": "unused",
    "HttpSettings.session_idle": "idle",
    "HttpSettings.session_age": "absolute",
    "HttpSettings.replay_events": "events",
    "HttpSettings.replay_bytes": "event_bytes",
    "HttpSettings.replay_total": "total_bytes",
    "HttpSettings.replay_age": "age",
}
"""Settings that a store, if there is one, takes over from the process, with their names there."""
_NUMBERS = {int: (int, False), float: (float, False)} | {
    int | None: (int, True),
    float | None: (float, True),
}


class _Limit(Struct, frozen=True):
    """Numeric setting."""

    name: str
    kind: _Kind
    type: type[int] | type[float]
    optional: bool

    @property
    def whole(self) -> str:
        return f"{self.kind.of.__name__}.{self.name}"

    @property
    def matters_to(self) -> frozenset[str]:
        return _ONLY.get(self.whole, self.kind.bindings)


def _each() -> Iterator[_Limit]:
    for kind in _KINDS:
        # As they are written: those in quotes are no numbers, and name what is not imported here.
        for name, type_ in get_annotations(kind.of).items():
            number = _NUMBERS.get(type_)
            if number is not None and (kind.of, name) not in _NO_LIMITS:
                yield _Limit(name, kind, *number)


LIMITS = {limit.whole: limit for limit in _each()}
"""All numeric settings by their whole name."""


def limited(
    settings: ServeSettings, limits: Sequence[str], *, serving: Collection[str]
) -> ServeSettings:
    """Return ``settings`` changed by the values of ``--limit``.

    ``serving`` are the given options of the bindings, ``--http`` and so on, with ``--store`` and
    ``--workers``.  Raises Failure for an unknown setting, an invalid value, and a setting that
    would do nothing.
    """
    given: dict[str, Any] = {}
    for text in limits:
        name, equals, value = text.partition("=")
        if not equals:
            raise _wrong(f"--limit takes NAME=VALUE, not {text!r}")
        limit = _find(name, frozenset(serving))
        if limit.whole in given:
            raise _wrong(f"--limit {limit.whole} is given twice")
        given[limit.whole] = _value(limit, value)
    for kind in _KINDS:
        values = {LIMITS[name].name: it for name, it in given.items() if LIMITS[name].kind is kind}
        try:
            for place in kind.places if values else ():
                settings = replaced(settings, place, **values)
        except ValueError as error:
            raise _wrong(f"--limit: {error}") from error
    return settings


def _find(name: str, serving: frozenset[str]) -> _Limit:
    found = [limit for limit in LIMITS.values() if name in (limit.name, limit.whole)]
    if not found:
        raise _wrong(f"--limit: there is no limit {name!r}{_hint(name, serving)}")
    useful = [limit for limit in found if limit.matters_to & serving]
    if not useful:
        options = frozenset[str]().union(*(limit.matters_to for limit in found))
        raise _wrong(f"--limit {name} does nothing without {_joined(sorted(options), 'or')}")
    if len(useful) > 1:
        names = _joined([limit.whole for limit in useful], "or")
        raise _wrong(f"--limit: {name!r} could be {names}; say which")
    limit, kept = useful[0], serving & {"--store", "--workers"}
    if kept and limit.whole in _IN_STORE:
        option = _IN_STORE[limit.whole]
        raise _wrong(f"--limit {name} is up to the store: --store URL?{option}=...")
    return limit


def _hint(name: str, serving: frozenset[str]) -> str:
    """Suggest similar names, out of the settings that would have an effect."""
    useful = [limit for limit in LIMITS.values() if limit.matters_to & serving]
    names = [*(each.name for each in useful), *(each.whole for each in useful)]
    near = get_close_matches(name, dict.fromkeys(names), n=3)
    if not near:
        return "; docs/reference/limits.md has a list of them"
    return f"; did you mean {_joined(near, 'or')}?"


def _value(limit: _Limit, text: str) -> int | float | None:
    """Parse the value of a setting; None for ``none``.  Raises Failure."""
    if limit.optional and text == "none":
        return None
    number: int | float | None = None
    if limit.type is float:
        if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text):
            number = float(text)
    else:
        units = "[KMG]?" if limit.name in SIZES else ""
        if parsed := re.fullmatch(f"([0-9]{{1,15}})({units})", text):
            number = int(parsed[1]) * _UNITS[parsed[2]]
    most = _MOST_SECONDS if limit.type is float else sys.maxsize
    if number is not None and number <= most and (number or limit.name in _MAY_BE_ZERO):
        return number
    raise _wrong(f"--limit {limit.name}: expected {_expected(limit)}, not {text!r}")


def _expected(limit: _Limit) -> str:
    if limit.type is float:
        what = "seconds, such as 30 or 0.5"
    elif limit.name in SIZES:
        what = "a number of bytes, such as 65536, 64K or 4M"
    else:
        what = "a whole number"
    above = "" if limit.name in _MAY_BE_ZERO else ", above 0"
    return f"{what}{above}{', or none' if limit.optional else ''}"


def _joined(names: Sequence[str], last: str) -> str:
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def _wrong(message: str) -> Failure:
    return Failure(message, Exit.USAGE)
