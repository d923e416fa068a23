"""A server without mcpcore that starts quickly: ``quick_backend.py REVISIONS LOG``.

Of several revisions it lists all, and speaks the modern one alone.

``look`` may be carried out twice; ``book`` may not, and notes its ``number`` in the file LOG.
"""

import json
import os
import sys
import time

revision, log = sys.argv[1:]
revisions = revision.split()
INFO = {"name": "quick", "version": "1"}
OBJECT = {"type": "object"}
TOOLS = {
    "tools": [
        {"name": "process", "inputSchema": OBJECT},
        {"name": "look", "inputSchema": OBJECT, "annotations": {"idempotentHint": True}},
        {"name": "book", "inputSchema": OBJECT},
    ]
}
CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def called(name: str, arguments: dict[str, object]) -> str:
    """Carry out a tool; return its text."""
    if name == "process":
        return str(os.getpid())
    if name == "book":
        with open(log, "a") as file:
            file.write(f"{arguments['number']}\n")
    time.sleep(0.02)
    return str(arguments["number"])


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params", {})
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    modern = "2026-07-28" in revisions
    if method == "server/discover" and modern:
        answer["result"] = {
            "supportedVersions": revisions,
            "capabilities": {"tools": {}},
            "serverInfo": INFO,
            **CACHED,
        }
    elif method == "initialize" and not modern:
        answer["result"] = {
            "protocolVersion": revision,
            "capabilities": {"tools": {}},
            "serverInfo": INFO,
        }
    elif method == "tools/list":
        answer["result"] = {**TOOLS, **(CACHED if modern else {})}
    elif method == "tools/call":
        text = called(params["name"], params.get("arguments", {}))
        answer["result"] = {"content": [{"type": "text", "text": text}]}
        if modern:
            answer["result"]["resultType"] = "complete"
    else:
        answer["error"] = {"code": -32601, "message": "method not found"}
    print(json.dumps(answer), flush=True)
