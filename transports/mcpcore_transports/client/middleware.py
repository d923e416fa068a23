"""Requests of a client and their outcomes, as its middleware sees them.

See :mod:`mcpcore_transports.running.middleware` for the definition of a middleware.  The engine's
own requests (the era probe, ``initialize``) and notifications bypass it, and so do answers from the
cache.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from mcpcore.engine.outbound import may_repeat
from mcpcore.spec.types.base import full_meta
from mcpcore.wire.jsontext import Body, to_json
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.middleware import Around
from mcpcore_transports.running.pending import ProgressCallback

__all__ = ["ClientMiddleware", "Outcome", "OutgoingRequest"]


class OutgoingRequest(Struct, kw_only=True):
    """An outgoing request, input rounds included; a middleware may change it.

    For ``subscriptions/listen`` only ``meta`` can be changed.  To a middleware it is answered when
    the server has acknowledged it.
    """

    method: str
    revision: str
    """Name of the revision that is spoken."""
    params: Body = None
    """Params as the caller gave them, without ``_meta``."""
    meta: dict[str, Any]
    """Members for the request's ``_meta``, such as ``traceparent``; the engine adds its own."""
    timeout: float | None = None
    """Timeout in seconds; None means no limit."""
    progress: ProgressCallback | None = None
    repeat: bool | None = None
    """True if the request may be sent again after a failure; None: by the protocol."""
    repeatable_tools: Collection[str] = ()
    """Names of the tools that were listed as read-only or idempotent."""

    id: RequestId | None = None
    """Id of the request as it was sent last; None before that."""
    session: str | None = None
    """Id of the legacy session that it was sent in, over HTTP: do not log it unchanged."""
    on_round: list[Callable[[str], object]] = field(default_factory=list)
    """Functions that are told of each input round: ``input_required``, then ``input_sent``."""

    def tell_round(self, step: str) -> None:
        """Tell the functions in :attr:`on_round` of a step of an input round."""
        for tell in self.on_round:
            tell(step)

    def may_repeat(self) -> bool:
        """Return True if the server may get the request twice."""
        return may_repeat(self.method, to_json(self.params), self.repeat, self.repeatable_tools)


class _ToolFailure(Struct, rename="camel"):
    is_error: Raw = Raw(b"false")


class Outcome(Struct):
    """Answer to a request of the client."""

    result: Raw
    """The result object as received."""
    with_input: bool = False
    """True if input of this client went into the result, so that it is never cached."""
    request: RequestId | None = None
    """Id of the request."""

    @property
    def failed(self) -> bool:
        """True if the result is that of a failed tool: it has ``isError``."""
        return msgspec.json.decode(self.result, type=_ToolFailure).is_error == Raw(b"true")

    @property
    def meta(self) -> dict[str, Any]:
        """The result's ``_meta``, decoded."""
        return full_meta(self.result)


ClientMiddleware = Around[OutgoingRequest, Outcome]
"""Middleware type; errors of the server are raised as PeerError, local ones as CallFailed.

An object with a coroutine method ``attach(core, instructions)`` is told of each connection as soon
as it is open; an exception of it ends the connection, and is that of ``connect()``.  One with a
method ``detach(core)`` is told of the end of each, but for those that ``attach`` has refused or not
been told of.  One with a method ``heard(method, params)`` returns the params of each question of
the server as a callback gets them, or raises McpError; one with a method
``introduced(instructions)`` the server's instructions as the application gets them.
"""
