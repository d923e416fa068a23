"""`mcpcore serve --log-http`: the records of :mod:`transports.http_log` as lines for people."""

import logging

from transports.http_log import LOGGER

_SHOWN = ("session", "stream", "request", "principal", "peer")
"""The facts of a record that its message does not tell, in this order."""


class _Lines(logging.Formatter):
    """Behind the time and the message stand those facts that there are, as ``name=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        said = super().formatMessage(record)
        facts = ((name, getattr(record, f"mcp_{name}", None)) for name in _SHOWN)
        return " ".join((said, *(f"{name}={_quoted(it)}" for name, it in facts if it is not None)))


def _quoted(value: object) -> str:
    """A value in one word, whatever a client has put into it, and not too long."""
    text = str(value)[:200]
    plain = text.isascii() and text.isprintable() and not set(text) & set(" '\"=")
    return text if plain and text else ascii(text)


def show_http_log() -> None:
    """Write the log of HTTP to standard error, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
