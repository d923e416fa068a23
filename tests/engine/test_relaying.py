"""What a relay needs of the engine: params taken apart, capabilities by request, extensions."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import MsgspecError, Raw, convert, json

from mcpcore.engine import ANY_EXTENSION, EndReason
from mcpcore.engine.bodies import relayable
from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.types.capabilities import ClientCapabilities
from tests.engine.bench import (
    call,
    client_config,
    expect,
    feed,
    legacy_client,
    modern_client,
    modern_server,
    sent,
    server_config,
)

OWN = "io.modelcontextprotocol/"
DECLARED = f"{OWN}clientCapabilities"

# Params taken apart


@pytest.mark.parametrize(
    ("params", "left", "meta"),
    [
        ("{}", "{}", {}),
        ('{ "a" : [1,\n2] }', '{ "a" : [1, 2] }', {}),
        ('{"a":{"_meta":{"progressToken":1}}}', '{"a":{"_meta":{"progressToken":1}}}', {}),
        ('{"_meta":{"progressToken":7,"x":1}}', "{}", {"x": "1"}),
        ('{"a":1e5,"_meta":{}}', '{"a":1e5}', {}),
        (
            '{"_meta":{"%sprotocolVersion":"2026-07-28","%sclientInfo":{},"%slogLevel":"info",'
            '"%sclientCapabilities":{},"traceparent":"t"},"a":{ "b" : 1.0 }}' % ((OWN,) * 4),
            '{"a":{ "b" : 1.0 }}',
            {"traceparent": '"t"'},
        ),
        ('{"inputResponses":{"a":{}},"name":"x","requestState":"s"}', '{"name":"x"}', {}),
        ('{"\\u005fmeta":{"progressToken":7},"b":"\\u00e9"}', '{"b":"\\u00e9"}', {}),
        ('{"b":"\\u00e9"}', '{"b":"\\u00e9"}', {}),
        ('{"c":"\\u00e9",\r\n"b":1}', '{"c":"\\u00e9",  "b":1}', {}),
        ('{"b":[1,\n2],"_meta":{}}', '{"b":[1, 2]}', {}),
        ('{"b":1,"_meta":null}', '{"b":1}', {}),
    ],
)
def test_params_without_what_the_engine_sets(params: str, left: str, meta: dict[str, str]) -> None:
    body, own = relayable(Raw(params.encode()))
    assert bytes(body) == left.encode()
    assert {key: bytes(value).decode() for key, value in own.items()} == meta


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), JSON),
    st.none() | st.dictionaries(st.text() | st.sampled_from(["progressToken", DECLARED]), JSON),
)
def test_every_other_member_stays_byte_for_byte(
    members: dict[str, Any], meta: dict[str, Any] | None
) -> None:
    members = {key: value for key, value in members.items() if key != "_meta"}
    whole = members if meta is None else {**members, "_meta": meta}
    body, own = relayable(Raw(json.encode(whole)))
    for name in ("inputResponses", "requestState"):
        members.pop(name, None)
    assert bytes(body) == json.encode(members)
    kept = {
        key: value for key, value in (meta or {}).items() if key not in ("progressToken", DECLARED)
    }
    assert {key: json.decode(value) for key, value in own.items()} == kept


def test_a_request_is_passed_on_as_it_is_taken_apart() -> None:
    server, client = modern_server(), modern_client()
    meta = {"progressToken": "theirs", "traceparent": "t"}
    [event] = feed(server, call(1, "tools/call", {"name": "a", "_meta": meta}, modern=True))
    assert isinstance(event, RequestReceived)
    with pytest.raises(LocalProtocolError, match="is set by the engine"):
        client.request(event.method, event.params, now=0.0)
    id = client.forward(event, now=0.0)
    [request] = sent(client)
    assert request["params"]["name"] == "a"
    assert request["params"]["_meta"]["traceparent"] == "t"
    assert request["params"]["_meta"]["progressToken"] == id


@pytest.mark.parametrize(
    ("outcome", "answered"),
    [
        ({"result": {"content": [], "resultType": "complete"}}, {"content": []}),
        ({"error": {"code": 7, "message": "no"}}, {"code": 7, "message": "no"}),
        (None, {"code": -32603, "message": "connection closed: closed"}),
    ],
)
def test_its_outcome_goes_back(outcome: dict[str, Any] | None, answered: dict[str, Any]) -> None:
    server, client = modern_server(), modern_client()
    event = expect(RequestReceived, feed(server, call(1, "tools/call", {"name": "a"}, modern=True)))
    id = client.forward(event, now=0.0)
    if outcome is None:
        client.receive_eof(now=0.0)
        ended = client.next_event()
    else:
        ended, *_ = feed(client, {"jsonrpc": "2.0", "id": id, **outcome})
    assert isinstance(ended, ResultReceived | ErrorReceived | RequestEnded)
    assert server.conclude(event.key, ended)
    [answer] = sent(server)
    found = answer["result"] if "result" in answer else answer["error"]
    assert answer["id"] == 1
    assert {name: found[name] for name in answered} == answered


def test_a_large_argument_is_copied_once() -> None:
    size = 1_000_000
    whole = {"name": "a", "arguments": {"text": "x" * size}, "_meta": {"traceparent": "t"}}
    params = Raw(json.encode(whole))
    tracemalloc.start()
    try:
        body, _ = relayable(params)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    finally:
        tracemalloc.stop()
    assert len(body) > size


# Capabilities by request


def test_a_request_declares_the_capabilities_that_it_is_given() -> None:
    """Also if those before were equal to Python (1 and true), long, or very many."""
    client = modern_client(client_config({"roots": {}}))
    values = (1, True, "long" * 1000, *range(2, 40))
    many: list[dict[str, Any]] = [{"extensions": {"e": {"x": x}}} for x in values]
    sets: list[dict[str, Any] | None] = [None, {"sampling": {}}, {}, *many, None, *many[:3]]
    for own in sets:
        capabilities = None if own is None else convert(own, ClientCapabilities)
        client.request("tools/list", now=0.0, capabilities=capabilities)
        [request] = sent(client)
        declared = {"roots": {}} if own is None else own
        assert json.encode(request["params"]["_meta"][DECLARED]) == json.encode(declared)


QUESTION = {"method": "elicitation/create", "params": {"message": "?"}}


@pytest.mark.parametrize(("own", "allowed"), [({"elicitation": {}}, True), ({}, False)])
def test_questions_are_those_that_the_request_allows(own: Any, allowed: bool) -> None:
    """The capabilities of the config, which are the opposite, do not count."""
    client = modern_client(client_config({} if allowed else {"elicitation": {}}))
    capabilities = convert(own, ClientCapabilities)
    id = client.request("tools/call", {"name": "a"}, now=0.0, capabilities=capabilities)
    asks = {"resultType": "input_required", "inputRequests": {"q": QUESTION}, "requestState": "s"}
    [event] = feed(client, {"jsonrpc": "2.0", "id": id, "result": asks})
    if allowed:
        assert isinstance(event, InputRequired)
        assert event.state == "s"
        sent(client)
        client.retry(id, {"q": {"action": "cancel"}}, now=0.0)
        assert sent(client)[0]["params"]["_meta"][DECLARED] == own
    else:
        assert isinstance(event, RequestEnded)
        assert event.reason is EndReason.INVALID


def test_a_task_is_a_result_only_where_the_request_allows_it() -> None:
    client = modern_client(client_config({}))
    tasks = convert({"extensions": {"io.modelcontextprotocol/tasks": {}}}, ClientCapabilities)
    found = []
    for capabilities in (tasks, None):
        id = client.request("tools/call", {"name": "a"}, now=0.0, capabilities=capabilities)
        result = {"resultType": "task", "taskId": "1"}
        found += feed(client, {"jsonrpc": "2.0", "id": id, "result": result})
    assert [type(event) for event in found] == [ResultReceived, RequestEnded]


def test_no_era_but_the_modern_one_has_capabilities_by_request() -> None:
    client = legacy_client()
    with pytest.raises(LocalProtocolError, match="in the handshake only"):
        client.request("tools/list", now=0.0, capabilities=ClientCapabilities())
    assert sent(client) == []


# Methods that no revision has


def test_a_server_for_any_extension_passes_on_unknown_methods_only() -> None:
    server = modern_server(server_config(extension_methods=ANY_EXTENSION))
    expect(RequestReceived, feed(server, call(1, "acme/dig", {"deep": 1}, modern=True)))
    feed(server, call(2, "ping", modern=True))
    assert sent(server)[0]["error"]["code"] == -32601


# Questions of another server


def test_a_question_that_was_received_is_asked_byte_for_byte() -> None:
    server = modern_server()
    declared: dict[str, Any] = {DECLARED: {"elicitation": {}}}
    [event] = feed(server, call(1, "tools/call", {"name": "a", "_meta": declared}, modern=True))
    assert isinstance(event, RequestReceived)
    question = Raw(b'{"method":"elicitation/create","params":{ "message" : "?" },"x":1.0}')
    for wrong in (b'{"method":"roots/list"}', b'{"method":"ping"}'):
        with pytest.raises(LocalProtocolError):
            server.require_input(event.key, {"q": Raw(wrong)})
    with pytest.raises(MsgspecError):
        server.require_input(event.key, {"q": Raw(b"{}")})
    server.require_input(event.key, {"q": question}, "s")
    assert bytes(question) in server.lines_to_send()
