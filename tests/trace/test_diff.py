"""`mcpcore diff`: where offers come from, how differences are written, and what is a failure."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpcore.policy.differences import Difference, DifferenceKind
from mcpcore_conformance.diff.offers import described, of_trace
from mcpcore_conformance.diff.rendering import FORMATS
from tests.command import mcpcore_here
from tests.trace.said import c, done, handshake, modern, request, result, s, saved, trace
from tests.warm import PYTHON


def tool(schema: Any = None, name: str = "t", **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", **(schema or {})}, **more}


OPTIONAL: dict[str, Any] = {"properties": {"a": {}}}


def test_of_a_trace_the_last_lists_count_with_all_their_pages() -> None:
    one, two, three = (tool(name=name) for name in "abc")
    legacy = trace(
        handshake(),
        c(request("tools/list", id=1)),
        s(result({"tools": [three]}, 1)),
        c(request("tools/list", id=2)),
        s(result({"tools": [one], "nextCursor": "n"}, 2)),
        c(request("tools/list", {"cursor": "n"}, 3)),
        s(result({"tools": [two]}, 3)),
    )
    found = of_trace(legacy)
    assert [each.name for each in found["tools"]] == ["a", "b"]
    assert found["instructions"] is None
    alone = of_trace(trace(c(modern("prompts/list")), s(done({"prompts": [{"name": "p"}]}))))
    assert list(alone) == ["prompts"]


def test_what_one_of_them_does_not_say_is_not_compared() -> None:
    one = of_trace(trace(c(modern("tools/list")), s(done({"tools": [tool()]}))))
    before, after = described({**one, "instructions": "a", "prompts": []}, one)
    assert (before.instructions, list(before.tools), before == after) == (None, ["t"], True)


EVIL = "`x` | <img src=x> @all\n[a](http://b) \x1b\u202e"
EVILS = [
    Difference(DifferenceKind.BREAKING, f"tools/{EVIL}", EVIL),
    Difference(DifferenceKind.RISKY, "b", "c"),
]


def test_what_servers_say_is_no_markup_and_no_order_to_a_terminal() -> None:
    written = {name: write(EVILS, ("a|b", "c")) for name, write in FORMATS.items()}
    for name in ("text", "markdown"):
        assert "\x1b" not in written[name]
        assert "\u202e" not in written[name]
    assert written["text"].splitlines()[-1] == "1 breaking, 1 risky"
    assert len(written["text"].splitlines()) == 3
    rows = [line for line in written["markdown"].splitlines() if line.startswith("| breaking")]
    assert len(rows) == 1
    assert not any(mark in rows[0] for mark in ("<", "@", "://"))
    assert rows[0].replace("\\|", "").count("|") == 4
    assert json.loads(written["json"])["differences"][0]["text"] == EVIL


def test_sarif_has_the_form_of_2_1_0() -> None:
    found = json.loads(FORMATS["sarif"](EVILS, ("a", "b")))
    (run,) = found["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert (found["version"], rules) == ("2.1.0", ["breaking", "risky", "additive"])
    assert [(each["ruleId"], each["level"]) for each in run["results"]] == [
        ("breaking", "error"),
        ("risky", "warning"),
    ]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("a.json", "a.json"), 0),
        (("a.json", "b.json"), 0),
        (("a.json", "b.json", "--fail-on", "additive"), 1),
        (("b.json", "a.json"), 1),
        (("talk.jsonl", "b.json", "--format", "json"), 0),
        (("files.jsonl", "files.json"), 1),
        (("a.json",), 2),
        (("a.json", "a.json", "a.json"), 2),
        (("a.json", "odd.json"), 2),
        (("a.json", "other.json"), 2),
        (("a.json", "broken.jsonl"), 2),
        (("a.json", "http://127.0.0.1:1/mcp"), 3),
    ],
)
def test_the_exit_status_says_what_was_found(
    words: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    for name, value in (
        ("a", {"tools": [tool()]}),
        ("b", {"tools": [tool(OPTIONAL)]}),
        ("odd", {"tools": [1]}),
        ("other", {"prompts": []}),
        ("files", {"resources": [{"uri": "a:c", "name": "c"}]}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    (tmp_path / "broken.jsonl").write_text('{"trace":1}\n')
    files = {"resources": [{"uri": "a:b", "name": "b"}]}
    saved(trace(c(modern("resources/list")), s(done(files))), tmp_path).rename(
        tmp_path / "files.jsonl"
    )
    saved(trace(c(modern("tools/list")), s(done({"tools": [tool()]}))), tmp_path)
    assert mcpcore_here("diff", *words, cwd=tmp_path).returncode == status


def test_a_word_that_is_nothing_is_no_file_either(tmp_path: Path) -> None:
    done = mcpcore_here("diff", "gone.json", "gone.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("nor is there a file 'gone.json'\n")


@pytest.mark.usefixtures("warm_programs")
def test_a_file_beside_a_server_that_is_started(tmp_path: Path) -> None:
    program = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    program += ["serve", "tests.trace.recorded:server", "--stdio"]
    listed = mcpcore_here("list", "--json", "--", *program)
    (tmp_path / "a.json").write_text(listed.stdout)
    found = mcpcore_here("diff", str(tmp_path / "a.json"), "--", *program)
    assert (found.returncode, found.stdout) == (0, "no difference\n")
