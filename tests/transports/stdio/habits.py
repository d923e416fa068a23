"""A stdio server with bad habits, quick to start: ``habits.py TOKEN HABIT...``.

It speaks 2025-06-18 and knows one tool, which gives its arguments back.  ``TOKEN`` stands in the
command line of everything it starts, so that a test finds who was left behind.
"""

import json
import os
import signal
import subprocess
import sys
import time

TOKEN, HABITS = sys.argv[1], set(sys.argv[2:])
SLEEPER = ["sleep", f"600.{TOKEN}"]  # its arguments are added up: some minutes


def start_children() -> None:
    if "child" in HABITS:
        subprocess.Popen(SLEEPER)
    if "group" in HABITS:
        subprocess.Popen(SLEEPER, process_group=0)
    if "session" in HABITS:
        subprocess.Popen(SLEEPER, start_new_session=True)
    if "hidden" in HABITS:  # without the environment that it was given
        subprocess.Popen(["/bin/sleep", SLEEPER[1]], start_new_session=True, env={})
    if "daemon" in HABITS:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execvp(SLEEPER[0], SLEEPER)
            os._exit(0)
        os.wait()


def answer(message: dict[str, object]) -> None:
    params = message.get("params") or {}
    assert isinstance(params, dict)
    result: dict[str, object] = {}
    if message["method"] == "initialize":
        info = {"name": "habits", "version": "1"}
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": info,
        }
    elif message["method"] == "tools/call":
        text = json.dumps(params.get("arguments"))
        result = {"content": [{"type": "text", "text": text}]}
    say(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\n")


def say(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    if "stubborn" in HABITS:  # what it starts inherits that
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_children()
    os.write(2, f"up {os.getpid()}\n".encode())
    if "mute" in HABITS:
        time.sleep(600)
    noise = {
        "bytes": b"\xff\xfe\xc3\n",
        "long": b"n" * 5_000_000 + b"\n",
        "limit": b"n" * (4 * 1024 * 1024) + b"\n",
        "json": b'42\n"text"\nnull\n[]\n{}\n{"level":"info"}\n' + b"[" * 1000 + b"\n",
    }
    for name, text in noise.items():
        if f"noise-{name}" in HABITS:
            say(text)
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and "method" in message:
            answer(message)
        if message["method"] == "notifications/initialized" and "deaf" in HABITS:
            time.sleep(600)
        if message["method"] == "tools/call" and "bad-byte" in HABITS:
            broken = b'{"jsonrpc":"2.0","id":%s,"result":{"content":[],"x":"\xff"}}\n'
            say(broken % str(message["id"]).encode())
    if "flood" in HABITS:  # until somebody stops it
        while True:
            say(b"more than the pipe holds\n" * 10_000)
    if "lingers" in HABITS:
        time.sleep(600)


if __name__ == "__main__":
    main()
