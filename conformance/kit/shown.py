"""What a server shows when what it offers is tried: what asks its client, and what becomes a task.

Cases about questions and tasks take a tool of the fixture where there is one, as they know what it
does; where there is none they take what was found.
"""

from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, field

from conformance.kit.usable import members

if TYPE_CHECKING:
    from conformance.kit.link import Link
    from conformance.kit.reply import Sent

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
"""What a case may need that is found out by trying (``found:NAME`` in its needs)."""
_WHAT = {CALL: "the tool", PROMPT: "the prompt", READ: "the resource"}
_ASKED = {"sampling": "sampling/createMessage", "roots": "roots/list"}
ELICITATION = "elicitation/create"


Kind = tuple[str, str]
"""What a question is for: its method, and by which mode the user is asked."""


def kind_of(question: dict[str, Any]) -> Kind:
    """What a question is for."""
    return str(question.get("method")), str(members(question.get("params")).get("mode", "form"))


class Asker(Struct, frozen=True):
    """A request that a server answers by asking its client for something."""

    method: str
    params: dict[str, Any]
    questions: tuple[dict[str, Any], ...] = ()
    """The requests that came."""
    state: bool = False
    """Whether a ``requestState`` came with them."""
    wire: bool = False
    """Whether they came as requests of the server's own."""
    known: bool = False
    """Whether it is one of the fixture: what it does is known."""

    @property
    def name(self) -> str:
        """The name, or the URI, by which it is asked for."""
        return str(self.params.get("uri" if self.method == READ else "name"))

    @property
    def kinds(self) -> set[Kind]:
        """What its questions are for."""
        return set(map(kind_of, self.questions))

    async def begin(self, link: "Link") -> "Sent":
        """Make the request, and do not wait."""
        return await link.send(self.method, self.params)

    def __str__(self) -> str:
        return f"{_WHAT[self.method]} {self.name}"

    def besides(self, method: str) -> dict[str, Any]:
        """What a client has to declare for the questions of all other methods."""
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
        """Whether it is what a case needs: one of ``FOUND``."""
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
    """Whether it is one of the fixture: what it does is known."""
    end: str = ""
    """The status with which a task of it has ended in time; empty: it was not seen to end."""
    questions: int = 0
    """How many things a task of it has asked for at once."""

    def __str__(self) -> str:
        return self.name


class Shown(Struct):
    """What was found; empty as long as nobody wanted to know."""

    askers: list[Asker] = field(default_factory=list)
    taskers: list[Tasker] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """What was left alone as it took long, in words."""
    looked: set[str] = field(default_factory=set)
    """Of what it was seen to the end: ``askers``, ``taskers``."""
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Who is looking; others wait, and take what was found."""
