"""One broken thing in a client, made by editing what passes between it and the kit.

The mirror image of :mod:`conformance.mutants.faults`: a fault sees every message that the client
says and that it is told, every HTTP request, and what it reports of a script.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from conformance.kit.client_wire import Arrival, Asked, Ended, Host, HostWire, HttpHostWire
from conformance.kit.heard import Headers, Text
from conformance.kit.log import Log
from conformance.kit.messages import encode
from conformance.kit.model import Binding

Value = dict[str, Any]
Edit = Callable[[Value], Value | bytes | None]
"""Takes a message, returns what goes in its place; None: nothing."""


class ClientFault:
    """A fault without any effect; subclasses override what they break.  One is made for a run."""

    def __init__(self) -> None:
        self.requests: dict[Any, Value] = {}
        """Requests of the client, by the type and value of their ids."""
        self.questions: dict[Any, Value] = {}
        """Requests of the kit."""
        self._inventions: list[Value | bytes] = []

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

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """What the kit hears of everything else."""
        return (arrival,)

    def report(self, report: Value) -> Value:
        """What the client reports of a script."""
        return report

    # for subclasses

    def invent(self, value: Value | bytes) -> None:
        """Say something in the client's place, before what it says itself next."""
        self._inventions.append(value)

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


def _key(value: Value) -> Any:
    identifier = value.get("id")
    return type(identifier), identifier if isinstance(identifier, (str, int)) else None


