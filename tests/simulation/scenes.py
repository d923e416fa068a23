"""Hosts of each scenario, with settings that chance decides."""

from collections.abc import Callable
from random import Random
from typing import Any

from mcpcore import Limits, Negotiation, ReconnectSettings
from mcpcore.engine.events import RequestReceived
from mcpcore.http.settings import HttpClientSettings, HttpSettings, SsePaths, SseUse
from mcpcore.spec.revisions import LEGACY, MODERN, REVISIONS, Revision
from mcpcore_transports.stores.base import StoreSettings
from tests.engine.bench import client_config, server_config
from tests.http.stored.cluster import make_stored
from tests.http.support import make_client, make_server
from tests.simulation.client_app import ClientApp
from tests.simulation.hosts import Scene
from tests.simulation.http_hosts import HttpClientHost, HttpServerHost
from tests.simulation.line_hosts import LineClient, LineServer, Link
from tests.simulation.network import WINDOW, Weather
from tests.simulation.server_app import ServerApp
from tests.simulation.shared_store import SharedStore
from tests.simulation.store_hosts import StoredServerHost
from tests.simulation.wires import SESSION_UNUSED
from tests.simulation.work import MAX_TIMEOUT, TIMEOUT

_BACK = ReconnectSettings(attempts=8, first_delay=0.5, max_delay=15.0)


def _limits(*, tight: bool) -> Limits:
    most = 6 if tight else 1024
    queued = 3000 if tight else 1 << 20
    return Limits(request_timeout=TIMEOUT, max_timeout=MAX_TIMEOUT, in_flight=most, queued=queued)


def _revisions(chance: Random, *, http: bool) -> tuple[tuple[Revision, ...], Negotiation]:
    """What a client speaks, and how it finds out what its server does."""
    rows = [row for row in REVISIONS if not http or row.modern or row.streamable_http]
    how = chance.randrange(4)
    if how == 0:
        return tuple(REVISIONS), Negotiation.AUTO
    if how == 1:
        return MODERN, Negotiation.AUTO
    row = chance.choice([row for row in rows if not row.modern])
    return (row,), Negotiation.LEGACY


def _store_settings(*, tight: bool) -> StoreSettings:
    if not tight:
        return StoreSettings()
    return StoreSettings(events=40, event_bytes=12_000, queue_bytes=3000)


class Scenery:
    """The hosts of one run.  Each client stands in a slot, where another may follow it."""

    def __init__(self, scene: Scene, size: int, *, tight: bool) -> None:
        self.scene = scene
        self.size = size
        self.tight = tight
        self.forgetful = tight or scene.world.chance("replay").random() < 0.25
        """Servers keep so few events that those who come back may ask for what is gone."""
        self.weathers = [Weather() for _ in range(size)]
        windows = scene.world.chance("windows")
        for weather in self.weathers:
            usual = windows.choice((WINDOW, WINDOW, 2000, 20_000))
            weather.usual_window = weather.window = 600 if tight else usual
        self.batching: set[int] = set()
        """Slots of clients that send batches, where their revision has them."""
        self.servers: list[Any] = []
        self.shared: SharedStore | None = None
        """What the servers share."""
        self.clients: list[Any] = []
        """All that there ever were."""
        self._slots: list[Any] = []
        self._make: Callable[[int, int], Any] = lambda slot, number: None

    def populate(self, make: Callable[[int, int], Any]) -> None:
        """Make the first client of each slot; ``make`` takes slot and number."""
        self._make = make
        for slot in range(self.size):
            self.clients.append(make(slot, slot + 1))
            self._slots.append(self.clients[-1])

    def client(self, slot: int) -> Any:
        """Who is there now."""
        return self._slots[slot]

    def replace(self, slot: int) -> Any:
        """Another client takes the place."""
        client = self._make(slot, len(self.clients) + 1)
        self.clients.append(client)
        self._slots[slot] = client
        return client


def build(scene: Scene, scenario: str, chance: Random, *, tight: bool) -> Scenery:
    """Make all that takes part in a scenario."""
    scenery = Scenery(scene, chance.choice((1, 1, 2, 3)), tight=tight)
    if scenario == "lines":
        _lines(scenery, chance)
    else:
        _http(scenery, scenario, chance)
    return scenery


