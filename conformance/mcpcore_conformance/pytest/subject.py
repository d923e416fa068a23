"""A run of the kit whose cases are played one by one, by code that does not await."""

import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from mcpcore.errors import BadTarget
from mcpcore_conformance.kit.model import Binding, Result, Side
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.clients import MEETING, Clients, Command, prepare_client
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener
from mcpcore_conformance.run.selection import select
from mcpcore_conformance.run.servers import CannotRun, Servers, prepare
from mcpcore_conformance.run.stages import (
    CannotStart,
    Subject,
    WebTarget,
    module,
    protected,
    subject_of,
)
from mcpcore_transports.commands.loading import load
from mcpcore_transports.targets import StdioTarget, headers_of, parse_target

T = TypeVar("T")
_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Playing:
    """A server or client that was looked at: ``units`` are the cases that apply to it."""

    def __init__(
        self, checker: Servers | Clients, units: Sequence[Unit], play: Callable[[Unit], Result]
    ) -> None:
        self._followers = checker.followers
        applying = [unit for unit in units if not checker.reason(unit)]
        self.units = [unit for turn in self._followers.in_turn(applying) for unit in turn]
        self.left_out = len(units) - len(self.units)
        """How many do not apply."""
        self._once = play
        self._chosen: dict[tuple[str, str, Binding], Unit] = {}
        self._played: set[tuple[str, str, Binding]] = set()

    def choose(self, units: Sequence[Unit]) -> None:
        """Learn what is going to be played, here or in another process of pytest-xdist."""
        self._chosen = {unit.key: unit for unit in units}

    def play(self, unit: Unit) -> Result:
        """Play one and wait for what comes of it."""
        self._played.add(unit.key)
        result = self._once(unit)
        key = self._followers.home(unit, result)
        if key is None or key not in self._chosen or key in self._played:
            return result
        # the case about what ended this one is another process's: what it finds is to be known here
        self.play(self._chosen[key])
        return self._once(unit) if self._followers.finds(key) else result


@contextmanager
def playing_server(
    target: str,
    only: Sequence[str],
    settings: Settings,
    headers: Sequence[str] = (),
    protected_by: str | None = None,
) -> Iterator[Playing]:
    """Check a server: a URL, MODULE:SERVER, or a command.

    ``headers``: lines of ``Name: value`` that go with every request to a URL.  ``protected_by``:
    the command that starts the server at a URL, and is told of the kit's authorization server.
    Raises BadTarget, NoSuchCase, CannotStart and CannotRun.
    """
    subject = _server(target, headers_of(headers), protected_by)
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
        if run.units:  # of what no case is about, nothing is to be found out
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
    problem: CannotStart | None = None
    async with AsyncExitStack() as stack:
        try:
            stage = await subject.make(stack)
        except CannotStart as error:
            problem = error  # raised here it would come out of the stage's tasks as a group
        else:
            yield stage
    if problem is not None:
        raise problem


def values_of(headers: Sequence[str]) -> list[str]:
    """What is to be hidden of lines of ``Name: value``: the values, whole and in words."""
    values = [line.partition(":")[2].strip() for line in headers]
    return [each for value in values for each in (value, *value.split()) if each]


def _server(target: str, headers: Mapping[str, str], protected_by: str | None) -> Subject:
    if protected_by is not None:
        command = parse_target(shlex.split(protected_by))
        at = parse_target(target, headers=headers) if "://" in target else None
        if not isinstance(at, WebTarget) or not isinstance(command, StdioTarget):
            raise BadTarget(
                "--mcp-protected is the command that starts a server of http, sse or ws;"
                " --mcp-server its URL"
            )
        return protected(at, command)
    if "://" in target:
        return subject_of(parse_target(target, headers=headers))
    if headers:
        raise BadTarget("--mcp-header is for servers at a URL of http, sse or ws")
    if _MODULE.fullmatch(target):
        return module(load(target), target, Binding.MEMORY)
    return subject_of(parse_target(shlex.split(target)))
