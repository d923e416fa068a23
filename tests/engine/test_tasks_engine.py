"""What the engine does for tasks: capabilities by revision, listen streams, progress, results."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mcpcore.engine import events
from mcpcore.engine.config import Config, Limits, Negotiation, Role
from mcpcore.engine.peer import Peer
from mcpcore.spec.capabilities import TASKS_EXTENSION, in_revision
from mcpcore.spec.revisions import BY_NAME, REVISIONS
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import (
    ClientCapabilities,
    ServerCapabilities,
    TasksCapability,
    ToolsCapability,
)
from mcpcore.spec.types.lifecycle import SubscriptionFilter

INFO = Implementation(name="x", version="1")
EXTENSION: dict[str, Any] = {TASKS_EXTENSION: {}}
SERVER = ServerCapabilities(
    tools=ToolsCapability(list_changed=True),
    tasks=TasksCapability(list={}),
    extensions={**EXTENSION, "com.example/x": {}},
)
CLIENT = ClientCapabilities(tasks=TasksCapability(list={}), extensions=EXTENSION)
MODERN, LEGACY = BY_NAME["2026-07-28"], BY_NAME["2025-11-25"]


def server(**limits: Any) -> Peer:
    return Peer(Role.SERVER, Config(info=INFO, capabilities=SERVER, limits=Limits(**limits)))


def client(negotiation: Negotiation, capabilities: ClientCapabilities = CLIENT) -> Peer:
    config = Config(info=INFO, capabilities=capabilities, negotiation=negotiation)
    made = Peer(Role.CLIENT, config)
    made.start(now=0.0)
    return made


def drained(peer: Peer) -> list[events.Event]:
    found = []
    while (event := peer.next_event()) is not None:
        found.append(event)
    return found


def sent(peer: Peer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in peer.lines_to_send().splitlines()]


def feed(peer: Peer, message: dict[str, Any]) -> list[events.Event]:
    peer.receive_data(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n", now=0.0)
    return drained(peer)


def meta(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN.name,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }


def listen(peer: Peer, wanted: dict[str, Any], *, declared: bool = True) -> list[events.Event]:
    capabilities = {"extensions": EXTENSION} if declared else {}
    params = {"notifications": wanted, "_meta": meta(capabilities)}
    return feed(peer, {"id": "s", "method": "subscriptions/listen", "params": params})


# Capabilities


@pytest.mark.parametrize("revision", REVISIONS, ids=str)
@pytest.mark.parametrize("capabilities", [SERVER, CLIENT], ids=["server", "client"])
def test_tasks_are_declared_where_they_are_spoken(revision: Any, capabilities: Any) -> None:
    shown = in_revision(capabilities, revision)
    assert (shown.tasks is not None) is (revision is LEGACY)
    extensions = shown.extensions or {}
    assert (TASKS_EXTENSION in extensions) is revision.modern
    rest: dict[str, Any] = {name: {} for name in capabilities.extensions if name != TASKS_EXTENSION}
    assert extensions == ({**rest, **EXTENSION} if revision.modern else rest)
    assert capabilities in (SERVER, CLIENT)  # what was given is left alone
    assert TASKS_EXTENSION in capabilities.extensions


def test_what_goes_over_the_wire() -> None:
    modern, legacy = client(Negotiation.MODERN), client(Negotiation.LEGACY)
    (discover,) = sent(modern)
    (initialize,) = sent(legacy)
    declared = discover["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
    assert declared == {"extensions": EXTENSION}
    assert initialize["params"]["capabilities"] == {"tasks": {"list": {}}}

    peer = server()
    feed(peer, discover)
    feed(peer, initialize)
    discovered, initialized = sent(peer)
    capabilities = discovered["result"]["capabilities"]
    assert "tasks" not in capabilities
    assert capabilities["extensions"] == {**EXTENSION, "com.example/x": {}}
    capabilities = initialized["result"]["capabilities"]
    assert capabilities["tasks"] == {"list": {}}
    assert capabilities["extensions"] == {"com.example/x": {}}


# Listen streams


def test_only_who_declared_the_extension_hears_of_tasks() -> None:
    peer = server()
    assert isinstance(listen(peer, {"taskIds": ["t"]}, declared=False)[0], events.Violation)
    (refused,) = sent(peer)
    assert refused["error"]["code"] == -32021
    assert refused["error"]["data"] == {"requiredCapabilities": {"extensions": EXTENSION}}
    assert peer.in_flight == 0
    listen(peer, {"toolsListChanged": True}, declared=False)
    assert sent(peer)[0]["method"] == "notifications/subscriptions/acknowledged"


def test_a_server_without_tasks_honours_none() -> None:
    config = Config(info=INFO, capabilities=ServerCapabilities(tools=SERVER.tools))
    peer = Peer(Role.SERVER, config)
    listen(peer, {"taskIds": ["t"], "toolsListChanged": True}, declared=False)
    (first,) = sent(peer)
    assert first["params"]["notifications"] == {"toolsListChanged": True}


def test_too_many_tasks_on_one_stream_are_refused() -> None:
    peer = server(subscriptions=2)
    listen(peer, {"taskIds": ["a", "b", "c"]})
    (refused,) = sent(peer)
    assert refused["error"]["code"] == -32602
    assert "more than 2" in refused["error"]["message"]


def test_the_acknowledgement_names_what_is_left_after_narrowing() -> None:
    peer = server()
    (opened,) = listen(peer, {"taskIds": ["a", "b"], "toolsListChanged": True})
    assert isinstance(opened, events.SubscriptionOpened)
    assert opened.filter.task_ids == ["a", "b"]
    peer.narrow(opened.key, SubscriptionFilter(task_ids=["b"], tools_list_changed=True))
    waiting = peer.queued(opened.key)
    line = peer.lines_to_send()
    assert waiting == len(line) - 1
    first = json.loads(line)
    assert first["params"]["notifications"] == {"taskIds": ["b"], "toolsListChanged": True}
    assert first["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s"}

    for id in ("a", "b"):
        peer.notify("notifications/tasks", {"taskId": id, "status": "working"})
    (told,) = sent(peer)
    assert told["method"] == "notifications/tasks"
    assert told["params"]["taskId"] == "b"
    assert told["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s"}


def test_what_has_left_is_not_said_again() -> None:
    peer = server()
    (opened,) = listen(peer, {"taskIds": ["a", "b"]})
    assert isinstance(opened, events.SubscriptionOpened)
    assert len(sent(peer)) == 1
    peer.narrow(opened.key, SubscriptionFilter(task_ids=["b"]))
    assert sent(peer) == []
    peer.notify("notifications/tasks", {"taskId": "a"})
    assert sent(peer) == []


# Results


def modern_client(capabilities: ClientCapabilities) -> Peer:
    peer = client(Negotiation.MODERN, capabilities)
    (probe,) = sent(peer)
    discovery = {
        "resultType": "complete",
        "supportedVersions": [MODERN.name],
        "capabilities": {"tools": {}, "prompts": {}, "extensions": EXTENSION},
        "ttlMs": 0,
        "cacheScope": "public",
    }
    feed(peer, {"id": probe["id"], "result": discovery})
    return peer


@pytest.mark.parametrize(
    ("method", "declared", "accepted"),
    [
        ("tools/call", True, True),
        ("tools/call", False, False),
        ("prompts/get", True, False),
    ],
)
def test_a_task_answers_what_can_become_one(method: str, declared: bool, accepted: bool) -> None:
    peer = modern_client(CLIENT if declared else ClientCapabilities())
    request = peer.request(method, {"name": "x"}, now=0.0)
    sent(peer)
    result = {"resultType": "task", "taskId": "t", "status": "working"}
    (event,) = feed(peer, {"id": request, "result": result})
    if accepted:
        assert isinstance(event, events.ResultReceived)
    else:
        assert isinstance(event, events.RequestEnded)
        assert event.reason is events.EndReason.INVALID
        assert "'task'" in event.message


# Progress


def legacy_client(**limits: Any) -> Peer:
    config = Config(
        info=INFO,
        capabilities=CLIENT,
        negotiation=Negotiation.LEGACY,
        limits=Limits(**limits),
    )
    peer = Peer(Role.CLIENT, config)
    peer.start(now=0.0)
    (hello,) = sent(peer)
    result = {
        "protocolVersion": LEGACY.name,
        "capabilities": {"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}},
        "serverInfo": {"name": "s", "version": "1"},
    }
    feed(peer, {"id": hello["id"], "result": result})
    sent(peer)
    return peer


def call(peer: Peer, *, progress: bool = True) -> Any:
    request = peer.request("tools/call", {"name": "x", "task": {}}, now=0.0, progress=progress)
    sent(peer)
    return request


def report(peer: Peer, token: Any, value: float) -> list[events.Event]:
    params = {"progressToken": token, "progress": value}
    return feed(peer, {"method": "notifications/progress", "params": params})


def test_progress_goes_on_when_the_call_has_become_a_task() -> None:
    peer = legacy_client()
    request = call(peer)
    assert isinstance(report(peer, request, 1)[0], events.ProgressReceived)
    feed(peer, {"id": request, "result": {"task": {"taskId": "t", "status": "working"}}})
    assert peer.pending == 0
    (event,) = report(peer, request, 2)
    assert isinstance(event, events.ProgressReceived)
    assert (event.request, event.progress) == (request, 2)
    (event,) = report(peer, request, 2)
    assert isinstance(event, events.Violation)


def test_progress_ends_with_an_ordinary_result() -> None:
    peer = legacy_client()
    request = call(peer)
    feed(peer, {"id": request, "result": {"content": []}})
    assert report(peer, request, 1) == []


def test_who_wanted_no_progress_hears_of_none() -> None:
    peer = legacy_client()
    request = call(peer, progress=False)
    feed(peer, {"id": request, "result": {"task": {"taskId": "t", "status": "working"}}})
    assert report(peer, request, 1) == []


def test_the_tokens_of_old_tasks_are_forgotten() -> None:
    peer = legacy_client(in_flight=2)
    requests = [call(peer) for _ in range(3)]
    for request in requests:
        feed(peer, {"id": request, "result": {"task": {"taskId": "t"}}})
    heard = [bool(report(peer, request, 1)) for request in requests]
    assert heard == [False, True, True]
