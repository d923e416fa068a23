"""Faults of a schedule: what each does to hosts, wires and stores."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mcpcore.http.storing import Step
from tests.simulation.line_hosts import LineClient
from tests.simulation.schedule import Fault

if TYPE_CHECKING:
    from tests.simulation.play import Performance

_NOTICED = 0.01
"""Seconds until a break is noticed where nothing hides it."""
AGAIN = 18.0
"""So much later half of the connections that were dropped are dropped again, with what they have
brought since then: in most cases a comment at most."""
_BURIED = 5.0
"""Seconds until somebody tells the store that half of the workers that crash are gone; that the
others are, it finds out when their lease has lapsed."""


def strike(run: "Performance", fault: Fault) -> None:
    """Let a fault happen."""
    run.world.note("fault", str(fault))
    _STRIKES[fault.kind](run, fault)


def _client(run: "Performance", fault: Fault) -> Any:
    return run.scenery.client(fault.target % run.scenery.size)


def _server(run: "Performance", fault: Fault) -> Any:
    return run.scenery.servers[fault.target % len(run.scenery.servers)]


# The weather


def _set(run: "Performance", fault: Fault, name: str, value: Any) -> None:
    weather = run.scenery.weathers[fault.target % run.scenery.size]
    before = weather.usual_window if name == "window" else getattr(type(weather)(), name)
    setattr(weather, name, value)
    if fault.length:
        run.world.after(fault.length, setattr, weather, name, before)


def _delay(run: "Performance", fault: Fault) -> None:
    _set(run, fault, "slow", fault.amount)


def _split(run: "Performance", fault: Fault) -> None:
    _set(run, fault, "pieces", int(fault.amount))


def _refuse(run: "Performance", fault: Fault) -> None:
    _set(run, fault, "refuses", True)


def _narrow(run: "Performance", fault: Fault) -> None:
    _set(run, fault, "window", int(fault.amount))


def _deaf(run: "Performance", fault: Fault) -> None:
    weather = run.scenery.weathers[fault.target % run.scenery.size]
    weather.deaf[int(fault.amount)] = run.world.time + fault.length


# Connections


def _break(run: "Performance", fault: Fault, client_after: float, server_after: float) -> None:
    client = _client(run, fault)
    if isinstance(client, LineClient):
        if client.link is not None:
            client.link.drop(fault.amount, client_after, server_after)
        return
    trips = [client.trips[exchange] for exchange in sorted(client.trips)]
    if trips:
        # Mostly the newest, sometimes any other.
        trip = trips[-1 - (fault.target // run.scenery.size) % len(trips)]
        trip.drop(fault.amount, client_after, server_after)


def _drop(run: "Performance", fault: Fault) -> None:
    _break(run, fault, _NOTICED, fault.length or _NOTICED)
    if fault.target >= 4:
        run.world.after(AGAIN, _break, run, fault, _NOTICED, _NOTICED)


def _mute(run: "Performance", fault: Fault) -> None:
    _break(run, fault, fault.length, _NOTICED)


def _twice(run: "Performance", fault: Fault) -> None:
    client = _client(run, fault)
    client.twice = int(fault.amount)
    run.world.after(fault.length, setattr, client, "twice", 0)


# Crashes


def _crash_server(run: "Performance", fault: Fault) -> None:
    host = _server(run, fault)
    if not host.up:
        return
    run.books.forget_server(host.machines)
    links = host.crash()
    for client in run.scenery.clients:
        for trip in [*getattr(client, "trips", {}).values()]:
            if trip.server is host:
                links.append(trip)
    for link in links:
        link.drop(fault.amount, _NOTICED, _NOTICED)
    if host.stored and fault.target >= 4:
        run.world.after(_BURIED, host.bury, host.identity)
    run.world.after(fault.length, host.restart)


def _crash_client(run: "Performance", fault: Fault) -> None:
    client = _client(run, fault)
    if not client.up:
        return
    links = client.crash()
    run.books.forget_client(client.number)
    for link in links:
        link.drop(fault.amount, _NOTICED, fault.length)
    for server in run.scenery.servers:
        for trip in [*getattr(server, "trips", {}).values()]:
            if trip.client is client and trip not in links:
                run.world.after(fault.length, trip.left)
    slot = fault.target % run.scenery.size
    run.world.after(fault.length, run.replace, slot)


def _jump(run: "Performance", fault: Fault) -> None:
    hosts = [run.scenery.client(slot) for slot in range(run.scenery.size)]
    hosts += run.scenery.servers
    host = hosts[fault.target % len(hosts)]
    # Workers that share a store have to agree on the time: they all jump.
    for each in run.scenery.servers if host in run.scenery.servers else [host]:
        each.skew += fault.amount
    for each in run.scenery.servers if host in run.scenery.servers else [host]:
        if each.up:
            each._armed.clear()
            each.tick_all()


# The store


def _store_slow(run: "Performance", fault: Fault) -> None:
    host = _server(run, fault)
    before, host.store_delay = 0.002, fault.amount
    run.world.after(fault.length, setattr, host, "store_delay", before)


def _store_fail(run: "Performance", fault: Fault) -> None:
    host = _server(run, fault)
    host.store_fails, host.store_does_it = _all, bool(fault.amount)
    run.world.after(fault.length, setattr, host, "store_fails", _none)


def _store_cut(run: "Performance", fault: Fault) -> None:
    _server(run, fault).cut_off(fault.length)


def _wall(run: "Performance", fault: Fault) -> None:
    host = _server(run, fault)
    host.wall_ahead = fault.amount
    run.world.after(fault.length, setattr, host, "wall_ahead", 0.0)


def _all(step: Step) -> bool:
    return True


def _none(step: Step) -> bool:
    return False


_STRIKES: dict[str, Callable[["Performance", Fault], None]] = {
    "delay": _delay,
    "split": _split,
    "drop": _drop,
    "mute": _mute,
    "refuse": _refuse,
    "twice": _twice,
    "deaf": _deaf,
    "narrow": _narrow,
    "crash_server": _crash_server,
    "crash_client": _crash_client,
    "jump": _jump,
    "store_slow": _store_slow,
    "store_fail": _store_fail,
    "store_cut": _store_cut,
    "wall": _wall,
}
