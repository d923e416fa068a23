"""`mcpcore serve`: offer a server on any number of bindings."""

import os
import ssl
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from msgspec import Struct, structs

from mcpcore.errors import BadTarget, BadTls, StoreUnavailableError
from mcpcore.spec.errors import LocalError
from mcpcore_transports.commands.common import check_revisions, recording
from mcpcore_transports.commands.http_log import show_http_log
from mcpcore_transports.commands.limits import limited
from mcpcore_transports.commands.loading import load
from mcpcore_transports.commands.output import Exit, Failure, print_warning
from mcpcore_transports.commands.workers import supervise
from mcpcore_transports.http.settings import DriverName, HttpServerSettings, ParserName
from mcpcore_transports.serve.event_loops import LoopName
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.serve.workers import WorkersSettings, worker_lifeline
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


class TlsFiles(Struct, frozen=True):
    """Files of `--tls-cert`, `--tls-key` and `--tls-client-ca`."""

    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context of the server, None without TLS.  Raises Failure."""
        if self.cert is None:
            if self.key is None and self.client_ca is None:
                return None
            raise Failure("--tls-key and --tls-client-ca need --tls-cert", Exit.USAGE)
        try:
            return server_tls(self.cert, self.key, client_ca=self.client_ca)
        except BadTls as error:
            raise Failure(str(error), Exit.USAGE) from error


class HttpEngine(Struct, frozen=True):
    """Values of `--http-driver`, `--http-parser` and `--loop`."""

    driver: DriverName = "auto"
    parser: ParserName = "auto"
    loop: LoopName = "auto"


def serve(
    service: str | None,
    *,
    stdio: bool,
    http: Sequence[str],
    ws: Sequence[str],
    websocket: bool = False,
    sse: Sequence[str] = (),
    tcp: Sequence[str] = (),
    unix: Sequence[str] = (),
    insecure_tcp: bool = False,
    allowed_hosts: Sequence[str],
    allowed_origins: Sequence[str],
    tls: TlsFiles,
    revisions: Sequence[str] | None = None,
    log_requests: bool = False,
    cwd: str | None = None,
    drain: float | None = None,
    notice: float = 0.0,
    store: str | None = None,
    workers: int = 1,
    limits: Sequence[str] = (),
    log_http: bool = False,
    reveal_errors: bool = False,
    engine: HttpEngine | None = None,
    trace: str | None = None,
    trace_secrets: bool = False,
    trace_size: str | None = None,
    words: Sequence[str] = (),
    develop: bool = False,
) -> int:
    """Serve until a signal, or the end of standard input; return the exit status.

    ``words``: the command line, for further processes.  ``develop``: serve in one of those, which
    is started anew whenever a file of the server changes.
    """
    lifeline = worker_lifeline()
    if cwd is not None and lifeline is None:  # a worker is there already
        _change_to(cwd)
    check_revisions(revisions)
    if develop:
        _check_development(service, stdio=stdio, workers=workers)
        drain = _BRIEF if drain is None else drain
    if not (stdio or http or ws or sse or tcp or unix):
        http = [DEFAULT_ADDRESS]
    if websocket and not http:
        raise Failure(
            "--websocket is for the addresses of --http; beside it there is --ws", Exit.USAGE
        )
    engine = engine or HttpEngine()
    web = bool(http or ws or sse)
    for name, given, fits, what in (
        ("--allow-host", allowed_hosts, web, "--http, --ws and --sse"),
        ("--allow-origin", allowed_origins, web, "--http, --ws and --sse"),
        ("--tls-cert", tls.cert, web or tcp, "--http, --ws, --sse and --tcp"),
        ("--insecure-tcp", insecure_tcp, tcp, "--tcp"),
        ("--notice", notice, http or sse, "--http and --sse"),
        ("--store", store, http, "--http"),
        ("--log-http", log_http, http or sse, "--http and --sse"),
        ("--http-driver", engine.driver != "auto", http or sse, "--http and --sse"),
        ("--http-parser", engine.parser != "auto", http or sse, "--http and --sse"),
    ):
        if given and not fits:
            raise Failure(f"{name} is for {what}, and nothing is served there", Exit.USAGE)
    settings = ServeSettings(
        runtime=RuntimeSettings(
            middleware=(log_incoming(),) if log_requests else (),
            reveal_errors=reveal_errors or develop,
        ),
        http_link=HttpServerSettings(
            notice_time=notice, log=log_http, driver=engine.driver, parser=engine.parser
        ),
        allowed_hosts=tuple(allowed_hosts) or None,
        allowed_origins=tuple(allowed_origins) or None,
        socket=SocketSettings(insecure=insecure_tcp),
        shared=websocket,
        ssl_context=tls.context(),
    )
    if drain is not None:
        settings = _draining(settings, drain)
    bindings = {
        "--stdio": stdio,
        "--http": http,
        "--ws": ws,
        "--websocket": websocket,
        "--sse": sse,
        "--tcp": tcp,
        "--unix": unix,
        "--store": store,
        "--workers": workers > 1,
    }
    serving = [name for name, given in bindings.items() if given]
    settings = limited(settings, limits, serving=serving)
    if reveal_errors and lifeline is None:
        print_warning(REVEALING)  # the log shows errors alone
    if workers > 1 and lifeline is None:
        if sse:
            # A message has to reach the worker that holds the event stream.
            raise Failure("--sse needs one process: --workers cannot serve it", Exit.USAGE)
        if stdio or ws or tcp or unix:
            raise Failure("--workers is for --http alone", Exit.USAGE)
        return _supervised(
            words,
            workers=workers,
            http=http,
            store=store,
            start=WorkersSettings().start + settings.runtime.lifespan_start,
            grace=_time_to_end(settings),
        )
    telling: AbstractContextManager[None] = nullcontext()
    if develop:
        from mcpcore_transports.commands.dev import develop_server, telling_of_sources

        told = telling_of_sources()
        if told is None:
            addresses = {"--http": http, "--ws": ws, "--sse": sse, "--tcp": tcp}
            return develop_server(words, addresses, grace=_time_to_end(settings) + 5)
        telling = told
    with telling:
        server = load(service or REFERENCE)
    if log_http:
        show_http_log()
    urls: list[str] = []
    if lifeline is not None:
        link = structs.replace(settings.http_link, reuse_port=True)
        settings = structs.replace(settings, http_link=link)
    try:
        if store is not None:
            from mcpcore_transports.stores.open import open_store

            settings = structs.replace(settings, store=open_store(store))
        if trace is not None and lifeline is not None:
            trace = _of_worker(trace)
        with recording(trace, secrets=trace_secrets, size=trace_size) as recorder:
            run(
                server,
                stdio=stdio,
                http=http,
                ws=ws,
                sse=sse,
                tcp=tcp,
                unix=unix,
                settings=settings,
                revisions=revisions,
                on_listening=_announce if lifeline is None else urls.append,
                on_ready=None if lifeline is None else partial(lifeline.ready, urls),
                until=None if lifeline is None else lifeline.supervisor_gone,
                loop=engine.loop,
                trace=recorder,
            )
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


def _change_to(folder: str) -> None:
    try:
        os.chdir(os.path.expanduser(folder))
    except OSError as error:
        raise Failure(f"--cwd: {folder}: {error.strerror}", Exit.USAGE) from error


def _supervised(
    words: Sequence[str],
    *,
    workers: int,
    http: Sequence[str],
    store: str | None,
    start: float,
    grace: float,
) -> int:
    try:
        return supervise(words, workers=workers, http=http, store=store, start=start, grace=grace)
    except BadTarget as error:
        raise Failure(str(error), Exit.USAGE) from error
    except OSError as error:
        raise Failure(str(error)) from error


def _check_development(service: str | None, *, stdio: bool, workers: int) -> None:
    """Refuse options of servers that cannot be started anew.  Raises Failure."""
    if service is None:
        raise Failure("dev needs the name of a server, MODULE:SERVER", Exit.USAGE)
    if stdio:
        raise Failure(
            "dev has no --stdio: there a client starts the server itself, and keeps its pipes",
            Exit.USAGE,
        )
    if workers > 1:
        raise Failure("dev has no --workers: it starts one process anew", Exit.USAGE)


def _time_to_end(settings: ServeSettings) -> float:
    """Return the maximum seconds from a signal to the end of a process."""
    link = settings.http_link
    return link.notice_time + link.drain_time + settings.runtime.lifespan_end


def _draining(settings: ServeSettings, seconds: float) -> ServeSettings:
    """Return ``settings`` with ``seconds`` for running requests at the shutdown."""
    pump = structs.replace(settings.stdio.pump, drain=seconds)
    return structs.replace(
        settings,
        stdio=structs.replace(settings.stdio, pump=pump),
        websocket=structs.replace(settings.websocket, pump=pump),
        socket=structs.replace(settings.socket, pump=pump),
        http_link=structs.replace(settings.http_link, drain_time=seconds),
    )


def _of_worker(trace: str) -> str:
    """Return the trace file of this worker: ``a.jsonl`` becomes ``a.PID.jsonl``."""
    stem, suffix = os.path.splitext(trace)
    return f"{stem}.{os.getpid()}{suffix}"


def _announce(url: str) -> None:
    sys.stderr.write(f"listening on {url}\n")
    sys.stderr.flush()
