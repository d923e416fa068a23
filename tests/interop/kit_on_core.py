"""Every case of the kit for which the engine alone will do, played without any I/O.

Runs in Pyodide as well, so it imports what is there.
"""

from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.kit.client_play import play_client
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.discover import discover
from mcpcore_conformance.kit.model import Binding, Result, Side
from mcpcore_conformance.kit.play import play
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.subjects.core import CoreStage
from mcpcore_conformance.subjects.core_client import CoreClient

HOURS = ClientTiming(start=3600.0, answer=3600.0, exit=3600.0, quiet=0.15)
"""Virtual time: as much as there is."""


async def verdicts() -> dict[str, str]:
    """Return the verdict on our server or client for each case and revision."""
    results: list[Result] = []
    cases = [case for case in all_cases() if Binding.CORE in case.bindings]
    async with CoreStage() as stage:
        for revision in REVISIONS:
            features = await discover(stage, revision, Timing())
            for case in cases:
                if not case.holds_in(revision):
                    continue
                if case.side is Side.SERVER:
                    result = await play(case, stage, revision, features, timing=Timing())
                else:
                    result = await play_client(
                        case, CoreClient, Binding.CORE, revision, timing=HOURS
                    )
                results.append(result)
    return {f"{each.case.id}, {each.revision}": each.verdict.name for each in results}
