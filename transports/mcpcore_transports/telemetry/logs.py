"""Logs as JSON, whose records name the request that they belong to.

::

    handler.setFormatter(JsonLines())
    RuntimeSettings(middleware=(label_logs(),))

A record of a handler, of whatever logger, has the members of its
:class:`~mcpcore_transports.server.log_labels.LogLabels`; one about a masked exception has the
``error_id`` that the client was told.
"""

import json
import logging
import time
from typing import Any

from msgspec import structs

from mcpcore_transports.server.log_labels import LABELS

__all__ = ["JsonLines"]


class JsonLines(logging.Formatter):
    """Formatter of records as JSON objects, one a line, in UTC.

    Members: ``time``, ``level``, ``logger``, ``message``, those of the labels, the attributes
    of the record that begin with ``mcp_`` without that, and ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        found |= structs.asdict(LABELS.get())
        found |= {
            name.removeprefix("mcp_"): value
            for name, value in vars(record).items()
            if name.startswith("mcp_")
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            found["stack"] = self.formatStack(record.stack_info)
        known = {name: value for name, value in found.items() if value is not None}
        return json.dumps(known, default=str)
