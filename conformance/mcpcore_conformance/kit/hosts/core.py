"""A client of this process that never waits, met on virtual time: nothing takes any time at all.

What is said to the client are calls, and so is what the client says; whoever waits lets time pass
for both, from one deadline of the client to the next.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.client_wire import Arrival, Came, Ended, HostSettings, HostWire
from mcpcore_conformance.kit.heard import Gone, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding


class End(Protocol):
    """One end of a connection, for who is at the other."""

    def receive(self, data: bytes) -> None:
        """Take bytes: lines, or pieces of them."""

    def close(self) -> None:
        """Know that nothing more comes, and that nothing is heard any more."""


class Door(Protocol):
    """What a client is given of the kit."""

    def now(self) -> float:
        """Seconds of virtual time."""

    def connect(self, client: End) -> End:
        """Open a connection; returns the kit's end of it."""

    def leave(self, code: int) -> None:
        """Say that the client has ended, with what would be the exit status of a program."""


class VirtualClient(Protocol):
    """A client of this process; it does what it has to do within the calls of its methods."""

    def start(self, scenario: str, revision: str, context: Mapping[str, Any]) -> None:
        """Begin with a scenario, as in docs/how-to/conformance-clients.md."""

    def deadline(self) -> float | None:
        """When :meth:`pass_time` is next needed; None: not before it hears something."""

    def pass_time(self) -> None:
        """Do what is due now."""

    def report(self) -> bytes | None:
        """What was to be written of the scenario ``script``, once it is."""

    def said(self) -> str:
        """What a program would have written to its standard error."""

    def stop(self) -> None:
        """Be gone at once."""


MakeClient = Callable[[Door], VirtualClient]
"""Makes a client, which is started once."""


class CoreWire:
    """One connection of a client."""

    binding = Binding.CORE

    def __init__(self, host: "CoreHost", client: End) -> None:
        self.number = host.log.number()
        self._host = host
        self._client = client
        self._over = False
        self._rest = b""

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """See :class:`~mcpcore_conformance.kit.client_wire.HostWire`."""
        return await self.write(payload + b"\n")

    async def write(self, data: bytes) -> bool:
        """Send bytes as they are."""
        self._host.log.add(True, self.number, "message", data)
        if self._over:
            return False
        self._client.receive(data)
        return True

    async def finish(self) -> None:
        """Close the connection."""
        await self.cut()

    async def cut(self, exchange: int = 0) -> None:
        """Close the connection."""
        self._host.log.add(True, self.number, "close", b"")
        if not self._over:
            self.close()
            self._client.close()

    # What the client says

    def receive(self, data: bytes) -> None:
        """Hear lines; blank ones are no messages."""
        if self._over:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)

    def close(self) -> None:
        """Hear that the client has left."""
        if not self._over:
            if self._rest:
                self._line(self._rest)
            self._over = True
            self._host.log.add(False, self.number, "close", b"")
            self._host.put(self, Gone("the connection is closed"))

    def _line(self, line: bytes) -> None:
        self._host.log.add(False, self.number, "message", line + b"\n")
        if line.strip(b"\r"):
            self._host.put(self, Text(line))


class CoreHost:
    """Takes the connections of one client at a time, and is the clock of both sides."""

    binding = Binding.CORE
    address = "core:"
    tasks: Any = None

    def __init__(self, settings: HostSettings | None = None) -> None:
        self.settings = settings or HostSettings()
        self._time = 0.0
        self.log = Log(self.now)
        self.client: VirtualClient | None = None
        """The one that runs."""
        self._queue: deque[tuple[HostWire | None, Arrival]] = deque()
        self._wires: list[CoreWire] = []

    async def __aenter__(self) -> Self:
        """There is nothing to get ready."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to end: who has made a client stops it."""

    def context(self) -> Mapping[str, Any]:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        return {}

    def now(self) -> float:
        """Seconds of virtual time."""
        return self._time

    async def pause(self, seconds: float) -> None:
        """Let virtual time pass."""
        self._pass_until(self._time + seconds)

    def put(self, wire: HostWire | None, arrival: Arrival) -> None:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        arrival.at = self._time
        self._queue.append((wire, arrival))

    async def hear(self, within: float) -> tuple[HostWire | None, Arrival] | None:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        if not self._queue:
            self._pass_until(self._time + within, hearing=True)
        return self._queue.popleft() if self._queue else None

    async def drained(self, within: float) -> None:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`: what was said has been heard."""

    def connect(self, client: End) -> CoreWire:
        """See :class:`Door`."""
        wire = CoreWire(self, client)
        self._wires.append(wire)
        self.put(wire, Came())
        return wire

    def leave(self, code: int) -> None:
        """See :class:`Door`."""
        self.client = None
        for wire in self._wires:
            wire.close()
        self._wires.clear()
        self.put(None, Ended(code))

    def _pass_until(self, time: float, *, hearing: bool = False) -> None:
        """Let time pass, event after event, until then, or until something is heard."""
        while not (hearing and self._queue):
            due = None if self.client is None else self.client.deadline()
            if self.client is None or due is None or due > time:
                self._time = time
                return
            self._time = max(self._time, due)
            self.client.pass_time()


class CoreRun:
    """The runs of a client in one case, one after another; ``make`` makes each of them."""

    def __init__(self, make: MakeClient, host: CoreHost, revision: Revision) -> None:
        self._make = make
        self._host = host
        self._revision = revision
        self._client: VirtualClient | None = None

    async def start(self, tasks: Any, scenario: str, context: Mapping[str, Any]) -> None:
        """Begin with a scenario."""
        self._client = self._host.client = self._make(self._host)
        self._client.start(scenario, self._revision.name, {**self._host.context(), **context})

    @property
    def errors(self) -> bytes:
        """What it would have written to its standard error."""
        return b"" if self._client is None else self._client.said().encode()

    def report(self) -> bytes | None:
        """What it has written."""
        return None if self._client is None else self._client.report()

    def said(self) -> str:
        """The last of its errors."""
        return self.errors.decode()[-400:].strip()

    def signal(self, number: int) -> None:
        """End it, as any signal does that is not handled."""
        client = self._host.client
        if client is not None:
            self._host.leave(-number)
            client.stop()

    async def aclose(self) -> None:
        """Leave nothing of it behind."""
        if self._client is not None:
            self._client.stop()
