"""A client of a library that has some of the calls only; what it has not is unavailable."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

from conformance.interop.drivers.caller import Caller, Object, Progress, Unavailable


class Few(Caller):
    """Raises Unavailable for everything."""

    def __init__(self) -> None:
        super().__init__({"modern": False}, None)

    def _no(self, what: str) -> NoReturn:
        raise Unavailable(f"the library has no way to {what}")

    async def opening(self) -> Object:
        """See Caller."""
        self._no("say who the server is")

    async def ping(self) -> None:
        """See Caller."""
        self._no("ping")

    async def page(self, method: str, cursor: str | None = None) -> Object:
        """See Caller."""
        self._no(f"ask for {method}")

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """See Caller."""
        self._no("call a tool")

    async def read(self, uri: str) -> Object:
        """See Caller."""
        self._no("read a resource")

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """See Caller."""
        self._no("get a prompt")

    async def complete(
        self, ref: Object, argument: str, value: str, known: dict[str, str] | None = None
    ) -> Object:
        """See Caller."""
        self._no("complete an argument")

    async def set_level(self, level: str) -> None:
        """See Caller."""
        self._no("set a log level")

    async def subscribe(self, uri: str) -> None:
        """See Caller."""
        self._no("subscribe")

    async def unsubscribe(self, uri: str) -> None:
        """See Caller."""
        self._no("unsubscribe")

    def listen(self, wanted: Object) -> AbstractAsyncContextManager[Any]:
        """See Caller."""
        self._no("listen")

    async def roots_changed(self) -> None:
        """See Caller."""
        self._no("change the roots")

    async def request(self, method: str, params: Object) -> Object:
        """See Caller."""
        self._no(f"send {method}")

    @property
    def session(self) -> str | None:
        """See Caller."""
        return None

    async def agent(self, tool: str, arguments: Object) -> str:
        """Run an agent of the library whose model calls one tool; return its last words."""
        self._no("run an agent")


def content_of(text: str, *, failed: bool = False) -> Object:
    """Return a result of a tool in its wire form, of a library that hands out the text only."""
    return {"content": [{"type": "text", "text": text}], "isError": failed}


async def every(fetch: Callable[[], Awaitable[Any]], member: str, name: str, field: str) -> Object:
    """Return as one page what a library has listed to its end."""
    return {member: [{name: str(getattr(each, field))} for each in await fetch()]}
