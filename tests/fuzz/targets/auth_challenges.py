"""Challenges of WWW-Authenticate: what was written is read, and nothing inside quotes is one."""

from mcpcore.auth.challenges import (
    MAX_CHALLENGES,
    MAX_LENGTH,
    Challenge,
    find_challenge,
    format_challenge,
    format_scopes,
    parse_challenges,
    parse_scopes,
)
from mcpcore.http.headers import is_field_text, is_token
from tests.fuzz.choices import Choices

TOKENS = (
    *(b"Bearer ", b"DPoP ", b"Basic ", b'realm="', b"error=", b'scope="', b"resource_metadata="),
    *(b"insufficient_scope", b", ", b",,", b"=", b"==", b'"', b'\\"', b"\\", b"\n", b"\t", b"\0"),
    *(b"a68==", b"algs=", b" = ", b"error=a, error=b", b'"Bearer scope=all"', b"\xc3\xa9"),
)
_SCHEMES = ("Bearer", "DPoP", "basic", "Negotiate", "x-own")
_NAMES = ("realm", "error", "scope", "resource_metadata", "Algs", "x")
_VALUES = (
    *(
        "insufficient_scope",
        "a b",
        "",
        '", Bearer scope="all',
        "\\",
        'a\\"b',
        "https://a.example/x",
    ),
    *(",", "=", "DPoP algs=none"),
)


def TARGET(data: bytes) -> None:
    c = Choices(data)
    if c.flag():
        _built(c)
        return
    text = c.rest().decode("latin-1")
    lines = text.split("\n")
    _sound(lines)
    _sound([", ".join([text] * (2 * MAX_LENGTH // (len(text) + 2)))])
    # As the one parameter of a challenge it is that, whatever it says.
    hidden = parse_challenges([format_challenge("Basic", {"realm": text})])
    assert [each.scheme for each in hidden] == (["basic"] if len(text) < MAX_LENGTH // 4 else [])
    _scopes(text)


def _built(c: Choices) -> None:
    """What is written, on any lines, is read as it was meant, if no name in it stands twice."""
    expected: list[Challenge] = []
    lines = []
    for _ in range(c.below(8)):
        scheme = c.pick(_SCHEMES)
        params = {
            c.pick(_NAMES).lower(): c.seldom(_VALUES, ("x" * 200,)) for _ in range(c.below(4))
        }
        text = format_challenge(scheme, params)
        if params and c.flag(8):
            text += f', {c.pick(tuple(params)).upper()}="{c.pick(("a", "insufficient_scope"))}"'
        else:
            expected.append(Challenge(scheme.lower(), params))
        lines.append(text + c.pick(("", ",", " ,")))
    if c.flag():
        lines = [", ".join(lines)]
    assert list(parse_challenges(lines)) == expected, lines
    for scheme in _SCHEMES:
        first = next((each for each in expected if each.scheme == scheme.lower()), None)
        assert find_challenge(expected, scheme.lower()) == first
    # What follows a place that cannot be read changes nothing of what stands before it.
    assert list(parse_challenges([*lines, '"', "Bearer scope=all"])) == expected


def _sound(lines: list[str]) -> None:
    found = parse_challenges(lines)
    assert len(found) <= MAX_CHALLENGES
    for each in found:
        assert is_token(each.scheme.encode("latin-1"))
        assert each.scheme == each.scheme.lower()
        assert each.token is None or not each.params
        for name, value in each.params.items():
            assert is_token(name.encode("latin-1"))
            assert name == name.lower()
            assert not set(value) & {"\r", "\n", "\0"}
        assert each.scopes is None or " ".join(sorted(each.scopes)) == format_scopes(each.scopes)
    written = [format_challenge(each.scheme, each.params) for each in found if each.token is None]
    assert all(is_field_text(text.encode("ascii")) for text in written)
    plain = [
        each
        for each in found
        if each.token is None and all(value.isascii() for value in each.params.values())
    ]
    again = [format_challenge(each.scheme, each.params) for each in plain]
    if sum(map(len, again)) + 2 * len(again) <= MAX_LENGTH:
        assert list(parse_challenges(again)) == plain


def _scopes(text: str) -> None:
    scopes = parse_scopes(text)
    if scopes is None:
        return
    assert set(text.split(" ")) - {""} == scopes
    assert parse_scopes(format_scopes(scopes)) == scopes
