"""Every case passes on our server and our client, and notices its mutants."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from msgspec import structs

from conformance.commands.mutants import described
from conformance.kit.client_play import HOSTS
from conformance.kit.model import Binding, Case, Side, Verdict
from conformance.run.mutants import Trial, strays, try_mutants
from conformance.run.registry import all_cases, all_mutants
from mcpcore.spec.revisions import BY_NAME, REVISIONS
from tests.conformance_kit.ours import (
    FOLDER,
    SETTINGS,
    check,
    client_report,
    server_report,
)

LEAST = 900
"""Cases that there are at least."""
SOON = (Binding.CORE, Binding.MEMORY)
"""Bindings whose server is played with in every revision by the tests that take seconds."""
SOCKETS = (Binding.TCP, Binding.UNIX)
"""Bindings that differ from stdio in how the lines get there only."""
PAIR = (BY_NAME["2025-11-25"], BY_NAME["2026-07-28"])
"""The newest revision of each era."""


MUTANTS = structs.replace(SETTINGS, jobs=12)
"""Most of their time goes by in waiting for what does not come."""


def test_there_are_enough_cases() -> None:
    assert len(all_cases()) >= LEAST
    assert {case.side for case in all_cases()} == {*Side}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("binding", SOON)
def test_our_server(binding: Binding) -> None:
    report = anyio.run(server_report, binding)
    check(report, Side.SERVER, binding, REVISIONS)


@pytest.mark.timeout(300)
def test_our_server_with_a_guard() -> None:
    report = anyio.run(functools.partial(server_report, Binding.HTTP, guarded=True))
    assert {entry.verdict for entry in report.entries} == {Verdict.PASSED}
    assert report.complete


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("binding", [each for each in Binding if each not in SOON])
def test_our_server_over_the_other_bindings(binding: Binding) -> None:
    report = anyio.run(server_report, binding)
    check(report, Side.SERVER, binding, REVISIONS)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("binding", [Binding.MEMORY, Binding.HTTP])
def test_our_server_by_a_kit_on_trio(binding: Binding) -> None:
    report = anyio.run(server_report, binding, backend="trio")
    check(report, Side.SERVER, binding, REVISIONS)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("binding", [each for each in HOSTS if each not in SOCKETS])
def test_our_client(binding: Binding) -> None:
    report = anyio.run(client_report, binding)
    check(report, Side.CLIENT, binding, REVISIONS)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("binding", SOCKETS)
def test_our_client_over_sockets_in_one_revision_of_each_era(binding: Binding) -> None:
    report = anyio.run(client_report, binding, PAIR)
    check(report, Side.CLIENT, binding, PAIR)


def tried(cases: Sequence[Case], **changes: Any) -> Trial:
    settings = structs.replace(MUTANTS, **changes)
    return anyio.run(functools.partial(try_mutants, cases, all_mutants(), settings))


def trial_of(cases: Sequence[Case]) -> Trial:
    trial = tried(cases)
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


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_server_case_notices_its_mutant_and_passes_on_ours() -> None:
    assert strays(all_cases(), all_mutants()) == []
    check_trial(trial_of([case for case in all_cases() if case.side is Side.SERVER]))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_client_case_notices_its_mutant_and_passes_on_ours() -> None:
    check_trial(trial_of([case for case in all_cases() if case.side is Side.CLIENT]))
