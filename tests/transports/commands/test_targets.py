"""Targets and addresses: what is understood, and how the rest is refused."""

from typing import Any

import pytest

from mcpcore import BadTarget, Server, connect
from mcpcore_transports.stream.settings import parse_address
from mcpcore_transports.targets import (
    HttpTarget,
    MemoryTarget,
    StdioTarget,
    WebSocketTarget,
    describe,
    parse_target,
)

SERVER = Server("here")


@pytest.mark.parametrize(
    ("given", "target", "description"),
    [
        ("http://a/mcp", HttpTarget("http://a/mcp"), "http://a/mcp"),
        ("https://a:1", HttpTarget("https://a:1"), "https://a:1"),
        ("ws://[::1]:9/mcp", WebSocketTarget("ws://[::1]:9/mcp"), "ws://[::1]:9/mcp"),
        ("wss://a", WebSocketTarget("wss://a"), "wss://a"),
        (["a b", "c"], StdioTarget(("a b", "c")), "'a b' c"),
        (StdioTarget(("x",), cwd="/"), StdioTarget(("x",), cwd="/"), "x"),
        (SERVER, MemoryTarget(SERVER), "the server 'here' in this process"),
    ],
)
def test_targets(given: Any, target: Any, description: str) -> None:
    parsed = parse_target(given)
    assert parsed == target
    assert describe(parsed) == description


def test_headers_go_with_urls() -> None:
    headers = {"authorization": "Bearer x"}
    assert parse_target("http://a", headers=headers) == HttpTarget("http://a", headers)
    assert parse_target("ws://a", headers=headers) == WebSocketTarget("ws://a", headers)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("localhost:8000/mcp", "expected a URL that begins with http://"),
        ("python server.py", "a command is given as a list"),
        ("ftp://a/b", "expected a URL that begins with http://"),
        ("", "expected a URL that begins with http://"),
        ("http://", "names no host"),
        ("http://a:99999/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
        ([], "a command is a list of strings, the program first"),
        (["a", 1], "a command is a list of strings, the program first"),
        (("a", 1), "a command is a list of strings, the program first"),
        (7, "a target is a URL, a command as a list of strings, a Server or a Target, not int"),
        (None, "a Server or a Target, not NoneType"),
        (b"http://a/", "a Server or a Target, not bytes"),
    ],
)
def test_bad_targets(given: Any, message: str) -> None:
    with pytest.raises(BadTarget, match=message):
        connect(given)


@pytest.mark.parametrize(
    ("url", "headers", "message"),
    [
        ("http://user:word@127.0.0.1:9/mcp", None, "the URL holds credentials"),
        ("http://127.0.0.1:9/é", None, "must be percent-encoded"),
        ("http://127.0.0.1:9/mcp", {"Mcp-Session-Id": "x"}, "(?i)mcp-session-id"),
    ],
)
@pytest.mark.anyio
async def test_what_http_cannot_use_is_a_bad_target(
    url: str, headers: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(BadTarget, match=message):
        async with connect(url, headers=headers):
            pass


@pytest.mark.requirement("basic/transports/streamable-http/bind-localhost")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9", ("::1", 9)),
        (":9", ("127.0.0.1", 9)),
        ("9", ("127.0.0.1", 9)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "a", "a:", "a:b", "a:65536", "a:-1", "a:٣", "a:1.0"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadTarget, match="HOST:PORT"):
        parse_address(text)
