"""Servers in processes of their own: `mcpcore serve --workers N`, and `mcpcore dev`.

The processes run the same command line with other options.  `dev` starts its process anew whenever
a source file changes; the watching process imports nothing of the server, so that it survives any
error there: modules that cannot be imported, that do not end, or that end the process.
"""

import logging
import os
import signal
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import Process

from mcpcore.errors import WorkersFailed
from mcpcore_transports.commands.options import ServeOptions
from mcpcore_transports.commands.output import Exit, Failure, say
from mcpcore_transports.link import signal_child
from mcpcore_transports.serve.serve import ServeSettings, ungrouped
from mcpcore_transports.serve.workers import Supervisor, WorkersSettings, reserved
from mcpcore_transports.stdio.reaper import GUARD, MARK, ProcessTree, bury
from mcpcore_transports.stream.settings import authority, parse_address

T = TypeVar("T")


def supervise(words: Sequence[str], options: ServeOptions, settings: ServeSettings) -> int:
    """Run several processes until a signal, by default with a store in a file; return a status."""
    store = options.store
    if store is not None:
        from mcpcore_transports.stores.base import check_shared  # late: few have a store

        check_shared(store)  # once, before the workers start
    times = WorkersSettings(
        start=WorkersSettings().start + settings.runtime.lifespan_start, drain=_patience(settings)
    )
    if options.settled is not None and options.settled.supervision is not None:
        times = msgspec.structs.replace(times, **options.settled.supervision)
    with ExitStack() as stack:
        addresses = []
        for address in options.http:
            host, port = parse_address(address)
            addresses.append(authority(host, stack.enter_context(reserved(host, port))))
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpcore-")))
        except OSError as error:
            hint = "workers need a folder for what they share (of a container: --tmpfs /tmp)"
            raise Failure(f"{hint}: {error}") from error
        workers = folder / "workers"
        workers.mkdir()
        if store is None:
            store = f"sqlite:{folder / 'store.db'}"
        command = _command(words, {"--http": addresses, "--workers": (), "--store": (store,)})
        supervisor = Supervisor(
            command, options.workers, settings=times, report=say, folder=workers
        )
        try:
            work = partial(supervisor.run, ready=_announce)
            anyio.run(_until_signalled, work, supervisor.hurry)
        except WorkersFailed as error:
            raise Failure(str(error), Exit.REFUSED if error.said else Exit.FAILED) from error
    return Exit.OK


def _announce(urls: Iterable[str]) -> None:
    for url in urls:
        say(f"listening on {url}")


def _patience(settings: ServeSettings) -> float:
    """Return seconds in which a process has certainly ended after a signal."""
    link = settings.http_link
    return link.notice_time + link.drain_time + settings.runtime.lifespan_end + 5


async def _until_signalled(
    work: Callable[[], Awaitable[T]], hurry: Callable[[], object]
) -> T | None:
    """Do ``work`` until it ends or a signal comes; ``hurry`` is called for each further signal."""
    result: T | None = None
    with ungrouped():
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def watch() -> None:
                with (
                    suppress(NotImplementedError),  # Windows: KeyboardInterrupt is all there is
                    anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
                ):
                    async for _ in signals:
                        if scope.cancel_called:
                            hurry()
                        scope.cancel()

            group.start_soon(watch)
            with scope:
                result = await work()
            group.cancel_scope.cancel()
    return result


