"""A server on stdio that keeps to JSON-RPC and gets everything else wrong."""

import json
import sys
from typing import Any

EVERYTHING = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "logging": {},
    "completions": {},
    "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
}
TASK = {
    "taskId": "wrong",
    "status": "failed",
    "createdAt": "2025-11-25T00:00:00Z",
    "lastUpdatedAt": "2025-11-25T00:00:00Z",
    "ttl": None,
}
WRONG: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": EVERYTHING,
        "serverInfo": {"name": "wrong", "version": "0"},
    },
    "server/discover": {
        "supportedVersions": ["2026-07-28"],
        "capabilities": EVERYTHING,
        "ttlMs": 0,
        "cacheScope": "public",
    },
    "tools/list": {
        "tools": [
            {"name": name, "inputSchema": {"type": "object"}}
            for name in ("test_structured_output", "slow_compute", "failing_job", "greet")
        ]
    },
    "tools/call": {"content": [{"type": "text", "text": "wrong"}], "task": TASK},
    "resources/list": {
        "resources": [
            {"uri": f"test://static-{name}", "name": "wrong"} for name in ("text", "binary")
        ]
    },
    "resources/templates/list": {"resourceTemplates": []},
    "resources/read": {"contents": [{"uri": "test://wrong", "text": "wrong"}]},
    "prompts/list": {"prompts": [{"name": "test_prompt_with_arguments"}]},
    "prompts/get": {
        "messages": [{"role": "assistant", "content": {"type": "text", "text": "wrong"}}]
    },
    "completion/complete": {"completion": {"values": ["wrong"]}},
    "subscriptions/listen": {},
    "tasks/get": TASK,
    "tasks/cancel": TASK,
    "tasks/list": {"tasks": []},
    "tasks/result": {"content": [{"type": "text", "text": "wrong"}]},
}
"""What each request is answered with; ``ping`` with an error, all others with nothing."""


def main() -> None:
    """Answer until the end of input."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] == "ping":
            reply["error"] = {"code": -32603, "message": "wrong"}
        elif sys.argv[1] == "legacy" and request["method"] == "server/discover":
            reply["error"] = {"code": -32601, "message": "Method not found"}
        else:
            reply["result"] = {"resultType": "complete", **WRONG.get(request["method"], {})}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
