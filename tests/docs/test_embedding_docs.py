"""The page on embedding tells the truth, and what it calls short is short."""

import ast
import io
import re
import tokenize

import pytest

from tests.docs.blocks import ROOT, programs

PAGE = ROOT / "docs" / "how-to" / "embedding.md"
PROGRAMS = programs(PAGE)
FILES = PROGRAMS[-1].files


def test_there_is_a_program_for_each_way() -> None:
    assert sorted(FILES) == ["eras.py", "framed.py", "selecting.py", "threaded.py"]
    assert len(PROGRAMS) == 6


def lines_of_code(source: str) -> tuple[int, int]:
    """Lines with code on them (no blank ones, comments, docstrings), and how many are imports."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type != tokenize.COMMENT and token.string.strip()
        for line in range(token.start[0], token.end[0] + 1)
    } - texts
    lines = source.splitlines()
    imports = [number for number in code if lines[number - 1].startswith(("import ", "from "))]
    return len(code) - len(imports), len(imports)


def test_the_lines_of_code_are_as_many_as_it_says() -> None:
    said = re.findall(r"`(\w+\.py)`[^`;]*? (\d+) and (\d+) of imports", PAGE.read_text())
    assert {name: (int(code), int(imports)) for name, code, imports in said} == {
        name: lines_of_code(source) for name, source in FILES.items()
    }
    tree = ast.parse(FILES["framed.py"])
    [link] = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Link")
    ]
    size = lines_of_code(ast.get_source_segment(FILES["framed.py"], link) or "")[0]
    assert f"({size} are the connection" in PAGE.read_text()


@pytest.mark.parametrize("name", ["framed.py", "threaded.py"])
def test_a_transport_takes_about_fifty_lines(name: str) -> None:
    code, imports = lines_of_code(FILES[name])
    assert code <= 50
    assert code + imports <= 60
