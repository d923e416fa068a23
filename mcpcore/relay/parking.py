"""Calls that are parked: a server has asked about one, and the retry of a modern client is awaited.

A legacy server waits for the answer with its request open, which the relay keeps; of a modern one
the state alone is kept, by the client.  Either is named by a sealed ticket, the ``requestState``.

Source: the "Multi Round-Trip Requests" page of 2026-07-28.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from mcpcore.engine.bodies import relayable
from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.seal import request_binding
from mcpcore.errors import SealBroken
from mcpcore.relay.link import UNSENDABLE, Arrival, Parked, PassedCall, Ticket, UpstreamLink
from mcpcore.relay.rewriting import encode
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, ErrorData, busy_code

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

UNANSWERED = ErrorData(INTERNAL_ERROR, "the client did not answer")
"""Answer to a question in place of that of the client."""

_decode_ticket = msgspec.msgpack.Decoder(Ticket).decode
_encode_ticket = msgspec.msgpack.Encoder().encode


class Parking:
    """Part of a relay that holds parked calls; ``place`` tells the relay in their tickets."""

    def __init__(self, relay: "Relay", place: str) -> None:
        self._relay = relay
        self._place = place
        self._serial = 0
        self._parked: dict[int, Parked] = {}
        """Parked calls, and those once parked whose outcome is kept, of which the oldest first."""

    @property
    def idle(self) -> bool:
        """True if no call is parked, and no outcome of one is kept."""
        return not self._parked

    def park(self, call: PassedCall, event: RequestReceived) -> None:
        """Answer a modern client with a question of a legacy server; the call waits here."""
        self._serial += 1
        call.fresh = False  # nobody is asked twice
        name = str(self._serial)
        question = Raw(encode({"method": event.method, "params": relayable(event.params)[0]}))
        parked = call.round
        if parked is not None and parked.questions:  # its retry is told of this one as well
            parked.questions[name] = event.key, question
            return
        caller = call.caller
        waiting = (each for each in self._parked.values() if each.outcome is None)
        others = [each.caller for each in waiting if each is not parked]
        text = self.full(others, caller, "calls wait for input")
        if text:
            code = busy_code(call.arrival.event.revision)
            call.link.peer.fail(event.key, ErrorData(INTERNAL_ERROR, text))
            self._relay.settle(call, lambda arrival: self._relay.refuse(arrival, code, text))
            self._relay.give_up(call, text)
            return
        parked = Parked(self._serial, call, {name: (event.key, question)}, caller)
        worker = getattr(call.arrival.machine, "worker", "")  # a Peer has none
        ticket = Ticket(parked.id, place=self._place, worker=worker)
        self._relay.settle(call, partial(self.require, call, {name: question}, ticket))
        self._parked[parked.id] = call.round = parked
        self._relay.deadlines.set(parked, self._relay.now + self._relay.settings.parked_timeout)

    def full(self, waiting: Sequence[Hashable], caller: Hashable, what: str) -> str:
        """Return why a request may not wait beside those of other callers, "" if it may."""
        most = self._relay.settings.parked
        if len(waiting) >= most:
            return f"busy: {most} {what}"
        most = self._relay.settings.parked_per_principal
        own = waiting.count(caller)
        return f"busy: {most} {what}, all of one caller" if own >= most else ""

    def keep(self, parked: Parked, outcome: Callable[[Arrival], None]) -> None:
        """Keep an outcome for repeated retries in place of the call; the oldest makes way."""
        self.drop(parked)
        kept = [each for each in self._parked.values() if each.outcome is not None]
        own = [each for each in kept if each.caller == parked.caller]
        if len(own) >= self._relay.settings.parked_per_principal:
            self.drop(own[0])
        elif len(kept) >= self._relay.settings.parked:
            self.drop(kept[0])
        parked.outcome = outcome
        self._parked[parked.id] = parked
        self._relay.deadlines.set(parked, self._relay.now + self._relay.settings.outcome_kept)

    def retried(self, arrival: Arrival, state: str, *, learned: bool = False) -> None:
        """Handle the retry of a modern client."""
        relay, event = self._relay, arrival.event
        binding = request_binding(event.principal, event.method, event.params)
        try:
            ticket = _decode_ticket(relay.seal.open(state, binding, wall=relay.wall))
        except SealBroken as broken:
            relay.refuse(arrival, INVALID_PARAMS, str(broken))
            return
        if ticket.parked is None:
            retry = {"requestState": Raw(encode(ticket.state))}
            if event.input_responses is not None:
                retry["inputResponses"] = Raw(encode(event.input_responses))
            target = relay.targets.get(ticket.server or "")
            plain, method, params = relay.names.plain, event.method, event.params
            found = None if plain else relay.names.inward_in(method, params, learned=learned)
            if target is None:
                relay.refuse(arrival, INVALID_PARAMS, "requestState names an unknown server")
                return
            again = partial(self.retried, arrival, state, learned=True)
            if found is not None or learned or not relay.lists.learn(arrival, again):
                relay.forward(target, arrival, found[1] if found else params, retry)
            return
        here = ticket.place == self._place
        parked = self._parked.get(ticket.parked) if here else None
        if parked is not None:
            self._go_on(parked, arrival, ticket)
        elif here or not relay.forwarding.forward(arrival, ticket.worker):
            why = "has ended" if here else "waits in another process of the gateway, or has ended"
            text = f"requestState: its call {why}; send the request again without it"
            relay.refuse(arrival, INVALID_PARAMS, text)

    def _go_on(self, parked: Parked, arrival: Arrival, ticket: Ticket) -> None:
        """Give the answers of a retry to the server; a repeated retry waits with the first one."""
        call, answers = parked.call, arrival.event.input_responses or {}
        if parked.outcome is not None:
            parked.outcome(arrival)
        elif not parked.questions:
            if len(call.waiting) > self._relay.settings.repeats:
                text = "busy: the request was repeated too often"
                self._relay.refuse(arrival, busy_code(arrival.event.revision), text)
                return
            call.waiting.append(arrival)
            self._relay.calls[arrival.place] = call
        else:
            asked = parked.questions
            parked.questions = {name: asked[name] for name in asked if name not in answers}
            if parked.questions:
                left = {name: question for name, (_, question) in parked.questions.items()}
                self.require(call, left, ticket, arrival)
            else:
                self._relay.deadlines.set(parked, None)
                call.arrival, call.caller, call.waiting = arrival, arrival.caller, [arrival]
                self._relay.calls[arrival.place] = call
            for name in [name for name in asked if name in answers]:
                self._relay.questions.reply(call.link, asked[name][0], answers[name])

    def require(
        self, call: PassedCall, requests: Mapping[str, Raw], ticket: Ticket | None, arrival: Arrival
    ) -> None:
        """Answer a modern client with questions; its retry has the sealed ``ticket``."""
        relay, event, state = self._relay, call.arrival.event, None
        try:
            if ticket is not None:
                binding = request_binding(event.principal, event.method, event.params)
                state = relay.seal.seal(_encode_ticket(ticket), binding, wall=relay.wall)
            relay.at(arrival.machine).require_input(arrival.event.key, requests, state)
        except UNSENDABLE as error:
            relay.fail(arrival, call.link.target.error(str(error)))

    def unasked(self, link: UpstreamLink, key: Key) -> None:
        """Drop a question that its server has cancelled."""
        for call in link.calls.values():
            parked = call.round
            if parked is None or not parked.questions:
                continue
            questions = parked.questions.items()
            parked.questions = {name: each for name, each in questions if each[0] != key}
            if not parked.questions:  # the retry waits for what comes next
                self._relay.deadlines.set(parked, None)

    def expire(self, parked: Parked) -> None:
        """End a parked call without a retry, or forget an outcome."""
        self.drop(parked)
        if parked.outcome is not None:
            return
        parked.call.round = None
        for key, _ in parked.questions.values():
            parked.call.link.peer.fail(key, UNANSWERED)
        self._relay.give_up(parked.call, UNANSWERED.message)

    def drop(self, parked: Parked) -> None:
        """Hold a call, or its outcome, no longer."""
        self._parked.pop(parked.id, None)
        self._relay.deadlines.set(parked, None)
