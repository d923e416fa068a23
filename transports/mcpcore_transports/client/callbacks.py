"""Callbacks of a client for its server: elicitation, sampling, roots, notifications.

The same callbacks, functions or coroutine functions, serve both eras: requests on the wire (legacy)
and the ``inputRequests`` of an input round (modern).
"""

import inspect
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Raw, Struct, field, structs

from mcpcore.engine.events import Violation
from mcpcore.engine.input_rounds import is_web_url
from mcpcore.engine.reconnection import ConnectionEvent
from mcpcore.errors import Malformed, Unsayable
from mcpcore.http.client.call import DownloadProgress, StreamInterrupted
from mcpcore.policy.rates import RateLimiter, activity_of, busy
from mcpcore.service.reading import shorten, typed
from mcpcore.spec import types
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, McpError
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.model import Maybe
from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import RequestId
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import is_awaitable
from mcpcore_transports.running.pending import ProgressCallback, Run
from mcpcore_transports.server import contents

__all__ = ["CallbackContext", "Callbacks", "ProgressCallback"]

T = TypeVar("T")
P = TypeVar("P")


class CallbackContext:
    """Request of the server that a callback answers: its last argument, if it takes one more."""

    def __init__(
        self,
        method: str,
        revision: Revision,
        meta: types.RequestMeta,
        request_id: RequestId | None = None,
        report: Callable[[float, float | None, str | None], bool] | None = None,
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
        """Report progress, which must increase; return False if the server did not ask for it."""
        if self._report is None or self.cancelled:
            return False
        if not math.isfinite(value) or value <= self._progress:
            return False
        self._progress = value
        return self._report(value, total, message)


CallbackAnswer = Struct | Mapping[str, Any]
"""Result object for a request of the server."""
_Answered = CallbackAnswer | Awaitable[CallbackAnswer]
Roots = Sequence[types.Root | str]

_Elicited = types.ElicitResult | Mapping[str, Any] | None
_Sampled = types.CreateMessageResult | Mapping[str, Any]
_Found = Roots | types.ListRootsResult

ElicitationCallback = (
    Callable[[types.ElicitParams], _Elicited | Awaitable[_Elicited]]
    | Callable[[types.ElicitParams, CallbackContext], _Elicited | Awaitable[_Elicited]]
)
SamplingCallback = (
    Callable[[types.CreateMessageParams], _Sampled | Awaitable[_Sampled]]
    | Callable[[types.CreateMessageParams, CallbackContext], _Sampled | Awaitable[_Sampled]]
)
RootsCallback = (
    Callable[[], _Found | Awaitable[_Found]]
    | Callable[[CallbackContext], _Found | Awaitable[_Found]]
)
LogCallback = Callable[[types.LoggingMessageParams], Awaitable[None] | None]
ChangeCallback = Callable[[], Awaitable[None] | None]
UpdateCallback = Callable[[str], Awaitable[None] | None]
NotificationCallback = Callable[[str, Raw], Awaitable[None] | None]
ConnectionCallback = Callable[[ConnectionEvent], Awaitable[None] | None]
ViolationCallback = Callable[[Violation], Awaitable[None] | None]
DownloadCallback = Callable[[DownloadProgress], Awaitable[None] | None]
InterruptedCallback = Callable[[StreamInterrupted], Awaitable[None] | None]


class Callbacks(Struct, kw_only=True):
    """Callbacks of a client; a capability without a callback is not declared.

    The callbacks that answer the server are ``elicitation``, ``elicitation_url``, ``sampling`` and
    a function as ``roots``.  They get a :class:`CallbackContext` if they take one more parameter.
    """

    elicitation: ElicitationCallback | None = None
    """Fill in a form: return the content, an :class:`ElicitResult`, or None to decline.

    The defaults of the form are filled in, and accepted content is checked against the form.
    """
    elicitation_url: ElicitationCallback | None = None
    """Visit a URL: return an :class:`ElicitResult`, or None to decline."""
    sampling: SamplingCallback | None = None
    """Return a CreateMessageResult, or a mapping with its members by their wire names."""
    sampling_tools: bool = False
    """True to declare that ``sampling`` supports tools."""
    sampling_context: bool = False
    """True to declare that ``sampling`` heeds ``include_context``."""
    roots: Roots | RootsCallback | None = None
    """List of Roots or file URIs, or a function that returns one or a ListRootsResult."""
    log: LogCallback | None = None
    """Take each log message of the server, with its level, logger and data."""
    tools_changed: ChangeCallback | None = None
    """Hear that the list of tools may have changed."""
    prompts_changed: ChangeCallback | None = None
    """Hear that the list of prompts may have changed."""
    resources_changed: ChangeCallback | None = None
    """Hear that the list of resources or templates may have changed."""
    resource_updated: UpdateCallback | None = None
    """Take the URI of an updated resource."""
    elicitation_complete: UpdateCallback | None = None
    """Take the id of a completed elicitation."""
    notification: NotificationCallback | None = None
    """Take every notification, by method and params."""
    download: DownloadCallback | None = None
    """Take how far a large answer has come in (Streamable HTTP), at each MiB and at its end.

    ``HttpClientSettings.download_step`` sets other steps.
    """
    stream_interrupted: InterruptedCallback | None = None
    """Take the loss of an event stream's connection (legacy, over HTTP), with the recovery."""
    connection: ConnectionCallback | None = None
    """Take connection events, of attempts to reconnect too; not over Streamable HTTP."""
    violation: ViolationCallback | None = None
    """Take each violation of the protocol by the server.

    ``excerpt`` is the beginning of a line that is no message, such as text that a server prints on
    its standard output.  The log has only some of the violations.
    """
    at_once: int = 8
    """Maximum callbacks that run at the same time for the questions of one input round."""
    limiter: RateLimiter | None = None
    """Limiter of the rates of the server's requests; all its requests are those of one caller."""
    waiting: int = 10_000
    """Maximum notifications that wait for coroutine functions; further ones are dropped."""
    extensions: Mapping[str, types.Settings] = {}
    """Extensions, declared as they are."""
    experimental: Mapping[str, types.Settings] = {}
    """Experimental capabilities, declared as they are."""

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, got {self.at_once}")
        if self.roots is not None and not callable(self.roots):
            checked_roots(self.roots)

    def capabilities(self) -> types.ClientCapabilities:
        """Return the capabilities for which there are callbacks."""
        declared = types.ClientCapabilities()
        if self.elicitation is not None or self.elicitation_url is not None:
            declared.elicitation = types.ElicitationCapability()
            if self.elicitation_url is not None:
                declared.elicitation.url = {}
                if self.elicitation is not None:
                    declared.elicitation.form = {}
        if self.sampling is not None:
            declared.sampling = types.SamplingCapability(
                tools={} if self.sampling_tools else None,
                context={} if self.sampling_context else None,
            )
        if self.roots is not None:
            declared.roots = types.RootsCapability(list_changed=True)
        declared.extensions = dict(self.extensions) or None
        declared.experimental = dict(self.experimental) or None
        return declared

    def answer(self, params: Raw, context: CallbackContext) -> _Answered:
        """Answer a request in the form of its revision.  Raises McpError, TypeError, ValueError."""
        answer = _ANSWERS.get(context.method)
        if answer is None:
            raise McpError(METHOD_NOT_FOUND, f"this client does not answer {context.method!r}")
        if self.limiter is None:
            return answer(self, params, context)
        activity = activity_of(context.method)
        decision = self.limiter.admit(activity, "server", now=clock())

        def admitted(wait: float) -> _Answered:
            if not wait <= 0:
                raise busy(activity, wait, context.revision)
            return answer(self, params, context)

        if not is_awaitable(decision):
            return admitted(decision)

        async def later() -> CallbackAnswer:
            answered = admitted(await decision)
            return await answered if is_awaitable(answered) else answered

        return later()


def _answer_elicitation(callbacks: Callbacks, raw: Raw, context: CallbackContext) -> _Answered:
    params = _decode_params(raw, types.ElicitParams)
    by_url = params.mode == "url"
    callback = callbacks.elicitation_url if by_url else callbacks.elicitation
    if callback is None:
        mode = "url" if by_url else "form"
        raise McpError(INVALID_PARAMS, f"this client does not support elicitation of mode {mode!r}")
    if by_url and not is_web_url(str(params.url)):
        raise McpError(INVALID_PARAMS, f"url: {shorten(str(params.url))!r} cannot be visited")
    schema = params.requested_schema or {}
    name = "elicitation_url" if by_url else "elicitation"

    def finish(answer: _Elicited) -> CallbackAnswer:
        if answer is None:
            return types.ElicitResult(action="decline")
        if isinstance(answer, Mapping) and not by_url:
            answer = types.ElicitResult(action="accept", content=dict(answer))
        if not isinstance(answer, types.ElicitResult):
            kind = type(answer).__name__
            raise TypeError(f"the {name} callback returned {kind}, which is no ElicitResult")
        if answer.action not in _ACTIONS:
            raise ValueError(f"the {name} callback's action {answer.action!r} does not exist")
        if by_url or answer.action != "accept":
            return structs.replace(answer, content=None)
        content = contents.fill_defaults(schema, answer.content or {})
        if problems := contents.form_problems(schema, content):
            raise ValueError(f"the elicitation callback's content is wrong: {'; '.join(problems)}")
        return structs.replace(answer, content=content)

    return _then(call(callback, context, params), finish)


def _answer_sampling(callbacks: Callbacks, raw: Raw, context: CallbackContext) -> _Answered:
    if callbacks.sampling is None:
        raise McpError(METHOD_NOT_FOUND, "this client does not support sampling")
    params = _decode_params(raw, types.CreateMessageParams)
    with_tools = params.tools is not None or params.tool_choice is not None
    if with_tools and not callbacks.sampling_tools:
        raise McpError(INVALID_PARAMS, "this client does not support sampling with tools")
    if problem := contents.message_problem(params.messages):
        raise McpError(INVALID_PARAMS, problem)

    def finish(answer: Any) -> CallbackAnswer:
        if isinstance(answer, Mapping):
            try:
                answer = typed(Raw(to_json(answer)), types.CreateMessageResult)
            except Malformed as error:
                raise ValueError(f"the sampling callback's result is wrong: {error}") from None
        if not isinstance(answer, types.CreateMessageResult):
            kind = type(answer).__name__
            raise TypeError(f"the sampling callback returned {kind}, not a CreateMessageResult")
        try:
            return contents.result_for(answer, context.revision)
        except Unsayable as error:
            raise McpError(INTERNAL_ERROR, f"the model's answer cannot be sent: {error}") from error

    return _then(call(callbacks.sampling, context, params), finish)


def _answer_roots(callbacks: Callbacks, raw: Raw, context: CallbackContext) -> _Answered:
    if callbacks.roots is None:
        raise McpError(METHOD_NOT_FOUND, "this client has no roots")
    roots: Any = callbacks.roots
    if callable(roots):
        roots = call(roots, context)

    def finish(given: _Found) -> CallbackAnswer:
        result = (
            given if isinstance(given, types.ListRootsResult) else types.ListRootsResult(roots=[])
        )
        listed = checked_roots(given.roots if isinstance(given, types.ListRootsResult) else given)
        return known_members(structs.replace(result, roots=listed), context.revision)

    return _then(roots, finish)


def checked_roots(roots: Roots) -> list[types.Root]:
    """Return roots, each given as a Root or by its URI.  Raises ValueError for a non-file URI."""
    found = [types.Root(uri=root) if isinstance(root, str) else root for root in roots]
    for root in found:
        if not root.uri.startswith("file://"):
            raise ValueError(f"{root.uri!r} is no root: its URI must begin with file://")
    return found


_ACTIONS = ("accept", "decline", "cancel")
_ANSWERS: dict[str, Callable[[Callbacks, Raw, CallbackContext], _Answered]] = {
    "elicitation/create": _answer_elicitation,
    "sampling/createMessage": _answer_sampling,
    "roots/list": _answer_roots,
}


class _MetaParams(Struct):
    meta: Maybe[types.RequestMeta] = field(default=None, name="_meta")


def meta_of(params: Raw) -> types.RequestMeta:
    """Return the ``_meta`` of an input request.  Raises Malformed."""
    return typed(params, _MetaParams).meta or types.RequestMeta()


def call(callback: Callable[..., Any], context: CallbackContext, *args: Any) -> Any:
    """Call a callback, with the context if it takes one."""
    with suppress(TypeError, ValueError):  # some functions written in C have no signature
        places = [
            each
            for each in inspect.signature(callback).parameters.values()
            if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        if len(places) > len(args) and places[len(args)].default is inspect.Parameter.empty:
            args = (*args, context)
    return callback(*args)


def _decode_params(raw: Raw, expected: type[P]) -> P:
    try:
        return typed(raw, expected)
    except Malformed as error:
        raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None


def _then(value: P | Awaitable[P], finish: Callable[[P], T]) -> T | Coroutine[Any, Any, T]:
    if not is_awaitable(value):
        return finish(value)

    async def later() -> T:
        return finish(await value)

    return later()
