"""Command `mcpcore serve`: offer a server on any number of bindings."""

import logging
import os
import re
import ssl
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from functools import partial
from inspect import get_annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, structs

from mcpcore.engine.config import Limits
from mcpcore.errors import BadTarget, BadTls, ExtraMissingError
from mcpcore.http.settings import HttpSettings
from mcpcore.policy.rates import RateLimiter, RateLimits
from mcpcore.spec.errors import LocalError
from mcpcore_transports.auth.environment import argv_warning
from mcpcore_transports.client.request_log import log_incoming
from mcpcore_transports.commands.authorization import (
    AUTH_OPTIONS,
    authenticating,
    forget_credentials,
    metadata_warning,
)
from mcpcore_transports.commands.loading import load
from mcpcore_transports.commands.options import (
    BeforeServerOptions,
    ServeOptions,
    check_revisions,
    recording,
)
from mcpcore_transports.commands.output import Exit, Failure, print_warning, say, wrong
from mcpcore_transports.http.server.log import LOGGER
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.running.audit import AUDIT_LOGGER
from mcpcore_transports.serve.assembling import Served
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.serve.workers import LIFELINE, Lifeline, worker_lifeline
from mcpcore_transports.server.failures import REVEALING
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings, StdioSettings
from mcpcore_transports.tls import server_tls
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # imported where a trace is written: a client waits for the start of a server
    from mcpcore_transports.server.middleware import ServerMiddleware
    from mcpcore_transports.tracing.tracing import Trace

REFERENCE = "mcpcore_conformance.everything.server:server"
"""Default server; loaded by name, as this package may not depend on it."""
DEFAULT_ADDRESS = "127.0.0.1:8000"
_BRIEF = 0.5
"""Seconds that running requests have before a server under development is started anew."""
_LOGGED = (
    *("session", "stream", "request_id", "principal", "peer"),
    *("scheme", "credential", "kid", "subject", "address"),
)
"""Attributes of a record of the HTTP log that are not in its message, in the order shown."""


def serve(
    service: str | None, options: ServeOptions, *, words: Sequence[str] = (), develop: bool = False
) -> int:
    """Serve a service until a signal, or the end of standard input; return the exit status.

    ``words``: the command line, for further processes; ``develop``: serve in one of those.
    """
    if develop and service is None:
        raise wrong("dev needs the name of a server, MODULE:SERVER")
    loading = partial(load, service or REFERENCE)
    return serve_with(loading, options, words=words, develop=develop)


def serve_with(
    make: Callable[[], Served],
    options: ServeOptions,
    *,
    words: Sequence[str] = (),
    develop: bool = False,
    trace: "Trace | None" = None,
) -> int:
    """Serve what ``make`` returns, as :func:`serve` does; ``trace`` stands for --trace."""
    options, lifeline = in_folder(options), worker_lifeline()
    check_revisions(options.revision)
    if develop:
        _check_development(options)
        drain = _BRIEF if options.drain is None else options.drain
        options = structs.replace(options, drain=drain)
    if not (
        options.stdio or options.http or options.ws or options.sse or options.tcp or options.unix
    ):
        options = structs.replace(options, http=(DEFAULT_ADDRESS,))
    _check_fit(options)
    place = None if lifeline is None else lifeline.place
    settings = structs.replace(_settings(options, develop=develop, place=place), trace=trace)
    if options.reveal_errors and lifeline is None:
        print_warning(REVEALING)  # the log shows errors alone
    for warning in (argv_warning(sys.argv) if options.stdio else None, metadata_warning(options)):
        if warning is not None:
            print_warning(warning)
    try:
        if options.workers > 1 and lifeline is None:
            if options.sse:  # a message has to reach the worker that holds the event stream
                raise wrong("--sse needs one process: --workers cannot serve it")
            if options.stdio or options.ws or options.tcp or options.unix:
                raise wrong("--workers is for --http alone")
            from mcpcore_transports.commands.processes import supervise  # late: for workers alone

            return supervise(words, options, settings)
        telling: AbstractContextManager[None] = nullcontext()
        if develop:  # it alone needs these
            from mcpcore_transports.commands.processes import develop_server, telling_of_sources

            told = telling_of_sources()
            if told is None:
                return develop_server(words, options, settings)
            telling = told
        forget_credentials()  # workers and a process that is started anew have read them
        with telling:
            server = make()
        if options.telemetry:
            from mcpcore_transports.telemetry.observing import telemetry_warning  # late: as below

            if (warning := telemetry_warning()) is not None:
                print_warning(warning)
        _show_logs(options)
        _run(server, options, settings, lifeline)
    except BadTarget as error:
        raise wrong(str(error)) from error
    except (LocalError, OSError) as error:
        raise Failure(str(error)) from error
    except SystemExit as error:  # so ``run`` says that the lifespan has failed
        if lifeline is None:
            raise Failure(str(error), Exit.REFUSED) from error
        lifeline.failed(str(error))
        return Exit.REFUSED
    return Exit.OK


