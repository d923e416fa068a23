"""Handshake, discovery, the era probe, and which era a request belongs to."""

import math
from typing import Any

import msgspec
import pytest

from mcpcore.engine import MAIN, Negotiation, Peer, Role
from mcpcore.engine.events import (
    EndReason,
    NegotiationFailed,
    Ready,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    Violation,
)
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.negotiation import is_modern
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.types.base import Implementation, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.message import RequestId
from tests.engine.bench import (
    ALL_NAMES,
    CLIENT_ALL,
    LEGACY_NAMES,
    META,
    MODERN_NAMES,
    SERVER_ALL,
    Pair,
    answer,
    call,
    client_config,
    drain,
    error,
    expect,
    feed,
    initialize,
    legacy_server,
    limits,
    modern_server,
    rows,
    sent,
    server_config,
    tell,
)

# The server's handshake


@pytest.mark.requirement("basic/lifecycle/initialize-answered", "basic/lifecycle/same-version")
@pytest.mark.parametrize("revision", LEGACY_NAMES)
def test_server_echoes_a_supported_legacy_revision(revision: str) -> None:
    peer = Peer(Role.SERVER, server_config())
    assert feed(peer, initialize(7, revision)) == []
    [reply] = sent(peer)
    assert reply["id"] == 7
    assert reply["result"]["protocolVersion"] == revision
    assert reply["result"]["serverInfo"] == {"name": "server", "version": "1"}
    assert "resultType" not in reply["result"]
    without = {"completions"} if revision == LEGACY_NAMES[0] else set()
    assert reply["result"]["capabilities"].keys() == SERVER_ALL.keys() - without
    ready = expect(Ready, feed(peer, tell("notifications/initialized")))
    assert ready.revision.name == revision
    assert ready.info is not None
    assert ready.info.name == "client"


@pytest.mark.requirement("basic/lifecycle/same-version", "basic/lifecycle/answer-latest")
@pytest.mark.parametrize("requested", ["1999-01-01", "", MODERN_NAMES[-1]])
def test_server_answers_an_unknown_version_with_its_newest_legacy_one(requested: str) -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, initialize(1, requested))
    assert sent(peer)[0]["result"]["protocolVersion"] == LEGACY_NAMES[-1]


@pytest.mark.requirement("basic/lifecycle/answer-latest")
def test_server_restricted_to_old_revisions_offers_the_newest_of_them() -> None:
    peer = Peer(Role.SERVER, server_config(revisions=rows(*LEGACY_NAMES[:2])))
    feed(peer, initialize(1, LEGACY_NAMES[-1]))
    assert sent(peer)[0]["result"]["protocolVersion"] == LEGACY_NAMES[1]


@pytest.mark.parametrize("version", ["1e999", "9" * 5000, "7", "null", "{}"])
def test_modern_only_server_survives_an_initialize_without_a_version(version: str) -> None:
    peer = Peer(Role.SERVER, server_config(revisions=rows(*MODERN_NAMES)))
    params = f'{{"protocolVersion":{version}}}'
    feed(peer, f'{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}'.encode())
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32022
    assert reply["error"]["data"] == {"supported": MODERN_NAMES, "requested": ""}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"protocolVersion": 7, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
        {"protocolVersion": LEGACY_NAMES[-1], "clientInfo": {"name": "c", "version": "1"}},
        {"protocolVersion": LEGACY_NAMES[-1], "capabilities": {}, "clientInfo": {"name": "c"}},
        {
            "protocolVersion": LEGACY_NAMES[-1],
            "capabilities": {},
            "clientInfo": {"name": "c" * 64 * 1024, "version": "1"},
        },
        {
            "protocolVersion": LEGACY_NAMES[-1],
            "capabilities": {"experimental": {"x": {"y": "z" * 64 * 1024}}},
            "clientInfo": {"name": "c", "version": "1"},
        },
    ],
    ids=range(6),
)
def test_malformed_initialize_is_refused_and_may_be_repeated(params: Any) -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, call(1, "initialize", params))
    assert sent(peer)[0]["error"]["code"] == -32602
    feed(peer, initialize(2))
    assert "result" in sent(peer)[0]


@pytest.mark.requirement("basic/lifecycle/initialize-before-all")
@pytest.mark.parametrize(
    "method", ["tools/list", "tools/call", "logging/setLevel", "resources/subscribe"]
)
def test_requests_before_initialize_are_refused(method: str) -> None:
    peer = Peer(Role.SERVER, server_config())
    events = feed(peer, call(1, method))
    assert [type(event) for event in events] == [Violation]
    [reply] = sent(peer)
    assert (reply["id"], reply["error"]["code"]) == (1, -32600)
    assert "initialize" in reply["error"]["message"]


