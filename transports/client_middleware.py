"""Middleware of the client: around every request that it sends.

See :mod:`transports.middleware` for what a middleware is.  The engine's own requests (the era
probe, ``initialize``) and notifications do not pass it, nor does what the cache answers.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw, Struct

from mcpcore.engine.peer import DEFAULT_TIMEOUT
from mcpcore.spec.types.subscriptions import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.message import Body
from transports.callbacks import Callbacks, ProgressCallback
from transports.client_calls import ClientMachine, Outcome
from transports.client_core import ClientCore
from transports.client_listen import LISTEN, Listening
from transports.middleware import Around, Chain
from transports.strays import failure_of
from transports.task_guard import called

__all__ = ["ClientMiddleware", "GuardedCore", "Outcome", "OutgoingRequest"]


class OutgoingRequest(Struct, kw_only=True):
    """A request on its way out, input rounds included; a middleware may change it.

    Of ``subscriptions/listen`` only ``meta`` can be changed; it is answered, as far as a middleware
    can see, when the server has acknowledged it.
    """

    method: str
    params: Body = None
    """As the caller gave them; they have no ``_meta``."""
    meta: dict[str, Any]
    """Members for its ``_meta``, for instance ``traceparent``; the engine adds its own."""
    timeout: float | None = DEFAULT_TIMEOUT
    """In seconds; None waits for ever, and the default is that of the settings."""
    progress: ProgressCallback | None = None
    repeat: bool | None = None
    """Whether it may be sent again if its connection breaks; None leaves it to the protocol.
    A middleware does not see that it is."""


ClientMiddleware = Around[OutgoingRequest, Outcome]
"""Around every request; an error of the server is raised as PeerError, ours as CallFailed."""


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
            raise failure_of(error)  # noqa: B904 - the same one, or one that knows its cause