def show(shown: Iterable[tuple[str, str, str]], options: ServeOptions) -> int:
    """Print names, values and origins of options; return the exit status.  Raises Failure."""
    with_limits(ServeSettings(), options)  # unknown ones are refused here, too
    rows = {name: (value, origin) for name, value, origin in shown}
    own = rows.pop("limit", ("", ""))[1]
    settled = {} if options.settled is None else options.settled.limits
    for origin, limits in [*settled.items(), (own, options.limit)]:
        for text in limits:
            name, _, value = text.partition("=")
            limit = _find(name, _serving(options))
            number = _value(limit, value)
            rows[f"limits.{limit.whole}"] = ('"none"' if number is None else f"{number}", origin)
    for name, (value, origin) in rows.items():
        sys.stdout.write(f"{name} = {value}  # {origin}\n")
    return Exit.OK


Given = TypeVar("Given", bound=ServeOptions)


def in_folder(options: Given) -> Given:
    """Change to the folder of --cwd; return the options without it.  Raises Failure."""
    if options.cwd is not None and LIFELINE not in os.environ:  # a worker is there already
        try:
            os.chdir(os.path.expanduser(options.cwd))
        except OSError as error:
            raise wrong(f"--cwd: {options.cwd}: {error.strerror}") from error
    return structs.replace(options, cwd=None)


def _run(
    server: Served, options: ServeOptions, settings: ServeSettings, lifeline: Lifeline | None
) -> None:
    """Serve in this process; with a ``lifeline`` as one of several."""
    urls: list[str] = []
    if lifeline is not None:
        settings = replaced(settings, "http_link", reuse_port=True)
        if options.trace is not None:  # each worker has a file: a.jsonl becomes a.PID.jsonl
            stem, suffix = os.path.splitext(options.trace)
            options = structs.replace(options, trace=f"{stem}.{os.getpid()}{suffix}")
    if options.store is not None:
        from mcpcore_transports.stores.base import open_store  # late: few have a store

        settings = structs.replace(settings, store=open_store(options.store))
    with recording(options) as recorder:
        run(
            server,
            stdio=options.stdio,
            http=options.http,
            ws=options.ws,
            sse=options.sse,
            tcp=options.tcp,
            unix=options.unix,
            settings=settings,
            revisions=options.revision,
            on_listening=urls.append if lifeline else lambda url: say(f"listening on {url}"),
            on_ready=None if lifeline is None else partial(lifeline.ready, urls),
            until=None if lifeline is None else lifeline.supervisor_gone,
            loop=options.loop,
            trace=recorder,
        )


def _check_fit(options: ServeOptions) -> None:
    """Refuse options for bindings that are not served.  Raises Failure."""
    if options.websocket and not options.http:
        raise wrong("--websocket is for the addresses of --http; beside it there is --ws")
    web, http = options.http or options.ws or options.sse, options.http or options.sse
    for name, fits, what in (
        ("env_principal", options.stdio, "--stdio"),
        ("allow_host", web, "--http, --ws and --sse"),
        ("allow_origin", web, "--http, --ws and --sse"),
        ("trusted_proxy", web, "--http, --ws and --sse"),
        ("response_header", http, "--http and --sse"),
        ("tls_cert", web or options.tcp, "--http, --ws, --sse and --tcp"),
        ("insecure_tcp", options.tcp, "--tcp"),
        ("notice", http, "--http and --sse"),
        ("store", options.http, "--http"),
        ("log_http", http, "--http and --sse"),
        ("metrics_path", http, "--http and --sse"),
        ("http_driver", http, "--http and --sse"),
        ("http_parser", http, "--http and --sse"),
        *((name, web, "--http, --ws and --sse") for name in (*AUTH_OPTIONS, "auth_max_failures")),
    ):
        if getattr(options, name) not in (None, (), 0, "auto") and not fits:
            raise wrong(f"--{name.replace('_', '-')} is for {what}, and nothing is served there")


