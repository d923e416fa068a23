import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import (
    MAX_BATCH,
    Kind,
    Message,
    Reject,
    RequestId,
    decode,
    encode_batch,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    refuse_oversized,
)
from tests.wire.malformed import MALFORMED, Malformed

ids = st.one_of(st.integers(), st.integers(-(10**40), 10**40), st.text())
methods = st.text()
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # `{`, `"` and backslashes often: they are what scanners stumble over
    | st.text()
    | st.text(alphabet='{}[]"\\ud8'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=4)


def message(data: bytes | bytearray, **settings: int) -> Message:
    frame = decode(data, **settings)
    assert isinstance(frame, Message), frame
    return frame


def rejected(data: bytes, **settings: int) -> Reject:
    frame = decode(data, **settings)
    assert isinstance(frame, Reject), frame
    return frame


def request_with_id(text: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % text.encode()


# What is refused


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"jsonrpc":"2.0","method":"m","params":[]}', "params must be an object"),
        (
            b'{"jsonrpc":"2.0","method":"m","result":{}}',
            "method stands beside result or error",
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}',
            "both result and error are present",
        ),
        (b'{"jsonrpc":"2.0","result":{}}', "a result needs the id of its request"),
        (b'{"jsonrpc":"2.0","id":1,"result":[]}', "result must be an object"),
        (b'{"jsonrpc":"2.0","id":1}', "none of method, result and error is present"),
    ],
)
def test_what_does_not_go_together_is_said_in_full(data: bytes, text: str) -> None:
    assert rejected(data).message == f"Invalid request: {text}"


@pytest.mark.requirement("basic/index/jsonrpc")
@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed(case: Malformed) -> None:
    reject = rejected(case.data)
    assert reject.code == case.code
    assert case.says in reject.message
    assert reject.message.startswith(
        "Parse error: " if case.code == -32700 else "Invalid request: "
    )
    assert (reject.id, type(reject.id)) == (case.id, type(case.id))
    assert (reject.owed, reject.response) == (case.owed, case.response)


def test_the_table_is_long_and_names_are_unique() -> None:
    assert len({case.name for case in MALFORMED}) == len(MALFORMED) >= 80


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed_as_part_of_a_batch(case: Malformed) -> None:
    good = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    frame = decode(b"[%b,%b,%b]" % (good, case.data, good))
    if case.code == -32700:
        # One bad text spoils the batch, or (the empty text) makes it one.
        assert isinstance(frame, Reject)
        assert frame.code == -32700
        assert frame.id is None
    else:
        assert isinstance(frame, list)
        assert [type(element) for element in frame] == [Message, Reject, Message]
        reject = frame[1]
        assert isinstance(reject, Reject)
        assert (reject.code, reject.id, reject.owed, reject.response) == (
            -32600,
            case.id,
            case.owed,
            case.response,
        )


@pytest.mark.parametrize("length", range(1, 57))
def test_every_cut_is_a_parse_error(length: int) -> None:
    whole = b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"\xc3\xa9"}}'
    assert message(whole).id == 7
    reject = rejected(whole[:length])
    assert reject == Reject(-32700, reject.message)
    assert "truncated" in reject.message or "not UTF-8: unexpected end" in reject.message


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame(data: bytes) -> None:
    frame = decode(data)
    assert isinstance(frame, Message | Reject | list)


@given(objects, st.data())
def test_damage_never_raises(params: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(encode_request(7, "tools/call", to_json(params)))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(text) - 1))
        text[position] = data.draw(st.integers(0, 255))
    frame = decode(bytes(text))
    try:
        json.loads(bytes(text).decode())
    except ValueError:
        assert isinstance(frame, Reject)
        assert frame.code == -32700


# Ids


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ('"7"', "7"),
        ("0", 0),
        ("-0", 0),
        ("-1", -1),
        ("9007199254740993", 2**53 + 1),
        ("18446744073709551616", 2**64),
        ("-9223372036854775809", -(2**63) - 1),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1" + "0" * 4299, 10**4299),
        ('""', ""),
        ('"\\u0000"', "\0"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"é"', "é"),
    ],
)
def test_ids_are_exact(text: str, value: RequestId) -> None:
    received = message(request_with_id(text)).id
    assert (received, type(received)) == (value, type(value))
    assert not isinstance(received, msgspec.UnsetType)
    reply = json.loads(encode_result(received, b"{}"))
    assert (reply["id"], type(reply["id"])) == (value, type(value))


@pytest.mark.requirement("basic/index/request-id-type", "basic/index/request-id-not-null")
@pytest.mark.parametrize("bad", [True, None, 1.5, b"7", ["a"]])
def test_our_own_ids_are_strings_or_integers(bad: Any) -> None:
    with pytest.raises(TypeError, match="id must be a str or an int"):
        encode_request(bad, "ping")


