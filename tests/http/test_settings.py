"""Settings: what holds if nobody says otherwise, and that they are named and stay as they are."""

import math
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import pytest

from mcpcore import (
    ClientSettings,
    Config,
    HttpClientLinkSettings,
    HttpServerSettings,
    Limits,
    Principal,
    Rate,
    RateLimits,
    ReconnectSettings,
    RuntimeSettings,
    ServeSettings,
    SocketSettings,
    StdioSettings,
    TaskOptions,
    TraceSettings,
    TrustSettings,
    WebSocketSettings,
)
from mcpcore.auth.api_keys import ApiKey
from mcpcore.auth.resource_server import Issuer
from mcpcore.auth.settings import AuthorizationSettings, CodeGrant
from mcpcore.http.settings import HttpClientSettings, HttpSettings, SsePaths, SseUse
from mcpcore.http.storing import StoreBinding
from mcpcore.service.task_settings import TaskSettings
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.auth.schemes import ApiKeyScheme, CertificateRecord, CertificateScheme
from mcpcore_transports.gateway.settings import SignInSettings
from tests.engine.bench import server_config

KIB = 1024
MIB = 1024 * KIB
DEFAULTS: list[tuple[Any, dict[str, Any]]] = [
    (
        Limits(),
        {
            "message_size": 4 * MIB,
            "introduction": 64 * KIB,
            "depth": 128,
            "in_flight": 1024,
            "pending": 16384,
            "batch": 100,
            "id": 4096,
            "subscriptions": 1024,
            "subscribed": 256 * KIB,
            "listen_streams": 1024,
            "queued": MIB,
            "input_rounds": 10,
            "input_requests": 100,
            "request_timeout": 60.0,
            "max_timeout": 300.0,
            "probe_timeout": 5.0,
            "farewell": 5.0,
        },
    ),
    (
        ReconnectSettings(),
        {
            "attempts": 5,
            "max_restarts": 0,
            "first_delay": 1.0,
            "growth": 2.0,
            "max_delay": 30.0,
            "jitter": 0.2,
            "lasting": 10.0,
            "opening": 60.0,
            "max_waiting": 1024,
            "parting": 1.0,
            "max_repeats": 1,
        },
    ),
    (
        HttpSettings(),
        {
            "path": "/mcp",
            "sse": None,
            "health_path": "/health",
            "headers": (),
            "allowed_hosts": None,
            "allowed_origins": None,
            "max_body": 4 * MIB,
            "json_delay": 1.0,
            "gzip_from": 32 * 1024,
            "heartbeat": 15.0,
            "sessions": True,
            "max_sessions": 10_000,
            "documents": {},
            "documents_age": 3600,
            "pages": {},
            "sessions_per_client": 1_000,
            "session_unused": 60.0,
            "session_idle": 1800.0,
            "session_age": 24 * 3600.0,
            "session_streams": 16,
            "max_calls": 20_000,
            "session_queue": 256 * KIB,
            "max_queued": MIB,
            "stall_timeout": 30.0,
            "resumable": True,
            "replay_events": 1000,
            "replay_bytes": 4 * MIB,
            "replay_total": 64 * MIB,
            "replay_age": 300.0,
            "reconnect_delay": 1.0,
            "session_replica_idle": 300.0,
            "session_touch": 30.0,
            "store_timeout": 10.0,
            "store_retry": 1.0,
        },
    ),
    (SsePaths(), {"stream": "/sse", "messages": "/messages", "root": None}),
    (
        HttpClientSettings(),
        {
            "headers": (),
            "trace_headers": False,
            "legacy_sse": SseUse.FALL_BACK,
            "endpoint_timeout": 10.0,
            "get_stream": True,
            "delete_session": True,
            "max_body": 64 * MIB,
            "max_event": 64 * MIB,
            "download_step": 0,
            "max_refusal": MIB,
            "answer_challenges": False,
            "max_challenges": 6,
            "answer_timeout": 600.0,
            "max_redirects": 3,
            "max_violations": 100,
            "stream_timeout": 60.0,
            "notify_timeout": 30.0,
            "linger": 5.0,
            "max_lost_sessions": 2,
            "resume": True,
            "reopen": True,
            "max_resumes": 5,
            "lasting": 10.0,
            "retry_delay": 1.0,
            "min_retry_delay": 0.1,
            "max_retry_delay": 300.0,
            "jitter": 0.2,
        },
    ),
]
STORE = StoreBinding(worker="a", secret=bytes(32))
DEFAULTS += [
    (
        STORE,
        {"worker": "a", "secret": bytes(32), "epoch": 0.0, "idle": None, "absolute": None},
    ),
]
NAUGHTS = ["max_refusal", "max_challenges", "answer_timeout", "max_redirects", "max_violations"]
NAUGHTS += ["linger", "max_lost_sessions"]
NAUGHTS += ["max_resumes", "lasting", "min_retry_delay", "jitter"]
CLASSES = [
    Config,
    Limits,
    ReconnectSettings,
    HttpSettings,
    SsePaths,
    HttpClientSettings,
    StoreBinding,
]


