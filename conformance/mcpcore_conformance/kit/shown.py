"""Offers of a server that were tried: those that ask their client, and those that become tasks.

Cases about questions and tasks take a tool of the fixture where there is one, as they know what it
does; where there is none they take what was found.
"""

from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, field

from mcpcore_conformance.kit.usable import members

if TYPE_CHECKING:
    from mcpcore_conformance.kit.link import Link
    from mcpcore_conformance.kit.reply import Sent

CALL, PROMPT, READ = "tools/call", "prompts/get", "resources/read"
FOUND = {
    "input": "what answers that input is required",
    "state": "what does so with a requestState",
    "elicitation": "what asks the user by a form",
    "url": "what asks the user to visit a page",
    "sampling": "what asks for a sample of a model",
    "roots": "what asks for the roots",
    "question": "what asks for any of that",
    "task": "a tool whose calls may be tasks",
}
"""Needs of a case that are found by trying (``found:NAME`` in its needs)."""
_WHAT = {CALL: "the tool", PROMPT: "the prompt", READ: "the resource"}
_ASKED = {"sampling": "sampling/createMessage", "roots": "roots/list"}
ELICITATION = "elicitation/create"


Kind = tuple[str, str]
"""Kind of a question: its method, and the mode by which the user is asked."""


def kind_of(question: dict[str, Any]) -> Kind:
    """Return the kind of a question."""
    return str(question.get("method")), str(members(question.get("params")).get("mode", "form"))


class Asker(Struct, frozen=True):
    """A request that a server answers by asking its client for something."""

    method: str
    params: dict[str, Any]
    questions: tuple[dict[str, Any], ...] = ()
    """The requests that came."""
    state: bool = False
    """True if a ``requestState`` came with them."""
    wire: bool = False
    """True if they came as requests of the server's own."""
    known: bool = False
    """True for one of the fixture, whose behaviour is known."""

    @property
    def name(self) -> str:
        """The name, or the URI, by which it is asked for."""
        return str(self.params.get("uri" if self.method == READ else "name"))

    @property
    def kinds(self) -> set[Kind]:
        """Kinds of its questions."""
        return set(map(kind_of, self.questions))

    async def begin(self, link: "Link") -> "Sent":
        """Make the request, and do not wait."""
        return await link.send(self.method, self.params)

    def __str__(self) -> str:
        return f"{_WHAT[self.method]} {self.name}"

    def besides(self, method: str) -> dict[str, Any]:
        """Return the capabilities that a client needs for the questions of all other methods."""
        found: dict[str, Any] = {}
        for each in self.questions:
            if each.get("method") == method:
                continue
            for capability, other in _ASKED.items():
                if each.get("method") == other:
                    found[capability] = {}
            if each.get("method") == ELICITATION:
                found["elicitation"] = {"form": {}, "url": {}} if self.gives("url") else {}
        return found

    def gives(self, what: str) -> bool:
        """Return True if it has the property that a case needs: one of ``FOUND``."""
        if what == "question":
            return True
        if what in ("input", "state"):
            return not self.wire and (what == "input" or self.state)
        if what in _ASKED:
            return any(each.get("method") == _ASKED[what] for each in self.questions)
        modes = [
            each["params"].get("mode", "form")
            for each in self.questions
            if each.get("method") == ELICITATION and isinstance(each.get("params"), dict)
        ]
        return ("url" if what == "url" else "form") in modes


class Tasker(Struct, frozen=True):
    """A tool whose calls become tasks, or may be made to."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    known: bool = False
    """True for one of the fixture, whose behaviour is known."""
    end: str = ""
    """The status with which a task of it has ended in time; empty: it was not seen to end."""
    questions: int = 0
    """Number of inputs that a task of it has asked for at once."""

    def __str__(self) -> str:
        return self.name


class Shown(Struct):
    """Offers that were found; empty as long as no case needed them."""

    askers: list[Asker] = field(default_factory=list)
    taskers: list[Tasker] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Offers that were left alone as they took long, in words."""
    looked: set[str] = field(default_factory=set)
    """Of what it was seen to the end: ``askers``, ``taskers``."""
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Lock of the case that is looking; others wait, and take the result."""
