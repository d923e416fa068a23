"""Retries of parked calls that reach another worker of a gateway, in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, json, structs

from mcpcore.engine import ANY_EXTENSION, Limits, Peer
from mcpcore.engine.bodies import NO_META
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import InputRequired, RequestCancelled, RequestReceived
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.principals import Principal
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import Post, Said, Step
from mcpcore.relay.forwarding import NEWS_AHEAD, NEWS_APART, RetryNote
from mcpcore.relay.link import Target, UpstreamLink
from mcpcore.relay.relay import Relay
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import BUSY, INVALID_PARAMS, URL_ELICITATION_REQUIRED, ErrorData
from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.http.stored.storebench import StoreBench
from tests.http.support import META, Reply
from tests.relay.bench import (
    ANSWER,
    LEGACY,
    MODERN,
    WALL,
    Backend,
    Scene,
    ask,
    asking,
    keep,
    text,
    tools,
)

SILENCE = RelaySettings().worker_silence
ASK = {"name": "ask", "arguments": {"a": 1}}
CAN_ANSWER = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
WITH_NEWS = {**CAN_ANSWER, "progressToken": "p", "io.modelcontextprotocol/logLevel": "info"}


class Gateway(StoreBench):
    """Worker of a gateway, before a server of its own."""

    limits = Limits()

    def __init__(
        self,
        store: MemoryStore,
        name: str,
        handler: Callable[[Backend, Peer, RequestReceived], None] = tools,
        *,
        key: bytes = b"k" * 32,
        http: HttpSettings | None = None,
        revision: str = LEGACY,
        **settings: Any,
    ) -> None:
        super().__init__(store, name, http, asked_first=ASKABLE, extension_methods=ANY_EXTENSION)
        self.backend = Backend("a", revision, handler)
        self.relay = Relay(
            [Target("a", self._connect)],
            seal=make_seal(SealSettings(keys=(SealKey(key),))),
            place=f"place of {name}",
            settings=RelaySettings(**settings),
        )
        self.relay.start(now=self.now)
        self.pump()

    def _connect(self, link: UpstreamLink) -> Peer:
        return self.backend.connect(self, link)  # type: ignore[arg-type]

    def look(self) -> None:
        moving = True
        while moving:
            moving = False
            while (event := self.server.next_event()) is not None:
                moving = True
                if isinstance(event, Step):
                    self.worker.asked.append(event)
                else:
                    self.events.append(event)
                    self.relay.from_client(self.server, event, now=self.now, wall=WALL)
            for link, near, far in [] if self.backend.down else list(self.backend.wires):
                for one, other in ((near, far), (far, near)):
                    if data := one.lines_to_send():
                        other.receive_data(data, now=self.now)
                        moving = True
                while (event := far.next_event()) is not None:
                    self.backend.take(far, event)
                    moving = True
                while (event := near.next_event()) is not None:
                    self.relay.from_server(link, event, now=self.now, wall=WALL)
                    moving = True

    def ask(self, tool: dict[str, Any] = ASK, meta: Any = CAN_ANSWER, **options: Any) -> Reply:
        """Call a tool; its reply, which may go on growing."""
        return self.modern("tools/call", tool, meta=meta, **options)

    def again(self, asked: Any, answer: Any = ANSWER, **options: Any) -> Reply:
        """Answer the questions of a result."""
        answers = {} if answer is None else dict.fromkeys(asked["inputRequests"], answer)
        more = {"requestState": asked["requestState"], "inputResponses": answers}
        return self.ask({**ASK, **more}, **options)


def gateways(count: int = 2, *, mailbox: int = 100, **settings: Any) -> list[Gateway]:
    made: list[Gateway] = []
    clock: Callable[[], float] = lambda: made[0].now if made else 0.0  # noqa: E731
    store = MemoryStore(StoreSettings(lease=1e9, mailbox=mailbox), clock=clock)
    made += [Gateway(store, f"w{number}", **settings) for number in range(count)]
    return made


def settle(*benches: Gateway) -> None:
    for _ in range(6):
        for bench in benches:
            bench.pump()


def wait(seconds: float, *benches: Gateway, pace: float = 1) -> None:
    """Let time pass at these workers."""
    for _ in range(int(seconds / pace)):
        for bench in benches:
            bench.now += pace
            bench.server.handle_timeout(bench.now)
            bench.relay.handle_timeout(bench.now)
        settle(*benches)


def messages(reply: Reply) -> list[Any]:
    if reply.head is not None and reply.headers["content-type"] == "text/event-stream":
        return reply.events
    return [reply.json] if reply.end is not None else []


def result(reply: Reply) -> Any:
    return messages(reply)[-1]["result"]


def said(reply: Reply) -> str | None:
    """The text of a result, the message of an error; None if there is no answer yet."""
    if reply.end is None:
        return None
    message = messages(reply)[-1]
    if "error" in message:
        return str(message["error"]["message"])
    return str(message["result"]["content"][0]["text"])


def calls(*benches: Gateway) -> int:
    return sum(len(bench.backend.requests("tools/call")) for bench in benches)


def notes(bench: Gateway) -> list[str]:
    """Kinds of the notes that a relay has sent."""
    sent = [json.decode(step.note) for step in bench.asked(Post)]
    return [each["content"]["type"] for each in sent if each["note"] == "said"]


slow = asking(keep)
"""A tool that asks and then works for as long as the test wants."""


def retried(meta: Any = CAN_ANSWER, **settings: Any) -> tuple[Gateway, Gateway, Any, Reply]:
    """A call that works on at one worker, and its retry, which is heard of at another."""
    one, other = gateways(handler=slow, **settings)
    asked = result(one.ask(meta=meta))
    reply = other.again(asked, meta=meta)
    settle(one, other)
    return one, other, asked, reply


def test_a_retry_finds_its_call_and_its_repetition_the_outcome_at_either_worker() -> None:
    one, other = gateways()
    ann = Principal("ann", scopes=["tools"])  # no plain string
    asked = result(one.ask(principal=ann))
    reply = other.again(asked, principal=ann)
    assert said(reply) is None
    settle(one, other)
    assert said(reply) == "Hello Ada"
    for bench in (other, one, other):
        wait(19, one, other)
        reply = bench.again(asked, principal=ann)
        settle(one, other)
        assert said(reply) == "Hello Ada"
    wait(4, one, other)
    reply = other.again(asked, principal=ann)
    settle(one, other)
    assert "its call has ended" in str(said(reply))
    sent = len(notes(one))
    assert "its call has ended" in str(said(one.again(asked, principal=ann)))
    assert len(notes(one)) == sent
    assert calls(one, other) == 1
    assert one.relay.idle
    assert other.relay.idle
    assert one.server.calls == other.server.calls == 0


def test_an_error_of_the_server_is_an_outcome_too() -> None:
    one, other, _, reply = retried()
    for _, near, _ in one.backend.wires:
        near.receive_eof(now=one.now)
    settle(one, other)
    error = messages(reply)[-1]["error"]
    assert error["message"].startswith("a: ")
    assert error["data"]["server"] == "a"


def test_a_second_question_and_missing_answers_go_back_to_the_client() -> None:
    one, other, third = gateways(3, handler=asking(ask))
    asked = result(one.ask())
    for bench in (other, third):
        reply = bench.again(asked)
        settle(one, other, third)
        first, asked = asked, result(reply)
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"].keys() != first["inputRequests"].keys()
        reply = bench.again(asked, answer=None)  # asked again
        settle(one, other, third)
        assert result(reply)["inputRequests"] == asked["inputRequests"]
        if bench is other:
            break
    reply = third.again(asked)
    settle(one, other, third)
    assert said(reply) == "Hello Ada"
    assert calls(one, other, third) == 1


def test_progress_and_log_messages_come_before_the_answer() -> None:
    one, other, _, reply = retried(WITH_NEWS)
    peer, key = one.backend.waiting["call"]
    peer.progress(key, 1)
    settle(one, other)
    wait(1, one, other)
    [(link, _, _)] = [wire for wire in one.backend.wires if wire[0].calls]
    [id] = link.calls
    polled = StreamInterrupted(
        request=id, recovery=Recovery.RESUME, attempt=1, delay=1.0, reason="polling"
    )
    one.relay.from_server(link, polled, now=one.now, wall=WALL)  # a modern client does not poll
    peer.progress(key, 3, 4, "more")
    peer.log(key, "warning", {"a": 1})
    settle(one, other)
    for bench in (one, other):
        bench.relay.called.clear()
    peer.respond(key, text("done"))
    settle(one, other)
    for bench in (one, other):  # which the driver flushes then
        assert bench.server in bench.relay.called
    *news, last = messages(reply)
    shown = [each["params"].get("progress", each["params"].get("data")) for each in news]
    assert shown == [1, 3, {"a": 1}]
    assert last["result"]["content"][0]["text"] == "done"


@pytest.mark.parametrize(
    ("asked_for", "progress", "logs"),
    [
        ({}, False, False),
        ({"progressToken": "p"}, True, False),
        ({"io.modelcontextprotocol/logLevel": "info"}, False, True),
        ({"io.modelcontextprotocol/logLevel": "error"}, False, False),
    ],
)
def test_news_that_nobody_wants_and_floods_stay_where_they_are(
    asked_for: dict[str, str], progress: bool, logs: bool
) -> None:
    one, other = gateways(handler=slow)
    meta = {**CAN_ANSWER, **asked_for}
    reply = other.again(result(one.ask(meta=WITH_NEWS)), meta=meta)
    settle(one, other)
    peer, key = one.backend.waiting["call"]
    for number in range(200):  # more than the mailbox holds
        peer.progress(key, number)
        peer.log(key, "info", number)
    one.pump()
    peer.respond(key, text("done"))
    settle(one, other)
    *news, _ = messages(reply)
    methods = {each["method"] for each in news}
    assert ("notifications/progress" in methods) == progress
    assert ("notifications/message" in methods) == logs
    assert said(reply) == "done"
    assert notes(one).count("call") == len(news) + 1
    assert len(news) <= NEWS_AHEAD / NEWS_APART


def test_news_go_on_after_a_flood() -> None:
    one, other, _, reply = retried(WITH_NEWS)
    peer, key = one.backend.waiting["call"]
    for number in range(100):
        peer.progress(key, number)
    settle(one, other)
    wait(1, one, other)
    peer.progress(key, 1_000)
    peer.respond(key, text("done"))
    settle(one, other)
    assert messages(reply)[-2]["params"]["progress"] == 1_000


def test_a_long_wait_is_no_silence_and_many_retries_share_it() -> None:
    one, other = gateways(handler=slow, repeats=1)
    asked = result(one.ask())
    replies = [other.again(asked), one.again(asked), other.again(asked)]
    settle(one, other)
    assert [said(each) for each in replies] == [
        None,
        None,
        "busy: the request was repeated too often",
    ]
    wait(4 * SILENCE, one, other)
    assert said(replies[0]) is None
    peer, key = one.backend.waiting["call"]
    peer.respond(key, text("done"))
    settle(one, other)
    assert [said(each) for each in replies[:2]] == ["done", "done"]
    sent = len(notes(one))
    wait(20, one, other)
    assert len(notes(one)) == sent
    assert not one.relay.forwarding._beats


@pytest.mark.parametrize("silence", [SILENCE, 60.0])
@pytest.mark.parametrize("when", ["before", "while it waits"])
def test_a_worker_that_is_gone(when: str, silence: float) -> None:
    one, other = gateways(handler=slow, worker_silence=silence)
    asked = result(one.ask())
    if when == "while it waits":
        reply = other.again(asked)
        settle(one, other)
        assert one.backend.waiting
    one.worker.store.leave("w0")
    if when == "before":
        reply = other.again(asked)
    wait(silence - 1, other)
    assert said(reply) is None
    waits = not other.relay.idle
    assert waits
    wait(silence / 3 + 1, other)
    assert "does not answer; repeat the request, or send it again without" in str(said(reply))
    assert messages(reply)[-1]["error"]["code"] == INVALID_PARAMS
    assert other.relay.idle
    assert other.server.calls == 0


@pytest.mark.parametrize("done", [False, True])
def test_a_store_that_fails(done: bool) -> None:
    one, other = gateways()
    asked = result(one.ask())
    other.failing("Post", done=done)
    reply = other.again(asked)
    settle(one, other)
    assert reply.code == BUSY
    assert "the store does not pass the request on: it was told to fail" in str(said(reply))
    other.failing()
    reply = other.again(asked)
    settle(one, other)
    assert said(reply) == "Hello Ada"
    assert calls(one, other) == 1


def test_an_answer_that_the_store_loses_is_had_by_the_repetition() -> None:
    one, other = gateways()
    asked = result(one.ask())
    one.failing("Post")
    reply = other.again(asked)
    wait(SILENCE + 6, one, other)
    assert "does not answer; repeat the request" in str(said(reply))
    one.failing()
    reply = other.again(asked)
    settle(one, other)
    assert said(reply) == "Hello Ada"


def test_an_answer_that_the_store_loses_ends_no_retry_of_our_own() -> None:
    one, other = both = gateways(handler=slow)
    asked = [result(bench.ask()) for bench in both]
    reply, _ = one.again(asked[1]), other.again(asked[0])  # with the same key each
    settle(one, other)
    one.failing("Post")
    for bench in both:
        peer, key = bench.backend.waiting["call"]
        peer.respond(key, text(f"done by {bench.worker.name}"))
        one.pump()
        assert said(reply) is None
    settle(one, other)
    assert said(reply) == "done by w1"


def test_a_full_mailbox() -> None:
    one, other = gateways()
    asked = result(one.ask())
    note = json.encode(Said(session="", sender="w1", content=Raw(b"{}")))
    for _ in range(100):
        other.worker.do(Post(token=0, session="", to="w0", note=note), 0.0)
    reply = other.again(asked)
    assert reply.code == BUSY
    assert "the mailbox of worker w0 is full" in str(said(reply))
    settle(one, other)
    reply = other.again(asked)
    settle(one, other)
    assert said(reply) == "Hello Ada"


@pytest.mark.parametrize(
    ("principal", "tool", "why"),
    [
        ("bob", ASK, "another principal"),
        ("ann", {**ASK, "arguments": {"a": 2}}, "other parameters"),
    ],
)
def test_a_ticket_stays_bound(principal: str, tool: dict[str, Any], why: str) -> None:
    one, other = gateways()
    asked = result(one.ask(principal="ann"))
    state = asked["requestState"]
    reply = other.ask({**tool, "requestState": state}, principal=principal)
    assert why in str(said(reply))
    # a worker that is told so all the same does not believe it
    params = Raw(json.encode(tool))
    forged = RetryNote(99, principal, "tools/call", params, MODERN, state, None, NO_META)
    other.server.post_note("w0", Raw(json.encode(forged)), now=other.now)
    settle(one, other)
    [answer] = [
        json.decode(step.note)["content"] for step in one.asked(Post) if b'"fail"' in step.note
    ]
    assert why in answer["arguments"][0]["message"]
    assert not one.relay.idle
    reply = other.again(asked, principal="ann")
    settle(one, other)
    assert said(reply) == "Hello Ada"


def test_a_ticket_of_the_key_of_another_gateway() -> None:
    [one] = gateways(1)
    stranger = Gateway(MemoryStore(), "w9", key=b"x" * 32)
    asked = result(one.ask())
    assert "not given out by this server" in str(said(stranger.again(asked)))
    assert stranger.asked(Post) == []


def test_a_client_that_leaves_cancels_the_call() -> None:
    one, other, asked, _ = retried()
    other.cut(max(other.replies))
    settle(one, other)
    assert any(isinstance(event, RequestCancelled) for event in one.backend.events)
    assert one.relay.idle
    assert other.relay.idle
    assert one.server.calls == other.server.calls == 0
    assert notes(one) == []
    reply = other.again(asked)
    settle(one, other)
    assert "its call has ended" in str(said(reply))


@pytest.mark.parametrize("how", ["its worker dies", "the store fails", "a long reason"])
def test_a_call_whose_client_is_unheard_of_is_cancelled(how: str) -> None:
    one, other, _, _ = retried(http=HttpSettings(max_body=3000))
    [sent] = other.relay.forwarding._sent.values()
    if how == "its worker dies":
        other.worker.store.leave("w1")
    elif how == "the store fails":
        other.failing("Post")
        other.cut(max(other.replies))
        other.failing()
    else:
        left = RequestCancelled(key=sent.arrival.event.key, reason="r" * 3000)
        other.relay.from_client(other.server, left, now=other.now, wall=WALL)
    wait(SILENCE - 1, one)
    assert not one.relay.idle
    wait(6, one)
    assert any(isinstance(event, RequestCancelled) for event in one.backend.events)
    assert one.relay.idle


def test_many_retries_are_heard_of_in_short_notes() -> None:
    http = HttpSettings(max_body=1000)
    one, other = gateways(
        handler=slow, http=http, repeats=400, mailbox=1000, parked_per_principal=400
    )
    asked = result(one.ask())
    replies = [other.again(asked) for _ in range(400)]
    settle(one, other)
    wait(SILENCE + 6, one, other, pace=3)
    assert {said(reply) for reply in replies} == {None}
    peer, key = one.backend.waiting["call"]
    peer.respond(key, text("done"))
    settle(one, other)
    assert {said(reply) for reply in replies} == {"done"}


def test_no_more_retries_wait_elsewhere_than_are_allowed() -> None:
    one, other = gateways(handler=slow, parked=1)
    asked = result(one.ask())
    first, second = other.again(asked), other.again(asked)
    assert said(second) == "busy: 1 retries wait at other processes of the gateway"
    settle(one, other)
    assert said(first) is None


def test_one_principal_does_not_take_all_places_of_retries_that_wait_elsewhere() -> None:
    one, other = gateways(handler=slow, parked_per_principal=1)
    asked = {name: result(one.ask(principal=name)) for name in ("ann", "bob")}
    replies = [other.again(asked[name], principal=name) for name in ("ann", "ann", "bob")]
    settle(one, other)
    busy = "busy: 1 retries wait at other processes of the gateway, all of one caller"
    assert [said(reply) for reply in replies] == [None, busy, None]


def test_what_is_too_long_for_a_note_is_refused_with_the_reason() -> None:
    long = text("x" * 3000)
    handler = asking(lambda backend, peer, event: peer.respond(event.key, long))
    one, other = gateways(handler=handler, http=HttpSettings(max_body=3000))
    asked = result(one.ask(principal="ann" * 200))
    answer = {"action": "accept", "content": {"x": "x" * 2000}}
    reply = other.again(asked, answer=answer, principal="ann" * 200)
    assert "the request cannot be passed on: a note has at most 3000 bytes" in str(said(reply))
    reply = other.again(asked, principal="ann" * 200)
    settle(one, other)
    assert "a note has at most 3000 bytes" in str(said(reply))
    assert said(one.again(asked, principal="ann" * 200)) == "x" * 3000  # which needs no note


def test_news_that_are_too_long_are_dropped_and_errors_are_shortened() -> None:
    one, other, third = benches = gateways(3, handler=slow, http=HttpSettings(max_body=3000))
    asked = result(one.ask(meta=WITH_NEWS))
    replies = [bench.again(asked, meta=WITH_NEWS) for bench in (other, one, third)]
    settle(*benches)
    peer, key = one.backend.waiting["call"]
    peer.progress(key, 1, None, "x" * 3000)
    peer.log(key, "warning", "x" * 3000)
    settle(*benches)
    peer.progress(key, 2)
    peer.fail(key, ErrorData(INVALID_PARAMS, "y" * 3000))
    settle(*benches)
    assert said(replies.pop(1)) == "y" * 3000
    for reply in replies:
        *news, last = messages(reply)
        assert [each["params"]["progress"] for each in news] == [2]
        assert last["error"]["code"] == INVALID_PARAMS
        assert last["error"]["message"].startswith("y" * 100 + " (a note has at most 3000 bytes")
    wait(66, *benches, pace=3)
    assert all(bench.relay.idle for bench in benches)


@pytest.mark.parametrize("at", [0, 1])
def test_urls_that_a_server_wants_opened_are_asked_for(at: int) -> None:
    benches = one, other = gateways(handler=slow)
    can_open: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": can_open}
    reply = benches[at].again(result(one.ask(meta=meta)), meta=meta)
    settle(one, other)
    peer, key = one.backend.waiting["call"]
    wanted = {"mode": "url", "elicitationId": "1", "url": "https://x.example/", "message": "?"}
    data = {"elicitations": [wanted]}
    peer.fail(key, ErrorData.make(URL_ELICITATION_REQUIRED, "a URL", data))
    settle(one, other)
    [question] = result(reply)["inputRequests"].values()
    assert question["params"]["url"] == "https://x.example/"


def test_a_retry_that_was_sent_to_the_wrong_worker_goes_no_further() -> None:
    one, other, third = gateways(3)
    asked = result(one.ask())
    note = RetryNote(
        9, None, "tools/call", Raw(json.encode(ASK)), MODERN, asked["requestState"], {}, NO_META
    )
    other.server.post_note("w2", Raw(json.encode(note)), now=other.now)
    settle(one, other, third)
    assert notes(third) == ["call"]
    assert notes(one) == []


def test_notes_that_nobody_can_use_change_nothing() -> None:
    one, other, _, reply = retried()
    key = 1_000
    unknown = RetryNote(key, None, "tools/call", Raw(b"{}"), "2999-01-01", None, None, NO_META)
    for content in (
        {"type": "news"},
        json.decode(json.encode(unknown)),
        {"type": "waiting", "keys": [key], "sent": True},
        {"type": "waiting", "keys": [key], "sent": False},
        {"type": "call", "key": key, "call": "respond", "arguments": [{}]},
        {"type": "call", "key": key, "call": "close", "arguments": []},
        {"type": "cancel", "key": key, "reason": None},
    ):
        for bench, to in ((one, "w1"), (other, "w0")):
            bench.server.post_note(to, Raw(json.encode(content)), now=bench.now)
    [first, *_] = other.asked(Post)
    other.worker.do(structs.replace(first, token=0), 0.0)  # the retry once more
    [sent] = other.relay.forwarding._sent.values()
    stranger = StoreBench(other.worker.store, "w7")
    key = sent.arrival.event.key
    forged = {"type": "call", "key": key, "call": "respond", "arguments": [text("forged")]}
    stranger.server.post_note("w1", Raw(json.encode(forged)), now=stranger.now)
    stranger.pump()
    settle(one, other)
    assert said(reply) is None
    assert notes(one).count("call") == 2  # those of above
    peer, at = one.backend.waiting["call"]
    peer.respond(at, text("done"))
    settle(one, other)
    assert said(reply) == "done"


@pytest.mark.parametrize("call", ["respond", "progress"])
def test_a_call_that_its_server_cannot_make(call: str) -> None:
    one, other, _, reply = retried()
    [sent] = other.relay.forwarding._sent.values()
    note = {"type": "call", "key": sent.arrival.event.key, "call": call, "arguments": []}
    one.server.post_note("w1", Raw(json.encode(note)), now=one.now)
    settle(one, other)
    assert "the answer cannot be passed on" in str(said(reply))
    assert other.relay.idle


def test_a_ticket_of_a_connection_without_a_store_tells_no_worker() -> None:
    scene, [bench] = Scene(MODERN, Backend("a", LEGACY, tools)), gateways(1)
    scene.answers = None
    scene.ask("tools/call", ASK)
    [event] = scene.told(InputRequired)
    asked = {"inputRequests": event.requests, "requestState": event.state}
    assert "waits in another process" in str(said(bench.again(asked, principal="ann")))
    asked = result(bench.ask(principal="ann"))
    again = {"requestState": asked["requestState"], "inputResponses": {"1": ANSWER}}
    error = scene.error("tools/call", {**ASK, **again})
    assert "waits in another process" in error.message


@given(st.data())
def test_a_call_is_made_once_and_all_its_retries_end_alike(data: st.DataObject) -> None:
    """Steps and notes travel in any order, to any worker; the store fails now and then."""
    benches = gateways(3)
    asked = result(benches[0].ask())
    for bench in benches:
        bench.slow = True
    replies: list[Reply] = []
    for _ in range(data.draw(st.integers(1, 25), "steps")):
        bench = data.draw(st.sampled_from(benches), "worker")
        what = data.draw(st.sampled_from(["retry", "step", "mail", "fail", "mend", "time"]))
        if what == "retry" and len(replies) < 8:
            replies.append(bench.again(asked))
        elif what == "step":
            bench.step()
        elif what == "mail":
            bench.mail()
            bench.pump()
        elif what in ("fail", "mend"):
            bench.failing(*(["Post"] if what == "fail" else []), done=data.draw(st.booleans()))
        else:
            bench.now += 1
            bench.relay.handle_timeout(bench.now)
            bench.pump()
    for bench in benches:
        bench.slow = False
        bench.failing()
        bench.now = max(each.now for each in benches)
    settle(*benches)
    wait(SILENCE + 6, *benches, pace=3)
    replies.append(benches[-1].again(asked))
    settle(*benches)
    assert said(replies[-1]) == "Hello Ada"
    for reply in replies:
        told = str(said(reply))
        assert told == "Hello Ada" or told.startswith(("busy: ", "requestState: the process"))
    assert calls(*benches) == 1
    assert all(bench.server.calls == 0 for bench in benches)
    wait(66, *benches, pace=22)
    assert all(bench.relay.idle for bench in benches)
