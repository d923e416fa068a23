"""Mutants of streams that break off and are picked up."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from typing import ClassVar

from conformance.mutants.basic_transports_streams import SESSION, is_response, message, of
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import gets, refuses, responses_to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Done, Event, Head, Heard, Text, header
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports")

LAST = "last-event-id"
_progress = of("notifications/progress")


def resumes(asked: Asked) -> bool:
    """Whether a GET picks a stream up."""
    return gets(asked) and asked.headers.get(LAST) is not None


@table.server("events-counted-by-stream", "resumability-and-redelivery/ids-unique")
class _Counts(Fault):
    """Numbers the events of each stream from 1."""

    def __init__(self) -> None:
        super().__init__()
        self._count: Counter[int] = Counter()

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, (Text, Event)) and heard.event_id:
            self._count[heard.exchange] += 1
            heard.event_id = str(self._count[heard.exchange])
        return (heard,)


class _Resumes(Fault):
    """Picks up from another event than it should."""

    def __init__(self, choose: Callable[[str, list[str]], str]) -> None:
        super().__init__()
        self._choose = choose
        self._ids: list[str] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, (Text, Event)) and heard.event_id:
            self._ids.append(heard.event_id)
        return (heard,)

    def fetching(self, asked: Asked) -> Asked | None:
        if resumes(asked) and self._ids:
            chosen = self._choose(str(asked.headers[LAST]), self._ids)
            asked.headers = {**asked.headers, LAST: chosen}
        return asked


@table.server("fails-on-unknown-ids", "resumability-and-redelivery/made-up-ids")
class _Fails(_Resumes):
    """Fails on event ids that it has not given."""

    def __init__(self) -> None:
        super().__init__(lambda wanted, ids: wanted)

    def fetching(self, asked: Asked) -> Asked | None:
        if resumes(asked) and asked.headers[LAST] not in self._ids:
            self.answer_http(500, None)
            return None
        return asked


@table.server("once-only", "resumability-and-redelivery/after-the-end")
class _Forgets(Fault):
    """Forgets a response once it was replayed."""

    _brought = False

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if not isinstance(heard, Text) or not is_response(message(heard)):
            return (heard,)
        asked = self.exchanges.get(heard.exchange)
        if asked is None or not resumes(asked):
            return (heard,)
        brought, self._brought = self._brought, True
        return () if brought else (heard,)


table.server("stays-open", "resumability-and-redelivery/after-the-end").does(
    "Does not end a stream that was picked up.",
    responses_to(resumes, other=lambda heard: () if isinstance(heard, Done) else (heard,)),
)


@table.server("of-all-sessions", "resumability-and-redelivery/no-other-session")
class _AnySession(Fault):
    """Replays to one session what belongs to another one."""

    newest: ClassVar[list[str]] = []

    def head(self, head: Head) -> Head:
        if (found := header(head.headers, SESSION)) is not None:
            self.newest[:] = [found]
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if resumes(asked):
            asked.headers = {**asked.headers, SESSION: self.newest[0]}
        return asked


def _of_another(text: Text) -> Iterable[Heard]:
    value = message(text)
    if not _progress(value):
        return (text,)
    other = copy(text)
    value["params"]["progressToken"] = "kit-1"
    other.data = encode(value)
    return (text, other)


def _cancelled(text: Text) -> Iterable[Heard]:
    value = json.loads(text.data)
    if "result" in value:
        value["result"]["isError"] = True
        text.data = encode(value)
    return (text,)


table.server("newest-stream", "resumability-and-redelivery/ids-name-their-stream").does(
    "Picks up the stream that spoke last, whatever the id.",
    lambda: _Resumes(lambda wanted, ids: ids[-1]),
)
table.server(
    "not-resumed",
    "resumability-and-redelivery/replayed",
    "resumability-and-redelivery/get-stream-resumed",
).does("Gives ids, and resumes nothing.", refuses(resumes, 405))
table.server("from-the-beginning", "resumability-and-redelivery/exactly-what-followed").does(
    "Replays a stream from its first event.", lambda: _Resumes(lambda wanted, ids: ids[0])
)
table.server("responses-only", "resumability-and-redelivery/exactly-what-followed").does(
    "Replays the response alone.",
    responses_to(resumes, text=lambda text: () if _progress(message(text)) else (text,)),
)
table.server(
    "cancelled-by-disconnect", "sending-messages-to-the-server/disconnect-is-no-cancellation"
).does(
    "Ends calls in failure when their connection is lost.", responses_to(resumes, text=_cancelled)
)
table.server("of-all-streams", "resumability-and-redelivery/no-other-stream").does(
    "Replays what belongs to other streams, too.", responses_to(resumes, text=_of_another)
)
table.server("unknown-from-the-beginning", "resumability-and-redelivery/made-up-ids").does(
    "Takes an event id that it does not know for the first.",
    lambda: _Resumes(lambda wanted, ids: wanted if wanted in ids else ids[0]),
)
