"""`mcpcore serve --log-http`: the records of ``log`` as readable lines."""

import logging

from mcpcore_transports.http.server.log import LOGGER

_SHOWN = ("session", "stream", "request", "principal", "peer")
"""Attributes of a record that are not in its message, in the order in which they are shown."""


class _Lines(logging.Formatter):
    """Formatter of lines: time, message, and the attributes of the record as ``name=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        said = super().formatMessage(record)
        facts = ((name, getattr(record, f"mcp_{name}", None)) for name in _SHOWN)
        return " ".join((said, *(f"{name}={_quoted(it)}" for name, it in facts if it is not None)))


def _quoted(value: object) -> str:
    """Format a value as one word of limited length, whatever a client has put into it."""
    text = str(value)[:200]
    plain = text.isascii() and text.isprintable() and not set(text) & set(" '\"=")
    return text if plain and text else ascii(text)


def show_http_log() -> None:
    """Write the HTTP log to standard error, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
