"""JSON-RPC as the kit reads and writes it: by the letter, with nothing of the engine.

Sources: the JSON-RPC 2.0 specification, RFC 8259, and the page ``basic/index`` of each revision.
"""

import json
from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct

from mcpcore_conformance.kit.heard import Text

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

Id = str | int

_MEMBERS = frozenset({"jsonrpc", "id", "method", "result", "error"})
"""By which a message is known, though it may be a bad one."""
_BEGINNINGS = (b"{", b"[")
"""Lines with which a message begins that has many."""
_SHOWN = 120
"""Bytes of a message by which it is known again."""


class Kind(StrEnum):
    """Kind of a message."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"
    BATCH = "batch"
    INVALID = "invalid"


class Message(Struct):
    """Message that was heard."""

    kind: Kind
    value: Any
    """The JSON value; None if it is no JSON."""
    source: Text
    detail: str = ""
    """Problem of an invalid message."""
    parts: list["Message"] = []
    """Of a batch."""

    @property
    def id(self) -> Any:
        """The id; UNSET without one."""
        return self.value.get("id", UNSET) if isinstance(self.value, dict) else UNSET

    @property
    def method(self) -> str:
        """The method; empty for answers."""
        return str(self.value.get("method", "")) if isinstance(self.value, dict) else ""

    @property
    def params(self) -> dict[str, Any]:
        """The parameters; empty if there are none."""
        params = self.value.get("params") if isinstance(self.value, dict) else None
        return params if isinstance(params, dict) else {}

    @property
    def result(self) -> dict[str, Any]:
        """The result of an answer; the envelope has been checked."""
        found: dict[str, Any] = self.value["result"]
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer: ``code``, ``message``, perhaps ``data``."""
        found: dict[str, Any] = self.value["error"]
        return found

    @property
    def code(self) -> int:
        """The error's code."""
        return int(self.error["code"])

    @property
    def about_nothing(self) -> bool:
        """True for an error that does not name the request that it is about."""
        return self.kind is Kind.ERROR and self.id in (None, UNSET)

    @property
    def nameless(self) -> bool:
        """True for an invalid result that is one but for the id, which it does not have."""
        result = isinstance(self.value, dict) and self.id in (None, UNSET)
        return self.kind is Kind.INVALID and result and not _problem({**self.value, "id": 0})

    @property
    def stray(self) -> bool:
        """True if this is a whole line of something else: no message, and no part of one."""
        if self.kind is not Kind.INVALID or self.source.data.strip() in _BEGINNINGS:
            return False
        parts = self.value if isinstance(self.value, list) else [self.value]
        return not any(isinstance(part, dict) and _MEMBERS & part.keys() for part in parts)

    @property
    def misnamed(self) -> bool:
        """True for an invalid request of which nothing but the id is wrong."""
        request = isinstance(self.value, dict) and "method" in self.value and "id" in self.value
        if self.kind is not Kind.INVALID or not request or is_id(self.id):
            return False
        return not _problem({**self.value, "id": 0})

    @property
    def told(self) -> str:
        """Problem of an invalid message, and its beginning."""
        return f"{self.detail}: {self.begin}"

    @property
    def begin(self) -> str:
        """Beginning of the message, for people."""
        begin = self.source.data[:_SHOWN].decode("utf-8", "replace")
        return f"{begin!r}{'...' * (len(self.source.data) > _SHOWN)}"

    def answers(self, id: Id) -> bool:
        """Return True if this is an answer to that id, of the same type and value."""
        return (
            self.kind in (Kind.RESULT, Kind.ERROR) and type(self.id) is type(id) and self.id == id
        )