@pytest.mark.requirement("basic/utilities/ping/answered")
def test_ping_is_answered_before_initialize() -> None:
    peer = Peer(Role.SERVER, server_config())
    assert feed(peer, call("p", "ping")) == []
    assert sent(peer) == [answer("p")]


def test_initialized_out_of_order_is_a_violation_and_changes_nothing() -> None:
    peer = Peer(Role.SERVER, server_config())
    event = expect(Violation, feed(peer, tell("notifications/initialized")))
    assert event.message == "notifications/initialized while the session is new"
    assert peer.state is SessionState.NEW
    peer = legacy_server()
    event = expect(Violation, feed(peer, tell("notifications/initialized")))
    assert event.message == "notifications/initialized while the session is open"
    assert peer.state is SessionState.OPEN
    peer = Peer(Role.CLIENT, client_config(negotiation=Negotiation.LEGACY))
    peer.start(now=0)
    event = expect(Violation, feed(peer, tell("notifications/initialized")))
    assert event.message == "notifications/initialized while the session is opening"
    assert peer.state is SessionState.OPENING


@pytest.mark.requirement("basic/lifecycle/server-waits")
def test_server_holds_its_requests_until_initialized() -> None:
    peer = Peer(Role.SERVER, server_config())
    [received] = feed(peer, initialize(0, **CLIENT_ALL), call(1, "tools/call", {"name": "t"}))
    assert isinstance(received, RequestReceived)
    peer.data_to_send()
    peer.request("roots/list", now=0, parent=received.key)
    assert sent(peer) == []
    feed(peer, tell("notifications/initialized"))
    assert [frame["method"] for frame in sent(peer)] == ["roots/list"]


def test_server_cannot_ask_before_any_client_came() -> None:
    peer = Peer(Role.SERVER, server_config())
    with pytest.raises(LocalProtocolError, match="no client has initialized"):
        peer.request("roots/list", now=0)
    assert peer.pending == 0


# Which era


@pytest.mark.parametrize(
    ("version", "header", "method", "modern"),
    [
        (None, None, "tools/list", False),
        (None, None, "initialize", False),
        (None, LEGACY_NAMES[-1], "tools/list", False),
        (None, "garbage", "tools/list", False),
        (None, MODERN_NAMES[-1], "tools/list", True),
        (None, MODERN_NAMES[-1], "initialize", True),
        (MODERN_NAMES[-1], None, "tools/list", True),
        ("v999", None, "tools/list", True),
        ("v999", LEGACY_NAMES[-1], "tools/list", True),
        (None, None, "server/discover", True),
        (None, None, "subscriptions/listen", True),
    ],
)
def test_era_of_a_request(
    version: str | None, header: str | None, method: str, modern: bool
) -> None:
    meta = RequestMeta() if version is None else RequestMeta(protocol_version=version)
    assert is_modern(meta, header, method) is modern
    assert is_modern(None, header, method) is (modern and version is None)
    assert is_modern(RequestMeta(client_capabilities=ClientCapabilities()), header, method)


def test_a_request_that_forgot_its_version_is_told_so() -> None:
    peer = modern_server()
    meta: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {}}
    feed(peer, call(1, "tools/list", {"_meta": meta}))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32602
    assert "protocolVersion" in reply["error"]["message"]


@pytest.mark.requirement("basic/index/meta-missing")
@pytest.mark.parametrize("missing", sorted(META))
def test_modern_request_without_required_metadata(missing: str) -> None:
    peer = modern_server()
    meta = {key: value for key, value in META.items() if key != missing}
    feed(peer, call(1, "server/discover", {"_meta": meta}))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32602
    assert missing in reply["error"]["message"]


@pytest.mark.requirement(
    "server/utilities/logging/level-invalid", "basic/patterns/progress/token-type"
)
@pytest.mark.parametrize(
    "meta",
    [
        7,
        [],
        {**META, "io.modelcontextprotocol/protocolVersion": 7},
        {**META, "io.modelcontextprotocol/clientCapabilities": []},
        {**META, "io.modelcontextprotocol/clientInfo": {"name": "x"}},
        {**META, "io.modelcontextprotocol/logLevel": "loud"},
        {**META, "progressToken": 1.5},
    ],
)
def test_malformed_metadata_is_named(meta: Any) -> None:
    peer = modern_server()
    feed(peer, call(1, "tools/list", {"_meta": meta}))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32602
    assert "_meta" in reply["error"]["message"]


