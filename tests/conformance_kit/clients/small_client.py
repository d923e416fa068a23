"""A client by hand, of the standard library alone, over TCP: it can little, and does as told."""

CLIENT = r"""
import json, os, socket, sys, time, urllib.parse

HOW = os.environ["HOW"].split(", ")
ODD = {
    "null": {"id": None},
    "float": {"id": 1.0},
    "other": {"jsonrpc": "1.0"},
    "params": {"params": []},
    "cursor": {"params": {"cursor": 7}},
}
scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
if scenario not in ("initialize", "tools_call"):
    if "ends" in HOW:
        sys.exit(0)
    if "fails" in HOW:
        sys.exit("unknown scenario")
    if "hangs" in HOW:
        time.sleep(600)
url = urllib.parse.urlsplit(sys.argv[-1])
connection = socket.create_connection((url.hostname, url.port))
lines = connection.makefile("rb")

def say(**message):
    connection.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

def ask(method, params):
    message = {"id": method, "method": method, "params": params}
    if method == "tools/list":
        for how in HOW:
            message.update(ODD.get(how, {}))
    say(**message)
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if said.get("method") == "ping":
            say(id=said["id"], result={}, **({"jsonrpc": "1.0"} if "answer" in HOW else {}))
        elif "method" in said and "id" in said:
            say(id=said["id"], error={"code": -32601, "message": "no"})
        elif said.get("id") == message["id"] or ("any id" in HOW and "method" not in said):
            if "error" in said and not {"goes on", "both"} & {*HOW}:
                sys.exit("refused")
            given = said.get("result", {}).get("protocolVersion", version)
            if "of one revision" in HOW and given != version:
                sys.exit("another version")
            return "error" not in said
    sys.exit("the server is gone")

def write(how, line):
    if how in HOW:
        connection.sendall(line + b"\n")

write("banner", b"a small client")
info = {"name": "small", "version": "1"}
version = "1999-12-31" if "odd" in HOW else "2025-11-25"
opening = {"protocolVersion": version, "capabilities": {}, "clientInfo": info}
opened = ask("initialize", opening)
if "unready" not in HOW and opened | ("both" not in HOW):
    say(method="notifications/initialized")
write("invalid", b'{"jsonrpc":"2.0","method":5}')
write("log", b"ready to go")
write("batch", b'[{"jsonrpc":"2.0","id":"b","method":"ping"}]')
write("meta", b'{"jsonrpc":"2.0","id":"m","method":"ping","params":{"_meta":7}}')
write("version", b'{"jsonrpc":"1.0","method":"notifications/com.example/odd"}')
own = {"protocolVersion": "2026-07-28", "clientCapabilities": {}, "clientInfo": info}
meta = {"_meta": {f"io.modelcontextprotocol/{each}": own[each] for each in own}}
more = meta if "both" in HOW and not opened else {}
ask("tools/list", more)
if "reason" in HOW:
    say(method="notifications/cancelled", params={"requestId": "tools/list", "reason": 7})
if scenario == "tools_call":
    ask("tools/call", {"name": "add_numbers", "arguments": {"a": 1, "b": 2}, **more})
if "stays" in HOW:
    time.sleep(600)
connection.close()
if scenario not in ("initialize", "tools_call") and "plain and fails" in HOW:
    sys.exit("unknown scenario")
"""
"""``HOW`` in its environment has its faults and habits, with commas between them."""
