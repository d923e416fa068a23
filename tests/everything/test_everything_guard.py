"""The guarded reference server: the authorization cases of the kit pass there, and only there."""

from contextlib import AsyncExitStack

import pytest

from conformance.mutants.subjects import PAGES
from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.kit.discover import discover
from mcpcore_conformance.kit.model import Binding, Side, Verdict
from mcpcore_conformance.kit.play import play
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.stages import everything

CASES = [
    each
    for each in all_cases()
    if each.page in PAGES and each.side is Side.SERVER and Binding.HTTP in each.bindings
]


@pytest.mark.anyio
async def test_all_cases_of_authorization_pass_where_there_is_a_guard() -> None:
    async with AsyncExitStack() as stack:
        stage = await everything(Binding.HTTP, guarded=True).make(stack)
        played = 0
        for revision in REVISIONS:
            features = await discover(stage, revision, Timing())
            assert features.revision == revision.name
            for case in CASES:
                if case.holds_in(revision):
                    played += 1
                    result = await play(case, stage, revision, features)
                    assert result.verdict is Verdict.PASSED, (case.id, result.detail)
    assert played > 150


@pytest.mark.anyio
async def test_none_of_them_applies_where_there_is_no_guard() -> None:
    async with AsyncExitStack() as stack:
        stage = await everything(Binding.HTTP).make(stack)
        revision = REVISIONS[-1]
        features = await discover(stage, revision, Timing())
        for case in CASES:
            result = await play(case, stage, revision, features)
            assert result.verdict is Verdict.NOT_APPLICABLE, (case.id, result.detail)