@pytest.mark.requirement("basic/versioning/unsupported-version")
@pytest.mark.parametrize("version", ["v999.0.0", "2027-01-01", ""])
def test_unsupported_modern_version(version: str) -> None:
    peer = modern_server()
    params = {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": version}}
    feed(peer, call("a", "tools/list", params))
    [reply] = sent(peer)
    assert reply["id"] == "a"
    assert reply["error"]["code"] == -32022
    assert reply["error"]["data"] == {"supported": ALL_NAMES[::-1], "requested": version}


def test_a_legacy_version_cannot_be_spoken_without_a_handshake() -> None:
    peer = modern_server()
    params = {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": LEGACY_NAMES[-1]}}
    feed(peer, call(1, "tools/list", params))
    assert sent(peer)[0]["error"]["data"]["supported"] == MODERN_NAMES


@pytest.mark.requirement(
    "basic/versioning/discover",
    "server/discover/probe-answered",
    "basic/index/server-info",
    "server/utilities/caching/hints",
)
def test_discover() -> None:
    peer = modern_server(server_config(instructions="Be kind."))
    assert feed(peer, call(1, "server/discover", modern=True)) == []
    result = sent(peer)[0]["result"]
    assert result["resultType"] == "complete"
    assert result["supportedVersions"] == ALL_NAMES[::-1]
    assert result["capabilities"] == SERVER_ALL
    assert result["instructions"] == "Be kind."
    assert result["ttlMs"] >= 0
    assert result["cacheScope"] == "public"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "server"


# The client

HANDSHAKE = {
    "protocolVersion": LEGACY_NAMES[-1],
    "capabilities": SERVER_ALL,
    "serverInfo": {"name": "s", "version": "1"},
}
DISCOVERED = {"supportedVersions": MODERN_NAMES, "capabilities": SERVER_ALL}


def started(**settings: Any) -> tuple[Peer, Any]:
    """A client that has sent its first request, and that request."""
    peer = Peer(Role.CLIENT, client_config(**settings))
    peer.start(now=0.0)
    [request] = sent(peer)
    return peer, request


@pytest.mark.requirement(
    "basic/index/meta-required",
    "basic/index/client-info",
    "basic/transports/stdio/probe",
    "server/discover/probe-first",
)
def test_probe_carries_the_metadata() -> None:
    _, request = started()
    assert request["method"] == "server/discover"
    meta = request["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == MODERN_NAMES[-1]
    assert meta["io.modelcontextprotocol/clientCapabilities"] == CLIENT_ALL
    assert meta["io.modelcontextprotocol/clientInfo"] == {"name": "client", "version": "1"}


def test_discovery_opens_the_client() -> None:
    peer, request = started()
    result = {
        "supportedVersions": ["v999", MODERN_NAMES[-1], LEGACY_NAMES[-1]],
        "capabilities": {"tools": {}},
        "instructions": "Hi.",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "2"}},
    }
    ready = expect(Ready, feed(peer, answer(request["id"], result)))
    assert ready.revision.name == MODERN_NAMES[-1]
    assert ready.info is not None
    assert ready.info.name == "s"
    assert ready.instructions == "Hi."
    assert ready.supported == ("v999", MODERN_NAMES[-1], LEGACY_NAMES[-1])
    assert isinstance(ready.capabilities, ServerCapabilities)
    assert msgspec.to_builtins(ready.capabilities) == {"tools": {}}
    assert peer._state.peer_capabilities == ready.capabilities


@pytest.mark.parametrize(
    ("ttl", "kept"), [(7, 7), (60_000.0, 60_000), (0.5, 0), (-1, 0), (1e300, 86_400_000)]
)
def test_how_long_a_discovery_may_be_kept(ttl: float, kept: int) -> None:
    peer, request = started()
    ready = expect(Ready, feed(peer, answer(request["id"], {**DISCOVERED, "ttlMs": ttl})))
    assert ready.ttl_ms == kept


@pytest.mark.requirement("basic/transports/stdio/probe-fallback", "basic/lifecycle/initialized")
@pytest.mark.parametrize(
    "reply",
    [
        lambda id: error(id, -32601),
        lambda id: error(id, -32602, "Received request before initialization was complete"),
        lambda id: error(id, -32600),
        lambda id: error(id, -32000),
        lambda id: error(id, 0),
        lambda id: error(id, -32022, data={"supported": [LEGACY_NAMES[1], LEGACY_NAMES[2]]}),
        lambda id: answer(id, {}),
        lambda id: answer(id, {"supportedVersions": "yes"}),
        lambda id: answer(id, {"supportedVersions": [LEGACY_NAMES[2]], "capabilities": {}}),
        lambda id: answer(id, {**DISCOVERED, "resultType": "input_required"}),
    ],
)
def test_what_is_not_modern_falls_back_to_initialize(reply: Any) -> None:
    peer, request = started()
    waiting = peer.request("tools/list", now=0)
    feed(peer, reply(request["id"]))
    [handshake] = sent(peer)
    assert handshake["method"] == "initialize"
    assert "_meta" not in handshake["params"]
    result = {
        "protocolVersion": handshake["params"]["protocolVersion"],
        "capabilities": SERVER_ALL,
        "serverInfo": {"name": "s", "version": "1"},
    }
    events = feed(peer, answer(handshake["id"], result))
    assert [type(event) for event in events] == [Ready]
    assert [frame["method"] for frame in sent(peer)] == ["notifications/initialized", "tools/list"]
    expect(ResultReceived, feed(peer, answer(waiting, {"tools": []})))


def test_a_probe_that_is_never_answered_is_cancelled_after_the_handshake() -> None:
    peer, request = started()
    peer.handle_timeout(5.0)
    [handshake] = sent(peer)
    feed(peer, answer(handshake["id"], HANDSHAKE))
    initialized, cancelled = sent(peer)
    assert initialized["method"] == "notifications/initialized"
    assert cancelled["params"]["requestId"] == request["id"]
    assert (peer.pending, peer.deadline()) == (0, None)
    assert feed(peer, answer(request["id"], DISCOVERED)) == []


def discovered_late() -> tuple[Peer, RequestId, RequestId]:
    """A client whose probe was answered late; a request that is held, that of the handshake."""
    peer, request = started()
    held = peer.request("tools/list", now=0, timeout=100.0)
    peer.handle_timeout(5.0)
    [handshake] = sent(peer)
    assert feed(peer, answer(request["id"], DISCOVERED)) == []
    assert sent(peer) == [], "a server of both eras may bind its connection to the handshake's"
    return peer, held, handshake["id"]


def test_a_handshake_counts_before_a_late_discovery() -> None:
    peer, held, handshake = discovered_late()
    ready = expect(Ready, feed(peer, answer(handshake, HANDSHAKE)))
    assert not ready.revision.modern
    initialized, request = sent(peer)
    assert initialized["method"] == "notifications/initialized"
    assert (request["id"], request["params"]) == (held, {})


@pytest.mark.parametrize(
    "reply",
    [
        lambda id: error(id, -32601),
        lambda id: error(id, -32022, data={"supported": [MODERN_NAMES[-1]]}),
        lambda id: answer(id, {"protocolVersion": "1.0"}),
        None,
    ],
    ids=["refused", "refused-as-modern", "unreadable", "silent"],
)
def test_a_late_discovery_opens_the_client_if_the_handshake_fails(reply: Any) -> None:
    peer, held, handshake = discovered_late()
    if reply is None:
        peer.handle_timeout(5.0 + 60.0)
        [ready] = drain(peer)
    else:
        [ready] = feed(peer, reply(handshake))
    assert isinstance(ready, Ready)
    assert ready.revision.name == MODERN_NAMES[-1]
    assert [frame["id"] for frame in sent(peer)] == [held]
    assert (peer.pending, peer.upset) == (1, None)


@pytest.mark.parametrize(
    "reply",
    [
        lambda id: answer(id, {}),
        lambda id: answer(id, {"supportedVersions": [], "capabilities": {}}),
        lambda id: error(id, -32021),
        lambda id: {"jsonrpc": "2.0", "id": id, "result": 7},
    ],
)
def test_other_late_answers_leave_it_to_the_handshake(reply: Any) -> None:
    peer, request = started()
    peer.handle_timeout(5.0)
    [handshake] = sent(peer)
    feed(peer, reply(request["id"]))
    assert (sent(peer), peer.pending) == ([], 1)
    expect(Ready, feed(peer, answer(handshake["id"], HANDSHAKE)))


@pytest.mark.parametrize("evidence", [False, True])
def test_a_probe_that_breaks_off_late_leaves_it_to_the_handshake(evidence: bool) -> None:
    peer, request = started()
    held = peer.request("tools/list", now=0)
    peer.handle_timeout(5.0)
    [handshake] = sent(peer)
    peer.receive_failure(
        request["id"], now=6, reason=EndReason.CLOSED, message="HTTP 504", evidence=evidence
    )
    assert drain(peer) == []
    assert (sent(peer), peer.pending) == ([], 2)
    expect(Ready, feed(peer, answer(handshake["id"], HANDSHAKE)))
    _, request = sent(peer)
    assert (request["id"], peer.pending) == (held, 1)


def test_handshake_and_probe_may_both_be_refused() -> None:
    peer, _ = started()
    held = peer.request("tools/list", now=0)
    peer.handle_timeout(5.0)
    [handshake] = sent(peer)
    failed, ended = feed(peer, error(handshake["id"], -32601))
    assert isinstance(failed, NegotiationFailed)
    assert isinstance(ended, RequestEnded)
    assert (ended.request, peer.pending) == (held, 0)


MODERN_ONLY = {"supported": [MODERN_NAMES[-1]]}


def test_a_handshake_refused_by_a_modern_server_that_is_slow_to_answer_the_probe() -> None:
    peer, probe = started(limits=limits(probe_timeout=3.0, request_timeout=30.0))
    peer.handle_timeout(3.0)
    [handshake] = sent(peer)
    assert feed(peer, error(handshake["id"], -32022, data=MODERN_ONLY), now=4.0) == []
    [again] = sent(peer)
    assert again["method"] == "server/discover"
    assert peer.deadline() == 34.0, "silence tells nothing any more"
    assert feed(peer, answer(probe["id"], DISCOVERED)) == [], "what was given up"
    ready = expect(Ready, feed(peer, answer(again["id"], DISCOVERED)))
    assert (ready.revision.name, peer.pending) == (MODERN_NAMES[-1], 0)


def test_a_server_that_refuses_the_handshake_for_a_discovery_that_never_comes() -> None:
    peer, _ = started(limits=limits(probe_timeout=3.0, request_timeout=30.0))
    peer.handle_timeout(3.0)
    [handshake] = sent(peer)
    feed(peer, error(handshake["id"], -32022, data=MODERN_ONLY), now=4.0)
    sent(peer)
    peer.handle_timeout(34.0)
    [handshake] = sent(peer)
    assert handshake["method"] == "initialize"
    [failed] = feed(peer, error(handshake["id"], -32022, "only modern", data=MODERN_ONLY))
    assert isinstance(failed, NegotiationFailed)
    assert "refused initialize: only modern" in failed.message


@pytest.mark.parametrize(
    "reply",
    [
        {"result": 7},
        {"result": {}},
        {"result": {**DISCOVERED, "resultType": "input_required"}},
        {"result": {**DISCOVERED, "supportedVersions": LEGACY_NAMES[-1:]}},
    ],
    ids=["unreadable", "no discovery", "incomplete", "legacy only"],
)
def test_a_server_that_sends_from_the_probe_to_the_handshake_and_back(reply: Any) -> None:
    peer, request = started()
    asked: list[str] = []
    while request is not None and len(asked) < 9:
        asked.append(request["method"])
        if request["method"] == "initialize":
            feed(peer, error(request["id"], -32022, data=MODERN_ONLY))
        else:
            feed(peer, {"jsonrpc": "2.0", "id": request["id"], **reply})
        request = next(iter(sent(peer)), None)
    assert asked == ["server/discover", "initialize"] * 2
    assert (peer.state, peer.pending) == (SessionState.CLOSED, 0)


@pytest.mark.parametrize("broken", [{"result": 7}, {"error": 7}, {"result": {}, "error": {}}])
def test_an_answer_to_the_probe_that_cannot_be_read_means_legacy(broken: Any) -> None:
    peer, request = started()
    violation = expect(Violation, feed(peer, {"jsonrpc": "2.0", "id": request["id"], **broken}))
    assert violation.code == -32600
    assert [frame["method"] for frame in sent(peer)] == ["initialize"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({}, "Object missing required field `supportedVersions`"),
        (
            {"supportedVersions": 7, "capabilities": {}},
            "Expected `array`, got `int` - at `$.supportedVersions`",
        ),
    ],
)
def test_a_discovery_that_is_none_is_a_violation(found: Any, text: str) -> None:
    peer, request = started()
    violation = expect(Violation, feed(peer, answer(request["id"], found)))
    assert (violation.code, violation.route) == (-32600, MAIN)
    assert violation.message == f"server/discover: {text}"
    assert [frame["method"] for frame in sent(peer)] == ["initialize"]


