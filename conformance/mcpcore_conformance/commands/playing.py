"""Playing a run in the foreground: shown as it goes, ended by Ctrl-C."""

import os
import signal
from collections.abc import Awaitable, Callable, Sequence

import anyio

from mcpcore_conformance.commands.progress import shown
from mcpcore_conformance.reports.report import INTERRUPTED, Ended
from mcpcore_conformance.run.run import Listener
from mcpcore_conformance.run.servers import CannotRun
from mcpcore_conformance.run.stages import CannotStart
from mcpcore_transports.commands.output import Exit, errors
from mcpcore_transports.serve.serve import ungrouped

ENDING = (signal.SIGINT, signal.SIGTERM)


def play_out(
    start: Callable[[Listener], Awaitable[None]], secrets: Sequence[str] = ()
) -> Ended | None:
    """Play a run to its end, or until a signal; return why it did not come to its end."""
    interrupted = False

    async def main(listener: Listener) -> None:
        async with anyio.create_task_group() as watching:

            async def watch(work: anyio.CancelScope) -> None:
                nonlocal interrupted
                with anyio.open_signal_receiver(*ENDING) as signals:
                    ready.set()
                    async for _ in signals:
                        if interrupted:
                            os._exit(Exit.INTERRUPTED)  # asked twice: at once
                        interrupted = True
                        errors.print("ending: closing what is open (again: at once)", style="dim")
                        work.cancel()

            ready = anyio.Event()
            with anyio.CancelScope() as work:
                watching.start_soon(watch, work)
                await ready.wait()
                await start(listener)
            watching.cancel_scope.cancel()

    with shown(secrets) as listener:
        try:
            with ungrouped():
                anyio.run(main, listener)
        except (CannotRun, CannotStart) as error:
            return Ended("not reached", str(error), reached=False)
    return INTERRUPTED if interrupted else None
