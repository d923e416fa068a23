"""Deadlines that are short on a quiet machine, and long on one that stands still for seconds."""

from collections.abc import Awaitable, Callable


async def with_more_time(attempt: Callable[[float], Awaitable[None]], *seconds: float) -> None:
    """Make an attempt with the first of these times; with the next where that was too short.

    For tests in which something has to happen within a deadline whose expiry they wait for as
    well: it cannot simply be long.  What fails with the last of the times fails.
    """
    *short, last = seconds
    for time in short:
        try:
            await attempt(time)
        except Exception:  # of what is wrong for good the last attempt tells
            continue
        return
    await attempt(last)
