"""Context of a server's request for a client's callback, with progress reports."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from msgspec import Raw, Struct, field

from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import RequestMeta
from mcpcore.spec.types.model import Maybe
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.decode import typed
from mcpcore_transports.running.pending import Run

Report = Callable[[float, float | None, str | None], bool]


class CallbackContext:
    """The request of the server that a callback answers.

    It is passed to callbacks with one required parameter more than needed: a second one, for roots
    the first one.
    """

    __slots__ = (
        "_progress",
        "_report",
        "cancel_reason",
        "meta",
        "method",
        "request_id",
        "revision",
        "scope",
    )

    def __init__(
        self,
        method: str,
        revision: Revision,
        meta: RequestMeta,
        *,
        request_id: RequestId | None = None,
        report: Report | None = None,
    ) -> None:
        self.method = method
        """The method, for instance ``sampling/createMessage``."""
        self.revision = revision
        """The negotiated revision."""
        self.meta = meta
        """The request's ``_meta``: progress token, ``traceparent`` and so on."""
        self.request_id = request_id
        """The server's id of the request; None in the modern era, where it has none."""
        self.cancel_reason: str | None = None
        """The server's reason for cancelling the request, if it did and gave one."""
        self.scope: Run | None = None
        """Scope that is cancelled with the request; None for a plain function."""
        self._report = report
        self._progress = -math.inf

    @property
    def cancelled(self) -> bool:
        """True if the server no longer wants an answer (legacy); every ``await`` raises now."""
        return self.scope is not None and self.scope.cancel_called

    def progress(
        self, value: float, total: float | None = None, message: str | None = None
    ) -> bool:
        """Report progress, which must increase; return False if the server did not ask for it.

        In the modern era it never does: inputs have no progress.  Call it in the event loop.
        """
        if self._report is None or self.cancelled:
            return False
        if not math.isfinite(value) or value <= self._progress:
            return False
        self._progress = value
        return self._report(value, total, message)


class _WithMeta(Struct):
    meta: Maybe[RequestMeta] = field(default=None, name="_meta")


def meta_of(params: Raw) -> RequestMeta:
    """Return the ``_meta`` of an input request.  Raises Malformed."""
    return typed(params, _WithMeta).meta or RequestMeta()


def call(callback: Callable[..., Any], context: CallbackContext, *args: Any) -> Any:
    """Call a callback, with the context if it takes one."""
    return callback(*args, context) if _takes_context(callback, len(args)) else callback(*args)


def _takes_context(callback: Callable[..., Any], position: int) -> bool:
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [each for each in parameters if each.kind in kinds]
    return len(places) > position and places[position].default is inspect.Parameter.empty
