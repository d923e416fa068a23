"""Resources, prompts and completion."""

from collections.abc import Mapping

from mcpcore import Embedded, Image, user
from mcpcore.types import PromptMessage
from mcpcore_conformance.everything.app import server
from mcpcore_conformance.everything.media import png
from mcpcore_conformance.everything.tools import WATCHED

_STATIC_TEXT = "This is the content of the static text resource."
_WORDS = ("paris", "park", "party", "test", "tested", "testing")


@server.resource(
    "test://static-text",
    name="static-text",
    title="A text",
    mime_type="text/plain",
    annotations={"audience": ["user"], "priority": 0.5, "lastModified": "2026-07-28T12:00:00Z"},
    size=len(_STATIC_TEXT),
)
def static_text() -> str:
    """A fixed text."""
    return _STATIC_TEXT


@server.resource("test://static-binary", name="static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """A fixed image."""
    return png()


@server.resource(WATCHED, name="watched-resource", mime_type="text/plain")
def watched() -> str:
    """What can be subscribed to; the tool test_trigger_resource_change touches it."""
    return "Watched resource content"


@server.resource("test://template/{id}/data", name="template", mime_type="application/json")
def template(id: str) -> dict[str, str | bool]:
    """Data made from the URI."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@server.prompt
def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@server.prompt(title="Two arguments")
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt made from its arguments.

    Args:
        arg1: First test argument
        arg2: Second test argument
    """
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt("test_prompt_with_embedded_resource")
def prompt_with_embedded_resource(resourceUri: str) -> list[PromptMessage]:  # noqa: N803 - the fixture's name
    """A prompt with a resource in it.

    Args:
        resourceUri: URI of the resource to embed
    """
    embedded = Embedded("Embedded resource content for testing.", resourceUri, "text/plain")
    return [user(embedded), user("Please process the embedded resource above.")]


@server.prompt
def test_prompt_with_image() -> list[PromptMessage]:
    """A prompt with an image in it."""
    return [user(Image(png())), user("Please analyze the image above.")]


@server.completion(prompt="test_prompt_with_arguments")
def complete_argument(typed: str) -> list[str]:
    """Propose words that begin with what was typed."""
    return [word for word in _WORDS if word.startswith(typed)]


@server.completion(prompt="test_prompt_with_arguments", argument="arg2")
def complete_second_argument(typed: str, arguments: Mapping[str, str]) -> list[str]:
    """Propose words made from the first argument, or as for that one if it is not known."""
    first = arguments.get("arg1")
    words = complete_argument(typed) if first is None else [f"{first}-1", f"{first}-2"]
    return [word for word in words if word.startswith(typed)]


@server.completion(template="test://template/{id}/data", argument="id")
def complete_id(typed: str) -> list[str]:
    """Propose ids."""
    return [str(number) for number in range(1, 1000) if str(number).startswith(typed)]
