"""Input that is no message, with the error that JSON-RPC has for it."""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Struct

from mcpcore_conformance.strategies.messages import ids
from mcpcore_conformance.strategies.types import json_objects, json_values

PARSE_ERROR = -32700
INVALID_REQUEST = -32600


class Malformed(Struct, frozen=True):
    """Bytes that are no message."""

    data: bytes
    """Without newlines, so that it is one line."""
    code: int
    """What it is answered with, if it is answered."""
    why: str
    id: str | int | None = None
    """The id that can still be read."""


def malformed() -> SearchStrategy[Malformed]:
    """Input of every kind that breaks JSON or JSON-RPC."""
    return st.one_of(_texts(), _bytes(), _envelopes())


def _texts() -> SearchStrategy[Malformed]:
    whole = st.builds(lambda id, params: _request(id, params), ids(), json_objects())
    cut = st.builds(
        lambda text, at: Malformed(text[: 1 + at % (len(text) - 1)], PARSE_ERROR, "cut off"),
        whole,
        st.integers(0, 10_000),
    )
    trailing = st.builds(
        lambda text, rest: Malformed(text + rest, PARSE_ERROR, "something follows"),
        whole,
        st.sampled_from([b"}", b"]", b" x", b",", b"null", b'{"jsonrpc":"2.0"}']),
    )
    plain = [
        Malformed(b"x", PARSE_ERROR, "no JSON"),
        Malformed(b"\xef\xbb\xbf" + _request(1, {}), PARSE_ERROR, "a byte order mark"),
        Malformed(_raw('{"n":NaN}'), PARSE_ERROR, "NaN"),
        Malformed(_raw('{"n":-Infinity}'), PARSE_ERROR, "Infinity"),
        Malformed(_raw('{"n":01}'), PARSE_ERROR, "a number that begins with zero"),
        Malformed(_raw('{"s":"\t"}'), PARSE_ERROR, "a control character in a string"),
        Malformed(_raw("{'s':1}"), PARSE_ERROR, "single quotes"),
        Malformed(_raw('{"s":"\\ud800"}'), PARSE_ERROR, "half of a surrogate pair"),
    ]
    return st.one_of(cut, trailing, st.sampled_from(plain))


def _bytes() -> SearchStrategy[Malformed]:
    bad = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf"]
    return st.sampled_from(bad).map(
        lambda part: Malformed(
            b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"s":"' + part + b'"}}',
            PARSE_ERROR,
            "no UTF-8",
        )
    )


def _envelopes() -> SearchStrategy[Malformed]:
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    not_an_id = st.one_of(
        st.none(), st.booleans(), st.just(1.5), st.lists(st.integers(), max_size=1), json_objects()
    )
    not_a_name = json_values(2).filter(lambda value: not isinstance(value, str))
    broken = st.one_of(
        not_an_id.map(lambda id: ({**request, "id": id}, None, "an id of a wrong type")),
        not_a_name.map(lambda name: ({**request, "method": name}, 1, "a method of a wrong type")),
        st.sampled_from(
            [
                ({"id": 1, "method": "ping"}, 1, "jsonrpc is missing"),
                ({**request, "jsonrpc": "1.0"}, 1, "another version"),
                ({**request, "jsonrpc": 2.0}, 1, "a version that is a number"),
                ({"jsonrpc": "2.0", "id": 1}, 1, "neither a request nor an answer"),
                ({"jsonrpc": "2.0"}, None, "nothing but a version"),
            ]
        ),
    )
    scalars = st.sampled_from([b"1", b"null", b'"ping"', b"true", b"{}"])
    return st.one_of(
        broken.map(lambda made: Malformed(_encoded(made[0]), INVALID_REQUEST, made[2], made[1])),
        scalars.map(lambda data: Malformed(data, INVALID_REQUEST, "no message")),
    )


def _request(id: Any, params: Any) -> bytes:
    return _encoded({"jsonrpc": "2.0", "id": id, "method": "ping", "params": params})


def _raw(params: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + params.encode() + b"}"


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
