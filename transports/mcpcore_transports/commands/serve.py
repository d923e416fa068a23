"""`mcpcore serve`: offer a server on any number of bindings."""

import logging
import os
import ssl
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from msgspec import structs

from mcpcore.errors import BadTarget, BadTls, StoreUnavailableError
from mcpcore.service import Server
from mcpcore.spec.errors import LocalError
from mcpcore_transports.commands.limits import PUMPS, limited, replaced
from mcpcore_transports.commands.loading import load
from mcpcore_transports.commands.options import ServeOptions, check_revisions, recording
from mcpcore_transports.commands.output import Exit, Failure, print_warning, say
from mcpcore_transports.http.server.log import LOGGER
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.serve.workers import Lifeline, worker_lifeline
from mcpcore_transports.server.failures import REVEALING
from mcpcore_transports.server.request_log import log_incoming
from mcpcore_transports.server.runtime import RuntimeSettings
from mcpcore_transports.sockets.settings import SocketSettings
from mcpcore_transports.tls import server_tls

REFERENCE = "mcpcore_conformance.everything.server:server"
"""Default server; loaded by name, as this package may not depend on it."""
DEFAULT_ADDRESS = "127.0.0.1:8000"
_BRIEF = 0.5
"""Seconds that running requests have before a server under development is started anew."""
_LOGGED = ("session", "stream", "request", "principal", "peer")
"""Attributes of a record of the HTTP log that are not in its message, in the order shown."""


def serve(
    service: str | None, options: ServeOptions, *, words: Sequence[str] = (), develop: bool = False
) -> int:
    """Serve until a signal, or the end of standard input; return the exit status.

    ``words``: the command line, for further processes.  ``develop``: serve in one of those, which
    is started anew whenever a file of the server changes.
    """
    lifeline = worker_lifeline()
    if options.cwd is not None and lifeline is None:  # a worker is there already
        _change_to(options.cwd)
    check_revisions(options.revision)
    if develop:
        _check_development(service, options)
        drain = _BRIEF if options.drain is None else options.drain
        options = structs.replace(options, drain=drain)
    if not (
        options.stdio or options.http or options.ws or options.sse or options.tcp or options.unix
    ):
        options = structs.replace(options, http=(DEFAULT_ADDRESS,))
    _check_fit(options)
    settings = _settings(options, develop=develop)
    if options.reveal_errors and lifeline is None:
        print_warning(REVEALING)  # the log shows errors alone
    try:
        if options.workers > 1 and lifeline is None:
            _check_workers(options)
            from mcpcore_transports.commands.processes import supervise

            return supervise(words, options, settings)
        telling: AbstractContextManager[None] | None = nullcontext()
        if develop:
            from mcpcore_transports.commands.processes import develop_server, telling_of_sources

            telling = telling_of_sources()
            if telling is None:
                return develop_server(words, options, settings)
        with telling:
            server = load(service or REFERENCE)
        if options.log_http:
            _show_http_log()
        _run(server, options, settings, lifeline)
    except BadTarget as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (LocalError, OSError, StoreUnavailableError) as error:
        raise Failure(str(error)) from error
    except SystemExit as error:  # so ``run`` says that the lifespan has failed
        if lifeline is None:
            raise Failure(str(error), Exit.REFUSED) from error
        lifeline.failed(str(error))
        return Exit.REFUSED
    return Exit.OK


def _run(
    server: Server, options: ServeOptions, settings: ServeSettings, lifeline: Lifeline | None
) -> None:
    """Serve in this process; with a ``lifeline`` as one of several."""
    urls: list[str] = []
    if lifeline is not None:
        settings = replaced(settings, "http_link", reuse_port=True)
        if options.trace is not None:  # each worker has a file: a.jsonl becomes a.PID.jsonl
            stem, suffix = os.path.splitext(options.trace)
            options = structs.replace(options, trace=f"{stem}.{os.getpid()}{suffix}")
    if options.store is not None:
        from mcpcore_transports.stores.open import open_store

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
        raise Failure(
            "--websocket is for the addresses of --http; beside it there is --ws", Exit.USAGE
        )
    web, http = options.http or options.ws or options.sse, options.http or options.sse
    for name, given, fits, what in (
        ("--allow-host", options.allow_host, web, "--http, --ws and --sse"),
        ("--allow-origin", options.allow_origin, web, "--http, --ws and --sse"),
        ("--tls-cert", options.tls_cert, web or options.tcp, "--http, --ws, --sse and --tcp"),
        ("--insecure-tcp", options.insecure_tcp, options.tcp, "--tcp"),
        ("--notice", options.notice, http, "--http and --sse"),
        ("--store", options.store, options.http, "--http"),
        ("--log-http", options.log_http, http, "--http and --sse"),
        ("--http-driver", options.http_driver != "auto", http, "--http and --sse"),
        ("--http-parser", options.http_parser != "auto", http, "--http and --sse"),
    ):
        if given and not fits:
            raise Failure(f"{name} is for {what}, and nothing is served there", Exit.USAGE)


