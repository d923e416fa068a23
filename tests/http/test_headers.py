"""mcpcore.http.headers: fields, the base64 form of values, Accept, Content-Type, lengths."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpcore.http.headers import (
    Fields,
    HeaderError,
    body_length,
    decode_value,
    encode_value,
    is_json,
    is_session_id,
    is_token,
    media_type,
    quality,
    quoted,
)

JSON = "application/json"
STREAM = "text/event-stream"


# Fields


@pytest.mark.requirement("basic/transports/streamable-http/names-case-insensitive")
def test_names_are_case_insensitive_and_values_lose_their_white_space() -> None:
    fields = Fields([(b"Mcp-Method", b" \t tools/call\t "), (b"other", b"x")])
    assert b"mcp-method" in fields
    assert fields.one(b"mcp-method") == "tools/call"
    assert fields.one(b"absent") is None
    assert fields.all(b"absent") is None
    assert b"absent" not in fields


def test_a_list_field_may_be_repeated_a_single_one_may_not() -> None:
    fields = Fields([(b"accept", b"a/b"), (b"accept", b"c/d "), (b"accept", b"e/f")])
    assert fields.all(b"accept") == "a/b, c/d, e/f"
    with pytest.raises(HeaderError, match="the Accept header is given more than once"):
        fields.one(b"accept")


def test_values_as_they_came_tell_requests_apart_unless_a_field_is_repeated() -> None:
    fields = Fields([(b"Accept", b" a/b"), (b"host", b"h")])
    assert fields.values_of((b"accept", b"absent", b"host")) == (b" a/b", None, b"h")
    assert Fields([(b"host", b"h"), (b"x", b"1"), (b"X", b"1")]).values_of((b"host",)) is None


@pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"a\nb", b"\x7f", b"\xc3\xa4", b"a\x1bb"])
def test_invalid_characters_are_refused(value: bytes) -> None:
    name = b"mcp-protocol-version"
    with pytest.raises(HeaderError, match="MCP-Protocol-Version header contains invalid"):
        Fields([(name, value)]).one(name)


def test_mirrored_fields_are_decoded() -> None:
    fields = Fields(
        [
            (b"mcp-name", b"=?base64?SGVsbG8sIOS4lueVjA==?="),
            (b"Mcp-Param-Region", b"us-west1"),
            (b"mcp-param-text", b"=?base64?IHBhZGRlZCA=?="),
            (b"mcp-method", b"tools/call"),
        ]
    )
    assert fields.name() == "Hello, 世界"
    assert fields.mirrored() == ({"region": "us-west1", "text": " padded "}, {})
    assert Fields([]).name() is None
    assert Fields([(b"mcp-param-\xff", b"x")]).mirrored() == ({"\ufffd": "x"}, {})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([(b"mcp-name", b"a"), (b"mcp-name", b"a")], "the Mcp-Name header is given more than once"),
        ([(b"mcp-name", b"=?base64?SGVsbG8?=")], "the Mcp-Name header is no valid base64"),
        ([(b"mcp-name", b"\xff")], "the Mcp-Name header contains invalid characters"),
    ],
)
def test_a_broken_name_is_refused_and_named(fields: list[tuple[bytes, bytes]], text: str) -> None:
    with pytest.raises(HeaderError, match=text):
        Fields(fields).name()


@pytest.mark.requirement("basic/transports/streamable-http/param-invalid-characters")
def test_a_broken_parameter_is_named() -> None:
    lines = [(b"mcp-param-region", b"=?base64?SGVs!!!bG8=?="), (b"mcp-param-a", b"b")]
    said, unreadable = Fields([*lines, *[(b"mcp-param-c", b"1")] * 2]).mirrored()
    assert said == {"a": "b"}
    assert unreadable.keys() == {"region", "c"}
    assert unreadable["c"] == "the Mcp-Param-C header is given more than once"
    assert unreadable["region"].startswith("the Mcp-Param-Region header is no valid base64")


# Values


@pytest.mark.requirement(
    "basic/transports/streamable-http/value-encoded",
    "basic/transports/streamable-http/value-base64",
    "basic/transports/streamable-http/value-sentinel-exact",
    "basic/transports/streamable-http/value-sentinel-escaped",
)
@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        # the table of the specification
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        # and its edges
        ("", ""),
        ("a", "a"),
        ("a b", "a b"),
        ("a\tb", "=?base64?YQli?="),
        ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
        ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
        ("=?base64?YQ==", "=?base64?YQ=="),
        ("\x7f", "=?base64?fw==?="),
    ],
)
def test_values_are_encoded_where_they_must_be(value: str, encoded: str) -> None:
    assert encode_value(value) == encoded
    assert decode_value(encoded) == value


@pytest.mark.requirement(
    "basic/transports/streamable-http/value-encoded",
    "basic/transports/streamable-http/value-base64",
)
@given(st.text(st.characters(codec="utf-8")))
@example("\r\nX-Injected: 1")
@example("\x00")
def test_any_text_survives_and_stays_within_one_header(value: str) -> None:
    encoded = encode_value(value)
    assert re.fullmatch(r"|[!-~]|[!-~][ -~]*[!-~]", encoded)
    assert decode_value(encoded) == value


def test_a_lone_surrogate_cannot_be_encoded() -> None:
    with pytest.raises(HeaderError, match="surrogate"):
        encode_value("\ud800")


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?SGVsbG8?=",  # padding is missing
        "=?base64?SGVsbG8==?=",  # too much of it
        "=?base64?SGVs!!!bG8=?=",  # not in the alphabet
        "=?base64?SGVs bG8=?=",
        "=?base64?SGVsbG9=?=",  # bits that no encoder sets
        "=?base64?YQ==YQ==?=",
        "=?base64?_-8=?=",  # the URL alphabet
        "=?base64?/w==?=",  # not UTF-8
        "=?base64?=",  # the markers overlap
    ],
)
def test_what_is_not_canonical_base64_of_utf8_is_refused(value: str) -> None:
    with pytest.raises(HeaderError, match=r"^is (no valid |no canonical |)base64"):
        decode_value(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("/mcp2", '"/mcp2"'),
        ('a"b\r\nc\x7fé', '"a?b??c??"'),
        ("~ ~", '"~ ~"'),
        ("x" * 60, '"' + "x" * 60 + '"'),
        ("x" * 61, '"' + "x" * 60 + '..."'),
    ],
)
def test_what_a_client_has_sent_is_quoted_harmlessly(value: str, shown: str) -> None:
    assert quoted(value) == shown


@pytest.mark.parametrize(
    "value", ["=?base64?YQ==", "YQ==?=", "=?Base64?YQ==?=", "x=?base64?YQ==?="]
)
def test_without_the_exact_markers_a_value_is_literal(value: str) -> None:
    assert decode_value(value) == value


def test_an_empty_value_can_be_written_in_base64() -> None:
    assert decode_value("=?base64??=") == ""


# Accept and Content-Type


@pytest.mark.parametrize(
    ("accept", "json", "stream"),
    [
        (None, 1.0, 1.0),
        ("application/json, text/event-stream", 1.0, 1.0),
        ("text/event-stream, application/json", 1.0, 1.0),
        ("*/*", 1.0, 1.0),
        ("application/*", 1.0, 0.0),
        ("APPLICATION/JSON", 1.0, 0.0),
        ("text/event-stream", 0.0, 1.0),
        ("text/html", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("application/json;q=0, */*", 0.0, 1.0),
        ("*/*, application/json;q=0", 0.0, 1.0),
        ("application/json;q=0.5, text/*;q=0.25", 0.5, 0.25),
        ("application/json ; q=0.5 ; x=y", 0.5, 0.0),
        ('application/json;x="a,b;q=0";q=0.7', 0.7, 0.0),
        ("application/json;charset=utf-8", 1.0, 0.0),
        ("application/json;q=1.5, text/event-stream;q=x", 0.0, 0.0),
        ("application/json;q=0.1234, text/event-stream;q=1.000", 0.0, 1.0),
        ("nonsense, , application/json, a/b/c", 1.0, 0.0),
        ("application/json;;q=0.5", 0.5, 0.0),
        ("application/json x", 0.0, 0.0),
        ('text/event-stream;a="unclosed, application/json', 0.0, 0.0),
        ("*/json", 0.0, 0.0),
    ],
)
def test_accept(accept: str | None, json: float, stream: float) -> None:
    assert quality(accept, JSON) == json
    assert quality(accept, STREAM) == stream


@given(st.text(max_size=60))
def test_any_accept_is_read(accept: str) -> None:
    assert 0.0 <= quality(accept, JSON) <= 1.0


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json; charset=utf-8", True),
        ('application/json;charset="UTF-8"', True),
        ('application/json;charset="\\u\\t\\f-8"', True),
        ("application/json; charset=latin-1", False),
        ("application/json; charset=utf-16", False),
        ("application/json-rpc", False),
        ("application/jsonx", False),
        ("text/plain", False),
        ("text/json", False),
        ("application/json, text/plain", False),
        ("application/json text", False),
        ("", False),
        (None, False),
    ],
)
def test_content_type(content_type: str | None, expected: bool) -> None:
    assert is_json(content_type) is expected


def test_media_type_gives_parameters() -> None:
    assert media_type("Text/HTML; Level=1;q=x") == ("text/html", {"level": "1", "q": "x"})
    assert media_type("html") is None


# Lengths, tokens, session ids


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b" 12 ")], 12),
        ([(b"transfer-encoding", b"chunked")], None),
    ],
)
def test_body_length(headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    assert body_length(Fields(headers)) == length


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"-1")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1_0")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"")],
        [(b"content-length", b"9" * 19)],
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_a_length_that_can_be_read_in_two_ways_is_refused(
    headers: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(HeaderError):
        body_length(Fields(headers))


@pytest.mark.parametrize(
    ("name", "expected"), [(b"region", True), (b"a-b_c!", True), (b"", False), (b"a b", False)]
)
def test_tokens(name: bytes, expected: bool) -> None:
    assert is_token(name) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("abc-123~!", True), ("", False), ("a b", False), ("a\n", False), ("ä", False)],
)
def test_session_ids(value: str, expected: bool) -> None:
    assert is_session_id(value) is expected
