"""Application of a client: makes the requests drawn for it, and answers questions."""

import json
from typing import Any

from mcpcore import HttpClient, Recovery, StreamInterrupted
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    InputRequired,
    ProgressReceived,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
)
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from tests.simulation.accounts import Accounts, Ask
from tests.simulation.cancelling import GIVEN_UP
from tests.simulation.rules import demand
from tests.simulation.tags import question_of
from tests.simulation.work import TEXTS, TIMEOUT, Work

_LATE = 2.0


class ClientApp:
    """Does its work, and keeps the books of it."""

    def __init__(self, host: Any, number: int) -> None:
        self._host = host
        self._number = number
        self._books: Accounts = host.scene.books
        self._asked: dict[int, Any] = {}
        """Questions that were not answered yet, by key, with what they ask."""
        self._within: dict[int, Any] = {}
        """... and the requests on whose streams they came."""
        self._dropped: set[Any] = set()
        """Requests that were given up in this turn."""
        self.listening: set[Any] = set()

    def do(self, work: Work, wanted: str | None = None) -> Ask | None:
        """Ask for something; None if it cannot be asked now."""
        if self._host.closing or self._host.over:
            return None
        machine, now = self._host.machine, self._host.now()
        if work.kind == "roots":
            try:
                machine.notify("notifications/roots/list_changed")
            except LocalProtocolError:
                return None
            self._host.turn()
            return None
        method, params = self._request(work)
        repeat = work.repeat
        timeout = work.timeout
        options: dict[str, Any] = {"progress": work.progress, "repeat": repeat}
        if work.log:
            options["log_level"] = "info"
        try:
            id = machine.request(method, params, now=now, timeout=timeout, **options)
        except (LocalProtocolError, CapabilityMissing):
            return None
        lasting = work.kind in ("list", "ping", "subscribe", "unsubscribe", "listen", "level")
        ask = Ask(work.number, work.kind, repeat=bool(repeat) or lasting)
        ask.wanted = wanted
        ask.timed(timeout, now, self._host.world.time)
        self._books.asked(self._number, ask, id)
        if work.kind in ("subscribe", "unsubscribe"):
            self._books.common.subscribing(self._number, ask, work.uri)
        elif work.kind == "listen":
            self._books.common.listens[self._number, id] = filter_of(work)
        if work.cancel_after is not None:
            self._host.after(work.cancel_after, self._cancel, ask)
        self._host.turn()
        return ask

    def _request(self, work: Work) -> tuple[str, Any]:
        if work.kind in ("call", "abandon"):
            which = work.number % len(TEXTS)
            told = {
                "c": self._number,
                "n": work.number,
                "script": work.script,
                "t": which,
                "text": TEXTS[which],
            }
            return "tools/call", {"name": "work", "arguments": told}
        if work.kind == "list":
            return "tools/list", {"cursor": f"{self._number}:{work.number}"}
        if work.kind in ("subscribe", "unsubscribe"):
            return f"resources/{work.kind}", {"uri": work.uri}
        if work.kind == "level":
            return "logging/setLevel", {"level": "info"}
        if work.kind == "listen":
            return "subscriptions/listen", {"notifications": filter_of(work)}
        return "ping", None

    def _cancel(self, ask: Ask) -> None:
        if not self._host.over:
            self._host.machine.cancel(ask.id, now=self._host.now())
            if ask.ended is None and self._waits_for_input(ask):
                ask.ended = "ABANDONED"
            self._host.turn()

    def _waits_for_input(self, ask: Ask) -> bool:
        return ask.id not in self._books.by_id.get(self._number, {})

    def handle(self, event: Event, machine: Any) -> None:
        """Take one event."""
        now = self._host.now()
        ask = self._books.became(self._number, event, now)
        if isinstance(event, RequestReceived):
            self._question(event, machine)
        elif isinstance(event, RequestCancelled):
            self._within.pop(event.key, None)
            if self._asked.pop(event.key, None) is not None:
                self._host.machine.release(event.key)
        elif isinstance(event, InputRequired):
            assert ask is not None
            self._host.after(0.1, self._retry, ask, event)
        elif isinstance(event, SubscriptionAcknowledged):
            listen = self._books.by_id[self._number][event.request]
            listen.untimed()
            listen.acknowledged = True
            self.listening.add(event.request)
        elif isinstance(event, ResultReceived | ErrorReceived | RequestEnded):
            self.listening.discard(event.request)
            if isinstance(event, RequestEnded) and event.reason in GIVEN_UP:
                self._dropped.add(event.request)
        elif isinstance(event, Ready):
            if self._number in self._books.common.sessions:
                self._books.common.reopened[self._number] = self._host.world.time
            self._books.common.sessions.add(self._number)
        elif isinstance(event, StreamInterrupted):
            if event.request is None and event.recovery is not Recovery.RESUME:
                now = self._host.world.time
                self._books.common.reopened[self._number] = now
                self._books.common.unresumed.setdefault(self._number, []).append(now)
        elif isinstance(event, ProgressReceived):
            demand(ask is None, "news is no end")

    # Questions

    def questions_end(self) -> None:
        """Demand that of requests that were given up no question is open that came with them."""
        if self._dropped:
            for key, request in self._within.items():
                over = key not in self._asked or request not in self._dropped
                demand(over, "a question ends with the request it came with", request)
            self._dropped.clear()

    def _question(self, event: RequestReceived, machine: Any) -> None:
        params = json.loads(bytes(event.params))
        tag = question_of(params)
        if tag is None:
            self._host.machine.fail(event.key, ErrorData(-32601, "not known"))
            return
        run = self._books.runs[int(tag.split(":")[0])]
        demand(run.client == self._number, "no message on a foreign session", tag, self._number)
        self._asked[event.key] = event.method, tag
        if isinstance(machine, HttpClient):
            self._within[event.key] = self._host.returns.request_of(event.route)
        how = tag.split(":")[2]
        if how == "late":
            self._host.after(_LATE, self._answer, event.key)
        elif how != "silent":
            self._host.after(0.02, self._answer, event.key)

    def _answer(self, key: int) -> None:
        asked = self._asked.pop(key, None)
        self._within.pop(key, None)
        if asked is None or self._host.over:
            return
        method, tag = asked
        for report in (1, 2):
            if self._host.machine.progress(key, report, None, tag):
                self._books.reports[tag] = report
        if tag.endswith(":no"):
            self._host.machine.fail(key, ErrorData(-32603, "no"))
        else:
            self._host.machine.respond(key, answer_to(method, tag))
        self._host.turn()

    def _retry(self, ask: Ask, event: InputRequired) -> None:
        host = self._host
        if ask.ended is not None:
            return
        if host.closing or host.over or ask.kind == "abandon":
            host.machine.abandon(event.request)
            ask.ended = "ABANDONED"
            return
        answers = {}
        for key, raw in event.requests.items():
            asked = json.loads(bytes(raw))
            tag = question_of(asked.get("params") or {}) or ""
            answers[key] = answer_to(asked["method"], tag)
        try:
            id = host.machine.retry(event.request, answers, now=host.now())
        except LocalProtocolError:
            ask.ended = "ABANDONED"
            return
        ask.timed(TIMEOUT, host.now(), host.world.time)
        self._books.asked(self._number, ask, id)
        host.turn()

    def end_listening(self) -> None:
        """Leave all subscriptions."""
        for id in sorted(self.listening):
            self._host.machine.cancel(id, now=self._host.now())
        self._host.turn()


def filter_of(work: Work) -> dict[str, Any]:
    """What a listen stream is to carry."""
    chosen: dict[str, Any] = {"resourceSubscriptions": [work.uri]}
    if work.number % 2:
        chosen["toolsListChanged"] = True
    return chosen


def answer_to(method: str, tag: str) -> Any:
    """What the user says, with the tag of the question in it."""
    if method == "elicitation/create":
        return {"action": "accept", "content": {"tag": tag}}
    if method == "sampling/createMessage":
        content = {"type": "text", "text": tag}
        return {"role": "assistant", "content": content, "model": "m"}
    return {"roots": [{"uri": f"file:///{tag}"}]}
