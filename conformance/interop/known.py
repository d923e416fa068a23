"""What the SDK's lines cannot do, do wrong, or do otherwise across the eras: ``known.toml``.

Every entry is tried in every run: one that works after all is out of date, and fails the run until
it is removed.  What our side cannot do is never listed: a gap names what the SDK does not have.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from conformance.interop.drivers.features import BY_NAME
from mcpcore.spec import revisions

KNOWN_FILE = Path(__file__).with_name("known.toml")
_SDK_MODULE = re.compile(r"(fast)?mcp(\.[a-z_]+)+|@modelcontextprotocol(/[a-z.]+)+")


class Departure(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Features that are not as they should be; without ``revisions`` in all of them."""

    features: list[str]
    revisions: list[str] = []
    seen: str
    """A regular expression for how the cell fails; one that fails differently is red."""
    reason: str


class Entry(Departure, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is so in lines of the SDK, on one side; without ``transports`` over all of them."""

    lines: list[str]
    side: str
    """What the SDK is: ``client`` or ``server``."""
    transports: list[str] = []

    def covers(self, line: str, side: str, transport: str, revision: str, feature: str) -> bool:
        """Whether a cell is meant."""
        return (
            line in self.lines
            and side == self.side
            and feature in self.features
            and (not self.transports or transport in self.transports)
            and (not self.revisions or revision in self.revisions)
        )


class Gap(Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Features that a line of the SDK does not have."""

    lacks: str
    """The module of the SDK that would hold them, and that the lines do not have."""


class Fault(Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Features that a line of the SDK gets wrong; ``clause``: the page that says so, and what."""

    clause: str


class Difference(Departure, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is so for clients of servers ``behind`` a gateway; without ``lines`` for all servers."""

    behind: list[str]
    lines: list[str] = []

    def covers(self, line: str, revision: str, behind: str, feature: str) -> bool:
        """Whether a cell is meant; ``line`` is that of the server."""
        return (
            feature in self.features
            and (not self.revisions or revision in self.revisions)
            and behind in self.behind
            and (not self.lines or line in self.lines)
        )


class Known(Struct, frozen=True, forbid_unknown_fields=True):
    """All entries."""

    gap: list[Gap] = []
    fault: list[Fault] = []
    difference: list[Difference] = []

    def find(self, ends: Iterable[tuple[str, str, str, str]], feature: str) -> Entry | None:
        """Return the first entry that one end falls under: its line, side, transport, revision."""
        for entry in (*self.fault, *self.gap):
            if any(entry.covers(*end, feature) for end in ends):
                return entry
        return None

    def differs(self, line: str, revision: str, behind: str, feature: str) -> Difference | None:
        """Return the first difference that a cell falls under."""
        for entry in self.difference:
            if entry.covers(line, revision, behind, feature):
                return entry
        return None


def load(path: Path = KNOWN_FILE) -> Known:
    """Read the file.  Raises ValueError naming what is wrong with it."""
    known = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Known)
    for entry in (*known.gap, *known.fault):
        if entry.side not in ("client", "server"):
            raise ValueError(f"side: {entry.side!r} is neither client nor server")
        if isinstance(entry, Gap) and not _SDK_MODULE.fullmatch(entry.lacks):
            raise ValueError(f"lacks: {entry.lacks!r} is no module of the SDK")
    departures: list[Departure] = [*known.gap, *known.fault, *known.difference]
    for each in departures:
        if unknown := set(each.features) - BY_NAME.keys():
            raise ValueError(f"features: there is no {min(unknown)!r}")
        spoken = {*each.revisions, *getattr(each, "behind", ())}
        if unknown := spoken - revisions.BY_NAME.keys():
            raise ValueError(f"revisions: there is no {min(unknown)!r}")
        if not each.reason.strip() or not getattr(each, "clause", "x").strip():
            raise ValueError(f"{each.features[0]!r}: reason and clause must say something")
        try:
            re.compile(each.seen)
        except re.error as error:
            raise ValueError(f"seen: {each.seen!r}: {error}") from None
    return known
