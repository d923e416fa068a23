"""What is found in programs of others: gathered, held against what was read, written down."""

import fnmatch
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from conformance.peers.__main__ import PAGE, main
from conformance.peers.checked import Checked, drafts, read_checked, unchecked
from conformance.peers.findings import Finding, gather, normal
from conformance.peers.page import SOMETIMES, UNREAD, page_of, summary
from conformance.peers.programs import OVER_STDIO, PEERS, Peer, own_programs
from conformance.peers.said import BUDGET, FIRST, LAST, LEAST, MIDDLE, bytes_of
from conformance.peers.saved import load, save
from mcpcore_conformance.kit.model import Binding, Case, Line, Result, Verdict
from mcpcore_conformance.run.registry import all_cases
from tests.clock import PATIENCE
from tests.conformance_kit.run import results as by_hand
from tests.docs.blocks import dead_links

OLDEST, OLD, NEW = "2024-11-05", "2025-06-18", "2025-11-25"
LEAVES = 600_000
"""Bytes that a page may have which a person opens."""


def a_case(slug: str = "one") -> Case:
    return by_hand.case(f"part/{slug}", page="basic/test")


def line(
    text: str, *, sent: bool, at: float = 0.0, exchange: int = 0, kind: str = "message"
) -> Line:
    return Line(at=at, sent=sent, wire=1, exchange=exchange, kind=kind, data=text.encode())


def result(
    case: Case, verdict: Verdict, *lines: Line, revision: str = NEW, detail: str = ""
) -> Result:
    detail = detail or f"it is {verdict}"
    return by_hand.result(
        case, verdict, detail, revision=revision, binding=Binding.STDIO, transcript=lines, seconds=0
    )


def read(
    *cases: str,
    verdict: Verdict = Verdict.FAILED,
    peers: tuple[str, ...] = ("a",),
    revisions: str = NEW,
    seen: str = "it is",
    fact: str = "It does so.",
    sometimes: bool = False,
) -> Checked:
    return Checked(
        cases=cases or ("basic/test/part/one",),
        verdict=verdict,
        peers=peers,
        revisions=revisions,
        seen=seen,
        fact=fact,
        sometimes=sometimes,
    )


ASKED = line('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n', sent=True)
TOLD = line('{"jsonrpc":"2.0","id":"1","result":{}}\n', sent=False, at=0.25)
ENDED = line("exit status 0", sent=False, kind="close")


def test_a_verdict_or_words_that_differ_are_kept_apart_with_bytes_of_their_own() -> None:
    case = a_case()
    (finding,) = gather(
        [
            ("a", result(case, Verdict.WEAK, ASKED, revision=OLDEST)),
            ("a", result(case, Verdict.FAILED, TOLD, revision=OLD)),
            ("a", result(case, Verdict.FAILED, ASKED, revision=NEW)),
            ("a", result(case, Verdict.FAILED, revision="2026-07-28", detail="otherwise")),
            ("b", result(case, Verdict.FAILED)),
            ("b", result(a_case("two"), Verdict.PASSED)),
        ]
    )
    seen = [(each.peer, each.verdict, each.detail, each.revisions) for each in finding.sights]
    assert seen == [
        ("a", Verdict.WEAK, "it is weak", [OLDEST]),
        ("a", Verdict.FAILED, "it is failed", [OLD, NEW]),
        ("a", Verdict.FAILED, "otherwise", ["2026-07-28"]),
        ("b", Verdict.FAILED, "it is failed", [NEW]),
    ]
    asked, told = (
        '0.000 to the server: {"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        '0.250 to the client: {"jsonrpc":"2.0","id":"1","result":{}}',
    )
    assert [each.said for each in finding.sights] == [
        {OLDEST: [asked]},
        {OLD: [told], NEW: [asked]},
        {"2026-07-28": []},
        {NEW: []},
    ]
    assert finding.worst() == {"a": Verdict.FAILED, "b": Verdict.FAILED}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("got 200 at http://127.0.0.1:4711/mcp", "got 200 at http://127.0.0.1:12/mcp"),
        ("the request kit-0123456789ab", "the request kit-ba9876543210"),
        ("came {'id': 3, 'error': {}}", "came {'id': 17, 'error': {}}"),
        ("Last-Event-ID: 17 brought it", "Last-Event-ID: 4 brought it"),
        ("a request was answered twice: [3, 3, 4]", "a request was answered twice: [1, 1]"),
        ("[input_value=[{'a': 1}], input_type=list]", "[input_value=[], input_type=list]"),
        ("arguments: {'a1', 'a2'}", "arguments: {'a2', 'a1'}"),
        (f"which {NEW} does not have", f"which {OLD} does not have"),
    ],
)
def test_what_changes_from_run_to_run_does_not_make_a_difference(one: str, other: str) -> None:
    assert normal(one, NEW) == normal(other, OLD)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the error -32602", "the error -32600"),
        ("got [200]", "got [400]"),
        ("got [200]", "got [200, 200]"),
        (f"answered with {OLDEST}", f"answered with {NEW}"),
        ("{'code': 0, 'id': 3}", "{'code': 1, 'id': 3}"),
    ],
)
def test_what_a_program_does_makes_a_difference(one: str, other: str) -> None:
    assert normal(one, OLD) != normal(other, OLD)


