"""Members of a JSON text are changed, and all else stays byte for byte."""

from collections.abc import Callable

import pytest
from msgspec import Raw

from mcpcore.relay.rewriting import on_text, path, rewrite

SAME = ' {"a": [ {"b":"\\u0062"} ], "c" :1}'


@pytest.mark.parametrize(
    ("text", "change", "wanted"),
    [
        (SAME, str, SAME),  # also what is written with an escape
        (SAME, str.upper, '{"a":[{"b":"B"}],"c":1}'),
        (SAME, lambda name: None, '{"a":[],"c":1}'),
        ('{"a": {"b": 1}}', str, '{"a": {"b": 1}}'),  # of another shape
        ('{"a": [{"b": 1}]}', str, '{"a": [{"b": 1}]}'),
        ('{"a":[{"b":"b"},{"b": 1},7]}', str.upper, '{"a":[{"b":"B"},{"b": 1},7]}'),
        ('{"a":[{"\\u0062":"x"}]}', str.upper, '{"a":[{"b":"X"}]}'),
    ],
)
def test_a_member_of_each_element(
    text: str, change: Callable[[str], str | None], wanted: str
) -> None:
    found = rewrite(Raw(text.encode()), path("a/*/b"), on_text(change))
    assert bytes(found).decode() == wanted


def test_what_is_left_out_has_to_be_an_element() -> None:
    text = Raw(b'{"b": "x"}')
    assert rewrite(text, path("b"), lambda member: None) is text
