"""Serving: one server on standard input and output, HTTP, WebSocket and sockets, all at once.

::

    anyio.run(partial(serve, server, http="127.0.0.1:8000"))     # in a program of your own
    run(server, stdio=True)                                      # as the whole program
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from msgspec import structs

from mcpcore.errors import LifespanError
from mcpcore.service import Server
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.serve.assembling import server_config
from mcpcore_transports.serve.bindings import STDIO_URL, Accept, Bindings, Listener
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.sockets.settings import parse_address
from mcpcore_transports.stdio.settings import StdioSettings

if TYPE_CHECKING:  # not needed by every server, and slow to import
    from mcpcore_transports.serve.event_loops import LoopName
    from mcpcore_transports.stdio.server import StdioServerLink
    from mcpcore_transports.tracing.tracing import TraceTo

__all__ = [
    "STDIO_URL",
    "Accept",
    "Listener",
    "ServeSettings",
    "run",
    "serve",
    "server_config",
    "ungrouped",
]


async def serve(
    server: Server,
    *,
    stdio: bool = False,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    sse: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    custom: Sequence[Listener] = (),
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    on_stdio_begin: "Callable[[StdioServerLink], None] | None" = None,
    on_stdio_end: Callable[[], None] | None = None,
    stop: anyio.Event | None = None,
    trace: "TraceTo | None" = None,
) -> None:
    """Serve on every binding named, until all of them have ended or ``stop`` is set.

    ``http``, ``ws``, ``sse`` and ``tcp`` are addresses, ``HOST:PORT``, port 0 for a free one; an
    address in both ``http`` and ``sse`` serves both at one port.  ``unix`` are paths of socket
    files; ``stdio`` ends with standard input; ``custom`` are bindings of the application.
    ``revisions`` names the revisions to speak, in place of those in ``settings``.  ``on_listening``
    is called with the URL of each binding once it accepts connections, ``on_ready`` once all of
    them do, ``on_stdio_begin`` when standard input and output are taken, ``on_stdio_end`` when they
    are released.
    ``trace`` records the traffic of all bindings: the name of a file, or a
    :class:`~mcpcore_transports.tracing.tracing.Trace`.
    Setting ``stop`` lets running requests finish, for a bounded time.  Everything happens within
    the lifespan of the server.  Raises BadTarget, LinkError or OSError if a binding cannot be
    opened, LifespanError if the lifespan does not start or does not end well.
    """
    settings = settings or ServeSettings()
    if revisions is not None:
        runtime = structs.replace(settings.runtime, revisions=parse_revisions(revisions))
        settings = structs.replace(settings, runtime=runtime)
    to = settings.trace if trace is None else trace
    with ungrouped(), ExitStack() as recording:
        if to is not None:
            from mcpcore_transports.tracing.tracing import tracing

            recorder = recording.enter_context(tracing(to))
            if recorder is not None:
                recorder.begin("server", target=server.info.name)
            settings = structs.replace(settings, trace=recorder)
        bindings = Bindings(server, settings, on_listening or (lambda url: None))

        streamable = [parse_address(address) for address in _listed(http)]
        streams = [parse_address(address) for address in _listed(sse)]
        websockets = [parse_address(address) for address in _listed(ws)]
        sockets = [parse_address(address) for address in _listed(tcp)]

        async def offer(lifespan: object = None) -> None:
            async with anyio.create_task_group() as watching:
                bindings.begin(watching)
                async with anyio.create_task_group() as bindings.group:
                    for place in streamable:
                        await bindings.open_http(*place, sse=place in streams)
                    for place in streams:
                        if place not in streamable:
                            await bindings.open_http(*place, streamable=False, sse=True)
                    for place in websockets:
                        await bindings.open_websocket(*place)
                    for place in sockets:
                        await bindings.open_tcp(*place)
                    for path in _listed(unix):
                        await bindings.open_unix(path)
                    for listener in custom:
                        await bindings.open_custom(listener)
                    if stdio:
                        bindings.open_stdio(on_stdio_begin, on_stdio_end)
                    if on_ready is not None:
                        on_ready()
                    if stop is not None:
                        watching.start_soon(bindings.close_after, stop)
                watching.cancel_scope.cancel()

        if server.lifespan is None:
            await offer()
        else:
            from mcpcore_transports.server.lifespan import within

            await within(server, settings.runtime, offer, stop=stop)


@contextmanager
def _ending_the_program() -> Iterator[None]:
    """Turn a failed lifespan into one line on stderr; a traceback would not help."""
    try:
        yield
    except LifespanError as error:
        raise SystemExit(str(error)) from error


@_ending_the_program()
def run(
    server: Server,
    *,
    stdio: bool = False,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    sse: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    custom: Sequence[Listener] = (),
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
    backend: str = "asyncio",
    loop: "LoopName" = "auto",
    trace: "TraceTo | None" = None,
) -> None:
    """Serve as a whole program, which SIGINT and SIGTERM end gracefully.

    Without any binding it serves on standard input and output.  ``loop`` is that of asyncio, see
    :mod:`mcpcore_transports.serve.event_loops`.  It also ends when ``until`` returns.  A program
    that serves standard input and output alone ends promptly, with the programs that its handlers
    have started, according to ``settings.stdio`` (``linger``, ``end_children``).  A lifespan that
    fails ends the program with one line on standard error and status 1 (SystemExit).
    """
    elsewhere = bool(http or ws or sse or tcp or unix or custom)
    stdio = stdio or not elsewhere
    serving = partial(
        serve,
        server,
        stdio=stdio,
        http=http,
        ws=ws,
        sse=sse,
        tcp=tcp,
        unix=unix,
        custom=custom,
        settings=settings,
        revisions=revisions,
        on_listening=on_listening,
        on_ready=on_ready,
        trace=trace,
    )
    if elsewhere:
        from mcpcore_transports.serve.event_loops import backend_options

        link = (settings or ServeSettings()).http_link if http or sse else None
        options = backend_options(loop, backend, link)
        anyio.run(_until_signalled, serving, until, backend=backend, backend_options=options)
        return
    from mcpcore_transports.stdio.shutdown import (
        ProgramExit,  # imported late: for standard input alone
    )

    at_end = settings.stdio if settings is not None else StdioSettings()
    exiting = ProgramExit(at_end.linger, end_children=at_end.end_children)
    if server.lifespan is not None:
        from mcpcore_transports.server.lifespan import seconds_left

        exiting.more_time = seconds_left
    serving = partial(serving, on_stdio_begin=exiting.watch, on_stdio_end=exiting.over)
    with exiting, exiting.signals(at_end.pump.drain) as signals:
        anyio.run(_until_signalled, serving, until, signals, backend=backend)


async def _until_signalled(
    serving: Callable[..., Awaitable[None]],
    until: Callable[[], Awaitable[None]] | None,
    received: AsyncIterator[object] | None = None,
) -> None:
    stop = anyio.Event()
    with ungrouped():
        async with anyio.create_task_group() as group:

            async def obey(signals: AsyncIterator[object]) -> None:
                async for _ in signals:
                    if stop.is_set():  # the second signal ends it at once
                        group.cancel_scope.cancel()
                    stop.set()

            async def watch() -> None:
                if received is not None:
                    await obey(received)
                    return
                with (
                    suppress(NotImplementedError),  # Windows: KeyboardInterrupt is all there is
                    anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
                ):
                    await obey(signals)

            async def wait() -> None:
                if until is not None:
                    await until()
                    stop.set()

            group.start_soon(watch)
            group.start_soon(wait)
            await serving(stop=stop)
            group.cancel_scope.cancel()


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise a single exception from task groups without its groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        only: BaseException = group
        while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
            only = only.exceptions[0]
        raise only from only.__cause__


def _listed(addresses: str | Sequence[str]) -> Sequence[str]:
    return [addresses] if isinstance(addresses, str) else addresses
