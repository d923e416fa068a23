"""Prompts: declared, listed, filled in."""

import datetime
import enum
import math
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from mcpcore.errors import PromptError
from mcpcore.service import Embedded, Image, Server, assistant, user
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, McpError
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, REVISIONS, Revision
from mcpcore.spec.types.content import AudioContent, ResourceLink, TextContent, UnknownContent
from mcpcore.spec.types.prompts import GetPromptResult, PromptMessage
from tests.service.calling import CONTEXT, Context, ask


class Tone(enum.Enum):
    KIND = "kind"
    STERN = "stern"


def get(server: Server, name: str, revision: Revision = LATEST, **arguments: Any) -> Any:
    params = {"name": name, "arguments": arguments} if arguments else {"name": name}
    return ask(server, "prompts/get", params, revision)


def prompts() -> Server:
    server = Server("s")

    @server.prompt
    def simple() -> str:
        """Says hello."""
        return "Hello"

    @server.prompt(
        "review/code", title="Review", icons=["https://example.com/i.png"], meta={"k": 1}
    )
    async def review(
        code: Annotated[str, Meta(title="Code", description="What to read.")],
        context: Context,
        lines: int = 3,
        *,
        tone: Tone = Tone.KIND,
        strict: bool = False,
        language: Literal["py", "rs"] | None = None,
    ) -> str:
        """Reviews code.

        Args:
            lines: How many.
        """
        assert context is CONTEXT
        return f"{code} {lines} {tone.value} {strict} {language}"

    return server


@pytest.mark.requirement("server/prompts/list-answered")
def test_list() -> None:
    assert ask(prompts(), "prompts/list", revision=LATEST_LEGACY)["prompts"] == [
        {"name": "simple", "description": "Says hello."},
        {
            "name": "review/code",
            "title": "Review",
            "description": "Reviews code.",
            "arguments": [
                {
                    "name": "code",
                    "title": "Code",
                    "description": "What to read.",
                    "required": True,
                },
                {"name": "lines", "description": "How many."},
                {"name": "tone"},
                {"name": "strict"},
                {"name": "language"},
            ],
            "icons": [{"src": "https://example.com/i.png"}],
            "_meta": {"k": 1},
        },
    ]


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"code": "x"}, "x 3 kind False None"),
        ({"code": "5", "lines": "12"}, "5 12 kind False None"),
        ({"code": "", "tone": "stern", "strict": "true", "language": "rs"}, " 3 stern True rs"),
    ],
)
def test_get(arguments: Any, expected: str, revision: Revision) -> None:
    assert get(prompts(), "review/code", revision, **arguments) == {
        "description": "Reviews code.",
        "messages": [{"role": "user", "content": {"type": "text", "text": expected}}],
    }


@pytest.mark.requirement("server/prompts/errors", "server/prompts/arguments-validated")
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "params.name: Missing required field"),
        ({"name": "nobody"}, "Unknown prompt: nobody"),
        ({"name": "n" * 9999}, "Unknown prompt: nnn"),
        ({"name": "simple", "arguments": []}, "params.arguments: Expected object"),
        ({"name": "simple", "arguments": {"a": 5}}, "Expected str, got int"),
        ({"name": "simple", "arguments": {"a": "x"}}, "arguments.a: Unknown field"),
        ({"name": "review/code"}, "arguments.code: Missing required field"),
        ({"name": "review/code", "arguments": {}}, "arguments.code: Missing required field"),
        (
            {"name": "review/code", "arguments": {"code": "x", "lines": "many"}},
            "arguments.lines: Expected int, got str",
        ),
        (
            {"name": "review/code", "arguments": {"code": "x", "tone": "loud"}},
            "arguments.tone: Invalid enum value",
        ),
        (
            {"name": "review/code", "arguments": {"code": "x", "context": "y"}},
            "arguments.context: Unknown field",
        ),
        (
            {"name": "dated", "arguments": {"day": "253402300800"}},
            r"arguments: year 10000 is out|arguments\.day: Timestamp is out",  # msgspec 0.23
        ),
        (
            {"name": "rated", "arguments": {"share": "1", "weight": "nan"}},
            "arguments.weight: .* finite number",
        ),
        (
            {"name": "rated", "arguments": {"share": "1", "weight": "-inf"}},
            "arguments.weight: .* finite number",
        ),
    ],
)
def test_bad_params(params: Any, says: str, revision: Revision) -> None:
    server = prompts()

    @server.prompt
    def dated(day: datetime.datetime) -> str:
        return day.isoformat()

    @server.prompt
    def rated(share: float, weight: float = math.inf) -> str:
        return f"{share} {weight}"

    assert get(server, "rated", share="0.5")["messages"][0]["content"]["text"] == "0.5 inf"
    with pytest.raises(McpError, match=says) as caught:
        ask(server, "prompts/get", params, revision)
    assert caught.value.code == INVALID_PARAMS
    assert len(caught.value.error.message) <= 500


