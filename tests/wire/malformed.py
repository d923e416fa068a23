"""Texts that are no message, with what must be said about each.

``owed`` and ``response`` follow JSON-RPC 2.0: a notification and a response are never answered,
everything else is, with the id where it could be read.
"""

from typing import NamedTuple

PARSE = -32700
INVALID = -32600


class Malformed(NamedTuple):
    name: str
    data: bytes
    code: int
    says: str
    id: str | int | None = None
    owed: bool = True
    response: bool = False


def _request(params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%b}' % params


def _with_id(value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % value


def _response(members: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":"r",%b}' % members


_GOOD = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
_DEEP = _request(b'{"a":' * 128 + b"1" + b"}" * 128)

TEXTS = (
    Malformed("empty", b"", PARSE, "empty"),
    Malformed("blank", b" \t\r\n ", PARSE, "empty"),
    Malformed("cut after the brace", b"{", PARSE, "truncated"),
    Malformed("cut in a key", b'{"jsonrpc":"2.0","id":7,"meth', PARSE, "truncated"),
    Malformed("cut in a value", b'{"jsonrpc":"2.0","id":7,"method":"pi', PARSE, "truncated"),
    Malformed("cut in params", _request(b"{}")[:-2], PARSE, "truncated"),
    Malformed("cut in an escape", b'{"jsonrpc":"2.0","method":"a\\', PARSE, "truncated"),
    Malformed("cut in an array", b"[", PARSE, "truncated"),
    Malformed("cut in a batch", b"[" + _GOOD + b",", PARSE, "truncated"),
    Malformed("trailing letters", _GOOD + b"x", PARSE, "trailing characters (byte"),
    Malformed("two messages", _GOOD + _GOOD, PARSE, "trailing characters"),
    Malformed("two messages with a space", _GOOD + b" " + _GOOD, PARSE, "trailing characters"),
    Malformed("a brace too many", _GOOD + b"}", PARSE, "trailing characters"),
    Malformed("trailing comma", b'{"jsonrpc":"2.0","id":7,}', PARSE, "trailing comma"),
    Malformed("trailing comma in params", _request(b'{"a":1,}'), PARSE, "trailing comma"),
    Malformed("trailing comma in an array", _request(b'{"a":[1,]}'), PARSE, "trailing comma"),
    Malformed("trailing comma in a batch", b"[" + _GOOD + b",]", PARSE, "trailing comma"),
    Malformed("single quotes", b"{'jsonrpc':'2.0'}", PARSE, "(byte 1)"),
    Malformed("bare key", _request(b"{a:1}"), PARSE, "(byte 56)"),
    Malformed("no colon", _request(b'{"a" 1}'), PARSE, "expected ':'"),
    Malformed("no comma", _request(b'{"a":1 "b":2}'), PARSE, "expected ',' or '}'"),
    Malformed("brackets crossed", _request(b'{"a":[1}]'), PARSE, "expected ',' or ']'"),
    Malformed("comment", _request(b'{"a":1/*b*/}'), PARSE, "expected ',' or '}'"),
    Malformed("not JSON at all", b"GET / HTTP/1.1", PARSE, "invalid character (byte 0)"),
    Malformed("markup", b"<html></html>", PARSE, "invalid character (byte 0)"),
    Malformed("misspelt true", _request(b'{"a":tru}'), PARSE, "invalid character"),
    Malformed("misspelt null", _request(b'{"a":nul}'), PARSE, "invalid character"),
    Malformed("Python's None", _request(b'{"a":None}'), PARSE, "invalid character"),
    Malformed("Python's True", _request(b'{"a":True}'), PARSE, "invalid character"),
    Malformed("undefined", _request(b'{"a":undefined}'), PARSE, "invalid character"),
    Malformed("form feed", b"\x0c" + _GOOD, PARSE, "invalid character (byte 0)"),
    Malformed("no-break space", b"\xc2\xa0" + _GOOD, PARSE, "invalid character (byte 0)"),
    # Numbers
    Malformed("leading zero", _request(b'{"a":01}'), PARSE, "invalid number"),
    Malformed("leading zero in the id", _with_id(b"07"), PARSE, "invalid number"),
    Malformed("plus sign", _request(b'{"a":+1}'), PARSE, "invalid character"),
    Malformed("no digits", _request(b'{"a":-}'), PARSE, "invalid character"),
    Malformed("no fraction", _request(b'{"a":1.}'), PARSE, "invalid number"),
    Malformed("no integer part", _request(b'{"a":.5}'), PARSE, "invalid character"),
    Malformed("no exponent", _request(b'{"a":1e}'), PARSE, "invalid number"),
    Malformed("hexadecimal", _request(b'{"a":0x1F}'), PARSE, "expected ',' or '}'"),
    Malformed("digit groups", _request(b'{"a":1_000}'), PARSE, "expected ',' or '}'"),
    # Encoding
    Malformed("bad UTF-8 first", b"\xff" + _GOOD, PARSE, "not UTF-8: invalid start byte (byte 0)"),
    Malformed("bad UTF-8 in params", _request(b'{"a":"\xff"}'), PARSE, "not UTF-8", 7),
    Malformed("bad UTF-8 in a key of params", _request(b'{"\xff":1}'), PARSE, "(byte 57)", 7),
    Malformed("overlong UTF-8", _request(b'{"a":"\xc0\xaf"}'), PARSE, "invalid start byte", 7),
    Malformed("surrogate in UTF-8", _request(b'{"a":"\xed\xa0\x80"}'), PARSE, "not UTF-8", 7),
    Malformed("beyond Unicode", _request(b'{"a":"\xf4\x90\x80\x80"}'), PARSE, "not UTF-8", 7),
    Malformed("UTF-8 cut in params", _request(b'{"a":"\xe2\x82"}'), PARSE, "not UTF-8", 7),
    Malformed("bad UTF-8 in the method", _GOOD.replace(b"ping", b"p\x80"), PARSE, "not UTF-8", 7),
    Malformed("bad UTF-8 in the id", _with_id(b'"\x80"'), PARSE, "not UTF-8"),
    Malformed(
        "bad UTF-8 in an unknown member", b'{"jsonrpc":"2.0","id":7,"x":"\xff"}', PARSE, "UTF-8", 7
    ),
    Malformed("bad UTF-8 outside strings", _request(b'{"a":\xff}'), PARSE, "not UTF-8"),
    Malformed(
        "bad UTF-8 in a notification",
        b'{"jsonrpc":"2.0","method":"n","params":{"a":"\xff"}}',
        PARSE,
        "not UTF-8",
        owed=False,
    ),
    Malformed(
        "bad UTF-8 in a result",
        _response(b'"result":{"a":"\xff"}'),
        PARSE,
        "not UTF-8",
        "r",
        owed=False,
        response=True,
    ),
    Malformed("byte order mark", b"\xef\xbb\xbf" + _GOOD, PARSE, "byte order mark", 7),
    Malformed("nothing but a byte order mark", b"\xef\xbb\xbf", PARSE, "byte order mark"),
    Malformed("UTF-16", _GOOD.decode().encode("utf-16"), PARSE, "not UTF-8"),
    Malformed("UTF-16 without mark", _GOOD.decode().encode("utf-16-le"), PARSE, "NUL"),
    Malformed("NUL after", _GOOD + b"\0", PARSE, "NUL character (byte 40)"),
    Malformed("NUL before", b"\0" + _GOOD, PARSE, "NUL character (byte 0)"),
    Malformed("NUL in a string", _request(b'{"a":"\0"}'), PARSE, "NUL character"),
    Malformed("control character in a string", _request(b'{"a":"\x01"}'), PARSE, "invalid char"),
    Malformed("line break in a string", _request(b'{"a":"\n"}'), PARSE, "invalid character"),
    Malformed("unknown escape", _request(b'{"a":"\\x41"}'), PARSE, "invalid escape"),
    Malformed("escape with bad digits", _request(b'{"a":"\\uZZZZ"}'), PARSE, "unicode escape"),
    Malformed("escape cut short", _request(b'{"a":"\\u12"}'), PARSE, "unicode escape"),
    Malformed("lone high surrogate", _request(b'{"a":"\\ud800"}'), PARSE, "lone surrogate", 7),
    Malformed("lone low surrogate", _request(b'{"a":"\\uDC00"}'), PARSE, "lone surrogate", 7),
    Malformed("high surrogate then text", _request(b'{"a":"\\ud800x"}'), PARSE, "lone surro", 7),
    Malformed("two high surrogates", _request(b'{"a":"\\ud800\\ud800"}'), PARSE, "lone sur", 7),
    Malformed("surrogates reversed", _request(b'{"a":"\\udc00\\ud800"}'), PARSE, "lone surr", 7),
    Malformed("surrogate then letter", _request(b'{"a":"\\ud83d\\u0041"}'), PARSE, "lone s", 7),
    Malformed("surrogate after a pair", _request(b'{"a":"\\ud83d\\ude00\\ud83d"}'), PARSE, "l", 7),
    Malformed("lone surrogate in a key", _request(b'{"\\ud800":1}'), PARSE, "lone surrogate", 7),
    Malformed("lone surrogate in the id", _with_id(b'"\\ud800"'), PARSE, "lone surrogate"),
    Malformed("lone surrogate after a backslash", _with_id(b'"\\\\\\ud800"'), PARSE, "lone surr"),
    # Values that JSON does not have
    Malformed("NaN in params", _request(b'{"a":NaN}'), PARSE, "NaN is not a JSON value", 7),
    Malformed("Infinity in params", _request(b'{"a":Infinity}'), PARSE, "Infinity is not a", 7),
    Malformed("-Infinity in params", _request(b'{"a":-Infinity}'), PARSE, "Infinity is not a", 7),
    Malformed("NaN as params", _request(b"NaN"), PARSE, "NaN is not a JSON value (byte 55)", 7),
    Malformed("NaN as id", _with_id(b"NaN"), PARSE, "NaN is not a JSON value"),
    Malformed(
        "NaN beside the id true",
        b'{"jsonrpc":"2.0","id":true,"method":"a","params":{"a":NaN}}',
        PARSE,
        "NaN is not a JSON value",
    ),
    Malformed("NaN alone", b"NaN", PARSE, "NaN is not a JSON value (byte 0)"),
    Malformed(
        "NaN in a result",
        _response(b'"result":{"a":[1,NaN]}'),
        PARSE,
        "NaN is not a JSON value",
        "r",
        owed=False,
        response=True,
    ),
    # Depth
    Malformed("129 levels", _DEEP, PARSE, "nested deeper than 128 levels", 7),
    Malformed("129 levels of arrays", _request(b"[" * 128 + b"]" * 128), PARSE, "nested", 7),
    Malformed("100 000 open arrays", b"[" * 100_000, PARSE, "nested deeper than 128 levels"),
    Malformed("100 000 open objects", b'{"a":' * 100_000, PARSE, "nested deeper than 128"),
    Malformed("deep, id last", _DEEP[:-1] + b',"id":8}', PARSE, "nested deeper", 7),
    Malformed(
        "deep result",
        _response(b'"result":{"a":%b}' % (b"[" * 2000 + b"]" * 2000)),
        PARSE,
        "nested deeper than 128 levels",
        "r",
        owed=False,
        response=True,
    ),
    Malformed("deep batch", b"[" + _DEEP + b"]", PARSE, "nested deeper than 128 levels"),
)

ENVELOPES = (
    Malformed("null", b"null", INVALID, "got `null`"),
    Malformed("true", b"true", INVALID, "got `bool`"),
    Malformed("number", b"1", INVALID, "got `int`"),
    Malformed("string", b'"ping"', INVALID, "got `str`"),
    Malformed("empty batch", b" [ ] ", INVALID, "the batch is empty"),
    Malformed("empty object", b"{}", INVALID, "missing required field `jsonrpc`"),
    # jsonrpc
    Malformed("no jsonrpc", b'{"id":7,"method":"a"}', INVALID, "required field `jsonrpc`", 7),
    Malformed("version 1.0", b'{"jsonrpc":"1.0","id":7,"method":"a"}', INVALID, "$.jsonrpc", 7),
    Malformed("version as a number", b'{"jsonrpc":2.0,"id":7,"method":"a"}', INVALID, "float", 7),
    Malformed("version null", b'{"jsonrpc":null,"id":"7","method":"a"}', INVALID, "null", "7"),
    Malformed("version empty", b'{"jsonrpc":"","id":7,"method":"a"}', INVALID, "$.jsonrpc", 7),
    Malformed("wrong case", b'{"JSONRPC":"2.0","id":7,"method":"a"}', INVALID, "jsonrpc", 7),
    # id
    Malformed("id null", _with_id(b"null"), INVALID, "got `null` - at `$.id`"),
    Malformed("id with a fraction", _with_id(b"1.5"), INVALID, "got `float` - at `$.id`"),
    Malformed("id 1.0", _with_id(b"1.0"), INVALID, "got `float` - at `$.id`"),
    Malformed("id 1e2", _with_id(b"1e2"), INVALID, "got `float` - at `$.id`"),
    Malformed("id beyond floats", _with_id(b"1e400"), INVALID, "out of range - at `$.id`"),
    Malformed("id of 5000 digits", _with_id(b"1" * 5000), INVALID, "out of range - at `$.id`"),
    Malformed("id true", _with_id(b"true"), INVALID, "got `bool` - at `$.id`"),
    Malformed("id false", _with_id(b"false"), INVALID, "got `bool` - at `$.id`"),
    Malformed("id object", _with_id(b'{"a":1}'), INVALID, "got `object` - at `$.id`"),
    Malformed("id array", _with_id(b"[7]"), INVALID, "got `array` - at `$.id`"),
    Malformed(
        "id twice, the last good",
        b'{"jsonrpc":"2.0","id":{},"id":7,"method":"a"}',
        INVALID,
        "id",
        7,
    ),
    # method
    Malformed("no members", b'{"jsonrpc":"2.0"}', INVALID, "none of method, result and error"),
    Malformed("no method", b'{"jsonrpc":"2.0","id":7}', INVALID, "none of method", 7),
    Malformed("id null alone", b'{"jsonrpc":"2.0","id":null}', INVALID, "none of method"),
    Malformed(
        "method number", b'{"jsonrpc":"2.0","id":7,"method":1}', INVALID, "got `int` - at `$.m", 7
    ),
    Malformed(
        "method null", b'{"jsonrpc":"2.0","id":7,"method":null}', INVALID, "got `null` - at `$.m", 7
    ),
    Malformed(
        "method object", b'{"jsonrpc":"2.0","id":7,"method":{}}', INVALID, "`object` - at `$.m", 7
    ),
    Malformed(
        "method array", b'{"jsonrpc":"2.0","id":7,"method":["a"]}', INVALID, "got `array`", 7
    ),
    Malformed("method number, no id", b'{"jsonrpc":"2.0","method":1}', INVALID, "got `int`"),
    # params
    Malformed("params array", _request(b"[1,2]"), INVALID, "params must be an object", 7),
    Malformed("params empty array", _request(b"[]"), INVALID, "params must be an object", 7),
    Malformed("params string", _request(b'"{}"'), INVALID, "params must be an object", 7),
    Malformed("params number", _request(b" 1 "), INVALID, "params must be an object", 7),
    Malformed("params true", _request(b"true"), INVALID, "params must be an object", 7),
    Malformed("params null", _request(b"null"), INVALID, "params must be an object", 7),
    Malformed(
        "params array in a notification",
        b'{"jsonrpc":"2.0","method":"n","params":[]}',
        INVALID,
        "params must be an object",
        owed=False,
    ),
    Malformed(
        "notification of another version",
        b'{"jsonrpc":"1.0","method":"n"}',
        INVALID,
        "$.jsonrpc",
        owed=False,
    ),
    # Members that exclude each other
    Malformed(
        "method and result",
        b'{"jsonrpc":"2.0","id":7,"method":"a","result":{}}',
        INVALID,
        "method stands beside result or error",
        7,
    ),
    Malformed(
        "method and error",
        b'{"jsonrpc":"2.0","id":7,"method":"a","error":{"code":1,"message":""}}',
        INVALID,
        "method stands beside result or error",
        7,
    ),
    Malformed(
        "notification with a result",
        b'{"jsonrpc":"2.0","method":"a","result":{}}',
        INVALID,
        "method stands beside result or error",
        owed=False,
    ),
)


def _broken(name: str, members: bytes, says: str) -> Malformed:
    return Malformed(name, _response(members), INVALID, says, "r", owed=False, response=True)


RESPONSES = (
    _broken(
        "both result and error",
        b'"result":{},"error":{"code":1,"message":"m"}',
        "both result and error",
    ),
    _broken("result beside a null error", b'"result":{},"error":null', "both result and error"),
    _broken("result null", b'"result":null', "result must be an object"),
    _broken("result array", b'"result":[]', "result must be an object"),
    _broken("result string", b'"result":"ok"', "result must be an object"),
    _broken("result number", b'"result":-1', "result must be an object"),
    _broken("error null", b'"error":null', "malformed error object: Expected `object`"),
    _broken("error string", b'"error":"no"', "malformed error object: Expected `object`"),
    _broken("error empty", b'"error":{}', "missing required field `code`"),
    _broken("error without a code", b'"error":{"message":"m"}', "required field `code`"),
    _broken("error without a message", b'"error":{"code":1}', "required field `message`"),
    _broken("code with a fraction", b'"error":{"code":1.5,"message":"m"}', "`$.code`"),
    _broken("code string", b'"error":{"code":"1","message":"m"}', "`$.code`"),
    _broken("code null", b'"error":{"code":null,"message":"m"}', "`$.code`"),
    _broken("message number", b'"error":{"code":1,"message":2}', "`$.message`"),
    _broken("message null", b'"error":{"code":1,"message":null}', "`$.message`"),
    Malformed(
        "result without id",
        b'{"jsonrpc":"2.0","result":{}}',
        INVALID,
        "a result needs the id",
        owed=False,
        response=True,
    ),
    Malformed(
        "result with the id null",
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        INVALID,
        "a result needs the id",
        owed=False,
        response=True,
    ),
    Malformed(
        "result with a float as id",
        b'{"jsonrpc":"2.0","id":1.5,"result":{}}',
        INVALID,
        "$.id",
        owed=False,
        response=True,
    ),
    Malformed(
        "result without version",
        b'{"id":7,"result":{}}',
        INVALID,
        "`jsonrpc`",
        7,
        owed=False,
        response=True,
    ),
    Malformed(
        "malformed error with the id null",
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1}}',
        INVALID,
        "required field `message`",
        owed=False,
        response=True,
    ),
    Malformed(
        "error of another version with the id null",
        b'{"jsonrpc":"1.0","id":null,"error":{"code":1,"message":"m"}}',
        INVALID,
        "$.jsonrpc",
        owed=False,
        response=True,
    ),
)

MALFORMED = TEXTS + ENVELOPES + RESPONSES
"""Each of these, sent alone, is refused."""
