"""Nothing secret survives what is recorded, and what is no secret stays as it was."""

import json
import re
import string
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.trace.format import TO_SERVER, RecordBuilder, encode_line
from mcpcore.trace.redaction import Redactor

SECRET = "S3cr3tV4lue9"
NAMES = [
    *("token", "access_token", "refreshToken", "id-token", "api_key", "apiKey", "X-API-Key"),
    *("password", "passwd", "userPassword", "client_secret", "secret", "credentials", "cookie"),
    *("authorization", "Authorization", "sessionId", "session_id", "privateKey", "jwt", "auth"),
    *("signature", "accessKey", "bearer", "assertion", "oauth", "passphrase"),
    *("pwd", "passcode", "pin", "otp", "cvv", "code_verifier", "dpop", "DPoP", "subject_token"),
]
HARMLESS = [
    *("name", "author", "monkey", "key", "keys", "primary", "hash", "tags", "progress", "cursor"),
    *("uri", "nextCursor", "requestState", "protocolVersion", "description", "state", "code"),
]
PLAIN_TEXTS = [
    f"Authorization: Bearer {SECRET}",
    f"see https://user:{SECRET}@example.com/x",
    f"GET https://example.com/?access_token={SECRET}&x=1",
    f"https://example.com/cb?code={SECRET}#top",
    f'{{"error": "token={SECRET}"}}',
    f"password: {SECRET}",
    f"api_key='{SECRET}'",
    f"bearer {SECRET}",
    f"mcp.auth.{SECRET}",
    f"authorization=Basic {SECRET}",
    f"code={SECRET}&grant_type=authorization_code",
    f"grant_type=x&client_assertion={SECRET}",
    *(f"https://a.example/cb?{name}={SECRET}" for name in ("state", "code_verifier")),
    *(f"x=1&{name}={SECRET}" for name in ("state", "code_verifier", "subject_token")),
    f"Authorization: DPoP {SECRET}",
    f"mck_0123456789ab_{SECRET}-{SECRET}",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE" + SECRET + "\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncut off " + SECRET,
    f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.{SECRET}",
    f"sk-{SECRET}{SECRET}",
    *(f"gh{kind}_{SECRET}{SECRET}" for kind in "pousr"),
    f"github_pat_{SECRET}{SECRET}",
    f"glpat-{SECRET}{SECRET}",
    f"xoxb-{SECRET}-{SECRET}",
    f"AIza{SECRET}{SECRET}{SECRET}",
    *(f"{name}: {SECRET}" for name in ("passwd", "pwd", "passphrase", "secret", "cookie")),
]


def redact(value: Any) -> tuple[Any, list[str]]:
    text, places = Redactor().text(json.dumps(value))
    return json.loads(text), places


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: {name: SECRET},
        lambda name: {"jsonrpc": "2.0", "id": 1, "params": {"_meta": {name: SECRET}}},
        lambda name: [{"a": [{name: [SECRET, {"b": SECRET}]}]}],
        lambda name: {"text": json.dumps({"x": {name: SECRET}})},
        lambda name: {"text": json.dumps({"y": json.dumps({name: SECRET})})},
        lambda name: {f"vendor.example/{name}": SECRET},
    ],
)
def test_members_that_are_named_like_secrets(name: str, wrap: Any) -> None:
    value = wrap(name)
    shown, places = redact(value)
    assert SECRET not in json.dumps(shown)
    assert places
    assert len(json.dumps(shown)) > 5


@pytest.mark.parametrize("name", HARMLESS)
def test_other_members_stay(name: str) -> None:
    value = {name: SECRET, "n": {name: [SECRET, 7]}}
    assert redact(value) == (value, [])


@pytest.mark.parametrize("text", PLAIN_TEXTS)
@pytest.mark.parametrize(
    "wrap",
    [
        str,
        lambda text: json.dumps({"content": [{"text": text}]}),
        lambda text: json.dumps({"jsonrpc": "2.0", "id": 1, "method": text}),
    ],
)
def test_what_looks_like_a_secret_in_a_text(text: str, wrap: Any) -> None:
    shown, places = Redactor().text(wrap(text))
    assert SECRET not in shown
    assert places


