"""Middleware that holds a server to its pins, and screens what it says: of a client, or its own.

::

    connect(url, middleware=[guard_server(TrustSettings(redact=True), pins=pins)])
    RuntimeSettings(middleware=(guard_answers(TrustSettings(redact=True)),))

Lists that a client reads are compared and screened on their way; with pins they are read when the
connection opens as well, and before the next call once they may have changed.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from mcpcore import errors
from mcpcore.policy.differences import ServerDescription
from mcpcore.policy.trust import (
    BLOCKED,
    CALLS,
    DECLARING,
    LISTS,
    PINNED_LISTS,
    TEMPLATES,
    UNCHECKED,
    Notice,
    TrustPolicy,
    TrustSettings,
    called,
)
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS
from mcpcore.spec.methods import lookup
from mcpcore_transports.client.errors import peer_error, promised
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from mcpcore_transports.running.functions import is_awaitable
from mcpcore_transports.running.middleware import CallNext, Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware

if TYPE_CHECKING:  # the module of clients imports this one's neighbours
    from mcpcore_transports.client.core import ClientCore

logger = logging.getLogger("mcpcore.guard")

AskAboutChange = Callable[[Notice], bool | Awaitable[bool]]
"""Function that decides whether a changed declaration may be used."""


class _Cursor(Struct, rename="camel"):
    next_cursor: str | None = None


def log_notice(notice: Notice, server: str = "") -> None:
    """Log a notice as warnings, one for each difference and alarm; ``server`` is its name."""
    name = ascii(f"{server} {notice.name}".strip())[1:-1][:200]
    state = "blocked" if notice.blocked else "noted"
    for difference in notice.differences:
        where = ascii(difference.place)[1:-1][:200]
        text = f"{difference.kind.value}: {where} {difference.text}"
        logger.warning("%s: %r %s: %s", notice.method, name, state, text)
    for alarm in notice.alarms:
        text = f"{alarm.rule}: {alarm.excerpt[:200]!a}"
        logger.warning("%s: %r %s: %s", notice.method, name, state, text)


class ServerTrust:
    """Middleware of :func:`guard_server`, for the connections to one server."""

    def __init__(self, policy: TrustPolicy, ask: AskAboutChange | None) -> None:
        self.policy = policy
        self._ask = ask
        self._core: ClientCore | None = None

    async def attach(self, core: "ClientCore", instructions: str | None) -> None:
        """Check what an opened connection tells, and watch it.

        Raises PeerError and CallFailed for a pinned list that cannot be read.
        """
        self._core = core
        core.watch(self.policy.notified)
        self.policy.greeted(instructions)
        for method in LISTS:
            self.policy.changed(method)
            if self.policy.pins is None or method not in PINNED_LISTS:
                continue
            row = lookup(method, "client", core.revision)
            if row is not None and declares(core.capabilities, row.capability or ""):
                await self._read(core, method)
            else:
                self.policy.ended(method)

    async def _read(self, core: "ClientCore", method: str) -> None:
        """Read a list to its end through the middleware, past the cache."""
        cursor: str | None = None
        for _ in range(core.settings.max_pages):
            params = None if cursor is None else {"cursor": cursor}
            outcome = await core.request(method, params)
            cursor = promised(outcome.result, _Cursor, method).next_cursor
            if cursor is None:
                return

    async def __call__(self, request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        """Refuse a call, or pass on what may be."""
        method = request.method
        await self._admit(method, request)
        try:
            outcome = await call_next()
        except errors.PeerError as error:
            told = self.policy.error(method, error.error, request.params)
            if told is not error.error:
                raise peer_error(method, told) from None
            raise
        outcome.result = await self._passed(request, outcome.result)
        return outcome

    def introduced(self, instructions: str | None) -> str | None:
        """Return the instructions of the server as the application gets them."""
        return self.policy.introduced(instructions)

    def heard(self, method: str, params: Raw) -> Raw:
        """Return the params of a question as a callback gets them.

        Raises McpError for one that is blocked.
        """
        passed = self.policy.question(method, params)
        if passed is None:
            raise errors.McpError(INVALID_PARAMS, BLOCKED)
        return passed

    async def _admit(self, method: str, request: OutgoingRequest) -> None:
        reason = self.policy.refusal_of(method, request.params)
        if reason is UNCHECKED and self._core is not None:
            if (ready := self._core.ready) is not None:
                self.policy.greeted(ready.instructions)  # it may be another process by now
            for call, _ in called(method, request.params):
                listed = CALLS[call]
                await self._read(self._core, listed if listed in PINNED_LISTS else TEMPLATES)
            reason = self.policy.refusal_of(method, request.params)
        if reason is not None:
            raise errors.RequestRefused(method, reason)

    async def _passed(self, request: OutgoingRequest, result: Raw) -> Raw:
        """Return a result as it is passed on, once the application has decided what it is asked.

        Raises InvalidResponse for one that is blocked or malformed.
        """
        policy, method = self.policy, request.method
        listed = DECLARING.get(method)
        try:
            passed = policy.passed(method, result, request.params)
            waiting = [each for (of, _), each in policy.waiting.items() if of == listed]
            if self._ask is not None and waiting:
                for notice in waiting:
                    answer = self._ask(notice)
                    approved = await answer if is_awaitable(answer) else answer
                    policy.decide(notice.method, notice.name, bool(approved))
                passed = policy.passed(method, result)
        except msgspec.MsgspecError as error:
            raise errors.InvalidResponse(method, f"the result is malformed: {error}") from None
        if passed is None:
            raise errors.InvalidResponse(method, BLOCKED)
        return passed


def guard_server(
    settings: TrustSettings | None = None,
    *,
    pins: ServerDescription | None = None,
    ask: AskAboutChange | None = None,
    report: Callable[[Notice], object] = log_notice,
) -> ServerTrust:
    """Return middleware that guards the application from one server.

    A request for what is blocked raises RequestRefused, a blocked result InvalidResponse; a blocked
    error keeps its code, and a blocked question is answered with an error.
    ``pins``: the approved description (``mcpcore pins approve``); None: nothing is compared.
    ``ask`` decides about changes where they are to be asked about; without it they are blocked.
    ``report`` takes what differs or raises an alarm; it raises nothing.  Raises ValueError for
    ``strict`` without pins.
    """
    return ServerTrust(TrustPolicy(settings, pins, report=report), ask)


def guard_answers(
    settings: TrustSettings, *, report: Callable[[Notice], object] = log_notice
) -> ServerMiddleware:
    """Return middleware of a server that screens and redacts what its handlers return.

    What ``settings`` do not allow is refused with an McpError, and so is a blocked result; nothing
    is compared with pins.
    """
    policy = TrustPolicy(settings, report=report)

    def guarded(request: Context) -> Steps[Answer]:
        refusal = policy.refusal_of(request.method, request.params)
        if refusal is not None:
            raise errors.McpError(INVALID_PARAMS, refusal)
        try:
            answer = yield
        except errors.McpError as error:
            told = policy.error(request.method, error.error, request.params)
            if told is not error.error:
                raise errors.McpError.of(told) from None
            raise
        passed = policy.passed(request.method, answer.result, request.params)
        if passed is None:
            raise errors.McpError(INTERNAL_ERROR, BLOCKED)
        answer.result = passed

    return guarded
