"""A run of the kit whose cases are played one by one, by code that does not await."""

import pkgutil
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from conformance.kit.model import Binding, Result, Side
from conformance.kit.wire import Stage
from conformance.run.clients import MEETING, Clients, Command, prepare_client
from conformance.run.plan import Settings, Unit
from conformance.run.registry import all_cases
from conformance.run.run import Listener
from conformance.run.selection import select
from conformance.run.servers import CannotRun, Servers, prepare
from conformance.run.stages import Subject, module, subject_of
from mcpcore.service import Server
from transports.targets import parse_target

T = TypeVar("T")
_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Playing:
    """A server or client that was looked at: ``units`` are the cases that apply to it."""

    def __init__(
        self, checker: Servers | Clients, units: Sequence[Unit], play: Callable[[Unit], Result]
    ) -> None:
        self.units = [unit for unit in units if not checker.reason(unit)]
        self.left_out = len(units) - len(self.units)
        """How many do not apply."""
        self.play = play
        """Plays one and waits for what comes of it."""


@contextmanager
def playing_server(target: str, only: Sequence[str], settings: Settings) -> Iterator[Playing]:
    """Check a server: a URL, MODULE:SERVER, or a command.

    Raises BadTarget, NoSuchCase, CannotStart, CannotRun, and ValueError for a bad module.
    """
    subject = _server(target)
    problem: CannotRun | KeyboardInterrupt | None = None
    run = prepare([subject], select(all_cases(), only), settings)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_opened(subject)) as stage,
    ):
        servers = Servers(run, {subject.binding: stage}, Listener())
        try:
            _call(portal, servers.look)
        except (CannotRun, KeyboardInterrupt) as error:
            # raised here it would come out of the stage's tasks as a group
            problem = error
        else:
            yield Playing(servers, run.units, lambda unit: _call(portal, servers.play, unit))
    if problem is not None:
        raise problem


@contextmanager
def playing_client(
    command: str, bindings: Sequence[Binding], only: Sequence[str], settings: Settings
) -> Iterator[Playing]:
    """Check a client, which is started once for each case.  Raises NoSuchCase and CannotRun."""
    chosen = list(bindings) or list(MEETING[:1])
    cases = [case for case in select(all_cases(), only) if case.side is Side.CLIENT]
    words = Command(shlex.split(command))
    run = prepare_client(words, chosen, cases, settings)
    with start_blocking_portal() as portal:
        clients = Clients(run, words, Listener())
        _call(portal, clients.look)
        yield Playing(clients, run.units, lambda unit: _call(portal, clients.play, unit))


def _call(portal: BlockingPortal, function: Callable[..., Awaitable[T]], *arguments: Unit) -> T:
    """Wait for what comes of it; who is interrupted meanwhile gives it up."""
    future = portal.start_task_soon(function, *arguments)
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise


@asynccontextmanager
async def _opened(subject: Subject) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield await subject.make(stack)


def _server(target: str) -> Subject:
    if "://" in target:
        return subject_of(parse_target(target))
    if _MODULE.fullmatch(target):
        return module(_loaded(target), target, Binding.MEMORY)
    return subject_of(parse_target(shlex.split(target)))


def _loaded(name: str) -> Server:
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name} cannot be imported: {error}") from error
    if not isinstance(found, Server):
        raise ValueError(f"{name} is a {type(found).__name__}, not a Server")
    return found
