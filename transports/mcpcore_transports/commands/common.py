"""Parts shared by all commands that connect or serve."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, structs

from mcpcore.errors import BadTarget
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.commands.output import Exit, Failure

if TYPE_CHECKING:
    from mcpcore_transports.tracing.tracing import Trace

ClientName = Literal["claude", "cursor", "vscode"]
"""Programs that use servers and have a configuration file with these."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Options(Struct, frozen=True, kw_only=True):
    """Options shared by all commands that connect."""

    command: tuple[str, ...] | None = None
    """Words after ``--``."""
    config: str | None = None
    revisions: tuple[str, ...] | None = None
    timeout: float | None = None
    connect_timeout: float | None = None
    reconnect: int | None = None
    headers: tuple[str, ...] = ()
    proxy: str | None = None
    """URL of a proxy, or "none" for no proxy; None: the proxy of the environment."""
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    env: tuple[str, ...] = ()
    cwd: str | None = None
    memory_limit: str | None = None
    cpu_limit: float | None = None
    trace: str | None = None
    trace_secrets: bool = False
    trace_size: str | None = None
    verbose: bool = False
    recorder: "Trace | None" = None
    """Open trace in the file ``trace``."""


def check_revisions(names: Sequence[str] | None) -> None:
    """Raise :class:`Failure` for a revision that does not exist."""
    try:
        parse_revisions(names or ())
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None


@contextmanager
def recording(file: str | None, *, secrets: bool, size: str | None) -> "Iterator[Trace | None]":
    """Open the trace of --trace, if it is given.  Raises :class:`Failure` if that fails."""
    if file is None:
        for option, given in (("--trace-secrets", secrets), ("--trace-size", size)):
            if given:
                raise Failure(f"{option} is for --trace, which is not given", Exit.USAGE)
        yield None
        return
    from mcpcore_transports.tracing.tracing import Trace, TraceSettings

    settings = TraceSettings(secrets=secrets)
    most = size_of("--trace-size", size)
    if most is not None:
        settings = structs.replace(settings, file_size=most)
    try:
        trace = Trace(file, settings=settings)
    except OSError as error:
        raise Failure(f"--trace: {file}: {error.strerror}", Exit.USAGE) from error
    with trace:
        yield trace


def size_of(option: str, text: str | None) -> int | None:
    """Return the number of bytes in an option's value, such as ``512M``.  Raises BadTarget."""
    if text is None:
        return None
    parsed = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", text)
    if parsed is None or not int(parsed[1]):
        raise BadTarget(f"{option}: {text!r} is no size; expected bytes, such as 512M or 2G")
    return int(parsed[1]) * _UNITS[parsed[2]]