def test_what_was_said_is_shown_with_times_and_without_goodbyes() -> None:
    opened = line(
        '{"jsonrpc":"2.0","id":1,"method":"initialize"}\n', sent=True, at=-2.0, exchange=0
    )
    told = line("{}\n", sent=False, at=-1.0)
    said = bytes_of(result(a_case(), Verdict.FAILED, opened, told, ASKED, TOLD, ENDED))
    assert said == [
        'earlier to the server: {"jsonrpc":"2.0","id":1,"method":"initialize"}',
        '0.000 to the server: {"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        '0.250 to the client: {"jsonrpc":"2.0","id":"1","result":{}}',
    ]
    fell = line("exit status 1", sent=False, at=1.5, kind="close")
    assert bytes_of(result(a_case(), Verdict.FAILED, fell)) == ["1.500 exit status 1"]


def test_over_http_exchanges_have_numbers_and_event_streams_ends() -> None:
    def head(text: str, at: float, exchange: int, *, sent: bool) -> Line:
        text = text.replace("\n", "\r\n") + "\r\n\r\n"
        return line(text, sent=sent, at=at, exchange=exchange, kind="head")

    ordinary = "accept: application/json, text/event-stream\ncontent-type: application/json"
    played = result(
        a_case(),
        Verdict.FAILED,
        head(f"POST /mcp HTTP/1.1\nhost: 127.0.0.1:1\ndate: now\n{ordinary}", 0.0, 1, sent=True),
        head("POST /mcp HTTP/1.1\nhost: x\naccept: */*", 0.1, 2, sent=True),
        head("HTTP/1.1 200 OK\ncontent-type: text/event-stream", 0.2, 1, sent=False),
        head("HTTP/1.1 202 Accepted", 0.3, 2, sent=False),
        line("", sent=False, at=0.4, exchange=2, kind="end"),
        line("id: 7\ndata: {}\n\n", sent=False, at=0.5, exchange=1, kind="bytes"),
        line("", sent=False, at=0.6, exchange=1, kind="end"),
        line("", sent=False, at=1.7, exchange=3, kind="note"),
        head("DELETE /mcp HTTP/1.1\nhost: x", 1.8, 4, sent=True),
        head("HTTP/1.1 200 OK", 1.9, 4, sent=False),
    )
    played.binding = Binding.HTTP
    assert bytes_of(played) == [
        "0.000 (1) to the server: POST /mcp",
        "0.100 (2) to the server: POST /mcp | host: x | accept: */*",
        "0.200 (1) to the client: 200 | content-type: text/event-stream",
        "0.300 (2) to the client: 202",
        "0.500 (1) to the client: id 7: {}",
        "0.600 (1) the event stream ends",
        "1.700 (3) nothing more comes",
    ]


def test_of_few_lines_more_is_shown_than_of_many() -> None:
    long = line(f'{{"x":"{"y" * 5000}"}}\n', sent=True)
    (alone,) = bytes_of(result(a_case(), Verdict.FAILED, long))
    assert BUDGET <= len(alone) < BUDGET + 10
    many = bytes_of(result(a_case(), Verdict.FAILED, *[long] * 100))
    shown = FIRST + MIDDLE + LAST
    assert len(many) == shown + 1
    assert many[FIRST] == f"({100 - shown} left out)"
    assert {len(each) for each in many if "left out" not in each} == {LEAST + 4}
    both = bytes_of(result(a_case(), Verdict.FAILED, ASKED, long))
    assert both[0].endswith('"tools/list"}'), "what is short is not cut"


