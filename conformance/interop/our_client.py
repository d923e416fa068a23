"""Our client, as the drivers of the features see it: ``python -m conformance.interop.our_client``.

See :mod:`conformance.interop.drivers.script` for the arguments.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Raw

from conformance.interop.drivers.caller import Caller, Late, Object, Progress, Refused
from conformance.interop.drivers.script import Target, main
from conformance.interop.talk import MEMORY
from mcpcore import (
    DEFAULT_TIMEOUT,
    Callbacks,
    Client,
    HttpClient,
    McpError,
    PeerError,
    RequestTimeout,
    Server,
    connect,
)
from mcpcore.errors import InputFailed
from mcpcore.types import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    PromptReference,
    ResourceTemplateReference,
)


class OurCaller(Caller):
    """One connection of our client."""

    client: Client

    def __init__(self, facts: Mapping[str, Any], url: str | None) -> None:
        super().__init__(facts, url)
        self.callbacks = Callbacks(
            elicitation=self._elicit,
            elicitation_url=self._elicit,
            sampling=self._sample,
            sampling_tools=True,
            roots=list(self.answers.roots),
            notification=lambda method, params: self.news.add(method, msgspec.json.decode(params)),
        )

    def _elicit(self, params: ElicitParams) -> ElicitResult:
        return msgspec.convert(self.answers.elicit(_plain(params)), ElicitResult)

    def _sample(self, params: CreateMessageParams) -> CreateMessageResult:
        try:
            return msgspec.convert(self.answers.sample(_plain(params)), CreateMessageResult)
        except Refused as refused:
            raise McpError(refused.code, refused.text) from None

    async def opening(self) -> Object:
        """What came with the handshake or by discovery."""
        client = self.client
        return {
            "protocolVersion": client.revision.name,
            "serverInfo": _plain(client.server_info),
            "capabilities": _plain(client.capabilities),
            "instructions": client.instructions,
        }

    async def ping(self) -> None:
        """Send a ping."""
        await self.client.ping()

    async def page(self, method: str, cursor: str | None = None) -> Object:
        """Fetch a page."""
        client = self.client
        fetch: dict[str, Callable[[str | None], Awaitable[Any]]] = {
            "tools/list": client.list_tools,
            "resources/list": client.list_resources,
            "resources/templates/list": client.list_resource_templates,
            "prompts/list": client.list_prompts,
        }
        with _translated():
            return _plain(await fetch[method](cursor))

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool."""
        patience = DEFAULT_TIMEOUT if timeout is None else timeout
        with _translated():
            result = await self.client.call_tool(
                name, arguments, progress=progress, timeout=patience
            )
        return _plain(result)

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        with _translated():
            return _plain(await self.client.read_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """Get a prompt."""
        with _translated():
            return _plain(await self.client.get_prompt(name, arguments))

    async def complete(
        self, ref: Object, argument: str, value: str, known: dict[str, str] | None = None
    ) -> Object:
        """Complete an argument."""
        kind = PromptReference | ResourceTemplateReference
        with _translated():
            reference: Any = msgspec.convert(ref, kind)
            return _plain(await self.client.complete(reference, argument, value, known=known))

    async def set_level(self, level: str) -> None:
        """Set the level."""
        await self.client.set_log_level(level)  # type: ignore[arg-type]

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.client.subscribe(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.client.unsubscribe(uri)

    @asynccontextmanager
    async def listen(self, wanted: Object) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a listen stream."""
        chosen = {
            "tools": wanted.get("toolsListChanged", False),
            "prompts": wanted.get("promptsListChanged", False),
            "resources": wanted.get("resourcesListChanged", False),
        }
        uris = wanted.get("resourceSubscriptions", [])
        async with self.client.listen(**chosen, uris=uris) as changes:
            yield ({"kind": change.kind, "uri": change.uri} async for change in changes)

    async def roots_changed(self) -> None:
        """Announce new roots."""
        self.client.set_roots(list(self.answers.roots))

    async def request(self, method: str, params: Object) -> Object:
        """Send a request of an extension, or one that the revision has."""
        with _translated():
            raw: Raw = await self.client.request(method, params)
        decoded: Object = msgspec.json.decode(raw)
        return decoded

    @property
    def session(self) -> str | None:
        """The session's id."""
        machine = self.client._core.machine
        return machine.session if isinstance(machine, HttpClient) else None


class _translated:  # noqa: N801 - used like a function
    """Say in the drivers' words what our client raises."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, InputFailed):
            cause = error.__cause__
            raise Refused(cause.code if isinstance(cause, McpError) else 0, str(error)) from error
        if isinstance(error, PeerError):
            data = error.error.data
            plain = msgspec.json.decode(data) if isinstance(data, Raw) else data
            raise Refused(error.code, error.error.message, plain) from error
        if isinstance(error, RequestTimeout):
            raise Late(str(error)) from error


def _plain(value: Any) -> Object:
    plain: Object = msgspec.json.decode(msgspec.json.encode(value))
    return plain


def _reached(target: Target) -> Target | Server:
    if target != MEMORY:
        return target
    from mcpcore_conformance.everything.server import server

    return server


@asynccontextmanager
async def open_ours(
    target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
) -> AsyncIterator[OurCaller]:
    """Connect; see :class:`conformance.interop.drivers.script.Open`."""
    caller = OurCaller(facts, target if isinstance(target, str) else None)
    callbacks = None if bare else caller.callbacks
    revision = None if automatic else facts["name"]
    async with connect(_reached(target), callbacks=callbacks, revision=revision) as client:
        caller.client = client
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_ours))
