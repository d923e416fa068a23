"""``mcpcore conformance client``."""

import logging
import os
import shlex
from collections.abc import Sequence

from mcpcore.errors import BadTarget
from mcpcore_conformance.commands.choice import Choice
from mcpcore_conformance.commands.ending import finish
from mcpcore_conformance.commands.playing import play_out
from mcpcore_conformance.commands.server import secrets_of
from mcpcore_conformance.kit.model import Binding, Side
from mcpcore_conformance.run.clients import MEETING, Command, prepare_client, run_client
from mcpcore_conformance.run.stages import EVERYTHING_CLIENT
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.commands.target import fitted
from mcpcore_transports.targets import StdioTarget

OURS = "mcpcore_conformance.everything.client:main"
"""Our reference client: over every transport, in memory, and on the core."""


def check_client(words: Sequence[str], options: ConnectOptions, choice: Choice) -> int:
    """Check our reference client, if the words name it, or what the command starts."""
    secrets: list[str] = []
    command = _ours(options) if [*words] == [OURS] else _started(words, options, secrets)
    choice.check_traces()
    choice.check_files()
    reports, expected = choice.wanted(), choice.expected(Side.CLIENT)
    possible = (*MEETING, *command.here)
    bindings = choice.bindings(possible) or [Binding.HTTP]
    for binding in bindings:
        if binding not in possible:
            raise Failure(
                f"--transport: a client cannot be met over {binding}; there are"
                f" {', '.join(possible)}",
                Exit.USAGE,
            )
    run = prepare_client(command, bindings, choice.cases(Side.CLIENT), choice.settings())
    if not run.units:
        raise Failure("none of these cases is about that transport and revision", Exit.USAGE)
    ended = play_out(lambda listener: run_client(run, command, listener), secrets)
    return finish(run, choice, reports, expected, secrets, ended=ended)


def _ours(options: ConnectOptions) -> Command:
    from mcpcore_conformance.subjects.clients import HERE

    given = {"--env": options.env, "--cwd": options.cwd, "--": options.command}
    for name, value in given.items():
        if value not in (None, ()):
            raise Failure(f"{name} does nothing for {OURS}", Exit.USAGE)
    # what the client of this process warns of is nothing of the run's own
    logging.getLogger("mcpcore").addHandler(logging.NullHandler())
    return Command(EVERYTHING_CLIENT, here=HERE)


def _started(words: Sequence[str], options: ConnectOptions, secrets: list[str]) -> Command:
    if words:
        written = shlex.join([*words, *(options.command or ())])
        raise Failure(f"a client is a command behind --, as in: -- {written}", Exit.USAGE)
    if not options.command:
        raise BadTarget("no command: a client is started by what stands behind --")
    target = fitted(StdioTarget(options.command), options)
    assert isinstance(target, StdioTarget)
    secrets += secrets_of(target)
    return Command(
        target.command,
        env=None if target.env is None else {**os.environ, **target.env},
        cwd=None if target.cwd is None else os.fspath(target.cwd),
    )