def test_what_the_verdict_is_about_is_shown_wherever_it_was_said() -> None:
    said = [line(f'{{"id":{number},"x":"{"y" * 300}"}}\n', sent=True) for number in range(100)]
    said[40] = line(f'{{"id":40,"x":"{"y" * 5000} peculiar {"z" * 5000}"}}\n', sent=True)
    shown = bytes_of(result(a_case(), Verdict.FAILED, *said, detail="it was peculiar"))
    (about,) = (each for each in shown if '"id":40' in each)
    assert " peculiar zz" in about
    assert len(about) < LEAST + 10
    assert shown[FIRST] == f"({40 - FIRST} left out)"
    assert '"id":99' in shown[-1]


def test_what_is_no_text_is_written_so_that_it_can_be_read() -> None:
    (said,) = bytes_of(result(a_case(), Verdict.FAILED, line("{a\x00\u2028b", sent=True)))
    assert said == "0.000 to the server: {a\\x00\\u2028b"


@pytest.mark.parametrize(
    ("known", "covered"),
    [
        (read(), True),
        (read("basic/test/part/two", "basic/test/part/one"), True),
        (read(revisions=f"{OLDEST} to 2026-07-28"), True),
        (read(peers=("b", "?")), True),
        (read(seen="it ... failed"), True),
        (read("basic/test/part/two"), False),
        (read(verdict=Verdict.WEAK), False),
        (read(revisions=f"{OLDEST} to {OLD}"), False),
        (read(peers=("b",)), False),
        (read(seen="failed ... it"), False),
        (read(seen="it was"), False),
    ],
)
def test_an_entry_holds_where_it_says_and_nowhere_else(known: Checked, covered: bool) -> None:
    findings = gather([("a", result(a_case(), Verdict.FAILED))])
    new = [each for each in unchecked(findings, [known], {}) if each.startswith("not read")]
    unread = [f"not read: failed basic/test/part/one in a, {NEW}: it is failed"]
    assert new == ([] if covered else unread)


def test_what_spreads_to_another_revision_was_not_read_there() -> None:
    met = {"a": (OLDEST, OLD, NEW)}
    results = [("a", result(a_case(), Verdict.FAILED, revision=name)) for name in (OLD, NEW)]
    known = [read(revisions=OLD)]
    assert unchecked(gather(results[:1]), known, met) == []
    assert unchecked(gather(results), known, met) == [
        f"not read: failed basic/test/part/one in a, {NEW}: it is failed"
    ]


def test_what_was_read_has_to_be_found_in_each_case_program_and_revision() -> None:
    one, two = "basic/test/part/one", "basic/test/part/two"
    results = [("a", result(a_case(), Verdict.FAILED)), ("b", result(a_case(), Verdict.FAILED))]
    known = [read(one, two, peers=("?",), revisions=f"{OLD} to {NEW}")]
    met = {"a": (OLDEST, OLD, NEW), "b": (OLDEST, NEW)}
    assert unchecked(gather(results), known, met) == [
        f"not found any more: failed {one} in a, {OLD}",
        f"not found any more: failed {two} in a, {OLD} to {NEW}",
        f"not found any more: failed {two} in b, {NEW}",
    ]
    assert unchecked([], known, {}) == [], "neither was run"


def test_what_depends_on_timing_need_not_be_found_and_may_be_several_cases() -> None:
    findings = gather([("a", result(a_case(slug), Verdict.FAILED)) for slug in ("one", "two")])
    known = read("basic/test/*", sometimes=True)
    assert unchecked([], [known], {"a": (NEW,)}) == []
    assert unchecked(findings, [known], {"a": (NEW,)}) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"revisions": "2025-01-01"},
        {"revisions": f"{OLD} to"},
        {"verdict": "passed"},
        {"cases": ("basic/test/*",)},
    ],
    ids=str,
)
def test_an_entry_that_says_nothing_certain_is_refused(wrong: dict[str, object]) -> None:
    said = {**msgspec.to_builtins(read()), **wrong}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(said, Checked)


