"""`mcpcore diff`: how changes are judged, where offers come from, and how it is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpcore_conformance.diff.changes import Change, changes
from mcpcore_conformance.diff.offers import of_trace
from mcpcore_conformance.diff.rendering import FORMATS
from tests.command import mcpcore_here
from tests.trace.said import c, done, handshake, modern, request, result, s, saved, trace
from tests.warm import PYTHON


def tool(schema: Any = None, name: str = "t", **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", **(schema or {})}, **more}


def props(**properties: Any) -> dict[str, Any]:
    required = [name for name, each in properties.items() if each.pop("must", False)]
    return {"properties": properties, **({"required": required} if required else {})}


def out(**properties: Any) -> dict[str, Any]:
    return tool(outputSchema={"type": "object", **props(**properties)})


NUMBER, INTEGER, TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
SHORT, SAID = {**TEXT, "maxLength": 3}, {"description": "x"}


@pytest.mark.parametrize(
    ("before", "after", "level", "place", "detail"),
    [
        (tool(), None, "breaking", "tools/t", "removed"),
        (None, tool(), "additive", "tools/t", "added"),
        (tool(), tool(name="u"), "breaking", "tools/t", 'renamed to "u"'),
        (tool(description="a"), tool(description="b"), "risky", ".description", '"a" became "b"'),
        (tool(), tool(annotations={"readOnlyHint": True}), "risky", ".annotations", "added: "),
        # What a client sends
        (tool(props(a={})), tool(), "breaking", ".inputSchema.a", "removed"),
        (tool(), tool(props(a={})), "additive", ".inputSchema.a", "added"),
        (tool(), tool(props(a={"must": 1})), "breaking", ".inputSchema.a", "added, and required"),
        (tool(props(a={})), tool(props(a={"must": 1})), "breaking", ".a", "is required now"),
        (tool(props(a={"must": 1})), tool(props(a={})), "additive", ".a", "not required any more"),
        (tool(props(a=TEXT)), tool(props(a=NUMBER)), "breaking", ".a.type", "became"),
        (tool(props(a=INTEGER)), tool(props(a=NUMBER)), "additive", ".a.type", "became"),
        (tool(props(a=NUMBER)), tool(props(a=INTEGER)), "breaking", ".a.type", "became"),
        (tool(props(a=TEXT)), tool(props(a={})), "additive", ".a.type", "removed"),
        (
            tool(props(a={"enum": [1, 2]})),
            tool(props(a={"enum": [1, 2, 3]})),
            "additive",
            ".a.enum",
            "became",
        ),
        (tool(props(a={"enum": [1, 2]})), tool(props(a={"enum": [1]})), "breaking", ".a.enum", ""),
        (
            tool(props(a=TEXT)),
            tool(props(a=SHORT)),
            "breaking",
            ".maxLength",
            "",
        ),
        (
            tool(props(a=SHORT)),
            tool(props(a=TEXT)),
            "additive",
            ".maxLength",
            "",
        ),
        (
            tool(props(a={})),
            tool(props(a=SAID)),
            "risky",
            ".a.description",
            "added",
        ),
        (
            tool(props(a={"items": TEXT})),
            tool(props(a={"items": NUMBER})),
            "breaking",
            ".a.items.type",
            "became",
        ),
        # What a client reads
        (out(a={}), out(), "breaking", ".outputSchema.a", "removed"),
        (out(), out(a={"must": 1}), "additive", ".outputSchema.a", "added"),
        (out(a={"must": 1}), out(a={}), "breaking", ".a", "is not required any more"),
        (out(a=INTEGER), out(a=NUMBER), "breaking", ".a.type", "became"),
        (out(a=NUMBER), out(a=INTEGER), "additive", ".a.type", "became"),
        (tool(), out(), "additive", ".outputSchema", "added"),
        (out(), tool(), "breaking", ".outputSchema", "removed"),
    ],
)
def test_tools(before: Any, after: Any, level: str, place: str, detail: str) -> None:
    one, other = ([] if each is None else [each] for each in (before, after))
    (found,) = changes({"tools": one}, {"tools": other})
    assert (found.level, found.place.endswith(place)) == (level, True)
    assert detail in found.detail


@pytest.mark.parametrize(
    ("member", "before", "after", "level"),
    [
        ("prompts", {"name": "p"}, {"name": "p", "arguments": [{"name": "a"}]}, "additive"),
        (
            "prompts",
            {"name": "p"},
            {"name": "p", "arguments": [{"name": "a", "required": True}]},
            "breaking",
        ),
        ("prompts", {"name": "p", "arguments": [{"name": "a"}]}, {"name": "p"}, "breaking"),
        ("resources", {"uri": "a:b", "mimeType": "x/y"}, {"uri": "a:b"}, "breaking"),
        ("resources", {"uri": "a:b", "size": 1}, {"uri": "a:b", "size": 2}, None),
        ("resources", {"uri": "a:b", "name": "x"}, {"uri": "a:b", "name": "y"}, "risky"),
        ("resourceTemplates", {"uriTemplate": "a:{b}"}, {"uriTemplate": "a:{c}"}, "breaking"),
    ],
)
def test_other_lists(member: str, before: Any, after: Any, level: str | None) -> None:
    found = changes({member: [before]}, {member: [after]})
    assert [each.level for each in found] == ([] if level is None else [level])


def test_the_gravest_stand_first_and_what_is_unknown_is_not_compared() -> None:
    before: dict[str, Any] = {"tools": [tool(), tool(name="u", title="a")], "instructions": "a"}
    before["prompts"] = []
    after = {"tools": [tool(props(a={})), tool(name="u", title="b")], "instructions": "b"}
    assert [each.level for each in changes(before, after)] == ["risky", "risky", "additive"]
    assert not changes(before, before)
    same = {"tools": [tool(name="v"), tool(name="w"), *before["tools"]]}
    assert [each.detail for each in changes({"tools": before["tools"]}, same)] == ["added"] * 2
    with pytest.raises(ValueError, match="no list in common"):
        changes({"tools": []}, {"prompts": []})


def test_of_a_trace_the_last_lists_count_with_all_their_pages() -> None:
    one, two, three = ({"name": name} for name in "abc")
    legacy = trace(
        handshake(),
        c(request("tools/list", id=1)),
        s(result({"tools": [three]}, 1)),
        c(request("tools/list", id=2)),
        s(result({"tools": [one], "nextCursor": "n"}, 2)),
        c(request("tools/list", {"cursor": "n"}, 3)),
        s(result({"tools": [two, "odd"]}, 3)),
    )
    assert of_trace(legacy) == {"tools": [one, two], "instructions": ""}
    assert of_trace(trace(c(modern("prompts/list")), s(done({"prompts": [one]})))) == {
        "prompts": [one]
    }


EVIL = "`x` | <img src=x> @all\n[a](http://b) \x1b\u202e"
EVILS = [Change("breaking", f"tools/{EVIL}", EVIL), Change("risky", "b", "c")]


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
    assert json.loads(written["json"])["changes"][0]["detail"] == EVIL


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
        ("b", {"tools": [tool(props(a={}))]}),
        ("odd", {"tools": [1]}),
        ("other", {"prompts": []}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    (tmp_path / "broken.jsonl").write_text('{"trace":1}\n')
    saved(trace(c(modern("tools/list")), s(done({"tools": [tool()]}))), tmp_path)
    assert mcpcore_here("diff", *words, cwd=tmp_path).returncode == status


@pytest.mark.usefixtures("warm_programs")
def test_a_file_beside_a_server_that_is_started(tmp_path: Path) -> None:
    program = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    program += ["serve", "tests.trace.recorded:server", "--stdio"]
    listed = mcpcore_here("list", "--json", "--", *program)
    (tmp_path / "a.json").write_text(listed.stdout)
    found = mcpcore_here("diff", str(tmp_path / "a.json"), "--", *program)
    assert (found.returncode, found.stdout) == (0, "no difference\n")
