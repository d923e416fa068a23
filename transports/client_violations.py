"""What servers do wrong, written to the log a bounded number of times."""

import logging

from mcpcore.engine.events import Route, Violation

logger = logging.getLogger("mcpcore.client")

SHOWN = 10
"""Records about one stream; after that one at each power of two."""
_STREAMS = 256
"""Streams whose violations are counted at a time."""


class ViolationLog:
    """Logs violations: the first few of a stream, then fewer and fewer, with their number.

    A server can so neither fill the log nor hide in it that it goes on.
    """

    def __init__(self) -> None:
        self._counts: dict[Route, int] = {}

    def tell(self, event: Violation) -> None:
        """Take note of one, and log it if it is one of the first or a round number of them."""
        count = self._counts.pop(event.route, 0) + 1
        self._counts[event.route] = count
        if len(self._counts) > _STREAMS:
            del self._counts[next(iter(self._counts))]
        what = f"{event.message}: {event.excerpt!r}" if event.excerpt else event.message
        if count <= SHOWN:
            logger.warning("the server broke a rule: %s", what)
        elif count.bit_count() == 1:
            logger.warning("the server broke a rule, %d times by now: %s", count, what)
