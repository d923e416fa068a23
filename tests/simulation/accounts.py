"""What was asked, made, sent and heard, and the rules that all of it has to keep.

The books are kept apart from the machines: from what applications do and are told, and from the
bytes on the wires, which are read here with ``json`` alone.
"""

import json
from typing import Any

from msgspec import Raw

from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    Event,
    InputRequired,
    NotificationReceived,
    ProgressReceived,
    RequestEnded,
    ResultReceived,
    SubscriptionNotification,
)
from tests.simulation.work import TEXTS
from tests.simulation.world import World

_UPDATED = "notifications/resources/updated"
_LISTED = "notifications/tools/list_changed"
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_URIS = "resourceSubscriptions"
MADE = "acme/made"
"""In the ``_meta`` of an update of a resource: its number among all of them."""
PATIENCE = 5.0
"""Seconds that a question may stay without an answer, or a report."""
ACTIVE, CANCELLED, ANSWERED, DEAD = "active", "cancelled", "answered", "dead"


_MOST_TRIES = 2
"""So often is a request sent, at most: once more after its connection or session was lost."""


class BreachError(AssertionError):
    """A rule was broken."""


def demand(holds: bool, rule: str, *what: Any) -> None:
    """Raise BreachError unless a rule holds."""
    if not holds:
        raise BreachError(": ".join([rule, *map(str, what)]))


class Ask:
    """A request of a client, by a number of its own that travels with it."""

    def __init__(self, number: int, kind: str, due: float | None, *, repeat: bool) -> None:
        self.number = number
        self.kind = kind
        self.due = due
        """When it must have ended at the latest, by the clock of its client."""
        self.repeat = repeat
        self.id: Any = None
        """On the wire; another one after each round of input."""
        self.earliest: float | None = None
        """Before that it cannot have timed out."""
        self.tries = 0
        """How often it was sent in its round."""
        self.acknowledged = False
        """It is a listen stream that its server has opened."""
        self.ended: str | None = None
        self.wanted: str | None = None
        """What has to become of it, if that is known."""


class Run:
    """One time that a server worked on a request."""

    def __init__(self, number: int, client: int, ask: int, id: Any, place: Any) -> None:
        self.number = number
        self.client = client
        self.ask = ask
        self.id = id
        self.place = place
        """The connection (lines), or the exchange (HTTP), that brought it."""
        self.made = 0
        """How much was told for it; each piece is numbered."""
        self.sent = 0
        """How much of that was seen on the wire."""
        self.heard = 0
        self.latest = [0, 0]
        """The progress that was sent, and heard, last: where limits are low it takes the place of
        what was told before, and so overtakes what was told in between."""
        self.state = ACTIVE
        self.machine: Any = None
        """What worked on it."""
        self.evicted = False
        """Its session has ended while it was worked on, by no wish of its client."""
        self.answer: Any = None
        """Where the answer was seen on the wire."""


class Question:
    """A request of a server to its client."""

    def __init__(self, tag: str, now: float, time: float) -> None:
        self.tag = tag
        self.earliest = now + PATIENCE
        """Before that, by the clock of its server, it cannot have timed out."""
        self.due = time + PATIENCE
        """When it must have ended at the latest, if no clock jumps."""
        self.heard = 0.0
        """The progress that was heard of last."""
        self.ended: str | None = None


class Tag:
    """What a message says of itself: what it is, for which run, and which piece."""

    __slots__ = ("kind", "piece", "run")

    def __init__(self, kind: str, run: int, piece: int) -> None:
        self.kind = kind
        self.run = run
        self.piece = piece


def tag_of(message: Any) -> Tag | None:
    """Read the tag of a message of a server; None where it has none."""
    method = message.get("method")
    if method == "notifications/progress":
        run, piece = message["params"]["message"].split(":")
        return Tag("progress", int(run), int(piece))
    if method in ("notifications/message", "notifications/x"):
        data = message["params"]
        data = data.get("data", data)  # a text is a log message of the engine's own
        told = isinstance(data, dict) and "r" in data
        return Tag("note", data["r"], data["s"]) if told else None
    if method is not None:
        tag = question_of(message.get("params") or {}) if "id" in message else None
        return None if tag is None else Tag("ask", int(tag.split(":")[0]), 0)
    if "error" in message:
        return error_tag(message["error"].get("data"))
    return result_tag(message["result"])


