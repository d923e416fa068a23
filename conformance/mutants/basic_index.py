"""Mutants of the page basic/index: what is no message."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop, first, put, where
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    answers_to,
    asks,
    before,
    code,
    declines,
    dies_of,
    errors_of,
    ignores,
    instead,
    meta_of,
    misread,
    results_of,
    together,
)
from conformance.mutants.http_faults import header_of, requests, status_of
from conformance.mutants.lists import less_by_connection, listed
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.cases.basic_index_responses import LARGE, NUMBER
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION, encode, error, is_id, result
from mcpcore_conformance.kit.model import LEGACY, MODERN, Binding

table = Table("basic/index")


def _no_json(value: Any) -> bool:
    return value is None


def _lone_surrogate(value: Any, _payload: bytes) -> bool:
    text = value.get("x") if isinstance(value, dict) else None
    return isinstance(text, str) and any("\ud800" <= each <= "\udfff" for each in text)


table.server("carries-out-fragments", "not-json").does(
    "Carries out what it can guess of a message that is cut off.",
    instead(_no_json, lambda _value: result(NUMBER, {})),
)
table.server("falls-over-fragments", "not-json").does(
    "Ends when it reads something that is no JSON.",
    dies_of(lambda value, _payload: _no_json(value)),
)
table.server("fine-with-anything", "not-json-status").does(
    "Answers every body with 200.", status_of(lambda asked: asked.value is None, 200)
)
table.server("parse-error-code", "parse-error").does(
    "Has one code for everything that it cannot read.", code(-32700, -32600)
)
table.server("silent-about-fragments", "parse-error").does(
    "Says nothing to what it cannot read.", ignores(_no_json)
)
table.server("invents-ids", "no-invented-id").does(
    "Gives errors about what it cannot read an id of its own.",
    answers_to("", lambda value: {"id": "server-error", **value}),
)
table.server("takes-nan", "json-by-the-letter").does(
    "Takes NaN for a number.", misread(lambda _value, payload: payload.replace(b"NaN", b"null"))
)
table.server("takes-comments", "json-by-the-letter").does(
    "Skips comments.", misread(lambda _value, payload: payload.replace(b"/* hello */", b""))
)
table.server("replaces-octets", "invalid-utf8").does(
    "Replaces octets that are not UTF-8.",
    misread(lambda _value, payload: payload.decode("utf-8", "replace").encode()),
)
table.server("falls-over-surrogates", "lone-surrogate").does(
    "Ends when it writes a lone surrogate to its log.", dies_of(_lone_surrogate)
)
table.server("ignores-scalars", "not-an-object").does(
    "Says nothing to JSON that is no object.",
    ignores(lambda value: value is not None and not isinstance(value, dict)),
)
table.server("stack-overflow", "depth").does(
    "Ends when it runs out of stack.", dies_of(lambda _value, payload: payload.count(b"[") > 1000)
)
table.server("quadratic", "many-members").does(
    "Ends when an object has too many members.",
    dies_of(lambda _value, payload: payload.count(b":") > 10_000),
)
table.server("out-of-memory", "size").does(
    "Ends when a message is too large for it.",
    dies_of(lambda _value, payload: len(payload) > LARGE),
)
table.server("small-buffer", "large-taken").does(
    "Takes no message of more than 64 KB.", declines(lambda value: len(str(value)) > 65536)
)
table.server("wrong-content-type", "content-type").does(
    "Says that its messages are plain text.", header_of(requests, "content-type", "text/plain")
)


def _notification(value: Any) -> bool:
    return isinstance(value, dict) and "method" in value and "id" not in value


def _answer(value: Any) -> bool:
    return isinstance(value, dict) and "method" not in value


table.server("anonymous-errors", "request-id").does(
    "Sends errors without the id of the request.",
    answers_to("", where(lambda value: "error" in value, put(id=None))),
)
table.server("code-zero", "meaningful").does(
    "Has the code 0 for arguments that it does not take.", code(-32602, 0)
)
table.server("no-code", "code-and-message").does(
    "Sends a name where the code of an error should be.", errors_of("", put(code="NotFound"))
)
table.server("no-words", "meaningful").does(
    "Sends errors with an empty message.", errors_of("", put(message=""))
)
table.server("all-internal", "invalid-params").does(
    "Calls wrong params an internal error.", code(-32602, -32603)
)
table.server("takes-a-reserved-code", "reserved-codes").does(
    "Has chosen a code of its own where the specification will.", code(-32602, -32050)
)
table.server("retired-code", "reserved-codes").does(
    "Still says -32002 of a resource that is not there.", code(-32602, -32002, "resources/read")
)
table.server("legacy-code", "legacy-codes").does(
    "Has -32000 for whatever goes wrong.", code(-32602, -32000)
)
table.server("code-in-the-range", "own-codes").does(
    "Has chosen a code within the range that JSON-RPC reserves.", code(-32602, -32500)
)
table.server("answers-unknown-notifications", "unknown").does(
    "Answers a notification that it does not know with an error.",
    instead(_notification, lambda _value: error(None, -32601, "Method not found")),
)
table.server("answers-malformed-notifications", "notifications/malformed").does(
    "Answers a notification whose params are wrong with an error.",
    instead(
        lambda value: _notification(value) and not isinstance(value.get("params"), dict),
        lambda _value: error(None, -32602, "Invalid params"),
    ),
)
table.server("answers-without-id", "request-without-id").does(
    "Answers requests that have no id, with the id null.",
    instead(_notification, lambda _value: result(None, {})),
)
table.server("drops-notifications-with-id", "with-id", binding=Binding.HTTP).does(
    "Takes whatever is called a notification for one, and says nothing.",
    ignores(lambda value: isinstance(value, dict) and str(value.get("method")).startswith("notif")),
)
table.server("argues", "unknown-id").does(
    "Answers answers that it did not ask for.", declines(_answer)
)
table.server("falls-over-answers", "responses/malformed").does(
    "Ends when an answer has no result that it can read.",
    dies_of(lambda value, _payload: _answer(value) and value.get("result") == 17),
)
table.server("no-result-type", "named").does(
    "Sends results as they were before they had a type.",
    results_of("tools/list", drop("resultType")),
)
table.server("own-result-type", "named").does(
    "Has a type of results that nobody declared.", results_of("tools/call", put(resultType="done"))
)
table.server("nameless", "server-info").does(
    "Says who it is in the result of server/discover only.", results_of("tools/list", drop("_meta"))
)
table.server("icons-of-scripts", "sources").does(
    "Has an icon that is a script.",
    listed("tools/list", "tools", first(put(icons=[{"src": "javascript:alert(1)"}]))),
)
table.server("answers-answers", "not-for-clients").does(
    "Thanks for every answer.", instead(_answer, lambda value: result(value.get("id"), {}))
)


def _batch(value: Any) -> bool:
    return isinstance(value, list)


def _read(edit: Callable[[list[Any]], Any]) -> Breaks:
    return misread(lambda value, payload: edit(value) if isinstance(value, list) else payload)


def _by_id(batch: list[Any]) -> list[Any]:
    seen: dict[Any, Any] = {each.get("id"): each for each in batch}
    return list(seen.values())


def _all_answered(batch: Any) -> bytes:
    answers = [
        result(each["id"], {}) if "id" in each else error(None, -32601, "Method not found")
        for each in batch
    ]
    return encode(answers)


@table.server("one-by-one", "one-array")
class _OneByOne(Fault):
    """Answers the requests of a batch one by one."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, list):
            return payload
        for each in value:
            self.answer(result(each["id"], {}))
        return None


