"""A conversation whose revision was agreed on before its first message speaks no other."""

from typing import Any

import pytest

from mcpcore.engine import Peer, Role
from mcpcore.engine.negotiation import bound_to
from tests.engine.bench import (
    ALL_NAMES,
    LEGACY_NAMES,
    META,
    MODERN_NAMES,
    call,
    feed,
    initialize,
    sent,
    server_config,
)

VERSION = "io.modelcontextprotocol/protocolVersion"


def bound(revision: str) -> Peer:
    return Peer(Role.SERVER, bound_to(server_config(), revision))


def asked(peer: Peer, message: Any) -> Any:
    feed(peer, message)
    [reply] = sent(peer)
    return reply


def modern(revision: str, method: str = "tools/list") -> Any:
    return call(1, method, {"_meta": {**META, VERSION: revision}})


@pytest.mark.parametrize("agreed", LEGACY_NAMES)
@pytest.mark.parametrize("requested", [*ALL_NAMES, "1999-01-01"])
def test_initialize_is_answered_with_the_agreed_revision(agreed: str, requested: str) -> None:
    reply = asked(bound(agreed), initialize(1, requested))
    assert reply["result"]["protocolVersion"] == agreed


@pytest.mark.parametrize("agreed", LEGACY_NAMES)
@pytest.mark.parametrize("method", ["tools/list", "server/discover", "subscriptions/listen"])
def test_modern_requests_are_refused_where_a_legacy_revision_is_agreed(
    agreed: str, method: str
) -> None:
    error = asked(bound(agreed), modern(MODERN_NAMES[-1], method))["error"]
    assert error["code"] == -32022
    assert error["data"] == {"supported": [agreed], "requested": MODERN_NAMES[-1]}


@pytest.mark.parametrize("agreed", MODERN_NAMES)
@pytest.mark.parametrize("requested", [*LEGACY_NAMES, "2099-01-01"])
def test_other_revisions_are_refused_where_a_modern_one_is_agreed(
    agreed: str, requested: str
) -> None:
    expected = {"supported": [agreed], "requested": requested}
    for message in (initialize(1, requested), modern(requested)):
        error = asked(bound(agreed), message)["error"]
        assert (error["code"], error["data"]) == (-32022, expected)


@pytest.mark.parametrize("agreed", MODERN_NAMES)
def test_a_request_without_metadata_is_one_of_the_modern_era_there(agreed: str) -> None:
    error = asked(bound(agreed), call(1, "tools/list"))["error"]
    assert error["code"] == -32602
    assert VERSION in error["message"]
    assert asked(bound(agreed), modern(agreed, "server/discover"))["result"][
        "supportedVersions"
    ] == [agreed]


@pytest.mark.parametrize("agreed", [None, "1999-01-01"])
def test_nothing_agreed_leaves_everything_as_it_was(agreed: str | None) -> None:
    config = server_config()
    assert bound_to(config, agreed) is config
