"""Requests of clients and scripts of their handlers, drawn from chance, as plain data.

A request carries its own script, so that what a server does depends on nothing else.
"""

from random import Random
from typing import Any

from msgspec import Struct, structs

TEXTS = ("", "plain", 'ä€😀\u2028é\r\n\t"\\', "名前" * 40, "x" * 3000)
"""Answers: characters of one to four bytes, escapes, a separator that JSON leaves alone."""
URIS = ("file:///0", "file:///1", "file:///2")
"""Resources that change, and to which clients subscribe."""
TIMEOUT = 20.0
MAX_TIMEOUT = 60.0
NEVER = 100.0
"""After so many seconds a handler that never ends does."""

_LONG = 0.1
"""So often does a client have work that takes too long."""
_LEFT = 0.1
"""So often does it subscribe, and unsubscribe again, around changes."""
_TELLS = 0.15
"""So often does it have news told to all for seconds: some is there as a connection breaks."""
_CROWD = 0.04
"""So often does it have so many reports under way that deadlines are cleared away."""
_ASKED_AWAY = 0.1
"""So often is a request given up after a question whose stream was closed meanwhile."""
_FLOODS = 0.4
"""So often does it ask, where limits are low, for more than fits at once."""
_BEAT = 2.5

Script = list[Any]


class Work(Struct, frozen=True, kw_only=True):
    """One thing that a client does."""

    at: float
    kind: str
    number: int
    script: Script = []
    """What the server does: pairs of a delay and an act."""
    timeout: float | None = TIMEOUT
    progress: bool = False
    repeat: bool | None = None
    cancel_after: float | None = None
    log: bool = False
    uri: str = ""


_KINDS = ["call"] * 10 + ["list"] * 2 + ["ping", "subscribe", "listen", "level", "roots", "abandon"]
_ACTS = ["progress"] * 4 + ["log"] * 2 + ["x"] * 3 + ["ask"] * 3 + ["tools", "uri", "poll", "gets"]
_ACTS += ["progress", "x", "burst", "all", "all"]


def draw_script(chance: Random, *, polite: bool = False) -> Script:
    """Draw what a server does about one call.  ``polite``: it always answers, and soon."""
    steps: Script = []
    for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
        act = chance.choice(("progress", "log", "x") if polite else _ACTS)
        pause = 0.0 if chance.random() < 0.4 else round(chance.expovariate(2.0), 3)
        if act == "ask":
            kind = chance.choice(("elicit", "sample", "roots"))
            how = chance.choice(("yes", "yes", "yes", "no", "late", "silent"))
            act = f"ask {kind} {how}"
        steps.append([pause, act])
    last = "answer" if polite else chance.choice(("answer",) * 6 + ("fail", "never"))
    if last == "answer":
        last = f"answer {0 if polite else chance.randrange(len(TEXTS))}"
    pause = round(chance.expovariate(4.0 if polite else 1.5), 3)
    steps.append([pause, last])
    return steps


def _prolonged(work: Work) -> Work:
    """The same for longer than any request may take, with progress all the time."""
    script = [[_BEAT, "progress"]] * int(1.3 * MAX_TIMEOUT / _BEAT)
    return structs.replace(
        work, kind="call", script=[*script, [_BEAT, "answer 1"]], progress=True, cancel_after=None
    )


def _unsubscribed(chance: Random, number: int, span: float) -> list[Work]:
    """A subscription, a change, the end of it, and changes of which nothing is to be heard.

    ``number``: that of the first piece of it.
    """
    # A change is of the resource that the number of its call stands for.
    uri = URIS[(number + 1) % len(URIS)]
    at = chance.random() * span / 2
    change: Script = [[0.0, "uri"], [1.0, "uri"], [2.0, "answer 0"]]
    return [
        Work(at=at, kind="subscribe", number=number, uri=uri),
        Work(at=at + 1.5, kind="call", number=number + 1, script=change),
        Work(at=at + 3.0, kind="unsubscribe", number=number + 2, uri=uri),
        Work(at=at + 5.5, kind="call", number=number + 4, script=change),
    ]


def _crowd(chance: Random, number: int, span: float) -> list[Work]:
    """Calls with deadlines in any order, which go on moving for as long as the first one stays."""
    at = round(chance.random() * span, 3)
    never: Script = [[0.0, "never"]]
    works = [Work(at=at, kind="call", number=number, script=never, timeout=4.0)]
    for more in range(1, 6):
        pauses = [round(0.26 * chance.random(), 3) for _ in range(28)]
        script = [*([pause, "progress"] for pause in pauses), [0.0, "never"]]
        timeout = round(5.0 + 15.0 * chance.random(), 3)
        works.append(
            Work(
                at=at + 0.01 * more,
                kind="call",
                number=number + more,
                script=script,
                timeout=timeout,
                progress=True,
            )
        )
    return works


def _asked_away(chance: Random, number: int, span: float) -> Work:
    """A call that is given up while its question is open, of which the stream was closed."""
    kind, how = chance.choice(("elicit", "sample", "roots")), chance.choice(("silent", "late"))
    return Work(
        at=round(chance.random() * span, 3),
        kind="call",
        number=number,
        script=[[0.1, f"away {kind} {how}"], [0.1, "answer 1"]],
        cancel_after=round(0.8 + 3.0 * chance.random(), 3),
    )


def _flood(chance: Random, number: int, span: float) -> list[Work]:
    """Two calls that have more to tell at the same time than may wait, and reports on top."""
    at = round(chance.random() * span, 3)
    script: Script = [
        [0.0, "burst"],
        *[[0.0, "progress"]] * 2,
        [0.4, "progress"],
        [2.0, "answer 0"],
    ]
    return [
        Work(
            at=at + 0.05 * more,
            kind="call",
            number=number + more,
            script=script,
            progress=True,
            log=True,
        )
        for more in (0, 1)
    ]


def draw_work(chance: Random, *, span: float, most: int, tight: bool) -> list[Work]:
    """Draw what a client does within so many seconds; ``tight``: limits are low."""
    drawn: list[Work] = []
    for number in range(1, chance.randint(2, most) + 1):
        kind = chance.choice(_KINDS)
        drawn.append(
            Work(
                at=round(chance.random() * span, 3),
                kind=kind,
                number=number,
                script=draw_script(chance),
                timeout=chance.choice((TIMEOUT, TIMEOUT, 3.0, None)),
                progress=chance.random() < 0.7,
                repeat=chance.choice((None, None, True)),
                cancel_after=round(chance.random() * 4, 3) if chance.random() < 0.2 else None,
                log=chance.random() < 0.5,
                uri=chance.choice(URIS),
            )
        )
    # Drawn last, so that all else is as it would be without.
    if chance.random() < _LONG:
        place = chance.randrange(len(drawn))
        drawn[place] = _prolonged(drawn[place])
    if chance.random() < _LEFT:
        drawn += _unsubscribed(chance, len(drawn) + 1, span)
    if chance.random() < _TELLS:
        at, number = round(chance.random() * span, 3), max(each.number for each in drawn) + 1
        news: Script = [[0.3, "all"]] * 30
        drawn.append(Work(at=at, kind="call", number=number, script=[*news, [0.3, "answer 0"]]))
    number = max(each.number for each in drawn) + 1
    if chance.random() < _CROWD:
        drawn += _crowd(chance, number, span)
    elif chance.random() < _ASKED_AWAY:
        drawn.append(_asked_away(chance, number, span))
    elif tight and chance.random() < _FLOODS:
        drawn += _flood(chance, number, span)
    drawn.sort(key=lambda each: each.at)
    return drawn
