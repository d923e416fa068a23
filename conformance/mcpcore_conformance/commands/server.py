"""``mcpcore conformance server``."""

import re
from collections.abc import Mapping, Sequence
from ssl import SSLContext

from msgspec import structs

from mcpcore.errors import BadTarget, BadTls
from mcpcore.wire.redaction import is_secret_header
from mcpcore_conformance.commands.choice import Choice
from mcpcore_conformance.commands.ending import finish
from mcpcore_conformance.commands.playing import play_out
from mcpcore_conformance.kit.model import Binding, Side
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import (
    Subject,
    WebTarget,
    binding_of,
    everything,
    module,
    protected,
    subject_of,
)
from mcpcore_transports.commands.loading import load
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.commands.target import split_target
from mcpcore_transports.targets import HttpTarget, StdioTarget, Target
from mcpcore_transports.tls import client_tls

EVERYTHING_MODULE = "mcpcore_conformance.everything.server:server"
"""Name of our reference server."""
_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def check_server(words: Sequence[str], options: ConnectOptions, choice: Choice) -> int:
    """Check the servers that the words name, one for each binding."""
    cases, settings = choice.cases(Side.SERVER), choice.settings()
    choice.check_traces()
    choice.check_files()
    reports, expected = choice.wanted(), choice.expected(Side.SERVER)
    secrets: list[str] = []
    subjects = subjects_of(words, options, choice, secrets)
    try:
        run = prepare(subjects, cases, settings)
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None
    if not run.units:
        raise Failure("none of these cases is about that transport and revision", Exit.USAGE)
    ended = play_out(lambda listener: run_server(run, subjects, listener), secrets)
    return finish(run, choice, reports, expected, secrets, ended=ended)


def subjects_of(
    words: Sequence[str], options: ConnectOptions, choice: Choice, secrets: list[str]
) -> list[Subject]:
    """The servers that the words name; what is secret in their headers and variables is added.

    Raises BadTarget and Failure.
    """
    if choice.protected:
        return _protected(words, options, choice, secrets)
    bare = structs.replace(options, command=None)
    found: list[Subject] = []
    for word in words:
        if _MODULE.fullmatch(word):
            found += _of_module(word, options, choice)
        else:
            found += _of_target([word], bare, choice, secrets)
    if options.command is not None or not words:
        # without words this says what a target is
        found += _of_target([], options, choice, secrets)
    return found


def _protected(
    words: Sequence[str], options: ConnectOptions, choice: Choice, secrets: list[str]
) -> list[Subject]:
    """The server that a command starts, and tells of the kit's authorization server."""
    possible = [Binding.HTTP, Binding.WS, Binding.SSE]
    chosen = choice.bindings(possible) or possible[:1]
    if choice.other_headers or not {*chosen} <= {*possible}:
        why = "--protected is about http, ws, sse, and brings the tokens of two principals itself"
        raise Failure(why, Exit.USAGE)
    if [*words] == [EVERYTHING_MODULE] and options.command is None:
        return [
            structs.replace(everything(each, guarded=True), target=EVERYTHING_MODULE)
            for each in chosen
        ]
    usage = "--protected takes the URL of a server and, behind --, the command that starts it"
    if options.command is None or len(words) != 1:
        raise Failure(usage, Exit.USAGE)
    _, target = split_target(words, structs.replace(options, command=None, env=(), cwd=None))
    of_command = structs.replace(options, headers=(), ca=None, cert=None, key=None)
    _, command = split_target([], of_command)
    if not isinstance(target, WebTarget) or not isinstance(command, StdioTarget):
        raise Failure(usage, Exit.USAGE)
    if choice.bindings(possible) not in ([], [binding_of(target)]):
        why = "--transport: the URL of a protected server says how it is talked to"
        raise Failure(why, Exit.USAGE)
    secrets += [*secrets_of(target), *secrets_of(command)]
    return [protected(target, command, tls=_tls(options))]


def _tls(options: ConnectOptions) -> SSLContext | None:
    """The settings of TLS that the options name, if any.  Raises Failure."""
    try:
        if options.ca or options.cert:
            return client_tls(ca=options.ca, cert=options.cert, key=options.key)
    except BadTls as error:
        raise Failure(str(error), Exit.USAGE) from None
    return None


def _of_module(word: str, options: ConnectOptions, choice: Choice) -> list[Subject]:
    given = {
        "--header": options.headers,
        "--other-header": choice.other_headers,
        "--env": options.env,
        "--cwd": options.cwd,
        "--config": options.config,
        "--cacert": options.ca,
        "--cert": options.cert,
    }
    for name, value in given.items():
        if value not in (None, ()):
            raise BadTarget(f"{name} does nothing for a server of this process, {word}")
    loaded = load(word)
    ours = loaded is load(EVERYTHING_MODULE)
    possible = [each for each in Binding if ours or each is not Binding.CORE]
    chosen = choice.bindings(possible) or [Binding.MEMORY]
    if not {*chosen} <= {*possible}:
        raise Failure(
            f"--transport core is the engine with handlers of its own, not {word}", Exit.USAGE
        )
    return [_ours(word, each) if ours else module(loaded, word, each) for each in chosen]


def _ours(word: str, binding: Binding) -> Subject:
    """Our reference server, under the name by which it was asked for."""
    found = everything(binding)
    return found if binding is Binding.CORE else structs.replace(found, target=word)


def _of_target(
    words: Sequence[str], options: ConnectOptions, choice: Choice, secrets: list[str]
) -> list[Subject]:
    _, target = split_target(words, options)
    secrets += secrets_of(target)
    other: Mapping[str, str] | None = None
    if choice.other_headers:
        _, twin = split_target(words, structs.replace(options, headers=choice.other_headers))
        secrets += secrets_of(twin)
        other = getattr(twin, "headers", None)
    own = binding_of(target)
    possible = [own, Binding.SSE] if isinstance(target, HttpTarget) else [own]
    tls = _tls(options)
    chosen = choice.bindings(possible) or [own]
    return [subject_of(target, binding=binding, tls=tls, other_headers=other) for binding in chosen]


def secrets_of(target: Target) -> list[str]:
    """The values of headers and variables that are named like secrets, whole and in words."""
    given = getattr(target, "headers", None) or getattr(target, "env", None) or {}
    return [
        secret
        for name, value in ({} if callable(given) else given).items()
        if is_secret_header(name.encode())
        for secret in (value, *value.split())
    ]
