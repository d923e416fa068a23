"""A file of expected failures, written from what a run gave."""

import json
from collections.abc import Sequence

from mcpcore_conformance.reports.report import Entry, Report
from mcpcore_conformance.run.expected import failing


def as_expectations(report: Report) -> str:
    """A file that expects every failure of a report: one entry for a case and its places."""
    bad = failing(report.strict)
    by_case: dict[str, list[Entry]] = {}
    for entry in report.entries:
        if entry.verdict in bad and not entry.faulty:
            by_case.setdefault(entry.case.id, []).append(entry)
    lines = [
        f"# Known failures of the {report.side} {_line(report.target)}: delete an entry when its",
        "# failure is mended; a run fails if one of these passes.",
    ]
    for case, entries in by_case.items():
        for revisions, bindings in _places(entries):
            lines += ["", "[[expected]]", f"case = {_string(case)}"]
            lines += [f"transports = {_strings(bindings)}", f"revisions = {_strings(revisions)}"]
            lines += [f"reason = {_string(f'{entries[0].verdict}: {_line(entries[0].detail)}')}"]
    return "\n".join(lines) + "\n"


def _places(entries: Sequence[Entry]) -> list[tuple[tuple[str, ...], list[str]]]:
    """The bindings that fail in the same revisions, together."""
    by_binding: dict[str, list[str]] = {}
    for entry in entries:
        by_binding.setdefault(entry.binding, []).append(entry.revision)
    groups: dict[tuple[str, ...], list[str]] = {}
    for binding, revisions in by_binding.items():
        groups.setdefault(tuple(revisions), []).append(binding)
    return [*groups.items()]


def _strings(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_string, values))}]"


def _string(text: str) -> str:
    """A basic string of TOML: what is in one line and can be seen is written as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def _line(text: str) -> str:
    """Text in one line, without control characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
