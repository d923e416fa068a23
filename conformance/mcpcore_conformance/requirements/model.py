"""What a requirement is, and how the table of clauses is read."""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from mcpcore.spec.revisions import BY_NAME, LATEST, REVISIONS, Span


class Side(Enum):
    """Who has to do it."""

    CLIENT = "client"
    SERVER = "server"
    BOTH = "both"


class Strength(Enum):
    """How binding it is; MUST NOT, SHALL and REQUIRED are MUST, RECOMMENDED is SHOULD."""

    MUST = "MUST"
    SHOULD = "SHOULD"


class Duty(Enum):
    """Whose work it is in a program built on this library."""

    ENGINE = "engine"
    """Ours: core, transports, service or runtime.  Proven by tests."""
    APPLICATION = "application"
    """The library's user's."""
    AUTHORIZATION = "authorization"
    """The OAuth framework's, in front of the protocol engine."""


class Requirement(Struct, frozen=True, kw_only=True):
    """One rule of the specification, in our words."""

    id: str
    """The page and a short name; stable, tests refer to it."""
    text: str
    revisions: Span
    side: Side
    strength: Strength
    clause: str
    """Page and anchor of the section, in the newest revision that has the rule."""
    duty: Duty
    reason: str = ""
    """Why no test proves it: whose duty it is, or what is missing."""

    @property
    def page(self) -> str:
        """The page that the row is listed under."""
        return self.id.rpartition("/")[0]


def read_clauses(text: str) -> tuple[Requirement, ...]:
    """Read the table of clauses, whose first lines say what stands where.

    Raises ValueError, which names the line.
    """
    rows: list[Requirement] = []
    reasons: dict[str, str] = {}
    page = ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.startswith("@"):
                name, _, reason = line.partition(" = ")
                reasons[name] = reason
            elif line.startswith("== "):
                page = line[3:]
            elif line and not line.startswith("#"):
                rows.append(_row(page, line.split(" | "), reasons))
        except (ValueError, KeyError) as error:
            raise ValueError(f"line {number} of the clauses: {error}") from error
    return tuple(rows)


def _row(page: str, cells: list[str], reasons: Mapping[str, str]) -> Requirement:
    name, strength, side, revisions, section, text, *more = cells
    whose, _, reason = more[0].partition(": ") if more else ("engine", "", "")
    section = page if section == "#" else section
    return Requirement(
        id=f"{page}/{name}",
        text=text,
        revisions=span(revisions),
        side=Side(side),
        strength=Strength(strength),
        clause=page + section if section.startswith("#") else section,
        duty=Duty("engine" if whose == "untested" else whose),
        reason=reasons[reason] if reason.startswith("@") else reason,
    )


def span(revisions: str) -> Span:
    """Read a revision, or consecutive ones: ``first..last``, each of which may be left out."""
    first, several, last = revisions.partition("..")
    return Span(
        BY_NAME[first] if first else REVISIONS[0],
        (BY_NAME[last] if last else LATEST) if several else BY_NAME[first],
    )


ALL = span("..")