def error_tag(data: Any) -> Tag | None:
    """Read the tag of what an error brings; None for errors that the engine makes."""
    if isinstance(data, Raw):
        data = json.loads(bytes(data))
    ours = isinstance(data, dict) and "made" in data
    return Tag("answer", data["r"], data["made"]) if ours else None


def result_tag(result: Any) -> Tag | None:
    """Read the tag of a result."""
    data = result.get("structuredContent")
    if data is None and result.get("resultType") == "input_required":
        data = json.loads(result["requestState"])
    if data is None and "nextCursor" in result:
        run, made = result["nextCursor"].split(":")
        return Tag("answer", int(run), int(made))
    return None if data is None else Tag("answer", data["r"], data["made"])


def check_text(data: Any) -> None:
    """Demand that a text has come as it was sent: ``t`` says which it was."""
    told = data.get("structuredContent") or data
    if "t" in told:
        text = data["content"][0]["text"] if "content" in data else data["text"]
        demand(text == TEXTS[told["t"]], "texts arrive as they were sent", told["t"], text)


def question_of(params: Any) -> str | None:
    """Read the tag of a question: run, number and how to behave."""
    if isinstance(params.get("message"), str):
        return str(params["message"])
    if "messages" in params:
        return str(params["messages"][0]["content"]["text"])
    tag = (params.get("_meta") or {}).get("tag")
    return None if tag is None else str(tag)


