"""`mcpcore serve --workers N`: the same command in several processes."""

import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio

from mcpcore.errors import StoreUnavailableError, WorkersFailed
from mcpcore_transports.commands.output import Exit, Failure, say
from mcpcore_transports.serve.serve import ungrouped
from mcpcore_transports.serve.workers import Supervisor, WorkersSettings, reserved
from mcpcore_transports.stream.settings import parse_address

_REPLACED = ("--http", "--workers", "--store")


def supervise(
    words: Sequence[str],
    *,
    workers: int,
    http: Sequence[str],
    store: str | None,
    start: float,
    grace: float,
) -> int:
    """Run ``mcpcore`` with ``words`` in ``workers`` processes until a signal; return the status.

    ``start`` and ``grace``: seconds that the processes may take to start and to end.  Without a
    ``store`` they share one in a temporary file, which is removed at their end.
    """
    if store is not None:
        from mcpcore_transports.stores.base import check_shared

        try:
            check_shared(store)  # once, before the workers start
        except StoreUnavailableError as error:
            raise Failure(str(error)) from error
    settings = WorkersSettings(start=start, drain=grace + 5)
    with ExitStack() as stack:
        addresses = []
        for address in http:
            host, port = parse_address(address)
            port = stack.enter_context(reserved(host, port))
            addresses.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        if store is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpcore-"))
            store = f"sqlite:{Path(folder) / 'store.db'}"
        command = [
            *(sys.executable, "-m", "mcpcore_transports.commands.main"),
            *without(words, _REPLACED),
            *(word for address in addresses for word in ("--http", address)),
            *("--store", store),
        ]
        supervisor = Supervisor(command, workers, settings=settings, report=say)
        try:
            anyio.run(_until_signalled, supervisor)
        except WorkersFailed as error:
            raise Failure(str(error), Exit.REFUSED if error.said else Exit.FAILED) from error
    return Exit.OK


async def _until_signalled(supervisor: Supervisor) -> None:
    def announce(urls: list[str]) -> None:
        for url in urls:
            say(f"listening on {url}")

    with ungrouped():
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    async for _ in signals:
                        group.cancel_scope.cancel()
                        return

            group.start_soon(watch)
            await supervisor.run(ready=announce)


def without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the words of a command line without these options and their values.

    >>> without(["serve", "--http", "a:1", "x", "--workers=2"], ["--http", "--workers"])
    ['serve', 'x']
    """
    kept = []
    rest = iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept
