"""Asking an application who sends a request, for every HTTP driver of a server."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from mcpcore.http.principals import Principal, Refusal, Verdict
from transports.hook_errors import without_messages

T = TypeVar("T")

logger = logging.getLogger(__name__)

_BROKEN = Refusal(status=500, message="who sends the request could not be found out")
_SLOW = Refusal(
    status=503,
    message="it took too long to find out who sends the request",
    headers=(("Retry-After", "1"),),
)


async def identify(
    authenticate: Callable[[T], Verdict | Awaitable[Verdict]], request: T, seconds: float
) -> Verdict:
    """Return what ``authenticate`` finds of a request, or of whoever opens a connection.

    What it raises, a result that is neither a principal nor a refusal (such as a plain string,
    which may be the text of an error), and more than ``seconds`` refuse the request: no mistake
    lets anybody in.

    Of an exception the log gets the type and the place, not the message, in which there may be the
    token that was asked about (``KeyError: 'the token'``).
    """
    verdict: object
    try:
        verdict = authenticate(request)
        if inspect.isawaitable(verdict):
            with anyio.move_on_after(seconds) as scope:
                verdict = await verdict
            if scope.cancelled_caught:
                logger.error("authenticating a request took more than %g s", seconds)
                return _SLOW
        if isinstance(verdict, (Principal, Refusal)):
            return verdict
    except Exception as error:
        logger.error(
            "authenticating a request failed (messages left out: there may be a token in them)\n%s",
            without_messages(error),
        )
        return _BROKEN
    logger.error("authenticating a request gave %r, no principal and no refusal", type(verdict))
    return _BROKEN
