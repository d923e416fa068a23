"""Errors that are logged: mistakes of ours, even where only a connection has ended."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import LogRecord

LOGGERS = ("mcpcore", "asyncio")


class Complaints(logging.Handler):
    """Keeps errors that are logged, up to a number, as ``told`` says them."""

    def __init__(
        self, told: Callable[[LogRecord], str] | None = None, most: int = sys.maxsize
    ) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []
        self._told = told or self.format
        self._most = most

    def emit(self, record: LogRecord) -> None:
        """See logging."""
        if len(self.heard) < self._most:
            self.heard.append(self._told(record))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what the project and event loops log meanwhile; nobody else keeps it."""
        loggers = [logging.getLogger(name) for name in LOGGERS]
        for logger in loggers:
            logger.addHandler(self)
            logger.propagate = False
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
                logger.propagate = True


@contextmanager
def no_complaints() -> Iterator[None]:
    """Fail if an error is logged meanwhile."""
    complaints = Complaints()
    with complaints.listening():
        yield
    assert not complaints.heard, "\n".join(complaints.heard)


def briefly(record: LogRecord) -> str:
    """One line: the message, the error, and the line that has raised it."""
    text = record.getMessage()
    if not record.exc_info or record.exc_info[1] is None:
        return text
    error = record.exc_info[1]
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = "" if last is None else f" at {last.tb_frame.f_code.co_name}:{last.tb_lineno}"
    return f"{text}: {error!r}{place}"
