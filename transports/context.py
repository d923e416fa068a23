"""What a handler sees of its request, and how it talks to the client while it works.

One handler source serves both eras.  ``await context.elicit(...)`` sends a request and waits where
the era allows that.  In the modern era it leaves the handler with :class:`InputNeeded`; the client
retries with the answers, the handler runs again from its beginning, and this time finds them.
What must not be done twice is kept with :meth:`Context.remember`.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar, overload

import msgspec
from msgspec import Raw

from mcpcore.service.custom_types import read_by_pydantic, read_custom
from mcpcore.wire.jsontext import encodable
from transports.context_asking import Asking
from transports.context_facts import L
from transports.context_telling import Telling
from transports.questions import InputNeeded, InputUnavailable, RoundState

__all__ = ["Context", "InputNeeded", "InputUnavailable", "RoundState"]

T = TypeVar("T")


class Context(Telling, Asking, Generic[L]):
    """The request being worked on. Annotate a parameter of a handler with this class to get it.

    ``Context[Database]`` says what the lifespan of the server yields.

    Its facts are in :class:`~transports.context_facts.RequestFacts`, what it tells the client in
    :class:`~transports.context_telling.Telling`, what it asks in
    :class:`~transports.context_asking.Asking`.

    ``progress``, ``log`` and its shorthands may be called from any handler, also from one that
    runs in a thread; everything that is awaited only from ``async def`` ones.
    """

    __mcp_context__ = True

    __slots__ = ()

    @property
    def lifespan(self) -> L:
        """What the lifespan of the server has yielded; None if it has none."""
        value: L = self._runtime.lifespan
        return value

    @property
    def lifespan_context(self) -> L:
        """The same, by the name that others have for it."""
        return self.lifespan

    @property
    def request_context(self) -> Self:
        """The context itself; others keep what belongs to the request in an object of its own."""
        return self

    @overload
    async def remember(
        self, key: str, factory: Callable[[], Awaitable[T]], type: Any = Any
    ) -> T: ...

    @overload
    async def remember(self, key: str, factory: Callable[[], T], type: Any = Any) -> T: ...

    async def remember(self, key: str, factory: Callable[[], Any], type: Any = Any) -> Any:
        """Return what ``factory`` made the first time, in this and in all later rounds.

        For what must not be done twice, or must not change, when the handler runs again.  The
        value travels through the client: it cannot be altered there, but it can be read.  It is
        JSON, decoded as ``type``, in every round and era.
        """
        kept = self.state.kept
        if key not in kept:
            value = factory()
            if inspect.isawaitable(value):
                value = await value
            kept[key] = Raw(msgspec.json.encode(value, enc_hook=encodable))
        foreign = read_by_pydantic(type)
        if foreign is not None:
            return foreign.read(kept[key], key)
        return msgspec.json.decode(kept[key], type=type, dec_hook=read_custom)
