"""Every number of every settings: what no limit can be is refused by its name."""

import math
from inspect import get_annotations
from typing import Any

import pytest
from msgspec import structs

from mcpcore import Config, Limits, ReconnectSettings, RuntimeSettings, Server, StoreSettings
from mcpcore.http.settings import HttpClientSettings, HttpSettings
from mcpcore_transports.http1.settings import (
    HttpClientLinkSettings,
    HttpServerSettings,
    StoreLinkSettings,
)
from mcpcore_transports.serve.assembling import server_config
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings, StdioSettings
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings

MAY_BE_ZERO: dict[type[Any], set[str]] = {
    Limits: {
        *("batch", "subscriptions", "listen_streams", "queued", "input_rounds"),
        *("input_requests", "farewell"),
    },
    ReconnectSettings: {
        *("attempts", "max_restarts", "first_delay", "max_delay", "jitter", "lasting"),
        *("max_waiting", "parting", "max_repeats"),
    },
    HttpSettings: {
        *("json_delay", "session_streams", "session_queue", "replay_events"),
        *("replay_bytes", "replay_total", "reconnect_delay"),
    },
    HttpClientSettings: {
        *("max_refusal", "max_redirects", "max_violations", "linger", "max_lost_sessions"),
        *("max_resumes", "lasting", "min_retry_delay", "jitter"),
        *("max_challenges", "answer_timeout", "download_step"),
    },
    HttpServerSettings: {
        *("turned_away", "body_rate", "body_grace", "linger_time", "linger_bytes", "drain_time"),
        "notice_time",
    },
    HttpClientLinkSettings: {"idle_time", "close_time"},
    StoreSettings: {"once", "renew", "announcements"},
    StoreLinkSettings: {"waiting", "farewell"},
    SocketSettings: {
        *("connections", "connections_per_client", "turned_away", "linger_time", "linger_bytes"),
        *("lock_time", "mode"),
    },
    WebSocketSettings: {"turned_away", "close_timeout", "linger_bytes"},
    DeflateSettings: {"threshold"},
    ConnectionSettings: {"queued", "drain"},
    StdioSettings: {"linger"},
    RuntimeSettings: {"input_timeout", "input_rounds"},
}
WHOLE = (int, int | None)
NUMBERS = [
    (kind, name, type_ in WHOLE)
    for kind in MAY_BE_ZERO
    for name, type_ in get_annotations(kind).items()
    if type_ in (*WHOLE, float, float | None)
]


def refused(kind: type[Any], name: str, value: Any) -> str:
    with pytest.raises(ValueError, match=rf"^{name} ") as caught:
        kind(**{name: value})
    return str(caught.value)


@pytest.mark.parametrize(("kind", "name", "whole"), NUMBERS)
def test_a_number(kind: type[Any], name: str, whole: bool) -> None:
    if name in MAY_BE_ZERO[kind]:
        assert getattr(kind(**{name: 0}), name) == 0
    else:
        least = "at least 1" if whole else "above 0"
        if kind is not DeflateSettings and name != "growth":  # which have words of their own
            assert refused(kind, name, 0) == f"{name} must be {least}, not 0"
        refused(kind, name, 0)
    refused(kind, name, -1)
    refused(kind, name, math.nan)
    with pytest.raises(ValueError, match=rf"^{name} "):
        structs.replace(kind(), **{name: -1})


def test_every_name_is_one_of_a_number() -> None:
    named = {(kind, name) for kind, names in MAY_BE_ZERO.items() for name in names}
    assert named <= {(kind, name) for kind, name, _ in NUMBERS}


def test_a_server_says_how_long_uris_may_be_once_for_all_that_is_done_with_them() -> None:
    config = server_config(Server("s", max_uri=77), RuntimeSettings())
    assert config.max_uri == 77
    usual = Config(info=config.info, capabilities=config.capabilities)
    assert usual.max_uri == Server("s").max_uri
