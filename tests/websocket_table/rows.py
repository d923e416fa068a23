"""The rows of the table: what is sent, what must come of it, and how that is graded.

Behaviour (what was answered, what was not, how it ended) and the close (its code, and whether the
connection ended in good order) are graded apart, as the autobahn suite does.
"""

import json
import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from mcpcore_transports.websocket.settings import DeflateSettings
from tests.websocket_table.codec import Frame, Seen

OK, NON_STRICT, FAILED = "OK", "NON-STRICT", "FAILED"
Side = Literal["server", "client"]
SIDES: tuple[Side, ...] = ("server", "client")
PROBE = "probe"
"""The id of the message that shows whether the connection still carries any."""
LIMIT = 2000
"""Bytes of a message in rows about that limit."""


class Heard(Struct, frozen=True):
    """Go on when so many of a kind have been seen."""

    kind: str
    count: int = 1


class Shut(Struct, frozen=True):
    """Have the side under test end the connection of its own accord."""


class End(Struct, frozen=True):
    """Send no more: the TCP stream ends."""


Step = Frame | bytes | Heard | Shut | End


class Then(Struct, frozen=True, kw_only=True):
    """What must come of a row."""

    end: Literal["open", "failed", "closed", "cut"]
    """``open``: it goes on, and ends by the closing handshake of the test; ``failed``: the side
    under test closes; ``closed``: it answers the close of the row, or that answers its; ``cut``:
    TCP has ended, and nobody has to say anything."""
    codes: tuple[int | None, ...] = ()
    """Those of its close frame that are right; None: there is no code in it."""
    answers: tuple[str, ...] = ()
    """The ids that are answered, in their order; ``!code`` for an error."""
    pongs: tuple[bytes, ...] = ()
    leaves: bool = False
    """The client leaves, and its call is of no concern any more."""
    client_codes: tuple[int | None, ...] | None = None
    """In the place of ``codes`` where a client is tried."""

    def right_codes(self, side: Side) -> tuple[int | None, ...]:
        """The codes that are right for a side."""
        return self.codes if side == "server" or self.client_codes is None else self.client_codes


def taken(*answers: str, pongs: Sequence[bytes] = ()) -> Then:
    """Everything is answered and the connection goes on."""
    return Then(end="open", codes=(1000,), answers=answers, pongs=tuple(pongs))


def failed(code: int, *answers: str, pongs: Sequence[bytes] = ()) -> Then:
    """The connection is failed with a code, after what is answered."""
    return Then(end="failed", codes=(code,), answers=answers, pongs=tuple(pongs))


def closed(*codes: int | None, answers: Sequence[str] = (), pongs: Sequence[bytes] = ()) -> Then:
    """The closing handshake is carried out with one of the codes."""
    return Then(end="closed", codes=codes, answers=tuple(answers), pongs=tuple(pongs))


class Agreed(Struct, frozen=True, kw_only=True):
    """Compression as it was agreed before the row."""

    settings: DeflateSettings
    """Of the side under test."""
    offer: str
    """What a client by hand offers."""
    answer: str
    """What the server must answer to that; what a server by hand answers to ours."""

    def fresh(self, side: Side) -> bool:
        """Whether the messages of the side under test stand on their own."""
        return f"{side}_no_context_takeover" in self.answer

    def bits(self, side: Side) -> int:
        """The window of the side under test, as a binary logarithm."""
        found = re.search(rf"{side}_max_window_bits=(\d+)", self.answer)
        return int(found[1]) if found else 15


class Row(Struct, frozen=True, kw_only=True):
    """One row of the table."""

    id: str
    title: str
    steps: tuple[Step, ...]
    then: Then
    lenient: tuple[Then, ...] = ()
    """What RFC 6455 allows as well, for the reason that ``why`` gives: NON-STRICT."""
    why: str = ""
    sides: tuple[Side, ...] = SIDES
    chop: int = 0
    """Bytes that are sent at a time; 0: each step at once."""
    joined: bool = False
    """All steps arrive in one piece."""
    limit: int = 0
    """Bytes of a message, if not those that are set by default."""
    fragments: int = 0
    """Frames of a message, likewise."""
    agreed: Agreed | None = None
    answers_marked: bool | None = None
    """Whether what is answered must have come compressed; None: it does not matter."""
    memory: int = 0
    """The most bytes of memory that the row may take, if that is looked at."""
    long: bool = False


