"""What clients ask for, and what servers are to do about it: drawn from chance, as plain data.

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


def draw_work(chance: Random, *, span: float, most: int) -> list[Work]:
    """Draw what a client does within so many seconds."""
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
    drawn.sort(key=lambda each: each.at)
    return drawn
