"""The rows about many sessions, streams and tools: none may make a call dearer.

Sixteen connections keep the server busy: with one, a call costs what waking up does as well, which
changes from run to run by more than these rows are about.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from mcpcore_bench.load.jobs import Ask, HttpCalls
from mcpcore_bench.programs.offer import FILLERS_FROM
from mcpcore_bench.rows import UNCHANGED, Bound, Row, Variant
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.http import CALL, NEW

SESSIONS = {"1": "1 session", "100": "100 sessions", "10000": "10,000 sessions"}
STREAMS = {"1": "1 stream", "100": "100 streams", "1000": "1,000 streams"}
TOOLS = {"10": "10 tools", "1000": "1,000 tools"}


def _numbered(
    titles: dict[str, str], make: Callable[[str, str], HttpCalls], subject: str, since: str
) -> dict[str, Variant]:
    """One subject under different circumstances."""
    return {
        key: Variant(title, partial(make, subject, key), SUBJECTS[subject].needs, since)
        for key, title in titles.items()
    }


def _crowded(
    name: str,
    title: str,
    titles: dict[str, str],
    make: Any,
    subject: str,
    since: str,
) -> Row:
    first, *others = titles
    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants=_numbered(titles, make, subject, since),
        bounds=tuple(Bound(other, first, UNCHANGED) for other in others),
    )


def _sessions(subject: str, key: str) -> HttpCalls:
    return HttpCalls(
        server=SUBJECTS[subject].command(),
        era="legacy",
        sessions=int(key),
        in_turn=True,
    )


def _streams(subject: str, key: str) -> HttpCalls:
    count = int(key)
    return HttpCalls(
        server=SUBJECTS[subject].command(),
        era="legacy",
        sessions=count,
        streams=count,
    )


def _tools(subject: str, key: str) -> HttpCalls:
    first, *more = (Ask("filler", number) for number in range(int(key) - FILLERS_FROM))
    server = SUBJECTS[subject].command("--tools", key)
    return HttpCalls(server=server, ask=first, more=tuple(more), in_turn=True)


_DRIVERS = {
    "": ("ours-asyncio", ""),
    "anyio": ("ours-anyio", "with anyio"),
    "speed": ("ours-speed", "with the speed extra"),
}
"""By what follows the name of a row: the subject, and what follows the title."""


def _on_each_driver(
    name: str, title: str, titles: dict[str, str], make: Any, since: str = ""
) -> tuple[Row, ...]:
    """``since``: when the table got the other drivers than asyncio's."""
    return tuple(
        _crowded(
            "-".join(filter(None, (name, driver))),
            ", ".join(filter(None, (title, "16 in flight", said))),
            titles,
            make,
            subject,
            since if driver else "",
        )
        for driver, (subject, said) in _DRIVERS.items()
    )


ROWS = (
    *_on_each_driver("sessions", "Calls in 1, 100, 10,000 sessions in turn", SESSIONS, _sessions),
    *_on_each_driver(
        "streams", "A call beside 1, 100, 1,000 open GET streams", STREAMS, _streams, NEW
    ),
    *_on_each_driver(
        "tools", "Calls of all but a few of 10, 1,000 tools in turn", TOOLS, _tools, NEW
    ),
)
