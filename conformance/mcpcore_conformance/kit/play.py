"""Playing one case against one program, and judging what came of it."""

import traceback
from contextlib import nullcontext
from time import time

import anyio

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import (
    OTHER_PRINCIPAL,
    PROTECTED,
    Case,
    Result,
    Strength,
    Verdict,
)
from mcpcore_conformance.kit.talk import ServerTalk, Timing
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, NotApplicable, Slow
from mcpcore_conformance.kit.wire import Stage

ITSELF = "the case itself failed"
"""Beginning of the text about a case that has raised an exception that it must not raise."""
AGAIN = 3
"""Maximum number of times that a case is played again after it met a slow offer."""
_WHEN_BROKEN = {
    Strength.MUST: Verdict.FAILED,
    Strength.SHOULD: Verdict.WEAK,
    Strength.MAY: Verdict.INFORMATIONAL,
}


async def play(
    case: Case,
    stage: Stage,
    revision: Revision,
    features: Features,
    *,
    timing: Timing | None = None,
    seed: int = 0,
    thorough: bool = False,
    limit: float | None = None,
) -> Result:
    """Play a server case; every way in which it can end becomes a verdict.

    Where it has come upon something slow it is played again, with what else there is.

    ``thorough``: what is a race is run again and again.
    ``limit``: seconds that it may take as a whole, on the event loop's clock.
    """
    result = Result(
        case=case, revision=revision.name, binding=stage.binding, verdict=Verdict.PASSED
    )
    try:
        reason = _reason(case, stage, revision, features)
        found = features.usable()
    except Exception as error:
        fails_itself(result, error)
        return result
    if reason:
        result.verdict, result.detail = Verdict.NOT_APPLICABLE, reason
        return result
    result.started = time()
    started = stage.now()
    for left in range(AGAIN, -1, -1):
        known = len(found.pace.slow)
        log = Log(stage.now)
        talk = ServerTalk(
            stage,
            revision,
            found,
            log=log,
            timing=timing or Timing(),
            seed=seed,
            thorough=thorough,
        )
        talk.plays = True
        try:
            slow = await judged(case, talk, result, limit)
        finally:
            await _left(talk, result)
            result.seconds = stage.now() - started
            result.notes, result.transcript = talk.notes, log.lines()
        if not (slow and left and len(found.pace.slow) > known):
            break
        result.verdict, result.detail, found = Verdict.PASSED, "", features.usable()
    return result


async def _left(talk: ServerTalk, result: Result) -> None:
    """Close what a case has opened; what it has left clean is for the cases that follow."""
    try:
        await talk.close(keep=result.verdict is Verdict.PASSED)
    except Exception as error:
        verdict, said = result.verdict, result.detail
        fails_itself(result, error)
        if verdict not in (Verdict.PASSED, Verdict.NOT_APPLICABLE):
            result.verdict, result.detail = verdict, f"{said}; {result.detail}"


async def judged(
    case: Case, talk: ServerTalk | ClientTalk, result: Result, limit: float | None = None
) -> bool:
    """Play once; return whether it has ended at something that was found to be slow."""
    try:
        with nullcontext() if limit is None else anyio.move_on_after(limit) as scope:
            await case.play(talk)
        if scope is not None and scope.cancelled_caught:
            raise Inconclusive(f"the case was not over after {limit:g} s")
        if talk.weaknesses:
            result.verdict, result.detail = Verdict.WEAK, "; ".join(talk.weaknesses)
    except Broken as error:
        result.verdict, result.detail = _WHEN_BROKEN[case.strength], error.detail
        result.flaw = error.flaw
    except NotApplicable as error:
        result.verdict, result.detail = Verdict.NOT_APPLICABLE, error.detail
    except Inconclusive as error:
        result.verdict, result.detail = Verdict.INCONCLUSIVE, error.detail
        return isinstance(error, Slow)
    except Exception as error:
        fails_itself(result, error)
    return False


def fails_itself(result: Result, error: Exception) -> None:
    """Judge a case that has raised what no case may raise."""
    where = "".join(traceback.format_exception(error)[-3:])
    result.verdict, result.detail = Verdict.INCONCLUSIVE, f"{ITSELF}: {where}"
    result.faulty = True


def not_applicable(case: Case, stage: Stage, revision: Revision, features: Features) -> str:
    """Why a case does not apply here; empty if it does, or if that cannot be told.

    Then playing it tells why: one case costs the others nothing.
    """
    try:
        return _reason(case, stage, revision, features)
    except Exception:
        return ""


def _reason(case: Case, stage: Stage, revision: Revision, features: Features) -> str:
    if not case.holds_in(revision):
        return f"the clause is not one of {revision.name}"
    if stage.binding not in case.bindings:
        return f"the clause is not about {stage.binding}"
    unspoken = features.unspoken(revision.name)
    if unspoken and not (case.bare and features.tried):
        return unspoken
    if OTHER_PRINCIPAL in case.needs and not getattr(stage, "other_headers", {}):
        return "the kit was given no credentials of a second principal (--other-header)"
    if PROTECTED in case.needs and getattr(stage, "tokens", None) is None:
        return "the server was not told the authorization server of the kit (--protected)"
    needs = (need for need in case.needs if need not in (OTHER_PRINCIPAL, PROTECTED))
    return next(filter(None, map(features.has, needs)), "")