class Accounts:
    """The books of one run."""

    def __init__(self, world: World, *, tight: bool, twice: bool, late: bool, shared: bool) -> None:
        """``tight``: limits are so low that news may be dropped; ``twice``: requests may arrive
        a second time; ``late``: a store lets workers wait, so that news for all may overtake;
        ``shared``: several workers hear of what concerns a session one after the other."""
        self.world = world
        self.tight = tight
        self.twice = twice
        self.late = late
        self.shared = shared
        self.runs: dict[int, Run] = {}
        self.asks: dict[int, dict[int, Ask]] = {}
        """By client and number."""
        self.by_id: dict[int, dict[Any, Ask]] = {}
        self.perfect = False
        """Nothing goes wrong, and limits are high."""
        self.reports: dict[str, int] = {}
        """By question: the progress that its client has reported last."""
        self.questions: dict[Any, Question] = {}
        """By machine and id."""
        self.subscribed: set[tuple[int, str]] = set()
        """Clients with what they have asked to be told of in their sessions."""
        self.changes = 0
        """Updates of resources that were made."""
        self.heard_changes: dict[tuple[int, str], int] = {}
        """By client and resource: the newest change that was heard of."""
        self._owed: dict[tuple[int, str], int] = {}
        """... and the newest that was made when it had been promised."""
        self._interest: dict[tuple[int, str], list[Ask]] = {}
        """By client and resource: the requests to be told of it, or not any more."""
        self._left: dict[tuple[int, str], int] = {}
        """... for which it has ended: the updates that were made before."""
        self.listens: dict[tuple[int, Any], dict[str, Any]] = {}
        """By client and id: what a listen stream is to carry."""
        self.sessions: set[int] = set()
        """Clients that have had a session."""
        self.reopened: set[int] = set()
        """Clients whose standalone stream has begun anew, be it in another session."""
        self._all: dict[tuple[int, int], list[int]] = {}
        """By client and server: the news for all that was heard."""
        self._told: dict[tuple[Any, int], set[int]] = {}
        """By session and server: the news for all that has left for it."""
        self.last_news: dict[int, int] = {}
        """By server: the news that was made when nothing went wrong any more."""
        self._ran: dict[tuple[int, int, int], list[Run]] = {}
        self.requests = 0

    # What clients ask

    def asked(self, client: int, ask: Ask, id: Any) -> None:
        """A client has made a request."""
        known = self.by_id.setdefault(client, {})
        demand(id not in known, "an id is used once", client, id)
        known[id] = ask
        ask.id = id
        ask.tries = 0
        self.asks.setdefault(client, {})[ask.number] = ask
        self.requests += 1

    def subscribing(self, client: int, ask: Ask, uri: str) -> None:
        """A client asks to be told of a resource, or not any more."""
        place = client, uri
        if ask.kind == "subscribe":
            self.subscribed.add(place)
        self._left.pop(place, None)
        self._interest.setdefault(place, []).append(ask)

    def changed(self, uri: str) -> None:
        """A resource has changed: where nothing goes wrong, whoever was promised so hears of it."""
        self.changes += 1
        if not self.perfect or self.shared:
            return
        for client in self.asks:
            if self._promised(client, uri):
                self._owed[client, uri] = self.changes

    def _promised(self, client: int, uri: str) -> bool:
        asked = self._interest.get((client, uri), [])
        settled = all(ask.ended == "ResultReceived" for ask in asked)
        if asked and settled and asked[-1].kind == "subscribe":
            return True
        known = self.by_id[client]
        return any(
            known[id].acknowledged and known[id].ended is None
            for (listener, id), chosen in self.listens.items()
            if listener == client and uri in chosen[_URIS]
        )

    def changes_told(self, client: int) -> None:
        """Whom a change was promised has heard of it, or of a newer one, unless it wants none."""
        for (listener, uri), made in self._owed.items():
            if listener == client and self._promised(client, uri):
                heard = self.heard_changes.get((client, uri), 0)
                demand(heard >= made, "a change is told", client, uri, heard, made)

    def _leave(self, client: int, ask: Ask) -> None:
        """A client was answered that it is not told of a resource any more.

        Unless a request to be told of it may yet arrive, or another worker has not heard of it.
        """
        for place, asked in self._interest.items():
            if place[0] == client and asked[-1] is ask:
                settled = all(each.ended == "ResultReceived" for each in asked)
                if settled and not self.twice and not self.shared:
                    self._left[place] = self.changes

    def became(self, client: int, event: Event, now: float) -> Ask | None:
        """A client was told something: take note of what became of a request of its own."""
        if isinstance(event, ResultReceived | ErrorReceived | RequestEnded | InputRequired):
            ask = self.by_id.get(client, {}).get(event.request)
            demand(ask is not None, "an end is that of a request", client, event)
            assert ask is not None
            self._end(client, ask, event, now)
            return ask
        if isinstance(event, ProgressReceived):
            run, piece = (event.message or "").split(":")
            self._heard(client, int(run), int(piece), progress=True)
        elif isinstance(event, NotificationReceived | SubscriptionNotification):
            data = json.loads(bytes(event.params))
            data = data.get("data", data)
            if not isinstance(data, dict):
                return None
            if MADE in (data.get("_meta") or ()):
                self.heard_changes[client, data["uri"]] = data["_meta"][MADE]
            elif "r" in data:
                self._heard(client, data["r"], data["s"])
            elif "all" in data:
                self._heard_all(client, data["by"], data["all"])
        return None

    def heard_all(self, client: int, server: int) -> list[int]:
        """The news for all that a client has heard of a server."""
        return self._all.get((client, server), [])

    def sent(self, client: int, id: Any) -> None:
        """A client has sent a request, for the first time or once more."""
        ask = self.by_id.get(client, {}).get(id)
        if ask is not None and ask.kind != "listen":
            ask.tries += 1
            demand(ask.tries <= _MOST_TRIES, "repeats have a bound", client, ask.number, ask.tries)

    def _heard_all(self, client: int, server: int, piece: int) -> None:
        heard = self._all.setdefault((client, server), [])
        # What was on a stream that nobody can ask for again may come later, on the next one; and a
        # worker that hears of news late tells them to a session that is younger than they are.
        once = client in self.reopened or piece not in heard
        demand(once, "news for all comes once", client, server, piece)
        loose = self.late or client in self.reopened
        ordered = loose or not heard or piece > heard[-1]
        demand(ordered, "news for all comes in order", client, server, piece, heard)
        heard.append(piece)

    def _end(self, client: int, ask: Ask, event: Any, now: float) -> None:
        demand(ask.ended is None, "one terminal event a request", client, ask.number, event)
        demand(ask.id == event.request, "the end is that of the last try", client, event)
        ask.ended = type(event).__name__
        if isinstance(event, RequestEnded):
            ask.ended = event.reason.name
            first = ask.earliest
            early = ask.ended == "TIMED_OUT" and first is not None and now < first - 0.001
            demand(not early, "nothing times out early", client, ask.number, now, first)
        else:
            tag: Tag | None = None
            if isinstance(event, ResultReceived):
                tag = result_tag(json.loads(bytes(event.result)))
            elif isinstance(event, ErrorReceived):
                tag = error_tag(event.error.data)
            if tag is not None:
                self._answered(client, ask, tag)
            if isinstance(event, ResultReceived):
                check_text(json.loads(bytes(event.result)))
        if isinstance(event, InputRequired):
            ask.ended = None  # its next try follows
            del self.by_id[client][event.request]
        if ask.kind == "unsubscribe" and isinstance(event, ResultReceived):
            self._leave(client, ask)
        if ask.wanted is not None and not isinstance(event, InputRequired):
            fits = ask.ended in ask.wanted.split("|")
            demand(fits, "what nothing disturbs succeeds", client, ask.number, ask.kind, event)

    def _answered(self, client: int, ask: Ask, tag: Tag) -> None:
        run = self.runs[tag.run]
        mine = run.client == client and run.ask == ask.number
        demand(mine, "an answer is for its request", client, ask.number, run.client, run.ask)
        whole = self.tight or run.heard == run.made == tag.piece
        demand(whole, "all news comes before the answer", tag.run, run.heard, run.made, tag.piece)

    def _heard(self, client: int, number: int, piece: int, *, progress: bool = False) -> None:
        run = self.runs[number]
        demand(run.client == client, "news is for its client", client, number, run.client)
        ask = self.asks[client][run.ask]
        demand(piece <= run.made, "no news is made up", number, piece, run.made)
        if self.tight and progress:
            demand(piece > run.latest[1], "news comes in order, once", number, piece, run.latest)
            run.latest[1] = piece
            return
        loose = self.tight or ask.ended is not None
        fits = piece > run.heard if loose else piece == run.heard + 1
        demand(fits, "news comes in order, once", number, piece, run.heard)
        run.heard = piece

    # What servers do

    def begun(self, run: Run, round: int) -> None:
        """A server has begun to work on a request."""
        asks = self.asks.get(run.client, {})
        ask = asks.get(run.ask)
        demand(ask is not None, "what is worked on was asked for", run.client, run.ask)
        assert ask is not None
        # Whose session has ended is told so by 404, and asks again in the next one.
        before = self._ran.setdefault((run.client, run.ask, round), [])
        once = all(earlier.evicted for earlier in before)
        demand(
            once or ask.repeat or self.twice, "what has effects is done once", run.client, run.ask
        )
        before.append(run)
        self.runs[run.number] = run

    def question(self, machine: Any, id: Any, tag: str, now: float) -> None:
        """A server has asked its client something."""
        demand((machine, id) not in self.questions, "an id is used once", id)
        self.questions[machine, id] = Question(tag, now, self.world.time)

    def replied(self, machine: Any, event: Event, now: float) -> None:
        """A server was told what became of a question."""
        ends = ResultReceived | ErrorReceived | RequestEnded
        if not isinstance(event, ends | ProgressReceived):
            return
        question = self.questions.get((machine, event.request))
        demand(question is not None, "an end is that of a request", event)
        assert question is not None
        demand(question.ended is None, "one terminal event a request", event)
        time = self.world.time
        demand(time <= question.due + 0.001, "no deadline is missed", question.tag, event)
        if isinstance(event, ProgressReceived):
            ordered = event.message == question.tag and event.progress > question.heard
            demand(ordered, "reports come in order, once", question.tag, event)
            question.heard = event.progress
            question.earliest, question.due = now + PATIENCE, time + PATIENCE
            return
        question.ended = type(event).__name__
        if isinstance(event, RequestEnded):
            early = event.reason is EndReason.TIMED_OUT and now < question.earliest - 0.001
            demand(not early, "nothing times out early", question.tag, now, question.earliest)
        if isinstance(event, ResultReceived):
            text = bytes(event.result).decode()
            demand(question.tag in text, "an answer is for its request", question.tag, text)
            # Newer progress may take the place of older; and on the way it may be lost.
            whole = not self.perfect or question.heard == self.reports.get(question.tag, 0)
            demand(whole, "all reports come before the answer", question.tag, question.heard)

    # What is on the wires

    def for_all(self, session: Any, message: Any) -> None:
        """A server has sent something in a session: keep in mind what of it is for all."""
        if message.get("method") == "notifications/x" and "all" in message["params"]:
            params = message["params"]
            self._told.setdefault((session, params["by"]), set()).add(params["all"])

    def change(self, client: int, message: Any) -> None:
        """A server has sent a client something: of changes it hears what it has asked for."""
        method = message.get("method")
        if method not in (_UPDATED, _LISTED):
            return
        rule, params = "a change is for those who asked to hear of it", message.get("params") or {}
        uri, stream = params.get("uri"), (params.get("_meta") or {}).get(_SUBSCRIPTION)
        if stream is not None:
            chosen = self.listens.get((client, stream))
            demand(chosen is not None, rule, client, message)
            assert chosen is not None
            wanted = chosen.get("toolsListChanged") if uri is None else uri in chosen[_URIS]
            demand(bool(wanted), rule, client, message, chosen)
        elif uri is not None:
            demand((client, uri) in self.subscribed, rule, client, message)
            made: int = params["_meta"][MADE]
            heard = made <= self._left.get((client, uri), made)
            demand(heard, "no change is told after the end of a subscription", client, message)

    def seen(
        self, message: Any, place: Any, *, again: bool = False, at_once: bool = False
    ) -> Tag | None:
        """A server has sent something; ``place`` is the stream that carries it.

        ``again``: the client had been given it before, and has asked for it once more.
        ``at_once``: what waited to be sent for a request is dropped when that is cancelled.
        """
        tag = tag_of(message)
        if tag is None:
            return None
        run = self.runs.get(tag.run)
        demand(run is not None, "nothing is said for what nobody asked", message)
        assert run is not None
        if tag.kind == "ask":
            return tag
        demand(run.place == place, "no message on a foreign stream", run.place, place, message)
        if again:
            return tag
        if tag.kind == "answer":
            demand(message["id"] == run.id, "an answer has the id of its request", message)
            demand(run.state != CANCELLED, "nothing after cancellation", message)
            demand(run.answer is None, "one answer a request", tag.run, message)
            whole = self.tight or run.sent == tag.piece
            demand(whole, "all news comes before the answer", tag.run, run.sent, tag.piece)
            run.answer = place
        else:
            demand(run.answer is None, "nothing after the answer", message)
            wanted = not at_once or run.state in (ACTIVE, ANSWERED)
            demand(wanted, "nothing after cancellation", message)
            demand(tag.piece <= run.made, "nothing after cancellation", message, run.made)
            self._in_order(run, tag)
        return tag

    def _in_order(self, run: Run, tag: Tag) -> None:
        rule, piece = "news is sent in order, once", tag.piece
        if self.tight and tag.kind == "progress":
            demand(piece > run.latest[0], rule, tag.run, run.latest, piece)
            run.latest[0] = piece
        else:
            fits = piece > run.sent if self.tight else piece == run.sent + 1
            demand(fits, rule, tag.run, run.sent, piece)
            run.sent = piece

    # The end

    def overdue(self, client: int, now: float) -> None:
        """No request of a client has missed its deadline."""
        for ask in self.asks.get(client, {}).values():
            late = ask.ended is None and ask.due is not None and ask.due < now - 0.001
            demand(not late, "no deadline is missed", client, ask.number, ask.due, now)

    def settled(self, client: int) -> None:
        """Every request of a client that is done with has come to its end."""
        for ask in self.asks.get(client, {}).values():
            demand(ask.ended is not None, "every request ends", client, ask.number, ask.kind)

    def forget_client(self, client: int) -> None:
        """A client is gone, with all that it has asked."""
        for ask in self.asks.get(client, {}).values():
            ask.ended = ask.ended or "GONE"

    def forget_server(self, machines: list[Any]) -> None:
        """A server is gone, with all that it has asked."""
        for (machine, _), question in self.questions.items():
            if machine in machines:
                question.ended = question.ended or "GONE"
        for run in self.runs.values():
            if run.state == ACTIVE and run.machine in machines:
                run.state = DEAD

    def all_told(self) -> None:
        """Whom the last news for all has reached was sent all of it since its beginning."""
        for (session, server), pieces in self._told.items():
            last = self.last_news.get(server)
            if last in pieces and not self.tight:
                whole = len(pieces) == last - min(pieces) + 1
                demand(whole, "no news for all is lost", session, server, sorted(pieces))

    def all_settled(self) -> None:
        """Every question of a server has come to its end."""
        for question in self.questions.values():
            demand(question.ended is not None, "every request ends", question.tag)
