"""Every case notices its mutants; in a file of its own, so that it is played beside the others."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from msgspec import structs

from conformance.mutants.__main__ import described
from conformance.mutants.fault import Fault
from conformance.mutants.registry import all_mutants
from conformance.mutants.trial import Trial, strays, try_mutants
from mcpcore.spec.revisions import BY_NAME, REVISIONS
from mcpcore_conformance.kit.model import Case, Side
from mcpcore_conformance.run.registry import all_cases
from tests.conformance_kit.ours import FOLDER, SETTINGS
from tests.shares import Some
from tests.warm import PYTHON

PAIR = (BY_NAME["2025-11-25"], BY_NAME["2026-07-28"])
"""The newest revision of each era."""
MUTANTS = structs.replace(SETTINGS, jobs=12)
"""Most of their time goes by in waiting for what does not come."""
PROGRAMS = 6
"""... but clients are programs that have to be started: more of them at a time take the processor
from whatever is tested beside them."""


def tried(cases: Sequence[Case], **changes: Any) -> Trial:
    settings = structs.replace(MUTANTS, **changes)
    return anyio.run(functools.partial(try_mutants, cases, all_mutants(), settings, python=PYTHON))


def trial_of(cases: Sequence[Case], **changes: Any) -> Trial:
    trial = tried(cases, **changes)
    FOLDER.mkdir(parents=True, exist_ok=True)
    sides = "-".join(dict.fromkeys(case.side for case in cases))
    path = FOLDER / f"conformance-mutants-{sides}.json"
    path.write_text(json.dumps(described(trial), indent=1))
    return trial


def check_trial(trial: Trial) -> None:
    assert [
        f"{row.case.id}: {row.mutant.id}: {row.problem}" for row in trial.rows if row.problem
    ] == []
    assert [(each.case.id, each.place) for each in trial.unproven()] == []
    assert trial.problems == []
    assert trial.well


def test_each_case_has_a_mutant_and_each_mutant_kills_cases() -> None:
    assert strays(all_cases(), all_mutants()) == []
    case, *others = all_cases()
    without = [each for each in all_mutants() if case.id not in each.kills]
    assert strays(all_cases(), without) == [f"no mutant is said to kill {case.id}"]
    [text] = strays(others, all_mutants())
    assert text.endswith(f" is said to kill {case.id}, which is no case")


IDS = "basic/index/result-responses/integer-ids"
"""A case of both eras."""


def test_a_case_is_proven_in_each_era_or_in_the_revisions_that_are_named() -> None:
    cases = [case for case in all_cases() if case.id == IDS]
    both = tried(cases)
    check_trial(both)
    assert {row.revision for row in both.rows} == {*PAIR}
    named = tried(cases, revisions=(REVISIONS[1],), named=True)
    check_trial(named)
    assert {row.revision for row in named.rows} == {REVISIONS[1]}
    both.rows = [row for row in both.rows if row.revision.modern]
    assert [(each.case.id, each.place) for each in both.unproven()] == [(IDS, "the legacy era")]
    assert not both.well


def test_a_mutant_that_survives_is_played_once_more() -> None:
    case = next(each for each in all_cases() if each.id == IDS)
    mutant = next(each for each in all_mutants() if IDS in each.kills and each.fault)
    made: list[Fault] = []
    harmless = 1_000

    def fault() -> Fault:
        made.append(mutant.fault() if len(made) >= harmless and mutant.fault else Fault())
        return made[-1]

    def played() -> Trial:
        late = structs.replace(mutant, kills=(IDS,), fault=fault)
        settings = structs.replace(MUTANTS, revisions=PAIR[1:], named=True)
        return anyio.run(functools.partial(try_mutants, [case], [late], settings))

    [survivor] = played().rows
    assert survivor.problem.startswith("the mutant survives: passed")
    harmless = len(made) // 2  # it is broken when it is played again, and only then
    made.clear()
    [killed] = played().rows
    assert killed.proof
    assert len(made) > harmless


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_server_case_notices_its_mutant_and_passes_on_ours(some: Some) -> None:
    """With ``--repetitions`` a share of the cases."""
    cases = [case for case in all_cases() if case.side is Side.SERVER]
    check_trial(trial_of(some(cases, lambda case: case.id)))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_client_case_notices_its_mutant_and_passes_on_ours(some: Some) -> None:
    cases = [case for case in all_cases() if case.side is Side.CLIENT]
    check_trial(trial_of(some(cases, lambda case: case.id), jobs=PROGRAMS))
