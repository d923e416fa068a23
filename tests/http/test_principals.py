"""Who sends a request: principals, refusals, and what is bound to them."""

import json
import math
from types import MappingProxyType
from typing import Any

import pytest

from mcpcore import HttpRequest, HttpSettings, Principal, Refusal, SessionOpened, bearer_token
from mcpcore.engine.events import RequestReceived
from mcpcore.http.principals import ends_at
from mcpcore.spec.revisions import LATEST
from tests.http.support import Bench, initialize, make_server, request


def head(*values: str, method: str = "POST", path: str = "/mcp", **headers: str) -> HttpRequest:
    lines = [(b"host", b"localhost")]
    lines += [(b"authorization", value.encode("latin-1")) for value in values]
    lines += [(name.encode(), value.encode()) for name, value in headers.items()]
    return HttpRequest(method=method, path=path, headers=lines)


def test_claims_stay_as_they_were() -> None:
    told = {"org": 1}
    principals = [Principal("ann", claims=claims) for claims in (told, MappingProxyType(told))]
    told["org"] = 2
    assert [each.claims for each in principals] == [{"org": 1}, {"org": 1}]


def test_the_time_at_which_the_streams_of_a_principal_end() -> None:
    rows: list[tuple[Any, float]] = [
        (None, math.inf),
        ("ann", math.inf),
        (Principal("ann"), math.inf),
        (Principal("ann", until=5.0), 5.0),
        (Principal("ann", until=5.0, revoked=lambda: False), 5.0),
        (Principal("ann", until=5.0, revoked=lambda: True), -math.inf),
        (Principal("ann", revoked=lambda: bool(1 / 0)), -math.inf),
    ]
    assert [ends_at(principal) for principal, _ in rows] == [when for _, when in rows]


def test_a_principal_is_its_name() -> None:
    ann = Principal("ann", scopes=["read"], claims={"org": 1})
    assert ann == "ann" == Principal("ann")
    assert hash(ann) == hash("ann")
    assert type(ann.name) is str
    assert ann.scopes == {"read"}
    assert ann.claims["org"] == 1
    assert (Principal("bob").scopes, Principal("bob").claims) == (frozenset(), {})
    with pytest.raises(ValueError, match="name"):
        Principal("")


@pytest.mark.parametrize(
    ("refusal", "status", "challenge"),
    [
        (Refusal(), 401, "Bearer"),
        (Refusal(challenge='Bearer realm="x", error="invalid_token"'), 401, None),
        (Refusal(status=403, challenge='Bearer error="insufficient_scope"'), 403, None),
        (Refusal(status=403), 403, ""),
        (Refusal(status=429, headers=(("Retry-After", "9"),)), 429, ""),
    ],
)
def test_a_refusal_is_answered_with_its_status(
    refusal: Refusal, status: int, challenge: str | None
) -> None:
    bench = Bench()
    for method in ("POST", "GET", "DELETE"):
        body = initialize() if method == "POST" else None
        reply = bench.replies[bench.send(body, method=method, principal=refusal)]
        assert (reply.status, reply.json["error"]["message"]) == (status, refusal.message)
        expected = refusal.challenge if challenge is None else challenge
        assert reply.headers.get("www-authenticate", "") == expected
        assert reply.headers.get("retry-after") == ("9" if refusal.headers else None)
    assert bench.server.sessions == bench.server.exchanges == 0


def test_what_a_refusal_says_by_itself() -> None:
    reply = Bench().post(initialize(), principal=Refusal())
    assert reply.json["error"]["message"] == "authentication is required"


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 200},
        {"status": 600},
        {"challenge": "Bearer\r\nX: 1"},
        {"challenge": "Bearer \x00"},
        {"headers": (("X Y", "1"),)},
        {"headers": (("", "1"),)},
        {"headers": (("X", "é"),)},
    ],
)
def test_a_refusal_that_cannot_be_sent(wrong: Any) -> None:
    with pytest.raises(ValueError):
        Refusal(**wrong)


def test_refusals_come_after_the_origin_and_do_not_touch_health_or_preflights() -> None:
    bench = Bench(make_server(HttpSettings(allowed_origins=("https://app.example",))))
    refusal = Refusal()
    evil = bench.send(initialize(), principal=refusal, origin="https://evil.example")
    assert bench.replies[evil].status == 403
    good = bench.replies[bench.send(initialize(), principal=refusal, origin="https://app.example")]
    assert (good.status, good.headers["access-control-allow-origin"]) == (
        401,
        "https://app.example",
    )
    assert "www-authenticate" in good.headers["access-control-expose-headers"]
    asked: Any = {"origin": "https://app.example", "access_control_request_method": "POST"}
    preflight = bench.send(None, method="OPTIONS", principal=refusal, **asked)
    assert bench.replies[preflight].status == 204
    health = bench.send(None, method="GET", path="/health", principal=refusal)
    assert bench.replies[health].status == 200


