"""One broken thing in a client, made by editing what passes between it and the kit.

The mirror image of :mod:`conformance.mutants.fault`: a fault sees every message that the client
says and that it is told, every HTTP request, and what it reports of a script.  Makers of common
ones are in :mod:`conformance.mutants.client_faults`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from msgspec import Struct

from mcpcore_conformance.kit.client_wire import Arrival, Asked, Host, HostWire
from mcpcore_conformance.kit.heard import Headers, Text
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import Binding

Value = dict[str, Any]
Edit = Callable[[Value], Value | bytes | None]
"""Takes a message, returns what goes in its place; None: nothing."""


class ClientFault(Struct, kw_only=True, eq=False, dict=True):
    """A fault without any effect; subclasses override what they break.  One is made for a run."""

    requests: dict[Any, Value] = {}
    """Requests of the client, by the type and value of their ids."""
    questions: dict[Any, Value] = {}
    """Requests of the kit."""
    _inventions: list[Value | bytes] = []
    _requests: list[tuple[Asked, bytes]] = []

    def said(self, value: Value) -> Iterable[Value | bytes]:
        """What the kit hears of a message of the client."""
        return (value,)

    def told(self, value: Any, payload: bytes) -> bytes | None:
        """What reaches the client of something that the kit says; None: nothing.

        ``value`` is None if the payload is no JSON.
        """
        return payload

    def asked(self, asked: Asked) -> Iterable[Asked]:
        """What the kit hears of an HTTP request's head; what is invented has a negative number."""
        return (asked,)

    def replied(self, status: int) -> None:
        """The kit answers an HTTP request with a status."""

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        """What reaches the client of the headers of a whole response."""
        return headers

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """What the kit hears of everything else."""
        return (arrival,)

    def report(self, report: Value) -> Value:
        """What the client reports of a script."""
        return report

    # for subclasses

    def invent(self, value: Value | bytes) -> None:
        """Say something in the client's place; to be called in :meth:`told`."""
        self._inventions.append(value)

    def ask(self, asked: Asked, body: bytes = b"") -> None:
        """Send an HTTP request in the client's place; for :meth:`told` and :meth:`headed`."""
        self._requests.append((asked, body))

    def method_of(self, value: Value) -> str:
        """The method of a message, or of the request that it answers."""
        if "method" in value:
            return str(value["method"])
        key = _key(value)
        found = self.questions.get(key) or self.requests.get(key)
        return "" if found is None else str(found["method"])

    def remember(self, value: Any, by: dict[Any, Value]) -> None:
        """Keep a request, for :meth:`method_of`."""
        if isinstance(value, dict) and "method" in value and "id" in value:
            by[_key(value)] = value

    def take_inventions(self) -> list[Value | bytes]:
        """What has been said in the client's place since the last time."""
        taken, self._inventions = self._inventions, []
        return taken

    def take_requests(self) -> list[tuple[Asked, bytes]]:
        """HTTP requests that were sent in the client's place since the last time."""
        taken, self._requests = self._requests, []
        return taken


ClientBreaks = Callable[[], ClientFault]
"""Makes the fault of a mutant, one for each run."""


def _key(value: Value) -> Any:
    identifier = value.get("id")
    return type(identifier), identifier if isinstance(identifier, (str, int)) else None