def _settings(options: ServeOptions, *, develop: bool, place: Path | None = None) -> ServeSettings:
    """Return the settings that the options ask for; ``place``: of a worker.  Raises Failure."""
    settled = options.settled
    settings = ServeSettings(
        runtime=RuntimeSettings(
            middleware=tuple(_middleware(options)),
            reveal_errors=options.reveal_errors or develop,
            limiter=_limiter(options),
            suspicion=None if settled is None else settled.suspicion,
        ),
        http_link=HttpServerSettings(
            notice_time=options.notice,
            log=options.log_http,
            driver=options.http_driver,
            parser=options.http_parser,
            authenticate=authenticating(options),
        ),
        allowed_hosts=options.allow_host or None,
        allowed_origins=options.allow_origin or None,
        socket=SocketSettings(insecure=options.insecure_tcp),
        shared=options.websocket,
        ssl_context=_tls(options),
    )
    settings = replaced(settings, "stdio", env_principal=options.env_principal)
    try:
        settings = replaced(settings, "http_link", trusted_proxies=options.trusted_proxy)
    except ValueError as error:
        raise wrong(f"--trusted-proxy: {error}") from error
    if options.response_header:
        from mcpcore_transports.targets import headers_of  # late: few set headers

        try:
            given = headers_of(options.response_header)
            settings = replaced(settings, "http", headers=tuple(given.items()))
        except ValueError as error:
            raise wrong(f"--response-header: {error}") from error
    if options.drain is not None:
        settings = replaced(settings, "http_link", drain_time=options.drain)
        for part in CONNECTIONS:
            settings = replaced(settings, part, drain=options.drain)
    return _observing(with_limits(settings, options), options, place)


def _middleware(options: ServeOptions) -> "Iterator[ServerMiddleware]":
    """Yield the middleware of logs, and the guard of the configuration file."""
    if options.log_format == "json":
        from mcpcore_transports.server.logs import label_logs  # late: few log so

        yield label_logs()
    if options.verbose:
        yield log_incoming()
    if options.settled is not None and options.settled.guard is not None:
        from mcpcore_transports.client.guarding import guard_answers  # late: few guard

        yield guard_answers(options.settled.guard)


def _limiter(options: ServeOptions) -> "RateLimiter | None":
    """Return the limiter of the configuration file; its counts are in Redis if that is the store.

    Raises Failure.
    """
    wanted = None if options.settled is None else options.settled.rates
    if wanted is None:
        return None
    from mcpcore_transports.stores.base import REDIS_SCHEMES  # late: few have a store

    scheme, _, place = (options.store or "").partition("?")[0].partition("://")
    if scheme not in REDIS_SCHEMES:
        return RateLimits(wanted.rates, per_tool=wanted.per_tool, callers=wanted.callers)
    from mcpcore_transports.stores.redis_rates import RedisRateLimits  # late: few have Redis

    url = f"{REDIS_SCHEMES[scheme]}://{place}"
    try:
        return RedisRateLimits(url, wanted.rates, per_tool=wanted.per_tool, callers=wanted.callers)
    except (ValueError, ExtraMissingError) as error:
        raise wrong(f"rates: {error}") from error


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        if options.tls_key is None and options.tls_client_ca is None:
            return None
        raise wrong("--tls-key and --tls-client-ca need --tls-cert")
    try:
        return server_tls(options.tls_cert, options.tls_key, client_ca=options.tls_client_ca)
    except BadTls as error:
        raise wrong(str(error)) from error


