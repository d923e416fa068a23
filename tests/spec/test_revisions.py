"""The rows of revisions and what chooses between them."""

import copy
import pickle

import pytest

from mcpcore.spec.revisions import (
    BY_NAME,
    LATEST,
    LATEST_LEGACY,
    LEGACY,
    MODERN,
    REVISIONS,
    Revision,
    Span,
    newest,
    parse_revisions,
    select,
)


def test_the_rows_stand_in_order_of_time() -> None:
    assert [row.position for row in REVISIONS] == list(range(5))
    assert [row.name for row in REVISIONS] == sorted(row.name for row in REVISIONS)
    assert (*LEGACY, *MODERN) == REVISIONS
    assert {name: row.name for name, row in BY_NAME.items()} == {name: name for name in BY_NAME}
    assert LATEST_LEGACY in LEGACY
    assert LATEST in MODERN


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        # What the schemas show is checked against them; this is from the prose.
        ("streamable_http", {"2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"}),
        ("sessions", {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}),
        ("get_stream", {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}),
        ("resumable", {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}),
        ("priming", {"2025-11-25"}),
        ("version_header", {"2025-06-18", "2025-11-25", "2026-07-28"}),
        ("mirror_headers", {"2026-07-28"}),
        ("tool_errors_in_result", {"2025-11-25", "2026-07-28"}),
        ("sampling_tools", {"2025-11-25", "2026-07-28"}),
        ("rich_forms", {"2025-11-25", "2026-07-28"}),
        ("disconnect_cancels", {"2026-07-28"}),
        ("modern", {"2026-07-28"}),
        ("batches", {"2025-03-26"}),
    ],
)
def test_flags(flag: str, names: set[str]) -> None:
    assert {row.name for row in REVISIONS if getattr(row, flag)} == names


def test_resource_not_found() -> None:
    assert {row.resource_not_found for row in LEGACY} == {-32002}
    assert {row.resource_not_found for row in MODERN} == {-32602}


@pytest.mark.parametrize("row", REVISIONS)
def test_copies_and_pickles_are_the_row_itself(row: Revision) -> None:
    assert copy.copy(row) is row
    assert copy.deepcopy([row])[0] is row
    assert pickle.loads(pickle.dumps(row)) is row
    assert repr(row) == f"<Revision {row.name}>"


def test_newest() -> None:
    assert newest([]) is None
    assert newest(reversed(REVISIONS)) is LATEST


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["2023-01-01"], None),
        (["2024-11-05", "2025-06-18", "2099-01-01"], "2025-06-18"),
        (["2026-07-28"], None),
    ],
)
def test_select(names: list[str], expected: str | None) -> None:
    chosen = select(names, LEGACY)
    assert (chosen.name if chosen else None) == expected


def test_parse_revisions() -> None:
    assert parse_revisions(["2025-11-25", "2024-11-05"]) == (LATEST_LEGACY, REVISIONS[0])
    with pytest.raises(ValueError, match=r"unknown protocol revision '2025-11-26'.*2026-07-28"):
        parse_revisions(["2025-11-25", "2025-11-26"])
    with pytest.raises(ValueError, match="several revisions are wanted, not the string"):
        parse_revisions("2025-11-25")


def test_span() -> None:
    span = Span(REVISIONS[1], REVISIONS[3])
    assert [row for row in REVISIONS if row in span] == list(REVISIONS[1:4])