@pytest.mark.parametrize("before", [" ", "\t", "\r\n", "\ufeff", "\ufeff \n"])
def test_what_stands_before_json_is_no_matter(before: str) -> None:
    shown, places = Redactor().text(before + json.dumps({"pin": SECRET, "n": "1"}))
    assert shown == f'{before}{{"pin": "<hidden-1>", "n": "1"}}'
    assert places == ["pin"]


@pytest.mark.parametrize("text", [text for text in PLAIN_TEXTS if not text.startswith("code=")])
@pytest.mark.parametrize("start", ["{ ", "[note] ", '{"a": 1} then ', "[x, "])
def test_also_where_it_only_begins_like_json(text: str, start: str) -> None:
    for whole in (start + text, json.dumps({"content": [{"text": start + text}]})):
        shown, places = Redactor().text(whole)
        assert SECRET not in shown
        assert places


@pytest.mark.timeout(600)
@pytest.mark.parametrize("join", ["-", ".", " ", ""])
@pytest.mark.parametrize(
    "piece",
    [
        *("eyJaaaaaaaa", "eyJaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "sk-aaaaaaaaaaaaaaaa"),
        *("://", "://a", "bearer ", "authorization: ", "a=", "?a=b", "mcp.auth.", "token=", "key"),
    ],
)
def test_a_text_of_many_beginnings_is_read_in_linear_time(piece: str, join: str) -> None:
    # Were the square of its length needed, it would take hours.
    shown, _ = Redactor().text("begin " + join.join([piece] * (1_000_000 // len(piece))))
    assert shown.startswith("begin ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x-eyJhbGciOiJub25l.eyJzdWIiOiIxIn0.c2ln y", "x-{} y"),
        ("a.b.eyJhbGciOiJub25l.e30.c2ln.more", "a.b.{}"),
        ("eyJhbGciOiJub25l.1.2.3.4.rest", "{}.rest"),
        ("eyJhbGciOiJub25l.1.2.3.4.eyJhbGciOiJub25l.5", "{}.{}"),
    ],
)
def test_where_a_token_begins_and_ends(text: str, shown: str) -> None:
    hidden, places = Redactor().text(text)
    assert re.sub(r"<hidden-\d+>", "{}", hidden) == shown
    assert len(places) == min(1, shown.count("{}"))


@pytest.mark.parametrize(
    "text", ["eyJhbGciOiJub25l", "eyJshort.a", "xeyJhbGciOiJub25l.a", "eyJhbGciOiJub25l..a"]
)
def test_what_is_no_token_stays(text: str) -> None:
    assert Redactor().text(text) == (text, [])


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_also_where_it_is_not_utf8(text: str) -> None:
    record = RecordBuilder(Redactor()).note("binary", time=0.0, data=b"\xff\xfe" + text.encode())
    assert record.data is not None
    assert record.data.startswith(b"\xff\xfe")
    assert SECRET.encode() not in record.data
    assert record.redactions


def test_what_begins_like_json_behind_a_letter_is_a_text() -> None:
    assert Redactor().text(f'X{{"password":"{SECRET}"}}') == (
        'X{"password":"<hidden-1>"}',
        ["text"],
    )


def test_where_a_secret_was_is_told_though_it_only_begins_like_json() -> None:
    text = f"[note] bearer {SECRET}"
    assert Redactor().text(text) == ("[note] bearer <hidden-1>", ["text"])
    assert redact({"content": [{"text": text}]})[1] == ["content[0].text"]


def test_numbers_are_hidden_where_they_are_passwords() -> None:
    shown, places = redact({"pin": 1234, "password": 99.5, "maxTokens": 100, "tokens": 3})
    assert shown == {"pin": "<hidden-1>", "password": "<hidden-2>", "maxTokens": 100, "tokens": 3}
    assert places == ["pin", "password"]
    assert redact({"password": None, "secret": True})[0] == {"password": None, "secret": True}


def test_what_the_protocol_itself_names_so_stays() -> None:
    value = {
        "method": "tools/call",
        "params": {
            "name": "get_token",
            "_meta": {"progressToken": "abcdefgh1234"},
            "arguments": {},
        },
    }
    assert redact(value) == (value, [])


@pytest.mark.parametrize("naming", ["properties", "patternProperties", "$defs", "definitions"])
def test_what_a_schema_gives_for_a_secret_is_hidden_wherever_it_is_named(naming: str) -> None:
    schema = {naming: {"password": {"default": SECRET}, "default": {"title": "a token"}}}
    shown, places = redact({"inputSchema": schema})
    assert shown["inputSchema"][naming] == {
        "password": {"default": "<hidden-1>"},
        "default": {"title": "a token"},
    }
    assert places == [f"inputSchema.{naming}.password.default"]


@pytest.mark.parametrize("keyword", ["default", "const", "enum", "examples"])
def test_each_keyword_that_gives_values_gives_secrets(keyword: str) -> None:
    given = "Kept nowhere else" if keyword in ("default", "const") else ["Kept nowhere else"]
    shown, places = redact({"inputSchema": {"properties": {"password": {keyword: given}}}})
    assert "Kept" not in json.dumps(shown)
    assert len(places) == 1


@pytest.mark.parametrize("member", ["inputSchema", "outputSchema", "requestedSchema"])
def test_schemas_keep_their_names_and_types_and_lose_given_values(member: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "token": {"type": "string", "description": "the token", "default": SECRET},
            "password": {"enum": [SECRET, "b"], "examples": [SECRET]},
            "city": {"type": "string", "default": "Bergen"},
            "nested": {"type": "object", "properties": {"secret": {"const": SECRET}}},
        },
        "required": ["token"],
        "$defs": {"credentials": {"type": "object"}},
    }
    shown, places = redact({"result": {"tools": [{member: schema}]}})
    assert SECRET not in json.dumps(shown)
    kept = shown["result"]["tools"][0][member]
    assert kept["properties"]["token"]["type"] == "string"
    assert kept["properties"]["city"] == schema["properties"]["city"]
    assert kept["required"] == ["token"]
    assert kept["$defs"] == {"credentials": {"type": "object"}}
    assert len(places) == 5


HEADERS = [
    (b"authorization", f"Bearer {SECRET}", "Bearer <hidden-1>"),
    (b"Authorization", SECRET, "<hidden-1>"),
    (b"proxy-authorization", f"Basic {SECRET}", "Basic <hidden-1>"),
    (b"mcp-session-id", SECRET, "<hidden-1>"),
    (b"DPoP", SECRET, "<hidden-1>"),
    (b"x-api-key", SECRET, "<hidden-1>"),
    (b"sec-websocket-protocol", f"mcp, mcp.auth.{SECRET}, x", "mcp, mcp.auth.<hidden-1>, x"),
    (b"referer", f"https://u:{SECRET}@h/p?token=x", "https://<hidden-1>@h/p?token=<hidden-2>"),
    (b"mcp-param-token", SECRET, "<hidden-1>"),
    (b"mcp-param-url", "=?base64?" + "aHR0cHM6Ly91OnBAaC8=" + "?=", "<hidden-1>"),
]


@pytest.mark.parametrize(("name", "value", "shown"), HEADERS, ids=str)
def test_headers(name: bytes, value: str, shown: str) -> None:
    fields, places = Redactor().headers([(b"host", b"h"), (name, value.encode())])
    if name != b"mcp-param-url":
        assert fields == [(b"host", b"h"), (name, shown.encode())]
    assert SECRET.encode() not in fields[1][1]
    assert places == [f"header {name.decode().lower()}"]


def test_a_header_that_was_encoded_hides_what_it_says() -> None:
    encoded = f"=?base64?{b64encode(SECRET.encode()).decode()}?="
    redactor = Redactor()
    fields, _ = redactor.headers(
        [(b"x-api-key", encoded.encode()), (b"x-api-key", SECRET.encode())]
    )
    assert [value for _, value in fields] == [b"<hidden-1>", b"<hidden-1>"]


def test_numbers_in_any_notation_are_no_words() -> None:
    numbers = "[1E5,-1.5e+3,0,true,false,null]"
    text = f'{{"inputSchema":{{"properties":{{"authorization":{{"enum":{numbers}}}}}}}}}'
    assert Redactor().text(text) == (text, [])  # read as any text it is a header
    assert Redactor().text(text.replace("null", "none"))[1] != []


def test_cookies_are_remembered_one_by_one() -> None:
    redactor = Redactor()
    fields, _ = redactor.headers([(b"cookie", f"theme=dark; sid={SECRET}".encode())])
    assert SECRET.encode() not in fields[0][1]
    assert SECRET not in redactor.text(f"the session {SECRET}")[0]


def test_headers_that_are_named_alike_stay() -> None:
    fields = [
        (b"www-authenticate", b'Bearer resource_metadata="https://h/x"'),
        (b"proxy-authenticate", b'Basic realm="the way out"'),
        (b"access-control-allow-credentials", b"true"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (b"accept", b"application/json"),
        (b"mcp-name", b"get_token"),
    ]
    assert Redactor().headers(fields) == (fields, [])


def test_queries_are_hidden_whatever_their_names() -> None:
    shown, places = Redactor().target(f"/mcp?page={SECRET}&b=&{SECRET}x#frag{SECRET}")
    assert SECRET not in shown
    assert shown == "/mcp?page=<hidden-1>&b=&<hidden-2>#<hidden-3>"
    assert places == ["query page", "query", "fragment"]


def test_the_same_secret_has_the_same_name_throughout() -> None:
    redactor = Redactor()
    fields, _ = redactor.headers([(b"mcp-session-id", SECRET.encode())])
    body, places = redactor.text(json.dumps({"note": f"session {SECRET}!", "token": SECRET}))
    assert fields[0][1] == b"<hidden-1>"
    assert json.loads(body) == {"note": "session <hidden-1>!", "token": "<hidden-1>"}
    assert places == ["note", "token"]


@pytest.mark.parametrize("written", ["ab/cd-1234", "ab\\/cd-1234", "\\u0061b/cd-1234"])
def test_a_known_secret_is_found_however_it_is_written(written: str) -> None:
    redactor = Redactor()
    redactor.text(json.dumps({"token": "ab/cd-1234"}))
    assert redactor.text(f'{{"note": "see {written}"}}') == ('{"note": "see <hidden-1>"}', ["note"])


@pytest.mark.parametrize("known", [("open-1234", "ab-open-1234"), ("ab-open-1234", "open-1234")])
def test_a_known_secret_within_another_leaves_no_rest(known: tuple[str, str]) -> None:
    redactor = Redactor()
    redactor.text(json.dumps([{"token": secret} for secret in known]))
    shown, _ = redactor.text('{"note": "see ab-open-1234"}')
    assert shown == f'{{"note": "see <hidden-{known.index("ab-open-1234") + 1}>"}}'


def test_also_where_it_stands_before_it_is_known() -> None:
    shown, _ = redact({"note": f"it is {SECRET}", "password": SECRET})
    assert SECRET not in json.dumps(shown)


def test_what_is_hidden_already_stays_so() -> None:
    redactor = Redactor()
    once, _ = redactor.text(json.dumps({"token": SECRET, "t": f"bearer {SECRET}"}))
    assert redactor.text(once)[0] == once


def test_keys_are_texts_too() -> None:
    shown, places = redact({f"Bearer {SECRET}": 1})
    assert shown == {"Bearer <hidden-1>": 1}
    assert places == ["text"]
    assert redact({"a": {f"Bearer {SECRET}": 1}})[1] == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        f'{{"password":"{SECRET}',
        f'{{"password":["{SECRET}"',
        f'{{"a":1,,"password" : "{SECRET}"]]}}}}',
        f'["password":"{SECRET}"]',
        f'["inputSchema":{{"password":"{SECRET}"}}]',
        f'{{"password":"{SECRET}\\',
        f'{{"pass\\u0077ord":"{SECRET}"}}',
        f'\ufeff{{"password":"{SECRET}"}}',
        f'  \n {{"x":{{"password":"{SECRET}"}}',
    ],
)
def test_what_is_malformed_is_read_as_far_as_it_can_be(text: str) -> None:
    assert SECRET not in Redactor().text(text)[0]