def _check_development(options: ServeOptions) -> None:
    """Refuse options of servers that cannot be started anew.  Raises Failure."""
    if options.stdio:
        raise wrong(
            "dev has no --stdio: there a client starts the server itself, and keeps its pipes"
        )
    if options.workers > 1:
        raise wrong("dev has no --workers: it starts one process anew")


class _HttpLogLines(logging.Formatter):
    """Formatter of lines: time, message, and the attributes of the record as ``name=value``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        said = super().formatMessage(record)
        facts = ((name, getattr(record, f"mcp_{name}", None)) for name in _LOGGED)
        return " ".join((said, *(f"{name}={_quoted(it)}" for name, it in facts if it is not None)))


def _quoted(value: object) -> str:
    """Format a value as one word of limited length, whatever a client has put into it."""
    text = str(value)[:200]
    plain = text.isascii() and text.isprintable() and not set(text) & set(" '\"=")
    return text if plain and text else ascii(text)


def _show_logs(options: ServeOptions) -> None:
    """Write the logs that are asked for to standard error, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(_HttpLogLines("%(asctime)s %(message)s"))
    if options.log_format == "json":
        from mcpcore_transports.server.logs import JsonLines  # late: few log so

        for each in (handler, *logging.getLogger().handlers):
            each.setFormatter(JsonLines())
    shown = {LOGGER: options.log_http, AUDIT_LOGGER: options.log_http or options.log_audit}
    for logger in [logging.getLogger(name) for name, wanted in shown.items() if wanted]:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False


def _observing(settings: ServeSettings, options: ServeOptions, place: Path | None) -> ServeSettings:
    """Return settings with the telemetry that is asked for.  Raises Failure."""
    page = options.metrics_path
    if options.telemetry_contents and not options.telemetry:
        raise wrong("--telemetry-contents needs --telemetry")
    if page is None and not options.telemetry:
        return settings
    web = options.http or options.sse
    attributes = {}
    if not (options.ws or options.websocket or options.tcp or options.unix):
        if not options.stdio:
            attributes = {
                **{"network.transport": "tcp", "network.protocol.name": "http"},
                "network.protocol.version": "1.1",
            }
        elif not web:
            attributes = {"network.transport": "pipe"}
    try:
        from mcpcore_transports.telemetry.observing import observed_settings  # late: few observe

        return observed_settings(
            settings,
            attributes,
            page=page,
            spans=options.telemetry,
            contents=options.telemetry_contents,
            relays=isinstance(options, BeforeServerOptions),
            place=place,
        )
    except ExtraMissingError as error:
        raise wrong(str(error)) from error
    except (ValueError, OSError) as error:
        raise wrong(f"--metrics-path: {error}") from error


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


class _SettingsKind(Struct, frozen=True):
    """Class of settings, with the options that it matters to, and its places in the settings."""

    of: type[Struct]
    bindings: frozenset[str]
    places: tuple[str, ...]


def replaced(settings: S, place: str, **values: Any) -> S:
    """Return ``settings`` with ``values`` at a place, such as ``stdio.connection``."""
    member, _, rest = place.partition(".")
    inner = getattr(settings, member)
    changed = replaced(inner, rest, **values) if rest else structs.replace(inner, **values)
    return structs.replace(settings, **{member: changed})


_WEB = frozenset({"--http", "--sse"})
_SOCKETS = frozenset({"--tcp", "--unix"})
_WS = frozenset({"--ws", "--websocket"})
_STDIO = frozenset({"--stdio"})
_ALL = _WEB | _SOCKETS | _WS | _STDIO

CONNECTIONS = ("stdio.connection", "websocket.connection", "socket.connection")

