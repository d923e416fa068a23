"""Sessions, conversations with servers, and what belongs to no request."""

from functools import partial
from typing import Any

import pytest
from msgspec import Raw, json, structs

from mcpcore.engine import InputRequest, Limits, Peer
from mcpcore.engine.events import (
    MAIN,
    ErrorReceived,
    InputRequired,
    LogLevelChanged,
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
)
from mcpcore.engine.lifecycle import SessionState
from mcpcore.http.settings import HttpSettings
from mcpcore.relay.names import Naming
from mcpcore.relay.questions import UNCLEAR
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from tests.engine.bench import CLIENT_ALL
from tests.http.support import request
from tests.relay.bench import (
    ANSWER,
    CELLS,
    LEGACY,
    MODERN,
    QUESTION,
    WALL,
    Backend,
    Scene,
    relayed,
    text,
    tools,
)
from tests.relay.test_forwarding import gateways, messages, result
from tests.relay.test_subscriptions import CHANGED, changes, tell

QUEUED = 1 << 16
NARROW = RelaySettings(queued=QUEUED)

cells = pytest.mark.parametrize(("client", "server"), CELLS)


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_the_log_level_of_a_session(server: str) -> None:
    scene, backend = relayed(LEGACY, server)
    scene.call("echo")
    scene.result("logging/setLevel", {"level": "error"})
    scene.call("echo")
    if server == LEGACY:
        levels = [each.level for each in backend.events if isinstance(each, LogLevelChanged)]
        assert levels == ["error"]
    else:
        calls = backend.requests("tools/call")
        assert [call.meta.log_level for call in calls] == ["info", "error"]


def test_the_most_verbose_level_of_all_requests_is_asked_for() -> None:
    scene, backend = relayed(MODERN, LEGACY)
    for level in ("error", "info", "warning", "debug"):
        scene.result("tools/call", {"name": "echo"}, log_level=level)
    levels = [each.level for each in backend.events if isinstance(each, LogLevelChanged)]
    assert levels == ["error", "info", "debug"]


def outside(scene: Scene, backend: Backend) -> Any:
    """Let the server ask for roots while no request is open."""
    scene.call("echo")
    far = backend.wires[-1][2]
    id = far.request("roots/list", {"_meta": {"x": 1}}, now=0.0, progress=True)
    scene.move()
    return far, id


def test_a_question_outside_of_a_request_goes_to_the_session() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.answers = None
    far, id = outside(scene, backend)
    [question] = scene.told(RequestReceived)
    assert json.decode(question.params)["_meta"]["x"] == 1
    assert scene.client.progress(question.key, 1)
    scene.move()
    assert any(isinstance(each, ProgressReceived) for each in backend.events)
    far.cancel(id, now=0.0)
    scene.move()
    assert len(scene.told(RequestCancelled)) == 1
    assert scene.relay.idle


def test_a_question_outside_of_a_request_is_refused_for_modern_clients() -> None:
    scene, backend = relayed(MODERN, LEGACY)
    outside(scene, backend)
    [error] = [each.error for each in backend.events if isinstance(each, ErrorReceived)]
    assert "no client that can be asked" in error.message
    assert scene.relay.dropped == 1


