"""A client of any library, reduced to JSON: what it can be asked to do, and what its server says.

Params, results and notifications are objects in their wire form, so that one driver suits every
library.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

Object = dict[str, Any]
"""A JSON object in its wire form."""
Progress = Callable[[float, float | None, str | None], None]
"""Takes progress, total and message."""

UNWILLING = -1
"""The code with which a user refuses to have the model asked."""
ROOTS = ("file:///interop/one", "file:///interop/two")
PERSON: Object = {"username": "ada", "email": "ada@example.org", "name": "Ada", "response": "bees"}
"""What the user fills into a form."""
PLACEHOLDERS: Object = {
    "string": "text",
    "integer": 7,
    "number": 1.5,
    "boolean": True,
}
"""A value of each type, for fields without a default."""
FORMATS: Object = {
    "date": "2026-07-28",
    "date-time": "2026-07-28T12:00:00Z",
    "email": PERSON["email"],
    "uri": "https://example.org/",
}
"""A text of each format."""


class Mismatch(Exception):
    """The other side did not do what was expected of it."""


class Refused(Exception):
    """The server answered with an error of the protocol."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"error {code}: {message}")
        self.code = code
        self.text = message
        self.data = data


class Late(Exception):
    """No answer came in time."""


class Unavailable(Exception):
    """The library has no way to do this; the message says which."""


def expect(condition: object, seen: object) -> None:
    """Raise Mismatch, naming what was seen instead."""
    if not condition:
        raise Mismatch(f"unexpected: {seen}")


def text_of(result: Object) -> str:
    """Return the text of a tool's result; raise Mismatch if the tool failed."""
    text = " ".join(block["text"] for block in result["content"] if block["type"] == "text")
    expect(not result.get("isError"), f"the tool failed: {text}")
    return text


class News:
    """The notifications that have arrived, in their order; lets a task wait for more."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Object]] = []
        self._changed = anyio.Event()

    def add(self, method: str, params: Object) -> None:
        """One arrived."""
        self.heard.append((method, params))
        self._changed.set()
        self._changed = anyio.Event()

    def since(self, mark: int, method: str) -> list[Object]:
        """The params of those with ``method`` that came after the first ``mark``."""
        return [params for name, params in self.heard[mark:] if name == method]

    @property
    def mark(self) -> int:
        """How many have arrived."""
        return len(self.heard)

    async def wait(self, mark: int, method: str, count: int = 1) -> list[Object]:
        """Wait until ``count`` with ``method`` came after the first ``mark``."""
        while len(found := self.since(mark, method)) < count:
            await self._changed.wait()
        return found


class Answers:
    """What this client's user, model and file system answer the server."""

    def __init__(self) -> None:
        self.action = "accept"
        """What the user does with the next forms and URLs."""
        self.roots: Sequence[str] = ROOTS
        self.unwilling = False
        """Whether the user refuses to have the model asked."""
        self.asked: list[tuple[str, Object]] = []
        """What the server asked: method and params."""
        self._changed = anyio.Event()

    async def reach(self, count: int) -> None:
        """Wait until the server has asked ``count`` times."""
        while len(self.asked) < count:
            await self._changed.wait()

    def _note(self, method: str, params: Object) -> None:
        self.asked.append((method, params))
        self._changed.set()
        self._changed = anyio.Event()

    def elicit(self, params: Object) -> Object:
        """Fill in a form, or agree to visit a URL."""
        self._note("elicitation/create", params)
        answer: Object = {"action": self.action}
        if self.action == "accept" and params.get("mode") != "url":
            fields = params["requestedSchema"]["properties"]
            answer["content"] = {name: _filled(name, rules) for name, rules in fields.items()}
        return answer

    def sample(self, params: Object) -> Object:
        """Say "four", or use the first tool there is.  Raises :class:`Refused`."""
        self._note("sampling/createMessage", params)
        if self.unwilling:
            raise Refused(UNWILLING, "User rejected sampling request")
        answer: Object = {"role": "assistant", "model": "interop", "stopReason": "endTurn"}
        if params.get("tools"):
            name = params["tools"][0]["name"]
            use = {"type": "tool_use", "id": "use-1", "name": name, "input": {"a": 2, "b": 2}}
            return {**answer, "content": [use], "stopReason": "toolUse"}
        return {**answer, "content": {"type": "text", "text": "four"}}

    def list_roots(self) -> Object:
        """Name the roots."""
        self._note("roots/list", {})
        return {"roots": [{"uri": uri, "name": uri.rpartition("/")[2]} for uri in self.roots]}


