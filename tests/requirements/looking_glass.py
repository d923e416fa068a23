"""A legacy server that shows a test what its client sends and answers.

It is a program of its own on stdio.  A line that is no JSON-RPC message ends it.  The tool ``ask``
sends its client a request (``method``, ``params``) and returns the client's answer as text; the
tool ``seen`` returns everything that the client has sent so far, as a JSON list; the tool ``tell``
sends a notification.
"""

import sys
from typing import Any

import msgspec

from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.client import Client

_PROGRAM = """
import json, sys

seen, asking = [], None

def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

def text(value):
    return {"content": [{"type": "text", "text": json.dumps(value)}]}

for line in sys.stdin:
    message = json.loads(line)
    assert message["jsonrpc"] == "2.0" and line.endswith("\\n"), line
    assert ("method" in message) != ("result" in message or "error" in message), line
    seen.append(message)
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        send(id=id, result={
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "looking glass", "version": "1"},
        })
    elif method == "tools/call" and message["params"]["name"] == "seen":
        send(id=id, result=text(seen))
    elif method == "tools/call" and message["params"]["name"] == "tell":
        send(**message["params"]["arguments"])
        send(id=id, result=text("told"))
    elif method == "tools/call":
        asking = id
        send(id="asked", **message["params"]["arguments"])
    elif id == "asked":
        send(id=asking, result=text(message.get("result", message.get("error"))))
    elif method is not None and id is not None:
        send(id=id, error={"code": -32601, "message": "no such method"})
"""

PROGRAM = [sys.executable, "-c", _PROGRAM]
"""Its command."""


async def ask(client: Client, method: str, params: dict[str, Any] | None = None) -> Any:
    """Have the server ask ``client`` something; the result or the error object."""
    return _value(await client.call_tool("ask", {"method": method, "params": params or {}}))


async def tell(client: Client, method: str, params: dict[str, Any] | None = None) -> None:
    """Have the server send ``client`` a notification."""
    await client.call_tool("tell", {"method": method, "params": params or {}})


async def seen(client: Client) -> list[Any]:
    """Return what the client has sent."""
    found: list[Any] = _value(await client.call_tool("seen"))
    return found


def _value(result: Any) -> Any:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return msgspec.json.decode(block.text)
