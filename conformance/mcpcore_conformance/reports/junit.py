"""JUnit XML, as continuous integration reads it: a suite for each binding and revision."""

from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from mcpcore_conformance.kit.model import Binding, Case, Verdict
from mcpcore_conformance.reports.plain import line_of
from mcpcore_conformance.reports.report import NOT_PLAYED, Ended, Entry, Report
from mcpcore_conformance.run.expected import Judged
from mcpcore_conformance.run.plan import Unit

Place = tuple[Binding, str]
"""A suite: a transport, and the name of a revision."""
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def as_junit(report: Report) -> str:
    """The whole as ``testsuites``; times in seconds."""
    found: dict[Place, list[Xml.Element]] = {}
    for entry in report.entries:
        found.setdefault((entry.binding, entry.revision), []).append(_case(report, entry))
    for unit in report.unplayed:
        at = (unit.binding, unit.revision.name)
        found.setdefault(at, []).append(_unplayed(report, unit, " ".join(at)))
    suites = [_suite(report, " ".join(at), cases, at) for at, cases in found.items()]
    if report.ended is not None and (report.ended.fails or not report.ended.reached):
        suites.append(_suite(report, "the run", [_lost(report.ended)]))
    if report.stale:
        suites.append(_suite(report, "expected failures", map(_stale, report.stale)))
    # of the schemas that there are, none lets this one say how many were skipped
    counts = {name: number for name, number in _counts(suites).items() if name != "skipped"}
    root = _element("testsuites", name=report.title, **counts)
    root.set("time", f"{report.seconds:.3f}")
    root.extend(suites)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, "unicode") + "\n"


def _suite(
    report: Report, name: str, cases: Iterable[Xml.Element], at: Place | None = None
) -> Xml.Element:
    found = [*cases]
    suite = _element("testsuite", name=name, tests=len(found))
    for attribute, tag in _COUNTED.items():
        suite.set(attribute, str(sum(case.find(tag) is not None for case in found)))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in found):.3f}")
    suite.set("timestamp", report.started.removesuffix("Z"))
    suite.set("hostname", "localhost")
    properties = Xml.SubElement(suite, "properties")
    for key in ("side", "target", "program", "seed"):
        properties.append(_element("property", name=key, value=getattr(report, key)))
    for key, value in zip(("transport", "revision"), at or (), strict=False):
        properties.append(_element("property", name=key, value=value))
    if report.ended is not None:
        properties.append(_element("property", name="ended", value=report.ended.word))
    suite.extend(found)
    return suite


def _counts(suites: Iterable[Xml.Element]) -> dict[str, int]:
    found = [*suites]
    return {name: sum(int(suite.get(name, 0)) for suite in found) for name in ("tests", *_COUNTED)}


def _named(report: Report, case: Case, place: str, seconds: float) -> Xml.Element:
    group = f"{report.side}.{case.page.replace('/', '.')}"
    name = f"{case.id.removeprefix(case.page + '/')} [{place}]"
    return _element("testcase", classname=group, name=name, time=f"{seconds:.3f}")


def _unplayed(report: Report, unit: Unit, place: str) -> Xml.Element:
    found = _named(report, unit.case, place, 0.0)
    found.append(_element("skipped", message=f"{NOT_PLAYED}: {report.why}"))
    return found


def _lost(ended: Ended) -> Xml.Element:
    """What fails a pipeline that reads nothing but this, as all cases are skipped."""
    found = _element("testcase", classname="run", name="something to play with", time="0.000")
    found.append(_element("error", message=ended.why, type=ended.word))
    return found


def _case(report: Report, entry: Entry) -> Xml.Element:
    case = _named(report, entry.case, entry.place, entry.seconds)
    # a case has no properties in the schemas: what it is about stands in its output
    out = [f"{entry.case.strength} {entry.case.link_in(entry.revision)}", *entry.notes]
    if entry.judged is Judged.UNEXPECTED_PASS:
        message = f"unexpected pass: {entry.reason}"
        case.append(_element("failure", message=message, type="unexpected pass"))
    elif entry.judged is Judged.KNOWN:
        message = f"known failure: {entry.reason or entry.detail}"
        case.append(_element("skipped", message=message))
    elif entry.judged is Judged.FAILURE:
        tag = "error" if entry.verdict is Verdict.INCONCLUSIVE else "failure"
        said = _element(tag, message=entry.detail, type=entry.verdict)
        said.text = account(entry)
        case.append(said)
    elif entry.verdict in (Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE):
        case.append(_element("skipped", message=f"{entry.verdict}: {entry.detail}"))
    elif entry.detail:
        out.insert(1, f"{entry.verdict}: {entry.detail}")
    Xml.SubElement(case, "system-out").text = "\n".join(out)
    return case


def account(entry: Entry) -> str:
    """What was wanted, what was found, and what was said."""
    return "\n".join(
        [
            f"{entry.case.strength}: {entry.case.summary}",
            f"expected: {entry.case.expects}",
            f"found: {entry.detail}",
            f"clause: {entry.case.link_in(entry.revision)}",
            *map(line_of, entry.records),
        ]
    )


def _stale(case: str) -> Xml.Element:
    found = _element("testcase", classname="expected-failures", name=case, time="0.000")
    message = "expected to fail, and not applicable"
    found.append(_element("failure", message=message, type="stale"))
    return found


def _element(tag: str, **attributes: object) -> Xml.Element:
    return Xml.Element(tag, {name: str(value) for name, value in attributes.items()})
