"""JUnit XML, as continuous integration reads it: a suite for each binding and revision."""

from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from conformance.kit.model import Verdict
from conformance.reports.plain import line_of
from conformance.reports.report import Entry, Report
from conformance.run.expected import Judged

_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def as_junit(report: Report) -> str:
    """The whole as ``testsuites``; times in seconds."""
    suites = [
        _suite(report, name, (_case(report, each) for each in report.entries if each.place == name))
        for name in dict.fromkeys(entry.place for entry in report.entries)
    ]
    if report.stale:
        suites.append(_suite(report, "expected failures", map(_stale, report.stale)))
    root = _element("testsuites", name=report.title, **_counts(suites))
    root.set("time", f"{report.seconds:.3f}")
    root.extend(suites)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, "unicode") + "\n"


def _suite(report: Report, name: str, cases: Iterable[Xml.Element]) -> Xml.Element:
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
    suite.extend(found)
    return suite


def _counts(suites: Iterable[Xml.Element]) -> dict[str, int]:
    found = [*suites]
    return {name: sum(int(suite.get(name, 0)) for suite in found) for name in ("tests", *_COUNTED)}


def _case(report: Report, entry: Entry) -> Xml.Element:
    group = f"{report.side}.{entry.case.page.replace('/', '.')}"
    name = f"{entry.case.id.removeprefix(entry.case.page + '/')} [{entry.place}]"
    case = _element("testcase", classname=group, name=name, time=f"{entry.seconds:.3f}")
    out = [*entry.notes]
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
        out.insert(0, f"{entry.verdict}: {entry.detail}")
    if out:
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
