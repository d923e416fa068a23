"""How header fields are read: known answers for what was built, rules for what was not."""

import re

from mcpcore.http.headers import (
    Fields,
    HeaderError,
    body_length,
    is_field_text,
    is_json,
    is_session_id,
    is_token,
    media_type,
    quality,
    quoted,
)
from mcpcore.http.origin import OriginPolicy
from tests.fuzz.choices import Choices

TOKENS = (
    *(b"application/json", b"text/event-stream", b"*/*", b"application/*", b";q=0", b"; q=0.5"),
    *(b"; charset=utf-8", b'; a="b,c;d"', b", ", b'"', b"\\", b"mcp-param-a", b"content-length"),
    *(b"transfer-encoding", b"=?base64?QQ==?=", b"\r\n", b"\x85", b"\xa0", b"localhost", b"[::1]"),
    *(b"http://", b":443", b"null", b"\0"),
)
_NAMES = (
    *(b"accept", b"content-type", b"content-length", b"transfer-encoding", b"host", b"origin"),
    *(b"mcp-name", b"mcp-param-a", b"Mcp-Param-A", b"mcp-param-", b"mcp-method", b"x"),
)
_TYPES = ("application/json", "text/event-stream", "text/html", "application/*", "*/*", "text/*")
_ASKED = ("application/json", "text/event-stream")
_SPACES = ("", " ", "\t", "  ")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def _element(c: Choices) -> tuple[str, str, int | None]:
    """One element of Accept: how it is written, its range, its weight in thousandths.

    None: it cannot be read, and counts for nothing.
    """
    kind = c.pick(_TYPES)
    thousandths = c.pick((None, 1000, 0, 500, 1, 999))
    shown = kind.upper() if c.flag(4) else kind
    space = c.pick(_SPACES)
    if c.flag(4):
        shown += f'{space};{space}v="{c.pick(("1", ",", ";q=0", chr(92) + chr(34)))}"'
    if c.flag(8):
        return shown + c.pick((";q=2", ";q=-1", ";q=0.1234", ";q=", " x", ";q=1.001")), kind, None
    if thousandths is not None:
        weight = f"{thousandths / 1000:.3f}" if c.flag() else f"{thousandths / 1000:g}"
        shown += f"{space};{space}{c.pick(('q', 'Q'))}={weight}{space}"
    return shown, kind, 1000 if thousandths is None else thousandths


def _accept(c: Choices) -> None:
    elements = [_element(c) for _ in range(c.below(6))]
    text = c.pick((",", ", ", " ,")).join(shown for shown, _, _ in elements)
    for asked in _ASKED:
        best = (-1, 0)
        for _, kind, weight in elements:
            matches = kind in (asked, "*/*") or kind == f"{asked.partition('/')[0]}/*"
            if matches and weight is not None:
                best = max(best, (2 - kind.count("*"), weight))
        assert quality(text, asked) == best[1] / 1000, (text, asked)


def _types(text: str) -> None:
    found = media_type(text)
    if found is not None:
        kind, parameters = found
        main, _, sub = kind.partition("/")
        assert _TOKEN.fullmatch(main)
        assert _TOKEN.fullmatch(sub)
        assert kind == kind.lower()
        assert text.strip().lower().startswith(kind)
        assert all(name.lower() in text.lower() for name in parameters)
    right = found is not None and found[0] == "application/json"
    assert not is_json(text) or right
    for asked in _ASKED:
        assert 0 <= quality(text, asked) <= 1
        assert quality(f"{asked}, {text}", asked) >= 0
    shown = quoted(text)
    assert is_field_text(shown.encode("ascii"))
    assert len(shown) <= 65


def _fields(c: Choices) -> None:
    lines = [(c.pick(_NAMES), c.blob(12)) for _ in range(c.below(8))]
    fields = Fields(lines)
    for asked in (*_NAMES, b"absent"):
        name = asked.lower()
        values = [value.strip(b" \t") for other, value in lines if other.lower() == name]
        assert (name in fields) is bool(values)
        joined = fields.all(name)
        whole = b", ".join(values).strip(b" \t").decode("latin-1")
        assert joined == (whole if values else None)
        try:
            one = fields.one(name)
        except HeaderError as error:
            assert len(values) > 1 or not is_field_text(values[0])
            assert is_field_text(str(error).encode("latin-1"))
        else:
            assert one == (values[0].decode("ascii") if values else None)
            assert len(values) < 2
    _lengths(fields, lines)
    said, unreadable = fields.mirrored()
    names = {
        name.lower()[10:].decode() for name, _ in lines if name.lower().startswith(b"mcp-param-")
    }
    assert said.keys() | unreadable.keys() == names
    assert not said.keys() & unreadable.keys()


def _lengths(fields: Fields, lines: list[tuple[bytes, bytes]]) -> None:
    lengths = [value.strip(b" \t") for name, value in lines if name == b"content-length"]
    chunked = any(name == b"transfer-encoding" for name, _ in lines)
    try:
        length = body_length(fields)
    except HeaderError:
        assert (
            len(lengths) > 1
            or (chunked and lengths)
            or not re.fullmatch(rb"[0-9]{1,18}", lengths[0])
        )
        return
    if chunked:
        assert length is None
        assert not lengths
    else:
        assert length == (int(lengths[0]) if lengths else 0)


_POLICY = OriginPolicy(("example.org", "[::1]:8000", "localhost"), ("https://page.example",))


_HOSTS = re.compile(r"(?:example\.org|localhost)(?::0*(?:80|443))?|\[[0-9a-f:.]+\]:0*8000")
_PAGES = re.compile(r"https://page\.example(?::0*443)?")


def _origins(c: Choices) -> None:
    """Nothing is believed but what is listed, in any way of writing it."""
    host = c.pick(("localhost", "example.org:80", "[::1]:8000", "evil.example", c.text(24)))
    origin = c.pick((None, "https://page.example", "http://localhost", c.text(24)))
    problem = _POLICY.check(host, origin, c.pick(("http", "https")))
    if problem is None:
        assert _HOSTS.fullmatch(host.lower())
        assert origin is None or _PAGES.fullmatch(origin.lower())
    else:
        assert is_field_text(problem.encode("ascii"))
    if host in ("localhost", "[::1]:8000") and origin in (None, "https://page.example"):
        assert problem is None


def TARGET(data: bytes) -> None:
    c = Choices(data)
    match c.below(5):
        case 0:
            _accept(c)
        case 1:
            _fields(c)
        case 2:
            _origins(c)
        case _:
            raw = c.rest()
            text = raw.decode("latin-1")
            _types(text)
            assert is_token(raw) is bool(_TOKEN.fullmatch(text))
            assert is_session_id(text) is (bool(text) and all("!" <= char <= "~" for char in text))
