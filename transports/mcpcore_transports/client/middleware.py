"""Middleware of the client, around every request that it sends.

See :mod:`mcpcore_transports.running.middleware` for the definition of a middleware.  The engine's
own requests (the era probe, ``initialize``) and notifications bypass it, and so do answers from the
cache.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw, Struct

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.spec.types.subscriptions import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.message import Body
from mcpcore_transports.client.callbacks import Callbacks, ProgressCallback
from mcpcore_transports.client.calls import ClientMachine, Outcome
from mcpcore_transports.client.core import ClientCore
from mcpcore_transports.client.listen import LISTEN, Listening
from mcpcore_transports.running.cancellation import failure_of
from mcpcore_transports.running.middleware import Around, Chain
from mcpcore_transports.running.task_guard import called

__all__ = ["ClientMiddleware", "GuardedCore", "Outcome", "OutgoingRequest"]


class OutgoingRequest(Struct, kw_only=True):
    """An outgoing request, input rounds included; a middleware may change it.

    For ``subscriptions/listen`` only ``meta`` can be changed.  To a middleware it is answered when
    the server has acknowledged it.
    """

    method: str
    params: Body = None
    """Params as the caller gave them, without ``_meta``."""
    meta: dict[str, Any]
    """Members for the request's ``_meta``, such as ``traceparent``; the engine adds its own."""
    timeout: float | None = DEFAULT_TIMEOUT
    """Timeout in seconds; None means no limit, and the default is that of the settings."""
    progress: ProgressCallback | None = None
    repeat: bool | None = None
    """True if the request may be sent again when its connection breaks; None: by the protocol.

    A middleware does not notice the repetition.
    """


ClientMiddleware = Around[OutgoingRequest, Outcome]
"""Middleware type; errors of the server are raised as PeerError, local ones as CallFailed."""


class GuardedCore(ClientCore):
    """A :class:`ClientCore` whose requests pass through middleware."""

    def __init__(
        self,
        machine: ClientMachine,
        callbacks: Callbacks,
        group: TaskGroup,
        middleware: Sequence[ClientMiddleware],
    ) -> None:
        super().__init__(machine, callbacks, group)
        self._chain = Chain(middleware)

    async def request(
        self,
        method: str,
        params: Body = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> Outcome:
        """See :meth:`ClientCore.request`."""
        outgoing = OutgoingRequest(
            method=method,
            params=params,
            meta={**self.meta, **(meta or {})},
            timeout=timeout,
            progress=progress,
            repeat=repeat,
        )
        send = super().request
        return await self._run(
            outgoing,
            lambda: send(
                outgoing.method,
                outgoing.params,
                timeout=outgoing.timeout,
                progress=outgoing.progress,
                meta=outgoing.meta,
                repeat=outgoing.repeat,
            ),
        )

    async def open_stream(
        self,
        listening: Listening,
        wanted: SubscriptionFilter,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """See :meth:`ClientCore.open_stream`."""
        params = SubscriptionsListenParams(notifications=wanted)
        outgoing = OutgoingRequest(
            method=LISTEN, params=params, meta={**self.meta, **(meta or {})}, timeout=None
        )
        opened = super().open_stream

        async def send() -> Outcome:
            await opened(listening, wanted, meta=outgoing.meta)
            return Outcome(Raw(msgspec.json.encode({"notifications": listening.filter})))

        await self._run(outgoing, send)

    async def _run(
        self, outgoing: OutgoingRequest, send: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        try:
            return await called(self._chain, outgoing, send)
        except BaseException as error:
            raise failure_of(error)  # noqa: B904 - the same exception, or one that has its cause
