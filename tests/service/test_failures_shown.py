"""What a client may read of a failure, with an id and without, masked and revealed."""

import pytest
from msgspec import Raw

from mcpcore.errors import HandlerExit, OutputMismatch, ResourceNotFound, ToolError
from mcpcore.service import Server, is_masked
from mcpcore.service.handlers import shown
from mcpcore.spec.errors import INTERNAL_ERROR, McpError
from mcpcore.spec.revisions import LATEST

SEVERAL = ExceptionGroup("two", [ValueError("one secret"), ExceptionGroup("", [KeyError("k")])])

ROWS: list[tuple[Exception, str, str]] = [
    (ToolError("shown"), "shown", "shown"),
    (McpError(-1, "shown"), "shown (-1)", "shown (-1)"),
    (ValueError("secret"), "Internal error", "Internal error: ValueError: secret"),
    (
        OutputMismatch("secret", "rule"),
        "Internal error: rule",
        "Internal error: OutputMismatch: secret",
    ),
    (
        HandlerExit(SystemExit("secret")),
        "Internal error: the handler tried to end the program",
        "Internal error: SystemExit: secret",
    ),
    (HandlerExit(GeneratorExit()), "Internal error", "Internal error: GeneratorExit: "),
    (
        HandlerExit(BaseExceptionGroup("two", [SystemExit(2), ValueError("secret")])),
        "Internal error",
        "Internal error: SystemExit: 2; ValueError: secret",
    ),
    (SEVERAL, "Internal error", "Internal error: ValueError: one secret; KeyError: 'k'"),
]


@pytest.mark.parametrize(("error", "masked", "revealed"), ROWS)
def test_what_is_shown(error: Exception, masked: str, revealed: str) -> None:
    assert shown(error) == masked
    assert shown(error, reveal=True) == revealed
    mark = " (error id 1a2b3c4d)" if is_masked(error) else ""
    assert shown(error, "1a2b3c4d") == masked + mark
    assert shown(error, "1a2b3c4d", reveal=True) == revealed + mark


def server() -> Server:
    made = Server("s")
    made.add_tool(lambda: "x", "tool")
    made.add_resource("test://x", lambda: "x", name="x")
    made.add_prompt(lambda: "x", "prompt")
    return made


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", b'{"name": "tool"}'),
        ("resources/read", b'{"uri": "test://x"}'),
        ("prompts/get", b'{"name": "prompt"}'),
    ],
)
def test_what_is_told_stands_in_the_result_or_the_error(method: str, params: bytes) -> None:
    prepared = server().prepare(method, Raw(params), LATEST)
    error = ValueError("secret")
    if method == "tools/call":
        said = bytes(prepared.failure(error, "told"))
        assert said == b'{"content":[{"type":"text","text":"told"}],"isError":true}'
        return
    with pytest.raises(McpError) as caught:
        prepared.failure(error, "told")
    assert (caught.value.code, caught.value.error.message) == (INTERNAL_ERROR, "told")
    assert caught.value.__cause__ is error


def test_codes_stay_whatever_is_told() -> None:
    prepared = server().prepare("resources/read", Raw(b'{"uri": "test://x"}'), LATEST)
    with pytest.raises(McpError) as caught:
        prepared.failure(ResourceNotFound("gone"), "gone")
    assert (caught.value.code, caught.value.error.message) == (-32602, "gone")
