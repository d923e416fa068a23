"""`mcpcore dev`: a server in a process of its own, started anew whenever one of its files changes.

The watching process imports nothing of the server, so that it survives any error there: modules
that cannot be imported, that do not end, or that end the process.  The server's process runs the
same command once more; it writes the list of its imported files to a file.
"""

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import Process

from mcpcore_transports.commands.output import Exit, say
from mcpcore_transports.commands.sources import Sources, Stamps, imported, look
from mcpcore_transports.commands.workers import without
from mcpcore_transports.serve.serve import ungrouped
from mcpcore_transports.stdio.reaper import GUARD, MARK, ProcessTree, bury
from mcpcore_transports.stream.settings import parse_address

_WORD = "MCPCORE_DEV"
"""Variable with the name of the file to which the server's process writes its imported files."""
_TRACEBACKS = ("mcpcore.cli", "mcpcore.lifespan")
"""Loggers of tracebacks of servers that cannot be imported or do not start."""
_TICK = 0.2
"""Seconds between two checks of the files."""
_PATIENCE = 1.0
"""Seconds after SIGTERM for processes that a server leaves behind."""


def telling_of_sources() -> AbstractContextManager[None] | None:
    """Return a context that reports the modules imported in it; None outside a server's process."""
    place = os.environ.pop(_WORD, None)
    return None if place is None else _telling(place)


@contextmanager
def _telling(place: str) -> Iterator[None]:
    for name in _TRACEBACKS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield
    finally:
        roots = imported()
        written = Path(f"{place}.new")
        written.write_bytes(msgspec.json.encode((roots, look(roots))))
        written.replace(place)


def develop_server(
    words: Sequence[str], addresses: Mapping[str, Sequence[str]], *, grace: float
) -> int:
    """Run ``mcpcore`` with ``words``, again and again, until a signal; return the exit status.

    ``addresses``: values of the options for addresses; a free port is the same each time.
    ``grace``: seconds that the server has to end.
    """
    with ExitStack() as held:  # so that no port is chosen twice
        chosen = {
            name: [held.enter_context(_with_port(text)) for text in texts]
            for name, texts in addresses.items()
        }
    shared = dict(zip(addresses["--http"], chosen["--http"], strict=True))
    pairs = zip(addresses["--sse"], chosen["--sse"], strict=True)
    chosen["--sse"] = [shared.get(text, own) for text, own in pairs]
    command = [
        *(sys.executable, "-m", "mcpcore_transports.commands.main"),
        *without(words, tuple(addresses)),
        *(word for name, texts in chosen.items() for text in texts for word in (name, text)),
    ]
    with tempfile.TemporaryDirectory(prefix="mcpcore-") as folder:
        return anyio.run(_until_signalled, command, Path(folder, "word"), grace)


@contextmanager
def _with_port(address: str) -> Iterator[str]:
    """Yield the address, with a free port if it has port 0; that port is reserved meanwhile."""
    host, port = parse_address(address)
    if port:
        yield address
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as free:
        port = free.getsockname()[1]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _until_signalled(command: Sequence[str], word: Path, grace: float) -> int:
    developing = _Developing(command, word, grace)
    status: int = Exit.OK
    with ungrouped():
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def watch() -> None:
                with (
                    suppress(NotImplementedError),  # Windows: KeyboardInterrupt is all there is
                    anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
                ):
                    async for _ in signals:
                        if scope.cancel_called:  # the second one has no patience
                            developing.patience.cancel()
                        scope.cancel()

            group.start_soon(watch)
            with scope:
                status = await developing.run()
            group.cancel_scope.cancel()
    return status


class _Developing:
    """Runner of ``command``, anew whenever sources change; it writes their list to ``word``."""

    def __init__(self, command: Sequence[str], word: Path, grace: float) -> None:
        self._command = command
        self._word = word
        self._grace = grace
        self._sources = Sources([os.getcwd()])
        self.patience = anyio.CancelScope()
        """Scope of the wait for the server's end; cancel it to end the server at once."""

    async def run(self) -> int:
        """Run until cancelled, or until the first process cannot serve whatever its sources are.

        Return the exit status of the process.
        """
        first = True
        while True:
            tree = ProcessTree(0.0, self._grace)
            GUARD.watch(tree)
            try:
                process = await self._start(tree)
                try:
                    changed = await self._watch(process, first=first)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._end(process, tree)
            finally:
                GUARD.forget(tree)
            if not changed:
                return process.returncode or Exit.OK
            first = False

    async def _start(self, tree: ProcessTree) -> Process:
        # What was compiled in this second is taken for today's, whatever has been written since.
        changes = {MARK: tree.variable, _WORD: str(self._word), "PYTHONDONTWRITEBYTECODE": "1"}
        with anyio.CancelScope(shield=True):  # asyncio forgets a process whose start is cancelled
            process = await anyio.open_process(
                self._command,
                stdin=None,
                stdout=None,
                stderr=None,
                env={**os.environ, **changes},
                start_new_session=True,  # a terminal's Ctrl-C is ours to pass on, once
            )
        tree.started(process.pid)
        GUARD.watch(tree)
        return process

    async def _watch(self, process: Process, *, first: bool) -> bool:
        """Wait for a change; return False if none can help, as the command cannot serve at all."""
        told, found = False, None
        while found is None:
            await anyio.sleep(_TICK)
            if self._word.exists():
                word = msgspec.json.decode(self._word.read_bytes(), type=tuple[list[str], Stamps])
                self._sources.add(*word)
                self._word.unlink()
            found = self._sources.changed()
            if process.returncode is not None and not told:
                if first and process.returncode == Exit.FAILED:
                    return False
                status = f"the server has ended with status {process.returncode}"
                say(f"{status}; it is started anew when a file changes")
                told = True
        changing = True
        while changing:  # many files may change at once, or one in several steps
            await anyio.sleep(_TICK)
            changing = self._sources.changed() is not None
        name = found.removeprefix(f"{os.getcwd()}{os.sep}")
        say(f"{name} has changed: the server is started anew")
        return True

    async def _end(self, process: Process, tree: ProcessTree) -> None:
        """End the process, and then the processes that it has started and left behind."""
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(self._grace) as self.patience:
            await process.wait()
        tree.term_wait = _PATIENCE
        await anyio.to_thread.run_sync(bury, [tree])
        await process.wait()
