"""basic/lifecycle: what the client's first message says."""

import msgspec
import pytest

from mcpcore.engine import Peer, Role
from mcpcore.spec.capabilities import in_revision
from mcpcore.spec.types.capabilities import ClientCapabilities
from tests.engine.bench import (
    CLIENT_ALL,
    LEGACY_NAMES,
    MODERN_NAMES,
    client_config,
    error,
    feed,
    rows,
    sent,
)


@pytest.mark.requirement(
    "basic/lifecycle/initialize-first",
    "basic/lifecycle/offer-supported",
    "basic/lifecycle/offer-latest",
)
@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("count", range(1, len(LEGACY_NAMES) + 1))
def test_the_first_message_is_initialize_with_the_newest_revision(count: int, probe: bool) -> None:
    known = [*LEGACY_NAMES[:count], *(MODERN_NAMES if probe else [])]
    peer = Peer(Role.CLIENT, client_config(revisions=rows(*known)))
    declared = msgspec.convert(CLIENT_ALL, ClientCapabilities)
    [newest] = rows(LEGACY_NAMES[count - 1])
    peer.start(now=0)
    peer.request("tools/list", now=0)
    [first] = sent(peer)
    if probe:
        feed(peer, error(first["id"], -32601))
        [first] = sent(peer)
    assert first["method"] == "initialize"
    assert first["params"] == {
        "protocolVersion": LEGACY_NAMES[count - 1],
        "capabilities": msgspec.to_builtins(in_revision(declared, newest)),
        "clientInfo": {"name": "client", "version": "1"},
    }