@pytest.mark.parametrize("broken", [{"result": 7}, {"error": {"code": "x"}}])
def test_an_answer_to_initialize_that_cannot_be_read_fails(broken: Any) -> None:
    peer, request = started(negotiation=Negotiation.LEGACY)
    failed, violation = feed(peer, {"jsonrpc": "2.0", "id": request["id"], **broken})
    assert isinstance(failed, NegotiationFailed)
    assert isinstance(violation, Violation)
    assert peer.state is SessionState.CLOSED


@pytest.mark.parametrize("known", [LEGACY_NAMES[-1:], LEGACY_NAMES[:2]])
def test_a_refused_handshake_says_what_we_speak(known: tuple[str, ...]) -> None:
    peer, request = started(revisions=rows(*known))
    failed = expect(NegotiationFailed, feed(peer, error(request["id"], -32602, "too new")))
    spoken = ", ".join(reversed(known))
    assert failed.message == f"the server refused initialize: too new (we speak {spoken})"


@pytest.mark.requirement("basic/transports/stdio/probe-modern-error")
@pytest.mark.parametrize("code", [-32020, -32021])
def test_a_modern_refusal_never_falls_back(code: int) -> None:
    peer, request = started()
    waiting = peer.request("tools/list", now=0)
    failed, ended = feed(peer, error(request["id"], code, "nope"))
    assert isinstance(failed, NegotiationFailed)
    assert "nope" in failed.message
    assert failed.error is not None
    assert failed.error.code == code
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason) == (waiting, EndReason.REFUSED)
    assert sent(peer) == []
    with pytest.raises(LocalProtocolError, match="nope"):
        peer.request("tools/list", now=0)