class FaultyHostWire:
    """A wire of a client behind a fault; what is not about messages goes straight through."""

    def __init__(self, wire: HostWire, fault: ClientFault) -> None:
        self._wire = wire
        self._fault = fault

    @property
    def binding(self) -> Binding:
        """Of the wire."""
        return self._wire.binding

    @property
    def number(self) -> int:
        """Of the wire."""
        return self._wire.number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def _edited(self, payload: bytes) -> bytes | None:
        value = _decoded(payload)
        self._fault.remember(value, self._fault.questions)
        return self._fault.told(value, payload)

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """Say what the fault makes of it."""
        reaches = self._edited(payload)
        return exchange < 0 or reaches is None or await self._wire.say(reaches, exchange)

    async def finish(self) -> None:
        """As the wire does it."""
        await self._wire.finish()

    async def cut(self, exchange: int = 0) -> None:
        """As the wire does it; invented exchanges are nothing that could be dropped."""
        if exchange >= 0:
            await self._wire.cut(exchange)

    # of HTTP

    @property
    def _http(self) -> HttpHostWire:
        wire: Any = self._wire
        found: HttpHostWire = wire
        return found

    async def reply(
        self,
        exchange: int,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> bool:
        """Answer with what the fault makes of the body."""
        reaches = self._edited(body) if body else body
        if exchange < 0 or reaches is None:
            return True
        return await self._http.reply(exchange, status, headers, reaches)

    async def event(self, exchange: int, data: bytes | None = None, **rest: Any) -> bool:
        """Send what the fault makes of an event's data."""
        reaches = data if data is None else self._edited(data)
        if exchange < 0 or (data is not None and reaches is None):
            return True
        return await self._http.event(exchange, reaches, **rest)

    async def write(self, *arguments: Any) -> bool:
        """Pour bytes (HTTP: on an exchange), as far as the fault lets them through."""
        *exchange, data = arguments
        reaches = self._fault.told(None, data)
        if reaches is None or (exchange and exchange[0] < 0):
            return True
        wire: Any = self._wire
        return bool(await wire.write(*exchange, reaches))

    async def raw(self, *arguments: Any, **rest: Any) -> bool:
        """As :meth:`write`, in place of a response or of a frame."""
        *exchange, data = arguments
        reaches = self._fault.told(None, data)
        if reaches is None or (exchange and exchange[0] < 0):
            return True
        wire: Any = self._wire
        return bool(await wire.raw(*exchange, reaches, **rest))

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> bool:
        """Send a frame, as far as the fault lets it through."""
        reaches = self._fault.told(None, payload)
        wire: Any = self._wire
        return reaches is None or bool(await wire.frame(opcode, reaches, fin=fin))

    async def stream(
        self, exchange: int, headers: Sequence[tuple[str, str]] = (), status: int = 200
    ) -> bool:
        """As the wire does it."""
        return exchange < 0 or await self._http.stream(exchange, headers, status)


class FaultyHost:
    """A host whose clients are all behind one fault."""

    def __init__(self, host: Host, fault: ClientFault) -> None:
        self._host = host
        self._fault = fault
        self._wires: dict[int, FaultyHostWire] = {}
        self._ready: list[tuple[HostWire | None, Arrival]] = []
        self._invented = 0

    @property
    def log(self) -> Log:
        """Of the host."""
        return self._host.log

    @property
    def binding(self) -> Binding:
        """Of the host."""
        return self._host.binding

    @property
    def address(self) -> str:
        """Of the host."""
        return self._host.address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def context(self) -> Mapping[str, Any]:
        """Of the host."""
        return self._host.context()

    def now(self) -> float:
        """Of the host."""
        return self._host.now()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await self._host.pause(seconds)

    def put(self, wire: HostWire | None, arrival: Arrival) -> None:
        """As the host does it."""
        self._host.put(wire, arrival)

    async def drained(self, within: float) -> None:
        """As the host does it."""
        await self._host.drained(within)

    async def hear(self, within: float) -> tuple[HostWire | None, Arrival] | None:
        """Return what the fault makes of what comes."""
        while not self._ready:
            heard = await self._host.hear(within)
            if heard is None:
                return None
            await self._take(*heard)
        return self._ready.pop(0)

    async def _take(self, wire: HostWire | None, arrival: Arrival) -> None:
        faulty = None
        if wire is not None:
            faulty = self._wires.setdefault(wire.number, FaultyHostWire(wire, self._fault))
        if isinstance(arrival, Asked):
            self._ready += [(faulty, each) for each in self._fault.asked(arrival)]
            return
        value = _decoded(arrival.data) if isinstance(arrival, Text) else None
        if not isinstance(arrival, Text) or not isinstance(value, dict):
            self._ready += [(faulty, each) for each in self._fault.other(arrival)]
            return
        self._fault.remember(value, self._fault.requests)
        parts = [*self._fault.said(value)]
        for invention in self._fault.take_inventions():
            self._invented -= 1
            self._ready.append((faulty, self._text(invention, arrival, self._invented)))
        if not parts and wire is not None and arrival.exchange and "id" not in value:
            http: Any = wire
            await http.reply(arrival.exchange, 202)
        taken = False
        for number, part in enumerate(parts):
            # the exchange is that of the client's own message, or of what takes its place
            own = part is value or (not taken and number == len(parts) - 1)
            self._invented -= 1
            exchange = arrival.exchange if own and not taken else self._invented
            taken = taken or own
            self._ready.append((faulty, self._text(part, arrival, exchange)))

    @staticmethod
    def _text(value: Value | bytes, like: Text, exchange: int) -> Text:
        data = value if isinstance(value, bytes) else encode(value)
        return Text(data, exchange if like.exchange else 0, at=like.at)


class Faulty:
    """Puts a new instance of a fault between the kit and the client."""

    def __init__(self, make: Callable[[], ClientFault]) -> None:
        self._fault = make()

    def host(self, host: Host) -> Host:
        """See :class:`~conformance.kit.client_play.Between`."""
        return FaultyHost(host, self._fault)

    def report(self, data: bytes | None) -> bytes | None:
        """See :class:`~conformance.kit.client_play.Between`."""
        value = None if data is None else _decoded(data)
        return data if not isinstance(value, dict) else encode(self._fault.report(value))


def behind(make: Callable[[], ClientFault]) -> Faulty:
    """A fault as ``play_client`` takes it."""
    return Faulty(make)


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


# Faults that need no class of their own


class _Said(ClientFault):
    def __init__(self, method: str, edit: Edit, *, answers: bool = False, place: int = 0) -> None:
        super().__init__()
        self._method, self._edit, self._answers = method, edit, answers
        self._place = place
        """Of what is made: before the message, instead of it, or after it."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        concerned = ("method" not in value) is self._answers
        if not concerned or self._method not in ("", self.method_of(value)):
            return (value,)
        edited = self._edit(value)
        made = () if edited is None else (edited,)
        if self._place < 0:
            return (*made, value)
        return (value, *made) if self._place else made


def says(method: str, edit: Edit) -> Callable[[], ClientFault]:
    """Edit the client's own requests and notifications of a method; empty: of every method."""
    return lambda: _Said(method, edit)


def answers(method: str, edit: Edit) -> Callable[[], ClientFault]:
    """Edit the client's answers to a method; empty: to every method."""
    return lambda: _Said(method, edit, answers=True)


def adds(method: str, edit: Edit) -> Callable[[], ClientFault]:
    """After each message of a method, say what ``edit`` makes of it as well."""
    return lambda: _Said(method, edit, place=1)


def precedes(method: str, edit: Edit) -> Callable[[], ClientFault]:
    """Before each message of a method, say what ``edit`` makes of it as well."""
    return lambda: _Said(method, edit, place=-1)


def adds_to_answers(method: str, edit: Edit) -> Callable[[], ClientFault]:
    """After each answer to a method, say what ``edit`` makes of it as well."""
    return lambda: _Said(method, edit, answers=True, place=1)


def never_says(method: str) -> Callable[[], ClientFault]:
    """Leave out the client's notifications of a method, or its answers to it."""

    class Silent(ClientFault):
        def said(self, value: Value) -> Iterable[Value | bytes]:
            silent = ("id" not in value or "method" not in value) and self.method_of(value)
            return () if silent == method else (value,)

    return Silent


def params_of(method: str, edit: Callable[[Value], Value]) -> Callable[[], ClientFault]:
    """Edit the params of the client's requests and notifications of a method; empty: of all."""
    return says(method, lambda value: {**value, "params": edit({**value.get("params", {})})})


class _First(ClientFault):
    def __init__(self, message: Callable[[Value], Value | bytes]) -> None:
        super().__init__()
        self._message: Callable[[Value], Value | bytes] | None = message

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if self._message is not None:
            self.invent(self._message(value))
            self._message = None
        return (value,)


def first(message: Callable[[Value], Value | bytes]) -> Callable[[], ClientFault]:
    """Say something before the client says anything, made from what it says first."""
    return lambda: _First(message)


class _Told(ClientFault):
    def __init__(self, concerns: Callable[[Value], bool], edit: Edit) -> None:
        super().__init__()
        self._concerns, self._edit = concerns, edit

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, dict) or not self._concerns(value):
            return payload
        edited = self._edit(value)
        return edited if edited is None or isinstance(edited, bytes) else encode(edited)


