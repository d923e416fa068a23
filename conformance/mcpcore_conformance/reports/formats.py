"""All formats by name, and where each report goes."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from mcpcore_conformance.reports.badge import as_badge
from mcpcore_conformance.reports.junit import as_junit
from mcpcore_conformance.reports.markdown import as_markdown
from mcpcore_conformance.reports.page import as_page
from mcpcore_conformance.reports.report import Report
from mcpcore_conformance.reports.results import as_json

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "json": as_json,
    "junit": as_junit,
    "markdown": as_markdown,
    "html": as_page,
    "svg": as_badge,
}


class BadReport(ValueError):
    """A report that cannot be made; the message says why."""


class Wanted(Struct, frozen=True):
    """A report that somebody wants."""

    format: str
    file: str = ""
    """Empty: standard output."""


def wanted(text: str) -> Wanted:
    """Read ``FORMAT`` or ``FORMAT:FILE``.  Raises BadReport."""
    name, colon, file = text.partition(":")
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise BadReport(f"there is no format {name!r}; there are {known}, as FORMAT or FORMAT:FILE")
    if colon and not file:
        raise BadReport(f"{text!r} names no file")
    return Wanted(name, "" if file == "-" else file)
