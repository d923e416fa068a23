"""How long a run takes that no server delays: what the kit itself waits, and what it starts.

All cases in all revisions against one local server are to be over in a minute per binding.  Clocks
say little of that on a busy machine; these count.  The long tests of ``test_ours`` do so over the
other bindings, with the cases that are about one of them alone.
"""

from pathlib import Path

import anyio
import pytest

from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.kit.model import Binding, Result, Side, Verdict
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.run.plan import Settings, plan
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.servers import look_at_server, play_server
from mcpcore_conformance.subjects.core import CoreStage

MINUTE = 60.0
LONGEST = 1.0
"""Seconds of silence that no case needs more of, to see that nothing comes."""


async def waited() -> list[tuple[Result, float]]:
    """Play all cases against the core, where only the kit takes time, and see how much."""
    settings = Settings()
    timing = Timing(answer=settings.timeout, start=settings.start)
    units = plan(all_cases(), Side.SERVER, [Binding.CORE], REVISIONS)
    found: list[tuple[Result, float]] = []
    async with CoreStage() as stage:
        features = {each: await look_at_server(stage, each, settings, timing) for each in REVISIONS}
        for unit in units:
            began = stage.now()
            result = await play_server(unit, stage, features[unit.revision], settings, timing)
            found.append((result, stage.now() - began))
    return found


@pytest.mark.long
def test_what_the_kit_waits_itself_is_less_than_a_minute_even_one_case_after_another() -> None:
    # some can be played on virtual time only, and wait for hours there
    found = [each for each in anyio.run(waited) if each[0].case.bindings != {Binding.CORE}]
    assert sum(result.verdict is Verdict.PASSED for result, _ in found) > 0.8 * len(found)
    long = {(each.case.id, each.revision): took for each, took in found if took > LONGEST}
    assert long == {}
    assert sum(took for _, took in found) < MINUTE


def test_the_page_says_how_many_of_the_cases_are_counted_here() -> None:
    cases = [case for case in all_cases() if case.side is Side.SERVER]
    counted = [case for case in cases if {Binding.CORE} < case.bindings]
    text = " ".join(
        (Path(__file__).parents[3] / "docs" / "reference" / "conformance.md").read_text().split()
    )
    assert f"those {len(counted)} of the {len(cases)} cases for servers that can be" in text