def test_our_own_ids_are_text() -> None:
    with pytest.raises(ValueError):
        encode_request("\ud800", "ping")


@pytest.mark.requirement("basic/index/error-id")
@given(ids, objects)
def test_the_id_of_a_broken_request_is_found(id: RequestId, extra: dict[str, Any]) -> None:
    envelope = {**extra, "jsonrpc": "2.0", "id": id, "method": 5}
    reject = rejected(json.dumps(envelope).encode())
    assert (reject.id, type(reject.id)) == (id, type(id))
    assert reject.owed


@given(ids, objects, st.sampled_from(["NaN", "Infinity", "-Infinity", '"\\ud800"', "[" * 200]))
def test_the_id_of_an_unreadable_request_is_found(
    id: RequestId, params: dict[str, Any], fault: str
) -> None:
    # The members that matter stand first: a text cut at its depth shows no others.
    text = f'{{"jsonrpc":"2.0","id":{json.dumps(id)},"method":"m","params":{json.dumps(params)}'
    close = "]" * fault.count("[")
    reject = rejected(f'{text},"x":{fault}{close}}}'.encode())
    assert (reject.code, reject.id) == (-32700, id)


# Envelopes that are good


@pytest.mark.parametrize("id_member", [b"", b'"id":null,', b'"id": null ,'])
def test_error_whose_sender_could_not_read_the_id(id_member: bytes) -> None:
    got = message(b'{"jsonrpc":"2.0",%b"error":{"code":-32700,"message":"m"}}' % id_member)
    assert got == Message("2.0", error=Raw(b'{"code":-32700,"message":"m"}'))
    assert got.kind is Kind.ERROR


@pytest.mark.parametrize(
    "data",
    [
        b' \r\n\t{ "jsonrpc" : "2.0" ,\n"id" : 7 , "method" : "a" , "params" : { } } \r\n',
        b'{"params":{},"method":"a","id":7,"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":7,"method":"a","params":{},"extra":[{"deep":true}],"":null}',
        b'{"jsonrpc":"2.0","id":7,"\\u006dethod":"a","params":{}}',
        b'{"id":1,"method":"b","params":[],"jsonrpc":"2.0","id":7,"method":"a","params":{}}',
    ],
    ids=["white space", "order", "unknown members", "escaped name", "repeated members"],
)
def test_tolerated(data: bytes) -> None:
    got = message(data)
    assert (got.id, got.method) == (7, "a")
    assert isinstance(got.params, Raw)
    assert msgspec.json.decode(got.params) == {}


def test_a_response_may_have_unknown_members_too() -> None:
    assert message(b'{"jsonrpc":"2.0","id":1,"result":{},"params":[]}').kind is Kind.RESULT


def test_numbers_out_of_range_are_sound_json() -> None:
    text = b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"a":1e999,"b":%b}}' % (b"9" * 5000)
    assert message(text).kind is Kind.REQUEST


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview])
def test_any_buffer(convert: Any) -> None:
    assert message(convert(b'{"jsonrpc":"2.0","id":7,"method":"a"}')).id == 7


def test_nothing_is_kept_of_a_buffer_that_may_change() -> None:
    buffer = bytearray(b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"a":1}}')
    got = message(buffer)
    buffer[:] = b"x" * len(buffer)
    assert got.params == Raw(b'{"a":1}')


@pytest.mark.parametrize("wrap", [b"%b", b"[%b]"])
def test_a_small_part_does_not_keep_a_large_text_alive(wrap: bytes) -> None:
    text = wrap % (
        b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"a":1},"x":"%b"}' % (b"x" * 100_000)
    )
    before = sys.getrefcount(text)
    frame = decode(text)
    got = frame[0] if isinstance(frame, list) else frame
    assert isinstance(got, Message)
    assert got.params == Raw(b'{"a":1}')
    assert isinstance(got.params, Raw)
    assert len(memoryview(got.params)) == 7
    assert sys.getrefcount(text) == before


def test_a_large_part_is_not_copied() -> None:
    text = encode_result(1, to_json({"a": "x" * 100_000}))
    before = sys.getrefcount(text)
    got = message(text)
    assert got.kind is Kind.RESULT
    assert sys.getrefcount(text) == before + 1


# Depth


def nested(levels: int, inner: bytes = b"1") -> bytes:
    """A request that nests so deep, the envelope and params included."""
    arrays = levels - 2
    return b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"a":%b}}' % (
        b"[" * arrays + inner + b"]" * arrays
    )


