"""Mutants that mix up sessions of Streamable HTTP."""

from collections.abc import Callable, Iterable
from copy import copy
from typing import ClassVar

from conformance.mutants.basic_transports_streams import SESSION, message, of, progress_by_token
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import Concerns, calls, gets, notifications, responses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Head, Heard, Text, header

table = Table("basic/transports")


@table.server("leaks-progress", "session-management/streams-apart")
class _Leaks(Fault):
    """Sends the progress of one session to another one."""

    kept: ClassVar[list[tuple[Fault, Text]]] = []

    def fetching(self, asked: Asked) -> Asked | None:
        if calls("initialize")(asked):
            self.kept.clear()
        return asked

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Text) and of("notifications/progress")(message(heard)):
            self.kept.append((self, heard))
        streams = [number for number, asked in self.exchanges.items() if gets(asked)]
        foreign = [copy(text) for owner, text in self.kept if owner is not self]
        if not streams or not foreign:
            return (heard,)
        for each in foreign:
            each.exchange = streams[0]
        self.kept.clear()
        return (heard, *foreign)


class _CrossSession(Fault):
    """Takes some messages for those of the oldest session, whosever they are."""

    def __init__(self, concerns: Concerns, sessions: list[str]) -> None:
        super().__init__()
        self._concerns, self._sessions = concerns, sessions

    def head(self, head: Head) -> Head:
        if (found := header(head.headers, SESSION)) is not None:
            self._sessions.append(found)
            del self._sessions[:-2]
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if self._concerns(asked) and self._sessions:
            asked.headers = {**asked.headers, SESSION: self._sessions[0]}
        return asked


def crosses(concerns: Concerns) -> Callable[[], Fault]:
    """What concerns it counts for the oldest of the last two sessions."""
    sessions: list[str] = []
    return lambda: _CrossSession(concerns, sessions)


table.server("progress-of-other-sessions", "session-management/equal-ids").does(
    "Sends the progress of one session to another one that uses its token.", progress_by_token()
)
table.server("cancels-for-others", "session-management/cancel-own-only").does(
    "Lets any session cancel.",
    crosses(
        lambda asked: notifications(asked) and asked.value["method"] == "notifications/cancelled"
    ),
)
table.server("answers-for-others", "session-management/answer-own-only").does(
    "Lets any session answer.", crosses(responses)
)
