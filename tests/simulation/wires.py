"""Rules of the wire, held from every byte that leaves a machine.

Nothing here is shared with the machines: lines are cut at newlines, event streams at empty lines,
and texts are read with ``json``.
"""

import json
from typing import Any

from mcpcore.engine.events import RequestEnded
from mcpcore.http.messages import HttpHead, HttpSend
from tests.simulation.accounts import Accounts
from tests.simulation.cancelling import GIVEN_UP, GivenUp, called_off
from tests.simulation.rules import demand

SESSION_IDLE, SESSION_UNUSED = 300.0, 60.0
"""Seconds that a session is kept after it was used last, or if it never is, in most runs."""
_TOLD = 30.0
"""Seconds in which a store is told once that a session is in use; which may have failed."""
_HANDSHAKE = "initialize", "notifications/initialized"
_STATUSES = frozenset({200, 202, 204, 400, 404, 405, 406, 409, 410, 503})


class Lines:
    """What both ends of a connection with newlines have sent."""

    def __init__(self, books: Accounts, place: Any, client: int) -> None:
        self._books = books
        self._place = place
        self._client = client
        self._asked: list[set[Any]] = [set(), set()]
        """By side (0: the client), the ids that it used."""
        self._answered: list[set[Any]] = [set(), set()]
        self._given_up = GivenUp(), GivenUp()
        """By side."""
        self._batches: dict[Any, set[Any]] = {}
        """By request: all those of the batch in which the client has sent it."""
        self._called_off: set[Any] = set()
        """Requests that the client has called off."""

    def together(self, messages: list[bytes]) -> None:
        """The client's messages leave in one batch."""
        asked = {json.loads(message).get("id") for message in messages} - {None}
        self._batches.update(dict.fromkeys(asked, asked))

    def sent(self, side: int, data: bytes) -> None:
        """Something has left one side: whole lines."""
        demand(data.endswith(b"\n"), "what leaves is whole lines", data[-50:])
        for line in data.split(b"\n")[:-1]:
            message = json.loads(line)
            messages = message if isinstance(message, list) else [message]
            for each in messages:
                self._message(side, each)
            if side == 1:
                self._in_one(messages)

    def _in_one(self, messages: list[Any]) -> None:
        """What a batch has asked is answered in one as well, but for what was called off."""
        for message in messages:
            batch = set() if "method" in message else self._batches.get(message.get("id"), set())
            told = {each.get("id") for each in messages}
            whole = told == batch - (self._called_off - told)
            demand(not batch or whole, "a batch is answered by one", told, batch)

    def _message(self, side: int, message: Any) -> None:
        demand(message["jsonrpc"] == "2.0", "a message is JSON-RPC", message)
        if "method" in message:
            if "id" in message:
                demand(message["id"] not in self._asked[side], "an id is used once", message)
                self._asked[side].add(message["id"])
                if side == 0:
                    self._books.sent(self._client, message["id"])
            elif message["method"] == "notifications/cancelled":
                id = message["params"]["requestId"]
                known = id in self._asked[side] or id in self._asked[1 - side]
                demand(known, "what is cancelled was asked for", message)
                if side == 0:
                    self._called_off.add(id)
                self._given_up[side].said(id)
        elif message.get("id") is not None:
            id = message["id"]
            demand(id in self._asked[1 - side], "an answer is for a request", message)
            demand(id not in self._answered[side], "one answer a request", message)
            self._answered[side].add(id)
        if side == 1:
            self._books.seen(message, self._place, at_once=True)
            self._books.common.sent(self._client, self._place, message)

    def gave_up(self, side: int, event: RequestEnded) -> None:
        """A side was told the end of a request of its own: if it was sent, that is said."""
        if event.reason in GIVEN_UP and event.request in self._asked[side]:
            self._given_up[side].owes(event.request)

    def said_all(self, side: int) -> None:
        """A side has nothing more to say for now."""
        self._given_up[side].settled()


