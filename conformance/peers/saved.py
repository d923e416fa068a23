"""Results kept in a file, so that they can be read again without another run."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from mcpcore_conformance.kit.model import Binding, Case, Line, Result, Verdict


class _Kept(Struct, omit_defaults=True):
    case: str
    revision: str
    binding: Binding
    verdict: Verdict
    detail: str = ""
    notes: list[str] = []
    transcript: list[Line] = []


def save(path: Path, results: Iterable[Result]) -> None:
    """Write results, one a line."""
    kept = [
        _Kept(
            each.case.id,
            each.revision,
            each.binding,
            each.verdict,
            each.detail,
            each.notes,
            each.transcript,
        )
        for each in results
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.Encoder().encode_lines(kept))


def load(path: Path, cases: Iterable[Case]) -> list[Result]:
    """Read results.  Those of cases that there are not any more are left out."""
    known = {case.id: case for case in cases}
    kept = msgspec.json.Decoder(_Kept).decode_lines(path.read_bytes())
    return [
        Result(
            case=known[each.case],
            revision=each.revision,
            binding=each.binding,
            verdict=each.verdict,
            detail=each.detail,
            notes=each.notes,
            transcript=each.transcript,
        )
        for each in kept
        if each.case in known
    ]
