"""What is found in programs of others: gathered, held against what was read, written down."""

import fnmatch
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conformance.kit.model import MUST, SHOULD, Binding, Case, Line, Page, Result, Verdict
from conformance.kit.talk import ServerTalk
from conformance.peers.__main__ import PAGE, main
from conformance.peers.findings import Checked, bytes_of, gather, read_checked, unchecked
from conformance.peers.page import SOMETIMES, page_of
from conformance.peers.programs import OVER_STDIO, PEERS, own_programs
from conformance.peers.saved import load, save
from conformance.run.registry import all_cases
from tests.docs_blocks import dead_links


def a_case(slug: str, *, must: bool = True) -> Case:
    page = Page("basic/test")

    @page.server(MUST if must else SHOULD, f"part/{slug}", expects="Nothing.")
    async def nothing(talk: ServerTalk) -> None:
        """Tests nothing."""

    return page.cases[0]


def line(text: str, *, sent: bool, exchange: int = 0, kind: str = "message") -> Line:
    return Line(at=0.0, sent=sent, wire=1, exchange=exchange, kind=kind, data=text.encode())


def result(case: Case, verdict: Verdict, *lines: Line, revision: str = "2025-11-25") -> Result:
    return Result(
        case=case,
        revision=revision,
        binding=Binding.STDIO,
        verdict=verdict,
        detail=f"it is {verdict}",
        transcript=list(lines),
    )


ASKED = line('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n', sent=True)
TOLD = line('{"jsonrpc":"2.0","id":"1","result":{}}\n', sent=False)
ENDED = line("exit status 0", sent=False, kind="close")


def test_a_failure_stands_for_weak_results_and_places_are_put_together() -> None:
    case = a_case("one")
    (finding,) = gather(
        [
            ("a", result(case, Verdict.WEAK, revision="2024-11-05")),
            ("a", result(case, Verdict.FAILED, ASKED, TOLD)),
            ("b", result(case, Verdict.FAILED)),
            ("b", result(a_case("two"), Verdict.PASSED)),
        ]
    )
    assert [*finding.places] == ["a", "b"]
    seen = finding.places["a"]
    assert seen.verdict is Verdict.FAILED
    assert seen.detail == "it is failed"
    assert seen.revisions == ["2024-11-05", "2025-11-25"]
    assert seen.said == [
        'to the server: {"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        'to the client: {"jsonrpc":"2.0","id":"1","result":{}}',
    ]
    assert finding.places["b"].said == []


def test_the_last_things_that_were_said_are_shown_without_goodbyes() -> None:
    told = [line("begins\n", sent=True), *[ASKED, TOLD] * 4, ENDED]
    said = bytes_of(result(a_case("one"), Verdict.FAILED, *told))
    assert len(said) == 8
    assert said[0].startswith("to the server: {")
    assert said[-1].startswith("to the client: {")
    left = line("DELETE /mcp HTTP/1.1\r\nhost: x\r\n\r\n", sent=True, exchange=2, kind="head")
    asked = line(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ndate: now\r\n\r\n", sent=True, exchange=1, kind="head"
    )
    over_http = result(a_case("one"), Verdict.FAILED, asked, left)
    over_http.binding = Binding.HTTP
    assert bytes_of(over_http) == ["to the server: POST /mcp | host: x"]


def test_what_is_no_text_is_written_so_that_it_can_be_read() -> None:
    (said,) = bytes_of(result(a_case("one"), Verdict.FAILED, line("{a\x00\u2028b", sent=True)))
    assert said == "to the server: {a\\x00\\u2028b"


def test_everything_that_was_found_has_to_have_been_read() -> None:
    one, two = a_case("one"), a_case("two")
    findings = gather([("a", result(one, Verdict.FAILED)), ("b", result(two, Verdict.WEAK))])
    read = [
        Checked(case=one.id, peers=("a", "b"), fact="It does so."),
        Checked(case=two.id, peers=("b",), fact="It does not."),
    ]
    assert unchecked(findings, read, {"a", "b"}) == [f"not found any more: {one.id} in b"]
    assert unchecked(findings, read[:1], {"a", "b"}) == [
        f"not checked by hand: {two.id} in b",
        f"not found any more: {one.id} in b",
    ]
    assert unchecked(findings[:1], read, {"a"}) == [], "b was not run"