@pytest.mark.parametrize(
    ("request_head", "matters"),
    [
        (head(), True),
        (head(method="GET"), True),
        (head(method="DELETE"), True),
        (head(method="PUT"), True),
        (head(method="OPTIONS"), False),
        (head(path="/health", method="GET"), False),
        (head(path="/elsewhere"), False),
    ],
)
def test_who_asks_matters_at_the_endpoint(request_head: HttpRequest, matters: bool) -> None:
    assert make_server().asks_who(request_head) is matters


def test_a_session_is_of_its_principals_name_and_requests_bring_their_own_scopes() -> None:
    bench = Bench()
    reply = bench.replies[bench.send(initialize(), principal=Principal("ann", scopes=["a"]))]
    session = reply.headers["mcp-session-id"]
    assert bench.take(SessionOpened).principal == "ann"
    call = request("tools/list")
    bench.send(call, mcp_session_id=session, principal=Principal("ann", scopes=["b"]))
    principal = bench.take(RequestReceived).principal
    assert isinstance(principal, Principal)
    assert principal.scopes == {"b"}
    for other in (Principal("bob", scopes=["a"]), None):
        assert bench.post(call, mcp_session_id=session, principal=other).status == 404


@pytest.mark.parametrize(
    ("values", "token"),
    [
        (("Bearer abc.DEF-123_~+/==",), "abc.DEF-123_~+/=="),
        (("bearer abc",), "abc"),
        (("BEARER   abc ",), "abc"),
        ((), None),
        (("",), None),
        (("Bearer",), None),
        (("Bearer ",), None),
        (("Bearer a b",), None),
        (("Bearer a,b",), None),
        (("Bearer =",), None),
        (("Bearer é",), None),
        (("Basic abc",), None),
        (("abc",), None),
        (("Bearer abc", "Bearer abc"), None),
    ],
)
def test_the_token_of_a_request(values: tuple[str, ...], token: str | None) -> None:
    assert bearer_token(head(*values)) == token


def test_a_token_in_the_query_counts_for_nothing() -> None:
    assert (
        bearer_token(HttpRequest(method="GET", path="/", headers=[], query="access_token=a"))
        is None
    )


# Health


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_while_serving_draining_and_closing(method: str) -> None:
    bench = Bench()

    def asked() -> dict[str, int]:
        return {
            path: bench.post(None, method=method, path=path, host="anything").status
            for path in ("/health", "/health/ready", "/health/live")
        }

    assert asked() == {"/health": 200, "/health/ready": 200, "/health/live": 200}
    live = bench.post(None, method=method, path="/health/live")
    assert live.headers["content-type"] == "application/json"
    bench.server.ready = False
    assert asked() == {"/health": 503, "/health/ready": 503, "/health/live": 200}
    assert health(bench) == {"status": "unavailable", "reason": "draining"}
    # Draining is an announcement: everything is still served.
    assert bench.post(initialize()).status == 200
    bench.server.ready = True
    bench.server.close(now=bench.now)
    assert asked() == {"/health": 503, "/health/ready": 503, "/health/live": 200}
    assert health(bench) == {"status": "unavailable", "reason": "closing"}


def health(bench: Bench) -> Any:
    return json.loads(bench.post(None, method="GET", path="/health").body)


CHECKS = {"database": "no connection"}


@pytest.mark.parametrize(
    ("name", "bad", "good", "told"),
    [
        ("failing", CHECKS, {}, {"reason": "a check fails", "checks": CHECKS}),
        ("reachable", False, True, {"reason": "the store is out of reach"}),
    ],
)
def test_health_of_what_is_needed(name: str, bad: Any, good: Any, told: dict[str, Any]) -> None:
    bench = Bench()
    setattr(bench.server, name, bad)
    assert bench.post(None, method="GET", path="/health").status == 503
    assert health(bench) == {"status": "unavailable", **told}
    assert bench.post(None, method="GET", path="/health/live").status == 200
    setattr(bench.server, name, good)
    reply = bench.post(None, method="GET", path="/health", host="10.0.0.1")
    assert (reply.status, reply.body) == (200, b'{"status":"ok"}\n')
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "options", [{"settings": HttpSettings(sessions=False)}, {"revisions": (LATEST,)}], ids=str
)
def test_health_depends_on_no_store_where_there_are_no_sessions(options: dict[str, Any]) -> None:
    bench = Bench(make_server(**options))
    bench.server.reachable = False
    assert bench.post(None, method="GET", path="/health").status == 200


@pytest.mark.parametrize("path", ["/health/other", "/health/", "/healthy", "/health/live/x"])
def test_other_paths_are_not_health(path: str) -> None:
    assert Bench().post(None, method="GET", path=path).status == 404


def test_health_can_be_switched_off_and_elsewhere() -> None:
    bench = Bench(make_server(HttpSettings(health_path=None)))
    assert bench.post(None, method="GET", path="/health").status == 404
    bench = Bench(make_server(HttpSettings(health_path="/up")))
    assert bench.post(None, method="GET", path="/up/live").status == 200
    assert bench.post(None, method="GET", path="/health").status == 404