table.server("ignores-batches", "requests", "invalid-elements", binding=Binding.HTTP).does(
    "Says nothing to batches.", ignores(_batch)
)
table.server("no-batches-yet", "requests", binding=Binding.HTTP).does(
    "Refuses batches.", declines(_batch)
)
table.server("two-at-least", "one-request").does(
    "Refuses a batch of one.", declines(lambda value: _batch(value) and len(value) == 1)
)
table.server("answers-all", "with-notifications").does(
    "Answers the notifications of a batch as well.", instead(_batch, _all_answered)
)
table.server("empty-array", "notifications-only", "answers-only", "empty").does(
    "Answers a batch of which nothing is to be answered with an empty one.",
    instead(_batch, lambda _value: b"[]"),
)
table.server("all-or-nothing", "errors", "partly-invalid", binding=Binding.HTTP).does(
    "Refuses a batch if one of its elements is bad.", declines(_batch)
)
table.server("flattens", "nested").does(
    "Takes a batch inside a batch for a part of it.",
    _read(lambda batch: batch[0] if batch and isinstance(batch[0], list) else batch),
)
table.server("by-id", "duplicate-ids", binding=Binding.HTTP).does(
    "Keeps the requests of a batch by their ids.", _read(_by_id)
)
table.server("twenty-at-most", "many", binding=Binding.HTTP).does(
    "Reads the first twenty elements of a batch.", _read(lambda batch: batch[:20])
)
table.server("still-batches", "no-batches").does(
    "Carries out batches where there are none.", instead(_batch, _all_answered)
)
table.server("first-of-a-batch", "no-batches").does(
    "Carries out the first request of a batch.", _read(lambda batch: batch[0] if batch else batch)
)