class Streams:
    """What is known of the event streams of all sessions: which ids were given on which."""

    def __init__(self) -> None:
        self.idle = SESSION_IDLE
        """Seconds that a session is kept after it was used last."""
        self.of: dict[str, tuple[Any, str]] = {}
        """By event id: the stream that it is of, and what it says."""
        self.standing: set[Any] = set()
        """Those that were asked for by themselves, for what belongs to no request."""
        self.place: dict[str, int] = {}
        """By event id: how much of its stream a client has that was given it."""
        self.sent: dict[Any, int] = {}
        """By stream: how many events that say something were ever sent on it."""
        self.given: dict[int, set[str]] = {}
        """By client: the sessions that were opened for it."""
        self.confirmed: set[str | None] = set()
        """Sessions of which the server has heard that their clients are ready."""
        self.until: dict[str, float] = {}
        """By session that lives: until then it is kept, by the clock of its server."""
        self.used: dict[str, float] = {}
        """By session: when that began, by the true time."""
        self.pipes: dict[str, int] = {}
        """HTTP+SSE: the exchange of a session."""


def _last_word(message: Any) -> bool:
    """It says that the session has ended, in which nobody can ask for anything any more."""
    return "session has ended" in message.get("error", {}).get("message", "")


class Exchange:
    """What was sent in one HTTP exchange, and what came back."""

    def __init__(
        self, books: Accounts, streams: Streams, client: int, plan: HttpSend, route: int
    ) -> None:
        self._books = books
        self._streams = streams
        self._client = client
        self._piped = False
        self._ask: Any = None
        fields = {name.decode(): value.decode() for name, value in plan.headers}
        self.stream: Any = route
        """What stands for the stream that it carries: the exchange that began it."""
        cursor = fields.get("last-event-id")
        if cursor:
            demand(cursor in streams.of, "a client asks for what it was given", cursor)
            self.stream = streams.of[cursor][0]
        self.cursor = cursor
        """The last event of it that its client says it has."""
        self._had = streams.place[cursor] if cursor else 0
        """How much of the stream its client has, once it has got what was sent."""
        session = fields.get("mcp-session-id")
        piped = plan.target.partition("session_id=")[2]
        self.session: str | None = session or piped or None
        if session is not None:
            own = session in streams.given.get(client, ())
            demand(own, "no message on a foreign session", client, session)
        self.request: Any = None
        """The id of the request that it brings."""
        self._method = plan.method
        self.listens = plan.method == "GET"
        if self.listens and not cursor:
            streams.standing.add(route)
        self._asked: str | None = None
        self._whole = False
        self._kept: float | None = None
        """Until then its session was to be kept when it began."""
        self.calls_off: list[Any] = []
        """The requests that it calls off."""
        if plan.method == "POST":
            self._ask = json.loads(plan.body)
            self.calls_off = called_off(plan.body)
            if "method" in self._ask:
                self._asked = self._ask["method"]
                self.request = self._ask.get("id")
        self._status = 0
        self._events = False
        self._numbered = False
        """Its events have ids."""
        self._body = b""
        self._over = False

    @property
    def awaits(self) -> bool:
        """It brings a request whose answer may take its time."""
        return self.request is not None and self._asked not in _HANDSHAKE

    def used(self, now: float, *, whole: bool = False, over: bool = False) -> None:
        """A part of the request has arrived, or its exchange is ``over``.

        Once it is ``whole`` its session is in use.
        """
        self._whole = self._whole or whole
        until, session = self._streams.until, self.session
        if session is None or session not in until:
            return
        if not over and self._kept is None:
            self._kept = until[session]
        if self._method == "DELETE" or now >= until[session]:
            del until[session]  # as a clock jumps
        elif self._whole and self._asked not in _HANDSHAKE:
            time = self._books.world.time
            if not self._books.excuses.store(time - _TOLD, time):
                until[session] = max(until[session], now + self._streams.idle)
                self._streams.used[session] = time

    def _gone(self, now: float) -> None:
        """A session is not known: it has ended, or nobody has used it for too long."""
        if self._kept is not None and self.session in self._streams.until:
            used, time = self._streams.used[self.session], self._books.world.time
            late = now + self._books.excuses.wrong(used - _TOLD, time)
            demand(late >= self._kept, "a session is kept", self.session, self._kept, now)
            del self._streams.until[self.session]

    def head(self, head: HttpHead, client: int, now: float) -> None:
        """The head of the response has left the server."""
        demand(not self._status, "a response has one head")
        self._status = head.status
        demand(head.status in _STATUSES, "a status that is expected", head.status)
        if head.status == 404:
            self._gone(now)
        if self.stream in self._streams.standing:
            self._books.common.stream(self.session, head.status, again=self.cursor is not None)
        if head.status == 202 and self._asked == "notifications/initialized":
            self._streams.confirmed.add(self.session)
        fields = {name.decode(): value.decode() for name, value in head.headers}
        self._events = fields.get("content-type", "").startswith("text/event-stream")
        session = fields.get("mcp-session-id")
        if session is not None:
            new = all(session not in given for given in self._streams.given.values())
            demand(new, "a session is opened for one client", session)
            self._streams.given.setdefault(client, set()).add(session)
            self._streams.until[session] = now + min(SESSION_UNUSED, self._streams.idle)
            self._streams.used[session] = self._books.world.time

    def data(self, data: bytes) -> None:
        """A part of the body has left the server."""
        demand(self._status > 0, "the head comes first")
        self._body += data
        if self._events:
            *blocks, self._body = self._body.split(b"\n\n")
            for block in blocks:
                self._event(block)

    def end(self) -> None:
        """The response is complete."""
        if not self._events and self._body:
            message = json.loads(self._body)
            for each in message if isinstance(message, list) else [message]:
                self._message(each, again=False)

    def _event(self, block: bytes) -> None:
        id, data, kind = None, [], "message"
        for line in block.decode().split("\n"):
            name, _, value = line.partition(": ")
            if name == "id":
                id = value
            elif name == "data":
                data.append(value)
            elif name == "event":
                kind = value
        text = "\n".join(data)
        if kind == "endpoint":
            self._piped = True
            self._streams.pipes[text.partition("session_id=")[2]] = self.stream
            return
        again = False
        if id is None:
            named = not text or not self._numbered or _last_word(json.loads(text))
            demand(named, "every message on a stream with ids has one", self.stream, text)
        else:
            self._numbered = True
            known = self._streams.of.get(id)
            again = known is not None and known[1] == text
            if known is not None:
                same = known[0] == self.stream and (not text or known[1] in ("", text))
                demand(same, "an event id is of one event", id, known, self.stream, text)
            if known is None or text:
                self._streams.of[id] = self.stream, text
            self._follow(id, text, again=again)
        if text:
            self._message(json.loads(text), again=again)

    def _follow(self, id: str, text: str, *, again: bool) -> None:
        """Whoever comes back to a stream is sent all that followed, whatever was lost."""
        streams = self._streams
        if text:
            sent = streams.sent.get(self.stream, 0)
            next = streams.place[id] - 1 if again else sent
            demand(self._had == next, "no event of a stream is left out", id, self._had, next)
            self._had += 1
            streams.sent[self.stream] = max(sent, self._had)
        streams.place[id] = self._had

    def _message(self, message: Any, *, again: bool) -> None:
        demand(message["jsonrpc"] == "2.0", "a message is JSON-RPC", message)
        tag = self._books.seen(message, self.stream, again=again)
        if tag is not None:
            run = self._books.runs[tag.run]
            own = run.client == self._client
            demand(own, "no message on a foreign stream", self._client, run.client, message)
        place = self.session or self.stream
        self._books.common.sent(self._client, place, message, again=again)
        if self._piped or "method" in message:
            return
        demand(not self._over, "one answer an exchange", message)
        self._over = True
        if self._ask is not None and message.get("id") is not None:
            fits = message["id"] == self._ask.get("id")
            demand(fits, "an answer has the id of its request", message, self._ask)
