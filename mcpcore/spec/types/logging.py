"""Log messages to the client.  Source: the logging page of each revision, RFC 5424 for levels."""

from typing import Any, get_args

from mcpcore.spec.types.base import LoggingLevel, NotificationParams, RequestParams
from mcpcore.spec.types.model import Maybe

__all__ = ["SEVERITY", "LoggingLevel", "LoggingMessageParams", "SetLevelParams"]

SEVERITY: dict[str, int] = {level: rank for rank, level in enumerate(get_args(LoggingLevel))}
"""Rank of each level, 0 for the least severe."""


class SetLevelParams(RequestParams, kw_only=True):
    """Params of ``logging/setLevel`` (legacy): the lowest level to send."""

    level: LoggingLevel


class LoggingMessageParams(NotificationParams, kw_only=True):
    """``notifications/message``: any JSON value, its level, and the logger it is from."""

    level: LoggingLevel
    data: Any
    logger: Maybe[str] = None
