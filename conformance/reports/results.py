"""JSON: one object for each case, binding and revision."""

import json

from conformance.reports.report import Report, row_of


def as_json(report: Report) -> str:
    """An array of objects, one a line."""
    rows = (json.dumps(row_of(entry), ensure_ascii=False) for entry in report.entries)
    return "[" + ",\n ".join(rows) + "]\n"