def test_a_draft_has_the_bytes_and_lacks_the_fact(tmp_path: Path) -> None:
    case, detail = a_case(), "it said \"\\xff\" {'a': 1}"
    results = [
        (peer, result(case, Verdict.WEAK, ASKED, revision=name, detail=detail))
        for peer in "ab"
        for name in (OLDEST, NEW)
    ]
    findings = gather(results)
    (draft,) = drafts(findings, [])
    assert '\n# 0.000 to the server: {"jsonrpc":"2.0","id":1,"method":"tools/list"}\n' in draft
    file = tmp_path / "checked.toml"
    file.write_text(draft, encoding="utf-8")
    with pytest.raises(msgspec.ValidationError, match="fact"):
        read_checked(file)
    file.write_text(draft.replace('fact = ""', 'fact = "It says so."'), encoding="utf-8")
    (known,) = read_checked(file)
    assert (known.peers, known.revisions) == (("a", "b"), f"{OLDEST} to {NEW}")
    assert [*drafts(findings, [known])] == []
    assert unchecked(findings, [known], {"a": (OLDEST, NEW), "b": (OLDEST, NEW)}) == []


def pages(
    results: list[tuple[str, Result]], *known: Checked, peers: tuple[Peer, ...] = PEERS[:1]
) -> tuple[list[Finding], str]:
    findings = gather(results)
    return findings, page_of(findings, known, results, peers)


def test_the_page_has_the_fact_the_clause_the_verdict_and_the_bytes() -> None:
    case, name = a_case(), PEERS[0].name
    results = [(name, result(case, Verdict.WEAK, ASKED, TOLD))]
    known = read(verdict=Verdict.WEAK, peers=(name,), fact="Answers | with a string.")
    _, page = pages(results, known)
    clause = f"[{case.id}]({case.link_in(NEW)})"
    fact = "Answers \\| with a string."
    assert f"| {clause} | MUST | weak | {name}: {NEW} | {fact} | SDK |" in page
    assert f"{name}, {NEW}, weak:\n\n````text\nthe kit: it is weak\n0.000 to the server" in page
    assert '{"jsonrpc":"2.0","id":"1","result":{}}' in page
    assert f"| {name} | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 1 | 1 |" in page
    assert f"| {UNREAD} |" not in page
    assert f"| it is weak | {UNREAD} |" in pages(results)[1]


def test_the_page_tells_failed_weak_and_inconclusive_apart() -> None:
    name, other = PEERS[0].name, PEERS[1].name
    results = [
        (name, result(a_case("one"), Verdict.WEAK, revision=OLD)),
        (name, result(a_case("one"), Verdict.FAILED)),
        (other, result(a_case("one"), Verdict.WEAK)),
        (name, result(a_case("two"), Verdict.INCONCLUSIVE)),
    ]
    findings, page = pages(results, peers=PEERS[:2])
    assert summary(findings) == "2 findings of 1 cases: 1 failed, 1 weak; besides, 1 inconclusive"
    assert f"In all {summary(findings)}." in page
    assert f"| {name} | 3 | 0 | 1 | 1 | 1 | 0 | 1 | 0 | 0 |" in page
    found, _, rest = page.partition("## What could not be found out")
    unclear, _, wire = rest.partition("## What was on the wire")
    assert "part/two" not in found
    assert "| MUST | inconclusive |" in unclear
    assert "part/one" not in unclear
    assert wire.count("### basic/test/part/") == 2
    assert wire.count("the kit: it is") == 3, "one for each of what the kit says"


def test_the_page_has_the_bytes_of_the_revision_that_a_fact_is_about() -> None:
    name = PEERS[0].name
    results = [
        (name, result(a_case(), Verdict.FAILED, ASKED, revision=OLD)),
        (name, result(a_case(), Verdict.FAILED, TOLD, revision=NEW)),
    ]
    known = [
        read(peers=(name,), revisions=OLD, fact="It asks."),
        read(peers=(name,), revisions=NEW, fact="It tells."),
    ]
    _, page = pages(results, *known)
    assert f"{name}, {OLD}, failed:\n\n````text\nthe kit: it is failed\n0.000 to the server" in page
    assert f"{name}, {NEW}, failed:\n\n````text\nthe kit: it is failed\n0.250 to the client" in page


