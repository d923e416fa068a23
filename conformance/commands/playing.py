"""Playing a run in the foreground: shown as it goes, ended by Ctrl-C, summed up."""

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
from rich.markup import escape

from conformance.commands.choice import Choice
from conformance.commands.progress import counted, shown
from conformance.kit.model import Binding, Verdict
from conformance.run.run import Listener, Run
from transports.commands.output import Exit, errors, out

ENDING = (signal.SIGINT, signal.SIGTERM)


def play_out(run: Run, start: Callable[[Listener], Awaitable[None]]) -> bool:
    """Play a run to its end, or until a signal; return whether it was a signal."""
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

    with shown() as listener:
        try:
            anyio.run(main, listener)
        except BaseExceptionGroup as group:
            raise _only(group) from None
    return interrupted


def finish(run: Run, choice: Choice, *, interrupted: bool) -> int:
    """Print what came of a run and return the exit status."""
    counts: dict[tuple[Binding, str], Counter[Verdict]] = {}
    for result in run.results:
        counts.setdefault((result.binding, result.revision), Counter())[result.verdict] += 1
    out.print(counted(counts))
    total = run.count()
    said = ", ".join(f"{total[verdict]} {verdict}" for verdict in Verdict if total[verdict])
    done = "" if run.complete else f"; {len(run.units) - len(run.results)} not played"
    targets = ", ".join(dict.fromkeys(run.targets.values()))
    out.print(f"{escape(targets)}: {said or 'nothing'}{done} in {run.seconds:.1f} s")
    if interrupted:
        return Exit.INTERRUPTED
    bad = {Verdict.FAILED} | ({Verdict.WEAK, Verdict.INCONCLUSIVE} if choice.strict else set())
    return int(any(total[verdict] for verdict in bad))


def _only(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group
