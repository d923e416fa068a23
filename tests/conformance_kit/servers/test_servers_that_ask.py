"""Servers whose tools have names of their own, and ask or are tasks: their faults are found.

Each is small and right but for one fault; none has anything of the fixture.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.run.run import Run
from tests.conformance_kit.runs import FINE, NEW, OLD, cases_of, run_of
from tests.conformance_kit.servers.asking_programs import LEGACY, MODERN

pytestmark = pytest.mark.anyio

rare = partial(pytest.param, marks=[pytest.mark.long, pytest.mark.repeats])
MRTR = "basic/patterns/mrtr"
STATES = f"{MRTR}/server-requirements-basic-workflow"
ERRORS = f"{MRTR}/error-handling"
TASKS = "extensions/tasks"
OLD_TASKS = "basic/utilities/tasks"
FORMS, SAMPLES, ROOTS = "client/elicitation", "client/sampling", "client/roots"
MODERN_PAGES = (MRTR, "server/utilities/caching")


@pytest.fixture
def anyio_backend() -> str:
    """One: what the kit does over stdio is tried on both elsewhere."""
    return "asyncio"


async def ran(
    program: str,
    fault: str,
    revision: str,
    tmp_path: Path,
    pages: tuple[str, ...] = (),
    timeout: float = 5.0,
) -> Run:
    """A run of these cases, or those of these pages, of all without any."""
    path = tmp_path / "server.py"
    path.write_text(program)
    command = [sys.executable, str(path), fault]
    return await run_of(command, cases_of(*pages), revision, timeout=timeout)


def found(run: Run) -> dict[str, str]:
    """The findings: the verdicts of what is neither passed nor not applicable, by their cases."""
    return {each.case.id: str(each.verdict) for each in run.results if each.verdict not in FINE}


def told(run: Run) -> str:
    return "\n".join(
        f"{each.case.id}: {each.detail}" for each in run.results if each.verdict not in FINE
    )


def passed(run: Run) -> Counter[str]:
    """How many cases of each page have passed."""
    return Counter(each.case.page for each in run.results if each.verdict is Verdict.PASSED)


@pytest.mark.long
async def test_a_right_server_that_asks_has_no_finding(tmp_path: Path) -> None:
    run = await ran(MODERN, "none", NEW, tmp_path)
    assert found(run) == {}, told(run)


async def test_nothing_of_what_a_right_server_asks_is_found_wrong(tmp_path: Path) -> None:
    run = await ran(MODERN, "none", NEW, tmp_path, (*MODERN_PAGES, TASKS))
    assert found(run) == {}, told(run)
    assert (passed(run)[MRTR], passed(run)[TASKS]) >= (23, 15), told(run)


async def test_who_checks_what_it_has_decoded_may_decode_without_care(tmp_path: Path) -> None:
    pages = (f"{STATES}/state-tampered", f"{STATES}/state-of-nobody")
    run = await ran(MODERN, "reads leniently", NEW, tmp_path, pages)
    assert found(run) == {}, told(run)
    assert passed(run)[MRTR] == 2, told(run)


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("fault", "findings"),
    [
        (
            "takes any state",
            {
                f"{STATES}/state-tampered": "failed",
                f"{STATES}/state-of-nobody": "failed",
                f"{STATES}/state-of-other-type": "failed",
                f"{STATES}/state-of-other-tool": "weak",
                f"{STATES}/state-of-other-method": "weak",
                f"{STATES}/state-of-other-arguments": "weak",
            },
        ),
        ("state without a seal", {f"{STATES}/state-tampered": "failed"}),
        rare("state of all arguments", {f"{STATES}/state-of-other-arguments": "weak"}),
        rare(
            "state of all requests",
            {
                f"{STATES}/state-of-other-tool": "weak",
                f"{STATES}/state-of-other-method": "weak",
                f"{STATES}/state-of-other-arguments": "weak",
            },
        ),
        rare("state of no type", {f"{STATES}/state-of-other-type": "failed"}),
        (
            "asks everybody",
            {
                f"{STATES}/undeclared-elicitation": "failed",
                f"{STATES}/undeclared-sampling": "failed",
                f"{STATES}/undeclared-roots": "failed",
            },
        ),
        rare(
            "neither requests nor state",
            {f"{MRTR}/inputrequiredresult/shape": "failed", f"{STATES}/one-of-both": "failed"},
        ),
        rare(
            "asks for a completion",
            {
                f"{MRTR}/inputrequiredresult/shape": "failed",
                f"{STATES}/kinds-of-requests": "failed",
            },
        ),
        rare("a key twice", {f"{STATES}/unique-keys": "failed"}),
        rare(
            "asks on the wire",
            {f"{MRTR}/multi-round-trip-requests/no-requests-on-the-wire": "failed"},
        ),
        rare("counts on retries", {f"{STATES}/not-counted-on": "weak"}),
        rare("mixes answers", {f"{MRTR}/client-requirements-basic-workflow/calls-apart": "failed"}),
        rare("error for what is missing", {f"{ERRORS}/missing-answer": "weak"}),
        rare(
            "error for what is too much",
            {f"{ERRORS}/further-answers": "weak", f"{ERRORS}/missing-answer": "weak"},
        ),
        rare("answers in a list", {f"{ERRORS}/malformed-answers": "weak"}),
        rare("takes any answer", {f"{ERRORS}/malformed-answer": "weak"}),
        rare(
            "keeps what it asks",
            {"server/utilities/caching/cacheable-results/not-of-interim-results": "weak"},
        ),
    ],
)
async def test_a_fault_of_what_asks_for_input_is_found(
    fault: str, findings: dict[str, str], tmp_path: Path
) -> None:
    run = await ran(MODERN, fault, NEW, tmp_path, MODERN_PAGES)
    assert found(run) == findings, told(run)


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("fault", "findings"),
    [
        ("tasks for everybody", {"capability-negotiation/undeclared": "failed"}),
        rare("ids in a row", {"security-considerations/ids-not-guessable": "failed"}),
        rare("times of its own", {"task-creation/shape": "failed"}),
        ("a status of its own", {"task-polling/every-look": "failed"}),
        rare("ended tasks work again", {"task-polling/every-look": "failed"}),
        rare(
            "a result elsewhere",
            {"task-polling/every-look": "failed", "task-polling/completed": "failed"},
        ),
        ("cancels with the task", {"task-cancellation/acknowledged": "failed"}),
        rare("refuses to cancel again", {"task-cancellation/acknowledged": "failed"}),
        rare("takes unknown keys", {"task-update-requests/unknown-keys": "weak"}),
        rare("refuses unknown keys", {"task-update-requests/unknown-keys": "weak"}),
        rare("forgets what is left", {"task-update-requests/partial": "failed"}),
        rare(
            "asks for what it was told",
            {"task-update-requests/answered": "failed", "task-update-requests/partial": "failed"},
        ),
        rare("a need of its own", {"capability-negotiation/task-needed": "failed"}),
        rare("a list of tasks", {"backwards-compatibility/nothing-of-2025-11-25": "weak"}),
    ],
)
async def test_a_fault_of_a_task_of_the_extension_is_found(
    fault: str, findings: dict[str, str], tmp_path: Path
) -> None:
    run = await ran(MODERN, fault, NEW, tmp_path, (TASKS,))
    assert found(run) == {f"{TASKS}/{each}": how for each, how in findings.items()}, told(run)


@pytest.mark.long
async def test_a_right_server_that_asks_on_the_wire_has_no_finding(tmp_path: Path) -> None:
    run = await ran(LEGACY, "none", OLD, tmp_path)
    assert found(run) == {}, told(run)


@pytest.mark.long
@pytest.mark.parametrize("ways", ["none", rare("ways of its own")])
async def test_nothing_of_what_a_right_server_asks_on_the_wire_is_found_wrong(
    ways: str, tmp_path: Path
) -> None:
    run = await ran(LEGACY, ways, OLD, tmp_path, (OLD_TASKS, FORMS, SAMPLES, ROOTS))
    assert found(run) == {}, told(run)
    pages = (OLD_TASKS, FORMS, SAMPLES, ROOTS)
    # under load a task may have ended before it could be cancelled
    least = dict(zip(pages, (20, 17, 8, 6), strict=True))
    assert {page: passed(run)[page] for page in pages if passed(run)[page] < least[page]} == {}


async def test_what_a_server_asks_of_its_own_accord_is_no_question_of_a_task(
    tmp_path: Path,
) -> None:
    places = ("input-required-status/names-the-task", "ttl-and-resource-management/times")
    cases = tuple(f"{OLD_TASKS}/{each}" for each in (*places, "result-retrieval/waits-for-the-end"))
    run = await ran(LEGACY, "ways of its own", OLD, tmp_path, cases)
    assert found(run) == {}, told(run)
    shown = run.features[Binding.STDIO, OLD].shown
    assert {each.name: each.questions for each in shown.taskers} == {
        "bake": 0,
        "roast": 1,
        "simmer": 0,
    }
    ended = {each.name for each in shown.taskers if each.end == "completed"}
    assert ended >= {"bake", "simmer"}
    assert passed(run)[OLD_TASKS] == 3


@pytest.mark.long
async def test_what_is_asked_late_is_no_question_of_the_next_tool(tmp_path: Path) -> None:
    run = await ran(LEGACY, "asks late", OLD, tmp_path, (f"{FORMS}/elicitation-requests/message",))
    assert found(run) == {}, told(run)
    names = {each.name for each in run.features[Binding.STDIO, OLD].shown.askers}
    assert names == {"reserve", "pay", "sum_up", "look_around", "roast"}


@pytest.mark.long
async def test_the_case_that_looks_first_has_time_for_it(tmp_path: Path) -> None:
    places = ("creating-tasks/shape", "getting-tasks/shape", "ttl-and-resource-management/times")
    cases = tuple(f"{OLD_TASKS}/{each}" for each in places)
    run = await ran(LEGACY, "takes long", OLD, tmp_path, cases, timeout=1.0)
    assert found(run) == {}, told(run)
    assert passed(run)[OLD_TASKS] == 3


async def test_a_task_may_ask_before_the_answer_that_tells_of_it(tmp_path: Path) -> None:
    run = await ran(LEGACY, "questions before the answer", OLD, tmp_path, (OLD_TASKS,))
    assert found(run) == {}, told(run)
    case = f"{OLD_TASKS}/input-required-status/names-the-task"
    assert [each.verdict for each in run.results if each.case.id == case] == [Verdict.PASSED]


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("fault", "findings"),
    [
        rare("ids in a row", {"task-isolation-and-access-control/ids-not-guessable": "failed"}),
        rare("times of its own", {"ttl-and-resource-management/times": "failed"}),
        rare(
            "no ttl",
            {
                "creating-tasks/shape": "failed",
                "getting-tasks/shape": "failed",
                "ttl-and-resource-management/ttl": "failed",
            },
        ),
        rare("begins as submitted", {"task-status-lifecycle/begins-working": "failed"}),
        ("a status of its own", {"getting-tasks/shape": "failed"}),
        rare("named twice", {"associating-task-related-messages/not-in-get": "weak"}),
        rare("a list with a gap", {"task-listing/complete": "failed"}),
        (
            "cancels what has ended",
            {
                "task-status-lifecycle/terminal-is-final": "failed",
                "task-cancellation/of-a-finished-task": "failed",
            },
        ),
        rare("never cancels", {"task-cancellation/cancelled": "failed"}),
        rare("results before the end", {"result-retrieval/waits-for-the-end": "failed"}),
        rare("results of no task", {"related-task-metadata/of-the-result": "failed"}),
        rare("questions of no task", {"input-required-status/names-the-task": "failed"}),
        rare("tasks of every tool", {"tool-level-negotiation/forbidden": "weak"}),
        rare("simmers at once", {"tool-level-negotiation/required": "failed"}),
    ],
)
async def test_a_fault_of_a_task_of_2025_11_25_is_found(
    fault: str, findings: dict[str, str], tmp_path: Path
) -> None:
    run = await ran(LEGACY, fault, OLD, tmp_path, (OLD_TASKS,))
    assert found(run) == {f"{OLD_TASKS}/{each}": how for each, how in findings.items()}, told(run)


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "findings"),
    [
        (
            "asks everybody",
            {
                f"{FORMS}/capabilities/declared-only": "failed",
                f"{FORMS}/capabilities/no-forms": "failed",
                f"{SAMPLES}/capabilities/declared-only": "failed",
                f"{ROOTS}/implementation-guidelines/declared-only": "weak",
            },
        ),
        rare(
            "a form in a form",
            {
                f"{FORMS}/form-mode-elicitation-requests/shape": "failed",
                f"{FORMS}/requested-schema/primitive-fields": "failed",
            },
        ),
        rare(
            "a default of another type",
            {
                f"{FORMS}/form-mode-elicitation-requests/shape": "failed",
                f"{FORMS}/requested-schema/defaults": "weak",
            },
        ),
        rare("choices twice", {f"{FORMS}/requested-schema/choices": "weak"}),
        rare("no message", {f"{FORMS}/elicitation-requests/message": "failed"}),
        rare("forms for those who take URLs", {f"{FORMS}/capabilities/no-forms": "failed"}),
        rare("wants forms to be declared", {f"{FORMS}/capabilities/empty-is-form": "weak"}),
        rare("takes any answer", {f"{FORMS}/response-actions/unknown-action": "weak"}),
        rare("takes any form", {f"{FORMS}/form-mode-security/server-validates": "weak"}),
        rare("URLs for everybody", {f"{FORMS}/capabilities/no-urls": "failed"}),
        rare(
            "a URL that is none",
            {
                f"{FORMS}/url-mode-elicitation-requests/valid-url": "failed",
                f"{FORMS}/safe-url-handling/https": "weak",
            },
        ),
        rare("a URL in the open", {f"{FORMS}/safe-url-handling/https": "weak"}),
        rare("no elicitationId", {f"{FORMS}/url-mode-elicitation-requests/shape": "failed"}),
        rare("a sample of nothing", {f"{SAMPLES}/messages/content": "weak"}),
        rare(
            "a sample without end",
            {
                f"{SAMPLES}/creating-messages/shape": "failed",
                f"{SAMPLES}/messages/content": "weak",
            },
        ),
        rare("tools for everybody", {f"{SAMPLES}/tools-in-sampling/declared-only": "failed"}),
        rare("wants context", {f"{SAMPLES}/capabilities/context": "weak"}),
        rare("takes any sample", {f"{SAMPLES}/security-considerations/malformed-answer": "weak"}),
        rare("roots of some depth", {f"{ROOTS}/listing-roots/shape": "weak"}),
        rare(
            "dies of roots",
            {
                f"{ROOTS}/implementation-guidelines/declared-only": "weak",
                f"{ROOTS}/error-handling/client-error": "weak",
                f"{ROOTS}/security-considerations/malformed-roots": "weak",
            },
        ),
    ],
)
async def test_a_fault_of_what_is_asked_on_the_wire_is_found(
    fault: str, findings: dict[str, str], tmp_path: Path
) -> None:
    run = await ran(LEGACY, fault, OLD, tmp_path, (FORMS, SAMPLES, ROOTS))
    assert found(run) == findings, told(run)


@pytest.mark.long
@pytest.mark.parametrize(
    ("program", "revision", "pages", "findings"),
    [
        (
            MODERN,
            NEW,
            ("basic/index", "basic/transports/stdio"),
            {
                "basic/index/statelessness/capabilities": "failed",
                "basic/transports/stdio/unexpected-termination/nothing-is-kept": "failed",
            },
        ),
        (
            LEGACY,
            OLD,
            ("basic/lifecycle",),
            {
                f"basic/lifecycle/capability-negotiation/no-{each}": "failed"
                for each in ("sampling", "roots", "elicitation")
            }
            | {"basic/lifecycle/capability-negotiation/asks-what-is-declared": "failed"},
        ),
    ],
    ids=["modern", "legacy"],
)
async def test_who_asks_everybody_is_found_on_other_pages_as_well(
    program: str, revision: str, pages: tuple[str, ...], findings: dict[str, str], tmp_path: Path
) -> None:
    run = await ran(program, "asks everybody", revision, tmp_path, pages)
    assert found(run) == findings, told(run)