@pytest.mark.requirement(
    "basic/transports/stdio/probe-modern-error", "basic/versioning/select-and-retry"
)
@pytest.mark.parametrize(
    "data", [None, {}, {"supported": []}, {"supported": 7}, {"supported": ["v9"]}]
)
def test_no_common_version_is_told_and_never_falls_back(data: Any) -> None:
    peer, request = started()
    failed = expect(NegotiationFailed, feed(peer, error(request["id"], -32022, data=data)))
    assert "no common protocol revision" in failed.message
    assert sent(peer) == []


def test_no_common_version_in_discovery() -> None:
    peer, request = started(negotiation=Negotiation.MODERN)
    result = {"supportedVersions": ["v9", LEGACY_NAMES[0]], "capabilities": {}}
    failed = expect(NegotiationFailed, feed(peer, answer(request["id"], result)))
    assert "v9" in failed.message


@pytest.mark.requirement("basic/versioning/select-and-retry")
def test_unsupported_version_that_is_named_as_supported_is_tried_once_more() -> None:
    peer, request = started()
    refusal = {"supported": [MODERN_NAMES[-1]]}
    assert feed(peer, error(request["id"], -32022, data=refusal)) == []
    [again] = sent(peer)
    assert again["method"] == "server/discover"
    assert again["id"] != request["id"]
    expect(NegotiationFailed, feed(peer, error(again["id"], -32022, data=refusal)))
    assert sent(peer) == []


