"""The reader of pages finds what is in them, and sees what is wrong."""

from pathlib import Path

import pytest

from tests.docs.blocks import check_types, dead_links, programs

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
    assert dead_links(page) == ["nowhere.md#part"]


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