def test_deep_nesting_is_borne() -> None:
    text = "[" * 5000 + f'{{"password":"{SECRET}"}}' + "]" * 5000
    assert SECRET not in Redactor().text(text)[0]
    value: Any = {"password": SECRET}
    for _ in range(8):
        value = {"x": json.dumps(value)}
    assert SECRET not in Redactor().text(json.dumps(value))[0]


@pytest.mark.parametrize("times", [4, 5, 8])
def test_json_in_json_is_read_so_deep_and_hidden_beyond(times: int) -> None:
    value: Any = {"password": SECRET, "city": "Bergen"}
    for _ in range(times):
        value = {"x": json.dumps(value)}
    text, places = Redactor().text(json.dumps(value))
    for _ in range(min(times, 5)):
        text = json.loads(text)["x"]
    if times == 4:
        assert json.loads(text) == {"password": "<hidden-1>", "city": "Bergen"}
        assert places == ["x.x.x.x.password"]
    else:
        assert text == "<hidden-1>"
        assert places == ["x.x.x.x.x"]


def test_so_many_places_are_named_and_no_more() -> None:
    _, places = redact([{"token": f"{SECRET}{number}"} for number in range(100)])
    assert len(places) == 33
    assert places[-1] == "68 more"


def test_many_secrets_are_hidden_though_they_share_a_mark() -> None:
    redactor = Redactor()
    shown = [redactor.hide(f"{SECRET}{number}") for number in range(10_100)]
    assert shown == [f"<hidden-{number}>" for number in range(1, 10_001)] + ["<...>"] * 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, *HARMLESS, "x"]) | st.text(max_size=4), inner)
    ),
    max_leaves=12,
)