DEEP = 100_000
"""Brackets that the mutants bear."""

table.server("recursive", "bottomless").does(
    "Ends when brackets in each other are deeper than its stack.",
    dies_of(lambda _value, payload: max(payload.count(b"["), payload.count(b"{")) > DEEP),
)


VERSION = "2026-07-28"


def _request(value: Any) -> bool:
    return isinstance(value, dict) and "method" in value and "id" in value


def _filled(**members: Any) -> Breaks:
    """Fill in what is missing in ``_meta``, or of a wrong type."""
    given = {f"io.modelcontextprotocol/{name}": each for name, each in members.items()}

    def read(value: Any, payload: bytes) -> Any:
        if not _request(value):
            return payload
        params = value.get("params", {})
        meta = dict(meta_of(value))
        for name, each in given.items():
            if not isinstance(meta.get(name), type(each)):
                meta[name] = each
        return {**value, "params": {**params, "_meta": meta}}

    return misread(read)


@table.server("remembers-capabilities", "capabilities")
class _Remembers(Fault):
    """Knows the capabilities of earlier requests."""

    _known: dict[str, Any] = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not _request(value) or META_CLIENT_CAPABILITIES not in meta_of(value):
            return payload
        self._known.update(meta_of(value)[META_CLIENT_CAPABILITIES])
        added = {**meta_of(value), META_CLIENT_CAPABILITIES: self._known}
        read = misread(
            lambda told, _payload: {**told, "params": {**told["params"], "_meta": added}}
        )
        return read().said(value, payload)


@table.server("meta-guessed", "missing", "version-missing")
class _Guesses(Fault):
    """Has no older revision, but takes a first request without a version for one of them."""

    _begun = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("initialize")(value):
            self.answer(error(value["id"], -32601, "Method not found"))
            return None
        begun, self._begun = self._begun, True
        if begun or not _request(value) or META_PROTOCOL_VERSION in meta_of(value):
            return payload
        self.answer(error(value["id"], -32601, "Method not found"))
        return None


table.server("meta-code", "missing", "version-missing", "capabilities-missing").does(
    "Has no older revision, and calls a request without the fields it needs an invalid one.",
    together(declines(asks("initialize"), -32601), code(-32602, -32600)),
)