class Course(Struct):
    """What happened when a row was tried."""

    seen: list[Seen]
    side: Side
    answers: list[str] = []
    call: str = ""
    """At a client: what became of its call."""
    marked: int = 0
    memory: int = 0
    notes: list[str] = []


class Grade(Struct, frozen=True):
    """The verdict on one row."""

    behaviour: str
    close: str
    told: str
    """What happened, in words."""

    @property
    def passed(self) -> bool:
        """Whether neither has failed."""
        return FAILED not in (self.behaviour, self.close)


def grade(row: Row, course: Course) -> Grade:
    """Judge behaviour and close, each by itself."""
    readings = (row.then, *row.lenient)
    return Grade(
        _verdict([_behaved(row, then, course) for then in readings]),
        _verdict([_ended(then, course) for then in readings]),
        told(course),
    )


def _verdict(readings: list[bool]) -> str:
    return OK if readings[0] else NON_STRICT if any(readings) else FAILED


def _behaved(row: Row, then: Then, course: Course) -> bool:
    expected = [*then.answers, PROBE] if then.end == "open" else list(then.answers)
    pongs = [seen.data for seen in course.seen if seen.kind == "pong"]
    return (
        course.answers == expected
        and pongs == list(then.pongs)
        and not course.notes
        and all(seen.kind in ("text", "pong", "close", "end", "reset") for seen in course.seen)
        and (row.answers_marked is None or bool(course.marked) is row.answers_marked)
        and (not row.memory or course.memory <= row.memory)
        and (course.side == "server" or _told_caller(then, course))
    )


def _told_caller(then: Then, course: Course) -> bool:
    """Whether the caller at the client learned what became of its call."""
    if then.end == "open" or then.leaves:
        return course.call == ("it left" if then.leaves else "answered")
    said = {"failed": "closed by this side with ", "closed": "closed by ", "cut": ""}[then.end]
    codes = [str(code) for code in then.right_codes("client")] if then.end == "failed" else [""]
    return any(
        course.call.startswith(f"ConnectionClosed: tools/call: connection closed: {said}{c}")
        for c in codes
    )


def _ended(then: Then, course: Course) -> bool:
    kinds = [seen.kind for seen in course.seen]
    if not kinds or kinds[-1] != "end":
        return False
    closes = [seen for seen in course.seen if seen.kind == "close"]
    if then.end == "cut" and not closes:
        return True
    if len(closes) != 1 or kinds[-2] != "close":
        return False
    reason_given = bool(closes[0].data) or then.end != "failed"
    return closes[0].code in then.right_codes(course.side) and reason_given


def told(course: Course) -> str:
    """What happened, in words."""
    words = []
    for seen in course.seen:
        if seen.kind == "text":
            continue
        code = "" if seen.code is None else f" {seen.code}"
        data = f" {seen.data[:60].decode('utf-8', 'backslashreplace')}" if seen.data else ""
        words.append(f"{seen.kind}{code}{data}")
    if len(words) > 12:
        words[6:-6] = ["..."]
    answers = [answer[:40] for answer in course.answers[:6]]
    text = f"answered {answers}; then {', '.join(words) or 'nothing'}"
    if course.call:
        text += f"; the call: {course.call[:200]}"
    if course.memory:
        text += f"; {course.memory} bytes of memory"
    return "; ".join([text, *course.notes])


# Messages


def message(id: str = "a") -> bytes:
    """A request that either side answers at once, and whose answer repeats the id."""
    return json.dumps(
        {"jsonrpc": "2.0", "id": id, "method": "ping"}, ensure_ascii=False, separators=(",", ":")
    ).encode()


SHORTEST = len(message(""))


def sized(size: int) -> tuple[bytes, str]:
    """A message of so many bytes, and its id."""
    id = ("x" * 9 + "-") * (size // 10) + "x" * 10
    id = id[: size - SHORTEST]
    return message(id), id


class Chapter:
    """Adds rows to the table, numbered in their order."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self._count: dict[str, int] = {}

    def add(self, group: str, title: str, *steps: Step, then: Then, **more: object) -> None:
        """Add a row to a group such as ``1.1``."""
        number = self._count[group] = self._count.get(group, 0) + 1
        row = Row(id=f"{group}.{number}", title=title, steps=steps, then=then, **more)  # type: ignore[arg-type]
        self.rows.append(row)


ROWS: list[Row] = []
"""The whole table; the chapters fill it when they are imported."""