def hidden(value: Any, under: bool = False) -> Any:
    """Whether a secret stands at a place whose name, or that of what it is in, is secret."""
    if isinstance(value, dict):
        return any(hidden(each, under or name in NAMES) for name, each in value.items())
    if isinstance(value, list):
        return any(hidden(each, under) for each in value)
    return under and value == SECRET


@settings(max_examples=200)
@given(JSON)
def test_json_stays_json_of_the_same_form(value: Any) -> None:
    text = json.dumps(value)
    shown, places = Redactor().text(text)
    if not places:
        assert shown == text
    if hidden(value):
        assert places
        assert SECRET not in shown
    if isinstance(value, (dict, list)):
        assert _form(json.loads(shown)) == _form(value)


def _form(value: Any) -> Any:
    if isinstance(value, dict):
        return [_form(each) for each in value.values()]
    return [_form(each) for each in value] if isinstance(value, list) else isinstance(value, bool)


@settings(max_examples=200)
@given(st.text(string.printable, max_size=60))
def test_any_text_can_be_looked_at(text: str) -> None:
    shown, places = Redactor().text(text)
    assert (shown == text) is (not places)


@settings(max_examples=50)
@given(
    value=st.text(string.ascii_letters + string.digits, min_size=12, max_size=20).map("Aa0".__add__)
)
def test_nothing_of_a_request_shows_what_authenticates_it(value: str) -> None:
    builder = RecordBuilder(Redactor())
    head = builder.head(
        [(b"authorization", f"Bearer {value}".encode()), (b"cookie", f"a={value}".encode())],
        time=0.0,
        direction=TO_SERVER,
        method="POST",
        target=f"/mcp?key={value}",
    )
    body = {"method": "m", "params": {"text": f"my {value}", "nested": [f"{value}"]}}
    message = builder.message(msgspec.json.encode(body), time=0.0, direction=TO_SERVER)
    assert value not in (encode_line(head) + encode_line(message)).decode()