@pytest.mark.parametrize(("settings", "values"), DEFAULTS, ids=lambda each: type(each).__name__)
def test_defaults(settings: Any, values: dict[str, Any]) -> None:
    assert msgspec.structs.asdict(settings) == values


@pytest.mark.parametrize("kind", CLASSES)
def test_settings_are_given_by_name(kind: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        kind(1)


@pytest.mark.parametrize("settings", [settings for settings, _ in DEFAULTS])
def test_settings_that_are_in_use_cannot_be_changed(settings: Any) -> None:
    for field in msgspec.structs.fields(settings):
        with pytest.raises(AttributeError):
            setattr(settings, field.name, getattr(settings, field.name))


CONFIG = partial(msgspec.structs.replace, server_config())
ISSUER = partial(Issuer, issuer="https://id.example")
KEY = partial(ApiKey, id="a", digest="0" * 64, principal="ann")
SIGN_IN = partial(SignInSettings, url="https://gate.example/mcp")
SCHEMES = (
    partial(ResourceServer, "https://notes.example/mcp", [ISSUER()]),
    partial(ApiKeyScheme, ()),
    partial(CertificateScheme, {}),
)


def _page(head: Any) -> Any:
    """Page that is never asked for."""


@pytest.mark.parametrize("path", ["/", "/MCP/v1", "/a-b_c.d~e", "/x%20y", "/!$&'()*+,;=:@"])
def test_paths_of_an_endpoint(path: str) -> None:
    paths = SsePaths(stream=path, messages=f"{path}M", root=path)
    assert (paths.stream, paths.messages, paths.root) == (path, f"{path}M", path)


@pytest.mark.parametrize("scope", ["public", "private"])
def test_who_may_keep_what_discovery_finds(scope: Any) -> None:
    assert server_config(discover_cache_scope=scope).discover_cache_scope == scope


@pytest.mark.parametrize("name", NAUGHTS)
def test_settings_of_a_client_that_may_be_nothing(name: str) -> None:
    given: dict[str, Any] = {name: 0}
    assert getattr(HttpClientSettings(**given), name) == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: HttpSettings(reconnect_delay=float("inf")), "reconnect_delay must be at most"),
        (lambda: HttpSettings(reconnect_delay=float("nan")), "reconnect_delay must be at least 0"),
        *(
            (partial(make, path), says)
            for make in (
                lambda path: HttpSettings(documents={path: b"{}"}),
                lambda path: HttpSettings(pages={path: _page}),
            )
            for path, says in {
                **dict.fromkeys(("/mcp", "/health", "/health/live", "/health/ready"), "is taken"),
                **dict.fromkeys(("a", "/a b", "//a", "/a?b", "/ä"), "is no path that begins"),
            }.items()
        ),
        (lambda: TaskSettings(page_size=0), "page_size must be at least 1"),
        (lambda: TaskSettings(ttl=-5), "ttl must be at least 1"),
        (lambda: TaskSettings(poll_interval=-1), "poll_interval must be at least 1"),
        (lambda: TaskSettings(questions=-1), "questions must be at least 0"),
        (lambda: server_config(discover_ttl_ms=-1), "discover_ttl_ms must be at least 0"),
        (lambda: server_config(discover_ttl_ms=1.5), "discover_ttl_ms must be a whole number"),
        (lambda: server_config(discover_cache_scope="x"), "discover_cache_scope must be one of"),
        (lambda: server_config(max_uri=0), "max_uri must be at least 1"),
    ],
)
def test_settings_that_cannot_be(make: Callable[[], Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_tasks_without_end_or_questions() -> None:
    settings = TaskSettings(ttl=None, questions=0, keep=0, min_ttl=0)
    assert (settings.ttl, settings.questions) == (None, 0)


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        (HttpSettings, {"path": "mcp"}, "'mcp' is no path that begins with '/'"),
        (HttpSettings, {"health_path": "health"}, "'health' is no path that begins with '/'"),
        (HttpSettings, {"allowed_hosts": "x"}, "allowed_hosts must be a tuple of strings"),
        (ServeSettings, {"allowed_hosts": "x"}, "allowed_hosts must be a tuple of strings"),
        (ServeSettings, {"store": "redis://:secret@host"}, "must be a Store, as open_store\\(\\)"),
        (WebSocketSettings, {"allowed_origins": "x"}, "allowed_origins must be a tuple of"),
        (HttpServerSettings, {"trusted_proxies": "::1"}, "trusted_proxies must be a tuple of"),
        (HttpServerSettings, {"driver": "trio"}, "driver must be one of"),
        (HttpServerSettings, {"log": "false"}, "log must be True or False, not 'false'"),
        (HttpClientLinkSettings, {"compression": "no"}, "compression must be True or False"),
        (SocketSettings, {"insecure": "false"}, "insecure must be True or False, not 'false'"),
        (StdioSettings, {"env_principal": "no"}, "env_principal must be True or False, not"),
        (TrustSettings, {"allow": "get_*"}, "allow must be a tuple of strings, not the string"),
        (TrustSettings, {"results": "block"}, "results must be a Treatment, not 'block'"),
        (TrustSettings, {"changed": "ask"}, "changed must be a Reaction, not 'ask'"),
        (HttpClientSettings, {"legacy_sse": "only"}, "legacy_sse must be a SseUse, not 'only'"),
        (ClientSettings, {"negotiation": "legacy"}, "negotiation must be a Negotiation"),
        (CONFIG, {"negotiation": "legacy"}, "negotiation must be a Negotiation, not"),
        (CONFIG, {"assumed": "legacy"}, "assumed must be a Negotiation, not 'legacy'"),
        (CONFIG, {"route_scoped_ids": 1}, "route_scoped_ids must be True or False, not 1"),
        (CONFIG, {"info": {"name": "a"}}, "info must be an Implementation, not a dict"),
        (CONFIG, {"limits": {"batch": 1}}, "limits must be Limits, not a dict"),
        (CONFIG, {"revisions": ("2025-11-25",)}, "parse_revisions, not .'2025-11-25'"),
        (CONFIG, {"revisions": "2025-11-25"}, "revisions are those of parse_revisions, not '2"),
        (CONFIG, {"discover_ttl_ms": "60000"}, "discover_ttl_ms must be a number, not '60000'"),
        (ClientSettings, {"max_pages": 0}, "max_pages must be at least 1, not 0"),
        (ClientSettings, {"max_pages": True}, "max_pages must be a number, not True"),
        (TaskOptions, {"failures": 0}, "failures must be at least 1, not 0"),
        (RuntimeSettings, {"limiter_failure": "admits"}, "limiter_failure must be one of"),
        (RuntimeSettings, {"reveal_errors": "false"}, "reveal_errors must be True or False, not"),
        (Issuer, {"issuer": "https://id.example", "private": "no"}, "private must be True or"),
        (ISSUER, {"audiences": "https://a.example"}, "audiences must be a frozenset of strings"),
        (ISSUER, {"algorithms": "ES256"}, "algorithms must be a frozenset of strings, not"),
        (AuthorizationSettings, {"private": "false"}, "private must be True or False, not"),
        (AuthorizationSettings, {"fallbacks": "no"}, "fallbacks must be True or False, not"),
        (AuthorizationSettings, {"foreign_metadata": 0}, "foreign_metadata must be True or"),
        (AuthorizationSettings, {"flows_period": 0}, "flows_period must be above 0, not 0"),
        (AuthorizationSettings, {"flows_period": math.nan}, "flows_period must be above 0"),
        (AuthorizationSettings, {"user_timeout": -1}, "user_timeout must be above 0, not -1"),
        (AuthorizationSettings, {"max_flows": -1}, "max_flows must be at least 0, not -1"),
        (AuthorizationSettings, {"scopes": "read"}, "scopes must be a frozenset of strings"),
        (AuthorizationSettings, {"ceiling": ""}, "ceiling must be a frozenset of strings"),
        (CodeGrant, {"personal": "false"}, "personal must be True or False, not 'false'"),
        (SIGN_IN, {"private": "false"}, "private must be True or False, not 'false'"),
        (SIGN_IN, {"scopes": "openid"}, "scopes must be a tuple of strings, not"),
        (TraceSettings, {"secrets": "false"}, "secrets must be True or False, not 'false'"),
        (KEY, {"scopes": "read"}, "collections of strings, not a string"),
        (KEY, {"roles": "admin"}, "collections of strings, not a string"),
        (CertificateRecord, {"principal": "ann", "scopes": "read"}, "strings, not a string"),
        (CertificateRecord, {"principal": "ann", "roles": "admin"}, "strings, not a string"),
        *(
            (scheme, given, "collections of strings, not a string")
            for scheme in SCHEMES
            for given in ({"required": "read"}, {"scope_tree": {"write": "read"}})
        ),
        (SCHEMES[0], {"required": {"read": False}}, "collections of strings, not a mapping"),
        (RateLimits, {"rates": {"tools": Rate(1)}}, "a rate is for an Activity, not 'tools'"),
        (Principal, {"name": "ann", "scopes": "read"}, "collections of strings, not a string"),
        (Principal, {"name": "ann", "roles": "admin"}, "collections of strings, not a string"),
        (Principal, {"name": "ann", "scopes": {"write": False}}, "strings, not a mapping"),
        (Principal, {"name": "ann", "until": datetime.max}, "a time by the clock of the driver"),
        (Principal, {"name": "ann", "until": math.nan}, "a time by the clock of the driver"),
    ],
)
def test_what_a_type_checker_finds_is_refused(kind: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        kind(**given)
