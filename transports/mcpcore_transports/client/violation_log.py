"""Log of the servers' protocol violations, of bounded length."""

import logging

from mcpcore.engine.events import Route, Violation

logger = logging.getLogger("mcpcore.client")

SHOWN = 10
"""Records per stream; later violations are logged at each power of two."""
_STREAMS = 256
"""Maximum streams whose violations are counted at a time."""


class ViolationLog:
    """Log of violations: the first few of a stream, then ever fewer, with their number.

    So a server can neither flood the log nor keep violating unnoticed.
    """

    def __init__(self) -> None:
        self._counts: dict[Route, int] = {}

    def tell(self, event: Violation) -> None:
        """Count a violation; log it if it is among the first of its stream or at a power of two."""
        count = self._counts.pop(event.route, 0) + 1
        self._counts[event.route] = count
        if len(self._counts) > _STREAMS:
            del self._counts[next(iter(self._counts))]
        what = f"{event.message}: {event.excerpt!r}" if event.excerpt else event.message
        if count <= SHOWN:
            logger.warning("the server broke a rule: %s", what)
        elif count.bit_count() == 1:
            logger.warning("the server broke a rule, %d times by now: %s", count, what)
