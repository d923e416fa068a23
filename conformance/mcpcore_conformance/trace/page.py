"""A trace as one page of HTML: lanes, a slider through time, both machines, findings.

A trace is hostile input.  The page holds it as JSON in an element that is never run, writes it as
text alone, and has a policy that lets it load nothing and run no script but its own.
"""

import base64
import hashlib
import html
from collections.abc import Hashable
from pathlib import Path
from string import Template
from typing import Any

import msgspec
from msgspec import Struct, field

from mcpcore.engine.lifecycle import SessionState
from mcpcore.trace.format import TO_CLIENT, TO_SERVER, Record
from mcpcore_conformance.trace.book import id_key
from mcpcore_conformance.trace.check import check
from mcpcore_conformance.trace.dialogue import Router, Said
from mcpcore_conformance.trace.reading import TraceFile
from mcpcore_conformance.trace.replay import Step, describe_record, replay
from mcpcore_conformance.trace.show import laid_out

MOST_RECORDS = 5000
"""Maximum records of a page, the first ones; it says how many there are beside them."""
_MOST_LANES = 400
_MOST_LINES = 20
"""Maximum events, or messages, that are told of one record."""
_LONG = 4096
"""Characters of a record's text, beyond which it is cut short."""
_SCRIPT_SAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class _Lane(Struct):
    """A row of the page: one session, stream or round, with the places of its records."""

    kind: str
    name: str
    at: list[int] = field(default_factory=list)


class _Machine(Struct, omit_defaults=True):
    """Doings of a machine at a record, and its state after it."""

    state: str = ""
    events: list[str] = field(default_factory=list)
    sends: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class _Shown(Struct, omit_defaults=True):
    """A record of the page."""

    line: int
    time: float
    what: str
    arrow: int = 0
    """1: to the server; -1: to the client."""
    text: str = ""
    client: _Machine | None = None
    server: _Machine | None = None


class _Lanes:
    """The lanes of a trace, made as its records come."""

    def __init__(self) -> None:
        self.found: dict[Hashable, _Lane] = {}
        self._sessions: dict[Hashable, int] = {}
        self._rounds: dict[Hashable, Hashable] = {}
        """Lanes of rounds by the ids of their requests, and by the states that they wait with."""

    def take(self, index: int, record: Record, key: Hashable, said: list[Said]) -> None:
        """Put a record where it belongs."""
        if key is not None:
            number = self._sessions.setdefault(key, len(self._sessions) + 1)
            self._put(("session", key), "session", str(number), index)
        if record.stream:
            place = (record.connection, record.stream)
            self._put(("stream", place), "stream", f"{place[0]}.{place[1]}", index)
        for each in said:
            self._round(index, each)

    def _round(self, index: int, said: Said) -> None:
        """Follow a request: a retry with the state of an answer goes on in the same lane."""
        if said.id is None or said.kind not in ("request", "result", "error"):
            return
        asks = said.kind == "request"
        to_server = (said.direction == TO_SERVER) == asks  # who was asked
        # Without sessions each exchange stands alone, and ids are those of the exchange.
        name: Hashable = ("asked", said.key, to_server, id_key(said.id))
        if asks:
            state = said.params.get("requestState")
            waited = ("state", id_key(state)) if state else None
            self._rounds[name] = self._rounds.pop(waited, ("round", said.line, name))
            label = f"{said.method} {id_key(said.id)}"
        else:
            label = ""
            state = said.result.get("requestState")
            if name in self._rounds and state:
                self._rounds["state", id_key(state)] = self._rounds[name]
        if name in self._rounds:
            self._put(self._rounds[name], "round", label, index)
            if not asks:
                del self._rounds[name]

    def _put(self, key: Hashable, kind: str, name: str, index: int) -> None:
        lane = self.found.get(key)
        if lane is None:
            if len(self.found) >= _MOST_LANES:
                return
            lane = self.found[key] = _Lane(kind, name[:80])
        if lane.at[-1:] != [index]:
            lane.at.append(index)


def page(trace: TraceFile, title: str) -> str:
    """Return the page of a trace, at most the first ``MOST_RECORDS`` records of it."""
    entries = trace.entries[:MOST_RECORDS]
    part = TraceFile(trace.header, entries, complete=trace.complete)
    machines = {side: _machines(part, side) for side in ("client", "server")}
    router, lanes, shown = Router(trace.header), _Lanes(), []
    for index, entry in enumerate(entries):
        line, record = entry
        said = list(router.follow(entry))
        exchange = router.exchange(record)
        key = exchange.key if exchange else said[0].key if said else None
        lanes.take(index, record, key, said)
        shown.append(
            _Shown(
                line,
                record.time,
                describe_record(entry, said)[:200],
                {TO_SERVER: 1, TO_CLIENT: -1, None: 0}[record.direction],
                _shortened(laid_out(record)),
                client=machines["client"].get(line),
                server=machines["server"].get(line),
            )
        )
    places = {entry.line: index for index, entry in enumerate(entries)}
    data = {
        "header": trace.header,
        "title": title,
        "total": len(trace.entries),
        "complete": trace.complete,
        "states": [state.value for state in SessionState],
        "records": shown,
        "lanes": sorted(
            lanes.found.values(), key=lambda lane: ("session", "stream", "round").index(lane.kind)
        ),
        "findings": [
            {"at": places[each.line], **msgspec.to_builtins(each)}
            for each in check(part)
            if each.line in places
        ],
    }
    return _html(title, data)


def _machines(trace: TraceFile, side: str) -> dict[int, _Machine]:
    """Return what a side's machine did at each line, as :func:`replay` tells it.

    What happens between two records is told with the later one, and at the end with the last.
    """
    found: dict[int, _Machine] = {}
    last, waiting = 0, list[Step]()
    for step in replay(trace, side=side):
        waiting.append(step)
        if step.line:
            last = step.line
            _gather(found.setdefault(last, _Machine()), waiting)
            waiting.clear()
    if last:
        _gather(found[last], waiting)
    return found


def _gather(machine: _Machine, steps: list[Step]) -> None:
    for step in steps:
        for told, more in (
            (machine.events, step.events),
            (machine.sends, step.sends),
            (machine.remarks, step.remarks),
        ):
            told += [_shortened(text) for text in more[: _MOST_LINES - len(told)]]
        machine.state = step.state


def _shortened(text: str) -> str:
    more = len(text) - _LONG
    return text if more <= 0 else f"{text[:_LONG]}\n... {more} characters more"


def _html(title: str, data: dict[str, Any]) -> str:
    script, style = (
        Path(__file__).with_name(f"page.{kind}").read_text("utf-8") for kind in ("js", "css")
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    template = Template(Path(__file__).with_name("page.html").read_text("utf-8"))
    return template.substitute(
        policy=policy,
        title=html.escape(title),
        style=style,
        script=script,
        data=msgspec.json.encode(data).decode().translate(_SCRIPT_SAFE),
    )


def _digest(text: str) -> str:
    """Return the source of a policy that names an inline text by its hash."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
