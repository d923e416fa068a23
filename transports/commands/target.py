"""From the words of a command line to an open client."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio
from msgspec import Struct, structs

from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.revisions import parse_revisions
from mcpcore.spec.types.base import Implementation
from transports.callbacks import Callbacks
from transports.client import Client, connect
from transports.client_errors import PeerError
from transports.client_open import ClientSettings
from transports.commands.output import Exit, Failure
from transports.proxies import ENVIRONMENT, BadProxy
from transports.request_log import log_outgoing
from transports.targets import BadTarget, StdioTarget, Target, parse_target
from transports.tls import BadTls, client_tls

T = TypeVar("T")


class Way(Struct, frozen=True):
    """How a server on the network is reached: a proxy, whom to trust, who we are (files)."""

    proxy: str | None = None
    """"none" for none; None: what the environment says."""
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Options(Struct, frozen=True):
    """What all commands that connect have in common."""

    command: tuple[str, ...] | None = None
    """What stood behind ``--``."""
    revisions: tuple[str, ...] | None = None
    timeout: float | None = None
    headers: tuple[str, ...] = ()
    verbose: bool = False
    way: Way = Way()


def split_target(words: Sequence[str], options: Options) -> tuple[list[str], Target]:
    """Separate the target from the other words: the command behind ``--``, or the last word.

    Raises BadTarget, and Failure for an unknown revision.
    """
    check_revisions(options.revisions)
    if options.command is not None:
        if not options.command:
            raise BadTarget("no command stands after --")
        return list(words), StdioTarget(options.command)
    if not words:
        raise BadTarget("no server: give a URL, or -- and the command that starts one")
    if "://" not in words[-1]:
        raise BadTarget(
            f"{words[-1]!r} is no URL; a server is a URL, or -- and the command that starts one"
        )
    return list(words[:-1]), parse_target(words[-1], headers=_headers(options.headers))


def check_revisions(names: Sequence[str] | None) -> None:
    """Raise :class:`Failure` for a revision that does not exist."""
    try:
        parse_revisions(names or ())
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None


def converse(
    target: Target,
    options: Options,
    talk: Callable[[Client], Awaitable[T]],
    callbacks: Callbacks | None = None,
) -> T:
    """Connect, talk, close.  Raises :class:`Failure` for everything that can be expected."""
    try:
        return anyio.run(partial(_converse, target, options, talk, callbacks))
    except PeerError as error:
        raise Failure(f"{error.method}: {error}", Exit.REFUSED) from error
    except McpError as error:
        raise Failure(str(error), Exit.REFUSED) from error
    except (BadTarget, BadTls, BadProxy) as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (LocalError, OSError) as error:
        raise Failure(str(error)) from error


async def _converse(
    target: Target,
    options: Options,
    talk: Callable[[Client], Awaitable[T]],
    callbacks: Callbacks | None,
) -> T:
    async with connect(
        target,
        callbacks=callbacks,
        revisions=options.revisions,
        settings=client_settings(options),
        middleware=[log_outgoing()] if options.verbose else (),
    ) as client:
        return await talk(client)


def client_settings(options: Options) -> ClientSettings:
    """Turn options into settings of the client."""
    limits = ClientSettings().limits
    if options.timeout is not None:
        limits = structs.replace(
            limits,
            request_timeout=options.timeout,
            max_timeout=max(options.timeout, limits.max_timeout or 0.0),
            probe_timeout=min(options.timeout, limits.probe_timeout),
        )
    way = options.way
    tls = None
    if way.ca or way.cert or way.key:
        tls = client_tls(ca=way.ca, cert=way.cert, key=way.key)
    return ClientSettings(
        limits=limits,
        info=Implementation(name="mcpcore-cli", version="0.1.0"),
        ssl_context=tls,
        proxy={None: ENVIRONMENT, "none": None}.get(way.proxy, way.proxy),
    )


def _headers(lines: Sequence[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise BadTarget(f"{line!r} is no header; expected 'Name: value'")
        headers[name.strip()] = value.strip()
    return headers
