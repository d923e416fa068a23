"""Bytes to messages and back: the JSON-RPC 2.0 envelope as one Struct.

:func:`decode` looks at the envelope only; ``params``, ``result`` and ``error`` stay
:class:`msgspec.Raw` until their type is known.  It never raises: an input that is no message
becomes a :class:`Reject` that says why, and if an answer is owed.

Where a member occurs twice in an object the last one counts, and each has to be valid.  Unknown
members of the envelope are tolerated.  Source: JSON-RPC 2.0 sections 4 to 6; the base protocol page
of each revision, which narrows ids to strings and integers, and params and results to objects.
"""

from codecs import utf_8_decode
from collections.abc import Iterable
from enum import Enum
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.wire.jsontext import (
    Body,
    Members,
    deeper_than,
    find_fault,
    joined,
    pieces,
    read_leniently,
    to_json,
)

RequestId = str | int
"""Request ids, compared by type and value: 7 and ``"7"`` differ. Integers are exact at any size.

Python itself reads no integer of more than 4300 digits; such an id is refused as invalid."""

MAX_DEPTH = 128
"""Default maximum of nesting: brackets open at once in one JSON text, the envelope's included."""
MAX_BATCH = 100
"""Default maximum messages in one batch."""

_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600
_NULL = Raw(b"null")
_BRACE, _BRACKET, _QUOTE = b'{["'  # as integers: faster to look for
_BLOCK = 64 * 1024
_WORTH_A_COPY = 64 * 1024
"""Bytes of a text from which a small Raw is copied, so that it does not keep the text alive."""


