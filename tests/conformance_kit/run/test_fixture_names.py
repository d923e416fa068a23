"""docs/reference/conformance.md names exactly what cases need of a server for tests, and where."""

import re
from collections import Counter, defaultdict
from pathlib import Path

from mcpcore_conformance.kit.client_launch import SCRIPT
from mcpcore_conformance.kit.model import Side
from mcpcore_conformance.kit.shown import FOUND
from mcpcore_conformance.kit.watched import WATCHED
from mcpcore_conformance.run.registry import all_cases

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "conformance.md"
HEADING = "## What a server may have for it"
ROW = re.compile(r"\| (?:(prompt|resource|template) )?`([^`]+)` \| ([^|]+) \| ([^|]+) \|")


def needed() -> dict[str, set[str]]:
    """The pages of the cases that need something by its name."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for case in all_cases():
        for need in case.fixtures if case.side is Side.SERVER else ():
            found[need].add(case.page)
    return dict(found)


def described() -> dict[str, set[str]]:
    """What the table says of it."""
    section = PAGE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    rows = [ROW.fullmatch(line) for line in section.splitlines() if line.startswith("| ")]
    named = [row for row in rows[1:] if row is not None]
    assert len(named) == len(rows) - 1
    table = {f"{row[1] or 'tool'}:{row[2]}": set(re.findall("`([^`]+)`", row[4])) for row in named}
    assert len(table) == len(named)
    return table


def test_the_table_names_what_cases_need_and_nothing_else() -> None:
    assert described() == needed()
    assert len(needed()) > 20


def test_the_page_says_how_many_cases_need_such_a_thing() -> None:
    cases = [each for each in all_cases() if each.side is Side.SERVER]
    named = [each for each in cases if each.fixtures]
    assert f"Some cases, {len(named)} of the {len(cases)} for servers, need" in PAGE.read_text()


def test_the_other_table_names_what_cases_find_by_trying() -> None:
    section = PAGE.read_text().partition("## What is found by trying")[2].partition("\n## ")[0]
    cases = [each for each in all_cases() if each.side is Side.SERVER]
    wanted = {need for each in cases for need in each.needs if need.startswith("found:")}
    assert {*re.findall("`(found:[a-z-]+)`", section)} == wanted
    assert {need.partition(":")[2] for need in wanted} <= {*FOUND, *WATCHED}


def test_the_page_on_clients_says_how_many_cases_need_which_scenario() -> None:
    text = (PAGE.parents[1] / "how-to" / "conformance-clients.md").read_text()
    section = " ".join(text.partition("## Scenarios")[2].partition("\n### ")[0].split())
    said = re.search(
        r"Of the (\d+) cases (\d+) use the scenarios `(\w+)` .* and `(\w+)` .*"
        r" and (\d+) these others of it: ([^.]+)\. .*"
        r"The other (\d+) use .* judged by (\d+) cases\.",
        section,
    )
    assert said is not None
    count = Counter(each.scenario for each in all_cases() if each.side is Side.CLIENT)
    plain = count.pop(said[3]) + count.pop(said[4])
    script = count.pop(SCRIPT)
    assert {*re.findall("`([^`]+)`", said[6])} == {*count}
    others = count.total()
    assert [int(said[each]) for each in (1, 2, 5, 7, 8)] == [
        *(plain + others + script, plain, others, script, plain + others),
    ]
