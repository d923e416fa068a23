"""What a client does under torture: a little of everything, and how each of its calls ends."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from msgspec import structs

from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.elicitation import ElicitParams
from tests.torture.functions import Failed, fallible
from tests.torture.suspensions import Cancelling
from transports.callbacks import Callbacks
from transports.client import Client, connect
from transports.client_middleware import Outcome, OutgoingRequest
from transports.client_open import ClientSettings
from transports.eras import EraCache
from transports.middleware import CallNext, Steps

HEARD = 5.0
"""Seconds within which a change is heard of, or that it never will be."""


class ToolFailed(Exception):
    """A tool has answered that it failed."""


class GivenUp(Exception):
    """A call was cancelled from outside: its caller got that, and nothing else."""


ENDS = (LocalError, McpError, Failed, ToolFailed, GivenUp)
"""What a call may end in, beside its own answer and what :func:`is_end` says."""


def is_end(end: object) -> bool:
    """Whether a call may end so: a callback that was cancelled has failed."""
    strayed = isinstance(end, RuntimeError) and isinstance(end.__cause__, CancelledError)
    return strayed or isinstance(end, ENDS)


def _nothing() -> None:
    pass


_before = fallible(_nothing, "client middleware before")
_after = fallible(_nothing, "client middleware after")


def _stamped(request: OutgoingRequest) -> Steps[Outcome]:
    _before()
    yield
    _after()


async def _guarded(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
    _before()
    await anyio.lowlevel.checkpoint()
    answer = await call_next()
    _after()
    return answer


@fallible
async def headers(request: object) -> Mapping[str, str]:
    """Make the headers of a request, after a moment."""
    await anyio.lowlevel.checkpoint()
    return {"x-torture": "yes"}


@fallible
async def _elicited(form: ElicitParams) -> dict[str, int]:
    await anyio.lowlevel.checkpoint()
    return {"x": 1}


@fallible
def _logged(message: object) -> None:
    pass


@fallible
async def _changed() -> None:
    await anyio.lowlevel.checkpoint()


@fallible
def _progressed(*values: object) -> None:
    pass


class Story:
    """One conversation, from its opening to its end."""

    def __init__(
        self,
        cancelling: Cancelling,
        settings: ClientSettings,
        *,
        waits: bool,
        heard: float = HEARD,
        http_client: Any = None,
    ) -> None:
        self.ends: dict[str, Any] = {}
        """The right answer, or what else it was, of each call."""
        self.begun: list[str] = []
        self.refused: Exception | None = None
        """Why there was no conversation, or how leaving it failed."""
        self.stopped = False
        """The calls were cancelled, and the conversation was not."""
        self._cancelling = cancelling
        self._settings = settings
        self._heard = heard
        self._middleware = _guarded if waits else _stamped
        self._http_client = http_client

    async def live(self, target: Any, era: str) -> None:
        """Connect, do everything at once, call once more, and leave."""
        settings = structs.replace(self._settings, eras=EraCache())
        callbacks = Callbacks(elicitation=_elicited, log=_logged, tools_changed=_changed)
        try:
            async with connect(
                target,
                revision=era,
                settings=settings,
                callbacks=callbacks,
                middleware=[self._middleware],
                http_client=self._http_client,
            ) as client:
                with (
                    anyio.CancelScope() as scope,
                    self._cancelling.offering("calls", scope.cancel),
                ):
                    async with anyio.create_task_group() as group:
                        for call in (*_CALLS, self._listen):
                            group.start_soon(self._call, call, client)
                self.stopped = scope.cancelled_caught
                await self._call(_once_more, client)
        except ENDS as error:
            self.refused = error

    async def _call(self, call: "Callable[[Client], Awaitable[str]]", client: Client) -> None:
        name = call.__name__
        self.begun.append(name)
        try:
            self._end(name, await call(client))
        except Exception as error:
            self._end(name, error)
        except anyio.get_cancelled_exc_class():
            self._end(name, GivenUp())
            raise

    def _end(self, name: str, end: Any) -> None:
        assert name not in self.ends, f"{name} ends twice"
        self.ends[name] = end

    async def _listen(self, client: Client) -> str:
        async with client.listen(tools=True) as changes:
            _said(await client.call_tool("change"))
            with anyio.fail_after(self._heard):
                async for change in changes:
                    return change.kind
        return "ended"

    @property
    def wrong(self) -> dict[str, Any]:
        """The calls that did not have their right answer, and what they had."""
        return {
            name: self.ends.get(name, "no end")
            for name in self.begun
            if self.ends.get(name) != _RIGHT[name]
        }


async def hello(target: Any, era: str, settings: ClientSettings, http_client: Any = None) -> None:
    """Be somebody new, who is served like anybody."""
    settings = structs.replace(settings, eras=EraCache())
    async with connect(target, revision=era, settings=settings, http_client=http_client) as client:
        assert await _once_more(client) == "again"


def _said(result: Any) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    if result.is_error:
        raise ToolFailed(content.text)
    return content.text


async def _echo(client: Client) -> str:
    return _said(await client.call_tool("echo", {"text": "a" * 300}))


async def _later(client: Client) -> str:
    return _said(await client.call_tool("later", {"text": "b"}))


async def _steps(client: Client) -> str:
    return _said(await client.call_tool("steps", {"count": 2}, progress=_progressed))


async def _ask(client: Client) -> str:
    return _said(await client.call_tool("ask"))


async def _read(client: Client) -> str:
    result = await client.read_resource("text://plain")
    return str(result.contents[0].text)


async def _prompt(client: Client) -> str:
    result = await client.get_prompt("greet", {"name": "Ada"})
    return str(result.messages[0].content.text)  # type: ignore[union-attr]


async def _tools(client: Client) -> str:
    return ",".join(tool.name for tool in await client.tools() if tool.name != "for_a_moment")


async def _cancelled(client: Client) -> str:
    """Cancel a call of one's own, as soon as it runs."""
    with anyio.CancelScope() as scope:
        return _said(await client.call_tool("wait", progress=lambda *_: scope.cancel()))
    return "cancelled"


async def _once_more(client: Client) -> str:
    return _said(await client.call_tool("echo", {"text": "again"}))


_CALLS = (_echo, _later, _steps, _ask, _read, _prompt, _tools, _cancelled)
_RIGHT = {
    "_echo": "a" * 300,
    "_later": "b",
    "_steps": "2",
    "_ask": "accept Point(x=1)",
    "_read": "plain text",
    "_prompt": "Hello, Ada!",
    "_tools": "echo,later,steps,ask,wait,change",
    "_cancelled": "cancelled",
    "_listen": "tools",
    "_once_more": "again",
}
