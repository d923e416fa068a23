"""What the clients of both lines share that the conformance kit tests."""

import os
import shlex
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from mcp import types
from pydantic import BaseModel, ValidationError

from conformance.interop.sdk.calling import TIMED_OUT, ProtocolError
from conformance.interop.sdk.kit_scenarios import REVISION, defaults

Step = Mapping[str, Any]
Outcome = dict[str, Any]
Told = Callable[[float, float | None, str | None], Awaitable[None]]

TRANSPORT = "MCP_CONFORMANCE_TRANSPORT"
FAILURES = {TIMED_OUT: "timeout", types.CONNECTION_CLOSED: "closed"}
"""Codes of the errors that the SDK makes itself."""


def plain(model: BaseModel) -> dict[str, Any]:
    """What a model was made of: what came, and nothing else."""
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)


class Failed(Exception):
    """A step failed at the client; ``kind`` is one of the contract's failures."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Wishes:
    """What the context asks of a connection, and what serves the server's requests."""

    def __init__(self, address: str, context: Mapping[str, Any]) -> None:
        self.address = address
        self.context = context
        self.revision = os.environ.get(REVISION, "")
        self.transport = os.environ.get(TRANSPORT, "http")
        self.declared = context.get("declare", ("elicitation", "sampling", "roots"))
        self.roots: list[str] = context.get("roots", ["file:///test/root"])
        self.headers: dict[str, str] | None = context.get("headers")
        self.heard: list[dict[str, Any]] = []
        """Notifications, as the report lists them."""
        self.news = anyio.Event()

    @property
    def command(self) -> list[str]:
        """The server's command, over stdio."""
        return shlex.split(self.address.partition(":")[2])

    @property
    def timeout(self) -> float | None:
        """Seconds for any request, if the context names them."""
        times = (self.context.get("timeout"), self.context.get("maximum"))
        return min((each for each in times if each is not None), default=None)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        """Keep a notification."""
        self.heard.append({"method": method, "params": params})
        self.news.set()
        self.news = anyio.Event()

    async def elicit(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a form or a URL."""
        await anyio.sleep(self.context.get("answer_after", 0))
        action = self.context.get("elicitation", "accept")
        if action != "accept" or params.get("mode") == "url":
            return {"action": action}
        return {"action": action, "content": defaults(params.get("requestedSchema") or {})}

    async def sample(self) -> dict[str, Any]:
        """Answer as a model would."""
        await anyio.sleep(self.context.get("answer_after", 0))
        text = {"type": "text", "text": "said by the test"}
        return {"role": "assistant", "content": text, "model": "test"}


class Serving:
    """What the client does for a server."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes

    async def elicit(
        self, context: object, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        """Answer a form or a URL."""
        answer = await self.wishes.elicit(params.model_dump(by_alias=True))
        return types.ElicitResult.model_validate(answer)

    async def sample(
        self, context: object, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        """Answer as a model would."""
        return types.CreateMessageResult.model_validate(await self.wishes.sample())

    async def roots(self, context: object) -> types.ListRootsResult:
        """Name the roots."""
        roots = [{"uri": uri} for uri in self.wishes.roots]
        return types.ListRootsResult.model_validate({"roots": roots})

    async def hear(self, message: object) -> None:
        """Keep a notification."""
        if isinstance(message, BaseModel):
            heard = plain(message)
            self.wishes.hear(heard["method"], heard.get("params", {}))

    def options(self) -> dict[str, Any]:
        """What the client is made with."""
        declared = self.wishes.declared
        tools = types.SamplingToolsCapability() if "sampling.tools" in declared else None
        made = {
            "elicitation": {"elicitation_callback": self.elicit},
            "sampling": {
                "sampling_callback": self.sample,
                "sampling_capabilities": types.SamplingCapability(tools=tools),
            },
            "roots": {"list_roots_callback": self.roots},
        }
        chosen = [options for name, options in made.items() if name in declared]
        found = {name: value for options in chosen for name, value in options.items()}
        return {"message_handler": self.hear, **found}


class Connection:
    """One connection; ``client`` has the calls of the line."""

    revision: str
    """What is spoken."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(
        self, tool: str, arguments: Any, timeout: float | None, told: Told | None
    ) -> dict[str, Any]:
        """Call a tool."""
        raise NotImplementedError

    async def fetch(self, call: Callable[..., Any], cursor: str | None) -> BaseModel:
        """Fetch a page by a call of the line."""
        raise NotImplementedError

    async def page(self, what: str, cursor: str | None) -> tuple[list[Any], str | None]:
        """Fetch a page of a list, and the cursor of the next."""
        call, name = {
            "tools": (self.client.list_tools, "tools"),
            "resources": (self.client.list_resources, "resources"),
            "templates": (self.client.list_resource_templates, "resourceTemplates"),
            "prompts": (self.client.list_prompts, "prompts"),
        }[what]
        found = plain(await self.fetch(call, cursor))
        return found[name], found.get("nextCursor")

    async def listing(self, what: str) -> list[Any]:
        """Fetch all pages of a list."""
        found, cursor = await self.page(what, None)
        while cursor is not None:
            entries, cursor = await self.page(what, cursor)
            found += entries
        return found

    async def read(self, uri: str) -> dict[str, Any]:
        """Read a resource."""
        raise NotImplementedError

    async def prompt(self, name: str, arguments: dict[str, str] | None) -> dict[str, Any]:
        """Get a prompt."""
        return plain(await self.client.get_prompt(name, arguments))

    async def complete(self, step: Step) -> dict[str, Any]:
        """Ask for completions."""
        prompt = step["ref"]["type"] == "ref/prompt"
        kind = types.PromptReference if prompt else types.ResourceTemplateReference
        argument = {"name": step["argument"], "value": step["value"]}
        ref = kind.model_validate(step["ref"])
        return plain(await self.client.complete(ref, argument, step.get("known")))

    async def subscribe(self, uri: str) -> None:
        """Subscribe to a resource."""
        await self.client.subscribe_resource(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.client.unsubscribe_resource(uri)

    async def listen(self, step: Step, seen: dict[str, Any]) -> None:
        """Listen until so many changes have come or the server ends it, and note both."""
        raise NotImplementedError

    async def level(self, level: Any) -> None:
        """Set the level of log messages."""
        await self.client.set_logging_level(level)

    async def ping(self) -> None:
        """Send a ping."""
        await self.client.send_ping()

    async def roots_changed(self) -> None:
        """Say that the roots have changed."""
        await self.client.send_roots_list_changed()


class Line:
    """A line of the SDK."""

    name: str
    transports: tuple[str, ...] = ("http", "sse", "stdio")
    closed: tuple[type[Exception], ...]
    """What it raises when the connection is gone."""

    def unable(self, step: Step) -> str:
        """Why a step cannot be done; empty if it can."""
        if step.get("progress") and step["do"] != "call":
            return f"{self.name} takes no listener for the progress of {step['do']}"
        return ""

    def unsuited(self, wishes: Wishes) -> str:
        """Why a connection like that cannot be had; empty if it can."""
        declared = wishes.context.get("declare", ())
        if ("elicitation" in declared) is not ("elicitation.url" in declared):
            return f"{self.name} declares forms and URLs, or neither"
        if wishes.transport not in self.transports:
            return f"{self.name} has no client for {wishes.transport}"
        return ""

    def connect(self, wishes: Wishes) -> AbstractAsyncContextManager[Connection]:
        """Connect."""
        raise NotImplementedError

    def outcome(self, error: BaseException) -> Outcome:
        """Sort what was raised; the SDK raises for itself what it raises for an error's code."""
        message = str(error) or type(error).__name__
        if isinstance(error, ProtocolError):
            found = error.error
            if found.code in FAILURES:
                return {"failure": FAILURES[found.code], "message": message}
            told = {"code": found.code, "message": found.message}
            return {"error": told if found.data is None else {**told, "data": found.data}}
        if isinstance(error, ValidationError):
            return {"failure": "invalid", "message": message}
        if isinstance(error, self.closed):
            return {"failure": "closed", "message": message}
        if isinstance(error, RuntimeError):
            invalid = "structured content" in message or "Invalid schema" in message
            return {"failure": "invalid" if invalid else "refused", "message": message}
        return {"failure": "other", "message": message}
