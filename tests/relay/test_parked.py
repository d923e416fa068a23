"""Calls that wait at the relay for the retry of a modern client."""

from functools import partial
from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    RequestCancelled,
    RequestReceived,
    ResultReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INTERNAL_ERROR
from tests.relay.bench import (
    ANSWER,
    LEGACY,
    MODERN,
    QUESTION,
    Backend,
    Handler,
    Scene,
    asking,
    keep,
    relayed,
    text,
    tools,
)
from tests.relay.test_lists import Unsealing

ASK = {"name": "ask", "arguments": {"a": 1}}


def parked(server: str = LEGACY, **settings: Any) -> tuple[Scene, Backend, InputRequired]:
    """A scene with one parked call, and what its client was told."""
    scene, backend = relayed(MODERN, server, settings=RelaySettings(**settings))
    scene.answers = None
    scene.ask("tools/call", ASK)
    [event] = scene.told(InputRequired)
    return scene, backend, event


def again(scene: Scene, event: InputRequired, **changes: Any) -> Any:
    """Retry by hand, as any client could; returns result or error, None if it waits."""
    params = {
        **ASK,
        "requestState": event.state,
        "inputResponses": dict.fromkeys(event.requests, ANSWER),
        **changes,
    }
    end = scene.ask("tools/call", params)
    if isinstance(end, ResultReceived):
        return json.decode(end.result)["content"][0]["text"]
    return end.error.message if isinstance(end, ErrorReceived) else None


def test_the_question_is_that_of_the_server() -> None:
    _, _, event = parked()
    [question] = event.requests.values()
    assert json.decode(question) == {"method": "elicitation/create", "params": QUESTION}


def test_a_repeated_retry_gets_the_same_outcome_for_a_minute() -> None:
    scene, backend, event = parked()
    for _ in range(3):
        assert again(scene, event) == "Hello Ada"
        scene.wait(19)
    scene.wait(4)
    assert "its call has ended" in again(scene, event)
    assert len(backend.requests("tools/call")) == 1
    assert scene.relay.idle


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arguments": {"a": 2}}, "other parameters"),
        ({"requestState": "x"}, "altered"),
        ({"requestState": "AAAA" * 30}, "not given out"),
    ],
)
def test_a_ticket_is_for_one_request_only(changes: dict[str, Any], said: str) -> None:
    scene, _, event = parked()
    assert said in again(scene, event, **changes)
    assert again(scene, event) == "Hello Ada"


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_a_ticket_is_for_one_principal_only(server: str) -> None:
    """... and the state of a modern server is sealed."""
    scene, _, event = parked(server)
    assert "a state" not in str(event.state)
    scene.front.principal = "bob"
    assert "another principal" in again(scene, event)
    scene.front.principal = "ann"
    assert again(scene, event) == "Hello Ada"


def test_a_retry_without_the_answer_is_asked_again() -> None:
    scene, backend, event = parked()
    assert again(scene, event, inputResponses={}) is None
    first, second = scene.told(InputRequired)
    assert second.requests.keys() == first.requests.keys()
    assert again(scene, second) == "Hello Ada"
    assert len(backend.requests("tools/call")) == 1


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_answers_without_a_ticket_are_for_a_modern_server(revision: str) -> None:
    backend = Backend("a", revision, tools)
    Scene(MODERN, backend).ask("tools/call", {"name": "echo", "inputResponses": {"who": ANSWER}})
    [call] = backend.requests("tools/call")
    answers = {name: json.decode(each) for name, each in (call.input_responses or {}).items()}
    assert answers == ({"who": ANSWER} if revision == MODERN else {})
    assert call.request_state is None


def test_line_breaks_in_answers_stay_behind() -> None:
    """A message over HTTP may have them, a line of another wire may not."""
    scene, backend = relayed(MODERN, MODERN)
    params = {"name": "echo", "inputResponses": {"who": ANSWER}}
    scene.client.request("tools/call", params, now=scene.now)
    message = scene.client.lines_to_send().replace(b'"content":', b'"content":\r\n')
    scene.front.receive(message, now=scene.now)
    scene.move()
    [call] = backend.requests("tools/call")
    assert json.decode((call.input_responses or {})["who"]) == ANSWER


def test_a_call_that_waits_too_long_ends_at_the_server() -> None:
    scene, backend, event = parked(parked_timeout=30.0)
    scene.wait(29)
    assert not any(isinstance(each, RequestCancelled) for each in backend.events)
    scene.wait(2)
    assert any(isinstance(each, RequestCancelled) for each in backend.events)
    assert "its call has ended" in again(scene, event)
    assert scene.relay.idle


def test_no_more_calls_wait_than_are_allowed() -> None:
    scene, backend, event = parked(parked=1)
    error = scene.error("tools/call", {"name": "ask"})
    assert (error.code, error.message) == (1001, "busy: 1 calls wait for input")
    assert again(scene, event) == "Hello Ada"
    assert any(isinstance(each, RequestCancelled) for each in backend.events)


