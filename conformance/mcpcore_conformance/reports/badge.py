"""An SVG badge: a name, and how many of the applicable cases passed."""

from html import escape

from mcpcore_conformance.kit.model import Verdict
from mcpcore_conformance.reports.report import Report

GREEN, YELLOW, RED, GREY = "#2e8540", "#a66f00", "#c22f2f", "#6a6a6a"
_NARROW = frozenset("fijlrtI1.,:;|!()[]/' ")
HEIGHT = 20
PAD = 6


def as_badge(report: Report) -> str:
    """One picture; green if the run is well, yellow if it is with weaknesses, red if it is not.

    A run that did not come to its end is grey, and says so.
    """
    counts = report.count()
    applicable = sum(counts.values()) - counts[Verdict.NOT_APPLICABLE]
    value, colour = f"{counts[Verdict.PASSED]} of {applicable}", GREEN
    if report.ended is not None:
        value, colour = report.ended.word, GREY
    elif not applicable:
        value, colour = "nothing played", GREY
    elif not report.well:
        colour = RED
    elif counts[Verdict.PASSED] + counts[Verdict.INFORMATIONAL] < applicable:
        colour = YELLOW
    return _drawn(f"MCP {report.side}", value, colour)


def _drawn(name: str, value: str, colour: str) -> str:
    left, right = _width(name), _width(value)
    total = left + right
    text = (
        '<text x="{x}" y="14" fill="#fff" text-anchor="middle" textLength="{length}"'
        ' font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{said}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{HEIGHT}" role="img"'
        f' aria-label="{escape(f"{name}: {value}")}"><title>{escape(f"{name}: {value}")}</title>'
        f'<clipPath id="r"><rect width="{total}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{HEIGHT}" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{colour}"/></g>'
        + text.format(x=left / 2, length=left - 2 * PAD, said=escape(name))
        + text.format(x=left + right / 2, length=right - 2 * PAD, said=escape(value))
        + "</svg>\n"
    )


def _width(text: str) -> int:
    """About what the text takes at 11 pixels, padding included; the text is fitted to it."""
    return round(sum(4.2 if each in _NARROW else 7.2 for each in text)) + 2 * PAD
