"""A server that asks its client at odd times, of its own accord and for tools that need it.

It has no clock: it is told the time, so that it can be played with on virtual time (``OddStage``),
over Streamable HTTP (``odd_http``), and as a program over stdio (this file).  It speaks every
legacy revision and is right in all that it says, but for one fault that may be named; tools have
names of their own:

- ``look_up`` answers at once, ``brew`` after a while, ``ponder`` when nobody waits any more, and
  whether it was cancelled or not;
- ``count_roots`` needs the roots, ``draft`` a sample, ``book`` a form, ``plan`` first a form and
  then a sample, and ``survey`` the roots, some time before its end and after its beginning; without
  a client that can do it they fail;
- ``sweep`` logs, ``reindex`` reports progress, as ``ponder`` does for as long as it runs.
"""

import heapq
import json
import os
import select
import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from typing import Any

Value = dict[str, Any]
Work = Generator[float | str, Any, Value]
"""Yields seconds to wait, or the method of what the client is asked for; returns the result."""
Say = Callable[[Value, Any], None]
"""Is given a message, and the id of the request that it is about; None: it is about none."""

Schedule = tuple[tuple[float, float, str, str], ...]
OWN: Schedule = (
    (0.35, 1.3, "roots", "roots/list"),
    (0.5, 0.7, "sampling", "sampling/createMessage"),
    (0.2, 0.9, "elicitation", "elicitation/create"),
)
"""Of each thing that it asks of its own accord: when first after ``notifications/initialized``, how
often then, the capability, and the method."""
LOGS = (0.1, 0.25)
"""When it logs of its own accord first, and how often then."""
BREWING, PONDERING, STEP = 0.6, 40.0, 0.4
"""Seconds that ``brew`` takes, that ``ponder`` takes, and that lie between two of its reports."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
TEXT = {"type": "text", "text": "Say it."}
SAMPLE = {"messages": [{"role": "user", "content": TEXT}], "maxTokens": 10}
DAY = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
QUESTIONS: dict[str, Value] = {
    "roots/list": {},
    "sampling/createMessage": SAMPLE,
    "elicitation/create": {"message": "Which day?", "requestedSchema": DAY},
}
SINCE = {"elicitation/create": "2025-06-18"}
NEEDS: dict[str, tuple[str, ...]] = {
    "count_roots": ("roots/list",),
    "draft": ("sampling/createMessage",),
    "book": ("elicitation/create",),
    "plan": ("elicitation/create", "sampling/createMessage"),
    "survey": ("roots/list",),
}
CAPABILITIES = {method: capability for _, _, capability, method in OWN}
TOOLS = ("look_up", "brew", "ponder", *NEEDS, "sweep", "reindex")
LISTED = {
    "only ponders": ("ponder",),
    "ponders first": ("ponder", "brew"),
    "hurries": tuple(each for each in TOOLS if each != "ponder"),
}
"""What is listed by a server of these ways."""
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


class Refused(Exception):
    """A request is answered by an error."""


class OddServer:
    """One conversation.

    ``ways``, with commas between them: ``asks everybody`` (tools ask whoever calls), ``never goes
    on`` (tools are struck by the answer to what they asked) or ``struck by errors``, ``silent about
    arguments`` (calls are not answered where they are no object), ``asks elsewhere`` (over HTTP the
    questions of tools are about no request), ``reports of nothing`` (now and then, progress with a
    token that nobody has given), ``reports backwards``, ``reports in words``, ``reports
    afterwards``, ``takes 0 for none`` (of progress tokens), ``deaf`` (to levels of logs), ``loud``
    (logs of a level that there is not), and those of ``LISTED``.
    """

    def __init__(self, say: Say, ways: str = "", own: Schedule = OWN) -> None:
        self.say = say
        self.ways = ways.split(", ")
        self.own = own
        """What it does of its own accord; without anything it logs nothing either."""
        self.now = 0.0
        self._version = ""
        self._declared: Value = {}
        self._least = "info"
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._asked = 0
        self._answered: dict[str, Callable[[Any], None]] = {}
        self._running: dict[Any, Work] = {}
        self._pondering: list[Any] = []

    def due(self) -> float | None:
        """When it has something to do next."""
        return self._due[0][0] if self._due else None

    def pass_time(self, now: float) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= now:
            self.now, _, do = heapq.heappop(self._due)
            do()
        self.now = now

    def hear(self, line: bytes, now: float) -> None:
        """Hear a message."""
        self.pass_time(now)
        try:
            message = json.loads(line.decode(), parse_constant=_unreadable)
        except (ValueError, RecursionError):
            self._fail(None, -32700)
            return
        id = message.get("id") if isinstance(message, dict) else None
        known = isinstance(id, (str, int)) and not isinstance(id, bool)
        sound = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
        if sound and "method" not in message and ("result" in message or "error" in message):
            then = self._answered.pop(str(id), lambda _: None)
            if "result" in message or "struck by errors" not in self.ways:
                then(message.get("result"))
        elif not sound or ("id" in message and not known):
            self._fail(None, -32600)
        elif not isinstance(message.get("method"), str):
            self._fail(id, -32600)
        elif "id" in message:
            self._request(id, message["method"], message.get("params", {}))
        else:
            self._told(message["method"], message.get("params", {}))

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), do))

    def _put(self, about: Any = None, **members: Any) -> None:
        self.say({"jsonrpc": "2.0", **members}, about)

    def _fail(self, id: Any, code: int) -> None:
        self._put(id, id=id, error={"code": code, "message": "no"})

    def _told(self, method: str, params: Any) -> None:
        if method == "notifications/initialized":
            for first, often, capability, asked in self.own:
                if self._can(capability):
                    self._later(first, partial(self._of_its_own, asked, often))
            if self.own:
                self._later(LOGS[0], self._log_of_its_own)
            if "reports of nothing" in self.ways:
                self._later(LOGS[0], self._report_of_nothing)
        elif method == "notifications/cancelled" and isinstance(params, dict):
            id = params.get("requestId")
            self._running.pop(None if id in self._pondering else id, None)

    def _of_its_own(self, method: str, often: float) -> None:
        self._ask(method, None, lambda _: None)
        self._later(often, partial(self._of_its_own, method, often))

    def _log_of_its_own(self) -> None:
        self._log(None)
        self._later(LOGS[1], self._log_of_its_own)

    def _report_of_nothing(self) -> None:
        self._report(None, "nothing", self.now)
        self._later(LOGS[0], self._report_of_nothing)

    def _report(self, about: Any, token: Any, value: float) -> None:
        token = "" if token == 0 and "takes 0 for none" in self.ways else token
        told = str(value) if "reports in words" in self.ways else value
        params = {"progressToken": token, "progress": told}
        self._put(about, method="notifications/progress", params=params)

    def _log(self, about: Any, level: str = "info") -> None:
        if "deaf" in self.ways or LEVELS.index(self._least) <= LEVELS.index(level):
            level = "loud" if "loud" in self.ways else level
            params = {"level": level, "data": "swept" if about is not None else "all is well"}
            self._put(about, method="notifications/message", params=params)

    def _ask(self, method: str, about: Any, then: Callable[[Any], None]) -> None:
        if self._version < SINCE.get(method, ""):
            then(None)
            return
        self._asked += 1
        id = f"q{self._asked}"
        self._answered[id] = then
        params = QUESTIONS[method]
        about = None if "asks elsewhere" in self.ways else about
        self._put(about, id=id, method=method, **({"params": params} if params else {}))

    def _request(self, id: Any, method: str, params: Any) -> None:
        try:
            if not isinstance(params, dict):
                raise Refused(-32602)
            if method == "tools/call":
                self._call(id, params)
            else:
                self._put(id, id=id, result=self._served(method, params))
        except Refused as refused:
            self._fail(id, refused.args[0])

    def _served(self, method: str, params: Value) -> Value:
        if method == "initialize":
            version, declared = params.get("protocolVersion"), params.get("capabilities")
            known = isinstance(params.get("clientInfo"), dict) and not self._version
            if not isinstance(version, str) or not isinstance(declared, dict) or not known:
                raise Refused(-32602)
            self._version = version if version in VERSIONS else VERSIONS[-1]
            self._declared = declared
            offers: Value = {"tools": {}, "logging": {}}
            who = {"name": "odd", "version": "1"}
            return {"protocolVersion": self._version, "capabilities": offers, "serverInfo": who}
        if method == "ping":
            return {}
        if not self._version:
            raise Refused(-32600)
        if method == "logging/setLevel" and params.get("level") in [*LEVELS]:
            self._least = params["level"]
            return {}
        if method == "tools/list" and "cursor" not in params:
            names = next((LISTED[each] for each in self.ways if each in LISTED), TOOLS)
            schema = {"type": "object", "additionalProperties": False}
            more = {"inputSchema": schema, "annotations": {"readOnlyHint": True}}
            tools = [{"name": each, "description": each.title(), **more} for each in names]
            return {"tools": tools}
        raise Refused(-32602 if method in ("logging/setLevel", "tools/list") else -32601)

    def _call(self, id: Any, params: Value) -> None:
        name, arguments = params.get("name"), params.get("arguments", {})
        if not self._version or name not in TOOLS:
            raise Refused(-32602 if self._version else -32600)
        if not isinstance(arguments, dict):
            if "silent about arguments" in self.ways:
                return
            raise Refused(-32602)
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        if token is not None and (isinstance(token, bool) or not isinstance(token, (str, int))):
            raise Refused(-32602)
        if arguments:
            self._put(id, id=id, result=_said("no arguments are taken", isError=True))
            return
        self._running[id] = self._work(str(name), id, token)
        self._pondering += [id] if name == "ponder" else []
        self._go_on(id, None)

    def _go_on(self, id: Any, answer: Any) -> None:
        work = self._running.get(id)
        if work is None:  # it was cancelled
            return
        try:
            wanted = work.send(answer)
        except StopIteration as end:
            del self._running[id]
            self._put(id, id=id, result=end.value)
            return
        if isinstance(wanted, float):
            self._later(wanted, lambda: self._go_on(id, None))
        elif "never goes on" not in self.ways:
            self._ask(wanted, id, lambda found: self._go_on(id, found))
        else:
            self._ask(wanted, id, lambda _: None)

    def _can(self, capability: str) -> bool:
        """Whether the client has declared that; of elicitations, that it shows forms."""
        wanted = self._declared.get(capability)
        return isinstance(wanted, dict) and ("url" not in wanted or "form" in wanted)

    def _work(self, name: str, id: Any, token: Any) -> Work:
        if name == "survey":
            yield STEP
        for method in NEEDS.get(name, ()):
            if not self._can(CAPABILITIES[method]) and "asks everybody" not in self.ways:
                return _said("nobody can be asked", isError=True)
            found = yield method
            if not _good(method, found):
                return _said("no answer", isError=True)
        if name in ("brew", "survey"):
            yield BREWING
        if name == "sweep":
            self._log(id)
            self._log(id, "error")
        steps = {"ponder": range(1, int(PONDERING / STEP) + 1), "reindex": (1, 2, 3)}
        if "reports backwards" in self.ways:
            steps["reindex"] = (1, 3, 2)
        for step in steps.get(name, ()):
            if name == "ponder":
                yield STEP
            if token is not None:
                self._report(id, token, step)
        if name == "reindex" and token is not None and "reports afterwards" in self.ways:
            self._later(0.01, partial(self._report, id, token, 4))
        return _said(f"{name} is done")


def _unreadable(constant: str) -> None:
    raise ValueError(constant)


def _said(words: str, **more: Any) -> Value:
    return {"content": [{"type": "text", "text": words}], **more}


def _good(method: str, found: Any) -> bool:
    """Whether an answer of the client has the form that it needs."""
    if not isinstance(found, dict):
        return False
    if method == "roots/list":
        roots = found.get("roots")
        return isinstance(roots, list) and all(isinstance(one.get("uri"), str) for one in roots)
    if method == "sampling/createMessage":
        content = found.get("content")
        said = isinstance(content, dict) and isinstance(content.get("text"), str)
        return said and found.get("role") == "assistant" and isinstance(found.get("model"), str)
    content = found.get("content")
    day = isinstance(content, dict) and isinstance(content.get("day"), str)
    return found.get("action") == "accept" and day


def main() -> None:
    """Speak over stdio, in real time."""

    def say(message: Value, _about: Any) -> None:
        print(json.dumps(message), flush=True)

    server = OddServer(say, "".join(sys.argv[1:]))
    rest = b""
    while True:
        due = server.due()
        wait = None if due is None else max(0.0, due - time.monotonic())
        if select.select([0], [], [], wait)[0]:
            read = os.read(0, 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in filter(None, map(bytes.strip, lines)):
                server.hear(line, time.monotonic())
        server.pass_time(time.monotonic())


if __name__ == "__main__":
    main()