def repaired(concerns: Callable[[Value], bool], edit: Edit) -> Callable[[], ClientFault]:
    """Edit what the kit says on its way to the client, which so does not see what is wrong."""
    return lambda: _Told(concerns, edit)


def deaf_to(concerns: Callable[[Value], bool]) -> Callable[[], ClientFault]:
    """Keep something that the kit says from the client."""
    return repaired(concerns, lambda value: None)


class _Heads(ClientFault):
    def __init__(self, edit: Callable[[Asked], Iterable[Asked]]) -> None:
        super().__init__()
        self._edit_head = edit

    def asked(self, asked: Asked) -> Iterable[Asked]:
        return self._edit_head(asked)


def heads(edit: Callable[[Asked], Iterable[Asked]]) -> Callable[[], ClientFault]:
    """Edit the heads of HTTP requests and upgrades, leave them out or add some."""
    return lambda: _Heads(edit)


def also_asks(method: str, target: str, **headers: str) -> Callable[[], ClientFault]:
    """Beside every POST send another request, without a body."""

    def add(asked: Asked) -> Iterable[Asked]:
        if asked.method != "POST":
            return (asked,)
        made = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return asked, Asked(-asked.exchange - 1000, method, target, made)

    return heads(add)


def header(
    name: str, edit: Callable[[str], str | None], method: str = ""
) -> Callable[[], ClientFault]:
    """Edit one header of HTTP requests (of an HTTP method), where it is; None leaves it out."""

    def change(asked: Asked) -> Iterable[Asked]:
        if method in ("", asked.method):
            made: Headers = []
            for each, value in asked.headers:
                kept = edit(value) if each == name else value
                if kept is not None:
                    made.append((each, kept))
            asked.headers = made
        return (asked,)

    return heads(change)


def without_header(name: str, method: str = "") -> Callable[[], ClientFault]:
    """Leave out one header of HTTP requests."""
    return header(name, lambda value: None, method)


def with_header(name: str, value: str, method: str = "") -> Callable[[], ClientFault]:
    """Add a header to HTTP requests."""

    def change(asked: Asked) -> Iterable[Asked]:
        if method in ("", asked.method):
            asked.headers = [*asked.headers, (name, value)]
        return (asked,)

    return heads(change)


class _Reports(ClientFault):
    def __init__(self, edit: Callable[[Value], Value]) -> None:
        super().__init__()
        self._edit_report = edit

    def report(self, report: Value) -> Value:
        return self._edit_report(report)


def reports(step: int, outcome: Value) -> Callable[[], ClientFault]:
    """Report another outcome of one step; -1: of connecting."""

    def change(report: Value) -> Value:
        if step < 0:
            return {**report, "opened": outcome}
        steps = [*report.get("steps", [])]
        steps[step : step + 1] = [outcome]
        return {**report, "steps": steps}

    return lambda: _Reports(change)


class _GivesUp(ClientFault):
    def __init__(self, concerns: Callable[[Any, bytes], bool]) -> None:
        super().__init__()
        self._concerns = concerns
        self._given_up = False

    def told(self, value: Any, payload: bytes) -> bytes | None:
        self._given_up = self._given_up or self._concerns(value, payload)
        return payload

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        ended = isinstance(arrival, Ended) and self._given_up
        return (Ended(1),) if ended else (arrival,)

    def report(self, report: Value) -> Value:
        if not self._given_up:
            return report
        failed = {"failure": "invalid", "message": "what the server sent"}
        return {**report, "steps": [failed for _ in report.get("steps", [])]}


def gives_up(concerns: Callable[[Any, bytes], bool]) -> Callable[[], ClientFault]:
    """Fail when the kit says something that concerns it: the message, or None, and its bytes."""
    return lambda: _GivesUp(concerns)


class _Exits(ClientFault):
    def __init__(self, code: int | None) -> None:
        super().__init__()
        self._code = code

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return (Ended(self._code),) if isinstance(arrival, Ended) else (arrival,)


def exits(code: int) -> Callable[[], ClientFault]:
    """End with another status."""
    return lambda: _Exits(code)
