"""Findings: what a case saw in a program, with the bytes, and what reading them came to."""

import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from msgspec import Struct, field

from conformance.kit.model import Case, Result, Side, Verdict
from conformance.run.transcript import records_of
from mcpcore.wire.trace import TO_SERVER, Record

CHECKED = Path(__file__).resolve().parent / "checked.toml"
NOTABLE = (Verdict.FAILED, Verdict.WEAK, Verdict.INCONCLUSIVE)
WIDTH = 240
SHOWN = {Side.SERVER: 8, Side.CLIENT: 16}
"""Records that are shown of a finding; a client that plays a script says more after what counts."""


_SAYING_NOTHING = (
    "cache-control:",
    "connection:",
    "content-length:",
    "date:",
    "server:",
    "transfer-encoding:",
    "user-agent:",
    "x-accel-buffering:",
)
"""How lines of heads begin that are left out."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


class Checked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding that somebody has read the bytes of."""

    case: str
    """An id, or a pattern with ``*`` in it."""
    peers: tuple[str, ...]
    """Names of peers."""
    fact: str
    """What the program does."""
    whose: str = "SDK"
    """SDK, uvicorn or httpx (HTTP below it), or program (what is built on the SDK)."""
    seen: str = ""
    """A regular expression that the detail of the verdict has to match; empty: any."""
    sometimes: bool = False
    """It depends on timing: a run need not find it."""

    def explains(self, case: str, peer: str, detail: str) -> bool:
        """Whether this is about what a case saw in a peer."""
        about = peer in self.peers and fnmatchcase(case, self.case)
        return about and re.search(self.seen, detail) is not None


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    finding: tuple[Checked, ...] = ()


class Seen(Struct):
    """What one case saw in one program: the worst, and where."""

    revisions: list[str] = field(default_factory=list)
    verdict: Verdict = Verdict.WEAK
    detail: str = ""
    said: list[str] = field(default_factory=list)
    """The bytes, oldest first."""


class Finding(Struct):
    """What one case saw, in all programs."""

    case: Case
    places: dict[str, Seen] = field(default_factory=dict)
    """By names of peers."""


def read_checked(path: Path = CHECKED) -> tuple[Checked, ...]:
    """Read what was checked by hand."""
    return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).finding


def gather(results: Iterable[tuple[str, Result]]) -> list[Finding]:
    """Put results of peers together by case; of a peer, one that fails stands for all."""
    found: dict[str, Finding] = {}
    for peer, result in results:
        if result.verdict not in NOTABLE:
            continue
        finding = found.setdefault(result.case.id, Finding(result.case))
        seen = finding.places.setdefault(peer, Seen())
        if not seen.revisions or result.verdict is Verdict.FAILED is not seen.verdict:
            seen.verdict, seen.detail = result.verdict, result.detail
            seen.said = bytes_of(result)
        seen.revisions.append(result.revision)
    return sorted(found.values(), key=lambda each: each.case.id)


def bytes_of(result: Result) -> list[str]:
    """The last things that were said before the verdict, without the goodbyes."""
    records = [each for each in records_of(result) if each.time >= 0]  # of the case itself
    said = [each for each in records if each.payload and each.kind != "closed"]
    ends = {(each.connection, each.stream) for each in said if each.stream and _leaves(each)}
    told = [each for each in said if (each.connection, each.stream) not in ends]
    return [_line(record) for record in told[-SHOWN[result.case.side] :]]


def _leaves(record: Record) -> bool:
    return record.payload.startswith(b"DELETE ")


def _line(record: Record) -> str:
    arrow = "to the server" if record.direction == TO_SERVER else "to the client"
    text = record.text.strip() if record.text is not None else repr(record.data)
    if record.kind in ("http-request", "http-response"):
        lines = (line for line in text.splitlines() if not line.lower().startswith(_SAYING_NOTHING))
        text = " | ".join(lines)
    text = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
    return f"{arrow}: {text if len(text) <= WIDTH else text[:WIDTH] + ' ...'}"


def explained(finding: Finding, peer: str, checked: Sequence[Checked]) -> Checked | None:
    """What was written down about a finding in a peer; the first that fits."""
    case, detail = finding.case.id, finding.places[peer].detail
    return next((each for each in checked if each.explains(case, peer, detail)), None)


def unchecked(
    findings: Sequence[Finding], checked: Sequence[Checked], run: Collection[str]
) -> list[str]:
    """What was found and not checked, and what was checked and not found, in the peers ``run``."""
    new, found = [], set()
    for finding in findings:
        for peer in finding.places:
            known = explained(finding, peer, checked)
            if known is None:
                new.append(f"not checked by hand: {finding.case.id} in {peer}")
            else:
                found.add((known, peer))
    gone = [
        f"not found any more: {each.case} in {peer}"
        for each in checked
        for peer in each.peers
        if peer in run and (each, peer) not in found and not each.sometimes
    ]
    return new + gone
