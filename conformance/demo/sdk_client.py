"""The official Python SDK's client, driven through every feature of a given server.

Runs inside .venv-sdk only, and imports nothing of this project:
``.venv-sdk/bin/python conformance/demo/sdk_client.py --revision R (URL | -- COMMAND ...)``.
Prints one JSON object a line: ``{"feature", "outcome", "detail", "ms"}``, where ``outcome`` is
``ok`` or ``failed`` and ``ms`` the round trips of all rounds.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are driven here

WATCHED = "test://watched-resource"
PATIENCE = 10.0
"""Seconds that any one feature may take."""


class Counter:
    """Counts what arrived and lets a task wait for a number of them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = anyio.Event()

    def add(self) -> None:
        """Count one more."""
        self.count += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def reach(self, count: int) -> None:
        """Wait until ``count`` have arrived."""
        while self.count < count:
            await self._changed.wait()


def text_of(result: types.CallToolResult) -> str:
    """Return the text of a tool's result; raise if the tool failed."""
    text = " ".join(block.text for block in result.content if block.type == "text")
    if result.is_error:
        raise AssertionError(f"the tool failed: {text}")
    return text


def expect(condition: object, what: object) -> None:
    """Raise AssertionError with ``what`` was seen instead."""
    if not condition:
        raise AssertionError(f"unexpected: {what}")


