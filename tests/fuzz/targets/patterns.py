"""Patterns of JSON Schema: what both know, RE2 as we write it and Python find in the same texts."""

import re

from mcpcore.errors import BadPattern
from mcpcore_transports.schema.patterns import compile_pattern, translate
from tests.fuzz.choices import Choices

TOKENS = (
    *(
        b"[a-z]",
        b"\\d",
        b"\\w+",
        b"(?:a|b)",
        b"{2,3}",
        b"{0,}",
        b"^",
        b"$",
        b"\\b",
        b"(?=a)",
        b"\\1",
    ),
    *(
        b"[^]",
        b"[]",
        b"\\p{L}",
        b"\\u{1F600}",
        b"(?<n>a)",
        b"{10001}",
        b"((((",
        b"*?",
        b"\\cA",
        b".",
    ),
)
_ATOMS = ("a", "b", "1", " ", "[a-c]", "[^a]", "(?:ab)", "(?:a|b1)", "\\-", "\\.", "[0-9_]", "x")
_SIGNS = ("", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "*?")
_MEMORY = 1 << 20


def _built(c: Choices) -> str:
    inner = "".join(c.pick(_ATOMS) + c.pick(_SIGNS) for _ in range(c.below(6)))
    if c.flag(4):
        inner += f"|{c.pick(_ATOMS)}"
        inner = f"(?:{inner})"
    return ("^" if c.flag() else "") + inner + ("$" if c.flag() else "")


def TARGET(data: bytes) -> None:
    c = Choices(data)
    if c.flag():
        text = c.rest().decode("utf-8", "replace")
        try:
            pattern = compile_pattern(text, _MEMORY)
        except BadPattern as error:
            assert str(error)
            return
        assert pattern.positions >= 0
        pattern.matches(data[:64])
        return
    text = _built(c)
    pattern = compile_pattern(text, _MEMORY)
    ours = re.compile(text.removesuffix("$") + r"\Z" if text.endswith("$") else text)
    for _ in range(4):
        subject = "".join(c.pick("ab1 -._xc\n") for _ in range(c.below(8)))
        assert pattern.matches(subject.encode()) is (ours.search(subject) is not None), (
            text,
            subject,
        )
    assert translate(text)[1] <= 64