def nested_objects(levels: int, bracket: bytes = b"") -> bytes:
    """The same with objects, in as few bytes as there can be."""
    objects = levels - 1
    return b'{"jsonrpc":"2.0","id":7,"method":"%b","params":%b1%b}' % (
        bracket,
        b'{"":' * objects,
        b"}" * objects,
    )


@pytest.mark.parametrize("limit", [3, 16, 128, 500])
@pytest.mark.parametrize("bracket", [b"", b"["])
def test_the_limit_is_exact_for_objects(limit: int, bracket: bytes) -> None:
    assert message(nested_objects(limit, bracket), max_depth=limit).id == 7
    reject = rejected(nested_objects(limit + 1, bracket), max_depth=limit)
    assert reject.message == f"Parse error: nested deeper than {limit} levels"


@pytest.mark.parametrize("limit", [3, 16, 128, 500])
def test_the_limit_is_exact(limit: int) -> None:
    assert message(nested(limit), max_depth=limit).id == 7
    reject = rejected(nested(limit + 1), max_depth=limit)
    assert reject.message == f"Parse error: nested deeper than {limit} levels"
    assert reject.id == 7


@pytest.mark.parametrize(
    "inner",
    [
        b'"%b"' % (b"[" * 500),
        b'"%b"' % (b'\\"[' * 300),
        b'"\\\\","%b\\\\"' % (b"{" * 300),
        b'"\\\\\\"%b","%b"' % (b"[" * 300, b"]" * 300),
        b",".join([b"[]"] * 1000),
        b",".join([b'{"]":"["}'] * 1000),
    ],
)
def test_only_structure_counts(inner: bytes) -> None:
    assert message(nested(120, inner)).id == 7
    assert "nested deeper" in rejected(nested(128, b"[[" + inner + b"]]")).message


def test_a_limit_beyond_the_parser_is_still_an_answer() -> None:
    reject = rejected(nested(50_000), max_depth=100_000)
    assert reject == Reject(-32700, "Parse error: nested too deeply")


@given(st.integers(1, 40), st.integers(1, 40), objects)
def test_depth_agrees_with_a_plain_count(levels: int, limit: int, inner: dict[str, Any]) -> None:
    def depth(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(depth, value.values()), default=0)
        if isinstance(value, list):
            return 1 + max(map(depth, value), default=0)
        return 0

    value: Any = inner
    for _ in range(levels):
        value = [value]
    envelope = {"jsonrpc": "2.0", "id": 7, "method": "a", "params": {"a": value}}
    frame = decode(json.dumps(envelope).encode(), max_depth=limit)
    assert isinstance(frame, Message) == (depth(envelope) <= limit)


# Batches


def test_batch() -> None:
    frame = decode(
        b' [ {"jsonrpc":"2.0","id":1,"method":"a"} , 5, [], {"jsonrpc":"2.0","method":"n"},'
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}, {"id":"x","result":{}} ] '
    )
    assert frame == [
        Message("2.0", id=1, method="a"),
        Reject(-32600, "Invalid request: Expected `object`, got `int`"),
        Reject(-32600, "Invalid request: Expected `object`, got `array`"),
        Message("2.0", method="n"),
        Message("2.0", error=Raw(b'{"code":1,"message":""}')),
        Reject(
            -32600,
            "Invalid request: Object missing required field `jsonrpc`",
            "x",
            owed=False,
            response=True,
        ),
    ]


def test_batch_limit() -> None:
    item = b'{"jsonrpc":"2.0","method":"n"}'
    full = decode(encode_batch([item] * MAX_BATCH))
    assert isinstance(full, list)
    assert len(full) == MAX_BATCH
    assert rejected(encode_batch([item] * (MAX_BATCH + 1))) == Reject(
        -32600, "Invalid request: the batch has 101 messages, 100 are allowed"
    )
    assert isinstance(decode(encode_batch([item] * 3), max_batch=3), list)
    assert rejected(encode_batch([item] * 3), max_batch=2).code == -32600


def test_elements_of_a_batch_do_not_keep_it_alive() -> None:
    params = to_json({"a": "x" * 1000})
    text = encode_batch([encode_request(n, "a", params) for n in range(20)])
    before = sys.getrefcount(text)
    frame = decode(text)
    assert isinstance(frame, list)
    assert sys.getrefcount(text) == before


# Texts over the size limit, of which only the beginning is at hand