class Driver:
    """Every feature as one method; each call of it is one round."""

    def __init__(self, legacy: bool) -> None:
        self.client: Client
        self.legacy = legacy
        self.logged = Counter()
        self.notified = Counter()

    async def on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        """Count a log message."""
        self.logged.add()

    async def on_message(self, message: object) -> None:
        """Count a list change."""
        if isinstance(message, types.ToolListChangedNotification):
            self.notified.add()

    async def elicit(
        self, context: object, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        """Answer an elicitation."""
        return types.ElicitResult(
            action="accept", content={"username": "ada", "email": "ada@example.org"}
        )

    async def sample(
        self, context: object, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        """Answer as a model would."""
        content = types.TextContent(type="text", text="four")
        return types.CreateMessageResult(role="assistant", content=content, model="demo")

    async def roots(self, context: object) -> types.ListRootsResult:
        """Name one root."""
        return types.ListRootsResult(roots=[types.Root(uri="file:///demo/root", name="demo")])

    async def tools(self) -> None:
        """Call a tool."""
        text = text_of(await self.client.call_tool("test_simple_text"))
        expect("simple text" in text, text)

    async def tools_list(self) -> None:
        """List the tools."""
        listed = await self.client.list_tools(cache_mode="bypass")
        expect(len(listed.tools) > 5, listed)

    async def progress(self) -> None:
        """Call a tool that reports progress."""
        seen = Counter()
        values: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            values.append(progress)
            seen.add()

        await self.client.call_tool("test_tool_with_progress", progress_callback=on_progress)
        await seen.reach(3)
        expect(values == sorted(values), values)

    async def structured_output(self) -> None:
        """Call a tool whose result is an object."""
        result = await self.client.call_tool("test_structured_output", {"city": "Paris"})
        expect((result.structured_content or {}).get("city") == "Paris", result)

    async def tool_error(self) -> None:
        """Call a tool that fails."""
        result = await self.client.call_tool("test_error_handling")
        expect(result.is_error, result)

    async def resources(self) -> None:
        """List and read resources."""
        listed = await self.client.list_resources(cache_mode="bypass")
        expect(any(str(r.uri) == "test://static-text" for r in listed.resources), listed)
        read = await self.client.read_resource("test://static-text", cache_mode="bypass")
        expect(read.contents[0].text, read)

    async def templates(self) -> None:
        """List templates and read through one."""
        listed = await self.client.list_resource_templates(cache_mode="bypass")
        expect(listed.resource_templates, listed)
        read = await self.client.read_resource("test://template/123/data", cache_mode="bypass")
        expect("123" in read.contents[0].text, read)

    async def prompts(self) -> None:
        """List and get prompts."""
        listed = await self.client.list_prompts(cache_mode="bypass")
        expect(any(p.name == "test_simple_prompt" for p in listed.prompts), listed)
        arguments = {"arg1": "one", "arg2": "two"}
        got = await self.client.get_prompt("test_prompt_with_arguments", arguments)
        expect("one" in got.messages[0].content.text, got)

    async def completion(self) -> None:
        """Complete an argument."""
        ref = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        result = await self.client.complete(ref, {"name": "arg1", "value": "test"})
        expect(isinstance(result.completion.values, list), result)

    async def elicitation(self) -> None:
        """Call a tool that asks the user."""
        arguments = {"message": "Who are you?"}
        text = text_of(await self.client.call_tool("test_elicitation", arguments))
        expect("ada" in text, text)

    async def sampling(self) -> None:
        """Call a tool that asks the model."""
        arguments = {"prompt": "Two and two?"}
        text = text_of(await self.client.call_tool("test_sampling", arguments))
        expect("four" in text, text)

    async def roots_list(self) -> None:
        """Call a tool that asks for the roots."""
        text = text_of(await self.client.call_tool("test_list_roots"))
        expect("file:///demo/root" in text, text)

    async def cancellation(self) -> None:
        """Give a call up; the server must notice."""
        before = int(text_of(await self.client.call_tool("test_cancelled_count")))

        async def cancel(progress: float, total: float | None, message: str | None) -> None:
            scope.cancel()

        with anyio.CancelScope() as scope:
            await self.client.call_tool("test_wait", {"seconds": 30}, progress_callback=cancel)
        expect(scope.cancelled_caught, "the call ended by itself")
        noticed = before
        while noticed <= before:
            noticed = int(text_of(await self.client.call_tool("test_cancelled_count")))

    async def subscriptions(self) -> None:
        """Be told of a change."""
        if self.legacy:
            await self.client.subscribe_resource(WATCHED)
            seen = self.notified.count
            text_of(await self.client.call_tool("test_trigger_tool_change"))
            await self.notified.reach(seen + 1)
            await self.client.unsubscribe_resource(WATCHED)
            return
        async with self.client.listen(tools_list_changed=True) as subscription:
            text_of(await self.client.call_tool("test_trigger_tool_change"))
            event = await anext(subscription)
            expect(type(event).__name__ == "ToolsListChanged", event)

    async def logging(self) -> None:
        """Call a tool that logs."""
        seen = self.logged.count
        text_of(await self.client.call_tool("test_tool_with_logging"))
        await self.logged.reach(seen + 3)


FEATURES: tuple[tuple[str, str, int], ...] = (
    ("tools/list", "tools_list", 9),
    ("tools/call", "tools", 15),
    ("progress", "progress", 3),
    ("structured output", "structured_output", 9),
    ("tool error", "tool_error", 9),
    ("resources", "resources", 9),
    ("templates", "templates", 9),
    ("prompts", "prompts", 9),
    ("completion", "completion", 9),
    ("elicitation", "elicitation", 5),
    ("sampling", "sampling", 5),
    ("roots", "roots_list", 5),
    ("cancellation", "cancellation", 3),
    ("subscriptions", "subscriptions", 3),
    ("logging", "logging", 3),
)
"""Feature, method, rounds."""


async def measure(round_: Callable[[], Awaitable[None]], rounds: int) -> dict[str, Any]:
    """Run one feature a number of times; what it raises is its outcome."""
    times: list[float] = []
    try:
        with anyio.fail_after(PATIENCE):
            for _ in range(rounds):
                began = time.perf_counter()
                await round_()
                times.append((time.perf_counter() - began) * 1000)
    except Exception as error:
        while isinstance(error, BaseExceptionGroup) and error.exceptions:
            error = error.exceptions[0]
        detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {"outcome": "failed", "detail": detail, "ms": times}
    return {"outcome": "ok", "detail": "", "ms": times}


async def drive(target: str | StdioServerParameters, revision: str) -> bool:
    """Connect, run every feature, print its line; True if all went well."""
    legacy = revision in HANDSHAKE_PROTOCOL_VERSIONS
    driver = Driver(legacy)
    everything_ok = True
    async with Client(
        target,
        mode="legacy" if legacy else "auto",
        elicitation_callback=driver.elicit,
        sampling_callback=driver.sample,
        list_roots_callback=driver.roots,
        logging_callback=driver.on_log,
        log_level="info",
        message_handler=driver.on_message,
    ) as client:
        driver.client = client
        if client.protocol_version != revision:
            raise SystemExit(f"negotiated {client.protocol_version}, not {revision}")
        if legacy:
            await client.set_logging_level("info")
        for feature, method, rounds in FEATURES:
            line = await measure(getattr(driver, method), rounds)
            everything_ok = everything_ok and line["outcome"] == "ok"
            print(json.dumps({"feature": feature, **line}), flush=True)
    return everything_ok


def main() -> int:
    """Drive the server that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revision", required=True)
    parser.add_argument("target", nargs="+", help="a URL, or -- and the command of a stdio server")
    chosen = parser.parse_args()
    first, *rest = chosen.target
    target = first if "://" in first else StdioServerParameters(command=first, args=rest)
    return 0 if anyio.run(drive, target, chosen.revision) else 1


if __name__ == "__main__":
    sys.exit(main())
