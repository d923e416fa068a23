"""What a client does for its server: elicitation, sampling, roots, and news of all kinds.

The same callbacks serve both eras: requests on the wire (legacy) and the ``inputRequests`` of an
input round (modern).  Each may be a plain function or a coroutine function.  Those that answer the
server may take a :class:`CallbackContext` as well.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from msgspec import Raw, Struct, structs

from mcpcore.engine.events import Violation
from mcpcore.engine.reconnecting import ConnectionEvent
from mcpcore.http.recovery import StreamInterrupted
from mcpcore.service.schema import shorten
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, McpError
from mcpcore.spec.members import known_members
from mcpcore.spec.types.capabilities import (
    ClientCapabilities,
    ElicitationCapability,
    RootsCapability,
    SamplingCapability,
    Settings,
)
from mcpcore.spec.types.elicitation import ElicitParams, ElicitResult
from mcpcore.spec.types.logging import LoggingMessageParams
from mcpcore.spec.types.roots import ListRootsResult, Root
from mcpcore.spec.types.sampling import CreateMessageParams, CreateMessageResult
from mcpcore.wire.message import to_json
from transports.callback_context import CallbackContext, call
from transports.forms import fill_defaults, form_problems
from transports.progress import ProgressCallback
from transports.sampling import message_problem, result_for
from transports.targets import is_web_url
from transports.typed import Malformed, Unsayable, typed

__all__ = ["CallbackContext", "Callbacks", "ProgressCallback"]

T = TypeVar("T")
P = TypeVar("P")
Answer = Struct | Mapping[str, Any]
"""The result object of a request of the server."""
Roots = Sequence[Root | str]

_Elicited = ElicitResult | Mapping[str, Any] | None
_Sampled = CreateMessageResult | Mapping[str, Any]
_Found = Roots | ListRootsResult

ElicitationCallback = (
    Callable[[ElicitParams], _Elicited | Awaitable[_Elicited]]
    | Callable[[ElicitParams, CallbackContext], _Elicited | Awaitable[_Elicited]]
)
SamplingCallback = (
    Callable[[CreateMessageParams], _Sampled | Awaitable[_Sampled]]
    | Callable[[CreateMessageParams, CallbackContext], _Sampled | Awaitable[_Sampled]]
)
RootsCallback = (
    Callable[[], _Found | Awaitable[_Found]]
    | Callable[[CallbackContext], _Found | Awaitable[_Found]]
)
LogCallback = Callable[[LoggingMessageParams], Awaitable[None] | None]
ChangeCallback = Callable[[], Awaitable[None] | None]
UpdateCallback = Callable[[str], Awaitable[None] | None]
NotificationCallback = Callable[[str, Raw], Awaitable[None] | None]
ConnectionCallback = Callable[[ConnectionEvent], Awaitable[None] | None]
ViolationCallback = Callable[[Violation], Awaitable[None] | None]
InterruptedCallback = Callable[[StreamInterrupted], Awaitable[None] | None]


class Callbacks(Struct, kw_only=True):
    """The client's side of the conversation; what is None is not declared as a capability.

    ``elicitation`` gets forms: it returns the content, an :class:`ElicitResult`, or None to
    decline; the defaults of the form are filled in, and what is accepted is checked against it.
    ``elicitation_url`` gets URLs to visit: it returns an :class:`ElicitResult`, or None to
    decline.  ``sampling`` returns a CreateMessageResult, or a mapping with its members by their
    wire names; ``sampling_tools`` declares that it understands tools.  ``roots`` is a list of
    Roots or file URIs, or a function that returns one or a ListRootsResult.  These are given a
    :class:`CallbackContext` if they take one parameter more.  ``resource_updated`` and
    ``elicitation_complete`` get the URI and the elicitation's id.  ``notification`` gets every
    notification, by method and params.  ``stream_interrupted`` is told when the connection of an
    event stream broke off (legacy, over HTTP), and what is done about it.  ``connection`` is told
    when a connection is lost, of each attempt to come back, when there is one again, and when none
    is tried any more (not over Streamable HTTP).  ``violation`` is told of each rule that the
    server breaks, with the beginning of a line that is no message (``excerpt``): for instance of
    what a server prints on its standard output.  The log has only some of them.  ``at_once``:
    where a server asks several things in one round, so many callbacks run at the same time.
    ``waiting``: so many things that callbacks are to be told wait for coroutine functions that are
    still at those before them; what is more is dropped, with a warning in the log.

    ``sampling_context`` declares that ``sampling`` heeds ``include_context``; ``extensions`` and
    ``experimental`` are declared as they are.
    """

    elicitation: ElicitationCallback | None = None
    elicitation_url: ElicitationCallback | None = None
    sampling: SamplingCallback | None = None
    sampling_tools: bool = False
    sampling_context: bool = False
    roots: Roots | RootsCallback | None = None
    log: LogCallback | None = None
    tools_changed: ChangeCallback | None = None
    prompts_changed: ChangeCallback | None = None
    resources_changed: ChangeCallback | None = None
    resource_updated: UpdateCallback | None = None
    elicitation_complete: UpdateCallback | None = None
    notification: NotificationCallback | None = None
    stream_interrupted: InterruptedCallback | None = None
    connection: ConnectionCallback | None = None
    violation: ViolationCallback | None = None
    at_once: int = 8
    waiting: int = 10_000
    extensions: Mapping[str, Settings] = {}
    experimental: Mapping[str, Settings] = {}

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, got {self.at_once}")
        if self.roots is not None and not callable(self.roots):
            checked_roots(self.roots)

    def capabilities(self) -> ClientCapabilities:
        """Declare what there is a callback for."""
        declared = ClientCapabilities()
        if self.elicitation is not None or self.elicitation_url is not None:
            declared.elicitation = ElicitationCapability()
            if self.elicitation_url is not None:
                declared.elicitation.url = {}
                if self.elicitation is not None:
                    declared.elicitation.form = {}
        if self.sampling is not None:
            declared.sampling = SamplingCapability(
                tools={} if self.sampling_tools else None,
                context={} if self.sampling_context else None,
            )
        if self.roots is not None:
            declared.roots = RootsCapability(list_changed=True)
        declared.extensions = dict(self.extensions) or None
        declared.experimental = dict(self.experimental) or None
        return declared

    def answer(self, params: Raw, context: CallbackContext) -> Answer | Awaitable[Answer]:
        """Answer a request of the server, in the words of its revision.

        Raises McpError, and TypeError or ValueError for what a callback cannot mean; also out of
        the awaitable.
        """
        answer = _ANSWERS.get(context.method)
        if answer is None:
            raise McpError(METHOD_NOT_FOUND, f"this client does not answer {context.method!r}")
        return answer(self, params, context)


def _answer_elicitation(
    callbacks: Callbacks, raw: Raw, context: CallbackContext
) -> Answer | Awaitable[Answer]:
    params = _decode_params(raw, ElicitParams)
    by_url = params.mode == "url"
    callback = callbacks.elicitation_url if by_url else callbacks.elicitation
    if callback is None:
        mode = "url" if by_url else "form"
        raise McpError(INVALID_PARAMS, f"this client does not support elicitation of mode {mode!r}")
    if by_url and not is_web_url(str(params.url)):
        raise McpError(INVALID_PARAMS, f"url: {shorten(str(params.url))!r} cannot be visited")
    schema = params.requested_schema or {}
    finish = _visited if by_url else partial(_filled_in, schema)
    return _then(call(callback, context, params), finish)


def _filled_in(schema: Mapping[str, Any], answer: _Elicited) -> Answer:
    """The result of a form: complete and checked, and without content unless it is accepted."""
    if answer is None:
        return ElicitResult(action="decline")
    if isinstance(answer, Mapping):
        answer = ElicitResult(action="accept", content=dict(answer))
    result = _checked_action(answer, "elicitation")
    if result.action != "accept":
        return result
    content = fill_defaults(schema, answer.content or {})
    if problems := form_problems(schema, content):
        raise ValueError(f"the elicitation callback's content is wrong: {'; '.join(problems)}")
    return structs.replace(result, content=content)


def _visited(answer: _Elicited) -> Answer:
    """The result of a visit, which has no content."""
    if answer is None:
        return ElicitResult(action="decline")
    return _checked_action(answer, "elicitation_url")


def _checked_action(answer: Any, callback: str) -> ElicitResult:
    if not isinstance(answer, ElicitResult):
        kind = type(answer).__name__
        raise TypeError(f"the {callback} callback returned {kind}, which is no ElicitResult")
    if answer.action not in _ACTIONS:
        raise ValueError(f"the {callback} callback's action {answer.action!r} does not exist")
    return structs.replace(answer, content=None)


def _answer_sampling(
    callbacks: Callbacks, raw: Raw, context: CallbackContext
) -> Answer | Awaitable[Answer]:
    if callbacks.sampling is None:
        raise McpError(METHOD_NOT_FOUND, "this client does not support sampling")
    params = _decode_params(raw, CreateMessageParams)
    with_tools = params.tools is not None or params.tool_choice is not None
    if with_tools and not callbacks.sampling_tools:
        raise McpError(INVALID_PARAMS, "this client does not support sampling with tools")
    if problem := message_problem(params.messages):
        raise McpError(INVALID_PARAMS, problem)

    def finish(answer: Any) -> Answer:
        if isinstance(answer, Mapping):
            try:
                answer = typed(Raw(to_json(answer)), CreateMessageResult)
            except Malformed as error:
                raise ValueError(f"the sampling callback's result is wrong: {error}") from None
        if not isinstance(answer, CreateMessageResult):
            kind = type(answer).__name__
            raise TypeError(f"the sampling callback returned {kind}, not a CreateMessageResult")
        try:
            return result_for(answer, context.revision)
        except Unsayable as error:
            raise McpError(INTERNAL_ERROR, f"the model's answer cannot be sent: {error}") from error

    return _then(call(callbacks.sampling, context, params), finish)


def _answer_roots(
    callbacks: Callbacks, raw: Raw, context: CallbackContext
) -> Answer | Awaitable[Answer]:
    if callbacks.roots is None:
        raise McpError(METHOD_NOT_FOUND, "this client has no roots")
    roots: Any = callbacks.roots
    if callable(roots):
        roots = call(roots, context)

    def finish(given: _Found) -> Answer:
        result = given if isinstance(given, ListRootsResult) else ListRootsResult(roots=[])
        listed = checked_roots(given.roots if isinstance(given, ListRootsResult) else given)
        return known_members(structs.replace(result, roots=listed), context.revision)

    return _then(roots, finish)


def checked_roots(roots: Roots) -> list[Root]:
    """Return roots, each given as a Root or by its URI.  Raises ValueError for one of no file."""
    found = [Root(uri=root) if isinstance(root, str) else root for root in roots]
    for root in found:
        if not root.uri.startswith("file://"):
            raise ValueError(f"{root.uri!r} is no root: its URI must begin with file://")
    return found


_ACTIONS = ("accept", "decline", "cancel")
_ANSWERS: dict[str, Callable[[Callbacks, Raw, CallbackContext], Answer | Awaitable[Answer]]] = {
    "elicitation/create": _answer_elicitation,
    "sampling/createMessage": _answer_sampling,
    "roots/list": _answer_roots,
}


def _decode_params(raw: Raw, expected: type[P]) -> P:
    try:
        return typed(raw, expected)
    except Malformed as error:
        raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None


def _then(value: P | Awaitable[P], finish: Callable[[P], T]) -> T | Coroutine[Any, Any, T]:
    if not inspect.isawaitable(value):
        return finish(value)

    async def later() -> T:
        return finish(await value)

    return later()
