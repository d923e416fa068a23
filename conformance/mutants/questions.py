"""Makers of faults in what a server asks of its client, in both eras."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import takes
from mcpcore_conformance.kit import messages

DONE = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}


class _Edited(Fault):
    method: str
    edit: Callable[[Value], Value]

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") == self.method:
            return (self._asked(value),)
        requests = value.get("result", {}).get("inputRequests")
        if not isinstance(requests, dict):
            return (value,)
        asked = {
            key: self._asked(each) if each.get("method") == self.method else each
            for key, each in requests.items()
        }
        return ({**value, "result": {**value["result"], "inputRequests": asked}},)

    def _asked(self, request: Value) -> Value:
        return {**request, "params": self.edit(request.get("params", {}))}


def questions(method: str, edit: Callable[[Value], Value]) -> Breaks:
    """Edit the params of what is asked of the client, wherever it stands."""
    return lambda: _Edited(method, edit)


def asks_anyway(method: str, params: Value) -> Breaks:
    """Answer every call with a question (modern), whatever the client can do."""
    request = {"method": method, "params": params}
    result = {"resultType": "input_required", "inputRequests": {"what": request}}
    return takes("tools/call", result)


class _Afterwards(Fault):
    """Lets a call end otherwise once the client has answered a question of it."""

    method: str
    end: Callable[[Value], Value | None]
    _answered: bool = False
    _questions: dict[Any, str] = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if _is_retry(value):
            if (end := self.end(value)) is not None:
                self.answer(end)
            return None
        if isinstance(value, dict) and "method" not in value:
            self._answered |= self._questions.get(value.get("id")) == self.method
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "method" in value and "id" in value:
            self._questions[value["id"]] = str(value["method"])
        if not self._answered or "method" in value or self.method_of(value) != "tools/call":
            return (value,)
        end = self.end(value)
        return () if end is None else (end,)


def silent_after_answers(method: str) -> Breaks:
    """Never answer a call once the client has answered a question of this method."""
    return lambda: _Afterwards(method, lambda value: None)


def refuses_answers(method: str, code: int) -> Breaks:
    """Answer a call with an error once the client has answered a question of this method."""
    return lambda: _Afterwards(method, lambda value: messages.error(value["id"], code, "no"))


def takes_any_answer(method: str) -> Breaks:
    """Answer a call well, whatever the client has answered to a question of this method."""
    return lambda: _Afterwards(method, lambda value: messages.result(value["id"], DONE))


def _is_retry(value: Any) -> bool:
    return isinstance(value, dict) and "inputResponses" in value.get("params", {})


class _Struck(Fault):
    """Does not answer anything any more once the client has answered as it should not."""

    concerns: Callable[[Value], bool]
    _struck: bool = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict):
            answers = [value] if "method" not in value else []
            if _is_retry(value):
                found = value["params"]["inputResponses"]
                answers = [{"result": each} for each in found.values()]
            self._struck = self._struck or any(map(self.concerns, answers))
        return None if self._struck else payload


def struck_by(concerns: Callable[[Value], bool]) -> Breaks:
    """Fall silent at an answer of the client that ``concerns`` takes; its ``result``, at least."""
    return lambda: _Struck(concerns)
