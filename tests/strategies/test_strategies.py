"""The exported strategies make what they promise: judged by the wire, the types and the engine."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpcore import Config, Implementation, Peer, Role, ServerCapabilities, events
from mcpcore.spec.errors import INVALID_REQUEST
from mcpcore.spec.methods import METHODS, MethodKind, lookup
from mcpcore.spec.revisions import REVISIONS
from mcpcore.spec.types.capabilities import (
    PromptsCapability,
    ResourcesCapability,
    TasksCapability,
    ToolsCapability,
)
from mcpcore.wire import sse
from mcpcore.wire.message import Message, decode
from mcpcore_conformance.strategies import (
    EventStream,
    Malformed,
    batches,
    chunks,
    conversations,
    event_streams,
    malformed,
    messages,
    params_of,
    requests,
    responses,
    results_of,
)

ME = Implementation(name="x", version="1")
EVERYTHING = ServerCapabilities(
    completions={},
    logging={},
    prompts=PromptsCapability(list_changed=True),
    resources=ResourcesCapability(subscribe=True, list_changed=True),
    tasks=TasksCapability(list={}, cancel={}),
    tools=ToolsCapability(list_changed=True),
)
NAMES = [revision.name for revision in REVISIONS]
LENIENT = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SENT = [
    (row.name, sender, revision.name)
    for row in METHODS
    for sender in ("client", "server")
    for revision in REVISIONS
    if lookup(row.name, sender, revision) is not None
]


def read(data: bytes) -> Any:
    return decode(data)


def typed(value: Any, type: Any) -> None:
    """Read it as that type; raises msgspec.ValidationError."""
    msgspec.json.decode(json.dumps(value, ensure_ascii=False).encode(), type=type)


@pytest.mark.parametrize("revision", NAMES)
@pytest.mark.parametrize("sender", ["client", "server"])
@LENIENT
@given(data=st.data())
def test_messages_are_messages(revision: str, sender: str, data: st.DataObject) -> None:
    value = data.draw(messages(revision=revision, sender=sender))
    message = read(json.dumps(value, ensure_ascii=False).encode())
    assert isinstance(message, Message)
    row = (
        lookup(value["method"], sender, {r.name: r for r in REVISIONS}[revision])
        if ("method" in value)
        else None
    )
    if row is not None:
        typed(value["params"], row.params)


@pytest.mark.parametrize(("method", "sender", "revision"), SENT)
def test_every_method_has_params_and_results(method: str, sender: str, revision: str) -> None:
    row = lookup(method, sender, {r.name: r for r in REVISIONS}[revision])
    assert row is not None

    @settings(deadline=None, max_examples=3, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        params = data.draw(params_of(method, revision=revision, sender=sender))
        typed(params, row.params)
        if row.result is not None:
            result = data.draw(results_of(method, revision=revision, sender=sender))
            typed(result, row.result)

    check()
    if row.kind is MethodKind.NOTIFICATION:
        with pytest.raises(ValueError, match="notification"):
            results_of(method, revision=revision, sender=sender)


def test_what_nobody_sends_is_refused() -> None:
    with pytest.raises(ValueError, match="sends no 'ping'"):
        params_of("ping", revision="2026-07-28")
    with pytest.raises(ValueError, match="sends no 'no/such'"):
        requests(method="no/such")


@LENIENT
@given(value=responses())
def test_responses_are_answers(value: dict[str, Any]) -> None:
    message = read(json.dumps(value, ensure_ascii=False).encode())
    assert isinstance(message, Message)
    assert message.id == value["id"]
    assert type(message.id) is type(value["id"])


@LENIENT
@given(batch=batches())
def test_batches_have_ids_that_differ(batch: list[dict[str, Any]]) -> None:
    ids = [(type(each["id"]), each["id"]) for each in batch if "id" in each]
    assert len(ids) == len(set(ids))
    assert all(each.get("method") != "initialize" for each in batch)
    parts = read(json.dumps(batch, ensure_ascii=False).encode())
    assert all(isinstance(part, Message) for part in parts)


@LENIENT
@given(broken=malformed())
def test_malformed_input_is_refused_as_promised(broken: Malformed) -> None:
    assert b"\n" not in broken.data
    peer = Peer(Role.SERVER, Config(info=ME, capabilities=EVERYTHING))
    peer.receive(broken.data, now=0.0)
    found = []
    while (event := peer.next_event()) is not None:
        found.append(event)
    assert any(isinstance(event, events.Violation) for event in found)
    assert not any(isinstance(event, events.RequestReceived) for event in found)
    (frame,) = peer.data_to_send()
    answer = json.loads(b"".join(frame.data))
    assert answer["error"]["code"] == broken.code
    if broken.code == INVALID_REQUEST:
        assert answer.get("id") == broken.id


@pytest.mark.parametrize("revision", NAMES)
@LENIENT
@given(data=st.data())
def test_conversations_break_no_rule_of_the_protocol(revision: str, data: st.DataObject) -> None:
    said = data.draw(conversations(revision=revision))
    peer = Peer(Role.SERVER, Config(info=ME, capabilities=EVERYTHING))
    for message in said:
        peer.receive(json.dumps(message, ensure_ascii=False).encode(), now=0.0)
        while (event := peer.next_event()) is not None:
            assert not isinstance(event, events.Violation), event
            if isinstance(event, events.RequestCancelled):
                peer.release(event.key)
    ids = [(type(each["id"]), each["id"]) for each in said if "id" in each]
    assert len(ids) == len(set(ids))


@LENIENT
@given(stream=event_streams(), data=st.data())
def test_event_streams_hold_their_events(stream: EventStream, data: st.DataObject) -> None:
    pieces = data.draw(chunks(stream.data))
    assert b"".join(pieces) == stream.data
    decoder = sse.SseDecoder()
    found = []
    for piece in pieces:
        found += decoder.receive(piece)
    assert [(event.data, event.event) for event in found] == [
        (each.data, each.name or "message") for each in stream.events
    ]
    assert decoder.retry == stream.retry


@pytest.mark.parametrize(
    "made",
    [
        lambda: requests(revision="2024"),
        lambda: messages(revision="2024"),
        lambda: params_of("ping", revision="2024"),
        lambda: results_of("ping", revision="2024"),
        lambda: conversations(revision="2024"),
    ],
)
def test_a_revision_that_is_not_known_is_named_with_those_that_are(
    made: Callable[[], object],
) -> None:
    with pytest.raises(ValueError, match=f"no revision '2024'; there are {', '.join(NAMES)}"):
        made()
