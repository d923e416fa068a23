"""Servers at which each client signs in: nothing of one reaches another, and all are asked."""

from typing import Any

import msgspec
import pytest

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    Fault,
    FaultKind,
    InputRequired,
    NotificationReceived,
    RequestEnded,
    RequestReceived,
    SubscriptionNotification,
)
from mcpcore.relay.link import SignInOffer
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import URL_ELICITATION_REQUIRED, LocalProtocolError
from tests.relay.bench import (
    BOTH,
    CELLS,
    LEGACY,
    MODERN,
    WALL,
    Backend,
    Scene,
    tools,
)
from tests.relay.test_personal import principals

TOOL, ASKED = "sign_in_at_a", "sign_in_"
URL = "https://gateway.example/sign-in?id=7"
cells = pytest.mark.parametrize(("client", "server"), CELLS)


class Book:
    """Desk that knows who has signed in."""

    def __init__(self) -> None:
        self.known: set[str | None] = set()
        self.questions: list[str] = []
        self.problem = ""
        self.lacking = False

    def asked(self, principal: str | None) -> bool:
        return principal in self.questions and principal not in self.known

    def signed_in(self, principal: str | None) -> bool:
        return principal in self.known

    def question(self, principal: str) -> SignInOffer:
        if self.problem or (self.signed_in(principal) and not self.lacking):
            raise LocalProtocolError(self.problem or "a sign-in would not help")
        self.questions.append(principal)
        return SignInOffer("7", URL, "Sign in at a.")


def at_desk(server: str) -> Backend:
    backend = Backend("a", server, tools)
    backend.personal, backend.desk = True, Book()
    return backend


def sign_in(scene: Scene, backend: Backend, principal: str = "ann") -> None:
    backend.desk.known.add(principal)
    scene.relay.signed_in(scene.relay.targets["a"], principal, "7", now=scene.now)
    scene.move()


