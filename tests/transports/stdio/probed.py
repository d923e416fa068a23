"""A server program that does not bear the era probe: ``probed.py FOLDER REVISION FATE...``.

``FATE`` is for its first start, the second, and so on; the last one holds for all that follow.

``exit``, ``exit-late``: it ends when it is asked ``server/discover``, or ``initialize`` behind it.
``refuse``: it takes the probe for what opens the session, and refuses ``initialize`` behind it.
``babble``: the same, and its answer to the probe is no JSON.  ``refuse-all``: it refuses
``initialize`` always.  ``deaf``: it ends without having read anything.  ``mute``: it answers
nothing.  With ``-stay`` behind any of these it does not end when its input does.

It has a daemon, which survives it for a while.  All of them hold one lock, and a start that finds
it taken fails: two of these programs never run at a time.  What happens is written to
``FOLDER/log``.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODERN = "2026-07-28"
ALREADY = {"code": -32600, "message": "initialize was already received"}


def main() -> None:
    folder, revision, *fates = sys.argv[1:]
    log = (Path(folder) / "log").open("a", buffering=1)
    lock = os.open(Path(folder) / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("overlap", file=log)
        sys.exit("another one of these programs runs")
    starts = (Path(folder) / "log").read_text().count("start")
    daemon = subprocess.Popen(
        ["sleep", "600"], pass_fds=[lock], start_new_session=True, stdout=subprocess.DEVNULL
    )
    print(f"start {os.getpid()} {daemon.pid}", file=log)
    fate, stays, _ = fates[min(starts, len(fates) - 1)].partition("-stay")
    if fate == "deaf":
        sys.exit("no configuration")
    modern, probed = revision == MODERN, False
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message["method"], message.get("id")
        print(method, file=log)
        if fate == "mute":
            continue
        body: dict[str, Any] = {"error": {"code": -32601, "message": "method not found"}}
        if method == "server/discover":
            if modern:
                body = {"result": {"supportedVersions": [revision], "capabilities": {"tools": {}}}}
            elif fate == "exit":
                sys.exit("what is server/discover?")
            elif fate == "exit-late":
                probed = True
                continue
            elif fate == "babble":
                probed = True
                print("never heard of it", flush=True)
                continue
            elif fate == "refuse":
                probed = True
        elif method == "initialize":
            if fate == "exit-late" and probed:
                sys.exit("no session")
            if fate == "refuse-all" or probed:
                body = {"error": ALREADY}
            else:
                server = {"name": "probed", "version": "1"}
                body = {
                    "result": {
                        "protocolVersion": revision,
                        "capabilities": {"tools": {}},
                        "serverInfo": server,
                    }
                }
        elif method == "tools/list":
            tools = [{"name": "echo", "inputSchema": {"type": "object"}}]
            body = {"result": {"tools": tools}}
        elif method == "tools/call":
            arguments = message["params"].get("arguments", {})
            if arguments.get("die"):
                sys.exit("no more")
            content = [{"type": "text", "text": arguments.get("text", "")}]
            body = {"result": {"content": content}}
        elif method == "ping":
            body = {"result": {}}
        if id is not None:
            if modern and "result" in body:
                cached = {"ttlMs": 0, "cacheScope": "private"}
                body["result"] = {**body["result"], "resultType": "complete", **cached}
            print(json.dumps({"jsonrpc": "2.0", "id": id, **body}), flush=True)
    while stays:
        time.sleep(600)


if __name__ == "__main__":
    main()
