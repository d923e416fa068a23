"""Reports: well-formed for whoever reads them, whatever a server has said."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from mcpcore.trace.format import Header, Record, decode_line
from mcpcore_conformance.commands.ending import WIDTH as TERMINAL
from mcpcore_conformance.commands.progress import line_of as line_of_result
from mcpcore_conformance.kit.log import LIMIT, LINE_LIMIT
from mcpcore_conformance.kit.model import MAY, SHOULD, Binding, Result, Verdict
from mcpcore_conformance.reports.formats import FORMATS, BadReport, Wanted, wanted
from mcpcore_conformance.reports.plain import WIDTH, line_of, printable
from mcpcore_conformance.reports.report import INTERRUPTED, Ended, Report, report_of
from mcpcore_conformance.reports.traces import lines_of, write_traces
from mcpcore_conformance.run.expected import Expected, judge
from tests.conformance_kit.run.results import R1, R2, case, message, result, run_of

V = Verdict
ONE, TWO, SHALL, MIGHT = case("a/one"), case("a/two"), case("b/s", SHOULD), case("b/m", MAY)
EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"' & ]]> <!-- \x1b[31m"
SECRET = "Bearer abcdef0123456789"


def report(*expected: Expected, strict: bool = False, evil: str = "") -> Report:
    said = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"x": evil or "y"}}).encode()
    run = run_of(
        result(ONE, V.PASSED),
        result(ONE, V.FAILED, f"wrong {evil}", revision=R2, transcript=[message(said)]),
        result(TWO, V.NOT_APPLICABLE, "there is none"),
        result(TWO, V.INCONCLUSIVE, "who knows", revision=R2, notes=[f"a note {evil}"]),
        result(SHALL, V.WEAK, f"weak {evil}", binding=Binding.WS, transcript=[message(said)]),
        result(MIGHT, V.INFORMATIONAL, "look", binding=Binding.WS),
        target=f"http://h/{evil}",
    )
    return report_of(run, judge(run, expected, strict=strict))


def cut_short(ended: Ended = INTERRUPTED, *played: Result) -> Report:
    run = run_of(*played, unplayed=[TWO, SHALL])
    return report_of(run, judge(run, (), strict=False), [SECRET], ended=ended)


NOT_REACHED = Ended("not reached", f"nobody was there; {SECRET}", reached=False)


def test_json_has_what_was_not_played() -> None:
    rows = json.loads(FORMATS["json"](cut_short(INTERRUPTED, result(ONE, V.PASSED))))
    assert [(row["id"], row["verdict"], row["outcome"]) for row in rows] == [
        (ONE.id, "passed", "fine"),
        (TWO.id, "not played", "not played"),
        (SHALL.id, "not played", "not played"),
    ]
    assert {*rows[0]} - {*rows[1]} == {"transportSeconds"}
    assert [row["detail"] for row in rows] == ["", *["the run was interrupted"] * 2]
    assert [row["seconds"] for row in rows] == [0.25, 0.0, 0.0]


def test_junit_has_what_was_not_played() -> None:
    root = check_junit(FORMATS["junit"](cut_short(INTERRUPTED, result(ONE, V.PASSED))))
    skipped = [each.get("message") for each in root.iter("skipped")]
    assert skipped == ["not played: the run was interrupted"] * 2
    assert (root.get("tests"), root.get("errors")) == ("3", "0")
    # where nothing could be played, a pipeline that reads only this must not take it for well
    root = check_junit(FORMATS["junit"](cut_short(NOT_REACHED)))
    assert (root.get("tests"), root.get("errors")) == ("3", "1")
    assert sum(int(suite.get("skipped") or 0) for suite in root) == 2
    (error,) = root.iter("error")
    assert (error.get("type"), "nobody was there" in (error.get("message") or "")) == (
        "not reached",
        True,
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ended", [INTERRUPTED, NOT_REACHED])
def test_every_report_says_that_the_run_did_not_come_to_its_end(name: str, ended: Ended) -> None:
    text = FORMATS[name](cut_short(ended))
    said = {"svg": ended.word, "json": "not played"}.get(name, ended.why.partition(";")[0])
    assert said in text
    assert "abcdef0123456789" not in text


def test_reports_say_how_long_each_binding_took() -> None:
    made = report()
    assert made.duration() == "1.5 s (http 0.8 s, ws 0.8 s)"
    assert made.duration() in FORMATS["markdown"](made)
    assert made.duration() in FORMATS["html"](made)
    rows = json.loads(FORMATS["json"](made))
    assert {row["transportSeconds"] for row in rows} == {0.8}


KNOWN = (Expected(case=ONE.id, reason="it is old"),)


def test_json_has_one_object_a_case_and_place() -> None:
    rows = json.loads(FORMATS["json"](report()))
    assert [(row["id"], row["transport"], row["revision"], row["verdict"]) for row in rows] == [
        (ONE.id, "http", R1, "passed"),
        (ONE.id, "http", R2, "failed"),
        (TWO.id, "http", R1, "not applicable"),
        (TWO.id, "http", R2, "inconclusive"),
        (SHALL.id, "ws", R1, "weak"),
        (MIGHT.id, "ws", R1, "informational"),
    ]
    assert list(rows[1])[:7] == [
        *("id", "clause", "strength", "revision", "transport", "verdict", "detail"),
    ]
    assert rows[1]["strength"] == "MUST"
    assert rows[1]["clause"] == "2026-07-28/basic/x#a"
    assert rows[1]["detail"] == "wrong "
    assert rows[1]["outcome"] == "failure"
    assert rows[3]["notes"] == ["a note "]


def test_json_has_what_was_said_in_each_finding_as_a_trace_has_it() -> None:
    made = report()
    rows = json.loads(FORMATS["json"](made))
    kept = [
        [decode_line(json.dumps(each).encode()) for each in row.get("records", ())] for row in rows
    ]
    assert kept == [[*entry.records] for entry in made.entries]
    assert [len(each) for each in kept] == [0, 1, 0, 0, 1, 0]


def test_json_has_as_much_of_it_as_the_page() -> None:
    text = message(json.dumps({"long": "\N{LATIN SMALL LETTER O WITH STROKE}" * 5000}).encode())
    odd = message(b"\xff" * 3000)
    run = run_of(result(ONE, V.FAILED, "wrong", transcript=[text, odd], binding=Binding.WS))
    made = report_of(run, judge(run, (), strict=False))
    (row,) = json.loads(FORMATS["json"](made))
    long, data = (decode_line(json.dumps(each).encode()) for each in row["records"])
    assert isinstance(long, Record)
    assert isinstance(data, Record)
    assert len(long.text or "") == len(data.data or b"") == WIDTH
    for cut, whole in zip((long, data), made.entries[0].records, strict=True):
        assert cut.cut == len(whole.payload) - len(cut.payload) > 0
    shown = Page(FORMATS["html"](made))
    assert f"{(long.text or '')[:100]}" in "".join(shown.text)


def test_json_can_be_looked_at_on_a_terminal() -> None:
    odd = '{"x": "\x9b1m \N{RIGHT-TO-LEFT OVERRIDE} \U000e0001 \N{GRINNING FACE}"}'
    run = run_of(result(ONE, V.FAILED, transcript=[message(odd.encode())]))
    text = FORMATS["json"](report_of(run, judge(run, (), strict=False)))
    assert text.replace("\n", "").isprintable()
    assert json.loads(text)[0]["records"][0]["text"] == odd


def test_json_names_a_case_that_failed_itself() -> None:
    faulty = result(ONE, V.INCONCLUSIVE, "the case itself failed")
    faulty.faulty = True
    run = run_of(faulty, result(TWO, V.PASSED))
    rows = json.loads(FORMATS["json"](report_of(run, judge(run, (), strict=False))))
    assert [(row["outcome"], row.get("faulty")) for row in rows] == [
        ("failure", True),
        ("fine", None),
    ]


def test_the_page_says_how_much_is_kept_and_how_much_is_shown() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "conformance.md"
    text = " ".join(page.read_text().split())
    assert f"Of a case {LIMIT} lines and of a line" in text
    assert f"{LINE_LIMIT // 1024} KiB are kept: all of that is in the trace" in text
    assert f"the first {WIDTH} characters, or bytes" in text
    assert f"`-v` shows {TERMINAL}" in text


def test_the_page_on_traces_names_every_binding_that_a_trace_of_a_case_has() -> None:
    found = set()
    for binding in Binding:
        run = run_of(result(ONE, V.FAILED, transcript=[message(b"{}")], binding=binding))
        made = report_of(run, judge(run, (), strict=False))
        header = decode_line(lines_of(made, made.entries[0], made.entries[0].records)[0])
        assert isinstance(header, Header)
        found.add(header.binding)
    text = (Path(__file__).parents[3] / "docs" / "reference" / "traces.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `binding` |")]
    assert len(rows) == 2
    assert {*re.findall("`([a-z]+)`", " ".join(rows))} - {"binding", "opened"} == found


# What both Ant's and Jenkins' schema of JUnit reports allow, where they say the same: attributes,
# then children in this order.
REQUIRED = {
    "testsuites": set(),
    "testsuite": {"name", "tests", "failures", "errors", "time", "timestamp", "hostname"},
    "testcase": {"name", "classname", "time"},
    "property": {"name", "value"},
    "failure": {"type"},
    "error": {"type"},
}
ALLOWED = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": REQUIRED["testsuite"] | {"skipped"},
    "testcase": REQUIRED["testcase"],
    "properties": set(),
    "property": REQUIRED["property"],
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"(properties )?(testcase )*(system-out )?(system-err )?",
    "testcase": r"(skipped |error |failure )?(system-out )?(system-err )?",
    "properties": r"(property )*",
}


def check_junit(text: str) -> Xml.Element:
    root = Xml.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) <= ALLOWED[element.tag], element.tag
        assert set(element.attrib) >= REQUIRED.get(element.tag, set()), element.tag
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), children), element.tag
    for suite in [root, *root.iter("testsuite")]:
        counted = {
            "tests": len([*suite.iter("testcase")]),
            "failures": len([*suite.iter("failure")]),
            "errors": len([*suite.iter("error")]),
            "skipped": len([*suite.iter("skipped")]),
        }
        if suite is root:
            del counted["skipped"]
        assert {name: int(suite.attrib[name]) for name in counted} == counted
    for timed in (root, *root.iter("testsuite"), *root.iter("testcase")):
        assert re.fullmatch(r"\d+\.\d{3}", timed.attrib["time"])
    for suite in root:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        # who merges suites tells cases by these two
        names = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
        assert len({*names}) == len(names)
    return root


@pytest.mark.parametrize(
    ("strict", "expected", "found"),
    [
        (False, (), ["-", "failure", "skipped", "skipped", "-", "-"]),
        (True, (), ["-", "failure", "skipped", "error", "failure", "-"]),
        (False, KNOWN, ["failure", "skipped", "skipped", "skipped", "-", "-"]),
    ],
)
def test_junit(strict: bool, expected: tuple[Expected, ...], found: list[str]) -> None:
    root = check_junit(FORMATS["junit"](report(*expected, strict=strict)))
    assert [suite.get("name") for suite in root] == [f"http {R1}", f"http {R2}", f"ws {R1}"]
    outcome = {
        (case.get("name"), next((each.tag for each in case if each.tag != "system-out"), "-"))
        for case in root.iter("testcase")
    }
    names = [
        *(f"a/one [http {R1}]", f"a/one [http {R2}]", f"a/two [http {R1}]"),
        *(f"a/two [http {R2}]", f"b/s [ws {R1}]", f"b/m [ws {R1}]"),
    ]
    assert outcome == {*zip(names, found, strict=True)}
    assert {case.get("classname") for case in root.iter("testcase")} == {"server.basic.x"}
    for suite, (transport, revision) in zip(
        root, (("http", R1), ("http", R2), ("ws", R1)), strict=True
    ):
        assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {
            **{"side": "server", "target": "http://h/", "seed": "3"},
            "program": f"mcpcore {version('mcpcore')}",
            **{"transport": transport, "revision": revision},
        }


def test_junit_tells_why_and_what_was_said() -> None:
    root = check_junit(FORMATS["junit"](report()))
    (failure,) = root.iter("failure")
    assert failure.get("message") == "wrong "
    text = failure.text or ""
    assert "MUST: Something is tested." in text
    assert "expected: It is as it should be." in text
    assert '< result         {"jsonrpc": "2.0", "id": 1, "result": {"x": "y"}}' in text


def test_junit_tells_of_each_case_how_binding_it_is_and_where_it_stands() -> None:
    root = check_junit(FORMATS["junit"](report()))
    found = [(each.text or "").split("\n") for each in root.iter("system-out")]
    base = "https://modelcontextprotocol.io/specification"
    assert [lines[0] for lines in found] == [
        f"{strength} {base}/{revision}/basic/x#{section}"
        for strength, revision, section in (
            *(("MUST", R1, "a"), ("MUST", R1, "a"), ("MUST", R2, "a")),
            *(("MUST", R2, "a"), ("SHOULD", R1, "b"), ("MAY", R1, "b")),
        )
    ]
    # what is no failure is told there, too, and what was noted
    assert [lines[1:] for lines in found if lines[1:]] == [
        *(["a note "], ["weak: weak "], ["informational: look"]),
    ]


def test_a_report_says_when_the_run_began() -> None:
    run = run_of(result(ONE, V.PASSED))
    run.seconds = 3600.0
    before = datetime.now(UTC) - timedelta(seconds=run.seconds)
    made = report_of(run, judge(run, (), strict=False))
    assert abs(datetime.fromisoformat(made.started) - before) < timedelta(seconds=1800)


def test_junit_has_what_is_stale() -> None:
    stale = Expected(case=TWO.id, revisions=(R1,))
    root = check_junit(FORMATS["junit"](report(stale)))
    (case,) = [each for each in root.iter("testcase") if each.get("name") == TWO.id]
    assert case[0].get("type") == "stale"


def test_what_is_said_has_no_control_characters() -> None:
    rows = json.loads(FORMATS["json"](report(evil=EVIL)))
    said = [text for row in rows for text in (row["detail"], *row.get("notes", ()))]
    assert sum("alert(1)" in text for text in said) == 3
    assert all(printable(text) == text for text in said)


def test_junit_holds_what_xml_cannot() -> None:
    odd = EVIL + "\x00\ufffe\ud800"
    root = check_junit(FORMATS["junit"](report(evil=odd)))
    (failure,) = root.iter("failure")
    assert "</script><script>" in (failure.get("message") or "")


class Page(HTMLParser):
    """What a browser would see of a page."""

    VOID = ("meta", "input", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_the_page_is_whole_and_needs_nothing() -> None:
    page = Page(FORMATS["html"](report(*KNOWN)))
    for tag, attributes in page.tags:
        # nothing is loaded, nothing runs but the page's one script
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "srcset", "style"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        if "href" in attributes:
            assert tag == "a"
            target = attributes["href"] or ""
            assert re.match(r"https://modelcontextprotocol\.io/|#e\d+$|docs/", target)
    assert page.count("script") == 1
    ids = [attributes["id"] for tag, attributes in page.tags if "id" in attributes]
    ids.remove("words")
    links = {(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert ids
    assert {*ids} <= links
    text = "".join(page.text)
    assert '{"jsonrpc": "2.0", "id": 1, "result": {"x": "y"}}' in text
    for shown in ("It is as it should be.", "Something is tested.", "it is old", "wrong"):
        assert shown in text


def test_the_page_lets_one_script_and_one_style_run() -> None:
    text = FORMATS["html"](report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    import base64
    import hashlib

    for name in ("style", "script"):
        (inner,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy[1]


def test_a_hostile_server_gets_no_script_into_the_page() -> None:
    plain, evil = Page(FORMATS["html"](report())), Page(FORMATS["html"](report(evil=EVIL)))
    # what it said is text, and there is nothing but what was there without it
    assert evil.scripts == plain.scripts
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in evil.tags] == [sorted(attrs) for _, attrs in plain.tags]
    text = "".join(evil.text)
    assert "<script>alert(1)</script>" in text
    assert "\x1b" not in text


def test_the_matrix_has_every_case_and_place() -> None:
    page = Page(FORMATS["html"](report()))
    rows = [
        attributes["data-id"]
        for tag, attributes in page.tags
        if tag == "div" and "data-id" in attributes
    ]
    assert rows == [ONE.id, TWO.id, SHALL.id, MIGHT.id]
    text = "".join(page.text)
    assert text.count(R1) >= 2
    assert "\N{CHECK MARK}" in text
    assert "\N{BALLOT X}" in text


@pytest.mark.parametrize("format", ["markdown", "html"])
def test_where_most_does_not_apply_the_reason_is_said_once(format: str) -> None:
    cases = [case(f"a/{number}") for number in range(3)]
    why = "the server does not speak it"
    apart = [result(each, V.NOT_APPLICABLE, why, revision=R2) for each in cases[:2]]
    rest = [result(cases[2], V.PASSED, revision=R2), result(cases[0], V.NOT_APPLICABLE, why)]
    run = run_of(*apart, *rest, result(cases[1], V.PASSED))
    made = report_of(run, judge(run, (), strict=False))
    said = f"http {R2}: 2 of 3 cases do not apply: {why}"
    assert made.left_out() == [said]
    assert FORMATS[format](made).count(said) == 1


def cells(text: str) -> list[tuple[str, str]]:
    """The cells of a row: title and text."""
    return re.findall(r'<b(?: class="[a-z ]+")?(?: title="([^"]*)")?>(?:<a[^>]*>)?([^<]*)', text)


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ((V.PASSED, V.PASSED), ("", "\N{CHECK MARK}")),
        ((V.PASSED, V.NOT_APPLICABLE), ("1 passed, 1 not applicable", "\N{CHECK MARK}")),
        ((V.NOT_APPLICABLE, V.NOT_APPLICABLE), ("", "\N{MIDDLE DOT}")),
        ((V.INFORMATIONAL, V.PASSED), ("1 informational, 1 passed", "i")),
        ((V.INCONCLUSIVE, V.INFORMATIONAL), ("1 inconclusive, 1 informational", "?")),
        ((V.INCONCLUSIVE, V.WEAK, V.WEAK), ("2 weak, 1 inconclusive", "~2")),
        ((V.WEAK, V.FAILED, V.PASSED), ("1 failed, 1 weak, 1 passed", "\N{BALLOT X}")),
    ],
)
def test_a_clause_has_one_row_with_what_is_worst_and_opens_into_its_cases(
    verdicts: tuple[Verdict, ...], worst: tuple[str, str]
) -> None:
    cases = [case(f"one/{number}") for number in range(len(verdicts))]
    other = result(case("two/a"), V.PASSED, revision=R2, binding=Binding.WS)
    run = run_of(other, *(result(*each, "so it is") for each in zip(cases, verdicts, strict=True)))
    text = FORMATS["html"](report_of(run, judge(run, (), strict=False)))
    clauses = re.findall(r'<details class="clause">(.*?)</details>', text, re.DOTALL)
    assert len(clauses) == 2
    head, *rows = clauses[1].split('<div class="row case"')
    assert "basic/x#one" in head
    assert cells(head) == [("", ""), worst]
    assert len(rows) == len(cases)
    for each, row, verdict in zip(cases, rows, verdicts, strict=True):
        assert f'data-id="{each.id}"' in row
        why = ("so it is" in row, "not applicable: so it is" in row)
        assert why == (True, verdict is V.NOT_APPLICABLE)
    assert ".row { --places: 2; }" in text


def test_the_line_on_the_terminal_has_neither_secrets_nor_control_characters() -> None:
    shown = line_of_result(
        result(ONE, V.FAILED, f"it sent {SECRET}\x1b[31m and the-users-own-secret-1"),
        ["the-users-own-secret-1"],
    ).plain
    assert "abcdef0123456789" not in shown
    assert "users-own" not in shown
    assert "\x1b" not in shown
    assert shown.startswith("failed basic/x/a/one (http, 2025-11-25): it sent ")


def test_markdown() -> None:
    text = FORMATS["markdown"](report(*KNOWN, strict=True))
    assert text.startswith("# MCP conformance of the server http\\://h/\n")
    assert f"| http | {R2} |  | 1 |  |  |  | 1 |" in text
    assert "## Failures (2)" in text
    assert "## Unexpected passes (1)" in text
    assert "## Known failures (1)" in text
    assert "## Worth knowing (1)" in text
    assert "- known: it is old" in text
    assert "<details><summary>transcript</summary>\n\n```text\n" in text


def test_markdown_says_what_it_says() -> None:
    evil = "`` ``` ~~~ | <b> @everyone [x](javascript:1) *x* https://evil.example\n# heading"
    text = FORMATS["markdown"](report(evil=evil))
    # outside of fences nothing of it is markup
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<b>" not in outside.replace("\\<b\\>", "")
    assert "@everyone" not in outside
    assert "\n# heading" not in outside
    assert "[x](" not in outside.replace("\\[x\\](", "")
    assert "https://evil" not in outside
    # and within one nothing ends it
    assert "\n````text\n" in text


def test_the_badge() -> None:
    for made, said, colour in (
        (report(), "1 of 5", "#c22f2f"),
        (
            report_of(run := run_of(result(ONE, V.PASSED)), judge(run, (), strict=True)),
            "1 of 1",
            "#2e8540",
        ),
        (
            report_of(run := run_of(result(ONE, V.WEAK)), judge(run, (), strict=False)),
            "0 of 1",
            "#a66f00",
        ),
        (
            report_of(run := run_of(result(ONE, V.NOT_APPLICABLE)), judge(run, (), strict=False)),
            "nothing played",
            "#6a6a6a",
        ),
    ):
        root = Xml.fromstring(FORMATS["svg"](made))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("aria-label") == f"MCP server: {said}"
        assert colour in FORMATS["svg"](made)


@pytest.mark.parametrize("name", FORMATS)
def test_no_report_holds_a_secret(name: str) -> None:
    said = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"apiKey": "abcdef0123456789"}}
    ).encode()
    run = run_of(
        result(
            ONE,
            V.FAILED,
            f"it sent {SECRET}, and abcdef0123456789, and own-secret-of-the-user-1",
            transcript=[message(said)],
            notes=[SECRET],
        ),
        target="http://user:own-secret-of-the-user-1@h/?token=abcdef0123456789",
    )
    made = report_of(run, judge(run, (), strict=False), ["own-secret-of-the-user-1"])
    text = FORMATS[name](made)
    assert "abcdef0123456789" not in text
    assert "own-secret" not in text


def test_a_trace_of_each_finding_is_written(tmp_path: Path) -> None:
    made = report(evil=EVIL)
    for each in made.entries:
        each.started = 1_700_000_000.0
    names = write_traces(made, str(tmp_path / "traces"))
    files = sorted(path.name for path in (tmp_path / "traces").iterdir())
    assert files == [f"basic.x.a.one.http.{R2}.jsonl", f"basic.x.b.s.ws.{R1}.jsonl"]
    assert sorted(names) == [1, 4]
    header, *records = map(decode_line, Path(names[1]).read_bytes().splitlines())
    assert isinstance(header, Header)
    assert (header.side, header.binding) == ("client", "http")
    assert header.started == "2023-11-14T22:13:20Z"
    assert [record.kind for record in records if isinstance(record, Record)] == ["result"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("json", Wanted("json")),
        ("json:-", Wanted("json")),
        ("junit:a/b.xml", Wanted("junit", "a/b.xml")),
        ("html:C:\\x.html", Wanted("html", "C:\\x.html")),
    ],
)
def test_reports_are_asked_for(text: str, found: Wanted) -> None:
    assert wanted(text) == found


@pytest.mark.parametrize("text", ["xml", "", "json:", ":x"])
def test_reports_that_there_are_not(text: str) -> None:
    with pytest.raises(BadReport):
        wanted(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("é\N{GRINNING FACE}", "é\N{GRINNING FACE}"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_is_bounded_and_says_so() -> None:
    record = Record(time=1.0, kind="invalid", direction="to-client", text="x" * 100, cut=7)
    assert line_of(record, 10) == "  1.000    1 < invalid        xxxxxxxxxx ... (97 more)"


@pytest.mark.parametrize("make", FORMATS.values())
def test_a_run_of_nothing_is_reported(make: Callable[[Report], str]) -> None:
    run = run_of()
    assert make(report_of(run, judge(run, (), strict=True)))
