"""Calls of the application's hook that authenticates requests, for every server driver."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore.spec.refusals import AUTHENTICATION_FAILED, NOT_JUDGED
from mcpcore_transports.running.functions import (
    failure_of,
    in_handler,
    is_awaitable,
    without_messages,
)
from mcpcore_transports.server.settings import error_id

T = TypeVar("T")

logger = logging.getLogger("mcpcore.http")

LONGEST = 1e9
"""Seconds that no machine runs for, so that a later time is never."""
_YEAR = 366 * 86_400.0
_UNITS = (1.0, 1e3, 1e6, 1e9)
"""Units in which programs count from 1970, per second."""

_SLOW = Refusal(
    status=NOT_JUDGED.status,
    message="it took too long to find out who sends the request",
    headers=(("Retry-After", "1"),),
)


async def identify(
    authenticate: Callable[[T], Verdict | Awaitable[Verdict]], request: T, seconds: float
) -> Verdict:
    """Return the verdict of ``authenticate`` on a request or on the opening of a connection.

    An exception, any other result (a plain string may be the text of an error), and more than
    ``seconds`` refuse the request.  The log gets the type and the place of an exception, but not
    the message, which may contain the token that was checked (``KeyError: 'the token'``).
    """
    asked = ask(authenticate, request)
    return asked if isinstance(asked, (Principal, Refusal)) else await answer(asked, seconds)


def ask(
    authenticate: Callable[[T], Verdict | Awaitable[Verdict]], request: T
) -> Verdict | Awaitable[object]:
    """Begin to :func:`identify`: return the verdict, or an awaitable for :func:`answer`."""
    try:
        verdict: object = authenticate(request)
    except BaseException as error:
        return broken(failure_of(error))
    return verdict if is_awaitable(verdict) else _checked(verdict)


async def answer(asked: Awaitable[object], seconds: float) -> Verdict:
    """Wait for an awaitable that :func:`ask` returned; return the verdict."""
    verdict: object = None
    try:
        with in_handler(), anyio.move_on_after(seconds) as scope:
            verdict = await asked
        if scope.cancelled_caught:
            logger.error("authenticating a request took more than %g s", seconds)
            return _SLOW
    except BaseException as error:
        return broken(failure_of(error))
    return _checked(verdict)


def middleware_verdict(principal: Callable[[T], str | None] | None, given: T) -> Verdict | None:
    """Return the user that middleware has authenticated, or None; a fault becomes a refusal.

    ``principal`` finds the user in ``given``, what the framework knows of a request.
    """
    if principal is None:
        return None
    try:
        return taken_over(principal(given))
    except BaseException as error:
        return broken(failure_of(error))


def taken_over(who: object) -> Verdict | None:
    """Return the principal that the framework authenticated; None without one: ask the hook.

    Anything but None, a refusal or the name of a principal refuses the request: it may be how a
    framework says that it knows nobody.
    """
    if who is None:
        return None
    if isinstance(who, str) and not isinstance(who, Principal):
        try:
            return Principal(who)
        except ValueError as error:
            return broken(error)
    return _checked(who)


def _checked(verdict: object) -> Verdict:
    if isinstance(verdict, Refusal):
        return verdict
    if isinstance(verdict, Principal):
        if not _counts_from_1970(verdict.until):
            return verdict
        what = "a principal whose until= is no time of time.monotonic(), and would never come"
    else:
        what = f"{type(verdict)!r}, no principal and no refusal"
    made = error_id()
    logger.error("authenticating a request gave %s (error id %s)", what, made)
    return _broken(made)


def _counts_from_1970(until: float | None) -> bool:
    """Return True for a time by the wall clock, as in the claim ``exp``, or in parts of seconds."""
    if until is None or until < LONGEST:
        return False
    now = time.time()
    return any(abs(until / unit - now) < _YEAR for unit in _UNITS)


def _broken(made: str) -> Refusal:
    text = f"who sends the request could not be found out (error id {made})"
    return Refusal(status=AUTHENTICATION_FAILED.status, message=text)


def broken(error: Exception) -> Refusal:
    """Log an exception of the application's hook; return the refusal of the request."""
    made = error_id()
    logger.error(
        "authenticating a request failed (error id %s; messages left out: there may be a token in "
        "them)\n%s",
        made,
        without_messages(error),
    )
    return _broken(made)
