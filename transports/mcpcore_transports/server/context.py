"""Context of a request for its handler: facts, messages and questions to the client.

The same handler code serves both eras.  ``await context.elicit(...)`` sends a request and waits if
the era allows that.  In the modern era it leaves the handler with :class:`InputNeeded`.  The client
retries with the answers, and the handler runs again from its beginning and finds them.  Work that
must not be repeated then goes through :meth:`Context.remember`.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar, overload

import msgspec
from msgspec import Raw

from mcpcore.errors import InputUnavailable
from mcpcore.service.custom_types import read_by_pydantic, read_custom
from mcpcore.wire.jsontext import encodable
from mcpcore_transports.server.context_asking import Asking
from mcpcore_transports.server.context_facts import L
from mcpcore_transports.server.context_telling import Telling
from mcpcore_transports.server.elicitation import InputNeeded, RoundState

__all__ = ["Context", "InputNeeded", "InputUnavailable", "RoundState"]

T = TypeVar("T")


class Context(Telling, Asking, Generic[L]):
    """The current request of a handler, which gets it by annotating a parameter with this class.

    ``Context[Database]`` gives the type of the lifespan's value.

    The facts are in :class:`~mcpcore_transports.server.context_facts.RequestFacts`, messages to the
    client in :class:`~mcpcore_transports.server.context_telling.Telling`, questions to the client
    in :class:`~mcpcore_transports.server.context_asking.Asking`.

    ``progress``, ``log`` and its shorthands may be called from any handler, also from one that
    runs in a thread; awaitable methods only from ``async def`` handlers.
    """

    __mcp_context__ = True

    __slots__ = ()

    @property
    def lifespan(self) -> L:
        """Value that the lifespan of the server has yielded; None without a lifespan."""
        value: L = self._runtime.lifespan
        return value

    @property
    def lifespan_context(self) -> L:
        """Same as :attr:`lifespan`, under the name that other libraries use."""
        return self.lifespan

    @property
    def request_context(self) -> Self:
        """This context; other libraries have a separate object for the facts of a request."""
        return self

    @overload
    async def remember(
        self, key: str, factory: Callable[[], Awaitable[T]], type: Any = Any
    ) -> T: ...

    @overload
    async def remember(self, key: str, factory: Callable[[], T], type: Any = Any) -> T: ...

    async def remember(self, key: str, factory: Callable[[], Any], type: Any = Any) -> Any:
        """Return the value of ``factory`` from its first call, in this and in all later rounds.

        For work that must not be repeated, and values that must not change, when the handler runs
        again.  The value travels through the client, which can read it but not alter it.  It is
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
