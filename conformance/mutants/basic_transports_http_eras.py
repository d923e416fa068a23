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
from conformance.mutants.edits import to
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.faults import hooked
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


table.server("runs-on", "cancellation/closing-cancels").does(
    "Runs on when its client closes the stream.", hooked(cutting=to(False))
)


@table.server("cancels-by-id", "cancellation/closing-spares-others")
class _CancelsById(Fault):
    """Cancels every request that has the id of the one whose stream was closed."""

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


table.server("stream-to-get", "earlier-streamable-http-revisions/get").does(
    "Goes on opening streams on GET.",
    refuses(gets, 200, headers=[("content-type", "text/event-stream")]),
)
table.server("deletes", "earlier-streamable-http-revisions/delete").does(
    "Goes on ending sessions.", refuses(deletes, 204)
)
table.server("session-needed", "earlier-streamable-http-revisions/session-ignored").does(
    "Looks for the session that a client names.", refuses(with_header(SESSION), 404)
)
table.server("session-made", "earlier-streamable-http-revisions/no-session").does(
    "Goes on making session ids.",
    header_of(everything, SESSION, "0123456789abcdef0123456789abcdef"),
)
table.server("event-id-refused", "earlier-streamable-http-revisions/event-id-ignored").does(
    "Refuses Last-Event-ID.", refuses(with_header("last-event-id"), 400)
)
table.server("progress-by-token", "receiving-messages/equal-ids").does(
    "Sends progress to everybody who uses its token.", progress_by_token()
)
table.server("progress-on-listen", "receiving-messages/no-progress-on-listen").does(
    "Sends progress over streams of subscriptions/listen, too.",
    misdirects(of("notifications/progress"), calls("subscriptions/listen"), as_well=True),
)
table.server("changes-on-calls", "receiving-messages/no-changes-on-calls").does(
    "Sends changes over streams of calls, too.",
    misdirects(of("notifications/tools/list_changed"), calls("tools/call"), as_well=True),
)