def _settings(options: ServeOptions, *, develop: bool) -> ServeSettings:
    """Return the settings that the options ask for.  Raises Failure."""
    settings = ServeSettings(
        runtime=RuntimeSettings(
            middleware=(log_incoming(),) if options.verbose else (),
            reveal_errors=options.reveal_errors or develop,
        ),
        http_link=HttpServerSettings(
            notice_time=options.notice,
            log=options.log_http,
            driver=options.http_driver,
            parser=options.http_parser,
        ),
        allowed_hosts=options.allow_host or None,
        allowed_origins=options.allow_origin or None,
        socket=SocketSettings(insecure=options.insecure_tcp),
        shared=options.websocket,
        ssl_context=_tls(options),
    )
    if options.drain is not None:
        settings = replaced(settings, "http_link", drain_time=options.drain)
        for pump in PUMPS:
            settings = replaced(settings, pump, drain=options.drain)
    bindings = {
        "--stdio": options.stdio,
        "--http": options.http,
        "--ws": options.ws,
        "--websocket": options.websocket,
        "--sse": options.sse,
        "--tcp": options.tcp,
        "--unix": options.unix,
        "--store": options.store,
        "--workers": options.workers > 1,
    }
    serving = [name for name, given in bindings.items() if given]
    return limited(settings, options.limit, serving=serving)


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        if options.tls_key is None and options.tls_client_ca is None:
            return None
        raise Failure("--tls-key and --tls-client-ca need --tls-cert", Exit.USAGE)
    try:
        return server_tls(options.tls_cert, options.tls_key, client_ca=options.tls_client_ca)
    except BadTls as error:
        raise Failure(str(error), Exit.USAGE) from error


def _change_to(folder: str) -> None:
    try:
        os.chdir(os.path.expanduser(folder))
    except OSError as error:
        raise Failure(f"--cwd: {folder}: {error.strerror}", Exit.USAGE) from error


def _check_workers(options: ServeOptions) -> None:
    """Refuse bindings that several processes cannot share.  Raises Failure."""
    if options.sse:
        # A message has to reach the worker that holds the event stream.
        raise Failure("--sse needs one process: --workers cannot serve it", Exit.USAGE)
    if options.stdio or options.ws or options.tcp or options.unix:
        raise Failure("--workers is for --http alone", Exit.USAGE)


def _check_development(service: str | None, options: ServeOptions) -> None:
    """Refuse options of servers that cannot be started anew.  Raises Failure."""
    if service is None:
        raise Failure("dev needs the name of a server, MODULE:SERVER", Exit.USAGE)
    if options.stdio:
        raise Failure(
            "dev has no --stdio: there a client starts the server itself, and keeps its pipes",
            Exit.USAGE,
        )
    if options.workers > 1:
        raise Failure("dev has no --workers: it starts one process anew", Exit.USAGE)


class _HttpLogLines(logging.Formatter):
    """Formatter of lines: time, message, and the attributes of the record as ``name=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        said = super().formatMessage(record)
        facts = ((name, getattr(record, f"mcp_{name}", None)) for name in _LOGGED)
        return " ".join((said, *(f"{name}={_quoted(it)}" for name, it in facts if it is not None)))


def _quoted(value: object) -> str:
    """Format a value as one word of limited length, whatever a client has put into it."""
    text = str(value)[:200]
    plain = text.isascii() and text.isprintable() and not set(text) & set(" '\"=")
    return text if plain and text else ascii(text)


def _show_http_log() -> None:
    """Write the HTTP log to standard error, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(_HttpLogLines())
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