@pytest.mark.requirement("basic/transports/stdio/probe-modern-only")
@pytest.mark.parametrize(
    ("reply", "said"),
    [(lambda id: error(id, -32601), "answered 'no' (-32601)"), (None, "did not answer")],
)
def test_modern_only_client_says_that_the_server_is_legacy(reply: Any, said: str) -> None:
    peer, request = started(revisions=rows(*MODERN_NAMES), limits=limits(request_timeout=9.0))
    if reply is None:
        peer.handle_timeout(9.0)
        events = drain(peer)
    else:
        events = feed(peer, reply(request["id"]))
    assert isinstance(events[-1], NegotiationFailed)
    assert events[-1].message == (
        f"the server {said} to server/discover, so it is a legacy server; "
        f"we speak {', '.join(MODERN_NAMES)} only"
    )


def test_transport_failure_without_evidence_fails() -> None:
    peer, request = started()
    peer.receive_failure(request["id"], now=0, reason=EndReason.REFUSED, message="HTTP 401")
    failed = expect(NegotiationFailed, drain(peer))
    assert failed.message == "HTTP 401"


def test_http_404_with_a_body_proves_a_modern_server_without_discovery() -> None:
    from mcpcore.wire.message import decode, encode_error

    peer, request = started()
    waiting = peer.request("tools/list", now=0)
    frame = decode(encode_error(request["id"], {"code": -32601, "message": "no discover"}))
    peer.receive(frame, now=0, proves_modern=True)
    ready = expect(Ready, drain(peer))
    assert ready.revision.name == MODERN_NAMES[-1]
    assert [frame["id"] for frame in sent(peer)] == [waiting]


@pytest.mark.parametrize("instructions", [None, "Be kind."])
def test_what_initialize_says_of_a_server_is_told(instructions: str | None) -> None:
    peer, request = started(negotiation=Negotiation.LEGACY)
    said = {} if instructions is None else {"instructions": instructions}
    ready = expect(Ready, feed(peer, answer(request["id"], {**HANDSHAKE, **said})))
    assert ready.revision is peer.revision
    assert ready.info == Implementation(name="s", version="1")
    assert ready.capabilities == msgspec.convert(SERVER_ALL, ServerCapabilities)
    assert ready.instructions == instructions


