"""What a handler raised: made one exception, named, and logged where the client must not see it."""

import logging
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.service import is_masked
from transports.context import InputNeeded
from transports.strays import strayed

logger = logging.getLogger("mcpcore.server")


class _Reference(Struct):
    name: Any = None
    uri: Any = None


class _Params(Struct):
    name: Any = None
    uri: Any = None
    ref: _Reference | None = None


def subject(params: Raw | bytes) -> str | None:
    """What a request is about: the name of a tool or prompt, or a URI; None if about neither."""
    try:
        said = msgspec.json.decode(params, type=_Params)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    for found in (said.name, said.uri, said.ref and (said.ref.name or said.ref.uri)):
        if isinstance(found, str):
            return found
    return None


def report(method: str, params: Raw | bytes, error: BaseException) -> None:
    """Log an error of a handler of which the client learns nothing."""
    if is_masked(error):
        name = subject(params)
        what = method if name is None else f"{method} {name!r}"
        logger.error("the handler of %s failed", what, exc_info=error)


def simplified(error: BaseException) -> BaseException:
    """Make one exception of what a handler with task groups raised, so that a ToolError stays one.

    Where its tasks asked the client, all that they asked is asked at once.
    """
    if not isinstance(error, BaseExceptionGroup):
        return strayed(error) or error
    asked, rest = error.split(InputNeeded)
    if rest is None and asked is not None:
        return _joined(asked)
    only: BaseException = error if rest is None else rest
    while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
        only = only.exceptions[0]
    return only


def _joined(group: BaseExceptionGroup[InputNeeded]) -> InputNeeded:
    requests = {}
    for error in group.exceptions:
        inner = _joined(error) if isinstance(error, BaseExceptionGroup) else error
        requests.update(inner.requests)
    return InputNeeded(requests)
