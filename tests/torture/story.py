"""Stories: the calls of a client under torture, and how each ends."""

from asyncio import CancelledError
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from msgspec import structs

from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.client_features import ElicitParams
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from mcpcore_transports.running.middleware import CallNext, Steps
from tests.torture.acts import Act, Call, ToolFailed, said
from tests.torture.functions import Failed, fallible
from tests.torture.suspensions import Cancelling
from tests.torture.users import fallible_settings

HEARD = 5.0
"""Seconds within which a change is heard of, or that it never will be."""


LARGE = 400_000
"""Characters of a large message."""


class GivenUp(Exception):
    """A call was cancelled from outside: its caller got that, and nothing else."""


ENDS = (LocalError, McpError, Failed, ToolFailed, GivenUp)
"""What a call may end in, beside its own answer and what :meth:`Story.may_end` says."""


@fallible
def _stamped(request: OutgoingRequest) -> Steps[Outcome]:
    yield


@fallible
async def _guarded(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
    await anyio.lowlevel.checkpoint()
    return await call_next()


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
        act: Act,
        *,
        waits: bool,
        heard: float = HEARD,
        http_client: Any = None,
    ) -> None:
        self.act = act
        self.ends: dict[str, Any] = {}
        """The right answer, or what else it was, of each call."""
        self.begun: list[str] = []
        self.refused: Exception | None = None
        """Why there was no conversation, or how leaving it failed."""
        self.stopped = False
        """The calls were cancelled, and the conversation was not."""
        self.settings = settings
        self.heard = heard
        """Seconds within which a change is heard of."""
        self.middleware = _guarded if waits else _stamped
        self.http_client = http_client
        self._ends: tuple[type[Exception], ...] = (*ENDS, *act.ends)
        self._cancelling = cancelling

    async def live(self, target: Any, era: str) -> None:
        """Meet, do everything, call once more, and leave."""
        act = self.act
        try:
            async with act.meet(self, target, era) as met:
                with (
                    anyio.CancelScope() as scope,
                    self._cancelling.offering("calls", scope.cancel),
                ):
                    if act.one_by_one:
                        for call in act.calls:
                            await self._call(call, met)
                    else:
                        async with anyio.create_task_group() as group:
                            for call in act.calls:
                                group.start_soon(self._call, call, met)
                self.stopped = scope.cancelled_caught
                await self._call(act.last[0], met)
        except Exception as error:
            if not self.may_end(error):
                raise
            self.refused = error

    async def _call(self, call: Call, met: Any) -> None:
        name = call.__name__
        self.begun.append(name)
        try:
            with anyio.fail_after(self.heard if name in self.act.hears else None):
                self._end(name, await call(met))
        except Exception as error:
            self._end(name, error)
        except anyio.get_cancelled_exc_class():
            self._end(name, GivenUp())
            raise

    def _end(self, name: str, end: Any) -> None:
        assert name not in self.ends, f"{name} ends twice"
        self.ends[name] = end

    def may_end(self, end: object) -> bool:
        """Whether a call may end so: a callback that was cancelled has failed."""
        strayed = isinstance(end, RuntimeError) and isinstance(end.__cause__, CancelledError)
        return strayed or isinstance(end, self._ends)

    @property
    def wrong(self) -> dict[str, Any]:
        """The calls that did not have their right answer, and what they had."""
        return {
            name: self.ends.get(name, "no end")
            for name in self.begun
            if self.ends.get(name) != self.act.right(name)
        }


@asynccontextmanager
async def connected(
    story: Story, target: Any, era: str, callbacks: Callbacks | None = None
) -> AsyncIterator[Client]:
    """Be a client, with ``callbacks``."""
    async with connect(
        target,
        revision=era,
        settings=structs.replace(story.settings, eras=EraCache()),
        callbacks=callbacks,
        middleware=[story.middleware],
        http_client=story.http_client,
    ) as client:
        yield client


@asynccontextmanager
async def _usual(story: Story, target: Any, era: str) -> AsyncIterator[Client]:
    callbacks = Callbacks(elicitation=_elicited, log=_logged, tools_changed=_changed)
    async with connected(story, target, era, callbacks) as client:
        yield client


async def hello(target: Any, era: str, settings: ClientSettings, http_client: Any = None) -> None:
    """Be somebody new, who is served like anybody."""
    settings = structs.replace(settings, eras=EraCache())
    async with connect(target, revision=era, settings=settings, http_client=http_client) as client:
        assert await once_more(client) == "again"


async def _echo(client: Client) -> str:
    return said(await client.call_tool("echo", {"text": "a" * 300}))


async def _later(client: Client) -> str:
    return said(await client.call_tool("later", {"text": "b"}))


async def _steps(client: Client) -> str:
    return said(await client.call_tool("steps", {"count": 2}, progress=_progressed))


async def _ask(client: Client) -> str:
    return said(await client.call_tool("ask"))


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
        return said(await client.call_tool("wait", progress=lambda *_: scope.cancel()))
    return "cancelled"


async def _listen(client: Client) -> str:
    async with client.listen(tools=True) as changes:
        said(await client.call_tool("change"))
        async for change in changes:
            return change.kind
    return "ended"


async def once_more(client: Client) -> str:
    """Call a tool."""
    return said(await client.call_tool("echo", {"text": "again"}))


_CALLS: dict[Call, str] = {
    _echo: "a" * 300,
    _later: "b",
    _steps: "2",
    _ask: "accept Point(x=1)",
    _read: "plain text",
    _prompt: "Hello, Ada!",
    _tools: "echo,later,steps,ask,wait,change",
    _cancelled: "cancelled",
    _listen: "tools",
}
LAST = once_more, "again"
COMMON = Act(meet=_usual, calls=_CALLS, last=LAST, hears=frozenset({"_listen"}))
"""What every driver has to do."""


async def _tells(client: Client) -> str:
    return said(await client.call_tool("tells", {"count": 3}, progress=_progressed))


NARROW = structs.replace(COMMON, calls={**_CALLS, _tools: _CALLS[_tools] + ",tells", _tells: "3"})
"""The same on a server that tells much, where there is little room for it."""


@asynccontextmanager
async def _told_of_losses(story: Story, target: Any, era: str) -> AsyncIterator[Client]:
    callbacks = Callbacks(
        elicitation=_elicited,
        log=_logged,
        connection=_lost,
        stream_interrupted=_lost,
        violation=_lost,
    )
    callbacks = fallible_settings(callbacks, "callbacks.")
    async with connected(story, target, era, callbacks) as client:
        await client.tools()  # what may be repeated is known to who has listed it
        yield client


def _lost(event: object) -> None:
    pass


CUT = Act(
    meet=_told_of_losses,
    calls={call: _CALLS[call] for call in (_read, _prompt, _tools, _steps, _ask, _listen)},
    last=LAST,
    hears=frozenset({"_listen"}),
    fickle=True,
)
"""What may be repeated when it is cut off."""


async def _large(client: Client) -> str:
    text = "x" * LARGE
    return str(said(await client.call_tool("echo", {"text": text})) == text)


async def _larger(client: Client) -> str:
    """The same, while others go by."""
    return await _large(client)


LARGE_MESSAGES = Act(meet=_usual, calls={_large: "True", _larger: "True", _later: "b"}, last=LAST)
"""Messages that no buffer takes at once."""


REFUSED = Act(meet=_told_of_losses, calls={_later: "b"}, last=LAST, fickle=True)
"""What comes of nothing, as nobody is let in."""
GONE = structs.replace(REFUSED, serves=False)
"""The same where nobody else is let in either."""
