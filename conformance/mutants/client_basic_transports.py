"""Mutants of clients for the page basic/transports."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.client_faults import (
    also_asks,
    header,
    heads,
    never_says,
    once,
    posts_to,
    reports,
    with_header,
    without_header,
)
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival, Asked, Ended
from mcpcore_conformance.kit.heard import header as header_of

table = Table("basic/transports")


table.client("ignores-endpoint", "http-with-sse/client-posts-to-endpoint").does(
    "Posts to another address than that of the endpoint event.", posts_to("/sse")
)


@table.client("posts-anywhere", "security-warning/client-foreign-endpoint")
class _PostsAnywhere(ClientFault):
    """Posts to an endpoint of another origin."""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        made: list[Any] = [asked]
        if asked.method == "GET":
            made.append(Asked(-1000 - asked.exchange, "POST", "/messages", asked.headers))
        return made


class _FailsOn405(ClientFault):
    """Takes a 405 for a failure."""

    _seen = False

    def replied(self, status: int) -> None:
        self._seen = self._seen or status == 405

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return (Ended(1),) if isinstance(arrival, Ended) and self._seen else (arrival,)


@table.client("impatient", "sending-messages-to-the-server/client-retry")
class _Impatient(ClientFault):
    """Comes back at once."""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if header_of(asked.headers, "last-event-id") is not None:
            asked.at -= 0.5
        return (asked,)


def _never(method: str) -> Any:
    return heads(lambda asked: () if asked.method == method else (asked,))


table.client("tidies-session", "session-management/client-sends-session").does(
    "Takes what follows a semicolon off the id of the session.",
    header("mcp-session-id", lambda value: value.partition(";")[0]),
)
table.client("session-in-posts-only", "session-management/client-sends-session").does(
    "Sends the id of the session with messages only.", without_header("mcp-session-id", "GET")
)
table.client("invents-session", "session-management/client-without-session").does(
    "Makes up a session.", with_header("mcp-session-id", "mine")
)
table.client("loses-heart", "session-management/client-initializes-again").does(
    "Does not begin a new session.", once("initialize", to(None))
)
table.client("expects-no-stream", "session-management/client-initializes-again-by-get").does(
    "Takes a 404 to its GET for the word that there is no stream.", once("initialize", to(None))
)
table.client(
    "keeps-session",
    "session-management/client-initializes-again",
    "session-management/client-initializes-again-by-get",
).does(
    "Begins a new session with the id of the old one.",
    with_header("mcp-session-id", "kit-session-1", "POST"),
)
table.client("leaves", "session-management/client-deletes").does(
    "Never ends a session.", _never("DELETE")
)
table.client("deletes-twice", "session-management/client-deletes").does(
    "Ends its session early, too.", also_asks("DELETE", "/mcp", mcp_session_id="kit-session-1")
)
table.client("needs-delete", "session-management/client-delete-refused").does(
    "Takes it for a failure if a session cannot be ended.", _FailsOn405
)
table.client("needs-get", "listening-for-messages-from-the-server/client-takes-405").does(
    "Takes it for a failure if there is no stream for GET.", _FailsOn405
)
table.client("no-version", "protocol-version-header/client-sends-version").does(
    "Names no version.", without_header("mcp-protocol-version")
)
table.client("no-version-by-get", "protocol-version-header/client-sends-version").does(
    "Names no version when it listens.", without_header("mcp-protocol-version", "GET")
)
table.client("accepts-anything", "listening-for-messages-from-the-server/client-accept").does(
    "Says of its GET that anything will do.", header("accept", lambda value: "*/*", "GET")
)
table.client("deaf", "listening-for-messages-from-the-server/client-hears").does(
    "Does not answer what comes by GET.", never_says("ping")
)
table.client(
    "does-not-resume",
    "resumability-and-redelivery/client-resumes",
    "resumability-and-redelivery/client-resumes-again",
).does("Never comes back to a stream.", _never("GET"))
table.client(
    "first-event",
    "resumability-and-redelivery/client-resumes",
    "resumability-and-redelivery/client-resumes-again",
).does(
    "Comes back after the first event that it had.",
    header("last-event-id", lambda value: value.replace("2", "1")),
)
table.client("hopes", "resumability-and-redelivery/client-gives-up").does(
    "Takes a stream that could not be resumed for an empty answer.",
    reports(0, {"result": {"content": []}}),
)
table.client("takes-twice", "resumability-and-redelivery/client-one-answer").does(
    "Takes an answer that it had for the next one.",
    reports(1, {"result": {"content": [{"type": "text", "text": "resumed"}]}}),
)