@pytest.mark.requirement(
    "basic/lifecycle/unsupported-disconnect", "basic/lifecycle/version-mismatch"
)
@pytest.mark.parametrize("chosen", ["1999-01-01", MODERN_NAMES[-1], ""])
def test_client_leaves_when_the_server_chooses_what_it_does_not_speak(chosen: str) -> None:
    peer, request = started(negotiation=Negotiation.LEGACY)
    result = {
        "protocolVersion": chosen,
        "capabilities": {},
        "serverInfo": {"name": "s", "version": "1"},
    }
    expect(NegotiationFailed, feed(peer, answer(request["id"], result)))
    assert sent(peer) == []


@pytest.mark.parametrize(
    "reply",
    [
        lambda id: error(id, -32602, "unsupported"),
        lambda id: answer(id, {"protocolVersion": LEGACY_NAMES[-1]}),
    ],
)
def test_refused_or_malformed_initialize_fails(reply: Any) -> None:
    peer, request = started(negotiation=Negotiation.LEGACY)
    events = feed(peer, reply(request["id"]))
    assert isinstance(events[-1], NegotiationFailed)
    assert peer.state is SessionState.CLOSED


@pytest.mark.requirement(
    "basic/lifecycle/initialize-timeout", "basic/utilities/cancellation/initialize-not-cancelled"
)
def test_initialize_timeout_fails_and_is_never_cancelled_on_the_wire() -> None:
    peer, _ = started(negotiation=Negotiation.LEGACY, limits=limits(request_timeout=5.0))
    peer.handle_timeout(5.0)
    failed = expect(NegotiationFailed, drain(peer))
    assert "within 5 seconds" in failed.message
    assert sent(peer) == []


@pytest.mark.requirement("basic/utilities/cancellation/initialize-not-cancelled")
@pytest.mark.parametrize("negotiation", list(Negotiation))
def test_negotiation_cannot_be_cancelled(negotiation: Negotiation) -> None:
    peer, request = started(negotiation=negotiation)
    with pytest.raises(LocalProtocolError, match=request["method"]):
        peer.cancel(request["id"], now=0)
    assert peer.pending == 1


def test_close_while_negotiating() -> None:
    peer, _ = started()
    held = peer.request("tools/list", now=0)
    peer.close(now=0)
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (held, EndReason.CLOSED)
    assert (sent(peer), peer.pending, peer.deadline()) == ([], 0, None)


@pytest.mark.parametrize(
    ("settings", "deadline"),
    [
        ({}, 5.0),
        ({"revisions": rows(*MODERN_NAMES)}, 60.0),
        ({"negotiation": Negotiation.MODERN}, 60.0),
        ({"negotiation": Negotiation.LEGACY}, 60.0),
    ],
)
def test_only_a_probe_that_may_fall_back_is_short(settings: Any, deadline: float) -> None:
    peer, _ = started(**settings)
    assert peer.deadline() == deadline


@pytest.mark.parametrize("info", [{}, {"name": 7, "version": "1"}, 7, None])
def test_an_identity_that_cannot_be_read_decides_nothing(info: Any) -> None:
    peer, request = started()
    meta = {"io.modelcontextprotocol/serverInfo": info}
    ready = expect(Ready, feed(peer, answer(request["id"], {**DISCOVERED, "_meta": meta})))
    assert ready.info is None


def test_what_the_handshake_forbids_ends_when_it_is_over() -> None:
    peer, request = started(negotiation=Negotiation.LEGACY)
    undeclared = peer.request("tools/list", now=0)
    unknown = peer.request("subscriptions/listen", now=0)
    result = {
        "protocolVersion": LEGACY_NAMES[-1],
        "capabilities": {},
        "serverInfo": {"name": "s", "version": "1"},
    }
    _, first, second = feed(peer, answer(request["id"], result))
    for event, id in ((first, undeclared), (second, unknown)):
        assert isinstance(event, RequestEnded)
        assert (event.request, event.reason) == (id, EndReason.REFUSED)
    assert peer.pending == 0


