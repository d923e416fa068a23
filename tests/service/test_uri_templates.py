"""RFC 6570, levels 1 to 3 and paths: expansion, and matching as its inverse."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import TemplateError, UnsafeValue
from mcpcore.service.uri_templates import UriTemplate, hazard, without_idle_segments
from tests.steps import steps_of

VALUES: Mapping[str, Any] = {
    "var": "value",
    "hello": "Hello World!",
    "half": "50%",
    "base": "http://example.com/home/",
    "path": "/foo/bar",
    "who": "fred",
    "dub": "me/too",
    "x": "1024",
    "y": "768",
    "v": "6",
    "empty": "",
    "undef": None,
    "number": 7,
    "yes": True,
    "no": False,
    "triplet": "a%2Fb",
    "umlaut": "ü",
    "rel": "foo/a b/c,d",
    "list": ["red", "gre/en", 7],
    "none": [],
}

# The facts of RFC 6570, section 1.2 (levels) and section 3.2 (operators).
EXPANSIONS = [
    ("{var}", "value"),
    ("{hello}", "Hello%20World%21"),
    ("{half}", "50%25"),
    ("O{empty}X", "OX"),
    ("O{undef}X", "OX"),
    ("{x,y}", "1024,768"),
    ("{x,hello,y}", "1024,Hello%20World%21,768"),
    ("?{x,empty}", "?1024,"),
    ("?{x,undef}", "?1024"),
    ("?{undef,y}", "?768"),
    ("{base}index", "http%3A%2F%2Fexample.com%2Fhome%2Findex"),
    ("{+var}", "value"),
    ("{+hello}", "Hello%20World!"),
    ("{+half}", "50%25"),
    ("{+base}index", "http://example.com/home/index"),
    ("O{+empty}X", "OX"),
    ("O{+undef}X", "OX"),
    ("{+path}/here", "/foo/bar/here"),
    ("here?ref={+path}", "here?ref=/foo/bar"),
    ("up{+path}{var}/here", "up/foo/barvalue/here"),
    ("{+x,hello,y}", "1024,Hello%20World!,768"),
    ("{+path,x}/here", "/foo/bar,1024/here"),
    ("{#var}", "#value"),
    ("{#hello}", "#Hello%20World!"),
    ("{#half}", "#50%25"),
    ("foo{#empty}", "foo#"),
    ("foo{#undef}", "foo"),
    ("{#x,hello,y}", "#1024,Hello%20World!,768"),
    ("{#path,x}/here", "#/foo/bar,1024/here"),
    ("{.who}", ".fred"),
    ("{.who,who2}", ".fred"),
    ("{.half,who}", ".50%25.fred"),
    ("X{.var}", "X.value"),
    ("X{.empty}", "X."),
    ("X{.undef}", "X"),
    ("X{.x,y}", "X.1024.768"),
    ("{/who}", "/fred"),
    ("{/half,who}", "/50%25/fred"),
    ("{/who,dub}", "/fred/me%2Ftoo"),
    ("{/var,empty}", "/value/"),
    ("{/var,undef}", "/value"),
    ("{/var,x}/here", "/value/1024/here"),
    ("{;who}", ";who=fred"),
    ("{;half}", ";half=50%25"),
    ("{;empty}", ";empty"),
    ("{;x,y}", ";x=1024;y=768"),
    ("{;x,y,empty}", ";x=1024;y=768;empty"),
    ("{;x,y,undef}", ";x=1024;y=768"),
    ("{?who}", "?who=fred"),
    ("{?half}", "?half=50%25"),
    ("{?x,y}", "?x=1024&y=768"),
    ("{?x,y,empty}", "?x=1024&y=768&empty="),
    ("{?x,y,undef}", "?x=1024&y=768"),
    ("{&who}", "&who=fred"),
    ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
    ("{&x,y,empty}", "&x=1024&y=768&empty="),
    # Paths: the list of level 4 behind a slash; without an operator the same, but for that slash
    ("{/list*}", "/red/gre%2Fen/7"),
    ("{/list*}{/var}", "/red/gre%2Fen/7/value"),
    ("{list*}", "red/gre%2Fen/7"),
    ("{rel*}", "foo/a%20b/c%2Cd"),
    ("x{/rel*}.md", "x/foo/a%20b/c%2Cd.md"),
    ("{rel*}{?x}", "foo/a%20b/c%2Cd?x=1024"),
    ("{half*}", "50%25"),
    ("{/triplet*}", "/a%252Fb"),
    ("{var*}-{number*}", "value-7"),
    ("X{none*}{/undef*}", "X"),
    ("X{undef*}{/none*}", "X"),
    # Literals and other values
    ("a b", None),
    ("caf\u00e9/{var}", "caf%C3%A9/value"),
    ("it's%20/{var}", "it's%20/value"),
    ("{number}-{yes}-{no}", "7-true-false"),
    ("{umlaut}", "%C3%BC"),
    ("{triplet}", "a%252Fb"),
    ("{+triplet}", "a%2Fb"),
]


@pytest.mark.parametrize(("template", "expected"), EXPANSIONS)
def test_expansion(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError, match="not allowed in a literal"):
            UriTemplate(template)
    else:
        values = {**VALUES, "who2": None}
        assert UriTemplate(template).expand(values) == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("a{b", "'{' is not allowed"),
        ("a}b", "'}' is not allowed"),
        ("{}", "'' is no variable name"),
        ("{+}", "'' is no variable name"),
        ("{a,}", "'' is no variable name"),
        ("{a b}", "'a b' is no variable name"),
        ("{=a}", "no variable name"),
        ("{a*,b}", "level 4"),
        ("{a,b*}", "level 4"),
        ("{/a,b*}", "level 4"),
        ("{+a*}", r"the modifier in 'a\*' is level 4; of that only {x\*} and {/x\*} are known"),
        ("{#a*}", "level 4"),
        ("{.a*}", "level 4"),
        ("{;a*}", "level 4"),
        ("{?a*}", "level 4"),
        ("{&a*}", "level 4"),
        ("{a**}", "level 4"),
        ("{*}", "'' is no variable name"),
        ("{*a}", "no variable name"),
        ("{a:3}", "level 4"),
        ("{a:3*}", "level 4|no variable name"),
        ("{a}{/a*}", "twice"),
        ("{?a}{b*}", "cannot be told"),
        ("100%", "'%' is not allowed"),
        ("a\x00b", "not allowed"),
        ("a<b", "not allowed"),
        ("{a}{b}{a}", "twice"),
        ("{?a}x", "cannot be told"),
        ("{?a}{b}", "cannot be told"),
        ("{?a}{&b}", "cannot be told"),
        ("{;a}={b}", "cannot be told"),
        ("{?a}{#b}%20", "cannot be told"),
    ],
)
def test_templates_that_cannot_be_used(template: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        UriTemplate(template)


def test_unknown_unchecked_variable() -> None:
    with pytest.raises(TemplateError, match="no variable 'b'"):
        UriTemplate("x:{a}", unchecked=["b"])


@pytest.mark.parametrize(
    ("template", "value"),
    [
        *(("{a}", value) for value in (["a"], {"a": "b"}, ("a",), b"a", [])),
        *(("{/a*}", value) for value in ({"a": "b"}, b"a", [["a"]], [None])),
    ],
)
def test_compound_values_are_level_4(template: str, value: Any) -> None:
    with pytest.raises(TypeError, match="variable 'a'"):
        UriTemplate(template).expand({"a": value})


def test_what_a_template_shows() -> None:
    template = UriTemplate("file:///{+path}{?line,column}")
    assert template.variables == ("path", "line", "column")
    assert template.paths == frozenset()
    assert UriTemplate("{a}{b*}{/c*}").paths == {"b", "c"}
    assert repr(template) == "UriTemplate('file:///{+path}{?line,column}')"


MATCHES: list[tuple[str, str, dict[str, str] | None]] = [
    ("test://plain", "test://plain", {}),
    ("test://plain", "test://plain/", None),
    ("test://template/{id}/data", "test://template/123/data", {"id": "123"}),
    ("test://template/{id}/data", "test://template//data", None),
    ("test://template/{id}/data", "test://template/1/2/data", None),
    ("test://template/{id}/data", "test://template/data", None),
    ("test://a{x}a", "test://a", None),
    ("x:{a}", "x:%20", {"a": " "}),
    ("x:{a}", "x:%2", None),
    ("x:{a}", "x:%zz", None),
    ("x:{a}", "x:%ff", None),
    ("x:{a}", "x:\u00e9", {"a": "\u00e9"}),
    ("x:\u00e9{a}", "x:\u00e9b", {"a": "b"}),
    ("x:{a}", "x:\ud800", None),
    ("x:{a}", "x:a b", None),
    ("{x,y}", "1,2", {"x": "1", "y": "2"}),
    ("{x,y}", "1", None),
    ("{x,y}", "1,2,3", None),
    # Greedy from the left, as long as the rest still matches
    ("i:{name}.{ext}", "i:a.tar.gz", {"name": "a.tar", "ext": "gz"}),
    ("i:{name}-v{version}", "i:a-v1-v2", {"name": "a-v1", "version": "2"}),
    ("{a}{b}", "xyz", {"a": "xy", "b": "z"}),
    ("{+a}/{b}", "1/2/3", {"a": "1/2", "b": "3"}),
    ("f:{+path}/meta/{id}", "f:a/meta/b/meta/c", {"path": "a/meta/b", "id": "c"}),
    ("{+a,b}", "1,2,3", {"a": "1,2", "b": "3"}),
    # A reserved variable leaves the rest what is evidently its own
    ("f:{+path}{?line}", "f:a/b?line=3", {"path": "a/b", "line": "3"}),
    ("f:{+path}{?line}", "f:a/b", {"path": "a/b"}),
    ("f:{+path}{#part}", "f:a#b", {"path": "a", "part": "b"}),
    ("f:{+path}{;v}", "f:a;v=1", {"path": "a", "v": "1"}),
    ("f:{+path}", "f:a?b#c", {"path": "a?b#c"}),
    # Paths
    ("f:{path*}", "f:a", {"path": "a"}),
    ("f:{path*}", "f:a/b/c.md", {"path": "a/b/c.md"}),
    ("f:{path*}", "f:a/", {"path": "a/"}),
    ("f:{path*}", "f:a//b", {"path": "a//b"}),
    ("f:{path*}", "f:a%20b/%C3%A9", {"path": "a b/é"}),
    ("f:{path*}", "f:a@b/c:d,e;f=g+h!", {"path": "a@b/c:d,e;f=g+h!"}),
    ("f:{path*}", "f:", None),
    ("f:{path*}", "f:a?b", None),
    ("f:{path*}", "f:a#b", None),
    ("f:{path*}", "f:a[b]", None),
    ("f:{path*}", "f:a b", None),
    ("f:{path*}", "f:a%3Fb", {"path": "a?b"}),
    ("f://{owner}/{path*}/x.py", "f://me/a/b/x.py", {"owner": "me", "path": "a/b"}),
    ("f://{owner}/{path*}/x.py", "f://me/x.py/x.py", {"owner": "me", "path": "x.py"}),
    ("f://{owner}/{path*}/x.py", "f://me/x.py", None),
    ("f://{owner}/{path*}/x.py", "f://me/a/y.py", None),
    ("{a*}/{b}", "1/2/3", {"a": "1/2", "b": "3"}),
    ("{a*}/{b*}", "1/2/3", {"a": "1/2", "b": "3"}),
    ("{a*}.{ext}", "a/b.tar.gz", {"a": "a/b.tar", "ext": "gz"}),
    ("f:{path*}{?q,r}", "f:a/b?r=1", {"path": "a/b", "r": "1"}),
    ("f:{path*}{?q}", "f:a/b", {"path": "a/b"}),
    ("f:{path*}{#part}", "f:a/b#c", {"path": "a/b", "part": "c"}),
    ("f:{path*}{;v}", "f:a;v=1", {"path": "a", "v": "1"}),
    ("f:{path*}?fixed=1{&a}", "f:a/b?fixed=1&a=2", {"path": "a/b", "a": "2"}),
    ("f:x{/path*}", "f:x/a/b", {"path": "a/b"}),
    ("f:x{/path*}", "f:x/a", {"path": "a"}),
    ("f:x{/path*}", "f:x", {}),
    ("f:x{/path*}", "f:x/", None),
    ("f:x{/path*}", "f:xa", None),
    ("f:x{/path*}/end", "f:x/end", {}),
    ("f:x{/path*}/end", "f:x/a/b/end", {"path": "a/b"}),
    ("f:x{/path*}{.ext}", "f:x.md", {"ext": "md"}),
    # Optional parts, from the right
    ("{/a,b}", "/1/2", {"a": "1", "b": "2"}),
    ("{/a,b}", "/1", {"a": "1"}),
    ("{/a,b}", "", {}),
    ("{/a,b}", "/1/2/3", None),
    ("r{/a}/end", "r/end", {}),
    ("r{/a}/end", "r/end/end", {"a": "end"}),
    ("x{.a,b}", "x.1.2", {"a": "1.2"}),
    ("x{.a}", "x", {}),
    ("x{#a,b}", "x#1,2", {"a": "1,2"}),
    ("x{#a,b}", "x,2", None),
    ("x{/a}{.b}", "x.2", {"b": "2"}),
    # Pairs: any order, each once
    ("{?a,b}", "?b=2&a=1", {"b": "2", "a": "1"}),
    ("{?a,b}", "?b=2", {"b": "2"}),
    ("{?a,b}", "", {}),
    ("{?a,b}", "?", None),
    ("{?a,b}", "?a", None),
    ("{?a,b}", "?a=", {"a": ""}),
    ("{?a,b}", "?a=1&a=2", None),
    ("{?a,b}", "?a=1&c=2", None),
    ("{?a,b}", "?a=1&", None),
    ("{?a,b}", "?a=1;b=2", None),
    ("{;a,b}", ";a;b=2", {"a": "", "b": "2"}),
    ("p?fixed=1{&a}", "p?fixed=1&a=2", {"a": "2"}),
    ("p?fixed=1{&a}", "p?fixed=1", {}),
    ("{?a.b}", "?a.b=1", {"a.b": "1"}),
    ("{?a}/{b}", "?a=1/2", {"a": "1", "b": "2"}),
    ("{?a}/{b}", "/2", {"b": "2"}),
    ("x{?a}{#b}", "x?a=1#2", {"a": "1", "b": "2"}),
    ("x{?a}{#b}", "x#2", {"b": "2"}),
]


@pytest.mark.parametrize(("template", "uri", "expected"), MATCHES)
def test_match(template: str, uri: str, expected: dict[str, str] | None) -> None:
    assert UriTemplate(template).match(uri) == expected


@pytest.mark.parametrize(
    ("template", "uri", "expected"),
    [
        ("f:a/{x}", "f:%61%2Fb", {"x": "b"}),
        ("f:a/{x}", "%66%3aa/b", {"x": "b"}),
        ("f:a/{x}", "f:A/b", None),
        ("f:a/{x}", "f:%41/b", None),
        ("f:{x}.md", "f:a.md%2emd", {"x": "a.md"}),
        ("f:{x}.{y}", "f:a.b%2Ec", {"x": "a", "y": "b.c"}),  # as it is: no other reading is tried
        ("f:%20b/\u00e9/{x}", "f:%20%62/%c3%A9/y", {"x": "y"}),
        ("f:aba{x}", "f:ab%61ba", {"x": "ba"}),
        ("f:{+x}aa{y}", "f:a%61ab", {"x": "a", "y": "b"}),
        ("f:a/{x}{?q}", "f:.//a/%2e/b?q=1", {"x": "b", "q": "1"}),
        ("f:a/{x}/", "f:./a//b", {"x": "b"}),
        ("f:a/{x}", "f:a/b?./", None),
        ("f:a/{x}", "f:a/../b", None),
        ("f:a/{x}", "F:a/b", {"x": "b"}),
        ("f://a.Net/b/{x}", "F://%41.nEt/b/C", {"x": "C"}),
        ("f://a.Net/b/{x}", "f://a.net/B/C", None),
        ("f://{x}.Net/b", "f://C.nEt/b", {"x": "C"}),
        ("f://{x}.Net/b", "f://C.net/B", None),
        ("f://{x}.a/b/{y}.c", "f://X.A/b/Y.C", None),
        ("f:{x}.md", "f:a.MD", None),  # without a host
        ("{x}:a", "B:A", None),
        ("f://\u00df.a/{x}", "f://%c3%9F.A/b", {"x": "b"}),
    ],
)
def test_match_of_literals_in_any_spelling(
    template: str, uri: str, expected: dict[str, str] | None
) -> None:
    assert UriTemplate(template).match(uri, spelled_anyhow=True) == expected


@pytest.mark.parametrize(
    ("uri", "short"),
    [
        ("f:///a/b", "f:///a/b"),
        ("f:////.//a/./b/", "f:///a/b"),
        ("f://./a", "f://a"),
        ("f://a.b//%2e/%2E/c?x//./y", "f://a.b/c?x//./y"),
        ("f:a//b/.#c/./", "f:a/b#c/./"),
        ("f:", "f:"),
        ("f:./", "f:"),
        ("f:/../..b", "f:/../..b"),
        ("no/uri//./:", "no/uri//./:"),
    ],
)
def test_segments_that_name_nothing(uri: str, short: str) -> None:
    assert without_idle_segments(uri) == short
    assert without_idle_segments(short) == short


HAZARDS = [
    ("f:{+p}", "f:a/../b", "segment"),
    ("f:{+p}", "f:..", "segment"),
    ("f:{+p}", "f:../b", "segment"),
    ("f:{+p}", "f:a/%2e%2e/b", "segment"),
    ("f:{+p}", "f:a/.%2E", "segment"),
    ("f:{+p}", "f:a/%20../b", "segment"),
    ("f:{p}", "f:..", "segment"),
    ("f:{p}", "f:%2e%2e", "segment"),
    ("f:{p}", "f:%252e%252e", "segment"),
    ("f:{+p}", "f:a/%252e%252e/b", "segment"),
    ("f:{p}", "f:a%252fb%252f..", "segment"),
    ("f:{p}", "f:a%2Fb", "slash"),
    ("f:{p}", "f:a%2fb", "slash"),
    ("f:{+p}", "f:a%2Fb", "slash"),
    ("f:{p}", "f:a%5Cb", "slash"),
    ("f:{p}", "f:a%00", "control"),
    ("f:{p}", "f:a%2500", "control"),
    ("f:{p}", "f:a%0Ab", "control"),
    ("f:{p}", "f:%7f", "control"),
    ("f:///{+p}", "f:////etc/passwd", "absolute"),
    ("f:{+p}", "f:/etc/passwd", "absolute"),
    ("f:{p}", "f:%252fetc", "absolute"),
    ("f:{+p}", "f:C:/x", "absolute"),
    ("f:{p}", "f:c%3A", "absolute"),
    ("f{?p}", "f?p=..", "segment"),
    ("f:{p*}", "f:..", "segment"),
    ("f:{p*}", "f:a/../b", "segment"),
    ("f:{p*}", "f:a/b/..", "segment"),
    ("f:{p*}", "f:a/%2E%2e/b", "segment"),
    ("f:{p*}", "f:a/%252e%252e", "segment"),
    ("f:{p*}/x", "f:../x", "segment"),
    ("f:{p*}", "f:a%2Fb", "slash"),
    ("f:{p*}", "f:a/b%5cc", "slash"),
    ("f:{p*}", "f:a/%00", "control"),
    ("f:///{p*}", "f:////etc/passwd", "absolute"),
    ("f:{p*}", "f:/etc/passwd", "absolute"),
    ("f:{p*}", "f:C:/x", "absolute"),
    ("f:{p*}", "f:%252fetc", "absolute"),
    ("f:{/p*}", "f:/a/..", "segment"),
    ("f:{/p*}", "f://etc/passwd", "absolute"),
    ("f:{/p*}", "f:/a%2Fb", "slash"),
]


@pytest.mark.requirement("server/resources/paths-sanitized")
@pytest.mark.parametrize(("template", "uri", "says"), HAZARDS)
def test_dangerous_values_are_refused(template: str, uri: str, says: str) -> None:
    with pytest.raises(UnsafeValue, match=says) as caught:
        UriTemplate(template).match(uri)
    assert caught.value.variable == "p"
    assert UriTemplate(template, unchecked={"p"}).match(uri) is not None


@pytest.mark.parametrize("value", ["a", "a..b", "...", ".hidden", "a/./b", "a/b", "100%", "ab:c"])
def test_harmless_values_pass(value: str) -> None:
    assert hazard(value, value) is None


def test_too_long_a_uri_matches_nothing() -> None:
    template = UriTemplate("x:{a}", max_length=10)
    assert template.match("x:" + "a" * 8) == {"a": "a" * 8}
    assert template.match("x:" + "a" * 9) is None


PAGE = Path(__file__).parents[2] / "docs/how-to/features/resources.md"
ROWS = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("template", "uri", "says"), ROWS)
def test_the_table_on_the_page(template: str, uri: str, says: str) -> None:
    found = UriTemplate(template).match(uri)
    assert found == dict(re.findall(r'`(\w+)="([^"]*)"`', says))


# Properties

LITERALS = st.sampled_from(["/", "x:", "!", "//a/", "@b/"])
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters=",/."), min_size=1, max_size=8)


@given(st.lists(st.tuples(LITERALS, PLAIN), min_size=1, max_size=4))
def test_match_undoes_expansion(parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{literal}{{v{index}}}" for index, (literal, _) in enumerate(parts))
    values = {f"v{index}": value for index, (_, value) in enumerate(parts)}
    template = UriTemplate(text, unchecked=values)
    assert template.match(template.expand(values)) == values


SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)


@given(
    st.lists(SEGMENT, min_size=1, max_size=5),
    st.sampled_from(["x:{p*}", "x:{/p*}", "x:{p*}/end.md", "x:a{/p*}{?q}", "x:{p*}{#q}"]),
    st.booleans(),
)
def test_paths_come_back_as_they_went(segments: list[str], text: str, as_list: bool) -> None:
    template = UriTemplate(text, unchecked="p")
    path = "/".join(segments)
    assert template.match(template.expand({"p": segments if as_list else path})) == {"p": path}


@given(
    st.dictionaries(st.sampled_from("abc"), st.text(max_size=8)),
    st.sampled_from(["{?a,b,c}", "{;a,b,c}", "{&a,b,c}"]),
)
def test_pairs_come_back_as_they_went(values: dict[str, str], text: str) -> None:
    template = UriTemplate(text, unchecked="abc")
    assert template.match(template.expand(values)) == values


TEMPLATES = [
    "{a}{b}",
    "x{a}.{b}.{c}",
    "{+a}/{+b}/{c}",
    "{+a}x{+b}x{c}",
    "a{/b,c}{.d}{?e,f}{#g}",
    "{+a}{;b,c}",
    "{a,b,c}",
    "x{#a,b}",
    "{a*}/{b}{/c*}",
    "x{/a*}.{b*}{?c,d}",
]


@given(st.sampled_from(TEMPLATES), st.text("xa/.,;=?&#%21é", max_size=20))
def test_what_matches_expands_to_the_same_uri(text: str, uri: str) -> None:
    template = UriTemplate(text, unchecked=UriTemplate(text).variables)
    values = template.match(uri)
    if values is not None:
        again = template.expand(values)
        assert template.match(again) == values
        listed = "," in uri and "*" in text  # a comma between values is given as a part of the text
        if "%" not in uri and uri.isascii() and "=" not in uri and not listed:
            assert again == uri


ADVERSARIAL = [
    ("{+a}{+b}{+c}{+d}!", "a"),
    ("{+a}x{+b}x{+c}x{+d}!", "x"),
    ("{a}.{b}.{c}.{d}!", "a."),
    ("a{/b,c,d}/{e}!", "/a"),
    ("{+a}{?b,c}", "?b=1"),
    ("{+a}{;b,c}", ";b"),
    ("{a}%41%41{b}%41", "%41"),
    ("{a*}/{b*}/{c*}/{d*}!", "a/"),
    ("{a*}{/b*}{/c*}{?d}!", "/a"),
]


@pytest.mark.parametrize(("text", "unit"), ADVERSARIAL)
def test_time_is_linear(text: str, unit: str) -> None:
    match = partial(UriTemplate(text).match, spelled_anyhow=True)
    short = steps_of(partial(match, unit * 100), "/service/uri_")
    long = steps_of(partial(match, unit * 400), "/service/uri_")
    assert long <= 4.5 * short + 1000


@pytest.mark.parametrize(("place", "most"), [("other", 1), ("private", 30)])
def test_a_character_costs_little(place: str, most: int) -> None:
    """Whoever subscribes names many long URIs at once, each held against all templates."""
    template, uri = (
        UriTemplate("file:///private/{path*}{?v}"),
        f"file:///{place}/{'%61/' * 500}?w=1",
    )
    assert template.match(uri, spelled_anyhow=True) is None
    assert steps_of(partial(template.match, uri, spelled_anyhow=True), "/uri_") <= most * len(uri)
