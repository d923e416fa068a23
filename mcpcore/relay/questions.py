"""Questions of servers to clients: asked, answered and taken back.

A legacy server asks by a request, and a modern one by ``input_required``, whose answers are a
retry.  A legacy client is asked on the stream of its request, or outside of any; with a modern
client in front of a legacy server the call is parked (:mod:`mcpcore.relay.parking`).

Sources: the elicitation, sampling, roots and ping pages of 2025-11-25; "Multi Round-Trip Requests"
of 2026-07-28.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine import events
from mcpcore.engine.bodies import relayable
from mcpcore.engine.events import Key, RequestReceived
from mcpcore.relay.cells import Cell, with_elicitation_id
from mcpcore.relay.link import (
    STILL_ASKS,
    UNSENDABLE,
    Downstream,
    Outcome,
    PassedCall,
    UpstreamLink,
)
from mcpcore.relay.rewriting import Path, on_text, path, rewrite
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, ErrorData
from mcpcore.spec.methods import lookup_embedded
from mcpcore.spec.types.base import EmbeddedRequest
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

UNCLEAR = "calls of several clients are open, and nothing tells which of them the question is about"
"""Reason for which a question is refused."""

CONTEXT = path("includeContext")
_without_this = on_text(lambda context: "none" if context == "thisServer" else context)
_decode_question = msgspec.json.Decoder(EmbeddedRequest).decode


class Asked(Struct, weakref=False):
    """Question to a legacy client."""

    link: UpstreamLink
    key: Key | None
    """Request of a legacy server; None for a question of a modern one."""
    call: PassedCall | None
    take: Callable[[Outcome], None]
    """Function that takes the answer."""


class Questions:
    """Part of a relay that asks clients what servers want to know."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._asked: dict[tuple[Downstream, RequestId], Asked] = {}
        self._serial = 0

    @property
    def idle(self) -> bool:
        """True if no client is asked anything."""
        return not self._asked

    def narrowed(self, question: Raw, way: Path) -> Raw:
        """Return a question that wants no context of "this server", which is all of them here.

        ``way``: place of that in a sampling.
        """
        several = len(self._relay.targets) > 1
        return rewrite(question, way, _without_this) if several else question

    # Questions of modern servers

    def ask_round(self, call: PassedCall, requests: Mapping[str, Raw]) -> None:
        """Ask a legacy client what a modern server wants to know, and answer by a retry."""
        answers: dict[str, Raw] = {}

        def take(name: str, method: str, answer: Outcome) -> None:
            if isinstance(answer, ErrorData):
                self._fail_round(call, f"{method} failed: {answer.message}")
                return
            answers[name] = answer
            if len(answers) == len(requests):
                self._retry(call, answers)

        if not requests:
            self._retry(call, answers)
        for name, raw in requests.items():
            question = _decode_question(raw)
            params = Raw(b"{}") if question.params is None else question.params
            self._serial += 1
            if question.method == "elicitation/create":
                params = with_elicitation_id(params, f"relay-{self._serial}")
            if call.waiting:
                asked = Asked(call.link, None, call, partial(take, name, question.method))
                self._ask(asked, question.method, params)

    def _retry(self, call: PassedCall, answers: Mapping[str, Raw]) -> None:
        link, relay = call.link, self._relay
        left = max(call.until - relay.now, 0.0)
        try:
            again = link.retry(call, answers, now=relay.now, timeout=left)
        except UNSENDABLE as error:
            self._fail_round(call, str(error))
            return
        del link.calls[call.request]
        call.request = again
        link.calls[again] = call
        relay.passed(call)

    def _fail_round(self, call: PassedCall, message: str) -> None:
        """End a call whose questions have no answer."""
        call.link.calls.pop(call.request, None)
        call.link.peer.abandon(call.request)
        error = call.link.target.error(message)
        self._relay.settle(call, partial(self._relay.deliver, call, error))
        self._relay.give_up(call, message)

    # Questions of legacy servers

    def asked_by(self, link: UpstreamLink, event: RequestReceived) -> None:
        """Handle a question of a legacy server.

        One that names no call is about the oldest, if all are of one client: those that are open,
        and those that were given up just now.
        """
        if event.request is not None:
            fit = [call] if (call := link.calls.get(event.request)) else []
        else:
            fit = [each for each in link.calls.values() if each.can_ask]
        clients = {each.arrival.client for each in fit}
        if fit and event.request is None:
            now = self._relay.now
            clients |= {each for each, at in link.left.items() if now - at < STILL_ASKS}
        unclear, ping = len(clients) > 1, event.method == "ping"
        call = None if unclear else min(fit, key=lambda each: not each.waiting, default=None)
        flaw, code = "", INVALID_PARAMS
        try:
            needed = input_capability(event.method, event.params)
        except msgspec.MsgspecError as error:
            flaw = f"invalid params: {error}"
        else:
            if needed is not None and not declares(link.audience.capabilities, needed):
                flaw = f"the client did not declare {needed!r}"
            elif unclear and not ping:
                flaw, code = UNCLEAR, INTERNAL_ERROR
                link.target.unclear += 1
        if flaw:
            link.peer.fail(event.key, ErrorData(code, f"{event.method}: {flaw}"))
            return
        event = structs.replace(event, params=self.narrowed(event.params, CONTEXT))
        parks = call is not None and call.cell is Cell.LEGACY_SERVER
        if ping and (parks or call is None or not call.waiting):  # no client waits for a message
            link.peer.admit(event.key)
            return
        embedded = call is not None and lookup_embedded(event.method, call.arrival.event.revision)
        if call is not None and parks and call.can_ask and embedded:
            self._relay.parking.park(call, event)
            return
        take = partial(self.reply, link, event.key, admits=ping)
        self._ask(Asked(link, event.key, call, take), event.method, event.params)

    def reply(self, link: UpstreamLink, key: Key, answer: Outcome, *, admits: bool = False) -> None:
        """Answer a question of a legacy server, with what a client may have made unfit for it.

        ``admits``: True if the engine has the answer.
        """
        try:
            if isinstance(answer, Raw):
                if admits:
                    link.peer.admit(key)
                else:
                    link.peer.respond(key, self._relay.tasks.answer_inward(link, answer))
                return
        except UNSENDABLE as error:
            text = f"the answer of the client cannot be passed on: {error}"
            answer = ErrorData(INTERNAL_ERROR, text)
        link.peer.fail(key, answer)

    def cancelled(self, link: UpstreamLink, event: events.RequestCancelled) -> None:
        """Take back a question that a legacy server has cancelled."""
        place = link.asked.get(event.key)
        if place is not None:
            self._withdraw(place, event.reason)
        self._relay.parking.unasked(link, event.key)
        link.peer.release(event.key)

    # Clients

    def _ask(self, asked: Asked, method: str, params: Raw) -> None:
        """Send a question to a legacy client, about a call or outside of any."""
        relay, call, link = self._relay, asked.call, asked.link
        where, id = relay.session_of(link) if call is None else None, None
        if call is not None and call.cell is not Cell.LEGACY_SERVER:
            call.fresh = False  # nobody is asked twice
            where = call.waiting[0].machine, {"parent": call.waiting[0].event.key}
        if where is not None and not relay.crowded(where[0]):
            with suppress(*UNSENDABLE):
                body, meta = relayable(params)
                id = relay.at(where[0]).request(
                    method,
                    body,
                    now=relay.now,
                    meta=relay.tasks.related_outward(link, meta),
                    timeout=relay.settings.question_timeout,
                    progress=asked.key is not None,
                    force=True,
                    **where[1],
                )
        if where is None or id is None:
            relay.dropped += 1
            text = f"{method}: there is no client that can be asked"
            asked.take(ErrorData(INTERNAL_ERROR, text))
            return
        place = where[0], id
        self._asked[place] = asked
        if call is not None:
            call.asked.add(place)
        if asked.key is not None:
            link.asked[asked.key] = place

    def replied(self, machine: Downstream, request: RequestId, answer: Outcome) -> None:
        """Handle the answer of a legacy client."""
        asked = self._pop((machine, request))
        if asked is not None:
            asked.take(answer)

    def progressed(self, machine: Downstream, event: events.ProgressReceived) -> None:
        """Pass on how far a legacy client is with its answer."""
        asked = self._asked.get((machine, event.request))
        if asked is not None and asked.key is not None:
            peer = asked.link.peer
            peer.progress(asked.key, event.progress, event.total, event.message)

    def withdraw(self, call: PassedCall, reason: str | None) -> None:
        """Take back what a client was asked about a call that is over."""
        for place in list(call.asked):
            asked = self._withdraw(place, reason)
            if asked is not None and asked.key is not None:
                text = "the request that it was about is no longer wanted"
                call.link.peer.fail(asked.key, ErrorData(INTERNAL_ERROR, text))

    def lost(self, link: UpstreamLink) -> None:
        """Take back the questions of a server that is gone."""
        for place in list(link.asked.values()):
            self._withdraw(place, "the server is gone")

    def _withdraw(self, place: tuple[Downstream, RequestId], reason: str | None) -> Asked | None:
        asked = self._pop(place)
        if asked is not None:
            machine, id = place
            self._relay.at(machine).cancel(id, now=self._relay.now, reason=reason)
        return asked

    def _pop(self, place: tuple[Downstream, RequestId]) -> Asked | None:
        asked = self._asked.pop(place, None)
        if asked is not None and asked.call is not None:
            asked.call.asked.discard(place)
        if asked is not None and asked.key is not None:
            asked.link.asked.pop(asked.key, None)
        return asked