_KINDS = (
    _SettingsKind(HttpSettings, _WEB, ("http",)),
    _SettingsKind(HttpServerSettings, _WEB, ("http_link",)),
    _SettingsKind(Limits, _ALL, ("runtime.limits",)),
    _SettingsKind(RuntimeSettings, _ALL, ("runtime",)),
    _SettingsKind(WebSocketSettings, _WS, ("websocket",)),
    _SettingsKind(SocketSettings, _SOCKETS, ("socket",)),
    _SettingsKind(StdioSettings, _STDIO, ("stdio",)),
    _SettingsKind(ConnectionSettings, _STDIO | _WS | _SOCKETS, CONNECTIONS),
)
_ONLY = {
    # The messages of HTTP have bounds of their own, and so have its streams.
    **dict.fromkeys(("Limits.message_size", "Limits.listen_streams"), _ALL - _WEB),
    **dict.fromkeys(
        (
            *("HttpSettings.session_replica_idle", "HttpSettings.session_touch"),
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
    name: str
    kind: _SettingsKind
    type: type[int] | type[float]
    optional: bool

    @property
    def whole(self) -> str:
        return f"{self.kind.of.__name__}.{self.name}"

    @property
    def matters_to(self) -> frozenset[str]:
        return _ONLY.get(self.whole, self.kind.bindings)


LIMITS = {
    f"{kind.of.__name__}.{name}": _Limit(name, kind, *_NUMBERS[written])
    for kind in _KINDS
    # As they are written: those in quotes are no numbers, and name what is not imported here.
    for name, written in get_annotations(kind.of).items()
    if written in _NUMBERS and (kind.of, name) not in _NO_LIMITS
}
"""All numeric settings by their whole name."""


def with_limits(settings: ServeSettings, options: ServeOptions) -> ServeSettings:
    """Return ``settings`` changed by the limits of file, variables and command line.

    Raises Failure.
    """
    settled = {} if options.settled is None else options.settled.limits
    for origin, limits in (*settled.items(), ("", options.limit)):
        try:
            settings = limited(settings, limits, serving=_serving(options))
        except Failure as error:
            raise wrong(f"{origin}: {error}") if origin else error from None
    return settings


def _serving(options: ServeOptions) -> frozenset[str]:
    """Return the given options of bindings, with ``--store`` and ``--workers``."""
    names = ("stdio", "http", "ws", "websocket", "sse", "tcp", "unix")
    serving = [f"--{name}" for name in names if getattr(options, name)] or ["--http"]
    serving += ["--store"] if options.store else []
    serving += ["--workers"] if options.workers > 1 else []
    return frozenset(serving)


def limited(
    settings: ServeSettings, limits: Sequence[str], *, serving: Collection[str]
) -> ServeSettings:
    """Return ``settings`` changed by the values of ``--limit``.

    A name is ``HttpSettings.max_body``, as in ``docs/reference/limits.md``, or its part behind the
    dot, if only one kind of settings with an effect has it.  ``serving`` are the given options of
    bindings, with ``--store`` and ``--workers``.  Raises Failure.
    """
    given: dict[str, Any] = {}
    for text in limits:
        name, equals, value = text.partition("=")
        if not equals:
            raise wrong(f"--limit takes NAME=VALUE, not {text!r}")
        limit = _find(name, frozenset(serving))
        if limit.whole in given:
            raise wrong(f"--limit {limit.whole} is given twice")
        given[limit.whole] = _value(limit, value)
    for kind in _KINDS:
        values = {LIMITS[name].name: it for name, it in given.items() if LIMITS[name].kind is kind}
        try:
            for place in kind.places if values else ():
                settings = replaced(settings, place, **values)
        except ValueError as error:
            raise wrong(f"--limit: {error}") from error
    return settings


def _find(name: str, serving: frozenset[str]) -> _Limit:
    found = [limit for limit in LIMITS.values() if name in (limit.name, limit.whole)]
    if not found:
        raise wrong(f"--limit: there is no limit {name!r}{_hint(name, serving)}")
    useful = [limit for limit in found if limit.matters_to & serving]
    if not useful:
        options = frozenset[str]().union(*(limit.matters_to for limit in found))
        raise wrong(f"--limit {name} does nothing without {_joined(sorted(options), 'or')}")
    if len(useful) > 1:
        names = _joined([limit.whole for limit in useful], "or")
        raise wrong(f"--limit: {name!r} could be {names}; say which")
    limit, kept = useful[0], serving & {"--store", "--workers"}
    if kept and limit.whole in _IN_STORE:
        option = _IN_STORE[limit.whole]
        raise wrong(f"--limit {name} is up to the store: --store URL?{option}=...")
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
    raise wrong(f"--limit {limit.name}: expected {_expected(limit)}, not {text!r}")


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