def encode(value: Any) -> bytes:
    """JSON without spaces, in UTF-8; half a surrogate pair, which has no UTF-8, is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


def request(id: Any, method: str, params: Any = UNSET) -> dict[str, Any]:
    """Build a request; anything can be given for an id, to see what comes of it."""
    made: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not UNSET:
        made["params"] = params
    return made


def notification(method: str, params: Any = UNSET) -> dict[str, Any]:
    """Build a notification."""
    made: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not UNSET:
        made["params"] = params
    return made


def result(id: Any, value: Any) -> dict[str, Any]:
    """Build a good answer."""
    return {"jsonrpc": "2.0", "id": id, "result": value}


def error(id: Any, code: int, message: str, data: Any = UNSET) -> dict[str, Any]:
    """Build a bad answer; an id of UNSET is left out."""
    made: dict[str, Any] = {"jsonrpc": "2.0"}
    if id is not UNSET:
        made["id"] = id
    made["error"] = {"code": code, "message": message}
    if data is not UNSET:
        made["error"]["data"] = data
    return made


def parse(text: Text) -> Message:
    """Read a message, strictly; what breaks JSON or JSON-RPC makes it an invalid one.

    One that is no JSON for its numbers alone (``NaN``, ``Infinity``) has a value all the same: it
    shows what was meant.
    """
    constants: list[str] = []
    try:
        value = json.loads(text.data.decode("utf-8"), parse_constant=constants.append)
    except UnicodeDecodeError as error:
        return _invalid(None, text, f"not UTF-8: {error.reason} at byte {error.start}")
    except RecursionError:
        return _invalid(None, text, "nested too deeply to be read")
    except ValueError as error:
        return _invalid(None, text, f"not JSON: {error}")
    if constants:
        return _invalid(value, text, f"not JSON: {constants[0]} is no JSON number")
    return _classified(value, text)


def meant(message: Message) -> Message | None:
    """Return an invalid message with a good version, id and params; None if it cannot be mended."""
    if not isinstance(message.value, dict):
        return None
    mended = {**message.value, "jsonrpc": "2.0"}
    if "method" in mended:
        if "id" in mended and not is_id(mended["id"]):
            mended["id"] = 0
        if not isinstance(mended.get("params", {}), dict):
            del mended["params"]
    kind = _classified(mended, message.source).kind
    if kind is Kind.INVALID:
        return None
    return Message(kind, message.value, message.source, message.detail)


def _classified(value: Any, text: Text) -> Message:
    if isinstance(value, list):
        if not value:
            return _invalid(value, text, "an empty batch")
        parts = [_classified(each, text) for each in value]
        for part in parts:
            if part.kind in (Kind.INVALID, Kind.BATCH):
                return _invalid(value, text, f"in a batch: {part.detail or 'another batch'}")
        return Message(Kind.BATCH, value, text, parts=parts)
    problem = _problem(value)
    if problem:
        return _invalid(value, text, problem)
    if "method" in value:
        return Message(Kind.REQUEST if "id" in value else Kind.NOTIFICATION, value, text)
    return Message(Kind.RESULT if "result" in value else Kind.ERROR, value, text)


def _problem(value: Any) -> str:
    """Return the problem of an envelope; empty if there is none."""
    if not isinstance(value, dict):
        return f"a message is an object, this is {_name(value)}"
    if "jsonrpc" not in value:
        return 'jsonrpc has to be "2.0", and is missing'
    if value["jsonrpc"] != "2.0":
        return f'jsonrpc has to be "2.0", not {value["jsonrpc"]!r}'
    if "method" in value:
        if not isinstance(value["method"], str):
            return f"method has to be a string, not {_name(value['method'])}"
        if "id" in value and not is_id(value["id"]):
            return f"the id of a request has to be a string or an integer, not {value['id']!r}"
        if not isinstance(value.get("params", {}), dict):
            return f"params has to be an object, not {_name(value['params'])}"
        if "result" in value or "error" in value:
            return "a message has both a method and a result or error"
        return ""
    if ("result" in value) == ("error" in value):
        which = "both" if "result" in value else "neither"
        return f"an answer has either a result or an error, and this has {which}"
    if "result" in value:
        if not is_id(value.get("id")):
            return f"a result needs the id of its request, not {value.get('id')!r}"
        return "" if isinstance(value["result"], dict) else "result has to be an object"
    return _error_problem(value)


def _error_problem(value: dict[str, Any]) -> str:
    found = value["error"]
    if value.get("id") is not None and not is_id(value["id"]):
        return f"the id of an error has to be a string, an integer or null, not {value['id']!r}"
    if not isinstance(found, dict):
        return "error has to be an object"
    code = found.get("code")
    if isinstance(code, bool) or not isinstance(code, int):
        return f"the code of an error has to be an integer, not {code!r}"
    if not isinstance(found.get("message"), str):
        return f"the message of an error has to be a string, not {found.get('message')!r}"
    return ""


def is_id(value: Any) -> bool:
    """Return True if a value may be the id of a request."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _name(value: Any) -> str:
    return {dict: "an object", list: "an array", str: "a string", type(None): "null"}.get(
        type(value), repr(value)
    )


def _invalid(value: Any, text: Text, detail: str) -> Message:
    return Message(Kind.INVALID, value, text, detail)