def _filled(name: str, rules: Object) -> Any:
    if name in PERSON:
        return PERSON[name]
    if "default" in rules:
        return rules["default"]
    if rules.get("type") == "array":
        return [_filled("", rules["items"])]
    titled = rules.get("oneOf") or rules.get("anyOf") or []
    choices = rules.get("enum") or [option["const"] for option in titled]
    if choices:
        return choices[0]
    return FORMATS.get(rules.get("format", ""), PLACEHOLDERS[rules["type"]])


class Caller(ABC):
    """An open connection of a client to a server.

    ``facts``: the flags of the negotiated revision, by name (:mod:`mcpcore.spec.revisions`).
    ``url``: where the server is, None on stdio.
    Methods that send raise :class:`Refused`, :class:`Late`, or :class:`Unavailable`.
    """

    def __init__(self, facts: Mapping[str, Any], url: str | None) -> None:
        self.facts = facts
        self.url = url
        self.answers = Answers()
        self.news = News()
        self.another: Callable[[], AbstractAsyncContextManager[Caller]]
        """Opens a second connection to the same server."""
        self.bare: Callable[[], AbstractAsyncContextManager[Caller]]
        """Opens one of a client that declares no capabilities."""

    @property
    def modern(self) -> bool:
        """Whether the conversation is stateless."""
        return bool(self.facts["modern"])

    @abstractmethod
    async def opening(self) -> Object:
        """Return ``protocolVersion``, ``serverInfo``, ``capabilities`` and ``instructions``."""

    @abstractmethod
    async def ping(self) -> None:
        """Make sure that the server answers (legacy)."""

    @abstractmethod
    async def page(self, method: str, cursor: str | None = None) -> Object:
        """Return one page of a list, fresh from the server."""

    @abstractmethod
    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool; ``timeout`` in seconds. Cancelling the caller cancels the request."""

    @abstractmethod
    async def read(self, uri: str) -> Object:
        """Read a resource."""

    @abstractmethod
    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """Get a prompt."""

    @abstractmethod
    async def complete(
        self, ref: Object, argument: str, value: str, known: dict[str, str] | None = None
    ) -> Object:
        """Complete an argument of a prompt or a template."""

    @abstractmethod
    async def set_level(self, level: str) -> None:
        """Have log messages of this level and above sent, with all later requests."""

    @abstractmethod
    async def subscribe(self, uri: str) -> None:
        """Have changes of a resource reported (legacy)."""

    @abstractmethod
    async def unsubscribe(self, uri: str) -> None:
        """End that."""

    @abstractmethod
    def listen(self, wanted: Object) -> AbstractAsyncContextManager[AsyncIterator[Object]]:
        """Open a listen stream (modern) with this filter.

        What it yields are objects with ``kind`` (tools, prompts, resources, resource) and ``uri``.
        """

    @abstractmethod
    async def roots_changed(self) -> None:
        """Say that the roots have changed (legacy)."""

    @abstractmethod
    async def request(self, method: str, params: Object) -> Object:
        """Send any request that the library may not know."""

    @property
    @abstractmethod
    def session(self) -> str | None:
        """The id of the HTTP session, if there is one."""

    # Experimental tasks

    async def start_task(self, name: str, arguments: Object) -> Object:
        """Call a tool as a task; return the task."""
        params = {"name": name, "arguments": arguments, "task": {"ttl": 60_000}}
        task: Object = (await self.request("tools/call", params))["task"]
        return task

    async def task(self, id: str) -> Object:
        """Ask how a task stands."""
        return await self.request("tasks/get", {"taskId": id})

    async def task_result(self, id: str) -> Object:
        """Wait for the result of the call behind a task."""
        return await self.request("tasks/result", {"taskId": id})

    async def tasks(self) -> list[Object]:
        """List the tasks."""
        listed: list[Object] = (await self.request("tasks/list", {}))["tasks"]
        return listed

    async def cancel_task(self, id: str) -> Object:
        """Cancel a task."""
        return await self.request("tasks/cancel", {"taskId": id})

    # Made of these

    async def all_pages(self, method: str, member: str) -> list[Object]:
        """Return all items of a list."""
        items: list[Object] = []
        cursor = None
        while True:
            page = await self.page(method, cursor)
            items += page[member]
            cursor = page.get("nextCursor")
            if cursor is None:
                return items

    async def say(self, name: str, arguments: Object | None = None) -> str:
        """Call a tool and return its text."""
        return text_of(await self.call(name, arguments))
