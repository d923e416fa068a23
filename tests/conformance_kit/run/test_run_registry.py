"""The registry of cases and mutants, and choosing among them."""

import re
from collections import Counter
from functools import partial
from typing import Annotated

import pytest

from conformance.mutants.faults import takes
from conformance.mutants.model import Table
from conformance.mutants.registry import all_mutants, mutants_of
from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.kit.model import LEGACY, MODERN, STREAMABLE, Binding, Page, Side
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.run.plan import Settings, Unit, plan
from mcpcore_conformance.run.registry import Duplicate, all_cases, cases_of
from mcpcore_conformance.run.selection import NoSuchCase, select
from mcpcore_conformance.subjects.core import at_once


def page_of(name: str, *slugs: str) -> Page:
    page = Page(name)

    for slug in slugs:

        @page.server().must(slug, "nothing")
        async def nothing(talk: ServerTalk) -> None:
            """Does nothing."""

    return page


def test_ids_are_well_formed_and_unique() -> None:
    cases = all_cases()
    assert [name for name, count in Counter(case.id for case in cases).items() if count > 1] == []
    odd = [case.id for case in cases if not re.fullmatch(r"[a-z0-9_./-]+/[\w.-]+/[\w-]+", case.id)]
    assert odd == []
    for case in cases:
        assert case.summary
        assert case.expects
        assert case.bindings
        assert case.id.startswith(f"{case.page}/{case.section}/")


def test_a_case_is_named_by_its_dialogue_where_its_place_is_a_section() -> None:
    page = Page("basic/x")

    async def says_it(talk: ServerTalk) -> None:
        """Says it."""

    page.server().must("one", "-")(says_it)
    page.server().must("one/otherwise", "-")(says_it)
    page.client().at("two").should("-", MODERN)(says_it)
    assert [each.id for each in page.cases] == [
        "basic/x/one/says-it",
        "basic/x/one/otherwise",
        "basic/x/two/client-says-it",
    ]
    assert page.cases[2].revisions is MODERN
    with pytest.raises(ValueError, match="a section, a name and a docstring"):
        page.server().must("one", "-")(partial(says_it))


async def _awaited(talk: object) -> object:
    return ["awaited", talk]


def test_a_dialogue_is_given_what_its_parameters_name() -> None:
    given: list[object] = []

    async def play(
        first: Annotated[object, _awaited],
        second: Annotated[object, _awaited],
        talk: ServerTalk,
        third: Annotated[object, id],
        preset: int = 7,
    ) -> None:
        """Takes what it works with."""
        given.extend((first, second, talk, third, preset))

    page = Page("basic/x")
    page.server().must("one", "-")(play)
    talk = object()
    at_once(page.cases[0].play(talk))
    assert given == ["awaited", talk, talk, id(talk), 7]


def test_every_mutant_kills_cases_that_there_are() -> None:
    known = {case.id for case in all_cases()}
    stray = {mutant.id: {*mutant.kills} - known for mutant in all_mutants()}
    assert {name: kills for name, kills in stray.items() if kills} == {}


def test_two_cases_of_one_id_are_an_error() -> None:
    with pytest.raises(Duplicate, match="basic/x/one/a is there twice"):
        cases_of([page_of("basic/x", "one/a"), page_of("basic/x", "one/b", "one/a")])


def test_two_mutants_of_one_id_are_an_error() -> None:
    table = Table("basic/x")
    for _ in range(2):
        table.server("m", "one/a").does("takes it", takes("ping", {}))
    with pytest.raises(Duplicate, match="basic/x/m is there twice"):
        mutants_of([table])


def test_pages_of_one_name_come_together() -> None:
    pages = [page_of("z", "a/a"), page_of("b", "a/a"), page_of("z", "a/b")]
    assert [case.id for case in cases_of(pages)] == ["b/a/a", "z/a/a", "z/a/b"]


CASES = cases_of([page_of("basic/x", "one/a", "one/b", "two/a"), page_of("basic/xy", "one/a")])


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], ["basic/x/one/a", "basic/x/one/b", "basic/x/two/a", "basic/xy/one/a"]),
        (["basic/x"], ["basic/x/one/a", "basic/x/one/b", "basic/x/two/a"]),
        (["basic/x/"], ["basic/x/one/a", "basic/x/one/b", "basic/x/two/a"]),
        (["basic/x/one"], ["basic/x/one/a", "basic/x/one/b"]),
        (["basic/x/two/a"], ["basic/x/two/a"]),
        (["*/one/a"], ["basic/x/one/a", "basic/xy/one/a"]),
        (["basic/x/*/[ab]"], ["basic/x/one/a", "basic/x/one/b", "basic/x/two/a"]),
        (["basic/xy", "basic/x/two"], ["basic/x/two/a", "basic/xy/one/a"]),
    ],
)
def test_patterns(patterns: list[str], found: list[str]) -> None:
    assert [case.id for case in select(CASES, patterns)] == found


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("basic/x/one/aa", "did you mean basic/x/one/a"),
        ("nothing", "--list shows all"),
        ("zz*", "there is no case 'zz*'"),
    ],
)
def test_a_pattern_without_a_case_is_an_error(pattern: str, said: str) -> None:
    with pytest.raises(NoSuchCase, match=re.escape(said)):
        select(CASES, ["basic/x", pattern])


def test_a_plan_has_what_holds() -> None:
    page = Page("p")

    @page.server(LEGACY, bindings=STREAMABLE).must("a/legacy", "-")
    async def legacy(talk: ServerTalk) -> None:
        """Legacy."""

    @page.server(MODERN).may("a/modern", "-")
    async def modern(talk: ServerTalk) -> None:
        """Modern."""

    units = plan(page.cases, Side.SERVER, [Binding.HTTP, Binding.WS], REVISIONS)
    assert [str(unit) for unit in units] == [
        "p/a/legacy (http, 2024-11-05)",
        "p/a/legacy (http, 2025-03-26)",
        "p/a/legacy (http, 2025-06-18)",
        "p/a/legacy (http, 2025-11-25)",
        "p/a/modern (http, 2026-07-28)",
        "p/a/modern (ws, 2026-07-28)",
    ]
    assert plan(page.cases, Side.CLIENT, [Binding.HTTP], REVISIONS) == []


def test_seeds_differ_by_case_and_place_and_repeat() -> None:
    units = [
        Unit(case, revision, binding)
        for case in CASES
        for revision in REVISIONS
        for binding in (Binding.HTTP, Binding.WS)
    ]
    seeds = [unit.seed(0) for unit in units]
    assert len({*seeds}) == len(units)
    assert seeds == [unit.seed(0) for unit in units]
    assert units[0].seed(1) != seeds[0]


def test_the_limit_of_a_case_follows_the_timeout() -> None:
    assert Settings(timeout=2.0).limit == 24.0
    assert Settings(timeout=2.0, case_limit=1.0).limit == 1.0
