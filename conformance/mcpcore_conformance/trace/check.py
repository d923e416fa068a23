"""The linter: runs the rules over a saved trace, and names clause and line.

Nothing is found where the trace does not say enough: what was cut may have been said, and of a
race only the side that recorded can tell who was late.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import BY_NAME, LATEST, Revision
from mcpcore.trace.format import MESSAGES, TO_SERVER, Header, Record
from mcpcore_conformance.run.transcript import INCOMPLETE
from mcpcore_conformance.trace import (
    check_apps,
    check_http,
    check_lifecycle,
    check_messages,
    check_modern,
)
from mcpcore_conformance.trace import check_requests as requests
from mcpcore_conformance.trace.book import (
    KEPT,
    Asked,
    Book,
    Conversation,
    Finding,
    is_modern,
    named_revision,
    other,
    sender_of,
)
from mcpcore_conformance.trace.dialogue import Exchange, Router, Said
from mcpcore_conformance.trace.reading import Entry, LineParser, TraceFile

_INITIALIZE = "initialize"
_LINGERING = 100
"""Maximum exchanges that are remembered when they have their response."""


def check(trace: TraceFile) -> list[Finding]:
    """What is wrong in a trace, by line."""
    checker = Checker(trace.header)
    for entry in trace.entries:
        checker.look_at(entry)
    return sorted(checker.findings, key=lambda finding: finding.line)


class Checker:
    """One run over one trace, which may still be written."""

    def __init__(self, header: Header, kept: int = KEPT) -> None:
        self._router = Router(header)
        self._book = Book(header.side, kept)
        self._over: deque[tuple[Exchange, Record]] = deque()
        """Exchanges that have a response: another one may follow, to what was sent behind it."""
        self._lingering = min(kept, _LINGERING)
        self.findings = self._book.findings
        """What was found so far, in no order."""

    def look_at(self, entry: Entry) -> None:
        """Run the rules over the next record."""
        record = entry.record
        if record.kind == "note" and (record.text or "").endswith(INCOMPLETE):
            self._book.go_blind()
        if record.kind == "http-body" and record.direction == TO_SERVER:
            self._book.go_blind()  # who reads it may find in it what it answers
        if record.cut and record.kind in ("sse-comment", "sse-event"):
            self._book.go_blind()  # messages may have followed
        messages = list(self._router.follow(entry))
        exchange = self._router.exchange(record)
        if exchange is not None:
            self._http(exchange, entry)
        if messages and messages[0].batch:
            talk = self._book.conversation(messages[0])
            check_messages.check_batch(self._book, talk, messages[0], messages)
        for said in messages:
            self._said(said)
        if record.kind == "binary" and record.direction is not None:
            side = sender_of(record.direction)
            self._book.find("websocket-text", entry.line, side, "a binary frame")
        if exchange is not None and check_http.is_over(exchange, record):
            self._over.append((exchange, record))
            if len(self._over) > self._lingering:
                self._end(*self._over.popleft())

    # HTTP

    def _http(self, exchange: Exchange, entry: Entry) -> None:
        record, book = entry.record, self._book
        talk = self._talk(exchange)
        first = check_http.said_first(exchange)
        revision = check_http.revision_of(talk, exchange, first)
        if record.event == "endpoint":
            talk.piped = True
        if record.event is not None:
            check_http.check_event(book, talk, exchange, entry)
        elif record.kind == "http-request" and exchange.request is not None:
            check_http.check_other(book, talk, exchange.request, revision)
        elif record.kind == "http-response" and exchange.response is not None:
            check_http.check_response(book, talk, exchange, exchange.response, revision)
        elif record.kind == "http-end":
            check_http.check_end(book, talk, exchange, entry)
            self._end(exchange, record)

    def _end(self, exchange: Exchange, record: Record) -> None:
        """Drop an exchange, and a conversation that was nothing else."""
        if self._router.exchange(record) is exchange:
            self._router.end(record)
            self._book.end(exchange)

    def _talk(self, exchange: Exchange) -> Conversation:
        return self._book.open(exchange.key, exchange)

    # Messages

    def _said(self, said: Said) -> None:
        book = self._book
        talk = book.conversation(said)
        sender = sender_of(said.direction)
        check_messages.check_form(book, talk, said, self._router.binding(said.record.connection))
        if said.message is None and not (said.record.cut and said.kind in MESSAGES):
            return
        if said.kind == "request":
            self._request(talk, said, sender)
        elif said.kind == "notification":
            self._notification(talk, said, sender)
        elif said.kind in ("result", "error"):
            self._answer(talk, said, sender)
        talk.last[sender] = said

    def _request(self, talk: Conversation, said: Said, sender: str) -> None:
        book = self._book
        revision = self._revision(talk, said, sender)
        row = None if revision is None else lookup(said.method, sender, revision)
        if said.method == _INITIALIZE:
            row = next(
                row
                for row in (lookup(_INITIALIZE, "client", each) for each in BY_NAME.values())
                if row
            )
        asked = Asked(said, sender, revision, row)
        if said.message is None:  # it was cut: all that is known of it is its id
            talk.add(asked)
            return
        modern = revision is not None and revision.modern
        check_lifecycle.check_order(book, talk, said, modern)
        if said.method == _INITIALIZE and sender == "client":
            if talk.http and talk.initialize is not None:
                talk.used.clear()  # another session
                talk.session = ""
            check_lifecycle.begin(talk, asked)
        elif revision is not None:
            check_lifecycle.check_method(book, talk, said, revision)
        check_messages.check_new_id(book, talk, asked)
        talk.add(asked)
        if row is not None:
            requests.check_params(book, said, row, revision)
        requests.check_token(book, talk, asked)
        check_modern.check_meta(book, talk, said, revision)
        if modern and revision is not None and sender == "client":
            check_modern.check_request(book, asked, revision)
            check_modern.check_state(book, talk, asked)
        if sender == "client" and said.exchange is not None:
            check_http.check_post(book, talk, said, revision)

    def _notification(self, talk: Conversation, said: Said, sender: str) -> None:
        book = self._book
        if said.message is None:
            return
        revision = self._revision(talk, said, sender)
        modern = revision is not None and revision.modern
        check_lifecycle.check_order(book, talk, said, modern)
        row = None
        if revision is not None:
            row = check_lifecycle.check_method(book, talk, said, revision)
        if row is not None:
            requests.check_params(book, said, row, revision)
        check_modern.check_meta(book, talk, said, revision)
        if said.method == "notifications/progress":
            requests.check_progress(book, talk, said)
        elif said.method == "notifications/cancelled":
            requests.check_cancelled(book, talk, said, revision)
        if sender == "client":
            if said.exchange is not None:
                check_http.check_post(book, talk, said, revision)
            return
        check_http.check_told(book, talk, said, revision)
        if modern and revision is not None:
            check_modern.check_notification(book, talk, said, revision)

    def _answer(self, talk: Conversation, said: Said, sender: str) -> None:
        book = self._book
        asked = check_messages.check_answer(book, talk, said)
        check_messages.check_error(book, talk, said, asked)
        revision = talk.revision if asked is None else asked.revision
        if sender == "server":
            check_http.check_told(book, talk, said, revision or talk.revision)
        elif said.exchange is not None:
            check_http.check_post(book, talk, said, revision)
        modern = asked is not None and asked.revision is not None and asked.revision.modern
        if sender == "client" and (modern or self._only_modern(talk)):
            book.find("no-client-responses", said.line, sender, "a response of a client", LATEST)
        if asked is None or asked.said.message is None or said.message is None:
            return
        check_modern.listen_ended(book, said, asked)
        check_apps.check_apps(book, talk, said, asked)
        if said.kind != "result":
            return
        if asked.said.method == _INITIALIZE and sender == "server":
            if talk.initialize is asked:
                check_lifecycle.agreed(book, talk, said)
            asked.revision = talk.revision
        check_lifecycle.served_before(book, talk, said, asked)
        requests.check_result(book, said, asked)
        check_modern.check_meta(book, talk, said, asked.revision)
        asked.keeps_token = isinstance(said.result.get("task"), dict)
        if modern and sender == "server":
            check_modern.check_result(book, talk, said, asked)
        if asked.said.method == "tools/list":
            check_http.learn_tools(talk, said)
        if asked.said.method == "server/discover":
            check_lifecycle.discovered(talk, said)

    def _revision(self, talk: Conversation, said: Said, sender: str) -> Revision | None:
        """The revision by whose rules a request or a notification is to be judged."""
        if sender == "client":
            if is_modern(said, talk):
                return named_revision(said) or LATEST
            return check_http.revision_of(talk, said.exchange, None)
        exchange = said.exchange
        asked = check_http.said_first(exchange) if exchange is not None else None
        if asked is not None and is_modern(asked, talk):
            return named_revision(asked) or LATEST
        if exchange is None and self._is_about_modern(talk, said):
            return LATEST
        return check_http.revision_of(talk, exchange, None)

    def _is_about_modern(self, talk: Conversation, said: Said) -> bool:
        """Whether what a server says on a shared channel belongs to modern requests."""
        waiting = talk.waiting(other(sender_of(said.direction)))
        modern = [asked for asked in waiting if asked.revision and asked.revision.modern]
        return bool(modern) and (talk.initialize is None or len(modern) == len(waiting))

    def _only_modern(self, talk: Conversation) -> bool:
        return talk.initialize is None and any(
            asked.revision is not None and asked.revision.modern for asked in talk.requests.values()
        )


class LineChecker:
    """Run over the lines of a trace as they come, for as long as they do.

    ``kept``: settled requests that it remembers, of all conversations together.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.counts: dict[str, int] = {}
        """What was found so far, by strength."""
        self.records = 0
        self._kept = kept
        self._parser = LineParser()
        self._checker: Checker | None = None

    def take(self, line: bytes) -> list[Finding]:
        """Run the rules over the next line; return what is found now.  Raises BadTrace."""
        entry = self._parser.take(line)
        if self._checker is None and self._parser.header is not None:
            self._checker = Checker(self._parser.header, self._kept)
        if self._checker is None or entry is None:
            return []
        self.records += 1
        self._checker.look_at(entry)
        new, self._checker.findings[:] = list(self._checker.findings), []
        for strength, count in summary(new).items():
            self.counts[strength] = self.counts.get(strength, 0) + count
        return new


def shown(file: str, finding: Finding) -> str:
    """Return the text of a finding: where it is, its strength and clause, and what is wrong."""
    revision = f" [{finding.revision}]" if finding.revision else ""
    return (
        f"{file}:{finding.line}: {finding.strength} {finding.clause}{revision}\n"
        f"  {finding.rule}: the {finding.side}: {finding.detail}"
    )


def total(records: int, counts: Mapping[str, int]) -> str:
    """Return the text of what was found in all."""
    kinds = [f"{counts[name]} {name}" for name in ("MUST", "SHOULD") if name in counts]
    return f"{records} records, {', '.join(kinds) or 'nothing found'}"


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each strength."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.strength] = counts.get(finding.strength, 0) + 1
    return counts
