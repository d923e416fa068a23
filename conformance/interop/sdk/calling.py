"""What the clients of every library on the SDK share that are driven through the features."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import mcp
from mcp import types
from pydantic import BaseModel, RootModel

from conformance.interop.drivers.caller import Caller, Late, Object, Progress, Refused

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are driven here

ProtocolError: type[Exception] = getattr(mcp, "MCPError", None) or mcp.McpError
"""What the SDK raises for an error that came, or that it made itself."""
TIMED_OUT = getattr(types, "REQUEST_TIMEOUT", 408)
"""Code of the one that it makes itself when no answer comes."""


class Anything(types.Request[dict[str, Any], str]):
    """A request of any method."""


class Plain(RootModel[dict[str, Any]]):
    """A result as it came."""


def plain(model: BaseModel) -> Object:
    """Return the wire form."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


@contextmanager
def translated() -> Iterator[None]:
    """Say in the drivers' words what the SDK raises."""
    try:
        yield
    except ProtocolError as raised:
        error = raised.error
        if error.code == TIMED_OUT:
            raise Late(error.message) from raised
        raise Refused(error.code, error.message, error.data) from raised


def reporter(progress: Progress | None) -> Callable[..., Any] | None:
    """Return what the SDK calls for each report of progress."""

    async def report(value: float, total: float | None, message: str | None) -> None:
        progress(value, total, message)

    return None if progress is None else report


LISTS = {
    "tools/list": "list_tools",
    "resources/list": "list_resources",
    "resources/templates/list": "list_resource_templates",
    "prompts/list": "list_prompts",
}
REFERENCES = {
    "ref/prompt": types.PromptReference,
    "ref/resource": types.ResourceTemplateReference,
}


class SdkCaller(Caller):
    """One connection; ``client`` has the calls of the library."""

    client: Any
    names: Mapping[str, str] = {}
    """What the library calls otherwise than the SDK."""

    async def elicit(
        self, context: object, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        """Answer an elicitation."""
        return types.ElicitResult.model_validate(self.answers.elicit(plain(params)))

    async def sample(
        self, context: object, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        """Answer as a model would."""
        try:
            answer = self.answers.sample(plain(params))
        except Refused as refused:
            return types.ErrorData(code=refused.code, message=refused.text)
        listed = isinstance(answer["content"], list)
        kind = types.CreateMessageResultWithTools if listed else types.CreateMessageResult
        return kind.model_validate(answer)

    async def list_roots(self, context: object) -> types.ListRootsResult:
        """Name the roots."""
        return types.ListRootsResult.model_validate(self.answers.list_roots())

    async def hear(self, message: object) -> None:
        """Keep a notification."""
        if isinstance(message, BaseModel):
            heard = plain(message)
            self.news.add(heard["method"], heard.get("params", {}))

    def callbacks(self) -> dict[str, Any]:
        """What the client is made with that serves the server."""
        tools = types.SamplingToolsCapability()
        return {
            "sampling_callback": self.sample,
            "elicitation_callback": self.elicit,
            "list_roots_callback": self.list_roots,
            "message_handler": self.hear,
            "sampling_capabilities": types.SamplingCapability(tools=tools),
        }

    async def ask(self, name: str, *given: Any, **named: Any) -> Object:
        """Have a call made, by the name that the SDK has for it."""
        call = attrgetter(self.names.get(name, name))(self.client)
        with translated():
            answer = await call(*given, **named)
        if isinstance(answer, Plain):
            return answer.root
        return plain(answer) if isinstance(answer, BaseModel) else {}

    async def ping(self) -> None:
        """Send a ping."""
        await self.ask("send_ping")

    def paging(self, cursor: str | None) -> dict[str, Any]:
        """Arguments of a call that fetches a page."""
        raise NotImplementedError

    async def page(self, method: str, cursor: str | None = None) -> Object:
        """Fetch a page."""
        return await self.ask(LISTS[method], **self.paging(cursor))

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        return await self.ask("read_resource", uri)

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """Get a prompt."""
        return await self.ask("get_prompt", name, arguments)

    async def complete(
        self, ref: Object, argument: str, value: str, known: dict[str, str] | None = None
    ) -> Object:
        """Complete an argument."""
        reference = REFERENCES[ref["type"]].model_validate(ref)
        return await self.ask("complete", reference, {"name": argument, "value": value}, known)

    async def set_level(self, level: str) -> None:
        """Set the level."""
        await self.ask("set_logging_level", level)

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.ask("subscribe_resource", uri)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.ask("unsubscribe_resource", uri)

    async def roots_changed(self) -> None:
        """Announce new roots."""
        await self.ask("send_roots_list_changed")

    async def request(self, method: str, params: Object) -> Object:
        """Send anything."""
        request = Anything(method=method, params=params)
        return await self.ask("session.send_request", request, Plain)