@pytest.mark.parametrize(
    ("head", "id", "owed", "response"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":"xx', 7, True, False),
        (b'{"jsonrpc":"2.0","id":"r","result":{"content":[', "r", False, True),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"da', None, False, False),
        (b'{"jsonrpc":"2.0","params":{"a":"xx', None, True, False),
        (b'{"jsonrpc":"2.0","id":7,"method":"xxxxx{xx', None, True, False),
        (b'[{"jsonrpc":"2.0","id":7,"method":"a"},', None, True, False),
        (b'{"jsonrpc":"2.0","id":7.5,"method":"a","params":{', None, True, False),
        (b"\xff\xff", None, True, False),
        (b"", None, True, False),
    ],
)
def test_oversized(head: bytes, id: RequestId | None, owed: bool, response: bool) -> None:
    assert refuse_oversized(head, 4096) == Reject(
        -32700, "Parse error: the text is longer than 4096 bytes", id, owed, response
    )


# Writing


@given(ids, methods, st.none() | objects)
def test_requests_round_trip(id: RequestId, method: str, params: dict[str, Any] | None) -> None:
    body = None if params is None else to_json(params)
    text = encode_request(id, method, body)
    assert b"\n" not in text
    got = message(text)
    assert got == Message("2.0", id, method, UNSET if body is None else Raw(body))
    assert type(got.id) is type(id)
    assert isinstance(got.params, Raw) == (params is not None)
    if isinstance(got.params, Raw):
        assert msgspec.json.decode(got.params) == params


@pytest.mark.requirement("basic/index/notification-no-id")
@given(methods, st.none() | objects)
def test_notifications_round_trip(method: str, params: dict[str, Any] | None) -> None:
    body = None if params is None else to_json(params)
    text = encode_notification(method, body)
    assert b"\n" not in text
    assert message(text) == Message(
        "2.0", method=method, params=UNSET if body is None else Raw(body)
    )


@pytest.mark.requirement("basic/index/result-member")
@given(ids, objects)
def test_results_round_trip(id: RequestId, result: dict[str, Any]) -> None:
    text = encode_result(id, to_json(result))
    assert b"\n" not in text
    got = message(text)
    assert (got.id, got.kind) == (id, Kind.RESULT)
    assert isinstance(got.result, Raw)
    assert msgspec.json.decode(got.result) == result


@pytest.mark.requirement("basic/index/error-member")
@given(st.none() | ids, st.integers(), st.text(), values)
def test_errors_round_trip(id: RequestId | None, code: int, text: str, data: Any) -> None:
    body = {"code": code, "message": text, "data": data}
    encoded = encode_error(id, body)
    assert b"\n" not in encoded
    assert json.loads(encoded).get("id") == id
    got = message(encoded)
    assert got.id == (UNSET if id is None else id)
    assert isinstance(got.error, Raw)
    assert msgspec.json.decode(got.error) == body


def test_errors_may_be_given_as_json() -> None:
    assert encode_error(1, Raw(b'{"code":1,\n"message":"m"}')) == (
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1, "message":"m"}}'
    )


@given(st.lists(st.tuples(ids, methods), min_size=1, max_size=10))
def test_batches_round_trip(requests: list[tuple[RequestId, str]]) -> None:
    text = encode_batch(encode_request(id, method) for id, method in requests)
    assert b"\n" not in text
    assert decode(text) == [Message("2.0", id, method) for id, method in requests]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (encode_request(1, "a", None, b'"m":1'), '"method":"a","params":{"m":1}}'),
        (encode_request(1, "a", b"{}", b'"m":1'), '"method":"a","params":{"m":1}}'),
        (encode_request(1, "a", b'{"b":2}', b'"m":1'), '"method":"a","params":{"m":1,"b":2}}'),
        (encode_notification("a", b'{"b":2}', b'"m":1'), '"method":"a","params":{"m":1,"b":2}}'),
        (encode_notification("a", None, b'"m":1'), '"method":"a","params":{"m":1}}'),
        (encode_result(1, b'{"b":2}', b'"m":1'), '"id":1,"result":{"m":1,"b":2}}'),
        (encode_result(1, b"{ }", b'"m":1'), '"id":1,"result":{"m":1}}'),
    ],
)
def test_members_go_in_first(text: bytes, expected: str) -> None:
    assert text.decode().endswith(expected)
    assert message(text).kind is not Kind.ERROR


@pytest.mark.parametrize("char", ["é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_long_text_is_checked_for_utf8_wherever_it_is_cut(char: str, shift: int) -> None:
    text = "x" * shift + char * 70_000
    body = {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"text": text}}
    data = json.dumps(body, ensure_ascii=False).encode()
    assert isinstance(decode(data), Message)
    for place in (64 * 1024 - 1, 64 * 1024, len(data) // 2, len(data) - 5):
        broken = decode(data[:place] + b"\xff" + data[place + 1 :])
        assert isinstance(broken, Reject)
        assert "not UTF-8" in broken.message
