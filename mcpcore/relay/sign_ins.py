"""Sign-in of clients at servers that want a credential of each person, which the application gets.

A client that has not signed in at such a server has one tool there in place of the server's own.
Whatever needs the server asks its user to open a URL: a modern client by ``input_required``, one of
2025-11-25 by -32042; the tool gives the URL to any other client as text.

Source: the elicitation pages since 2025-11-25, "URL Mode Elicitation for OAuth Flows".
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.relay.cells import Cell, result_in
from mcpcore.relay.link import UNSENDABLE, Arrival, SignInOffer, Target
from mcpcore.relay.lists import LISTS, ServerPage
from mcpcore.relay.names import LONGEST_NAME, text_at
from mcpcore.relay.rewriting import encode
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import URL_ELICITATION_REQUIRED, ErrorData, LocalProtocolError
from mcpcore.wire.jsontext import to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

_COMPLETE = "notifications/elicitation/complete"
_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")


def tool_of(target: Target) -> str:
    """Return the name of the tool by which clients sign in at a server."""
    return f"sign_in_at_{_OTHERS.sub('_', target.name)}"[:LONGEST_NAME]


class _Visit(Struct):
    action: str


_answer_of = msgspec.json.Decoder(_Visit).decode


class SignIns:
    """Part of a relay that has clients sign in at servers."""

    def __init__(self, relay: "Relay", place: str) -> None:
        self._relay = relay
        self._question = f"sign_in_{place}"
        """Name of the question to a modern client, which no relay behind this one has."""
        self._waiting: dict[tuple[str, str | None], list[Callable[[], None]]] = {}
        """Requests whose user has opened the URL, by server and principal."""

    @property
    def idle(self) -> bool:
        """True if no request waits for a sign-in."""
        return not self._waiting

    def lacks(self, target: Target, principal: str | None) -> bool:
        """Return True if a client has to sign in at a server before it can use it."""
        return target.desk is not None and not target.desk.signed_in(principal)

    def refusal(self, target: Target) -> ErrorData:
        """Return the error for a client that cannot be asked to sign in at a server."""
        return target.error(f"the user has to sign in first: call its tool {tool_of(target)}")

    def signed_in(self, target: Target, principal: str, id: str | None) -> None:
        """Go on with what waits for a principal, and tell its clients that lists have changed.

        Its sessions hear that the question ``id`` is settled.
        """
        waiting = self._waiting.pop((target.name, principal), [])
        for watcher in self._relay.subscriptions.sessions.values():
            if id is not None and watcher.audience.principal == principal:
                machine = self._relay.at(watcher.machine)
                with suppress(*UNSENDABLE):  # to a client that knows nothing of URLs
                    machine.notify(_COMPLETE, {"elicitationId": id}, **watcher.where)
        self._relay.subscriptions.signed_in(target, principal)
        while waiting:
            waiting.pop(0)()

    def page(self, target: Target, method: str) -> ServerPage:
        """Return a list of a server for a client that has not signed in, which nobody may keep."""
        result = self._list(target, method)
        return ServerPage(result, len(result), 0.0, asked=tool_of(target), public=False)

    def take(self, target: Target, arrival: Arrival, params: Raw) -> Arrival | None:
        """Answer a request that is not for the server, or not yet; else return it, to be sent on.

        Raises msgspec.MsgspecError for params of another shape.
        """
        event, desk = arrival.event, target.desk
        if desk is None:
            return arrival
        tool = event.method == "tools/call" and text_at(params, ("name",)) == tool_of(target)
        known, asked = desk.signed_in(event.principal), desk.asked(event.principal)
        answers = dict(event.input_responses or {})
        answer = answers.pop(self._question, None)
        if answer is not None:  # the rest, if any, answers the server
            event = structs.replace(event, input_responses=answers or None)
            arrival = structs.replace(arrival, event=event)
        if answer is not None and _answer_of(answer).action != "accept":
            self._relay.fail(arrival, target.error("the user has not signed in there"))
        elif answer is not None and asked:
            self._wait(target, arrival, params)
        elif known and tool:
            if not self.asks(target, arrival, tool=True):
                self._tell(arrival, f"You are signed in at {target.name}.")
        elif known:
            return arrival
        elif event.request_state is not None:  # with other answers, which a question would lose
            self._relay.fail(arrival, self.refusal(target))
        elif event.method in LISTS:
            result = result_in(_cell(arrival), event.method, self._list(target, event.method))
            self._relay.at(arrival.machine).respond(event.key, result)
        else:
            self._ask(target, arrival, tool=tool)
        return None

    def asks(self, target: Target, arrival: Arrival, *, tool: bool = False) -> bool:
        """Ask a client whose credentials its server has refused; False if that would not help."""
        desk, principal = target.desk, arrival.event.principal
        if desk is None or principal is None:
            return False
        try:
            offer = desk.question(principal)
        except LocalProtocolError:
            return False
        self._give(target, arrival, offer, tool=tool)
        return True

    def _list(self, target: Target, method: str) -> Raw:
        tool = {
            "name": tool_of(target),
            "title": f"Sign in at {target.name}",
            "description": f"Returns the URL at which the user signs in at {target.name}. "
            "Its tools can be listed and called after that.",
            "inputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": True},
        }
        return Raw(to_json({LISTS[method]: [tool] if method == "tools/list" else []}))

    def _ask(self, target: Target, arrival: Arrival, *, tool: bool = False) -> None:
        """Ask the user of a client to sign in, in the way that the client knows."""
        event, error = arrival.event, self.refusal(target)
        if target.desk is None or event.principal is None:
            error = target.error("a client that tells no name cannot sign in")
        elif tool or declares(event.client_capabilities, "elicitation.url"):
            try:
                offer = target.desk.question(event.principal)
            except LocalProtocolError as problem:
                error = target.error(str(problem))
            else:
                self._give(target, arrival, offer, tool=tool)
                return
        self._relay.fail(arrival, error)

    def _give(self, target: Target, arrival: Arrival, offer: SignInOffer, *, tool: bool) -> None:
        """Give a client the URL at which its user signs in."""
        event, machine = arrival.event, self._relay.at(arrival.machine)
        by_url = declares(event.client_capabilities, "elicitation.url")
        params = {"mode": "url", "url": offer.url, "message": offer.message}
        if by_url and event.revision.modern:
            with suppress(*UNSENDABLE):  # for a method without questions
                asking = Raw(encode({"method": "elicitation/create", "params": params}))
                machine.require_input(event.key, {self._question: asking})
                return
        if by_url and not event.revision.modern:
            data = {"elicitations": [{**params, "elicitationId": offer.id}]}
            machine.fail(event.key, ErrorData.make(URL_ELICITATION_REQUIRED, offer.message, data))
        elif tool:
            self._tell(arrival, f"{offer.message} Open this URL: {offer.url}")
        else:
            machine.fail(event.key, self.refusal(target))

    def _wait(self, target: Target, arrival: Arrival, params: Raw) -> None:
        """Send a request on once its user has signed in; fail it if that takes too long."""
        place, relay = (target.name, arrival.event.principal), self._relay

        def go_on() -> None:
            asked = target.desk is not None and target.desk.asked(arrival.event.principal)
            if asked or self.lacks(target, arrival.event.principal):
                relay.fail(arrival, target.error("the user has not signed in there in time"))
            else:
                relay.forward(target, arrival, params)

        def over() -> None:
            if work in waiting:
                waiting.remove(work)
                if not waiting:
                    del self._waiting[place]
            work()

        work = relay.hold(arrival, relay.bind(go_on))
        waiting = self._waiting.setdefault(place, [])
        waiting.append(work)
        relay.later(relay.settings.sign_in_wait, over)

    def _tell(self, arrival: Arrival, text: str) -> None:
        result = Raw(to_json({"content": [{"type": "text", "text": text}]}))
        self._relay.at(arrival.machine).respond(arrival.event.key, result)


def _cell(arrival: Arrival) -> Cell:
    """Return the cell in which a list of the relay's own gets the hints that its client needs."""
    return Cell.LEGACY_SERVER if arrival.event.revision.modern else Cell.LEGACY
