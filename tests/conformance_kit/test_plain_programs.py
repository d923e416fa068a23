"""Programs that are plain, slow or of one era, and in order: the kit finds no failures in them."""

import sys

import pytest

from conformance.kit.client_play import look_at_client
from conformance.kit.client_talk import ClientTiming
from conformance.kit.model import Binding
from mcpcore.spec.revisions import BY_NAME

pytestmark = pytest.mark.anyio
MODERN = BY_NAME["2026-07-28"]
TIMING = ClientTiming(start=20.0, answer=10.0, exit=20.0, quiet=0.02)

INITIALIZES = """
import json, os, socket, sys, urllib.parse
if os.environ["MCP_CONFORMANCE_SCENARIO"] != "initialize":
    sys.exit("what?")
url = urllib.parse.urlsplit(sys.argv[1])
with socket.create_connection((url.hostname, url.port)) as connection:
    def ask(method, params):
        said = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
        connection.sendall(json.dumps(said).encode() + b"\\n")
        return json.loads(connection.makefile().readline())
    info = {"name": "lone", "version": "1"}
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    refused = ask("initialize", opening)
"""
"""A client of the older era: all that it can do is initialize."""
GIVES_UP = """
    sys.exit("refused with %d" % refused["error"]["code"])
"""
GOES_ON = """
    assert "error" in refused
    name = "io.modelcontextprotocol/"
    declared = {"roots": {}}
    meta = {name + "protocolVersion": "2026-07-28", name + "clientCapabilities": declared}
    ask("tools/list", {"_meta": meta})
"""


def client(source: str) -> list[str]:
    return [sys.executable, "-c", INITIALIZES + source]


async def test_a_client_that_can_only_initialize_is_not_one_of_the_newer_era() -> None:
    found = await look_at_client(client(GIVES_UP), Binding.TCP, MODERN, timing=TIMING)
    assert found.heard
    assert not found.broken, "it has broken nothing of a revision that it does not speak"
    assert found.unspoken(MODERN.name).startswith(
        "the client does not speak 2026-07-28: the client sent nothing but initialize: "
    )


async def test_a_client_that_goes_on_after_initialize_was_refused_is_one_of_the_newer_era() -> None:
    found = await look_at_client(client(GOES_ON), Binding.TCP, MODERN, timing=TIMING)
    assert found.unspoken(MODERN.name) == ""
    assert found.capabilities == {"roots": {}}
