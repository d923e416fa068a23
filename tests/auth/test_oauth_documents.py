"""Documents of OAuth: JSON read strictly, members dropped or refused, secrets that show nowhere."""

import json
import pickle
from copy import copy, deepcopy
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.metadata import (
    MAX_DOCUMENT,
    ErrorResponse,
    Registration,
    ResourceMetadata,
    ServerMetadata,
    TokenResponse,
    convert_document,
    printable,
    read_document,
    read_object,
    unique,
)
from mcpcore.errors import DocumentRefused
from mcpcore.wire.redaction import Secret

UNSOUND: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("HTML", b"<!doctype html>"),
    ("an array", b"[]"),
    ("a text", b'"x"'),
    ("a number", b"1"),
    ("null", b"null"),
    ("not UTF-8", b'{"a": "\xff"}'),
    ("UTF-16", '{"a": 1}'.encode("utf-16")),
    ("a byte order mark", b'\xef\xbb\xbf{"a": 1}'),
    ("half a surrogate pair", b'{"a": "\\ud800"}'),
    ("half a surrogate pair as a name", b'{"\\udfff": 1}'),
    ("a member twice", b'{"a": 1, "a": 2}'),
    ("a member twice, the same", b'{"a": 1, "a": 1}'),
    ("a member twice below", b'{"x": [{"a": 1, "\\u0061": 2}]}'),
    ("NaN", b'{"a": NaN}'),
    ("Infinity", b'{"a": -Infinity}'),
    ("a number beyond any float", b'{"a": 1e400}'),
    ("a number without end", b'{"a": 1' + b"0" * 5000 + b"}"),
    ("a comment", b'{"a": 1 /* x */}'),
    ("a comma too many", b'{"a": 1,}'),
    ("text behind", b"{} {}"),
    ("a control character", b'{"a": "\x01"}'),
    ("nesting", b'{"a":' * 33 + b"1" + b"}" * 33),
    ("deep nesting", b'{"a":' + b"[" * 200_000),
    ("size", b'{"a": "' + b"x" * MAX_DOCUMENT + b'"}'),
]


@pytest.mark.parametrize(("name", "body"), UNSOUND)
def test_unsound_json_is_refused(name: str, body: bytes) -> None:
    for written in (body, body.replace(b": ", b":").replace(b", ", b",")):
        with pytest.raises(DocumentRefused, match="it cannot be used"):
            read_object(written, "it")


def test_sound_json_is_read() -> None:
    document = {"a": [1, 2.5, None, True, {"b": "\u00e9\U0001f600"}]}
    assert read_object(json.dumps(document).encode(), "it") == document
    deepest = b'{"a":' * 32 + b"1" + b"}" * 32
    assert read_object(deepest, "it")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
WRITERS = (json.dumps, partial(json.dumps, separators=(",", ":"), ensure_ascii=False))


@given(st.dictionaries(st.text(max_size=3), JSON), st.sampled_from(WRITERS))
def test_any_sound_json_is_read_however_it_is_written(document: Any, write: Any) -> None:
    try:
        body = write(document).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return
    if b"Infinity" in body or b"\\ud" in body:
        return
    found = read_object(body, "it")
    assert found == document
    assert repr(found) == repr(json.loads(body))


KINDS = (ResourceMetadata, ServerMetadata, Registration, TokenResponse, ErrorResponse)
MEMBERS = sorted({field.name for kind in KINDS for field in msgspec.structs.fields(kind)})


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(MEMBERS), JSON))
@example(ServerMetadata, {"issuer": "", "mtls_endpoint_aliases": []})
def test_any_member_of_any_type_is_dropped_or_refused(
    kind: type[msgspec.Struct], members: dict[str, Any]
) -> None:
    body = json.dumps(members).encode()
    try:
        document, dropped = read_document(body, kind, "it")
    except DocumentRefused:
        return
    for field in msgspec.structs.fields(kind):
        if field.name in dropped:
            factory = field.default_factory
            default = field.default if factory is msgspec.NODEFAULT else factory()
            assert getattr(document, field.name) == default
        msgspec.convert(getattr(document, field.name), field.type)


def test_optional_members_are_dropped_and_named() -> None:
    members = {
        "issuer": "https://id.example",
        "token_endpoint": 7,
        "scopes_supported": ["a", 1],
        "code_challenge_methods_supported": "S256",
        "jwks_uri": None,
        "unknown": {},
    }
    document, dropped = convert_document(members, ServerMetadata, "it")
    assert document == ServerMetadata(issuer="https://id.example")
    assert set(dropped) == {
        "token_endpoint",
        "scopes_supported",
        "code_challenge_methods_supported",
    }


@pytest.mark.parametrize("value", [None, 1, [], {}, True])
def test_a_required_member_is_needed(value: Any) -> None:
    with pytest.raises(DocumentRefused, match="its member issuer is wrong"):
        convert_document({"issuer": value}, ServerMetadata, "it")
    with pytest.raises(DocumentRefused, match="its member issuer is wrong"):
        convert_document({}, ServerMetadata, "it")


@pytest.mark.parametrize("lifetime", ["3600", True, [], 10**400])
def test_a_lifetime_that_is_no_number_is_dropped(lifetime: Any) -> None:
    members = {"access_token": "a", "token_type": "Bearer", "expires_in": lifetime}
    document, dropped = convert_document(members, TokenResponse, "it")
    assert (document.expires_in, dropped) == (None, ("expires_in",))


def test_a_secret_shows_only_where_it_is_asked_to() -> None:
    secret = Secret("s3cr3t")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        " ".join(map(str, [secret])),
        repr([secret]),
    ]
    assert not any("s3cr3t" in each for each in shown)
    assert f"{secret:>10}" == "  <secret>"
    assert secret.reveal() == "s3cr3t"
    assert type(secret.reveal()) is str
    assert secret == "s3cr3t"


def test_a_secret_of_a_secret_is_the_same() -> None:
    assert Secret(Secret("s3cr3t")).reveal() == "s3cr3t"
    client = ClientIdentity(client_id="a", client_secret="s3cr3t")
    again = replace(client, client_id="b").client_secret
    assert isinstance(again, Secret)
    assert again.reveal() == "s3cr3t"
    response = TokenResponse(access_token="s3cr3t", token_type="x", refresh_token="s3cr3t")
    assert "s3cr3t" not in repr(response) + repr(client)


@pytest.mark.parametrize("way", [pickle.dumps, copy, deepcopy, msgspec.json.encode])
def test_a_secret_leaves_by_no_way(way: Any) -> None:
    with pytest.raises(TypeError):
        way(Secret("s3cr3t"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("", ""),
        ("a b", "a b"),
        ("a\r\n\x1b[2J\x00\u202e\u200b", "a??" + "?[2J???"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 10 + "..."),
    ],
)
def test_text_of_others_is_one_plain_line(text: str | None, shown: str) -> None:
    assert printable(text, 10) == shown


def test_a_parameter_stands_once() -> None:
    assert unique([("a", "1"), ("b", "")], "it") == {"a": "1", "b": ""}
    with pytest.raises(DocumentRefused, match=r"its parameter a\? stands twice"):
        unique([("a\n", "1"), ("a\n", "1")], "it")
