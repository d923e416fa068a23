"""A client by hand, of the standard library alone: it speaks both eras, and does as it is told.

``HOW`` in its environment says how it finds out the era of its server, among other habits:
``probes`` asks ``server/discover`` where it initializes afterwards, ``anew`` closes the connection
and starts the server again for that, ``tries`` begins with the call in the newer way.  ``listens``
opens the GET stream before it says that it is ready, ``metadata`` looks for that of OAuth first,
``batches`` says that it is ready and lists the tools in one batch.  ``bounded`` knows scripts, and
makes one call at a time; ``plain`` does what it always does instead.
"""

import os
from collections.abc import Sequence

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.model import Binding, Result, Side
from mcpcore_conformance.run.clients import Command, prepare_client, run_client
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener
from tests.warm import PYTHON

CLIENT = r'''
import json, os, subprocess, sys, threading, time, urllib.error, urllib.parse, urllib.request

HOW = os.environ["HOW"].split()
SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
REVISION = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
ADDRESS = sys.argv[-1]
INFO = {"name": "by hand", "version": "1"}
OWN = {"protocolVersion": "2026-07-28", "clientCapabilities": {}, "clientInfo": INFO}
META = {"_meta": {f"io.modelcontextprotocol/{name}": each for name, each in OWN.items()}}
NEWER = {"MCP-Protocol-Version": "2026-07-28"}


class Lost(Exception):
    pass


class Connection:
    def heard(self, message):
        """Answer what the server asks."""
        if "method" in message and "id" in message:
            ping = message["method"] == "ping"
            answer = {"result": {}} if ping else {"error": {"code": -32601, "message": "no"}}
            self.say({"jsonrpc": "2.0", "id": message["id"], **answer})


class Http(Connection):
    def __init__(self):
        self.headers = {"Accept": "application/json, text/event-stream"}

    def request(self, method, body=None, url=ADDRESS, **headers):
        return urllib.request.urlopen(
            urllib.request.Request(url, body, {**self.headers, **headers}, method=method)
        )

    def say(self, message, **headers):
        body = json.dumps(message).encode()
        return self.request("POST", body, **{"Content-Type": "application/json"}, **headers)

    def ask(self, message, *before, **headers):
        try:
            with self.say([*before, message] if before else message, **headers) as response:
                session = response.headers.get("Mcp-Session-Id")
                if session:
                    self.headers["Mcp-Session-Id"] = session
                if "json" in response.headers["Content-Type"]:
                    return json.load(response)
                answer = self.events(response, message["id"])
            while answer is None:
                time.sleep(self.retry)
                with self.request("GET", **{"Last-Event-ID": self.last}) as response:
                    answer = self.events(response, message["id"])
            return answer
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and "Mcp-Session-Id" in self.headers:
                    raise Lost
                return {"error": error.read().decode()}

    def events(self, response, wanted=None):
        data = []
        try:
            for line in response:
                name, _, value = line.decode().strip("\r\n").partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    self.last = value
                elif name == "retry":
                    self.retry = int(value) / 1000
                elif name == "data" and value:
                    data.append(value)
                elif not name and data:
                    message, data = json.loads("\n".join(data)), []
                    if wanted is not None and message.get("id") == wanted:
                        if "method" not in message:
                            return message
                    self.heard(message)
        except OSError:
            pass

    retry, last, lost = 0.01, "", False

    def opened(self, result):
        self.headers["MCP-Protocol-Version"] = result["protocolVersion"]
        if "listens" in HOW:
            there = threading.Event()
            threading.Thread(target=self.listen, args=(there,), daemon=True).start()
            there.wait(10)
            if self.lost:
                raise Lost

    def listen(self, there):
        try:
            with self.request("GET") as response:
                there.set()
                self.events(response)
        except urllib.error.HTTPError as error:
            self.lost = error.code == 404
            there.set()

    def again(self):
        self.headers, self.lost = {"Accept": self.headers["Accept"]}, False
        return self

    def close(self):
        try:
            if "Mcp-Session-Id" in self.headers:
                self.request("DELETE").close()
        except urllib.error.HTTPError:
            pass


class Stdio(Connection):
    def __init__(self):
        command = [CONTEXT["server"]["command"], *CONTEXT["server"]["args"]]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def say(self, message, **headers):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, message, *before, **headers):
        self.say([*before, message] if before else message)
        for line in self.process.stdout:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if found.get("id") == message["id"] and "method" not in found:
                return found
            self.heard(found)
        sys.exit("the server is gone")

    def opened(self, result):
        pass

    def again(self):
        self.close()
        return Stdio()

    def close(self):
        self.process.stdin.close()
        for end in (self.process.terminate, self.process.kill):
            try:
                self.process.wait(0.3)
            except subprocess.TimeoutExpired:
                end()
        self.process.wait()


class Client:
    def __init__(self):
        self.id = 0
        self.connection = Stdio() if ADDRESS.startswith("stdio:") else Http()

    def ask(self, method, params, *before, **headers):
        self.id += 1
        message = {"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}
        return self.connection.ask(message, *before, **headers)

    def find_out(self):
        if "metadata" in HOW and isinstance(self.connection, Http):
            known = urllib.parse.urljoin(ADDRESS, "/.well-known/oauth-protected-resource/mcp")
            try:
                self.connection.request("GET", url=known, Accept="application/json").close()
                sys.exit("there is metadata")
            except urllib.error.HTTPError:
                pass
        if "tries" in HOW:
            params = {"name": "add_numbers", "arguments": {"a": 1, "b": 2}, **META}
            named = {"Mcp-Method": "tools/call", "Mcp-Name": "add_numbers"}
            found = self.ask("tools/call", params, **NEWER, **named)
        else:
            found = self.ask("server/discover", META, **NEWER, **{"Mcp-Method": "server/discover"})
        if "error" not in found:
            sys.exit("the server is modern")
        self.id = 0
        if "anew" in HOW:
            self.connection = self.connection.again()

    def initialize(self):
        found = self.ask(
            "initialize", {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": INFO}
        )
        if found.get("result", {}).get("protocolVersion") != REVISION:
            self.connection.close()
            sys.exit(f"refused: {found}")
        try:
            self.connection.opened(found["result"])
        except Lost:
            self.connection = self.connection.again()
            return self.initialize()
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        if "batches" in HOW:
            self.ask("tools/list", {}, ready)
        else:
            self.connection.say(ready)

    def call(self, name, arguments):
        params = {"name": name, "arguments": arguments}
        try:
            found = self.ask("tools/call", params)
        except Lost:
            self.connection = self.connection.again()
            self.initialize()
            found = self.ask("tools/call", params)
        return found

    def play(self, step):
        if step["do"] == "together":
            return {"result": {}, "steps": [self.play(each) for each in step["steps"]]}
        if step["do"] == "list":
            return {"result": self.ask(step["what"] + "/list", {})["result"][step["what"]]}
        return {"result": self.call(step["tool"], step["arguments"])["result"]}


client = Client()
if SCENARIO == "script" and "bounded" in HOW:
    client.initialize()
    steps = [client.play(each) for each in CONTEXT["steps"]]
    with open(CONTEXT["report"], "w") as file:
        json.dump({"steps": steps}, file)
elif "plain" in HOW or SCENARIO in ("initialize", "tools_call", "sse-retry"):
    client.find_out()
    client.initialize()
    client.ask("tools/list", {})
    if SCENARIO != "initialize":
        found = client.call("add_numbers", {"a": 1, "b": 2})
        if "result" not in found:
            sys.exit(f"the call failed: {found}")
    client.connection.close()
'''


def client_command(how: str) -> Command:
    """The command of the client."""
    return Command([*PYTHON, "-c", CLIENT], env={**os.environ, "HOW": how})


async def results_of(
    how: str, binding: Binding, revision: Revision, places: Sequence[str] = ()
) -> list[Result]:
    """Play the cases of these places, or all, with the client."""
    cases = [
        case
        for case in all_cases()
        if case.side is Side.CLIENT and (not places or case.id.startswith(tuple(places)))
    ]
    command = client_command(how)
    run = prepare_client(command, [binding], cases, Settings(revisions=(revision,), timeout=10.0))
    await run_client(run, command, Listener())
    return list(run.results)