@pytest.mark.parametrize("sometimes", [True, False])
def test_the_page_marks_what_depends_on_timing(sometimes: bool) -> None:
    name = PEERS[0].name
    known = read(peers=(name,), fact="It is late.", sometimes=sometimes)
    _, page = pages([(name, result(a_case(), Verdict.FAILED, ASKED, TOLD))], known)
    assert (f"It is late.{SOMETIMES} | SDK |" in page) is sometimes
    assert "1 different facts, 1 of them about the SDK" in page


def test_0_is_returned_only_if_what_was_read_was_found_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {case.id: case for case in all_cases()}
    (peer,) = (peer for peer in PEERS if peer.name == "2.x client over sse")
    found = [
        result(cases[case], each.verdict, revision=revision.name, detail=each.seen)
        for each in read_checked()
        if each.holds_in(peer.name) and not each.sometimes
        for case in each.cases
        for revision in peer.revisions
        if revision in each.span
    ]
    assert len(found) > 5

    def returned(*results: Result, draft: bool = False) -> tuple[int, str]:
        save(tmp_path / peer.file, results)
        status = main(["--from", str(tmp_path), *["--draft"] * draft])
        return status, capsys.readouterr().out

    status, said = returned(*found)
    assert status == 0, said
    assert "in 1 programs, 0 not as written down" in said
    status, said = returned(*found[1:])
    assert status == 1
    gone = f"{found[0].verdict} {found[0].case.id} in {peer.name}, {found[0].revision}"
    assert f"not found any more: {gone}\n" in said
    new = result(cases["basic/index/requests/client-id"], Verdict.WEAK)
    status, said = returned(*found, new, draft=True)
    assert status == 1
    assert f"not read: weak {new.case.id} in {peer.name}, {NEW}: it is weak\n" in said
    assert f'cases = ["{new.case.id}"]\n' in said


def test_a_server_is_run_over_stdio_whatever_its_program_does(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text(
        "class Server:\n"
        "    def run(self, transport):\n"
        "        print('over', transport)\n"
        "mcp = Server()\n"
        "if __name__ == '__main__':\n"
        "    raise SystemExit('over HTTP only')\n"
    )
    command = [sys.executable, str(OVER_STDIO), str(server)]
    ran = subprocess.run(command, capture_output=True, check=True, text=True, timeout=PATIENCE)
    assert ran.stdout == "over stdio\n"


def test_what_was_read_is_about_cases_and_programs_that_there_are() -> None:
    cases = {case.id: case for case in all_cases()}
    peers = [peer.name for peer in (*PEERS, *own_programs(Path()))]
    for each in read_checked():
        for pattern in each.cases:
            assert fnmatch.filter(cases, pattern), pattern
        for pattern in each.peers:
            assert fnmatch.filter(peers, pattern), pattern
        assert each.whose in ("SDK", "program", "uvicorn", "httpx")


def test_the_page_says_what_was_read() -> None:
    page = PAGE.read_text("utf-8")
    assert dead_links(PAGE) == []
    assert len(page.encode()) < LEAVES
    assert f"| {UNREAD} |" not in page
    rows = [row for row in page.splitlines() if row.startswith("| [")]
    for each in read_checked():
        for case in each.cases:
            assert each.sometimes or any(
                row.startswith(f"| [{case}](") and f"| {each.verdict} |" in row and each.fact in row
                for row in rows
            ), f"not on the page: {each.verdict} {case}"


def test_a_file_that_is_wrong_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "checked.toml"
    file.write_text("[[finding]\n")
    with pytest.raises(tomllib.TOMLDecodeError):
        read_checked(file)


def test_results_are_kept_as_they_were(tmp_path: Path) -> None:
    case, other = a_case("one"), a_case("two")
    raw = Line(at=0.5, sent=False, wire=2, exchange=3, kind="bytes", data=b"\xff\x00", cut=7)
    first, second = result(case, Verdict.FAILED, ASKED, raw), result(other, Verdict.PASSED)
    first.notes.append("a note")
    file = tmp_path / "new" / "kept.json"
    save(file, [first, second])
    assert load(file, [case, other]) == [first, second]
    assert load(file, [other]) == [second], "of a case that there is not any more"


def test_no_two_programs_have_one_name_or_one_file() -> None:
    peers = [*PEERS, *own_programs(Path())]
    assert len({peer.name for peer in peers}) == len({peer.file for peer in peers}) == 18
