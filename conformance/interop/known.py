"""What the SDK's lines cannot do, and what they provably do wrong: ``known.toml``.

Every entry is tried in every run: one that works after all is out of date, and fails the run until
it is removed.  What our side cannot do is never listed: a gap names what the SDK does not have.
"""

import re
import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct

from conformance.interop.drivers.features import BY_NAME
from mcpcore.spec import revisions

KNOWN_FILE = Path(__file__).with_name("known.toml")
_SDK_MODULE = re.compile(r"mcp(\.[a-z_]+)+")


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Features that are not as they should be in lines of the SDK, on one side.

    Without ``transports`` or ``revisions`` it holds for all of them.
    """

    lines: list[str]
    side: str
    """What the SDK is: ``client`` or ``server``."""
    features: list[str]
    transports: list[str] = []
    revisions: list[str] = []
    seen: str
    """A regular expression for how the cell fails; one that fails differently is red."""
    reason: str

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


class Known(Struct, frozen=True, forbid_unknown_fields=True):
    """All entries."""

    gap: list[Gap] = []
    fault: list[Fault] = []

    def find(
        self, line: str, side: str, transport: str, revision: str, feature: str
    ) -> Entry | None:
        """Return the first entry that a cell falls under."""
        for entry in (*self.fault, *self.gap):
            if entry.covers(line, side, transport, revision, feature):
                return entry
        return None


def load(path: Path = KNOWN_FILE) -> Known:
    """Read the file.  Raises ValueError naming what is wrong with it."""
    known = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Known)
    for entry in (*known.gap, *known.fault):
        if entry.side not in ("client", "server"):
            raise ValueError(f"side: {entry.side!r} is neither client nor server")
        if unknown := set(entry.features) - BY_NAME.keys():
            raise ValueError(f"features: there is no {min(unknown)!r}")
        if unknown := set(entry.revisions) - revisions.BY_NAME.keys():
            raise ValueError(f"revisions: there is no {min(unknown)!r}")
        if not entry.reason.strip() or not getattr(entry, "clause", "x").strip():
            raise ValueError(f"{entry.features[0]!r}: reason and clause must say something")
        try:
            re.compile(entry.seen)
        except re.error as error:
            raise ValueError(f"seen: {entry.seen!r}: {error}") from None
        if isinstance(entry, Gap) and not _SDK_MODULE.fullmatch(entry.lacks):
            raise ValueError(f"lacks: {entry.lacks!r} is no module of the SDK")
    return known
