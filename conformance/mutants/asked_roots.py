"""Mutants of the page client/roots, as a server has to follow it."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.edits import put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.model import Table
from conformance.mutants.questions import asks_anyway, questions, refuses_answers, struck_by
from mcpcore_conformance.kit import messages

table = Table("client/roots")

METHOD = "roots/list"


@table.server("remembers-roots", "implementation-guidelines/changes-handled")
class _Remembering(Fault):
    """Does not hear that roots have changed."""

    _known: Any = None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        self._known = self._known or value["result"]
        return (messages.result(value["id"], self._known),)


table.server("wanted-roots", "listing-roots/shape").does(
    "Says which roots it wants.", questions(METHOD, put(uri="file:///"))
)
table.server("meta-in-words", "listing-roots/shape").does(
    "Has a text for _meta.", questions(METHOD, lambda params: {"_meta": "please"})
)
table.server("asks-anyway", "implementation-guidelines/declared-only").does(
    "Asks every client.", asks_anyway(METHOD, {})
)
table.server("refuses-roots", "listing-roots/answer-used").does(
    "Does not take what the client answers.", refuses_answers(METHOD, -32602)
)
table.server("struck-by-no-roots", "listing-roots/answer-used").does(
    "Falls silent if there are no roots.",
    struck_by(lambda answer: answer.get("result") == {"roots": []}),
)
table.server("struck-by-error", "error-handling/client-error").does(
    "Falls silent when the client fails.", struck_by(lambda answer: "error" in answer)
)
table.server("struck-by-roots", "security-considerations/malformed-roots").does(
    "Falls silent at a root whose URI is a number.", struck_by(lambda answer: "17" in repr(answer))
)
