"""Checks once faults have stopped: calls, news, changes, questions, ends."""

from typing import TYPE_CHECKING, Any

from mcpcore.http.client.client import HttpClient
from tests.faults.holdings import quiet
from tests.simulation.accounts import ACTIVE
from tests.simulation.common import TOOLS
from tests.simulation.rules import demand
from tests.simulation.work import URIS, Script, Work, draw_script

if TYPE_CHECKING:
    from tests.simulation.play import Performance

LENGTH = 60.0
"""Seconds in which all of it is done."""
_POLITE, _NEVER, _HEARS, _CHANGES = 101, 102, 103, 104
"""Numbers of the pieces of work; who listens by one that is odd hears of the list of tools, too."""
_CALLS = _POLITE, _NEVER, _CHANGES
_SCRIPT: Script = [
    [0.0, "uri"],
    [0.0, "tools"],
    [0.1, "poll"],
    [1.0, "ask roots yes"],
    [0.1, "answer 0"],
]
_APART = 2.0
"""Seconds between what clients do, so that there is room where limits are low."""
_URI = URIS[_CHANGES % len(URIS)]
_NOT_SAID = "what is told arrives, once faults have stopped"


class Coda:
    """The last work of all clients, and what must have come of it."""

    def __init__(self, performance: "Performance") -> None:
        self._books = performance.books
        self._world = performance.world
        self._perfect = performance.perfect
        self._servers = [server for server in performance.scenery.servers if server.up]
        self._clients = [
            performance.scenery.client(slot) for slot in range(performance.scenery.size)
        ]

    def main_part(self) -> None:
        """Demand what must have come about until now: all of it, if nothing went wrong."""
        for client in self._clients:
            self._books.all_ended(client.number)
            if self._perfect and hears(client):
                self._books.common.changes_told(client.number)
        for server in self._servers:
            for trip in getattr(server, "trips", {}).values():
                trip.silence.look(self._world.time)
        for host in (*self._clients, *self._servers):
            for machine in host.machines:
                quiet(machine, host.name)

    def begin(self) -> None:
        """Let every client do its work, and every server tell its news."""
        for slot, client in enumerate(self._clients):
            chance = self._world.chance(f"coda/{slot}")
            self._call(client, _POLITE, draw_script(chance, polite=True))
            apart = _APART * slot
            client.after(12.0 + apart, self._listen, client)
            client.after(20.0 + apart, self._call, client, _NEVER, [[0.0, "never"]], 1.0)
            client.after(30.0 + apart, self._call, client, _CHANGES, _SCRIPT)
        for server in self._servers:
            server.after(44.0, server.app.last_news)

    def _call(
        self, client: Any, number: int, script: Script, cancel_after: float | None = None
    ) -> None:
        work = Work(
            at=0.0,
            kind="call",
            number=number,
            script=script,
            progress=True,
            log=True,
            cancel_after=cancel_after,
        )
        self._do(client, work, "ResultReceived" if cancel_after is None else "CANCELLED")

    def _listen(self, client: Any) -> None:
        modern = client.machine.revision.modern
        kind, timeout = ("listen", None) if modern else ("subscribe", 20.0)
        work = Work(at=0.0, kind=kind, number=_HEARS, uri=_URI, timeout=timeout)
        self._do(client, work, None if modern else "ResultReceived")

    def _do(self, client: Any, work: Work, wanted: str | None) -> None:
        demand(client.app.do(work, wanted) is not None, "whoever lives can ask", client.name)

    def check(self) -> None:
        """Demand that all of it has come about."""
        books = self._books
        books.common.all_told()
        for client in self._clients:
            asks = books.asks[client.number]
            done = all(ask.ended for ask in asks.values() if ask.number in _CALLS)
            demand(done, "once faults stop every request ends", client.name)
            runs = [run for run in books.runs.values() if run.client == client.number]
            never = [run for run in runs if run.ask == _NEVER]
            over = never and all(run.state != ACTIVE for run in never)
            demand(bool(over), _NOT_SAID, client.name, "a cancellation")
            self._ready(client)
            self._heard(client)
            asked = [run.number for run in runs if run.ask == _CHANGES]
            answers = [
                question.ended
                for question in books.questions.values()
                if int(question.tag.split(":")[0]) in asked
            ]
            if client.machine.revision.modern:
                demand(len(asked) > 1, _NOT_SAID, client.name, "an answer to a question")
            else:
                fits = answers[-1:] == ["ResultReceived"]
                demand(fits, _NOT_SAID, client.name, "an answer to a question", answers)

    def _ready(self, client: Any) -> None:
        """The server of a session has heard that its client is ready."""
        legacy = not client.machine.revision.modern
        if legacy and isinstance(client.machine, HttpClient):
            ready = client.session in client.scene.streams.confirmed
            demand(ready, "a server learns that its client is ready", client.name)

    def _heard(self, client: Any) -> None:
        common, modern = self._books.common, client.machine.revision.modern
        if not hears(client):
            return
        for what, made in ((_URI, common.changes), (TOOLS, common.listed)):
            heard_of = common.heard_of(client.number, what)
            demand(heard_of == made, _NOT_SAID, client.name, "a change", what, heard_of, made)
        if modern:
            return
        for server, last in common.last_news.items():
            heard = common.heard_all(client.number, server)
            demand(last in heard, _NOT_SAID, client.name, "news for all", server, last)


def hears(client: Any) -> bool:
    """There is a stream that brings it what concerns no request of its own."""
    machine = client.machine
    if not isinstance(machine, HttpClient) or machine.settings.get_stream:
        return True
    return machine.revision is not None and machine.revision.modern