@table.server("meta-remembered", "missing", "version-missing", "capabilities-missing")
class _Trusts(Fault):
    """Fills in what a request does not say in _meta from the one before it."""

    _known: dict[str, Any] = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not _request(value):
            return payload
        self._known = {**self._known, **meta_of(value)}
        params = {**value.get("params", {}), "_meta": self._known}
        read = misread(lambda told, _payload: {**told, "params": params})
        return read().said(value, payload) if self._known else payload


class _Locked(Fault):
    """Decides something once; whatever differs from it later is refused."""

    key: str
    number: int
    _first: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        found = meta_of(value).get(self.key)
        if not _request(value) or found is None:
            return payload
        self._first = self._first or found
        if found == self._first:
            return payload
        data = {"supported": [VERSION], "requested": str(found)}
        self.answer(error(value["id"], self.number, "another one than before", data))
        return None


table.server("discover-first", "nothing-before").does(
    "Wants to be discovered before it serves anything.",
    before(asks("server/discover"), declines(_request)),
)


@table.server("favours", "client-info-decides-nothing")
class _Favours(Fault):
    """Gives a client of another name another list."""

    def message(self, value: Value) -> tuple[Value]:
        asked = self.asked.get((type(value.get("id")), value.get("id")), {})
        name = meta_of(asked).get(META_CLIENT_INFO, {}).get("name")
        if "result" not in value or name == "mcpcore-conformance":
            return (value,)
        return ({**value, "result": {**value["result"], "tools": []}},)


table.server(
    "meta-optional", "missing", "version-missing", "capabilities-missing", "field-types"
).does(
    "Fills in what a request does not say in _meta.",
    _filled(protocolVersion=VERSION, clientCapabilities={}),
)
table.server("wants-client-info", "client-info-optional").does(
    "Refuses requests that do not say who the client is.",
    declines(lambda value: _request(value) and META_CLIENT_INFO not in meta_of(value), -32602),
)
table.server("wants-known-keys", "other-keys").does(
    "Refuses keys in _meta that it does not know.",
    declines(lambda value: "org.example/note" in meta_of(value), -32602),
)
table.server("capability-without-data", "undeclared-capability").does(
    "Does not say which capability is missing.", errors_of("tools/call", drop("data"))
)
table.server("capability-code", "undeclared-capability", "capabilities").does(
    "Calls a missing capability an invalid request.", code(-32021, -32600)
)
table.server("never-capable", "declared-capability").does(
    "Does not look at the capabilities that a request declares.",
    declines(asks("tools/call"), -32021),
)
table.server("remembers-versions", "versions").does(
    "Expects the version of the first request ever after.",
    lambda: _Locked(META_PROTOCOL_VERSION, UNSUPPORTED_VERSION),
)
table.server("another-each-time", "any-connection").does(
    "Offers each connection something else.", less_by_connection("tools/list", "tools")
)
table.server("one-client", "several-conversations").does(
    "Serves one client on a connection.", lambda: _Locked(META_CLIENT_INFO, -32600)
)


METADATA = {
    META_PROTOCOL_VERSION: LATEST.name,
    META_CLIENT_INFO: {"name": "kit", "version": "1"},
    META_CLIENT_CAPABILITIES: {},
}
"""What a request of the modern era needs."""


