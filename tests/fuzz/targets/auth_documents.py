"""Documents of OAuth and the URLs in them: what is not sound is refused, the rest is as it says."""

import json
from ipaddress import ip_address
from socket import inet_aton, inet_ntoa
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec.structs import replace

from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.keysets import KeySetLimits, read_keys, usable_key
from mcpcore.auth.metadata import (
    ErrorResponse,
    Registration,
    ResourceMetadata,
    ServerMetadata,
    TokenResponse,
    printable,
    read_document,
    read_object,
)
from mcpcore.auth.records import ClientRecord, TokenRecord, read_record, written
from mcpcore.auth.urls import (
    Url,
    canonical_resource,
    check_url,
    covers,
    parse_url,
    resource_metadata_urls,
    server_metadata_urls,
    with_query,
)
from mcpcore.errors import DocumentRefused, UrlRefused
from mcpcore.wire.redaction import Secret
from tests.fuzz.choices import Choices

TOKENS = (
    *(b"https://", b"http://", b"127.0.0.1", b"[::1]", b"localhost", b"0x7f000001", b"2130706433"),
    *(
        b"[::ffff:10.0.0.1]",
        b"64:ff9b::",
        b"@",
        b"#",
        b"..",
        b":443",
        b"%2e",
        b"/mcp",
        b"?client_id=",
    ),
    *(b'{"issuer": "https://a.example"}', b'"resource":', b'"keys": [', b"null", b"1e400", b"NaN"),
    *(
        b'"access_token": "a", "token_type": "Bearer"',
        b'"\\ud800"',
        b"[" * 40,
        b"{",
        b"}",
        b'"a":1,',
    ),
    *(b'"kty": "EC"', b'"crv": "P-256"', b'"x": "AA"', b"\xff", b"\xef\xbb\xbf", b"9" * 400),
)
_KINDS: tuple[type[msgspec.Struct], ...] = (
    *(ResourceMetadata, ServerMetadata, Registration, TokenResponse, ErrorResponse),
)
_VALUES: tuple[Any, ...] = (
    *("https://a.example", "", "Bearer", ["S256"], ["https://a.example/x"], {"a": "b"}, 3600, True),
    *(None, -1, 1.5, [], {}, [1], {"a": 1}, "é\u2028", 10**30, [None]),
)
_SECRET = "the-marked-secret"
_HOSTS = ("a.example", "A.Example:443", "127.0.0.1", "localhost:8000", "[::1]:1", "10.0.0.1", "1.2")


def TARGET(data: bytes) -> None:
    c = Choices(data)
    match c.below(6):
        case 0:
            _built(c)
        case 1:
            _urls(c)
        case 2:
            raw = c.rest()
            _url(raw.decode("latin-1"))
            _url("https://" + raw.decode("utf-8", "replace"))
        case 3:
            raw = c.rest()
            _record(raw)
            _read(raw)
            _read(b'{"a": %s, "b": "%s"}' % (raw, _SECRET.encode()))
        case 4:
            _keys(c)
        case _:
            text = c.rest().decode("utf-8", "replace")
            shown = printable(text)
            assert shown.isprintable()
            assert len(shown) <= 303