def test_the_id_of_a_message_shows_no_secret() -> None:
    data = json.dumps({"id": f"token={SECRET}", "method": "m"}).encode()
    record = RecordBuilder(Redactor()).message(data, time=0.0, direction=TO_SERVER)
    assert SECRET not in encode_line(record).decode()
    assert (record.method, record.id) == ("m", "token=<hidden-1>")


def test_what_came_in_the_place_of_a_head_shows_no_secret() -> None:
    data = f"GET /mcp?t={SECRET} SPDY/9\r\nauthorization: Bearer {SECRET}\r\nhost: h"
    record = RecordBuilder(Redactor()).unread_head(data.encode(), time=0.0, direction=TO_SERVER)
    assert record.kind == "invalid"
    assert SECRET not in record.payload.decode()
    assert record.payload.decode().endswith("host: h")
    assert record.redactions == ("query t", "header authorization")


def test_of_secrets_within_each_other_nothing_is_left() -> None:
    redactor = Redactor()
    short, long = "abcdefgh1234", "abcdefgh1234-and-more-5678"
    redactor.hide(short)
    redactor.hide(long)
    shown, _ = redactor.text(f"it is {long} or {short}")
    assert shown == "it is <hidden-2> or <hidden-1>"
    fields, _ = redactor.headers([(b"x-note", f"{long};{short}".encode())])
    assert fields == [(b"x-note", b"<hidden-2>;<hidden-1>")]
    assert redactor.target(f"/{long}/{short}")[0] == "/<hidden-2>/<hidden-1>"


