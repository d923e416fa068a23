"""URI templates: what is expanded is matched again, and what is matched is safe."""

import re
from urllib.parse import quote

from mcpcore.errors import TemplateError, UnsafeValue
from mcpcore.service.uri_templates import (
    Expression,
    UriTemplate,
    parse,
)
from tests.fuzz.choices import Choices

TOKENS = (
    *(b"{x}", b"{+path}", b"{#x}", b"{.x}", b"{/x,y}", b"{;x}", b"{?q,r}", b"{&q}", b"file:///"),
    *(
        b"%2F",
        b"%2e%2e",
        b"..",
        b"%25",
        b"%",
        b"../",
        b"//",
        b"?q=1",
        b"&r=",
        b"#",
        b"{",
        b"}",
        b"*",
    ),
    *(b":3", b"\xc3\xa9", b"%c3%a9", b"%ff", b"C:", b"\\", b"{path*}", b"{/path*}"),
)
_NAMES = ("a", "b", "c", "long_name", "x.y")
_PIECES = (
    *("file:///", "/", "-", "x:", "?k=v", "#", "é", "a", "%41", "..", "&", ";", "=", ","),
    *("{rest*}", "{/more*}"),
)
_OPERATORS = ("", "+", "#", ".", "/", ";", "?", "&")
_LONGEST = 512
_WORST = re.compile(r"[\x00-\x1f\x7f]")


def _template(c: Choices) -> str:
    names = list(_NAMES)
    text = ""
    for _ in range(1 + c.below(5)):
        if c.flag() and names:
            count = 1 + c.below(2)
            inner = ",".join(names.pop(0) for _ in range(min(count, len(names))))
            text += f"{{{c.pick(_OPERATORS)}{inner}}}"
        else:
            text += c.pick(_PIECES)
    return text


def _uri(c: Choices, template: UriTemplate) -> str:
    if c.flag():
        return c.rest().decode("utf-8", "replace")
    values = {
        name: c.pick(("1", "a b", "é", "", "..", "a/b", "%2e", "%", "a?b#c", "x" * 20, c.text(8)))
        for name in template.variables
        if c.flag(8) is False
    }
    uri = template.expand(values)
    assert not re.search(r"[^\x21-\x7e]", uri), "an expansion is ASCII without blanks"
    return uri if c.flag() else uri + c.pick(("", "/", "..", "%2f", "é"))


def _reserved(template: UriTemplate) -> bool:
    """Whether some variable keeps what is encoded in its value, so that it is not encoded twice."""
    parts = [part for part in parse(template.text) if isinstance(part, Expression)]
    return any(part.operator.reserved for part in parts)


def TARGET(data: bytes) -> None:
    c = Choices(data)
    text = c.text(64) if c.flag(4) else _template(c)
    try:
        template = UriTemplate(text, max_length=_LONGEST)
    except TemplateError:
        return
    uri = _uri(c, template)
    try:
        values = template.match(uri)
    except UnsafeValue as error:
        assert error.variable in template.variables
        return
    free = UriTemplate(text, unchecked=template.variables, max_length=_LONGEST).match(uri)
    assert free == values
    if values is None:
        return
    assert values.keys() <= set(template.variables)
    for value in values.values():
        assert not _WORST.search(value)
        assert ".." not in re.split(r"[/\\]", value)
        assert not value.startswith(("/", "\\"))
    odd = "%" in uri or any(re.search("[?#]", value) for value in values.values())
    if odd and _reserved(template):
        return  # what an expansion keeps as it is may be read as what comes behind it
    again = template.expand(values)
    if len(again) > _LONGEST:
        return
    assert template.match(again) == values, again
    if not re.search(r"[?&;]", text):
        # Pairs may come in another order; everything else comes back as it was, once encoded alike.
        assert _alike(again) == _alike(uri)


def _alike(uri: str) -> str:
    """A URI with everything encoded in one way."""
    ascii_only = quote(uri, safe="".join(map(chr, range(128))))
    return re.sub(
        "%[0-9A-Fa-f]{2}|.",
        lambda found: _one(found[0]),
        ascii_only,
        flags=re.DOTALL,
    )


def _one(char: str) -> str:
    code = int(char[1:], 16) if len(char) == 3 else ord(char)
    return f"%{code:02X}"
