"""Books of requests, news and answers, and the rules about them.

The books are kept apart from the machines: from what applications do and are told, and from the
bytes on the wires, which are read here with ``json`` alone.
"""

import json
from typing import Any

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
from tests.simulation.common import Common
from tests.simulation.excuses import Excuses
from tests.simulation.rules import demand
from tests.simulation.tags import Tag, check_text, error_tag, result_tag, tag_of
from tests.simulation.work import MAX_TIMEOUT
from tests.simulation.world import World

PATIENCE = 5.0
"""Seconds that a question may stay without an answer, or a report."""
ACTIVE, CANCELLED, ANSWERED, DEAD = "active", "cancelled", "answered", "dead"


_MOST_TRIES = 2
"""So often is a request sent, at most: once more after its connection or session was lost."""


class Ask:
    """A request of a client, by a number of its own that travels with it."""

    def __init__(self, number: int, kind: str, *, repeat: bool) -> None:
        self.number = number
        self.kind = kind
        self.repeat = repeat
        self.id: Any = None
        """On the wire; another one after each round of input."""
        self.timeout: float | None = None
        self.due: float | None = None
        """When it has to end at the latest, by the clock of its client, and not time out before."""
        self.until: float | None = None
        """The same by a clock that does not jump: those that do jump ahead."""
        self._last = 0.0, 0.0
        """What progress cannot move them beyond."""
        self.tries = 0
        """How often it was sent in its round."""
        self.acknowledged = False
        """It is a listen stream that its server has opened."""
        self.ended: str | None = None
        self.wanted: str | None = None
        """What has to become of it, if that is known."""

    def timed(self, timeout: float | None, now: float, time: float) -> None:
        """Its time begins, by the clock of its client and by the one that does not jump."""
        self.timeout = timeout
        self._last = now + MAX_TIMEOUT, time + MAX_TIMEOUT
        self.due = self.until = None
        if timeout is not None:
            self.due, self.until = now + timeout, time + timeout

    def moved(self, now: float, time: float) -> None:
        """Progress was heard of, which begins it anew, up to a maximum."""
        if self.timeout is not None and self.due is not None:
            self.due = min(now + self.timeout, self._last[0])
            self.until = min(time + self.timeout, self._last[1])

    def untimed(self) -> None:
        """Its time does not run."""
        self.due = self.until = None


class Run:
    """One time that a server worked on a request."""

    def __init__(self, number: int, client: int, ask: int, id: Any, place: Any) -> None:
        self.number = number
        self.client = client
        self.ask = ask
        self.id = id
        self.place = place
        """The connection (lines), or the exchange (HTTP), that brought it."""
        self.since = 0.0
        """When it was begun."""
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


class Accounts:
    """The books of one run."""

    def __init__(self, world: World, excuses: Excuses, *, tight: bool, shared: bool) -> None:
        """``excuses``: when something is wrong with a store or a wall clock; ``tight``: limits are
        so low that news may be dropped; ``shared``: several workers hear of what concerns a session
        one after the other."""
        self.world = world
        self.excuses = excuses
        self.tight = tight
        self.doubled: dict[tuple[int, int], float] = {}
        """By client and request that is sent a second time: until then that may arrive."""
        self.shared = shared
        self.runs: dict[int, Run] = {}
        self.asks: dict[int, dict[int, Ask]] = {}
        """By client and number."""
        self.by_id: dict[int, dict[Any, Ask]] = {}
        self.perfect = False
        """Nothing goes wrong, and limits are high."""
        self.common = Common(self)
        """What concerns no request."""
        self.reports: dict[str, int] = {}
        """By question: the progress that its client has reported last."""
        self.questions: dict[Any, Question] = {}
        """By machine and id."""
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
            self.by_id[client][event.request].moved(now, self.world.time)
        elif isinstance(event, NotificationReceived | SubscriptionNotification):
            data = json.loads(bytes(event.params))
            data = data.get("data", data)
            if not isinstance(data, dict):
                return None
            if "r" in data:
                self._heard(client, data["r"], data["s"])
            else:
                self.common.heard(client, data)
        return None

    def sent(self, client: int, id: Any) -> None:
        """A client has sent a request, for the first time or once more."""
        ask = self.by_id.get(client, {}).get(id)
        if ask is not None and ask.kind != "listen":
            ask.tries += 1
            demand(ask.tries <= _MOST_TRIES, "repeats have a bound", client, ask.number, ask.tries)

    def _end(self, client: int, ask: Ask, event: Any, now: float) -> None:
        demand(ask.ended is None, "one terminal event a request", client, ask.number, event)
        demand(ask.id == event.request, "the end is that of the last try", client, event)
        time, until = self.world.time, ask.until
        late = until is not None and time > until + 0.001
        demand(not late, "nothing ends late", client, ask.number, time, until)
        ask.ended = type(event).__name__
        if isinstance(event, RequestEnded):
            ask.ended = event.reason.name
            due = ask.due
            early = ask.ended == "TIMED_OUT" and due is not None and now < due - 0.001
            demand(not early, "nothing times out early", client, ask.number, now, due)
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
            ask.ended = None  # its next try follows, and till then nothing is due
            ask.untimed()
            del self.by_id[client][event.request]
        if ask.kind == "unsubscribe" and isinstance(event, ResultReceived):
            self.common.unsubscribed(client, ask)
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
        repeated = ask.repeat or (run.client, run.ask) in self.doubled
        demand(once or repeated, "what has effects is done once", run.client, run.ask)
        before.append(run)
        run.since = self.world.time
        self.runs[run.number] = run

    def refused(self, exchange: Any) -> None:
        """A response says that there is no such session, whatever was done for its request."""
        for run in self.runs.values():
            if run.place == exchange:
                run.evicted = True

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

    def all_ended(self, client: int) -> None:
        """Whatever a client has asked for has come to its end, but for what it listens to."""
        for ask in self.asks.get(client, {}).values():
            over = ask.ended is not None or ask.kind == "listen"
            demand(over, "once faults stop every request ends", client, ask.number, ask.kind)

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

    def all_settled(self) -> None:
        """Every question of a server has come to its end."""
        for question in self.questions.values():
            demand(question.ended is not None, "every request ends", question.tag)
