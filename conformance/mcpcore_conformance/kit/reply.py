"""Messages that were sent to a server, and their outcome."""

from typing import Any

from msgspec import UNSET, Struct

from mcpcore_conformance.kit.heard import Gone, Head, header
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.pace import Offer
from mcpcore_conformance.kit.verdicts import Broken, check

ALWAYS = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    }
)
"""Requests that fail for one reason, whatever else a case is about."""
FLOOD = 100
"""Messages in the time of an answer that are told, as reading them may have taken that time."""


class Sent(Struct):
    """A message that was sent."""

    id: Any
    """UNSET for a notification."""
    exchange: int
    method: str
    sound: bool = False
    """True for a request that can be answered by its id."""
    offer: Offer | None = None
    """Listed object that it asks for."""

    @property
    def named(self) -> str:
        """Name of the object that it asks for, or else its method."""
        return self.method if self.offer is None else self.offer[1]


class Reply(Struct):
    """Outcome of a request: a message, or nothing but a status, an end, or silence."""

    sent: Sent
    message: Message | None = None
    head: Head | None = None
    body: bytes = b""
    other_id: Any = UNSET
    """The id of an answer that has come meanwhile, and should have been the request's."""
    gone: Gone | None = None
    pending: bool = False
    """True if an answer may still come: nothing but the time has ended the wait for it."""
    among: int = 0
    """Messages that came while it was waited for."""

    @property
    def status(self) -> int | None:
        """The HTTP status, where there is one."""
        return self.head.status if self.head is not None else None

    def header(self, name: str) -> str | None:
        """A header of the response, by its name in lower case."""
        return header(self.head.headers, name) if self.head is not None else None

    @property
    def good(self) -> bool:
        """True if there is a result, be it one with ``isError``."""
        return self.message is not None and self.message.kind is Kind.RESULT

    @property
    def result(self) -> dict[str, Any]:
        """The good result; raises Broken if it is anything else."""
        if self.message is None or self.message.kind is not Kind.RESULT:
            flaw = self.sent.method if self.sent.method in ALWAYS else ""
            raise Broken(f"{self.sent.method or 'the message'} got {self}, not a result", flaw)
        return self.message.result

    @property
    def error(self) -> dict[str, Any]:
        """The JSON-RPC error; raises Broken if it is anything else."""
        return self.failed_with()

    @property
    def refused(self) -> bool:
        """An error, an HTTP status of 400 or more, or the end of the connection."""
        if self.message is not None:
            return self.message.kind is Kind.ERROR
        return self.gone is not None or (self.status or 0) >= 400

    @property
    def served(self) -> bool:
        """A good result, and none that says that it is an error."""
        found = self.message
        return found is not None and found.kind is Kind.RESULT and not found.result.get("isError")

    @property
    def silent(self) -> bool:
        """Nothing came at all, in time."""
        something = self.message or self.head or self.gone
        return something is None and self.other_id is UNSET

    def failed_with(self, *codes: int, status: int | None = None, what: str = "") -> dict[str, Any]:
        """Check that this is an error with one of these codes (and that status over HTTP).

        ``what`` got it, if it is not enough to name the method.
        """
        what = what or self.sent.method or "the message"
        if self.message is None or self.message.kind is not Kind.ERROR:
            raise Broken(f"{what} got {self}, not an error")
        error, wanted = self.message.error, " or ".join(map(str, codes))
        check(
            not codes or error["code"] in codes,
            f"{what} got the error {error['code']} ({error['message']!r}), not {wanted}",
        )
        if status is not None and self.status is not None:
            check(self.status == status, f"HTTP status {self.status}, not {status}")
        return error

    def __str__(self) -> str:
        if self.message is not None and self.message.kind is Kind.ERROR:
            return f"the error {self.message.code} ({self.message.error['message']!r})"
        if self.message is not None:
            return f"a {self.message.kind}"
        if self.gone is not None:
            return f"the end of the connection ({self.gone.reason})"
        if self.head is not None:
            kind = (self.header("content-type") or "").partition(";")[0].strip()
            if self.body and kind.lower() == "text/event-stream":
                text = self.body.decode("utf-8", "replace")
                return (
                    f"HTTP status {self.head.status} with an event stream of which {text!r:.80}"
                    " is no event: that is data:, the message, and an empty line behind it"
                )
            what = f"with {kind or 'an unknown type'}, and without" if self.body else "without"
            return f"HTTP status {self.head.status} {what} a message"
        if self.other_id is not UNSET:
            return f"no answer with its id {self.sent.id!r}, but one with the id {self.other_id!r}"
        return f"no answer among {self.among} messages" if self.among >= FLOOD else "no answer"
