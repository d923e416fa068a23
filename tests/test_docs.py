"""The pages on eras and middleware tell the truth; and the reader of pages sees what is wrong."""

from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGES = [ROOT / "docs" / "eras.md", ROOT / "docs" / "features" / "middleware.md"]
PROGRAMS = [program for page in PAGES for program in programs(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)


EXAMPLE = """
# A page

```python
# greeting.py
TEXT = "hello"
```

```
nothing
```

```python
import greeting
print(greeting.TEXT)
```

```text
hello
```

```python fragment
await nothing_in_particular()
```

```python
raise SystemExit("no")
```

```python
print("hello")
```

```text
goodbye
```

[here](page.md), [nowhere](nowhere.md#part), [outside](https://example.com/x)
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(EXAMPLE)
    return path


def test_what_is_found_in_a_page(page: Path) -> None:
    found = programs(page)
    assert [(str(each), each.output) for each in found] == [
        ("page.md:13", "hello\n"),
        ("page.md:26", None),
        ("page.md:30", "goodbye\n"),
    ]
    assert dead_links(page) == ["nowhere.md"]


def test_what_is_wrong_is_seen(page: Path, tmp_path: Path) -> None:
    good, fails, wrong = programs(page)
    good.check(tmp_path)
    with pytest.raises(AssertionError, match=r"page\.md:26: no"):
        fails.check(tmp_path)
    with pytest.raises(AssertionError, match=r"page\.md:30"):
        wrong.check(tmp_path)


def test_a_fragment_must_compile(page: Path) -> None:
    page.write_text("```python fragment\nthis is no python\n```\n")
    with pytest.raises(SyntaxError):
        programs(page)


@pytest.mark.long
def test_wrong_types_are_seen(page: Path, tmp_path: Path) -> None:
    page.write_text("```python\nx: int = 'a'\n```\n")
    with pytest.raises(AssertionError, match="Incompatible types"):
        check_types(programs(page), tmp_path)