def _plainly(body: bytes) -> Any:
    """The JSON of a document by the library; ValueError for what no two readers read alike."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    document = json.loads(body.decode(), object_pairs_hook=once)
    json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    return document


def _read(body: bytes) -> None:
    try:
        plain = _plainly(body)
    except (ValueError, RecursionError):
        plain = None
    for kind in _KINDS:
        try:
            document, dropped = read_document(body, kind, "the document")
        except DocumentRefused as refused:
            assert _SECRET not in str(refused)
            assert str(refused).isprintable()
            continue
        assert isinstance(plain, dict)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        assert not any(fields[name].required for name in dropped)
        for name, field in fields.items():
            value, said = getattr(document, field.name), plain.get(name)
            if said is None or name in dropped:
                assert field.required is False
                assert value == getattr(kind(**_least(kind)), field.name)
            elif isinstance(value, float):
                assert value == float(said)
            else:
                assert json.loads(msgspec.json.encode(value, enc_hook=Secret.reveal)) == said
    try:
        members = read_object(body, "the document")
    except DocumentRefused:
        # Beyond what no reader takes, only depth is refused.
        assert not isinstance(plain, dict) or body.count(b"[") + body.count(b"{") > 32
    else:
        assert members == plain


def _least(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: "" for field in msgspec.structs.fields(kind) if field.required}


def _built(c: Choices) -> None:
    """A document with members of all types: the sound ones are there, and no others."""
    kind = c.pick(_KINDS)
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    members: dict[str, Any] = {**_least(kind)}
    members |= {c.pick(names): c.pick(_VALUES) for _ in range(c.below(8))}
    body = json.dumps(members).encode()
    _read(body)
    if c.flag(4):
        _read(body[: c.below(len(body))])


def _urls(c: Choices) -> None:
    """A URL of sound parts, and what is made of it."""
    scheme, host = c.pick(("https", "http", "HTTPS")), c.pick(_HOSTS)
    path = c.pick(("", "/", "/mcp", "/a/b", "/mcp/"))
    query = c.pick(("", "?", "?a=b", "?client_id=x", "?a=%26&a=c"))
    text = f"{scheme}://{host}{path}{query}"
    _url(text)
    try:
        url = parse_url(text, "the URL")
    except UrlRefused:
        assert host == "1.2"
        return
    params = {c.pick(("client_id", "state", "x")): c.text() for _ in range(c.below(4))}
    try:
        asked = with_query(url, params)
    except UrlRefused:
        assert "[" in host or ("client_id" in params and "client_id" in query)
        return
    own = parse_qsl(query[1:], keep_blank_values=True)
    assert not dict(own).keys() & params.keys()
    found = parse_qsl(urlsplit(asked).query, keep_blank_values=True)
    assert found == [*own, *params.items()]


def _url(text: str) -> None:
    try:
        url = parse_url(text, "the URL")
    except UrlRefused as refused:
        assert len(str(refused)) < 200
        return
    assert url.text == text
    assert text.isascii()
    assert not set(text) & set('#@ \\"<>^`{|}\t\r\n\0') - set(
        "@" if "@" in url.path + url.query else ""
    )
    plain = urlsplit(text)
    assert (plain.username, plain.password) == (None, None)
    assert (plain.scheme, plain.hostname, plain.path) == (url.scheme, url.host, url.path)
    assert plain.port in (url.port, None)
    _checked(url)
    assert covers(text, text)
    assert parse_url(url.origin, "the origin").origin == url.origin
    resource = canonical_resource(text)
    assert canonical_resource(resource) == resource
    assert covers(text, resource)
    for place in resource_metadata_urls(text):
        assert parse_url(place, "the place").origin == url.origin
    if not url.query:
        for place in server_metadata_urls(text):
            assert parse_url(place, "the place").origin == url.origin
    assert covers(url.origin, text)
    base = url.path.rstrip("/")
    above = base.rpartition("/")[0].rstrip("/")
    assert not base or not covers(url.origin + above, text, root=False)
    assert not covers(f"{url.origin}{base}x", url.origin + url.path)
    assert not base or not covers(url.origin + base, f"{url.origin}{base}x")
    assert not covers("https://other.example" + url.path, text) or url.host == "other.example"


def _checked(url: Url) -> None:
    """No host of this machine or its networks, and no plain text, but where that is allowed."""
    for local in (False, True):
        try:
            check_url(url.text, "the URL", loopback=local)
        except UrlRefused:
            assert url.scheme == "http" or not url.host.endswith(".example")
            continue
        assert local or not url.loopback
        assert url.scheme == "https" or url.loopback
        try:
            address = ip_address(inet_ntoa(inet_aton(url.host)))
        except OSError:
            continue  # a name
        # Whatever a resolver would take for an address stands there as one, and a public one.
        assert str(address) == url.host
        assert local or address.is_global


def _record(data: bytes) -> None:
    token, client = read_record(data, TokenRecord), read_record(data, ClientRecord)
    assert token is None or read_record(written(token), TokenRecord) == token
    assert client is None or read_record(written(client), ClientRecord) == client
    # Their representations are the same whatever their secrets are.
    if token is not None:
        other = replace(token, access_token="x", refresh_token=None, client=_other(token.client))
        assert repr(token) == repr(other)
    if client is not None:
        assert repr(client) == repr(replace(client, client=_other(client.client)))


def _other(client: ClientIdentity) -> ClientIdentity:
    return replace(client, client_secret=None if client.client_secret is None else "x")


def _keys(c: Choices) -> None:
    limits = KeySetLimits(max_keys=8)
    members = ("kty", "crv", "x", "y", "n", "e", "use", "alg", "kid", "d", "key_ops")
    values = (
        "EC",
        "P-256",
        "AA",
        "AQAB",
        "sig",
        "ES256",
        "RSA",
        "OKP",
        "Ed25519",
        "A" * 400,
        *_VALUES,
    )
    usual = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
    keys = [
        usual | {c.pick(members): c.pick(values) for _ in range(c.below(4))}
        for _ in range(c.below(12))
    ]
    try:
        found = read_keys(json.dumps({"keys": keys}).encode(), limits)
    except DocumentRefused:
        sound = [key for each in keys[:8] if (key := usable_key(each)) is not None]
        assert len({key.kid for key in sound}) < len(sound) or not sound
        return
    assert 0 < len(found) <= 8
    for key in found:
        assert not key.jwk.keys() & {"d", "p", "q", "k"}
        assert key.kind in ("EC", "RSA", "OKP")
    named = [key.kid for key in found if key.kid is not None]
    assert len(set(named)) == len(named)