@pytest.mark.parametrize("method", ["elicitation/create", "roots/list", "acme/dig", "ping"])
@pytest.mark.parametrize("principal", [None, "ann"])
@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_a_question_that_may_be_about_the_calls_of_two_clients_goes_to_neither(
    revision: str, principal: str | None, method: str
) -> None:
    """Over one stream nothing tells, and modern clients of a principal share a conversation."""

    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if json.decode(event.params)["name"] == "ask":
            peer.request(method, QUESTION, now=0.0, parent=event.key, force=True)
            backend.waiting[backend.name] = partial(peer.respond, event.key, text("done"))

    first, backend = relayed(revision, LEGACY, asks, principal=principal)
    first.relay.targets["a"].shared = True
    other = Scene(revision, backend, beside=first, principal=principal)
    first.ask("tools/call", {"name": "wait"})
    other.ask("tools/call", {"name": "ask"})
    first.move()
    asked = [*first.told(RequestReceived), *first.told(InputRequired)]
    assert [*asked, *other.told(RequestReceived), *other.told(InputRequired)] == []
    assert results(backend, "ping") == (method == "ping")
    errors = [each.error.message for each in backend.events if isinstance(each, ErrorReceived)]
    assert errors == [f"{method}: {UNCLEAR}"] * (method != "ping")
    assert first.relay.targets["a"].unclear == len(errors)
    backend.waiting.pop(backend.name)()
    other.move()
    assert len(other.told(ResultReceived)) == 1


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
@pytest.mark.parametrize(("who", "seconds", "asked"), [(0, 4, 0), (0, 6, 1), (1, 0, 1)])
def test_a_question_may_be_about_a_call_that_was_just_given_up(
    how: str, who: int, seconds: int, asked: int
) -> None:
    first, backend = relayed(MODERN, LEGACY, settings=RelaySettings(call_timeout=30.0))
    clients = first, Scene(MODERN, backend, beside=first)
    id = clients[who].ask("tools/call", {"name": "wait"})
    if how == "cancelled":
        clients[who].cancel(id)
    else:
        first.wait(30)
    first.wait(seconds)
    clients[1].answers = None
    clients[1].now = first.now
    clients[1].ask("tools/call", {"name": "ask"})
    assert len(clients[1].told(InputRequired)) == asked


@pytest.mark.parametrize("principal", [None, "ann"])
def test_each_modern_request_over_http_may_be_of_another_client(principal: str | None) -> None:
    [bench] = gateways(1)
    assert "inputRequests" in result(bench.ask(principal=principal))  # alone
    replies = [bench.ask({"name": "wait"}, principal=principal), bench.ask(principal=principal)]
    assert [messages(reply) for reply in replies] == [[], []]
    [refusal] = [each for each in bench.backend.events if isinstance(each, ErrorReceived)]
    assert refusal.error.message == f"elicitation/create: {UNCLEAR}"


