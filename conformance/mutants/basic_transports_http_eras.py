"""Mutants of closing, and of what older revisions had, over Streamable HTTP."""

from collections.abc import Iterable
from typing import Any, ClassVar

from conformance.mutants.basic_transports_streams import (
    is_response,
    message,
    misdirects,
    of,
    progress_by_token,
)
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import (
    calls,
    deletes,
    everything,
    gets,
    header_of,
    refuses,
    requests,
    with_header,
)
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Heard

table = Table("basic/transports/streamable-http")

SESSION = "mcp-session-id"


class _Oblivious(Fault):
    def cutting(self, exchange: int) -> bool:
        return False


class _CancelsById(Fault):
    """Forgets all calls with the id of one that was cancelled."""

    gone: ClassVar[set[Any]] = set()

    def fetching(self, asked: Asked) -> Asked | None:
        if requests(asked):
            self.gone.discard(asked.value["id"])
        return asked

    def cutting(self, exchange: int) -> bool:
        asked = self.exchanges.get(exchange)
        if asked is not None and requests(asked):
            self.gone.add(asked.value["id"])
        return True

    def heard(self, heard: Heard) -> Iterable[Heard]:
        value = message(heard)
        return () if is_response(value) and value.get("id") in self.gone else (heard,)


table.add(
    "stream-to-get",
    "earlier-streamable-http-revisions/get",
    "Goes on opening streams on GET.",
    refuses(gets, 200, headers=[("content-type", "text/event-stream")]),
)
table.add(
    "deletes",
    "earlier-streamable-http-revisions/delete",
    "Goes on ending sessions.",
    refuses(deletes, 204),
)
table.add(
    "session-needed",
    "earlier-streamable-http-revisions/session-ignored",
    "Looks for the session that a client names.",
    refuses(with_header(SESSION), 404),
)
table.add(
    "session-made",
    "earlier-streamable-http-revisions/no-session",
    "Goes on making session ids.",
    header_of(everything, SESSION, "0123456789abcdef0123456789abcdef"),
)
table.add(
    "event-id-refused",
    "earlier-streamable-http-revisions/event-id-ignored",
    "Refuses Last-Event-ID.",
    refuses(with_header("last-event-id"), 400),
)
table.add(
    "runs-on",
    "cancellation/closing-cancels",
    "Runs on when its client closes the stream.",
    _Oblivious,
)
table.add(
    "cancels-by-id",
    "cancellation/closing-spares-others",
    "Cancels every request that has the id of the one whose stream was closed.",
    _CancelsById,
)
table.add(
    "progress-by-token",
    "receiving-messages/equal-ids",
    "Sends progress to everybody who uses its token.",
    progress_by_token(),
)
table.add(
    "progress-on-listen",
    "receiving-messages/no-progress-on-listen",
    "Sends progress over streams of subscriptions/listen, too.",
    misdirects(of("notifications/progress"), calls("subscriptions/listen"), as_well=True),
)
table.add(
    "changes-on-calls",
    "receiving-messages/no-changes-on-calls",
    "Sends changes over streams of calls, too.",
    misdirects(of("notifications/tools/list_changed"), calls("tools/call"), as_well=True),
)