class Kind(Enum):
    """Kinds of envelopes."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"


_REQUEST, _NOTIFICATION, _RESULT, _ERROR = Kind


class Message(Struct, frozen=True, gc=False):
    """Envelope of a message; absent members are UNSET.

    As decoded: a request has ``id`` and ``method``, a notification ``method`` alone, ``params``
    and ``result`` are objects, ``error`` is an object with an integer ``code`` and a string
    ``message``.  Only an error may lack the id (or have it null on the wire): then its sender could
    not read the id of the request.
    """

    jsonrpc: Literal["2.0"]
    id: RequestId | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET

    @property
    def kind(self) -> Kind:
        """Kind of the envelope: request, notification, result or error."""
        if self.method is not UNSET:
            return _NOTIFICATION if self.id is UNSET else _REQUEST
        return _ERROR if self.result is UNSET else _RESULT


class Reject(Struct, frozen=True):
    """Input that is no valid message."""

    code: int
    """-32700 (not JSON that can be read) or -32600 (JSON, but no message)."""
    message: str
    """Description of the fault, fit to be sent."""
    id: RequestId | None = None
    """Id, if one could be read: of the request to refuse or, in a broken response, of the request
    answered."""
    owed: bool = True
    """True if an error reply is due. False: it was evidently a response or a notification."""
    response: bool = False
    """True if it was evidently a response."""


Frame = Message | list[Message | Reject] | Reject
"""Content of one JSON text; a list is a batch, in order, never empty."""


class _Loose(Struct):
    """Envelope with nothing checked."""

    jsonrpc: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _ErrorShape(Struct):
    code: int
    message: str


_decode_message = msgspec.json.Decoder(Message).decode
_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_batch = msgspec.json.Decoder(list[Raw]).decode
_decode_scalar = msgspec.json.Decoder(RequestId).decode
_decode_error = msgspec.json.Decoder(_ErrorShape).decode
_encode = msgspec.json.Encoder().encode

# Reading


def decode(
    data: bytes | bytearray | memoryview, max_depth: int = MAX_DEPTH, max_batch: int = MAX_BATCH
) -> Frame:
    """Read one JSON text: a message, a batch, or the reason why it is neither.

    Never raises.  The result does not refer to ``data`` if that is mutable, nor to a text that is
    much larger than the kept parts of it.
    """
    if type(data) is not bytes:
        data = bytes(data)
    try:
        if not data.isascii():
            _check_utf8(data)  # msgspec does not, in Raw values and in members it skips
        # Nesting max_depth levels takes 2 bytes for each array and 5 for each object: {"":}.
        size = len(data)
        if (
            (size > 5 * max_depth or _BRACKET in data)
            and size > 2 * max_depth
            and deeper_than(data, max_depth)
        ):
            return _look_closer(data, max_depth, max_batch)
        message = _decode_message(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _look_closer(data, max_depth, max_batch)
    if size < _WORTH_A_COPY and (
        (  # a valid request or notification: the usual case, without a call
            message.method is not UNSET
            and message.result is message.error
            and ((params := message.params) is UNSET or memoryview(params)[0] == _BRACE)
        )
        or _find_flaw(message) is None
    ):
        return message
    return _examine(message, size)


def _check_utf8(text: bytes) -> None:
    """Raise UnicodeDecodeError if it is not UTF-8; a long text is decoded in blocks."""
    view, start, end = memoryview(text), 0, len(text)
    while start < end:
        last = end - start <= _BLOCK
        start += utf_8_decode(view[start : start + _BLOCK], "strict", last)[1]


def refuse_oversized(head: bytes, limit: int) -> Reject:
    """Return the rejection of a text over ``limit`` bytes, of which only ``head`` was kept.

    Its id is found if it stands before the first object or array in the envelope.
    """
    members = read_leniently(head, 1)
    return _reject(_PARSE_ERROR, f"the text is longer than {limit} bytes", members)


def _examine(message: Message, size: int) -> Message | Reject:
    """Return ``message``, if its members go together; ``size`` is the length of its text."""
    flaw = _find_flaw(message)
    if flaw is not None:
        return _reject(_INVALID_REQUEST, flaw, _members(message))
    return message if size < _WORTH_A_COPY else _detach(message, size)


def _find_flaw(message: Message) -> str | None:
    """Return the flaw of an envelope whose members have the right types one by one, or None."""
    if message.method is not UNSET:
        if message.result is not message.error:  # identical only if both are UNSET
            return "method stands beside result or error"
        params = message.params
        if params is UNSET or memoryview(params)[0] == _BRACE:
            return None
        return "params must be an object"
    if message.result is not UNSET:
        if message.error is not UNSET:
            return "both result and error are present"
        if message.id is UNSET:
            return "a result needs the id of its request"
        if memoryview(message.result)[0] != _BRACE:
            return "result must be an object"
        return None
    if message.error is UNSET:
        return "none of method, result and error is present"
    try:
        _decode_error(message.error)
    except msgspec.ValidationError as error:
        return f"malformed error object: {error}"
    return None


def _detach(message: Message, size: int) -> Message:
    """Return ``message`` with its Raw members copied where they are less than half of the text."""
    copies = {
        name: value.copy()
        for name, value in _members(message).items()
        if isinstance(value, Raw) and 2 * len(value) < size
    }
    return msgspec.structs.replace(message, **copies) if copies else message


def _look_closer(text: bytes, max_depth: int, max_batch: int) -> Frame:
    """Decode by the slow path: a batch, an error whose id is null, or no valid message."""
    fault = find_fault(text, max_depth)
    if fault is not None:
        return _reject(_PARSE_ERROR, fault, read_leniently(text, max_depth))
    try:
        batch = _decode_batch(text)
    except msgspec.ValidationError:
        return _decode_sound(text)
    if not batch:
        return _reject(_INVALID_REQUEST, "the batch is empty", None)
    if len(batch) > max_batch:
        reason = f"the batch has {len(batch)} messages, {max_batch} are allowed"
        return _reject(_INVALID_REQUEST, reason, None)
    return [_decode_sound(bytes(element)) for element in batch]


def _decode_sound(text: bytes) -> Message | Reject:
    """Decode one envelope from valid JSON."""
    try:
        return _examine(_decode_message(text), len(text))
    except msgspec.ValidationError as error:
        reason = str(error)
    try:
        loose = _decode_loose(text)
    except msgspec.ValidationError:  # no object at all
        return _reject(_INVALID_REQUEST, reason, None)
    members = {name: _scalar(value) for name, value in _members(loose).items()}
    if loose.id == _NULL and members.get("jsonrpc") == "2.0" and "method" not in members:
        # JSON-RPC section 5: an error whose sender could not read the id of the request.
        message = Message("2.0", result=loose.result, error=loose.error)
        return _examine(message, len(text))
    return _reject(_INVALID_REQUEST, reason, members)


def _members(envelope: Struct) -> dict[str, Any]:
    return {
        name: value
        for name, value in msgspec.structs.asdict(envelope).items()
        if value is not UNSET
    }


def _scalar(value: Raw) -> RequestId | None:
    """Return the value if it is a string or an integer, else None."""
    try:
        scalar: RequestId = _decode_scalar(value)
    except msgspec.ValidationError:
        return None
    return scalar


def _reject(code: int, reason: str, members: Any) -> Reject:
    """Refuse an envelope of which ``members`` could be read, if it is an object."""
    if not isinstance(members, dict):
        members = {}
    request_id = members.get("id")
    response = "method" not in members and ("result" in members or "error" in members)
    notification = "id" not in members and isinstance(members.get("method"), str)
    kind = "Parse error" if code == _PARSE_ERROR else "Invalid request"
    return Reject(
        code,
        f"{kind}: {reason}",
        request_id if _is_id(request_id) else None,
        owed=not (response or notification),
        response=response,
    )


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # read leniently, so it is not the id that was sent
            return False
        return True
    return type(value) is int


# Writing: each returns one JSON text without line breaks and copies a body once. Bodies come from
# to_json, or are members that are joined here; ``members`` go into them first, as in splice.


def encode_request(
    id: RequestId, method: str, params: bytes | Raw | Members | None = None, members: bytes = b""
) -> bytes:
    """Encode a request; without ``params`` and ``members`` it has no params."""
    if type(id) is int:  # the usual case
        head = b'{"jsonrpc":"2.0","id":%d,"method":%b' % (id, _encode(method))
    else:
        head = b'{"jsonrpc":"2.0","id":%b,"method":%b' % (_encode_id(id), _encode(method))
    return _with_params(head, params, members)


def encode_notification(method: str, params: bytes | None = None, members: bytes = b"") -> bytes:
    """Encode a notification; without ``params`` and ``members`` it has no params."""
    return _with_params(b'{"jsonrpc":"2.0","method":%b' % _encode(method), params, members)


def _with_params(head: bytes, params: bytes | Raw | Members | None, members: bytes) -> bytes:
    if params is None:
        if not members:
            return head + b"}"
        params = b"{}"
    if isinstance(params, dict):
        return joined(params, members, (head + b',"params":', b"}"))
    if not members:
        return b"".join((head, b',"params":', params, b"}"))
    return b"".join((head, b',"params":', *pieces(params, members), b"}"))


def encode_result(id: RequestId, result: bytes | Raw | Members, members: bytes = b"") -> bytes:
    """Encode a successful response."""
    if type(id) is int:  # the usual case
        head = b'{"jsonrpc":"2.0","id":%d,"result":' % id
    else:
        head = b'{"jsonrpc":"2.0","id":%b,"result":' % _encode_id(id)
    if isinstance(result, dict):
        return joined(result, members, (head, b"}"))
    if not members:
        return b"".join((head, result, b"}"))
    rest = memoryview(result)[1:]
    if rest[0] == _QUOTE:  # the usual case; see pieces()
        return b"".join((head, b"{", members, b",", rest, b"}"))
    return b"".join((head, *pieces(bytes(result), members), b"}"))


def encode_error(id: RequestId | None, error: Body) -> bytes:
    """Encode an error response; it has no id if that of the request could not be read.

    JSON-RPC would have null there; the schema of the protocol (since 2025-11-25) has no member.
    """
    member = b"" if id is None else b'"id":%b,' % _encode_id(id)
    return b'{"jsonrpc":"2.0",%b"error":%b}' % (member, to_json(error))


def encode_batch(items: Iterable[bytes]) -> bytes:
    """Encode a batch of encoded messages."""
    return b"[%b]" % b",".join(items)


def _encode_id(value: RequestId) -> bytes:
    if type(value) is int or type(value) is str:
        return _encode(value)
    raise TypeError(f"an id must be a str or an int, not {type(value).__name__}")
