"""Mutants of sessions of Streamable HTTP."""

import re
from collections.abc import Callable
from itertools import count

from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import (
    Concerns,
    calls,
    deletes,
    gets,
    header_of,
    notifications,
    pours_otherwise,
    refuses,
    requests,
    with_header,
)
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Head, header

table = Table("basic/transports")

SESSION = "mcp-session-id"
_initialize = calls("initialize")
_numbers = count(1000)


class _Trusting(Fault):
    """Takes requests that it should refuse for those of the session of this connection."""

    def __init__(self, concerns: Concerns) -> None:
        super().__init__()
        self._concerns = concerns
        self._session: str | None = None

    def head(self, head: Head) -> Head:
        self._session = header(head.headers, SESSION) or self._session
        return head

    def fetching(self, asked: Asked) -> Asked | None:
        if self._session is not None and self._concerns(asked):
            asked.headers = {**asked.headers, SESSION: self._session}
        return asked


def trusting(concerns: Concerns) -> Callable[[], Fault]:
    """What concerns it is served as if it had the id of the session."""
    return lambda: _Trusting(concerns)


table.server("ids-in-a-row", "session-management/unpredictable").does(
    "Numbers its sessions.",
    header_of(_initialize, SESSION, lambda: f"session-of-this-server-{next(_numbers)}"),
)


class _Adopts(Fault):
    """Gives the id that initialize has named."""

    def fetching(self, asked: Asked) -> Asked | None:
        if _initialize(asked):
            asked.headers = {name: each for name, each in asked.headers.items() if name != SESSION}
        return asked

    def head(self, head: Head) -> Head:
        asked = self.exchanges.get(head.exchange)
        wanted = None if asked is None or not _initialize(asked) else asked.headers.get(SESSION)
        if wanted is not None:
            kept = [each for each in head.headers if each[0] != SESSION]
            head.headers = [*kept, (SESSION, wanted)]
        return head


class _EndsAll(Fault):
    """The end of one session is that of all."""

    ended = False

    def fetching(self, asked: Asked) -> Asked | None:
        if _initialize(asked):
            _EndsAll.ended = False
        if deletes(asked):
            _EndsAll.ended = True
        elif _EndsAll.ended:
            self.answer_http(404, None)
            return None
        return asked


def _missing(asked: Asked) -> bool:
    if asked.method == "POST" and SESSION not in asked.headers:
        return False
    return asked.headers.get(SESSION) is None


def _given(asked: Asked) -> bool:
    return asked.headers.get(SESSION) is not None


def _both(one: Concerns, other: Concerns) -> Concerns:
    return lambda asked: one(asked) and other(asked)


table.server("blank-in-id", "session-management/visible-ascii").does(
    "Has blanks in its session ids.",
    header_of(_initialize, SESSION, "session 12345678901234567890"),
)
table.server("id-outside-ascii", "session-management/visible-ascii").does(
    "Has letters outside ASCII in its session ids.",
    header_of(_initialize, SESSION, "s\u00e9ance-12345678901234567890"),
)
table.server("one-id", "session-management/unpredictable").does(
    "Gives every client the same id.",
    header_of(_initialize, SESSION, "0123456789abcdef0123456789abcdef"),
)
table.server("fixation", "session-management/not-chosen-by-client").does(
    "Takes the session id that a client brings.", _Adopts
)
table.server("takeover", "session-management/initialize-spares-others").does(
    "Lets initialize take over the session that it names.", _Adopts
)
table.server("one-id-of-two", "session-management/two-ids").does(
    "Takes one of two session ids.",
    pours_otherwise(lambda data: re.sub(rb"Mcp-Session-Id: [^\r]*\r\n", b"", data)),
)
table.server("post-without-id", "session-management/missing-post").does(
    "Serves requests without session id.", trusting(_both(_missing, requests))
)
table.server("notification-without-id", "session-management/missing-notification").does(
    "Takes notifications without session id.", trusting(_both(_missing, notifications))
)
table.server("get-without-id", "session-management/missing-get").does(
    "Opens streams without session id.", trusting(_both(_missing, gets))
)
table.server("delete-without-id", "session-management/missing-delete").does(
    "Ends somebody's session on a DELETE without id.", trusting(_both(_missing, deletes))
)
table.server("post-of-any-id", "session-management/unknown-post").does(
    "Serves requests with any session id.", trusting(_both(_given, requests))
)
table.server(
    "unknown-400", "session-management/unknown-post", "session-management/unknown-get"
).does(
    "Answers the id of no session with 400.",
    refuses(lambda asked: _given(asked) and asked.method in ("GET", "POST"), 400),
)
table.server("get-of-any-id", "session-management/unknown-get").does(
    "Opens streams for any session id.", trusting(gets)
)
table.server("delete-of-any-id", "session-management/unknown-delete").does(
    "Says that it has ended sessions that never were.", refuses(deletes, 204)
)
table.server("delete-fails", "session-management/delete-ends").does(
    "Fails to end sessions.", refuses(deletes, 500)
)
table.server(
    "never-ends",
    "session-management/ended-post",
    "session-management/ended-notification",
    "session-management/ended-get",
    "session-management/ended-delete",
    "session-management/end-closes-streams",
).does("Says that it ends sessions, and does not.", refuses(deletes, 204))
table.server("ends-all", "session-management/end-spares-others").does(
    "Ends all sessions when one of them is ended.", _EndsAll
)
table.server("session-name-literally", "session-management/header-name").does(
    "Knows the session header in one notation only.", refuses(with_header("MCP-SESSION-ID"), 400)
)
