"""`mcpcore gateway --workers`: calls that wait for a modern client, and their retries."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mcpcore.auth.api_keys import digest_of, make_key
from tests.clock import PATIENCE
from tests.gateway.test_gateway import LEGACY, MODERN, PROGRAM
from tests.transports.redis_server import redis_server
from tests.warm import PYTHON

ROOT = str(Path(__file__).parents[2])
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
}


@contextmanager
def gateway(folder: Path, *words: str) -> Iterator[str]:
    """Run a gateway of several processes before a legacy server; its URL."""
    behind = {"command": sys.executable, "args": [PROGRAM, "behind", LEGACY]}
    settings = {"shared": {"behind": True}, "relay": {"naming": "never"}}
    file = folder / "mcp.json"
    file.write_text(json.dumps({"gateway": settings, "mcpServers": {"behind": behind}}))
    words += ("--config", str(file))
    command = [*PYTHON, "-m", "mcpcore_transports.commands.main", "gateway", *words]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("listening on "), line
        yield line.removeprefix("listening on ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


class Connection:
    """Connection of a modern client, which is one of a single worker."""

    def __init__(self, url: str, key: str, stack: ExitStack) -> None:
        self._place, self._key = urlsplit(url), key
        assert self._place.hostname is not None
        self._http = HTTPConnection(self._place.hostname, self._place.port, timeout=PATIENCE)
        stack.callback(self._http.close)
        self._id = 0
        self.worker = self.call("process")["result"]["content"][0]["text"]
        """Process of the server, of which each worker has its own."""

    def call(self, tool: str, **members: Any) -> dict[str, Any]:
        """Call a tool; return the response."""
        self._id += 1
        params = {"name": tool, "arguments": {}, "_meta": META, **members}
        body = {"jsonrpc": "2.0", "id": self._id, "method": "tools/call", "params": params}
        headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        self._http.request("POST", self._place.path, json.dumps(body), headers)
        text = self._http.getresponse().read().decode()
        found = [line.removeprefix("data:") for line in text.splitlines() if "jsonrpc" in line]
        answer: dict[str, Any] = json.loads(found[-1])
        return answer


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_retry_finds_its_call_in_another_process(kind: str, tmp_path: Path) -> None:
    id, key = make_key(bytes(range(40)))
    keys = tmp_path / "keys.jsonl"
    keys.write_text(json.dumps({"id": id, "digest": digest_of(key), "principal": "ann"}))
    words = ["--workers", "2", "--http", "127.0.0.1:0", "--auth-keys", str(keys)]
    with ExitStack() as stack:
        if kind == "redis":
            words += ["--store", stack.enter_context(redis_server()).url]
        url = stack.enter_context(gateway(tmp_path, *words))
        first = other = Connection(url, key, stack)
        while other.worker == first.worker:  # the system chooses the process
            other = Connection(url, key, stack)
        for each in (first, other):
            asked = each.call("ask")["result"]
            [question] = asked["inputRequests"]
            answers = {question: {"action": "accept", "content": {"name": "Ada"}}}
            again = {"requestState": asked["requestState"], "inputResponses": answers}
            for there in (first, other, first):
                result = there.call("ask", **again)["result"]
                assert result["content"][0]["text"] == "Hello Ada"