class FaultyHostWire:
    """A wire of a client behind a fault; what is not about messages goes straight through."""

    binding: Binding
    number: int

    def __init__(
        self,
        wire: HostWire,
        fault: ClientFault,
        invent: "Callable[[FaultyHostWire, Value | bytes], None]",
        ask: "Callable[[FaultyHostWire, Asked, bytes], None]",
    ) -> None:
        self._wire: Any = wire
        self._fault = fault
        self._invent = invent
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def _edited(self, payload: bytes) -> bytes | None:
        value = _decoded(payload)
        for each in value if isinstance(value, list) else [value]:
            self._fault.remember(each, self._fault.questions)
        return self._told(value, payload)

    def _told(self, value: Any, payload: bytes) -> bytes | None:
        reaches = self._fault.told(value, payload)
        for invention in self._fault.take_inventions():
            self._invent(self, invention)
        self._send()
        return reaches

    def _send(self) -> None:
        for asked, body in self._fault.take_requests():
            self._ask(self, asked, body)

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """Say what the fault makes of it."""
        reaches = self._edited(payload)
        return exchange < 0 or reaches is None or bool(await self._wire.say(reaches, exchange))

    async def finish(self) -> None:
        """As the wire does it."""
        await self._wire.finish()

    async def cut(self, exchange: int = 0) -> None:
        """As the wire does it; invented exchanges are nothing that could be dropped."""
        if exchange >= 0:
            await self._wire.cut(exchange)

    async def reply(
        self, exchange: int, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> bool:
        """Answer with what the fault makes of the body."""
        self._fault.replied(status)
        headers = self._fault.headed(exchange, status, [*headers])
        self._send()
        reaches = self._edited(body) if body else body
        if exchange < 0 or reaches is None:
            return True
        return bool(await self._wire.reply(exchange, status, headers, reaches))

    async def event(self, exchange: int, data: bytes | None = None, **rest: Any) -> bool:
        """Send what the fault makes of an event's data."""
        reaches = data if data is None else self._edited(data)
        if exchange < 0 or (data is not None and reaches is None):
            return True
        return bool(await self._wire.event(exchange, reaches, **rest))

    async def write(self, *arguments: Any) -> bool:
        """Pour bytes (HTTP: on an exchange), as far as the fault lets them through."""
        *exchange, data = arguments
        reaches = self._told(None, data)
        if reaches is None or (exchange and exchange[0] < 0):
            return True
        return bool(await self._wire.write(*exchange, reaches))

    async def raw(self, *arguments: Any, **rest: Any) -> bool:
        """As :meth:`write`, in place of a response or of a frame."""
        *exchange, data = arguments
        reaches = self._told(None, data)
        if reaches is None or (exchange and exchange[0] < 0):
            return True
        return bool(await self._wire.raw(*exchange, reaches, **rest))

    async def stderr(self, data: bytes) -> bool:
        """Write to standard error, as far as the fault lets it through."""
        reaches = self._told(None, data)
        return reaches is None or bool(await self._wire.stderr(reaches))

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> bool:
        """Send a frame, as far as the fault lets it through."""
        reaches = self._told(None, payload)
        return reaches is None or bool(await self._wire.frame(opcode, reaches, fin=fin))

    async def stream(
        self, exchange: int, headers: Sequence[tuple[str, str]] = (), status: int = 200
    ) -> bool:
        """As the wire does it."""
        return exchange < 0 or bool(await self._wire.stream(exchange, headers, status))


class FaultyHost:
    """A host whose clients are all behind one fault; the rest goes straight through."""

    def __init__(self, host: Host, fault: ClientFault) -> None:
        self.settings = host.settings
        self._host = host
        self._fault = fault
        self._wires: dict[int, FaultyHostWire] = {}
        self._ready: list[tuple[HostWire | None, Arrival]] = []
        self._invented = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    async def hear(self, within: float) -> tuple[HostWire | None, Arrival] | None:
        """Return what the fault makes of what comes."""
        while not self._ready:
            heard = await self._host.hear(within)
            if heard is None and not self._ready:
                return None
            if heard is None:
                break
            await self._take(*heard)
        return self._ready.pop(0)

    async def _take(self, wire: HostWire | None, arrival: Arrival) -> None:
        faulty = None
        if wire is not None:
            faulty = self._wires.get(wire.number)
            if faulty is None:
                faulty = self._wires[wire.number] = FaultyHostWire(
                    wire, self._fault, self._invent, self._ask
                )
        if isinstance(arrival, Asked):
            self._ready += [(faulty, each) for each in self._fault.asked(arrival)]
        elif isinstance(arrival, Text) and faulty is not None:
            await self._message(faulty, arrival)
        else:
            self._ready += [(faulty, each) for each in self._fault.other(arrival)]

    async def _message(self, wire: FaultyHostWire, text: Text) -> None:
        value = _decoded(text.data)
        if isinstance(value, list):
            edited = [part for each in value for part in self._said(each)]
            self._ready.append((wire, Text(encode(edited), text.exchange)))
            return
        if not isinstance(value, dict):
            self._ready += [(wire, each) for each in self._fault.other(text)]
            return
        parts = self._said(value)
        if not parts and wire.binding is Binding.HTTP and "method" not in value:
            await wire.reply(text.exchange, 202)
        # the exchange is that of the client's own message, or of what takes its place
        place = next((n for n, part in enumerate(parts) if part is value), len(parts) - 1)
        for number, part in enumerate(parts):
            if number == place:
                data = part if isinstance(part, bytes) else encode(part)
                self._ready.append((wire, Text(data, text.exchange)))
            else:
                self._invent(wire, part)

    def _said(self, value: Any) -> list[Value | bytes]:
        if not isinstance(value, dict):
            return [encode(value)]
        self._fault.remember(value, self._fault.requests)
        return [*self._fault.said(value)]

    def _ask(self, wire: FaultyHostWire, asked: Asked, body: bytes) -> None:
        self._invented -= 1
        asked.exchange = self._invented
        if body:
            asked.headers = [*asked.headers, ("content-length", str(len(body)))]
        self._ready.append((wire, asked))
        if body:
            self._ready.append((wire, Text(body, asked.exchange)))

    def _invent(self, wire: FaultyHostWire, value: Value | bytes) -> None:
        self._invented -= 1
        exchange = self._invented if wire.binding is Binding.HTTP else 0
        data = value if isinstance(value, bytes) else encode(value)
        self._ready.append((wire, Text(data, exchange)))


class Faulty:
    """Puts a new instance of a fault between the kit and the client."""

    def __init__(self, make: ClientBreaks) -> None:
        self._fault = make()

    def host(self, host: Host) -> Host:
        """See :class:`~mcpcore_conformance.kit.client_play.Between`."""
        return cast("Host", FaultyHost(host, self._fault))

    def report(self, data: bytes | None) -> bytes | None:
        """See :class:`~mcpcore_conformance.kit.client_play.Between`."""
        value = None if data is None else _decoded(data)
        return data if not isinstance(value, dict) else encode(self._fault.report(value))


def behind(make: ClientBreaks) -> Faulty:
    """A fault as ``play_client`` takes it."""
    return Faulty(make)


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
