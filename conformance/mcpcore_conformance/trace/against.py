"""Playing one side of a saved trace against a live peer, and telling where that differs.

Messages are sent as they stand in the trace, in its order; before each one, what had come before
it in the trace is waited for.  Sessions, ids of the peer's requests, states and cursors are the
live ones.  The wires are those of the conformance kit, so that the trace of one binding can be
played over another.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import anyio
import msgspec
from msgspec import Struct, field

from mcpcore.spec.types.base import META_PROTOCOL_VERSION, META_SUBSCRIPTION_ID
from mcpcore.trace.format import TO_SERVER, classify
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Heard, Text
from mcpcore_conformance.trace.book import id_key
from mcpcore_conformance.trace.compare import Memory, differences
from mcpcore_conformance.trace.conversations import Line, script
from mcpcore_conformance.trace.dialogue import Said
from mcpcore_conformance.trace.reading import TraceFile

_MOST = 5
"""Differences told of one message."""
_ACCEPTED = 2
"""The hundreds of the statuses with which a message is taken."""


class Wire(Protocol):
    """A connection to the live peer; those of the kit are some."""

    async def say(self, payload: bytes, *, headers: dict[str, str | None] | None = None) -> int:
        """Send a message; over HTTP its exchange is returned."""

    async def hear(self, within: float) -> Heard | None:
        """What comes next, None if nothing does in that many seconds."""

    async def listen(self, last_event_id: str | None = None) -> int:
        """Open the stream of what belongs to no request."""

    async def cut(self, exchange: int = 0) -> None:
        """Drop an exchange."""


class Options(Struct, frozen=True, kw_only=True):
    """How it is played. Times in seconds."""

    timeout: float = 10.0
    """For an answer."""
    notice: float = 1.0
    """For a notification."""
    shape: bool = False
    """Compare members and types, not values."""
    paced: bool = False
    """Let as much time pass between messages as in the trace."""
    given: dict[str, str] = field(default_factory=dict)
    """What stands in the place of ``<hidden-N>`` in what is sent."""


class Outcome(Struct):
    """What came of it."""

    sent: int = 0
    heard: int = 0
    differences: int = 0


class _Live(Struct):
    """A message of the live peer."""

    kind: str
    message: dict[str, Any]

    @property
    def id(self) -> Any:
        return self.message.get("id")

    def __str__(self) -> str:
        parts = [self.kind, self.message.get("method", "")]
        if "id" in self.message:
            parts.append(f"id={msgspec.json.encode(self.id).decode()}")
        return " ".join(filter(None, parts))


async def play(
    trace: TraceFile,
    wire: Wire,
    *,
    side: str,
    conversation: int = 1,
    options: Options,
    tell: Callable[[str], object],
) -> Outcome:
    """Play a side of a conversation over ``wire``; ``tell`` gets a line for whatever happens."""
    player = _Play(wire, side, options, tell)
    player.memory.values.update(options.given)
    for line in script(trace, conversation):
        await player.step(line)
    await player.leftovers()
    return player.outcome


class _Play:
    def __init__(
        self, wire: Wire, side: str, options: Options, tell: Callable[[str], object]
    ) -> None:
        self.outcome = Outcome()
        self.memory = Memory()
        self._wire = wire
        self._side = side
        self._options = options
        self._tell = tell
        self._inbox: list[_Live] = []
        self._ids: dict[str, Any] = {}
        """Ids of the peer's requests, as in the trace, to the live ones."""
        self._tokens: dict[str, Any] = {}
        """The same for their progress tokens."""
        self._exchanges: dict[int, tuple[int, Said]] = {}
        """Exchanges of the trace to the live ones, and what was sent on them."""
        self._statuses: dict[int, int] = {}
        self._began = anyio.current_time()
        self._gone = ""

    async def step(self, line: Line) -> None:
        """Play one record."""
        if self._options.paced:
            await anyio.sleep_until(self._began + line.time)
        if line.gives_up:
            await self._give_up(line.stream)
            return
        for said in line.said:
            ours = (said.direction == TO_SERVER) is (self._side == "client")
            if not ours:
                await self._expect(said)
            elif said is line.said[0]:
                await self._send(said, line.said)

    # Ours

    async def _send(self, said: Said, messages: Sequence[Said]) -> None:
        payload = said.record.payload
        if self._gone:
            self._differ(said.line, f"{_words(said)} cannot be sent: {self._gone}")
            return
        if said.record.cut:
            self._differ(said.line, "this was cut: it cannot be sent as it was")
        elif said.message is not None:
            changed = [self._changed(each) for each in messages if each.message is not None]
            payload = msgspec.json.encode(changed if said.batch else changed[0])
        if b"<hidden-" in payload:
            places = ", ".join(said.record.redactions)
            self._tell(f"{said.line:>6}  what is hidden is sent as it stands ({places})")
        head = said.exchange.request if said.exchange is not None else None
        mirrored: dict[str, str | None] = {
            name: values[0]
            for name, values in (head.fields if head is not None else {}).items()
            if name.startswith("mcp-param-")
        }
        self._tell(f"{said.line:>6}  {_arrow(said)} {_words(said)}")
        self.outcome.sent += 1
        exchange = await self._wire.say(payload, headers=mirrored or None)
        if said.exchange is not None:
            self._exchanges[said.record.stream] = exchange, said
        if said.method == "notifications/initialized" and self._side == "client":
            await self._taken(exchange)
            await self._wire.listen()

    async def _give_up(self, stream: int) -> None:
        """The client has left an exchange, which in the era without sessions cancels a request."""
        exchange, said = self._exchanges.pop(stream, (0, None))
        if exchange:
            await self._wire.cut(exchange)
        elif said is not None and META_PROTOCOL_VERSION in said.meta:
            params = {"requestId": said.id}
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await self._wire.say(msgspec.json.encode(cancel))

    async def _taken(self, exchange: int) -> None:
        """Wait until the server has let a message in, where it says so."""
        if exchange:
            await self._until(lambda: exchange in self._statuses, self._options.timeout)

    def _changed(self, said: Said) -> dict[str, Any]:
        changed = dict(self.memory.replaced(said.message))
        if said.kind in ("result", "error") and "id" in changed:
            changed["id"] = self._ids.get(id_key(said.id), said.id)
        params = changed.get("params")
        if said.kind == "notification" and isinstance(params, dict):
            changed["params"] = self._renamed(params)
        return changed

    def _renamed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params that speak of a request of the peer, with the live token or id."""
        changed = dict(params)
        if "progressToken" in params:
            token = params["progressToken"]
            changed["progressToken"] = self._tokens.get(id_key(token), token)
        meta = params.get("_meta")
        if isinstance(meta, dict) and META_SUBSCRIPTION_ID in meta:
            own = meta[META_SUBSCRIPTION_ID]
            live = self._ids.get(id_key(own), own)
            changed["_meta"] = {**meta, META_SUBSCRIPTION_ID: live}
        return changed

    def _learn(self, said: Said, live: _Live) -> None:
        self._ids[id_key(said.id)] = live.id
        params = live.message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(meta, dict) and "progressToken" in meta and "progressToken" in said.meta:
            self._tokens[id_key(said.meta["progressToken"])] = meta["progressToken"]

    # Theirs

    async def _expect(self, said: Said) -> None:
        if said.kind in ("result", "error"):
            live = await self._wait(lambda each: self._answers(each, said), self._options.timeout)
        elif said.kind == "request":
            live = await self._wait(lambda each: _is(each, said), self._options.timeout)
            if live is not None:
                self._learn(said, live)
        elif said.kind == "notification":
            live = await self._wait(lambda each: _is(each, said), self._options.notice)
        else:
            return
        if live is None:
            why = f": {self._gone}" if self._gone else ""
            self._differ(said.line, f"{_words(said)} does not come{why}")
            return
        self._tell(f"{said.line:>6}  {_arrow(said)} {live}")
        if said.message is not None:
            self._compare(said, live)

    def _answers(self, live: _Live, said: Said) -> bool:
        if live.kind not in ("result", "error"):
            return False
        return id_key(live.id) == id_key(said.id)  # it is ours, and was sent as it stands

    def _compare(self, said: Said, live: _Live) -> None:
        if live.kind != said.kind:
            self._differ(said.line, f"{live.kind} where the trace has {said.kind}")
        assert said.message is not None  # asked by the caller
        wanted = {name: said.message[name] for name in said.message if name != "id"}
        found = {name: live.message[name] for name in live.message if name != "id"}
        told = list(differences(wanted, found, self.memory, shape=self._options.shape))
        for text in told[:_MOST]:
            self._differ(said.line, text)
        if len(told) > _MOST:
            self._differ(said.line, f"and {len(told) - _MOST} differences more")

    def _differ(self, line: int, text: str) -> None:
        self.outcome.differences += 1
        self._tell(f"{line:>6}  differs: {text}")

    async def leftovers(self) -> None:
        """What comes that the trace does not have."""
        await self._until(lambda: False, self._options.notice / 4)
        for live in self._inbox:
            self._differ(0, f"{live} is not in the trace")

    # Hearing

    async def _wait(self, found: Callable[[_Live], bool], seconds: float) -> _Live | None:
        await self._until(lambda: any(map(found, self._inbox)), seconds)
        live = next(filter(found, self._inbox), None)
        if live is not None:
            self._inbox.remove(live)
        return live

    async def _until(self, found: Callable[[], bool], seconds: float) -> None:
        end = anyio.current_time() + seconds
        while not found() and not self._gone:
            left = end - anyio.current_time()
            heard = await self._wire.hear(left) if left > 0 else None
            if heard is None:
                return
            self._take(heard)

    def _take(self, heard: Heard) -> None:
        if isinstance(heard, Text):
            self._read(heard.data)
        elif isinstance(heard, Head):
            self._statuses[heard.exchange] = heard.status
            if heard.status // 100 != _ACCEPTED:
                self._tell(f"        HTTP status {heard.status}")
        elif isinstance(heard, Gone):
            self._gone = f"the connection is gone ({heard.reason})"
        elif not isinstance(heard, Done | Event):
            self._differ(0, f"what no message is: {heard.detail}")

    def _read(self, data: bytes) -> None:
        try:
            decoded = msgspec.json.decode(data)
        except msgspec.DecodeError:
            self._differ(0, f"what no message is: {data[:60]!r}")
            return
        for each in decoded if isinstance(decoded, list) else [decoded]:
            if isinstance(each, dict):
                self.outcome.heard += 1
                self._inbox.append(_Live(classify(msgspec.json.encode(each))[0], each))


def _is(live: _Live, said: Said) -> bool:
    if live.kind != said.kind or live.message.get("method") != said.method:
        return False
    params = live.message.get("params")
    token = params.get("progressToken") if isinstance(params, dict) else None
    return bool(token == said.params.get("progressToken"))


def _arrow(said: Said) -> str:
    return "->" if said.direction == TO_SERVER else "<-"


def _words(said: Said) -> str:
    parts = [said.kind, said.method]
    if said.id is not None:
        parts.append(f"id={msgspec.json.encode(said.id).decode()}")
    return " ".join(filter(None, parts))