def _lines(scenery: Scenery, chance: Random) -> None:
    scene, limits = scenery.scene, _limits(tight=scenery.tight)
    offered = chance.choice((REVISIONS, REVISIONS, LEGACY, MODERN))
    config = server_config(revisions=tuple(offered), limits=limits)
    server = LineServer(
        scene, "server", config, lambda host: ServerApp(host, lambda _, peer: host.links[id(peer)])
    )
    scenery.servers.append(server)
    spoken = [_revisions(chance, http=False) for _ in range(scenery.size)]
    returns = [chance.random() < 0.7 for _ in range(scenery.size)]
    batches = scene.world.chance("batches")
    scenery.batching = {slot for slot in range(scenery.size) if batches.random() < 0.8}

    def make(slot: int, number: int) -> LineClient:
        revisions, how = spoken[slot]
        if not set(revisions) & set(offered):
            revisions, how = tuple(offered), Negotiation.AUTO
        weather = scenery.weathers[slot]
        pipes = scene.world.chance(f"network/{number}")

        def dial(client: LineClient) -> Link | None:
            if weather.refuses or not server.up:
                return None
            link = Link(client, server, pipes, weather)
            server.accept(link)
            return link

        return LineClient(
            scene,
            f"client {number}",
            client_config(revisions=revisions, negotiation=how, limits=limits),
            number,
            lambda host: ClientApp(host, number),
            dial,
            _BACK if returns[slot] else None,
            batches=slot in scenery.batching,
        )

    scenery.populate(make)


def _http(scenery: Scenery, scenario: str, chance: Random) -> None:
    scene, tight = scenery.scene, scenery.tight
    limits = _limits(tight=tight)
    scarce = scene.world.chance("scarce")
    if scenario == "http" and scarce.random() < 0.4:
        # Not with a store, which is told of a session in use only now and then.
        scene.streams.idle = scarce.choice((14.0, 14.0, 40.0))
    # Half of those with low limits give streams up that are not read, the others drop news first.
    most = scarce.choice((1200, 3000)) if tight else 1 << 20
    kept = scarce.choice((400, 3000)) if tight else 1 << 18
    stalled = scarce.choice((8.0, 30.0)) if tight else 30.0
    settings = scene.settings = HttpSettings(
        json_delay=chance.choice((None, 0.0, 1.0)),
        heartbeat=chance.choice((None, 15.0)),
        sse=SsePaths() if scenario == "sse" else None,
        max_queued=most,
        session_queue=kept,
        stall_timeout=stalled,
        replay_events=4 if scenery.forgetful else 1000,
        session_idle=scene.streams.idle,
        session_unused=SESSION_UNUSED,
        replay_age=200.0,
        session_replica_idle=chance.choice((1.0, 300.0)),
    )
    shared: SharedStore | None = None
    if scenario == "store":
        shared = scenery.shared = SharedStore(scene.world, _store_settings(tight=tight))

    def make_machine(name: str) -> Any:
        if shared is not None:
            return make_stored(shared.store, name, settings, limits=limits)
        return make_server(settings, limits=limits, secret=name.encode().ljust(32))

    def place(event: RequestReceived, machine: Any) -> int:
        return event.route or scene.streams.pipes[event.session or ""]

    def make_app(host: HttpServerHost) -> ServerApp:
        return ServerApp(host, place)

    if shared is None:
        scenery.servers.append(HttpServerHost(scene, "w1", make_machine, make_app))
    else:
        for number in range(chance.randint(1, 3)):
            name = f"w{number + 1}"
            worker = StoredServerHost(scene, name, make_machine, make_app, shared)
            scenery.servers.append(worker)
        for server in scenery.servers:
            server.neighbours = [each for each in scenery.servers if each is not server]
    spoken = [_revisions(chance, http=True) for _ in range(scenery.size)]
    only_legacy = scenario == "sse"
    picks = scene.world.chance("balancer")
    # Without a stream of its own a session is not in use while its client says nothing.
    streams = scene.world.chance("streams")
    opens = [only_legacy or streams.random() > 0.2 for _ in range(scenery.size)]

    def pick(plan: Any) -> HttpServerHost | None:
        alive = [server for server in scenery.servers if server.up]
        return picks.choice(alive) if alive else None

    def make(slot: int, number: int) -> HttpClientHost:
        revisions, how = spoken[slot]
        if only_legacy:
            revisions, how = tuple(LEGACY), Negotiation.LEGACY
        machine = make_client(
            HttpClientSettings(
                legacy_sse=SseUse.ONLY if only_legacy else SseUse.NEVER,
                max_resumes=20,
                get_stream=opens[slot],
            ),
            url=f"http://localhost:8000{'/sse' if only_legacy else '/mcp'}",
            revisions=revisions,
            negotiation=how,
            limits=limits,
            seed=b"%d" % number,
        )
        return HttpClientHost(
            scene,
            f"client {number}",
            machine,
            number,
            scenery.weathers[slot],
            lambda host: ClientApp(host, number),
            pick,
            _BACK if only_legacy else None,
        )

    scenery.populate(make)
