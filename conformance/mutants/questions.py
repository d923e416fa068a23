"""Makers of faults in what a server asks of its client, in both eras."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.kit import messages
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import instead, takes


class _Edited(Fault):
    def __init__(self, method: str, edit: Callable[[Value], Value]) -> None:
        super().__init__()
        self._method, self._edit = method, edit

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") == self._method:
            return (self._asked(value),)
        requests = value.get("result", {}).get("inputRequests")
        if not isinstance(requests, dict):
            return (value,)
        asked = {
            key: self._asked(each) if each.get("method") == self._method else each
            for key, each in requests.items()
        }
        return ({**value, "result": {**value["result"], "inputRequests": asked}},)

    def _asked(self, request: Value) -> Value:
        return {**request, "params": self._edit(request.get("params", {}))}


def questions(method: str, edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the params of what is asked of the client, wherever it stands."""
    return lambda: _Edited(method, edit)


def asks_anyway(method: str, params: Value) -> Callable[[], Fault]:
    """Answer every call with a question (modern), whatever the client can do."""
    request = {"method": method, "params": params}
    result = {"resultType": "input_required", "inputRequests": {"what": request}}
    return takes("tools/call", result)


def silent_after_answers() -> Callable[[], Fault]:
    """Never answer a call whose retry brings answers (modern)."""
    return instead(_is_retry, lambda value: None)


def refuses_answers(code: int) -> Callable[[], Fault]:
    """Answer a retry with an error (modern)."""
    return instead(_is_retry, lambda value: messages.error(value["id"], code, "no"))


def _is_retry(value: Any) -> bool:
    return isinstance(value, dict) and "inputResponses" in value.get("params", {})


class _Struck(Fault):
    """Does not answer anything any more once the client has answered as it should not."""

    def __init__(self, concerns: Callable[[Value], bool]) -> None:
        super().__init__()
        self._concerns, self._struck = concerns, False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict):
            answer = "method" not in value and self._concerns(value)
            self._struck = self._struck or answer or (_is_retry(value) and self._concerns(value))
        return None if self._struck else payload


def struck_by(concerns: Callable[[Value], bool]) -> Callable[[], Fault]:
    """Fall silent at an answer of the client that ``concerns`` takes."""
    return lambda: _Struck(concerns)
