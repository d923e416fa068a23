"""What the core offers when it is tested alone: the official fixture's plainest parts."""

from typing import Any

from mcpcore.errors import ToolError
from mcpcore.service import Image, Server
from mcpcore_conformance.everything.media import png
from mcpcore_conformance.everything.schemas import ADDRESS_BOOK
from mcpcore_conformance.subjects.core_app import CoreContext, Steps
from mcpcore_transports.schema import compile_schema

WATCHED = "test://watched-resource"
_PAUSE = 0.05
_FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def make_server() -> Server:
    """Declare everything anew: a server is not shared between conversations' tests."""
    server = Server(
        "mcpcore-core",
        version="0.1.0",
        instructions="The core alone, without an event loop.",
        validator=compile_schema,
        page_size=5,
    )
    _plain(server)
    _waiting(server)
    _asking(server)
    _reading(server)
    return server


def _plain(server: Server) -> None:
    @server.tool
    def test_simple_text() -> str:
        """Returns one text."""
        return "This is a simple text response for testing."

    @server.tool
    def test_image_content() -> Image:
        """Returns an image."""
        return Image(png())

    @server.tool
    def test_error_handling() -> str:
        """Fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool
    def test_structured_output(city: str) -> dict[str, Any]:
        """Returns an object."""
        return {"city": city, "temperature": 21.5}

    @server.tool(input_schema=ADDRESS_BOOK)
    def json_schema_2020_12_tool(**entry: Any) -> str:
        """Takes what JSON Schema 2020-12 can say."""
        return f"called with: {sorted(entry)}"

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


def _waiting(server: Server) -> None:
    cancelled = 0

    @server.tool(structured_output=False)
    def test_wait(context: CoreContext, seconds: float) -> Any:
        """Waits, and counts if the wait was cancelled."""

        def steps() -> Steps:
            nonlocal cancelled
            context.progress(0, seconds)
            try:
                yield context.wait(seconds)
            except GeneratorExit:
                cancelled += 1
                raise
            return "waited"

        return steps()

    @server.tool
    def test_cancelled_count() -> int:
        """Says how many waits were cancelled."""
        return cancelled

    @server.tool(structured_output=False)
    def test_tool_with_progress(context: CoreContext, seconds: float = _PAUSE) -> Any:
        """Reports progress three times, and waits so many seconds after each."""

        def steps() -> Steps:
            for done in (0, 50, 100):
                context.progress(done, 100)
                yield context.wait(seconds)
            return "done"

        return steps()

    @server.tool(structured_output=False)
    def test_tool_with_logging(context: CoreContext) -> Any:
        """Sends three log messages."""

        def steps() -> Steps:
            for step in ("started", "processing data", "completed"):
                context.log("info", f"Tool execution {step}")
                yield context.wait(_PAUSE)
            return "logged"

        return steps()

    @server.tool
    def test_logging_tool(context: CoreContext) -> str:
        """Tries to send a log message."""
        sent = context.log("info", "This message needs a log level")
        return "logged" if sent else "nobody wants log messages"


def _asking(server: Server) -> None:
    def elicited(context: CoreContext, message: str) -> Steps:
        answer = yield context.ask(
            "user_name", "elicitation/create", message=message, requestedSchema=_FORM
        )
        return f"User response: action={answer['action']}, content={answer.get('content')}"

    @server.tool(structured_output=False)
    def test_elicitation(context: CoreContext, message: str) -> Any:
        """Asks the user to fill a form."""
        return elicited(context, message)

    @server.tool(structured_output=False)
    def test_input_required_result_elicitation(context: CoreContext) -> Any:
        """Asks the user for a name."""
        return elicited(context, "What is your name?")

    @server.tool(structured_output=False)
    def test_sampling(context: CoreContext, prompt: str) -> Any:
        """Asks the client's model."""

        def steps() -> Steps:
            message = {"role": "user", "content": {"type": "text", "text": prompt}}
            answer = yield context.ask(
                "sample", "sampling/createMessage", messages=[message], maxTokens=100
            )
            content = answer.get("content")
            block = content if isinstance(content, dict) else {}
            model, role = answer.get("model"), answer.get("role")
            if role not in ("user", "assistant") or not isinstance(model, str) or not block:
                raise ToolError("what the client answers is no message of a model")
            return f"LLM response: {block.get('text')}"

        return steps()

    @server.tool(structured_output=False)
    def test_list_roots(context: CoreContext) -> Any:
        """Asks for the client's roots."""

        def steps() -> Steps:
            answer = yield context.ask("roots", "roots/list")
            return ", ".join(root["uri"] for root in answer["roots"])

        return steps()


def _reading(server: Server) -> None:
    @server.resource("test://static-text", name="static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", name="static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """A picture."""
        return png()

    @server.resource(WATCHED, name="watched-resource", mime_type="text/plain")
    def watched() -> str:
        """A resource that changes."""
        return "Watched resource content"

    @server.resource("test://template/{id}/data", name="template", mime_type="application/json")
    def template(id: str) -> dict[str, str]:
        """A resource for every id."""
        return {"id": id, "data": f"Data for ID: {id}"}

    @server.prompt
    def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with two arguments."""
        return f"Prompt with arguments: arg1={arg1}, arg2={arg2}"

    @server.completion(prompt="test_prompt_with_arguments")
    def complete_argument(typed: str) -> list[str]:
        """Suggests values that begin as typed."""
        return [word for word in ("paris", "park", "party", "test") if word.startswith(typed)]
