"""Tools whose calls run as tasks, where the client can follow them."""

from typing import Any

import anyio
import anyio.lowlevel
from msgspec import Struct

from mcpcore import Context, Elicit, McpError, ToolError
from mcpcore.spec.errors import INTERNAL_ERROR
from mcpcore_conformance.everything.app import server
from mcpcore_conformance.everything.questions import Name

_SECOND = 1.0


class Confirmation(Struct):
    """A form with a box to tick."""

    confirm: bool


@server.tool
def greet(name: str) -> str:
    """Greets somebody at once."""
    return f"Hello, {name}!"


@server.tool(task="optional")
async def slow_compute(context: Context, seconds: float = 1.0, label: str = "") -> str:
    """Takes its time."""
    context.progress(0, seconds, f"{label or 'the computation'} has begun")
    await anyio.sleep(seconds)
    return f"{label or 'the computation'} took {seconds:g} s"


@server.tool(task="required")
async def failing_job() -> str:
    """Fails after a second."""
    await anyio.sleep(_SECOND)
    raise ToolError("This job fails, always")


@server.tool(task="optional")
async def protocol_error_job() -> str:
    """Ends with an error of the protocol."""
    await anyio.lowlevel.checkpoint()
    raise McpError(INTERNAL_ERROR, "This job breaks, always")


@server.tool(task="optional")
async def confirm_delete(context: Context, filename: str) -> str:
    """Asks before it deletes (nothing, in fact)."""
    answer = await context.elicit(f"Delete {filename}?", Confirmation, key="confirm")
    if answer.content is None or not answer.content.confirm:
        return f"{filename} was kept"
    return f"{filename} was deleted"


@server.tool(task="optional")
async def multi_input(context: Context) -> str:
    """Asks for two things at once."""
    questions: dict[str, Elicit[Any]] = {
        "name": Elicit("What is your name?", Name),
        "confirmation": Elicit("Shall we go on?", Confirmation),
    }
    answers = await context.gather_inputs(questions)
    return ", ".join(f"{key}: {answer.action}" for key, answer in answers.items())


@server.tool(task="required", task_after=None)
async def test_tool_with_task(context: Context) -> str:
    """Asks for a name in the call itself, and then goes on as a task."""
    answer = await context.elicit("What is your name?", Name, key="user_name")
    context.start_task()
    await anyio.sleep(_SECOND / 10)
    return f"Hello, {answer.content.name if answer.content else 'whoever you are'}!"
