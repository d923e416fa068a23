"""One Peer, any messages, any owner: what is sent and said is counted, and what is owed with it.

The same is said to a second Peer byte by byte, which must tell and send the same.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, Raw

from mcpcore import Config, InputRequest, Peer, Role
from mcpcore.engine.events import (
    ConnectionEnded,
    ErrorReceived,
    Event,
    InputRequired,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionClosed,
    SubscriptionOpened,
    Violation,
)
from mcpcore.engine.lifecycle import RequestState
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import Message, Reject, decode
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.messages import Identity

TERMINAL = (ResultReceived, ErrorReceived, RequestEnded, InputRequired)
_STEPS = 40

Step = Callable[[Peer], Any]


class Conversation:
    """Says things to a Peer and keeps count."""

    def __init__(self, role: Role, config: Config, c: Choices) -> None:
        self.c = c
        self.config = config
        self.peer = Peer(role, config)
        self.twin = Peer(role, config)
        self.delivered = 0
        """Lines that have arrived."""
        self.now = 0.0
        self.owed: Counter[Identity] = Counter()
        self.answered: Counter[Identity] = Counter()
        self.excused: Counter[Identity] = Counter()
        """Of those, how many need not be: it is not known whether their ids could be read."""
        self.called_off: set[Identity] = set()
        """Ids that the line which is arriving calls off."""
        self.refused = False
        """Something in that line is not as it must be."""
        self.open: dict[int, Any] = {}
        """Requests of the other side that its owner was told of: their ids."""
        self.streams: dict[int, Any] = {}
        self.asked: list[dict[str, Any]] = []
        """Requests that the Peer has sent."""
        self.issued: set[Any] = set()
        self.ended: Counter[Any] = Counter()
        self.waiting: list[Any] = []
        """Requests of ours that wait for input."""
        self.over = False
        self.silent = self.gone = False
        """The other side has said all that it will say; it hears nothing any more either."""
        self.farewells: set[int] = set()
        """Listen streams that we end ourselves, which are answered."""
        self.held_back = False
        """What the Peer has to send stays where it is for now."""

    # Doing

    def step(self, act: Step, *, told: Step | None = None) -> Any:
        """Do something to both Peers; ``told``: the same for the other one in another way."""
        try:
            outcome = act(self.peer)
        except (LocalProtocolError, CapabilityMissing) as error:
            outcome = error
        try:
            other = (told or act)(self.twin)
        except (LocalProtocolError, CapabilityMissing) as error:
            other = error
        assert type(outcome) is type(other)
        assert isinstance(outcome, Exception) or outcome == other
        self.settle()
        return outcome

    def line(self, data: bytes) -> None:
        """Let a line arrive."""
        self.delivered += 1
        self._note(data)

        def whole(peer: Peer) -> None:
            peer.receive_data(data + b"\n", now=self.now)

        def bytewise(peer: Peer) -> None:
            for byte in data + b"\n":
                peer.receive_data(bytes([byte]), now=self.now)

        before, self.refused = self._active(), False
        self.step(whole, told=bytewise)
        heeded = not self._active() & before & self.called_off
        assert heeded or self.refused, f"none of {self.called_off} is to go on"
        self.called_off.clear()

    def _active(self) -> set[Identity]:
        """Ids of requests that the owner works on."""
        return {
            messages.identity(record.id)
            for record in self.peer._endpoint.inbound.values()
            if record.key in self.open and record.state is RequestState.ACTIVE
        }

    def settle(self) -> None:
        """Take what there is to be told and sent."""
        events = _drain(self.peer)
        assert events == _drain(self.twin)
        for event in events:
            self._event(event)
        self._check_tables()
        if not self.held_back:
            self.flush()

    def flush(self) -> None:
        """Take what waits to be sent."""
        data = self.peer.lines_to_send()
        assert data == self.twin.lines_to_send()
        assert messages.SECRET.encode() not in data, "an answer repeats what could not be read"
        for line in data.splitlines():
            self._sent(line)

    # Counting

    def _note(self, data: bytes) -> None:
        """What a line will owe, if nothing has ended."""
        limits, client = self.config.limits, self.peer.role is Role.CLIENT
        if not data.strip() or self.over:
            return
        if len(data.removesuffix(b"\r")) > limits.message_size:
            # It was too long to be read, so that its id may be known or not.
            self._owe(UNSET)
            self._owe_loosely(data[:1024])
            return
        frame = decode(data.removesuffix(b"\r"), max_depth=limits.depth, max_batch=limits.batch)
        if isinstance(frame, list):
            revision = self.peer.revision
            if revision is None or not revision.batches:
                self.owed[messages.identity(UNSET)] += not client
            else:
                for part in frame:
                    self._note_one(part)
        else:
            self._note_one(frame)

    def _note_one(self, part: Message | Reject) -> None:
        client = self.peer.role is Role.CLIENT
        if isinstance(part, Reject):
            if part.owed and not (
                client and (part.id is None or self.peer._state.is_modern_client)
            ):
                self._owe(part.id)
        elif (id := messages.called_off(part)) is not None:
            self.called_off.add(id)
        elif (
            part.method is not UNSET
            and part.id is not UNSET
            and not self.peer._state.is_modern_client
        ):
            self._owe(part.id)

    def _owe(self, id: Any) -> None:
        self.owed[messages.identity(id)] += 1

    def _owe_loosely(self, head: bytes) -> None:
        self.excused[messages.identity(UNSET)] += 1
        for id in messages.IDS:
            if (
                json.dumps(id).encode() in head
                or json.dumps(id, ensure_ascii=False).encode() in head
            ):
                self.owed[messages.identity(id)] += 1
                self.excused[messages.identity(id)] += 1

    def _sent(self, line: bytes) -> None:
        parts = messages.read_ours(line)
        frame = decode(line)
        assert not isinstance(frame, Reject), frame
        for part in parts if isinstance(parts, list) else [parts]:
            assert part["jsonrpc"] == "2.0"
            if "method" in part:
                if "id" in part:
                    self.asked.append(part)
                continue
            name = messages.identity(part.get("id"))
            self.answered[name] += 1
            assert self.answered[name] <= self.owed[name], f"nobody has asked: {line!r}"

    def _event(self, event: Event) -> None:
        assert not self.over, f"after the end: {event}"
        if isinstance(event, RequestReceived):
            assert event.key not in self.open
            self.open[event.key] = event.id
        elif isinstance(event, RequestCancelled):
            self._given_up(self.open[event.key], lawful=self.gone)
        elif isinstance(event, SubscriptionOpened):
            self.streams[event.key] = self.peer._endpoint.inbound[event.key].id
        elif isinstance(event, SubscriptionClosed):
            id = self.streams.pop(event.key)
            if event.key not in self.farewells:
                self._given_up(id, lawful=self.silent)
        elif isinstance(event, TERMINAL):
            assert event.request in self.issued, "nobody has asked for it"
            self.ended[event.request] += 1
            assert self.ended[event.request] == 1, "a second end of one request"
            if isinstance(event, InputRequired):
                self.waiting.append(event.request)
        elif isinstance(event, Violation):
            self.refused = True
        elif isinstance(event, ConnectionEnded):
            self.over = True

    def _given_up(self, id: Any, *, lawful: bool) -> None:
        """Nobody waits for the answer to ``id`` any more, so that it must not come either."""
        name = messages.identity(id)
        assert lawful or name in self.called_off, f"nobody has called off {name}"
        self.owed[name] -= 1

    def _check_tables(self) -> None:
        peer, limits = self.peer, self.config.limits
        assert not peer._endpoint.inbox
        assert len(peer._state.streams) <= limits.listen_streams
        assert len(peer._endpoint.inbound) <= limits.in_flight + limits.listen_streams
        assert len(peer._state.in_flight_by_id) == len(peer._endpoint.inbound)
        assert len(peer._state.uris) <= limits.subscriptions
        assert peer.pending + len(peer._state.waiting_input) <= limits.pending + 2
        assert peer._endpoint.outbound.keys() <= {*peer._state.pending}
        due = peer.deadline()
        assert due is None or math.isfinite(due)
        assert due == self.twin.deadline()

    # What an owner may do

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.step(lambda peer: peer.handle_timeout(self.now))
        due = self.peer.deadline()
        assert due is None or due > self.now, "what is due is done"

    def own(self) -> None:
        """Let the owner do something, be it right or wrong."""
        c, key = self.c, self._key()
        method = c.pick(messages.METHODS)
        body = messages.params(c, method)
        match c.below(16):
            case 0 | 1 | 2:
                self._answer(key)
            case 3:
                self.step(lambda peer: peer.fail(key, ErrorData(-7, "no")))
            case 4:
                question = InputRequest(c.pick(("elicitation/create", "roots/list", "x")), {})
                state = c.pick((None, "s"))
                self.step(lambda peer: peer.require_input(key, {"q": question}, state))
            case 5:
                value = float(c.byte())
                self.step(lambda peer: peer.progress(key, value, 9.0, "m"))
            case 6:
                where = c.pick((None, key))
                level = c.pick(("debug", "error", "loud"))
                self.step(lambda peer: peer.log(where, level, {"x": 1}, "l"))
            case 7:
                parent, told = self._relayed(body, (None, key), key)
                self.step(lambda peer: peer.notify(method, told, parent=parent))
            case 8 | 9:
                parent, told = self._relayed(body, (None, None, key), key)
                self._ask(method, told, parent)
            case 10 if self.issued:
                request = c.pick(sorted(self.issued, key=str))
                self.step(lambda peer: peer.cancel(request, now=self.now, reason="enough"))
            case 11 if self.waiting:
                request = c.pick(self.waiting)
                answers = {"q": {"action": "decline"}} if c.flag() else {}
                outcome = self.step(lambda peer: peer.retry(request, answers, now=self.now))
                if not isinstance(outcome, Exception):
                    self.waiting.remove(request)
                    self.issued.add(outcome)
            case 12:
                self.pass_time(c.pick((0.0, 1.0, 6.0, 70.0)))
            case 13:
                self._end_stream()
            case 14:
                self._release()
            case 15:
                self.held_back = not self.held_back

    def _relayed(
        self, body: dict[str, Any], parents: Sequence[int | None], key: int
    ) -> tuple[int | None, Body]:
        """A parent, and the body as the owner or, seldom, a relay gives it."""
        found: list[tuple[int | None, Body]] = [(parent, body) for parent in parents]
        passed_on = messages.relayed(body)
        return self.c.seldom(found, [(None, passed_on), (key, passed_on)])

    def _key(self) -> int:
        known = [*self.open, *self.streams]
        return self.c.pick(known) if known and not self.c.flag(16) else self.c.below(4)

    def _answer(self, key: int, *, admits: bool = True) -> None:
        """Answer, or decide about what the engine is to answer."""
        body: Body = {"content": []} if key % 5 else _PASSED_ON
        record = self.peer._endpoint.inbound.get(key)
        if record is None or not record.held:
            self.step(lambda peer: peer.respond(key, body))
        elif admits and key % 3:
            self.step(lambda peer: peer.admit(key))
        else:
            assert isinstance(self.step(lambda peer: peer.respond(key, body)), LocalProtocolError)
            self.step(lambda peer: peer.fail(key, ErrorData(-7, "no")))

    def _ask(self, method: str, body: Body, parent: int | None) -> None:
        c = self.c
        timeout = c.pick((None, 1.0, 5.0))
        progress, force = c.flag(), c.flag(4)
        outcome = self.step(
            lambda peer: peer.request(
                method,
                body,
                now=self.now,
                timeout=timeout,
                parent=parent,
                progress=progress,
                force=force,
            )
        )
        if not isinstance(outcome, Exception):
            assert outcome not in self.issued
            self.issued.add(outcome)
            self.settle()

    def _end_stream(self) -> None:
        if self.streams:
            key = self.c.pick(list(self.streams))
            self.farewells.add(key)
            self.step(lambda peer: peer.end_subscription(key))

    def _release(self) -> None:
        for key in list(self.open):
            self.step(lambda peer, key=key: peer.release(key))  # type: ignore[misc]

    # The end

    def end_of_input(self, *, half: bool) -> bool:
        """The other side says no more; whether it still listens."""
        self.silent, self.gone = True, not half
        self.step(lambda peer: peer.receive_eof(now=self.now, half=half))
        return half

    def close(self) -> None:
        """Our side says no more, and ends what listens to it."""
        self.farewells.update(self.streams)
        self.step(lambda peer: peer.close(now=self.now))

    def finish(self) -> None:
        """Answer all that is open: then nothing is owed, and in the end nothing is left."""
        self.held_back = False
        self.settle()
        for key in list(self.streams):
            self.farewells.add(key)
            self.step(lambda peer, key=key: peer.end_subscription(key))  # type: ignore[misc]
        for key in list(self.open):
            record = self.peer._endpoint.inbound.get(key)
            if record is not None and record.state is RequestState.ACTIVE:
                self._answer(key, admits=False)  # a listen stream would not end
        self._release()
        assert not self.peer._endpoint.inbound
        if not self.over:
            for name, count in self.owed.items():
                missing = count - self.answered[name]
                assert missing <= self.excused[name], f"{name} is owed an answer"
        if not self.over:
            self.silent = self.gone = True
            self.step(lambda peer: peer.end(now=self.now))
            assert self.over
        self._release()
        for id in self.issued:
            if id not in self.waiting:
                assert self.ended[id] == 1, f"{id} has no end"
        peer = self.peer
        assert not peer._state.pending
        assert not peer._endpoint.outbound
        assert not peer._state.in_flight_by_id
        assert not peer._state.streams
        assert peer.deadline() is None
        assert peer.next_event() is None


_PASSED_ON = Raw(b'{"content":[],"\\u005fmeta":{"a/b":1e999},"resul\\u0074Type":"complete"}')
"""What a relay may answer with."""


def _drain(peer: Peer) -> list[Event]:
    events = []
    while (event := peer.next_event()) is not None:
        events.append(event)
    return events


def helpful(asked: dict[str, Any]) -> bytes:
    """What a good server answers to the requests with which a client begins."""
    result: dict[str, Any] = {"resultType": "complete", "content": []}
    offers = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
    if asked["method"] == "initialize":
        result = {
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": offers,
            "serverInfo": {"name": "fuzz", "version": "1"},
        }
    elif asked["method"] == "server/discover":
        result |= {
            "supportedVersions": list(messages.VERSIONS[:5]),
            "capabilities": offers,
            "ttlMs": 0,
            "cacheScope": "public",
        }
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()


def talk(conversation: Conversation, *, modern: bool) -> None:
    """Any messages and any acts, as long as there are choices; then the end."""
    c = conversation.c
    for _ in range(_STEPS):
        if not c or conversation.over:
            break
        match c.below(8):
            case 0 | 1 | 2 | 3:
                ids = [asked["id"] for asked in conversation.asked[-4:]]
                about = list(conversation.open.values())[-3:]
                conversation.line(messages.any_message(c, modern=modern, ids=ids, about=about))
            case 4 if conversation.asked:
                conversation.line(helpful(c.pick(conversation.asked[-3:])))
            case 5 if c.flag(16):
                if conversation.end_of_input(half=c.flag()):
                    break
            case 6 if c.flag(16):
                conversation.close()
            case _:
                conversation.own()
    conversation.finish()
