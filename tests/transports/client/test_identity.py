"""Who the two sides say they are, in the words of each revision."""

from typing import Any

import pytest

from mcpcore import ClientSettings, Server, connect
from mcpcore.spec.types.base import Icon, Implementation
from tests.requirements.looking_glass import PROGRAM, seen
from tests.transports.runtime_bench import bench

pytestmark = pytest.mark.anyio

ICON = "https://example.com/i.png"
SHORT = {"name": "n", "version": "1"}
TOLD = {**SHORT, "title": "T", "description": "D"}
SITE = "https://example.com"
GIVEN: dict[str, Any] = {**TOLD, "website_url": SITE}
SAID = {
    "2024-11-05": SHORT,
    "2025-03-26": SHORT,
    "2025-06-18": {**SHORT, "title": "T"},
    "2025-11-25": {**TOLD, "websiteUrl": SITE, "icons": [{"src": ICON}]},
}


@pytest.mark.parametrize("revision", SAID)
async def test_the_server_in_the_handshake(revision: str) -> None:
    server = Server(**GIVEN, icons=[ICON])
    hello = {"protocolVersion": revision, "capabilities": {}, "clientInfo": SHORT}
    async with bench(server) as made:
        reply = await made.call("initialize", hello, revision=revision)
    assert reply["result"]["protocolVersion"] == revision
    assert reply["result"]["serverInfo"] == SAID[revision]


@pytest.mark.parametrize("revision", SAID)
async def test_the_client_in_the_handshake(revision: str) -> None:
    info = Implementation(**GIVEN, icons=[Icon(src=ICON)])
    async with connect(PROGRAM, revision=revision, settings=ClientSettings(info=info)) as client:
        hello = (await seen(client))[0]
    assert hello["method"] == "initialize"
    assert hello["params"]["clientInfo"] == SAID[revision]