@pytest.mark.parametrize(("client", "server"), CELLS)
@pytest.mark.parametrize(
    ("names", "wanted", "asked"),
    [
        ("a", "thisServer", "thisServer"),
        ("ab", "thisServer", "none"),
        ("ab", "none", "none"),
        ("ab", "allServers", "allServers"),
    ],
)
def test_a_server_gets_no_context_of_its_neighbours_as_its_own(
    client: str, server: str, names: str, wanted: str, asked: str
) -> None:
    """To a client "this server" is the relay, with all that is behind it."""
    sampling = {"messages": [], "maxTokens": 1, "includeContext": wanted}

    def samples(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.revision.modern:
            question = {"method": "sampling/createMessage", "params": sampling}
            peer.require_input(event.key, {"s": Raw(json.encode(question))})
        else:
            peer.request("sampling/createMessage", sampling, now=0.0, parent=event.key)

    backends = [Backend(name, server, samples) for name in names]
    capabilities = {**CLIENT_ALL, "sampling": {"tools": {}, "context": {}}}
    scene = Scene(client, *backends, capabilities=capabilities)
    scene.answers = None
    scene.ask("tools/call", {"name": "a__x" if names == "ab" else "x"})
    questions = [json.decode(each.params) for each in scene.told(RequestReceived)]
    rounds = [each.requests.values() for each in scene.told(InputRequired)]
    questions += [json.decode(each)["params"] for requests in rounds for each in requests]
    assert [each["includeContext"] for each in questions] == [asked]


def test_a_question_that_is_malformed_is_refused() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.ask("tools/call", {"name": "wait"})
    link, near, _ = backend.wires[-1]
    near.receive(
        b'{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":1e400}}', now=0.0
    )
    event = near.next_event()
    assert isinstance(event, RequestReceived)
    scene.relay.from_server(link, event, now=0.0, wall=WALL)
    assert b'"elicitation/create: invalid params: Number out of range' in near.lines_to_send()


@pytest.mark.parametrize("known", [True, False])
def test_a_question_on_the_stream_of_a_request_is_about_that_alone(known: bool) -> None:
    """HTTP tells the request; nobody is asked if that is none of the calls."""
    backend = Backend("a", LEGACY, tools)
    scenes = [first := Scene(MODERN, backend), Scene(MODERN, backend, beside=first)]
    for scene in scenes:
        scene.answers = None
        scene.ask("tools/call", {"name": "wait"})
    link, near, far = backend.wires[-1]
    far.request("elicitation/create", QUESTION, now=0.0)
    near.receive_data(far.lines_to_send(), now=0.0)
    event = near.next_event()
    assert isinstance(event, RequestReceived)
    event = structs.replace(event, request=max(link.calls) if known else "ended")
    first.relay.from_server(link, event, now=0.0, wall=WALL)
    for scene in scenes:
        scene.move()
    assert [len(scene.told(InputRequired)) for scene in scenes] == [0, int(known)]
    errors = [each.error.message for each in backend.events if isinstance(each, ErrorReceived)]
    assert len(errors) == (not known)


def pings(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    peer.request("ping", now=0.0, parent=event.key)


def results(backend: Backend, method: str) -> int:
    ended = [each for each in backend.events if isinstance(each, ResultReceived)]
    return sum(each.method == method for each in ended)


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_ping_during_a_call_is_for_the_client_if_its_era_has_any(client: str) -> None:
    scene, backend = relayed(client, LEGACY, pings)
    scene.ask("tools/call", {"name": "x"})
    assert results(backend, "ping") == 1
    assert [each.method for each in scene.told(RequestReceived)] == ["ping"] * (client == LEGACY)


def test_a_ping_that_the_client_does_not_answer() -> None:
    scene, backend = relayed(LEGACY, LEGACY, pings, settings=RelaySettings(question_timeout=5.0))
    scene.answers = None
    scene.ask("tools/call", {"name": "x"})
    assert results(backend, "ping") == 0
    scene.wait(6)
    [error] = [each.error for each in backend.events if isinstance(each, ErrorReceived)]
    assert "did not answer" in error.message


def test_a_ping_outside_of_a_call_is_answered_here() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.call("echo")
    backend.wires[-1][2].request("ping", now=0.0)
    scene.move()
    assert results(backend, "ping") == 1
    assert scene.told(RequestReceived) == []


def test_notifications_that_belong_to_a_session() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.call("echo")
    far = backend.wires[-1][2]
    far.notify("notifications/acme", {"a": 1})
    scene.client.notify("notifications/roots/list_changed", {"_meta": {"x": 1}})
    scene.client.notify("notifications/acme/other", {"b": 2})
    scene.move()
    [told] = scene.told(NotificationReceived)
    assert (told.method, json.decode(told.params)) == ("notifications/acme", {"a": 1})
    heard = [each for each in backend.events if isinstance(each, NotificationReceived)]
    assert [(each.method, json.decode(each.params)) for each in heard] == [
        ("notifications/roots/list_changed", {"_meta": {"x": 1}}),
        ("notifications/acme/other", {"b": 2}),
    ]


def test_a_notification_of_a_server_without_a_session_is_dropped() -> None:
    scene, backend = relayed(MODERN, LEGACY)
    scene.call("echo")
    for method in ("notifications/acme", "notifications/message"):
        backend.wires[-1][1].receive(
            json.encode({"jsonrpc": "2.0", "method": method, "params": {"level": 1}}), now=0.0
        )
    scene.move()
    assert scene.told(NotificationReceived) == []
    assert scene.relay.dropped == 2


@cells
@pytest.mark.parametrize("meta", ["5", "1e400", "null"])
@pytest.mark.parametrize("method", [CHANGED, "notifications/acme"])
def test_a_notification_that_is_malformed_is_dropped(
    client: str, server: str, method: str, meta: str
) -> None:
    scene, backend = relayed(client, server)
    assert scene.call("echo") == "a: {}"
    line = f'{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{meta}}}}}\n'.encode()
    for peer in (*(near for _, near, _ in backend.wires), scene.front):
        peer.receive_data(line * 2, now=0.0)
    scene.wait(1.0)  # the second of two changes is announced later
    assert all(b"_meta" not in bytes(each.params) for each in scene.told(NotificationReceived))
    assert scene.call("echo") == "a: {}"


@cells
@pytest.mark.parametrize("method", ["notifications/message", "notifications/acme"])
def test_a_notification_on_the_stream_of_a_call_goes_to_its_client(
    client: str, server: str, method: str
) -> None:
    scene, backend = relayed(client, server)
    scene.ask("tools/call", {"name": "wait"}, log_level="info" if client == MODERN else None)
    [(link, _, far)] = [each for each in backend.wires if each[0].calls]
    meta = {"com.example/a": 1.5, META_SUBSCRIPTION_ID: 7}
    params = Raw(json.encode({"level": "error", "data": 1, "x": 2, "_meta": meta}))
    [request] = link.calls
    told = NotificationReceived(method, params, MAIN, far.revision, request)
    scene.relay.from_server(link, told, now=0.0, wall=WALL)
    scene.move()
    [received] = scene.told(NotificationReceived)
    expected = {"level": "error", "data": 1, "_meta": {"com.example/a": 1.5}}
    more = {"x": 2} if method == "notifications/acme" else {}  # the engine makes log messages
    assert json.decode(received.params) == {**expected, **more}


def test_a_notification_that_is_none_of_a_server_s_is_dropped() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    backend.down = True
    scene.client.request("tools/call", {"name": "echo"}, now=0.0)
    scene.move()
    message = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}
    backend.wires[-1][1].receive(json.encode(message), now=0.0)  # before its era is known
    backend.down = False
    scene.move()
    assert len(scene.told(ResultReceived)) == 1


def test_what_is_due_is_done_though_something_else_has_failed() -> None:
    scene, done = Scene(LEGACY, Backend("a", LEGACY, tools)), list[bool]()

    def fail() -> None:
        raise RuntimeError("failed")

    for work in (fail, lambda: done.append(True)):
        scene.relay.later(1.0, work)
    with pytest.raises(RuntimeError, match="failed"):
        scene.wait(1.0)
    assert done


@pytest.mark.parametrize(
    ("client", "method"),
    [(LEGACY, "tools/call"), (MODERN, "tools/call"), (LEGACY, "resources/subscribe")],
)
def test_a_server_that_cannot_be_reached(client: str, method: str) -> None:
    scene = Scene(client, Backend("a", LEGACY, tools), Backend("b", LEGACY, tools))
    down = scene.backends[0]
    down.down = True
    scene.lose(down)
    scene.relay.targets["a"].greeting = None  # as if it had never been reached
    scene.ask(method, {"name": "a__echo", "uri": "a+x:1"})
    scene.lose(down)
    [failed] = scene.told(ErrorReceived)
    assert failed.error.message == "a: the server cannot be reached: closed"
    assert scene.call("b__echo") == "b: {}"


def test_no_more_conversations_than_allowed() -> None:
    scene = Scene(MODERN, Backend("a", LEGACY, tools), settings=RelaySettings(links=1))
    error = scene.error("tools/call", {"name": "echo"})
    assert (error.code, error.message) == (1001, "a: too many conversations are open")
    assert scene.error("tools/list").code == 1001
    wanted = {"notifications": {"resourceSubscriptions": ["x:1"], "toolsListChanged": True}}
    scene.ask("subscriptions/listen", wanted)
    [event] = scene.told(SubscriptionAcknowledged)
    assert event.filter == SubscriptionFilter()
    legacy = Scene(LEGACY, Backend("a", LEGACY, tools), settings=RelaySettings(links=1))
    error = legacy.error("resources/subscribe", {"uri": "x:1"})
    assert (error.code, error.message) == (-32603, "a: too many conversations are open")


def test_a_principal_has_few_conversations_whatever_its_clients_declare() -> None:
    """The least recently used one makes way; with none to spare the request is refused."""
    first, backend = relayed(MODERN, LEGACY, settings=RelaySettings(links_per_principal=2))
    sets: list[dict[str, Any]] = [{}, {"roots": {}}, {"sampling": {}}]
    clients = [Scene(MODERN, backend, beside=first, capabilities=declared) for declared in sets]
    other = Scene(MODERN, backend, beside=first, principal="bob", capabilities={"roots": {}})
    for turn, scene in enumerate([other, *clients, clients[1]]):
        scene.now = scene.relay.now = float(turn)
        assert scene.call("echo") == "a: {}"
    states = [near.state for _, near, _ in backend.wires[1:]]  # the first told the era
    assert states == [SessionState.OPEN, SessionState.CLOSING, SessionState.OPEN, SessionState.OPEN]
    for scene in clients[1:]:
        scene.ask("tools/call", {"name": "wait"})
    error = clients[0].error("tools/call", {"name": "echo"})
    assert error.message == "a: too many conversations of one principal are open"
    assert error.code == 1001
    assert other.call("echo") == "a: {}"


def test_an_unused_conversation_is_closed_and_opened_again() -> None:
    scene, backend = relayed(MODERN, LEGACY)
    scene.call("echo")
    scene.wait(299)
    scene.call("echo")
    assert len(backend.wires) == 2
    scene.wait(299)
    states = [near.state for _, near, _ in backend.wires]
    assert states == [SessionState.CLOSING, SessionState.OPEN]  # the first told the era
    scene.wait(2)
    assert backend.wires[1][1].state is SessionState.CLOSING
    assert scene.call("echo") == "a: {}"
    assert len(backend.wires) == 3


def test_legacy_requests_without_sessions_share_a_conversation_of_their_principal() -> None:
    [bench] = gateways(1, http=HttpSettings(sessions=False))
    relay, backend = bench.relay, bench.backend
    level = request("logging/setLevel", {"level": "debug"})
    for principal, count in (("ann", 2), ("ann", 2), ("bob", 3)):  # the first told the era
        for body in (level, request("tools/call", {"name": "echo"})):
            assert "result" in bench.post(body, principal=principal).json
        assert len(backend.wires) == count
    assert not relay._levels
    assert relay.idle


def test_a_conversation_of_a_session_lasts_as_long_as_it() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.call("echo")
    conversation = backend.wires[-1]
    for _ in range(3):
        scene.wait(301)
    tell(backend, CHANGED)
    scene.move()
    assert changes(scene) == [(CHANGED, None)]
    assert scene.call("echo") == "a: {}"
    assert backend.wires[-1] is conversation
    scene.leave()
    assert conversation[1].state is SessionState.CLOSING


def test_a_conversation_that_has_not_begun_is_not_closed_as_unused() -> None:
    backend = Backend("a", MODERN, tools)
    backend.down = True
    scene = Scene(MODERN, backend, settings=RelaySettings(link_idle=1.0))
    scene.wait(5)
    backend.down = False
    assert scene.call("echo") == "a: {}"
    assert len(backend.wires) == 1


def test_a_request_that_a_modern_client_cannot_answer_while_its_call_waits_there() -> None:
    def digs(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
        backend.waiting["dig"] = peer, event.key

    scene, backend = relayed(MODERN, LEGACY, digs)
    scene.answers = None
    scene.ask("tools/call", {"name": "x"})
    peer, key = backend.waiting["dig"]
    peer.request("acme/dig", {}, now=0.0, parent=key, force=True)
    scene.move()
    [error] = [each.error for each in backend.events if isinstance(each, ErrorReceived)]
    assert error.message == "acme/dig: there is no client that can be asked"


def test_the_end_of_a_session_ends_its_conversations() -> None:
    backends = [Backend("a", LEGACY, tools), Backend("b", MODERN, tools)]
    scene = Scene(LEGACY, *backends)
    scene.ask("tools/call", {"name": "a__wait"})
    scene.result("resources/subscribe", {"uri": "b+x:1"})
    scene.leave()
    assert backends[0].wires[-1][1].state is SessionState.CLOSING
    assert backends[1].wires[-1][2].in_flight == 0  # no listen stream is left
    assert scene.relay.idle
    assert scene.front.in_flight == 0


def test_a_method_that_names_no_server_of_several() -> None:
    scene = Scene(MODERN, Backend("a", LEGACY, tools), Backend("b", LEGACY, tools))
    assert scene.error("acme/dig", {"name": "a__x"}).code == -32601
    sole = Scene(MODERN, Backend("a", LEGACY, tools), settings=RelaySettings(naming=Naming.ALWAYS))
    assert "content" in sole.result("acme/dig", {"name": "x"})


def test_params_that_cannot_be_routed() -> None:
    scene = Scene(MODERN, Backend("a", LEGACY, tools), Backend("b", LEGACY, tools))
    for method, params in (
        ("tools/call", {"name": 5}),
        ("tools/list", {"cursor": 5}),
        ("subscriptions/listen", {"notifications": 5}),
    ):
        assert scene.error(method, params).code == -32602
    legacy = Scene(LEGACY, Backend("a", LEGACY, tools))
    assert legacy.error("resources/subscribe", {"uri": 5}).code == -32602


def test_a_resource_of_a_listed_template() -> None:
    def lists(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        uris = {"a": ["x:{y}", "x:long/{y}"], "b": ["x:long/er/{y}"]}[backend.name]
        if event.method == "resources/templates/list":
            templates = [{"name": uri, "uriTemplate": uri} for uri in uris]
            peer.respond(event.key, {"resourceTemplates": templates})
        elif event.method == "resources/list":
            peer.respond(event.key, {"resources": []})
        else:
            peer.respond(event.key, {"contents": [], "from": backend.name})

    backends = [Backend(name, LEGACY, lists) for name in "ab"]
    scene = Scene(MODERN, *backends, settings=RelaySettings(naming=Naming.NEVER))
    for uri, server in (("x:1", "a"), ("x:long/1", "a"), ("x:long/er/1", "b")):
        assert scene.result("resources/read", {"uri": uri})["from"] == server


@pytest.mark.parametrize("client", [LEGACY, MODERN])
@pytest.mark.parametrize(("naming", "known"), [(Naming.ALWAYS, False), (Naming.NEVER, True)])
def test_a_request_that_is_cancelled_before_it_is_sent(
    client: str, naming: Naming, known: bool
) -> None:
    """It waits for the era of the server, or for the lists that tell whose it is."""
    backends = [Backend(name, LEGACY, tools) for name in "ab"]
    for backend in backends:
        backend.down = not known
    scene = Scene(client, *backends, settings=RelaySettings(naming=naming))
    for backend in backends:
        backend.down = True
    name, uri = ("a__echo", "a+file:///a") if naming is Naming.ALWAYS else ("echo", "file:///a")
    asked = {"tools/call": {"name": name}, "resources/read": {"uri": uri}}
    if client == LEGACY and naming is Naming.ALWAYS:
        asked["resources/subscribe"] = {"uri": uri}
    ids = [scene.ask(method, params) for method, params in asked.items()]
    for id in ids:
        scene.cancel(id)
    for backend in backends:
        backend.down = False
    scene.move()
    sent = {event.method for each in backends for event in each.requests()}
    assert not sent & asked.keys()
    assert scene.relay.idle
    assert scene.front.in_flight == 0


@cells
def test_a_call_that_takes_too_long_is_cancelled_at_the_server(client: str, server: str) -> None:
    scene, backend = relayed(client, server, settings=RelaySettings(call_timeout=30.0))
    scene.ask("tools/call", {"name": "wait"})
    scene.wait(31)
    [failed] = scene.told(ErrorReceived)
    assert failed.error.message.startswith("a: ")
    assert json.decode(failed.error.data) == {"server": "a", "reason": "timed out"}
    assert any(isinstance(each, RequestCancelled) for each in backend.events)


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_the_time_of_a_call_includes_its_questions(server: str) -> None:
    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if not event.revision.modern:
            peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
        elif event.input_responses is None:
            peer.require_input(event.key, {"q": InputRequest("elicitation/create", QUESTION)})

    scene = Scene(LEGACY, Backend("a", server, asks), settings=RelaySettings(call_timeout=30.0))
    scene.answers = None
    scene.ask("tools/call", {"name": "t"})
    [question] = scene.told(RequestReceived)
    scene.wait(20)
    scene.client.respond(question.key, ANSWER)
    scene.wait(9)
    assert not scene.told(ErrorReceived)
    scene.wait(2)
    [failed] = scene.told(ErrorReceived)
    assert json.decode(failed.error.data)["reason"] == "timed out"


@pytest.mark.parametrize("era", [LEGACY, MODERN])
def test_what_waits_for_a_server_that_does_not_read_is_limited(era: str) -> None:
    scene, backend = relayed(era, era, settings=NARROW)
    scene.ask("tools/list")
    backend.down = True
    large, often = {"large": "x" * (1 << 11)}, (QUEUED >> 11) + 2
    for _ in range(often):
        scene.client.notify("notifications/acme", large)
        call = scene.ask("tools/call", {"name": "wait", "arguments": large})
        if isinstance(call, ErrorReceived):
            assert "a: busy: it does not read" in call.error.message
        else:
            scene.client.cancel(call, now=scene.now)
    waiting = max(near.output_size for _, near, _ in backend.wires)
    assert QUEUED < waiting < QUEUED + (1 << 12)
    backend.down = False
    scene.move()
    assert scene.call("echo") == "a: {}"


def test_a_server_that_does_not_read_keeps_nothing_from_others() -> None:
    one, other = Backend("a", LEGACY, tools), Backend("b", LEGACY, tools)
    scene = Scene(LEGACY, one, other, settings=NARROW)
    scene.ask("tools/list")
    one.down = True
    for _ in range(3):
        scene.client.notify("notifications/acme", {"large": "x" * QUEUED})
        scene.move()
    assert scene.relay.dropped == 2
    told = [each for each in other.events if isinstance(each, NotificationReceived)]
    assert [each.method for each in told] == ["notifications/acme"] * 3


@pytest.mark.parametrize("named", [True, False])
def test_what_waits_for_a_client_that_does_not_read_is_limited(named: bool) -> None:
    """``named``: True if the transport tells what call a notification is about."""
    scene, backend = relayed(LEGACY, LEGACY, settings=NARROW)
    scene.ask("tools/call", {"name": "wait"})
    far, key = backend.waiting["call"]
    link = next(link for link, _, each in backend.wires if each is far)
    told = NotificationReceived(
        "notifications/acme",
        Raw(json.encode({"large": "x" * (1 << 11)})),
        MAIN,
        far.revision,
        request=next(iter(link.calls)) if named else None,
    )
    for _ in range((QUEUED >> 11) + 2):
        scene.relay.from_server(link, told, now=scene.now, wall=WALL)
    assert QUEUED < scene.front.output_size < QUEUED + (1 << 12)
    assert scene.relay.dropped > 0
    far.respond(key, text("done"))
    scene.move()
    assert len(scene.told(ResultReceived)) == 1


def test_a_client_that_does_not_read_is_asked_no_more() -> None:
    scene, backend = relayed(LEGACY, LEGACY, settings=NARROW)
    scene.ask("tools/call", {"name": "wait"})
    far, key = backend.waiting["call"]
    link, near, _ = next(each for each in backend.wires if each[2] is far)
    question = {**QUESTION, "message": "x" * (1 << 11)}
    for _ in range((QUEUED >> 11) + 2):
        far.request("elicitation/create", question, now=scene.now, parent=key)
        near.receive_data(far.lines_to_send(), now=scene.now)
        while (event := near.next_event()) is not None:
            scene.relay.from_server(link, event, now=scene.now, wall=WALL)
    assert QUEUED < scene.front.output_size < QUEUED + (1 << 12)
    assert b"no client that can be asked" in near.lines_to_send()


def test_a_question_that_nobody_answers_in_time() -> None:
    scene, _ = relayed(LEGACY, MODERN, settings=RelaySettings(question_timeout=30.0))
    scene.answers = None
    scene.ask("tools/call", {"name": "ask"})
    scene.wait(31)
    [failed] = scene.told(ErrorReceived)
    assert failed.error.message == "a: elicitation/create failed: the client did not answer"
    assert scene.relay.idle


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_a_call_is_cancelled_with_its_question(server: str) -> None:
    scene, backend = relayed(LEGACY, server)
    scene.answers = None
    id = scene.ask("tools/call", {"name": "ask"})
    scene.cancel(id)
    assert len(scene.told(RequestCancelled)) == 1
    assert scene.relay.idle
    assert all(not link.asked and near.in_flight == 0 for link, near, _ in backend.wires)
    if server == LEGACY:  # which is told, should it not hear of the cancellation
        [refusal] = [event for event in backend.events if isinstance(event, ErrorReceived)]
        assert "no longer wanted" in refusal.error.message


def test_a_server_that_ends_a_call_with_its_question_open() -> None:
    def gives_up(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
        peer.respond(event.key, text("never mind"))

    for client in (LEGACY, MODERN):
        scene = Scene(client, Backend("a", LEGACY, gives_up), limits=Limits())
        scene.ask("tools/call", {"name": "x"})
        scene.wait(1)
        assert len(scene.told(ResultReceived)) == 1


def test_a_question_is_withdrawn_when_its_call_is_lost() -> None:
    scene, backend = relayed(LEGACY, MODERN)
    scene.answers = None
    scene.ask("tools/call", {"name": "ask"})
    [question] = scene.told(RequestReceived)
    backend.wires[-1][1].receive_eof(now=scene.now, reason="crashed")
    scene.move()
    assert len(scene.told(ErrorReceived)) == 1
    assert [event.key for event in scene.told(RequestCancelled)] == [question.key]
    assert scene.relay.idle
