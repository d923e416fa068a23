"""What may hold credentials is shown without them."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.http.messages import HttpHead, HttpRequest, HttpSend
from mcpcore.wire.redaction import HIDDEN, shown_headers, shown_names, shown_url

SECRET = "s3cr3t"
CREDENTIALS = [
    (b"authorization", b"Bearer s3cr3t"),
    (b"Proxy-Authorization", b"Basic s3cr3t"),
    (b"cookie", b"session=s3cr3t"),
    (b"set-cookie", b"session=s3cr3t"),
    (b"mcp-session-id", b"s3cr3t"),
    (b"x-api-key", b"s3cr3t"),
    (b"x-auth-token", b"s3cr3t"),
    (b"sec-websocket-protocol", b"mcp, mcp.auth.s3cr3t, mcp.version.2025-11-25"),
    (b"sec-websocket-protocol", b"mcp.auth.s3cr3t,mcp"),
]


@pytest.mark.parametrize("header", CREDENTIALS, ids=str)
def test_no_repr_shows_a_credential(header: tuple[bytes, bytes]) -> None:
    headers = [(b"host", b"example.com"), header]
    asked = HttpRequest(method="GET", path="/mcp", headers=headers, query="t=s3cr3t")
    for message in (
        asked,
        HttpSend(exchange=1, method="GET", target="/mcp?t=s3cr3t", headers=headers),
        HttpHead(1, 200, headers),
    ):
        assert SECRET not in repr(message)
        assert SECRET not in str(message)
        assert SECRET not in repr(message.__rich_repr__())
        assert "example.com" in repr(message)
        assert header[0].decode() in repr(message)
    assert asked.headers[1] == header


def test_other_headers_and_subprotocols_are_shown() -> None:
    lines = [(b"sec-websocket-protocol", b"mcp, mcp.auth.x, mcp.version.2025-11-25")]
    assert shown_headers(lines) == [
        (b"sec-websocket-protocol", b"mcp, mcp.auth.<...>, mcp.version.2025-11-25")
    ]
    plain = [(b"accept", b"application/json"), (b"mcp-protocol-version", b"2025-11-25")]
    assert shown_headers(plain) == plain
    request = HttpRequest(method="GET", path="/mcp", headers=plain)
    assert repr(request).startswith("HttpRequest(method='GET', path='/mcp', headers=[(b'accept'")
    assert "query=''" in repr(request)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/mcp?t=s3cr3t", "https://example.com/mcp"),
        ("https://example.com/mcp#s3cr3t", "https://example.com/mcp"),
        ("https://u:s3cr3t@example.com:8/mcp", "https://example.com:8/mcp"),
        ("https://example.com/users/@me", "https://example.com/users/@me"),
        ("https://example.com/@me/posts", "https://example.com/@me/posts"),
        ("https://example.com/?at=a@b", "https://example.com/"),
        (" ws://h/?t=s3cr3t", " ws://h/"),
        ("ws://u:s3/cr3t@h/", "ws://<...>@h/"),
        ("ws://u:pw?s3cr3t@h/", "ws://<...>"),
        ("u:s3cr3t@h/mcp", "<...>@h/mcp"),
        ("h/mcp?t=a@s3cr3t", "<...>"),
        ("http://[::1/?s3cr3t", "http://[::1/"),
        ("tcp://h:99999/?s3cr3t", "tcp://h:99999/"),
        ("unix:/run/mcp.sock", "unix:/run/mcp.sock"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_of_what_a_user_gives_by_name_the_names_are_shown() -> None:
    def headers() -> dict[str, str]:
        return {}

    assert shown_names({"Authorization": SECRET, "X-A": ""}) == {
        "Authorization": HIDDEN,
        "X-A": HIDDEN,
    }
    assert shown_names(headers) is headers
    assert shown_names(None) is None


_ANY = st.text(string.ascii_lowercase + "/?#@:[] %", max_size=6)


@settings(max_examples=200)
@given(before=_ANY, after=_ANY, scheme=st.sampled_from(["http://", "ws://", "tcp://", "x:", ""]))
def test_nothing_of_a_query_or_a_password_is_shown(before: str, after: str, scheme: str) -> None:
    assert "S3CR3T" not in shown_url(f"{scheme}h/{before}?{after}S3CR3T")
    assert "S3CR3T" not in shown_url(f"{scheme}user:S3CR3T@h/p")
