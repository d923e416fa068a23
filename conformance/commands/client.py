"""``mcpcore conformance client``."""

import os

from conformance.commands.choice import Choice
from conformance.commands.ending import finish
from conformance.commands.playing import play_out
from conformance.commands.server import secrets_of
from conformance.kit.model import Binding, Side
from conformance.run.clients import MEETING, Command, prepare_client, run_client
from transports.commands.common import Options
from transports.commands.output import Exit, Failure
from transports.commands.target import fitted
from transports.targets import BadTarget, StdioTarget


def check_client(options: Options, choice: Choice) -> int:
    """Check the client that the command behind ``--`` starts."""
    if not options.command:
        raise BadTarget("no command: a client is started by what stands behind --")
    target = fitted(StdioTarget(options.command), options)
    assert isinstance(target, StdioTarget)
    command = Command(
        target.command,
        env=None if target.env is None else {**os.environ, **target.env},
        cwd=None if target.cwd is None else os.fspath(target.cwd),
    )
    choice.check_traces()
    choice.check_files()
    reports, expected = choice.wanted(), choice.expected(Side.CLIENT)
    bindings = choice.bindings(MEETING) or [Binding.HTTP]
    for binding in bindings:
        if binding not in MEETING:
            raise Failure(
                f"--transport: a client cannot be met over {binding}; there are"
                f" {', '.join(MEETING)}",
                Exit.USAGE,
            )
    run = prepare_client(command, bindings, choice.cases(Side.CLIENT), choice.settings())
    if not run.units:
        raise Failure("none of these cases is about that transport and revision", Exit.USAGE)
    secrets = secrets_of(target)
    ended = play_out(lambda listener: run_client(run, command, listener), secrets)
    return finish(run, choice, reports, expected, secrets, ended=ended)
