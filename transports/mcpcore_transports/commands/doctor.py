"""Command `mcpcore doctor`: what keeps a server from being used, found in stages."""

import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from mcpcore.errors import BadConfig
from mcpcore.policy.differences import ServerDescription
from mcpcore.wire.redaction import shown_url
from mcpcore_transports import targets
from mcpcore_transports.client.config import ConfiguredServer, read_config
from mcpcore_transports.client.pins import read_pins
from mcpcore_transports.commands import output
from mcpcore_transports.commands.examination import FAILED, Examination, StageResult
from mcpcore_transports.commands.options import PinsOptions
from mcpcore_transports.commands.target import (
    config_path,
    configured,
    fitted,
    interruptible,
    pins_path,
    split_target,
)

__all__ = ["doctor"]


def doctor(options: PinsOptions) -> int:
    """Examine the servers, one after another; return the exit status.

    Raises BadTarget, BadConfig for words that name no server.
    """
    reports: dict[str, list[StageResult]] = {}
    for name, examination in _examinations(options):
        if not options.as_json:
            sys.stdout.write(f"{name}\n")
        tell = None if options.as_json else _print
        reports[name] = interruptible(partial(examination.run, tell))
    if options.as_json:
        output.print_json({"servers": msgspec.to_builtins(reports)})
    failed = any(each.state == FAILED for found in reports.values() for each in found)
    return output.Exit.REFUSED if failed else output.Exit.OK


def _examinations(options: PinsOptions) -> Iterator[tuple[str, Examination]]:
    pins = _pins(options)
    if options.command is not None:
        rest, target = split_target(options.words, options)
        if rest:
            raise output.wrong(f"{rest[0]!r} was not expected: the server is the command behind --")
        name = targets.describe(target)
        yield name, Examination(options, target=target, pins=pins(shlex.join(options.command)))
        return
    for word in options.words or _names(options):
        if "://" in word:
            target = fitted(targets.parse_target(word), options)
            known = pins(shown_url(word))
            yield targets.describe(target), Examination(options, target=target, pins=known)
        else:
            entry = _entry(word, options)
            yield word, Examination(options, configured=entry, pins=pins(word))


def _names(options: PinsOptions) -> tuple[str, ...]:
    """Return the names of the file's servers; the file's own if it cannot be read."""
    path = config_path(options.config)
    try:
        return tuple(read_config(path))
    except BadConfig:
        return (str(path),)


def _entry(name: str, options: PinsOptions) -> ConfiguredServer | BadConfig:
    """Return a server of the file, or why that cannot be read."""
    path = config_path(options.config)
    try:
        server = read_config(path).get(name)
    except BadConfig as error:
        return error
    return server or configured(name, options.config)


def _pins(options: PinsOptions) -> Callable[[str], ServerDescription | BadConfig | None]:
    """Return the function from a server's name to what was approved of it."""
    try:
        return read_pins(pins_path(options.config, options.pins)).get
    except BadConfig as error:
        flaw = error  # the name of an exception ends with its clause
        return lambda name: flaw


def _print(found: StageResult) -> None:
    """Print a stage at once: the next one may take a minute."""
    first, *more = found.detail.splitlines() or [""]
    line = f"  {found.state:<12} {found.stage:<10} {output.escaped(first)}"
    sys.stdout.write(line.rstrip() + "\n")
    for line in more:
        sys.stdout.write(f"{'':25} {output.escaped(line)}\n")
    if found.fix:
        sys.stdout.write(f"{'':25} fix: {output.escaped(found.fix)}\n")
    sys.stdout.flush()
