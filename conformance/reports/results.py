"""JSON: one object for each case, binding and revision, played or not."""

import json

from conformance.reports.report import Report, rows_of


def as_json(report: Report) -> str:
    """An array of objects, one a line."""
    rows = (json.dumps(row, ensure_ascii=False) for row in rows_of(report))
    return "[" + ",\n ".join(rows) + "]\n"