PNG = b"\x89PNG\r\n\x1a\n"
TEXT = {"type": "text", "text": "x"}


@pytest.mark.requirement("server/prompts/image-content", "server/prompts/embedded-resource")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", [("user", TEXT)]),
        (TextContent(text="x"), [("user", TEXT)]),
        (user("x"), [("user", TEXT)]),
        ([user("x"), assistant("x"), "x"], [("user", TEXT), ("assistant", TEXT), ("user", TEXT)]),
        (("x",), [("user", TEXT)]),
        ([], []),
        ({"role": "assistant", "content": TEXT}, [("assistant", TEXT)]),
        ({"role": "assistant", "content": TEXT["text"]}, [("assistant", TEXT)]),
        (
            Image(PNG),
            [("user", {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"})],
        ),
        (
            assistant(Embedded("t", "t:x")),
            [
                (
                    "assistant",
                    {
                        "type": "resource",
                        "resource": {"uri": "t:x", "mimeType": "text/plain", "text": "t"},
                    },
                )
            ],
        ),
    ],
)
def test_messages(value: Any, expected: list[tuple[str, Any]]) -> None:
    server = Server("s")
    server.add_prompt(lambda: value, "p")
    wire = [{"role": role, "content": content} for role, content in expected]
    assert get(server, "p") == {"messages": wire}


def test_own_result() -> None:
    server = Server("s")
    message = PromptMessage(role="user", content=TextContent(text="x"))
    result = GetPromptResult(description="mine", messages=[message], meta={"k": 1})
    server.add_prompt(lambda: result, "p", description="declared")
    wire = [{"role": "user", "content": TEXT}]
    assert get(server, "p") == {"description": "mine", "messages": wire}
    prepared = server.prepare("prompts/get", b'{"name":"p"}', LATEST)
    prepared.finish(result)
    assert prepared.meta == {"k": 1}


def test_older_revisions_get_older_kinds_of_content() -> None:
    server = Server("s")
    audio = AudioContent(data="AA==", mime_type="audio/wav")
    link = ResourceLink(uri="t:a", name="a")
    server.add_prompt(lambda: [audio, assistant(link)], "p")
    for revision in REVISIONS:
        first, second = get(server, "p", revision)["messages"]
        assert first["content"]["type"] == ("audio" if revision.audio_content else "resource")
        assert second["content"]["type"] == ("resource_link" if revision.resource_links else "text")
        assert second["role"] == "assistant"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, ": the result is no content"),
        (5, ": the result is no content"),
        ({"a": 1}, ": the result is no content"),
        ({"role": "system", "content": TEXT}, ": the result has a message that is malformed"),
        ([["x"]], ": the result is no content"),
        (
            UnknownContent(type="hologram"),
            ": the result has content of a kind that {} cannot carry",
        ),
        ("\ud800", ""),
        (Image(b"?"), ""),
    ],
)
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_what_is_no_message_names_the_rule(value: Any, rule: str, revision: Revision) -> None:
    server = Server("s")
    server.add_prompt(lambda: value, "p")
    with pytest.raises(McpError) as caught:
        ask(server, "prompts/get", {"name": "p"}, revision)
    assert caught.value.code == INTERNAL_ERROR
    assert caught.value.error.message == f"Internal error{rule.format(revision.name)}"


@pytest.mark.requirement("server/prompts/errors")
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PromptError("no such code"), INVALID_PARAMS, "no such code"),
        (ValueError("secret"), INTERNAL_ERROR, "Internal error"),
        (McpError(-1, "mine"), -1, "mine"),
    ],
)
def test_errors(error: Exception, code: int, message: str) -> None:
    def failing() -> str:
        raise error

    server = Server("s")
    server.add_prompt(failing)
    with pytest.raises(McpError) as caught:
        get(server, "failing")
    assert (caught.value.code, caught.value.error.message) == (code, message)


def takes_list(a: list[str]) -> str:
    return a[0]


def takes_unknown(a: Server) -> str:
    return str(a)


@pytest.mark.parametrize(
    ("function", "name", "options", "kind", "says"),
    [
        (lambda **rest: "", "p", {}, TypeError, "prompt 'p': "),
        (takes_list, "p", {}, TypeError, "prompt 'p': parameter 'a' cannot be made from a string"),
        (takes_unknown, "p", {}, TypeError, "prompt 'p': parameter 'a': .*Server"),
        (Context(), None, {}, TypeError, "have no name"),
        (lambda: "", "p", {"size": 1}, TypeError, "prompt 'p': there is no option 'size'"),
        (lambda: "", "p", {"icons": ["ws://x"]}, ValueError, "prompt 'p': icon"),
    ],
)
def test_what_cannot_be_declared(
    function: Any, name: str | None, options: Any, kind: type[Exception], says: str
) -> None:
    server = Server("s")
    with pytest.raises(kind, match=says):
        server.add_prompt(function, name, **options)
    assert ask(server, "prompts/list")["prompts"] == []
