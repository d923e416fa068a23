"""JSON: one object for each case, binding and revision, played or not."""

import json

from mcpcore_conformance.reports.report import Report, rows_of


def as_json(report: Report) -> str:
    """An array of objects, one a line; what cannot be seen is escaped, as terminals get it, too."""
    rows = (_seen(json.dumps(row, ensure_ascii=False)) for row in rows_of(report))
    return "[" + ",\n ".join(rows) + "]\n"


def _seen(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