def _command(words: Sequence[str], replaced: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the command line for a process, with other values of the ``replaced`` options."""
    words = list(words)
    end = words.index("--") if "--" in words else len(words)  # behind it is a server's command
    return [
        *(sys.executable, "-m", "mcpcore_transports.commands.main"),
        *without(words[:end], tuple(replaced)),
        *(word for name, texts in replaced.items() for text in texts for word in (name, text)),
        *words[end:],
    ]


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


def develop_server(words: Sequence[str], options: ServeOptions, settings: ServeSettings) -> int:
    """Run ``mcpcore``, again and again, at the same addresses, until a signal; return a status."""
    given = {"--http": options.http, "--ws": options.ws, "--sse": options.sse, "--tcp": options.tcp}
    with ExitStack() as held, tempfile.TemporaryDirectory(prefix="mcpcore-") as folder:
        chosen = {
            name: [held.enter_context(_with_port(text)) for text in texts]
            for name, texts in given.items()
        }
        if sys.platform != "linux":  # the server could not listen on a port that is held
            held.close()
        shared = dict(zip(options.http, chosen["--http"], strict=True))
        pairs = zip(options.sse, chosen["--sse"], strict=True)
        chosen["--sse"] = [shared.get(text, own) for text, own in pairs]
        place = Path(folder, "word")
        developing = _Developing(_command(words, chosen), place, _patience(settings))
        status = anyio.run(_until_signalled, developing.run, developing.hurry)
    return Exit.OK if status is None else status


@contextmanager
def _with_port(address: str) -> Iterator[str]:
    """Yield the address, with a free port if it has port 0; no other program gets it meanwhile.

    A socket that is bound and does not listen holds it: on Linux, servers that set SO_REUSEADDR may
    listen there, and no socket is given that port by chance.
    """
    host, port = parse_address(address)
    if port:
        yield address
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, 0))
        yield authority(host, held.getsockname()[1])


class _Developing:
    """Runner of ``command``, anew whenever sources change; it writes their list to ``word``."""

    def __init__(self, command: Sequence[str], word: Path, grace: float) -> None:
        self._command = command
        self._word = word
        self._grace = grace
        self._sources = Sources([os.getcwd()])
        self._patience: anyio.CancelScope | None = None
        """Scope of the wait for the server's end."""

    def hurry(self) -> None:
        """End the server at once, if it is ending."""
        if self._patience is not None:
            self._patience.cancel()

    async def run(self) -> int:
        """Run until cancelled; return a status if the first process cannot serve at all."""
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
        signal_child(process, signal.SIGTERM)
        with anyio.move_on_after(self._grace) as self._patience:
            await process.wait()
        tree.term_wait = _PATIENCE
        await anyio.to_thread.run_sync(bury, [tree])
        await process.wait()


_INSTALLED = ("site-packages", "dist-packages")
_SKIPPED = frozenset({"__pycache__", "node_modules", *_INSTALLED})
_MOST = 20_000
"""Maximum files of one folder that are watched."""

Stamp = tuple[int, int, int]
Stamps = dict[str, Stamp]


class Sources:
    """Watched Python files: folders, with subfolders if they end in a separator, and files."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = set(roots)
        self._seen = look(self._roots)

    def add(self, roots: Iterable[str], seen: Stamps) -> None:
        """Watch these folders and files, too; ``seen`` are the stamps that the caller found."""
        self._roots.update(roots)
        self._seen = {**seen, **self._seen}

    def changed(self) -> str | None:
        """Return a file that was changed, created or removed since the last call, if any."""
        before, self._seen = self._seen, look(self._roots)
        changes = before.items() ^ self._seen.items()
        return min((path for path, _ in changes), default=None)


def look(roots: Iterable[str]) -> Stamps:
    """Find the files, each with a stamp that changes when it is written."""
    found: Stamps = {}
    for path in (each for root in roots for each in _files(root)):
        try:
            status = os.stat(path)
        except OSError:  # it has just gone
            continue
        found[path] = status.st_mtime_ns, status.st_size, status.st_ino
    return found


def _files(root: str) -> Iterator[str]:
    if os.path.isfile(root):
        yield root
        return
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_source(folder, name)]
        if not root.endswith(os.sep):
            folders.clear()
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(folder, name)
                count += 1
        if count > _MOST:
            return


def _is_source(folder: str, name: str) -> bool:
    hidden = name.startswith(".") or name in _SKIPPED
    return not hidden and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


def imported() -> set[str]:
    """Return the files of imported modules that are not installed; of packages the whole folder."""
    own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    roots = set()
    for name, module in sys.modules.copy().items():
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py") or name == "__main__":
            continue
        path = Path(os.path.abspath(file))
        if not own.isdisjoint(map(str, path.parents)) or not set(_INSTALLED).isdisjoint(path.parts):
            continue
        package = getattr(sys.modules.get(name.partition(".")[0]), "__path__", None)
        folders = [os.path.join(os.path.abspath(each), "") for each in package or ()]
        within = [each for each in folders if str(path).startswith(each)]
        roots.add(within[0] if within else str(path))
    return roots