def _id(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether something is a request with an id that passes the test."""
    return lambda value: (
        isinstance(value, dict) and "method" in value and "id" in value and test(value["id"])
    )


def _positive(value: Value) -> Value:
    id = value.get("id")
    return {**value, "id": abs(id)} if isinstance(id, int) else value


def _rounded(value: Value) -> Value:
    id = value.get("id")
    return {**value, "id": int(float(id))} if isinstance(id, int) else value


@table.server("once-per-id", "duplicate-in-flight", "duplicate-of-slow", binding=Binding.HTTP)
class _OncePerId(Fault):
    """Drops a request whose id it has seen."""

    _seen: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        id = value.get("id") if isinstance(value, dict) else None
        if is_id(id) and "method" in value:
            if id in self._seen:
                return None
            self._seen.add(id)
        return payload


def _first_id(value: Any, payload: bytes) -> Any:
    if isinstance(value, dict) and value.get("id") is True:
        return {**value, "id": 1}
    return payload


def _with_version(value: Any, payload: bytes) -> Any:
    if isinstance(value, dict) and "jsonrpc" not in value:
        return {"jsonrpc": "2.0", **value}
    return payload


def _with_params(params: Value) -> Callable[[Any, bytes], Any]:
    """Take these params where they are a list."""

    def edit(value: Any, payload: bytes) -> Any:
        if isinstance(value, dict) and isinstance(value.get("params"), list):
            return {**value, "params": params}
        return payload

    return edit


def _in_small_letters(value: Any, payload: bytes) -> Any:
    if isinstance(value, dict) and isinstance(value.get("method"), str) and value.get("id"):
        return {**value, "method": value["method"].lower()}
    return payload


table.server("zero-is-no-id", "integer-ids").does(
    "Takes the id 0 for none.", declines(_id(lambda id: id == 0 and isinstance(id, int)))
)
table.server("negative-ids", "integer-ids").does(
    "Answers with the absolute value of the id.", answers_to("", _positive)
)
table.server("empty-id", "string-ids").does(
    "Takes an empty string for no id.", declines(_id(lambda id: id == ""))
)
table.server("ids-become-numbers", "string-ids").does(
    "Answers a string of digits with a number.",
    answers_to("", where(lambda value: value.get("id") == "17", put(id=17))),
)
table.server("rounds-ids", "large-integer-ids", "huge-integer-ids", binding=Binding.HTTP).does(
    "Reads ids as numbers of double precision.", answers_to("", _rounded)
)
table.server("one-kind-of-id", "number-and-string").does(
    'Keeps ids as strings, and takes 7 and "7" for the same.', declines(_id(lambda id: id == "7"))
)
table.server("loses-some", "many-in-flight").does(
    "Loses every tenth request.", ignores(_id(lambda id: isinstance(id, int) and id % 10 == 0))
)
table.server("null-is-a-notification", "id-null").does(
    "Takes a request with the id null for a notification.", ignores(_id(lambda id: id is None))
)
table.server("true-is-one", "id-type").does("Takes true for the id 1.", misread(_first_id))
table.server("drops-odd-ids", "id-type").does(
    "Says nothing to requests whose id has a wrong type.", ignores(_id(lambda id: not is_id(id)))
)
table.server("any-version", "version-member").does(
    "Does not look at jsonrpc.", misread(_with_version)
)
table.server("drops-odd-methods", "method-type").does(
    "Says nothing to requests without a proper method.",
    ignores(
        lambda value: (
            isinstance(value, dict) and "id" in value and not isinstance(value.get("method"), str)
        )
    ),
)
table.server("drops-lists", "params-type", revisions=LEGACY).does(
    "Takes params that are a list for none.", misread(_with_params({}))
)
table.server("lists-for-metadata", "params-type", revisions=MODERN).does(
    "Takes params that are a list for those of its last client.",
    misread(_with_params({"_meta": METADATA})),
)
table.server("wants-params", "without-params").does(
    "Does not take a list request without params of its own.",
    declines(asks("tools/list", lambda params: {*params} <= {"_meta"}), -32602),
)
table.server("wants-known-members", "unknown-members").does(
    "Refuses requests with a member that it does not know.",
    declines(lambda value: isinstance(value, dict) and "trace" in value),
)
table.server("unknown-method-code", "unknown-method").does(
    "Answers an unknown method with -32602.", code(-32601, -32602)
)
table.server("any-letters", "method-case").does(
    "Does not tell large letters from small ones in methods.", misread(_in_small_letters)
)