def for_all(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    """The tools of a server whose lists anybody may keep."""
    if event.method == "tools/list" and event.revision.modern:
        tool = {"name": "echo", "inputSchema": {"type": "object"}}
        peer.respond(event.key, {"tools": [tool], "ttlMs": 60_000, "cacheScope": "public"})
    else:
        tools(backend, peer, event)


@cells
def test_nothing_reaches_the_server_before_the_sign_in(client: str, server: str) -> None:
    backend, other = at_desk(server), Backend("b", server, for_all)
    scene = Scene(client, backend, other)
    listed = scene.result("tools/list")
    assert [tool["name"] for tool in listed["tools"]] == [f"a__{TOOL}", "b__echo"]
    assert listed.get("cacheScope") == (None if client == LEGACY else "private")
    assert [each["name"] for each in scene.result("prompts/list")["prompts"]] == ["b__p"]
    assert backend.wires == []
    sign_in(scene, backend)
    names = [tool["name"] for tool in scene.result("tools/list")["tools"]]
    assert names == ["a__echo", "b__echo"]
    assert scene.call("a__echo") == "a: {}"
    assert {link.audience.principal for link, _, _ in backend.wires} == {"ann"}
    assert scene.call(f"a__{TOOL}") == "You are signed in at a."


def test_a_request_ends_though_there_is_no_room_to_ask_for_the_era() -> None:
    backend = at_desk(BOTH)
    scene = Scene(MODERN, backend, settings=RelaySettings(links=1))
    sign_in(scene, backend)
    assert scene.call("echo") == "a: {}"
    legacy = Scene(LEGACY, backend, beside=scene)
    error = legacy.error("tools/call", {"name": "echo", "arguments": {}})
    assert error.message.endswith("too many conversations are open")
    assert scene.relay.idle


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_list_for_all_is_for_those_alone_who_have_signed_in(client: str) -> None:
    backend, other = at_desk(MODERN), Backend("b", MODERN, for_all)
    backend.handler = for_all
    ann = Scene(client, backend, other)
    sign_in(ann, backend)
    listed = ann.result("tools/list")
    assert [tool["name"] for tool in listed["tools"]] == ["a__echo", "b__echo"]
    assert listed.get("cacheScope") == (None if client == LEGACY else "private")
    ben = Scene(client, backend, other, principal="ben", beside=ann)
    names = [tool["name"] for tool in ben.result("tools/list")["tools"]]
    assert names == [f"a__{TOOL}", "b__echo"]


@cells
def test_a_call_asks_for_the_sign_in_and_goes_on_after_it(client: str, server: str) -> None:
    backend = at_desk(server)
    scene = Scene(client, backend)
    if client == LEGACY:
        error = scene.error("tools/call", {"name": "echo", "arguments": {}})
        assert error.code == URL_ELICITATION_REQUIRED
        [asked] = msgspec.json.decode(error.data)["elicitations"]
        assert asked["elicitationId"] == "7"
        sign_in(scene, backend)
        told = [(each.method, bytes(each.params)) for each in scene.told(NotificationReceived)]
        assert ("notifications/elicitation/complete", b'{"elicitationId":"7"}') in told
        assert scene.call("echo") == "a: {}"
    else:
        scene.answers = {"action": "accept"}
        scene.client.request("tools/call", {"name": "echo", "arguments": {}}, now=0.0)
        scene.move()
        [event] = scene.told(InputRequired)
        asked = msgspec.json.decode(event.requests[ASKED])["params"]
        assert backend.wires == []  # the retry waits
        sign_in(scene, backend)
        [request] = backend.requests("tools/call")
        assert request.input_responses is None
    assert (asked["mode"], asked["url"]) == ("url", URL)
    assert scene.relay.idle


@pytest.mark.parametrize("server", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("answer", "seconds", "said"),
    [
        ({"action": "decline"}, 0.0, "a: the user has not signed in there"),
        ({"action": "accept"}, 31.0, "a: the user has not signed in there in time"),
    ],
)
def test_a_user_who_does_not_sign_in_gets_an_error(
    server: str, answer: dict[str, Any], seconds: float, said: str
) -> None:
    backend = at_desk(server)
    scene = Scene(MODERN, backend)
    scene.answers = answer
    scene.client.request("tools/call", {"name": "echo", "arguments": {}}, now=0.0)
    scene.move()
    scene.wait(seconds)
    assert [event.error.message for event in scene.told(ErrorReceived)] == [said]
    assert backend.wires == []
    assert scene.relay.idle


def test_a_call_that_is_cancelled_waits_for_no_sign_in() -> None:
    scene = Scene(MODERN, at_desk(MODERN))
    scene.answers = None
    id = scene.client.request("tools/call", {"name": "echo", "arguments": {}}, now=0.0)
    scene.move()
    answers = {ASKED: {"action": "accept"}}
    scene.cancel(scene.client.retry(id, answers, now=0.0))
    before = scene.relay.idle
    scene.wait(31.0)
    assert (before, scene.relay.idle) == (False, True)
    assert scene.told(ErrorReceived) == []


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_client_that_opens_no_urls_gets_the_url_as_text(client: str) -> None:
    backend = at_desk(MODERN)
    scene = Scene(client, backend, capabilities={"roots": {}})
    assert TOOL in scene.error("tools/call", {"name": "echo"}).message
    assert TOOL in scene.error("prompts/get", {"name": "p"}).message
    assert URL in scene.call(TOOL)
    assert backend.desk.questions == ["ann"]
    backend.desk.problem = "too many sign in"
    assert scene.error("tools/call", {"name": TOOL}).message == "a: too many sign in"


def test_a_client_without_a_name_is_never_signed_in() -> None:
    backend = at_desk(MODERN)
    scene = Scene(MODERN, backend, principal=None)
    said = "a: a client that tells no name cannot sign in"
    assert scene.error("tools/call", {"name": "echo"}).message == said


@cells
def test_a_principal_hears_that_its_lists_have_changed(client: str, server: str) -> None:
    backend = at_desk(server)
    ann = Scene(client, backend, Backend("b", server, tools))
    ben = Scene(client, beside=ann, principal="ben")
    for scene in (ann, ben):
        if client == MODERN:
            scene.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    sign_in(ann, backend)
    ben.move()
    kind = NotificationReceived if client == LEGACY else SubscriptionNotification
    changed = "notifications/tools/list_changed"
    heard = [[each.method for each in scene.told(kind)].count(changed) for scene in (ann, ben)]
    assert heard == [1, 0]
    ben.ask("tools/call", {"name": "a__echo"})
    assert {link.audience.principal for link, _, _ in backend.wires} == {"ann"}


def test_names_of_others_wait_for_the_list_of_a_server_that_nobody_has_signed_in_at() -> None:
    backend = at_desk(MODERN)
    settings = RelaySettings(naming=Naming.ON_CONFLICT)
    scene = Scene(MODERN, backend, Backend("b", MODERN, tools), settings=settings)
    for expected in ([TOOL, "b__echo"], ["echo", "b__echo"]):
        assert [tool["name"] for tool in scene.result("tools/list")["tools"]] == expected
        sign_in(scene, backend)


def test_a_subscription_before_the_sign_in_is_refused() -> None:
    scene = Scene(LEGACY, at_desk(MODERN))
    assert TOOL in scene.error("resources/subscribe", {"uri": "file:///a"}).message


def test_conversations_that_ask_for_the_era_are_limited() -> None:
    backend = at_desk(MODERN)
    ann = Scene(LEGACY, backend, settings=RelaySettings(links=1))
    ben = Scene(LEGACY, beside=ann, principal="ben")
    backend.down = True
    for scene, name in ((ann, "ann"), (ben, "ben")):
        sign_in(ann, backend, name)
        scene.ask("tools/call", {"name": "echo"})
    assert principals(backend) == ["ann"]
    backend.down = False
    ann.move()
    assert "too many conversations" in ben.error("tools/call", {"name": "echo"}).message


def refuse(scene: Scene, backend: Backend) -> None:
    """The server takes the credentials of the client no more: the driver gives its request up."""
    link, *_ = backend.wires[-1]
    id = [*link.calls][-1]
    fault = Fault(FaultKind.AUTHORIZATION)
    end = RequestEnded(id, "tools/call", EndReason.REFUSED, "sign in again", fault=fault)
    scene.relay.from_server(link, end, now=scene.now, wall=WALL)
    scene.move()


@cells
def test_a_refusal_of_the_credentials_asks_again(client: str, server: str) -> None:
    backend = at_desk(server)
    scene = Scene(client, backend)
    sign_in(scene, backend)
    scene.answers = {"action": "accept"}
    for problem in ("", "a sign-in would not help"):
        backend.desk.problem = problem
        before = len(scene.told(ErrorReceived))
        scene.ask("tools/call", {"name": "wait"})
        backend.desk.known.clear()
        refuse(scene, backend)
        asked = scene.told(ErrorReceived)[before:] or scene.told(InputRequired)
        if problem:
            assert asked[-1].error.message == "a: sign in again"
        elif client == MODERN:
            assert ASKED in asked[-1].requests
        else:
            assert asked[-1].error.code == URL_ELICITATION_REQUIRED
        sign_in(scene, backend)


@pytest.mark.parametrize("late", [False, True])
def test_a_sign_in_for_more_is_waited_for(late: bool) -> None:
    """... though the credential of before is good, but for what it lacks."""
    backend = at_desk(MODERN)
    scene = Scene(MODERN, backend)
    sign_in(scene, backend)
    scene.answers = {"action": "accept"}
    scene.ask("tools/call", {"name": "wait"})
    backend.desk.asked, backend.desk.lacking = (lambda principal: True), True
    refuse(scene, backend)
    assert len(backend.requests("tools/call")) == 1
    if late:
        scene.wait(31.0)
        assert "not signed in there in time" in scene.told(ErrorReceived)[0].error.message
    del backend.desk.asked
    sign_in(scene, backend)
    assert len(backend.requests("tools/call")) == (1 if late else 2)


def test_an_answer_after_the_sign_in_goes_no_further() -> None:
    backend = at_desk(MODERN)
    scene = Scene(MODERN, backend)
    scene.answers = None
    id = scene.client.request("tools/call", {"name": "echo"}, now=0.0)
    scene.move()
    sign_in(scene, backend)
    scene.client.retry(id, {ASKED: {"action": "accept"}}, now=0.0)
    scene.move()
    [request] = backend.requests("tools/call")
    assert request.input_responses is None
