"""Tasks through a relay whose servers tell no principals apart: they are unknown to all others."""

from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    ErrorReceived,
    NotificationReceived,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionNotification,
    SubscriptionOpened,
)
from mcpcore.relay.link import Audience
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS, METHOD_NOT_FOUND, ErrorData
from tests.engine.bench import CLIENT_ALL
from tests.relay.bench import LEGACY, MODERN, Backend, Scene, text, tools

RELATED = "io.modelcontextprotocol/related-task"
EXTENSION: dict[str, Any] = {"extensions": {TASKS_EXTENSION: {}}}
SERVER: dict[str, Any] = {
    LEGACY: {"tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}},
    MODERN: EXTENSION,
}
CLIENT: dict[str, Any] = {
    LEGACY: {**CLIENT_ALL, "tasks": {"list": {}, "cancel": {}}},
    MODERN: {**CLIENT_ALL, **EXTENSION},
}
STATE = {"status": "working", "createdAt": "2026-01-01T00:00:00Z"}
STATE |= {"lastUpdatedAt": "2026-01-01T00:00:00Z"}
eras = pytest.mark.parametrize("era", [LEGACY, MODERN])


class Tasks:
    """A server whose tasks are of anybody: a call with a name is a task of it."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.peers: dict[str, Peer] = {}

    def __call__(self, backend: Backend, peer: Peer, event: RequestReceived) -> None:
        params = json.decode(event.params)
        modern = event.revision.modern
        ttl = {"ttlMs" if modern else "ttl": None}
        if event.method == "tools/call":
            id = f"{backend.name} {len(self.kept)}"
            self.kept.append(id)
            self.peers[id] = peer
            task = {"taskId": id, **STATE, **ttl}
            peer.respond(event.key, {"resultType": "task", **task} if modern else {"task": task})
        elif event.method == "tasks/list":
            after = int(params.get("cursor", "task 0").split()[1])
            page = [{"taskId": id, **STATE, **ttl} for id in self.kept[after : after + 2]]
            more = {"nextCursor": f"task {after + 2}"} if len(self.kept) > after + 2 else {}
            peer.respond(event.key, {"tasks": page, **more})
        elif not event.method.startswith("tasks/"):
            tools(backend, peer, event)
        elif params["taskId"] not in self.kept:
            peer.fail(event.key, ErrorData(INVALID_PARAMS, "no task of that id"))
        elif event.method == "tasks/result":
            related = {RELATED: {"taskId": params["taskId"]}}
            peer.respond(event.key, {**text(f"secret of {params['taskId']}"), "_meta": related})
        elif event.method == "tasks/update" or (event.method == "tasks/cancel" and modern):
            peer.respond(event.key, {})
        else:
            peer.respond(event.key, {"taskId": params["taskId"], **STATE, **ttl})


def behind(era: str, *names: str) -> list[Backend]:
    """Servers with such tasks."""
    made = (Backend(each, era, Tasks(), tools={}, resources={}, **SERVER[era]) for each in names)
    return list(made)


def client(era: str, *backends: Backend, **more: Any) -> Scene:
    """A client with tasks before a relay."""
    return Scene(era, *backends, capabilities=CLIENT[era], declared=SERVER[era], **more)


def create(scene: Scene, era: str, name: str = "dig") -> str:
    """Make a task; return its id for the client."""
    params = {"name": name, "arguments": {}}
    result = scene.result("tools/call", params | ({} if era == MODERN else {"task": {}}))
    return str(result["taskId"] if era == MODERN else result["task"]["taskId"])


METHODS = [
    *((LEGACY, f"tasks/{each}") for each in ("get", "result", "cancel", "other")),
    *((MODERN, f"tasks/{each}") for each in ("get", "update", "cancel", "other")),
]


@pytest.mark.parametrize(("era", "method"), METHODS)
@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_task_is_known_to_its_principal_alone(era: str, method: str, names: str) -> None:
    servers = behind(era, *names)
    ann = client(era, *servers)
    id = create(ann, era, "dig" if names == "a" else "b__dig")
    inner = servers[-1].handler.kept[0]  # type: ignore[attr-defined]
    more: dict[str, Any] = {"inputResponses": {}} if method == "tasks/update" else {}
    ann.result(method, {"taskId": id, **more})
    assert [json.decode(each.params)["taskId"] for each in servers[-1].requests(method)] == [inner]
    for principal in ("bob", None):
        other = client(era, *servers, beside=ann, principal=principal)
        for guess in (id, inner, "", f"{id[:-2]}AA"):
            error = other.error(method, {"taskId": guess, **more})
            assert (error.code, error.message) == (INVALID_PARAMS, "no task of that id")
        assert other.error(method, {"taskId": 1}).code == INVALID_PARAMS
        escaped = Raw(b'{"\\u0074askId":"%b"}' % inner.encode())
        if era == LEGACY:  # a modern request has other params in its header
            assert other.error(method, escaped).code == INVALID_PARAMS
    seen = [json.decode(each.params)["taskId"] for each in servers[0].requests(method)]
    assert seen.count(inner) == (names == "a")


@eras
def test_another_relay_with_the_same_seal_knows_a_task(era: str) -> None:
    servers = behind(era, "a")
    id = create(client(era, *servers), era)
    again = client(era, *servers)
    again.wait(100_000.0)  # a task has no time at which its id ends
    assert again.result("tasks/get", {"taskId": id})["taskId"] == id


def test_a_list_of_tasks_has_those_of_the_principal() -> None:
    servers = behind(LEGACY, "a")
    ann = client(LEGACY, *servers)
    bob = client(LEGACY, *servers, beside=ann, principal="bob")
    ids = [create(each, LEGACY) for each in (ann, bob, bob, ann)]

    def listed(scene: Scene) -> list[str]:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = scene.result("tasks/list", cursor)
            found += [task["taskId"] for task in page["tasks"]]
            if "nextCursor" not in page:
                return found
            cursor = {"cursor": page["nextCursor"]}

    assert listed(ann) == [ids[0], ids[3]]
    assert listed(bob) == [ids[1], ids[2]]
    cursor = ann.result("tasks/list")["nextCursor"]
    for wrong in (cursor, "task 2"):
        assert bob.error("tasks/list", {"cursor": wrong}).code == INVALID_PARAMS
    assert "task 2" not in cursor


@pytest.mark.parametrize("shared", [None, True])
def test_without_principals_tasks_are_told_to_their_session_alone(shared: bool | None) -> None:
    """Sessions that share a conversation with the server by a setting share this, too."""
    servers = behind(LEGACY, "a")
    one = client(LEGACY, *servers, principal=None)
    other = client(LEGACY, *servers, beside=one, principal=None)
    one.relay.targets["a"].shared = shared
    ids = [create(each, LEGACY) for each in (one, other)]

    def listed(scene: Scene) -> list[str]:
        return [task["taskId"] for task in scene.result("tasks/list")["tasks"]]

    assert [listed(one), listed(other)] == ([ids, ids] if shared else [ids[:1], ids[1:]])
    state = {"taskId": "a 1", **STATE, "ttl": None}
    for peer in servers[0].handler.peers.values():  # type: ignore[attr-defined]
        peer.notify("notifications/tasks/status", state)
    one.move()
    other.move()
    assert not one.told(NotificationReceived)
    told = [json.decode(each.params)["taskId"] for each in other.told(NotificationReceived)]
    assert told == ([] if shared else ids[1:])  # a shared conversation is of no session
    assert other.result("tasks/get", {"taskId": ids[0]})["taskId"] == ids[0]  # who knows the id
    other.leave()
    late = Audience(session=(other.front, ""))
    assert one.relay.tasks.opened(late, ids[1:]) == {("a", "a 1"): ids[1]}
    assert len(one.relay.tasks._ids) == (2 if shared else 1)


@pytest.mark.parametrize("tasks", [[{"taskId": 1}], [{"taskId": "a 0"}, {"taskId": 1}], 5])
def test_a_list_of_tasks_that_is_none_is_an_error(tasks: Any) -> None:
    def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {"tasks": tasks})

    scene = client(LEGACY, Backend("a", LEGACY, answer, **SERVER[LEGACY]))
    assert "invalid result" in scene.error("tasks/list").message


def test_ids_that_are_remembered_have_a_limit() -> None:
    ann = client(LEGACY, *behind(LEGACY, "a"), settings=RelaySettings(tasks=1))
    ids = [create(ann, LEGACY) for _ in range(2)]
    assert [task["taskId"] for task in ann.result("tasks/list")["tasks"]] == ids[1:]
    assert ann.result("tasks/get", {"taskId": ids[0]})["taskId"] == ids[0]
    assert [task["taskId"] for task in ann.result("tasks/list")["tasks"]] == ids[:1]


def test_the_ids_that_are_remembered_are_those_that_were_used_last() -> None:
    ann = client(LEGACY, *behind(LEGACY, "a"), settings=RelaySettings(tasks=2))
    ids = [create(ann, LEGACY) for _ in range(2)]
    ann.result("tasks/get", {"taskId": ids[0]})
    create(ann, LEGACY)
    assert [task["taskId"] for task in ann.result("tasks/list")["tasks"]] == ids[:1]


def test_a_task_that_is_forgotten_while_its_server_is_asked() -> None:
    tasks = Tasks()

    def slow(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method == "tasks/get":
            backend.waiting["get"] = peer, event
        else:
            tasks(backend, peer, event)

    server = Backend("a", LEGACY, slow, tools={}, **SERVER[LEGACY])
    ann = client(LEGACY, server, settings=RelaySettings(tasks=1))
    id = create(ann, LEGACY)
    ann.ask("tasks/get", {"taskId": id})
    create(ann, LEGACY)
    tasks(server, *server.waiting["get"])
    ann.move()
    [*_, found] = ann.told(ResultReceived)
    assert json.decode(found.result)["taskId"] == id


@eras
@pytest.mark.parametrize("names", ["b", "bc"])
def test_a_task_of_a_server_that_is_no_longer_there(era: str, names: str) -> None:
    id = create(client(era, *behind(era, "a")), era)
    servers = behind(era, *names)
    scene = client(era, *servers)
    for server in servers:
        server.handler.kept.append("a 0")  # type: ignore[attr-defined]
    assert scene.error("tasks/get", {"taskId": id}).message == "no task of that id"
    [asked] = servers[0].requests("tasks/get")
    asked_for = json.decode(asked.params)["taskId"]
    assert isinstance(asked_for, str)  # an id that no task has
    assert asked_for not in ("a 0", id)


def test_several_servers_have_tasks_but_no_list() -> None:
    for era in (LEGACY, MODERN):
        scene = client(era, *behind(era, "a", "b"))
        declared = json.decode(json.encode(scene.relay.capabilities()))
        expected = json.decode(json.encode(SERVER[era]))
        expected.get("tasks", {}).pop("list", None)
        assert {key: declared[key] for key in expected} == expected
    scene = client(LEGACY, *behind(LEGACY, "a", "b"))
    assert scene.error("tasks/list").code == METHOD_NOT_FOUND
    none = client(LEGACY, *(Backend(each, LEGACY, tools) for each in "ab"))
    assert none.error("tasks/get", {"taskId": "x"}).code == METHOD_NOT_FOUND


def test_a_server_that_names_another_task_is_not_believed() -> None:
    def other(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method == "tasks/get":
            peer.respond(event.key, {"taskId": "of bob", **STATE, "ttl": None})
        else:
            Tasks()(backend, peer, event)

    scene = client(LEGACY, Backend("a", LEGACY, other, tools={}, **SERVER[LEGACY]))
    error = scene.error("tasks/get", {"taskId": create(scene, LEGACY)})
    assert "of bob" not in error.message


@eras
def test_a_server_without_tasks_is_not_asked_for_any_and_may_use_their_names(era: str) -> None:
    body = {"task": {"taskId": "1"}, "taskId": "2", "content": []}

    def other(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        assert event.method == "tools/call"
        peer.respond(event.key, body)

    scene = client(era, Backend("a", era, other, tools={}), *behind(era, "b"))
    result = scene.result("tools/call", {"name": "a__x", "arguments": {}})
    assert {key: result[key] for key in body} == body
    assert scene.error("tasks/get", {"taskId": "x"}).message == "no task of that id"


@eras
def test_what_other_extensions_call_a_task_stays_as_it_is(era: str) -> None:
    body = {"task": {"taskId": "1"}, "taskId": "2"}

    def other(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, json.decode(event.params))

    scene = client(era, Backend("a", era, other, tools={}, **SERVER[era]))
    result = scene.result("acme/dig", body)
    assert {key: result[key] for key in body} == body


@eras
def test_a_task_that_is_told_twice_has_one_id_and_a_cursor_of_other_methods_passes(
    era: str,
) -> None:
    [server] = behind(era, "a")
    scene = client(era, server)
    id = create(scene, era)
    server.handler.kept.clear()  # type: ignore[attr-defined]
    assert create(scene, era) == id
    scene.result("tasks/other", {"taskId": id, "cursor": "x"})
    assert json.decode(server.requests("tasks/other")[0].params)["cursor"] == "x"


@pytest.mark.parametrize(
    ("era", "method"), [(LEGACY, "tools/call"), (MODERN, "tools/call"), (LEGACY, "tasks/result")]
)
def test_the_result_of_a_tool_is_no_task_for_what_it_names(era: str, method: str) -> None:
    def other(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {"content": [], "taskId": "2"})

    scene = client(era, Backend("a", era, other, tools={}, **SERVER[era]))
    params = {"taskId": "x"} if method == "tasks/result" else {"name": "x", "arguments": {}}
    assert scene.result(method, params)["taskId"] == "2"


# Notices and questions


def test_a_legacy_notice_reaches_the_sessions_of_the_principal() -> None:
    servers = behind(LEGACY, "a")
    ann = client(LEGACY, *servers)
    id = create(ann, LEGACY)
    bob = client(LEGACY, *servers, beside=ann, principal="bob")
    create(bob, LEGACY)
    state = {"taskId": "a 0", **STATE, "ttl": None}
    for peer in servers[0].handler.peers.values():  # type: ignore[attr-defined]
        peer.notify("notifications/tasks/status", state, meta={RELATED: {"taskId": "a 0"}})
    ann.move()
    bob.move()
    [told] = ann.told(NotificationReceived)
    found = json.decode(told.params)
    assert (found["taskId"], found["_meta"][RELATED]) == (id, {"taskId": id})
    assert not bob.told(NotificationReceived)


def test_a_listen_stream_carries_the_tasks_of_its_principal() -> None:
    servers = behind(MODERN, "a", "b")
    ann = client(MODERN, *servers)
    bob = client(MODERN, *servers, beside=ann, principal="bob")
    ids = [create(ann, MODERN, name) for name in ("a__dig", "b__dig")]
    for scene in (ann, bob):
        scene.client.request(
            "subscriptions/listen", {"notifications": {"taskIds": [*ids, "a 0"]}}, now=0.0
        )
        scene.move()
    [heard] = ann.told(SubscriptionAcknowledged)
    assert heard.filter.task_ids == ids
    [heard] = bob.told(SubscriptionAcknowledged)
    assert heard.filter.task_ids == []
    for server in servers:
        asked = [event.filter for event in server.events if isinstance(event, SubscriptionOpened)]
        assert asked[-1].task_ids == [f"{server.name} 0"]
        server.wires[0][2].notify("notifications/tasks", {"taskId": f"{server.name} 0", **STATE})
    ann.move()
    bob.move()
    told = ann.told(SubscriptionNotification)
    assert [json.decode(each.params)["taskId"] for each in told] == ids
    assert not bob.told(SubscriptionNotification)


def test_questions_about_a_task_and_their_answers_name_it_on_both_sides() -> None:
    servers = behind(LEGACY, "a")
    ann = client(LEGACY, *servers)
    id = create(ann, LEGACY)
    heard: list[Raw] = []
    servers[0].waiting = {}
    ann.answers = {"action": "decline", "_meta": {RELATED: {"taskId": id}}}
    peer = servers[0].handler.peers["a 0"]  # type: ignore[attr-defined]
    asked = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
    for task in ("a 0", "of bob"):
        meta = {RELATED: {"taskId": task}}
        number = peer.request("elicitation/create", asked, now=0.0, meta=meta)
        servers[0].waiting[number] = heard.append
        ann.move()
    first, second = (json.decode(each.params) for each in ann.told(RequestReceived))
    assert first["_meta"][RELATED] == {"taskId": id}
    assert RELATED not in second.get("_meta", {})
    assert [json.decode(each)["_meta"] for each in heard] == [{RELATED: {"taskId": "a 0"}}] * 2


def test_a_task_is_named_to_its_own_server_alone() -> None:
    servers = behind(LEGACY, "a", "b")
    ann = client(LEGACY, *servers)
    meta = {RELATED: {"taskId": create(ann, LEGACY, "a__dig")}}
    for name in "ab":
        ann.result("tools/call", {"name": f"{name}__x", "arguments": {}, "_meta": meta})
    seen = [json.decode(each.requests("tools/call")[-1].params) for each in servers]
    assert [each.get("_meta", {}).get(RELATED) for each in seen] == [{"taskId": "a 0"}, None]


@pytest.mark.parametrize("key", [RELATED, RELATED.replace("task", "t\\u0061sk")])
def test_a_result_names_no_task_of_others(key: str) -> None:
    server = Backend("a", LEGACY, lambda *_: None, tools={}, **SERVER[LEGACY])
    scene = client(LEGACY, server)
    scene.ask("tools/call", {"name": "x", "arguments": {}})
    link, near, _ = server.wires[-1]
    text = '{"jsonrpc":"2.0","id":%d,"result":{"content":[],"_meta":{"%s":{"taskId":"of bob"}}}}\n'
    near.receive_data((text % (*link.calls, key)).encode(), now=0.0)
    scene.move()
    [result] = [bytes(each.result) for each in scene.told(ResultReceived)]
    assert b"of bob" not in result


@pytest.mark.parametrize("task", [5, {"taskId": 5}, [{}]])
def test_what_names_no_task_is_left_out_on_both_sides(task: Any) -> None:
    def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {"tools": [], "_meta": {RELATED: task, "taskId": "x"}})

    server = Backend("a", LEGACY, answer, tools={}, **SERVER[LEGACY])
    scene = client(LEGACY, server)
    result = scene.result("tools/list", {"_meta": {RELATED: task, "acme": 1}})
    assert result["_meta"] == {"taskId": "x"}
    [seen] = server.requests("tools/list")
    assert json.decode(seen.params)["_meta"] == {"acme": 1}


@pytest.mark.parametrize("key", [RELATED, RELATED.replace("task", "t\\u0061sk")])
def test_a_message_of_a_client_is_related_to_no_task_of_others(key: str) -> None:
    servers = behind(LEGACY, "a")
    ann = client(LEGACY, *servers)
    id = create(ann, LEGACY)
    bob = client(LEGACY, *servers, beside=ann, principal="bob")
    for guess in ("a 0", id):
        meta = Raw(b'{"_meta":{"%b":{"taskId":"%b"}}}' % (key.encode(), guess.encode()))
        bob.ask("resources/list", meta)
        bob.client.notify("notifications/acme", meta)
        bob.move()
    seen = [each.params for each in servers[0].requests("resources/list")]
    seen += [each.params for each in servers[0].events if isinstance(each, NotificationReceived)]
    assert len(seen) == 4
    assert not any(b"related" in bytes(each) for each in seen)
    ann.client.notify("notifications/acme", Raw(b"{}"), meta={RELATED: {"taskId": id}})
    ann.move()
    *_, told = (each for each in servers[0].events if isinstance(each, NotificationReceived))
    assert json.decode(told.params)["_meta"] == {RELATED: {"taskId": "a 0"}}
    assert not bob.told(ErrorReceived)
