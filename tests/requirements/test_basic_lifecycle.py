"""basic/lifecycle: what the client's first message says."""

import pytest

from mcpcore.engine import Negotiation, Peer, Role
from tests.engine.bench import CLIENT_ALL, LEGACY_NAMES, client_config, rows, sent


@pytest.mark.requirement(
    "basic/lifecycle/initialize-first",
    "basic/lifecycle/offer-supported",
    "basic/lifecycle/offer-latest",
)
@pytest.mark.parametrize("count", range(1, len(LEGACY_NAMES) + 1))
def test_the_first_message_is_initialize_with_the_newest_revision(count: int) -> None:
    config = client_config(revisions=rows(*LEGACY_NAMES[:count]), negotiation=Negotiation.LEGACY)
    peer = Peer(Role.CLIENT, config)
    peer.start(now=0)
    peer.request("tools/list", now=0)
    [first] = sent(peer)
    assert first["method"] == "initialize"
    assert first["params"] == {
        "protocolVersion": LEGACY_NAMES[count - 1],
        "capabilities": CLIENT_ALL,
        "clientInfo": {"name": "client", "version": "1"},
    }