@pytest.mark.parametrize(
    "unsayable",
    [
        {"method": "tools/list", "meta": {"path": "\udcff"}},
        {"method": "tools/list", "meta": {"share": math.nan}},
        {"method": "acme/\udcff", "force": True},
    ],
    ids=str,
)
def test_what_json_cannot_say_is_not_held(unsayable: dict[str, Any]) -> None:
    peer, request = started()
    with pytest.raises(ValueError, match=r"surrogates|NaN"):
        peer.request(now=0, **unsayable)
    assert peer.pending == 1
    expect(Ready, feed(peer, answer(request["id"], DISCOVERED)))
    with pytest.raises(ValueError, match=r"surrogates|NaN"):
        peer.request(now=0, **unsayable)
    assert peer.pending == 0


def test_held_requests_have_deadlines_and_can_be_cancelled() -> None:
    peer, _ = started()
    timed = peer.request("tools/list", now=0, timeout=1.0)
    cancelled = peer.request("tools/list", now=0)
    peer.cancel(cancelled, now=0)
    peer.handle_timeout(1.0)
    first, second = drain(peer)
    assert isinstance(first, RequestEnded)
    assert isinstance(second, RequestEnded)
    assert (first.request, first.reason) == (cancelled, EndReason.CANCELLED)
    assert first.message == "cancelled"
    assert (second.request, second.reason) == (timed, EndReason.TIMED_OUT)
    assert sent(peer) == []


def test_a_client_starts_once() -> None:
    peer, _ = started()
    with pytest.raises(LocalProtocolError):
        peer.start(now=0)
    with pytest.raises(LocalProtocolError):
        Peer(Role.SERVER, server_config()).start(now=0)
    with pytest.raises(LocalProtocolError, match=r"^start the client"):
        Peer(Role.CLIENT, client_config()).request("tools/list", now=0)


def test_no_revision_left() -> None:
    config = client_config(revisions=rows(*LEGACY_NAMES), negotiation=Negotiation.MODERN)
    peer = Peer(Role.CLIENT, config)
    peer.start(now=0)
    expect(NegotiationFailed, drain(peer))
    assert peer.state is SessionState.CLOSED
    with pytest.raises(LocalProtocolError, match="no revision is left"):
        peer.request("tools/list", now=0)


@pytest.mark.parametrize("role", list(Role))
def test_a_config_must_fit_its_role(role: Role) -> None:
    wrong = server_config() if role is Role.CLIENT else client_config()
    with pytest.raises(TypeError, match="Capabilities"):
        Peer(role, wrong)
    with pytest.raises(ValueError, match="no revision"):
        Peer(Role.SERVER, server_config(revisions=()))


@pytest.mark.parametrize("role", ["server", None])
def test_a_role_is_one_of_the_two(role: Any) -> None:
    with pytest.raises(TypeError, match=f"Role, not {role!r}"):
        Peer(role, server_config())


@pytest.mark.parametrize("name", ["extension_methods", "repeatable_tools"])
def test_one_name_is_not_taken_for_several(name: str) -> None:
    """Of the string "research" "search" would be a member."""
    wrong: dict[str, Any] = {name: "research"}
    with pytest.raises(TypeError, match=f"{name} .* not a string"):
        client_config(**wrong)


# Both together: the compatibility matrix

ERAS = {
    "modern": rows(*MODERN_NAMES),
    "legacy": rows(*LEGACY_NAMES),
    "dual": rows(*ALL_NAMES),
}


@pytest.mark.requirement("basic/index/components")
@pytest.mark.parametrize(
    ("client", "server", "revision"),
    [
        ("modern", "modern", MODERN_NAMES[-1]),
        ("modern", "legacy", None),
        ("modern", "dual", MODERN_NAMES[-1]),
        ("dual", "modern", MODERN_NAMES[-1]),
        ("dual", "legacy", LEGACY_NAMES[-1]),
        ("dual", "dual", MODERN_NAMES[-1]),
        ("legacy", "modern", None),
        ("legacy", "legacy", LEGACY_NAMES[-1]),
        ("legacy", "dual", LEGACY_NAMES[-1]),
    ],
)
def test_compatibility_matrix(client: str, server: str, revision: str | None) -> None:
    pair = Pair(
        client=client_config(revisions=ERAS[client]), server=server_config(revisions=ERAS[server])
    )
    pair.start()
    if revision is None:
        assert isinstance(pair.client_events[-1], NegotiationFailed)
    else:
        ready = expect(Ready, pair.client_events)
        assert ready.revision.name == revision
        request = pair.client.request("tools/list", now=0)
        pair.settle()
        received = pair.server_events[-1]
        assert isinstance(received, RequestReceived)
        assert received.revision.name == revision
        pair.server.respond(received.key, {"tools": []})
        pair.settle()
        result = pair.client_events[-1]
        assert isinstance(result, ResultReceived)
        assert result.request == request
