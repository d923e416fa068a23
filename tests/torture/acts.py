"""Acts: the calls of a run, and the result that each must have."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.spec.types.content import TextContent

if TYPE_CHECKING:
    from tests.torture.story import Story

Call = Callable[[Any], Awaitable[str]]
"""Takes what was met, and returns what it found out."""


class ToolFailed(Exception):
    """A tool has answered that it failed."""


class Act(Struct, frozen=True, kw_only=True):
    """Something done on a driver."""

    meet: "Callable[[Story, Any, str], AbstractAsyncContextManager[Any]]"
    """Begins the conversation: of a story, with a target, in an era."""
    calls: Mapping[Call, str]
    """Done at the same time, with what was met; and what each finds out."""
    last: tuple[Call, str]
    """Done once more, when these are over; and what it finds out."""
    ends: tuple[type[Exception], ...] = ()
    """What a call may end in, beside what it always may."""
    hears: frozenset[str] = frozenset()
    """The calls that wait to hear of something, which has its time."""
    fickle: bool = False
    """What carries it fails by itself: any call may end in an error of its own."""
    serves: bool = True
    """There is a server, which afterwards serves somebody new."""
    one_by_one: bool = False
    """The calls wait for each other."""

    def right(self, name: str) -> str:
        """What a call of that name finds out."""
        every = (*self.calls.items(), self.last)
        return next(found for call, found in every if call.__name__ == name)


def said(result: Any) -> str:
    """The text that a tool has answered with."""
    content = result.content[0]
    assert isinstance(content, TextContent)
    if result.is_error:
        raise ToolFailed(content.text)
    return content.text
