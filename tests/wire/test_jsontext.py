import datetime
import enum
import json
import types
from collections import UserDict
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.wire.jsontext import (
    LENIENT_LIMIT,
    deeper_than,
    find_fault,
    read_leniently,
    splice,
    to_json,
)

# Faults: the outcome against the standard library's parser


def is_json(text: bytes) -> bool:
    """Whether a text is JSON by RFC 8259, found out by other means."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(text.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


fragments = st.sampled_from(
    [
        b"{}", b"[]", b"[1,2]", b'{"a":1}', b'"x"', b'"', b"\\", b"\\u", b"\\ud800", b"\\udc00",
        b"d83d", b"\\u0041", b"NaN", b"Infinity", b"-", b"0", b"1", b".5", b"e", b"E+1", b"true",
        b"null", b"nul", b",", b":", b"{", b"}", b"[", b"]", b" ", b"\n", b"\0", b"\x1f", b"\x7f",
        b"\xff", b"\xc3\xa9", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf", b"/",
    ]
)  # fmt: skip


@given(st.lists(fragments, max_size=8).map(b"".join))
@example(b'"\\ud83d\\ude00"')
@example(b'"\\\\ud800"')
@example(b'"\\u0041\\\\\\ud800"')
def test_a_fault_is_found_exactly_in_what_is_no_json(text: bytes) -> None:
    fault = find_fault(text, 128)
    assert (fault is None) == is_json(text), fault


@given(st.lists(fragments, max_size=6).map(lambda parts: b'["%b"]' % b"".join(parts)))
def test_faults_inside_strings(text: bytes) -> None:
    assert (find_fault(text, 128) is None) == is_json(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b" \n", "the text is empty"),
        (b"\xef\xbb\xbf{}", "the text begins with a byte order mark"),
        (b'"\xff"', "not UTF-8: invalid start byte (byte 1)"),
        (b"\0{}", "NUL character (byte 0)"),
        (b'{"a":\0}', "NUL character (byte 5)"),
        (b"[[[]]]", "nested deeper than 2 levels"),
    ],
)
def test_a_fault_is_named_with_its_place(text: bytes, fault: str) -> None:
    assert find_fault(text, 2) == fault


def test_a_lone_surrogate_is_named_in_a_large_text() -> None:
    filler = b"x\\\\\\n" * LENIENT_LIMIT
    assert find_fault(b'"%b\\ud800"' % filler, 128) == "a string contains a lone surrogate"
    assert find_fault(b'"%b\\\\ud800"' % filler, 128) is None


# Reading what has a fault


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'\xef\xbb\xbf{"id":1}', {"id": 1}),
        (b'{"id":1,"a":NaN,"b":"\\ud800"}', None),
        (b'{"id":1,"a":"\xff"}', {"id": 1, "a": "\udcff"}),
        (b'{"id":1,"a":' + b"[" * 200, {"id": 1, "a": [[[None]]]}),
        (b'{"id":1,"a":[{"b":' + b"[" * 200, {"id": 1, "a": [{"b": [None]}]}),
        (b'{"x":"[{\\"","y":[],"a":' + b"[" * 9, {"x": '[{"', "y": [], "a": [[[None]]]}),
        (b'{"id":1} x', None),
        (b'{"id":1', None),
        (b"]]]" + b"[" * 200, None),
        (b'{"id":%b}' % (b"1" * 5000), None),
    ],
)  # fmt: skip
def test_reading_leniently(text: bytes, value: Any) -> None:
    got = read_leniently(text, 4)
    if b"NaN" in text:
        assert got["id"] == 1
    else:
        assert got == value


def test_long_texts_are_not_read_again() -> None:
    text = b'{"id":1,"a":"%b\xff"}'
    assert read_leniently(text % (b"x" * (LENIENT_LIMIT - 20)), 128)["id"] == 1
    assert read_leniently(text % (b"x" * LENIENT_LIMIT), 128) is None
    deep = b'{"id":1,"a":"%b","b":[[[[]]]]}'
    assert read_leniently(deep % (b"x" * LENIENT_LIMIT), 4) is None


def test_more_depth_than_the_reader_can_bear() -> None:
    assert read_leniently(b"[" * 100_000 + b"]" * 100_000, 200_000) is None


# Depth


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"", 0),
        (b"1", 0),
        (b"[]", 1),
        (b"[[],[]]", 2),
        (b'{"a":[{}]}', 3),
        (b'{"[[[[[":"]]]"}', 1),
        (b'["\\"[[[[","\\\\",[]]', 2),
        (b"]]][[[[", 1),
        (b"[" * 1000, 1000),
        (b"[" * 40_000, 40_000),
        (b'{"a":[[[' + b"1" * 40_000 + b"]]]}", 4),
        (b'["' + b"{" * 40_000 + b'",[]]', 2),
    ],
)
def test_depth(text: bytes, depth: int) -> None:
    assert not deeper_than(text, depth)
    assert depth == 0 or deeper_than(text, depth - 1)


@given(st.integers(0, 2**700), st.integers(0, 150), st.integers(0, 40))
def test_depth_of_any_brackets(bits: int, lead: int, limit: int) -> None:
    steps = [1] * lead + [1 if bit == "1" else -1 for bit in f"{bits:b}"]
    heights = [sum(steps[: n + 1]) for n in range(len(steps))]
    text = b"".join(b'["\\"]"' if step > 0 else b"]" for step in steps)
    assert deeper_than(text, limit) == (max(heights) > limit)


# Bodies


class Color(enum.Enum):
    RED = "red"


class Sample(Struct):
    a: Any = UNSET
    b: Any | UnsetType = UNSET


class ArrayLike(Struct, array_like=True):
    a: int


cyclic: dict[str, Any] = {}
cyclic["self"] = cyclic


@pytest.mark.requirement("basic/transports/stdio/no-newlines")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, b"{}"),
        ({}, b"{}"),
        ({"a": [1, None, 0.5, "null"]}, b'{"a":[1,null,0.5,"null"]}'),
        ({"a": "\n\r\u2028"}, '{"a":"\\n\\r\u2028"}'.encode()),
        (Sample(a=1), b'{"a":1}'),
        (Sample(a=None, b=Color.RED), b'{"a":null,"b":"red"}'),
        (Sample(a=Sample(a=datetime.date(2026, 7, 28))), b'{"a":{"a":"2026-07-28"}}'),
        ({"big": 10**30, "none": None}, b'{"big":1' + b"0" * 30 + b',"none":null}'),
        (types.MappingProxyType({"a": types.MappingProxyType({})}), b'{"a":{}}'),
        (UserDict({"a": None}), b'{"a":null}'),
        (Raw(b' {"a" : 1}\n'), b'{"a" : 1}'),
        (b'{"a":\r\n1}', b'{"a":  1}'),
        (Raw(b'{\r"a":1}'), b'{ "a":1}'),
        ({"r": Raw(b'{\n"n": null}')}, b'{"r":{ "n": null}}'),
        (Sample(a=Raw(b'{"n":null}'), b=None), b'{"a":{"n":null},"b":null}'),
        ({1: None, 2.5: "x"}, b'{"1":null,"2.5":"x"}'),
        ({"raw": Raw(b"[]"), "big": 2**70, "n": None}, b'{"raw":[],"big":%d,"n":null}' % 2**70),
        # Bytes that look like a NaN in MessagePack but are none in JSON
        ({"a": b"\xcb\x7f\xf0", "b": None}, b'{"a":"y3/w","b":null}'),
    ],
)
def test_to_json(body: Any, text: bytes) -> None:
    assert to_json(body) == text
    assert find_fault(text, 128) is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"a": float("nan")}, "NaN and Infinity"),
        ({"a": [1, {"b": (float("inf"),)}]}, "NaN and Infinity"),
        (Sample(a=float("-inf")), "NaN and Infinity"),
        (Sample(a=Raw(b"{}"), b=float("nan")), "NaN and Infinity"),
        ({"a": 2**70, "b": -float("nan")}, "NaN and Infinity"),
        ({"a": types.MappingProxyType({"b": float("nan")})}, "NaN and Infinity"),
        ({"a": "\ud800"}, "surrogates"),
        ({"\udfff": 1}, "surrogates"),
        ({"a": 10**5000}, "4300 digits"),
        (cyclic, "nested too deeply or contains itself"),
        (Raw(b"[]"), "one JSON object"),
        (Raw(b""), "one JSON object"),
        (b"", "one JSON object"),
        (b'"}', "one JSON object"),
        ([], "one JSON object"),
        ("{}", "one JSON object"),
        (ArrayLike(1), "one JSON object"),
    ],
)
def test_what_has_no_json_form(body: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        to_json(body)


@pytest.mark.parametrize("value", [object(), 1j, range(3), {None: 1}])
def test_types_without_json_form(value: Any) -> None:
    with pytest.raises(TypeError):
        to_json({"a": value})


floats = st.floats()
trees = st.recursive(
    floats | st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), trees))
def test_no_float_is_lost_silently(body: dict[str, Any]) -> None:
    try:
        expected = json.loads(json.dumps(body, allow_nan=False))
    except ValueError:
        with pytest.raises(ValueError, match="NaN"):
            to_json(body)
    else:
        text = to_json(body)
        assert b"\n" not in text
        assert json.loads(text) == expected


@pytest.mark.parametrize(
    ("body", "members", "expected"),
    [
        (b"{}", b'"m":1', b'{"m":1}'),
        (b"{ }", b'"m":1', b'{"m":1}'),
        (b'{"a":1}', b'"m":1', b'{"m":1,"a":1}'),
        (b'{ "a":1}', b'"m":1,"n":2', b'{"m":1,"n":2, "a":1}'),
        (b'{"a":1}', b"", b'{"a":1}'),
        (b"{}", b"", b"{}"),
    ],
)
def test_splice(body: bytes, members: bytes, expected: bytes) -> None:
    assert splice(body, members) == expected


@given(st.dictionaries(st.text(), trees), st.dictionaries(st.text(), st.integers()))
def test_splice_makes_sound_json(body: dict[str, Any], members: dict[str, Any]) -> None:
    plain = msgspec.json.encode(body)
    spliced = splice(plain, msgspec.json.encode(members)[1:-1])
    assert json.loads(spliced) == {**members, **json.loads(plain)}
    assert list(json.loads(spliced))[: len(members)] == list(members)


class Name(str):
    __slots__ = ()


class Count(int):
    pass


class Share(float):
    def __repr__(self) -> str:
        return f"Share({float(self)})"


def test_bodies_of_mappings_and_subclasses_of_plain_types() -> None:
    more = types.MappingProxyType({"a": [Name("b"), Count(10**30), Share(0.5)]})
    body = types.MappingProxyType({"name": Name("Ada"), "more": more})
    text = b'{"name":"Ada","more":{"a":["b",1000000000000000000000000000000,0.5]}}'
    assert to_json(body) == text
    with pytest.raises(ValueError, match="NaN"):
        to_json({"a": Share("nan")})
    with pytest.raises(TypeError, match=r"object has no JSON form$"):
        to_json({"a": object()})


async def late() -> None: ...


def test_what_was_not_awaited_is_said_to_be() -> None:
    pending = late()
    with pytest.raises(TypeError, match="coroutine has no JSON form: await it"):
        to_json({"a": pending})
    pending.close()
