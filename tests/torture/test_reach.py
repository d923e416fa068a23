"""What the stories come to: every place that waits, every function that users give."""

from collections import Counter

import pytest

from tests.torture import surface
from tests.torture.cells import cells
from tests.torture.reach import Place, compiled_places, places
from tests.torture.rows import ROWS
from tests.torture.run import collect_points, rack
from tests.torture.surface import functions_of_users
from tests.torture.unreached import WHY
from tests.torture.users import SETTINGS, all_fields, registrations

UNUSED = {
    "callbacks.download": "no story gets an answer that is large; it has tests of its own",
    "callbacks.limiter": "no story asks a client too often; it has tests of its own",
    "client.socket.authenticate": "a client has no use for it, though both sides have it",
    **dict.fromkeys(
        ("client.assertions", "client.sign_in", "client.tokens"),
        "for clients that authorize themselves, which have tests of their own",
    ),
    "server.runtime.observer": "telemetry gives it, which has tests of its own",
    "server.runtime.error_ids": "called once a handler has failed; it has tests of its own",
}
"""Settings that take a function which no story needs, and why."""


def _named(place: Place) -> str:
    """The name under which it has an excuse, if it has one."""
    return place.file if place.file in WHY else f"{place.file} {place.function}"


def test_everything_that_takes_a_function_is_a_point_or_excused() -> None:
    assert functions_of_users() == surface.POINTS.keys() | surface.NO_POINTS.keys()
    assert not surface.POINTS.keys() & surface.NO_POINTS.keys()


def test_who_is_excused_waits_where_it_did() -> None:
    """A wait that is new where there is an excuse is not excused unseen."""
    waits = Counter(_named(each) for each in places())
    assert {name: excuse.waits for name, excuse in WHY.items()} == {
        name: waits[name] for name in WHY
    }


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_everything_is_reached_but_what_is_excused() -> None:
    reached: set[Place] = set()
    users: set[str] = set()
    with rack():
        for cell in cells():
            watch, seen = collect_points(ROWS[cell.driver], cell.era, cell.backend)
            reached |= seen.places()
            users |= {point.site for point in watch.found if point.family == "user"}
    missed = places() - reached
    counts = Counter(map(_named, missed))
    excused = {name for name, excuse in WHY.items() if counts[name] <= excuse.missed}
    more = sorted(place for place in missed if _named(place) not in excused)
    assert not more, "no story comes to:\n" + "\n".join(map(str, more))
    # No story authorizes, adapts a server of another SDK, speaks to several servers or stands
    # before them, has tasks in a store or speaks to a registry: a third of the places, each with
    # an excuse of its own.
    drivers = {place for place in places() if not place.file.startswith("commands/")}
    assert len(reached & drivers) / len(drivers) > 0.6
    settings = {name for kind, under in SETTINGS.items() for name in all_fields(kind, under)}
    never = {name for name in settings - UNUSED.keys() if not _any(users, name, ".")}
    never |= {name for name in registrations() if not _any(users, name, " ")}
    never |= {*surface.POINTS.values(), surface.MAKES_LINKS} - users
    assert not never, "no story calls what users give here"


def _any(users: set[str], name: str, mark: str) -> bool:
    return any(site == name or site.startswith(name + mark) for site in users)


def test_places_are_where_the_interpreter_waits() -> None:
    """What the source has is what is come to: no place is one that could not be seen."""
    assert {(each.file, each.line, each.column) for each in places()} == compiled_places()
