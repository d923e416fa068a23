"""`mcpcore trace replay` with a live peer: which wire leads there, and what is told."""

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import anyio

from mcpcore.spec.revisions import BY_NAME, LATEST, Revision
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Refused
from mcpcore_conformance.run.stages import CannotStart, subject_of
from mcpcore_conformance.trace.against import Options, Outcome, play
from mcpcore_conformance.trace.conversations import connections, places, script
from mcpcore_conformance.trace.hosted import Place, hosted
from mcpcore_conformance.trace.own_stdio import OwnStdio
from mcpcore_conformance.trace.reading import TraceFile
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.commands.output import Exit, Failure, escaped
from mcpcore_transports.serve.serve import ungrouped
from mcpcore_transports.targets import Target

Tell = Callable[[str], object]


def play_client(
    trace: TraceFile,
    target: Target,
    *,
    conversation: int,
    options: Options,
    settings: ClientSettings,
    tell: Tell,
) -> int:
    """Play the client of a trace against a server; the exit status.  Raises Failure."""
    _announce(trace, conversation, "client", tell)
    work = partial(_client, trace, target, conversation, options, settings, tell)
    try:
        with ungrouped():
            return _status(anyio.run(work), tell)
    except (Refused, Broken, CannotStart, OSError) as error:
        raise Failure(str(error)) from error


async def _client(
    trace: TraceFile,
    target: Target,
    conversation: int,
    options: Options,
    settings: ClientSettings,
    tell: Tell,
) -> Outcome:
    async with AsyncExitStack() as stack:
        stage = await subject_of(target, tls=settings.ssl_context).make(stack)
        wire = await stage.connect(revision_of(trace, conversation), log=Log(stage.now))
        try:
            return await play(
                trace,
                wire,
                side="client",
                conversation=conversation,
                options=options,
                tell=tell,
            )
        finally:
            await wire.close()


def play_server(trace: TraceFile, *, conversation: int, options: Options) -> int:
    """Play the server of a trace on standard input and output, for the client that has started us.

    What is told goes to standard error.
    """

    def tell(line: str) -> None:
        sys.stderr.write(f"{escaped(line, lines=True)}\n")

    async def work() -> Outcome:
        wire = OwnStdio()
        try:
            return await play(
                trace,
                wire,
                side="server",
                conversation=conversation,
                options=options,
                tell=tell,
            )
        finally:
            wire.close()

    _announce(trace, conversation, "server", tell)
    return _status(anyio.run(work), tell)


def play_listening(
    trace: TraceFile,
    binding: Binding,
    place: Place,
    *,
    conversation: int,
    options: Options,
    tell: Tell,
) -> int:
    """Play the server of a trace for the first client that comes to an address.

    Where that is goes to standard error, as ``listening on URL``.  Raises Failure.
    """

    async def work() -> Outcome:
        async with hosted(binding, place, revision_of(trace, conversation)) as wire:
            sys.stderr.write(f"listening on {wire.address}\n")
            sys.stderr.flush()
            await wire.arrived()
            outcome = await play(
                trace,
                wire,
                side="server",
                conversation=conversation,
                options=options,
                tell=tell,
            )
            await wire.leave(options.notice)
            return outcome

    _announce(trace, conversation, "server", tell)
    try:
        with ungrouped():
            return _status(anyio.run(work), tell)
    except OSError as error:
        host, port = place
        raise Failure(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def revision_of(trace: TraceFile, conversation: int) -> Revision:
    """The revision of a conversation: as agreed, or as its requests say."""
    names: list[object] = []
    for line in script(trace, conversation):
        for said in line.said:
            names.append(said.meta.get(META_PROTOCOL_VERSION))
            if said.kind == "result" and "serverInfo" in said.result:
                names.insert(0, said.result.get("protocolVersion"))
    return next(
        (BY_NAME[each] for each in names if isinstance(each, str) and each in BY_NAME), LATEST
    )


def _announce(trace: TraceFile, conversation: int, side: str, tell: Tell) -> None:
    talks, known = places(trace), connections(trace)
    where = ""
    if len(known) > 1:
        place = talks[conversation - 1]
        where = f", on connection {place} ({known.index(place) + 1} of {len(known)})"
    tell(f"# the {side} of conversation {conversation} of {len(talks)}{where}")


def _status(outcome: Outcome, tell: Tell) -> int:
    found = f"{outcome.differences} differences" if outcome.differences else "no difference"
    tell(f"{outcome.sent} sent, {outcome.heard} heard, {found}")
    return Exit.REFUSED if outcome.differences else Exit.OK
