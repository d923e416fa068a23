"""Requests that may reach a server twice: one rule for all transports.

A request whose connection broke before the answer may or may not have been carried out.  It is
safe to repeat if the second time changes nothing: for the methods that the table marks
(:attr:`mcpcore.spec.methods.Method.repeatable`), for tools that their server calls read-only or
idempotent (``ToolAnnotations``), and for requests that their sender has marked.
"""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mcpcore.engine.config import Config
from mcpcore.spec.methods import REPEATABLE
from mcpcore.spec.types.tools import Tool

_CALL = "tools/call"


class _Named(Struct):
    name: str | UnsetType = UNSET


_decode_name = msgspec.json.Decoder(_Named).decode


def may_repeat(method: str, body: bytes, mark: bool | None, config: Config) -> bool:
    """Return True if a request may be sent a second time.

    ``body``: its params.  ``mark``: the sender's own decision, which wins; None for none.
    """
    if mark is not None:
        return mark
    if method in REPEATABLE:
        return True
    if method != _CALL or not config.repeatable_tools:
        return False
    try:
        return _decode_name(body).name in config.repeatable_tools
    except msgspec.MsgspecError:
        return False


def is_repeatable(tool: Tool) -> bool:
    """Return True if a tool declares that a second call with the same arguments does no more."""
    hints = tool.annotations
    return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
