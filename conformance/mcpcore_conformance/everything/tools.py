"""Tools: every kind of content, structure, errors, progress, logging, cancellation, changes."""

import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from typing import Annotated, Any, ClassVar

import anyio
from msgspec import Struct

from mcpcore import Audio, Context, Embedded, Image, ToolError, mirrored
from mcpcore.types import ResourceLink
from mcpcore_conformance.everything.app import server
from mcpcore_conformance.everything.media import png, wav
from mcpcore_conformance.everything.schemas import ADDRESS_BOOK, MIRRORED

WATCHED = "test://watched-resource"
_PAUSE = 0.05


class _Count:
    """How many waits were cancelled, by their labels."""

    cancelled: ClassVar[Counter[str]] = Counter()


class Weather(Struct):
    """A structured result."""

    city: str
    temperature: float
    """In degrees Celsius."""


@server.tool
def test_simple_text() -> str:
    """Returns one text."""
    return "This is a simple text response for testing."


@server.tool
def test_image_content() -> Image:
    """Returns an image."""
    return Image(png())


@server.tool
def test_audio_content() -> Audio:
    """Returns a sound."""
    return Audio(wav())


@server.tool
def test_embedded_resource() -> Embedded:
    """Returns a resource with its contents."""
    return Embedded(
        "This is an embedded resource content.", "test://embedded-resource", "text/plain"
    )


@server.tool(structured_output=False)
def test_multiple_content_types() -> list[Any]:
    """Returns a text, an image and a resource."""
    data = '{"test":"data","value":123}'
    return [
        "Multiple content types test:",
        Image(png()),
        Embedded(data, "test://mixed-content-resource", "application/json"),
    ]


@server.tool(structured_output=False)
def test_resource_link() -> ResourceLink:
    """Returns a pointer to a resource."""
    return ResourceLink(uri="test://static-text", name="static-text", mime_type="text/plain")


@server.tool(
    title="Weather",
    annotations={"readOnlyHint": True, "openWorldHint": False},
    icons=["https://example.com/weather.png"],
)
def test_structured_output(city: str) -> Weather:
    """Returns an object that follows an output schema."""
    return Weather(city=city, temperature=21.5)


@server.tool
def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool
async def test_tool_with_progress(context: Context, seconds: float = _PAUSE) -> str:  # noqa: PT028
    """Reports progress three times, and waits so many seconds after each."""
    for done in (0, 50, 100):
        context.progress(done, 100, f"Completed step {done} of 100")
        await anyio.sleep(seconds)
    return "done"


@server.tool
async def test_tool_with_logging(context: Context) -> str:
    """Sends three log messages."""
    for step in ("started", "processing data", "completed"):
        context.info(f"Tool execution {step}")
        await anyio.sleep(_PAUSE)
    return "logged"


@server.tool
def test_logging_tool(context: Context) -> str:
    """Tries to send a log message."""
    sent = context.info("This message needs a log level")
    return "logged" if sent else "nobody wants log messages"


@server.tool
async def test_wait(context: Context, seconds: float, label: str = "") -> str:  # noqa: PT028
    """Waits, and counts if the wait was cancelled."""
    context.progress(0, seconds)
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        _Count.cancelled[label] += 1
        raise
    return "waited"


@server.tool
def test_cancelled_count(label: str | None = None) -> str:  # noqa: PT028
    """Says how many waits were cancelled, all of them or those with a label."""
    return str(_Count.cancelled.total() if label is None else _Count.cancelled[label])


@server.tool
def test_noise() -> str:
    """Prints: by itself, past Python, and in a child process."""
    print("noise of a handler", flush=True)
    with suppress(OSError):
        os.write(1, b"noise past Python\n")
    subprocess.run([sys.executable, "-c", "print('noise of a child')"], check=True)
    return "printed"


@server.tool
async def test_reconnection(context: Context) -> str:
    """Closes the connection that its client waits on, and answers when that has come back."""
    context.close_stream(retry=2 * _PAUSE)
    await anyio.sleep(2 * _PAUSE)
    return "Reconnection test completed"


@server.tool(input_schema=ADDRESS_BOOK)
def json_schema_2020_12_tool(**entry: Any) -> str:
    """Takes what JSON Schema 2020-12 can say and derived schemas cannot."""
    return f"JSON Schema 2020-12 tool called with: {sorted(entry)}"


@server.tool
def test_x_mcp_header(region: Annotated[str, mirrored("Region")]) -> str:
    """Takes an argument that is mirrored into an HTTP header."""
    return f"region: {region}"


@server.tool(input_schema=MIRRORED)
def test_x_mcp_header_kinds(**given: Any) -> str:
    """Takes arguments of every kind that is mirrored into HTTP headers, one of them nested."""
    return f"given: {sorted(given)}"


@server.tool
def test_missing_capability(context: Context) -> str:
    """Needs a client that can sample."""
    context.require("sampling")
    return "the client can sample"


@server.tool
def test_trigger_tool_change() -> str:
    """Adds a tool and removes it again."""
    server.add_tool(test_simple_text, "test_dynamic_tool")
    server.remove_tool("test_dynamic_tool")
    return "the list of tools has changed"


@server.tool
def test_trigger_prompt_change() -> str:
    """Adds a prompt and removes it again."""
    server.add_prompt(test_simple_text, "test_dynamic_prompt")
    server.remove_prompt("test_dynamic_prompt")
    return "the list of prompts has changed"


@server.tool
def test_trigger_resource_change() -> str:
    """Adds a resource and removes it again, and touches the watched one."""
    server.add_resource("test://dynamic-resource", "here for a moment")
    server.remove_resource("test://dynamic-resource")
    server.resource_updated(WATCHED)
    return "the list of resources and the watched resource have changed"
