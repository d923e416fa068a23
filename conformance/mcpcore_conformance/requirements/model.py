"""What a requirement is, and how the tables of each page write one down."""

from enum import Enum
from typing import TypedDict, Unpack

from msgspec import Struct

from mcpcore.spec.revisions import BY_NAME, LATEST_LEGACY, REVISIONS, Span
from mcpcore.spec.revisions import LATEST as _LATEST


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


class Elsewhere(TypedDict, total=False):
    """Why no test of ours proves a rule: at most one of the three."""

    application: str
    """It is the library user's."""
    authorization: str
    """It is the OAuth framework's."""
    untested: str
    """It is the engine's, and no test can show it; never of a MUST."""


class Addressee:
    """Writes down the requirements on one side."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def must(
        self,
        identifier: str,
        revisions: Span,
        clause: str,
        text: str,
        **elsewhere: Unpack[Elsewhere],
    ) -> Requirement:
        """Write down a rule without exceptions."""
        return self._row(Strength.MUST, identifier, revisions, clause, text, elsewhere)

    def should(
        self,
        identifier: str,
        revisions: Span,
        clause: str,
        text: str,
        **elsewhere: Unpack[Elsewhere],
    ) -> Requirement:
        """Write down a rule that may be broken for a good reason."""
        return self._row(Strength.SHOULD, identifier, revisions, clause, text, elsewhere)

    def _row(
        self,
        strength: Strength,
        identifier: str,
        revisions: Span,
        clause: str,
        text: str,
        elsewhere: Elsewhere,
    ) -> Requirement:
        duty, reason = Duty.ENGINE, elsewhere.get("untested", "")
        if "application" in elsewhere:
            duty, reason = Duty.APPLICATION, elsewhere["application"]
        elif "authorization" in elsewhere:
            duty, reason = Duty.AUTHORIZATION, elsewhere["authorization"]
        return Requirement(
            id=identifier,
            text=text,
            revisions=revisions,
            side=self._side,
            strength=strength,
            clause=clause,
            duty=duty,
            reason=reason,
        )


def span(first: str, last: str = "") -> Span:
    """Name consecutive revisions by the first and the last one; one name stands for both."""
    return Span(BY_NAME[first], BY_NAME[last or first])


client = Addressee(Side.CLIENT)
server = Addressee(Side.SERVER)
both = Addressee(Side.BOTH)

ALL = Span(REVISIONS[0], _LATEST)
LEGACY = Span(REVISIONS[0], LATEST_LEGACY)
MODERN = Span(_LATEST, _LATEST)