def test_names_may_be_written_with_escapes() -> None:
    text = '{"to\\u006ben":"' + SECRET + '","p\\u0061ssword":"' + SECRET + '"}'
    assert SECRET not in Redactor().text(text)[0]


def test_a_secret_of_any_length_is_hidden() -> None:
    for size in (1, 63, 64, 65, 4096, 4097, 100_000):
        redactor = Redactor()
        shown, _ = redactor.text(json.dumps({"password": "x" * size}))
        assert json.loads(shown) == {"password": "<hidden-1>"}
        assert redactor.hide("x" * size) == "<hidden-1>"


@pytest.mark.parametrize("size", [1, 65])
def test_a_secret_that_is_no_text_is_hidden(size: int) -> None:
    text = '{"password":"' + "\\ud800" * size + '"}'
    assert Redactor().text(text) == ('{"password":"<hidden-1>"}', ["password"])


def test_the_endpoint_of_an_event_stream_is_hidden_as_the_target_that_it_becomes() -> None:
    builder = RecordBuilder(Redactor())
    event = builder.message(
        f"/messages?conn={SECRET}".encode(),
        time=0.0,
        direction=TO_SERVER,
        event="endpoint",
        otherwise="sse-event",
    )
    head = builder.head(
        [], time=0.0, direction=TO_SERVER, method="POST", target=f"/messages?conn={SECRET}"
    )
    assert event.text == "/messages?conn=<hidden-1>"
    assert head.text == "POST /messages?conn=<hidden-1>"


@pytest.mark.parametrize("name", ["caf\udce9", "\udcff", "a" * 200 + "\udcff"])
def test_a_query_whose_names_are_no_utf8_is_recorded(name: str) -> None:
    builder = RecordBuilder(Redactor())
    data = f"/messages?{name}={SECRET}".encode("utf-8", "surrogateescape")
    event = builder.note("sse-event", time=0.0, data=data, event="endpoint")
    head = builder.head(
        [], time=0.0, direction=TO_SERVER, method="GET", target=f"/messages?{name}={SECRET}"
    )
    for record in (event, head):
        assert record.redactions
        assert SECRET.encode() not in encode_line(record)