def test_what_depends_on_timing_need_not_be_found_and_may_be_several_cases() -> None:
    findings = gather([("a", result(a_case(slug), Verdict.FAILED)) for slug in ("one", "two")])

    def timed(seen: str = "") -> Checked:
        return Checked(
            case="basic/test/*", peers=("a",), fact="It is late.", seen=seen, sometimes=True
        )

    assert unchecked([], [timed()], {"a"}) == []
    assert unchecked(findings, [timed("is fail")], {"a"}) == []
    assert unchecked(findings, [timed("is weak")], {"a"}) == [
        "not checked by hand: basic/test/part/one in a",
        "not checked by hand: basic/test/part/two in a",
    ]


def test_the_page_has_the_fact_the_clause_and_the_bytes() -> None:
    case = a_case("one", must=False)
    name = PEERS[0].name
    results = [(name, result(case, Verdict.WEAK, ASKED, TOLD))]
    read = [Checked(case=case.id, peers=(name,), fact="Answers | with a string.")]
    page = page_of(gather(results), read, results, PEERS[:1])
    assert "Answers \\| with a string." in page
    assert f"[{case.id}]({case.link_in(results[0][1].revision)})" in page
    assert "| SHOULD |" in page
    assert '{"jsonrpc":"2.0","id":"1","result":{}}' in page
    assert f"| {name} | 1 | 0 | 0 | 1 | 0 | 0 | 1 | 1 |" in page
    assert "not checked" in page_of(gather(results), [], results, PEERS[:1])


@pytest.mark.parametrize("sometimes", [True, False])
def test_the_page_marks_what_depends_on_timing(sometimes: bool) -> None:
    case, name = a_case("one"), PEERS[0].name
    results = [(name, result(case, Verdict.FAILED, ASKED, TOLD))]
    read = [Checked(case=case.id, peers=(name,), fact="It is late.", sometimes=sometimes)]
    page = page_of(gather(results), read, results, PEERS[:1])
    assert (f"It is late.{SOMETIMES} | SDK |" in page) is sometimes
    assert "1 different facts, 1 of them about the SDK" in page


def test_0_is_returned_only_if_what_was_read_was_found_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {case.id: case for case in all_cases()}
    (peer,) = (peer for peer in PEERS if peer.name == "2.x client over sse")
    read = [each for each in read_checked() if peer.name in each.peers and not each.sometimes]
    found = [result(cases[each.case], Verdict.FAILED) for each in read]

    def returned(*results: Result) -> tuple[int, str]:
        save(tmp_path / peer.file, results)
        return main(["--from", str(tmp_path)]), capsys.readouterr().out

    status, said = returned(*found)
    assert status == 0, said
    assert said.startswith(f"{len(read)} findings of {len(read)} cases in 1 programs, 0 not as")
    status, said = returned(*found[1:])
    assert status == 1
    assert f"not found any more: {read[0].case} in {peer.name}\n" in said
    new = cases["basic/index/requests/client-id"]
    status, said = returned(*found, result(new, Verdict.WEAK))
    assert status == 1
    assert f"not checked by hand: {new.id} in {peer.name}\n" in said


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
    ran = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    assert ran.stdout == "over stdio\n"


def test_what_was_read_is_about_cases_and_programs_that_there_are() -> None:
    cases = {case.id for case in all_cases()}
    peers = {peer.name for peer in (*PEERS, *own_programs(Path()))}
    for each in read_checked():
        assert fnmatch.filter(cases, each.case), each.case
        assert peers.issuperset(each.peers)
        assert each.whose in ("SDK", "program", "uvicorn", "httpx")


def test_the_page_says_what_was_read() -> None:
    page = PAGE.read_text("utf-8")
    assert dead_links(PAGE) == []
    assert "not checked" not in page
    for each in read_checked():
        assert each.sometimes or each.fact in page, f"not on the page: {each.case}"


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