def test_one_principal_does_not_take_all_places_of_waiting_calls() -> None:
    scene, backend, _ = parked(parked_per_principal=1)
    other = Scene(MODERN, backend, beside=scene, principal="bob")
    error = scene.error("tools/call", {"name": "ask"})
    assert error.message == "busy: 1 calls wait for input, all of one caller"
    assert other.call("ask") == "Hello Ada"


def test_an_outcome_that_is_kept_takes_no_place_of_a_waiting_call() -> None:
    scene, backend, event = parked(parked=1)
    other = Scene(MODERN, backend, beside=scene, principal="bob")
    assert again(scene, event) == again(scene, event) == "Hello Ada"
    assert other.call("ask") == "Hello Ada"
    assert "its call has ended" in again(scene, event)  # as many outcomes are kept, the last ones


def test_a_principal_s_outcomes_push_out_its_own() -> None:
    scene, backend, event = parked(parked_per_principal=1)
    other = Scene(MODERN, backend, beside=scene, principal="bob")
    assert again(scene, event) == "Hello Ada"
    assert other.call("ask", a=1) == "Hello Ada"
    [kept] = other.told(InputRequired)
    scene.answers = ANSWER
    assert scene.call("ask", b=1) == "Hello Ada"
    assert again(other, kept) == "Hello Ada"
    assert "its call has ended" in again(scene, event)


def test_a_call_that_ends_while_it_waits_leaves_its_outcome_to_the_retry() -> None:
    scene, backend, event = parked()
    [request] = backend.requests("tools/call")
    _, _, far = backend.wires[-1]
    far.respond(request.key, text("never mind"))
    scene.move()
    assert again(scene, event) == "never mind"


def test_a_server_that_goes_away_while_a_call_waits() -> None:
    scene, backend, event = parked()
    scene.lose(backend)
    assert again(scene, event).startswith("a: ")
    scene.wait(61)
    assert scene.relay.idle


def test_a_retry_that_is_cancelled_cancels_the_call() -> None:
    scene, backend = relayed(MODERN, LEGACY, asking(keep))
    id = scene.ask("tools/call", ASK)
    [event] = scene.told(InputRequired)
    retry = max(scene.client._state.pending)
    assert retry != id
    scene.cancel(retry)
    assert any(isinstance(each, RequestCancelled) for each in backend.events)
    assert "its call has ended" in again(scene, event)
    assert scene.relay.idle
    assert scene.front.in_flight == 0


def test_retries_at_the_same_time_get_the_same_outcome() -> None:
    scene, backend = relayed(MODERN, LEGACY, asking(keep), settings=RelaySettings(repeats=2))
    scene.answers = None
    scene.ask("tools/call", ASK)
    [event] = scene.told(InputRequired)
    assert [again(scene, event) for _ in range(3)] == [None, None, None]
    assert again(scene, event) == "busy: the request was repeated too often"
    scene.cancel(min(scene.client._state.pending))
    peer, key = backend.waiting["call"]
    peer.respond(key, text("once"))
    scene.move()
    assert len(scene.told(ResultReceived)) == 2
    assert len(backend.requests("tools/call")) == 1


def test_retries_at_the_same_time_all_end_though_what_is_done_for_one_raises() -> None:
    scene, backend = relayed(MODERN, LEGACY, asking(keep))
    scene.answers = None
    scene.ask("tools/call", ASK)
    [event] = scene.told(InputRequired)
    assert [again(scene, event) for _ in range(3)] == [None, None, None]
    scene.relay.seal = Unsealing()
    peer, key = backend.waiting["call"]
    peer.request("elicitation/create", QUESTION, now=0.0, parent=key)
    with pytest.raises(RuntimeError, match="no keys"):
        scene.move()
    scene.move()
    assert [each.error.code for each in scene.told(ErrorReceived)] == [INTERNAL_ERROR] * 3


def many(count: int) -> Handler:
    """A tool that asks so many times, one after the other."""
    if count:
        return asking(many(count - 1))
    return lambda backend, peer, event: peer.respond(event.key, text("done"))


def test_questions_one_after_the_other() -> None:
    """The next one needs no further place."""
    scene = Scene(MODERN, Backend("a", LEGACY, many(10)), settings=RelaySettings(parked=1))
    assert scene.call("ask") == "done"
    assert [event.round for event in scene.told(InputRequired)] == list(range(1, 11))
    scene.wait(61)
    assert scene.relay.idle


def test_questions_at_once() -> None:
    """The retry is told of those that came after the first."""

    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        left = {0, 1, 2}

        def answered(number: int, _: Raw) -> None:
            left.discard(number)
            if not left:
                peer.respond(event.key, text("done"))

        for number in sorted(left):
            id = peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
            backend.waiting[id] = lambda answer, number=number: answered(number, answer)

    scene = Scene(MODERN, Backend("a", LEGACY, asks))
    assert scene.call("ask") == "done"
    asked = [key for event in scene.told(InputRequired) for key in event.requests]
    assert len(asked) == len(set(asked)) == 3


def test_rounds_between_a_legacy_client_and_a_modern_server_are_bounded() -> None:
    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        question = Raw(json.encode({"method": "elicitation/create", "params": QUESTION}))
        peer.require_input(event.key, {"who": question}, "s")

    scene, backend = relayed(LEGACY, MODERN, asks)
    assert "more than 10 times" in scene.error("tools/call", ASK).message
    assert len(backend.requests("tools/call")) == 11
    assert scene.relay.idle


def test_a_state_that_is_too_large_to_be_sealed() -> None:
    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        question = Raw(json.encode({"method": "elicitation/create", "params": QUESTION}))
        peer.require_input(event.key, {"who": question}, "s" * 300_000)

    scene = Scene(MODERN, Backend("a", MODERN, asks))
    error = scene.error("tools/call", ASK)
    assert error.code == -32603
    assert error.message.startswith("a: the state of an input round is ")
    assert scene.relay.idle


def test_a_question_belongs_to_a_call_whose_client_can_be_asked() -> None:
    """A list has no questions: one that comes meanwhile waits for nobody."""

    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        parent = event.key if backend.waiting else None
        peer.request("elicitation/create", QUESTION, now=0.0, parent=parent)
        backend.waiting["end"] = partial(peer.respond, event.key, {"tools": []})

    for named in (False, True):
        backend = Backend("a", LEGACY, asks)
        backend.waiting.update({"named": True} if named else {})
        scene = Scene(MODERN, backend)
        scene.ask("tools/list")
        [error] = [each for each in backend.events if isinstance(each, ErrorReceived)]
        assert "there is no client that can be asked" in error.error.message
        backend.waiting["end"]()
        scene.move()
        assert isinstance(scene.events[-1], ResultReceived)


def test_a_question_that_the_server_takes_back() -> None:
    """Its timeout has passed: the retry gets what the call has become."""

    def impatient(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        id = peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
        backend.waiting["call"] = peer, event.key, id

    scene, backend = relayed(MODERN, LEGACY, impatient)
    scene.answers = None
    scene.ask("tools/call", ASK)
    [event] = scene.told(InputRequired)
    peer, key, id = backend.waiting["call"]
    peer.cancel(id, now=0.0)
    scene.move()
    scene.wait(RelaySettings().parked_timeout + 1)
    assert again(scene, event) is None
    peer.respond(key, text("without it"))
    scene.move()
    assert again(scene, event) == "without it"
    scene.wait(61)
    assert scene.relay.idle


def test_connections_without_a_principal_have_an_allowance_each() -> None:
    first, backend = relayed(
        MODERN, LEGACY, settings=RelaySettings(parked_per_principal=1), principal=None
    )
    other = Scene(MODERN, backend, beside=first, principal=None)
    first.relay.targets["a"].shared = False  # nothing else tells whose a question is
    for scene in (first, other, first):
        scene.answers = None
        scene.ask("tools/call", {"name": "ask"})
    assert [len(scene.told(InputRequired)) for scene in (first, other)] == [1, 1]
    [refused] = first.told(ErrorReceived)
    assert refused.error.message == "busy: 1 calls wait for input, all of one caller"


@pytest.mark.parametrize("shared", [False, True])
def test_the_next_question_of_a_call_takes_a_place_of_whoever_has_retried_it(shared: bool) -> None:
    """In a shared conversation, a question is passed on if all calls are of one client."""
    first, backend = relayed(
        MODERN, LEGACY, many(2), settings=RelaySettings(parked_per_principal=1), principal=None
    )
    other = Scene(MODERN, backend, beside=first, principal=None)
    first.relay.targets["a"].shared = shared
    for scene in (first, other):
        scene.answers = None
    first.ask("tools/call", ASK)
    [event] = first.told(InputRequired)
    assert again(other, event) is None
    [second] = other.told(InputRequired)
    assert "all of one caller" in other.error("tools/call", {"name": "ask"}).message
    first.ask("tools/call", {"name": "ask"})
    assert len(first.told(InputRequired)) == (1 if shared else 2)  # else of whom is it?
    assert again(other, second) == "done"


def test_open_calls_of_modern_clients_share_no_conversation_if_that_is_set() -> None:
    """A question that names no call is about the only one of its conversation."""

    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if b"ask" not in bytes(event.params):
            tools(backend, peer, event)
            return
        id = peer.request("elicitation/create", QUESTION, now=0.0)

        def greet(answer: Any) -> None:
            peer.respond(event.key, text("Hello Ada"))

        backend.waiting[id] = greet

    first, backend = relayed(MODERN, LEGACY, asks, settings=RelaySettings(links_per_principal=3))
    other = Scene(MODERN, backend, beside=first)
    first.relay.targets["a"].shared = False
    first.ask("tools/call", {"name": "wait"})
    assert other.call("ask") == "Hello Ada"
    before = len(backend.wires)
    assert other.call("echo") == "a: {}"
    assert len(backend.wires) == before  # one that is free serves again
    for _ in range(2):
        other.ask("tools/call", {"name": "wait"})
    assert "too many conversations" in other.error("tools/call", {"name": "echo"}).message
